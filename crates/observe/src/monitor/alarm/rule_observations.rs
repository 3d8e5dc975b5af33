//! The verdicts of one evaluation.

use super::kind::AlarmKind;
use super::observation::{AlarmTarget, Observation, RuleVerdict};
use std::time::Duration;

/// The verdicts of the rules, and the components that cannot be judged now.
#[derive(Debug, Default)]
pub(super) struct RuleObservations {
    pub(super) list: Vec<Observation>,
    /// Parts of these components cannot be observed: their earlier verdicts stay.
    pub(super) unseen: Vec<(AlarmKind, String)>,
}

impl RuleObservations {
    pub(super) fn add(
        &mut self,
        (kind, component, subject): (AlarmKind, &str, &str),
        verdict: RuleVerdict,
        (lasts, settles): (Duration, Duration),
    ) {
        let (component, subject) = (component.to_owned(), subject.to_owned());
        let place = AlarmTarget { kind, component, subject };
        self.list.push(Observation { place, verdict, lasts, settles });
    }
}
