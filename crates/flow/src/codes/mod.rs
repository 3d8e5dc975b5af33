//! All stable codes: those of a channel from the [base](millpond::internal::base::codes), which defines the scheme, and those
//! of the agent around it. One file for each thousand.
//!
//! To add one: a constant with the next free number of its group, a call that uses it, and
//! `MILLPOND_CODES=write cargo test --lib codes::`, which writes docs/codes.md and the list of numbers in
//! tests/golden/codes.txt. A number that is no longer used stays in that list and is not given again.

mod agent;
mod alarms;
mod areas;
mod page;
mod sinks;
mod sources;
mod start;

use crate::codes::areas::AREAS;
pub use agent::*;
pub use alarms::*;
pub use millpond::internal::base::codes::*;
pub use sinks::*;
pub use sources::*;
pub use start::*;

/// Returns every code, by number.
pub fn all() -> impl Iterator<Item = &'static Code> {
    AREAS.iter().flat_map(|area| area.codes)
}

/// Returns the code that `word` names: `MP-1203`, `mp-1203`, `1203`, or as copied from a line, `code=MP-1203` or
/// `(MP-1203)`.
#[must_use]
pub fn find(word: &str) -> Option<&'static Code> {
    let digits = number_of(word)?;
    all().find(|code| code.number == digits)
}

/// Returns the number in `word`, if it has the form of a code.
fn number_of(word: &str) -> Option<u32> {
    let word = word.trim_matches(|c: char| !c.is_ascii_alphanumeric()).to_ascii_lowercase();
    let word = word.strip_prefix("code=").unwrap_or(&word).trim_start_matches('"');
    let digits = word.strip_prefix("mp").unwrap_or(word).trim_start_matches('-');
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

/// Returns the codes as a page of documentation.
#[must_use]
pub fn page() -> String {
    page::page()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codes::areas::ALARMS_FROM;
    use std::collections::BTreeSet;

    #[test]
    fn every_number_is_in_its_range_once_and_in_order() {
        let numbers: Vec<u32> = all().map(|code| code.number).collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        for (area, thousand) in AREAS.iter().zip(1..) {
            for code in area.codes {
                let alarm = code.level == Level::Alarm;
                assert_eq!(alarm, code.number >= ALARMS_FROM, "{code}");
                assert!(alarm || code.number / 1000 == thousand, "{code}: {}", area.title);
            }
        }
        let names: BTreeSet<&str> = all().map(|code| code.name).collect();
        assert_eq!(names.len(), numbers.len());
    }

    #[test]
    fn every_code_says_what_it_is_and_what_to_do() {
        for code in all() {
            for sentence in [code.means, code.action] {
                assert!(sentence.ends_with('.') && sentence.len() > 10, "{code}: {sentence}");
            }
            assert!(!code.title.is_empty() && !code.title.ends_with('.'), "{code}");
        }
    }

    #[test]
    fn a_code_is_found_however_it_is_written() {
        for word in
            ["MP-1203", "mp-1203", "1203", "mp1203", "code=MP-1203", "(MP-1203)", "MP-1203:"]
        {
            assert_eq!(find(word), Some(&SEGMENT_MISSING), "{word}");
        }
        for word in ["", "MP-", "MP-1", "12a3", "99999999999999999999"] {
            assert_eq!(find(word), None, "{word}");
        }
    }
}
