//! TLS handshakes with clients, and their failures.

use crate::source::rejection_log::RejectionLog;
use millpond_flow::base::limits::TLS_HANDSHAKE_SECONDS_MAX;
use millpond_flow::metrics::SourceCounters;
use millpond_flow::net::stream::Stream;
use millpond_flow::net::tls::{ServerTls, StoreReloader, handshake_error_kind};
use millpond_flow::net::zlib::Socket;
use tokio_rustls::server;

/// The failure of a handshake.
pub(super) struct HandshakeError {
    /// Distinguishes causes in the log throttle: the cause text may contain what a client chose.
    kind: &'static str,
    cause: String,
}

impl HandshakeError {
    /// Creates the failure of a handshake that timed out.
    pub(super) fn late() -> Self {
        let cause = format!("not done within {TLS_HANDSHAKE_SECONDS_MAX} s");
        Self { kind: "handshake late", cause }
    }

    /// Counts and logs the failure; returns no connection.
    pub(super) fn count(&self, counters: &SourceCounters, log: &RejectionLog) -> Option<Stream> {
        counters.event_read_fail.add(1);
        log.say(self.kind, &format!("no TLS with a client: {}", self.cause));
        None
    }
}

/// Performs the handshake with the current stores.
pub(super) async fn shake_hands(
    tls: &StoreReloader<ServerTls>,
    source: &str,
    socket: Socket,
) -> Result<server::TlsStream<Socket>, HandshakeError> {
    let acceptor = tls.current(&format!("source {source}")).await;
    let acceptor =
        acceptor.map_err(|error| HandshakeError { kind: "stores", cause: error.to_string() })?;
    let shaken = acceptor.accept(socket).await;
    shaken.map_err(|error| HandshakeError {
        kind: handshake_error_kind(&error),
        cause: error.to_string(),
    })
}
