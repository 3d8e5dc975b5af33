//! The threads of a workload process: its producers and takers.

use super::run_state::{ChannelNumbers, RunKind, RunState};
use super::{producer, taker};
use millpond::internal::base::threads;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

impl RunState {
    /// Starts the producers and takers of the orders.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub(super) fn work(self: &Arc<Self>) -> io::Result<Vec<JoinHandle<()>>> {
        let numbers = ChannelNumbers::of(self.orders.seed, self.orders.quota);
        let mut threads = Vec::new();
        if self.orders.work == RunKind::PutAndTake {
            for writer in 0..numbers.writers {
                let life = Arc::clone(self);
                let run = move || life.until_reader_is_gone(|l| producer::run(l, writer));
                threads.push(threads::spawn("torture-put", run)?);
            }
        }
        if self.orders.work != RunKind::Look {
            for taker in 0..numbers.takers {
                let life = Arc::clone(self);
                let run = move || life.until_reader_is_gone(|l| taker::run(l, taker));
                threads.push(threads::spawn("torture-take", run)?);
            }
        }
        Ok(threads)
    }
}
