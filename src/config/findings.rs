//! The findings of one reading, and whether the agent can run at all.
//!
//! Limits: [`CONFIG_FINDINGS_MAX`] of each severity, the others are counted; [`MESSAGE_CHARS_MAX`] of what
//! one says.

use super::settings::{Finding, Place, Severity};
use crate::base::limits::CONFIG_FINDINGS_MAX;
use std::cmp::Reverse;

/// Characters of a key and of a message: a value of a megabyte is not repeated.
const MESSAGE_CHARS_MAX: usize = 4000;

/// Those of one severity that are not kept.
#[derive(Clone, Debug)]
struct More {
    severity: Severity,
    /// Where the first of them is.
    place: Place,
    number: u64,
}

/// What has been found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
    more: Vec<More>,
    /// What follows from other findings; it comes after them all.
    consequences: Vec<Finding>,
    /// The first finding that keeps the agent from running.
    stop: Option<Finding>,
}

impl Findings {
    /// Something worth knowing.
    pub(super) fn note(&mut self, place: &Place, key: &str, message: impl Into<String>) {
        self.add(Severity::Note, place, key, message.into());
    }

    /// Something that is not as the file says.
    pub(super) fn warn(&mut self, place: &Place, key: &str, message: impl Into<String>) {
        self.add(Severity::Warning, place, key, message.into());
    }

    /// Something for which a part is left out, as Flume leaves it out.
    pub(super) fn leave_out(&mut self, place: &Place, key: &str, message: impl Into<String>) {
        self.add(Severity::Error, place, key, message.into());
    }

    /// Something with which the agent does not run: Flume does not, or it would do what cannot be
    /// done here.
    pub(super) fn stop(&mut self, place: &Place, key: &str, message: impl Into<String>) {
        let message = message.into();
        if self.stop.is_none() {
            self.stop = Some(finding(Severity::Error, place, key, &message));
        }
        self.add(Severity::Error, place, key, message);
    }

    /// Something with which the agent does not run and that follows from other findings: those are the causes.
    pub(super) fn stop_as_consequence(&mut self, place: &Place, key: &str, message: &str) {
        let consequence = finding(Severity::Error, place, key, message);
        if self.stop.is_none() {
            let cause = self.list.iter().find(|found| found.severity == Severity::Error);
            self.stop = Some(cause.unwrap_or(&consequence).clone());
        }
        self.consequences.push(consequence);
    }

    /// Something for which a part is left out, as Flume leaves it out, and that follows from other findings.
    pub(super) fn leave_out_as_consequence(&mut self, place: &Place, key: &str, message: &str) {
        self.follows(finding(Severity::Error, place, key, message));
    }

    /// Something that follows from other findings and is not as the file says.
    pub(super) fn warn_of_consequence(&mut self, place: &Place, key: &str, message: &str) {
        self.follows(finding(Severity::Warning, place, key, message));
    }

    /// Of many, those beyond the bound are counted like any other.
    fn follows(&mut self, found: Finding) {
        if self.consequences.len() < CONFIG_FINDINGS_MAX {
            self.consequences.push(found);
        } else {
            self.add(found.severity, &found.place, &found.key, found.message);
        }
    }

    /// Whether no further finding of this severity is kept, so that nobody need look for a good word.
    pub(super) fn are_full(&self, severity: Severity) -> bool {
        self.more.iter().any(|more| more.severity == severity)
    }

    /// Whether the agent cannot run by what was found so far.
    pub(super) fn stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Adds what a component's reader has found.
    pub(super) fn extend(&mut self, findings: Vec<Finding>) {
        for Finding { severity, place, key, message } in findings {
            self.add(severity, &place, &key, message);
        }
    }

    /// All findings in the order of the file, consequences of others last, and the one that keeps the agent
    /// from running.
    pub(super) fn into_parts(mut self) -> (Vec<Finding>, Option<Finding>) {
        self.list.extend(self.more.into_iter().map(|More { severity, place, number }| {
            let message = format!("and {number} more like this, from here on; they are not shown");
            Finding { severity, place, key: String::new(), message }
        }));
        self.list.sort_by(|a, b| a.place.cmp(&b.place));
        self.consequences.sort_by_key(|found| Reverse(found.severity));
        self.list.append(&mut self.consequences);
        (self.list, self.stop)
    }

    fn add(&mut self, severity: Severity, place: &Place, key: &str, message: String) {
        if let Some(more) = self.more.iter_mut().find(|more| more.severity == severity) {
            more.number += 1;
        } else if self.list.iter().filter(|f| f.severity == severity).count() < CONFIG_FINDINGS_MAX
        {
            self.list.push(finding(severity, place, key, &message));
        } else {
            self.more.push(More { severity, place: place.clone(), number: 1 });
        }
    }
}

fn finding(severity: Severity, place: &Place, key: &str, message: &str) -> Finding {
    let (key, message) = (cut(key), cut(message));
    Finding { severity, place: place.clone(), key, message }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(MESSAGE_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_findings_without_number_some_are_kept_and_the_others_counted() {
        let (mut findings, place) = (Findings::default(), Place::nowhere());
        for n in 0..100_000 {
            findings.warn(&place, &format!("k{n}"), "unknown");
        }
        assert!(findings.are_full(Severity::Warning) && !findings.are_full(Severity::Error));
        findings.stop(&place, "last", "x".repeat(1024 * 1024));
        let (list, stop) = findings.into_parts();
        assert_eq!(list.len(), CONFIG_FINDINGS_MAX + 2);
        assert!(list.iter().any(|f| f.to_string()
            == "warning: and 99500 more like this, from here on; they are not shown"));
        let stop = stop.expect("the agent cannot run");
        assert_eq!(
            (stop.key.as_str(), stop.message.chars().count()),
            ("last", MESSAGE_CHARS_MAX + 1)
        );
    }
}
