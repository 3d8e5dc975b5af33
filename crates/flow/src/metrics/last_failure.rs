//! Why the last try of a component failed, for monitoring without access to the log.

use crate::base::escape::EscapedLine;
use crate::base::limits::FAILURE_REASON_CHARS_MAX;
use millpond::internal::base::codes::Code;
use std::sync::{Mutex, PoisonError};

/// A failure as monitoring shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailureReport {
    /// Code to look up.
    pub code: &'static Code,
    /// Why, in one line of at most [`FAILURE_REASON_CHARS_MAX`] characters, without the code.
    pub reason: String,
    /// Time since when tries fail, in milliseconds since 1970-01-01 UTC.
    pub since_ms: u64,
    /// True until a try succeeds.
    pub lasts: bool,
}

impl FailureReport {
    /// Returns `reason (MP-3001)`.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} ({})", self.reason, self.code)
    }
}

/// The last failure of a component, if it ever failed.
#[derive(Debug, Default)]
pub struct LastFailure(Mutex<Option<FailureReport>>);

impl LastFailure {
    /// Records a try that failed at `wall_ms`.
    pub fn note(&self, code: &'static Code, reason: &str, wall_ms: u64) {
        let reason = shortened(code.stripped_from(reason));
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lasts = last.as_ref().filter(|last| last.lasts);
        let since_ms = lasts.map_or(wall_ms, |last| last.since_ms);
        *last = Some(FailureReport { code, reason, since_ms, lasts: true });
    }

    /// Records a successful try.
    pub fn over(&self) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter_mut().for_each(|last| last.lasts = false);
    }

    /// Returns the last failure.
    #[must_use]
    pub fn get(&self) -> Option<FailureReport> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A reason that is too long is cut at a blank within this many characters of the limit.
const WORD_CHARS_MAX: usize = 64;

/// Returns the part of `reason` that is shown: a message may quote a whole reply of a server.
fn shortened(reason: &str) -> String {
    let end = |text: &str, most| text.char_indices().nth(most).map(|(end, _)| end);
    // Escaping makes a text longer, never shorter.
    let begin = &reason[..end(reason, FAILURE_REASON_CHARS_MAX + 1).unwrap_or(reason.len())];
    let line = EscapedLine(begin.trim()).to_string();
    match end(&line, FAILURE_REASON_CHARS_MAX) {
        None => line,
        Some(_) => {
            let last = end(&line, FAILURE_REASON_CHARS_MAX - 1).unwrap_or(line.len());
            let kept = match end(&line, FAILURE_REASON_CHARS_MAX - WORD_CHARS_MAX) {
                Some(from) => line[from..last].rfind(' ').map_or(last, |blank| from + blank),
                None => last,
            };
            format!("{}…", &line[..kept])
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::internal::base::codes::{OPENING_UNREADABLE, SEGMENT_MISSING};

    #[test]
    fn a_failure_lasts_until_a_try_succeeds_and_is_kept_after_that() {
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
        assert_eq!(failure.reason, "three", "the code is not repeated");
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
        assert!(shortened(&(long.clone() + "y")).ends_with("x…"));
        let cut = shortened(&(long[..FAILURE_REASON_CHARS_MAX - 9].to_owned() + " one two three"));
        assert!(cut.ends_with("x one…"), "{}", &cut[cut.len() - 20..]);
        const { assert!(FAILURE_REASON_CHARS_MAX >= 4096, "an error that lists files is whole") };
    }
}
