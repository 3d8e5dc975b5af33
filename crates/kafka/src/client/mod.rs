//! A producer and a consumer of Kafka over librdkafka, with what source, sink and channel need and no more.
//!
//! [`KafkaProducer`] sends records in sets ([`Deliveries`]): who sends a set waits for the fate of each of its records.
//! It has Kafka's transactions too. [`KafkaConsumer`] returns records and changes of its assignment one after the other
//! ([`Polled`]), so that the caller of the poll decides when a partition is given up. Both have a thread of librdkafka's for each
//! broker; calls that block say so.
//!
//! What librdkafka logs goes to the agent's log at DEBUG; its last error is part of the errors here ([`ClientError`]),
//! which say whether the same call may succeed later, whether the record is refused for good, or whether the client has
//! to be made anew.
//!
//! Limits: memory for records that wait, `buffer.memory` of a producer and 16 MiB of a consumer; each blocking call has a
//! time limit from its caller.

mod config;
mod consumer;
mod deliveries;
mod error;
mod events;
mod producer;
#[cfg(test)]
pub(crate) mod tests;
mod topic;

pub use config::check;
pub use consumer::{
    CommittedPlace, KafkaConsumer, PartitionOffset, Polled, Record, TopicPartition,
};
pub use deliveries::{Deliveries, RefusedRecord};
pub use error::{ClientError, ErrorKind};
pub use producer::{KafkaProducer, OutRecord, SendError};
