//! What all clients of an agent's sources take together.

use super::Counter;

/// Gauges and counters of the limits that all sources share.
#[derive(Debug, Default)]
pub struct ClientTotals {
    /// Bytes that connections and their requests hold.
    pub memory_bytes: Counter,
    /// Bytes that they may hold; 0 where nobody has set a limit.
    pub memory_bytes_max: Counter,
    /// Requests that wait for memory.
    pub waiting: Counter,
    /// Requests that were refused because no memory became free.
    pub refused: Counter,
    /// Connections that are open.
    pub connections: Counter,
    /// Connections that the file descriptors allow.
    pub connections_max: Counter,
    /// Connections that were closed to make room for others.
    pub gave_way: Counter,
}
