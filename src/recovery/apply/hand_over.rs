//! Makes the decision durable, and hands the channel over.

use super::durability;
use super::membership::Membership;
use super::quarantine;
use crate::base::coverage_mark::CoverageMark;
use crate::base::ids::{EpochNumber, SegmentId, Sequence, StripeIndex, Uuid};
use crate::base::mutation::Mutation;
use crate::disk::Access;
use crate::layout::quarantine::QuarantineCopy;
use crate::layout::{self, AlignedBuffer, CHECKPOINT_NAME, LayoutError, SlotContents, SlotFile};
use crate::log::FreeSegment;
use crate::record::Epoch;
use crate::record::slot::SlotKind;
use crate::record::state::StateRecord;
use crate::recovery::case::Case;
use crate::recovery::decide::numbers::{
    DEGRADED_JUMP, LATE_EPOCHS_MAX, highest_epoch, segment_seen,
};
use crate::recovery::decide::verdict::{Decision, Ruling, Verdict};
use crate::recovery::finding::Finding;
use crate::recovery::read::contents::{LogContents, ReadOptions, StripeContents, stripe_index};
use crate::recovery::read::inventory::CheckpointContents;
use crate::recovery::read::members::Present;
use crate::recovery::read::segment_file::{SegmentFile, Subject};
use crate::recovery::recovered::{
    Recovered, RecoveredCheckpointDir, RecoveredDir, RecoveredStripe, Report,
};
use crate::recovery::report_text;

/// The writes of one opening.
pub(crate) struct Opening {
    pub(crate) how: ReadOptions,
    pub(crate) state: StateRecord,
    pub(crate) buffer: AlignedBuffer,
    pub(crate) report: Report,
}

impl Opening {
    fn subject(&self, index: StripeIndex, uuid: Uuid) -> Subject {
        Subject {
            channel: self.how.channel,
            uuid,
            index,
            access: self.how.access,
            segment_bytes: self.how.segment_bytes,
        }
    }

    /// Quarantines damage, rebuilds headers, and makes kept blocks durable.
    pub(crate) fn repair_logs(
        &mut self,
        members: &Membership,
        all: &LogContents,
        decision: &Decision,
    ) -> Result<(), LayoutError> {
        for (at, verdict) in decision.stripes.iter().enumerate() {
            let (stripe, gathered) = (&members.stripes[at], &all.stripes[at]);
            let Some(present) = &stripe.present else { continue };
            let subject = self.subject(stripe_index(at), stripe.uuid);
            self.report.blocks_scanned += gathered.reading.scan.blocks.len() as u64;
            for ruling in &verdict.rulings {
                let copy = quarantine::set_aside(&*present.directory, gathered, ruling);
                self.report_damage(&subject, present, gathered, ruling, &copy);
            }
            for segment in gathered.reading.segments.iter().filter(|s| s.rebuilt.is_some()) {
                layout::write_header(&*segment.file, &segment.header, &mut self.buffer)?;
            }
            for segment in &gathered.reading.segments {
                if let Some(at) = needed_copy(segment, verdict) {
                    let (file, buffer) = (&*segment.file, &mut self.buffer);
                    layout::write_header_copy(file, &segment.header, at, buffer)?;
                }
            }
            let directory = &*present.directory;
            let unknown =
                quarantine::set_unknown_aside(directory, gathered, verdict, &mut self.buffer)?;
            let of_stripe = |finding| Finding { stripe: Some(subject.index), ..finding };
            self.report.findings.extend(unknown.into_iter().map(of_stripe));
            let direct = directory.capabilities().direct;
            let mut flushed = None;
            for block in verdict.kept.iter().map(|i| &gathered.reading.scan.blocks[*i]) {
                if block.header.number <= verdict.named || Mutation::KeptNotFlushed.is_active() {
                    continue;
                }
                let segment = find(&gathered.reading.segments, block.header.segment)
                    .expect("a block was read from a segment of the inventory");
                if !direct {
                    CoverageMark::BlockRewritten.hit();
                    durability::rewrite(&subject, segment, block, &mut self.buffer)?;
                } else if flushed.replace(block.header.segment) != Some(block.header.segment) {
                    CoverageMark::BlockFlushed.hit();
                    durability::flush(segment)?;
                }
                self.report.blocks_rewritten += 1;
            }
        }
        Ok(())
    }

    fn report_damage(
        &mut self,
        subject: &Subject,
        present: &Present,
        gathered: &StripeContents,
        ruling: &Ruling,
        copy: &QuarantineCopy,
    ) {
        let path = ruling
            .segment
            .and_then(|id| find(&gathered.reading.segments, id))
            .map_or_else(|| present.directory.path().to_owned(), |s| s.file.path().to_owned());
        let mut words = copy.words(report_text::of(ruling));
        if ruling.case == Case::R7 {
            words = format!("{words}: {}", report_text::GIVEN_UP);
        }
        self.report.findings.push(Finding {
            case: ruling.case,
            stripe: Some(subject.index),
            path,
            segment: ruling.segment,
            offset: ruling.bytes.map(|(from, _)| from),
            sequences: ruling.sequences,
            words,
        });
    }

    /// Ends each log: its state names an epoch in which nothing is written, after the last kept
    /// block.
    ///
    /// A write of an earlier epoch may still be in flight, and be applied after this opening was
    /// killed and before the next one reads. If it brought a fence, the fence would void events
    /// which this opening has named; a source offset in the same write would count all the same,
    /// and the source would never send them again.
    ///
    /// A missing directory may name sequences and epochs of the others that are unknown here, so
    /// without one sequences jump, and the epoch is of a new era: a fence of the missing directory
    /// is late from now on. Otherwise it would end what was adopted, if this opening were killed
    /// before its own epoch begins. And a late write would bring a source offset whose events the
    /// jump has voided.
    ///
    /// The era is above those of all stripes, also of the missing ones: a stripe that was missing
    /// before is an era ahead of the others, and its source offsets are of that era.
    pub(crate) fn end_logs(
        &mut self,
        members: &Membership,
        all: &LogContents,
        decision: &Decision,
    ) {
        let seen = all.stripes.iter().zip(&self.state.stripes);
        let seen = seen.map(|(gathered, s)| highest_epoch(&gathered.reading, s.epoch.number));
        let seen: Vec<EpochNumber> = seen.collect();
        let degraded = jumps(members, decision);
        let era = seen.iter().max().copied().unwrap_or_default().last_of_era();
        for (at, state) in self.state.stripes.iter_mut().enumerate() {
            if members.stripes[at].present.is_none() {
                continue;
            }
            let number =
                if degraded { era.next() } else { EpochNumber(seen[at].0 + LATE_EPOCHS_MAX) };
            state.epoch = Epoch { number, nonce: 0, start: decision.stripes[at].next_block };
            if degraded {
                let (next, end) = (state.next.0, state.next.0.saturating_add(DEGRADED_JUMP));
                if decision.stripes[at].end_missing {
                    state.void_unknown(next, end);
                } else {
                    state.void(next, end);
                }
                state.watermark.sequence = state.next;
            }
        }
    }

    /// Writes the state everywhere, then frees what it makes free.
    pub(crate) fn hand_over(
        mut self,
        members: Membership,
        all: LogContents,
        decision: Decision,
    ) -> Result<Recovered, LayoutError> {
        let degraded = jumps(&members, &decision);
        let mut homes = Vec::new();
        let held: Vec<StateRecord> =
            all.stripes.iter().map(|s| joined_slots(s.checkpoints.as_ref())).collect();
        let held_above = joined_slots(all.checkpoint_dir.as_ref());
        for (at, (member, gathered)) in members.stripes.into_iter().zip(all.stripes).enumerate() {
            let others = held.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, s)| s);
            let elsewhere = others.chain([&held_above]).any(|other| holds(other, &held[at]));
            let home = match member.present {
                Some(present) => {
                    let slots = self.checkpoint(
                        &present,
                        gathered.checkpoints.as_ref(),
                        member.uuid,
                        elsewhere,
                    )?;
                    Some(RecoveredDir::of(present, slots))
                }
                None => None,
            };
            homes.push((member.uuid, home, gathered));
        }
        let checkpoint_dir = self.checkpoint_home(
            members.checkpoint,
            all.checkpoint_dir.as_ref(),
            members.checkpoint_uuid,
        )?;
        let mut stripes = Vec::new();
        for ((at, verdict), (uuid, home, gathered)) in
            decision.stripes.into_iter().enumerate().zip(homes)
        {
            stripes.push(self.stripe(
                stripe_index(at),
                uuid,
                home,
                &gathered,
                &verdict,
                degraded,
            )?);
        }
        Ok(Recovered {
            channel: self.how.channel,
            state: self.state,
            stripes,
            checkpoint_dir,
            order: decision.order,
            report: self.report,
        })
    }

    /// Returns the directory's slots, with the recovered state in one of them: what was joined and
    /// decided is durable before anything builds on it.
    fn checkpoint(
        &mut self,
        present: &Present,
        found: Option<&CheckpointContents>,
        owner: Uuid,
        elsewhere: bool,
    ) -> Result<SlotFile, LayoutError> {
        let whole = found.filter(|f| f.slots.full_length).and_then(|f| f.file.clone());
        let file = match whole {
            Some(file) => file,
            None => layout::create_file(
                &*present.directory,
                CHECKPOINT_NAME,
                SlotKind::Checkpoint.file_bytes() as u64,
            )?,
        };
        let mut home = match found {
            Some(found) => found.slots.next_target(file),
            None => SlotContents::default().next_target(file),
        };
        let (channel, state, buffer) = (self.how.channel, &self.state, &mut self.buffer);
        let written = home.write_checkpoint(channel, owner, state, buffer);
        let again = matches!(written, Err(LayoutError::Write { .. })) && elsewhere;
        if let (Err(error), true) = (&written, again) {
            // Tries the other slot, through a file that was opened anew: what it holds is stored
            // elsewhere too.
            let words = format!("{error}; the other place for a checkpoint in the file is used");
            if let Some(file) =
                layout::open_file(&*present.directory, CHECKPOINT_NAME, Access::Write)?
            {
                home.reopened(file);
            }
            home.skip_slot();
            home.write_checkpoint(channel, owner, state, buffer)?;
            let path = present.directory.path().join(CHECKPOINT_NAME);
            self.report.findings.push(Finding::of(Case::R13, path, words));
            return Ok(home);
        }
        written?;
        Ok(home)
    }

    fn checkpoint_home(
        &mut self,
        present: Present,
        found: Option<&CheckpointContents>,
        uuid: Uuid,
    ) -> Result<RecoveredCheckpointDir, LayoutError> {
        // Every stripe has the state by now.
        let slots = self.checkpoint(&present, found, uuid, true)?;
        let RecoveredDir { directory, member, lock, slots } = RecoveredDir::of(present, slots);
        Ok(RecoveredCheckpointDir { directory, member, lock, uuid, slots })
    }

    fn stripe(
        &mut self,
        index: StripeIndex,
        uuid: Uuid,
        home: Option<RecoveredDir>,
        gathered: &StripeContents,
        verdict: &Verdict,
        degraded: bool,
    ) -> Result<RecoveredStripe, LayoutError> {
        let found = &gathered.reading.segments;
        let frontier = Sequence(self.state.stripe(index).frontier());
        let live: Vec<&SegmentFile> =
            verdict.live.iter().filter_map(|id| find(found, *id)).collect();
        let passed =
            live.windows(2).take_while(|pair| pair[1].header.first_sequence <= frontier).count();
        let free = match &home {
            Some(home) => self.free_files(home, gathered, verdict, &live[..passed])?,
            None => Vec::new(),
        };
        let state = self.state.stripe(index);
        Ok(RecoveredStripe {
            index,
            uuid,
            home,
            epoch_seen: epoch_seen(gathered, state.epoch.number, degraded),
            segment_seen: segment_seen(gathered, verdict, state.watermark.segment),
            segments: live[passed..].iter().map(|s| s.live()).collect(),
            end_offset: live.last().map_or(0, |s| {
                let current = s.header.id == state.watermark.segment;
                if current { state.watermark.end_offset.min(s.len) } else { s.len }
            }),
            free,
            next_slot: gathered.inventory.next_slot.saturating_add(slot_gap(verdict)),
            next_block: verdict.next_block,
            next_sequence: state.next,
        })
    }

    /// Returns files that were never used, dead segments, and those that every group has passed.
    fn free_files(
        &mut self,
        home: &RecoveredDir,
        gathered: &StripeContents,
        verdict: &Verdict,
        passed: &[&SegmentFile],
    ) -> Result<Vec<FreeSegment>, LayoutError> {
        let mut free = gathered.inventory.blank.clone();
        for blank in &free {
            // It has its length, but may never have been synced.
            blank.file.sync().map_err(|source| LayoutError::Write {
                path: blank.file.path().to_owned(),
                offset: 0,
                source,
            })?;
        }
        for id in &verdict.dead {
            let dead = find(&gathered.reading.segments, *id).expect("ruled on from the inventory");
            free.push(dead.free());
        }
        free.extend(passed.iter().map(|s| s.free()));
        for segment in free.iter().filter(|_| !Mutation::FreeNotWiped.is_active()) {
            layout::wipe_segment(&*segment.file, segment.len, &mut self.buffer)?;
        }
        for (name, _) in &gathered.inventory.unfinished {
            // A file that stays does no harm: new files take higher numbers.
            let _ = home.directory.remove(name);
        }
        if !free.is_empty() || !gathered.inventory.unfinished.is_empty() {
            home.directory.sync().map_err(|source| LayoutError::Write {
                path: home.directory.path().to_owned(),
                offset: 0,
                source,
            })?;
        }
        Ok(free)
    }
}

/// Returns the joined state of a directory's slots.
fn joined_slots(found: Option<&CheckpointContents>) -> StateRecord {
    let mut held = StateRecord::default();
    found.into_iter().flat_map(|f| &f.states).for_each(|state| held.join(state));
    held
}

fn holds(all: &StateRecord, part: &StateRecord) -> bool {
    let mut joined = all.clone();
    joined.join(part);
    joined == *all
}

fn find(segments: &[SegmentFile], id: SegmentId) -> Option<&SegmentFile> {
    segments.iter().find(|s| s.header.id == id)
}

fn epoch_seen(gathered: &StripeContents, known: EpochNumber, degraded: bool) -> EpochNumber {
    let seen = highest_epoch(&gathered.reading, known);
    // The next one begins an era, whose numbers the missing directory cannot name.
    if degraded { seen.last_of_era() } else { seen }
}

/// Returns whether sequences and epochs skip all that can have been given out: a directory is
/// missing, or the end of a log, and what it names is unknown.
fn jumps(members: &Membership, decision: &Decision) -> bool {
    members.is_degraded() || decision.stripes.iter().any(|verdict| verdict.end_missing)
}

/// Returns the offset of the copy of the header of a segment of the log that is to be written
/// again, if one is.
fn needed_copy(segment: &SegmentFile, verdict: &Verdict) -> Option<u64> {
    segment.damaged_copy.filter(|_| verdict.live.contains(&segment.header.id))
}

/// Returns the distance of the names of new files from those of segments that were given up, in
/// case these come back.
fn slot_gap(verdict: &Verdict) -> u32 {
    const SLOTS_APART: u32 = 1000;
    if verdict.missing().next().is_some() || verdict.end_missing { SLOTS_APART } else { 0 }
}
