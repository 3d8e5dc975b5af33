//! The findings of one reading, and whether the agent can run at all.

use super::settings::{Finding, Place, Severity};

/// What has been found so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Findings {
    list: Vec<Finding>,
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
        self.add(Severity::Error, place, key, message.into());
        if self.stop.is_none() {
            self.stop = self.list.last().cloned();
        }
    }

    /// Whether the agent cannot run by what was found so far.
    pub(super) fn stopped(&self) -> bool {
        self.stop.is_some()
    }

    /// Adds what a component's reader has found.
    pub(super) fn extend(&mut self, findings: Vec<Finding>) {
        self.list.extend(findings);
    }

    /// All findings in the order of the file, and the one that keeps the agent from running.
    pub(super) fn into_parts(mut self) -> (Vec<Finding>, Option<Finding>) {
        self.list.sort_by(|a, b| a.place.cmp(&b.place));
        (self.list, self.stop)
    }

    fn add(&mut self, severity: Severity, place: &Place, key: &str, message: String) {
        let (place, key) = (place.clone(), key.to_owned());
        self.list.push(Finding { severity, place, key, message });
    }
}
