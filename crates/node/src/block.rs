//! Who is kept out of a namespace: users, devices and networks, for a while or until somebody lets them in again.
//!
//! A block is set first, and the shards are told then to send away whom it is about; a client that is on its way in meanwhile
//! is looked at once more when it has arrived.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tidings_model::{
    ClientAddress, DeviceId, Disconnect, NameError, NamespaceName, Network, Ordinal, Timestamp, UserId,
};
use tidings_store::{Store, StoreError};

use crate::namespace::whole;
use crate::{Namespace, Node, ToShard, ids};

/// How each begins in the settings; the name of its namespace and its id follow.
pub(crate) const PREFIX: &str = "block/";

/// Longest time that a block can be said to last. One that is not said to end lasts until it is lifted.
pub const LASTS_MAX: Duration = Duration::from_secs(366 * 24 * 3_600);

/// Most blocks of a namespace.
pub const BLOCKS_MAX: usize = 10_000;

/// Longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 255;

/// Who is kept out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Whom {
    /// A user, on every device.
    User(UserId),
    /// A device, whoever uses it.
    Device(DeviceId),
    /// Whoever comes from these addresses.
    Network(Network),
}

/// A block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What it is lifted by.
    pub id: Arc<str>,
    /// Who is kept out.
    pub whom: Whom,
    /// Why, as whoever set it said.
    pub reason: String,
    /// When it was set.
    pub created_at: Timestamp,
    /// When it ends by itself, if it does.
    pub until: Option<Timestamp>,
}

/// What a block is to be like.
#[derive(Clone, Debug)]
pub struct NewBlock {
    /// Who is to be kept out.
    pub whom: Whom,
    /// Why.
    pub reason: String,
    /// For how long; `None` for until it is lifted.
    pub lasts: Option<Duration>,
}

/// Why nobody was kept out.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// There are as many as may be.
    #[error(
        "the namespace has {BLOCKS_MAX} blocks, which is the limit; lift some, or block a network instead of its addresses"
    )]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Who comes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Visitor<'a> {
    /// Its user, if it has one.
    pub user: Option<&'a UserId>,
    /// Its device, if it has one already.
    pub device: Option<&'a DeviceId>,
    /// Where it comes from.
    pub from: ClientAddress,
}

/// The blocks of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Blocks {
    all: HashMap<Whom, Block>,
    /// How many networks there are of each length, of IPv6 addresses and of IPv4 addresses.
    lengths: BTreeMap<(bool, u8), usize>,
}

/// A block as it is kept.
#[derive(Serialize, Deserialize)]
struct Stored {
    whom: StoredWhom,
    #[serde(default)]
    reason: String,
    created_at: u64,
    until: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StoredWhom {
    User(String),
    Device(String),
    Network(String),
}

impl Blocks {
    fn holding(&self, whom: &Whom, now: Timestamp) -> Option<&Block> {
        self.all.get(whom).filter(|block| block.holds(now))
    }

    /// The block that keeps somebody out, if one does.
    fn against(&self, who: Visitor<'_>, now: Timestamp) -> Option<&Block> {
        if self.all.is_empty() {
            return None;
        }
        let named = [who.user.cloned().map(Whom::User), who.device.cloned().map(Whom::Device)];
        let named = named.iter().flatten().find_map(|whom| self.holding(whom, now));
        named.or_else(|| {
            let ip = who.from.ip()?;
            let lengths = self.lengths.range((ip.is_ipv6(), 0)..=(ip.is_ipv6(), u8::MAX));
            lengths
                .filter_map(|((_, length), _)| Network::around(ip, *length))
                .find_map(|network| self.holding(&Whom::Network(network), now))
        })
    }

    fn insert(&mut self, block: Block) {
        let length = length(&block.whom);
        let before = self.all.insert(block.whom.clone(), block);
        if let (Some(length), None) = (length, before) {
            *self.lengths.entry(length).or_default() += 1;
        }
    }

    fn remove(&mut self, whom: &Whom) {
        if self.all.remove(whom).is_none() {
            return;
        }
        if let Some(length) = length(whom)
            && let Some(count) = self.lengths.get_mut(&length)
        {
            *count -= 1;
            if *count == 0 {
                self.lengths.remove(&length);
            }
        }
    }
}

/// The length of a network that is blocked, and of which addresses it is.
fn length(whom: &Whom) -> Option<(bool, u8)> {
    match whom {
        Whom::Network(network) => Some((network.is_v6(), network.length())),
        Whom::User(_) | Whom::Device(_) => None,
    }
}

impl Block {
    fn holds(&self, now: Timestamp) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn setting(&self, namespace: &NamespaceName) -> String {
        format!("{PREFIX}{namespace}/{}", self.id)
    }

    fn value(&self) -> Result<Bytes, StoreError> {
        let stored = Stored {
            whom: match &self.whom {
                Whom::User(user) => StoredWhom::User(user.to_string()),
                Whom::Device(device) => StoredWhom::Device(device.to_string()),
                Whom::Network(network) => StoredWhom::Network(network.to_string()),
            },
            reason: self.reason.clone(),
            created_at: self.created_at.0,
            until: self.until.map(|at| at.0),
        };
        serde_json::to_vec(&stored)
            .map(Bytes::from)
            .map_err(|why| StoreError::Io(format!("{}: {why}", self.id)))
    }

    /// One as it was kept when only users could be blocked: by the user, until then. When it was set is not known.
    fn of_before(user: &str, until: [u8; 8]) -> Result<Self, NameError> {
        Ok(Self {
            id: format!("block-{}", ids::token()).into(),
            whom: Whom::User(UserId::new(user)?),
            reason: String::new(),
            created_at: Timestamp(0),
            until: Some(Timestamp(u64::from_be_bytes(until))),
        })
    }

    fn read(id: &str, value: &[u8]) -> Result<Self, String> {
        let stored: Stored = serde_json::from_slice(value).map_err(|why| why.to_string())?;
        let whom = match stored.whom {
            StoredWhom::User(user) => UserId::new(&user).map(Whom::User).map_err(|why| why.to_string()),
            StoredWhom::Device(id) => DeviceId::new(&id).map(Whom::Device).map_err(|why| why.to_string()),
            StoredWhom::Network(net) => {
                net.parse().map(Whom::Network).map_err(|_| format!("{net:?} is no network"))
            }
        };
        Ok(Self {
            id: id.into(),
            whom: whom?,
            reason: stored.reason,
            created_at: Timestamp(stored.created_at),
            until: stored.until.map(Timestamp),
        })
    }
}

/// The blocks of all namespaces. Those that are over go.
pub(crate) async fn load(
    store: &dyn Store,
    now: Timestamp,
) -> Result<HashMap<NamespaceName, Blocks>, StoreError> {
    let mut blocks: HashMap<NamespaceName, Blocks> = HashMap::new();
    for (setting, value) in store.list(PREFIX).await? {
        let damaged = |why: &dyn std::fmt::Display| StoreError::Damaged(format!("setting {setting}: {why}"));
        let (name, id) =
            setting[PREFIX.len()..].split_once('/').ok_or_else(|| damaged(&"it is of nobody"))?;
        let name = NamespaceName::new(name).map_err(|why| damaged(&why))?;
        let before = <[u8; 8]>::try_from(&value[..]).ok();
        let block = match before {
            Some(until) => Block::of_before(id, until).map_err(|why| damaged(&why))?,
            None => Block::read(id, &value).map_err(|why| damaged(&why))?,
        };
        if before.is_some() && block.holds(now) {
            store.put(&block.setting(&name), Some(block.value()?)).await?;
        }
        if before.is_some() || !block.holds(now) {
            store.put(&setting, None).await?;
        }
        if block.holds(now) {
            blocks.entry(name).or_default().insert(block);
        }
    }
    Ok(blocks)
}

impl Namespace {
    /// Whether somebody is kept out.
    pub(crate) fn keeps_out(&self, who: Visitor<'_>, now: Timestamp) -> bool {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner).against(who, now).is_some()
    }

    fn block_by_id(&self, id: &str, now: Timestamp) -> Option<Block> {
        let blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.all.values().find(|block| *block.id == *id && block.holds(now)).cloned()
    }
}

impl Node {
    /// Keeps somebody out, and sends away whom that is about. Who is kept out already, is from now on as this says.
    /// Answers the block, and whether there was none.
    ///
    /// # Errors
    /// [`BlockError`]; nothing has changed then.
    pub async fn block(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        new: NewBlock,
    ) -> Result<(Block, bool), BlockError> {
        debug_assert!(new.lasts.is_none_or(|lasts| lasts <= LASTS_MAX), "the caller has looked");
        let turn = namespace.changing().await;
        let now = self.clock.now();
        let (before, over) = {
            let blocks = namespace.blocks.lock().unwrap_or_else(PoisonError::into_inner);
            let before = blocks.holding(&new.whom, now).cloned();
            let full = blocks.all.len() >= BLOCKS_MAX;
            let over =
                blocks.all.values().filter(|block| !block.holds(now) && (full || block.whom == new.whom));
            let over: Vec<Block> = over.cloned().collect();
            if full && over.is_empty() && before.is_none() {
                return Err(BlockError::TooMany);
            }
            (before, over)
        };
        let block = Block {
            id: before
                .as_ref()
                .map_or_else(|| format!("block-{}", ids::token()).into(), |before| before.id.clone()),
            whom: new.whom,
            reason: new.reason,
            created_at: before.as_ref().map_or(now, |before| before.created_at),
            until: new.lasts.map(|lasts| now.after(lasts)),
        };
        let (node, namespace) = (Arc::clone(self), Arc::clone(namespace));
        let blocked = whole(async move {
            let _turn = turn;
            for over in over {
                node.store.put(&over.setting(&namespace.name), None).await?;
                namespace.blocks.lock().unwrap_or_else(PoisonError::into_inner).remove(&over.whom);
            }
            node.store.put(&block.setting(&namespace.name), Some(block.value()?)).await?;
            namespace.blocks.lock().unwrap_or_else(PoisonError::into_inner).insert(block.clone());
            node.send_away(&namespace, &block.whom).await?;
            Ok::<_, StoreError>(block)
        });
        Ok((blocked.await?, before.is_none()))
    }

    /// Lets somebody in again. False when there is no such block.
    ///
    /// # Errors
    /// When it cannot be written down; the block holds then.
    pub async fn unblock(self: &Arc<Self>, namespace: &Arc<Namespace>, id: &str) -> Result<bool, StoreError> {
        let turn = namespace.changing().await;
        let Some(block) = namespace.block_by_id(id, self.clock.now()) else { return Ok(false) };
        let (node, namespace) = (Arc::clone(self), Arc::clone(namespace));
        whole(async move {
            let _turn = turn;
            node.store.put(&block.setting(&namespace.name), None).await?;
            namespace.blocks.lock().unwrap_or_else(PoisonError::into_inner).remove(&block.whom);
            Ok(true)
        })
        .await
    }

    /// The block of somebody, if there is one.
    #[must_use]
    pub fn block_of(&self, namespace: &Namespace, whom: &Whom) -> Option<Block> {
        let blocks = namespace.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        blocks.holding(whom, self.clock.now()).cloned()
    }

    /// The blocks of a namespace that hold, in the order in which they were set; those behind one, if it is said.
    #[must_use]
    pub fn blocks(&self, namespace: &Namespace, behind: Option<&(Timestamp, Arc<str>)>) -> Vec<Block> {
        let now = self.clock.now();
        let place = |block: &Block| (block.created_at, block.id.clone());
        let mut found: Vec<Block> = {
            let blocks = namespace.blocks.lock().unwrap_or_else(PoisonError::into_inner);
            let holding = blocks.all.values().filter(|block| block.holds(now));
            holding.filter(|block| behind.is_none_or(|behind| place(block) > *behind)).cloned().collect()
        };
        found.sort_by_cached_key(place);
        found
    }

    async fn send_away(&self, namespace: &Namespace, whom: &Whom) -> Result<(), StoreError> {
        let devices: Vec<Ordinal> = match whom {
            Whom::User(user) => {
                self.devices_of_user(namespace, user).await?.iter().map(|device| device.ordinal).collect()
            }
            Whom::Device(id) => {
                self.device(namespace, id).await?.iter().map(|device| device.ordinal).collect()
            }
            Whom::Network(network) => {
                let name = namespace.name.clone();
                self.shards.tell(u64::MAX, ToShard::Blocked { namespace: name, network: *network }).await;
                return Ok(());
            }
        };
        self.end_connections(namespace, &devices).await;
        Ok(())
    }

    /// Ends the connections of devices, as the operator wants it. Answers how many there were.
    pub(crate) async fn end_connections(&self, namespace: &Namespace, devices: &[Ordinal]) -> u64 {
        let ordinals: Vec<u32> = devices.iter().map(|device| device.0).collect();
        let connections = namespace.directory().connections_of(&ordinals.iter().copied().collect());
        let (namespace, devices) = (namespace.name.clone(), Some(ordinals.into()));
        // All shards: one may have let somebody in just before this, whom the directory does not know yet.
        self.shards.tell(u64::MAX, ToShard::SendAway { namespace, devices, why: Disconnect::OPERATOR }).await;
        connections
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(whom: Whom, until: Option<u64>) -> Block {
        let until = until.map(Timestamp);
        Block { id: "block-1".into(), whom, reason: "spam".to_owned(), created_at: Timestamp(1), until }
    }

    fn user(name: &str) -> Whom {
        Whom::User(name.parse().unwrap())
    }

    fn network(text: &str) -> Whom {
        Whom::Network(text.parse().unwrap())
    }

    #[test]
    fn who_is_kept_out() {
        let mut blocks = Blocks::default();
        for (whom, until) in [
            (user("ann"), Some(100)),
            (Whom::Device("d1".parse().unwrap()), None),
            (network("10.0.0.0/8"), None),
            (network("192.0.2.7"), Some(100)),
            (network("2001:db8::/32"), None),
        ] {
            blocks.insert(block(whom, until));
        }
        let check = |user: &str, device: &str, from: &str, now: u64, expected: bool| {
            let (user, device) = (UserId::new(user).unwrap(), DeviceId::new(device).unwrap());
            let from = ClientAddress::new(from.parse().unwrap());
            let who = Visitor { user: Some(&user), device: Some(&device), from };
            assert_eq!(blocks.against(who, Timestamp(now)).is_some(), expected, "{who:?} at {now}");
        };
        check("ann", "d2", "192.0.2.1", 99, true);
        check("ann", "d2", "192.0.2.1", 100, false);
        check("bob", "d1", "192.0.2.1", 5, true);
        // A device is not a user of the same name.
        check("d1", "ann", "192.0.2.1", 5, false);
        check("bob", "d2", "10.9.9.9", 5, true);
        check("bob", "d2", "::ffff:10.9.9.9", 5, true);
        check("bob", "d2", "192.0.2.7", 99, true);
        check("bob", "d2", "192.0.2.7", 100, false);
        check("bob", "d2", "192.0.2.8", 5, false);
        check("bob", "d2", "2001:db8:1::1", 5, true);
        check("bob", "d2", "2001:db9::1", 5, false);
        assert!(blocks.against(Visitor::default(), Timestamp(5)).is_none(), "nobody knows who that is");
    }

    #[test]
    fn a_network_that_is_let_in_again_is_in() {
        let mut blocks = Blocks::default();
        let from = Visitor { from: ClientAddress::new("10.0.0.1".parse().unwrap()), ..Visitor::default() };
        for (add, whom, expected) in [
            (true, network("10.0.0.0/8"), true),
            (true, network("10.0.0.0/8"), true),
            (true, network("11.0.0.0/8"), true),
            (false, network("12.0.0.0/8"), true),
            (false, network("10.0.0.0/8"), false),
            (true, network("10.0.0.1"), true),
            (false, network("11.0.0.0/8"), true),
            (false, network("10.0.0.1"), false),
        ] {
            if add {
                blocks.insert(block(whom.clone(), None));
            } else {
                blocks.remove(&whom);
            }
            assert_eq!(blocks.against(from, Timestamp(1)).is_some(), expected, "{add} {whom:?}");
        }
        assert!(blocks.lengths.is_empty() && blocks.all.is_empty());
    }

    #[test]
    fn blocks_are_read_as_they_are_kept() {
        let device = Whom::Device("d/1".parse().unwrap());
        for whom in [user("ann/x"), device, network("::/0"), network("10.0.0.1")] {
            for until in [None, Some(7)] {
                let block = block(whom.clone(), until);
                assert_eq!(Block::read("block-1", &block.value().unwrap()), Ok(block));
            }
        }
        for text in ["", "{}", r#"{"whom":{"network":"x"},"created_at":1,"until":null}"#] {
            assert!(Block::read("b", text.as_bytes()).is_err(), "{text}");
        }
    }
}
