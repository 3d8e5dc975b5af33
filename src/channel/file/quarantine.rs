//! Damaged places are copied aside before anything else happens to them.

use super::shared::Shared;
use crate::base::limits::QUARANTINE_BYTES_MAX;
use crate::disk::Directory;
use crate::log::{ReadJob, ReadOutcome};
use crate::recovery::QUARANTINE_PREFIX;
use std::io;
use std::sync::Arc;

/// Copies the places of `job`'s segment that should hold events and do not.
pub(super) fn set_aside(shared: &Arc<Shared>, job: &ReadJob, found: &ReadOutcome) {
    let missing = shared.log().map(|log| {
        found.lost.iter().filter(|(start, end)| log.is_waiting(job.stripe, *start, *end)).count()
    });
    if missing.is_err() || missing == Ok(0) {
        return;
    }
    let Some(directory) = &shared.homes[job.stripe.at()].directory else { return };
    for (offset, len) in &found.damaged {
        let name = format!("{QUARANTINE_PREFIX}{:010}-{offset:010}.bin", job.segment.0);
        tracing::error!(
            stripe = job.stripe.0,
            "{}: no whole block at {offset}, {len} bytes; copied to {name}, its events are counted as quarantined",
            job.file.path().display()
        );
        if let Err(error) = copy(&**directory, job, *offset, *len, &name) {
            tracing::warn!("{name} could not be written: {error}");
        }
    }
}

fn copy(
    directory: &dyn Directory,
    job: &ReadJob,
    offset: u64,
    len: u64,
    name: &str,
) -> io::Result<()> {
    let kept = directory.list()?.into_iter().filter(|e| e.name.starts_with(QUARANTINE_PREFIX));
    let kept: u64 = kept.map(|entry| entry.len).sum();
    if kept + len > QUARANTINE_BYTES_MAX {
        return Err(io::Error::other("the directory holds as much quarantine as it may"));
    }
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
    let read = job.file.read_at(offset, &mut bytes)?;
    let file = match directory.create(name) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    };
    let written = file.write_at(0, &bytes[..read]).and_then(|()| file.sync());
    if written.is_err() {
        // Half a copy would pass for the whole one when the place is met again.
        let _ = directory.remove(name);
    }
    written?;
    directory.sync()
}
