//! `external`: a process of a user's own gives batches of events, and hears when they are safe.
//!
//! Limits and keys: those of [`crate::flow::external`].
//!
//! The story: the process is told where it stands ([`ledger`]), gives a batch with the position behind
//! it, and hears that it is committed, or that it never can be. While the channels refuse, the batch
//! waits here and the process for its answer. Where every required channel is durable the position is
//! part of the batch's own transaction ([`place`]), so a process that goes on from the one it is told
//! neither loses nor repeats an event, whoever is killed when. To stop, it is told so; what it still
//! gives is committed while its grace lasts.
//!
//! Invariants: a process hears `ok` only after the commit; what it gave and did not hear of is, where
//! positions are durable, in all channels with its position or not at all for the next process.

mod ledger;
mod place;

#[cfg(test)]
mod tests;

use super::patience::rest;
use crate::base::quantity::Quantity;
use crate::channel::BoxFuture;
use crate::codes;
use crate::config::settings::{SettingError, SettingsReader};
use crate::flow::backoff::Backoff;
use crate::flow::external::{Companion, Fault, Given, Options, Role};
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::wire::external::read::Batch;
use crate::wire::external::write;
use ledger::{Ended, Ledger};
use std::time::Duration;
use tokio::time::timeout_at;

/// The type `external`.
pub const TYPE: SourceType = SourceType { names: &["external"], keys: Role::Source.keys(), build };

struct External {
    options: Options,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError> {
    Ok(Box::new(External { options: Options::read(reader, Role::Source)? }))
}

/// How the life of a process ended that did not fail.
enum Over {
    /// The source is to stop.
    Stop,
    /// It has nothing more to give.
    End,
}

impl Source for External {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let companion = Companion::new(self.options.clone());
            let ledger = Ledger::begin(context).await?;
            let backoff = Backoff::of_a_runner();
            let mut run = Run { context, options: &self.options, companion, ledger, backoff };
            run.lives().await;
            run.companion.stop().await;
            Ok(())
        })
    }
}

struct Run<'a> {
    context: &'a SourceContext,
    options: &'a Options,
    companion: Companion,
    ledger: Ledger<'a>,
    /// Behind batches that no channel takes.
    backoff: Backoff,
}

impl Run<'_> {
    /// One process after another, until the source is to stop or has given all.
    async fn lives(&mut self) {
        loop {
            rest(self.context, self.companion.rests_for()).await;
            if self.context.stop.fired() {
                return;
            }
            let capacity = self.context.intake.transaction_capacity().max(1);
            let most = self.options.batch_events.min(capacity);
            let started = tokio::select! {
                () = self.context.stop.wait() => return,
                started = self.companion.start(Some(self.ledger.place()), most) => started,
            };
            // What is wrong was said by the companion.
            if started.is_err() {
                self.context.counters.restarts.add(1);
                continue;
            }
            self.context.started();
            match self.life(most).await {
                Ok(Over::End | Over::Stop) => return,
                Err(fault) => {
                    self.context.counters.event_read_fail.add(1);
                    self.context.counters.restarts.add(1);
                    self.companion.end_broken(fault).await;
                }
            }
        }
    }

    /// Batches of one process.
    async fn life(&mut self, most: usize) -> Result<Over, Fault> {
        loop {
            let given = tokio::select! {
                () = self.context.stop.wait() => return self.last_batches(most).await,
                given = heard(&mut self.companion, most, self.options.silence) => given?,
            };
            match given {
                Given::Batch(batch) => self.answer(batch).await?,
                Given::End => return Ok(Over::End),
            }
        }
    }

    /// What the process still gives once it was told to stop.
    async fn last_batches(&mut self, most: usize) -> Result<Over, Fault> {
        let until = self.companion.tell_to_stop().await;
        while let Ok(Ok(Given::Batch(batch))) = timeout_at(until, self.companion.hear(most)).await {
            if self.answer(batch).await.is_err() {
                break;
            }
        }
        Ok(Over::Stop)
    }

    async fn answer(&mut self, batch: Batch) -> Result<(), Fault> {
        let number = batch.number;
        let events = batch.events.len();
        let why = match self.ledger.hand_over(batch).await {
            Ended::Done => {
                self.backoff.reset();
                return self.companion.say(&write::ok(number)).await;
            }
            Ended::Never(error) => {
                self.context.counters.generic_processing_fail.add(1);
                tracing::error!(
                    code = %codes::PROGRAM_BATCH_REFUSED,
                    source = %self.context.name,
                    %error,
                    "a batch of {} is refused for good; its process is told, and has to give others",
                    Quantity(events as u64, "event")
                );
                rest(self.context, self.backoff.fail()).await;
                error
            }
            Ended::Stopped(error) => error,
        };
        self.companion.say(&write::failed(number, &why.to_string())).await
    }
}

/// What the process gives next, unless it is silent for too long.
async fn heard(
    companion: &mut Companion,
    most: usize,
    silence: Option<Duration>,
) -> Result<Given, Fault> {
    let Some(within) = silence else { return companion.hear(most).await };
    let heard = tokio::time::timeout(within, companion.hear(most)).await;
    heard.unwrap_or(Err(Fault::Late { what: "give a batch", within }))
}
