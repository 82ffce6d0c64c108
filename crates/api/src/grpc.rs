//! gRPC for backends: `proto/tidings/v1/push.proto`, on the same port as everything else.
//!
//! A call is its twin of REST: the message becomes that request, the same router answers it, and the answer becomes a
//! message. So keys, scopes, limits and what is said of errors are written once; what is here is what gRPC has of its
//! own: statuses, streams, health and reflection. `docs/adr/0019-a-grpc-call-is-its-twin-of-rest.md` says why.
//!
//! Reading order: [`twins`] (which call is which), [`transcode`] (there and back), [`pushes`] (many at once, and the
//! stream), [`events`] (what happens), [`status`] (errors), [`around`] (what surrounds a call).

mod around;
pub(crate) mod codec;
mod events;
pub(crate) mod gopusher;
mod health;
pub(crate) mod json;
mod leaving;
mod pushes;
mod status;
mod transcode;
pub(crate) mod twins;

/// What `build.rs` has made of the contract.
#[allow(unreachable_pub, clippy::all, reason = "it is generated")]
pub(crate) mod pb {
    tonic::include_proto!("tidings.v1");
}

use axum::Router;
use axum::middleware::from_fn_with_state;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_server::HealthServer;

use self::around::Lasts;
use self::health::Pulse;
use self::pb::push_service_server::PushServiceServer;
use self::pushes::STREAM_MESSAGE_MAX;
use self::transcode::Caller;
use self::twins::Twin;
use crate::extract::BODY_MAX;
use crate::rest::batch::BATCH_BODY_MAX;
use crate::{ApiState, Problem, auth};

/// How the service is called.
const NAME: &str = "tidings.v1.PushService";

/// The contract, for reflection.
pub(crate) const CONTRACT: &[u8] = tonic::include_file_descriptor_set!("tidings.v1");

/// The service: has REST answer.
#[derive(Clone)]
pub(crate) struct Calls {
    rest: Router,
    state: ApiState,
}

impl Calls {
    async fn call<Q: Serialize, A: DeserializeOwned>(
        &self,
        twin: &Twin,
        request: Request<Q>,
    ) -> Result<Response<A>, Status> {
        let caller = self.caller(request.extensions());
        let answered = match transcode::request(twin, request.get_ref()) {
            Ok((method, uri, body)) => transcode::answer(&self.rest, method, uri, body, &caller).await,
            Err(unfit) => Err(self.unfit(unfit, &caller).await),
        };
        answered.map(Response::new).map_err(|problem| status::of(&problem, &caller.request_id))
    }

    /// What a caller is told whose message makes no call of REST: who has no key that, and nothing else.
    async fn unfit(&self, why: Problem, caller: &Caller) -> Problem {
        let key = auth::access(&self.state.node, caller.authorization.as_ref(), caller.from).await;
        key.err().unwrap_or(why)
    }

    fn caller(&self, extensions: &tonic::Extensions) -> Caller {
        extensions.get::<Caller>().cloned().unwrap_or_default()
    }
}

/// Every path of gRPC. `rest` answers the calls.
pub(crate) fn routes(state: &ApiState, rest: Router) -> Router {
    let calls = PushServiceServer::new(Calls { rest, state: state.clone() });
    // Messages are measured before they are kept, and these may be larger than others.
    let batch = calls.clone().max_decoding_message_size(BATCH_BODY_MAX);
    let stream = calls.clone().max_decoding_message_size(STREAM_MESSAGE_MAX);
    let call = calls.max_decoding_message_size(BODY_MAX);
    let events = call.clone();
    let health = HealthServer::new(Pulse(state.ready.clone())).max_decoding_message_size(BODY_MAX);
    let calls = Router::new()
        .route_service("/tidings.v1.PushService/{method}", call)
        .route_service("/tidings.v1.PushService/PushBatch", batch)
        .route_service("/grpc.health.v1.Health/{method}", health.clone());
    let streams = Router::new()
        .route_service("/grpc.health.v1.Health/Watch", health)
        .route_service("/tidings.v1.PushService/PushStream", stream)
        .route_service("/tidings.v1.PushService/Events", events);
    let lasting = |router, lasts| around(router, state, lasts);
    lasting(calls, Lasts::Call)
        .merge(lasting(streams, Lasts::Stream))
        .merge(lasting(reflection(), Lasts::Open))
}

/// What there is, for who has not got the contract: in the version of today, and the one that older tools ask for.
fn reflection() -> Router {
    let builder = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(CONTRACT)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let mut router = Router::new();
    match (builder().build_v1(), builder().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => {
            router = router
                .route_service("/grpc.reflection.v1.ServerReflection/{method}", v1)
                .route_service("/grpc.reflection.v1alpha.ServerReflection/{method}", v1alpha);
        }
        // The contract is part of the program; a test asks for it.
        (Err(why), _) | (_, Err(why)) => tracing::error!(error = %why, "there is no reflection"),
    }
    router
}

fn around(router: Router, state: &ApiState, lasts: Lasts) -> Router {
    router.layer(from_fn_with_state((state.clone(), lasts), around::around))
}
