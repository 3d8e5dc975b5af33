//! Errors of opening a file channel.

use crate::base::codes::{self, Code, Coded};
use crate::base::setting::Setting;
use crate::channel::Retry;
use crate::recovery;
use std::io;
use std::path::PathBuf;

/// Why a file channel could not be opened. Nothing in the directories is lost by any of these.
///
/// ```
/// use millpond::{FileChannel, FileChannelOptions, OpenError, Retry};
///
/// let mut options = FileChannelOptions::new("/c1/checkpoint", ["/c1/data"]);
/// options.capacity = 0;
/// match FileChannel::open(options) {
///     Err(OpenError::Setting { option, .. }) => assert_eq!(option.field, "capacity"),
///     Err(error) if error.retry() == Retry::Later => eprintln!("{error}; trying again"),
///     other => drop(other?),
/// }
/// # Ok::<(), OpenError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// A setting is outside its range.
    #[error("{option} is {value}; it must be {legal} ({})", self.code())]
    Setting {
        /// The option.
        option: Setting,
        /// Its value.
        value: String,
        /// The legal values.
        legal: String,
    },
    /// The directories were refused, or could not be read.
    #[error(transparent)]
    Recovery(#[from] recovery::RecoveryError),
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

impl OpenError {
    /// Returns what the caller can do: [`Retry::Later`] where a disk, another process or the
    /// operating system is the cause, which may change by itself; [`Retry::Never`] where the options
    /// or the directories have to be changed first.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Begin { .. }
            | Self::Thread(_)
            | Self::Recovery(
                recovery::RecoveryError::Directory { .. }
                | recovery::RecoveryError::Lock(_)
                | recovery::RecoveryError::MemberMissing { .. },
            ) => Retry::Later,
            Self::Recovery(recovery::RecoveryError::File(error)) if error.is_of_storage() => {
                Retry::Later
            }
            Self::Setting { .. } | Self::Recovery(_) => Retry::Never,
        }
    }
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
