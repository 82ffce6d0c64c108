//! The JSON protocol of plain WebSocket clients: one text frame holds a command or an array of commands.
//!
//! Source: the public contract, section 5.2. A command that is refused is answered with its id wherever
//! one could be read, and spoils none of the others in its frame. This module knows no session and no
//! permission, and does not judge names: it says which fields a command has, and that they have the
//! right type.

mod decode;
mod encode;

use std::borrow::Cow;
use std::fmt;

use serde_json::value::RawValue;

pub use decode::{Commands, decode};
pub use encode::{error, ok};

/// Most entries in any list of a command (`rooms`, `ids`, `positions`).
pub const LIST_MAX: usize = 1_000;

/// Most positions that a client names: one for each room that a device may be in, and its own three topics.
pub const POSITIONS_MAX: usize = 10_003;

/// Longest command id, as JSON, in bytes.
pub const ID_BYTES_MAX: usize = 64;

/// A command's id: the JSON number or string that the client chose, echoed as it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id<'a>(&'a str);

impl<'a> Id<'a> {
    /// The id as JSON.
    #[must_use]
    pub fn as_json(self) -> &'a str {
        self.0
    }
}

/// One command.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// To be echoed in the answer.
    pub id: Option<Id<'a>>,
    /// What is asked.
    pub body: Body<'a>,
}

/// What a command asks.
#[derive(Clone, Debug)]
pub enum Body<'a> {
    /// Who the client is. The first command of a connection.
    Connect {
        /// Its token; it may also have come with the request.
        token: Option<Cow<'a, str>>,
        /// Its device.
        device: Option<Cow<'a, str>>,
        /// Its user, as it says.
        user: Option<Cow<'a, str>>,
        /// Its platform, as it says.
        platform: Option<Cow<'a, str>>,
        /// Topic, epoch and offset of the last message that it has of each topic.
        positions: Vec<(Cow<'a, str>, u32, u64)>,
    },
    /// A newer token, in place of the one it connected with.
    Refresh {
        /// The token.
        token: Cow<'a, str>,
    },
    /// Join rooms.
    Join {
        /// Their names.
        rooms: Vec<Cow<'a, str>>,
    },
    /// Leave rooms.
    Leave {
        /// Their names.
        rooms: Vec<Cow<'a, str>>,
    },
    /// These messages have arrived.
    Ack {
        /// Their ids.
        ids: Vec<Cow<'a, str>>,
    },
    /// Ask who is in a room, or say whether to be told of others.
    Presence {
        /// The room that is asked about.
        room: Option<Cow<'a, str>>,
        /// How many at most.
        limit: Option<u64>,
        /// Where to go on.
        cursor: Option<Cow<'a, str>>,
        /// Whether the connection is to be told of others from now on.
        notify: Option<bool>,
    },
    /// Send to a room.
    Publish {
        /// Its name, a string.
        room: Option<&'a RawValue>,
        /// The event's name, a string.
        event: Option<&'a RawValue>,
        /// Any JSON.
        data: Option<&'a RawValue>,
        /// For how long it is kept for who is away, a string.
        ttl: Option<&'a RawValue>,
        /// Whether the sender gets it, too.
        echo: Option<&'a RawValue>,
    },
    /// Read the own device's record, or change it.
    Device {
        /// The fields to change; `None` reads.
        set: Option<&'a RawValue>,
    },
    /// Ask the business system.
    Rpc {
        /// Of what, a string.
        method: Option<&'a RawValue>,
        /// With what: any JSON.
        data: Option<&'a RawValue>,
    },
    /// Ask whether the server lives.
    Ping,
}

/// A command that cannot be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// To be echoed in the answer.
    pub id: Option<Id<'a>>,
    /// What is wrong.
    pub error: CommandError<'a>,
}

/// What is wrong with a command. Its text names the field, and may be shown to the client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandError<'a> {
    /// Not an object.
    NotAnObject,
    /// There is no such command.
    UnknownCommand(Cow<'a, str>),
    /// The command has no such field.
    UnknownField(Cow<'a, str>),
    /// The same field twice.
    RepeatedField(Field),
    /// A required field is not there.
    MissingField(Field),
    /// A field of another type than expected.
    BadField(Field, &'static str),
    /// A list with more entries than these.
    LongList(Field, usize),
}

/// Longest part of an unknown field's name that is repeated to the client, in bytes.
const ECHO_BYTES_MAX: usize = 64;

impl fmt::Display for CommandError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("a command must be an object"),
            Self::UnknownCommand(name) => write!(f, "`cmd` is `{}`, which is not a command", shown(name)),
            Self::UnknownField(name) => write!(f, "unknown field `{}`", shown(name)),
            Self::RepeatedField(field) => write!(f, "field `{field}` appears twice"),
            Self::MissingField(field) => write!(f, "field `{field}` is missing"),
            Self::BadField(field, expected) => write!(f, "field `{field}` must be {expected}"),
            Self::LongList(field, max) => write!(f, "field `{field}` has more than {max} entries"),
        }
    }
}

fn shown(name: &str) -> impl fmt::Display {
    name.get(..name.floor_char_boundary(ECHO_BYTES_MAX)).unwrap_or_default().escape_debug()
}

impl std::error::Error for CommandError<'_> {}

/// Why a frame holds no commands at all. Nothing in it can be answered by id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// Not one JSON text.
    BadJson,
    /// Nested too deep.
    TooDeep,
    /// Neither an object nor an array.
    NotACommand,
    /// More commands than allowed.
    TooManyCommands,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadJson => "not JSON",
            Self::TooDeep => "JSON nested too deep",
            Self::NotACommand => "expected an object or an array of objects",
            Self::TooManyCommands => "too many commands in one frame",
        })
    }
}

impl std::error::Error for Error {}

macro_rules! fields {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// A field that some command has.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Field {
            $(#[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl Field {
            pub(crate) const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];
            pub(crate) const COUNT: usize = Self::ALL.len();

            /// The field's name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            pub(crate) fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

fields! {
    Id = "id", Cmd = "cmd", Token = "token", Device = "device", User = "user", Platform = "platform",
    Positions = "positions", Rooms = "rooms", Ids = "ids", Room = "room", Event = "event", Data = "data",
    Set = "set", Method = "method", Limit = "limit", Cursor = "cursor", Notify = "notify", Ttl = "ttl", Echo = "echo",
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
