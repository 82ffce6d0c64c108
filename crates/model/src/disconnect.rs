//! How a connection ends: one table of close codes, for every protocol.
//!
//! 1000–1015 are WebSocket's own (RFC 6455 section 7.4.1). 3000–3499 ask the client to reconnect,
//! 3500–3999 tell it not to.

/// Why the server ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Disconnect {
    /// The close code on the wire.
    pub code: u16,
    /// The reason on the wire: a stable slug, also the label in metrics.
    pub reason: &'static str,
}

macro_rules! disconnects {
    ($($(#[$doc:meta])* $name:ident = $code:literal $reason:literal;)*) => {
        impl Disconnect {
    /// The one with this code.
    #[must_use]
    pub fn from_code(code: u16) -> Option<Self> {
        Self::ALL.iter().find(|one| one.code == code).copied()
    }

            $($(#[$doc])* pub const $name: Self = Self { code: $code, reason: $reason };)*

            /// The whole table, by code.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];
        }
    };
}

disconnects! {
    /// The client said goodbye, or nothing is left to say.
    NORMAL = 1000 "normal";
    /// The client went away without a word: the socket was closed or reset.
    GONE = 1001 "going_away";
    /// The client broke the protocol.
    PROTOCOL_ERROR = 1002 "protocol_error";
    /// The client sent a kind of frame that this protocol has no use for.
    UNSUPPORTED = 1003 "unsupported";
    /// The client sent text that is not UTF-8.
    INVALID_UTF8 = 1007 "invalid_utf8";
    /// The client sent more than the limit.
    TOO_LARGE = 1009 "too_large";
    /// The server could not go on; its log says why.
    INTERNAL = 1011 "internal_error";
    /// The server is stopping.
    SHUTDOWN = 3001 "shutdown";
    /// The client's permission ran out.
    EXPIRED = 3005 "expired";
    /// The client reads more slowly than it is written to, and its outbox is full.
    SLOW = 3008 "slow";
    /// The client's position is no longer known; it starts anew.
    POSITION_LOST = 3010 "position_lost";
    /// The operator asks the client to reconnect.
    RECONNECT = 3011 "reconnect";
    /// The client did not answer a heartbeat.
    NO_PONG = 3012 "no_pong";
    /// The server has no room for more.
    OVERLOADED = 3013 "overloaded";
    /// The client's token is not valid.
    INVALID_TOKEN = 3500 "invalid_token";
    /// The client sent something that is not a command.
    BAD_REQUEST = 3501 "bad_request";
    /// The client did not say who it is in time.
    NO_CONNECT = 3502 "no_connect";
    /// The operator disconnected the client.
    OPERATOR = 3503 "disconnected";
    /// The client has too many connections.
    TOO_MANY = 3504 "too_many_connections";
    /// A newer connection took its place.
    REPLACED = 3505 "replaced";
    /// The client may not do what it asked for.
    NOT_ALLOWED = 3507 "not_allowed";
}

impl Disconnect {
    /// Whether the client is asked to come back.
    #[must_use]
    pub const fn reconnect(self) -> bool {
        !(self.code >= 3500 && self.code <= 3999)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_unique_and_reasons_fit_a_control_frame() {
        for (index, one) in Disconnect::ALL.iter().enumerate() {
            assert!(one.reason.len() <= 123, "{one:?}");
            for other in &Disconnect::ALL[index + 1..] {
                assert!(one.code < other.code && one.reason != other.reason, "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn the_range_says_whether_to_come_back() {
        assert!(Disconnect::SHUTDOWN.reconnect());
        assert!(!Disconnect::INVALID_TOKEN.reconnect());
    }
}
