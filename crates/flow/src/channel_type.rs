//! The trait of channels whose events another system stores, each a type of its own crate.
//!
//! The engine's channels are built by the agent itself. Any other channel declares a [`ChannelType`], and implements
//! [`Channel`] with transactions of its own: nothing else of the flow distinguishes it from the engine's.

use crate::codes::{Code, Coded};
use crate::metrics::ChannelCounters;
use crate::settings::{Key, SettingError, SettingsReader};
use millpond::{Channel, Clock};
use std::fmt::Debug;
use std::sync::Arc;

/// A type of channel: its names, its keys and its constructor. Each type declares one constant.
pub struct ChannelType {
    /// The names a configuration may use: the alias first, then Flume's class name.
    pub names: &'static [&'static str],
    /// The keys it knows, without `type`.
    pub keys: &'static [Key],
    /// Reads the settings; starts nothing and connects to nothing.
    pub read: ReadChannel,
}

/// Reads the settings of a channel.
pub type ReadChannel = fn(&mut SettingsReader<'_>) -> Result<Arc<dyn ChannelOpener>, SettingError>;

impl Debug for ChannelType {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_tuple("ChannelType").field(&self.names).finish()
    }
}

/// The settings of a channel, from which it is opened.
pub trait ChannelOpener: Debug + Send + Sync {
    /// Returns the most events of one transaction.
    fn transaction_capacity(&self) -> usize;

    /// Returns true if committed events outlive the process.
    fn is_durable(&self) -> bool;

    /// Opens the channel; may block, on a thread that may. A server that is away is not an error of the opening: the
    /// channel refuses puts and takes until it is there.
    ///
    /// # Errors
    /// It cannot be opened with its settings now, as with a key store that cannot be read; it is tried again.
    fn open(&self, context: ChannelContext) -> Result<Arc<dyn Channel>, ChannelOpenError>;
}

/// The context of a channel.
#[derive(Clone)]
pub struct ChannelContext {
    /// The agent's name.
    pub agent: String,
    /// The channel's name.
    pub name: String,
    /// The clock.
    pub clock: Arc<dyn Clock>,
    /// Its counters. The flow counts puts, takes and commits; the channel counts what only it knows.
    pub counters: Arc<ChannelCounters>,
}

/// Why a channel cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct ChannelOpenError {
    /// Its code.
    pub code: &'static Code,
    /// What could not be done, where, and what to do.
    pub what: String,
}

impl Coded for ChannelOpenError {
    fn code(&self) -> &'static Code {
        self.code
    }
}

#[cfg(test)]
mod tests;
