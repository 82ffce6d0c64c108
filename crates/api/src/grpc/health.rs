//! The standard health service: what `/readyz` says. The server as a whole is asked for by the empty name, the service by
//! its own; both say the same.

use std::pin::Pin;

use futures_util::Stream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::NAME;
use crate::Readiness;

/// Answers from whether this process may take traffic.
#[derive(Clone, Debug)]
pub(super) struct Pulse(pub(super) Readiness);

impl Pulse {
    fn answer(ready: bool) -> HealthCheckResponse {
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        HealthCheckResponse { status: status.into() }
    }
}

#[tonic::async_trait]
impl Health for Pulse {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        match request.get_ref().service.as_str() {
            "" | NAME => Ok(Response::new(Self::answer(self.0.is_ready()))),
            _ => Err(Status::not_found("there is no such service")),
        }
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !matches!(request.get_ref().service.as_str(), "" | NAME) {
            // What the service is defined to do: such a service may come.
            let unknown = HealthCheckResponse { status: ServingStatus::ServiceUnknown.into() };
            let never = futures_util::stream::pending();
            let first = futures_util::stream::iter([Ok(unknown)]);
            return Ok(Response::new(Box::pin(futures_util::StreamExt::chain(first, never))));
        }
        let answers = futures_util::stream::unfold((self.0.clone(), None), |(readiness, said)| async move {
            if let Some(said) = said {
                readiness.changed_from(said).await;
            }
            let ready = readiness.is_ready();
            Some((Ok(Self::answer(ready)), (readiness, Some(ready))))
        });
        Ok(Response::new(Box::pin(answers)))
    }
}
