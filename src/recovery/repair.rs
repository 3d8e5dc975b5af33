//! Repair of what only a read of every byte finds: damage in the middle of a log.
//!
//! An opening rules on the end of the logs; damage before that is found when it is taken.
//! [`repair`] does not wait for a take. It opens the channel (which repairs the ends), reads every
//! byte, quarantines each damaged place, voids and counts the events that waited there, and writes
//! the state into every checkpoint file, as an opening does with its decisions. No event is lent,
//! no new epoch begins.
//!
//! # Invariants
//!
//! * Only what two reads agree on is given up.
//! * Nothing in the middle of a log is voided before its copy is written; where there is no room
//!   for the copy, the place is left. A crash in between leaves the copies; the next repair finds
//!   the same places and the copies.
//! * Without damage, nothing is written but what an opening writes; and the member files, when all
//!   of them are lost and the logs agree on their contents.

use super::case::Case;
use super::error::RecoveryError;
use super::finding::Finding;
use super::inspection::{self, Damage};
use super::open::recover_with;
use super::options::RecoverOptions;
use super::read::member_rebuild::MemberLookup;
use super::recovered::Recovered;
use crate::base::clock::Clock;
use crate::base::random::Random;
use crate::disk::Disk;
use crate::layout::quarantine::{self, QuarantineCopy};
use crate::layout::{AlignedBuffer, LayoutError};

/// What a repair found and did.
#[derive(Clone, Debug, Default)]
pub struct RepairReport {
    /// Every damaged place: quarantined, and its waiting events, if any, given up.
    pub places: Vec<Finding>,
    /// Member files, checkpoints and directories of them that were made again; nothing was lost
    /// with them.
    pub made_again: Vec<Finding>,
    /// Events that were given up.
    pub events_lost: u64,
    /// Damaged places that are left as they are. Either their bytes could not be copied, and the
    /// finding says so: they can be repaired when there is room. Or the state has no room to name
    /// more: once the events before them are taken, they can be repaired.
    pub left: Vec<Finding>,
}

/// Repairs a channel that is not open, and keeps it locked meanwhile.
///
/// # Errors
/// As for opening, which is its first step: in use, not there, a directory missing, storage that
/// fails.
pub fn repair(
    disk: &dyn Disk,
    clock: &dyn Clock,
    random: &dyn Random,
    options: &RecoverOptions,
) -> Result<RepairReport, RecoveryError> {
    let options = RecoverOptions { create: false, open_degraded: false, ..options.clone() };
    let mut recovered =
        recover_with(disk, clock, random, &options, MemberLookup::OrFromLogs, Vec::new())?;
    let mut mended = RepairReport::default();
    let small = |f: &&Finding| matches!(f.case, Case::R13 | Case::R14);
    mended.made_again = recovered.report.findings.iter().filter(small).cloned().collect();
    let ends = recovered.report.findings.drain(..).filter(|f| f.case.is_damage());
    mended.places.extend(ends);
    mended.events_lost = mended.places.iter().map(events).sum();
    let first = damage(disk, &options)?;
    if first.is_empty() {
        return Ok(mended);
    }
    let again = damage(disk, &options)?;
    let agreed: Vec<Damage> =
        first.into_iter().filter(|d| again.iter().any(|other| other.is_same(d))).collect();
    let before = mended.places.len();
    give_up(&mut recovered, &agreed, &mut mended);
    if mended.places.len() > before {
        write_down(&mut recovered)?;
    }
    Ok(mended)
}

fn damage(disk: &dyn Disk, options: &RecoverOptions) -> Result<Vec<Damage>, RecoveryError> {
    inspection::survey(disk, options)?.damage()
}

fn events(finding: &Finding) -> u64 {
    finding.sequences.map_or(0, |(start, end)| end.0 - start.0)
}

/// Quarantines places and voids them in the state, which is not yet written.
fn give_up(recovered: &mut Recovered, damage: &[Damage], mended: &mut RepairReport) {
    for place in damage {
        let at = place.stripe.at();
        let Some(home) = &recovered.stripes[at].home else { continue };
        let max = recovered.state.ranges_per_stripe() / 2;
        let state = recovered.state.stripe_mut(place.stripe);
        if state.ranges_beyond() >= max {
            mended.left.push(place.finding(None));
            continue;
        }
        let (segment, id) = (&place.segment, place.segment.header.id);
        let bytes = place.ruling.bytes.unwrap_or_default();
        let copy = quarantine::keep(&*home.directory, &*segment.file, id, bytes);
        if matches!(copy, QuarantineCopy::Failed(_)) {
            // The administrator can make room; an event that is given up makes room for others over
            // it.
            mended.left.push(place.finding(Some(&copy)));
            continue;
        }
        let (start, end) = place.ruling.sequences.unwrap_or_default();
        for (start, end) in state.missing(start.0, end.0) {
            mended.events_lost += end - start;
            state.void_damaged(start, end);
        }
        mended.places.push(place.finding(Some(&copy)));
    }
}

/// Writes the state into every checkpoint file: in each stripe's own directory, so that
/// `checkpointDir` never has the only copy.
fn write_down(recovered: &mut Recovered) -> Result<(), LayoutError> {
    let (channel, state) = (recovered.channel, &recovered.state);
    let mut buffer = AlignedBuffer::small()?;
    for stripe in &mut recovered.stripes {
        let Some(home) = &mut stripe.home else { continue };
        home.slots.write_checkpoint(channel, stripe.uuid, state, &mut buffer)?;
    }
    let home = &mut recovered.checkpoint_dir;
    home.slots.write_checkpoint(channel, home.uuid, state, &mut buffer)
}

impl Damage {
    /// Returns whether it is the same place with the same events.
    fn is_same(&self, other: &Self) -> bool {
        self.stripe == other.stripe && self.ruling == other.ruling
    }

    fn finding(&self, copy: Option<&QuarantineCopy>) -> Finding {
        let mut finding = inspection::finding_of(self);
        if let Some(copy) = copy {
            finding.words = copy.words(finding.words);
        }
        finding
    }
}
