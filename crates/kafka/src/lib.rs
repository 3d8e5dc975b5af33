//! Source, sink and channel of Apache Kafka, as Flume has them.
//!
//! [`settings`] translates the settings of Java's Kafka client, which Flume's configurations have, into those of
//! librdkafka. [`record`] is the form of an event as the value of a Kafka record. [`client`] are a producer and a
//! consumer over librdkafka, as small as source, sink and channel need them; it and what uses it is compiled with the
//! feature `client`, because librdkafka takes a C compiler, make and two minutes.

#[cfg(feature = "client")]
pub mod channel;
#[cfg(feature = "client")]
pub mod client;
#[cfg(feature = "client")]
mod dead_letters;
pub mod record;
pub mod settings;
#[cfg(feature = "client")]
pub mod sink;
#[cfg(feature = "client")]
pub mod source;
#[cfg(feature = "client")]
mod topic_name;

/// The types of channels that this crate has.
#[cfg(feature = "client")]
pub const CHANNEL_TYPES: &[&millpond_flow::channel_type::ChannelType] = &[&channel::TYPE];

/// The types of sinks that this crate has.
#[cfg(feature = "client")]
pub const SINK_TYPES: &[&millpond_flow::sink::SinkType] = &[&sink::TYPE];

/// The types of sources that this crate has.
#[cfg(feature = "client")]
pub const SOURCE_TYPES: &[&millpond_flow::source::SourceType] = &[&source::TYPE];
