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
            let first = futures_util::stream::iter([Ok(unknown)]);
            let end = futures_util::stream::once(farewell(self.0.clone()));
            return Ok(Response::new(Box::pin(futures_util::StreamExt::chain(first, end))));
        }
        let answers =
            futures_util::stream::unfold((self.0.clone(), Next::Now), |(readiness, next)| async move {
                let (answer, next) = match next {
                    Next::Now => {
                        let ready = readiness.is_ready();
                        (Ok(Self::answer(ready)), Next::After(ready))
                    }
                    // Who is told to leave is told before that nobody serves any more.
                    Next::After(true) => {
                        readiness.changed_from(true).await;
                        (Ok(Self::answer(false)), Next::After(false))
                    }
                    Next::After(false) => tokio::select! {
                        end = farewell(readiness.clone()) => (end, Next::Nothing),
                        () = readiness.changed_from(false) => (Ok(Self::answer(true)), Next::After(true)),
                    },
                    Next::Nothing => return None,
                };
                Some((answer, (readiness, next)))
            });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// What somebody who watches is told next.
enum Next {
    /// How it is.
    Now,
    /// How it is once it is no longer so.
    After(bool),
    /// Nothing: the stream is over.
    Nothing,
}

/// The end of a stream that its client would never end, when the server stops.
async fn farewell(readiness: Readiness) -> Result<HealthCheckResponse, Status> {
    readiness.draining().await;
    Err(Status::unavailable("the server is stopping"))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    type Happens = fn(&Readiness);

    /// What somebody who watches is told, while these things happen one after the other.
    async fn check(service: &str, happens: &[Happens], expected: &[Result<ServingStatus, tonic::Code>]) {
        let readiness = Readiness::default();
        let request = Request::new(HealthCheckRequest { service: service.to_owned() });
        let mut told = Pulse(readiness.clone()).watch(request).await.unwrap().into_inner();
        let mut happens = happens.iter();
        let mut seen = Vec::new();
        loop {
            let next = tokio::select! {
                biased;
                next = told.next() => next,
                () = std::future::ready(()) => match happens.next() {
                    Some(happens) => {
                        happens(&readiness);
                        continue;
                    }
                    None => break,
                },
            };
            let Some(next) = next else { break };
            seen.push(next.map(|answer| answer.status()).map_err(|status| status.code()));
        }
        assert_eq!(seen, expected, "{service}");
    }

    #[tokio::test]
    async fn who_watches_is_told_of_the_end_before_it_comes() {
        use ServingStatus::{NotServing, ServiceUnknown, Serving};
        let (up, down): (Happens, Happens) = (Readiness::ready, Readiness::drain);
        let left = Err(tonic::Code::Unavailable);
        for (service, happens, expected) in [
            ("", &[up, down][..], &[Ok(NotServing), Ok(Serving), Ok(NotServing), left][..]),
            (NAME, &[up], &[Ok(NotServing), Ok(Serving)]),
            (NAME, &[down], &[Ok(NotServing), left]),
            ("other", &[up], &[Ok(ServiceUnknown)]),
            ("other", &[up, down], &[Ok(ServiceUnknown), left]),
        ] {
            check(service, happens, expected).await;
        }
    }
}
