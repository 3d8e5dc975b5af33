//! Metrics of the clients of all sources together.

use super::metric_family::{MetricFamily, MetricType, ValueSource, gauge};

const fn counter(name: &'static str, from: ValueSource, help: &'static str) -> MetricFamily {
    MetricFamily { name, kind: MetricType::Counter, from, help }
}

/// Shown next to those of the process, which has these limits.
pub(super) const CLIENTS: &[MetricFamily] = &[
    gauge(
        "millpond_clients_memory_bytes",
        ValueSource::Clients(|all| &all.memory_bytes),
        "Bytes that connections of sources and their requests hold, as the budget for all of them counts.",
    ),
    gauge(
        "millpond_clients_memory_max_bytes",
        ValueSource::Clients(|all| &all.memory_bytes_max),
        "Bytes of that budget: a quarter of the memory that the process may have, or millpond.clients.memoryBytes.",
    ),
    gauge(
        "millpond_clients_waiting",
        ValueSource::Clients(|all| &all.waiting),
        "Requests and lines that wait for memory of that budget.",
    ),
    counter(
        "millpond_clients_refused_total",
        ValueSource::Clients(|all| &all.refused),
        "Requests that were refused, or whose connection was closed, since no memory became free for them.",
    ),
    gauge(
        "millpond_clients_connections",
        ValueSource::Clients(|all| &all.connections),
        "Connections to all sources.",
    ),
    gauge(
        "millpond_clients_connections_max",
        ValueSource::Clients(|all| &all.connections_max),
        "Connections that the limit on open files leaves for clients.",
    ),
    counter(
        "millpond_clients_gave_way_total",
        ValueSource::Clients(|all| &all.gave_way),
        "Connections that were evicted for others: idle for longest, or slow with a request that held memory.",
    ),
];
