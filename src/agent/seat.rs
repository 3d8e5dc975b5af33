//! What sources and sinks need before they run, waiting for the channels that they work on.

use super::build::SinkPlan;
use crate::base::clock::Clock;
use crate::channel::Channel;
use crate::codes;
use crate::config::dead_letter::{DeadLetterPlace, DeadLetterSettings};
use crate::flow::awaited::{Awaited, Slot};
use crate::flow::context::StopSignal;
use crate::flow::drain::DrainAtStop;
use crate::flow::intake::NamedChannel;
use crate::flow::refused::{Grave, Policy, Refused};
use crate::flow::sink_runner::SinkRunner;
use crate::flow::spell::Spell;
use crate::flow::tap::Tap;
use crate::metrics::SinkCounters;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long a source waits for an optional channel that is being opened: what comes meanwhile would miss it, and
/// a file channel opens within a few seconds. One that cannot be opened is not waited for.
const OPTIONAL_FIRST: Duration = Duration::from_secs(10);

/// A sink whose channel may not be open yet.
pub(super) struct Seat {
    /// The agent's name.
    pub(super) agent: String,
    pub(super) plan: SinkPlan,
    pub(super) slot: Slot,
    /// Events of one transaction of it at most.
    pub(super) transaction_capacity: usize,
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
        Some(self.on(channel))
    }

    /// The sink on whatever there is of its channel by now.
    fn runner_at_once(self) -> SinkRunner {
        let open = self.slot.borrow().clone();
        let channel = open.unwrap_or_else(|| {
            let (name, slot) = (self.plan.channel.clone(), self.slot.clone());
            Arc::new(Awaited::new(name, slot, self.transaction_capacity))
        });
        self.on(channel)
    }

    fn on(self, channel: Arc<dyn Channel>) -> SinkRunner {
        let policy = self.plan.dead_letter.as_ref().and_then(|settings| self.policy(settings));
        SinkRunner {
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
        }
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

/// The sinks of a group once the channel of one of them is open; the others are idle until theirs is. None when
/// they are to stop first.
pub(super) async fn group(seats: Vec<Seat>) -> Option<Vec<SinkRunner>> {
    let open = seats.iter().map(|seat| Box::pin(opened(seat.slot.clone(), &seat.stop)));
    let mut open: Vec<_> = open.collect();
    let first = poll_fn(|context| {
        let ended = open.iter_mut().find_map(|open| match open.as_mut().poll(context) {
            Poll::Ready(open) => Some(open.is_some()),
            Poll::Pending => None,
        });
        ended.map_or(Poll::Pending, Poll::Ready)
    });
    let is_open = first.await;
    drop(open);
    is_open.then(|| seats.into_iter().map(Seat::runner_at_once).collect())
}

/// A channel that a source puts into.
pub(super) struct SourceChannel {
    pub(super) name: String,
    /// Filled once it takes events.
    pub(super) filled: Slot,
    /// `true` once it could not be opened.
    pub(super) failed: watch::Receiver<bool>,
    pub(super) transaction_capacity: usize,
    /// Whether some event may have to enter it.
    pub(super) required: bool,
}

/// The channels of the source of this name: those that an event may have to enter once they are open, the
/// optional ones as they are then, or a little later. None when it is to stop first.
pub(super) async fn channels_of_source(
    source: &str,
    channels: Vec<SourceChannel>,
    stop: &StopSignal,
) -> Option<Vec<NamedChannel>> {
    let mut open = Vec::new();
    let until = Instant::now() + OPTIONAL_FIRST;
    for SourceChannel { name, filled, mut failed, transaction_capacity, required } in channels {
        let channel = if required {
            opened(filled, stop).await?
        } else {
            tokio::select! {
                biased;
                is_open = opened(filled.clone(), stop) => is_open?,
                () = async {
                    tokio::select! {
                        _ = failed.wait_for(|failed| *failed) => {}
                        () = sleep_until(until) => {}
                    }
                } => {
                    tracing::warn!(
                        source,
                        channel = name,
                        "the source starts without this optional channel, which is not open: until it is, events do not enter it, and are counted"
                    );
                    Arc::new(Awaited::new(name.clone(), filled, transaction_capacity))
                }
            }
        };
        open.push(NamedChannel { name, channel });
    }
    Some(open)
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
