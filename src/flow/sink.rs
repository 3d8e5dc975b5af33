//! What a sink is.

use crate::channel::BoxFuture;
use crate::config::settings::{Key, SettingError, SettingsReader};
use crate::event::Event;
use crate::metrics::DropReason;
use std::time::Duration;

pub use super::context::{Failure, SinkContext};

/// A type of sink: its names, its keys, how it is built. Each adapter declares one constant.
pub struct SinkType {
    /// The names a configuration may use: the alias first, then Flume's class name.
    pub names: &'static [&'static str],
    /// The keys it knows, without those that every sink has (`type`, `channel`).
    pub keys: &'static [Key],
    /// Reads the settings; starts nothing and opens nothing.
    pub build: fn(&mut SettingsReader<'_>) -> Result<Box<dyn Sink>, SettingError>,
}

/// A sink: delivers events that the flow took from the channel.
///
/// The flow takes a batch, calls [`Sink::deliver`], commits the take when that answered Ok and
/// rolls it back otherwise, backs off and tries again. So when `deliver` answers Ok the events
/// are safe wherever the sink puts them.
pub trait Sink: Send {
    /// Events that one take transaction lends at most.
    fn batch_events(&self) -> usize;

    /// Tries what [`Sink::start`] and the first connection begin with, and keeps and changes nothing: what a
    /// configuration names on this machine (stores, directories), not whether a server is there. A reload tries it
    /// before the sink that runs is stopped.
    ///
    /// # Errors
    /// It could not start as it is configured.
    fn preflight(&mut self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(async { Ok(()) })
    }

    /// Opens what it delivers to. After an error the flow calls it again, with back-off.
    ///
    /// # Errors
    /// It cannot be opened.
    fn start<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>>;

    /// Delivers `batch`, which has at least one event, whole.
    ///
    /// # Errors
    /// Not delivered, or not known to be: the batch comes again.
    fn deliver<'a>(
        &'a mut self,
        context: &'a SinkContext,
        batch: &'a [Event],
    ) -> BoxFuture<'a, Result<(), Failure>>;

    /// As [`Sink::deliver`], while the batch before it is still being acknowledged. Nothing of `batch`
    /// may count as delivered before `earlier` has answered, so that a crash never repeats more than one
    /// batch; but a sink may prepare it meanwhile. When `earlier` answers false nothing is delivered.
    ///
    /// # Errors
    /// As [`Sink::deliver`], or `earlier` answered false.
    fn deliver_behind<'a>(
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

    /// Whether it can deliver at once, without connecting first. Only sinks with a connection say no. Of a
    /// sink that is not ready the others of its group have the turns until [`Sink::connect`] has ended well.
    fn is_ready(&mut self) -> bool {
        true
    }

    /// Connects, if it is not connected. Dropped while it waits, it leaves the sink without a connection.
    ///
    /// # Errors
    /// There is no connection.
    fn connect<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = context;
        Box::pin(async { Ok(()) })
    }

    /// Whether its destination may refuse events for good ([`Failure::refused`]). No by default.
    fn may_refuse(&self) -> bool {
        false
    }

    /// Whether Flume counts the events of the last batch that was delivered as such. Yes by default.
    fn counts(&self) -> bool {
        true
    }

    /// Why the events of the last batch were let go of although they did not arrive; `None`, as by default:
    /// they arrived.
    fn dropped(&self) -> Option<DropReason> {
        None
    }

    /// Batches that are delivered together when they wait in the channel: for sinks whose work is for
    /// each delivery more than for each event. One by default.
    fn batches_together(&self) -> usize {
        1
    }

    /// How long a batch that is not full waits for more events before it is delivered: for sinks
    /// whose output gets worse with small batches. Zero by default.
    fn gather(&self) -> Duration {
        Duration::ZERO
    }

    /// When [`Sink::tick`] must be called next although no event comes (a file that is rolled by
    /// time), as a reading of the context's [`Clock::now`](crate::base::clock::Clock::now);
    /// `None` for never.
    fn next_tick(&self) -> Option<Duration> {
        None
    }

    /// Time-driven work.
    ///
    /// # Errors
    /// It failed; the flow says so and goes on.
    fn tick<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>> {
        let _ = context;
        Box::pin(async { Ok(()) })
    }

    /// Lets go of what it holds, flushed.
    ///
    /// # Errors
    /// It could not be flushed; what was delivered is safe all the same.
    fn stop<'a>(&'a mut self, context: &'a SinkContext) -> BoxFuture<'a, Result<(), Failure>>;
}
