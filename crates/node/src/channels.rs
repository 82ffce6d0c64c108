//! Channels: rooms that are there because somebody said so, for a system whose clients may subscribe to nothing else. The
//! configuration names them, by patterns, too; what is added and removed while it runs is kept, and holds after a restart.
//!
//! Nothing is stored for a channel that is as the configuration has it. What is said besides is a mark: there, or not.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use tidings_model::{Glob, NamespaceName, Ordinal, RoomName};
use tidings_store::{Store, StoreError};
use tokio::sync::watch;

use crate::namespace::whole;
use crate::{Namespace, Node};

/// How each mark begins in the settings; the name of its namespace and the channel's follow.
pub(crate) const PREFIX: &str = "channel/";

/// Most marks of a namespace.
pub const MARKS_MAX: usize = 10_000;

/// Devices that are taken out of a channel at once: each is a change of its own, and they share the disk.
const SIDE_BY_SIDE: usize = 256;

/// Devices of which that is looked up together.
const LOOKED_AT: usize = 4_096;

/// What has been said of each channel: that it is there, or that it is not.
pub(crate) type Marks = BTreeMap<RoomName, bool>;

/// The channels of a namespace.
#[derive(Debug, Default)]
pub(crate) struct Channels {
    known: Mutex<Known>,
    changed: watch::Sender<()>,
}

#[derive(Debug, Default)]
struct Known {
    names: BTreeSet<RoomName>,
    patterns: Vec<Glob>,
    marks: Marks,
}

/// Why a channel was not added or removed.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// As many are marked as may be.
    #[error(
        "{MARKS_MAX} channels have been added or removed, which is the limit; name them in the configuration"
    )]
    TooMany,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Known {
    fn is_configured(&self, channel: &RoomName) -> bool {
        self.names.contains(channel) || self.patterns.iter().any(|pattern| pattern.fits(channel.as_str()))
    }

    fn has(&self, channel: &RoomName) -> bool {
        self.marks.get(channel).copied().unwrap_or_else(|| self.is_configured(channel))
    }
}

impl Channels {
    pub(crate) fn set_marks(&self, marks: Marks) {
        self.known().marks = marks;
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The marks of all namespaces.
pub(crate) async fn load(store: &dyn Store) -> Result<HashMap<NamespaceName, Marks>, StoreError> {
    let mut all: HashMap<NamespaceName, Marks> = HashMap::new();
    for (setting, value) in store.list(PREFIX).await? {
        let names = setting[PREFIX.len()..].split_once('/');
        let names =
            names.and_then(|(name, room)| Some((NamespaceName::new(name).ok()?, RoomName::new(room).ok()?)));
        match names {
            Some((name, channel)) => {
                let _ = all.entry(name).or_default().insert(channel, &value[..] == b"1");
            }
            None => store.put(&setting, None).await?,
        }
    }
    Ok(all)
}

impl Namespace {
    /// Says which channels there are from the start: these names, and whatever one of these patterns fits.
    pub fn have_channels(&self, names: BTreeSet<RoomName>, patterns: Vec<Glob>) {
        {
            let mut known = self.channels.known();
            (known.names, known.patterns) = (names, patterns);
        }
        self.channels.changed.send_replace(());
    }

    /// Whether there is such a channel.
    #[must_use]
    pub fn is_channel(&self, channel: &RoomName) -> bool {
        self.channels.known().has(channel)
    }

    /// The channels that are there by their names. Those by patterns are not among them.
    #[must_use]
    pub fn channels(&self) -> BTreeSet<RoomName> {
        let known = self.channels.known();
        let mut names = known.names.clone();
        for (channel, is_there) in &known.marks {
            if *is_there {
                names.insert(channel.clone());
            } else {
                names.remove(channel);
            }
        }
        names
    }

    /// Is told whenever there are other channels than before.
    #[must_use]
    pub fn channels_changed(&self) -> watch::Receiver<()> {
        self.channels.changed.subscribe()
    }

    /// The channels by name, each with how many devices are on it now, and how many connections there are altogether. Of those
    /// that only a pattern names there are the ones that somebody is on.
    #[must_use]
    pub fn count_channels(&self) -> (BTreeMap<RoomName, u64>, usize) {
        let mut names = self.channels();
        let patterns = self.channels.known().patterns.clone();
        let fitting = |directory: &tidings_hub::Directory| -> Vec<RoomName> {
            let fits = |room: &&RoomName| patterns.iter().any(|pattern| pattern.fits(room.as_str()));
            directory.room_names().filter(fits).cloned().collect()
        };
        if !patterns.is_empty() {
            let fitting = fitting(&self.directory());
            let known = self.channels.known();
            names.extend(fitting.into_iter().filter(|room| known.has(room)));
        }
        let directory = self.directory();
        let count = |name: RoomName| {
            let here =
                directory.room(&name).map_or(0, |members| members.intersection_len(directory.online()));
            (name, here)
        };
        (names.into_iter().map(count).collect(), directory.connection_count())
    }
}

impl Node {
    /// Adds a channel, or has one back that was removed. Idempotent.
    ///
    /// # Errors
    /// [`ChannelError`]; nothing has changed then.
    pub async fn add_channel(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        channel: &RoomName,
    ) -> Result<(), ChannelError> {
        self.mark_channel(namespace, channel, true).await.map(drop)
    }

    /// Removes a channel: nobody can subscribe to it any more, and whoever is on it leaves it, by and by, and stays connected.
    /// False when there is none.
    ///
    /// # Errors
    /// [`ChannelError`]; nothing has changed then.
    pub async fn remove_channel(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        channel: &RoomName,
    ) -> Result<bool, ChannelError> {
        let removed = self.mark_channel(namespace, channel, false).await?;
        if removed {
            let (node, namespace, channel) = (Arc::clone(self), Arc::clone(namespace), channel.clone());
            self.runtime.spawn(async move {
                if let Err(error) = node.empty_channel(&namespace, &channel).await {
                    tracing::warn!(%channel, %error, "a channel was removed, and somebody is still on it");
                }
            });
        }
        Ok(removed)
    }

    /// Answers whether that changes anything.
    async fn mark_channel(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        channel: &RoomName,
        is_there: bool,
    ) -> Result<bool, ChannelError> {
        let turn = namespace.changing().await;
        let mark = {
            let known = namespace.channels.known();
            if known.has(channel) == is_there {
                return Ok(false);
            }
            let mark = (known.is_configured(channel) != is_there).then_some(is_there);
            if mark.is_some() && !known.marks.contains_key(channel) && known.marks.len() >= MARKS_MAX {
                return Err(ChannelError::TooMany);
            }
            mark
        };
        let (node, namespace, channel) = (Arc::clone(self), Arc::clone(namespace), channel.clone());
        let written = whole(async move {
            let _turn = turn;
            let setting = format!("{PREFIX}{}/{channel}", namespace.name);
            let value = mark.map(|is_there| Bytes::from_static(if is_there { b"1" } else { b"0" }));
            node.store.put(&setting, value).await?;
            {
                let mut known = namespace.channels.known();
                match mark {
                    Some(is_there) => drop(known.marks.insert(channel, is_there)),
                    None => drop(known.marks.remove(&channel)),
                }
            }
            namespace.channels.changed.send_replace(());
            Ok(())
        });
        written.await?;
        Ok(true)
    }

    /// Takes everybody off a channel, unless it is back meanwhile.
    async fn empty_channel(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        channel: &RoomName,
    ) -> Result<(), StoreError> {
        loop {
            let members: Vec<u32> = {
                let directory = namespace.directory();
                directory.room(channel).into_iter().flatten().take(LOOKED_AT).collect()
            };
            if members.is_empty() || namespace.is_channel(channel) {
                return Ok(());
            }
            let leave = |member| self.leave(namespace, Ordinal(member), vec![channel.clone()]);
            let mut leaving = stream::iter(members).map(leave).buffer_unordered(SIDE_BY_SIDE);
            while let Some(left) = leaving.next().await {
                left?;
            }
        }
    }
}
