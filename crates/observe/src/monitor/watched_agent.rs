//! What monitoring reads.

use super::alarm;
use super::history::MetricHistory;
use bytes::Bytes;
use millpond_flow::metrics::MetricsRegistry;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use tokio::runtime::Handle;
use tokio::sync::watch;

/// The flow graph, as configured.
#[derive(Clone, Debug, Default)]
pub struct FlowGraph {
    /// For programs.
    pub json: Bytes,
    /// Drawn.
    pub svg: Bytes,
}

/// What monitoring reads.
#[derive(Clone)]
pub struct WatchedAgent {
    /// The agent's name.
    pub name: String,
    /// The counters of all components.
    pub registry: Arc<MetricsRegistry>,
    /// The agent's threads, by what they are for.
    pub threads: Vec<(&'static str, Handle)>,
    /// Set while the agent stops.
    pub stopping: Arc<AtomicBool>,
    /// Its alarms.
    pub alarms: alarm::AlarmView,
    /// The flow of the running configuration.
    pub flow: watch::Receiver<FlowGraph>,
    /// The last hour; empty at first.
    pub history: Arc<MetricHistory>,
}
