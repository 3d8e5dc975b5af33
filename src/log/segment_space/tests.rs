//! Room in segments: a table of the answers, and random operations against what must always hold.

use super::*;
use crate::base::fault_cause::{FaultKind, FaultPlace};
use crate::disk::{Submitted, WriteToken};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

const BLOCK: u64 = 4096;
/// Header and state record of a segment.
const STATE: u64 = 3 * BLOCK;
/// A full segment.
const FULL: u64 = 16 * BLOCK;

/// A file that is never accessed.
struct NoFile;

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl File for NoFile {
    fn path(&self) -> &Path {
        Path::new("segment")
    }
    fn len(&self) -> io::Result<u64> {
        refused()
    }
    fn named_len(&self) -> io::Result<Option<u64>> {
        refused()
    }
    fn identity(&self) -> io::Result<(u64, u64)> {
        refused()
    }
    fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
        refused()
    }
    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        refused()
    }
    fn sync(&self) -> io::Result<()> {
        refused()
    }
    fn submit(&self, _: u64, _: &[u8]) -> Submitted {
        Submitted::Done(refused())
    }
    fn finish(&self, _: WriteToken) -> io::Result<()> {
        refused()
    }
}

fn fault() -> FaultCause {
    FaultCause::new(FaultKind::NoSpace, FaultPlace::default(), "the disk is full")
}

fn free(slot: u32, len: u64) -> FreeSegment {
    FreeSegment { slot, file: Arc::new(NoFile), len }
}

fn live(segment: FreeSegment, id: SegmentId, first_block: u64) -> LiveSegment {
    LiveSegment {
        slot: segment.slot,
        id,
        file: segment.file,
        len: segment.len,
        first_block: BlockNumber(first_block),
        first_sequence: Sequence(first_block),
        first_order: WriteOrder(first_block),
    }
}

/// Returns a space in its first segment, with free segments of these lengths.
fn space(lens: &[u64]) -> SegmentSpace {
    let first = live(free(0, FULL), SegmentId(1), 1);
    let others = lens.iter().zip(1..).map(|(len, slot)| free(slot, *len)).collect();
    let mut space = SegmentSpace::new(vec![first], STATE, SegmentId(1), others);
    space.set_usual_bytes(FULL);
    space
}

#[test]
fn a_block_that_does_not_fit_needs_a_segment_besides_the_reserved_one() {
    let fault = fault();
    // Free segments, bytes of the block, whether a roll is planned, whether it is a put: the answer.
    let rows: &[(&[u64], u64, bool, bool, RollRoom)] = &[
        (&[], BLOCK, false, true, RollRoom::Wanted),
        (&[FULL], BLOCK, false, true, RollRoom::Wanted),
        (&[FULL, FULL], BLOCK, false, true, RollRoom::Ready),
        (&[FULL, STATE], BLOCK, false, true, RollRoom::Ready),
        (&[FULL, BLOCK], BLOCK, false, true, RollRoom::Wanted),
        (&[FULL, FULL], FULL, false, true, RollRoom::Wanted),
        (&[FULL, FULL], BLOCK, true, true, RollRoom::AfterPlannedRoll),
        (&[FULL, FULL], BLOCK, true, false, RollRoom::AfterPlannedRoll),
        (&[], BLOCK, true, true, RollRoom::AfterPlannedRoll),
        (&[], BLOCK, true, false, RollRoom::Wanted),
    ];
    for (lens, block, planned, put, expected) in rows {
        let mut space = space(lens);
        space.roll_planned = *planned;
        let what = format!("{lens:?} {block} {planned} {put}");
        assert_eq!(space.room_in_next(STATE, *block, *put), *expected, "{what}");
        let wanted = if *expected == RollRoom::Wanted { STATE + block } else { 0 };
        assert_eq!(space.wanted_bytes(), wanted, "{what}");
    }
    let mut space = space(&[]);
    space.refuse(4 * FULL, fault.clone(), 0);
    assert_eq!(space.room_in_next(STATE, BLOCK, true), RollRoom::Wanted, "shorter ones are made");
    assert_eq!(space.refused_usual(), None);
    assert_eq!(space.room_in_next(STATE, 4 * FULL, true), RollRoom::Refused(fault));
    assert!(space.adopt(free(9, 5 * FULL)) && space.refused().is_none(), "it could be made");
    assert_eq!(space.wanted_bytes(), 0);
}

#[test]
fn the_smallest_segment_of_the_usual_size_is_taken_first() {
    let mut space = space(&[8 * FULL, FULL / 2, 2 * FULL, FULL / 4]);
    assert_eq!(space.next_segment(STATE).map(|s| s.len), Some(2 * FULL));
    assert_eq!(space.next_segment(3 * FULL).map(|s| s.len), Some(8 * FULL));
    space.remove_lost(3, false);
    space.remove_lost(1, false);
    assert_eq!(space.next_segment(STATE).map(|s| s.len), Some(FULL / 2), "the larger small one");
    assert!(space.next_segment(FULL).is_none());
    assert_eq!(space.wanted_bytes(), FULL);
}

/// An operation of the model; numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    /// Reserve a block of so many device blocks, for a put or an acknowledgement.
    Block(u64, bool),
    /// Start the next write.
    Write,
    /// Everything up to the n-th of the last started blocks is acknowledged.
    Recycle(u64),
    Adopt(u64),
    Trim(usize, bool),
    Lose(usize),
    /// The write in flight fails, or hangs: the epoch ends.
    Fail(bool),
    /// An abandoned write returns.
    Return(bool),
    /// Files are opened again: each one comes back, is tried later, or is gone.
    Reopen(u8),
    Refuse(u64),
    /// The epoch ends in a checkpoint slot.
    EndInSlot,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..6u64, any::<bool>()).prop_map(|(len, put)| Step::Block(len, put)),
        8 => Just(Step::Write),
        4 => (0..8u64).prop_map(Step::Recycle),
        4 => (1..24u64).prop_map(Step::Adopt),
        2 => (0..4usize, any::<bool>()).prop_map(|(keep, also)| Step::Trim(keep, also)),
        1 => (0..8usize).prop_map(Step::Lose),
        1 => any::<bool>().prop_map(Step::Fail),
        2 => any::<bool>().prop_map(Step::Return),
        2 => (0..3u8).prop_map(Step::Reopen),
        1 => (1..24u64).prop_map(Step::Refuse),
        1 => Just(Step::EndInSlot),
    ]
}

/// What the space promised, as seen from outside.
struct Model {
    space: SegmentSpace,
    /// Sealed blocks: bytes, and whether each begins a new segment.
    sealed: VecDeque<(u64, bool)>,
    next_slot: u32,
    next_job: u64,
    next_block: u64,
    /// Slots that were trimmed, lost or removed: they never come back.
    gone: BTreeSet<u32>,
    /// Slots in use whose file is lost.
    lost: BTreeSet<u32>,
    abandoned: BTreeMap<JobId, u32>,
    /// End of what was written in each segment.
    ends: BTreeMap<SegmentId, u64>,
    /// No segment came or went since the roll was planned.
    pool_is_same: bool,
}

impl Model {
    fn new() -> Self {
        let space = space(&[FULL, FULL]);
        Self {
            space,
            sealed: VecDeque::new(),
            next_slot: 3,
            next_job: 0,
            next_block: 2,
            gone: BTreeSet::new(),
            lost: BTreeSet::new(),
            abandoned: BTreeMap::new(),
            ends: BTreeMap::new(),
            pool_is_same: false,
        }
    }

    fn reserve(&mut self, len: u64, put: bool) {
        let fits = self.space.fits(0, len);
        if !fits && self.space.room_in_next(STATE, len, put) != RollRoom::Ready {
            return;
        }
        let room = self.space.plan_block(len, || STATE);
        assert!(room.bytes >= len && room.rolls() != fits);
        self.pool_is_same |= room.rolls();
        self.space.promise(room);
        self.space.seal(len);
        self.sealed.push_back((len, room.rolls()));
    }

    fn write(&mut self) {
        let Some((len, rolls)) = self.sealed.front().copied() else { return };
        if rolls || len > self.space.room() {
            let Some(next) = self.space.next_segment(STATE + len) else {
                assert!(self.space.wanted_bytes() >= STATE + len, "what is missing is wanted");
                return;
            };
            assert!(!self.abandoned.values().any(|slot| *slot == next.slot), "under a write");
            let all: u64 = self.sealed.iter().map(|(len, _)| len).sum();
            // Where a roll was needed sooner than planned, a later block may have planned another one.
            let plans = self.sealed.iter().filter(|(_, rolls)| *rolls).count();
            if rolls && plans == 1 && self.pool_is_same {
                assert!(STATE + all <= next.len, "all that is promised fits the new segment");
            }
            let id = self.space.next_id();
            self.space.roll(live(next, id, self.next_block), STATE, all);
            self.place(STATE);
            self.pool_is_same = false;
        }
        self.sealed.pop_front();
        self.place(len);
    }

    fn place(&mut self, len: u64) {
        let (segment, offset) = self.space.place(len);
        assert!(offset + len <= segment.len, "a block ends inside its segment");
        assert!(offset >= *self.ends.get(&segment.id).unwrap_or(&0), "bytes are written once");
        self.ends.insert(segment.id, offset + len);
        self.next_block += 1;
    }

    /// Ends the epoch: what is queued moves to another stripe.
    fn end_epoch(&mut self) {
        self.sealed.clear();
        self.pool_is_same = false;
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Block(blocks, put) => self.reserve(blocks * BLOCK, put),
            Step::Write => self.write(),
            Step::Recycle(back) => {
                let taken = BlockNumber(self.next_block.saturating_sub(back));
                let before = self.held().len();
                let recycled = self.space.recycle(|next| next.first_block <= taken);
                assert_eq!(
                    before - self.held().len(),
                    recycled.lost as usize,
                    "all others come back"
                );
                assert!(recycled.segments > 0 || !recycled.usable);
                self.pool_is_same &= recycled.segments == 0;
            }
            Step::Adopt(blocks) => {
                assert!(self.space.adopt(free(self.next_slot, blocks * BLOCK)));
                assert!(self.space.newest_free() == Some(self.next_slot));
                self.next_slot += 1;
                self.pool_is_same = false;
            }
            Step::Trim(keep, also_newest) => {
                let spare = self.space.trim(keep, STATE + BLOCK, FULL, also_newest);
                let Some(spare) = spare else { return };
                assert!(!self.abandoned.values().any(|slot| *slot == spare.slot), "under a write");
                self.gone.insert(spare.slot);
                self.pool_is_same = false;
            }
            Step::Lose(at) => {
                let slots: Vec<u32> = self.held().into_iter().collect();
                let slot = slots[at % slots.len()];
                match self.space.remove_lost(slot, false) {
                    Some(LostSegment::Free) => drop(self.gone.insert(slot)),
                    Some(LostSegment::Live { current, .. }) => {
                        assert!(self.lost.insert(slot), "a file is lost once");
                        if current {
                            self.space.restart(STATE);
                            self.end_epoch();
                        }
                    }
                    None => assert!(self.lost.contains(&slot)),
                }
                self.pool_is_same = false;
            }
            Step::Fail(hangs) => {
                let id = self.space.last_id();
                let Some(slot) = self.space.segment(id).map(|s| s.slot) else { return };
                if hangs {
                    self.next_job += 1;
                    self.space.abandon_write(JobId(self.next_job), id);
                    self.abandoned.insert(JobId(self.next_job), slot);
                } else {
                    self.space.note_failed_write(id);
                }
                self.space.restart(STATE);
                self.end_epoch();
            }
            Step::Return(failed) => {
                let Some((job, _)) = self.abandoned.pop_first() else { return };
                assert!(self.space.abandoned_write_returned(job, failed));
                assert!(!self.space.abandoned_write_returned(job, failed), "it returns once");
                self.pool_is_same = false;
            }
            Step::Reopen(how) => {
                for segment in self.space.take_to_reopen() {
                    match how {
                        // Not usable if another write to it failed meanwhile.
                        0 => {
                            self.space.adopt(segment);
                        }
                        1 => self.space.defer_reopening(segment),
                        _ => drop(self.gone.insert(segment.slot)),
                    }
                }
                self.pool_is_same = false;
            }
            Step::Refuse(blocks) => {
                self.space.refuse(blocks * BLOCK, fault(), STATE);
                assert!(self.space.refused().is_some_and(|(len, _)| *len <= blocks * BLOCK));
            }
            Step::EndInSlot => {
                self.space.end_tail();
                self.space.leave();
                self.space.drop_above(BlockNumber(self.next_block));
                self.end_epoch();
                assert!(self.space.room() == 0 && !self.space.fits(0, BLOCK));
            }
        }
    }

    /// Returns the slots of all segments; none is in two places.
    fn held(&self) -> BTreeSet<u32> {
        let space = &self.space;
        let waiting = space.free.iter().chain(&space.to_reopen).map(|s| s.slot);
        let slots: Vec<u32> = space.live.iter().map(|s| s.slot).chain(waiting).collect();
        let held: BTreeSet<u32> = slots.iter().copied().collect();
        assert_eq!(held.len(), slots.len(), "a segment is in one place: {slots:?}");
        held
    }

    fn check(&mut self) {
        let held = self.held();
        // A lost file leaves when it is no longer in use.
        let left: BTreeSet<u32> = self.lost.difference(&held).copied().collect();
        self.lost.retain(|slot| held.contains(slot));
        self.gone.extend(left);
        assert!(held.is_disjoint(&self.gone), "what is gone never comes back");
        let all: BTreeSet<u32> = (0..self.next_slot).collect();
        let known: BTreeSet<u32> = held.union(&self.gone).copied().collect();
        assert_eq!(known, all, "no segment is forgotten");
        let sealed: u64 =
            self.sealed.iter().take_while(|(_, rolls)| !rolls).map(|(len, _)| len).sum();
        if !self.space.roll_is_planned() && sealed <= self.space.room() {
            let room = self.space.room() - sealed;
            assert!(!self.space.fits(0, room + 1), "never more is promised than there is");
        }
        let reading = self.space.reading();
        assert!(reading.free <= self.space.free.len() && reading.live == self.space.live.len());
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn room_is_promised_once_and_what_is_released_comes_back(
        steps in prop::collection::vec(step(), 1..200)
    ) {
        let mut model = Model::new();
        for step in steps {
            model.run(step);
            model.check();
        }
    }
}
