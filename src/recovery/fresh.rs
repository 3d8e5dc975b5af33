//! A file that is not in use yet: its space set aside at once, its zeroes written as time allows.

use super::buffer::{self, Buffer};
use super::{OpenError, slots};
use crate::base::limits::{DEVICE_BLOCK_BYTES, FILL_PIECE_BYTES_MAX};
use crate::disk::{Directory, File};
use std::sync::Arc;

/// A new durable file of zeroes.
///
/// Whether they were written or only stand for space that was set aside, a reader sees the same.
/// The first write over zeroes that were not written costs the file system a note in its journal.
pub struct FreshFile {
    file: Arc<dyn File>,
    len: u64,
    written: u64,
    zeroes: Buffer,
}

impl FreshFile {
    /// Makes the file `name` with room for `len` bytes. Removes first what is there under the name,
    /// and what a making that failed has left.
    ///
    /// # Errors
    /// The file cannot be made or synced, or there is no space for all of it.
    pub fn make(directory: &dyn Directory, name: &str, len: u64) -> Result<Self, OpenError> {
        let path = directory.path().join(name);
        let failed = |source| OpenError::Write { path: path.clone(), offset: 0, source };
        slots::anew(directory, name, || {
            let file = directory.create(name).map_err(failed)?;
            // Segments are whole device blocks, which alone can be written past the page cache.
            let is_whole = len > 0 && len.is_multiple_of(DEVICE_BLOCK_BYTES as u64);
            if !is_whole || !file.allocate(len).map_err(failed)? {
                let file = slots::make(directory, name, len)?;
                return Ok(Self { file, len, written: len, zeroes: Buffer::new(0)? });
            }
            file.sync().map_err(failed)?;
            directory.sync().map_err(failed)?;
            let zeroes = Buffer::new(len.min(FILL_PIECE_BYTES_MAX) as usize)?;
            Ok(Self { file, len, written: 0, zeroes })
        })
    }

    /// Bytes whose zeroes are not written yet.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        self.len - self.written
    }

    /// Whether all of its zeroes are written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.written >= self.len
    }

    /// Writes the next piece of its zeroes durably, of `bytes` or what is left, [`FILL_PIECE_BYTES_MAX`] at
    /// most. Returns its bytes.
    ///
    /// # Errors
    /// The write failed: it may still arrive, so nothing may be written to this file any more.
    pub fn write_piece(&mut self, bytes: u64) -> Result<u64, OpenError> {
        let unit = DEVICE_BLOCK_BYTES as u64;
        let bytes = (bytes / unit * unit).clamp(unit, FILL_PIECE_BYTES_MAX).min(self.left_bytes());
        buffer::write(&*self.file, self.written, self.zeroes.first(bytes as usize)?)?;
        self.written += bytes;
        Ok(bytes)
    }

    /// The file, ready for use.
    #[must_use]
    pub fn into_file(self) -> Arc<dyn File> {
        self.file
    }
}

/// Makes a new durable file `name` of `len` zeroes, all of them written.
///
/// What an earlier call left under that name is removed first, and what a failed one made is
/// removed again: a sync that failed may have dropped the name and called it clean. The next sync
/// then succeeds without it, and a power cut takes the file away with everything that was
/// acknowledged in it meanwhile. Only a name that is made anew is on its way to the disk again.
///
/// # Errors
/// The file cannot be made, filled or synced.
pub fn make_zeroed(
    directory: &dyn Directory,
    name: &str,
    len: u64,
) -> Result<Arc<dyn File>, OpenError> {
    let mut fresh = FreshFile::make(directory, name, len)?;
    while !fresh.is_written() {
        if let Err(error) = fresh.write_piece(FILL_PIECE_BYTES_MAX) {
            // If it stays, the next call removes it.
            let _ = directory.remove(name);
            return Err(error);
        }
    }
    Ok(fresh.into_file())
}
