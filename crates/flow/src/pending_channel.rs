//! A channel that may not be open yet, for users that need not wait for it.
//!
//! Until it is open every put is refused with the reason, and a take waits as for an event in an empty channel.

use super::reopenable_channel::{ClosedTransaction, EmptyTake, TakeNothing};
use millpond::{
    BoxFuture, Channel, CloseError, CommittedOffset, Event, EventRange, FaultCause, FaultKind,
    FaultPlace, Limits, PutTransaction, SourceOffsetError, Status, TakeError, TakeTransaction,
};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// Time that a take waits for it: the default keep-alive of channels.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// A channel once it is open.
pub type ChannelSlot = watch::Receiver<Option<Arc<dyn Channel>>>;

/// Placeholder of a channel that may not be open yet.
pub struct PendingChannel {
    name: String,
    slot: ChannelSlot,
    /// That of the opened channel: components that are built now must fit then.
    transaction_capacity: usize,
}

impl PendingChannel {
    /// Returns a placeholder of the channel `name` in `slot`, with its transaction capacity.
    #[must_use]
    pub fn new(name: impl Into<String>, slot: ChannelSlot, transaction_capacity: usize) -> Self {
        Self { name: name.into(), slot, transaction_capacity }
    }

    fn open(&self) -> Result<Arc<dyn Channel>, FaultCause> {
        let open = self.slot.borrow().clone();
        open.ok_or_else(|| {
            let what = format!("channel {} is not open yet", self.name);
            FaultCause::new(FaultKind::Stopped, FaultPlace::default(), what)
        })
    }
}

impl Channel for PendingChannel {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        match self.open() {
            Ok(channel) => channel.begin_put(),
            Err(why) => Box::new(ClosedTransaction(why)),
        }
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        match self.open() {
            Ok(channel) => channel.begin_take(),
            Err(_) => Box::new(EmptyTake(PendingTake(self.slot.clone()))),
        }
    }

    fn limits(&self) -> Limits {
        self.open().map_or(
            Limits {
                capacity: 0,
                transaction_capacity: self.transaction_capacity,
                transaction_bytes_max: usize::MAX,
                keep_alive: KEEP_ALIVE,
            },
            |channel| channel.limits(),
        )
    }

    fn status(&self) -> Status {
        self.open().map_or_else(|why| Status::stopped(0, &why), |channel| channel.status())
    }

    fn source_offset(&self, source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        self.open().map_err(SourceOffsetError::Stopped)?.source_offset(source)
    }

    fn name_sources(&self, sources: &[String]) {
        if let Ok(channel) = self.open() {
            channel.name_sources(sources);
        }
    }

    fn keeps_source_offsets(&self) -> bool {
        self.open().is_ok_and(|channel| channel.keeps_source_offsets())
    }

    fn identity(&self) -> Option<u128> {
        self.open().ok()?.identity()
    }

    fn unacknowledged(&self, ranges: &[EventRange]) -> Option<Vec<EventRange>> {
        self.open().ok()?.unacknowledged(ranges)
    }

    fn close(&self) -> Result<(), CloseError> {
        self.open().map_or(Ok(()), |channel| channel.close())
    }
}

/// A take from a channel that is not open.
struct PendingTake(ChannelSlot);

impl TakeNothing for PendingTake {
    fn take(&mut self) -> Result<Vec<Event>, TakeError> {
        Ok(Vec::new())
    }

    fn take_async(&mut self) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(async {
            let open = async {
                if self.0.wait_for(Option::is_some).await.is_err() {
                    // The opening was abandoned: the sink is about to be stopped.
                    sleep(KEEP_ALIVE).await;
                }
            };
            let _ = timeout(KEEP_ALIVE, open).await;
            Ok(Vec::new())
        })
    }
}
