//! Channels: queues of events with put and take transactions. Begin with [`file::FileChannel`], the
//! durable one; [`memory::MemoryChannel`] and [`spillable::SpillableChannel`] are others.
//!
//! ```
//! use millpond::channel::Channel;
//! use millpond::channel::memory::{MemoryChannel, MemoryOptions};
//! use millpond::event::Event;
//!
//! // Whatever the channel is:
//! fn forward(channel: &dyn Channel) -> Result<usize, Box<dyn std::error::Error>> {
//!     let mut put = channel.begin_put();
//!     put.put(Event::new("a line"))?;
//!     put.commit()?;
//!     let mut take = channel.begin_take();
//!     let events = take.take(10)?;
//!     take.commit()?;
//!     Ok(events.len())
//! }
//! let options = MemoryOptions { keep_alive: std::time::Duration::ZERO, ..MemoryOptions::default() };
//! assert_eq!(forward(&MemoryChannel::new(options)?)?, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Every channel is a [`Channel`]: the agent and the contract suite see no more than this. A
//! transaction either puts or takes; committing and rolling back consume it (a refused put gives it
//! back, [`CommitFailure`]), dropping it rolls back. Each waiting call exists twice: blocking, and as a
//! future that needs no particular runtime and does not block the thread that polls it.
//!
//! # Limits
//!
//! One process per channel, one group of readers, no reading from a place again; an event has up to
//! [`EVENT_BYTES_MAX`] bytes and [`HEADERS_MAX`] headers.

#[cfg(test)]
pub(crate) mod contract;
pub mod file;
pub mod memory;
pub mod spillable;
mod store;
pub(crate) mod timer;
pub(crate) mod waiting;

use crate::base::limits::{EVENT_BYTES_MAX, HEADERS_MAX};
use crate::base::quantity::Quantity;
use crate::base::setting;
pub use crate::base::setting::Setting;
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

    /// Names the sources that put into the channel. A durable channel bounds what all positions
    /// together take; positions of sources that are not named give way when one that is named needs
    /// their room, and are forgotten when the same sources have been named for a day. Where nobody names any,
    /// none is forgotten.
    fn name_sources(&self, _sources: &[String]) {}

    /// Forgets the position of `source`, durably, and returns whether there was one. Blocks as
    /// [`PutTransaction::commit`] does.
    ///
    /// # Errors
    /// As [`PutTransaction::commit`]; in doubt also while another commit of the source is.
    fn forget_position(&self, source: &str) -> Result<bool, CommitError> {
        let doubt = |error: PositionError| CommitError::InDoubt(Trouble::new(error.to_string()));
        if self.position(source).map_err(doubt)?.is_none() {
            return Ok(false);
        }
        let mut forgetting = self.begin_put();
        forgetting.set_position(source, Bytes::new());
        forgetting.commit()?;
        Ok(true)
    }

    /// Returns how many events were in memory when the channel was closed and could not be made durable, for channels
    /// that are more than memory alone; 0 for others and before that.
    fn lost_at_close(&self) -> u64 {
        0
    }

    /// Stops the channel: open transactions are refused from now on, a durable channel writes its
    /// checkpoint. Closing twice does nothing.
    ///
    /// # Errors
    /// The checkpoint could not be written; nothing acknowledged is lost by that.
    fn close(&self) -> Result<(), CloseError>;
}

/// A put transaction: collects events, then commits all of them or none.
pub trait PutTransaction: Send + Sync {
    /// Adds an event.
    ///
    /// # Errors
    /// The transaction has no place for it, or no channel has; the transaction stays as it was.
    fn put(&mut self, event: Event) -> Result<(), PutError>;

    /// Lets the commit carry the source's position (durable channels keep it, others ignore it).
    /// A transaction with a position and no event commits the position alone. A position of no bytes
    /// is none: the channel forgets the one it has, and gives its room to others.
    ///
    /// Commits of one source that carry a position are done in the order in which they are asked
    /// for; one that waits is refused with [`Refusal::OutOfTurn`] when one before it does not end
    /// well, and with [`Refusal::Behind`] when its own time is over first. So a position never stands for events that are not there.
    fn set_position(&mut self, source: &str, position: Bytes);

    /// Commits: waits up to `keep-alive` for room, then until the events are safe.
    ///
    /// # Errors
    /// See [`CommitFailure`]: refused (nothing will appear, and the transaction comes back with its
    /// events) or in doubt.
    fn commit(self: Box<Self>) -> Result<(), CommitFailure>;

    /// Commits without blocking the thread. A future dropped after its first poll leaves the
    /// transaction in doubt.
    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>>;

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
    /// See [`CommitError`]. What was lent is handed back when it is refused.
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
    /// Events waiting or lent that can be reached: those of [`Status::out_of_reach`] come on top.
    pub events: u64,
    /// Of those, the ones lent to takes that are open or in doubt, where the channel tells.
    pub lent: u64,
    /// Bytes that they take: of memory, or of the segments that hold them.
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
    /// It has stopped, after an internal failure or because it gave way, which `trouble` names, and does
    /// nothing until it is closed and opened again. What was committed is as safe as before.
    pub stopped: bool,
    /// It has stopped because another process has locked a directory of it.
    pub gave_way: bool,
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
        "the transaction already holds {}; commit it, or raise {}",
        Quantity(*capacity as u64, "event"),
        setting::TRANSACTION_CAPACITY
    )]
    TransactionFull {
        /// Events of one transaction at most.
        capacity: usize,
    },
    /// The transaction with the event, or the event alone, would be too large.
    #[error("{}", too_large(*bytes, *alone, *max, *setting))]
    TooLarge {
        /// Bytes that the transaction would have.
        bytes: usize,
        /// Bytes that the event has in a transaction of its own.
        alone: usize,
        /// Bytes that a transaction may have.
        max: usize,
        /// What sets `max`: `transaction_bytes_max`, or `byte_capacity` where memory is the limit.
        setting: Setting,
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

fn too_large(bytes: usize, alone: usize, max: usize, setting: Setting) -> String {
    if alone > max {
        return format!(
            "the event alone takes {alone} bytes, a transaction holds {max}; split it, or raise {setting}"
        );
    }
    format!(
        "the transaction would hold {bytes} bytes of {max}; commit it first, or raise {setting}"
    )
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
        "the transaction already holds {}; commit it, or raise {}",
        Quantity(*capacity as u64, "event"),
        setting::TRANSACTION_CAPACITY
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
    /// Nothing happened and nothing will appear: the transaction, which a refused put gives back
    /// ([`CommitFailure::transaction`]), may be tried again.
    #[error("refused: {0}")]
    Refused(Refusal),
    /// It may or may not be there, whole; a reopened channel knows.
    #[error("in doubt: {0}")]
    InDoubt(Trouble),
}

/// How the commit of a put transaction ended when it did not end well, and the transaction, so that
/// it can be tried again without a copy of its events.
///
/// ```
/// use millpond::channel::memory::{MemoryChannel, MemoryOptions};
/// use millpond::channel::{Channel, CommitError, Refusal};
/// use millpond::event::Event;
///
/// let options = MemoryOptions { capacity: 1, transaction_capacity: 1, ..MemoryOptions::default() };
/// let options = MemoryOptions { keep_alive: std::time::Duration::ZERO, ..options };
/// let channel = MemoryChannel::new(options)?;
/// let mut first = channel.begin_put();
/// first.put(Event::new("first"))?;
/// first.commit()?;
///
/// let mut second = channel.begin_put();
/// second.put(Event::new("second"))?;
/// let failure = second.commit().unwrap_err();
/// assert!(matches!(failure.error, CommitError::Refused(Refusal::Full { .. })));
///
/// let mut take = channel.begin_take();
/// take.take(1)?;
/// take.commit()?;
/// let second = failure.transaction.expect("a refused transaction comes back");
/// second.commit()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(thiserror::Error)]
#[error("{error}")]
pub struct CommitFailure {
    /// What happened.
    #[source]
    pub error: CommitError,
    /// The transaction as it was, with its events and its position, when the commit was refused.
    /// `None` when it is in doubt (committed again it could be there twice), and where no channel
    /// stands behind it any more.
    pub transaction: Option<Box<dyn PutTransaction>>,
}

impl CommitFailure {
    /// Of a transaction whose commit ended with `error`; it goes with a refusal.
    #[must_use]
    pub fn new(error: CommitError, transaction: Box<dyn PutTransaction>) -> Self {
        let refused = matches!(error, CommitError::Refused(_));
        Self { transaction: refused.then_some(transaction), error }
    }
}

// So that it passes as any error does.
const _: fn() = || {
    fn passes<T: std::error::Error + Send + Sync + 'static>() {}
    passes::<CommitFailure>();
};

impl std::fmt::Debug for CommitFailure {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("CommitFailure")
            .field("error", &self.error)
            .field("transaction", &self.transaction.is_some())
            .finish()
    }
}

impl From<CommitFailure> for CommitError {
    fn from(failure: CommitFailure) -> Self {
        failure.error
    }
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
        "the channel holds {bytes} of {capacity} bytes; takes make room, or raise {}",
        setting::BYTE_CAPACITY
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
    #[error(
        "the positions of all sources would take {bytes} bytes of {max}; forget those of sources that are gone, or give sources a channel of their own"
    )]
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
            Self::LargerThanChannel { .. } | Self::Transaction(_) => true,
            // Of other events as well; positions of sources that are gone give way or are forgotten.
            Self::PositionTooLarge { .. } => false,
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
