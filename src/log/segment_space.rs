//! Room in segments: the segment files of a stripe, and which of their bytes are promised to blocks.
//!
//! Every byte of a queued block is promised room in one segment before a frame is reserved in it. Blocks go into the
//! segment in use until one does not fit; that block *plans a roll*, and it and all after it are promised room in the
//! free segment that the roll will take, after the segment header and the state record.
//!
//! A segment file is always in exactly one place: in use (`live`), `free`, or waiting to be opened again. It leaves
//! only by [`SegmentSpace::trim`], [`SegmentSpace::lose`] or [`SegmentSpace::take_to_reopen`]; one that was lost while
//! in use leaves when it is passed.
//!
//! A file with a failed write is opened again before its next use. The kernel reports a failed write-back once per open
//! file description; after that, no later sync through it proves anything (`disk/real/file.rs`). Without a new
//! description every use of the segment would fail its first write and end an epoch.

use super::write_job::JobId;
use crate::base::fault_cause::FaultCause;
use crate::base::ids::{BlockNumber, SegmentId, Sequence, WriteOrder};
use crate::base::limits::BLOCK_BYTES_MAX;
use crate::base::mutation::Mutation;
use crate::disk::File;
use std::collections::VecDeque;
use std::sync::Arc;

#[cfg(test)]
mod tests;

/// A segment that holds blocks.
#[derive(Clone)]
pub struct LiveSegment {
    /// Its slot among the directory's segment files.
    pub slot: u32,
    /// Its number in the stripe.
    pub id: SegmentId,
    /// The file.
    pub file: Arc<dyn File>,
    /// Length of the file, bytes.
    pub len: u64,
    /// Its first block, the state record.
    pub first_block: BlockNumber,
    /// Sequence of its first event.
    pub first_sequence: Sequence,
    /// No block in it has a lower write order.
    pub first_order: WriteOrder,
}

/// A zero-filled or recycled segment, ready to be taken into use.
#[derive(Clone)]
pub struct FreeSegment {
    /// Its slot among the directory's segment files.
    pub slot: u32,
    /// The file.
    pub file: Arc<dyn File>,
    /// Length of the file, bytes.
    pub len: u64,
}

/// The segments of a stripe and the room in them.
pub(super) struct SegmentSpace {
    /// Oldest first; blocks are written to the last one.
    live: VecDeque<LiveSegment>,
    /// The highest segment id ever in use.
    last_id: SegmentId,
    /// Offset of the next block in the segment in use.
    end_offset: u64,
    /// Room after the sealed blocks, in the segment that will hold the last of them.
    tail_room: u64,
    /// A queued block, or the next one, begins a new segment.
    roll_planned: bool,
    /// Ready for use, unless an abandoned write may still reach them.
    free: Vec<FreeSegment>,
    /// Current size of new segments; smaller ones are used only if no other is free.
    usual_bytes: u64,
    /// A segment of at least this many bytes is needed and none is there; 0 for none.
    wanted_bytes: u64,
    /// Bytes of the shortest segment that could not be made, and why: shorter ones can still be made.
    refused: Option<(u64, FaultCause)>,
    /// Failed or abandoned writes that have not returned, with the slot they write to.
    abandoned: Vec<(JobId, u32)>,
    /// Slots of segments in use with a failed write.
    failed: Vec<u32>,
    /// Those that came free, to be opened again.
    to_reopen: Vec<FreeSegment>,
    /// Slots of segments in use whose file was removed or truncated.
    lost: Vec<u32>,
}

/// Whether a block that does not fit after the queued ones can begin a new segment.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RollRoom {
    /// Yes.
    Ready,
    /// After a roll that is planned already.
    AfterPlannedRoll,
    /// A segment is missing, and wanted now.
    Wanted,
    /// A segment of that size could not be made.
    Refused(FaultCause),
}

/// The room promised to a new block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockRoom {
    /// Maximum size of the block in bytes, header and padding included.
    pub bytes: u64,
    /// Room after the queued blocks if the block begins a new segment.
    new_tail_room: Option<u64>,
}

impl BlockRoom {
    /// Whether the block begins a new segment.
    pub(super) fn rolls(self) -> bool {
        self.new_tail_room.is_some()
    }
}

/// What came free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recycled {
    /// Segments that are free now, or will be when they are opened again.
    pub segments: u64,
    /// Whether one of them can be used at once.
    pub usable: bool,
    /// Lost files that are no longer needed.
    pub lost: u64,
}

/// A lost segment file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LostSegment {
    /// It was not in use and is forgotten.
    Free,
    /// It is in use: the first of its sequences, and the first of the next segment's.
    Live { start: Sequence, end: Option<Sequence>, current: bool },
}

/// Numbers for reports.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpaceReading {
    pub live: usize,
    pub live_bytes: u64,
    pub free: usize,
    pub free_bytes: u64,
    pub largest: u64,
}

impl SegmentSpace {
    /// Returns the space of a stripe whose next block begins at `end_offset` of the last segment.
    pub(super) fn new(
        live: Vec<LiveSegment>,
        end_offset: u64,
        last_id: SegmentId,
        free: Vec<FreeSegment>,
    ) -> Self {
        let mut space = Self {
            live: live.into(),
            last_id,
            end_offset,
            tail_room: 0,
            roll_planned: false,
            free,
            usual_bytes: 0,
            wanted_bytes: 0,
            refused: None,
            abandoned: Vec::new(),
            failed: Vec::new(),
            to_reopen: Vec::new(),
            lost: Vec::new(),
        };
        space.tail_room = space.room();
        space
    }

    // Room for blocks.

    /// Returns the bytes left in the segment in use.
    pub(super) fn room(&self) -> u64 {
        self.live.back().map_or(0, |segment| segment.len.saturating_sub(self.end_offset))
    }

    /// Whether `block` bytes fit after the queued blocks, of which the open one has `open` bytes.
    pub(super) fn fits(&self, open: u64, block: u64) -> bool {
        self.tail_room.saturating_sub(open) >= block
    }

    /// Returns whether a block of `block` bytes that does not fit can begin a new segment, whose header and state
    /// record take at most `state` bytes. Only a put waits for a planned roll that has no segment yet, which on a full
    /// disk may last; and one segment is left for the state record of the next epoch.
    pub(super) fn room_in_next(&mut self, state: u64, block: u64, put: bool) -> RollRoom {
        let need = state + block;
        let is_there = self.free_for(need).is_some();
        if self.roll_planned && (is_there || put) {
            return RollRoom::AfterPlannedRoll;
        }
        let usable = self.free.iter().filter(|s| s.len >= state && !self.has_pending_write(s.slot));
        if !self.roll_planned && is_there && usable.count() >= 2 {
            return RollRoom::Ready;
        }
        self.want(need);
        // Segments shorter than that are not made.
        let made = need.max(self.usual_bytes);
        match &self.refused {
            Some((refused, fault)) if made >= *refused => RollRoom::Refused(fault.clone()),
            _ => RollRoom::Wanted,
        }
    }

    /// Returns the room for a new block of at least `block` bytes after the sealed ones; `state` is the most that the
    /// header and the state record of a new segment take. Nothing is promised before [`SegmentSpace::promise`].
    pub(super) fn plan_block(&self, block: u64, state: impl FnOnce() -> u64) -> BlockRoom {
        let new_tail_room = (self.tail_room < block && !self.roll_planned).then(|| {
            let state = state();
            self.free_for(state + block).map_or(state + block, |s| s.len) - state
        });
        let tail_room = new_tail_room.unwrap_or(self.tail_room);
        BlockRoom { bytes: block.max(tail_room.min(BLOCK_BYTES_MAX as u64)), new_tail_room }
    }

    /// Promises the room to a block.
    pub(super) fn promise(&mut self, room: BlockRoom) {
        if let Some(new_tail_room) = room.new_tail_room {
            self.roll_planned = true;
            self.tail_room = new_tail_room;
        }
    }

    /// Uses up promised room: a block was sealed with `len` bytes.
    pub(super) fn seal(&mut self, len: u64) {
        self.tail_room = self.tail_room.saturating_sub(len);
    }

    /// Places the next `len` bytes that are written; returns their segment and offset.
    pub(super) fn place(&mut self, len: u64) -> (&LiveSegment, u64) {
        let offset = self.end_offset;
        self.end_offset += len;
        let segment = self.live.back().expect("a block is started inside a segment");
        debug_assert!(self.end_offset <= segment.len, "a block ends inside its segment");
        (segment, offset)
    }

    // Rolls.

    /// Returns the free segment that a roll takes which needs `need` bytes; without one, it is wanted from now on.
    pub(super) fn next_segment(&mut self, need: u64) -> Option<FreeSegment> {
        let next = self.free_for(need).cloned();
        if next.is_none() {
            self.want(need);
        }
        next
    }

    /// Returns the id of the next segment taken into use.
    pub(super) fn next_id(&self) -> SegmentId {
        self.last_id.next()
    }

    /// Takes a free segment into use. Its state record ends at `state`; `sealed` bytes of blocks wait for a write.
    pub(super) fn roll(&mut self, segment: LiveSegment, state: u64, sealed: u64) {
        self.free.retain(|s| s.slot != segment.slot);
        self.last_id = segment.id;
        self.end_offset = 0;
        self.roll_planned = false;
        self.tail_room = segment.len.saturating_sub(state + sealed);
        self.live.push_back(segment);
    }

    /// Plans a roll before the next block, with room for a state record of at most `state` bytes, and leaves the
    /// segment in use.
    pub(super) fn restart(&mut self, state: u64) {
        self.leave();
        self.roll_planned = true;
        self.tail_room = self.free_for(state).map_or(0, |s| s.len - state);
    }

    /// Leaves the segment in use: everything in it above the watermark is void, and it is not written further.
    pub(super) fn leave(&mut self) {
        self.end_offset = self.live.back().map_or(0, |s| s.len);
    }

    /// Promises no more room in the segment in use: the next block begins a new one.
    pub(super) fn end_tail(&mut self) {
        self.tail_room = 0;
    }

    /// Frees the segments whose first block is above `last`: taken into use by an epoch that ended before that block
    /// was durable. Nothing in them counts, even if the block still reaches the disk.
    pub(super) fn drop_above(&mut self, last: BlockNumber) {
        while let Some(dead) = self.live.pop_back_if(|s| s.first_block > last) {
            self.release(dead);
        }
    }

    // Free segments.

    /// Adds a segment, new or opened again. Returns whether it can be used at once: not if a write to it has failed and
    /// its file is not opened again yet.
    pub(super) fn adopt(&mut self, segment: FreeSegment) -> bool {
        match self.failed.iter().position(|slot| *slot == segment.slot) {
            Some(at) if !Mutation::FailedFileReused.is_active() => {
                self.failed.swap_remove(at);
                self.to_reopen.push(segment);
                false
            }
            Some(_) | None => {
                if segment.len >= self.wanted_bytes {
                    self.wanted_bytes = 0;
                }
                self.refused.take_if(|(refused, _)| segment.len >= *refused);
                self.free.push(segment);
                true
            }
        }
    }

    /// Frees the oldest segments while `is_passed` holds for the segment after them.
    pub(super) fn recycle(&mut self, is_passed: impl Fn(&LiveSegment) -> bool) -> Recycled {
        let mut recycled = Recycled::default();
        while self.live.get(1).is_some_and(&is_passed) {
            let Some(old) = self.live.pop_front() else { break };
            match self.release(old) {
                Some(usable) => {
                    recycled.segments += 1;
                    recycled.usable |= usable;
                }
                None => recycled.lost += 1,
            }
        }
        recycled
    }

    /// Frees a segment that was in use; `None` if its file is lost: nothing written there would be found again.
    fn release(&mut self, old: LiveSegment) -> Option<bool> {
        if let Some(at) = self.lost.iter().position(|lost| *lost == old.slot) {
            self.lost.swap_remove(at);
            return None;
        }
        Some(self.adopt(FreeSegment { slot: old.slot, file: old.file, len: old.len }))
    }

    /// Takes a free segment out for deletion if more than `keep` are there, one has less than `need` bytes and cannot be
    /// used, or together they have more bytes than `keep` of `full_bytes` and one is larger.
    ///
    /// Chooses the one that has been free for longest, first among those below the current size. The newest may have
    /// just been made for a large transaction that waits: if it were deleted as a spare, it would be made and deleted
    /// forever and the transaction never written. `also_newest` says that nothing has waited for it.
    pub(super) fn trim(
        &mut self,
        keep: usize,
        need: u64,
        full_bytes: u64,
        also_newest: bool,
    ) -> Option<FreeSegment> {
        let find = |is_spare: &dyn Fn(&FreeSegment) -> bool| {
            self.free.iter().position(|s| !self.has_pending_write(s.slot) && is_spare(s))
        };
        let newest = self.newest_free().filter(|_| !also_newest);
        let bytes: u64 = self.free.iter().map(|s| s.len).sum();
        let by_number = Mutation::PoolByNumber.is_active();
        let wanted = self.wanted_bytes > 0 || self.roll_planned || by_number;
        let large = (bytes > full_bytes.saturating_mul(keep as u64) && !wanted)
            .then(|| find(&|s| s.len > full_bytes && Some(s.slot) != newest));
        let small = find(&|s| s.len < need);
        let spare = find(&|s| s.len < self.usual_bytes).or_else(|| find(&|_| true));
        let spare = spare.filter(|_| self.free.len() > keep);
        let at = small.or(large.flatten()).or(spare)?;
        Some(self.free.remove(at))
    }

    /// Returns the slot of the segment that came free last.
    pub(super) fn newest_free(&self) -> Option<u32> {
        self.free.last().map(|s| s.slot)
    }

    /// Whether a segment of `len` bytes is free.
    pub(super) fn has_free(&self, len: u64) -> bool {
        self.free_for(len).is_some()
    }

    /// Returns the free segment for `len` bytes: the smallest of at least the usual size, so that large ones are left
    /// for large transactions; without one the largest of the small ones.
    fn free_for(&self, len: u64) -> Option<&FreeSegment> {
        let fitting = self.free.iter().filter(|s| s.len >= len && !self.has_pending_write(s.slot));
        fitting.min_by_key(|s| match s.len.checked_sub(self.usual_bytes) {
            Some(more) => (false, more, s.slot),
            None => (true, self.usual_bytes - s.len, s.slot),
        })
    }

    // Segments that are to be made.

    /// Sets the current size of new segments.
    pub(super) fn set_usual_bytes(&mut self, bytes: u64) {
        self.usual_bytes = bytes;
    }

    fn want(&mut self, len: u64) {
        self.wanted_bytes = self.wanted_bytes.max(len);
    }

    /// Returns the bytes that a wanted segment needs; 0 if none is wanted.
    pub(super) fn wanted_bytes(&self) -> u64 {
        self.wanted_bytes
    }

    /// Notes that a segment of `len` bytes could not be made. Only a planned roll keeps wanting one, of `need` bytes;
    /// what else needs it asks again.
    pub(super) fn refuse(&mut self, len: u64, fault: FaultCause, need: u64) {
        let known = self.refused.as_ref().map_or(len, |(known, _)| len.min(*known));
        self.refused = Some((known, fault));
        self.wanted_bytes = if self.roll_planned { need } else { 0 };
    }

    /// Forgets that a segment could not be made.
    pub(super) fn clear_refused(&mut self) {
        self.refused = None;
    }

    /// Returns the bytes of the shortest segment that could not be made, and why.
    pub(super) fn refused(&self) -> Option<&(u64, FaultCause)> {
        self.refused.as_ref()
    }

    /// Returns why no segment of the usual size can be made.
    pub(super) fn refused_usual(&self) -> Option<&FaultCause> {
        self.refused.as_ref().filter(|(len, _)| *len <= self.usual_bytes).map(|(_, fault)| fault)
    }

    /// Whether a block that is queued, or the next one, begins a new segment.
    pub(super) fn roll_is_planned(&self) -> bool {
        self.roll_planned
    }

    // Writes and files that failed.

    /// Notes that a write to a segment in use was abandoned: until it returns, the file is not used again.
    pub(super) fn abandon_write(&mut self, job: JobId, segment: SegmentId) {
        if let Some(slot) = self.slot_of(segment) {
            self.abandoned.push((job, slot));
        }
    }

    /// Notes that a write to a segment in use has failed.
    pub(super) fn note_failed_write(&mut self, segment: SegmentId) {
        if let Some(slot) = self.slot_of(segment) {
            self.reopen_later(slot);
        }
    }

    /// Notes that a write has returned, with an error if `failed`; returns whether it was an abandoned one.
    pub(super) fn abandoned_write_returned(&mut self, job: JobId, failed: bool) -> bool {
        let Some(at) = self.abandoned.iter().position(|(id, _)| *id == job) else { return false };
        let (_, slot) = self.abandoned.swap_remove(at);
        if failed {
            self.reopen_later(slot);
        }
        true
    }

    /// Returns the number of abandoned writes that have not returned.
    pub(super) fn abandoned_writes(&self) -> usize {
        self.abandoned.len()
    }

    /// Takes the segments whose files are to be opened again. Each comes back by [`SegmentSpace::adopt`],
    /// [`SegmentSpace::defer_reopening`], or never if its file no longer exists.
    pub(super) fn take_to_reopen(&mut self) -> Vec<FreeSegment> {
        std::mem::take(&mut self.to_reopen)
    }

    /// Takes back a segment that could not be opened now.
    pub(super) fn defer_reopening(&mut self, segment: FreeSegment) {
        self.to_reopen.push(segment);
    }

    /// Forgets a lost file that is free, or marks one that is in use. `None` if it is unknown, marked already, or the
    /// segment in use while `keep_current`.
    pub(super) fn remove_lost(&mut self, slot: u32, keep_current: bool) -> Option<LostSegment> {
        let known = self.free.len() + self.to_reopen.len();
        self.free.retain(|s| s.slot != slot);
        self.to_reopen.retain(|s| s.slot != slot);
        if self.free.len() + self.to_reopen.len() < known {
            return Some(LostSegment::Free);
        }
        let at = self.live.iter().position(|s| s.slot == slot)?;
        let current = at + 1 == self.live.len();
        if self.lost.contains(&slot) || (current && keep_current) {
            return None;
        }
        self.lost.push(slot);
        let end = self.live.get(at + 1).map(|s| s.first_sequence);
        Some(LostSegment::Live { start: self.live[at].first_sequence, end, current })
    }

    /// Returns files to check: the segment in use, the free ones, and `count` of the others starting at index `turn`,
    /// so that repeated calls cover all of them.
    pub(super) fn files_to_check(&self, turn: usize, count: usize) -> Vec<FreeSegment> {
        let known = |s: &&LiveSegment| !self.lost.contains(&s.slot);
        let file = |s: &LiveSegment| FreeSegment { slot: s.slot, file: s.file.clone(), len: s.len };
        let older = self.live.len().saturating_sub(1);
        let from = if older == 0 { 0 } else { turn % older };
        let others = self.live.iter().take(older).cycle().skip(from).take(count.min(older));
        let live = self.live.back().into_iter().chain(others).filter(known);
        let free = self.free.iter().chain(&self.to_reopen);
        live.map(file).chain(free.cloned()).collect()
    }

    fn slot_of(&self, segment: SegmentId) -> Option<u32> {
        self.segment(segment).map(|s| s.slot)
    }

    fn reopen_later(&mut self, slot: u32) {
        if let Some(at) = self.free.iter().position(|s| s.slot == slot) {
            let free = self.free.remove(at);
            self.to_reopen.push(free);
        } else if !self.failed.contains(&slot) {
            self.failed.push(slot);
        }
    }

    /// Whether an abandoned write may still reach the file in `slot`.
    fn has_pending_write(&self, slot: u32) -> bool {
        self.abandoned.iter().any(|(_, s)| *s == slot)
            && !Mutation::SegmentReusedUnderWrite.is_active()
    }

    // Segments in use.

    /// Returns a segment in use by its id.
    pub(super) fn segment(&self, id: SegmentId) -> Option<&LiveSegment> {
        self.live.iter().rfind(|s| s.id == id)
    }

    /// Returns the segment that holds `sequence`, or the oldest one.
    pub(super) fn holding_sequence(&self, sequence: u64) -> Option<&LiveSegment> {
        let holds = self.live.iter().rfind(|s| s.first_sequence.0 <= sequence);
        holds.or(self.live.front())
    }

    /// Returns the segment that holds block `number`, or the oldest one, and the segment after it.
    pub(super) fn holding_block(
        &self,
        number: u64,
    ) -> Option<(&LiveSegment, Option<&LiveSegment>)> {
        let at = self.live.iter().rposition(|s| s.first_block.0 <= number).unwrap_or(0);
        Some((self.live.get(at)?, self.live.get(at + 1)))
    }

    /// Returns the highest segment id ever in use.
    pub(super) fn last_id(&self) -> SegmentId {
        self.last_id
    }

    /// Returns the numbers for a report; segments that an abandoned write may reach do not count as free.
    pub(super) fn reading(&self) -> SpaceReading {
        let free = self.free.iter().filter(|s| !self.has_pending_write(s.slot));
        let lens = self.live.iter().map(|s| s.len).chain(self.free.iter().map(|s| s.len));
        SpaceReading {
            live: self.live.len(),
            live_bytes: self.live.iter().map(|s| s.len).sum(),
            free: free.clone().count(),
            free_bytes: free.map(|s| s.len).sum(),
            largest: lens.max().unwrap_or(0),
        }
    }

    /// Returns the approximate bytes of the blocks that hold the sequences `start..end`: within a segment all events
    /// count as equally large.
    pub(super) fn bytes_between(&self, start: u64, end: u64) -> u64 {
        let firsts = self.live.iter().map(|s| s.first_sequence.0);
        let ends = firsts.clone().skip(1).chain([end]);
        let last = self.live.len().saturating_sub(1);
        let spans = self.live.iter().enumerate().zip(firsts.zip(ends));
        let bytes = spans.map(|((at, segment), (first, after))| {
            let held = if at == last { self.end_offset } else { segment.len };
            let there = after.saturating_sub(first);
            let wanted = after.min(end).saturating_sub(first.max(start));
            match wanted {
                0 => 0,
                all if all == there => held,
                // Only the first and the last segment count in part.
                part => scaled(held, part, there),
            }
        });
        bytes.sum()
    }
}

/// Returns `part` of `whole` of the bytes `held`.
fn scaled(held: u64, part: u64, whole: u64) -> u64 {
    let bytes = u128::from(held) * u128::from(part) / u128::from(whole.max(1));
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
