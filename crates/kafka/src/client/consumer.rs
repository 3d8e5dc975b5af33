//! The consumer.

use super::config::configured;
use super::error::{ClientError, ErrorKind};
use super::events::{ClientEvents, LastError};
use super::topic::partition_numbers;
use crate::settings::ClientSettings;
use bytes::Bytes;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{
    BaseConsumer, CommitMode, Consumer, ConsumerContext, ConsumerGroupMetadata, RebalanceProtocol,
};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A partition of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic.
    pub topic: Arc<str>,
    /// The number of the partition, from 0.
    pub partition: i32,
}

/// A partition and the offset of the record that is next there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionOffset {
    /// The partition.
    pub at: TopicPartition,
    /// The offset; `None`: where the group is, or by `auto.offset.reset`.
    pub offset: Option<i64>,
}

/// What a group has committed of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedPlace {
    /// The partition.
    pub at: TopicPartition,
    /// The offset of the record that is next.
    pub offset: i64,
    /// The text next to it.
    pub metadata: String,
}

/// A record that was read.
#[derive(Clone, Debug)]
pub struct Record {
    /// Where it is.
    pub at: TopicPartition,
    /// Its offset.
    pub offset: i64,
    /// Its time in milliseconds since 1970, if it has one.
    pub timestamp_ms: Option<i64>,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value; `None`: the key is deleted.
    pub value: Option<Bytes>,
    /// Its headers, in their order; a name may come several times.
    pub headers: Vec<(String, Bytes)>,
}

/// What a poll returned.
#[derive(Debug)]
pub enum Polled {
    /// A record.
    Record(Record),
    /// The group gives the consumer these partitions: call [`KafkaConsumer::assign`].
    Assigned(Vec<TopicPartition>),
    /// The group takes these partitions away: finish what was read of them, then call [`KafkaConsumer::unassign`].
    /// `lost`: others may have them already, and no offset of them can be committed.
    Revoked {
        /// The partitions.
        partitions: Vec<TopicPartition>,
        /// True if it is too late to commit.
        lost: bool,
    },
    /// Nothing within the time limit.
    Nothing,
    /// An error; after a retriable one the client goes on by itself.
    Failed(ClientError),
}

enum Change {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>, bool),
}

struct ConsumerEvents {
    events: ClientEvents,
    changes: Mutex<VecDeque<Change>>,
    closing: AtomicBool,
}

impl ClientContext for ConsumerEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.events.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.events.error(&error, reason);
    }
}

impl ConsumerContext for ConsumerEvents {
    /// Only notes the change: the group waits until the caller of the poll has assigned or given up.
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        change: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let is_assignment = change == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            // No caller polls any more.
            let _ = consumer.unassign();
            return;
        }
        let partitions = partitions(list);
        let change = if is_assignment {
            Change::Assigned(partitions)
        } else {
            Change::Revoked(partitions, consumer.assignment_lost())
        };
        self.changes.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<TopicPartition> {
    let of = |one: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| TopicPartition {
        topic: one.topic().into(),
        partition: one.partition(),
    };
    list.elements().iter().map(of).collect()
}

fn list_of<'a>(partitions: impl IntoIterator<Item = &'a TopicPartition>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for one in partitions {
        list.add_partition(&one.topic, one.partition);
    }
    list
}

/// A consumer of a group. All calls may block for their time limit. Dropping it leaves the group, which may take
/// seconds: do that where a thread may block.
pub struct KafkaConsumer {
    inner: BaseConsumer<ConsumerEvents>,
    last: LastError,
    /// The topic of the last record, so that those of one topic share its name.
    topic: Mutex<Arc<str>>,
}

impl KafkaConsumer {
    /// Returns a consumer of `component`, which its log lines name. It connects by itself.
    ///
    /// # Errors
    /// A store or a value of the settings cannot be used.
    pub fn new(settings: &ClientSettings, component: &str) -> Result<Self, ClientError> {
        let config = configured(settings)?;
        let events = ClientEvents::new(component);
        let last = events.last.clone();
        let context =
            ConsumerEvents { events, changes: Mutex::default(), closing: AtomicBool::new(false) };
        let inner = BaseConsumer::from_config_and_context(&config, context)
            .map_err(|error| ClientError::of("making a Kafka consumer", &error, None))?;
        Ok(Self { inner, last, topic: Mutex::new("".into()) })
    }

    /// Joins the group for these topics; one that begins with `^` is a regular expression.
    ///
    /// # Errors
    /// A name or an expression cannot be used.
    pub fn subscribe(&self, topics: &[&str]) -> Result<(), ClientError> {
        self.inner.subscribe(topics).map_err(|error| self.error("subscribing to topics", &error))
    }

    /// Returns the next record or change of the assignment, waiting for at most `limit`.
    #[must_use]
    pub fn poll(&self, limit: Duration) -> Polled {
        if let Some(change) = self.change() {
            return change;
        }
        match self.inner.poll(limit) {
            Some(Ok(message)) => {
                self.last.clear();
                Polled::Record(self.record(&message))
            }
            Some(Err(error)) => match error.rdkafka_error_code() {
                // The client tries again by itself; what holds it up is in its last error.
                Some(RDKafkaErrorCode::PartitionEOF | RDKafkaErrorCode::AllBrokersDown) => {
                    Polled::Nothing
                }
                _ => Polled::Failed(self.error("reading records", &error)),
            },
            None => self.change().unwrap_or(Polled::Nothing),
        }
    }

    fn change(&self) -> Option<Polled> {
        let changes = &self.inner.context().changes;
        let change = changes.lock().unwrap_or_else(PoisonError::into_inner).pop_front()?;
        Some(match change {
            Change::Assigned(partitions) => Polled::Assigned(partitions),
            Change::Revoked(partitions, lost) => Polled::Revoked { partitions, lost },
        })
    }

    fn record(&self, message: &BorrowedMessage<'_>) -> Record {
        let topic = {
            let mut known = self.topic.lock().unwrap_or_else(PoisonError::into_inner);
            if **known != *message.topic() {
                *known = message.topic().into();
            }
            Arc::clone(&known)
        };
        let headers = message.headers().map_or_else(Vec::new, |headers| {
            let all = headers.iter();
            all.map(|h| (h.key.to_owned(), Bytes::copy_from_slice(h.value.unwrap_or_default())))
                .collect()
        });
        Record {
            at: TopicPartition { topic, partition: message.partition() },
            offset: message.offset(),
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice),
            headers,
        }
    }

    /// Takes the partitions of [`Polled::Assigned`], each from its offset.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub fn assign(&self, partitions: &[PartitionOffset]) -> Result<(), ClientError> {
        let mut list = TopicPartitionList::new();
        for one in partitions {
            let offset = one.offset.map_or(Offset::Stored, Offset::Offset);
            list.add_partition_offset(&one.at.topic, one.at.partition, offset)
                .map_err(|error| self.error("taking partitions", &error))?;
        }
        let taken = match self.inner.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.inner.incremental_assign(&list),
            _ => self.inner.assign(&list),
        };
        taken.map_err(|error| self.error("taking partitions", &error))
    }

    /// Gives up the partitions of [`Polled::Revoked`].
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), ClientError> {
        let given_up = match self.inner.rebalance_protocol() {
            RebalanceProtocol::Cooperative => self.inner.incremental_unassign(&list_of(partitions)),
            _ => self.inner.unassign(),
        };
        given_up.map_err(|error| self.error("giving up partitions", &error))
    }

    /// Returns the partitions that it has.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.inner.assignment().map(|list| partitions(&list)).unwrap_or_default()
    }

    /// Stops fetching of all its partitions, or goes on. While it is paused, polls keep it in the group and return no
    /// record.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub fn pause(&self, is_paused: bool) -> Result<(), ClientError> {
        let list = list_of(&self.assignment());
        let done = if is_paused { self.inner.pause(&list) } else { self.inner.resume(&list) };
        done.map_err(|error| self.error("pausing", &error))
    }

    /// Reads a partition from this offset on; records that were read after it come again.
    ///
    /// # Errors
    /// The partition is not assigned, or not within `limit`.
    pub fn seek(
        &self,
        at: &TopicPartition,
        offset: i64,
        limit: Duration,
    ) -> Result<(), ClientError> {
        let done = self.inner.seek(&at.topic, at.partition, Offset::Offset(offset), limit);
        done.map_err(|error| self.error("moving to an offset", &error))
    }

    /// Commits offsets to the group: each is that of the next record. With `waits` it returns when the broker has them.
    ///
    /// # Errors
    /// The broker does not take them, or the partitions belong to another member.
    pub fn commit(
        &self,
        offsets: &[(TopicPartition, i64)],
        waits: bool,
    ) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let mut list = TopicPartitionList::new();
        for (at, offset) in offsets {
            list.add_partition_offset(&at.topic, at.partition, Offset::Offset(*offset))
                .map_err(|error| self.error("committing offsets", &error))?;
        }
        let mode = if waits { CommitMode::Sync } else { CommitMode::Async };
        self.inner.commit(&list, mode).map_err(|error| self.error("committing offsets", &error))
    }

    /// Returns what the group has committed of these partitions; those of which it has nothing are left out.
    ///
    /// # Errors
    /// The coordinator does not reply within `limit`.
    pub fn committed(
        &self,
        partitions: &[TopicPartition],
        limit: Duration,
    ) -> Result<Vec<CommittedPlace>, ClientError> {
        let asked = self.inner.committed_offsets(list_of(partitions), limit);
        let found = asked.map_err(|error| self.error("reading committed offsets", &error))?;
        let mut places = Vec::new();
        for one in found.elements() {
            one.error().map_err(|error| self.error("reading committed offsets", &error))?;
            if let Offset::Offset(offset) = one.offset() {
                let at = TopicPartition { topic: one.topic().into(), partition: one.partition() };
                places.push(CommittedPlace { at, offset, metadata: one.metadata().to_owned() });
            }
        }
        Ok(places)
    }

    /// Returns the first offset of a partition and the one after its last record.
    ///
    /// # Errors
    /// The broker does not reply within `limit`.
    pub fn bounds(&self, at: &TopicPartition, limit: Duration) -> Result<(i64, i64), ClientError> {
        let found = self.inner.fetch_watermarks(&at.topic, at.partition, limit);
        found.map_err(|error| self.error("reading the bounds of a partition", &error))
    }

    /// Returns the numbers of a topic's partitions.
    ///
    /// # Errors
    /// No broker replies within `limit`, or there is no such topic.
    pub fn partitions(&self, topic: &str, limit: Duration) -> Result<Vec<i32>, ClientError> {
        let found = self.inner.fetch_metadata(Some(topic), limit);
        found
            .and_then(|found| partition_numbers(&found))
            .map_err(|error| self.error("looking for a topic", &error))
    }

    /// Returns if a broker replies within `limit`; `topic` is one that it is asked for, or all with `None`.
    ///
    /// # Errors
    /// None does.
    pub fn probe(&self, topic: Option<&str>, limit: Duration) -> Result<(), ClientError> {
        let found = self.inner.fetch_metadata(topic, limit);
        found.map(drop).map_err(|error| self.error("reaching the brokers", &error))
    }

    /// Returns the last error that the client reported by itself, such as a refused connection.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last.text()
    }

    pub(super) fn group_metadata(&self) -> Option<ConsumerGroupMetadata> {
        self.inner.group_metadata()
    }

    fn error(&self, doing: &str, error: &KafkaError) -> ClientError {
        let mut error = ClientError::of(doing, error, self.last.text().as_deref());
        // What refuses a record of a producer may pass for a reader: a topic may come later.
        if error.kind == ErrorKind::Refused {
            error.kind = ErrorKind::Retriable;
        }
        error
    }
}

impl Drop for KafkaConsumer {
    fn drop(&mut self) {
        self.inner.context().closing.store(true, Ordering::Release);
        // A change that was not taken would hold up the end for ever.
        if self.change().is_some() {
            let _ = self.inner.unassign();
        }
    }
}
