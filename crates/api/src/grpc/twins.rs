//! Every call, each beside the call of REST that it is: one table, from which the service is made. What a call needs a
//! key for, what its limits are and what it does is the twin's.

use tonic::{Request, Response, Status, Streaming};

use super::events::Events;
use super::pb::push_service_server::PushService;
use super::pushes::Answers;
use super::{Calls, pb};

/// A call, and the one of REST that answers it.
#[derive(Debug)]
pub(crate) struct Twin {
    /// The method of the service, as Rust calls it.
    #[cfg_attr(not(test), expect(dead_code, reason = "for tests"))]
    pub(crate) rpc: &'static str,
    /// The method of HTTP.
    pub(crate) method: &'static str,
    /// The path, as the router has it. The field `namespace` is `{ns}`; all others are called as they are.
    pub(crate) path: &'static str,
    /// Where the fields go that are not in the path.
    pub(crate) carries: Carries,
}

/// Where fields of a message go in a call of REST.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Carries {
    /// Into the query.
    Query,
    /// Into a JSON object.
    Body,
    /// One of them is the body.
    Only(&'static str),
}

use Carries::{Body, Only, Query};

macro_rules! twins {
    ($($rpc:ident($request:ident) -> $answer:ident: $method:literal $path:literal $carries:expr;)*) => {
        /// The calls that are their twins.
        #[cfg(test)]
        pub(crate) const TWINS: &[Twin] = &[
            $(Twin { rpc: stringify!($rpc), method: $method, path: $path, carries: $carries }),*
        ];

        #[tonic::async_trait]
        impl PushService for Calls {
            $(async fn $rpc(&self, request: Request<pb::$request>) -> Result<Response<pb::$answer>, Status> {
                const TWIN: Twin =
                    Twin { rpc: stringify!($rpc), method: $method, path: $path, carries: $carries };
                self.call(&TWIN, request).await
            })*

            async fn push_batch(
                &self,
                request: Request<pb::PushBatchRequest>,
            ) -> Result<Response<pb::PushBatchAnswer>, Status> {
                self.batch(request).await
            }

            type PushStreamStream = Answers;

            async fn push_stream(
                &self,
                request: Request<Streaming<pb::PushStreamRequest>>,
            ) -> Result<Response<Answers>, Status> {
                self.stream(request).await
            }

            type EventsStream = Events;

            async fn events(&self, request: Request<pb::EventsRequest>) -> Result<Response<Events>, Status> {
                self.live(request).await
            }
        }
    };
}

twins! {
    push(PushRequest) -> PushAnswer: "post" "/v1/namespaces/{ns}/messages" Only("push");
    list_messages(ListMessagesRequest) -> ListMessagesAnswer: "get" "/v1/namespaces/{ns}/messages" Query;
    get_message(GetMessageRequest) -> Message: "get" "/v1/namespaces/{ns}/messages/{id}" Query;
    recall(RecallRequest) -> RecallAnswer: "delete" "/v1/namespaces/{ns}/messages/{id}" Query;
    get_report(GetReportRequest) -> Report: "get" "/v1/namespaces/{ns}/messages/{id}/report" Query;
    list_receipts(ListReceiptsRequest) -> ListReceiptsAnswer: "get" "/v1/namespaces/{ns}/messages/{id}/receipts" Query;
    get_trace(GetTraceRequest) -> Trace: "get" "/v1/namespaces/{ns}/messages/{id}/trace" Query;

    get_user(GetUserRequest) -> User: "get" "/v1/namespaces/{ns}/users/{user}" Query;
    user_status(UserStatusRequest) -> UserStatusAnswer: "post" "/v1/namespaces/{ns}/users:status" Body;
    disconnect_user(DisconnectUserRequest) -> DisconnectUserAnswer:
        "delete" "/v1/namespaces/{ns}/users/{user}/connections" Query;
    list_connections(ListConnectionsRequest) -> ListConnectionsAnswer: "get" "/v1/namespaces/{ns}/connections" Query;
    disconnect(DisconnectRequest) -> DisconnectAnswer: "delete" "/v1/namespaces/{ns}/connections/{id}" Query;
    list_devices(ListDevicesRequest) -> ListDevicesAnswer: "get" "/v1/namespaces/{ns}/devices" Query;
    get_device(GetDeviceRequest) -> Device: "get" "/v1/namespaces/{ns}/devices/{device}" Query;
    put_device(PutDeviceRequest) -> Device: "put" "/v1/namespaces/{ns}/devices/{device}" Only("json");
    change_device(ChangeDeviceRequest) -> Device: "patch" "/v1/namespaces/{ns}/devices/{device}" Only("json");
    forget_device(ForgetDeviceRequest) -> ForgetDeviceAnswer: "delete" "/v1/namespaces/{ns}/devices/{device}" Query;
    purge_devices(PurgeDevicesRequest) -> PurgeDevicesAnswer: "post" "/v1/namespaces/{ns}/devices:purge" Body;
    list_rooms(ListRoomsRequest) -> ListRoomsAnswer: "get" "/v1/namespaces/{ns}/rooms" Query;
    get_room(GetRoomRequest) -> Room: "get" "/v1/namespaces/{ns}/rooms/{room}" Query;
    change_room(ChangeRoomRequest) -> Room: "patch" "/v1/namespaces/{ns}/rooms/{room}" Body;
    list_room_members(ListRoomMembersRequest) -> ListRoomMembersAnswer:
        "get" "/v1/namespaces/{ns}/rooms/{room}/members" Query;
    add_room_members(RoomMembersRequest) -> AddRoomMembersAnswer:
        "post" "/v1/namespaces/{ns}/rooms/{room}/members" Body;
    remove_room_members(RoomMembersRequest) -> RemoveRoomMembersAnswer:
        "delete" "/v1/namespaces/{ns}/rooms/{room}/members" Body;

    list_stats(ListStatsRequest) -> ListStatsAnswer: "get" "/v1/namespaces/{ns}/stats" Query;
    get_current_stats(GetCurrentStatsRequest) -> CurrentStats: "get" "/v1/namespaces/{ns}/stats/current" Query;

    mint_token(MintTokenRequest) -> Token: "post" "/v1/namespaces/{ns}/tokens" Body;
    revoke_tokens(RevokeTokensRequest) -> RevokeTokensAnswer: "post" "/v1/namespaces/{ns}/tokens:revoke" Body;
    list_keys(ListKeysRequest) -> ListKeysAnswer: "get" "/v1/namespaces/{ns}/keys" Query;
    make_key(MakeKeyRequest) -> MadeKey: "post" "/v1/namespaces/{ns}/keys" Body;
    revoke_key(RevokeKeyRequest) -> RevokeKeyAnswer: "delete" "/v1/namespaces/{ns}/keys/{id}" Query;
    list_blocks(ListBlocksRequest) -> ListBlocksAnswer: "get" "/v1/namespaces/{ns}/blocks" Query;
    add_block(AddBlockRequest) -> Block: "post" "/v1/namespaces/{ns}/blocks" Body;
    remove_block(RemoveBlockRequest) -> RemoveBlockAnswer: "delete" "/v1/namespaces/{ns}/blocks/{id}" Query;
    list_simulations(ListSimulationsRequest) -> ListSimulationsAnswer: "get" "/v1/namespaces/{ns}/simulations" Query;
    simulate(SimulateRequest) -> Simulation: "post" "/v1/namespaces/{ns}/simulations" Body;
    end_simulation(EndSimulationRequest) -> EndSimulationAnswer:
        "delete" "/v1/namespaces/{ns}/simulations/{id}" Query;
    list_hooks(ListHooksRequest) -> ListHooksAnswer: "get" "/v1/namespaces/{ns}/hooks" Query;
    test_hook(TestHookRequest) -> HookAttempt: "post" "/v1/namespaces/{ns}/hooks/{hook}/test" Query;
    get_hook_log(GetHookLogRequest) -> HookLog: "get" "/v1/namespaces/{ns}/hooks/{hook}/log" Query;
    list_dead_letters(ListDeadLettersRequest) -> ListDeadLettersAnswer:
        "get" "/v1/namespaces/{ns}/hooks/{hook}/dead" Query;
    get_hook(GetHookRequest) -> HookQueue: "get" "/v1/namespaces/{ns}/hooks/{hook}" Query;
    replay_hook(ReplayHookRequest) -> ReplayHookAnswer: "post" "/v1/namespaces/{ns}/hooks/{hook}/replay" Query;

    list_namespaces(ListNamespacesRequest) -> ListNamespacesAnswer: "get" "/v1/namespaces" Query;
    create_namespace(CreateNamespaceRequest) -> Namespace: "post" "/v1/namespaces" Only("json");
    get_namespace(GetNamespaceRequest) -> Namespace: "get" "/v1/namespaces/{ns}" Query;
    change_namespace(ChangeNamespaceRequest) -> Namespace: "patch" "/v1/namespaces/{ns}" Only("json");
    suspend_namespace(SuspendNamespaceRequest) -> Namespace: "post" "/v1/namespaces/{ns}:suspend" Query;
    resume_namespace(ResumeNamespaceRequest) -> Namespace: "post" "/v1/namespaces/{ns}:resume" Query;
    clear_namespace(ClearNamespaceRequest) -> Namespace: "post" "/v1/namespaces/{ns}:clear" Query;
    delete_namespace(DeleteNamespaceRequest) -> DeleteNamespaceAnswer: "delete" "/v1/namespaces/{ns}" Query;

    reload(ReloadRequest) -> ReloadAnswer: "post" "/v1/reload" Query;
    alerts(AlertsRequest) -> AlertsAnswer: "get" "/v1/alerts" Query;
    nodes(NodesRequest) -> NodesAnswer: "get" "/v1/nodes" Query;
    drain_node(DrainNodeRequest) -> DrainNodeAnswer: "post" "/v1/nodes/{node}:drain" Query;
}
