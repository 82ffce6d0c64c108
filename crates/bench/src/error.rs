//! What can go wrong in a run, in words for the person who started it.

use std::io;

/// Why a run ended without a result, or with one that must not be believed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BenchError {
    /// The arguments contradict each other or the machine.
    #[error("{0}")]
    Arguments(String),
    /// The operating system refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, as in "opening a socket".
        doing: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server ended or never came up.
    #[error("{what}{stderr}")]
    Server {
        /// What was expected of it.
        what: String,
        /// The end of its standard error, each line indented; empty when there was none.
        stderr: String,
    },
    /// The server answered something that the contract does not allow here.
    #[error("{who}: {what}")]
    Protocol {
        /// The connection or the call.
        who: String,
        /// What it said.
        what: String,
    },
    /// A process that the bench started of itself broke off.
    #[error("the {name} process: {what}")]
    Child {
        /// Which one.
        name: String,
        /// What it said last.
        what: String,
    },
    /// Somebody wants it to end.
    #[error("interrupted")]
    Interrupted,
    /// Frames are missing, came twice or in the wrong order.
    #[error("{0}")]
    Lost(String),
}

impl BenchError {
    /// 2 for what the caller can mend in the command line, 130 (as shells have it) when interrupted, 1 for everything
    /// else.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Arguments(_) => 2,
            Self::Interrupted => 130,
            Self::Io { .. }
            | Self::Server { .. }
            | Self::Protocol { .. }
            | Self::Child { .. }
            | Self::Lost(_) => 1,
        }
    }
}

/// Names what was being done when the system refused.
pub(crate) trait Doing<T> {
    /// Turns a system error into one that says what it interrupted.
    fn doing(self, what: &str) -> Result<T, BenchError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &str) -> Result<T, BenchError> {
        self.map_err(|source| BenchError::Io { doing: what.to_owned(), source })
    }
}
