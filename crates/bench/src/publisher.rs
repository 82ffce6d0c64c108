//! How pushes are handed to a server. A way to do it is one file in `publisher/` and one line in [`PUBLISHERS`].
//!
//! The loop over connections (`post`) knows none of them: it sends the bytes that it is given and asks whether what
//! came back is a whole answer, and how many pushes it accepts.

pub(crate) mod nats;
pub(crate) mod nchan;
pub(crate) mod node;
pub(crate) mod pusher;
pub(crate) mod tidings;

/// All of them, by the name that `--publisher` takes.
pub(crate) const PUBLISHERS: &[Publisher] =
    &[tidings::TIDINGS, node::NODE, nchan::NCHAN, nats::NATS, pusher::PUSHER];

/// One way to publish.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Publisher {
    /// The word for it on the command line.
    pub name: &'static str,
    /// Whether several pushes can be handed over in one call; otherwise `--call batch` is made of single calls.
    pub batches: bool,
    /// Whether calls follow each other on one connection without waiting for answers; otherwise those that are under
    /// way at once have a connection each.
    pub pipelines: bool,
    /// Begins to publish.
    pub open: fn(&Backend<'_>) -> Box<dyn Publish>,
}

/// Who publishes, and with what settings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Backend<'a> {
    /// The value of the `Host` header.
    pub authority: &'a str,
    /// Namespace (or application).
    pub namespace: &'a str,
    /// A key that may push; empty when there is none.
    pub key: &'a str,
    /// `durability` of the pushes, where the server knows that: `memory` or `durable`.
    pub durability: &'a str,
    /// `ttl` of the pushes, where the server knows that.
    pub ttl: Option<&'a str>,
}

/// What is pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Push {
    /// Who gets it.
    pub to: To,
    /// The data: a JSON object with a field `seq`, by which a receiver knows which one it is. It has to arrive with its
    /// quotes or with quotes escaped once.
    pub data: String,
}

/// Who gets a push.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum To {
    /// Everybody in a room (or channel).
    Room(String),
    /// Everything that one person has open; where there are no persons, a room (or channel) of that name.
    User(String),
}

/// A way to publish, made ready: it knows neither sockets nor time.
pub(crate) trait Publish: Send {
    /// Appends what a fresh connection says first.
    fn begin(&self, _out: &mut Vec<u8>) {}

    /// The length of the server's answer to [`Publish::begin`], nothing while it is incomplete.
    fn greeted(&self, _bytes: &[u8]) -> Result<Option<usize>, String> {
        Ok(Some(0))
    }

    /// Appends one call for all of `pushes`: one, or several where the publisher batches.
    fn write(&self, pushes: &[Push], out: &mut Vec<u8>);

    /// The length of the answer to a call of `pushes` pushes, nothing while it is incomplete. A push that was not
    /// accepted is an error that quotes the refusal.
    fn read(&self, bytes: &[u8], pushes: usize) -> Result<Option<usize>, String>;
}

/// The publisher with this name; `clap` parses `--publisher` with it.
pub(crate) fn named(name: &str) -> Result<&'static Publisher, String> {
    PUBLISHERS.iter().find(|publisher| publisher.name == name).ok_or_else(|| {
        let names: Vec<&str> = PUBLISHERS.iter().map(|publisher| publisher.name).collect();
        format!("allowed is {}", names.join(", "))
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const BACKEND: Backend<'static> =
        Backend { authority: "h:1", namespace: "demo", key: "k", durability: "durable", ttl: Some("1s") };

    /// `count` pushes to room `r`, numbered from 1 on.
    pub(crate) fn pushes(count: usize) -> Vec<Push> {
        let push = |number| Push { to: To::Room("r".to_owned()), data: format!(r#"{{"seq":{number}}}"#) };
        (1..=count).map(push).collect()
    }

    /// One call for `pushes`.
    pub(crate) fn written(publish: &dyn Publish, pushes: &[Push]) -> String {
        let mut out = Vec::new();
        publish.write(pushes, &mut out);
        String::from_utf8(out).unwrap()
    }
}
