//! The older systems that are served: their routers, their listeners, and the namespaces that they need.

use std::io;
use std::sync::Arc;

use axum::Router;
use tidings_api::declared::Declared;
use tidings_api::{ApiState, compat as api};
use tidings_bridge::Counters;
use tidings_gateway::{Gateway, compat as gateway};
use tidings_model::NamespaceName;
use tidings_node::namespace::{AuthMode, CreateError, Settings};
use tidings_node::{Namespace, Node, StoreError};

use crate::bridge::Backends;
use crate::config::compat::{Compat, LightPush, Served};
use crate::greeting::DEMO;
use crate::listener::{Address, Bound, Listener, Manner, Manners, Metrics, bind};
use crate::run::Fatal;

/// A system as it is served: its name, where, and its paths.
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) listen: Option<Address>,
    pub(crate) router: Router,
}

/// What each system needs of the parts of a server.
pub(crate) struct Systems<'a> {
    pub(crate) node: &'a Arc<Node>,
    pub(crate) gateway: &'a Gateway,
    pub(crate) api: &'a ApiState,
    /// The numbers of what is heard on a Redis.
    pub(crate) heard: Arc<Counters>,
    /// The namespaces of which the configuration says more than that an older system uses them.
    pub(crate) declared: &'a [Declared],
    /// Whether there is a namespace that accepts any client, for development.
    pub(crate) dev: bool,
}

/// Whether a system asks its callers for a key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Calls {
    /// It does, as it always has; who may connect is the namespace's to say.
    Keyed,
    /// It does, because `open` is off: it wants tokens of its clients, too.
    Closed,
    /// It does not: its clients may be anybody, too.
    Open,
}

impl Calls {
    const fn of(open: bool) -> Self {
        if open { Self::Open } else { Self::Closed }
    }
}

impl Systems<'_> {
    /// The systems that are enabled. Their namespaces are there from now on.
    pub(crate) async fn build(self, config: &Compat) -> Result<Vec<System>, StoreError> {
        let (clients, state) = (self.gateway, self.api);
        let mut systems = Vec::new();
        let mut add = |name, listen: &Option<Address>, router: Router| {
            let where_to = listen.as_ref().map_or("the main listener".to_owned(), ToString::to_string);
            tracing::info!(system = name, on = where_to, "an older system is served");
            systems.push(System { name, listen: listen.clone(), router });
        };
        if let Some(Served { listen, settings }) = &config.light_push {
            let LightPush { socket_path: path, callback_private } = settings;
            self.node.allow_private_callbacks(*callback_private);
            let at = |path: &str| clients.light_push(gateway::LightPush { socket_path: path.to_owned() });
            let mut router =
                at(path).merge(api::light_push::router(state.clone(), api::light_push::Settings {}));
            if listen.is_some() && path != SOCKET_PATH {
                router = router.merge(at(SOCKET_PATH));
            }
            if listen.is_some() {
                router = router.fallback(api::light_push::not_found);
            }
            add("light_push", listen, router);
        }
        if let Some(Served { listen, settings }) = &config.push_koa {
            self.namespace(config, &settings.namespace, "push", Calls::of(settings.open)).await?;
            let backends = settings.redis.as_ref().map(|redis| Backends::new(redis, settings.servers));
            match backends {
                Some(Ok(backends)) => self.node.set_logins(Arc::new(backends)),
                Some(Err(why)) => tracing::error!("compat.push_koa.redis {why}"),
                None => {}
            }
            let router = clients.push_koa(settings.gateway());
            add("push_koa", listen, router.merge(api::push_koa::router(state.clone(), settings.api())));
        }
        if let Some(Served { listen, settings }) = &config.gopusher {
            self.namespace(config, &settings.namespace, "gopusher", Calls::of(settings.open)).await?;
            let router = clients.gopusher(settings.gateway());
            add(
                "gopusher",
                listen,
                router.merge(api::gopusher::router(state.clone(), settings.api(listen.is_some()))),
            );
        }
        if let Some(Served { listen, settings }) = &config.go_redis {
            self.namespace(config, &settings.namespace, "Channels", Calls::of(settings.open)).await?;
            if let Err(why) = settings.bridge().start(self.node, Arc::clone(&self.heard)) {
                tracing::error!("compat.go_redis.redis {why}");
            }
            let router = clients.go_redis(settings.gateway());
            add("go_redis", listen, router.merge(api::go_redis::router(state.clone(), settings.api())));
        }
        if let Some(Served { listen, settings }) = &config.message_push {
            self.namespace(config, &settings.namespace, "message-push", Calls::Keyed).await?;
            if settings.derived_secrets {
                tracing::warn!(
                    "compat.message_push.derived_secrets is on: whoever knows how its secrets are computed can push"
                );
            }
            let alone = listen.is_some();
            let router = clients.message_push(settings.gateway(self.node, alone));
            add(
                "message_push",
                listen,
                router.merge(api::message_push::router(state.clone(), settings.api(alone))),
            );
        }
        Ok(systems)
    }

    /// Sees to it that a namespace is there, and forgets who was there for one connection of an earlier life only.
    async fn namespace(
        &self,
        config: &Compat,
        name: &NamespaceName,
        title: &str,
        calls: Calls,
    ) -> Result<(), StoreError> {
        if calls == Calls::Open {
            tracing::warn!(namespace = %name, "an older system takes calls without a key: whoever reaches its listener can push");
        }
        if self.node.namespace(name.as_str()).is_none() {
            let auth = if calls == Calls::Open { AuthMode::Open } else { AuthMode::Token };
            let settings = Settings::new(title, auth, self.node.now());
            match self.node.create_namespace(name.clone(), settings).await {
                Ok(_) => tracing::info!(namespace = %name, "created, for an older system"),
                Err(CreateError::Exists | CreateError::Going) => {}
                Err(CreateError::Store(why)) => return Err(why),
            }
        }
        let Some(namespace) = self.node.namespace(name.as_str()) else { return Ok(()) };
        self.agree(config, &namespace, calls).await;
        let node = Arc::clone(self.node);
        tokio::spawn(async move {
            match node.forget_passing(&namespace).await {
                Ok(0) => {}
                Ok(devices) => {
                    tracing::info!(namespace = %namespace.name, devices, "forgotten: they were there for one connection")
                }
                Err(error) => {
                    tracing::warn!(%error, "devices that were there for one connection stay registered")
                }
            }
        });
        Ok(())
    }

    /// Sees to it that a namespace lets in whom its system lets in, or says why it does not.
    async fn agree(&self, config: &Compat, namespace: &Arc<Namespace>, calls: Calls) {
        let name = &namespace.name;
        let changing = namespace.changing().await;
        let settings = namespace.settings();
        match calls {
            Calls::Open if settings.auth.verifies() => {
                let mode = settings.auth.as_str();
                tracing::warn!(namespace = %name, "an older system is open, but its clients need tokens: auth.mode of the namespace is `{mode}`, and stays so");
            }
            Calls::Closed if settings.auth == AuthMode::Open => {
                let declared = self.declared.iter().any(|one| one.name() == name);
                let demo = self.dev && name.as_str() == DEMO;
                if declared || demo || config.opens(name) {
                    tracing::warn!(namespace = %name, "an older system is not open, but whoever reaches the server can connect as anybody: auth.mode of the namespace is `open`, and stays so");
                    return;
                }
                let settings = Settings { auth: AuthMode::Token, ..Settings::clone(&settings) };
                if let Err(error) = self.node.change_namespace(changing, settings).await {
                    tracing::error!(%error, namespace = %name, "the namespace of an older system stays open: its settings cannot be written down");
                    return;
                }
                tracing::warn!(namespace = %name, "the namespace of an older system was open and now wants tokens: auth.mode is `token`, since the system is not open; one that is declared in the configuration stays as it is declared");
            }
            Calls::Keyed | Calls::Closed | Calls::Open => {}
        }
    }
}

/// Where the clients of Socket.IO look unless they are told.
const SOCKET_PATH: &str = "/socket.io/";

/// The main listener, and those of older systems.
pub(crate) struct Listeners {
    main: Listener,
    others: Vec<Listener>,
}

/// What the listeners have in common.
pub(crate) struct Shared {
    pub(crate) backlog: i32,
    pub(crate) manners: Manners,
    pub(crate) metrics: Metrics,
}

/// Where each system is that has a listener of its own.
pub(crate) type Places = Vec<(&'static str, Address)>;

/// An address that was taken before anything else is done.
pub(crate) struct Taken {
    /// The key that it was set with.
    pub(crate) key: &'static str,
    pub(crate) address: Address,
    pub(crate) bound: Bound,
}

/// Takes the addresses of the systems that have their own.
pub(crate) fn take(config: &Compat, manner: Manner) -> Result<Vec<Taken>, Fatal> {
    let mut taken = Vec::new();
    for (key, address) in config.addresses() {
        let bound = bind(&address, manner).map_err(|why| Fatal::Listen(key, address.clone(), why))?;
        taken.push(Taken { key, address, bound });
    }
    Ok(taken)
}

impl Listeners {
    /// Listens everywhere. Answers where each system is that has a listener of its own.
    pub(crate) fn start(
        main: Taken,
        mut taken: Vec<Taken>,
        router: Router,
        systems: Vec<System>,
        shared: &Shared,
    ) -> Result<(Self, Places), Fatal> {
        let listen = |Taken { key, address, bound }, router| {
            let (manners, metrics) = (shared.manners.clone(), shared.metrics.clone());
            let listener = Listener::new(bound, shared.backlog, manners, metrics, router);
            let listener = listener.and_then(|listener| Ok((listener.address()?, listener)));
            listener.map_err(|why| Fatal::Listen(key, address, why))
        };
        let (mut on_main, mut others, mut places) = (router, Vec::new(), Vec::new());
        for System { name, listen: at, router } in systems {
            if at.is_none() {
                on_main = on_main.merge(router);
                continue;
            }
            let key = format!("compat.{name}.listen");
            let Some(index) = taken.iter().position(|taken| taken.key == key) else {
                return Err(Fatal::System("an older system has no listener", io::ErrorKind::NotFound.into()));
            };
            let (address, listener) = listen(taken.remove(index), router)?;
            places.push((name, address));
            others.push(listener);
        }
        let (_, main) = listen(main, on_main)?;
        Ok((Self { main, others }, places))
    }

    /// Where the main listener is.
    pub(crate) fn address(&self) -> io::Result<Address> {
        self.main.address()
    }

    /// Accepts one connection after the other, for ever. Dropping the future between two of them is safe.
    pub(crate) async fn accept(&self) {
        let all = std::iter::once(&self.main).chain(&self.others).map(|listener| Box::pin(listener.accept()));
        futures_util::future::select_all(all).await;
    }

    /// Stops listening, and waits until every call has been answered.
    pub(crate) async fn finish(self) {
        let all = std::iter::once(self.main).chain(self.others).map(Listener::finish);
        futures_util::future::join_all(all).await;
    }
}
