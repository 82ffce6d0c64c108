//! The door: who may come in, before anything is known of a client but where it is and which page it
//! belongs to. It knows no socket and no protocol.

pub(crate) mod origins;
mod seats;

use std::hash::RandomState;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use arc_swap::ArcSwap;
use http::HeaderMap;
use tidings_hub::rates::Rates;
use tidings_model::{ClientAddress, ErrorCode, Origins};
use tidings_node::Metrics;
use tidings_node::metrics::Refused;

use crate::session::Refusal;
use crate::settings::Settings;
use seats::{Seat, Seats};

/// Addresses whose rates are known sharply.
const ADDRESSES: usize = 1 << 16;

/// Who may come in.
#[derive(Debug)]
pub(crate) struct Door {
    origins: ArcSwap<Origins>,
    rates: Option<Rates>,
    seats: Seats,
    started: Instant,
    /// The second in which a refusal was last logged, and how many there were since.
    logged: AtomicU64,
    unlogged: AtomicU64,
}

/// A place, for as long as it is kept, and where whoever has it is.
#[derive(Debug)]
pub(crate) struct Place {
    _seat: Seat,
    /// As few bytes as can be: every connection has one.
    address: Ipv6Addr,
}

impl Place {
    pub(crate) fn address(&self) -> ClientAddress {
        if self.address.is_unspecified() {
            ClientAddress::LOCAL
        } else {
            ClientAddress::new(IpAddr::V6(self.address))
        }
    }
}

/// Why somebody may not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// The page that it belongs to is none of ours.
    Origin,
    /// Others from its address came too fast.
    TooFast,
    /// Its address has as many connections as it may have.
    Address(u32),
    /// The server has as many connections as it may have.
    Full(usize),
    /// The server has as much to do as it can, by this sign.
    Overloaded(&'static str),
    /// The server is about to stop.
    Draining,
}

impl Door {
    pub(crate) fn new(settings: &Settings) -> Self {
        let limits = settings.limits;
        Self {
            origins: ArcSwap::from_pointee(settings.origins.clone()),
            rates: Rates::new(
                limits.handshakes_per_second,
                limits.handshake_burst,
                ADDRESSES,
                RandomState::new(),
            ),
            seats: Seats::new(limits.connections, limits.per_address),
            started: Instant::now(),
            logged: AtomicU64::new(0),
            unlogged: AtomicU64::new(0),
        }
    }

    /// From now on these pages may come in. Who is in stays.
    pub(crate) fn allow(&self, origins: Origins) {
        self.origins.store(Arc::new(origins));
    }

    /// Judges the page that a request belongs to, if there is one: browsers say so.
    ///
    /// # Errors
    /// [`Closed::Origin`].
    pub(crate) fn check_page(&self, page: Option<&str>) -> Result<(), Closed> {
        if origins::allow(&self.origins.load(), page) { Ok(()) } else { Err(Closed::Origin) }
    }

    /// Lets somebody in for as long as it has the place.
    ///
    /// # Errors
    /// [`Closed`] says why not.
    pub(crate) fn enter(&self, client: ClientAddress) -> Result<Place, Closed> {
        let counted = client.counted_as();
        if let (Some(rates), Some(address)) = (&self.rates, counted)
            && !rates.take(address, self.started.elapsed().as_micros() as u64)
        {
            return Err(Closed::TooFast);
        }
        let address = client.ip().map_or(Ipv6Addr::UNSPECIFIED, |ip| match ip {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        });
        self.seats.take(counted).map(|seat| Place { _seat: seat, address })
    }

    /// Counts a refusal, and logs one in each second: who is refused is often many.
    pub(crate) fn note(&self, metrics: &Metrics, client: ClientAddress, why: Closed) {
        metrics.clients_refused.get_or_create(&Refused { reason: why.reason() }).inc();
        let second = self.started.elapsed().as_secs() + 1;
        if self.logged.swap(second, Ordering::Relaxed) == second {
            self.unlogged.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let more = self.unlogged.swap(0, Ordering::Relaxed);
        tracing::info!(%client, reason = why.reason(), more, "a client was not let in");
    }

    /// What a browser is told of who may read an answer, where the namespace that it is about has this list.
    pub(crate) fn allow_origin(
        &self,
        own: &Origins,
        asked: Option<&http::HeaderValue>,
        answer: &mut HeaderMap,
    ) {
        origins::answer([&self.origins.load(), own], asked, answer);
    }
}

impl Closed {
    /// The label in metrics and logs.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Origin => "origin",
            Self::TooFast => "too_fast",
            Self::Address(_) => "address",
            Self::Full(_) => "full",
            Self::Overloaded(sign) => sign,
            Self::Draining => "draining",
        }
    }

    /// What the client is told.
    pub(crate) fn refusal(self) -> Refusal {
        match self {
            Self::Origin => Refusal::new(ErrorCode::FORBIDDEN, "pages of this origin may not connect"),
            Self::TooFast => {
                Refusal::new(ErrorCode::RATE_LIMITED, "too many connections came from this address at once")
            }
            Self::Address(limit) => Refusal::new(
                ErrorCode::TOO_MANY_CONNECTIONS,
                format!("this address has {limit} connections, which is the limit"),
            ),
            Self::Full(limit) => Refusal::new(
                ErrorCode::OVERLOADED,
                format!("the server has {limit} connections, which is the limit"),
            ),
            Self::Overloaded(_) => {
                Refusal::new(ErrorCode::OVERLOADED, "the server has as much to do as it can; come back later")
            }
            Self::Draining => Refusal::new(
                ErrorCode::OVERLOADED,
                "this node is stopping; reconnect to another one, or in a moment",
            ),
        }
    }
}
