//! What can happen to a message on its way to a device: one table of slugs for traces, and the reasons for
//! which a device does not get it.

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $code:literal $slug:literal;)*) => {
        /// Something that happened to a message, or the reason why nothing did.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Step {
            $($(#[$doc])* $name = $code),*
        }

        impl Step {
            /// The whole table.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The slug in the API.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $slug),*
                }
            }
        }
    };
}

steps! {
    /// The push was accepted.
    Accepted = 1 "accepted";
    /// Its time has not come yet.
    Scheduled = 2 "scheduled";
    /// It was for others.
    NotMeant = 3 "not_meant";
    /// It would have been for the device, had the push not excepted it.
    Excluded = 4 "excluded";
    /// It was for other platforms.
    PlatformFiltered = 5 "platform_filtered";
    /// The device does not want to be disturbed.
    Muted = 6 "muted";
    /// It waits for the device.
    Queued = 7 "queued";
    /// It was put into the outbox of a connection of the device.
    Written = 8 "written";
    /// The connection ended before it had left.
    ConnectionLost = 9 "connection_lost";
    /// The device did not read, and it was let go.
    SlowReaderDropped = 10 "slow_reader_dropped";
    /// A newer message with its collapse key has taken its place.
    Collapsed = 11 "collapsed";
    /// The device has it.
    Acked = 12 "acked";
    /// Its time was over.
    Expired = 13 "expired";
    /// It was withdrawn.
    Recalled = 14 "recalled";
    /// More waited for the device than may, and it was among the oldest.
    Trimmed = 15 "trimmed";
    /// Another way was tried.
    Escalated = 16 "escalated";
    /// The provider of the other way took it.
    ProviderAccepted = 17 "provider_accepted";
    /// The provider of the other way did not take it.
    ProviderRefused = 18 "provider_refused";
    /// There was no receipt in time, and no other way (any more).
    Undelivered = 19 "undelivered";
    /// A simulation had it lost.
    SimulatedLoss = 20 "simulated_loss";
    /// A simulation held it back.
    SimulatedDelay = 21 "simulated_delay";
    /// A simulation had it written twice.
    SimulatedDuplicate = 22 "simulated_duplicate";
    /// A simulation had it overtaken.
    SimulatedReorder = 23 "simulated_reorder";
    /// A simulation ended the connection.
    SimulatedDisconnect = 24 "simulated_disconnect";
    /// It was only for who was here, and the device was not.
    NotConnected = 25 "not_connected";
}

impl Step {
    /// The step that a stored number stands for.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        Self::ALL.iter().find(|step| **step as u8 == code).copied()
    }
}

/// Why a device does not get a message although it was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum DropReason {
    /// It did not read, and the policy of the namespace is to let go of what waits for it.
    SlowReader = 0,
    /// A newer message with the same collapse key has taken its place.
    Collapsed = 1,
    /// More waited for it than its mailbox holds.
    Trimmed = 2,
}

impl DropReason {
    /// All of them, at the index that their discriminant says.
    pub const ALL: [Self; 3] = [Self::SlowReader, Self::Collapsed, Self::Trimmed];

    /// The slug in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SlowReader => "slow_reader",
            Self::Collapsed => "collapsed",
            Self::Trimmed => "trimmed",
        }
    }

    /// What a trace says of it.
    #[must_use]
    pub const fn step(self) -> Step {
        match self {
            Self::SlowReader => Step::SlowReaderDropped,
            Self::Collapsed => Step::Collapsed,
            Self::Trimmed => Step::Trimmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_slugs_are_unique() {
        for (index, one) in Step::ALL.iter().enumerate() {
            assert_eq!(Step::from_code(*one as u8), Some(*one));
            for other in &Step::ALL[index + 1..] {
                assert!(*one as u8 != *other as u8 && one.as_str() != other.as_str(), "{one:?} {other:?}");
            }
        }
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
        }
    }
}
