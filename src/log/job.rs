//! A write that may start: run by whoever asked for it, outside the lock.

use crate::base::checksum::Salt;
use crate::base::ids::StripeIndex;
use crate::base::limits::WRITE_BYTES_PER_SECOND_MIN;
use crate::base::mutant::Broken;
use crate::disk::memory::{Area, Span};
use crate::disk::{File, Submitted};
use crate::record::block::BlockHeader;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// How long a write of so many bytes may take on a slow disk, beside the time in which any write returns.
pub(super) fn time_allowed(bytes: u64) -> Duration {
    let bytes = if Broken::HungWhateverSize.is_chosen() { 0 } else { bytes };
    Duration::from_millis(bytes.saturating_mul(1000) / WRITE_BYTES_PER_SECOND_MIN)
}

/// Names a write in flight; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One write of one block, to be run and then reported to [`Log::complete`](super::Log::complete).
///
/// The job keeps the block's memory and the segment's file alive: neither is used again before
/// the write has returned, however long it hangs.
pub struct WriteJob {
    /// The stripe.
    pub stripe: StripeIndex,
    /// Its name.
    pub id: JobId,
    /// Where to write.
    pub file: Arc<dyn File>,
    /// Offset in the file, bytes.
    pub offset: u64,
    pub(super) area: Arc<Area>,
    pub(super) header: Option<(Span, BlockHeader, Salt)>,
}

impl WriteJob {
    /// Gives the block its header and waits for its late fillers.
    fn bytes(&mut self) -> &[u8] {
        if let Some((mut span, header, salt)) = self.header.take() {
            header.encode(salt, span.bytes_mut());
        }
        let mut turns = 0u32;
        while self.area.bytes().is_none() {
            // Fillers only copy and checksum: they are done in microseconds unless they lost
            // their processor, and then spinning would keep it from them.
            turns += 1;
            if turns > 64 {
                std::thread::yield_now();
            } else {
                std::hint::spin_loop();
            }
        }
        self.area.bytes().expect("the loop above saw it filled")
    }

    /// Submits the write.
    pub fn submit(&mut self) -> Submitted {
        let (file, offset) = (Arc::clone(&self.file), self.offset);
        file.submit(offset, self.bytes())
    }

    /// Submits the write and waits for its end.
    ///
    /// # Errors
    /// The write failed; what of it is durable is unknown.
    pub fn run(&mut self) -> io::Result<()> {
        match self.submit() {
            Submitted::Done(result) => result,
            Submitted::Pending(token) => self.file.finish(token),
        }
    }

    /// Bytes that the job writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.area.len()
    }

    /// Whether the job writes nothing; it never does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.area.is_empty()
    }
}
