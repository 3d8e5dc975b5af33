//! Log of rejected clients, throttled over all clients of a source.

use super::ip_filter::FilterDenied;
use millpond::Clock;
use millpond_flow::client_error_log::ClientErrorLog;
use std::net::SocketAddr;
use std::sync::Arc;

/// Logs why a client is rejected.
#[derive(Clone)]
pub(super) struct RejectionLog {
    name: Arc<str>,
    peer: SocketAddr,
    clock: Arc<dyn Clock>,
    denied_by: Arc<ClientErrorLog>,
}

impl RejectionLog {
    /// Creates the log for the client `peer` of `source`; `throttle` is shared by all its clients.
    pub(super) fn new(
        source: &Arc<str>,
        peer: SocketAddr,
        clock: &Arc<dyn Clock>,
        throttle: &Arc<ClientErrorLog>,
    ) -> Self {
        let (name, clock) = (Arc::clone(source), Arc::clone(clock));
        Self { name, peer, clock, denied_by: Arc::clone(throttle) }
    }

    /// Returns the name of the source.
    pub(super) fn source(&self) -> &str {
        &self.name
    }

    /// Logs each kind once, and again at intervals.
    pub(super) fn say(&self, kind: &'static str, cause: &str) {
        match self.denied_by.note(self.clock.now(), kind, cause) {
            Some(words) => tracing::warn!(source = %self.name, peer = %self.peer, "{words}"),
            None => tracing::debug!(source = %self.name, peer = %self.peer, "{cause}"),
        }
    }

    /// Logs each rule once, and again at intervals, with the properties of the denied client.
    pub(super) fn log_denied(&self, away: &FilterDenied) {
        let FilterDenied { cause, name, certificate } = away;
        // The cause names the rule, and nothing of the client.
        match self.denied_by.note_rule(self.clock.now(), cause, cause) {
            Some(words) => {
                tracing::warn!(source = %self.name, peer = %self.peer, name, certificate, "{words}");
            }
            None => {
                tracing::debug!(source = %self.name, peer = %self.peer, name, certificate, "{cause}");
            }
        }
    }
}
