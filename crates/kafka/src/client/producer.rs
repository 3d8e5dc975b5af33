//! The producer.

use super::config::configured;
use super::consumer::{CommittedPlace, KafkaConsumer};
use super::deliveries::Deliveries;
use super::error::{ClientError, ErrorKind};
use super::events::{ClientEvents, LastError};
use super::topic::partition_numbers;
use crate::settings::ClientSettings;
use rdkafka::ClientContext;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, PurgeConfig, ThreadedProducer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::sync::Arc;
use std::time::Duration;

/// A record to send.
#[derive(Clone, Copy, Debug)]
pub struct OutRecord<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its partition; `None`: by its key, or any.
    pub partition: Option<i32>,
    /// Its key.
    pub key: Option<&'a [u8]>,
    /// Its value.
    pub value: &'a [u8],
    /// Its time in milliseconds since 1970; `None`: now.
    pub timestamp_ms: Option<i64>,
    /// Its headers.
    pub headers: &'a [(&'a str, &'a str)],
}

/// Why a record was not sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The memory for records that wait is full: send it again when others are delivered.
    Full,
    /// Another reason.
    Failed(ClientError),
}

struct ProducerEvents(ClientEvents);

impl ClientContext for ProducerEvents {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.0.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(&error, reason);
    }
}

/// The set of a record, and its number there.
type Place = Box<(Deliveries, usize)>;

impl ProducerContext for ProducerEvents {
    type DeliveryOpaque = Place;

    fn delivery(&self, result: &DeliveryResult<'_>, place: Place) {
        let (set, number) = *place;
        let fate = match result {
            Ok(_) => {
                self.0.last.clear();
                Ok(())
            }
            Err((error, _)) => {
                Err(ClientError::of("sending a record", error, self.0.last.text().as_deref()))
            }
        };
        set.settle(number, fate);
    }
}

/// A producer; clones are the same one. The last one that is dropped gives up what is under way.
#[derive(Clone)]
pub struct KafkaProducer {
    inner: Arc<ThreadedProducer<ProducerEvents>>,
    last: LastError,
}

impl KafkaProducer {
    /// Returns a producer of `component`, which its log lines name. It connects by itself. Blocks while it reads
    /// stores.
    ///
    /// # Errors
    /// A store or a value of the settings cannot be used.
    pub fn new(settings: &ClientSettings, component: &str) -> Result<Self, ClientError> {
        let config = configured(settings)?;
        let events = ClientEvents::new(component);
        let last = events.last.clone();
        let made = ThreadedProducer::from_config_and_context(&config, ProducerEvents(events));
        let inner = made.map_err(|e| ClientError::of("making a Kafka producer", &e, None))?;
        Ok(Self { inner: Arc::new(inner), last })
    }

    /// Sends a record as `number` of `set`. Its fate is known when the set is complete.
    ///
    /// # Errors
    /// It is not under way; the set does not have it.
    pub fn send(
        &self,
        record: &OutRecord<'_>,
        set: &Deliveries,
        number: usize,
    ) -> Result<(), SendError> {
        let mut out: BaseRecord<'_, [u8], [u8], Place> =
            BaseRecord::with_opaque_to(record.topic, Box::new((set.clone(), number)))
                .payload(record.value);
        out.key = record.key;
        out.partition = record.partition;
        out.timestamp = record.timestamp_ms;
        if !record.headers.is_empty() {
            let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
            for (key, value) in record.headers {
                headers = headers.insert(Header { key, value: Some(*value) });
            }
            out.headers = Some(headers);
        }
        set.add();
        self.inner.send(out).map_err(|(error, _)| {
            set.withdraw();
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => SendError::Full,
                _ => SendError::Failed(self.error("sending a record", &error)),
            }
        })
    }

    /// Gives up the records that wait and, with `in_flight`, those that are being sent: their fate is an error.
    pub fn give_up(&self, in_flight: bool) {
        let what = PurgeConfig::default().queue();
        self.inner.purge(if in_flight { what.inflight() } else { what });
    }

    /// Begins to use transactions: fences other producers of the same `transactional.id` and ends what they left
    /// open. Blocks.
    ///
    /// # Errors
    /// The brokers do not allow it, or not within `limit`.
    pub fn init_transactions(&self, limit: Duration) -> Result<(), ClientError> {
        let done = self.inner.init_transactions(limit);
        done.map_err(|error| self.error("beginning to use Kafka's transactions", &error))
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// Another one is open, or the producer can do nothing more.
    pub fn begin(&self) -> Result<(), ClientError> {
        self.inner
            .begin_transaction()
            .map_err(|error| self.error("beginning a transaction", &error))
    }

    /// Adds offsets and their metadata of the consumer group of `group` to the transaction. Blocks.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub fn send_offsets(
        &self,
        places: &[CommittedPlace],
        group: &KafkaConsumer,
        limit: Duration,
    ) -> Result<(), ClientError> {
        let doing = "adding offsets to a transaction";
        let mut list = TopicPartitionList::with_capacity(places.len());
        for place in places {
            let at = &place.at;
            let mut element = list.add_partition(&at.topic, at.partition);
            element
                .set_offset(Offset::Offset(place.offset))
                .map_err(|error| self.error(doing, &error))?;
            element.set_metadata(&place.metadata);
        }
        let group = group.group_metadata().ok_or_else(|| {
            ClientError::new(ErrorKind::Fatal, doing, &"the client has no consumer group")
        })?;
        self.inner
            .send_offsets_to_transaction(&list, &group, limit)
            .map_err(|error| self.error(doing, &error))
    }

    /// Commits the transaction. After a retriable error its outcome is not known: call it again. Blocks.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub fn commit(&self, limit: Duration) -> Result<(), ClientError> {
        self.inner
            .commit_transaction(limit)
            .map_err(|error| self.error("committing a transaction", &error))
    }

    /// Aborts the transaction and gives up its records. After a retriable error call it again. Blocks.
    ///
    /// # Errors
    /// See [`ErrorKind`].
    pub fn abort(&self, limit: Duration) -> Result<(), ClientError> {
        self.inner
            .abort_transaction(limit)
            .map_err(|error| self.error("aborting a transaction", &error))
    }

    /// Returns the numbers of a topic's partitions. Blocks.
    ///
    /// # Errors
    /// No broker replies within `limit`, or there is no such topic.
    pub fn partitions(&self, topic: &str, limit: Duration) -> Result<Vec<i32>, ClientError> {
        let found = self.inner.client().fetch_metadata(Some(topic), limit);
        found
            .and_then(|found| partition_numbers(&found))
            .map_err(|error| self.error("looking for a topic", &error))
    }

    /// Returns the error after which the client can do nothing more, if there was one.
    #[must_use]
    pub fn fatal(&self) -> Option<ClientError> {
        let (code, what) = self.inner.client().fatal_error()?;
        let of_code = ClientError::of("using the Kafka producer", &KafkaError::Global(code), None);
        let kind =
            if of_code.kind == ErrorKind::Fenced { ErrorKind::Fenced } else { ErrorKind::Fatal };
        Some(ClientError::new(kind, "using the Kafka producer", &what))
    }

    /// Returns the last error that the client reported by itself, such as a refused connection.
    #[must_use]
    pub fn last_error(&self) -> Option<String> {
        self.last.text()
    }

    fn error(&self, doing: &str, error: &KafkaError) -> ClientError {
        ClientError::of(doing, error, self.last.text().as_deref())
    }
}
