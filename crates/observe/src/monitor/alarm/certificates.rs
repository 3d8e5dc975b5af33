//! The rule about expiring certificates: those of components, and those of the servers of sinks.

use super::alarm_record::time;
use super::kind::AlarmKind;
use super::observation::{AgentSnapshot, AlarmText, RuleVerdict, number};
use super::rule_observations::RuleObservations;
use super::settings::AlarmSettings;
use millpond_flow::metrics::ComponentRole;
use std::time::Duration;

const DAY_SECONDS: u64 = 86_400;

/// What is checked: the attribute of a source or sink, what the alarm calls it, and the owner.
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
    view: &AgentSnapshot,
    settings: &AlarmSettings,
    observed: &mut RuleObservations,
) {
    for component in view.of(ComponentRole::Source).chain(view.of(ComponentRole::Sink)) {
        let Some(limits) = settings.limits(AlarmKind::CertificateExpires, &component.name) else {
            continue;
        };
        let days = limits.limit.unwrap_or(0);
        for (attribute, subject, whose) in CERTIFICATES {
            let end = number(component, attribute);
            let left = end.saturating_sub(wall_ms / 1000);
            let verdict = if end == 0 || left > days * DAY_SECONDS {
                RuleVerdict::Good
            } else {
                let when = time(end.saturating_mul(1000));
                let words = match left {
                    0 => format!("{whose} has ended: it was valid until {when}"),
                    left => format!("{whose} ends in {} days, at {when}", left / DAY_SECONDS),
                };
                RuleVerdict::Bad(
                    AlarmText::new(words).with("notAfter", when).with("whose", subject),
                )
            };
            let at = (AlarmKind::CertificateExpires, &*component.key(), subject);
            observed.add(at, verdict, (Duration::ZERO, Duration::ZERO));
        }
    }
}
