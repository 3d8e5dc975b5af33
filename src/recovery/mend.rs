//! Repairing what only a look at every byte finds: damage in the middle of a log.
//!
//! Opening a channel rules on the end of its logs; what is damaged further in front is met when it
//! is taken. [`mend`] does not wait for that. It opens (which repairs the ends), reads every byte,
//! copies each damaged place aside, voids and counts the events that waited there, and writes the
//! state that says so into every checkpoint file, as an opening does with what it decided. No
//! event is lent, no new life begins.
//!
//! # Invariants
//!
//! * Only what two readings agree on is given up.
//! * Nothing in the middle of a log is voided before its copy is there; where there is no room for it,
//!   the place is left. A crash in between leaves the copies; the next repair finds the same places
//!   and the copies that are there.
//! * Without damage, nothing is written but what an opening writes; and the member files, when all of
//!   them are lost and the logs agree on what they said.

use super::buffer::Buffer;
use super::inspect::{self, Damage};
use super::quarantine::{self, Copy};
use super::rebuild::Members;
use super::repair;
use super::table::Case;
use super::{Finding, OpenError, RecoverOptions, Recovered};
use crate::base::clock::Clock;
use crate::base::random::Random;
use crate::disk::Disk;

/// What a repair found and did.
#[derive(Clone, Debug, Default)]
pub struct Mended {
    /// Every damaged place: set aside, and its events, if some waited there, given up.
    pub places: Vec<Finding>,
    /// Member files, checkpoints and directories of them that were made again; nothing was lost by
    /// their loss.
    pub made_again: Vec<Finding>,
    /// Events that were given up.
    pub events_lost: u64,
    /// Damaged places that are left as they are. Either their bytes could not be copied aside, and they
    /// say so: they can be mended when there is room. Or the state has no room to name more: what waits in
    /// front of them can be taken, and then they can be mended.
    pub left: Vec<Finding>,
}

/// Repairs a channel that nobody has open, and keeps it locked meanwhile.
///
/// # Errors
/// As opening, which it does first: in use, not there, a directory missing, storage that refuses.
pub fn mend(
    disk: &dyn Disk,
    clock: &dyn Clock,
    random: &dyn Random,
    options: &RecoverOptions,
) -> Result<Mended, OpenError> {
    let options = RecoverOptions { create: false, open_degraded: false, ..options.clone() };
    let mut recovered =
        super::recover_with(disk, clock, random, &options, Members::OrFromLogs, Vec::new())?;
    let mut mended = Mended::default();
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
    give_up(&mut recovered, &agreed, &mut mended)?;
    if mended.places.len() > before {
        write_down(&mut recovered)?;
    }
    Ok(mended)
}

fn damage(disk: &dyn Disk, options: &RecoverOptions) -> Result<Vec<Damage>, OpenError> {
    inspect::survey(disk, options)?.damage()
}

fn events(finding: &Finding) -> u64 {
    finding.sequences.map_or(0, |(start, end)| end.0 - start.0)
}

/// Copies places aside and voids them in the state, which is not yet written.
fn give_up(
    recovered: &mut Recovered,
    damage: &[Damage],
    mended: &mut Mended,
) -> Result<(), OpenError> {
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
        if matches!(copy, Copy::Failed(_)) {
            // Whoever repairs can make room; an event that is given up makes room for others over it.
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
    Ok(())
}

/// Writes the state into every checkpoint file: in each stripe's own directory, so that
/// `checkpointDir` never has the only copy.
fn write_down(recovered: &mut Recovered) -> Result<(), OpenError> {
    let (channel, state) = (recovered.channel, &recovered.state);
    let mut buffer = Buffer::small()?;
    for stripe in &mut recovered.stripes {
        let Some(home) = &mut stripe.home else { continue };
        repair::write_checkpoint(&mut home.slots, channel, stripe.uuid, state, &mut buffer)?;
    }
    let home = &mut recovered.checkpoint_dir;
    repair::write_checkpoint(&mut home.slots, channel, home.uuid, state, &mut buffer)
}

impl Damage {
    /// Whether it is the same place with the same events.
    fn is_same(&self, other: &Self) -> bool {
        self.stripe == other.stripe && self.ruling == other.ruling
    }

    fn finding(&self, copy: Option<&Copy>) -> Finding {
        let mut finding = inspect::finding_of(self);
        if let Some(copy) = copy {
            finding.words = copy.words(finding.words);
        }
        finding
    }
}
