//! The source `jms`: reads a queue or a topic of a JMS broker by AMQP 1.0, which is its protocol on the network.
//!
//! [`settings`] has the keys, [`provider_url`] the addresses, [`broker`] a connection with its link, [`message`] what
//! a message becomes, [`credit`] how many messages the broker may send, and [`source`] the loop.
#![cfg(feature = "client")]

mod broker;
mod charset;
mod credit;
mod java_number;
mod message;
mod provider_url;
mod settings;
mod source;

use millpond_flow::source::SourceType;

/// The types of sources that this crate has.
pub const SOURCE_TYPES: &[&SourceType] = &[&source::TYPE];
