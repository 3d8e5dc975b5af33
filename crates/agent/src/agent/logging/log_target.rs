//! The target of lines about the log itself.

/// The target of lines about the log itself.
pub(super) const LOG: &str = "millpond::log";
