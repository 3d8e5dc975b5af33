//! The options of an agent.

use super::config_origin::{ConfigOrigin, OriginAccess};
use super::own_settings;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// The options of an agent.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// The agent's name in the configuration.
    pub name: String,
    /// The configuration's origins; a later one's keys replace an earlier one's.
    pub origins: Vec<ConfigOrigin>,
    /// How its servers are accessed.
    pub access: OriginAccess,
    /// The directory with a backup of the last usable configuration, for a start without its
    /// origin.
    pub backup: Option<PathBuf>,
    /// The directory whose `millpond.properties` is read with the configuration.
    pub own_settings: Option<PathBuf>,
    /// The `-D` options, which override that file.
    pub properties: BTreeMap<String, String>,
    /// How long a stop may take.
    pub stop_deadline: Duration,
    /// Interval of checks for changes; `None` for on SIGHUP only.
    pub poll: Option<Duration>,
    /// Notes about the command line, to be logged once the log has begun.
    pub warnings: Vec<String>,
}

impl AgentOptions {
    /// Returns the options of the agent `name` of one file, with the defaults.
    #[must_use]
    pub fn new(name: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            origins: vec![ConfigOrigin::File(file.into())],
            access: OriginAccess::new(None, &BTreeMap::new()),
            backup: None,
            own_settings: None,
            properties: BTreeMap::new(),
            stop_deadline: STOP_DEADLINE,
            poll: Some(POLL),
            warnings: Vec::new(),
        }
    }
}

impl AgentOptions {
    /// Returns whether the agent waits for a configuration that can run, instead of ending: one in ZooKeeper may come
    /// at any time, unless reloading is off.
    pub(super) fn waits_for_configuration(&self) -> bool {
        let is_node = |origin: &ConfigOrigin| matches!(origin, ConfigOrigin::ZooKeeper(_));
        self.poll.is_some() && self.origins.iter().any(is_node)
    }
}

/// Returns the options, followed by those of `millpond.properties` as it is now, and warnings about
/// that file.
pub(super) fn effective(options: &AgentOptions) -> (BTreeMap<String, String>, Vec<String>) {
    let own = options.own_settings.as_deref().map(own_settings::read);
    let (mut properties, warnings) = own.unwrap_or_default();
    properties.extend(options.properties.clone());
    (properties, warnings)
}

/// How long a stop may take by default.
pub const STOP_DEADLINE: Duration = Duration::from_secs(20);

/// Default interval of checks of the configuration; as in Flume for files.
pub const POLL: Duration = Duration::from_secs(30);
