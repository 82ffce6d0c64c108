//! The listener, and what becomes of a TCP connection until it is HTTP. It knows no path.

mod bind;
mod expiry;
mod leftover;
mod metrics;
mod request;
mod sources;
pub(crate) mod tls;
mod waiting;

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tidings_gateway::{Noted, Stream};
use tidings_model::ClientAddress;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::{oneshot, watch};
use tokio::time::Instant;

use bind::Door;
pub(crate) use bind::{Address, Bound, Manner, bind};
use metrics::Cut;
pub(crate) use metrics::Metrics;
use request::{Look, Requests};
use sources::NoSource;
pub(crate) use sources::Sources;
use tls::Tls;
use waiting::{Patience, Place, Waiting};

/// Most requests at once on an HTTP/2 connection. Each may hold [`HTTP2_SEND_BYTES`] and a window.
const HTTP2_STREAMS_MAX: u32 = 128;

/// Streams that a client may open and reset before we have looked at them (rapid reset, CVE-2023-44487); one
/// more ends the connection.
const HTTP2_RESETS_UNSEEN_MAX: usize = 20;

/// Streams that a client may make us reset by breaking the protocol (MadeYouReset, CVE-2025-8671); one more
/// ends the connection. Correct clients cause none.
const HTTP2_RESETS_CAUSED_MAX: usize = 100;

/// Bytes of answers that wait for a client that opens no window, for each stream.
const HTTP2_SEND_BYTES: usize = 64 * 1024;

/// Bytes that a client may send before they are taken, for each stream and for a whole connection. Half of the latter is
/// what small frames that wait may cost (256 bytes each) before the connection is taken for an attack: a stream of gRPC whose
/// client does not read its answers has a whole window of them, of 30 bytes or so.
const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 8 * 1024 * 1024;

/// How often a silent HTTP/2 connection is pinged: one whose client is gone must not be kept.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long a new connection may be silent at most when there are too many of them: a third of the time for a
/// first request, and not longer than a busy server needs to look at what has come long ago.
const GRACE_MAX: Duration = Duration::from_secs(5);

/// The part of that which those of one address have when they are a crowd: enough for who has something to say.
const CROWD_GRACE: u32 = 10;

/// How long accepting pauses after an error that will not go away by itself, at most.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// What a TLS connection begins with: a record of a handshake.
const TLS_HANDSHAKE: u8 = 22;

/// What is said to who speaks plain HTTP where TLS is spoken.
const SPEAK_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\n\
    Content-Length: 49\r\n\r\nThis port speaks TLS: use https:// or wss:// here";

/// What holds for connections until they are requests.
#[derive(Clone)]
pub(crate) struct Manners {
    /// Whose word is taken for where a client is.
    pub(crate) sources: Sources,
    /// TLS, where TCP connections speak it.
    pub(crate) tls: Option<Arc<Tls>>,
    /// How long a new connection may take until its first request is there, whatever it sends meanwhile.
    pub(crate) first_request_timeout: Duration,
    /// How long the head of a request may take, from its first byte on, where it is not the first.
    pub(crate) head_timeout: Duration,
    /// Largest head of a request, in bytes.
    pub(crate) head_size: usize,
    /// Most headers of a request.
    pub(crate) headers: usize,
    /// How long the body of a request may take to arrive.
    pub(crate) body_timeout: Duration,
    /// How long a connection may be without a request.
    pub(crate) idle_timeout: Duration,
    /// Most connections that have not asked for anything yet.
    pub(crate) waiting: usize,
}

/// Accepts connections until it is told to stop, and answers them from a router.
pub(crate) struct Listener {
    door: Door,
    shared: Arc<Shared>,
    /// Told when connections are to end; each holds a receiver.
    stop: watch::Sender<()>,
}

/// What all connections of a listener share.
struct Shared {
    http: auto::Builder<TokioExecutor>,
    router: Router,
    manners: Manners,
    waiting: Arc<Waiting>,
    metrics: Metrics,
}

impl Listener {
    /// Listens on a bound socket. To be called on a runtime.
    pub(crate) fn new(
        bound: Bound,
        backlog: i32,
        manners: Manners,
        metrics: Metrics,
        router: Router,
    ) -> io::Result<Self> {
        let door = bound.listen(backlog)?;
        let grace = (manners.first_request_timeout / 3).min(GRACE_MAX);
        let patience = Patience { with_all: grace, with_a_crowd: grace / CROWD_GRACE };
        let (http, waiting) = (http(&manners), Waiting::new(manners.waiting, patience));
        let shared = Arc::new(Shared { http, router, manners, waiting, metrics });
        Ok(Self { door, shared, stop: watch::Sender::new(()) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<Address> {
        self.door.address()
    }

    /// Accepts one connection after the other, for ever. Dropping the future between two of them is safe.
    pub(crate) async fn accept(&self) {
        let mut pause = Duration::from_millis(10);
        loop {
            self.shared.waiting.room().await;
            match self.door.accept().await {
                Ok((stream, peer)) => {
                    pause = Duration::from_millis(10);
                    self.shared.metrics.accepted.inc();
                    let (shared, stopping) = (Arc::clone(&self.shared), self.stop.subscribe());
                    let turn = self.shared.waiting.enter(self.shared.manners.sources.counted_as(peer));
                    tokio::spawn(shared.serve(stream, peer, turn, stopping));
                }
                Err(why) if is_of_one_connection(&why) => {
                    tracing::debug!(error = %why, "a connection was gone at once")
                }
                Err(why) => {
                    tracing::warn!(error = %why, pause_ms = pause.as_millis() as u64, "no connection can be accepted now");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Stops listening, and waits until every call has been answered.
    pub(crate) async fn finish(self) {
        drop(self.door);
        let _ = self.stop.send(());
        self.stop.closed().await;
    }
}

fn http(manners: &Manners) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        // Silence between two requests would count as part of the next head.
        .header_read_timeout(None)
        .max_buf_size(manners.head_size)
        .max_headers(manners.headers);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS_MAX)
        .max_pending_accept_reset_streams(HTTP2_RESETS_UNSEEN_MAX)
        .max_local_error_reset_streams(HTTP2_RESETS_CAUSED_MAX)
        .max_send_buf_size(HTTP2_SEND_BYTES)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        // Bounds the number of CONTINUATION frames of a head as well.
        .max_header_list_size(u32::try_from(manners.head_size).unwrap_or(u32::MAX))
        .keep_alive_interval(Some(HTTP2_PING_INTERVAL))
        .keep_alive_timeout(manners.head_timeout);
    http
}

impl Shared {
    /// Serves a connection until it ends or is a socket of a client, which is somebody else's then.
    async fn serve(
        self: Arc<Self>,
        stream: Stream,
        peer: ClientAddress,
        (place, mut told): (Place, oneshot::Receiver<()>),
        mut stopping: watch::Receiver<()>,
    ) {
        let _open = Open::new(&self.metrics);
        let mut timer = std::pin::pin!(tokio::time::sleep(self.manners.first_request_timeout));
        let (stream, client) = tokio::select! {
            arrived = self.arrive(stream, peer) => match arrived {
                Some(arrived) => arrived,
                None => return,
            },
            _ = &mut told => return self.cut(peer, Cut::Crowded),
            () = &mut timer => return self.cut(peer, Cut::Silent),
            _ = stopping.changed() => return,
        };
        let requests = Requests::new(place, client);
        let Manners { sources, body_timeout, .. } = &self.manners;
        let service = requests.answered_from(self.router.clone(), sources.clone(), *body_timeout);
        let stream = TokioIo::new(Noted::new(stream, requests.traffic()));
        let connection = self.http.serve_connection_with_upgrades(stream, service);
        let mut connection = std::pin::pin!(connection);
        let (mut asked, mut idle, mut stopped) = (false, false, false);
        let outcome = loop {
            let served = poll_fn(|context| match connection.as_mut().poll(context) {
                Poll::Pending if asked && !idle && requests.head_has_begun() => Poll::Ready(None),
                served => served.map(Some),
            });
            tokio::select! {
                served = served => match served {
                    Some(outcome) => break outcome,
                    None => timer.as_mut().reset(Instant::now() + self.manners.head_timeout),
                },
                _ = &mut told, if !asked => {
                    if !requests.have_come() {
                        return self.cut(client, Cut::Crowded);
                    }
                    asked = true;
                    timer.as_mut().reset(Instant::now() + self.manners.idle_timeout);
                }
                () = &mut timer, if !stopped || !asked => {
                    if !asked {
                        return self.cut(client, Cut::Silent);
                    }
                    if idle {
                        return;
                    }
                    match requests.look(self.manners.idle_timeout, self.manners.head_timeout) {
                        Look::Again(at) => timer.as_mut().reset(at),
                        Look::SlowHead => return self.cut(client, Cut::Head),
                        Look::Idle => {
                            self.cut(client, Cut::Idle);
                            idle = true;
                            connection.as_mut().graceful_shutdown();
                            timer.as_mut().reset(Instant::now() + self.manners.head_timeout);
                        }
                    }
                }
                _ = stopping.changed(), if !stopped => {
                    stopped = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        };
        if let Err(why) = outcome {
            tracing::debug!(%client, error = %why, "an HTTP connection ended early");
        }
    }

    /// What comes before HTTP: the PROXY header, the TLS handshake. `None` when it does not come to HTTP.
    async fn arrive(&self, stream: Stream, peer: ClientAddress) -> Option<(Stream, ClientAddress)> {
        let client = match self.manners.sources.of_connection(&stream, peer).await {
            Ok(client) => client,
            Err(why) => {
                self.refuse(peer, &why);
                return None;
            }
        };
        let (tls, mut stream) = match (&self.manners.tls, stream) {
            (Some(tls), Stream::Tcp(stream)) => (tls, stream),
            (_, stream) => return Some((stream, client)),
        };
        let mut first = [0];
        if stream.peek(&mut first).await.ok()? == 0 {
            return None;
        }
        if first[0] != TLS_HANDSHAKE {
            self.cut(client, Cut::NoTls);
            // What it has sent has to be taken, or the answer is lost with the connection.
            let _ = stream.try_read(&mut [0; 4_096]);
            let _ = stream.write_all(SPEAK_TLS).await;
            let _ = stream.shutdown().await;
            return None;
        }
        match tls.acceptor().accept(stream).await {
            Ok(stream) => Some((Stream::Tls(Box::new(stream)), client)),
            Err(why) => {
                tracing::debug!(%client, error = %why, "a TLS handshake failed");
                self.cut(client, Cut::Tls);
                None
            }
        }
    }

    fn refuse(&self, peer: ClientAddress, why: &NoSource) {
        match why {
            NoSource::NotAllowed => self.cut(peer, Cut::ProxySource),
            NoSource::Header(why) => {
                tracing::info!(%peer, error = %why, "a connection was refused");
                self.metrics.cut(Cut::ProxyHeader);
            }
            NoSource::Io(why) => tracing::debug!(%peer, error = %why, "a connection ended early"),
        }
    }

    fn cut(&self, client: ClientAddress, why: Cut) {
        tracing::debug!(%client, reason = why.as_str(), waiting = self.waiting.len(), "a connection was cut off");
        self.metrics.cut(why);
    }
}

/// Counts a connection for as long as it is the listener's.
struct Open<'a>(&'a Metrics);

impl<'a> Open<'a> {
    fn new(metrics: &'a Metrics) -> Self {
        metrics.open.inc();
        Self(metrics)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}

/// Errors that say something about one connection and nothing about the next.
fn is_of_one_connection(why: &io::Error) -> bool {
    matches!(
        why.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}
