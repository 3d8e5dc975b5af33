//! How many bytes a connection of a line protocol is read by at a time.
//!
//! What one read brings becomes one transaction, so a read should bring what is there: a busy client
//! fills a durable channel only with large batches. But memory for large reads on every connection
//! would let clients choose how much the source takes. So a connection is read by a little, by twice
//! as much after each read that was filled, and by a little again once one was not half full; what
//! goes beyond the little comes out of one budget of the source, and without room there the stride
//! stays as it is.

use crate::base::limits::{
    CONNECTION_READ_BYTES, CONNECTION_READ_BYTES_MAX, CONNECTION_READS_HELD_BYTES_MAX,
};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The budget of one source.
#[derive(Clone, Debug)]
pub(crate) struct Strides {
    /// One permit for each [`CONNECTION_READ_BYTES`] beyond the first of a connection.
    pieces: Arc<Semaphore>,
}

/// How far the next read of one connection goes.
#[derive(Debug)]
pub(crate) struct Stride {
    all: Strides,
    bytes: usize,
    held: Option<OwnedSemaphorePermit>,
}

impl Strides {
    pub(crate) fn new() -> Self {
        let pieces = CONNECTION_READS_HELD_BYTES_MAX / CONNECTION_READ_BYTES;
        Self { pieces: Arc::new(Semaphore::new(pieces)) }
    }

    /// For a connection that has not been read yet.
    pub(crate) fn stride(&self) -> Stride {
        Stride { all: self.clone(), bytes: CONNECTION_READ_BYTES, held: None }
    }
}

impl Stride {
    /// Bytes to read at most.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Notes how many a read brought.
    pub(crate) fn brought(&mut self, bytes: usize) {
        if bytes < self.bytes / 2 {
            self.bytes = CONNECTION_READ_BYTES;
            self.held = None;
        } else if bytes >= self.bytes && self.bytes < CONNECTION_READ_BYTES_MAX {
            self.grow();
        }
    }

    fn grow(&mut self) {
        let more = self.bytes / CONNECTION_READ_BYTES;
        let pieces = Arc::clone(&self.all.pieces);
        let Ok(granted) = pieces.try_acquire_many_owned(more as u32) else { return };
        match &mut self.held {
            Some(held) => held.merge(granted),
            None => self.held = Some(granted),
        }
        self.bytes *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_that_is_filled_makes_the_next_one_larger_as_far_as_all_together_may_hold() {
        let all = Strides::new();
        let mut busy = all.stride();
        let mut steps = Vec::new();
        for _ in 0..8 {
            steps.push(busy.bytes() / 1024);
            busy.brought(busy.bytes());
        }
        assert_eq!(steps, [8, 16, 32, 64, 128, 256, 256, 256]);
        busy.brought(200 * 1024);
        assert_eq!(busy.bytes(), 256 * 1024, "more than half");
        let mut others: Vec<Stride> = (0..1000).map(|_| all.stride()).collect();
        for _ in 0..8 {
            for other in &mut others {
                other.brought(other.bytes());
            }
        }
        let held = others.iter().chain([&busy]).map(|s| s.bytes() - CONNECTION_READ_BYTES);
        let held: usize = held.sum();
        assert!(held <= CONNECTION_READS_HELD_BYTES_MAX, "{held}");
        assert!(held > CONNECTION_READS_HELD_BYTES_MAX / 2, "{held}");
        drop(others);
        busy.brought(100);
        assert_eq!(busy.bytes(), CONNECTION_READ_BYTES);
        assert_eq!(
            all.pieces.available_permits() * CONNECTION_READ_BYTES,
            CONNECTION_READS_HELD_BYTES_MAX
        );
    }
}
