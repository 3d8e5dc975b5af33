//! Log throttle for ongoing failures of a component: logs the begin, each new cause, a reminder now and then, and
//! the recovery, but not each try, of which an hour may have a thousand.
//!
//! Limits: [`CAUSES_MAX`] causes are distinguished, and a reminder is logged every [`REMINDER`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Most causes of one failure that are logged when they first occur.
const CAUSES_MAX: usize = 8;

/// Time between two reminders of an ongoing failure.
const REMINDER: Duration = Duration::from_secs(600);

/// The recovery from one failed try within this time is not logged: the failed try was.
const BRIEF: Duration = Duration::from_secs(1);

/// The ongoing failure of a component, if there is one, as it was logged.
#[derive(Debug, Default)]
pub struct FailureLog(Mutex<Option<OngoingFailure>>);

#[derive(Debug)]
struct OngoingFailure {
    since: Duration,
    tries: u64,
    causes: Vec<String>,
    said: Duration,
}

impl FailureLog {
    /// Records a failed try at `now` with its `cause`; returns the text to log, if any.
    pub fn failed(&self, now: Duration, cause: &str) -> Option<String> {
        self.failed_as(now, cause, cause)
    }

    /// Like [`failed`](Self::failed) for a cause whose text differs each time: `kind` distinguishes it from
    /// others.
    pub(crate) fn failed_as(&self, now: Duration, kind: &str, cause: &str) -> Option<String> {
        let mut failure_log = self.lock();
        let bad = failure_log.get_or_insert_with(|| OngoingFailure {
            since: now,
            tries: 0,
            causes: Vec::new(),
            said: now,
        });
        bad.tries = bad.tries.saturating_add(1);
        let is_new = bad.causes.len() < CAUSES_MAX && !bad.causes.iter().any(|said| said == kind);
        if is_new {
            bad.causes.push(kind.to_owned());
        } else if now.saturating_sub(bad.said) < REMINDER {
            return None;
        }
        bad.said = now;
        let lasts = now.saturating_sub(bad.since).as_secs();
        Some(match bad.tries {
            1 => cause.to_owned(),
            tries => format!("{cause} (attempt {tries} in {lasts} s)"),
        })
    }

    /// Records a success at `now`; returns the text to log, if it failed before.
    pub fn over(&self, now: Duration) -> Option<String> {
        let OngoingFailure { since, tries, .. } = self.lock().take()?;
        let lasted = now.saturating_sub(since);
        if tries == 1 && lasted < BRIEF {
            return None;
        }
        let attempts = if tries == 1 { "attempt" } else { "attempts" };
        let seconds = lasted.as_secs_f64();
        Some(format!("recovered after {tries} failed {attempts} in {seconds:.1} s"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<OngoingFailure>> {
        // No operation can panic halfway while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_failure_is_logged_once_per_cause_and_once_at_its_end() {
        let failure_log = FailureLog::default();
        assert_eq!(failure_log.over(SECOND), None);
        assert_eq!(failure_log.failed(SECOND, "refused").as_deref(), Some("refused"));
        for _ in 0..100 {
            assert_eq!(failure_log.failed(SECOND * 2, "refused"), None);
        }
        let other = failure_log.failed(SECOND * 4, "no answer");
        assert_eq!(other.as_deref(), Some("no answer (attempt 102 in 3 s)"));
        assert_eq!(failure_log.failed(SECOND * 5, "refused"), None);
        let over = failure_log.over(SECOND * 6);
        assert_eq!(over.as_deref(), Some("recovered after 103 failed attempts in 5.0 s"));
        assert_eq!(failure_log.over(SECOND * 7), None);
        assert_eq!(failure_log.failed(SECOND * 8, "refused").as_deref(), Some("refused"));
    }

    #[test]
    fn one_try_is_logged_in_the_singular_and_a_brief_recovery_is_not() {
        let failure_log = FailureLog::default();
        for (over, words) in [
            (SECOND + Duration::from_millis(5), None),
            (SECOND * 4, Some("recovered after 1 failed attempt in 3.0 s")),
        ] {
            assert_eq!(failure_log.failed(SECOND, "refused").as_deref(), Some("refused"));
            assert_eq!(failure_log.over(over).as_deref(), words);
            assert_eq!(failure_log.over(over), None, "it is over in any case");
        }
    }

    #[test]
    fn a_long_failure_has_reminders_and_not_every_cause_is_logged() {
        let failure_log = FailureLog::default();
        let said =
            (0..1000).filter(|n| failure_log.failed(SECOND, &format!("cause {n}")).is_some());
        assert_eq!(said.count(), CAUSES_MAX);
        let hour = (0..3600).filter(|s| failure_log.failed(SECOND * (2 + s), "cause 0").is_some());
        assert_eq!(hour.count(), 6, "once in ten minutes");
    }
}
