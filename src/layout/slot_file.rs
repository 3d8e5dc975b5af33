//! Files with two slots: read and written.
//!
//! A value is written to the slot that does not hold the newest whole one, so that a torn write
//! leaves the other. Both slots are read and both count: progress only grows, so an older whole
//! value adds nothing wrong.

use super::aligned_buffer::{AlignedBuffer, read_at, write_at};
use super::error::LayoutError;
use crate::base::ids::Uuid;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::mutation::Mutation;
use crate::base::zeroes::is_zero;
use crate::disk::File;
use crate::record::DecodeError;
use crate::record::slot::{self, SLOTS_PER_FILE, SlotKind};
use crate::record::state::StateRecord;
use std::sync::Arc;

/// A whole value of a two-slot file.
pub(crate) struct SlotValue {
    pub(crate) channel: Uuid,
    pub(crate) owner: Uuid,
    pub(crate) generation: u64,
    pub(crate) payload: Vec<u8>,
}

/// The contents of a two-slot file.
#[derive(Default)]
pub(crate) struct SlotContents {
    /// Whole values, oldest first.
    pub(crate) whole: Vec<SlotValue>,
    /// Offsets of slots that hold bytes which are not a value.
    pub(crate) damaged: Vec<u64>,
    /// Whether the file has its full length.
    pub(crate) full_length: bool,
    next_generation: u64,
}

impl SlotContents {
    /// Returns the newest whole value.
    pub(crate) fn newest(&self) -> Option<&SlotValue> {
        self.whole.last()
    }

    /// Returns whether nothing was ever written.
    pub(crate) fn is_blank(&self) -> bool {
        self.whole.is_empty() && self.damaged.is_empty()
    }

    /// Notes a write to `target`.
    pub(crate) fn record_write(&mut self, target: &SlotFile) {
        self.next_generation = target.next_generation;
    }

    /// Returns where the next value is written.
    pub(crate) fn next_target(&self, file: Arc<dyn File>) -> SlotFile {
        SlotFile::new(file, self.next_generation.max(1))
    }
}

/// A file with two slots, and where the next value is written.
#[derive(Clone)]
pub struct SlotFile {
    /// The file, preallocated and open for writing.
    file: Arc<dyn File>,
    /// Generation of the next value, which decides its slot: never the one with the newest whole
    /// value.
    next_generation: u64,
}

impl SlotFile {
    /// Returns a file whose next value has the generation `next_generation`.
    pub(crate) fn new(file: Arc<dyn File>, next_generation: u64) -> Self {
        Self { file, next_generation }
    }

    /// Returns the file.
    pub(crate) fn file(&self) -> &dyn File {
        &*self.file
    }

    /// Continues with `file`, the same file opened again after a failed write.
    pub(crate) fn reopened(&mut self, file: Arc<dyn File>) {
        self.file = file;
    }

    /// Writes the next value to the other slot than it would be written to.
    pub(crate) fn skip_slot(&mut self) {
        self.next_generation = self.next_generation.saturating_add(1);
    }

    /// Takes back the last [`skip_slot`](Self::skip_slot).
    pub(super) fn unskip_slot(&mut self) {
        self.next_generation = self.next_generation.saturating_sub(1);
    }

    /// Writes `payload` as the next value, durably.
    ///
    /// # Errors
    /// The write failed: the same slot is written next again, so that the other one stays whole.
    pub(crate) fn write(
        &mut self,
        kind: SlotKind,
        channel: Uuid,
        owner: Uuid,
        payload: &[u8],
        buffer: &mut AlignedBuffer,
    ) -> Result<(), LayoutError> {
        let path = || self.file.path().to_owned();
        let bytes = buffer.first(slot::encoded_len(payload.len()))?;
        let len = slot::encode(kind, &channel, &owner, self.next_generation, payload, bytes)
            .map_err(|source| LayoutError::TooLarge { path: path(), source })?;
        let turn = if Mutation::OneSlot.is_active() { 0 } else { self.next_generation };
        write_at(&*self.file, kind.slot_offset(turn), &bytes[..len])?;
        self.next_generation = self.next_generation.saturating_add(1);
        Ok(())
    }

    /// Writes `state` as the next checkpoint of the directory `owner`.
    ///
    /// # Errors
    /// As [`SlotFile::write`].
    pub(crate) fn write_checkpoint(
        &mut self,
        channel: Uuid,
        owner: Uuid,
        state: &StateRecord,
        buffer: &mut AlignedBuffer,
    ) -> Result<(), LayoutError> {
        let path = || self.file.path().to_owned();
        let payload =
            state.to_bytes().map_err(|source| LayoutError::TooLarge { path: path(), source })?;
        self.write(SlotKind::Checkpoint, channel, owner, &payload, buffer)
    }
}

/// Bytes of a slot that are read first: nearly every value is shorter, and a slot is a quarter of a
/// mebibyte.
const BRIEF_BYTES: usize = 2 * DEVICE_BLOCK_BYTES;

fn end_is_there(file: &dyn File, end: u64) -> Result<bool, LayoutError> {
    let len = file.len().or_else(|_| file.len());
    let unreadable = |source| LayoutError::Read { path: file.path().to_owned(), offset: 0, source };
    Ok(len.map_err(unreadable)? >= end)
}

/// Reads both slots of a file.
pub(crate) fn read_slots(
    file: &dyn File,
    kind: SlotKind,
    buffer: &mut AlignedBuffer,
) -> Result<SlotContents, LayoutError> {
    let slot_bytes = kind.slot_bytes();
    let mut found = SlotContents { full_length: true, ..SlotContents::default() };
    for slot in 0..SLOTS_PER_FILE {
        let offset = (slot * slot_bytes) as u64;
        let mut bytes = buffer.first(BRIEF_BYTES)?;
        let mut len = read_at(file, offset, bytes)?;
        let mut value = slot::decode(kind, &bytes[..len]);
        if value.is_err() || len < BRIEF_BYTES {
            // Longer than most, or never written, or torn: needs the whole slot.
            bytes = buffer.first(slot_bytes)?;
            len = read_at(file, offset, bytes)?;
            value = slot::decode(kind, &bytes[..len]);
        }
        found.full_length &= end_is_there(file, offset + slot_bytes as u64)?;
        match value {
            Ok(value) => found.whole.push(SlotValue {
                channel: value.channel,
                owner: value.owner,
                generation: value.generation,
                payload: bytes[value.payload].to_vec(),
            }),
            // The version is under the checksum: a newer build wrote it, it is not damage.
            Err(DecodeError::Version { found, newest }) => {
                let path = file.path().to_owned();
                return Err(LayoutError::Newer { path, found, known: newest });
            }
            Err(_) if is_zero(&bytes[..len]) => {}
            Err(_) => found.damaged.push(offset),
        }
    }
    found.whole.sort_by_key(|w| w.generation);
    found.next_generation = found.newest().map_or(1, |w| w.generation.saturating_add(1));
    Ok(found)
}
