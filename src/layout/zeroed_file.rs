//! A file that is not in use yet: its space is preallocated at once, its zeroes are written as time
//! allows.

use super::aligned_buffer::{AlignedBuffer, write_at};
use super::durable_file::{create_anew, create_file};
use super::error::LayoutError;
use crate::base::limits::{DEVICE_BLOCK_BYTES, FILL_PIECE_BYTES_MAX};
use crate::disk::{Directory, File};
use std::sync::Arc;

/// A new durable file of zeroes.
///
/// Written zeroes and preallocated space read the same. The first write over zeroes that were not
/// written costs the file system a journal record.
pub struct ZeroedFile {
    file: Arc<dyn File>,
    len: u64,
    written: u64,
    zeroes: AlignedBuffer,
}

impl ZeroedFile {
    /// Creates the file `name` with room for `len` bytes. First removes an existing file of that
    /// name and the remains of a failed creation.
    ///
    /// # Errors
    /// The file cannot be created or synced, or there is no space for all of it.
    pub fn make(directory: &dyn Directory, name: &str, len: u64) -> Result<Self, LayoutError> {
        let path = directory.path().join(name);
        let failed = |source| LayoutError::Create { path: path.clone(), source };
        create_anew(directory, name, || {
            let file = directory.create(name).map_err(failed)?;
            // Segments are whole device blocks, which alone can be written past the page cache.
            let is_whole = len > 0 && len.is_multiple_of(DEVICE_BLOCK_BYTES as u64);
            if !is_whole || !file.allocate(len).map_err(failed)? {
                let file = create_file(directory, name, len)?;
                return Ok(Self { file, len, written: len, zeroes: AlignedBuffer::new(0)? });
            }
            file.sync().map_err(failed)?;
            directory.sync().map_err(failed)?;
            let zeroes = AlignedBuffer::new(len.min(FILL_PIECE_BYTES_MAX) as usize)?;
            Ok(Self { file, len, written: 0, zeroes })
        })
    }

    /// Returns the bytes whose zeroes are not written yet.
    #[must_use]
    pub fn left_bytes(&self) -> u64 {
        self.len - self.written
    }

    /// Returns whether all of its zeroes are written.
    #[must_use]
    pub fn is_written(&self) -> bool {
        self.written >= self.len
    }

    /// Writes the next piece of its zeroes durably: `bytes` or the rest, at most
    /// [`FILL_PIECE_BYTES_MAX`]. Returns the bytes written.
    ///
    /// # Errors
    /// The write failed: it may still arrive, so nothing may be written to this file any more.
    pub fn write_piece(&mut self, bytes: u64) -> Result<u64, LayoutError> {
        let unit = DEVICE_BLOCK_BYTES as u64;
        let bytes = (bytes / unit * unit).clamp(unit, FILL_PIECE_BYTES_MAX).min(self.left_bytes());
        write_at(&*self.file, self.written, self.zeroes.first(bytes as usize)?)?;
        self.written += bytes;
        Ok(bytes)
    }

    /// Returns the file, ready for use.
    #[must_use]
    pub fn into_file(self) -> Arc<dyn File> {
        self.file
    }
}

/// Creates a durable file `name` of `len` zeroes, all of them written.
///
/// An earlier file of that name is removed first, and a failed creation is removed again: a sync
/// that failed may have dropped the name and marked it clean. The next sync then succeeds without
/// it, and a power cut removes the file with everything that was acknowledged in it meanwhile. Only
/// a name that is created anew is written to the disk again.
///
/// # Errors
/// The file cannot be created, filled or synced.
pub fn make_zeroed(
    directory: &dyn Directory,
    name: &str,
    len: u64,
) -> Result<Arc<dyn File>, LayoutError> {
    let mut fresh = ZeroedFile::make(directory, name, len)?;
    while !fresh.is_written() {
        if let Err(error) = fresh.write_piece(FILL_PIECE_BYTES_MAX) {
            // If it stays, the next call removes it.
            let _ = directory.remove(name);
            return Err(error);
        }
    }
    Ok(fresh.into_file())
}
