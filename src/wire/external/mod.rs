//! What the agent and a process of a user's own say to each other: one JSON object a line, in UTF-8.
//! docs/external.md is the page for those who write such a process.
//!
//! Limits: what the caller allows for a line and for the events in it; [`HEADERS_MAX`] headers of an
//! event, [`EXTERNAL_POSITION_BYTES_MAX`] of a position, [`WORDS_CHARS_MAX`] characters of what a
//! process says in words.
//!
//! [`mod@write`] makes the lines of the agent, [`read`] understands those of the process. Reading is
//! strict: an unknown or misspelt key is refused by name and never left out in silence, since with it
//! could go the body of an event.
//!
//! [`HEADERS_MAX`]: crate::base::limits::HEADERS_MAX
//! [`EXTERNAL_POSITION_BYTES_MAX`]: crate::base::limits::EXTERNAL_POSITION_BYTES_MAX

pub mod fuzz;
pub mod read;
pub mod write;

#[cfg(test)]
mod tests;

/// The version of the protocol, said in the greeting and in its answer.
pub const VERSION: u32 = 1;

/// Characters of a reason that a process gives, and of words about a line that is none; what is longer
/// is cut.
pub const WORDS_CHARS_MAX: usize = 500;

/// `words` cut to [`WORDS_CHARS_MAX`].
pub(crate) fn cut(words: &str) -> String {
    match words.char_indices().nth(WORDS_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &words[..at]),
        None => words.to_owned(),
    }
}
