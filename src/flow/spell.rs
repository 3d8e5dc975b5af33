//! A spell in which a sink does not deliver: said when it begins, when it has another cause, now and
//! then while it lasts, and when it is over; not at each of its tries, of which an hour has a thousand.
//!
//! Limits: [`CAUSES_MAX`] causes are told apart, and a reminder comes every [`REMINDER`].

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Causes of one spell that are said when they come for the first time.
const CAUSES_MAX: usize = 8;

/// Between two words about a spell that lasts.
const REMINDER: Duration = Duration::from_secs(600);

/// A spell of one failed try that was over sooner than this is not said to be over: the try was said.
const BRIEF: Duration = Duration::from_secs(1);

/// Whether a sink delivers, as far as the log knows.
#[derive(Debug, Default)]
pub struct Spell(Mutex<Option<Bad>>);

#[derive(Debug)]
struct Bad {
    since: Duration,
    tries: u64,
    causes: Vec<String>,
    said: Duration,
}

impl Spell {
    /// A try has failed at `now`, for `cause`: what is to be said of it, if anything.
    pub(crate) fn failed(&self, now: Duration, cause: &str) -> Option<String> {
        self.failed_as(now, cause, cause)
    }

    /// The same of a cause whose words differ each time: `kind` tells it from others.
    pub(crate) fn failed_as(&self, now: Duration, kind: &str, cause: &str) -> Option<String> {
        let mut spell = self.lock();
        let bad = spell.get_or_insert_with(|| Bad {
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

    /// It works at `now`: what is to be said of it, if it did not before.
    pub(crate) fn over(&self, now: Duration) -> Option<String> {
        let Bad { since, tries, .. } = self.lock().take()?;
        let lasted = now.saturating_sub(since);
        if tries == 1 && lasted < BRIEF {
            return None;
        }
        let attempts = if tries == 1 { "attempt" } else { "attempts" };
        let seconds = lasted.as_secs_f64();
        Some(format!("recovered after {tries} failed {attempts} in {seconds:.1} s"))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Bad>> {
        // Nothing under the lock can be left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_spell_is_said_once_for_each_cause_and_once_when_it_is_over() {
        let spell = Spell::default();
        assert_eq!(spell.over(SECOND), None);
        assert_eq!(spell.failed(SECOND, "refused").as_deref(), Some("refused"));
        for _ in 0..100 {
            assert_eq!(spell.failed(SECOND * 2, "refused"), None);
        }
        let other = spell.failed(SECOND * 4, "no answer");
        assert_eq!(other.as_deref(), Some("no answer (attempt 102 in 3 s)"));
        assert_eq!(spell.failed(SECOND * 5, "refused"), None);
        let over = spell.over(SECOND * 6);
        assert_eq!(over.as_deref(), Some("recovered after 103 failed attempts in 5.0 s"));
        assert_eq!(spell.over(SECOND * 7), None);
        assert_eq!(spell.failed(SECOND * 8, "refused").as_deref(), Some("refused"));
    }

    #[test]
    fn a_single_try_is_said_in_the_singular_and_a_brief_one_not_again() {
        let spell = Spell::default();
        for (over, words) in [
            (SECOND + Duration::from_millis(5), None),
            (SECOND * 4, Some("recovered after 1 failed attempt in 3.0 s")),
        ] {
            assert_eq!(spell.failed(SECOND, "refused").as_deref(), Some("refused"));
            assert_eq!(spell.over(over).as_deref(), words);
            assert_eq!(spell.over(over), None, "it is over in any case");
        }
    }

    #[test]
    fn one_that_lasts_is_recalled_and_many_causes_are_not_all_said() {
        let spell = Spell::default();
        let said = (0..1000).filter(|n| spell.failed(SECOND, &format!("cause {n}")).is_some());
        assert_eq!(said.count(), CAUSES_MAX);
        let hour = (0..3600).filter(|s| spell.failed(SECOND * (2 + s), "cause 0").is_some());
        assert_eq!(hour.count(), 6, "once in ten minutes");
    }
}
