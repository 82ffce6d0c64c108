//! The calls of gopusher as messages: `proto/gopusher/rpc.proto`, which is its own and not a twin of anything.

/// What `build.rs` has made of its contract.
#[allow(unreachable_pub, missing_docs, clippy::all, reason = "it is generated")]
pub(crate) mod pb {
    tonic::include_proto!("proto");
}

use axum::Router;
use tonic::{Request, Response, Status};

use self::pb::rpc_server::{Rpc, RpcServer};
use super::around::Lasts;
use super::status;
use super::transcode;
use crate::Problem;
use crate::compat::around::Caller;
use crate::compat::gopusher::calls::{Calls, OK, Pushed};
use crate::extract::BODY_MAX;

/// Its paths.
pub(crate) fn routes(calls: Calls) -> Router {
    let state = calls.state.clone();
    let service = RpcServer::new(calls).max_decoding_message_size(BODY_MAX);
    let router = Router::new().route_service("/proto.Rpc/{method}", service);
    super::around(router, &state, Lasts::Call)
}

/// Who calls, and what its call is called.
fn caller<T>(request: &Request<T>) -> (Caller, String) {
    let caller = request.extensions().get::<transcode::Caller>().cloned().unwrap_or_default();
    (Caller { authorization: caller.authorization, from: caller.from }, caller.request_id)
}

fn answered<T>(outcome: Result<T, Problem>, request_id: &str) -> Result<Response<T>, Status> {
    outcome.map(Response::new).map_err(|why| status::of(&why, request_id))
}

#[tonic::async_trait]
impl Rpc for Calls {
    async fn push(&self, request: Request<pb::PushRequest>) -> Result<Response<pb::PushReply>, Status> {
        let (caller, id) = caller(&request);
        let pb::PushRequest { from, to, app_id, content } = request.into_inner();
        let pushed = async {
            let by = self.may_push(&caller).await?;
            Calls::push(self, by, Pushed { from, to, app: app_id, content }).await?;
            Ok(pb::PushReply { code: 0, message: OK.to_owned() })
        };
        answered(pushed.await, &id)
    }

    async fn system(&self, request: Request<pb::SystemRequest>) -> Result<Response<pb::SystemReply>, Status> {
        let (caller, id) = caller(&request);
        let found = Calls::system(self, &caller).await.map(|found| pb::SystemReply {
            cpu_num: found.processors,
            goroutine_num: found.tasks,
            client_num: found.connections,
            group_num: found.groups,
        });
        answered(found, &id)
    }

    async fn is_online(
        &self,
        request: Request<pb::IsOnlineRequest>,
    ) -> Result<Response<pb::IsOnlineReply>, Status> {
        let (caller, id) = caller(&request);
        let word = Calls::is_online(self, &caller, &request.get_ref().card_id).await;
        answered(word.map(|word| pb::IsOnlineReply { result: word.to_owned() }), &id)
    }

    async fn group(&self, request: Request<pb::GroupRequest>) -> Result<Response<pb::GroupReply>, Status> {
        let (caller, id) = caller(&request);
        let found = Calls::group(self, &caller, &request.get_ref().card_id).await;
        answered(found.map(|client_num| pb::GroupReply { client_num }), &id)
    }
}
