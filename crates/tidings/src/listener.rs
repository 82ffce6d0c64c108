//! The listener, and what becomes of a TCP connection until it is HTTP. It knows no path.

mod metrics;
mod request;
mod sources;
mod waiting;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use socket2::{Domain, Protocol, Socket, Type};
use tidings_gateway::Stream;
use tidings_model::ClientAddress;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use metrics::Cut;
pub(crate) use metrics::Metrics;
use request::Requests;
use sources::NoSource;
pub(crate) use sources::Sources;
use waiting::Waiting;

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

/// Bytes that a client may send before they are taken, for each stream and for a whole connection.
const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// How often a silent HTTP/2 connection is pinged: one whose client is gone must not be kept.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(20);

/// How long accepting pauses after an error that will not go away by itself, at most.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Takes an address, without listening yet.
pub(crate) fn bind(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for connections of the process before to be forgotten.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Bounds what the kernel holds for a connection and has not sent yet. Connections have it from the socket that
/// they were accepted on. By itself the kernel would take some megabytes for a client that has stopped reading.
pub(crate) fn bound_unsent(socket: &Socket, bytes: u32) {
    if let Err(why) = socket.set_tcp_notsent_lowat(bytes) {
        tracing::debug!(error = %why, "the kernel does not bound what it has not sent");
    }
}

/// What holds for connections until they are requests.
#[derive(Clone, Debug)]
pub(crate) struct Manners {
    /// Whose word is taken for where a client is.
    pub(crate) sources: Sources,
    /// How long a new connection may take until its first request is there, whatever it sends meanwhile.
    pub(crate) first_request_timeout: Duration,
    /// How long the head of a request may take, and how long HTTP/1 may be silent between two requests.
    pub(crate) head_timeout: Duration,
    /// Largest head of a request, in bytes.
    pub(crate) head_size: usize,
    /// Most headers of a request.
    pub(crate) headers: usize,
    /// How long an HTTP/2 connection may be without a request.
    pub(crate) idle_timeout: Duration,
    /// Most connections that have not asked for anything yet.
    pub(crate) waiting: usize,
}

/// Accepts connections until it is told to stop, and answers them from a router.
pub(crate) struct Listener {
    listener: TcpListener,
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
        socket: &Socket,
        backlog: i32,
        manners: Manners,
        metrics: Metrics,
        router: Router,
    ) -> io::Result<Self> {
        socket.listen(backlog)?;
        let listener = TcpListener::from_std(socket.try_clone()?.into())?;
        let (http, waiting) = (http(&manners), Waiting::new(manners.waiting));
        let shared = Arc::new(Shared { http, router, manners, waiting, metrics });
        Ok(Self { listener, shared, stop: watch::Sender::new(()) })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Accepts one connection after the other, for ever. Dropping the future between two of them is safe.
    pub(crate) async fn accept(&self) {
        let mut pause = Duration::from_millis(10);
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    pause = Duration::from_millis(10);
                    self.shared.metrics.accepted.inc();
                    let (shared, stopping) = (Arc::clone(&self.shared), self.stop.subscribe());
                    tokio::spawn(shared.serve(stream, ClientAddress::new(peer.ip()), stopping));
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
        drop(self.listener);
        let _ = self.stop.send(());
        self.stop.closed().await;
    }
}

fn http(manners: &Manners) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(manners.head_timeout)
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
        stream: TcpStream,
        peer: ClientAddress,
        mut stopping: watch::Receiver<()>,
    ) {
        // Without it a small frame would wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let _open = Open::new(&self.metrics);
        let (place, mut told) = self.waiting.enter();
        let mut timer = std::pin::pin!(tokio::time::sleep(self.manners.first_request_timeout));
        let client = tokio::select! {
            client = self.manners.sources.of_connection(&stream, peer) => match client {
                Ok(client) => client,
                Err(why) => return self.refuse(peer, &why),
            },
            _ = &mut told => return self.cut(peer, Cut::Crowded),
            () = &mut timer => return self.cut(peer, Cut::Silent),
            _ = stopping.changed() => return,
        };
        let requests = Requests::new(place, client);
        let service = requests.answered_from(self.router.clone(), self.manners.sources.clone());
        let connection = self.http.serve_connection_with_upgrades(TokioIo::new(Stream::Tcp(stream)), service);
        let mut connection = std::pin::pin!(connection);
        let (mut asked, mut idle, mut stopped) = (false, false, false);
        let outcome = loop {
            tokio::select! {
                outcome = connection.as_mut() => break outcome,
                _ = &mut told, if !asked => {
                    if !requests.have_come() {
                        return self.cut(client, Cut::Crowded);
                    }
                    asked = true;
                    timer.as_mut().reset(Instant::now() + self.manners.idle_timeout);
                }
                () = &mut timer, if !requests.are_http1() && !stopped => {
                    if !asked {
                        return self.cut(client, Cut::Silent);
                    }
                    if idle {
                        return;
                    }
                    match requests.next_idle(self.manners.idle_timeout) {
                        Some(at) => timer.as_mut().reset(at),
                        None => {
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
