//! Throttle for the log of client errors and refusals over all clients of a source, which clients can cause
//! without limit.
//!
//! Limits: each kind is logged once, then every [`REMINDER`] with its count. A kind is a word of the program or a
//! rule of the configuration, never text of a client, so clients cannot create kinds. Each kind is throttled by
//! itself; kinds beyond [`KINDS_MAX`], which only a configuration with that many rules reaches, share a reminder.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Time between two lines of one kind.
const REMINDER: Duration = Duration::from_secs(600);

/// Most kinds that are distinguished, some 100 bytes each; more than the refusals of a source and its rules.
const KINDS_MAX: usize = 1024;

/// The kind of all further ones.
const OTHERS: &str = "others";

/// The time and count of the last line of each kind.
#[derive(Debug, Default)]
pub struct ClientErrorLog(Mutex<HashMap<Cow<'static, str>, Logged>>);

#[derive(Debug)]
struct Logged {
    at: Duration,
    /// Occurrences since that line.
    count: u64,
}

impl ClientErrorLog {
    /// Records `cause`, an error of `kind`, at `now`; returns the text to log, if any.
    pub fn note(&self, now: Duration, kind: &'static str, cause: &str) -> Option<String> {
        self.note_as(now, Cow::Borrowed(kind), cause)
    }

    /// Like [`note`](Self::note), with a rule of the configuration as the kind.
    pub fn note_rule(&self, now: Duration, rule: &str, cause: &str) -> Option<String> {
        self.note_as(now, Cow::Owned(rule.to_owned()), cause)
    }

    fn note_as(&self, now: Duration, kind: Cow<'static, str>, cause: &str) -> Option<String> {
        // No operation can panic halfway while it holds the lock.
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = kinds.contains_key(&kind);
        let kind = if is_known || kinds.len() < KINDS_MAX { kind } else { OTHERS.into() };
        let Some(logged) = kinds.get_mut(&kind) else {
            kinds.insert(kind, Logged { at: now, count: 0 });
            return Some(cause.to_owned());
        };
        logged.count = logged.count.saturating_add(1);
        let since = now.saturating_sub(logged.at);
        if since < REMINDER {
            return None;
        }
        let count = std::mem::take(&mut logged.count);
        logged.at = now;
        Some(match count {
            1 => cause.to_owned(),
            count => format!("{cause} ({count} times in {} s)", since.as_secs()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn each_kind_is_logged_once_and_then_every_ten_minutes_with_how_often() {
        let log = ClientErrorLog::default();
        assert_eq!(log.note(SECOND, "call", "no such call").as_deref(), Some("no such call"));
        // Text of a client does not make a new kind.
        assert!((0..1000).all(|n| log.note(SECOND, "call", &format!("no call {n}")).is_none()));
        let later = SECOND + REMINDER;
        let again = log.note(later, "call", "no such call");
        assert_eq!(again.as_deref(), Some("no such call (1001 times in 600 s)"));
        assert_eq!(log.note(later, "call", "no such call"), None);
        let once = log.note(later + REMINDER, "call", "no such call");
        assert_eq!(once.as_deref(), Some("no such call (2 times in 600 s)"));
        let once = log.note(later + 2 * REMINDER, "call", "no such call");
        assert_eq!(once.as_deref(), Some("no such call"));
    }

    #[test]
    fn no_kind_keeps_another_from_being_logged() {
        let log = ClientErrorLog::default();
        let kinds =
            ["unreadable", "too long", "idle", "slow", "no room", "deaf", "foreign", "call"];
        for kind in kinds.into_iter().chain(["too large", "events not taken", "never fits"]) {
            assert_eq!(log.note(SECOND, kind, kind).as_deref(), Some(kind));
        }
        // A reminder of one kind does not replace that of another.
        let later = SECOND + REMINDER;
        assert!(log.note(later, "call", "call").is_some());
        assert!(log.note(later, "events not taken", "not taken").is_some());
        let rule = |n: usize| log.note_rule(later, &format!("deny:ip:10.{n}.*"), "denied");
        let logged = (0..2 * KINDS_MAX).filter(|n| rule(*n).is_some()).count();
        assert_eq!(logged, KINDS_MAX - 11 + 1, "and those beyond once together");
        assert!(log.note(later + REMINDER, "call", "call").is_some());
    }
}
