//! A channel that may not be open yet, for those who need not wait for it.
//!
//! Until it is open every put is refused with the reason, and a take waits as it does for an event in an empty
//! channel.

use super::standing::Nothing;
use crate::channel::{
    BoxFuture, Channel, CloseError, CommitError, Limits, Position, PositionError, PutTransaction,
    Status, TakeError, TakeTransaction, Trouble,
};
use crate::event::Event;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How long a take waits for it: as channels wait for an event unless told otherwise.
const KEEP_ALIVE: Duration = Duration::from_secs(3);

/// A channel once it is open.
pub type Slot = watch::Receiver<Option<Arc<dyn Channel>>>;

/// What stands for a channel that may not be open yet.
pub struct Awaited {
    name: String,
    slot: Slot,
    /// As it will be: what is put together now must fit then.
    transaction_capacity: usize,
}

impl Awaited {
    /// Stands for the channel `name` of `slot`, which will take so many events in a transaction.
    #[must_use]
    pub fn new(name: impl Into<String>, slot: Slot, transaction_capacity: usize) -> Self {
        Self { name: name.into(), slot, transaction_capacity }
    }

    fn open(&self) -> Result<Arc<dyn Channel>, Trouble> {
        let open = self.slot.borrow().clone();
        open.ok_or_else(|| Trouble::new(format!("channel {} is not open yet", self.name)))
    }
}

impl Channel for Awaited {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        match self.open() {
            Ok(channel) => channel.begin_put(),
            Err(why) => Box::new(Nothing(why)),
        }
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        match self.open() {
            Ok(channel) => channel.begin_take(),
            Err(_) => Box::new(Waits(self.slot.clone())),
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

    fn position(&self, source: &str) -> Result<Option<Position>, PositionError> {
        self.open().map_err(PositionError::Stopped)?.position(source)
    }

    fn name_sources(&self, sources: &[String]) {
        if let Ok(channel) = self.open() {
            channel.name_sources(sources);
        }
    }

    fn keeps_positions(&self) -> bool {
        self.open().is_ok_and(|channel| channel.keeps_positions())
    }

    fn close(&self) -> Result<(), CloseError> {
        self.open().map_or(Ok(()), |channel| channel.close())
    }
}

/// A take from a channel that is not open.
struct Waits(Slot);

impl TakeTransaction for Waits {
    fn take(&mut self, _max: usize) -> Result<Vec<Event>, TakeError> {
        Ok(Vec::new())
    }

    fn take_async(&mut self, _max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(async {
            let open = async {
                if self.0.wait_for(Option::is_some).await.is_err() {
                    // The opener has ended: the sink is about to be stopped.
                    sleep(KEEP_ALIVE).await;
                }
            };
            let _ = timeout(KEEP_ALIVE, open).await;
            Ok(Vec::new())
        })
    }

    fn taken(&self) -> usize {
        0
    }

    fn commit(self: Box<Self>) -> Result<(), CommitError> {
        Ok(())
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn rollback(self: Box<Self>) {}
}
