//! The two sides of a comparison, with the same two calls; both build their events alike.

use crate::floor::Floor;
use bytes::Bytes;
use millpond::{Channel, Event, FileChannel};
use std::hint::black_box;

const BODY: [u8; 512] = [7; 512];

pub(crate) trait Side: Sync {
    /// Runs one put transaction; returns once it is durable.
    fn put(&self, batch: usize);

    /// Runs one take transaction of up to `batch` events; returns how many it had.
    fn take(&self, batch: usize) -> usize;
}

fn event() -> Event {
    Event::new(Bytes::from_static(&BODY))
}

impl Side for FileChannel {
    fn put(&self, batch: usize) {
        let mut tx = self.begin_put();
        for _ in 0..batch {
            tx.put(event()).unwrap();
        }
        tx.commit().unwrap();
    }

    fn take(&self, batch: usize) -> usize {
        let mut tx = self.begin_take();
        let events = tx.take(batch).unwrap();
        tx.commit().unwrap();
        events.len()
    }
}

impl Side for Floor {
    fn put(&self, batch: usize) {
        let events: Vec<Event> = (0..batch).map(|_| event()).collect();
        Self::put(self, &events);
    }

    fn take(&self, batch: usize) -> usize {
        Self::take(self, batch, &mut |body| {
            black_box(body[0]);
        })
    }
}
