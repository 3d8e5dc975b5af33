//! Why the last try of a component failed, for who watches: the log is not always at hand.

use crate::base::codes::Code;
use crate::base::limits::FAILURE_REASON_CHARS_MAX;
use crate::base::visible::OneLine;
use std::sync::{Mutex, PoisonError};

/// A failure, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What to look up.
    pub code: &'static Code,
    /// Why, in one line of at most [`FAILURE_REASON_CHARS_MAX`] characters.
    pub reason: String,
    /// Since when tries fail, milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// Whether no try has gone well since.
    pub lasts: bool,
}

impl Failure {
    /// `reason (MP-3001)`; an error that has a code of its own ends with it already.
    #[must_use]
    pub fn words(&self) -> String {
        let Self { code, reason, .. } = self;
        let code = format!("({code})");
        if reason.ends_with(&code) { reason.clone() } else { format!("{reason} {code}") }
    }
}

/// The last failure of a component, if it ever had one.
#[derive(Debug, Default)]
pub struct LastFailure(Mutex<Option<Failure>>);

impl LastFailure {
    /// A try has failed at `wall_ms`.
    pub fn note(&self, code: &'static Code, reason: &str, wall_ms: u64) {
        let reason = shortened(reason);
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = last.as_ref().filter(|last| last.lasts);
        let since_ms = lasts.map_or(wall_ms, |last| last.since_ms);
        *last = Some(Failure { code, reason, since_ms, lasts: true });
    }

    /// A try has gone well.
    pub fn over(&self) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter_mut().for_each(|last| last.lasts = false);
    }

    /// The last one.
    #[must_use]
    pub fn get(&self) -> Option<Failure> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is shown of `reason`: a message may quote a whole answer of a server.
fn shortened(reason: &str) -> String {
    let end = |text: &str, most| text.char_indices().nth(most).map(|(end, _)| end);
    // Escapes make it longer, never shorter.
    let begin = &reason[..end(reason, FAILURE_REASON_CHARS_MAX + 1).unwrap_or(reason.len())];
    let line = OneLine(begin.trim()).to_string();
    match end(&line, FAILURE_REASON_CHARS_MAX) {
        None => line,
        Some(_) => {
            let kept = end(&line, FAILURE_REASON_CHARS_MAX - 1).unwrap_or(line.len());
            format!("{}…", &line[..kept])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::codes::{OPENING_UNREADABLE, SEGMENT_MISSING};

    #[test]
    fn a_failure_lasts_until_a_try_goes_well_and_is_known_behind_that() {
        let last = LastFailure::default();
        last.over();
        assert_eq!(last.get(), None);
        last.note(&SEGMENT_MISSING, "one", 5);
        last.note(&OPENING_UNREADABLE, "two", 7);
        let failure = last.get().expect("noted");
        assert_eq!((failure.reason.as_str(), failure.since_ms, failure.lasts), ("two", 5, true));
        assert_eq!(failure.words(), "two (MP-1216)");
        last.over();
        assert!(last.get().is_some_and(|failure| !failure.lasts && failure.reason == "two"));
        last.note(&SEGMENT_MISSING, "three (MP-1203)", 9);
        let failure = last.get().expect("noted");
        assert_eq!((failure.words().as_str(), failure.since_ms), ("three (MP-1203)", 9));
    }

    #[test]
    fn a_reason_is_one_short_line() {
        let last = LastFailure::default();
        for reason in ["a\nb\u{1b}[31m\u{202e}c".to_owned(), "\u{1b}é".repeat(1 << 20)] {
            last.note(&SEGMENT_MISSING, &reason, 0);
            let reason = last.get().expect("noted").reason;
            assert!(reason.chars().count() <= FAILURE_REASON_CHARS_MAX, "{reason}");
            assert!(!reason.contains(char::is_control), "{reason}");
        }
        let long = "x".repeat(FAILURE_REASON_CHARS_MAX);
        assert_eq!(shortened(&long), long);
        assert!(shortened(&(long + "y")).ends_with("x…"));
    }
}
