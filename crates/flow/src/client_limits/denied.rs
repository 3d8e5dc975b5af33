//! Why a connection is not admitted, or gets no memory.

use crate::base::limits::REQUEST_ROOM_SECONDS_MAX;

/// Why a request gets no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemoryDenied {
    /// None became free in time.
    #[error("no memory for it became free in {REQUEST_ROOM_SECONDS_MAX} s")]
    NotInTime,
    /// It exceeds the largest request.
    #[error(
        "it takes more memory than a request may; lower the batch size of the clients, or raise millpond.clients.memoryBytes"
    )]
    TooLarge,
}

/// Why a connection is not admitted and none can be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdmissionDenied {
    /// The source has as many as it may have.
    Source,
    /// All sources together have as many as the file descriptors allow.
    Descriptors,
    /// The memory for connections is used up.
    Memory,
    /// The source, or the address, has used up its share while there are others.
    Share,
    /// Evicted connections have not closed yet; the caller may try again at once.
    Leaving,
}

impl AdmissionDenied {
    /// Returns the name of the limit and what sets it.
    #[must_use]
    pub fn cause(self) -> &'static str {
        match self {
            Self::Source => "maxConnections of the source",
            Self::Descriptors => {
                "the process's limit on open files (ulimit -n, LimitNOFILE), a part of which is kept for channels and sinks"
            }
            Self::Memory => "the memory for clients (millpond.clients.memoryBytes)",
            Self::Share => {
                "the share that one source or one address has of all connections (the limit on open files) and of the memory for clients (millpond.clients.memoryBytes)"
            }
            Self::Leaving => "evicted connections that have not closed yet",
        }
    }
}
