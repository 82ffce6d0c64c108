//! The numbers of the listener: connections before they are requests.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The numbers of the listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metrics {
    /// Connections that were accepted.
    pub(crate) accepted: Counter,
    /// Connections that are HTTP, or not even that yet.
    pub(crate) open: Gauge,
    cut: Family<Reason, Counter>,
}

/// Why a connection was cut off before its first request, or between two of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    /// No request came in time.
    Silent,
    /// Too many others said nothing either.
    Crowded,
    /// Its PROXY header is none.
    ProxyHeader,
    /// It comes from somebody who may not write PROXY headers.
    ProxySource,
    /// Its TLS handshake failed.
    Tls,
    /// It speaks something else than TLS where that is spoken.
    NoTls,
    /// Nothing was asked on it for a long time.
    Idle,
    /// The head of a request, not its first, did not come to an end.
    Head,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Cut {
    /// The label in metrics and logs.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Crowded => "crowded",
            Self::ProxyHeader => "proxy_header",
            Self::ProxySource => "proxy_source",
            Self::Tls => "tls",
            Self::NoTls => "no_tls",
            Self::Idle => "idle",
            Self::Head => "head",
        }
    }
}

impl Metrics {
    /// Registers everything under `tidings_listener_…`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("tidings").sub_registry_with_prefix("listener");
        registry.register("accepted", "Connections that were accepted", metrics.accepted.clone());
        registry.register("open", "Connections that carry HTTP, or nothing yet", metrics.open.clone());
        registry.register(
            "cut",
            "Connections that were cut off before their first request or between two, by reason",
            metrics.cut.clone(),
        );
        metrics
    }

    /// A connection was cut off.
    pub(crate) fn cut(&self, why: Cut) {
        self.cut.get_or_create(&Reason { reason: why.as_str() }).inc();
    }
}
