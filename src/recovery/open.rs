//! Opening, step by step: who, what is there, what it means, make it so, hand it over.

use super::adopt;
use super::buffer::Buffer;
use super::create::{self, Membership};
use super::decide::{self, Decision, Reading, Ruling, Verdict};
use super::gather::{self, Everything, Gathered, How, Source};
use super::headless;
use super::inventory::{Checkpoints, SegmentFile, Subject};
use super::members::Present;
use super::missing;
use super::quarantine::{self, Copy};
use super::rebuild::Members;
use super::repair;
use super::returned::{self, ReturnedSegment};
use super::salvage;
use super::slots;
use super::strays;
use super::table::Case;
use super::used_up;
use super::{
    CHECKPOINT_NAME, CheckpointHome, Finding, OpenError, RecoverOptions, Recovered,
    RecoveredStripe, Report, SlotHome, StripeHome, words,
};
use crate::base::ids::{EpochNumber, SegmentId, Sequence, StripeIndex, Uuid};
use crate::base::mutant::Broken;
use crate::base::quantity::Quantity;
use crate::base::random::Random;
use crate::base::rare::Rare;
use crate::disk::{Access, Disk};
use crate::log::{FreeSegment, LiveSegment};
use crate::record::Epoch;
use crate::record::slot::SlotKind;
use crate::record::state::StateRecord;
use std::path::PathBuf;
use std::sync::Arc;

/// How far sequences and epochs jump in a degraded opening: beyond everything that the missing
/// directory may name.
pub(super) const DEGRADED_JUMP: u64 = 1 << 32;

/// Segments that may be missing at the end of a log without anything that names them: a petabyte of them.
const SEGMENT_JUMP: u64 = 1 << 24;

/// Lives that writes which land later may name beyond those that an opening sees: a stripe begins one
/// for each write that fails, and one that keeps failing is tried again every 30 s: 34 hours of that.
/// With as many numbers an era is enough for a million openings.
pub(super) const LIVES_LATE_MAX: u64 = 4096;

pub(super) fn open(
    disk: &dyn Disk,
    random: &dyn Random,
    options: &RecoverOptions,
    whose: Members,
    without: &[PathBuf],
) -> Result<Recovered, OpenError> {
    let mut members = create::assemble(disk, random, options, whose, without)?;
    let how = How {
        channel: members.channel,
        access: Access::Write,
        segment_bytes: options.segment_bytes,
        degraded: options.open_degraded,
    };
    let (mut all, mut decision) = {
        let (checkpoint_dir, sources) = sources(&members);
        let Look { all, decision, misplaced, .. } = read(&how, &checkpoint_dir, &sources)?;
        if !misplaced.is_empty() {
            return Err(OpenError::Misplaced { moves: misplaced });
        }
        let missing = missing::segments(&members, &decision);
        let goes_on = options.open_without_missing_segments || Broken::MissingUnrefused.is_chosen();
        if !missing.is_empty() && !goes_on {
            return Err(OpenError::SegmentsMissing { missing });
        }
        let present = members.stripes.iter().map(|s| s.present.as_ref());
        let paths: Vec<_> = present.map(|p| p.map(|p| p.directory.path())).collect();
        used_up::check(&all, &decision, members.checkpoint.directory.path(), &paths)?;
        (all, decision)
    };
    for (stripe, gathered) in members.stripes.iter_mut().zip(&all.stripes) {
        if !gathered.reading.present {
            stripe.present = None;
        }
    }
    members.settle()?;
    let present: Vec<bool> = members.stripes.iter().map(|s| s.present.is_some()).collect();
    let readings: Vec<&Reading> = all.stripes.iter().map(|s| &s.reading).collect();
    let adopted = adopt::adopt(&mut decision, &readings, &present);
    let mut report = Report { created: members.created, ..Report::default() };
    report.findings.append(&mut members.findings);
    report.findings.append(&mut all.findings);
    report.findings.extend(adopted.iter().zip(&members.stripes).enumerate().filter_map(told));
    let mut opening =
        Opening { how, state: decision.state.clone(), buffer: Buffer::small()?, report };
    opening.settle_logs(&members, &all, &decision)?;
    if !members.created && !Broken::LogNotEnded.is_chosen() {
        opening.end_logs(&members, &all, &decision);
    }
    opening.hand_over(members, all, decision)
}

/// What a stripe adopted, if anything.
fn told((at, (events, stripe)): (usize, (&u64, &create::Stripe))) -> Option<Finding> {
    let present = stripe.present.as_ref().filter(|_| *events > 0)?;
    let words = format!(
        "{} at the end of the log: kept; should a missing directory have copies, those are void when it is back",
        Quantity(*events, "event")
    );
    let mut finding = Finding::of(Case::R15, present.directory.path(), words);
    finding.stripe = Some(index(at));
    Some(finding)
}

fn sources(members: &Membership) -> (Source<'_>, Vec<Source<'_>>) {
    let checkpoint_dir = source(members.checkpoint_uuid, Some(&members.checkpoint));
    let mut stripes = Vec::new();
    for (at, stripe) in members.stripes.iter().enumerate() {
        let added = members.adds(index(at));
        stripes.push(Source { added, ..source(stripe.uuid, stripe.present.as_ref()) });
    }
    (checkpoint_dir, stripes)
}

pub(super) fn source(uuid: Uuid, present: Option<&Present>) -> Source<'_> {
    Source {
        uuid,
        directory: present.map(|p| &*p.directory),
        entries: present.map_or(&[], |p| &p.entries),
        added: false,
    }
}

/// What was read and what it means.
pub(super) struct Look {
    pub(super) all: Everything,
    pub(super) decision: Decision,
    /// Of each stripe, the segments that came back after their events were given up.
    pub(super) returned: Vec<Vec<ReturnedSegment>>,
    /// Segments that lie in another directory than theirs: from where to where.
    misplaced: Vec<(PathBuf, PathBuf)>,
}

/// Reads everything and decides what it means.
pub(super) fn read(
    how: &How,
    checkpoint_dir: &Source<'_>,
    sources: &[Source<'_>],
) -> Result<Look, OpenError> {
    let mut all = gather::gather(how, checkpoint_dir, sources)?;
    let mut decision = decide(&all);
    // A checksum that fails once may be a read that went wrong. And a segment that no event is missing
    // of may still hold what was put behind the last record that names it.
    let named = all.joined.stripes.iter().map(|s| s.watermark.segment);
    let lacks = all.stripes.iter().zip(named).map(|(s, id)| s.reading.lacks(id));
    let doubtful = decision.stripes.iter().zip(lacks).map(|(v, lacks)| v.is_damaged() || lacks);
    let doubtful: Vec<bool> = doubtful.collect();
    if doubtful.contains(&true) {
        gather::read_again(how, sources, &doubtful, &mut all)?;
        decision = decide(&all);
    }
    for (gathered, verdict) in all.stripes.iter_mut().zip(&decision.stripes) {
        salvage::settle(gathered, verdict);
    }
    headless::excuse(&mut all, &decision);
    headless::note_damaged_copies(&mut all, &decision);
    let misplaced = strays::settle(&mut all, sources, &decision);
    let returned = set_returned_apart(how, sources, &mut all, &mut decision)?;
    Ok(Look { all, decision, returned, misplaced })
}

fn set_returned_apart(
    how: &How,
    sources: &[Source<'_>],
    all: &mut Everything,
    decision: &mut Decision,
) -> Result<Vec<Vec<ReturnedSegment>>, OpenError> {
    let mut buffer = Buffer::small()?;
    let subjects: Vec<Subject> =
        sources.iter().enumerate().map(|(at, source)| gather::subject(how, source, at)).collect();
    let candidates: Vec<_> = subjects
        .iter()
        .zip(&all.stripes)
        .map(|(subject, found)| returned::candidates(subject, found, &decision.state, &mut buffer))
        .collect();
    let uuids: Vec<Uuid> = subjects.iter().map(|subject| subject.uuid).collect();
    let returned = returned::judge(&candidates, &uuids, &decision.state);
    for ((subject, found), verdict) in subjects.iter().zip(&returned).zip(&mut decision.stripes) {
        all.findings.extend(found.iter().map(|segment| segment.finding(subject)));
        let is_apart = |id: &SegmentId| found.iter().any(|segment| segment.id == *id);
        verdict.live.retain(|id| !is_apart(id));
        verdict.dead.retain(|id| !is_apart(id));
    }
    Ok(returned)
}

/// How far the names of new files keep from those of segments that were given up, should these come back.
fn slots_apart(verdict: &Verdict) -> u32 {
    const SLOTS_APART: u32 = 1000;
    if verdict.missing().next().is_some() || verdict.end_missing { SLOTS_APART } else { 0 }
}

fn decide(all: &Everything) -> Decision {
    let readings: Vec<&Reading> = all.stripes.iter().map(|s| &s.reading).collect();
    decide::decide(&readings, &all.joined)
}

struct Opening {
    how: How,
    state: StateRecord,
    buffer: Buffer,
    report: Report,
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

    /// Damage copied aside, headers made again, kept blocks made durable.
    fn settle_logs(
        &mut self,
        members: &Membership,
        all: &Everything,
        decision: &Decision,
    ) -> Result<(), OpenError> {
        for (at, verdict) in decision.stripes.iter().enumerate() {
            let (stripe, gathered) = (&members.stripes[at], &all.stripes[at]);
            let Some(present) = &stripe.present else { continue };
            let subject = self.subject(index(at), stripe.uuid);
            self.report.blocks_scanned += gathered.reading.scan.blocks.len() as u64;
            for ruling in &verdict.rulings {
                let copy = set_aside(present, gathered, ruling);
                self.say(&subject, present, gathered, ruling, &copy);
            }
            for segment in gathered.reading.segments.iter().filter(|s| s.rebuilt.is_some()) {
                repair::write_header(segment, &mut self.buffer)?;
            }
            for segment in gathered.reading.segments.iter().filter(|s| needs_copy(s, verdict)) {
                repair::write_copy(segment, &mut self.buffer)?;
            }
            let directory = &*present.directory;
            let unknown =
                salvage::set_unknown_aside(directory, gathered, verdict, &mut self.buffer)?;
            let of_stripe = |finding| Finding { stripe: Some(subject.index), ..finding };
            self.report.findings.extend(unknown.into_iter().map(of_stripe));
            let direct = directory.capabilities().direct;
            let mut flushed = None;
            for block in verdict.kept.iter().map(|i| &gathered.reading.scan.blocks[*i]) {
                if block.header.number <= verdict.named || Broken::KeptNotFlushed.is_chosen() {
                    continue;
                }
                let segment = find(&gathered.reading.segments, block.header.segment)
                    .expect("a block was read from a segment of the inventory");
                if !direct {
                    Rare::BlockRewritten.reached();
                    repair::rewrite(&subject, segment, block, &mut self.buffer)?;
                } else if flushed.replace(block.header.segment) != Some(block.header.segment) {
                    Rare::BlockFlushed.reached();
                    repair::flush(segment)?;
                }
                self.report.blocks_rewritten += 1;
            }
        }
        Ok(())
    }

    fn say(
        &mut self,
        subject: &Subject,
        present: &Present,
        gathered: &Gathered,
        ruling: &Ruling,
        copy: &Copy,
    ) {
        let path = ruling
            .segment
            .and_then(|id| find(&gathered.reading.segments, id))
            .map_or_else(|| present.directory.path().to_owned(), |s| s.file.path().to_owned());
        let mut words = copy.words(words::of(ruling));
        if ruling.case == Case::R7 {
            words = format!("{words}: {}", words::GIVEN_UP);
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

    /// Each log ends: its state names a life that nobody lives, behind the last kept block.
    ///
    /// A write of an earlier life may still be on its way, and land when this opening has been killed
    /// and the next one reads. If it brought a fence, that would void events which this opening has
    /// named; a source's position that came with them would count all the same, and the source would
    /// never send them again.
    ///
    /// A missing directory may name sequences and epochs of the others that nobody here knows, so
    /// without one sequences jump, and the life is of a new era: a fence of the missing directory is
    /// late from now on. Else it would end what was adopted after all, were this opening killed
    /// before its own life begins. And what lands later would bring a position whose events the jump
    /// has voided.
    ///
    /// The era is above those of all stripes, also of the missing: one that was missing before is
    /// an era ahead of the others, and its source positions are of that era.
    fn end_logs(&mut self, members: &Membership, all: &Everything, decision: &Decision) {
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
                if degraded { era.next() } else { EpochNumber(seen[at].0 + LIVES_LATE_MAX) };
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
    fn hand_over(
        mut self,
        members: Membership,
        all: Everything,
        decision: Decision,
    ) -> Result<Recovered, OpenError> {
        let degraded = jumps(&members, &decision);
        let mut homes = Vec::new();
        let held: Vec<StateRecord> =
            all.stripes.iter().map(|s| held_in(s.checkpoints.as_ref())).collect();
        let held_above = held_in(all.checkpoint_dir.as_ref());
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
                    let lock = present.lock.expect("an opening locks every directory");
                    Some(StripeHome { directory: present.directory, lock, slots })
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
            stripes.push(self.stripe(index(at), uuid, home, &gathered, &verdict, degraded)?);
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

    /// The directory's slots, with the recovered state in one of them: what was joined and
    /// decided is durable before anything builds on it.
    fn checkpoint(
        &mut self,
        present: &Present,
        found: Option<&Checkpoints>,
        owner: Uuid,
        elsewhere: bool,
    ) -> Result<SlotHome, OpenError> {
        let whole = found.filter(|f| f.slots.full_length).and_then(|f| f.file.clone());
        let file = match whole {
            Some(file) => file,
            None => slots::make(
                &*present.directory,
                CHECKPOINT_NAME,
                SlotKind::Checkpoint.file_bytes() as u64,
            )?,
        };
        let mut home = match found {
            Some(found) => found.slots.home(file),
            None => SlotHome { file, next_generation: 1 },
        };
        let (channel, state, buffer) = (self.how.channel, &self.state, &mut self.buffer);
        let written = repair::write_checkpoint(&mut home, channel, owner, state, buffer);
        let again = matches!(written, Err(OpenError::Write { .. })) && elsewhere;
        if let (Err(error), true) = (&written, again) {
            // The other slot then, through a file that was opened anew: what it holds stands elsewhere too.
            let words = format!("{error}; the other place for a checkpoint in the file is used");
            if let Some(file) = slots::open(&*present.directory, CHECKPOINT_NAME, Access::Write)? {
                home.file = file;
            }
            home.next_generation = home.next_generation.saturating_add(1);
            repair::write_checkpoint(&mut home, channel, owner, state, buffer)?;
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
        found: Option<&Checkpoints>,
        uuid: Uuid,
    ) -> Result<CheckpointHome, OpenError> {
        // Every stripe has the state by now.
        let slots = self.checkpoint(&present, found, uuid, true)?;
        let lock = present.lock.expect("an opening locks every directory");
        Ok(CheckpointHome { directory: present.directory, lock, uuid, slots })
    }

    fn stripe(
        &mut self,
        index: StripeIndex,
        uuid: Uuid,
        home: Option<StripeHome>,
        gathered: &Gathered,
        verdict: &Verdict,
        degraded: bool,
    ) -> Result<RecoveredStripe, OpenError> {
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
            segments: live[passed..].iter().map(|s| live_segment(s)).collect(),
            end_offset: live.last().map_or(0, |s| {
                let current = s.header.id == state.watermark.segment;
                if current { state.watermark.end_offset.min(s.len) } else { s.len }
            }),
            free,
            next_slot: gathered.inventory.next_slot.saturating_add(slots_apart(verdict)),
            next_block: verdict.next_block,
            next_sequence: state.next,
        })
    }

    /// Files that were never used, dead segments, and those that every group has passed.
    fn free_files(
        &mut self,
        home: &StripeHome,
        gathered: &Gathered,
        verdict: &Verdict,
        passed: &[&SegmentFile],
    ) -> Result<Vec<FreeSegment>, OpenError> {
        let mut free = gathered.inventory.blank.clone();
        for blank in &free {
            // It has its length, but nobody may have synced it yet.
            blank.file.sync().map_err(|source| OpenError::Write {
                path: blank.file.path().to_owned(),
                offset: 0,
                source,
            })?;
        }
        for id in &verdict.dead {
            let dead = find(&gathered.reading.segments, *id).expect("ruled on from the inventory");
            free.push(free_segment(dead));
        }
        free.extend(passed.iter().map(|s| free_segment(s)));
        for segment in free.iter().filter(|_| !Broken::FreeNotWiped.is_chosen()) {
            repair::wipe(segment, &mut self.buffer)?;
        }
        for (name, _) in &gathered.inventory.unfinished {
            // If it stays it is in nobody's way: new files take higher numbers.
            let _ = home.directory.remove(name);
        }
        if !free.is_empty() || !gathered.inventory.unfinished.is_empty() {
            home.directory.sync().map_err(|source| OpenError::Write {
                path: home.directory.path().to_owned(),
                offset: 0,
                source,
            })?;
        }
        Ok(free)
    }
}

/// What the slots of a directory hold.
fn held_in(found: Option<&Checkpoints>) -> StateRecord {
    let mut held = StateRecord::default();
    found.into_iter().flat_map(|f| &f.states).for_each(|state| held.join(state));
    held
}

fn holds(all: &StateRecord, part: &StateRecord) -> bool {
    let mut joined = all.clone();
    joined.join(part);
    joined == *all
}

fn index(at: usize) -> StripeIndex {
    StripeIndex(u16::try_from(at).expect("the number of stripes is bounded"))
}

fn find(segments: &[SegmentFile], id: SegmentId) -> Option<&SegmentFile> {
    segments.iter().find(|s| s.header.id == id)
}

fn free_segment(segment: &SegmentFile) -> FreeSegment {
    FreeSegment { slot: segment.slot, file: Arc::clone(&segment.file), len: segment.len }
}

fn live_segment(segment: &SegmentFile) -> LiveSegment {
    let header = &segment.header;
    LiveSegment {
        slot: segment.slot,
        id: header.id,
        file: Arc::clone(&segment.file),
        len: segment.len,
        first_block: header.first_block,
        first_sequence: header.first_sequence,
        first_order: header.first_order,
    }
}

fn epoch_seen(gathered: &Gathered, known: EpochNumber, degraded: bool) -> EpochNumber {
    let seen = highest_epoch(&gathered.reading, known);
    // The next one begins an era, whose numbers the missing directory cannot name.
    if degraded { seen.last_of_era() } else { seen }
}

/// The highest epoch number that anything in a stripe's log names, or that is `known`.
pub(super) fn highest_epoch(reading: &Reading, known: EpochNumber) -> EpochNumber {
    let blocks = reading.scan.blocks.iter().map(|b| &b.header).chain(&reading.scan.torn);
    let blocks = blocks.map(|h| h.epoch);
    let segments = reading.segments.iter().map(|s| s.header.epoch.number);
    blocks.chain(segments).max().unwrap_or_default().max(known)
}

/// Whether sequences and epochs go on beyond all that can have been given out: a directory is missing, or the
/// end of a log, and nobody here knows what it names.
fn jumps(members: &Membership, decision: &Decision) -> bool {
    members.is_degraded() || decision.stripes.iter().any(|verdict| verdict.end_missing)
}

/// The highest segment id that was given out. Where the end of the log is missing others may be behind it.
pub(super) fn segment_seen(gathered: &Gathered, verdict: &Verdict, known: SegmentId) -> SegmentId {
    let seen = gathered.inventory.segments.last().map_or(known, |s| s.header.id.max(known));
    if verdict.end_lacking { SegmentId(seen.0.saturating_add(SEGMENT_JUMP)) } else { seen }
}

/// Whether a copy of the header of a segment of the log is to be written again.
fn needs_copy(segment: &SegmentFile, verdict: &Verdict) -> bool {
    segment.damaged_copy.is_some() && verdict.live.contains(&segment.header.id)
}

/// Copies the bytes of damage aside, where they have a place.
fn set_aside(present: &Present, gathered: &Gathered, ruling: &Ruling) -> Copy {
    let segment = ruling.segment.and_then(|id| find(&gathered.reading.segments, id));
    match (segment, ruling.bytes) {
        (Some(segment), Some(bytes)) if ruling.case.is_damage() => {
            quarantine::keep(&*present.directory, &*segment.file, segment.header.id, bytes)
        }
        _ => Copy::Nothing,
    }
}
