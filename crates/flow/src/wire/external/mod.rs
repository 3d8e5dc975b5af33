//! The protocol between the agent and a user's process: one JSON object per line, in UTF-8. docs/external.md
//! describes it for authors of such a process.
//!
//! Limits: those of the caller for a line and for the events in it; [`HEADERS_MAX`] headers of an event,
//! [`EXTERNAL_POSITION_BYTES_MAX`] of a position, [`WORDS_CHARS_MAX`] characters of a process's free text.
//!
//! [`encode`] writes the lines of the agent, [`decode`] parses those of the process. Parsing is strict: an
//! unknown or misspelt key is an error and never ignored, since the body of an event could be lost with it.
//!
//! [`HEADERS_MAX`]: crate::base::limits::HEADERS_MAX
//! [`EXTERNAL_POSITION_BYTES_MAX`]: crate::base::limits::EXTERNAL_POSITION_BYTES_MAX

pub mod decode;
pub mod encode;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;

#[cfg(test)]
mod tests;

/// The version of the protocol, stated in the greeting and in its reply.
pub const VERSION: u32 = 1;

/// Most characters of a reason that a process gives, and of an error about an invalid line; longer text is cut.
pub const WORDS_CHARS_MAX: usize = 500;

/// Returns `words`, cut to [`WORDS_CHARS_MAX`].
pub(crate) fn cut(words: &str) -> String {
    match words.char_indices().nth(WORDS_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words.to_owned(),
    }
}
