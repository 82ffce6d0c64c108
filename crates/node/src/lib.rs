//! The use cases, one file for each verb.
//!
//! The node composes: it asks the store, decides by the rules of a namespace, tells the shards what to
//! deliver and the ledger what happened. It knows no socket, no client protocol and no HTTP; the shells
//! (gateway and API) translate and call one use case each.
//!
//! Reading order: [`publish`] (a push becomes a message), [`deliver`] (to the shards), [`connect`] (a
//! device comes and goes), [`resume`] (what it missed), [`join`] (rooms), [`channels`] (rooms that are there because somebody said so), [`relay`] (a client publishes), [`ask`] (the business system is asked), [`ack`] (it has the message),
//! [`ledger`] (who has it and who has not), [`due`] (what happens later), [`escalate`] (another way is tried), [`recall`]
//! (it is withdrawn), [`retain`] (it is kept long enough), [`remove`] (a namespace goes), [`trace`] (why somebody has it or not), [`notify`] (the
//! business system hears of it), [`presence`] (who comes and goes), [`statistics`] (what happened, in numbers), [`simulate`] (faults on purpose),
//! [`history`] (what was pushed is found again), [`rates`] (how often), [`block`] (who is kept out), [`observe`] (who looks on), [`alerts`] (what is wrong),
//! [`logins`] (who hears of a login), [`light_push`] (what an older system had besides), [`namespace`] (whose rules hold).

pub mod ack;
pub mod alerts;
pub mod ask;
pub mod block;
pub mod channels;
pub mod clock;
pub mod connect;
pub mod connections;
pub mod deliver;
pub mod devices;
pub mod due;
pub mod escalate;
pub mod forget;
pub mod history;
pub mod ids;
pub mod join;
pub(crate) mod jwks;
pub mod keys;
pub mod kick;
pub mod ledger;
pub mod light_push;
pub mod logins;
pub mod lookup;
pub(crate) mod mailbox;
pub mod members;
pub mod merge_patch;
pub mod metrics;
pub mod namespace;
pub mod notify;
pub mod observe;
pub mod passport;
pub mod permit;
pub mod presence;
pub mod profile;
pub mod publish;
pub(crate) mod quiet;
pub mod rates;
pub mod recall;
pub mod relay;
pub mod remove;
pub mod resume;
pub mod retain;
pub mod revoke;
pub mod rooms;
pub mod simulate;
pub mod statistics;
#[cfg(test)]
mod tests;
pub mod token;
pub mod trace;
pub mod vitals;

use std::collections::{HashMap, HashSet};
use std::hash::RandomState;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use tidings_model::NamespaceName;
use tidings_outbound::Provider;
use tidings_store::{DueQueue, Store};
use tokio::sync::mpsc;

pub use clock::Clock;
pub use deliver::ToShard;
pub use metrics::Metrics;
pub use namespace::Namespace;
pub use tidings_store::{Device, StoreError};

/// A node: one process's view of the whole.
pub struct Node {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) ids: ids::NoticeIds,
    pub(crate) salts: ids::Salts,
    pub(crate) namespaces: RwLock<HashMap<NamespaceName, Arc<Namespace>>>,
    /// Whoever creates a namespace has this.
    pub(crate) creating: Arc<tokio::sync::Mutex<()>>,
    /// The namespaces that are being removed: there for nobody any more.
    pub(crate) going: tokio::sync::watch::Sender<HashSet<NamespaceName>>,
    pub(crate) shards: deliver::Shards,
    pub(crate) publisher: mpsc::Sender<publish::Job>,
    pub(crate) backlog: Arc<publish::Backlog>,
    pub(crate) ledger: ledger::Ledger,
    pub(crate) due: Arc<due::DueTimes>,
    /// The rungs of the ladder, in their order.
    pub(crate) providers: Vec<Arc<dyn Provider>>,
    pub(crate) keys: keys::Keys,
    pub(crate) hooks: notify::Hooks,
    pub(crate) alerts: alerts::Alerts,
    pub(crate) receipts: Arc<presence::Receipts>,
    pub(crate) observers: Arc<observe::Observers>,
    pub(crate) numbers: presence::Numbers,
    pub(crate) turns: join::Turns,
    /// Recalls of messages, by their numbers.
    pub(crate) recalls: join::Turns,
    /// Whoever sends scheduled messages has it alone; whoever takes them away shares it, so that none is sent that is gone.
    pub(crate) sending: tokio::sync::RwLock<()>,
    pub(crate) limits: connect::ConnectionLimits,
    pub(crate) statistics: statistics::Statistics,
    pub(crate) simulations: simulate::Simulations,
    pub(crate) clients: rates::Clients,
    /// What calls on our own account.
    pub(crate) outbound: tidings_outbound::hook::Client,
    /// What is told of logins, once somebody has said.
    pub(crate) logins: OnceLock<Arc<dyn logins::Logins>>,
    /// Whether the callbacks of light-push may have private addresses in every namespace.
    pub(crate) private_callbacks: std::sync::atomic::AtomicBool,
    /// Keyed at random: nobody can choose a user whose count is another's.
    pub(crate) hasher: RandomState,
    metrics: Arc<Metrics>,
    name: String,
    runtime: tokio::runtime::Handle,
}

/// What a node is built from.
pub struct Parts {
    /// What survives.
    pub store: Arc<dyn Store>,
    /// What time it is.
    pub clock: Clock,
    /// How many shards there are: 1 to [`tidings_hub::directory::SHARDS_MAX`].
    pub shards: usize,
    /// How clients and operators see this node called.
    pub name: String,
    /// How many connections one device and one user may have.
    pub limits: connect::ConnectionLimits,
    /// The ways to reach devices that give no receipt, in the order in which they are tried; at most
    /// [`escalate::PROVIDERS_MAX`].
    pub providers: Vec<Arc<dyn Provider>>,
    /// For how long statistics are kept.
    pub keep_statistics: statistics::Keep,
    /// Whether faults may be simulated.
    pub simulations: bool,
    /// Where numbers go.
    pub metrics: Arc<Metrics>,
}

impl Node {
    /// Builds a node on what the store holds, and the inbox of each shard. To be called on a runtime: the
    /// node's actors run there until the node is dropped.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn start(parts: Parts) -> Result<(Arc<Self>, Vec<mpsc::Receiver<ToShard>>), StoreError> {
        let (shards, inboxes) = deliver::Shards::new(parts.shards);
        let (publisher, jobs) = mpsc::channel(publish::QUEUE_JOBS);
        let statistics = statistics::Statistics::new(parts.keep_statistics);
        let (receipts, observers) = Default::default();
        let ledger = ledger::Ledger::start(
            Arc::clone(&parts.store),
            parts.clock.clone(),
            &parts.metrics,
            statistics.tally(),
            &receipts,
            &observers,
        );
        let outbound = tidings_outbound::hook::Client::new(tidings_outbound::hook::Options::default());
        let going = remove::load(&*parts.store).await?;
        let mut namespaces = namespace::load(&*parts.store, parts.clock.now(), &outbound).await?;
        namespaces.retain(|name, _| !going.contains(name));
        let (store, clock, metrics) = (&parts.store, &parts.clock, &parts.metrics);
        let hooks = notify::Hooks::start(
            Arc::clone(store),
            clock.clone(),
            Arc::clone(metrics),
            outbound.clone(),
            &namespaces,
        );
        let hooks = hooks.await?;
        let node = Arc::new(Self {
            ids: ids::NoticeIds::default(),
            salts: ids::Salts::default(),
            turns: join::Turns::default(),
            recalls: join::Turns::default(),
            sending: tokio::sync::RwLock::default(),
            namespaces: RwLock::new(namespaces),
            creating: Arc::default(),
            going: tokio::sync::watch::Sender::new(going.clone()),
            keys: keys::Keys::load(&*parts.store).await?,
            hooks,
            alerts: alerts::Alerts::default(),
            receipts,
            observers,
            numbers: presence::Numbers::load(&*parts.store, parts.clock.now()).await?,
            store: parts.store,
            clock: parts.clock,
            shards,
            publisher,
            backlog: Arc::default(),
            ledger,
            due: Arc::default(),
            providers: parts.providers.into_iter().take(escalate::PROVIDERS_MAX).collect(),
            limits: parts.limits,
            statistics,
            simulations: simulate::Simulations::new(parts.simulations),
            clients: rates::Clients::default(),
            outbound,
            logins: OnceLock::new(),
            private_callbacks: false.into(),
            hasher: RandomState::new(),
            metrics: parts.metrics,
            name: parts.name,
            runtime: tokio::runtime::Handle::current(),
        });
        tokio::spawn(publish::run(Arc::downgrade(&node), jobs));
        for queue in DueQueue::ALL {
            tokio::spawn(due::run(Arc::downgrade(&node), queue));
        }
        node.namespaces().iter().for_each(|namespace| node.watch(namespace));
        tokio::spawn(statistics::run(Arc::downgrade(&node)));
        tokio::spawn(retain::run(Arc::downgrade(&node)));
        tokio::spawn(jwks::run(Arc::downgrade(&node)));
        tokio::spawn(alerts::run(Arc::downgrade(&node)));
        tokio::spawn(history::indexer::run(Arc::downgrade(&node)));
        for name in going {
            node.keys.forget_all(&name);
            node.go_on_removing(name, None);
        }
        Ok((node, inboxes))
    }

    /// How clients and operators see this node called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where numbers go.
    #[must_use]
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// What time it is.
    #[must_use]
    pub fn now(&self) -> tidings_model::Timestamp {
        self.clock.now()
    }

    /// Which life of the store this is.
    #[must_use]
    pub fn epoch(&self) -> tidings_model::Epoch {
        self.store.epoch()
    }

    /// The newest message of a namespace.
    #[must_use]
    pub fn head(&self, namespace: &tidings_model::NamespaceName) -> tidings_model::Seq {
        self.store.head(namespace)
    }

    /// Brings the numbers of the node's queues up to date; called every now and then.
    pub fn count_queues(&self) {
        let (pushes, bytes) = self.backlog.len();
        let hooks = self.hooks.len();
        for (queue, length) in [
            ("pushes", pushes as u64),
            ("push_bytes", bytes as u64),
            ("ledger", self.ledger.len() as u64),
            ("notices", hooks.waiting),
            ("dead_letters", hooks.dead),
        ] {
            let label = metrics::Queue { queue, shard: None };
            self.metrics.queued.get_or_create(&label).set(i64::try_from(length).unwrap_or(i64::MAX));
        }
    }

    /// Does something on the node's own runtime: what reads much must not hold up a shard.
    ///
    /// # Errors
    /// When the runtime is going away, and what the work itself answers.
    pub async fn elsewhere<T: Send + 'static>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.runtime.spawn(work).await.unwrap_or(Err(StoreError::Closed))
    }

    /// A namespace, if it exists.
    #[must_use]
    pub fn namespace(&self, name: &str) -> Option<Arc<Namespace>> {
        self.namespaces.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Writes down everything that is only in memory.
    pub async fn flush(&self) {
        self.ledger.flush().await;
        self.flush_presence().await;
        self.write_statistics().await;
    }

    /// Writes down everything that is only in memory and closes the store. Nothing is accepted afterwards.
    ///
    /// # Errors
    /// When the store cannot be written.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.ledger.flush().await;
        self.flush_presence().await;
        self.hooks.stop().await;
        self.write_statistics().await;
        self.store.close().await
    }
}
