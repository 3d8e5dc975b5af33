//! Two phases for power cuts, which no process survives: [`write()`] puts and takes and sends a
//! note away before each call on the channel; after the power is back, [`verify`] judges what is
//! left by the notes that arrived. [`collect`] receives them on another host.
//!
//! Takes wait until their note has arrived: an event whose acknowledgement was not received would
//! look lost. Puts do not wait: a put without a note is whole or absent, either is right.

mod collector;
mod remote_notes;
mod storage_warning;
mod verdict;
mod writer;

pub use collector::{CollectedNotes, CollectorStatus, collect};
pub use storage_warning::suspicions;
pub use verdict::{VerifyOptions, VerifyReport, verify};
pub use writer::{WriteOptions, WriteReport, write};

use super::scratch_dirs::ScratchDirError;
use millpond_flow::base::small_file::read_whole;
use std::io;
use std::path::{Path, PathBuf};

/// Why a phase could not be carried out. None of these is a verdict on the disk.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PhaseError {
    /// The directories.
    #[error(transparent)]
    ScratchDir(#[from] ScratchDirError),
    /// The file of acknowledgements.
    #[error("cannot use {path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line of it makes no sense.
    #[error("{path}, line {line}: not an acknowledgement of `torture write`", path = path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// Its end is missing.
    #[error(
        "{path} is not whole: its end is missing, so nothing can be judged by it; copy it again from where it was written",
        path = path.display()
    )]
    Cut {
        /// The file.
        path: PathBuf,
    },
    /// It is of a run with other directories.
    #[error("{path} is of a write to {listed} directories, {given} are given", path = path.display())]
    Directories {
        /// The file.
        path: PathBuf,
        /// Directories of the write.
        listed: usize,
        /// Directories given.
        given: usize,
    },
    /// The other host.
    #[error(
        "{address}: {source}; the other host runs `torture collect HOST:PORT FILE`, this one gives that HOST:PORT"
    )]
    Network {
        /// The address.
        address: String,
        /// The cause.
        source: io::Error,
    },
    /// The acknowledgements no longer arrive.
    #[error("stopped: {source}; what arrived can be judged by `torture verify`")]
    NoReply {
        /// The cause.
        source: io::Error,
    },
    /// The operating system refused something.
    #[error("{0}")]
    System(#[source] io::Error),
}

/// The first line of a file of acknowledgements.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AckFileHeader {
    seed: u64,
    directories: usize,
    /// The boot of the machine in which it was written.
    boot: String,
}

const HEAD: &str = "millpond-torture-acks 1";

impl AckFileHeader {
    fn line(&self) -> String {
        format!("{HEAD} {} {} {}", self.seed, self.directories, self.boot)
    }

    fn read(line: &str) -> Option<Self> {
        let mut words = line.strip_prefix(HEAD)?.split_ascii_whitespace();
        let seed = super::transaction_shape::number(words.next()?)?;
        let directories = super::transaction_shape::number(words.next()?)?;
        Some(Self { seed, directories, boot: words.next()?.to_owned() })
    }
}

/// Bytes of a line of a file of acknowledgements. Those of a write are far shorter: they name the
/// events of one transaction.
const LINE_BYTES_MAX: u64 = 1024 * 1024;

/// Returns the last line of a collected file: the number of lines before it.
fn end_line(lines: u64) -> String {
    format!("= {lines}")
}

fn end_of(line: &str) -> Option<u64> {
    super::transaction_shape::number(line.strip_prefix("= ")?)
}

/// Returns an id of the machine's current boot: another after each start. `-` where the system has
/// none.
fn boot() -> String {
    let id = read_whole(Path::new("/proc/sys/kernel/random/boot_id"), 1024).unwrap_or_default();
    let id = String::from_utf8_lossy(&id).trim().to_owned();
    if id.is_empty() { "-".to_owned() } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let head = AckFileHeader { seed: 7, directories: 2, boot: "b".to_owned() };
        assert_eq!(AckFileHeader::read(&head.line()), Some(head));
        assert_eq!(end_of(&end_line(77)), Some(77));
        for line in ["", "p 1.2", "millpond-torture-acks 1 7", "millpond-torture-acks 2 7 2 b"] {
            assert_eq!(AckFileHeader::read(line), None, "{line}");
        }
    }
}
