//! A device's record as JSON: what of it is written by callers, and how it is shown.
//!
//! Whoever writes one gets to know everything that is wrong with it, field by field. Backends and clients write the same
//! fields; which of them a client may is the caller's to say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tidings_model::limit::{
    METADATA_BYTES_MAX, METADATA_DEPTH_MAX, MUTED_ROOMS_MAX, QUIET_WINDOWS_MAX, TAGS_MAX, TOKEN_BYTES_MAX,
    ZONE_BYTES_MAX,
};
use tidings_model::{
    Platform, Profile, Quiet, RoomName, Tag, Timestamp, UserId, Vendor, VendorToken, Window, Zone,
};

use crate::quiet;

/// Most complaints about one record.
const COMPLAINTS_MAX: usize = 50;

/// How many characters of a value a complaint repeats.
const SHOWN_MAX: usize = 40;

/// How a token is shown, and what keeps it where it is written.
const MASK: &str = "***";

/// The fields that can be written.
pub const FIELDS: [&str; 7] =
    ["user", "platform", "tags", "metadata", "tokens", "do_not_disturb", "muted_rooms"];

/// Those of `do_not_disturb`.
const QUIET_FIELDS: [&str; 2] = ["until", "windows"];

/// Those of a room in `muted_rooms`.
const MUTED_FIELDS: [&str; 1] = ["until"];

/// What is wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// The field.
    pub field: String,
    /// What is wrong with it, to be read behind its name.
    pub message: String,
}

/// A device's record as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Whose device it is, if anybody's.
    pub user: Option<UserId>,
    /// What it is; `None` where that is not said.
    pub platform: Option<Platform>,
    /// Everything else.
    pub profile: Profile,
}

/// Reads a record. `before` is what is kept of the device already: a token that is sent as it is shown stays what it is.
///
/// # Errors
/// Everything that is wrong with it.
pub fn read(record: &Map<String, Value>, before: &Profile) -> Result<Record, Vec<Complaint>> {
    let mut reading = Reading { before, wrong: Vec::new() };
    let read = reading.record(record);
    if reading.wrong.is_empty() { Ok(read) } else { Err(reading.wrong) }
}

/// What can be written of a device, as it is shown now.
#[must_use]
pub fn show(
    user: Option<&UserId>,
    platform: Platform,
    profile: &Profile,
    now: Timestamp,
) -> Map<String, Value> {
    let mut shown = Map::new();
    shown.insert("user".to_owned(), user.map_or(Value::Null, |user| user.as_str().into()));
    shown.insert("platform".to_owned(), platform.as_str().into());
    shown.append(&mut show_profile(profile, now));
    shown
}

/// The same of a profile alone.
#[must_use]
pub fn show_profile(profile: &Profile, now: Timestamp) -> Map<String, Value> {
    let Profile { tags, metadata, tokens, muted, quiet } = profile.clone().current(now);
    let tags: Vec<_> = tags.iter().map(Tag::as_str).collect();
    let metadata = serde_json::from_str(&metadata).unwrap_or_else(|_| json!({}));
    let tokens: BTreeMap<_, _> = tokens.keys().map(|vendor| (vendor.as_str(), MASK)).collect();
    let muted: BTreeMap<_, _> = muted
        .iter()
        .map(|(room, until)| (room.as_str(), json!({"until": until.map(quiet::rfc3339)})))
        .collect();
    let windows: Vec<_> = quiet
        .windows
        .iter()
        .map(|window| {
            let zone = match &window.zone {
                Zone::Offset(minutes) => quiet::show_offset(*minutes),
                Zone::Named(name) => name.to_string(),
            };
            json!({"from": show_minute(window.from), "to": show_minute(window.to), "zone": zone})
        })
        .collect();
    let quiet = json!({"until": quiet.until.map(quiet::rfc3339), "windows": windows});
    let fields = [
        ("tags", json!(tags)),
        ("metadata", metadata),
        ("tokens", json!(tokens)),
        ("do_not_disturb", quiet),
        ("muted_rooms", json!(muted)),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Complains of names in a patch that nobody knows: of one that is to go, nothing would be left to complain of.
///
/// # Errors
/// The names.
pub fn check_names(patch: &Map<String, Value>) -> Result<(), Vec<Complaint>> {
    let mut reading = Reading { before: &Profile::default(), wrong: Vec::new() };
    reading.known(patch, "", &FIELDS);
    for (name, fields) in
        [("tokens", &Vendor::ALL.map(Vendor::as_str)[..]), ("do_not_disturb", &QUIET_FIELDS)]
    {
        if let Some(object) = patch.get(name).and_then(Value::as_object) {
            reading.known(object, &format!("{name}."), fields);
        }
    }
    for (name, rule) in patch.get("muted_rooms").and_then(Value::as_object).into_iter().flatten() {
        let field = format!("muted_rooms[{}]", shown(name));
        reading.name(&field, name, RoomName::new);
        if let Some(rule) = rule.as_object() {
            reading.known(rule, &format!("{field}."), &MUTED_FIELDS);
        }
    }
    if reading.wrong.is_empty() { Ok(()) } else { Err(reading.wrong) }
}

/// A record that is being read.
struct Reading<'a> {
    before: &'a Profile,
    wrong: Vec<Complaint>,
}

impl Reading<'_> {
    fn complain(&mut self, field: &str, message: impl Into<String>) {
        if self.wrong.len() < COMPLAINTS_MAX {
            self.wrong.push(Complaint { field: field.to_owned(), message: message.into() });
        }
    }

    fn record(&mut self, record: &Map<String, Value>) -> Record {
        self.known(record, "", &FIELDS);
        let user = self.text(record, "", "user").and_then(|text| self.name("user", text, UserId::new));
        let platform = self.text(record, "", "platform").and_then(|text| {
            let platform = Platform::parse(text);
            if platform.is_none() {
                let words = Platform::ALL.map(Platform::as_str).join(", ");
                self.complain("platform", format!("is {}, must be one of {words}", shown(text)));
            }
            platform
        });
        let profile = Profile {
            tags: self.tags(record),
            metadata: self.metadata(record),
            tokens: self.tokens(record),
            muted: self.muted(record),
            quiet: self.quiet(record),
        };
        Record { user, platform, profile }
    }

    fn tags(&mut self, record: &Map<String, Value>) -> BTreeSet<Tag> {
        let Some(tags) = self.array(record, "", "tags", TAGS_MAX) else { return BTreeSet::new() };
        let read = |(index, tag): (usize, &Value)| {
            let field = format!("tags[{index}]");
            match tag.as_str() {
                Some(text) => self.name(&field, text, Tag::new),
                None => {
                    self.complain(&field, format!("must be a string, not {}", kind(tag)));
                    None
                }
            }
        };
        tags.iter().enumerate().filter_map(read).collect()
    }

    fn metadata(&mut self, record: &Map<String, Value>) -> String {
        let Some(metadata) = self.object(record, "", "metadata") else { return String::new() };
        let text = if metadata.is_empty() { String::new() } else { json!(metadata).to_string() };
        if text.len() > METADATA_BYTES_MAX {
            let message =
                format!("has {} bytes of JSON, at most {METADATA_BYTES_MAX} are allowed", text.len());
            self.complain("metadata", message);
        }
        if metadata.values().map(depth).max().unwrap_or_default() >= METADATA_DEPTH_MAX {
            let message = format!("is nested deeper than {METADATA_DEPTH_MAX} levels, which is the limit");
            self.complain("metadata", message);
        }
        text
    }

    fn tokens(&mut self, record: &Map<String, Value>) -> BTreeMap<Vendor, VendorToken> {
        let mut tokens = BTreeMap::new();
        let Some(given) = self.object(record, "", "tokens") else { return tokens };
        self.known(given, "tokens.", &Vendor::ALL.map(Vendor::as_str));
        for vendor in Vendor::ALL {
            let Some(token) = given.get(vendor.as_str()).filter(|token| !token.is_null()) else { continue };
            if token.as_str() == Some(MASK) {
                match self.before.tokens.get(&vendor) {
                    Some(token) => drop(tokens.insert(vendor, token.clone())),
                    None => self.complain(
                        &format!("tokens.{}", vendor.as_str()),
                        "is \"***\", which keeps a token, but there is none",
                    ),
                }
            } else if let Some(token) = self.token(vendor, token) {
                tokens.insert(vendor, token);
            }
        }
        tokens
    }

    fn token(&mut self, vendor: Vendor, token: &Value) -> Option<VendorToken> {
        let field = format!("tokens.{}", vendor.as_str());
        let fits = match (vendor, token) {
            (Vendor::Apns | Vendor::Fcm, Value::String(text)) => !text.is_empty(),
            (Vendor::Apns | Vendor::Fcm, Value::Object(fields)) => !fields.is_empty(),
            (Vendor::WebPush, Value::Object(fields)) => {
                fields.get("endpoint").and_then(Value::as_str).is_some_and(|url| url.starts_with("https://"))
            }
            _ => false,
        };
        let text = token.to_string();
        if !fits {
            let must = match vendor {
                Vendor::Apns | Vendor::Fcm => "a string or an object that is not empty",
                Vendor::WebPush => "an object with an `endpoint` that begins with https://",
            };
            self.complain(&field, format!("must be {must}"));
        } else if text.len() > TOKEN_BYTES_MAX {
            let message = format!("has {} bytes of JSON, at most {TOKEN_BYTES_MAX} are allowed", text.len());
            self.complain(&field, message);
        }
        Some(VendorToken(text))
    }

    fn muted(&mut self, record: &Map<String, Value>) -> BTreeMap<RoomName, Option<Timestamp>> {
        let mut muted = BTreeMap::new();
        let Some(rooms) = self.object(record, "", "muted_rooms") else { return muted };
        if rooms.len() > MUTED_ROOMS_MAX {
            let message = format!("has {} rooms, at most {MUTED_ROOMS_MAX} are allowed", rooms.len());
            self.complain("muted_rooms", message);
            return muted;
        }
        for (name, rule) in rooms {
            let field = format!("muted_rooms[{}]", shown(name));
            let room = self.name(&field, name, RoomName::new);
            let Some(rule) = rule.as_object() else {
                self.complain(
                    &field,
                    format!("must be an object such as {{\"until\": \"…\"}}, not {}", kind(rule)),
                );
                continue;
            };
            let path = format!("{field}.");
            self.known(rule, &path, &MUTED_FIELDS);
            let until = self.time(rule, &path, "until");
            muted.extend(room.map(|room| (room, until)));
        }
        muted
    }

    fn quiet(&mut self, record: &Map<String, Value>) -> Quiet {
        let Some(quiet) = self.object(record, "", "do_not_disturb") else { return Quiet::default() };
        let path = "do_not_disturb.";
        self.known(quiet, path, &QUIET_FIELDS);
        let until = self.time(quiet, path, "until");
        let mut windows = Vec::new();
        let given = self.array(quiet, path, "windows", QUIET_WINDOWS_MAX).map_or(&[][..], Vec::as_slice);
        for (index, window) in given.iter().enumerate() {
            let field = format!("{path}windows[{index}]");
            match window.as_object() {
                Some(window) => windows.extend(self.window(window, &format!("{field}."))),
                None => self.complain(&field, format!("must be an object, not {}", kind(window))),
            }
        }
        Quiet { until, windows }
    }

    fn window(&mut self, window: &Map<String, Value>, path: &str) -> Option<Window> {
        self.known(window, path, &["from", "to", "zone"]);
        let from = self.minute(window, path, "from");
        let to = self.minute(window, path, "to");
        let zone = self.required(window, path, "zone").and_then(|text| {
            let zone = zone(text);
            if zone.is_none() {
                let must = "must be an offset like +08:00 or a name like Europe/Berlin (IANA)";
                self.complain(&format!("{path}zone"), format!("is {}, {must}", shown(text)));
            }
            zone
        });
        let (from, to, zone) = (from?, to?, zone?);
        if from == to {
            self.complain(&format!("{path}to"), "is the same as from; the day has to go on in between");
        }
        Some(Window { from, to, zone })
    }

    fn minute(&mut self, window: &Map<String, Value>, path: &str, name: &str) -> Option<u16> {
        let text = self.required(window, path, name)?;
        let minute = read_minute(text);
        if minute.is_none() {
            let message = format!("is {}, must be a time of day from 00:00 to 23:59", shown(text));
            self.complain(&format!("{path}{name}"), message);
        }
        minute
    }

    fn time(&mut self, from: &Map<String, Value>, path: &str, name: &str) -> Option<Timestamp> {
        let text = self.text(from, path, name)?;
        let time = quiet::parse_rfc3339(text);
        if time.is_none() {
            let must = "must be a time like 2026-11-20T14:29:07Z (RFC 3339)";
            self.complain(&format!("{path}{name}"), format!("is {}, {must}", shown(text)));
        }
        time
    }

    fn name<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        text: &str,
        new: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match new(text) {
            Ok(name) => Some(name),
            Err(why) => {
                self.complain(field, format!("{} {why}", shown(text)));
                None
            }
        }
    }

    /// Fields that nobody knows are wrong.
    fn known(&mut self, object: &Map<String, Value>, path: &str, fields: &[&str]) {
        for name in object.keys().filter(|name| !fields.contains(&name.as_str())) {
            let message = format!("is not a known field; there are {}", fields.join(", "));
            self.complain(&format!("{path}{}", plain(name)), message);
        }
    }

    /// `null` counts as absent.
    fn text<'v>(&mut self, from: &'v Map<String, Value>, path: &str, name: &str) -> Option<&'v str> {
        let value = from.get(name).filter(|value| !value.is_null())?;
        if !value.is_string() {
            self.complain(&format!("{path}{name}"), format!("must be a string, not {}", kind(value)));
        }
        value.as_str()
    }

    fn required<'v>(&mut self, from: &'v Map<String, Value>, path: &str, name: &str) -> Option<&'v str> {
        if from.get(name).is_none_or(Value::is_null) {
            self.complain(&format!("{path}{name}"), "is required");
        }
        self.text(from, path, name)
    }

    fn object<'v>(
        &mut self,
        from: &'v Map<String, Value>,
        path: &str,
        name: &str,
    ) -> Option<&'v Map<String, Value>> {
        let value = from.get(name).filter(|value| !value.is_null())?;
        if !value.is_object() {
            self.complain(&format!("{path}{name}"), format!("must be an object, not {}", kind(value)));
        }
        value.as_object()
    }

    fn array<'v>(
        &mut self,
        from: &'v Map<String, Value>,
        path: &str,
        name: &str,
        most: usize,
    ) -> Option<&'v Vec<Value>> {
        let value = from.get(name).filter(|value| !value.is_null())?;
        let field = format!("{path}{name}");
        let Some(array) = value.as_array() else {
            self.complain(&field, format!("must be an array, not {}", kind(value)));
            return None;
        };
        if array.len() > most {
            self.complain(&field, format!("has {} entries, at most {most} are allowed", array.len()));
            return None;
        }
        Some(array)
    }
}

/// A zone by its name or its offset.
fn zone(text: &str) -> Option<Zone> {
    if let Some(minutes) = quiet::parse_offset(text) {
        return Some(Zone::Offset(minutes));
    }
    (text.len() <= ZONE_BYTES_MAX && quiet::knows(text)).then(|| Zone::Named(text.into()))
}

/// `HH:MM`.
fn read_minute(text: &str) -> Option<u16> {
    let (hours, minutes) = text.split_once(':')?;
    let digits = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(hours) || !digits(minutes) {
        return None;
    }
    let (hours, minutes): (u16, u16) = (hours.parse().ok()?, minutes.parse().ok()?);
    (hours < 24 && minutes < 60).then_some(hours * 60 + minutes)
}

fn show_minute(minute: u16) -> String {
    format!("{:02}:{:02}", minute / 60, minute % 60)
}

/// How deep a value is nested: 0 for what is neither an array nor an object.
fn depth(value: &Value) -> usize {
    match value {
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or_default(),
        Value::Object(fields) => 1 + fields.values().map(depth).max().unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn kind(value: &Value) -> String {
    match value {
        Value::Null | Value::Bool(_) => value.to_string(),
        Value::Number(number) => format!("the number {}", short(&number.to_string())),
        Value::String(text) => format!("the string {}", shown(text)),
        Value::Array(_) => "an array".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

fn shown(text: &str) -> String {
    format!("{:?}", short(text))
}

fn short(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}…", text.split_at(at).0),
        None => text.to_owned(),
    }
}

/// A field name in a path: as it is when it is a usual one, else shown.
fn plain(name: &str) -> String {
    let usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_usual = !name.is_empty() && name.len() <= SHOWN_MAX && name.bytes().all(usual);
    if is_usual { name.to_owned() } else { shown(name) }
}

#[cfg(test)]
mod tests;
