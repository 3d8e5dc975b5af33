//! The rule about certificates that end: those that components show, and those of the servers of sinks.

use super::kind::Kind;
use super::raised::time;
use super::rules::Observed;
use super::settings::AlarmSettings;
use super::sight::{Sight, Verdict, Words, number};
use crate::metrics::Role;
use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;

/// What is looked at: the attribute of a source or sink, what the alarm calls it, and whose it is.
const CERTIFICATES: [(&str, &str, &str); 2] = [
    ("CertificateNotAfter", "own", "its certificate"),
    (
        "PeerCertificateNotAfter",
        "server",
        "the certificate of its server, as of the last connection,",
    ),
];

pub(super) fn observe(
    wall_ms: u64,
    sight: &Sight,
    settings: &AlarmSettings,
    observed: &mut Observed,
) {
    for component in sight.of(Role::Source).chain(sight.of(Role::Sink)) {
        let Some(tuning) = settings.tuning(Kind::CertificateExpires, &component.name) else {
            continue;
        };
        let days = tuning.limit.unwrap_or(0);
        for (attribute, subject, whose) in CERTIFICATES {
            let end = number(component, attribute);
            let left = end.saturating_sub(wall_ms / 1000);
            let verdict = if end == 0 || left > days * DAY_SECONDS {
                Verdict::Good
            } else {
                let when = time(end.saturating_mul(1000));
                let words = match left {
                    0 => format!("{whose} has ended: it was valid until {when}"),
                    left => format!("{whose} ends in {} days, at {when}", left / DAY_SECONDS),
                };
                Verdict::Bad(Words::new(words).with("notAfter", when).with("whose", subject))
            };
            let at = (Kind::CertificateExpires, &*component.key(), subject);
            observed.add(at, verdict, (Duration::ZERO, Duration::ZERO));
        }
    }
}
