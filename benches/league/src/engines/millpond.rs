//! This project's own file channel.

use super::{Deliver, Failure, Store};
use ::millpond::channel::Channel;
use ::millpond::channel::file::{FileChannel, FileChannelOptions};
use ::millpond::event::Event;
use std::path::Path;
use std::time::Duration;

pub(super) struct Millpond(FileChannel);

impl Millpond {
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
        options.segment_bytes = 1 << 20;
        options.minimum_required_space = 0;
        options.keep_alive = Duration::from_millis(200);
        Ok(Self(FileChannel::open(options)?))
    }
}

impl Store for Millpond {
    fn put(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure> {
        let mut put = self.0.begin_put();
        for body in bodies {
            put.put(Event::new(body.clone()))?;
        }
        Ok(put.commit()?)
    }

    fn take(&mut self, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let mut take = self.0.begin_take();
        let mut bodies = Vec::new();
        // One call lends what lies together; the next may continue in the next block.
        while bodies.len() < most {
            let events = take.take(most - bodies.len())?;
            if events.is_empty() {
                break;
            }
            bodies.extend(events.into_iter().map(|event| event.body.to_vec()));
            if self.0.status().events <= bodies.len() as u64 {
                break;
            }
        }
        deliver(&bodies);
        take.commit()?;
        Ok(bodies.len())
    }

    fn damaged(&self) -> u64 {
        self.0.status().quarantined
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        Ok(self.0.close()?)
    }
}
