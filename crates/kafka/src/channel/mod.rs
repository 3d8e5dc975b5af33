//! `org.apache.flume.channel.kafka.KafkaChannel`: a channel whose events are the records of a Kafka topic.
//!
//! Limits: one topic; `transactionCapacity` events of a transaction; [`reader::BUFFER_BYTES_MAX`] of records that were
//! read and wait for takes, besides what librdkafka prefetches (`queued.max.messages.kbytes`).
//!
//! A put is sent when it commits, and committed when all in-sync replicas have each of its events ([`put`]). What can
//! never be sent is refused before anything of its put is sent: a partition that the topic does not have, a record
//! larger than `max.request.size`. The first take joins the consumer group ([`reader`]); a partition is lent to one open
//! take at a time ([`buffer`]), and its offset is committed when the take commits ([`take`]). The number of waiting
//! events is the lag of the group, read once a second ([`lag`]).
//!
//! The bytes are those of Flume's channel, so that Flume's agents and these share a topic.
//!
//! Invariants: an offset is committed only when all events before it are acknowledged; a partition is given up only
//! when no open take has events of it, or after [`reader::REVOCATION_MAX`].

mod buffer;
mod keys;
mod lag;
mod lock;
mod put;
mod reader;
mod state;
mod take;
#[cfg(test)]
mod tests;

use crate::client::{ClientError, KafkaProducer};
use keys::KafkaChannelSettings;
use lag::{EventCounts, LagWatch};
use millpond::{
    Channel, CloseError, CommittedOffset, Limits, PutTransaction, SourceOffsetError, Status,
    TakeTransaction,
};
use millpond_flow::channel_type::{ChannelContext, ChannelOpenError, ChannelOpener, ChannelType};
use millpond_flow::codes;
use millpond_flow::dead_letter::DeadLetterQueue;
use reader::Reader;
use state::ChannelState;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The type `kafka`.
pub const TYPE: ChannelType = ChannelType {
    names: &["kafka", "org.apache.flume.channel.kafka.KafkaChannel"],
    keys: &keys::KEYS,
    read: |reader| Ok(Arc::new(KafkaChannelOpener(Arc::new(KafkaChannelSettings::read(reader)?)))),
};

#[derive(Debug)]
struct KafkaChannelOpener(Arc<KafkaChannelSettings>);

impl ChannelOpener for KafkaChannelOpener {
    fn transaction_capacity(&self) -> usize {
        self.0.transaction_capacity
    }

    fn is_durable(&self) -> bool {
        true
    }

    fn open(&self, context: ChannelContext) -> Result<Arc<dyn Channel>, ChannelOpenError> {
        Ok(Arc::new(KafkaChannel::open(Arc::clone(&self.0), &context)?))
    }
}

/// A channel in a topic. Dropping it closes it.
struct KafkaChannel(Arc<ChannelState>);

impl KafkaChannel {
    fn open(
        settings: Arc<KafkaChannelSettings>,
        context: &ChannelContext,
    ) -> Result<Self, ChannelOpenError> {
        let failed = |error: ClientError| ChannelOpenError {
            code: &codes::STORE_UNUSABLE,
            what: format!(
                "the channel {} cannot use the brokers {}: {error}",
                context.name,
                settings.producer.servers()
            ),
        };
        let producer = KafkaProducer::new(&settings.producer, &context.name).map_err(failed)?;
        let dead_letters = settings.dead_letters.as_ref().map(|(directory, bytes_max)| {
            let names = [context.agent.as_str(), context.name.as_str()];
            DeadLetterQueue::file(directory, names, *bytes_max, Arc::clone(&context.clock))
        });
        let counts = Arc::new(EventCounts::default());
        let lag = LagWatch::begin(&settings, &context.name, &counts).map_err(failed)?;
        let reader = Arc::new(Reader::new(Arc::clone(&settings), context.name.clone()));
        Ok(Self(Arc::new(ChannelState {
            name: context.name.clone(),
            dead_letters,
            producer: Mutex::new(Some(producer)),
            reader,
            lag,
            settings,
            is_closed: AtomicBool::new(false),
            counts,
        })))
    }
}

impl Channel for KafkaChannel {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        Box::new(put::KafkaPut::new(Arc::clone(&self.0)))
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        Box::new(take::KafkaTake::new(Arc::clone(&self.0)))
    }

    fn limits(&self) -> Limits {
        let settings = &self.0.settings;
        Limits {
            capacity: settings.capacity,
            transaction_capacity: settings.transaction_capacity,
            transaction_bytes_max: usize::MAX,
            keep_alive: settings.keep_alive,
        }
    }

    fn status(&self) -> Status {
        let mut status = Status::default();
        let fault = self.0.lag.fault();
        let buffer = self.0.reader.buffer();
        status.events = self.0.lag.waiting(&self.0.counts);
        status.lent = buffer.lent_events();
        status.memory_bytes = buffer.bytes() as u64;
        drop(buffer);
        status.capacity = self.0.settings.capacity;
        (status.put, status.taken) = self.0.counts.now();
        status.fault = fault.map(|what| self.0.fault(&what));
        status
    }

    fn source_offset(&self, _source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        Ok(None)
    }

    fn close(&self) -> Result<(), CloseError> {
        if !self.0.is_closed.swap(true, Ordering::AcqRel) {
            self.0.lag.stop();
            self.0.reader.stop(CLOSE_MAX);
        }
        Ok(())
    }
}

/// How long a close waits until the consumer has left its group.
const CLOSE_MAX: Duration = Duration::from_secs(3);

impl Drop for KafkaChannel {
    fn drop(&mut self) {
        let _ = self.close();
    }
}
