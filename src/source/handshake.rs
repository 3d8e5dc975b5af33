//! TLS handshakes with clients, and why they fail.

use crate::base::limits::TLS_HANDSHAKE_SECONDS_MAX;
use crate::metrics::SourceCounters;
use crate::net::stream::Stream;
use crate::net::tls::{Reloading, ServerTls, handshake_error_kind};
use crate::net::zlib::Socket;
use crate::source::rejection_log::RejectionLog;
use tokio_rustls::server;

/// Why a handshake did not end well.
pub(super) struct NoTls {
    /// What tells one cause from another in the log: the cause may hold what a client has chosen.
    kind: &'static str,
    cause: String,
}

impl NoTls {
    /// It was not done in time.
    pub(super) fn late() -> Self {
        let cause = format!("not done within {TLS_HANDSHAKE_SECONDS_MAX} s");
        Self { kind: "handshake late", cause }
    }

    /// Counts and logs it; there is no connection then.
    pub(super) fn count(&self, counters: &SourceCounters, log: &RejectionLog) -> Option<Stream> {
        counters.event_read_fail.add(1);
        log.say(self.kind, &format!("no TLS with a client: {}", self.cause));
        None
    }
}

/// The handshake, with the stores as they are now.
pub(super) async fn shake_hands(
    tls: &Reloading<ServerTls>,
    source: &str,
    socket: Socket,
) -> Result<server::TlsStream<Socket>, NoTls> {
    let acceptor = tls.current(&format!("source {source}")).await;
    let acceptor = acceptor.map_err(|error| NoTls { kind: "stores", cause: error.to_string() })?;
    let shaken = acceptor.accept(socket).await;
    shaken.map_err(|error| NoTls { kind: handshake_error_kind(&error), cause: error.to_string() })
}
