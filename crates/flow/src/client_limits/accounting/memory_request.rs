//! A request for memory, and how it ended.

/// Memory that a connection asks for.
#[derive(Clone, Copy, Debug)]
pub(in crate::client_limits) enum MemoryRequest {
    /// This many bytes in all for the current request.
    Held(usize),
    /// This many more bytes for the lifetime of the connection.
    Kept(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client_limits) enum GrantOutcome {
    Granted,
    NotNow,
    Never,
}
