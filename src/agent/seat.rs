//! What a sink needs before it runs, waiting for the channels that it works on.

use super::build::SinkPlan;
use crate::base::clock::Clock;
use crate::channel::Channel;
use crate::codes;
use crate::config::dead_letter::{DeadLetterPlace, DeadLetterSettings};
use crate::flow::context::StopSignal;
use crate::flow::drain::DrainAtStop;
use crate::flow::refused::{Grave, Policy, Refused};
use crate::flow::sink_runner::SinkRunner;
use crate::flow::spell::Spell;
use crate::flow::tap::Tap;
use crate::metrics::SinkCounters;
use std::sync::Arc;
use tokio::sync::watch;

/// A channel once it is open.
pub(super) type Slot = watch::Receiver<Option<Arc<dyn Channel>>>;

/// A sink whose channel may not be open yet.
pub(super) struct Seat {
    /// The agent's name.
    pub(super) agent: String,
    pub(super) plan: SinkPlan,
    pub(super) slot: Slot,
    /// The channel into which it puts what is refused.
    pub(super) dead_letters: Option<Slot>,
    pub(super) counters: Arc<SinkCounters>,
    pub(super) tap: Arc<Tap>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: StopSignal,
    pub(super) tried: watch::Sender<bool>,
    pub(super) started: watch::Sender<bool>,
    pub(super) drain_at_stop: Arc<DrainAtStop>,
}

impl Seat {
    /// The sink with its channel; None when it is to stop first.
    pub(super) async fn runner(self) -> Option<SinkRunner> {
        let channel = opened(self.slot.clone(), &self.stop).await?;
        let policy = self.plan.dead_letter.as_ref().and_then(|settings| self.policy(settings));
        Some(SinkRunner {
            refused: Refused::new(policy),
            spell: Spell::default(),
            agent: self.agent,
            tap: self.tap,
            name: self.plan.name,
            make: self.plan.make,
            channel,
            counters: self.counters,
            clock: self.clock,
            stop: self.stop,
            tried: self.tried,
            started: self.started,
            drain_at_stop: self.drain_at_stop,
        })
    }

    /// What becomes of refused events.
    fn policy(&self, settings: &DeadLetterSettings) -> Option<Policy> {
        let clock = Arc::clone(&self.clock);
        let grave = match (&settings.place, &self.dead_letters) {
            (DeadLetterPlace::Directory { path, bytes_max }, _) => {
                Grave::file(path, [&self.agent, &self.plan.name], *bytes_max, clock)
            }
            (DeadLetterPlace::Channel(name), Some(open)) => {
                Grave::channel(name, open.clone(), clock)
            }
            (DeadLetterPlace::Channel(name), None) => {
                tracing::error!(
                    code = %codes::DEAD_LETTER_CHANNEL_ABSENT,
                    sink = self.plan.name,
                    "its deadLetter.channel {name} is not there: what is refused stays"
                );
                return None;
            }
        };
        Some(Policy { after: settings.after_refusals, grave })
    }
}

/// The channels into which these sinks put what is refused.
pub(super) fn dead_letters(sinks: &[SinkPlan]) -> Vec<String> {
    let place = |sink: &SinkPlan| match &sink.dead_letter.as_ref()?.place {
        DeadLetterPlace::Channel(name) => Some(name.clone()),
        DeadLetterPlace::Directory { .. } => None,
    };
    sinks.iter().filter_map(place).collect()
}

/// The channel once it is open; None when the component is to stop first.
pub(super) async fn opened(mut slot: Slot, stop: &StopSignal) -> Option<Arc<dyn Channel>> {
    tokio::select! {
        biased;
        () = stop.wait() => None,
        open = slot.wait_for(Option::is_some) => open.ok()?.clone(),
    }
}
