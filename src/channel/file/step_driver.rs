//! Drives a channel without threads, for simulation: one step at a time, in any order.

use super::block_write;
use super::maintenance::Schedule;
use super::shared::Shared;
use super::workers::RunTask;
use crate::base::ids::StripeIndex;
use crate::disk::Submitted;
use crate::log::{Log, WriteJob};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The driver of a channel that has no threads of its own.
pub struct StepDriver {
    shared: Arc<Shared>,
    schedule: Schedule,
}

/// A write that was submitted and not yet reported.
pub struct StartedWrite {
    job: WriteJob,
    submitted: Submitted,
}

impl StartedWrite {
    /// Ends the write on the disk: completes a pending one.
    ///
    /// # Errors
    /// The write failed.
    pub fn finish(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.submitted, Submitted::Done(Ok(()))) {
            Submitted::Done(result) => result,
            Submitted::Pending(token) => self.job.file.finish(token),
        }
    }

    /// Returns the bytes that it writes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.job.len()
    }

    /// Returns the write's token on the disk while it is pending.
    #[must_use]
    pub fn token(&self) -> Option<crate::disk::WriteToken> {
        match self.submitted {
            Submitted::Pending(token) => Some(token),
            Submitted::Done(_) => None,
        }
    }
}

impl StepDriver {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, schedule: Schedule::default() }
    }

    /// Returns the number of stripes.
    #[must_use]
    pub fn stripes(&self) -> usize {
        self.shared.stripe_dirs.len()
    }

    /// Starts a write of the stripe, if one may start.
    pub fn start_write(&self, stripe: usize) -> Option<StartedWrite> {
        let (now, index) = (self.shared.now(), StripeIndex(stripe as u16));
        let mut job = self.shared.with_log(|log| log.next_write(now, index)).ok()??;
        let submitted = block_write::submit(&mut job);
        Some(StartedWrite { job, submitted })
    }

    /// Reports a write's end to the channel.
    pub fn report(&self, write: StartedWrite, result: io::Result<()>) {
        let (now, stripe, id) = (self.shared.now(), write.job.stripe, write.job.id);
        drop(write);
        // A poisoned log returns its first cause to every later call.
        let _ = self.shared.with_log(|log| log.complete(now, stripe, id, result));
    }

    /// Returns the frontier of each stripe: below it everything is acknowledged or void, durably.
    #[must_use]
    pub fn frontiers(&self) -> Vec<u64> {
        let frontier = |log: &Log, at| log.report(StripeIndex(at as u16)).frontier;
        let all = |log: &Log| (0..log.stripes()).map(|at| frontier(log, at)).collect();
        // A log that stopped after a failure of its own returns nothing.
        self.shared.log().map(|log| all(&log)).unwrap_or_default()
    }

    /// Does one round of maintenance: segments, checkpoint when due, suspended stripes. Returns
    /// when the next one is due at the latest, from now.
    pub fn keep(&mut self) -> Duration {
        self.shared.run_maintenance(&mut self.schedule)
    }

    /// Runs the tasks of the pool on this thread.
    pub fn run_tasks(&self) {
        while let Some(task) = self.shared.workers.next() {
            self.shared.run_task(task);
        }
    }
}
