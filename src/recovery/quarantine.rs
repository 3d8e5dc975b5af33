//! Copies of damaged bytes, set aside before anything else happens to them.
//!
//! # Limits
//!
//! * [`QUARANTINE_BYTES_MAX`] of copies for each directory, [`COPY_BYTES_MAX`] of one place. What
//!   is not copied is counted and named all the same.

use crate::base::limits::{COLD_READ_BYTES, QUARANTINE_BYTES_MAX};
use crate::disk::{Directory, File};
use std::fmt::Display;
use std::io;

/// How the names of the copies begin.
pub const PREFIX: &str = "quarantine-";

/// Bytes of one damaged place that are copied.
pub const COPY_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// What became of the copy of a damaged place.
#[derive(Debug)]
pub enum Copy {
    /// It is in the file of that name.
    Made(String),
    /// There was nothing to copy.
    Nothing,
    /// It could not be made.
    Failed(io::Error),
}

impl Copy {
    /// `words` about a place, with what became of its bytes.
    #[must_use]
    pub fn words(&self, words: String) -> String {
        match self {
            Self::Made(name) => format!("{words}; the bytes are kept in {name}"),
            Self::Nothing => words,
            Self::Failed(cause) => format!("{words}; the bytes were not kept: {cause}"),
        }
    }
}

/// Copies bytes `start..end` of the file of `segment` into a file of `directory`, durably. A copy that
/// is there from earlier stays: its name says segment, place and length.
pub fn keep(
    directory: &dyn Directory,
    file: &dyn File,
    segment: impl Display,
    (start, end): (u64, u64),
) -> Copy {
    let copied = file.len().and_then(|len| {
        let end = end.min(len).min(start.saturating_add(COPY_BYTES_MAX));
        if start < end { copy(directory, file, &segment, start, end).map(Some) } else { Ok(None) }
    });
    match copied {
        Ok(Some(name)) => Copy::Made(name),
        Ok(None) => Copy::Nothing,
        Err(error) => Copy::Failed(error),
    }
}

fn copy(
    directory: &dyn Directory,
    file: &dyn File,
    segment: &dyn Display,
    start: u64,
    end: u64,
) -> io::Result<String> {
    let len = end - start;
    let name = format!("{PREFIX}{segment}-{start}-{len}.bin");
    let kept: Vec<_> =
        directory.list()?.into_iter().filter(|entry| entry.name.starts_with(PREFIX)).collect();
    match kept.iter().find(|entry| entry.name == name) {
        Some(entry) if entry.len == len => return Ok(name),
        // The process that made it was killed on the way.
        Some(_) => directory.remove(&name)?,
        None => {}
    }
    if kept.iter().map(|entry| entry.len).sum::<u64>() + len > QUARANTINE_BYTES_MAX {
        return Err(io::Error::other("the directory holds as much quarantine as it may"));
    }
    let target = directory.create(&name)?;
    let filled = fill(file, &*target, start, end).and_then(|()| target.sync());
    if filled.is_err() {
        // Half a copy would pass for the whole one when the place is met again.
        let _ = directory.remove(&name);
    }
    filled?;
    directory.sync()?;
    Ok(name)
}

fn fill(file: &dyn File, target: &dyn File, start: u64, end: u64) -> io::Result<()> {
    let mut bytes = vec![0; COLD_READ_BYTES];
    let mut at = start;
    while at < end {
        let piece = usize::try_from(end - at).unwrap_or(COLD_READ_BYTES).min(COLD_READ_BYTES);
        let read = file.read_at(at, &mut bytes[..piece])?;
        if read == 0 {
            break;
        }
        target.write_at(at - start, &bytes[..read])?;
        at += read as u64;
    }
    Ok(())
}
