//! A channel and its name.

use millpond::Channel;
use std::sync::Arc;

/// A channel and its name.
#[derive(Clone)]
pub struct NamedChannel {
    /// The name in the configuration.
    pub name: String,
    /// The channel.
    pub channel: Arc<dyn Channel>,
}
