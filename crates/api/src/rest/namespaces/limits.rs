//! `limits` of a namespace: how much of what there may be, and how often.

use serde::{Deserialize, Serialize};
use tidings_model::limit::{DATA_BYTES_MAX, LIMIT_MAX, ROOMS_PER_DEVICE_MAX};
use tidings_node::namespace::Settings;
use utoipa::ToSchema;

use crate::shape::{Shape, shown};
use crate::size;

/// What it looks like in a request.
pub(super) const SHAPE: Shape = Shape::Object(&[
    ("connections", Shape::Count),
    ("connections_per_user", Shape::Count),
    ("rooms_per_device", Shape::Count),
    ("message_size", Shape::Text),
    ("pushes_per_second", Shape::Count),
    ("publish_per_second", Shape::Count),
    ("requests_per_second", Shape::Count),
]);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsBody {
    connections: Option<u64>,
    connections_per_user: Option<u64>,
    rooms_per_device: Option<u64>,
    message_size: Option<String>,
    pushes_per_second: Option<u64>,
    publish_per_second: Option<u64>,
    requests_per_second: Option<u64>,
}

impl LimitsBody {
    /// Checks it, and puts it into the rules; what is wrong is told to `wrong`, by field.
    pub(super) fn check(&self, settings: &mut Settings, mut wrong: impl FnMut(&str, String)) {
        let limits = &mut settings.limits;
        for (field, asked, limit) in [
            ("connections", self.connections, &mut limits.connections),
            ("connections_per_user", self.connections_per_user, &mut limits.connections_per_user),
            ("pushes_per_second", self.pushes_per_second, &mut limits.pushes_per_second),
            ("publish_per_second", self.publish_per_second, &mut limits.publish_per_second),
            ("requests_per_second", self.requests_per_second, &mut limits.requests_per_second),
        ] {
            match asked.map(|asked| (asked, u32::try_from(asked).ok().filter(|asked| *asked <= LIMIT_MAX))) {
                None => {}
                Some((_, Some(asked))) => *limit = asked,
                Some((asked, None)) => {
                    let message = format!("is {asked}, must be from 1 to {LIMIT_MAX}, or 0 for no limit");
                    wrong(&format!("limits.{field}"), message);
                }
            }
        }
        let rooms = self.rooms_per_device.map(|rooms| (rooms, usize::try_from(rooms)));
        match rooms {
            None => {}
            Some((_, Ok(rooms))) if rooms <= ROOMS_PER_DEVICE_MAX => settings.rooms_per_device = rooms,
            Some((rooms, _)) => {
                let message =
                    format!("is {rooms}, must be from 1 to {ROOMS_PER_DEVICE_MAX}, or 0 for as many as that");
                wrong("limits.rooms_per_device", message);
            }
        }
        match self.message_size.as_deref().map(|text| (text, size::parse(text))) {
            None => {}
            Some((_, Ok(bytes))) if bytes <= DATA_BYTES_MAX => settings.message_size = bytes as usize,
            Some((text, Ok(_))) => {
                let most = size::show(DATA_BYTES_MAX);
                let message = format!("is {}, must be from 1B to {most}, or 0B for no limit", shown(text));
                wrong("limits.message_size", message);
            }
            Some((text, Err(why))) => wrong("limits.message_size", format!("is {}, {why}", shown(text))),
        }
    }
}

/// How much of what there may be, and how often; 0 for no limit.
#[derive(Serialize, ToSchema)]
#[schema(as = NamespaceLimits)]
pub(super) struct LimitsShown {
    /// Most connections.
    connections: u32,
    /// Most connections of a user.
    connections_per_user: u32,
    /// Most rooms of a device.
    rooms_per_device: usize,
    /// Largest `data` of a push.
    #[schema(example = "64KiB")]
    message_size: String,
    /// Most pushes in a second.
    pushes_per_second: u32,
    /// Most that a user may publish in a second; a device, when it has none.
    publish_per_second: u32,
    /// Most that a device may ask for in a second.
    requests_per_second: u32,
}

impl LimitsShown {
    pub(super) fn of(settings: &Settings) -> Self {
        Self {
            connections: settings.limits.connections,
            connections_per_user: settings.limits.connections_per_user,
            rooms_per_device: settings.rooms_per_device,
            message_size: size::show(settings.message_size as u64),
            pushes_per_second: settings.limits.pushes_per_second,
            publish_per_second: settings.limits.publish_per_second,
            requests_per_second: settings.limits.requests_per_second,
        }
    }
}
