//! The metrics of certificates: when they expire.

use super::metric_family::{MetricFamily, ValueSource, gauge};
use millpond_flow::metrics::ComponentRole;

pub(super) const CERTIFICATES: &[MetricFamily] = &[
    gauge(
        "millpond_source_certificate_end_seconds",
        ValueSource::Attribute(ComponentRole::Source, "CertificateNotAfter"),
        "When the TLS certificate of the source expires, since 1970; 0 without one.",
    ),
    gauge(
        "millpond_sink_certificate_end_seconds",
        ValueSource::Attribute(ComponentRole::Sink, "CertificateNotAfter"),
        "When the certificate that the sink presents to its server expires, since 1970; 0 without one.",
    ),
    gauge(
        "millpond_sink_peer_certificate_end_seconds",
        ValueSource::Attribute(ComponentRole::Sink, "PeerCertificateNotAfter"),
        "When the certificate of the sink's server expires, as of the last connection, since 1970; 0 without one.",
    ),
];
