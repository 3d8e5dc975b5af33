//! How a command ends, and the two ways out: stdout for what it produces, stderr for words.

use crate::base::visible::{OneLine, Visible};
use rustix::fs::OFlags;
use std::io::{self, Write};

/// Why a command did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub(super) enum Stop {
    /// The command line asks for something that cannot be meant.
    #[error("{0}")]
    Usage(String),
    /// It was tried and failed.
    #[error("{0}")]
    Failed(String),
    /// It was tried and failed, and the log says why.
    #[error("the log says why")]
    Logged,
    /// The reader of stdout went away; it does not want to hear more.
    #[error("stdout was closed")]
    Unheard,
}

impl Stop {
    /// The exit code of the process.
    pub(super) fn exit_code(&self) -> u8 {
        match self {
            Self::Unheard => 0,
            Self::Failed(_) | Self::Logged => 1,
            Self::Usage(_) => 2,
        }
    }

    /// Failing to write to stdout.
    pub(super) fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::Unheard,
            _ => Self::Failed(format!("cannot write to stdout: {error}")),
        }
    }
}

/// Whether stdout was closed when the process began. Its runtime puts `/dev/null` there then, for
/// reading and writing, and every write goes well; who means `/dev/null` opens it for writing.
pub(super) fn stdout_is_closed() -> bool {
    let out = io::stdout();
    let Ok(about) = rustix::fs::fstat(&out) else { return true };
    // Without that file the runtime could not have put it there.
    let Ok(null) = rustix::fs::stat("/dev/null") else { return false };
    let is_null = (about.st_mode, about.st_rdev) == (null.st_mode, null.st_rdev);
    let way = rustix::fs::fcntl_getfl(&out).map(|flags| flags & OFlags::ACCMODE);
    is_null && way == Ok(OFlags::RDWR)
}

/// Says `words` on stderr, one line, with the name of the program, control characters written out. A
/// closed stderr is nobody to complain to.
pub(super) fn say(words: &str) {
    let _ = writeln!(io::stderr().lock(), "millpond: {}", OneLine(words));
}

/// Writes `text` for people to stdout, whole, control characters but line ends and tabs written out:
/// names of files and words of configurations may hold any.
pub(super) fn show_words(text: &str) -> Result<(), Stop> {
    show(&Visible(text).to_string())
}

/// Writes `text` to stdout, whole and as it is.
pub(super) fn show(text: &str) -> Result<(), Stop> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(|e| Stop::stdout(&e))
}
