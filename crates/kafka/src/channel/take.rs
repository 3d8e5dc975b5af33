//! A take: lends what the reader has read, and commits offsets.

use super::buffer::{Lent, Loan};
use super::state::{ChannelState, block_on, cause};
use crate::client::{ClientError, TopicPartition};
use millpond::{BoxFuture, CommitError, Event, Headers, RefusedReason, TakeError, TakeTransaction};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, timeout, timeout_at};

/// How long a commit waits for the broker; then it is in doubt, and its offsets are committed when the broker is back.
const COMMIT_MAX: Duration = Duration::from_secs(8);

pub(super) struct KafkaTake {
    channel: Arc<ChannelState>,
    loan: Loan,
    taken: usize,
    is_open: bool,
}

impl KafkaTake {
    pub(super) fn new(channel: Arc<ChannelState>) -> Self {
        let loan = channel.reader.buffer().begin();
        Self { channel, loan, taken: 0, is_open: true }
    }

    /// Ends the loan.
    fn end(&mut self, is_done: bool) {
        if std::mem::take(&mut self.is_open) {
            self.channel.reader.buffer().end(self.loan, is_done);
            self.channel.reader.note_return();
        }
    }

    async fn lend(&mut self, max: usize) -> Result<Vec<Event>, TakeError> {
        let channel = Arc::clone(&self.channel);
        let capacity = channel.settings.transaction_capacity;
        if channel.is_closed() {
            return Err(TakeError::Closed);
        }
        let room = capacity.saturating_sub(self.taken).min(max);
        if room == 0 {
            return if max == 0 {
                Ok(Vec::new())
            } else {
                Err(TakeError::TransactionFull { capacity })
            };
        }
        if channel.reader.consumer().is_none() {
            let reader = Arc::clone(&channel.reader);
            let started = tokio::task::spawn_blocking(move || reader.start().map(drop)).await;
            let started = started.unwrap_or_else(|defect| Err(ClientError::defect(&defect)));
            started.map_err(|error| TakeError::Unreadable(channel.fault(&error)))?;
        }
        let until = Instant::now() + channel.settings.keep_alive;
        loop {
            let changed = channel.reader.changed.notified();
            tokio::pin!(changed);
            // A change from here on ends the wait below.
            changed.as_mut().enable();
            if channel.is_closed() {
                return Err(TakeError::Closed);
            }
            let lent = channel.reader.buffer().lend(self.loan, room);
            match lent {
                Lent::Events(events) => {
                    self.taken += events.len();
                    return Ok(events);
                }
                Lent::Undecodable(at, offset, record) => {
                    self.store(&at, offset, record.value, &record.why).await?;
                    continue;
                }
                Lent::Nothing => {}
            }
            if timeout_at(until, changed).await.is_err() {
                let fault = channel.lag.fault().or_else(|| channel.reader.fault());
                return match fault {
                    Some(fault) => Err(TakeError::Unreadable(channel.fault(&fault))),
                    None => Ok(Vec::new()),
                };
            }
        }
    }

    /// Stores a record that is not an event in the dead letters.
    async fn store(
        &self,
        at: &TopicPartition,
        offset: i64,
        value: bytes::Bytes,
        why: &str,
    ) -> Result<(), TakeError> {
        let channel = &self.channel;
        let place = format!("{}[{}] at offset {offset}", at.topic, at.partition);
        let numbers = [at.partition.to_string(), offset.to_string()];
        let headers = [("topic", &*at.topic), ("partition", &numbers[0]), ("offset", &numbers[1])];
        let event = Event { headers: headers.into_iter().collect::<Headers>(), body: value };
        let stored = match &channel.dead_letters {
            Some(queue) => queue.store(&channel.name, &event, why).await,
            None => Err("there is no home directory; set deadLetter.directory".to_owned()),
        };
        match stored {
            Ok(()) => {
                tracing::warn!(
                    code = %millpond_flow::codes::EVENT_IN_DEAD_LETTERS,
                    channel = channel.name,
                    "a record is in the dead letters: {place}: {why}"
                );
                channel.reader.buffer().pass_stored(self.loan, at, offset);
                Ok(())
            }
            Err(error) => {
                let what = format!(
                    "{place}: {why}, and it cannot go to the dead letters: {error}; takes wait"
                );
                Err(TakeError::Unreadable(cause(what)))
            }
        }
    }

    async fn acknowledge(&mut self) -> Result<(), CommitError> {
        let channel = Arc::clone(&self.channel);
        if channel.is_closed() {
            self.end(false);
            return Err(CommitError::Refused(RefusedReason::Closed));
        }
        let (offsets, held) = channel.reader.buffer().offsets(self.loan);
        let events = self.taken as u64;
        if offsets.is_empty() && events == 0 {
            self.end(true);
            return Ok(());
        }
        let committed = self.commit_offsets(offsets.clone()).await;
        let mut buffer = channel.reader.buffer();
        match &committed {
            Ok(()) => buffer.confirm(&offsets),
            // They are delivered: the next commit, or the reader, tells the broker.
            Err(_) => buffer.add_unconfirmed(&offsets),
        }
        drop(buffer);
        self.end(true);
        committed.map_err(|error| CommitError::InDoubt(channel.fault(&error)))?;
        if held < events {
            let what = format!(
                "the group has given {} of the {events} events of a take to another member; they may be delivered again",
                events - held
            );
            return Err(CommitError::InDoubt(channel.fault(&what)));
        }
        channel.counts.add_taken(events);
        Ok(())
    }

    async fn commit_offsets(&self, offsets: Vec<(TopicPartition, i64)>) -> Result<(), ClientError> {
        let Some(consumer) = self.channel.reader.consumer().filter(|_| !offsets.is_empty()) else {
            return Ok(());
        };
        let commit = tokio::task::spawn_blocking(move || consumer.commit(&offsets, true));
        match timeout(COMMIT_MAX, commit).await {
            Ok(ended) => ended.unwrap_or_else(|defect| Err(ClientError::defect(&defect))),
            Err(_) => {
                let what = format!("not confirmed within {} s", COMMIT_MAX.as_secs());
                Err(ClientError::timed_out("committing offsets", &what))
            }
        }
    }
}

impl Drop for KafkaTake {
    fn drop(&mut self) {
        self.end(false);
    }
}

impl TakeTransaction for KafkaTake {
    fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError> {
        let channel = Arc::clone(&self.channel);
        let failed = |error: std::io::Error| TakeError::Unreadable(channel.fault(&error));
        block_on(self.lend(max)).map_err(failed)?
    }

    fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(self.lend(max))
    }

    fn taken(&self) -> usize {
        self.taken
    }

    fn commit(mut self: Box<Self>) -> Result<(), CommitError> {
        let channel = Arc::clone(&self.channel);
        let failed = |error: std::io::Error| CommitError::InDoubt(channel.fault(&error));
        block_on(async move { self.acknowledge().await }).map_err(failed)?
    }

    fn commit_async(mut self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(async move { self.acknowledge().await })
    }

    fn rollback(self: Box<Self>) {}
}
