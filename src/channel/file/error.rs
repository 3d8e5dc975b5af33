//! Why a file channel could not be opened.

use crate::base::codes::{self, Code, Coded};
use crate::base::setting::Setting;
use crate::recovery;
use std::io;
use std::path::PathBuf;

/// Why a file channel could not be opened. Nothing in the directories is lost by it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is outside its range.
    #[error("{option} is {value}; it must be {legal} ({})", self.code())]
    Setting {
        /// The option.
        option: Setting,
        /// What it is.
        value: String,
        /// What it may be.
        legal: String,
    },
    /// The directories were refused, or could not be read.
    #[error(transparent)]
    Recovery(#[from] recovery::OpenError),
    /// The first write of the new opening failed.
    #[error("cannot begin writing in {path}: {source} ({code})", path = path.display(), code = self.code())]
    Begin {
        /// The directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The operating system refused a thread.
    #[error("cannot start the channel's thread: {0} ({code})", code = self.code())]
    Thread(io::Error),
}

impl Coded for OpenError {
    fn code(&self) -> &'static Code {
        match self {
            Self::Setting { .. } => &codes::SETTING_OUT_OF_RANGE,
            Self::Recovery(error) => error.code(),
            Self::Begin { .. } => &codes::OPENING_UNWRITABLE,
            Self::Thread(_) => &codes::THREAD_REFUSED,
        }
    }
}
