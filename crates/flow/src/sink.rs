//! The trait of sinks.

use crate::event_set::EventPlace;
use crate::metrics::DropReason;
use crate::settings::{Key, SettingError, SettingsReader};
use millpond::{BoxFuture, Channel, Event, EventRange};
use std::sync::Arc;
use std::time::Duration;

pub use super::context::{Failure, RefusedEvent, SinkContext};

/// A type of sink: its names, its keys and its constructor. Each adapter declares one constant.
pub struct SinkType {
    /// The names a configuration may use: the alias first, then Flume's class name.
    pub names: &'static [&'static str],
    /// The keys it knows, without those that every sink has (`type`, `channel`).
    pub keys: &'static [Key],
    /// Reads the settings; starts nothing and opens nothing.
    pub build: fn(&mut SettingsReader<'_>) -> Result<Box<dyn Sink>, SettingError>,
}

/// Where the events of a batch are in their channel.
#[derive(Clone)]
pub struct BatchPlace {
    /// The channel, with its identity and what it has acknowledged.
    pub channel: Arc<dyn Channel>,
    /// The places, in the order of the batch; as many as it has events. `None` if the channel's events have no lasting
    /// places.
    pub ranges: Option<Vec<EventRange>>,
}

impl BatchPlace {
    /// Returns the channel's identity and the place of each of the `count` events of the batch; `None` if they have no
    /// lasting places.
    #[must_use]
    pub fn events(&self, count: usize) -> Option<(u128, Vec<EventPlace>)> {
        let (channel, ranges) = self.channel.identity().zip(self.ranges.as_ref())?;
        let all = ranges.iter().flat_map(|range| {
            let stripe = range.stripe.0;
            (range.start..range.end).map(move |sequence| EventPlace { stripe, sequence })
        });
        let places: Vec<EventPlace> = all.collect();
        (places.len() == count).then_some((channel, places))
    }
}

/// A sink: delivers events that the flow took from the channel.
///
/// The flow takes a batch and calls [`Sink::deliver`]. On success it commits the take; otherwise it rolls the
/// take back, backs off and tries again. So `deliver` may return Ok only once the events are safe at the
/// destination.
pub trait Sink: Send {
    /// Returns the most events of one take transaction.
    fn batch_events(&self) -> usize;

    /// Tries the local part of [`Sink::start`] and of the first connection (stores, directories), without keeping
    /// or changing anything and without contacting a server. A reload calls it before the running sink is
    /// stopped.
    ///
    /// # Errors
    /// It could not start with its configuration.
    fn preflight(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    /// Opens its destination. After an error the flow calls it again, with back-off.
    ///
    /// # Errors
    /// It cannot be opened.
    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>>;

    /// Delivers the whole `batch`, which has at least one event.
    ///
    /// # Errors
    /// It is not delivered, or not known to be: the batch is delivered again.
    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// Like [`Sink::deliver`], while the previous batch is still being acknowledged. Nothing of `batch` may count
    /// as delivered before `earlier` has resolved, so that a crash never repeats more than one batch; but a sink
    /// may prepare it meanwhile. If `earlier` resolves to false nothing is delivered.
    ///
    /// # Errors
    /// As [`Sink::deliver`], or `earlier` resolved to false.
    fn deliver_pipelined<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
        earlier: BoxFuture<'a, bool>,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            if earlier.await {
                return self.deliver(context, batch).await;
            }
            Err(Failure::new("the batch before it was not acknowledged"))
        })
    }

    /// Returns true if [`Sink::place`] must be called before each delivery: for a sink that remembers which events it
    /// has delivered. It may be the only one that takes from its channel. False by default.
    fn wants_place(&self) -> bool {
        false
    }

    /// Notes where the events of the next batch are in the channel. By the time that batch is delivered, the one before
    /// it is acknowledged or comes again.
    fn place(&mut self, place: BatchPlace) {
        let _ = place;
    }

    /// Returns true if it can deliver without connecting first; only sinks with a connection return false. While
    /// a sink is not ready, the others of its group take the turns until [`Sink::connect`] has succeeded.
    fn is_ready(&mut self) -> bool {
        true
    }

    /// Connects, if it is not connected. If it is dropped while it waits, the sink has no connection.
    ///
    /// # Errors
    /// It cannot be connected.
    fn connect<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = context;
        Box::pin(async { Ok(()) })
    }

    /// Returns true if its destination may refuse events for good ([`Failure::refused`]). False by default.
    fn may_refuse(&self) -> bool {
        false
    }

    /// Returns true if its refused events go to a directory below the home directory where the configuration sets no
    /// `deadLetter.*`, instead of blocking the channel. False by default.
    fn has_own_dead_letters(&self) -> bool {
        false
    }

    /// Returns true if Flume counts the last batch as delivered. True by default.
    fn counts(&self) -> bool {
        true
    }

    /// Returns why the events of the last batch were dropped; `None`, the default, if they arrived.
    fn dropped(&self) -> Option<DropReason> {
        None
    }

    /// Returns the number of waiting batches that are delivered together, for sinks whose cost is per delivery
    /// rather than per event. One by default.
    fn batches_together(&self) -> usize {
        1
    }

    /// Returns how long a batch that is not full waits for more events before it is delivered, for sinks whose
    /// output suffers from small batches. Zero by default.
    fn linger(&self) -> Duration {
        Duration::ZERO
    }

    /// Returns the time, as a reading of the context's [`Clock::now`](millpond::Clock::now), at which
    /// [`Sink::tick`] must be called although no event arrives (as for a file that is rolled by time); `None` for
    /// never.
    fn next_tick(&self) -> Option<Duration> {
        None
    }

    /// Performs time-driven work.
    ///
    /// # Errors
    /// It failed; the flow logs the error and goes on.
    fn tick<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = context;
        Box::pin(async { Ok(()) })
    }

    /// Flushes and closes its destination.
    ///
    /// # Errors
    /// It could not be flushed; what was delivered is safe nevertheless.
    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>>;
}
