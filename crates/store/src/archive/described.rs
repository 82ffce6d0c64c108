//! What is kept of a device besides who it is, as a part of its line.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tidings_model::profile::DAY_MINUTES;
use tidings_model::{Profile, Quiet, Timestamp, Vendor, VendorToken, Window, Zone};

use super::line::{self, Wrong};

/// What is kept of a device.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Described {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    tags: Vec<String>,
    /// JSON text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    metadata: String,
    /// JSON text by vendor.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    tokens: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    muted: BTreeMap<String, Option<u64>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    quiet_until: Option<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    quiet: Vec<Hours>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Hours {
    from: u16,
    to: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    offset: Option<i16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
}

impl Described {
    /// `None` when nothing is kept.
    pub(super) fn of(profile: &Profile) -> Option<Self> {
        let hours = |window: &Window| {
            let (offset, zone) = match &window.zone {
                Zone::Offset(minutes) => (Some(*minutes), None),
                Zone::Named(name) => (None, Some(name.to_string())),
            };
            Hours { from: window.from, to: window.to, offset, zone }
        };
        let tokens = profile.tokens.iter();
        (!profile.is_empty()).then(|| Self {
            tags: profile.tags.iter().map(ToString::to_string).collect(),
            metadata: profile.metadata.clone(),
            tokens: tokens.map(|(vendor, token)| (vendor.as_str().to_owned(), token.0.clone())).collect(),
            muted: profile
                .muted
                .iter()
                .map(|(room, until)| (room.to_string(), until.map(|at| at.0)))
                .collect(),
            quiet_until: profile.quiet.until.map(|at| at.0),
            quiet: profile.quiet.windows.iter().map(hours).collect(),
        })
    }

    pub(super) fn profile(&self) -> Result<Profile, Wrong> {
        let token = |(vendor, token): (&String, &String)| {
            let vendor = Vendor::parse(vendor).ok_or_else(|| format!("tokens: {vendor:?} is no vendor"))?;
            Ok((vendor, VendorToken(token.clone())))
        };
        let muted =
            |(room, until): (&String, &Option<u64>)| Ok((line::name("muted", room)?, until.map(Timestamp)));
        Ok(Profile {
            tags: line::names("tags", &self.tags)?.into_iter().collect(),
            metadata: self.metadata.clone(),
            tokens: self.tokens.iter().map(token).collect::<Result<_, Wrong>>()?,
            muted: self.muted.iter().map(muted).collect::<Result<_, Wrong>>()?,
            quiet: Quiet {
                until: self.quiet_until.map(Timestamp),
                windows: self.quiet.iter().map(Hours::window).collect::<Result<_, _>>()?,
            },
        })
    }
}

impl Hours {
    fn window(&self) -> Result<Window, Wrong> {
        let zone = match (self.offset, &self.zone) {
            (Some(minutes), None) => Zone::Offset(minutes),
            (None, Some(name)) if name.len() <= tidings_model::limit::ZONE_BYTES_MAX => {
                Zone::Named(Arc::from(name.as_str()))
            }
            _ => return Err("quiet: needs either offset or zone".to_owned()),
        };
        if self.from.max(self.to) > DAY_MINUTES {
            return Err(format!("quiet: {} is beyond the end of a day", self.from.max(self.to)));
        }
        Ok(Window { from: self.from, to: self.to, zone })
    }
}
