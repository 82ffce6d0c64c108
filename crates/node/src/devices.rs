//! Which devices there are: all of a namespace, or those that something is true of.

use roaring::RoaringBitmap;
use tidings_model::{Ordinal, Platform, Tag, UserId};
use tidings_store::port::Which;
use tidings_store::{Device, StoreError};

use crate::{Namespace, Node};

/// Devices that are read together.
const READ: usize = 250;

/// Most devices that are looked at for one page.
const LOOKED_AT_MAX: usize = 2_000;

/// What is to be true of a device; all of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// It is this user's.
    pub user: Option<UserId>,
    /// It is one of these.
    pub platform: Option<Platform>,
    /// It has this tag.
    pub tag: Option<Tag>,
    /// It is connected, or is not.
    pub online: Option<bool>,
}

impl Filter {
    fn fits(&self, device: &Device) -> bool {
        self.tag.as_ref().is_none_or(|tag| device.profile.tags.contains(tag))
            && self.platform.is_none_or(|platform| device.platform == platform)
            && self.user.as_ref().is_none_or(|user| device.user.as_ref() == Some(user))
    }
}

impl Node {
    /// The devices of a namespace in a fixed order: those after `after` that something is true of, at most `limit`, each with
    /// whether it is online. The second answer says where to go on, if there may be more: a tag is looked for in so many devices
    /// and no more, so that there may be fewer than `limit`, even none, and more behind them.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn devices_of(
        &self,
        namespace: &Namespace,
        filter: &Filter,
        after: Option<Ordinal>,
        limit: usize,
    ) -> Result<(Vec<(Device, bool)>, Option<Ordinal>), StoreError> {
        let start = after.map_or(0, |after| after.0.saturating_add(1));
        let of_user = match &filter.user {
            Some(user) => Some(
                self.store.owners(&namespace.name, vec![tidings_model::Topic::User(user.clone())]).await?,
            ),
            None => None,
        };
        let (looked_at, more, online) = {
            let directory = namespace.directory();
            let online = directory.online();
            let is_wanted =
                |device: &u32| filter.online.is_none_or(|wanted| wanted == online.contains(*device));
            let some: RoaringBitmap = match of_user {
                Some(of_user) => {
                    let devices = of_user.iter().flat_map(|of| of.iter()).map(|device| device.0);
                    devices.filter(|device| *device >= start).filter(is_wanted).collect()
                }
                None => {
                    let platforms = Platform::ALL.into_iter().zip(directory.platforms());
                    let platforms =
                        platforms.filter(|(one, _)| filter.platform.is_none_or(|only| only == *one));
                    // Of each platform only as many as may be needed.
                    let most = LOOKED_AT_MAX + 1;
                    platforms.flat_map(|(_, of)| of.range(start..).filter(is_wanted).take(most)).collect()
                }
            };
            let looked_at: Vec<Ordinal> = some.iter().take(LOOKED_AT_MAX).map(Ordinal).collect();
            let more = some.len() > looked_at.len() as u64;
            (looked_at, more, online.clone())
        };
        let mut found = Vec::new();
        let mut last = None;
        for ordinals in looked_at.chunks(READ.min(limit.max(50))) {
            let devices = self.store.devices(&namespace.name, Which::Ordinals(ordinals.to_vec())).await?;
            for (ordinal, device) in ordinals.iter().zip(devices) {
                if found.len() == limit {
                    return Ok((found, last));
                }
                last = Some(*ordinal);
                if let Some(device) = device.filter(|device| filter.fits(device)) {
                    let is_online = online.contains(ordinal.0);
                    found.push((device, is_online));
                }
            }
        }
        Ok((found, last.filter(|_| more)))
    }
}
