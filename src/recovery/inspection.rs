//! Read-only inspection: what a channel holds, whether every byte of it is sound, and its events.
//! Takes no lock and writes nothing, so it works while an agent runs; the result then describes
//! some moment during the inspection.

use super::assessment;
use super::case::Case;
use super::decide::plan::{self, Existing, Plan};
use super::decide::returned_segments::{self, ReturnedSegment};
use super::decide::verdict::{Decision, Ruling};
use super::error::RecoveryError;
use super::finding::Finding;
use super::options::RecoverOptions;
use super::read::block_walk::{self, WalkedBlock};
use super::read::contents::{ReadOptions, stripe_index};
use super::read::member_evidence;
use super::read::members::{self, ListedDir};
use super::read::segment_file::{SegmentFile, Subject};
use super::report_text;
use crate::base::ids::{BlockNumber, SegmentId, Sequence, StripeIndex, Uuid};
use crate::disk::{Access, Disk};
use crate::event::Event;
use crate::layout::{AlignedBuffer, LayoutError};
use crate::record::block::{BLOCK_HEADER_BYTES, BlockHeader};
use crate::record::body::PutPrefix;
use crate::record::event;
use crate::record::frame::{self, FrameKind};
use crate::record::member::Role;
use crate::record::state::{SourceOffset, StateRecord};
use bytes::Bytes;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// How far a channel exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// The directories are missing or empty.
    Empty,
    /// Its creation was interrupted; nothing was ever put.
    HalfCreated,
    /// It was created.
    Created,
}

/// What a channel holds, as of one inspection.
pub struct Survey {
    /// How far it exists; if it was not created, the rest is empty.
    pub presence: Presence,
    /// The channel.
    pub channel: Uuid,
    /// The state that an opening would find; nothing of it was made durable.
    pub state: StateRecord,
    /// Its stripes, in the order of the member list.
    pub stripes: Vec<SurveyedStripe>,
    /// What an opening would report.
    pub findings: Vec<Finding>,
}

/// One stripe.
pub struct SurveyedStripe {
    /// Index in the member list.
    pub index: StripeIndex,
    /// Its member uuid.
    pub uuid: Uuid,
    /// Its directory.
    pub path: PathBuf,
    /// Whether the directory is present and readable.
    pub available: bool,
    /// Segments with blocks that are needed, oldest first.
    pub segments: Vec<SurveyedSegment>,
    /// Segment files that can be overwritten.
    pub free_segments: usize,
    /// Events that were put and neither taken nor voided.
    pub waiting: u64,
    /// Segments that came back after their events were given up.
    pub returned: Vec<ReturnedSegment>,
    subject: Subject,
}

/// One segment.
pub struct SurveyedSegment {
    /// Its id.
    pub id: SegmentId,
    /// Its file.
    pub path: PathBuf,
    /// Length of the file, bytes.
    pub len: u64,
    /// Number of its first block.
    pub first_block: BlockNumber,
    /// Number of its last block.
    pub last_block: BlockNumber,
    /// Sequence of its first event.
    pub first_sequence: Sequence,
    /// One after the sequence of its last event.
    pub end_sequence: Sequence,
    file: SegmentFile,
}

/// Result of a check.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Whole blocks that were read.
    pub blocks: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Events in them.
    pub events: u64,
    /// Findings; [`Case::is_damage`] tells damage from what is only noted.
    pub findings: Vec<Finding>,
}

impl CheckReport {
    /// Returns whether no acknowledged data is lost.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        !self.findings.iter().any(|f| f.case.is_damage())
    }
}

/// One step of a walk over all events.
#[derive(Clone, Debug)]
pub enum WalkStep {
    /// An event.
    Event {
        /// The stripe.
        stripe: StripeIndex,
        /// Its sequence.
        sequence: Sequence,
        /// The segment that holds it.
        segment: SegmentId,
        /// Offset of its block there, bytes.
        offset: u64,
        /// Whether it waits; else it was taken or is void.
        waiting: bool,
        /// The event.
        event: Event,
    },
    /// A source's offset, committed with the events that follow.
    SourceOffset {
        /// The source.
        source: String,
        /// The source offset.
        source_offset: SourceOffset,
    },
    /// Something is missing or damaged here.
    Finding(Finding),
}

/// Inspects a channel.
///
/// # Errors
/// As opening, but for locks and writes.
pub fn survey(disk: &dyn Disk, options: &RecoverOptions) -> Result<Survey, RecoveryError> {
    let first = look(disk, options)?;
    if !first.findings.iter().any(|f| f.case.is_damage()) {
        return Ok(first);
    }
    // A checksum that fails once may be a failed read, or a block that was being written when it
    // was read and acknowledged by the time its name was read.
    let mut second = look(disk, options)?;
    second
        .findings
        .retain(|f| !f.case.is_damage() || first.findings.iter().any(|g| place(g) == place(f)));
    Ok(second)
}

/// Inspects a channel and reads every byte of it. Damage is reported only if two passes found it:
/// while an agent runs, a segment may be reused during the read.
///
/// # Errors
/// As [`survey`], or a segment cannot be read.
pub fn verify(
    disk: &dyn Disk,
    options: &RecoverOptions,
) -> Result<(Survey, CheckReport), RecoveryError> {
    let survey = look(disk, options)?;
    let first = survey.check()?;
    if first.is_sound() {
        return Ok((survey, first));
    }
    let survey = look(disk, options)?;
    let mut second = survey.check()?;
    second
        .findings
        .retain(|f| !f.case.is_damage() || first.findings.iter().any(|g| place(g) == place(f)));
    Ok((survey, second))
}

type PlaceOfFinding = (Case, Option<StripeIndex>, Option<SegmentId>, Option<u64>);

fn place(finding: &Finding) -> PlaceOfFinding {
    (finding.case, finding.stripe, finding.segment, finding.offset)
}

/// Checks that the listed directories are those of one channel. Reads only their member files, also
/// while the channel is open.
///
/// # Errors
/// As opening, but for locks, writes, and what is wrong with segments and checkpoints.
pub fn check_members(disk: &dyn Disk, options: &RecoverOptions) -> Result<(), RecoveryError> {
    let mut places = members::survey(disk, options, false, &[])?;
    member_evidence::correct(&mut places, options.open_degraded)?;
    plan::plan(&places, None, options.open_degraded).map(drop)
}

fn look(disk: &dyn Disk, options: &RecoverOptions) -> Result<Survey, RecoveryError> {
    let mut places = members::survey(disk, options, false, &[])?;
    member_evidence::correct(&mut places, options.open_degraded)?;
    match plan::plan(&places, None, options.open_degraded)? {
        Plan::Create { interrupted } => Ok(Survey {
            presence: if interrupted { Presence::HalfCreated } else { Presence::Empty },
            channel: Uuid::default(),
            state: StateRecord::default(),
            stripes: Vec::new(),
            findings: Vec::new(),
        }),
        Plan::Open(existing) => created(options, &places, existing),
    }
}

fn created(
    options: &RecoverOptions,
    places: &[ListedDir],
    existing: Existing,
) -> Result<Survey, RecoveryError> {
    let how = ReadOptions {
        channel: existing.channel,
        access: Access::Read,
        segment_bytes: options.segment_bytes,
        degraded: options.open_degraded,
    };
    let present = |at: Option<usize>| at.and_then(|at| places[at].present.as_ref());
    let mut checkpoint = assessment::source(Uuid::default(), None);
    let mut stripes = Vec::new();
    for (name, at) in &existing.members {
        let source = assessment::source(name.uuid, present(*at));
        match name.role {
            Role::Checkpoint => checkpoint = source,
            Role::Stripe(index) => {
                let path =
                    at.map_or_else(|| PathBuf::from(&name.path), |at| places[at].path.clone());
                stripes.push((index, path, source));
            }
        }
    }
    stripes.sort_by_key(|(index, ..)| *index);
    let (paths, sources): (Vec<_>, Vec<_>) =
        stripes.into_iter().map(|(_, path, source)| (path, source)).unzip();
    let assessment::Assessment { mut all, decision, returned, .. } =
        assessment::read(&how, &checkpoint, &sources)?;
    let Decision { state, stripes: verdicts, .. } = decision;
    let mut findings = existing.findings;
    findings.append(&mut all.findings);
    let mut surveyed = Vec::new();
    for ((at, verdict), returned) in verdicts.iter().enumerate().zip(returned) {
        let index = stripe_index(at);
        let gathered = &all.stripes[at];
        let files = &gathered.reading.segments;
        findings.extend(verdict.rulings.iter().map(|r| finding(index, &paths[at], files, r)));
        let live = files.iter().filter(|s| verdict.live.contains(&s.header.id));
        let mut stripe = SurveyedStripe {
            index,
            uuid: sources[at].uuid,
            path: paths[at].clone(),
            available: gathered.reading.present,
            segments: segments(live, &state, index),
            free_segments: gathered.inventory.blank.len() + verdict.dead.len(),
            returned,
            waiting: count(&state.stripe(index).missing(0, state.stripe(index).next.0)),
            subject: Subject {
                channel: existing.channel,
                uuid: sources[at].uuid,
                index,
                access: Access::Read,
                segment_bytes: options.segment_bytes,
            },
        };
        stripe.drop_passed(&state);
        surveyed.push(stripe);
    }
    let (presence, channel) = (Presence::Created, existing.channel);
    Ok(Survey { presence, channel, state, stripes: surveyed, findings })
}

fn count(ranges: &[(u64, u64)]) -> u64 {
    ranges.iter().map(|(start, end)| end - start).sum()
}

fn segments<'a>(
    live: impl Iterator<Item = &'a SegmentFile>,
    state: &StateRecord,
    index: StripeIndex,
) -> Vec<SurveyedSegment> {
    let mark = state.stripe(index).watermark;
    let live: Vec<&SegmentFile> = live.collect();
    let of = |at: usize| {
        let (file, next) = (live[at], live.get(at + 1).map(|s| &s.header));
        SurveyedSegment {
            id: file.header.id,
            path: file.file.path().to_owned(),
            len: file.len,
            first_block: file.header.first_block,
            last_block: next.map_or(mark.block, |n| BlockNumber(n.first_block.0.saturating_sub(1))),
            first_sequence: file.header.first_sequence,
            end_sequence: next.map_or(mark.sequence, |n| n.first_sequence),
            file: file.clone(),
        }
    };
    (0..live.len()).map(of).collect()
}

fn finding(
    index: StripeIndex,
    directory: &std::path::Path,
    files: &[SegmentFile],
    ruling: &Ruling,
) -> Finding {
    let file = files.iter().find(|s| Some(s.header.id) == ruling.segment);
    Finding {
        case: ruling.case,
        stripe: Some(index),
        path: file.map_or_else(|| directory.to_owned(), |s| s.file.path().to_owned()),
        segment: ruling.segment,
        offset: ruling.bytes.map(|(from, _)| from),
        sequences: ruling.sequences,
        words: match ruling.case {
            Case::R7 => format!("{}: {}", report_text::of(ruling), report_text::REFUSED),
            _ => report_text::of(ruling),
        },
    }
}

impl SurveyedStripe {
    /// Returns the source whose offset says how far the events of returned segments were put again.
    #[must_use]
    pub fn restore_source(&self) -> String {
        returned_segments::source_of(self.uuid)
    }

    fn finding(&self, segment: &SurveyedSegment, ruling: &Ruling) -> Finding {
        let files = std::slice::from_ref(&segment.file);
        let mut finding = finding(self.index, &self.path, files, ruling);
        if ruling.case == Case::R3 {
            finding.words = report_text::of_settled_place(ruling, segment.id);
        }
        finding
    }

    /// Drops segments before the frontier: they are free, whatever they hold.
    fn drop_passed(&mut self, state: &StateRecord) {
        let frontier = Sequence(state.stripe(self.index).frontier());
        let passed =
            self.segments.windows(2).take_while(|pair| pair[1].first_sequence <= frontier).count();
        self.segments.drain(..passed);
        self.free_segments += passed;
    }
}

impl Survey {
    /// Reads and verifies every block of every live segment, up to the end of the log.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn check(&self) -> Result<CheckReport, RecoveryError> {
        let mut check = CheckReport { findings: self.findings.clone(), ..CheckReport::default() };
        let mut findings = Vec::new();
        self.each(&mut |stripe, segment, step| {
            match step {
                Ok((header, bytes)) => {
                    check.blocks += 1;
                    check.bytes += bytes.len() as u64;
                    check.events += u64::from(header.event_count);
                }
                Err(ruling) => findings.push(stripe.finding(segment, &ruling)),
            }
            ControlFlow::Continue(())
        })?;
        // A hole after the newest record was already ruled on.
        let place = |f: &Finding| (f.stripe, f.segment, f.offset);
        let known: Vec<_> = check.findings.iter().map(place).collect();
        findings.retain(|f| !known.contains(&place(f)));
        check.findings.append(&mut findings);
        Ok(check)
    }

    /// Walks over all events, stripe by stripe in the order of the log, until `visit` breaks.
    ///
    /// # Errors
    /// A segment cannot be read.
    pub fn walk(
        &self,
        visit: &mut dyn FnMut(WalkStep) -> ControlFlow<()>,
    ) -> Result<(), RecoveryError> {
        self.each(&mut |stripe, segment, step| match step {
            Ok((header, bytes)) => events(&self.state, stripe, segment.id, header, bytes, visit),
            Err(ruling) => visit(WalkStep::Finding(stripe.finding(segment, &ruling))),
        })
    }

    /// Walks over the events that were given up with a segment and came back with it, by ascending
    /// sequence, without those that were put again.
    ///
    /// # Errors
    /// The segment cannot be read.
    pub fn walk_returned(
        &self,
        stripe: &SurveyedStripe,
        segment: &ReturnedSegment,
        visit: &mut dyn FnMut(Sequence, Event) -> ControlFlow<()>,
    ) -> Result<(), LayoutError> {
        let mut buffer = AlignedBuffer::small()?;
        let mut blocks: Vec<&BlockHeader> = segment.blocks.iter().map(|b| &b.header).collect();
        blocks.sort_by_key(|header| header.first_sequence);
        for header in blocks {
            let bytes = block_walk::block(&stripe.subject, &segment.file, header, &mut buffer)?;
            let mut each = |step| match step {
                WalkStep::Event { sequence, event, .. }
                    if segment.ranges.iter().any(|(a, b)| (*a..*b).contains(&sequence.0)) =>
                {
                    visit(sequence, event)
                }
                _ => ControlFlow::Continue(()),
            };
            if events(&self.state, stripe, segment.id, header, bytes, &mut each).is_break() {
                break;
            }
        }
        Ok(())
    }

    #[allow(clippy::type_complexity)] // one private signature, said once
    fn each(
        &self,
        visit: &mut dyn FnMut(
            &SurveyedStripe,
            &SurveyedSegment,
            Result<(&BlockHeader, &[u8]), Ruling>,
        ) -> ControlFlow<()>,
    ) -> Result<(), RecoveryError> {
        let mut buffer = AlignedBuffer::small()?;
        for stripe in &self.stripes {
            for segment in &stripe.segments {
                let mut end = segment.first_sequence;
                let mut on_step = |step: WalkedBlock<'_>| match step {
                    WalkedBlock::Block(header, bytes) => {
                        end = header.end_sequence();
                        visit(stripe, segment, Ok((header, bytes)))
                    }
                    WalkedBlock::BlockGap(hole) => {
                        let to = hole.next_sequence.unwrap_or(segment.end_sequence);
                        visit(stripe, segment, Err(self.hole(stripe, segment, &hole, (end, to))))
                    }
                };
                let last = segment.last_block;
                let subject = &stripe.subject;
                if block_walk::segment(subject, &segment.file, last, &mut buffer, &mut on_step)?
                    .is_break()
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Reports a hole: damage if a waiting event is missing in it; else its events were void or
    /// taken, and it is only noted.
    fn hole(
        &self,
        stripe: &SurveyedStripe,
        segment: &SurveyedSegment,
        hole: &block_walk::BlockGap,
        sequences: (Sequence, Sequence),
    ) -> Ruling {
        let state = self.state.stripe(stripe.index);
        let missing = state.missing(sequences.0.0, sequences.1.0);
        let waiting = missing.first().zip(missing.last());
        // Events counted as lost in it before.
        let (from, to) = (sequences.0.0, sequences.1.0);
        let before = state.damaged.iter().filter(|(a, b)| *a < to && *b > from);
        let before: Vec<(u64, u64)> = before.map(|(a, b)| (from.max(*a), to.min(*b))).collect();
        let range = waiting.or_else(|| before.first().zip(before.last()));
        Ruling {
            case: if waiting.is_some() { Case::R2 } else { Case::R3 },
            segment: Some(segment.id),
            bytes: Some(hole.bytes),
            blocks: hole.blocks,
            sequences: range.map(|(a, b)| (Sequence(a.0), Sequence(b.1))),
        }
    }

    /// Returns places in live segments where waiting events cannot be read.
    pub(super) fn damage(&self) -> Result<Vec<Damage>, RecoveryError> {
        let mut damage = Vec::new();
        self.each(&mut |stripe, segment, step| {
            if let Err(ruling) = step
                && ruling.case.is_damage()
            {
                let (stripe, segment) = (stripe.index, segment.file.clone());
                damage.push(Damage { stripe, segment, ruling });
            }
            ControlFlow::Continue(())
        })?;
        Ok(damage)
    }
}

/// A damaged place before what an opening reads.
pub(super) struct Damage {
    pub(super) stripe: StripeIndex,
    pub(super) segment: SegmentFile,
    pub(super) ruling: Ruling,
}

/// Returns the place as text.
pub(super) fn finding_of(damage: &Damage) -> Finding {
    let files = std::slice::from_ref(&damage.segment);
    finding(damage.stripe, damage.segment.file.path(), files, &damage.ruling)
}

fn events(
    state: &StateRecord,
    stripe: &SurveyedStripe,
    segment: SegmentId,
    header: &BlockHeader,
    bytes: &[u8],
    visit: &mut dyn FnMut(WalkStep) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let payload = &bytes[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + header.payload_len as usize];
    let salt = frame::frame_salt(&stripe.uuid, header.nonce, header.key);
    // The block was checked when it was read.
    for found in frame::frames(salt, payload).flatten() {
        if found.header.kind != FrameKind::Put {
            continue;
        }
        let body = &payload[found.payload()];
        let Ok((prefix, mut at)) = PutPrefix::decode(found.header.flags, body) else { continue };
        if let Some(p) = prefix.source_offset {
            let source_offset = SourceOffset { counter: p.counter, bytes: p.bytes.to_vec() };
            visit(WalkStep::SourceOffset { source: p.source.to_owned(), source_offset })?;
        }
        let body = Bytes::copy_from_slice(body);
        for n in 0..u64::from(found.header.count) {
            let Ok(event) = event::decode(&body, &mut at) else { break };
            let sequence = Sequence(found.header.first_sequence.0 + n);
            let waiting =
                !state.stripe(stripe.index).missing(sequence.0, sequence.0 + 1).is_empty();
            let (stripe, offset) = (stripe.index, header.offset);
            visit(WalkStep::Event { stripe, sequence, segment, offset, waiting, event })?;
        }
    }
    ControlFlow::Continue(())
}
