//! The metrics of certificates: when they end.

use super::families::{Family, From, gauge};
use crate::metrics::Role;

pub(super) const CERTIFICATES: &[Family] = &[
    gauge(
        "millpond_source_certificate_end_seconds",
        From::Attribute(Role::Source, "CertificateNotAfter"),
        "When the certificate that the source serves TLS with ends, since 1970; 0 without one.",
    ),
    gauge(
        "millpond_sink_certificate_end_seconds",
        From::Attribute(Role::Sink, "CertificateNotAfter"),
        "When the certificate that the sink shows to its server ends, since 1970; 0 without one.",
    ),
    gauge(
        "millpond_sink_peer_certificate_end_seconds",
        From::Attribute(Role::Sink, "PeerCertificateNotAfter"),
        "When the certificate of the sink's server ends, as of the last connection, since 1970; 0 without one.",
    ),
];
