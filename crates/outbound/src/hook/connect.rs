//! Connections to hooks: the name is resolved, its addresses are judged, and what is connected to is one of these.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OnceCell, Semaphore};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::{Failure, HookUrl, Host, Options, Roots};
use crate::guard;

/// Most names that are resolved at once. Each takes a thread until the resolver has given up, however long that is;
/// who comes later waits, and its time runs.
const LOOKUPS_MAX: usize = 32;

/// Most addresses of a name that are tried.
const ADDRESSES_MAX: usize = 4;

/// How long a connection is used. A name may lead somewhere else afterwards.
const CONNECTION_AGE_MAX: Duration = Duration::from_secs(60);

/// Most bytes of the head of an answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What connects.
pub(super) struct Connector {
    pub(super) options: Options,
    lookups: Arc<Semaphore>,
    tls: OnceCell<TlsConnector>,
}

impl Connector {
    pub(super) fn new(options: Options) -> Self {
        Self { options, lookups: Arc::new(Semaphore::new(LOOKUPS_MAX)), tls: OnceCell::new() }
    }

    /// Connects, within the time there is for it.
    pub(super) async fn connect(&self, url: &HookUrl, allow_private: bool) -> Result<Kept, Failure> {
        let deadline = Instant::now() + self.options.connect_timeout;
        let connected = timeout_at(deadline, async {
            let addresses = self.addresses(url, allow_private).await?;
            let socket = dial(&addresses, deadline).await?;
            // What is said to a hook is said at once.
            let _ = socket.set_nodelay(true);
            if !url.tls() {
                return Kept::over(socket).await;
            }
            let name = match url.host() {
                Host::Name(name) => ServerName::try_from(name.trim_end_matches('.').to_owned()),
                Host::Address(address) => Ok(ServerName::from(*address)),
            };
            let name = name.map_err(|why| Failure::Tls(why.to_string()))?;
            let tls = self.tls().await?.connect(name, socket).await;
            Kept::over(tls.map_err(|why| Failure::Tls(why.to_string()))?).await
        });
        connected.await.unwrap_or(Err(Failure::Timeout))
    }

    /// The addresses of a URL, all of them judged: one that must not be called spoils the others.
    pub(super) async fn addresses(
        &self,
        url: &HookUrl,
        allow_private: bool,
    ) -> Result<Vec<SocketAddr>, Failure> {
        let found = match url.host() {
            Host::Address(address) => vec![*address],
            Host::Name(name) => self.resolve(name).await?,
        };
        for address in &found {
            guard::check(*address, allow_private).map_err(Failure::Forbidden)?;
        }
        Ok(found.into_iter().map(|address| SocketAddr::new(address, url.port())).collect())
    }

    async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Failure> {
        let turn = Arc::clone(&self.lookups).acquire_owned().await;
        let turn = turn.map_err(|why| Failure::Unresolved(why.to_string()))?;
        let name = name.to_owned();
        let looking = tokio::task::spawn_blocking(move || {
            let found = (name.as_str(), 0).to_socket_addrs();
            // Only now: whoever asked may have gone long ago.
            drop(turn);
            found.map(|all| all.map(|address| address.ip()).collect::<Vec<_>>())
        });
        match looking.await {
            Ok(Ok(found)) if found.is_empty() => Err(Failure::Unresolved("it has no address".to_owned())),
            Ok(Ok(found)) => Ok(found),
            Ok(Err(why)) => Err(Failure::Unresolved(why.to_string())),
            Err(why) => Err(Failure::Unresolved(why.to_string())),
        }
    }

    async fn tls(&self) -> Result<&TlsConnector, Failure> {
        let roots = self.options.roots.clone();
        let made = self.tls.get_or_try_init(|| async {
            let made = tokio::task::spawn_blocking(move || believe(&roots)).await;
            made.map_err(|why| Failure::Tls(why.to_string()))?
        });
        made.await
    }
}

/// A TLS client that believes these.
fn believe(roots: &Roots) -> Result<TlsConnector, Failure> {
    let mut store = RootCertStore::empty();
    match roots {
        Roots::System => {
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Roots::Pem(text) => {
            let all = CertificateDer::pem_slice_iter(text.as_bytes());
            store.add_parsable_certificates(all.filter_map(Result::ok));
        }
    }
    if store.is_empty() {
        let text = "this machine believes no certificates: install ca-certificates, or set SSL_CERT_FILE";
        return Err(Failure::Tls(text.to_owned()));
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|why| Failure::Tls(why.to_string()))?;
    let mut config = config.with_root_certificates(store).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects to one of these addresses; each has its share of the time that is left.
async fn dial(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, Failure> {
    let tried = &addresses[..addresses.len().min(ADDRESSES_MAX)];
    let mut last = Failure::Unreachable("it has no address".to_owned());
    for (index, address) in tried.iter().enumerate() {
        let left = deadline.saturating_duration_since(Instant::now());
        let share = left / u32::try_from(tried.len() - index).unwrap_or(1);
        last = match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(why)) => Failure::Unreachable(why.to_string()),
            Err(_) => Failure::Timeout,
        };
    }
    Err(last)
}

/// A connection, and the task that drives it.
pub(super) struct Kept {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    since: Instant,
}

impl Kept {
    async fn over(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Self, Failure> {
        let mut http = http1::Builder::new();
        http.max_buf_size(HEAD_BYTES_MAX);
        let (sender, connection) = http.handshake(TokioIo::new(io)).await.map_err(|why| broken(&why))?;
        let driver = tokio::spawn(async move {
            // Whoever waits for an answer hears of it.
            let _ = connection.await;
        });
        Ok(Self { sender, driver, since: Instant::now() })
    }

    /// Whether it may be used again.
    pub(super) fn fresh(&self) -> bool {
        !self.sender.is_closed() && self.since.elapsed() < CONNECTION_AGE_MAX
    }

    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Failure> {
        self.sender.ready().await.map_err(|why| broken(&why))?;
        self.sender.send_request(request).await.map_err(|why| broken(&why))
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        // An answer that nobody waits for any more would keep the connection open.
        self.driver.abort();
    }
}

fn broken(why: &hyper::Error) -> Failure {
    let source = std::error::Error::source(why);
    let detail = source.and_then(|source| source.downcast_ref::<io::Error>());
    match detail {
        Some(detail) => Failure::Broken(format!("{why} ({detail})")),
        None => Failure::Broken(why.to_string()),
    }
}
