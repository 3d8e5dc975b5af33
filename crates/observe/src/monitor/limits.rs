//! The limits of the monitoring server.

use std::time::Duration;

/// Connections open at once; for a further one, the connection that has been idle longest is
/// closed. A scraper needs one.
pub(super) const CONNECTIONS_MAX: usize = 64;

/// Longest head of a request, bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// Time without a request, and for one to arrive, as in Flume's server.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// Pause between attempts to listen.
pub(super) const LISTEN_AGAIN: Duration = Duration::from_secs(3);
