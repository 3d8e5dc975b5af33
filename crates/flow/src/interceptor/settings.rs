//! The settings that several interceptors share.

use super::interceptor_type::EventFate;
use crate::failure_log::FailureLog;
use crate::pattern::Pattern;
use crate::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond::Clock;

/// The key for the outcome of an event whose pattern cannot be matched.
pub(super) const ON_FAILURE: Key = Key {
    name: "onFailure",
    kind: KeyKind::Word,
    default: "pass",
    meaning: "What happens to an event whose match is abandoned: pass (unchanged) or drop (counted as match_failed). Flume has no such key.",
};

/// Reads `onFailure`.
pub(super) fn on_failure(reader: &mut SettingsReader<'_>) -> Result<EventFate, SettingError> {
    Ok(match reader.word("onFailure", &["pass", "drop"])? {
        Some("drop") => EventFate::DropUnmatched,
        _ => EventFate::Keep,
    })
}

/// Returns the word for the outcome.
pub(super) fn became(on_failure: EventFate) -> &'static str {
    if on_failure == EventFate::Keep { "passes" } else { "is dropped" }
}

/// Reads the Java pattern under `key`; `None` if it is not set.
pub(super) fn pattern(
    reader: &SettingsReader<'_>,
    key: &str,
) -> Result<Option<Pattern>, SettingError> {
    let read = reader.text(key).map(Pattern::new).transpose();
    read.map_err(|error| reader.error(key, error.to_string()))
}

/// Reads the Java pattern under `key`, or `default`.
pub(super) fn pattern_or(
    reader: &SettingsReader<'_>,
    key: &str,
    default: &str,
) -> Result<Pattern, SettingError> {
    let built = || Pattern::new(default).map_err(|error| reader.error(key, error.to_string()));
    pattern(reader, key)?.map_or_else(built, Ok)
}

/// Logs that matching was abandoned, throttled as a failure without a recovery: a client can cause it with each
/// event, and a success of one event says nothing about the next.
pub(super) fn say(gives_up: &FailureLog, clock: &dyn Clock, pattern: &str, cause: &str) {
    if let Some(words) = gives_up.failed(clock.now(), cause) {
        tracing::warn!(pattern, "{words}");
    }
}

/// Reads the Java pattern under `key`, which is required.
pub(super) fn required_pattern(
    reader: &SettingsReader<'_>,
    key: &str,
) -> Result<Pattern, SettingError> {
    pattern_or(reader, key, reader.required_text(key)?)
}
