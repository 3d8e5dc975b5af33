//! mrecordlog: one of its queues; a take truncates it.

use crate::{Bytes, Deliver, Failure, Setup, Store, locked};
use ::mrecordlog::{MultiRecordLog, SyncPolicy};
use std::sync::Mutex;
use tokio::runtime::{Builder, Runtime};

const QUEUE: &str = "queue";

pub(crate) struct Mrecordlog {
    runtime: Runtime,
    log: Mutex<MultiRecordLog>,
}

impl Mrecordlog {
    pub(crate) fn open(setup: &Setup) -> Result<Self, Failure> {
        let dir = setup.dir().join("log");
        std::fs::create_dir_all(&dir)?;
        let runtime = Builder::new_current_thread().build()?;
        let open = MultiRecordLog::open_with_prefs(&dir, SyncPolicy::OnAppend);
        let mut log = runtime.block_on(open)?;
        if !log.queue_exists(QUEUE) {
            runtime.block_on(log.create_queue(QUEUE))?;
        }
        Ok(Self { runtime, log: Mutex::new(log) })
    }
}

impl Store for Mrecordlog {
    fn put(&self, _: usize, bodies: &[Bytes]) -> Result<(), Failure> {
        let payloads = bodies.iter().map(|body| &body[..]);
        self.runtime.block_on(locked(&self.log).append_records(QUEUE, None, payloads))?;
        Ok(())
    }

    fn take(&self, _: usize, most: usize, deliver: &mut Deliver<'_>) -> Result<usize, Failure> {
        let mut log = locked(&self.log);
        let (mut taken, mut last) = (0, 0);
        let waiting = log.range(QUEUE, ..).map_err(|_| "the queue is gone")?;
        for (position, body) in waiting.take(most) {
            last = position;
            deliver(&body);
            taken += 1;
        }
        if taken > 0 {
            self.runtime.block_on(log.truncate(QUEUE, last))?;
        }
        Ok(taken)
    }

    fn close(self: Box<Self>) -> Result<(), Failure> {
        let mut log = locked(&self.log);
        Ok(self.runtime.block_on(log.sync())?)
    }
}
