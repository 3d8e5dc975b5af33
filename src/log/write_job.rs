//! A write that may start: encoded and run by its requester, outside the lock.

use super::block::Reservation;
use crate::base::checksum::Salt;
use crate::base::ids::StripeIndex;
use crate::base::limits::WRITE_BYTES_PER_SECOND_MIN;
use crate::base::mutation::Mutation;
use crate::disk::File;
use crate::disk::memory::{Area, Span};
use crate::record::block::BlockHeader;
use crate::record::segment::SegmentHeader;
use crate::record::state::StateRecord;
use std::sync::Arc;
use std::time::Duration;

/// Returns the time that a slow disk may need for `bytes`, in addition to the timeout of any write.
pub(super) fn time_allowed(bytes: u64) -> Duration {
    let bytes = if Mutation::HungWhateverSize.is_active() { 0 } else { bytes };
    Duration::from_millis(bytes.saturating_mul(1000) / WRITE_BYTES_PER_SECOND_MIN)
}

/// The number of a write in flight; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u64);

/// One write of one block, to be run and then passed to [`Log::complete`](super::Log::complete).
///
/// The job keeps the block's memory and the segment's file alive: neither is reused before the write has returned,
/// however long it hangs.
pub struct WriteJob {
    /// The stripe.
    pub stripe: StripeIndex,
    /// Its number.
    pub id: JobId,
    /// Where to write.
    pub file: Arc<dyn File>,
    /// Offset in the file, bytes.
    pub offset: u64,
    pub(super) area: Arc<Area>,
    pub(super) header: Option<(Span, BlockHeader, Salt)>,
    pub(super) state: Option<UnencodedState>,
}

/// The state record of a block, and the header of the segment that begins with it, still to be encoded.
pub(super) struct UnencodedState {
    pub segment: Option<(Span, SegmentHeader)>,
    pub frame: Reservation,
    pub record: Arc<StateRecord>,
}

impl WriteJob {
    /// Encodes what was fixed under the lock: the block's header, and a state record with its segment's header.
    /// Does nothing when called again.
    pub fn encode(&mut self) {
        if let Some((mut span, header, salt)) = self.header.take() {
            header.encode(salt, span.bytes_mut());
        }
        if let Some(UnencodedState { segment, frame, record }) = self.state.take() {
            if let Some((mut span, header)) = segment {
                header.encode(span.bytes_mut());
            }
            frame.fill(|out| {
                record.encode(out).expect("its size was checked when its block was made");
            });
        }
    }

    /// Returns the bytes to write; `None` while frames are being filled.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        self.area.bytes()
    }

    /// Returns the bytes that the job writes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.area.len()
    }

    /// Whether the job writes nothing: never.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.area.is_empty()
    }
}
