//! Findings of a configuration and of the command line as log lines: each is written whenever they
//! are read, however many there are.

use millpond_flow::codes;
use millpond_flow::settings::{ConfigFinding, Severity};

/// The target of these lines, which the throttle never suppresses.
pub(super) const TARGET: &str = module_path!();

pub(super) fn log(finding: &ConfigFinding) {
    match finding.severity {
        Severity::Note => tracing::info!("{finding}"),
        Severity::Warning => tracing::warn!(code = %codes::CONFIGURATION_WARNING, "{finding}"),
        Severity::Error => tracing::error!(code = %codes::CONFIGURATION_ERROR, "{finding}"),
    }
}

/// Logs a warning about the command line, or about a file of options.
pub(super) fn warn(warning: &str) {
    let warning = warning.strip_prefix("warning: ").unwrap_or(warning);
    tracing::warn!("{warning}");
}
