//! One membership in the group: collects batches, puts them, and follows the group's assignments.

use super::event;
use super::keys::KafkaSourceSettings;
use super::offsets::PutOffsets;
use crate::client::{ClientError, KafkaConsumer, PartitionOffset, Polled, Record, TopicPartition};
use millpond::internal::base::quantity::Quantity;
use millpond::{CommitError, Event};
use millpond_flow::backoff::Backoff;
use millpond_flow::codes;
use millpond_flow::dead_letter::DeadLetterQueue;
use millpond_flow::metrics::DropReason;
use millpond_flow::source::{Failure, SourceContext};
use millpond_flow::source_offset::{BatchOffset, StoredOffset};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};

/// Most bytes of the values of a batch; one more record may be there.
pub(super) const BATCH_BYTES_MAX: usize = 32 << 20;
/// How long one poll waits.
const POLL: Duration = Duration::from_millis(100);
/// How long one request to the brokers may take.
const CALL: Duration = Duration::from_secs(5);
/// How long a commit to the group is waited for; then it is done with the next one.
const COMMIT_MAX: Duration = Duration::from_secs(8);
/// How long a last commit and the end of a membership are waited for, each.
const CLOSE_MAX: Duration = Duration::from_secs(3);
/// How long the source looks away from full channels.
const FULL: Duration = Duration::from_millis(250);
/// Batches without a record and with an error of the client after which the brokers are asked.
const QUIET_POLLS: u32 = 5;
/// Pauses between two tries of a put: the step and the longest.
const PAUSE_STEP: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A membership in the group.
pub(super) struct Session {
    settings: Arc<KafkaSourceSettings>,
    consumer: Arc<KafkaConsumer>,
    offsets: PutOffsets,
    /// The number of the last batch in the channels; `None` where they keep no offsets.
    number: Option<u64>,
    dead_letters: Option<DeadLetterQueue>,
    is_paused: bool,
}

/// What was collected.
struct Collected {
    records: Vec<Record>,
    /// A change of the assignment, or an error.
    next: Polled,
}

impl Session {
    /// Joins the group.
    pub(super) async fn open(
        settings: Arc<KafkaSourceSettings>,
        context: &SourceContext,
    ) -> Result<Self, Failure> {
        let stored = context.intake.stored_offset().await;
        let stored =
            stored.map_err(|error| Failure::caused("its offset is not known yet", error))?;
        let (number, offsets) = continued(&context.name, stored);
        let (of_client, name) = (Arc::clone(&settings), context.name.clone());
        let made = blocking(move || {
            let consumer = KafkaConsumer::new(&of_client.client, &name)?;
            probe(&consumer, &of_client)?;
            let topics: Vec<&str> = of_client.topics.iter().map(String::as_str).collect();
            consumer.subscribe(&topics)?;
            Ok(consumer)
        });
        let consumer = made.await.map_err(|error| failure(&settings, error))?;
        let dead_letters = settings.dead_letters.as_ref().map(|(directory, bytes_max)| {
            let names = [settings.agent.as_str(), context.name.as_str()];
            DeadLetterQueue::file(directory, names, *bytes_max, Arc::clone(&context.clock))
        });
        let consumer = Arc::new(consumer);
        Ok(Self { settings, consumer, offsets, number, dead_letters, is_paused: false })
    }

    /// Reads until the stop signal.
    pub(super) async fn read(&mut self, context: &SourceContext) -> Result<(), Failure> {
        let mut quiet = 0;
        while !context.stop.fired() {
            let room = usize::try_from(context.intake.free_events()).unwrap_or(usize::MAX);
            let most = context.intake.transaction_capacity().max(1).min(self.settings.batch);
            if room == 0 {
                self.pause(true);
                let change = self.poll().await;
                self.follow(context, change).await?;
                sleep(FULL).await;
                continue;
            }
            self.pause(false);
            let Collected { records, next } = self.collect(context, most.min(room)).await;
            quiet = if records.is_empty() { quiet + 1 } else { 0 };
            if !records.is_empty() {
                context.counters.batch_received(records.len() as u64);
                if !self.put(context, &records).await? {
                    return Ok(());
                }
                context.counters.batch_accepted();
            }
            self.commit(COMMIT_MAX).await;
            self.follow(context, next).await?;
            if quiet >= QUIET_POLLS && self.consumer.last_error().is_some() {
                quiet = 0;
                let (consumer, settings) = (Arc::clone(&self.consumer), Arc::clone(&self.settings));
                let probed = blocking(move || probe(&consumer, &settings)).await;
                probed.map_err(|error| failure(&self.settings, error))?;
            }
        }
        Ok(())
    }

    /// Leaves the group; an end that takes long goes on by itself.
    pub(super) async fn close(mut self) {
        self.commit(CLOSE_MAX).await;
        let consumer = self.consumer;
        let _ = timeout(CLOSE_MAX, spawn_blocking(move || drop(consumer))).await;
    }

    fn pause(&mut self, is_paused: bool) {
        if self.is_paused != is_paused && self.consumer.pause(is_paused).is_ok() {
            self.is_paused = is_paused;
        }
    }

    async fn poll(&self) -> Polled {
        let consumer = Arc::clone(&self.consumer);
        let polled = spawn_blocking(move || consumer.poll(Duration::ZERO)).await;
        polled.unwrap_or_else(|defect| Polled::Failed(ClientError::defect(&defect)))
    }

    /// Collects up to `most` records.
    async fn collect(&self, context: &SourceContext, most: usize) -> Collected {
        let (consumer, stop) = (Arc::clone(&self.consumer), context.stop.clone());
        let (clock, duration) = (Arc::clone(&context.clock), self.settings.batch_duration);
        let collecting = spawn_blocking(move || {
            let (mut records, mut bytes) = (Vec::new(), 0);
            let until = clock.now() + duration;
            let mut next = Polled::Nothing;
            while records.len() < most && bytes < BATCH_BYTES_MAX && !stop.fired() {
                let left = until.saturating_sub(clock.now());
                if left.is_zero() {
                    break;
                }
                match consumer.poll(left.min(POLL)) {
                    Polled::Record(record) => {
                        bytes += record.value.as_ref().map_or(0, bytes::Bytes::len);
                        records.push(record);
                    }
                    Polled::Nothing => {}
                    change => {
                        next = change;
                        break;
                    }
                }
            }
            Collected { records, next }
        });
        collecting.await.unwrap_or_else(|defect| {
            let next = Polled::Failed(ClientError::defect(&defect));
            Collected { records: Vec::new(), next }
        })
    }

    /// Follows a change of the assignment.
    async fn follow(&mut self, context: &SourceContext, polled: Polled) -> Result<(), Failure> {
        match polled {
            Polled::Nothing | Polled::Record(_) => Ok(()),
            Polled::Assigned(partitions) => self.assign(partitions).await,
            Polled::Revoked { partitions, lost } => {
                if !lost {
                    self.commit(COMMIT_MAX).await;
                }
                let gone = self.consumer.unassign(&partitions);
                self.offsets.remove(&partitions);
                gone.map_err(|error| failure(&self.settings, error))
            }
            // It may be made later.
            Polled::Failed(error) if error.is_topic_missing => {
                context.client_error(
                    &self.settings.client.servers(),
                    "topic missing",
                    &error.to_string(),
                );
                Ok(())
            }
            Polled::Failed(error) => Err(failure(&self.settings, error)),
        }
    }

    /// Takes partitions, each from where the channels or the group are.
    async fn assign(&mut self, partitions: Vec<TopicPartition>) -> Result<(), Failure> {
        let (consumer, mut offsets) = (Arc::clone(&self.consumer), self.offsets.clone());
        let is_paused = self.is_paused;
        let taken = blocking(move || {
            let group = match partitions.is_empty() {
                true => Vec::new(),
                false => consumer.committed(&partitions, CALL)?,
            };
            let mut from = Vec::new();
            for at in partitions {
                let next = match offsets.has_put(&at) {
                    true => Some(consumer.bounds(&at, CALL)?.1),
                    false => None,
                };
                let offset = offsets.begin(&at, &group, next);
                from.push(PartitionOffset { at, offset });
            }
            consumer.assign(&from)?;
            if is_paused {
                consumer.pause(true)?;
            }
            Ok(offsets)
        });
        self.offsets = taken.await.map_err(|error| failure(&self.settings, error))?;
        Ok(())
    }

    /// Puts the records, in parts if the channels cannot take them together; returns false at a stop.
    async fn put(&mut self, context: &SourceContext, records: &[Record]) -> Result<bool, Failure> {
        let mut begin = 0;
        let mut part = records.len();
        while begin < records.len() {
            let end = (begin + part).min(records.len());
            match self.put_part(context, &records[begin..end]).await? {
                PartOutcome::Put => begin = end,
                PartOutcome::TooLarge => part = (end - begin).div_ceil(2),
                PartOutcome::Stopped => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Puts the records as one transaction.
    async fn put_part(
        &mut self,
        context: &SourceContext,
        records: &[Record],
    ) -> Result<PartOutcome, Failure> {
        let mut events = Vec::with_capacity(records.len());
        let mut ends = BTreeMap::new();
        for record in records {
            match event::of(&self.settings, record) {
                Ok(event) => events.push(event),
                Err(why) => {
                    context.counters.event_read_fail.add(1);
                    self.store(context, record, &why).await?;
                    context.counters.drops.add(DropReason::Unreadable, 1);
                }
            }
            ends.insert(record.at.clone(), record.offset + 1);
        }
        let mut backoff = Backoff::new(PAUSE_STEP, PAUSE_MAX);
        loop {
            let error = match self.enter(context, events.clone(), records.len(), &ends).await {
                Ok(()) => return Ok(PartOutcome::Put),
                Err(error) => error,
            };
            if error.never_fits() && records.len() > 1 {
                return Ok(PartOutcome::TooLarge);
            }
            if error.never_fits() && !events.is_empty() {
                self.store(context, &records[0], &error.to_string()).await?;
                context.counters.drops.add(DropReason::TooLarge, 1);
                events.clear();
                continue;
            }
            if context.stop.fired() {
                return Ok(PartOutcome::Stopped);
            }
            let events = Quantity(records.len() as u64, "record");
            let cause = format!(
                "the channel does not take a batch of {events}, which is tried again: {error}"
            );
            context.client_error(&self.settings.client.servers(), "not taken", &cause);
            tokio::select! {
                () = context.stop.wait() => {}
                () = sleep(backoff.fail()) => {}
            }
            self.stay_member(context).await?;
        }
    }

    /// Commits events to the channels, with the offsets after them where the channels keep those.
    async fn enter(
        &mut self,
        context: &SourceContext,
        events: Vec<Event>,
        records: usize,
        ends: &BTreeMap<TopicPartition, i64>,
    ) -> Result<(), CommitError> {
        match self.number {
            None => context.intake.commit(events).await?,
            Some(since) => {
                // Of records: a part of a batch has the same number, whatever of it is in the dead letters.
                let number = since + records as u64;
                let bytes = self.offsets.encode_with(ends);
                context.intake.commit_at(events, BatchOffset { number, since, bytes }).await?;
                self.number = Some(number);
            }
        }
        self.offsets.put(ends);
        Ok(())
    }

    /// Polls while a batch waits for the channels, so that the group keeps the member.
    async fn stay_member(&mut self, context: &SourceContext) -> Result<(), Failure> {
        self.pause(true);
        match self.poll().await {
            Polled::Revoked { .. } => Err(Failure::new(
                "the group takes partitions away while the channels take nothing; what was read is read again",
            )),
            change => self.follow(context, change).await,
        }
    }

    /// Commits to the group what the channels have; what fails is committed the next time.
    async fn commit(&mut self, limit: Duration) {
        let open = self.offsets.uncommitted();
        if open.is_empty() {
            return;
        }
        let (consumer, offsets) = (Arc::clone(&self.consumer), open.clone());
        let commit = blocking(move || consumer.commit(&offsets, true));
        match timeout(limit, commit).await {
            Ok(Ok(())) => self.offsets.commit(&open),
            Ok(Err(error)) => tracing::debug!(%error, "offsets are committed later"),
            Err(_) => tracing::debug!("offsets are committed later: the broker does not reply"),
        }
    }

    /// Stores a record in the dead letters.
    async fn store(
        &self,
        context: &SourceContext,
        record: &Record,
        why: &str,
    ) -> Result<(), Failure> {
        let at = &record.at;
        let place = format!("{}[{}] at offset {}", at.topic, at.partition, record.offset);
        let stored = match &self.dead_letters {
            Some(queue) => queue.store(&context.name, &event::undecodable(record), why).await,
            None => Err("there is no home directory; set deadLetter.directory".to_owned()),
        };
        stored.map_err(|error| {
            Failure::new(format!("{place}: {why}, and it cannot go to the dead letters: {error}"))
        })?;
        tracing::warn!(
            code = %codes::EVENT_IN_DEAD_LETTERS,
            source = %context.name,
            "a record is in the dead letters: {place}: {why}"
        );
        Ok(())
    }
}

/// How a part of a batch ended.
enum PartOutcome {
    Put,
    /// The channels can never take it as a whole.
    TooLarge,
    Stopped,
}

/// Returns where a source goes on that finds this offset in its channels.
fn continued(source: &str, stored: StoredOffset) -> (Option<u64>, PutOffsets) {
    let (newest, is_behind) = match stored {
        StoredOffset::Nowhere => return (None, PutOffsets::default()),
        StoredOffset::At { newest: None, .. } => return (Some(0), PutOffsets::default()),
        StoredOffset::At { newest: Some(newest), behind } => (newest, behind),
    };
    match PutOffsets::decode(newest.bytes.clone()) {
        Some(offsets) if !is_behind => (Some(newest.number), offsets),
        decoded => {
            if decoded.is_none() {
                tracing::warn!(
                    source,
                    "the channel has an offset of another source of this name; it goes on where the group is"
                );
            }
            // A batch that one of several channels lacks is put into all of them again, with a number of its own.
            let era = (newest.era() + 1).min(BatchOffset::ERA_LAST);
            (Some(BatchOffset::begin_of(era)), PutOffsets::default())
        }
    }
}

/// Returns if a broker replies.
fn probe(consumer: &KafkaConsumer, settings: &KafkaSourceSettings) -> Result<(), ClientError> {
    let topic = settings.topics.first().filter(|topic| !topic.starts_with('^'));
    consumer.probe(topic.map(String::as_str), CALL)
}

fn failure(settings: &KafkaSourceSettings, error: ClientError) -> Failure {
    Failure::caused(format!("the brokers {}", settings.client.servers()), error)
}

/// Runs a call that blocks.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ClientError> + Send + 'static,
) -> Result<T, ClientError> {
    spawn_blocking(work).await.unwrap_or_else(|defect| Err(ClientError::defect(&defect)))
}
