//! A channel that can be opened again while sources and sinks hold it.

use crate::channel::{
    BoxFuture, Channel, CloseError, CommitError, CommitFailure, Limits, Position, PositionError,
    PutError, PutTransaction, Refusal, Status, TakeError, TakeTransaction, Trouble,
};
use crate::event::Event;
use bytes::Bytes;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// What stands for a channel towards its sources and sinks, whichever opening of it is behind.
///
/// While none is, every commit is refused and every take fails with the reason: sources and sinks
/// keep what they have and try again.
pub struct Standing {
    limits: Limits,
    keeps_positions: bool,
    behind: RwLock<Result<Arc<dyn Channel>, Trouble>>,
    /// The sources that were named last, for the next opening.
    sources: Mutex<Option<Vec<String>>>,
}

impl Standing {
    /// Stands for `channel`.
    #[must_use]
    pub fn new(channel: Arc<dyn Channel>) -> Self {
        Self {
            limits: channel.limits(),
            keeps_positions: channel.keeps_positions(),
            behind: RwLock::new(Ok(channel)),
            sources: Mutex::default(),
        }
    }

    /// Takes the channel out, so that whoever gets it can let it go; `why` is what everyone hears
    /// meanwhile. `None` if it is out already.
    pub fn vacate(&self, why: Trouble) -> Option<Arc<dyn Channel>> {
        std::mem::replace(&mut *self.write(), Err(why)).ok()
    }

    /// Puts the next opening of the channel in.
    pub fn occupy(&self, channel: Arc<dyn Channel>) {
        let sources = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sources) = &*sources {
            channel.name_sources(sources);
        }
        *self.write() = Ok(channel);
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Result<Arc<dyn Channel>, Trouble>> {
        self.behind.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn behind(&self) -> Result<Arc<dyn Channel>, Trouble> {
        self.behind.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Channel for Standing {
    fn begin_put(&self) -> Box<dyn PutTransaction> {
        match self.behind() {
            Ok(channel) => channel.begin_put(),
            Err(why) => Box::new(Nothing(why)),
        }
    }

    fn begin_take(&self) -> Box<dyn TakeTransaction> {
        match self.behind() {
            Ok(channel) => channel.begin_take(),
            Err(why) => Box::new(Nothing(why)),
        }
    }

    fn limits(&self) -> Limits {
        self.limits
    }

    fn status(&self) -> Status {
        match self.behind() {
            Ok(channel) => channel.status(),
            Err(why) => Status::stopped(self.limits.capacity, &why),
        }
    }

    fn position(&self, source: &str) -> Result<Option<Position>, PositionError> {
        self.behind().map_err(PositionError::Stopped)?.position(source)
    }

    fn name_sources(&self, sources: &[String]) {
        let mut named = self.sources.lock().unwrap_or_else(PoisonError::into_inner);
        *named = Some(sources.to_vec());
        if let Ok(channel) = self.behind() {
            channel.name_sources(sources);
        }
    }

    fn keeps_positions(&self) -> bool {
        self.keeps_positions
    }

    fn close(&self) -> Result<(), CloseError> {
        self.behind().map_or(Ok(()), |channel| channel.close())
    }
}

/// A transaction with no channel behind it.
pub(super) struct Nothing(pub(super) Trouble);

impl Nothing {
    fn refused(self) -> Result<(), CommitFailure> {
        let error = CommitError::Refused(Refusal::NoStripe(self.0));
        Err(CommitFailure { error, transaction: None })
    }

    fn unreadable(&self) -> Result<Vec<Event>, TakeError> {
        Err(TakeError::Unreadable(self.0.clone()))
    }
}

impl PutTransaction for Nothing {
    fn put(&mut self, _event: Event) -> Result<(), PutError> {
        Ok(())
    }

    fn set_position(&mut self, _source: &str, _position: Bytes) {}

    fn commit(self: Box<Self>) -> Result<(), CommitFailure> {
        self.refused()
    }

    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>> {
        Box::pin(std::future::ready(self.refused()))
    }

    fn rollback(self: Box<Self>) {}
}

impl TakeTransaction for Nothing {
    fn take(&mut self, _max: usize) -> Result<Vec<Event>, TakeError> {
        self.unreadable()
    }

    fn take_async(&mut self, _max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>> {
        Box::pin(std::future::ready(self.unreadable()))
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
