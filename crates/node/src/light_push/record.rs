//! A device in light-push's words. What light-push kept of a client is in the device's profile: its token for phone push, the
//! rooms that it has muted, and the rest in its metadata, under the names that light-push had for it.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use tidings_model::{Ordinal, Platform, Profile, RoomName, Vendor};
use tidings_store::port::Which;
use tidings_store::{Device, StoreError};

use super::near::Place;
use crate::profile::DescribeError;
use crate::{Namespace, Node};

/// What clients and backends may set.
pub const FIELDS: [&str; 6] = ["device_token", "mobile", "system", "leaveMessage", "longitude", "latitude"];

/// Longest text of a field but the token, in bytes.
const TEXT_BYTES_MAX: usize = 255;

/// Until when a device is left alone that takes no messages while it is away.
const FOR_EVER: &str = "9999-01-01T00:00:00Z";

/// Why nothing of a device was set.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// This is not as it must be.
    #[error("{0} invalid")]
    Wrong(&'static str),
    /// There is no such device.
    #[error("there is no such device")]
    Unknown,
    /// It was changed at the same time, again and again.
    #[error("the device was changed at the same time; try again")]
    Busy,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SetError {
    /// A field, in light-push's words for it.
    fn of(why: DescribeError) -> Self {
        match why {
            DescribeError::Wrong(complaints) => Self::Wrong(match complaints.first() {
                Some(one) if one.field.starts_with("tokens") => "device_token",
                Some(one) if one.field.starts_with("muted_rooms") => "room",
                Some(_) | None => "metadata",
            }),
            DescribeError::NotItsOwn(_) => Self::Wrong("field"),
            DescribeError::Unknown => Self::Unknown,
            DescribeError::Busy => Self::Busy,
            DescribeError::Store(why) => Self::Store(why),
        }
    }
}

/// Whose phone push the token of a device is for.
const fn vendor(platform: Platform) -> Option<Vendor> {
    match platform {
        Platform::Ios => Some(Vendor::Apns),
        Platform::Android => Some(Vendor::Fcm),
        Platform::Web | Platform::Desktop | Platform::Other => None,
    }
}

/// What a field says; `Ok(None)` has it go.
fn text(value: &Value) -> Result<Option<String>, ()> {
    match value {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text.clone()).filter(|text| !text.is_empty())),
        Value::Bool(_) | Value::Number(_) => Ok(Some(value.to_string())),
        Value::Array(_) | Value::Object(_) => Err(()),
    }
}

/// The merge patch of a device on this platform that sets these fields. Others are left out.
fn patch(platform: Platform, fields: &Map<String, Value>) -> Result<Map<String, Value>, SetError> {
    let (mut metadata, mut patch) = (Map::new(), Map::new());
    for name in FIELDS {
        let Some(value) = fields.get(name) else { continue };
        let wrong = || SetError::Wrong(name);
        let text = text(value).map_err(|()| wrong())?;
        let value = text.as_deref().map_or(Value::Null, Value::from);
        if name == "device_token"
            && let Some(vendor) = vendor(platform)
        {
            // What a token is shown as elsewhere would keep the one that is there.
            if text.as_deref() != Some("***") {
                patch.insert("tokens".to_owned(), json!({vendor.as_str(): value}));
            }
            continue;
        }
        let longest = if name == "device_token" { TEXT_BYTES_MAX * 4 } else { TEXT_BYTES_MAX };
        if text.as_ref().is_some_and(|text| text.len() > longest) {
            return Err(wrong());
        }
        let degrees = match name {
            "longitude" => Some(180.0),
            "latitude" => Some(90.0),
            _ => None,
        };
        if let (Some(most), Some(text)) = (degrees, &text) {
            let degrees: f64 = text.trim().parse().map_err(|_| wrong())?;
            if !(-most..=most).contains(&degrees) {
                return Err(wrong());
            }
        }
        if name == "leaveMessage" {
            let until = if text.as_deref() == Some("false") { json!(FOR_EVER) } else { Value::Null };
            patch.insert("do_not_disturb".to_owned(), json!({"until": until}));
        }
        metadata.insert(name.to_owned(), value);
    }
    if !metadata.is_empty() {
        patch.insert("metadata".to_owned(), metadata.into());
    }
    Ok(patch)
}

/// What is kept under a name.
fn kept(profile: &Profile) -> Map<String, Value> {
    match serde_json::from_str(&profile.metadata) {
        Ok(Value::Object(metadata)) => metadata,
        Ok(_) | Err(_) => Map::new(),
    }
}

impl Place {
    /// Where a device says that it is.
    pub(super) fn of(profile: &Profile) -> Option<Self> {
        if profile.metadata.is_empty() {
            return None;
        }
        let kept = kept(profile);
        let degrees = |name: &str| -> Option<f64> { text(kept.get(name)?).ok()??.trim().parse().ok() };
        Self::new(degrees("longitude")?, degrees("latitude")?)
    }
}

/// The token for phone push, where that is a text.
fn token(device: &Device, kept: &Map<String, Value>) -> Option<String> {
    match vendor(device.platform) {
        Some(vendor) => serde_json::from_str(&device.profile.tokens.get(&vendor)?.0).ok(),
        None => text(kept.get("device_token")?).ok()?,
    }
}

impl Node {
    /// What is kept of a device, in light-push's words. All values are strings. Its token is in it, in the clear.
    #[must_use]
    pub fn light_push_record(&self, namespace: &Namespace, device: &Device) -> Map<String, Value> {
        let kept = kept(&device.profile);
        let mut record = Map::new();
        let mut add = |name: &str, value: Option<String>| {
            record.extend(value.map(|value| (name.to_owned(), Value::from(value))));
        };
        let userid = device.user.as_ref().map(ToString::to_string);
        let seen = device.seen_at.0.to_string();
        let online = namespace.directory().is_online(device.ordinal);
        add("userid", userid.clone());
        add("first_connect_time", Some(device.created_at.0.to_string()));
        add("last_connect_time", Some(seen.clone()));
        add("last_disconnect_time", Some(seen.clone()).filter(|_| !online));
        add("disconnect_reason", Some("network".to_owned()).filter(|_| !online));
        add("device_token", token(device, &kept));
        for name in ["mobile", "system", "leaveMessage"] {
            add(name, kept.get(name).and_then(|value| text(value).ok()?));
        }
        add("nspName", Some(format!("/{}", namespace.name)));
        add("userId", userid);
        for name in ["longitude", "latitude"] {
            add(name, kept.get(name).and_then(|value| text(value).ok()?));
        }
        add("update_date", Some(seen));
        let muted = self.muted(&device.profile);
        let muted: Vec<&str> = muted.iter().map(RoomName::as_str).collect();
        add("no_send_apns", Some(muted.join(",")).filter(|rooms| !rooms.is_empty()));
        record
    }

    /// Sets fields of a device: those of [`FIELDS`]. Others are left out; what is `null` or empty goes.
    ///
    /// # Errors
    /// [`SetError`]; nothing has changed then.
    pub async fn light_push_set(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        fields: Map<String, Value>,
    ) -> Result<(), SetError> {
        let known = self.known(namespace, device).await?.ok_or(SetError::Unknown)?;
        let patch = patch(known.platform, &fields)?;
        if patch.is_empty() {
            return Ok(());
        }
        self.amend_own(namespace, device, &patch).await.map_err(SetError::of)?;
        Ok(())
    }

    /// Changes the rooms for which a device is not woken, and answers them; what is in both lists wakes it again.
    ///
    /// # Errors
    /// [`SetError`]; nothing has changed then.
    pub async fn light_push_muted(
        self: &Arc<Self>,
        namespace: &Arc<Namespace>,
        device: Ordinal,
        add: &[RoomName],
        remove: &[RoomName],
    ) -> Result<Vec<RoomName>, SetError> {
        if add.is_empty() && remove.is_empty() {
            let known = self.known(namespace, device).await?.ok_or(SetError::Unknown)?;
            return Ok(self.muted(&known.profile));
        }
        let mut rooms = Map::new();
        rooms.extend(add.iter().map(|room| (room.to_string(), json!({"until": null}))));
        rooms.extend(remove.iter().map(|room| (room.to_string(), Value::Null)));
        let patch = Map::from_iter([("muted_rooms".to_owned(), Value::Object(rooms))]);
        let device = self.amend_own(namespace, device, &patch).await.map_err(SetError::of)?;
        Ok(self.muted(&device.profile))
    }

    /// The rooms that do not wake a device now.
    fn muted(&self, profile: &Profile) -> Vec<RoomName> {
        let now = self.now();
        profile.muted.keys().filter(|room| profile.mutes(room, now).is_some()).cloned().collect()
    }

    /// The devices with these ordinals that are still there.
    pub(super) async fn still_there(
        &self,
        namespace: &Namespace,
        ordinals: Vec<Ordinal>,
    ) -> Result<Vec<Device>, StoreError> {
        let found = self.store.devices(&namespace.name, Which::Ordinals(ordinals)).await?;
        Ok(found.into_iter().flatten().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_become_a_patch() {
        for (platform, fields, expected) in [
            (Platform::Ios, json!({"device_token": "t"}), Ok(json!({"tokens": {"apns": "t"}}))),
            (Platform::Android, json!({"device_token": ""}), Ok(json!({"tokens": {"fcm": null}}))),
            (Platform::Ios, json!({"device_token": "***"}), Ok(json!({}))),
            (Platform::Web, json!({"device_token": "t"}), Ok(json!({"metadata": {"device_token": "t"}}))),
            (
                Platform::Web,
                json!({"mobile": 7, "system": null, "userId": "x", "nspName": "/y"}),
                Ok(json!({"metadata": {"mobile": "7", "system": null}})),
            ),
            (
                Platform::Ios,
                json!({"leaveMessage": false}),
                Ok(json!({"metadata": {"leaveMessage": "false"}, "do_not_disturb": {"until": FOR_EVER}})),
            ),
            (
                Platform::Ios,
                json!({"leaveMessage": "true"}),
                Ok(json!({"metadata": {"leaveMessage": "true"}, "do_not_disturb": {"until": null}})),
            ),
            (
                Platform::Ios,
                json!({"longitude": 121.5, "latitude": "-31.25"}),
                Ok(json!({"metadata": {"longitude": "121.5", "latitude": "-31.25"}})),
            ),
            (Platform::Ios, json!({"longitude": "east"}), Err("longitude invalid")),
            (Platform::Ios, json!({"latitude": 90.5}), Err("latitude invalid")),
            (Platform::Ios, json!({"latitude": "NaN"}), Err("latitude invalid")),
            (Platform::Ios, json!({"mobile": {"a": 1}}), Err("mobile invalid")),
            (Platform::Ios, json!({"system": "x".repeat(256)}), Err("system invalid")),
        ] {
            let Value::Object(given) = fields.clone() else { panic!() };
            let patch = patch(platform, &given).map(Value::Object).map_err(|why| why.to_string());
            assert_eq!(patch, expected.map_err(str::to_owned), "{fields}");
        }
    }
}
