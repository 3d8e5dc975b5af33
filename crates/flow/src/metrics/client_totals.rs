//! Memory and connections that the clients of all sources use.

use super::Counter;

/// Gauges and counters of the limits that all sources of an agent share.
#[derive(Debug, Default)]
pub struct ClientTotals {
    /// Bytes held by connections and their requests.
    pub memory_bytes: Counter,
    /// Limit of `memory_bytes`; 0 if no limit is configured.
    pub memory_bytes_max: Counter,
    /// Requests that wait for memory.
    pub waiting: Counter,
    /// Requests refused because no memory became free.
    pub refused: Counter,
    /// Open connections.
    pub connections: Counter,
    /// Connections that the file descriptors allow.
    pub connections_max: Counter,
    /// Connections that were closed to make room for others.
    pub gave_way: Counter,
}
