//! Making sense of what a crash left.
//!
//! [`recover`] opens the directories of a channel: it locks them, creates the channel when they
//! are all new, joins every state record it finds, scans each stripe from there on, decides by a
//! table ([`table`]) what each place means, makes everything it keeps durable, and hands over
//! what the channel floor needs to go on ([`Recovered`]). It starts no new epoch itself.
//! [`mend`] repairs what only reading every byte finds.
//! [`inspect`] does the same reading without locks or writes, for those who look.
//!
//! # Limits
//!
//! * Reading is bounded by one header per segment and the part of each log behind the newest
//!   state record: with fresh checkpoints a few blocks, without any a segment per stripe.
//! * Memory holds descriptions of blocks, never their payload, except for one read buffer.
//! * What is copied aside is capped ([`crate::base::limits::QUARANTINE_BYTES_MAX`] per stripe).
//!
//! # Invariants
//!
//! * Nothing is voided because it could not be *read*: only a checksum that fails twice is damage.
//! * Every block that is kept is durable before [`recover`] returns, and so is the joined state.
//! * Recovering twice, or crashing in it and recovering again, gives the same result.
//! * No sequence, block number, segment id or epoch that anything on any disk names is given out
//!   again.

mod adopt;
mod buffer;
mod create;
mod decide;
mod error;
mod fresh;
mod gather;
mod headless;
pub mod inspect;
mod inventory;
mod lives;
mod members;
mod mend;
mod missing;
mod open;
mod plan;
pub mod quarantine;
mod rebuild;
mod repair;
pub mod returned;
mod salvage;
mod scan;
mod slots;
mod strays;
pub mod table;
mod used_up;
mod vouch;
mod walk;
mod words;

pub use error::{MissingSegments, OpenError};
pub use fresh::{FreshFile, make_zeroed};
pub use mend::{Mended, mend};

use crate::base::clock::Clock;
use crate::base::ids::{
    BlockNumber, EpochNumber, SegmentId, Sequence, StripeIndex, Uuid, WriteOrder,
};
use crate::base::random::Random;
use crate::disk::{Directory, Disk, File, Lock};
use crate::log::{FreeSegment, LiveSegment};
use crate::record::state::StateRecord;
use rebuild::Members;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use table::Case;

/// Name of the lock file in every directory. Java Flume's, so that the two exclude each other.
pub const LOCK_NAME: &str = "in_use.lock";
/// Name of the file that says which channel a directory belongs to.
pub const MEMBER_NAME: &str = "member";
/// Name of the file with the two checkpoint slots.
pub const CHECKPOINT_NAME: &str = "checkpoint";

/// What to open and how.
#[derive(Clone, Debug)]
pub struct RecoverOptions {
    /// The channel's `checkpointDir`.
    pub checkpoint_dir: PathBuf,
    /// The channel's `dataDirs`, in the order of the configuration.
    pub data_dirs: Vec<PathBuf>,
    /// Open although data directories are missing or unreadable: their events are out of reach,
    /// and sequences and epochs of the others jump ahead.
    pub open_degraded: bool,
    /// Open although segment files are missing: what waited in them is given up, and counted as far as
    /// something else names it.
    pub open_without_missing_segments: bool,
    /// Whether missing directories may be made and a new channel created in them.
    pub create: bool,
    /// Bytes of a new segment. A shorter file that was never used is one whose making was
    /// interrupted.
    pub segment_bytes: u64,
}

/// A channel as recovered: durable, decided, not yet running.
pub struct Recovered {
    /// The channel.
    pub channel: Uuid,
    /// Everything known, joined. Each stripe's watermark is the end of its recovered log.
    pub state: StateRecord,
    /// The stripes, in the order of the member list.
    pub stripes: Vec<RecoveredStripe>,
    /// The checkpoint directory.
    pub checkpoint_dir: CheckpointHome,
    /// The highest write order seen anywhere.
    pub order: WriteOrder,
    /// What was found and done.
    pub report: Report,
}

/// The checkpoint directory, locked.
pub struct CheckpointHome {
    /// The directory.
    pub directory: Arc<dyn Directory>,
    /// Its lock.
    pub lock: Box<dyn Lock>,
    /// Its member uuid: owner of its slots.
    pub uuid: Uuid,
    /// Its checkpoint slots.
    pub slots: SlotHome,
}

/// A file with two slots, and where the next value goes.
#[derive(Clone)]
pub struct SlotHome {
    /// The file, preallocated and open for writing.
    pub file: Arc<dyn File>,
    /// Generation of the next value, which decides its slot: never the one with the newest whole
    /// value.
    pub next_generation: u64,
}

/// A stripe as recovered.
pub struct RecoveredStripe {
    /// Place in the member list.
    pub index: StripeIndex,
    /// Its member uuid.
    pub uuid: Uuid,
    /// Directory, lock, and slots; `None` when the directory is missing in a degraded opening.
    pub home: Option<StripeHome>,
    /// The highest epoch number seen anywhere; in a degraded opening already far ahead.
    pub epoch_seen: EpochNumber,
    /// The highest segment id seen anywhere. Segments that count from it are new.
    pub segment_seen: SegmentId,
    /// Live segments, oldest first; the last one is current.
    pub segments: Vec<LiveSegment>,
    /// Where the log goes on in the current segment, bytes; its length when nothing may be
    /// appended there.
    pub end_offset: u64,
    /// Segments that may be overwritten now, those never used first.
    pub free: Vec<FreeSegment>,
    /// A new segment file takes this slot or a higher one.
    pub next_slot: u32,
    /// Number of the next block.
    pub next_block: BlockNumber,
    /// The next sequence to give out.
    pub next_sequence: Sequence,
}

impl RecoveredStripe {
    /// Whether its directory is there.
    #[must_use]
    pub fn available(&self) -> bool {
        self.home.is_some()
    }
}

/// The directory of a stripe, locked.
pub struct StripeHome {
    /// The directory.
    pub directory: Arc<dyn Directory>,
    /// Its lock.
    pub lock: Box<dyn Lock>,
    /// Its checkpoint slots.
    pub slots: SlotHome,
}

/// What recovery found and did.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Whether the channel was created just now.
    pub created: bool,
    /// Blocks read behind the newest state record.
    pub blocks_scanned: u64,
    /// Blocks flushed or written again to make them durable.
    pub blocks_rewritten: u64,
    /// How long it took.
    pub took: Duration,
    /// Everything worth a word, in the order found.
    pub findings: Vec<Finding>,
}

impl Finding {
    /// A finding about a file or directory as a whole.
    fn of(case: Case, path: impl Into<PathBuf>, words: impl Into<String>) -> Self {
        Self {
            case,
            stripe: None,
            path: path.into(),
            segment: None,
            offset: None,
            sequences: None,
            words: words.into(),
        }
    }
}

/// One place, and what was decided about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The row of the table.
    pub case: Case,
    /// The stripe, if it is about one.
    pub stripe: Option<StripeIndex>,
    /// The directory or file.
    pub path: PathBuf,
    /// The segment, if it is about one.
    pub segment: Option<SegmentId>,
    /// Where in the file, bytes, if it is about a place.
    pub offset: Option<u64>,
    /// The sequences, `start..end`, if any are concerned.
    pub sequences: Option<(Sequence, Sequence)>,
    /// What was found and what was done, in words.
    pub words: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {:?}: {}", self.path.display(), self.case, self.words)?;
        if let Some(offset) = self.offset {
            write!(f, " (offset {offset})")?;
        }
        if let Some((start, end)) = self.sequences {
            write!(f, " (sequences {start} to {})", end.0.saturating_sub(1))?;
        }
        Ok(())
    }
}

/// Opens the channel: creates it if its directories are new, else recovers what they hold.
///
/// # Errors
/// See [`OpenError`]; each says what to do, and none loses anything.
pub fn recover(
    disk: &dyn Disk,
    clock: &dyn Clock,
    random: &dyn Random,
    options: &RecoverOptions,
) -> Result<Recovered, OpenError> {
    recover_with(disk, clock, random, options, Members::AsWritten, Vec::new())
}

/// As [`recover`], without the data directories `without`: writing in them has failed. For degraded openings.
///
/// # Errors
/// As [`recover`].
pub fn recover_without(
    disk: &dyn Disk,
    clock: &dyn Clock,
    random: &dyn Random,
    options: &RecoverOptions,
    without: Vec<PathBuf>,
) -> Result<Recovered, OpenError> {
    recover_with(disk, clock, random, options, Members::AsWritten, without)
}

fn recover_with(
    disk: &dyn Disk,
    clock: &dyn Clock,
    random: &dyn Random,
    options: &RecoverOptions,
    whose: Members,
    mut without: Vec<PathBuf>,
) -> Result<Recovered, OpenError> {
    let start = clock.now();
    let mut recovered = loop {
        match open::open(disk, random, options, whose, &without) {
            Ok(recovered) => break recovered,
            Err(error) => match unwritable(options, &error, &without) {
                // An opening can be interrupted anywhere and repeated.
                Some(directory) => without.push(directory),
                None => return Err(error),
            },
        }
    };
    recovered.report.took = clock.now().saturating_sub(start);
    Ok(recovered)
}

/// The data directory that a degraded opening does without since writing in it fails, as a running channel
/// suspends it; none if it would be the last one.
fn unwritable(options: &RecoverOptions, error: &OpenError, without: &[PathBuf]) -> Option<PathBuf> {
    let OpenError::Write { path, .. } = error else { return None };
    let left = options.data_dirs.iter().filter(|dir| !without.contains(dir));
    if !options.open_degraded || left.clone().count() < 2 {
        return None;
    }
    left.filter(|dir| path.starts_with(dir)).max_by_key(|dir| dir.components().count()).cloned()
}

#[cfg(test)]
mod tests;
