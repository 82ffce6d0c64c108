//! The listener, and what becomes of a TCP connection until it is HTTP. It knows no path.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use socket2::{Domain, Protocol, Socket, Type};
use tidings_gateway::Stream;
use tokio::net::{TcpListener, TcpStream};
use tower::ServiceExt as _;

/// How long the head of a request may take to arrive.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a new connection may take until its first request is there, whatever it sends meanwhile.
const FIRST_REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

/// Largest head of a request, in bytes.
const HEAD_MAX: usize = 64 * 1024;

/// Most headers of a request.
const HEADERS_MAX: usize = 100;

/// Most requests at once on an HTTP/2 connection.
const HTTP2_STREAMS_MAX: u32 = 256;

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

/// Accepts connections until it is told to stop, and answers them from `router`.
pub(crate) struct Listener {
    listener: TcpListener,
    http: auto::Builder<TokioExecutor>,
    router: Router,
    open: GracefulShutdown,
}

impl Listener {
    /// Listens on a bound socket. To be called on a runtime.
    pub(crate) fn new(socket: &Socket, backlog: i32, router: Router) -> io::Result<Self> {
        socket.listen(backlog)?;
        let listener = TcpListener::from_std(socket.try_clone()?.into())?;
        let mut http = auto::Builder::new(TokioExecutor::new());
        http.http1()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .max_buf_size(HEAD_MAX)
            .max_headers(HEADERS_MAX);
        http.http2()
            .timer(TokioTimer::new())
            .max_concurrent_streams(HTTP2_STREAMS_MAX)
            .max_header_list_size(HEAD_MAX as u32)
            .keep_alive_interval(Some(Duration::from_secs(20)))
            .keep_alive_timeout(HEADER_READ_TIMEOUT);
        Ok(Self { listener, http, router, open: GracefulShutdown::new() })
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
                    self.serve(stream, peer);
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

    fn serve(&self, stream: TcpStream, peer: SocketAddr) {
        // Without it a small frame would wait for the acknowledgement of the one before.
        let _ = stream.set_nodelay(true);
        let asked = Arc::new(AtomicBool::new(false));
        let (router, started) = (self.router.clone(), Arc::clone(&asked));
        let service = service_fn(move |request: Request<Incoming>| {
            started.store(true, Ordering::Relaxed);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(ConnectInfo(peer));
            router.clone().oneshot(request)
        });
        let connection =
            self.http.serve_connection_with_upgrades(TokioIo::new(Stream::Tcp(stream)), service).into_owned();
        let connection = self.open.watch(connection);
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let ended = tokio::time::timeout(FIRST_REQUEST_TIMEOUT, connection.as_mut()).await;
            let outcome = match ended {
                Ok(outcome) => outcome,
                Err(_) if !asked.load(Ordering::Relaxed) => return tracing::debug!(%peer, "no request came"),
                Err(_) => connection.await,
            };
            if let Err(why) = outcome {
                tracing::debug!(%peer, error = %why, "an HTTP connection ended early");
            }
        });
    }

    /// Stops listening, and waits until every call has been answered.
    pub(crate) async fn finish(self) {
        drop(self.listener);
        self.open.shutdown().await;
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
