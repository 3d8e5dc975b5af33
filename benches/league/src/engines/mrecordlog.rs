//! mrecordlog: one of its queues; a take truncates it.

use super::{Deliver, Failure, Store};
use ::mrecordlog::{MultiRecordLog, SyncPolicy};
use std::path::Path;
use tokio::runtime::{Builder, Runtime};

const QUEUE: &str = "queue";

pub(super) struct Mrecordlog {
    runtime: Runtime,
    log: MultiRecordLog,
}

impl Mrecordlog {
    pub(super) fn open(dir: &Path) -> Result<Self, Failure> {
        let dir = dir.join("log");
        std::fs::create_dir_all(&dir)?;
        let runtime = Builder::new_current_thread().build()?;
        let open = MultiRecordLog::open_with_prefs(&dir, SyncPolicy::OnAppend);
        let mut log = runtime.block_on(open)?;
        if !log.queue_exists(QUEUE) {
            runtime.block_on(log.create_queue(QUEUE))?;
        }
        Ok(Self { runtime, log })
    }
}

impl Store for Mrecordlog {
    fn put(&mut self, bodies: &[Vec<u8>]) -> Result<(), Failure> {
        let payloads = bodies.iter().map(Vec::as_slice);
        self.runtime.block_on(self.log.append_records(QUEUE, None, payloads))?;
        Ok(())
    }

    fn take(&mut self, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let (mut bodies, mut last) = (Vec::new(), 0);
        let waiting = self.log.range(QUEUE, ..).map_err(|_| "the queue is gone")?;
        for (position, body) in waiting.take(most) {
            last = position;
            bodies.push(body.into_owned());
        }
        if bodies.is_empty() {
            return Ok(0);
        }
        deliver(&bodies);
        self.runtime.block_on(self.log.truncate(QUEUE, last))?;
        Ok(bodies.len())
    }

    fn close(mut self: Box<Self>) -> Result<(), Failure> {
        Ok(self.runtime.block_on(self.log.sync())?)
    }
}
