//! Restore: puts the events of a segment again that came back after an opening without it.

use super::{FileChannel, FileChannelOptions, OpenError, open};
use crate::base::ids::Sequence;
use crate::base::quantity::Quantity;
use crate::channel::{Channel, CommitError, PutAllError, PutError, SourceOffsetError};
use crate::event::Event;
use crate::layout::LayoutError;
use crate::record::event::encoded_len;
use crate::recovery::inspection;
use crate::recovery::returned_segments::{ReturnedSegment, restore_offset};
use bytes::Bytes;
use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;

/// Events per transaction.
const EVENTS_MAX: usize = 1000;

/// Encoded bytes of the events of one transaction, unless one event has more.
const BYTES_MAX: usize = 1024 * 1024;

/// The result of a restore.
///
/// ```
/// use millpond::Restored;
///
/// /// Says what a restore of returned segments did.
/// fn report(done: &Restored) -> String {
///     format!("{} events, {} files unreadable", done.events, done.unreadable.len())
/// }
/// assert_eq!(report(&Restored::default()), "0 events, 0 files unreadable");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// Events that were put.
    pub events: u64,
    /// Files whose events are all in the channel again; they were removed.
    pub files: Vec<PathBuf>,
    /// Files that cannot be read; they were left.
    pub unreadable: Vec<PathBuf>,
}

/// Why events of a returned segment were not put, or not all of them. What was put is not put again
/// by the next attempt.
///
/// ```
/// use millpond::RestoreError;
///
/// /// Returns how many events were put before the restore failed.
/// fn put_before(error: &RestoreError) -> u64 {
///     match error {
///         RestoreError::Read { events, .. } | RestoreError::Commit { events, .. } => *events,
///         _ => 0,
///     }
/// }
/// # let _ = put_before;
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The channel did not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A file that came back cannot be read.
    #[error("{source}; {} put again before; run it again when the disk can be read", Quantity(*events, "event").with_was())]
    Read {
        /// Events put before.
        events: u64,
        /// The cause.
        source: LayoutError,
    },
    /// An event does not fit a transaction.
    #[error("sequence {sequence} of {path}: {source}; {} put again before", Quantity(*events, "event").with_was(), path = path.display())]
    Event {
        /// The file.
        path: PathBuf,
        /// The event's sequence in it.
        sequence: Sequence,
        /// Events put before.
        events: u64,
        /// The cause.
        source: PutError,
    },
    /// The progress so far is unknown.
    #[error("{source}; {} put again before; run it again", Quantity(*events, "event").with_was())]
    SourceOffset {
        /// Events put before.
        events: u64,
        /// The cause.
        source: SourceOffsetError,
    },
    /// A transaction was refused, or is in doubt.
    #[error("{source}; {} put again before; run it again when there is room", Quantity(*events, "event").with_was())]
    Commit {
        /// Events put before.
        events: u64,
        /// The cause.
        source: CommitError,
    },
    /// A file whose events are all in the channel again cannot be removed.
    #[error("{path} cannot be removed: {source}; all of it is in the channel again: {}", Quantity(*events, "event"), path = path.display())]
    Remove {
        /// The file.
        path: PathBuf,
        /// Events put.
        events: u64,
        /// The cause.
        source: io::Error,
    },
}

impl FileChannel {
    /// Opens the channel, puts the events again that were given up when a segment file was missing
    /// and that came back with the file, and removes the file. They come after everything in the
    /// channel. Each transaction carries the progress, so that no event is put twice, also when
    /// this is interrupted and run again.
    ///
    /// # Errors
    /// See [`RestoreError`]. Nothing is lost by any of them.
    pub fn restore(options: FileChannelOptions) -> Result<Restored, RestoreError> {
        let (disk, recover) = (options.disk.clone(), open::recover_options(&options));
        let channel = Self::open(options)?;
        let survey = inspection::survey(&*disk, &recover).map_err(OpenError::from)?;
        let mut restored = Restored::default();
        for stripe in &survey.stripes {
            for segment in &stripe.returned {
                if segment.events.is_none() {
                    restored.unreadable.push(segment.path.clone());
                    continue;
                }
                let mut puts = Puts {
                    channel: &channel,
                    source: stripe.restore_source(),
                    pending: Vec::new(),
                    bytes: 0,
                };
                let mut failed = None;
                let mut visit = |sequence, event| match puts.add(
                    segment,
                    sequence,
                    event,
                    &mut restored.events,
                ) {
                    Ok(()) => ControlFlow::Continue(()),
                    Err(error) => {
                        failed = Some(error);
                        ControlFlow::Break(())
                    }
                };
                let walked = survey.walk_returned(stripe, segment, &mut visit);
                walked.map_err(|source| RestoreError::Read { events: restored.events, source })?;
                if let Some(error) = failed {
                    return Err(error);
                }
                puts.commit(segment, &mut restored.events)?;
                remove(&*disk, segment, restored.events)?;
                restored.files.push(segment.path.clone());
            }
        }
        // Dropping the channel seals it as well; what was put is durable.
        let _ = channel.close();
        Ok(restored)
    }
}

fn remove(
    disk: &dyn crate::disk::Disk,
    segment: &ReturnedSegment,
    events: u64,
) -> Result<(), RestoreError> {
    let failed = |source| RestoreError::Remove { path: segment.path.clone(), events, source };
    let place = segment.path.parent().zip(segment.path.file_name().and_then(|n| n.to_str()));
    let (parent, name) = place.ok_or_else(|| failed(io::ErrorKind::InvalidInput.into()))?;
    let directory = disk.open_dir(parent, false).map_err(failed)?;
    directory.remove(name).and_then(|()| directory.sync()).map_err(failed)
}

/// A restore in progress.
struct Puts<'c> {
    channel: &'c FileChannel,
    source: String,
    pending: Vec<(Sequence, Event)>,
    bytes: usize,
}

impl Puts<'_> {
    fn add(
        &mut self,
        segment: &ReturnedSegment,
        sequence: Sequence,
        event: Event,
        done: &mut u64,
    ) -> Result<(), RestoreError> {
        let bytes = encoded_len(&event);
        let limits = self.channel.limits();
        let events_max = EVENTS_MAX.min(limits.transaction_capacity);
        let bytes_max = BYTES_MAX.min(limits.transaction_bytes_max);
        if self.pending.len() >= events_max || self.bytes + bytes > bytes_max {
            self.commit(segment, done)?;
        }
        self.pending.push((sequence, event));
        self.bytes += bytes;
        Ok(())
    }

    fn commit(&mut self, segment: &ReturnedSegment, done: &mut u64) -> Result<(), RestoreError> {
        let Some((last, _)) = self.pending.last() else { return Ok(()) };
        let failed =
            |source: SourceOffsetError| RestoreError::SourceOffset { events: *done, source };
        let before = self.channel.source_offset(&self.source).map_err(failed)?;
        let before = before.as_ref().map_or(&[][..], |source_offset| &source_offset.bytes[..]);
        let source_offset = restore_offset(before, segment.id, last.0 + 1);
        let count = self.pending.len() as u64;
        let mut put = self.channel.begin_put();
        let (sequences, events): (Vec<_>, Vec<_>) = self.pending.drain(..).unzip();
        put.put_all(&mut events.into_iter()).map_err(|PutAllError { index, error }| {
            let (path, events) = (segment.path.clone(), *done);
            RestoreError::Event { path, sequence: sequences[index], events, source: error }
        })?;
        put.set_source_offset(&self.source, Bytes::from(source_offset));
        put.commit()
            .map_err(|failure| RestoreError::Commit { events: *done, source: failure.into() })?;
        *done += count;
        self.bytes = 0;
        Ok(())
    }
}
