//! Build, run, drain: the order in which the parts of a server start and stop.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use prometheus_client::registry::Registry;
use tidings_api::{ApiParts, ApiState, Problem, Readiness, Reloads};
use tidings_gateway::{Gateway, Plan};
use tidings_hub::outbox::Bounds;
use tidings_model::Epoch;
use tidings_node::connect::ConnectionLimits;
use tidings_node::{Clock, Node, Parts, StoreError, ids};
use tidings_outbound::{Provider, provider::Recording};
use tidings_store::{EmbeddedStore, Options};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::compat::{self, Listeners, Shared, Systems, Taken};
use crate::config::log::{Level, Writing};
use crate::config::{self, Config, Sources};
use crate::listener::tls::{Tls, TlsError};
use crate::listener::{self, Address, Bound, Manners};
use crate::reload::Reload;
use crate::signals::{Hangups, Stop};
use crate::{bridge, control, greeting, limits, reload, slice};

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The commit that it was built from, when the build was told.
pub(crate) const COMMIT: Option<&str> = option_env!("TIDINGS_COMMIT");

/// How long a call of the API may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// The key of the main listener's address.
pub(crate) const LISTEN: &str = "server.listen";

/// How often the node is told when the certificate ends.
const LOOK_AT_CERTIFICATE_EVERY: Duration = Duration::from_secs(10);

/// Why the server did not start, or did not stop well: one line that says what to do.
#[derive(Debug)]
pub(crate) enum Fatal {
    /// The address that this key sets cannot be listened on.
    Listen(&'static str, Address, io::Error),
    /// The certificate cannot be used.
    Tls(TlsError),
    /// The store cannot be opened or used.
    Store(PathBuf, StoreError),
    /// The namespaces of the configuration cannot be brought about.
    Namespaces(Problem),
    /// The operating system refused something else.
    System(&'static str, io::Error),
    /// Not everything was written down in time.
    Unfinished(Duration),
}

impl fmt::Display for Fatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tls(why) => write!(f, "no TLS: {why} (server.tls)"),
            Self::Listen(_, address @ Address::Unix(_), why) if why.kind() != io::ErrorKind::AddrInUse => {
                write!(
                    f,
                    "cannot listen on {address} ({why}); the directory must exist and be writable, and nothing else be there"
                )
            }
            Self::Listen(key, address, why) if why.kind() == io::ErrorKind::AddrInUse => write!(
                f,
                "port in use: {address} is taken by another process; stop that one, or choose another address with {}",
                setter(key)
            ),
            Self::Listen(key, address, why) if why.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "not allowed to listen on {address} ({why}); choose a port above 1023 with {}, or give the process CAP_NET_BIND_SERVICE",
                setter(key)
            ),
            Self::Listen(key, address, why) => {
                write!(
                    f,
                    "cannot listen on {address} ({why}); choose an address of this machine with {}",
                    setter(key)
                )
            }
            Self::Store(path, why) => store_line(f, &path.display().to_string(), why),
            Self::Namespaces(why) => {
                write!(f, "the namespaces of the configuration cannot be brought about: {}", why.detail())?;
                let fields = why.errors().iter().filter(|_| why.errors().len() > 1);
                fields.into_iter().try_for_each(|error| write!(f, "\n  {} {}", error.field, error.message))
            }
            Self::System(what, why) => write!(f, "{what}: {why}"),
            Self::Unfinished(limit) => write!(
                f,
                "stopping took longer than {limit:?} (server.shutdown_timeout); what was accepted is kept, some receipts may be missing"
            ),
        }
    }
}

/// What sets the address that a key sets: the flag, where there is one.
fn setter(key: &'static str) -> &'static str {
    if key == LISTEN { "--listen" } else { key }
}

fn store_line(f: &mut fmt::Formatter<'_>, path: &str, why: &StoreError) -> fmt::Result {
    match why {
        StoreError::InUse(_) => write!(
            f,
            "data directory in use: {path} belongs to another tidings that is running; stop that one, or choose another directory with --store"
        ),
        StoreError::Full(detail) => {
            write!(f, "the disk with the data directory {path} is full ({detail}); make room and start again")
        }
        StoreError::Damaged(detail) => write!(
            f,
            "the data directory {path} is damaged ({detail}); nothing was thrown away: restore it from a copy, or start anew with --store and another directory"
        ),
        StoreError::Format { found, expected } => write!(
            f,
            "the data directory {path} has format {found}, and this version reads {expected}; start it with the version that wrote it"
        ),
        StoreError::Io(detail) => {
            write!(
                f,
                "the data directory {path} cannot be used ({detail}); check that it exists and may be written"
            )
        }
        StoreError::Closed => write!(f, "the data directory {path} was closed"),
    }
}

/// How the configuration is read again.
pub(crate) struct Again {
    /// Where it comes from.
    pub(crate) sources: Sources,
    /// What is logged.
    pub(crate) level: Level,
}

/// What went wrong when signals cannot be listened for.
const NO_SIGNALS: fn(io::Error) -> Fatal = |why| Fatal::System("signals cannot be listened for", why);

/// Runs the server until it is told to stop.
pub(crate) fn serve(config: Config, again: Again, writing: &Writing, dev: bool) -> Result<(), Fatal> {
    let config = Arc::new(config);
    let files = limits::raise_open_files();
    let server = &config.server;
    let tls = server.tls.clone().map(Tls::read).transpose().map_err(Fatal::Tls)?;
    let bound = listener::bind(&server.listen, server.manner)
        .map_err(|why| Fatal::Listen(LISTEN, server.listen.clone(), why))?;
    bound.bound_unsent(config.outbox.unsent);
    let others = compat::take(&config.compat, server.manner)?;
    others.iter().for_each(|taken| taken.bound.bound_unsent(config.outbox.unsent));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("http")
        .on_thread_start(slice::be_brief)
        .build()
        .map_err(|why| Fatal::System("the runtime cannot be started", why))?;
    // Whoever asks to have the files read again while the store is being opened does not end the process.
    let hangups = {
        let _inside = runtime.enter();
        Hangups::listen().map_err(NO_SIGNALS)?
    };
    runtime.spawn(writing.tell_of_losses());
    let in_store = |why| Fatal::Store(config.store.path.clone(), why);
    let options = Options {
        cache_bytes: config.store.cache,
        prepare_writer: slice::be_brief,
        ..Options::new(Epoch(u32::from_le_bytes(ids::random())))
    };
    let store = EmbeddedStore::open(&config.store.path, options).map_err(in_store)?;
    let way = Way { bound, others, tls, files, hangups };
    let outcome = runtime.block_on(run(&config, again, dev, store, way));
    // Whatever still runs has had its time.
    runtime.shutdown_background();
    outcome
}

/// The ways to reach devices that give no receipt.
fn providers(config: &Config) -> Vec<Arc<dyn Provider>> {
    let recording = config.escalation.record_to.iter().map(Recording::new);
    recording.map(|provider| Arc::new(provider) as Arc<dyn Provider>).collect()
}

/// The way in, made before there is anything behind it.
struct Way {
    bound: Bound,
    /// Those of older systems.
    others: Vec<Taken>,
    tls: Option<Arc<Tls>>,
    /// How many files this process may open.
    files: usize,
    hangups: Hangups,
}

async fn run(
    config: &Arc<Config>,
    again: Again,
    dev: bool,
    store: EmbeddedStore,
    Way { bound, others, tls, files, hangups }: Way,
) -> Result<(), Fatal> {
    let mut stop = Stop::listen().map_err(NO_SIGNALS)?;
    let in_store = |why| Fatal::Store(config.store.path.clone(), why);
    let store = Arc::new(store);
    let mut registry = Registry::default();
    let metrics = Arc::new(tidings_node::Metrics::register(&mut registry));
    let api_metrics = Arc::new(tidings_api::Metrics::register(&mut registry));
    let listener_metrics = listener::Metrics::register(&mut registry);
    // Whether there is a bridge or not: what is not there is 0.
    let heard = bridge::show(&mut registry);
    let (node, inboxes) = Node::start(Parts {
        store: Arc::clone(&store) as Arc<dyn tidings_store::Store>,
        clock: Clock::System,
        shards: config.process.shards,
        name: host_name(),
        limits: ConnectionLimits {
            all: 0,
            per_device: config.limits.connections_per_device,
            per_user: config.limits.connections_per_user,
        },
        providers: providers(config),
        keep_statistics: config.statistics.keep,
        simulations: config.simulations.enabled || dev,
        metrics,
    })
    .await
    .map_err(in_store)?;
    let key = greeting::admin_key(&node, config.process.admin_key.as_ref()).await.map_err(in_store)?;
    let mut settings = gateway_settings(config);
    settings.limits.connections = limits::connections(settings.limits.connections, files);
    let gateway = Gateway::start(Arc::clone(&node), inboxes, settings)
        .map_err(|why| Fatal::System("a shard thread cannot be started", why))?;
    // Not before there are shards, which may be told of it.
    reload::foresee(&node, &config.namespaces).await.map_err(Fatal::Namespaces)?;
    reload::bring_about(&node, &config.namespaces).await.map_err(Fatal::Namespaces)?;
    let ready = Readiness::default();
    let (reloads, asked) = Reloads::new();
    let state = ApiState::from(ApiParts {
        started_at: node.now(),
        node: Arc::clone(&node),
        registry: Arc::new(registry),
        metrics: api_metrics,
        ready: ready.clone(),
        reloads,
        version: VERSION,
        commit: COMMIT,
        request_timeout: REQUEST_TIMEOUT,
    });
    let systems =
        Systems { node: &node, gateway: &gateway, api: &state, heard, declared: &config.namespaces, dev };
    let systems = systems.build(&config.compat).await.map_err(in_store)?;
    let mut router = tidings_api::router(state).merge(gateway.router());
    if dev {
        router = router.merge(demo(&node).await.map_err(in_store)?);
    }
    let in_listen = |why| Fatal::Listen(LISTEN, config.server.listen.clone(), why);
    let shared = Shared {
        backlog: config.server.backlog,
        manners: Manners { tls: tls.clone(), ..manners(config, files) },
        metrics: listener_metrics,
    };
    let main = Taken { key: LISTEN, address: config.server.listen.clone(), bound };
    let (listeners, places) = Listeners::start(main, others, router, systems, &shared)?;
    let address = listeners.address().map_err(in_listen)?;
    if let Some(tls) = &tls {
        tokio::spawn(Arc::clone(tls).watch());
        tokio::spawn(tell_of_the_end(Arc::clone(tls), Arc::downgrade(&node)));
    }
    let (current, last_read) = watch::channel(Arc::clone(config));
    let reload = Reload {
        sources: again.sources,
        level: again.level,
        node: Arc::clone(&node),
        gateway: gateway.clone(),
        tls: tls.clone(),
        started: Arc::clone(config),
        current,
    };
    tokio::spawn(reload.run(hangups, asked));
    let over = control::Asked {
        node: Arc::clone(&node),
        store,
        cache: config.store.cache,
        ready: ready.clone(),
        within: config.server.shutdown_timeout,
    };
    let control = control::listen(&config.store.path, over);
    if let Err(why) = &control {
        tracing::warn!(error = %why, "no control socket: backups have to wait until this server has stopped");
    }
    ready.ready();
    if let Err(why) = greeting::say(&greeting::text(&address, tls.is_some(), &key, dev)) {
        tracing::warn!(error = %why, "standard output cannot be written to: an admin key that was to be shown there once was not; TIDINGS_ADMIN_KEY sets another");
    }
    // What is above has said that nobody hears this.
    let _ = greeting::say(&greeting::places(&places, tls.is_some()));
    tracing::info!(%address, shards = config.process.shards, store = %config.store.path.display(), version = VERSION, "ready");
    let signal = tokio::select! {
        signal = stop.next() => signal,
        () = ready.draining() => "an operator",
        () = listeners.accept() => unreachable!("accepting never ends"),
    };
    ready.drain();
    let config = Arc::clone(&last_read.borrow());
    tracing::info!(signal, timeout = ?config.server.shutdown_timeout, "stopping");
    tokio::select! {
        outcome = drain(&config.server, &node, &gateway, listeners) => outcome,
        signal = stop.next() => {
            tracing::warn!(signal, "stopping at once");
            std::process::exit(1)
        }
    }
}

/// Stops in order: load balancers notice, clients are sent away, calls are answered, everything is written
/// down. Calls are taken until the last client has gone: what is accepted meanwhile is kept like anything else.
async fn drain(
    server: &config::server::Server,
    node: &Node,
    gateway: &Gateway,
    listeners: Listeners,
) -> Result<(), Fatal> {
    let limit = server.shutdown_timeout;
    let deadline = Instant::now() + limit;
    let leaving = async {
        tokio::time::sleep(server.drain_pause.min(limit / 4)).await;
        // A quarter is left for calls and the store, even if some clients do not go.
        let timeout = deadline.saturating_duration_since(Instant::now()).saturating_sub(limit / 4);
        gateway.drain(Plan { window: server.drain_window.min(limit / 2), timeout }).await
    };
    let left = tokio::select! {
        left = leaving => left,
        () = listeners.accept() => unreachable!("accepting never ends"),
    };
    tracing::info!(connections_left = left, "clients have been sent away");
    // Calls may take what is left, but for what the store needs.
    let calls_end = deadline.checked_sub(limit / 8).unwrap_or(deadline);
    if timeout_at(calls_end, listeners.finish()).await.is_err() {
        tracing::warn!("calls were still running");
    }
    match timeout_at(deadline, node.close()).await {
        Ok(Ok(())) => {
            tracing::info!("stopped");
            Ok(())
        }
        Ok(Err(why)) => {
            tracing::error!(error = %why, "the store could not be closed");
            Err(Fatal::System("the store could not be closed", io::Error::other(why.to_string())))
        }
        Err(_) => Err(Fatal::Unfinished(limit)),
    }
}

/// Has the node know when the certificate ends, for whoever asks what is wrong.
async fn tell_of_the_end(tls: Arc<Tls>, node: Weak<Node>) {
    while let Some(node) = node.upgrade() {
        node.certificate_ends(tls.ends());
        drop(node);
        tokio::time::sleep(LOOK_AT_CERTIFICATE_EVERY).await;
    }
}

pub(crate) fn manners(config: &Config, files: usize) -> Manners {
    let limits = &config.limits;
    Manners {
        sources: config.server.sources.clone(),
        tls: None,
        first_request_timeout: limits.first_request_timeout,
        head_timeout: limits.head_timeout,
        head_size: limits.head_size,
        headers: limits.headers,
        body_timeout: limits.body_timeout,
        idle_timeout: limits.idle_timeout,
        waiting: limits.waiting.min(files / 2),
    }
}

pub(crate) fn gateway_settings(config: &Config) -> tidings_gateway::Settings {
    let (clients, limits) = (&config.clients, &config.limits);
    tidings_gateway::Settings {
        ping_interval: clients.ping_interval,
        ping_timeout: clients.ping_timeout,
        heartbeats: clients.heartbeats,
        connect_timeout: clients.connect_timeout,
        body_timeout: limits.body_timeout,
        max_message: clients.max_message,
        engineio3: clients.engineio3,
        compression: clients.compression,
        limits: tidings_gateway::settings::Limits {
            connections: limits.connections,
            per_address: limits.connections_per_address,
            handshakes_per_second: limits.handshakes_per_second,
            handshake_burst: limits.handshake_burst,
        },
        origins: clients.allowed_origins.clone(),
        outbox: Bounds { frames: config.outbox.frames, bytes: config.outbox.size },
        lag: config.overload.lag,
        memory: limits::memory(config.overload.memory),
    }
}

/// What `--dev` adds: a namespace that accepts any client, and a page to try it.
async fn demo(node: &Arc<Node>) -> Result<Router, StoreError> {
    let namespace = greeting::demo_namespace(node).await?;
    Ok(tidings_api::demo::router(&node.make_passing_key(namespace)))
}

/// How this machine is called.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "tidings".to_owned() } else { name }
}

#[cfg(test)]
mod tests;
