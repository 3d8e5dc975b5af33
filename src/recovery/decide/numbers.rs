//! The numbers from which a channel goes on: the highest that were given out, how far an opening
//! jumps beyond them, and their limit.
//!
//! Everything is counted with 64 bits and never reaches the maximum. Forged bytes under a right
//! checksum can name a number near it: the next ones would wrap around, and records with them be
//! taken for old.

use super::verdict::{Decision, Verdict};
use crate::base::ids::{EpochNumber, SegmentId};
use crate::recovery::error::RecoveryError;
use crate::recovery::read::contents::{LogContents, StripeContents};
use crate::recovery::read::stripe_reading::StripeReading;
use std::path::Path;

/// How far sequences and epochs jump in a degraded opening: beyond everything that the missing
/// directory may name.
pub(crate) const DEGRADED_JUMP: u64 = 1 << 32;

/// Segments that may be missing at the end of a log without being named: a petabyte of them.
const SEGMENT_JUMP: u64 = 1 << 24;

/// Epochs that late writes may name beyond those that an opening sees: a stripe begins one for each
/// failed write, and one that keeps failing is tried again every 30 s: 34 hours of that. With as
/// many numbers an era suffices for a million openings.
pub(crate) const LATE_EPOCHS_MAX: u64 = 4096;

/// The highest number that an opening accepts: at a thousand million per second, a channel reaches
/// it after 146 years.
const NUMBER_MAX: u64 = 1 << 62;

/// Refuses records that name a number above the limit; nothing was written yet. `paths` are the
/// directories of the stripes that are present; `checkpoint_dir` is named for records of no stripe.
pub(crate) fn check(
    all: &LogContents,
    decision: &Decision,
    checkpoint_dir: &Path,
    paths: &[Option<&Path>],
) -> Result<(), RecoveryError> {
    let refuse = |path: &Path, what: &'static str, number: u64| match number {
        0..=NUMBER_MAX => Ok(()),
        _ => Err(RecoveryError::UsedUp { path: path.to_owned(), what, number }),
    };
    let stripes = all.stripes.iter().zip(&decision.stripes).zip(&decision.state.stripes);
    for (((gathered, verdict), state), path) in stripes.zip(paths) {
        let path = path.unwrap_or(checkpoint_dir);
        let epoch = highest_epoch(&gathered.reading, state.epoch.number);
        refuse(path, "an epoch", epoch.0)?;
        refuse(path, "a segment", segment_seen(gathered, verdict, state.watermark.segment).0)?;
        refuse(path, "a block", verdict.next_block.0)?;
        refuse(path, "a sequence", state.next.0)?;
        refuse(path, "an opening", state.opened)?;
        if gathered.inventory.next_slot == u32::MAX {
            return Err(RecoveryError::UsedUp {
                path: path.to_owned(),
                what: "a segment file",
                number: u64::from(u32::MAX),
            });
        }
    }
    refuse(checkpoint_dir, "a write order", decision.order.0)?;
    let source_offsets = decision.state.source_offsets.values();
    let highest = source_offsets.map(|source_offset| source_offset.counter).max();
    refuse(checkpoint_dir, "a position's counter", highest.unwrap_or_default())
}

/// Returns the highest epoch number that any record in a stripe's log names, or `known` if that is
/// higher.
pub(crate) fn highest_epoch(reading: &StripeReading, known: EpochNumber) -> EpochNumber {
    let blocks = reading.scan.blocks.iter().map(|b| &b.header).chain(&reading.scan.torn);
    let blocks = blocks.map(|h| h.epoch);
    let segments = reading.segments.iter().map(|s| s.header.epoch.number);
    blocks.chain(segments).max().unwrap_or_default().max(known)
}

/// Returns the highest segment id that was given out. Where the end of the log is missing, higher
/// ones may have been.
pub(crate) fn segment_seen(
    gathered: &StripeContents,
    verdict: &Verdict,
    known: SegmentId,
) -> SegmentId {
    let seen = gathered.inventory.segments.last().map_or(known, |s| s.header.id.max(known));
    if verdict.end_lacking { SegmentId(seen.0.saturating_add(SEGMENT_JUMP)) } else { seen }
}
