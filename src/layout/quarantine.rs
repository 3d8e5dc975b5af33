//! Quarantine: copies of damaged bytes, made before anything else is done with them.
//!
//! # Limits
//!
//! * [`QUARANTINE_BYTES_MAX`] of copies for each directory, [`COPY_BYTES_MAX`] of one place. What
//!   is not copied is counted and reported all the same.

use super::error::LayoutError;
use crate::base::limits::{COLD_READ_BYTES, QUARANTINE_BYTES_MAX};
use crate::disk::{Directory, File};
use std::fmt::Display;

/// Prefix of the names of the copies.
pub const PREFIX: &str = "quarantine-";

/// Bytes of one damaged place that are copied.
pub const COPY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// The outcome of copying a damaged place.
#[derive(Debug)]
pub enum QuarantineCopy {
    /// The copy is in the file of that name.
    Made(String),
    /// There was nothing to copy.
    Nothing,
    /// It could not be made.
    Failed(LayoutError),
}

impl QuarantineCopy {
    /// Returns `words` about a place, with the outcome of copying its bytes.
    #[must_use]
    pub fn words(&self, words: String) -> String {
        match self {
            Self::Made(name) => format!("{words}; the bytes are kept in {name}"),
            Self::Nothing => words,
            Self::Failed(cause) => format!("{words}; the bytes were not kept: {cause}"),
        }
    }
}

/// Copies bytes `start..end` of the file of `segment` into a file of `directory`, durably. An
/// earlier copy is kept: its name has segment, offset and length.
pub fn keep(
    directory: &dyn Directory,
    file: &dyn File,
    segment: impl Display,
    (start, end): (u64, u64),
) -> QuarantineCopy {
    let unreadable = |source| LayoutError::read(file.path().to_owned(), start, source);
    let copied = file.len().map_err(unreadable).and_then(|len| {
        let end = end.min(len).min(start.saturating_add(COPY_BYTES_MAX));
        if start < end { copy(directory, file, &segment, start, end).map(Some) } else { Ok(None) }
    });
    match copied {
        Ok(Some(name)) => QuarantineCopy::Made(name),
        Ok(None) => QuarantineCopy::Nothing,
        Err(error) => QuarantineCopy::Failed(error),
    }
}

fn copy(
    directory: &dyn Directory,
    file: &dyn File,
    segment: &dyn Display,
    start: u64,
    end: u64,
) -> Result<String, LayoutError> {
    let len = end - start;
    let name = format!("{PREFIX}{segment}-{start}-{len}.bin");
    let here = || directory.path().to_owned();
    let failed = |source| LayoutError::Create { path: directory.path().join(&name), source };
    let listed = directory.list().map_err(|source| LayoutError::read(here(), 0, source))?;
    let kept: Vec<_> = listed.into_iter().filter(|entry| entry.name.starts_with(PREFIX)).collect();
    match kept.iter().find(|entry| entry.name == name) {
        Some(entry) if entry.len == len => return Ok(name),
        // The process that was writing it was killed.
        Some(_) => directory.remove(&name).map_err(failed)?,
        None => {}
    }
    if kept.iter().map(|entry| entry.len).sum::<u64>() + len > QUARANTINE_BYTES_MAX {
        return Err(LayoutError::QuarantineFull { path: here() });
    }
    let target = directory.create(&name).map_err(failed)?;
    let filled = fill(file, &*target, start, end);
    let filled = filled.and_then(|()| target.sync().map_err(failed));
    if filled.is_err() {
        // Half a copy would be taken for the whole one when the place is found again.
        let _ = directory.remove(&name);
    }
    filled?;
    directory.sync().map_err(failed)?;
    Ok(name)
}

fn fill(file: &dyn File, target: &dyn File, start: u64, end: u64) -> Result<(), LayoutError> {
    let mut bytes = vec![0; COLD_READ_BYTES];
    let mut at = start;
    while at < end {
        let piece = usize::try_from(end - at).unwrap_or(COLD_READ_BYTES).min(COLD_READ_BYTES);
        let read = file.read_at(at, &mut bytes[..piece]);
        let read = read.map_err(|source| LayoutError::read(file.path().to_owned(), at, source))?;
        if read == 0 {
            break;
        }
        target.write_at(at - start, &bytes[..read]).map_err(|source| LayoutError::Write {
            path: target.path().to_owned(),
            offset: at - start,
            source,
        })?;
        at += read as u64;
    }
    Ok(())
}
