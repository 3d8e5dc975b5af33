//! Why clients of a source do not get in, in the log: throttled over all of its clients.

use super::filter::TurnedAway;
use crate::base::clock::Clock;
use crate::flow::spell::Spell;
use std::net::SocketAddr;
use std::sync::Arc;

/// Says why a client does not get in.
#[derive(Clone)]
pub(super) struct RejectionLog {
    name: Arc<str>,
    peer: SocketAddr,
    clock: Arc<dyn Clock>,
    turned_away: Arc<Spell>,
}

impl RejectionLog {
    /// For the client `peer` of `source`; `throttle` is that of all its clients.
    pub(super) fn new(
        source: &Arc<str>,
        peer: SocketAddr,
        clock: &Arc<dyn Clock>,
        throttle: &Arc<Spell>,
    ) -> Self {
        let (name, clock) = (Arc::clone(source), Arc::clone(clock));
        Self { name, peer, clock, turned_away: Arc::clone(throttle) }
    }

    /// The name of the source.
    pub(super) fn source(&self) -> &str {
        &self.name
    }

    /// For each cause once, and now and then again.
    pub(super) fn say(&self, cause: &str) {
        match self.turned_away.failed(self.clock.now(), cause) {
            Some(words) => tracing::warn!(source = %self.name, peer = %self.peer, "{words}"),
            None => tracing::debug!(source = %self.name, peer = %self.peer, "{cause}"),
        }
    }

    /// For each rule once, and now and then again, with what its client was.
    pub(super) fn turn_away(&self, away: &TurnedAway) {
        let TurnedAway { cause, name, certificate } = away;
        match self.turned_away.failed(self.clock.now(), cause) {
            Some(words) => {
                tracing::warn!(source = %self.name, peer = %self.peer, name, certificate, "{words}");
            }
            None => {
                tracing::debug!(source = %self.name, peer = %self.peer, name, certificate, "{cause}");
            }
        }
    }
}
