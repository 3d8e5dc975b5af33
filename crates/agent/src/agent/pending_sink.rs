//! Sources and sinks that wait for their channels before they run.

use super::build::SinkPlan;
use millpond::{Channel, Clock};
use millpond_flow::codes;
use millpond_flow::context::StopSignal;
use millpond_flow::dead_letter::{DeadLetterPolicy, DeadLetterQueue, RefusedEvents};
use millpond_flow::failure_log::FailureLog;
use millpond_flow::intake::NamedChannel;
use millpond_flow::metrics::SinkCounters;
use millpond_flow::pending_channel::{ChannelSlot, PendingChannel};
use millpond_flow::settings::dead_letter::{DeadLetterPlace, DeadLetterSettings};
use millpond_flow::sink_runner::SinkRunner;
use millpond_flow::stop_drain::DrainAtStop;
use millpond_flow::tap::Tap;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

/// How long a source waits for an optional channel that is being opened: events would miss it
/// meanwhile, and a file channel opens within a few seconds. A channel that cannot be opened is not
/// waited for.
const OPTIONAL_FIRST: Duration = Duration::from_secs(10);

/// A sink whose channel may not be open yet.
pub(super) struct PendingSink {
    /// The agent's name.
    pub(super) agent: String,
    pub(super) plan: SinkPlan,
    pub(super) slot: ChannelSlot,
    /// Events of one transaction of it at most.
    pub(super) transaction_capacity: usize,
    /// The channel into which it puts refused events.
    pub(super) dead_letters: Option<ChannelSlot>,
    pub(super) counters: Arc<SinkCounters>,
    pub(super) tap: Arc<Tap>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) stop: StopSignal,
    pub(super) tried: watch::Sender<bool>,
    pub(super) started: watch::Sender<bool>,
    pub(super) drain_at_stop: Arc<DrainAtStop>,
}

impl PendingSink {
    /// Returns the sink with its channel; None if the stop comes first.
    pub(super) async fn runner(self) -> Option<SinkRunner> {
        let channel = opened(self.slot.clone(), &self.stop).await?;
        Some(self.on(channel))
    }

    /// Returns the sink with the current state of its channel.
    fn runner_at_once(self) -> SinkRunner {
        let open = self.slot.borrow().clone();
        let channel = open.unwrap_or_else(|| {
            let (name, slot) = (self.plan.channel.clone(), self.slot.clone());
            Arc::new(PendingChannel::new(name, slot, self.transaction_capacity))
        });
        self.on(channel)
    }

    fn on(self, channel: Arc<dyn Channel>) -> SinkRunner {
        let policy = self.plan.dead_letter.as_ref().and_then(|settings| self.policy(settings));
        SinkRunner {
            refused: RefusedEvents::new(policy),
            failure_log: FailureLog::default(),
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

    /// Returns the destination of refused events.
    fn policy(&self, settings: &DeadLetterSettings) -> Option<DeadLetterPolicy> {
        let clock = Arc::clone(&self.clock);
        let dead_letter_queue = match (&settings.place, &self.dead_letters) {
            (DeadLetterPlace::Directory { path, bytes_max }, _) => {
                DeadLetterQueue::file(path, [&self.agent, &self.plan.name], *bytes_max, clock)
            }
            (DeadLetterPlace::Channel(name), Some(open)) => {
                DeadLetterQueue::channel(name, open.clone(), clock)
            }
            (DeadLetterPlace::Channel(name), None) => {
                tracing::error!(
                    code = %codes::DEAD_LETTER_CHANNEL_ABSENT,
                    sink = self.plan.name,
                    "its deadLetter.channel {name} does not exist: refused events stay in the channel"
                );
                return None;
            }
        };
        Some(DeadLetterPolicy { after: settings.after_refusals, dead_letter_queue })
    }
}

/// Returns the sinks of a group once the channel of one of them is open; the others are idle until
/// theirs is. None if the stop comes first.
pub(super) async fn group(pending_sinks: Vec<PendingSink>) -> Option<Vec<SinkRunner>> {
    let open = pending_sinks
        .iter()
        .map(|pending_sink| Box::pin(opened(pending_sink.slot.clone(), &pending_sink.stop)));
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
    is_open.then(|| pending_sinks.into_iter().map(PendingSink::runner_at_once).collect())
}

/// A channel that a source puts into.
pub(super) struct SourceChannel {
    pub(super) name: String,
    /// Filled once it accepts events.
    pub(super) filled: ChannelSlot,
    /// `true` once it could not be opened.
    pub(super) failed: watch::Receiver<bool>,
    pub(super) transaction_capacity: usize,
    /// Whether some event may require it.
    pub(super) required: bool,
}

/// Returns the channels of the source of this name: required ones once they are open, optional ones
/// as they are then, or a little later. None if the stop comes first.
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
                    Arc::new(PendingChannel::new(name.clone(), filled, transaction_capacity))
                }
            }
        };
        open.push(NamedChannel { name, channel });
    }
    Some(open)
}

/// Returns the channels into which these sinks put refused events.
pub(super) fn dead_letters(sinks: &[SinkPlan]) -> Vec<String> {
    let place = |sink: &SinkPlan| match &sink.dead_letter.as_ref()?.place {
        DeadLetterPlace::Channel(name) => Some(name.clone()),
        DeadLetterPlace::Directory { .. } => None,
    };
    sinks.iter().filter_map(place).collect()
}

/// Returns the channel once it is open; None if the stop comes first.
pub(super) async fn opened(mut slot: ChannelSlot, stop: &StopSignal) -> Option<Arc<dyn Channel>> {
    tokio::select! {
        biased;
        () = stop.wait() => None,
        open = slot.wait_for(Option::is_some) => open.ok()?.clone(),
    }
}
