//! Options of an opening.

use std::path::PathBuf;

/// Options of an opening.
#[derive(Clone, Debug)]
pub struct RecoverOptions {
    /// The channel's `checkpointDir`.
    pub checkpoint_dir: PathBuf,
    /// The channel's `dataDirs`, in the order of the configuration.
    pub data_dirs: Vec<PathBuf>,
    /// Open although data directories are missing or unreadable: their events are out of reach, and
    /// sequences and epochs of the others jump ahead.
    pub open_degraded: bool,
    /// Open although segment files are missing: the events that waited in them are given up, and
    /// counted as far as other records name them.
    pub open_without_missing_segments: bool,
    /// Whether missing directories may be created, and a new channel in them.
    pub create: bool,
    /// Bytes of a new segment. A shorter file that was never used is one whose creation was
    /// interrupted.
    pub segment_bytes: u64,
}
