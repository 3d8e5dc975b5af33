//! Why clients of a source do not get in, in the log: throttled over all of its clients.

use super::filter::TurnedAway;
use crate::base::clock::Clock;
use crate::flow::client_error_log::ClientErrorLog;
use std::net::SocketAddr;
use std::sync::Arc;

/// Says why a client does not get in.
#[derive(Clone)]
pub(super) struct RejectionLog {
    name: Arc<str>,
    peer: SocketAddr,
    clock: Arc<dyn Clock>,
    turned_away: Arc<ClientErrorLog>,
}

impl RejectionLog {
    /// For the client `peer` of `source`; `throttle` is that of all its clients.
    pub(super) fn new(
        source: &Arc<str>,
        peer: SocketAddr,
        clock: &Arc<dyn Clock>,
        throttle: &Arc<ClientErrorLog>,
    ) -> Self {
        let (name, clock) = (Arc::clone(source), Arc::clone(clock));
        Self { name, peer, clock, turned_away: Arc::clone(throttle) }
    }

    /// The name of the source.
    pub(super) fn source(&self) -> &str {
        &self.name
    }

    /// For each kind once, and now and then again.
    pub(super) fn say(&self, kind: &'static str, cause: &str) {
        match self.turned_away.note(self.clock.now(), kind, cause) {
            Some(words) => tracing::warn!(source = %self.name, peer = %self.peer, "{words}"),
            None => tracing::debug!(source = %self.name, peer = %self.peer, "{cause}"),
        }
    }

    /// For each rule once, and now and then again, with what its client was.
    pub(super) fn turn_away(&self, away: &TurnedAway) {
        let TurnedAway { cause, name, certificate } = away;
        // The cause names the rule, and nothing of the client.
        match self.turned_away.note_rule(self.clock.now(), cause, cause) {
            Some(words) => {
                tracing::warn!(source = %self.name, peer = %self.peer, name, certificate, "{words}");
            }
            None => {
                tracing::debug!(source = %self.name, peer = %self.peer, name, certificate, "{cause}");
            }
        }
    }
}
