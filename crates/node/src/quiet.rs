//! Whether a device is to be left alone now, and until when: do-not-disturb, and rooms that it has muted.
//!
//! Zones come from the IANA database that is built in, so that they are the same on every machine.

use std::sync::LazyLock;

use jiff::ToSpan as _;
use jiff::civil::{Time, time};
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use tidings_model::{Message, Priority, RoomName, Timestamp, Window, Zone};
use tidings_store::Device;

static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// The largest offset from Greenwich, in minutes.
const OFFSET_MINUTES_MAX: i16 = 14 * 60;

/// Why a device is to be left alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hush {
    /// In words.
    pub(crate) why: String,
    /// Until when; `None` for ever.
    pub(crate) until: Option<Timestamp>,
}

/// Whether a device is to be left alone by a message now. Who sends with high priority says that it cannot wait.
pub(crate) fn hush(message: &Message, device: &Device, now: Timestamp) -> Option<Hush> {
    if message.priority == Priority::High {
        return None;
    }
    let quiet = quiet_until(device, now);
    let muted = muted_until(message, device, now);
    let mut reasons = Vec::new();
    reasons.extend(quiet.map(|until| format!("do not disturb until {}", rfc3339(until))));
    reasons.extend(muted.map(|(room, until)| match until {
        Some(until) => format!("the room {room} is muted until {}", rfc3339(until)),
        None => format!("the room {room} is muted"),
    }));
    if reasons.is_empty() {
        return None;
    }
    let until = match (quiet, muted) {
        (_, Some((_, None))) => None,
        (quiet, muted) => quiet.max(muted.and_then(|(_, until)| until)),
    };
    Some(Hush { why: reasons.join(", and "), until })
}

/// Until when nothing is to disturb a device, if that is so now.
fn quiet_until(device: &Device, now: Timestamp) -> Option<Timestamp> {
    let quiet = &device.profile.quiet;
    let hours = quiet.windows.iter().filter_map(|window| end_of(window, now));
    hours.chain(quiet.until.filter(|until| *until > now)).max()
}

/// Whether a device gets a message only by rooms that it has muted: the one that is not muted first, and when that is.
fn muted_until<'a>(
    message: &'a Message,
    device: &Device,
    now: Timestamp,
) -> Option<(&'a RoomName, Option<Timestamp>)> {
    let to = &message.to;
    let by_user = device.user.as_ref().is_some_and(|user| to.users.contains(user));
    if device.profile.muted.is_empty() || to.all || by_user || to.devices.contains(&device.id) {
        return None;
    }
    let rooms = to.rooms.iter().filter(|room| device.rooms.binary_search(room).is_ok());
    let muted = rooms.map(|room| Some((room, device.profile.mutes(room, now)?)));
    let muted: Vec<_> = muted.collect::<Option<_>>()?;
    muted.into_iter().min_by_key(|(_, until)| until.unwrap_or(Timestamp::NEVER))
}

/// When the hours are over in which it is now; `None` outside of them.
fn end_of(window: &Window, now: Timestamp) -> Option<Timestamp> {
    let zone = match &window.zone {
        Zone::Offset(minutes) => TimeZone::fixed(Offset::from_seconds(i32::from(*minutes) * 60).ok()?),
        Zone::Named(name) => ZONES.get(name).ok()?,
    };
    let local = instant(now)?.to_zoned_datetime(zone.clone());
    let (from, to) = (of_day(window.from), of_day(window.to));
    let at = local.time();
    let (inside, days) = match from < to {
        true => (from <= at && at < to, 0),
        false => (from <= at || at < to, i64::from(from <= at)),
    };
    if !inside {
        return None;
    }
    let end = local.date().checked_add(days.days()).ok()?.to_datetime(to);
    // Where clocks are set back, an hour comes twice.
    let ends = zone.to_ambiguous_timestamp(end);
    let ends = [ends.earlier(), ends.later()];
    let ends = ends.into_iter().flatten().filter_map(|end| u64::try_from(end.as_millisecond()).ok());
    let later = |end: &u64| *end > now.0;
    // An hour that is left out is over when it begins.
    ends.filter(later).min().or(Some(now.0 + 60_000)).map(Timestamp)
}

fn of_day(minute: u16) -> Time {
    time((minute / 60 % 24) as i8, (minute % 60) as i8, 0, 0)
}

fn instant(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
}

/// Whether there is a zone of this name.
pub(crate) fn knows(zone: &str) -> bool {
    ZONES.get(zone).is_ok()
}

/// `+08:00` in minutes.
pub(crate) fn parse_offset(text: &str) -> Option<i16> {
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (i16, i16) = (hours.parse().ok()?, minutes.parse().ok()?);
    let all = hours * 60 + minutes;
    (minutes < 60 && all <= OFFSET_MINUTES_MAX).then_some(sign * all)
}

pub(crate) fn show_offset(minutes: i16) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}

/// A time as `2026-11-23T08:15:30.123Z`.
pub(crate) fn rfc3339(at: Timestamp) -> String {
    instant(at).map_or_else(|| "never".to_owned(), |at| format!("{at:.3}"))
}

/// A time as RFC 3339 has it, from 1970 on.
pub(crate) fn parse_rfc3339(text: &str) -> Option<Timestamp> {
    let at: jiff::Timestamp = text.parse().ok()?;
    u64::try_from(at.as_millisecond()).ok().map(Timestamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        parse_rfc3339(text).unwrap()
    }

    /// When the hours are over, in UTC; nothing outside of them.
    fn check(from: u16, to: u16, zone: &str, now: &str) -> Option<String> {
        let zone = match parse_offset(zone) {
            Some(minutes) => Zone::Offset(minutes),
            None => Zone::Named(zone.into()),
        };
        end_of(&Window { from: from * 60, to: to * 60, zone }, at(now)).map(rfc3339)
    }

    #[test]
    fn hours_of_the_day() {
        for (from, to, zone, now, expected) in [
            (13, 15, "+00:00", "2026-11-20T12:59:59.999Z", ""),
            (13, 15, "+00:00", "2026-11-20T13:00:00Z", "2026-11-20T15:00:00.000Z"),
            (13, 15, "+00:00", "2026-11-20T14:59:59.999Z", "2026-11-20T15:00:00.000Z"),
            (13, 15, "+00:00", "2026-11-20T15:00:00Z", ""),
            // Over midnight, where it is eight hours later.
            (22, 7, "+08:00", "2026-11-20T13:59:59Z", ""),
            (22, 7, "+08:00", "2026-11-20T14:00:00Z", "2026-11-20T23:00:00.000Z"),
            (22, 7, "+08:00", "2026-11-20T22:59:59Z", "2026-11-20T23:00:00.000Z"),
            (22, 7, "+08:00", "2026-11-20T23:00:00Z", ""),
            (22, 7, "-05:30", "2026-12-31T04:00:00Z", "2026-12-31T12:30:00.000Z"),
            // Summer and winter.
            (22, 7, "Europe/Berlin", "2026-07-01T20:00:00Z", "2026-07-02T05:00:00.000Z"),
            (22, 7, "Europe/Berlin", "2026-12-01T20:30:00Z", ""),
            (22, 7, "Europe/Berlin", "2026-12-01T21:00:00Z", "2026-12-02T06:00:00.000Z"),
            // The night in which clocks are set forward, and the one in which they are set back.
            (22, 7, "Europe/Berlin", "2026-03-28T21:30:00Z", "2026-03-29T05:00:00.000Z"),
            (22, 7, "Europe/Berlin", "2026-10-24T20:30:00Z", "2026-10-25T06:00:00.000Z"),
            // 02:00 is left out, and comes twice.
            (1, 2, "Europe/Berlin", "2026-03-29T00:30:00Z", "2026-03-29T01:00:00.000Z"),
            (1, 2, "Europe/Berlin", "2026-10-24T23:30:00Z", "2026-10-25T00:00:00.000Z"),
            (2, 3, "Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-25T02:00:00.000Z"),
            (2, 3, "Europe/Berlin", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00.000Z"),
        ] {
            assert_eq!(
                check(from, to, zone, now).unwrap_or_default(),
                expected,
                "{from} to {to} {zone} at {now}"
            );
        }
    }

    #[test]
    fn offsets() {
        for (text, expected) in [
            ("+00:00", Some(0)),
            ("+08:00", Some(480)),
            ("-05:30", Some(-330)),
            ("+14:00", Some(840)),
            ("+14:01", None),
            ("+08:60", None),
            ("08:00", None),
            ("+8:00", None),
            ("+0800", None),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(parse_offset(text), expected, "{text}");
            if let Some(minutes) = expected {
                assert_eq!(show_offset(minutes), text);
            }
        }
        assert!(knows("Asia/Shanghai") && knows("UTC") && !knows("Mars/Olympus"));
    }
}
