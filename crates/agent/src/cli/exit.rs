//! The result of a command, and its two outputs: stdout for its product, stderr for messages.

use millpond_flow::base::escape::{Escaped, EscapedLine};
use rustix::fs::OFlags;
use std::io::{self, Write};

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// The command line is invalid.
    #[error("{0}")]
    Usage(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// It was tried and failed, and the log says why.
    #[error("the log says why")]
    Logged,
    /// The reader of stdout is gone and wants no more output.
    #[error("stdout was closed")]
    BrokenPipe,
}

impl CommandError {
    /// Returns the exit code of the process.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::BrokenPipe => 0,
            Self::Failed(_) | Self::Logged => 1,
            Self::Usage(_) => 2,
        }
    }

    /// Converts an error of writing to stdout.
    pub(super) fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::BrokenPipe,
            _ => Self::Failed(format!("cannot write to stdout: {error}")),
        }
    }
}

/// Returns whether stdout was closed when the process began. Its runtime puts `/dev/null` there
/// then, for reading and writing, and every write succeeds; a user who wants `/dev/null` opens it
/// for writing only.
pub(super) fn stdout_is_closed() -> bool {
    let out = io::stdout();
    let Ok(about) = rustix::fs::fstat(&out) else { return true };
    // Without that file the runtime could not have put it there.
    let Ok(null) = rustix::fs::stat("/dev/null") else { return false };
    let is_null = (about.st_mode, about.st_rdev) == (null.st_mode, null.st_rdev);
    let way = rustix::fs::fcntl_getfl(&out).map(|flags| flags & OFlags::ACCMODE);
    is_null && way == Ok(OFlags::RDWR)
}

/// Writes `words` to stderr, one line, with the name of the program, control characters escaped. An
/// error of stderr cannot be reported.
pub(super) fn say(words: &str) {
    let _ = writeln!(io::stderr().lock(), "millpond: {}", EscapedLine(words));
}

/// Writes `text` for people to stdout, whole, control characters except newlines and tabs escaped:
/// file names and configurations may contain any.
pub(super) fn show_words(text: &str) -> Result<(), CommandError> {
    show(&Escaped(text).to_string())
}

/// Writes `text` to stdout, whole and as it is.
pub(super) fn show(text: &str) -> Result<(), CommandError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| CommandError::stdout(&e))
}
