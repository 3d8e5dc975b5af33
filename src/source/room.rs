//! Memory that the clients of one source may make it hold, whoever they are and however many.
//!
//! A request asks for its part before it grows. A part that is not there is waited for, which
//! slows that client down; the wait has an end, since clients that each hold a part and wait for
//! more could hold each other up for ever.

use crate::base::limits::{REQUEST_FREE_BYTES, REQUEST_ROOM_SECONDS_MAX};
use crate::metrics::SourceCounters;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of one permit.
const UNIT_BYTES: usize = 1024;

/// The memory of one source.
#[derive(Clone, Debug)]
pub(crate) struct Room {
    units: Arc<Semaphore>,
    units_max: usize,
}

/// No part became free in time.
#[derive(Debug)]
pub(crate) struct NoRoom;

impl Room {
    pub(crate) fn new(bytes: usize) -> Self {
        let units_max = bytes / UNIT_BYTES;
        Self { units: Arc::new(Semaphore::new(units_max)), units_max }
    }

    /// The part of one client, empty; `counters` show what all hold.
    pub(crate) fn part(&self, counters: &Arc<SourceCounters>) -> Part {
        Part { room: self.clone(), held: None, counters: Arc::clone(counters) }
    }
}

/// What one client holds.
#[derive(Debug)]
pub(crate) struct Part {
    room: Room,
    held: Option<OwnedSemaphorePermit>,
    counters: Arc<SourceCounters>,
}

impl Drop for Part {
    fn drop(&mut self) {
        self.release();
    }
}

impl Part {
    /// Grows until `bytes` may be held. The first [`REQUEST_FREE_BYTES`] are always free.
    ///
    /// # Errors
    /// They did not become free in time.
    pub(crate) async fn hold(&mut self, bytes: usize) -> Result<(), NoRoom> {
        let wanted = bytes.saturating_sub(REQUEST_FREE_BYTES).div_ceil(UNIT_BYTES);
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        if wanted <= held {
            return Ok(());
        }
        if wanted > self.room.units_max {
            return Err(NoRoom);
        }
        let more = u32::try_from(wanted - held).map_err(|_| NoRoom)?;
        let granted = Arc::clone(&self.room.units).acquire_many_owned(more);
        let patience = Duration::from_secs(REQUEST_ROOM_SECONDS_MAX);
        let granted = tokio::time::timeout(patience, granted).await.map_err(|_| NoRoom)?;
        let granted = granted.map_err(|_| NoRoom)?;
        self.counters.held_bytes.add(u64::from(more) * UNIT_BYTES as u64);
        match &mut self.held {
            Some(held) => held.merge(granted),
            None => self.held = Some(granted),
        }
        Ok(())
    }

    /// Gives everything back.
    pub(crate) fn release(&mut self) {
        let held = self.held.take().map_or(0, |held| held.num_permits());
        self.counters.held_bytes.sub((held * UNIT_BYTES) as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_held_is_bounded_and_comes_back() {
        let room = Room::new(10 * UNIT_BYTES);
        let counters = Arc::new(SourceCounters::default());
        let (mut one, mut other) = (room.part(&counters), room.part(&counters));
        one.hold(REQUEST_FREE_BYTES + 3 * UNIT_BYTES).await.unwrap();
        one.hold(REQUEST_FREE_BYTES + 8 * UNIT_BYTES).await.unwrap();
        one.hold(1).await.unwrap();
        other.hold(REQUEST_FREE_BYTES).await.unwrap();
        assert!(other.hold(REQUEST_FREE_BYTES + 2 * UNIT_BYTES + 1).await.is_err());
        other.hold(REQUEST_FREE_BYTES + 2 * UNIT_BYTES).await.unwrap();
        assert_eq!(counters.held_bytes.get(), 10 * UNIT_BYTES as u64);
        one.release();
        assert_eq!(counters.held_bytes.get(), 2 * UNIT_BYTES as u64);
        other.hold(REQUEST_FREE_BYTES + 10 * UNIT_BYTES).await.unwrap();
        drop(other);
        assert_eq!(counters.held_bytes.get(), 0);
        one.hold(REQUEST_FREE_BYTES + 10 * UNIT_BYTES).await.unwrap();
        assert!(one.hold(REQUEST_FREE_BYTES + 11 * UNIT_BYTES).await.is_err(), "never fits");
    }
}
