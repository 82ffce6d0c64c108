//! From a text frame to commands. An object is split into its fields first, whatever they are, so that
//! the id is known before anything can be wrong; then each command takes the fields that it has.

use std::borrow::Cow;
use std::fmt;
use std::vec;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Body, Command, CommandError, Error, Field, ID_BYTES_MAX, Id, LIST_MAX, POSITIONS_MAX, Refusal};
use crate::elements::{ElementsError, elements, string};
use crate::nesting::{self, DEPTH_MAX};

/// Reads a text frame: an object, or an array of at most `max_commands` objects.
///
/// # Errors
/// When the frame as a whole is not that; single commands are judged one by one, by the iterator.
pub fn decode(text: &str, max_commands: usize) -> Result<Commands<'_>, Error> {
    if !nesting::is_within(text, DEPTH_MAX) {
        return Err(Error::TooDeep);
    }
    let frame: &RawValue = serde_json::from_str(text).map_err(|_| Error::BadJson)?;
    match frame.get().bytes().next() {
        Some(b'{') => Ok(Commands { one: Some(frame), many: Vec::new().into_iter() }),
        Some(b'[') => match elements(frame.get(), max_commands) {
            Ok(many) => Ok(Commands { one: None, many: many.into_iter() }),
            Err(ElementsError::NotAnArray) => Err(Error::BadJson),
            Err(ElementsError::TooMany) => Err(Error::TooManyCommands),
        },
        _ => Err(Error::NotACommand),
    }
}

/// The commands of one frame, in order.
#[derive(Debug)]
pub struct Commands<'a> {
    one: Option<&'a RawValue>,
    many: vec::IntoIter<&'a RawValue>,
}

impl<'a> Iterator for Commands<'a> {
    type Item = Result<Command<'a>, Refusal<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.one.take().or_else(|| self.many.next()).map(command)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.one.is_some()) + self.many.len();
        (left, Some(left))
    }
}

impl ExactSizeIterator for Commands<'_> {}

fn command(raw: &RawValue) -> Result<Command<'_>, Refusal<'_>> {
    let not_an_object = Refusal { id: None, error: CommandError::NotAnObject };
    let mut fields = split(raw.get()).ok_or(not_an_object)?;
    let id = fields.id().map_err(|error| Refusal { id: None, error })?;
    let body = fields.body().map_err(|error| Refusal { id, error })?;
    Ok(Command { id, body })
}

/// The fields of one object, each taken at most once; what is left over is unknown.
struct Fields<'a> {
    values: [Option<&'a RawValue>; Field::COUNT],
    wrong: Option<CommandError<'a>>,
}

impl<'a> Fields<'a> {
    fn put(&mut self, name: Cow<'a, str>, value: &'a RawValue) {
        let Some(field) = Field::from_name(&name) else {
            self.wrong.get_or_insert(CommandError::UnknownField(name));
            return;
        };
        if let Some(place) = self.values.get_mut(field as usize)
            && place.replace(value).is_some()
        {
            self.wrong.get_or_insert(CommandError::RepeatedField(field));
        }
    }

    fn take(&mut self, field: Field) -> Option<&'a RawValue> {
        self.values.get_mut(field as usize).and_then(Option::take)
    }

    /// Like `take`; null is no value.
    fn take_some(&mut self, field: Field) -> Option<&'a RawValue> {
        self.take(field).filter(|value| value.get() != "null")
    }

    fn id(&mut self) -> Result<Option<Id<'a>>, CommandError<'a>> {
        let Some(raw) = self.take_some(Field::Id).map(RawValue::get) else { return Ok(None) };
        match raw.bytes().next() {
            Some(b'"' | b'-' | b'0'..=b'9') if raw.len() <= ID_BYTES_MAX => Ok(Some(Id(raw))),
            _ => Err(CommandError::BadField(Field::Id, "a number or a string of at most 64 bytes")),
        }
    }

    fn body(&mut self) -> Result<Body<'a>, CommandError<'a>> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        let cmd = self.required(Field::Cmd)?;
        let body = match cmd.as_ref() {
            "connect" => Body::Connect {
                token: self.text(Field::Token)?,
                device: self.text(Field::Device)?,
                user: self.text(Field::User)?,
                platform: self.text(Field::Platform)?,
                positions: self.positions()?,
            },
            "refresh" => Body::Refresh { token: self.required(Field::Token)? },
            "join" => Body::Join { rooms: self.list(Field::Rooms)? },
            "leave" => Body::Leave { rooms: self.list(Field::Rooms)? },
            "ack" => Body::Ack { ids: self.list(Field::Ids)? },
            "presence" => Body::Presence {
                room: self.text(Field::Room)?,
                limit: self.value(Field::Limit, "a whole number")?,
                cursor: self.text(Field::Cursor)?,
                notify: self.value(Field::Notify, "true or false")?,
            },
            "publish" => Body::Publish {
                room: self.take(Field::Room),
                event: self.take(Field::Event),
                data: self.take(Field::Data),
                ttl: self.take(Field::Ttl),
                echo: self.take(Field::Echo),
            },
            "device" => Body::Device { set: self.set()? },
            "rpc" => Body::Rpc { method: self.take(Field::Method), data: self.take(Field::Data) },
            "ping" => Body::Ping,
            _ => return Err(CommandError::UnknownCommand(cmd)),
        };
        match Field::ALL.into_iter().find(|field| self.take(*field).is_some()) {
            Some(left_over) => Err(CommandError::UnknownField(Cow::Borrowed(left_over.name()))),
            None => Ok(body),
        }
    }

    fn text(&mut self, field: Field) -> Result<Option<Cow<'a, str>>, CommandError<'a>> {
        let Some(raw) = self.take_some(field) else { return Ok(None) };
        string(raw.get()).map(Some).ok_or(CommandError::BadField(field, "a string"))
    }

    fn value<T: for<'b> Deserialize<'b>>(
        &mut self,
        field: Field,
        expected: &'static str,
    ) -> Result<Option<T>, CommandError<'a>> {
        let Some(raw) = self.take_some(field) else { return Ok(None) };
        serde_json::from_str(raw.get()).map(Some).map_err(|_| CommandError::BadField(field, expected))
    }

    fn required(&mut self, field: Field) -> Result<Cow<'a, str>, CommandError<'a>> {
        self.text(field)?.ok_or(CommandError::MissingField(field))
    }

    fn list(&mut self, field: Field) -> Result<Vec<Cow<'a, str>>, CommandError<'a>> {
        let not_a_list = CommandError::BadField(field, "an array of strings");
        let raw = self.take_some(field).ok_or(CommandError::MissingField(field))?;
        match elements(raw.get(), LIST_MAX) {
            Ok(items) => {
                items.into_iter().map(|item| string(item.get())).collect::<Option<_>>().ok_or(not_a_list)
            }
            Err(ElementsError::NotAnArray) => Err(not_a_list),
            Err(ElementsError::TooMany) => Err(CommandError::LongList(field, LIST_MAX)),
        }
    }

    fn set(&mut self) -> Result<Option<&'a RawValue>, CommandError<'a>> {
        match self.take_some(Field::Set) {
            Some(raw) if !raw.get().starts_with('{') => Err(CommandError::BadField(Field::Set, "an object")),
            set => Ok(set),
        }
    }

    fn positions(&mut self) -> Result<Vec<(Cow<'a, str>, u32, u64)>, CommandError<'a>> {
        let Some(raw) = self.take_some(Field::Positions) else { return Ok(Vec::new()) };
        let mut positions = Vec::new();
        let mut long = false;
        let read = each_entry(raw.get(), |topic, raw| {
            long |= positions.len() >= POSITIONS_MAX;
            if !long {
                let Position { epoch, offset } = serde_json::from_str(raw.get()).ok()?;
                positions.push((topic, epoch, offset));
            }
            Some(())
        });
        match read {
            Some(()) if long => Err(CommandError::LongList(Field::Positions, POSITIONS_MAX)),
            Some(()) => Ok(positions),
            None => Err(CommandError::BadField(
                Field::Positions,
                "an object of {\"epoch\": number, \"offset\": number} by topic",
            )),
        }
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Position {
    epoch: u32,
    offset: u64,
}

fn split(object: &str) -> Option<Fields<'_>> {
    let mut fields = Fields { values: [None; Field::COUNT], wrong: None };
    each_entry(object, |name, value| {
        fields.put(name, value);
        Some(())
    })?;
    Some(fields)
}

/// Calls `entry` for each entry of a JSON object; `None` when it is not one, or `entry` says so.
fn each_entry<'a>(
    object: &'a str,
    entry: impl FnMut(Cow<'a, str>, &'a RawValue) -> Option<()>,
) -> Option<()> {
    serde_json::Deserializer::from_str(object).deserialize_map(Entries(entry)).ok()?
}

struct Entries<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, &'de RawValue) -> Option<()>> Visitor<'de> for Entries<F> {
    type Value = Option<()>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Option<()>, A::Error> {
        let mut good = Some(());
        while let Some((Key(name), value)) = map.next_entry::<Key<'de>, &'de RawValue>()? {
            good = good.and_then(|()| (self.0)(name, value));
        }
        Ok(good)
    }
}

/// A key, borrowed unless it has escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(KeyVisitor).map(Self)
    }
}

struct KeyVisitor;

impl<'de> Visitor<'de> for KeyVisitor {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}
