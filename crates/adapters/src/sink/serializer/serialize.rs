//! What a serializer is.

use millpond::Event;
use millpond_flow::sink::Failure;
use std::io::{self, Write};

/// Writes events to files of one format.
pub trait Serializer: Send {
    /// Checks a batch before anything of it is written. Returns groups of events that need different files; `None`
    /// when all may share one, the default.
    ///
    /// # Errors
    /// An event can be in no file, or not now.
    fn groups(&mut self, batch: &[Event]) -> Result<Option<Vec<Vec<Event>>>, Failure> {
        let _ = batch;
        Ok(None)
    }

    /// Returns whether the file that was begun last accepts a group that begins with `event`. Default: true.
    fn goes_on(&self, event: &Event) -> bool {
        let _ = event;
        true
    }

    /// Writes the beginning of a file whose first event is `first`.
    ///
    /// # Errors
    /// Those of `out`.
    fn begin(&mut self, first: &Event, out: &mut dyn Write) -> io::Result<()>;

    /// Writes `batch`.
    ///
    /// # Errors
    /// Those of `out`.
    fn write(&mut self, batch: &[Event], out: &mut dyn Write) -> io::Result<()>;

    /// Returns whether some events may be refused for good. Default: false.
    fn may_refuse(&self) -> bool {
        false
    }

    /// Returns whether an empty file is valid. Default: true.
    fn may_be_empty(&self) -> bool {
        true
    }

    /// Returns whether each batch adds overhead to the file, so that small batches make it larger and slower to read.
    fn prefers_large_batches(&self) -> bool {
        false
    }
}
