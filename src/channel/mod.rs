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

use crate::base::limits::{EVENT_BYTES_MAX, HEADERS_MAX};
pub use crate::base::trouble::Trouble;
use crate::event::Event;
pub use crate::metrics::StripeReading;
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

    /// The position last committed for the source `source`, `None` if there is none. Waits, and
    /// blocks the thread meanwhile, until every commit of the source that carries a position has
    /// settled, for as long as a write may take. Channels that are not durable answer `None`.
    ///
    /// # Errors
    /// Such a commit has not settled in time, or the channel has stopped. An older position would
    /// be no answer: a source that went on from it would repeat what the commit may still keep.
    fn position(&self, source: &str) -> Result<Option<Position>, PositionError>;

    /// Whether positions that commits carry are kept, and found by [`Channel::position`] again.
    fn keeps_positions(&self) -> bool {
        false
    }

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
    /// The transaction has no place for it, or no channel has; the transaction stays as it was.
    fn put(&mut self, event: Event) -> Result<(), PutError>;

    /// Lets the commit carry the source's position (durable channels keep it, others ignore it).
    /// A transaction with a position and no event commits the position alone.
    ///
    /// Commits of one source that carry a position are done in the order in which they are asked
    /// for; one that waits is refused with [`Refusal::OutOfTurn`] when one before it does not end
    /// well, and with [`Refusal::Behind`] when its own time is over first. So a position never stands for events that are not there.
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

/// Why the position of a source is not known now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PositionError {
    /// A commit that carries a position of the source is under way or in doubt.
    #[error(
        "a commit of source {of} is still in doubt after {} ms; ask again, its disk may come back",
        waited.as_millis()
    )]
    Unsettled {
        /// The source.
        of: String,
        /// How long its commits were waited for.
        waited: Duration,
    },
    /// The channel has stopped after an internal failure.
    #[error("{0}")]
    Stopped(Trouble),
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
    /// How long the oldest event has waited that is here, lent or out of reach, to a second and rather too
    /// long than too short; zero without one. What was there at the opening counts from then.
    pub oldest: Duration,
    /// Checkpoints that could not be written into `checkpointDir`, since the channel was opened.
    pub checkpoint_errors: u64,
    /// Copies of checkpoints that could not be written into a data directory, likewise.
    pub checkpoint_copy_errors: u64,
    /// Events that were there at the opening or were put since, less those that were taken, wait or
    /// were found damaged: 0 as long as every event is accounted for. `None` where the channel cannot
    /// count both sides at one moment.
    pub unaccounted: Option<i64>,
    /// Bytes of memory that hold events, those on their way to and from the disk included.
    pub memory_bytes: u64,
    /// Writes to the log that ended well, since the channel was opened.
    pub writes: u64,
    /// Bytes of those.
    pub written_bytes: u64,
    /// Writes to the log that failed or were given up, likewise.
    pub failed_writes: u64,
    /// Its stripes, one for each data directory; none of a channel in memory.
    pub stripes: Vec<StripeReading>,
    /// Why a stripe takes no puts, or why the whole channel takes none for a reason other than `capacity`:
    /// [`Status::refuses`] tells the two apart.
    pub trouble: Option<String>,
    /// It has stopped after an internal failure, which `trouble` names, and does nothing until it
    /// is closed and opened again. What was committed is as safe as before.
    pub stopped: bool,
}

impl Status {
    /// Whether a put would be refused now for a reason other than `capacity`. One stripe that cannot be
    /// written leaves the others.
    #[must_use]
    pub fn refuses(&self) -> bool {
        let takes_none = |s: &StripeReading| s.suspended.is_some() || s.no_space.is_some();
        self.trouble.is_some() && self.stripes.iter().all(takes_none)
    }

    /// Of a channel of `capacity` events that has stopped because of `why`.
    pub(crate) fn stopped(capacity: u64, why: &Trouble) -> Self {
        Self { capacity, trouble: Some(why.to_string()), stopped: true, ..Self::default() }
    }
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
        "the transaction would hold {bytes} bytes of {max}; commit it first, or raise {setting}"
    )]
    TooLarge {
        /// Bytes it would have.
        bytes: usize,
        /// Bytes it may have.
        max: usize,
        /// What sets `max`: `transactionBytesMax`, or `byteCapacity` where memory is the limit.
        setting: &'static str,
    },
    /// No channel takes an event of this size.
    #[error(
        "the event has {bytes} bytes of headers and body, the limit of one event is {max}; split it"
    )]
    EventTooLarge {
        /// Bytes of its body and of all header names and values.
        bytes: usize,
        /// [`EVENT_BYTES_MAX`].
        max: usize,
    },
    /// No channel takes an event of so many headers.
    #[error("the event has {headers} headers, the limit of one event is {max}")]
    TooManyHeaders {
        /// Its headers.
        headers: usize,
        /// [`HEADERS_MAX`].
        max: usize,
    },
}

/// What every channel asks of an event before it enters a transaction. Within these limits every
/// length fits its field on the disk, so whatever was put can be written and read back; and one
/// answer for all channels keeps an event that passed a channel in memory from being refused by
/// the next agent's file channel.
fn check_event(event: &Event) -> Result<(), PutError> {
    let headers = event.headers.len();
    if headers > HEADERS_MAX {
        return Err(PutError::TooManyHeaders { headers, max: HEADERS_MAX });
    }
    let bytes = event.size_bytes();
    if bytes > EVENT_BYTES_MAX {
        return Err(PutError::EventTooLarge { bytes, max: EVENT_BYTES_MAX });
    }
    Ok(())
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
    /// It carries a position of a source, and a commit of the same source that was asked for before
    /// it was not answered with Ok: its position would say that those events are there too.
    #[error("an earlier commit of the same source did not end well; put its events first")]
    OutOfTurn,
    /// It carries a position of a source, and an earlier commit of the same source had not been
    /// settled within `keep-alive`: it waits for room itself, is being written, or is in doubt.
    #[error(
        "an earlier commit of source {of} was still waiting or in doubt after keep-alive; try again when it has been answered"
    )]
    Behind {
        /// The source.
        of: String,
    },
    /// The channel was closed.
    #[error("the channel is closed")]
    Closed,
    /// No stripe can be written now.
    #[error("no data directory can be written: {0}")]
    NoStripe(Trouble),
    /// What its events have to pass on the way to the channel did not let them.
    #[error("not intercepted: {0}")]
    NotIntercepted(Trouble),
}

impl CommitError {
    /// Whether committing the same events again can only be refused again, however long one waits
    /// and whatever is taken: it is about the events, not about the channel's state. Fewer or
    /// smaller events may fit.
    #[must_use]
    pub fn never_fits(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.never_fits(),
            Self::InDoubt(_) => false,
        }
    }
}

impl Refusal {
    /// As [`CommitError::never_fits`].
    #[must_use]
    pub fn never_fits(&self) -> bool {
        // Without a wildcard: what a new refusal means here decides between waiting and losing.
        match self {
            Self::LargerThanChannel { .. }
            | Self::Transaction(_)
            | Self::PositionTooLarge { .. } => true,
            Self::Full { .. }
            | Self::FullOfBytes { .. }
            | Self::NoSpace(_)
            | Self::NoStripe(_)
            | Self::NotIntercepted(_)
            | Self::OutOfTurn
            | Self::Behind { .. }
            | Self::Closed => false,
        }
    }
}

/// Why closing did not end cleanly.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("closed without a checkpoint: {0}")]
pub struct CloseError(pub Trouble);
