//! Channels: put and take transactions between sources and sinks.
//!
//! Every channel is a [`Channel`]: the agent and the contract suite see no more than this. A
//! transaction either puts or takes; committing and rolling back consume it, dropping it rolls
//! back. Each waiting call exists twice: blocking, and as a future that needs no particular
//! runtime and does not block the thread that polls it.

#[cfg(test)]
pub(crate) mod contract;
pub mod file;
pub mod memory;
pub mod spillable;
mod store;
pub(crate) mod timer;
pub(crate) mod waiting;

pub use crate::base::trouble::Trouble;
use crate::event::Event;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

/// A boxed future, as trait objects need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A queue of events with transactions.
pub trait Channel: Send + Sync {
    /// Begins a put transaction.
    fn begin_put(&self) -> Box<dyn PutTransaction>;

    /// Begins a take transaction.
    fn begin_take(&self) -> Box<dyn TakeTransaction>;

    /// Limits that transactions meet.
    fn limits(&self) -> Limits;

    /// Counts as of now.
    fn status(&self) -> Status;

    /// The position last committed for the source `source`, once every transaction in doubt that
    /// carries one has settled. Channels that are not durable answer `None`.
    fn position(&self, source: &str) -> Option<Position>;

    /// Stops the channel: open transactions are refused from now on, a durable channel writes its
    /// checkpoint. Closing twice does nothing.
    ///
    /// # Errors
    /// The checkpoint could not be written; nothing acknowledged is lost by that.
    fn close(&self) -> Result<(), CloseError>;
}

/// A put transaction: collects events, then commits all of them or none.
pub trait PutTransaction: Send {
    /// Adds an event.
    ///
    /// # Errors
    /// [`PutError::TransactionFull`] or [`PutError::TooLarge`]; the transaction stays as it was.
    fn put(&mut self, event: Event) -> Result<(), PutError>;

    /// Lets the commit carry the source's position (durable channels keep it, others ignore it).
    /// A transaction with a position and no event commits the position alone.
    fn set_position(&mut self, source: &str, position: Bytes);

    /// Commits: waits up to `keep-alive` for room, then until the events are safe.
    ///
    /// # Errors
    /// See [`CommitError`]: refused (nothing will appear) or in doubt.
    fn commit(self: Box<Self>) -> Result<(), CommitError>;

    /// Commits without blocking the thread. A future dropped after its first poll leaves the
    /// transaction in doubt.
    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>>;

    /// Forgets the events.
    fn rollback(self: Box<Self>);
}

/// A take transaction: lends events until they are acknowledged or handed back.
pub trait TakeTransaction: Send {
    /// Lends up to `max` further events. With none waiting, waits up to `keep-alive` for one and
    /// answers an empty list if none came.
    ///
    /// # Errors
    /// [`TakeError::TransactionFull`] when `transactionCapacity` events are lent already, or the
    /// channel is closed or cannot read.
    fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError>;

    /// Lends without blocking the thread.
    fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>>;

    /// Events lent so far.
    fn taken(&self) -> usize;

    /// Acknowledges everything lent: it is never delivered again.
    ///
    /// # Errors
    /// See [`CommitError`].
    fn commit(self: Box<Self>) -> Result<(), CommitError>;

    /// Acknowledges without blocking the thread.
    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>>;

    /// Hands everything back to the front of the channel, in order.
    fn rollback(self: Box<Self>);
}

/// Limits that transactions meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Events the channel holds at most.
    pub capacity: u64,
    /// Events of one transaction at most.
    pub transaction_capacity: usize,
    /// Bytes of one put transaction at most.
    pub transaction_bytes_max: usize,
    /// How long a put waits for room and a take for an event.
    pub keep_alive: Duration,
}

/// What a source left with its events: opaque bytes and a counter that grows with each commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// Grows by one with each committed position of this source.
    pub counter: u64,
    /// The source's own bytes.
    pub bytes: Bytes,
}

/// Counts of a channel as of one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Events waiting or lent.
    pub events: u64,
    /// Bytes of those events, where the channel knows them.
    pub bytes: u64,
    /// Events the channel holds at most.
    pub capacity: u64,
    /// Events whose put was committed, since the channel was opened.
    pub put: u64,
    /// Events whose take was committed, since the channel was opened.
    pub taken: u64,
    /// Events found damaged and set aside, since the channel was made.
    pub quarantined: u64,
    /// Events of suspended stripes, which cannot be reached now.
    pub out_of_reach: u64,
    /// Whether a put would be refused now for a reason other than `capacity`, in words.
    pub trouble: Option<String>,
}

/// Why an event was not added to a put transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PutError {
    /// The transaction has its `transactionCapacity` events.
    #[error(
        "the transaction already holds {capacity} events; commit it, or raise transactionCapacity"
    )]
    TransactionFull {
        /// Events of one transaction at most.
        capacity: usize,
    },
    /// The event, or the transaction with it, would be too large.
    #[error(
        "the transaction would hold {bytes} bytes of {max}; commit it first, or raise transactionBytesMax"
    )]
    TooLarge {
        /// Bytes it would have.
        bytes: usize,
        /// Bytes it may have.
        max: usize,
    },
}

/// Why nothing was lent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TakeError {
    /// The transaction has its `transactionCapacity` events.
    #[error(
        "the transaction already holds {capacity} events; commit it, or raise transactionCapacity"
    )]
    TransactionFull {
        /// Events of one transaction at most.
        capacity: usize,
    },
    /// The channel was closed.
    #[error("the channel is closed")]
    Closed,
    /// The events cannot be read now; they stay where they are.
    #[error("cannot read from the channel: {0}")]
    Unreadable(Trouble),
}

/// How a commit ended when it did not end well.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Nothing happened and nothing will appear: the transaction may be tried again.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// It may or may not be there, whole; a reopened channel knows.
    #[error("in doubt: {0}")]
    InDoubt(Trouble),
}

/// Why a commit was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// The channel holds `capacity` events and none left within `keep-alive`.
    #[error("the channel is full ({events} of {capacity} events); takes make room")]
    Full {
        /// Events in the channel.
        events: u64,
        /// Events it holds at most.
        capacity: u64,
    },
    /// The bytes in the channel left no room within `keep-alive`.
    #[error(
        "the channel holds {bytes} of {capacity} bytes; takes make room, or raise byteCapacity"
    )]
    FullOfBytes {
        /// Bytes in the channel, as `byteCapacity` counts them.
        bytes: u64,
        /// Bytes it holds at most.
        capacity: u64,
    },
    /// No directory had room within `keep-alive`.
    #[error("no room on the channel's disks: {0}")]
    NoSpace(Trouble),
    /// The transaction can never fit.
    #[error("the transaction has {events} events, the channel holds {capacity}")]
    LargerThanChannel {
        /// Events of the transaction.
        events: u64,
        /// Events the channel holds at most.
        capacity: u64,
    },
    /// The events do not fit one transaction.
    #[error("{0}")]
    Transaction(PutError),
    /// The source's positions take more room than a state record has.
    #[error("source positions would take {bytes} bytes of {max}; use fewer or shorter ones")]
    PositionTooLarge {
        /// Bytes of all positions together.
        bytes: usize,
        /// Bytes they may have.
        max: usize,
    },
    /// The channel was closed.
    #[error("the channel is closed")]
    Closed,
    /// No stripe can be written now.
    #[error("no data directory can be written: {0}")]
    NoStripe(Trouble),
}

/// Why closing did not end cleanly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("closed without a checkpoint: {0}")]
pub struct CloseError(pub Trouble);
