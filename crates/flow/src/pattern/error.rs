//! Why a pattern is refused.

/// Most characters of a pattern.
pub const PATTERN_CHARS_MAX: usize = 16 * 1024;

/// Deepest nesting of groups and classes.
pub const NESTING_MAX: usize = 100;

/// A pattern that Java refuses, or that is not supported here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{pattern}\" is not a regular expression that can be used: {what}{}", place(*at))]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// Position, in characters from 0; `None` if the error is about the whole pattern.
    pub at: Option<usize>,
    /// What is wrong, or what to write instead.
    pub what: String,
}

pub(super) fn place(at: Option<usize>) -> String {
    at.map_or_else(String::new, |at| format!(" (at character {})", at + 1))
}
