//! This project's own file channel.

use crate::{Bytes, Deliver, Failure, Setup, Store};
use ::millpond::{Channel, Event, FileChannel, FileChannelOptions};
use std::time::Duration;

/// Bytes of the hot window that are used once before a measurement of speed, and of an event for that.
const WINDOW_BYTES_MAX: usize = 64 << 20;
const BODY_BYTES: usize = 32 << 10;

/// Bytes of a segment in a measurement of speed: the default.
const SEGMENT_BYTES: u64 = 64 << 20;

pub(crate) struct Millpond {
    channel: FileChannel,
    /// Segments to wait for before a measurement, all directories together.
    ready: usize,
    /// A take continues until it has its maximum.
    patient: bool,
}

/// The segments at the start of a measurement of speed.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Start {
    /// Segments made beforehand.
    Ready,
    /// Those that an opening with default options makes.
    Fresh,
}

impl Millpond {
    pub(crate) fn open(setup: &Setup, start: Start) -> Result<Self, Failure> {
        let data = setup.dirs.iter().map(|dir| dir.join("data"));
        let checkpoint = setup.dir().join("checkpoint");
        let is_new = !checkpoint.exists();
        let mut options = FileChannelOptions::new(checkpoint, data);
        options.minimum_required_space = 0;
        let mut ready = 0;
        if let Some(flow) = setup.flow {
            if start == Start::Ready {
                let dirs = setup.dirs.len() as u64;
                // Only half of them are used before more are made during the puts.
                let segments = (2 * flow.ready_bytes).div_ceil(SEGMENT_BYTES * dirs) as usize;
                options.segment_bytes = SEGMENT_BYTES;
                // Made beforehand, they must not begin small and grow.
                options.first_segment_bytes = SEGMENT_BYTES;
                options.ready_segments = segments.max(4);
                ready = options.ready_segments * setup.dirs.len();
            }
            options.capacity = u64::MAX / 2;
            options.hot_window_bytes = options.hot_window_bytes.max(flow.hot_bytes as usize);
            // One setting for both: how long a put waits for room, and a take for an event.
            options.keep_alive = Duration::from_millis(if flow.takers { 200 } else { 30_000 });
        } else {
            options.segment_bytes = 1 << 20;
            options.keep_alive = Duration::from_millis(200);
        }
        let patient = setup.flow.is_none();
        let window_bytes = options.hot_window_bytes.min(WINDOW_BYTES_MAX);
        let store = Self { channel: FileChannel::open(options)?, ready, patient };
        if is_new && setup.flow.is_some() && start == Start::Ready {
            store.settle();
            store.use_window(window_bytes)?;
        }
        Ok(store)
    }

    /// Puts and takes as much as the hot window holds: its memory has then been used once, like that of a channel in
    /// use, and like the page cache of the floors' files.
    fn use_window(&self, bytes: usize) -> Result<(), Failure> {
        let batch = vec![Bytes::from_static(&[0; BODY_BYTES]); 16];
        let mut waiting = 0;
        for _ in 0..bytes.div_ceil(16 * BODY_BYTES) {
            self.put(0, &batch)?;
            waiting += batch.len();
        }
        // With a long keep-alive for puts, a take would wait as long for a missing event.
        while waiting > 0 {
            match self.take(0, batch.len(), &mut |_| {})? {
                0 => return Err("what was put to use the window is not there".into()),
                taken => waiting -= taken,
            }
        }
        Ok(())
    }
}

impl Store for Millpond {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        let mut put = self.channel.begin_put();
        for body in bodies {
            put.put(Event::new(body.clone()))?;
        }
        Ok(put.commit()?)
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let mut take = self.channel.begin_take();
        let mut taken = 0;
        // One call lends contiguous events; the next may continue in the next block.
        while taken < most {
            let events = take.take(most - taken)?;
            taken += events.len();
            events.iter().for_each(|event| deliver(&event.body));
            let more = self.patient && !events.is_empty();
            if !more || self.channel.status().events <= taken as u64 {
                break;
            }
        }
        take.commit()?;
        Ok(taken)
    }

    fn damaged(&self) -> u64 {
        self.channel.status().quarantined
    }

    fn settle(&self) {
        while self.channel.ready_segments() < self.ready {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.channel.close()?)
    }
}
