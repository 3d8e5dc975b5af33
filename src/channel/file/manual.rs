//! Driving a channel without threads, for simulation: one step at a time, in any order.

use super::keeper::Diary;
use super::shared::Shared;
use crate::base::ids::StripeIndex;
use crate::disk::Submitted;
use crate::log::{Log, WriteJob};
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// The hands of a channel that has no threads of its own.
pub struct Manual {
    shared: Arc<Shared>,
    diary: Diary,
}

/// A write that was submitted and not yet reported.
pub struct StartedWrite {
    job: WriteJob,
    submitted: Submitted,
}

impl StartedWrite {
    /// Ends the write at the door: completes a pending one.
    ///
    /// # Errors
    /// The write failed.
    pub fn finish(&mut self) -> io::Result<()> {
        match std::mem::replace(&mut self.submitted, Submitted::Done(Ok(()))) {
            Submitted::Done(result) => result,
            Submitted::Pending(token) => self.job.file.finish(token),
        }
    }

    /// Bytes that it writes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.job.len()
    }

    /// The write's name at the door while it is pending.
    #[must_use]
    pub fn token(&self) -> Option<crate::disk::WriteToken> {
        match self.submitted {
            Submitted::Pending(token) => Some(token),
            Submitted::Done(_) => None,
        }
    }
}

impl Manual {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared, diary: Diary::default() }
    }

    /// Stripes of the channel.
    #[must_use]
    pub fn stripes(&self) -> usize {
        self.shared.homes.len()
    }

    /// Starts a write of the stripe, if one may start.
    pub fn start_write(&self, stripe: usize) -> Option<StartedWrite> {
        let (now, index) = (self.shared.now(), StripeIndex(stripe as u16));
        let mut job = self.shared.with_log(|log| log.next_write(now, index)).ok()??;
        let submitted = job.submit();
        Some(StartedWrite { job, submitted })
    }

    /// Reports a write's end to the channel.
    pub fn report(&self, write: StartedWrite, result: io::Result<()>) {
        let (now, job) = (self.shared.now(), write.job);
        // A poisoned log answers every later call with its first cause.
        let _ = self.shared.with_log(|log| log.complete(now, job.stripe, job.id, result));
    }

    /// The frontier of each stripe: below it everything is acknowledged or void, durably.
    #[must_use]
    pub fn frontiers(&self) -> Vec<u64> {
        let frontier = |log: &Log, at| log.report(StripeIndex(at as u16)).frontier;
        let all = |log: &Log| (0..log.stripes()).map(|at| frontier(log, at)).collect();
        // A log that stopped after a failure of its own tells nothing.
        self.shared.log().map(|log| all(&log)).unwrap_or_default()
    }

    /// One round of the keeper: segments, checkpoint when due, suspended stripes. Answers when the
    /// next one is due at the latest, from now.
    pub fn keep(&mut self) -> Duration {
        self.shared.keep(&mut self.diary)
    }

    /// Does what was handed to the pool, on this thread.
    pub fn run_tasks(&self) {
        while let Some(task) = self.shared.workers.next() {
            self.shared.perform(task);
        }
    }
}
