//! Frames of a failed write on their way to another block.

use super::block::Reservation;
use crate::base::lock_rank::LockRank;
use crate::disk::memory::Area;
use crate::record::body::{Origin, PutPrefix};
use std::ops::Range;
use std::sync::Arc;

/// A frame that is reserved in another block and still to be copied there, without the lock. Dropped, it is void.
#[derive(Debug)]
pub struct FrameMove {
    reservation: Reservation,
    /// The origin that a put gets when it moves for the first time.
    origin: Option<Origin>,
    /// The filled block that it comes from.
    from: Arc<Area>,
    /// Its payload in `from`.
    payload: Range<usize>,
}

impl FrameMove {
    /// Returns the move of the frame whose payload is at `payload` in `from`, which is filled.
    pub(super) fn new(
        reservation: Reservation,
        origin: Option<Origin>,
        from: Arc<Area>,
        payload: Range<usize>,
    ) -> Self {
        Self { reservation, origin, from, payload }
    }

    /// Copies the frame and counts it as filled.
    pub(super) fn copy(self) {
        debug_assert!(!LockRank::Log.is_held(), "frames are copied without the lock");
        let Self { reservation, origin, from, payload } = self;
        let bytes = from.bytes().expect("nothing moves before it is filled");
        let prefix = origin.map(|origin| PutPrefix { origin: Some(origin), source_offset: None });
        reservation.fill(|out| {
            let at = prefix.map_or(0, |prefix| prefix.encode(out));
            out[at..].copy_from_slice(&bytes[payload]);
        });
    }
}
