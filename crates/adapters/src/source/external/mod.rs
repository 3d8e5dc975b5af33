//! `external`: a user's own process sends batches of events and is notified when they are safe.
//!
//! Limits and keys: those of [`millpond_flow::external`].
//!
//! The process receives its position ([`batch_commit`]), sends a batch with the position after it, and receives the
//! result: committed, or never possible. While the channels refuse, the batch waits here and the process waits for
//! the reply. Where every required channel is durable the position is part of the batch's own transaction
//! ([`offset`]), so a process that resumes from the received position neither loses nor repeats an event, whichever
//! process is killed at any time. To stop, the process receives a stop request; what it still sends is committed
//! during the grace period.
//!
//! Invariants: a process receives `ok` only after the commit; a batch whose result it did not receive is, where
//! positions are durable, either in all channels with its position or in none for the next process.

mod batch_commit;
mod offset;

#[cfg(test)]
mod tests;

use super::commit_retry::rest;
use batch_commit::{ExternalBatchCommitter, ExternalCommitOutcome};
use millpond::BoxFuture;
use millpond::internal::base::quantity::Quantity;
use millpond_flow::backoff::Backoff;
use millpond_flow::codes;
use millpond_flow::external::{
    ExternalOptions, ProcessFault, ProcessRole, ProcessSupervisor, SourceMessage,
};
use millpond_flow::settings::{SettingError, SettingsReader};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use millpond_flow::wire::external::decode::ProcessBatch;
use millpond_flow::wire::external::encode;
use std::time::Duration;
use tokio::time::timeout_at;

/// The type `external`.
pub const TYPE: SourceType =
    SourceType { names: &["external"], keys: ProcessRole::Source.keys(), build };

struct ExternalSource {
    options: ExternalOptions,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError> {
    Ok(Box::new(ExternalSource { options: ExternalOptions::read(reader, ProcessRole::Source)? }))
}

/// How a process that did not fail ended.
enum ProcessEnd {
    /// The source is to stop.
    Stop,
    /// It has no more events.
    End,
}

impl Source for ExternalSource {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let supervisor = ProcessSupervisor::new(self.options.clone());
            let committer = ExternalBatchCommitter::begin(context).await?;
            let backoff = Backoff::of_a_runner();
            let mut run =
                ProcessRun { context, options: &self.options, supervisor, committer, backoff };
            run.run_until_stop().await;
            run.supervisor.stop().await;
            Ok(())
        })
    }
}

struct ProcessRun<'a> {
    context: &'a SourceContext,
    options: &'a ExternalOptions,
    supervisor: ProcessSupervisor,
    committer: ExternalBatchCommitter<'a>,
    /// Pause after batches that no channel takes.
    backoff: Backoff,
}

impl ProcessRun<'_> {
    /// Runs one process after another, until the source is to stop or has sent everything.
    async fn run_until_stop(&mut self) {
        loop {
            rest(self.context, self.supervisor.rests_for()).await;
            if self.context.stop.fired() {
                return;
            }
            let capacity = self.context.intake.transaction_capacity().max(1);
            let most = self.options.batch_events.min(capacity);
            let started = tokio::select! {
                () = self.context.stop.wait() => return,
                started = self.supervisor.start(Some(self.committer.place()), most) => started,
            };
            // The cause was logged by the companion.
            if started.is_err() {
                self.context.counters.restarts.add(1);
                continue;
            }
            self.context.started();
            match self.run_once(most).await {
                Ok(ProcessEnd::End | ProcessEnd::Stop) => return,
                Err(fault) => {
                    self.context.counters.event_read_fail.add(1);
                    self.context.counters.restarts.add(1);
                    self.supervisor.end_broken(fault).await;
                }
            }
        }
    }

    /// Commits the batches of one process.
    async fn run_once(&mut self, most: usize) -> Result<ProcessEnd, ProcessFault> {
        loop {
            let given = tokio::select! {
                () = self.context.stop.wait() => return self.last_batches(most).await,
                given = next_message(&mut self.supervisor, most, self.options.silence) => given?,
            };
            match given {
                SourceMessage::Batch(batch) => self.answer(batch).await?,
                SourceMessage::End => return Ok(ProcessEnd::End),
            }
        }
    }

    /// Commits what the process still sends after a stop request.
    async fn last_batches(&mut self, most: usize) -> Result<ProcessEnd, ProcessFault> {
        let until = self.supervisor.request_stop().await;
        while let Ok(Ok(SourceMessage::Batch(batch))) =
            timeout_at(until, self.supervisor.receive(most)).await
        {
            if self.answer(batch).await.is_err() {
                break;
            }
        }
        Ok(ProcessEnd::Stop)
    }

    async fn answer(&mut self, batch: ProcessBatch) -> Result<(), ProcessFault> {
        let number = batch.number;
        let events = batch.events.len();
        let why = match self.committer.hand_over(batch).await {
            ExternalCommitOutcome::Done => {
                self.backoff.reset();
                return self.supervisor.send(&encode::ok(number)).await;
            }
            ExternalCommitOutcome::Never(error) => {
                self.context.counters.generic_processing_fail.add(1);
                tracing::error!(
                    code = %codes::PROGRAM_BATCH_REFUSED,
                    source = %self.context.name,
                    %error,
                    "a batch of {} is refused for good; its process is notified, and must send others",
                    Quantity(events as u64, "event")
                );
                rest(self.context, self.backoff.fail()).await;
                error
            }
            ExternalCommitOutcome::Stopped(error) => error,
        };
        self.supervisor.send(&encode::failed(number, &why.to_string())).await
    }
}

/// Returns the next message of the process, unless it is silent for too long.
async fn next_message(
    supervisor: &mut ProcessSupervisor,
    most: usize,
    silence: Option<Duration>,
) -> Result<SourceMessage, ProcessFault> {
    let Some(within) = silence else { return supervisor.receive(most).await };
    let heard = tokio::time::timeout(within, supervisor.receive(most)).await;
    heard.unwrap_or(Err(ProcessFault::Timeout { what: "give a batch", within }))
}
