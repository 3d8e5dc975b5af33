//! What the clients of all sources take together.

use super::families::{Family, From, Kind, gauge};

const fn counter(name: &'static str, from: From, help: &'static str) -> Family {
    Family { name, kind: Kind::Counter, from, help }
}

/// Beside those of the process, for it has these limits.
pub(super) const CLIENTS: &[Family] = &[
    gauge(
        "millpond_clients_memory_bytes",
        From::Clients(|all| &all.memory_bytes),
        "Bytes that connections of sources and their requests hold, as the budget for all of them counts.",
    ),
    gauge(
        "millpond_clients_memory_max_bytes",
        From::Clients(|all| &all.memory_bytes_max),
        "Bytes of that budget: a quarter of the memory that the process may have, or millpond.clients.memoryBytes.",
    ),
    gauge(
        "millpond_clients_waiting",
        From::Clients(|all| &all.waiting),
        "Requests and lines that wait for memory of that budget.",
    ),
    counter(
        "millpond_clients_refused_total",
        From::Clients(|all| &all.refused),
        "Requests that were refused, or whose connection was closed, since no memory for them became free.",
    ),
    gauge(
        "millpond_clients_connections",
        From::Clients(|all| &all.connections),
        "Connections to all sources.",
    ),
    gauge(
        "millpond_clients_connections_max",
        From::Clients(|all| &all.connections_max),
        "Connections that the limit on open files leaves for clients.",
    ),
    counter(
        "millpond_clients_gave_way_total",
        From::Clients(|all| &all.gave_way),
        "Connections that were closed for others: the longest silent, or slow with a request that held memory.",
    ),
];
