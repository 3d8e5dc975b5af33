//! The severity of an alarm.

/// The severity of an alarm, the lowest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum AlarmSeverity {
    Warning,
    Minor,
    Major,
    Critical,
}

/// Their names, in that order.
pub(super) const SEVERITIES: &[&str] = &["warning", "minor", "major", "critical"];

impl AlarmSeverity {
    pub(crate) fn word(self) -> &'static str {
        SEVERITIES[self as usize]
    }

    /// Returns the severity of this name.
    pub(crate) fn named(word: &str) -> Option<Self> {
        let all = [Self::Warning, Self::Minor, Self::Major, Self::Critical];
        all.into_iter().find(|severity| severity.word() == word)
    }
}
