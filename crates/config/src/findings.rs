//! Collects the findings of one reading, and decides if the agent can run at all.
//!
//! Limits: [`CONFIG_FINDINGS_MAX`] of each severity, further ones are counted; [`MESSAGE_CHARS_MAX`] of each
//! message.

use millpond_flow::base::limits::CONFIG_FINDINGS_MAX;
use millpond_flow::settings::{ConfigFinding, SettingPlace, Severity};
use std::cmp::Reverse;

/// Most characters of a key and of a message, so that a value of a megabyte is not repeated.
const MESSAGE_CHARS_MAX: usize = 4000;

/// Findings of one severity beyond the limit.
#[derive(Clone, Debug)]
struct OmittedFindings {
    severity: Severity,
    /// The place of the first of them.
    place: SettingPlace,
    number: u64,
}

/// The findings so far.
#[derive(Clone, Debug, Default)]
pub(super) struct ConfigFindings {
    list: Vec<ConfigFinding>,
    more: Vec<OmittedFindings>,
    /// Findings that follow from other findings; shown after all others.
    consequences: Vec<ConfigFinding>,
    /// The first finding that keeps the agent from running.
    stop: Option<ConfigFinding>,
    /// True if a finding may be gone at the next reading although the file has not changed.
    may_pass: bool,
}

impl ConfigFindings {
    /// Adds a note.
    pub(super) fn note(&mut self, place: &SettingPlace, key: &str, message: impl Into<String>) {
        self.add(Severity::Note, place, key, message.into());
    }

    /// Adds a warning: something does not work as written.
    pub(super) fn warn(&mut self, place: &SettingPlace, key: &str, message: impl Into<String>) {
        self.add(Severity::Warning, place, key, message.into());
    }

    /// Adds an error for which a component is left out, as in Flume.
    pub(super) fn leave_out(
        &mut self,
        place: &SettingPlace,
        key: &str,
        message: impl Into<String>,
    ) {
        self.add(Severity::Error, place, key, message.into());
    }

    /// Like [`ConfigFindings::leave_out`], for a temporary reason outside the file.
    pub(super) fn leave_out_for_now(
        &mut self,
        place: &SettingPlace,
        key: &str,
        message: impl Into<String>,
    ) {
        self.may_pass = true;
        self.leave_out(place, key, message);
    }

    /// Returns true if the next reading of the same file may have fewer findings.
    pub(super) fn may_pass(&self) -> bool {
        self.may_pass
    }

    /// Adds an error with which the agent does not run: Flume does not run either, or the feature is not
    /// supported.
    pub(super) fn stop(&mut self, place: &SettingPlace, key: &str, message: impl Into<String>) {
        let message = message.into();
        if self.stop.is_none() {
            self.stop = Some(finding(Severity::Error, place, key, &message));
        }
        self.add(Severity::Error, place, key, message);
    }

    /// Adds an error with which the agent does not run and that follows from other findings, which are the
    /// causes.
    pub(super) fn stop_as_consequence(&mut self, place: &SettingPlace, key: &str, message: &str) {
        let consequence = finding(Severity::Error, place, key, message);
        if self.stop.is_none() {
            let cause = self.list.iter().find(|found| found.severity == Severity::Error);
            self.stop = Some(cause.unwrap_or(&consequence).clone());
        }
        self.consequences.push(consequence);
    }

    /// Adds an error that follows from other findings and for which a component is left out, as in Flume.
    pub(super) fn leave_out_as_consequence(
        &mut self,
        place: &SettingPlace,
        key: &str,
        message: &str,
    ) {
        self.follows(finding(Severity::Error, place, key, message));
    }

    /// Adds a warning that follows from other findings.
    pub(super) fn warn_of_consequence(&mut self, place: &SettingPlace, key: &str, message: &str) {
        self.follows(finding(Severity::Warning, place, key, message));
    }

    /// Consequences beyond the limit are counted like other findings.
    fn follows(&mut self, found: ConfigFinding) {
        if self.consequences.len() < CONFIG_FINDINGS_MAX {
            self.consequences.push(found);
        } else {
            self.add(found.severity, &found.place, &found.key, found.message);
        }
    }

    /// Returns true if no further finding of this severity is kept, so that its message need not be built.
    pub(super) fn are_full(&self, severity: Severity) -> bool {
        self.more.iter().any(|more| more.severity == severity)
    }

    /// Returns true if the agent cannot run because of the findings so far.
    pub(super) fn stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Adds the findings of a component's reader.
    pub(super) fn extend(&mut self, findings: Vec<ConfigFinding>) {
        for ConfigFinding { severity, place, key, message } in findings {
            self.add(severity, &place, &key, message);
        }
    }

    /// Returns all findings in the order of the file, consequences last, and the one that keeps the agent from
    /// running.
    pub(super) fn into_parts(mut self) -> (Vec<ConfigFinding>, Option<ConfigFinding>) {
        self.list.extend(self.more.into_iter().map(
            |OmittedFindings { severity, place, number }| {
                let message =
                    format!("and {number} more like this, from here on; they are not shown");
                ConfigFinding { severity, place, key: String::new(), message }
            },
        ));
        self.list.sort_by(|a, b| a.place.cmp(&b.place));
        self.consequences.sort_by_key(|found| Reverse(found.severity));
        self.list.append(&mut self.consequences);
        (self.list, self.stop)
    }

    fn add(&mut self, severity: Severity, place: &SettingPlace, key: &str, message: String) {
        if let Some(more) = self.more.iter_mut().find(|more| more.severity == severity) {
            more.number += 1;
        } else if self.list.iter().filter(|f| f.severity == severity).count() < CONFIG_FINDINGS_MAX
        {
            self.list.push(finding(severity, place, key, &message));
        } else {
            self.more.push(OmittedFindings { severity, place: place.clone(), number: 1 });
        }
    }
}

fn finding(severity: Severity, place: &SettingPlace, key: &str, message: &str) -> ConfigFinding {
    let (key, message) = (cut(key), cut(message));
    ConfigFinding { severity, place: place.clone(), key, message }
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
    fn findings_beyond_the_limit_are_counted() {
        let (mut findings, place) = (ConfigFindings::default(), SettingPlace::nowhere());
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
