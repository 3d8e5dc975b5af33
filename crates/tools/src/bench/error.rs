//! Why a benchmark ended.

use super::bench_dirs::BenchDirError;
use super::plan::PlanError;
use std::io;
use std::path::PathBuf;

/// Why a run could not be carried out, or not to its end. What it created is removed all the same.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchError {
    /// The request cannot be measured.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The directories cannot be used.
    #[error(transparent)]
    Directory(#[from] BenchDirError),
    /// A write next to the channel failed.
    #[error("cannot write {path}: {source}", path = path.display())]
    Device {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The channel did not open, did not close, or refused what it should have accepted.
    #[error("the channel: {0}")]
    Channel(String),
    /// A disk does not respond.
    #[error("a disk has not responded for {seconds} s")]
    Hangs {
        /// How long it was waited for.
        seconds: u64,
    },
    /// What was created could not be removed.
    #[error("what was made could not all be removed: {0}; remove it by hand")]
    Left(BenchDirError),
    /// It failed, and what was created could not be removed.
    #[error("{0}; and {1}")]
    FailedAndLeft(Box<Self>, Box<Self>),
    /// There is no memory for a buffer.
    #[error("no memory for a buffer: {0}")]
    Memory(io::Error),
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}; give fewer --producers and --takers")]
    Thread(io::Error),
}

impl BenchError {
    /// Returns whether it failed during the measurement; else it was refused before.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Plan(_) | Self::Directory(_) | Self::Memory(_) | Self::Thread(_))
    }
}
