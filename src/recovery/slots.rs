//! Files with two slots: found, made, read, written.
//!
//! A value goes into the slot that does not hold the newest whole one, so that a torn write
//! leaves the other. Both slots are read and both count: progress only grows, so an older whole
//! value adds nothing wrong.

use super::buffer::{self, Buffer};
use super::{OpenError, SlotHome};
use crate::base::ids::Uuid;
use crate::base::limits::DEVICE_BLOCK_BYTES;
use crate::base::mutant::Broken;
use crate::base::zeroes::is_zero;
use crate::disk::{Access, Directory, File};
use crate::record::Refusal;
use crate::record::slot::{self, SLOTS_PER_FILE, SlotKind};
use std::io;
use std::sync::Arc;

/// Bytes that are written at once where a file is filled through the page cache.
const FILL_BYTES: usize = 1024 * 1024;

/// A whole value of a two-slot file.
pub(super) struct Whole {
    pub(super) channel: Uuid,
    pub(super) owner: Uuid,
    pub(super) generation: u64,
    pub(super) payload: Vec<u8>,
}

/// What a two-slot file holds.
#[derive(Default)]
pub(super) struct Slots {
    /// Whole values, oldest first.
    pub(super) whole: Vec<Whole>,
    /// Offsets of slots that hold bytes which are no value.
    pub(super) damaged: Vec<u64>,
    /// Whether the file is as long as it has to be.
    pub(super) full_length: bool,
    next_generation: u64,
}

impl Slots {
    /// The newest whole value.
    pub(super) fn newest(&self) -> Option<&Whole> {
        self.whole.last()
    }

    /// Whether nothing was ever written.
    pub(super) fn is_blank(&self) -> bool {
        self.whole.is_empty() && self.damaged.is_empty()
    }

    /// Notes that `home` was written to.
    pub(super) fn wrote(&mut self, home: &SlotHome) {
        self.next_generation = home.next_generation;
    }

    /// Where the next value goes.
    pub(super) fn home(&self, file: Arc<dyn File>) -> SlotHome {
        SlotHome { file, next_generation: self.next_generation.max(1) }
    }
}

/// Opens `name`, or answers nothing if there is no such file.
pub(super) fn open(
    directory: &dyn Directory,
    name: &str,
    access: Access,
) -> Result<Option<Arc<dyn File>>, OpenError> {
    let once = || match directory.open(name, access) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let path = || directory.path().join(name);
    once().or_else(|_| once()).map_err(|source| OpenError::unreadable(path(), 0, source))
}

/// Makes `name` a durable file of at least `len` bytes, zeroes where nothing was written. A file
/// that is there is completed: its making may have been interrupted, at any step.
pub(super) fn make(
    directory: &dyn Directory,
    name: &str,
    len: u64,
) -> Result<Arc<dyn File>, OpenError> {
    let path = directory.path().join(name);
    let failed = |offset, source| OpenError::Write { path: path.clone(), offset, source };
    let file = match open(directory, name, Access::Write)? {
        Some(file) => file,
        None => directory.create(name).map_err(|source| failed(0, source))?,
    };
    let had = file.len().map_err(|source| failed(0, source))?;
    // A process that is killed in a plain write into new space can leave a page there that ext4 answers
    // direct reads of with EIO, for as long as it remembers the file: so none where it can be helped.
    if had < len && !file.allocate(len).map_err(|source| failed(had, source))? {
        let zeroes = vec![0u8; usize::try_from(len - had).unwrap_or(FILL_BYTES).min(FILL_BYTES)];
        let mut offset = had;
        while offset < len {
            let piece = (len - offset).min(FILL_BYTES as u64) as usize;
            file.write_at(offset, &zeroes[..piece]).map_err(|source| failed(offset, source))?;
            offset += piece as u64;
        }
    }
    // Also when it had its length: it may never have been synced.
    file.sync().map_err(|source| failed(0, source))?;
    directory.sync().map_err(|source| failed(0, source))?;
    Ok(file)
}

/// Removes what is there under the name, and what a `make` that failed has left.
pub(super) fn anew<T>(
    directory: &dyn Directory,
    name: &str,
    make: impl FnOnce() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    match directory.remove(name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => {
            let path = directory.path().join(name);
            return Err(OpenError::Write { path, offset: 0, source });
        }
    }
    let made = make();
    if made.is_err() {
        // If it stays, the next call removes it.
        let _ = directory.remove(name);
    }
    made
}

impl SlotHome {
    /// Writes an encoded state record as the next value, durably.
    ///
    /// # Errors
    /// The write failed: the same slot comes next again, so that the other one stays whole.
    pub fn write_state(
        &mut self,
        channel: Uuid,
        owner: Uuid,
        state: &[u8],
    ) -> Result<(), OpenError> {
        let mut buffer = Buffer::new(slot::encoded_len(state.len()))?;
        write(self, SlotKind::Checkpoint, channel, owner, state, &mut buffer)
    }
}

/// Bytes of a slot that are read first: nearly every value is shorter, and a slot is a quarter of a mebibyte.
const BRIEF_BYTES: usize = 2 * DEVICE_BLOCK_BYTES;

fn end_is_there(file: &dyn File, end: u64) -> Result<bool, OpenError> {
    let len = file.len().or_else(|_| file.len());
    let unreadable =
        |source| OpenError::Unreadable { path: file.path().to_owned(), offset: 0, source };
    Ok(len.map_err(unreadable)? >= end)
}

/// Reads both slots of a file.
pub(super) fn read(
    file: &dyn File,
    kind: SlotKind,
    buffer: &mut Buffer,
) -> Result<Slots, OpenError> {
    let slot_bytes = kind.slot_bytes();
    let mut found = Slots { full_length: true, ..Slots::default() };
    for slot in 0..SLOTS_PER_FILE {
        let offset = (slot * slot_bytes) as u64;
        let mut bytes = buffer.first(BRIEF_BYTES)?;
        let mut len = buffer::read(file, offset, bytes)?;
        let mut value = slot::decode(kind, &bytes[..len]);
        if value.is_err() || len < BRIEF_BYTES {
            // Longer than most, or never written, or torn: the whole of it tells.
            bytes = buffer.first(slot_bytes)?;
            len = buffer::read(file, offset, bytes)?;
            value = slot::decode(kind, &bytes[..len]);
        }
        found.full_length &= end_is_there(file, offset + slot_bytes as u64)?;
        match value {
            Ok(value) => found.whole.push(Whole {
                channel: value.channel,
                owner: value.owner,
                generation: value.generation,
                payload: bytes[value.payload].to_vec(),
            }),
            // The version lies under the checksum: this is a newer build's, not rot.
            Err(Refusal::Version { found, newest }) => {
                let path = file.path().to_owned();
                return Err(OpenError::Newer { path, found, known: newest });
            }
            Err(_) if is_zero(&bytes[..len]) => {}
            Err(_) => found.damaged.push(offset),
        }
    }
    found.whole.sort_by_key(|w| w.generation);
    found.next_generation = found.newest().map_or(1, |w| w.generation.saturating_add(1));
    Ok(found)
}

/// Writes `payload` as the next value, durably, and moves `home` on. After an error the same slot
/// comes next again.
pub(super) fn write(
    home: &mut SlotHome,
    kind: SlotKind,
    channel: Uuid,
    owner: Uuid,
    payload: &[u8],
    buffer: &mut Buffer,
) -> Result<(), OpenError> {
    let path = || home.file.path().to_owned();
    let bytes = buffer.first(slot::encoded_len(payload.len()))?;
    let len = slot::encode(kind, &channel, &owner, home.next_generation, payload, bytes)
        .map_err(|refusal| OpenError::TooLarge { path: path(), refusal })?;
    let turn = if Broken::OneSlot.is_chosen() { 0 } else { home.next_generation };
    buffer::write(&*home.file, kind.slot_offset(turn), &bytes[..len])?;
    home.next_generation = home.next_generation.saturating_add(1);
    Ok(())
}
