//! A put: what can never be sent is refused before the commit; the commit sends all events and waits for the brokers.

use super::state::{ChannelState, block_on, cause};
use crate::client::{ClientError, Deliveries, ErrorKind, KafkaProducer, OutRecord, SendError};
use crate::record;
use bytes::Bytes;
use millpond::internal::channel::check_event;
use millpond::{
    BoxFuture, CommitError, CommitFailure, Event, PutAllError, PutError, PutTransaction,
    RefusedReason,
};
use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

/// How long a commit looks for the topic's partitions.
const TOPIC_MAX: Duration = Duration::from_secs(5);
/// How long one request for them may take.
const TOPIC_CALL: Duration = Duration::from_secs(2);
/// How long a commit waits for the brokers, beyond the client's own `delivery.timeout.ms`.
const DELIVERY_SLACK: Duration = Duration::from_secs(2);
/// Pause while the client's memory is full.
const FULL_PAUSE: Duration = Duration::from_millis(5);
/// Bytes that Kafka adds to a record, at most.
const RECORD_BYTES: usize = 64;

/// Header with the key of a record.
const KEY: &str = "key";

pub(super) struct KafkaPut {
    channel: Arc<ChannelState>,
    events: Vec<Event>,
}

impl KafkaPut {
    pub(super) fn new(channel: Arc<ChannelState>) -> Self {
        Self { channel, events: Vec::new() }
    }

    /// Returns why no record can be made of the event.
    fn check(&self, event: &Event) -> Result<(), PutError> {
        check_event(event)?;
        let settings = &self.channel.settings;
        let key = event.headers.get(KEY).map_or(0, str::len);
        let value = match settings.as_datum {
            true => record::encoded_bytes(event),
            false => event.body.len(),
        };
        let (bytes, max) = (key + value + RECORD_BYTES, settings.record_bytes_max);
        if bytes > max {
            return Err(PutError::EventTooLarge { bytes, max });
        }
        let partition = self.partition(event)?;
        match (partition, self.channel.lag.partitions()) {
            (Some(partition), Some(known)) => check_partition(partition, &known),
            _ => Ok(()),
        }
    }

    /// Returns the partition that the event names.
    fn partition(&self, event: &Event) -> Result<Option<i32>, PutError> {
        let settings = &self.channel.settings;
        let header = settings.partition_header.as_ref();
        let Some(text) = header.and_then(|name| event.headers.get(name)) else {
            return Ok(settings.partition);
        };
        let number = text.trim().parse().ok().filter(|number| *number >= 0);
        let wrong = || {
            let shown: String = text.chars().take(40).collect();
            let what = format!("its partition \"{}\" is not a number from 0", shown.escape_debug());
            PutError::NoPlace(cause(what))
        };
        number.map(Some).ok_or_else(wrong)
    }

    async fn send(&self) -> Result<(), CommitError> {
        let channel = &self.channel;
        if channel.is_closed() {
            return Err(CommitError::Refused(RefusedReason::Closed));
        }
        if self.events.is_empty() {
            return Ok(());
        }
        // Nothing is under way yet: a refusal leaves nothing in the topic.
        if let Some(fault) = channel.lag.fault() {
            return Err(unreachable(channel, &fault));
        }
        let producer = channel.producer().map_err(|error| unreachable(channel, &error))?;
        let known = partitions(channel, &producer).await?;
        for event in &self.events {
            let partition = self.partition(event);
            let checked = partition.and_then(|p| p.map_or(Ok(()), |p| check_partition(p, &known)));
            checked.map_err(|e| CommitError::Refused(RefusedReason::Transaction(e)))?;
        }
        let sent = Deliveries::default();
        let mut unsent = None;
        for (number, event) in self.events.iter().enumerate() {
            if let Err(error) = self.send_one(&producer, event, &sent, number).await {
                unsent = Some((number, error));
                break;
            }
        }
        if let Some((0, error)) = &unsent {
            channel.note_producer_error(error);
            return Err(unreachable(channel, error));
        }
        let delivery_ms = channel.settings.producer.get("delivery.timeout.ms");
        let delivery_ms = delivery_ms.and_then(|ms| ms.parse().ok()).unwrap_or(30_000);
        let limit = Duration::from_millis(delivery_ms) + DELIVERY_SLACK;
        let fates = timeout(limit, sent.complete()).await;
        let Ok(failed) = fates else {
            let what = format!("not all events were confirmed within {} s", limit.as_secs());
            return Err(CommitError::InDoubt(channel.fault(&what)));
        };
        let delivered = unsent.as_ref().map_or(self.events.len(), |(number, _)| *number);
        let first = failed.into_iter().map(|one| one.error).collect::<Vec<_>>();
        let is_none_there = unsent.is_none()
            && first.len() == delivered
            && first.iter().all(|error| error.kind == ErrorKind::Refused);
        let Some(error) = unsent.map(|(_, error)| error).or(first.into_iter().next()) else {
            channel.counts.add_put(self.events.len() as u64);
            return Ok(());
        };
        channel.note_producer_error(&error);
        Err(match is_none_there {
            true if error.topic => unreachable(channel, &error),
            true => {
                let place = PutError::NoPlace(channel.fault(&error));
                CommitError::Refused(RefusedReason::Transaction(place))
            }
            false => CommitError::InDoubt(channel.fault(&error)),
        })
    }

    async fn send_one(
        &self,
        producer: &KafkaProducer,
        event: &Event,
        sent: &Deliveries,
        number: usize,
    ) -> Result<(), ClientError> {
        let settings = &self.channel.settings;
        let value: Cow<'_, [u8]> = match settings.as_datum {
            true => Cow::Owned(record::encode(event)),
            false => Cow::Borrowed(&event.body),
        };
        let record = OutRecord {
            topic: &settings.topic,
            partition: self.partition(event).unwrap_or(None),
            key: event.headers.get(KEY).map(str::as_bytes),
            value: &value,
            timestamp_ms: None,
            headers: &[],
        };
        let until = Instant::now() + TOPIC_MAX;
        loop {
            match producer.send(&record, sent, number) {
                Ok(()) => return Ok(()),
                Err(SendError::Failed(error)) => return Err(error),
                Err(SendError::Full) if Instant::now() < until => sleep(FULL_PAUSE).await,
                Err(SendError::Full) => {
                    let what = "the memory for records that wait (buffer.memory) stays full";
                    return Err(ClientError::timed_out("sending a record", &what));
                }
            }
        }
    }

    async fn finish(self: Box<Self>) -> Result<(), CommitFailure> {
        match self.send().await {
            Ok(()) => Ok(()),
            Err(error) => Err(CommitFailure::new(error, self)),
        }
    }
}

fn check_partition(partition: i32, known: &[i32]) -> Result<(), PutError> {
    if known.is_empty() || known.contains(&partition) {
        return Ok(());
    }
    let what = format!("the topic has {} partitions, and none is {partition}", known.len());
    Err(PutError::NoPlace(cause(what)))
}

fn unreachable(channel: &ChannelState, what: &dyn std::fmt::Display) -> CommitError {
    CommitError::Refused(RefusedReason::Unreachable(channel.fault(what)))
}

/// Returns the numbers of the topic's partitions; a broker that may makes the topic.
async fn partitions(
    channel: &ChannelState,
    producer: &KafkaProducer,
) -> Result<Arc<[i32]>, CommitError> {
    if let Some(known) = channel.lag.partitions() {
        return Ok(known);
    }
    let until = Instant::now() + TOPIC_MAX;
    loop {
        let (producer, topic) = (producer.clone(), channel.settings.topic.clone());
        let asked = move || producer.partitions(&topic, TOPIC_CALL);
        let found = tokio::task::spawn_blocking(asked).await;
        match found.unwrap_or_else(|defect| Err(ClientError::defect(&defect))) {
            Ok(found) => return Ok(channel.lag.note_partitions(found)),
            Err(error) if Instant::now() >= until => return Err(unreachable(channel, &error)),
            Err(_) => sleep(Duration::from_millis(100)).await,
        }
    }
}

impl PutTransaction for KafkaPut {
    fn put(&mut self, event: Event) -> Result<(), PutError> {
        self.check(&event)?;
        let capacity = self.channel.settings.transaction_capacity;
        if self.events.len() >= capacity {
            return Err(PutError::TransactionFull { capacity });
        }
        self.events.push(event);
        Ok(())
    }

    fn put_all(&mut self, events: &mut dyn Iterator<Item = Event>) -> Result<(), PutAllError> {
        let before = self.events.len();
        for (index, event) in events.enumerate() {
            if let Err(error) = self.put(event) {
                self.events.truncate(before);
                return Err(PutAllError { index, error });
            }
        }
        Ok(())
    }

    fn set_source_offset(&mut self, _source: &str, _source_offset: Bytes) {}

    fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        let channel = Arc::clone(&self.channel);
        match block_on(self.finish()) {
            Ok(ended) => ended,
            Err(error) => {
                let error = unreachable(&channel, &error);
                Err(CommitFailure { error, transaction: None })
            }
        }
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>> {
        Box::pin(self.finish())
    }

    fn rollback(self: Box<Self>) {}
}
