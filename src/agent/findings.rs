//! What is found in a configuration, and on the command line, as lines of the log: each is written whenever they
//! are read, however many there are.

use crate::codes;
use crate::config::settings::{Finding, Severity};

/// The target of these lines, which the log never leaves out.
pub(super) const TARGET: &str = module_path!();

pub(super) fn log(finding: &Finding) {
    match finding.severity {
        Severity::Note => tracing::info!("{finding}"),
        Severity::Warning => tracing::warn!(code = %codes::CONFIGURATION_WARNING, "{finding}"),
        Severity::Error => tracing::error!(code = %codes::CONFIGURATION_ERROR, "{finding}"),
    }
}

/// A warning about the command line, or about a file of options.
pub(super) fn warn(warning: &str) {
    let warning = warning.strip_prefix("warning: ").unwrap_or(warning);
    tracing::warn!("{warning}");
}
