//! A channel that can be opened again while sources and sinks hold it.

use bytes::Bytes;
use millpond::Event;
use millpond::{
    BoxFuture, Channel, CloseError, CommitError, CommitFailure, CommittedOffset, EventRange,
    FaultCause, Limits, PutAllError, PutError, PutTransaction, RefusedReason, SourceOffsetError,
    Status, TakeError, TakeTransaction,
};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// A stable handle of a channel for its sources and sinks, across its openings.
///
/// While the channel is closed, every commit is refused and every take fails with the reason: sources and sinks
/// keep their events and try again.
pub struct ReopenableChannel {
    limits: Limits,
    keeps_source_offsets: bool,
    behind: RwLock<Result<Arc<dyn Channel>, FaultCause>>,
    /// The sources named by the last call, for the next opening.
    sources: Mutex<Option<Vec<String>>>,
}

impl ReopenableChannel {
    /// Returns a handle of `channel`.
    #[must_use]
    pub fn new(channel: Arc<dyn Channel>) -> Self {
        Self {
            limits: channel.limits(),
            keeps_source_offsets: channel.keeps_source_offsets(),
            behind: RwLock::new(Ok(channel)),
            sources: Mutex::default(),
        }
    }

    /// Removes the channel and returns it, so that the caller can close it; `why` is the reason of refusals
    /// meanwhile. `None` if it was removed already.
    pub fn detach(&self, why: FaultCause) -> Option<Arc<dyn Channel>> {
        std::mem::replace(&mut *self.write(), Err(why)).ok()
    }

    /// Inserts the next opening of the channel.
    pub fn attach(&self, channel: Arc<dyn Channel>) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sources) = &*sources {
            channel.name_sources(sources);
        }
        *self.write() = Ok(channel);
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Result<Arc<dyn Channel>, FaultCause>> {
        self.behind.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn current(&self) -> Result<Arc<dyn Channel>, FaultCause> {
        self.behind.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Channel for ReopenableChannel {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        match self.current() {
            Ok(channel) => channel.begin_put(),
            Err(why) => Box::new(ClosedTransaction(why)),
        }
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        match self.current() {
            Ok(channel) => channel.begin_take(),
            Err(why) => Box::new(EmptyTake(ClosedTransaction(why))),
        }
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn status(&self) -> Status {
        match self.current() {
            Ok(channel) => channel.status(),
            Err(why) => Status::stopped(self.limits.capacity, &why),
        }
    }

    fn source_offset(&self, source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError> {
        self.current().map_err(SourceOffsetError::Stopped)?.source_offset(source)
    }

    fn name_sources(&self, sources: &[String]) {
        let mut named = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        *named = Some(sources.to_vec());
        if let Ok(channel) = self.current() {
            channel.name_sources(sources);
        }
    }

    fn keeps_source_offsets(&self) -> bool {
        self.keeps_source_offsets
    }

    fn identity(&self) -> Option<u128> {
        self.current().ok()?.identity()
    }

    fn unacknowledged(&self, ranges: &[EventRange]) -> Option<Vec<EventRange>> {
        self.current().ok()?.unacknowledged(ranges)
    }

    fn close(&self) -> Result<(), CloseError> {
        self.current().map_or(Ok(()), |channel| channel.close())
    }
}

/// A transaction without an open channel.
pub(super) struct ClosedTransaction(pub(super) FaultCause);

impl ClosedTransaction {
    fn refused(self) -> Result<(), CommitFailure> {
        let error = CommitError::Refused(RefusedReason::Stopped(self.0));
        Err(CommitFailure { error, transaction: None })
    }

    fn unreadable(&self) -> Result<Vec<Event>, TakeError> {
        Err(TakeError::Stopped(self.0.clone()))
    }
}

impl PutTransaction for ClosedTransaction {
    fn put(&mut self, _event: Event) -> Result<(), PutError> {
        Ok(())
    }

    fn put_all(&mut self, _events: &mut dyn Iterator<Item = Event>) -> Result<(), PutAllError> {
        Ok(())
    }

    fn set_source_offset(&mut self, _source: &str, _position: Bytes) {}

    fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        self.refused()
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>> {
        Box::pin(std::future::ready(self.refused()))
    }

    fn rollback(self: Box<Self>) {}
}

/// A failing or empty take without an open channel.
pub(super) trait TakeNothing: Send {
    /// Returns no event, or why none can be read.
    fn take(&mut self) -> Result<Vec<Event>, TakeError>;

    /// As [`TakeNothing::take`], after a wait.
    fn take_async(&mut self) -> BoxFuture<'_, Result<Vec<Event>, TakeError>>;
}

impl TakeNothing for ClosedTransaction {
    fn take(&mut self) -> Result<Vec<Event>, TakeError> {
        self.unreadable()
    }

    fn take_async(&mut self) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(std::future::ready(self.unreadable()))
    }
}

/// A take transaction that never has an event.
pub(super) struct EmptyTake<T>(pub(super) T);

impl<T: TakeNothing> TakeTransaction for EmptyTake<T> {
    fn take(&mut self, _max: usize) -> Result<Vec<Event>, TakeError> {
        self.0.take()
    }

    fn take_async(&mut self, _max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        self.0.take_async()
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
