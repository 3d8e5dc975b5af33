//! Channels: queues of events with put and take transactions. Start with [`file::FileChannel`], the
//! durable one; [`memory::MemoryChannel`] and [`spillable::SpillableChannel`] are others.
//!
//! ```
//! use millpond::{Channel, Event, MemoryChannel, MemoryOptions};
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
//! Every channel is a [`Channel`]: the agent and the contract suite use only this trait. A
//! transaction either puts or takes; committing and rolling back consume it (a refused put returns
//! it, [`CommitFailure`]), dropping it rolls back. Each waiting call exists twice: blocking, and as
//! a future that needs no particular runtime and does not block the thread that polls it.
//!
//! # Errors
//!
//! [`CommitError`], [`TakeError`] and the others are matched on; what to do next is [`Retry`], which
//! each of them returns. A [`FaultCause`] has a kind, a place and the error of the operating system.
//!
//! ```
//! use millpond::{Channel, CommitError, Event, FaultKind, RefusedReason, Retry};
//! use std::time::Duration;
//!
//! /// Puts one event, and waits while the channel or a disk is full.
//! fn put(channel: &dyn Channel, event: Event) -> Result<(), CommitError> {
//!     let mut put = channel.begin_put();
//!     put.put(event).map_err(|error| CommitError::Refused(RefusedReason::Transaction(error)))?;
//!     loop {
//!         let Err(failure) = put.commit() else { return Ok(()) };
//!         match &failure.error {
//!             CommitError::Refused(RefusedReason::NoSpace(cause)) => eprintln!("{cause}"),
//!             CommitError::InDoubt(cause) if cause.kind() == FaultKind::Hung => {
//!                 eprintln!("{cause}; stripe {:?}", cause.place().stripe);
//!             }
//!             _ => {}
//!         }
//!         match (failure.error.retry(), failure.transaction) {
//!             (Retry::Later, Some(again)) => put = again,
//!             _ => return Err(failure.error),
//!         }
//!         std::thread::sleep(Duration::from_millis(100));
//!     }
//! }
//! # use millpond::{MemoryChannel, MemoryOptions};
//! # let options = MemoryOptions { keep_alive: Duration::ZERO, ..MemoryOptions::default() };
//! # let channel = MemoryChannel::new(options)?;
//! # put(&channel, Event::new("a line"))?;
//! # channel.close()?;
//! # assert_eq!(put(&channel, Event::new("a line")).unwrap_err().retry(), Retry::Reopen);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Limits
//!
//! One process per channel, one group of readers, no reading again from a position; an event has up
//! to [`EVENT_BYTES_MAX`] bytes and [`HEADERS_MAX`] headers.

mod error;
mod event_range;
pub mod file;
pub mod memory;
pub mod spillable;
mod store;
mod stripe_status;
pub(crate) mod timer;
pub(crate) mod waiting;

pub use crate::base::fault_cause::{FaultCause, FaultKind, FaultPlace};
use crate::base::limits::{EVENT_BYTES_MAX, HEADERS_MAX};
pub use crate::base::setting::Setting;
use crate::event::Event;
use bytes::Bytes;
pub use error::{
    CloseError, CommitError, CommitFailure, PutAllError, PutError, RefusedReason, Retry,
    SourceOffsetError, TakeError,
};
pub use event_range::EventRange;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
pub use stripe_status::StripeStatus;

/// A boxed future, as trait objects need it.
///
/// ```
/// use millpond::{BoxFuture, Channel, CommitFailure, Event};
///
/// /// Puts one event; the future is polled by any runtime.
/// fn put<'a>(channel: &'a dyn Channel, event: Event) -> BoxFuture<'a, Result<(), CommitFailure>> {
///     Box::pin(async move {
///         let mut put = channel.begin_put();
///         put.put(event).expect("a small event fits");
///         put.commit_async().await
///     })
/// }
/// # let _ = put;
/// ```
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A queue of events with transactions.
///
/// ```
/// use millpond::{Channel, Event, MemoryChannel, MemoryOptions};
///
/// /// Moves what waits in `from`, at most a hundred events, to `to`.
/// fn forward(from: &dyn Channel, to: &dyn Channel) -> Result<usize, Box<dyn std::error::Error>> {
///     let mut take = from.begin_take();
///     let events = take.take(100)?;
///     let mut put = to.begin_put();
///     put.put_all(&mut events.iter().cloned())?;
///     put.commit()?;
///     take.commit()?; // after the put: an event may come twice, and is never lost
///     Ok(events.len())
/// }
/// # let channels = [(); 2].map(|()| MemoryChannel::new(MemoryOptions::default()).expect("legal"));
/// # let mut put = channels[0].begin_put();
/// # put.put(Event::new("a line"))?;
/// # put.commit()?;
/// # assert_eq!(forward(&channels[0], &channels[1])?, 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Channel: Send + Sync {
    /// Begins a put transaction.
    fn begin_put(&self) -> Box<dyn PutTransaction>;

    /// Begins a take transaction.
    fn begin_take(&self) -> Box<dyn TakeTransaction>;

    /// Returns the limits of transactions.
    fn limits(&self) -> Limits;

    /// Returns the current counts.
    fn status(&self) -> Status;

    /// Returns the source offset last committed for `source`, `None` if there is none. Waits, and
    /// blocks the thread meanwhile, until every commit of the source that carries a source offset
    /// has settled, for as long as a write may take. Channels that are not durable return `None`.
    ///
    /// # Errors
    /// Such a commit has not settled in time, or the channel has stopped. An older source offset
    /// would be wrong: a source that continued from it would repeat what the commit may still keep.
    fn source_offset(&self, source: &str) -> Result<Option<CommittedOffset>, SourceOffsetError>;

    /// Returns whether source offsets of commits are kept, and returned by
    /// [`Channel::source_offset`].
    fn keeps_source_offsets(&self) -> bool {
        false
    }

    /// Names the sources that put into the channel. A durable channel limits the bytes of all
    /// source offsets together; offsets of sources that are not named are evicted when a named
    /// source needs their room, and are forgotten when the same sources have been named for a day.
    /// Where no sources are named, none is forgotten.
    fn name_sources(&self, _sources: &[String]) {}

    /// Forgets the source offset of `source`, durably, and returns whether there was one. Blocks as
    /// [`PutTransaction::commit`] does.
    ///
    /// # Errors
    /// As [`PutTransaction::commit`]; in doubt also while another commit of the source is.
    fn forget_source_offset(&self, source: &str) -> Result<bool, CommitError> {
        let failed = |error: SourceOffsetError| match error {
            SourceOffsetError::Stopped(cause) => {
                CommitError::Refused(RefusedReason::Stopped(cause))
            }
            pending => CommitError::InDoubt(pending.into()),
        };
        if self.source_offset(source).map_err(failed)?.is_none() {
            return Ok(false);
        }
        let mut forgetting = self.begin_put();
        forgetting.set_source_offset(source, Bytes::new());
        forgetting.commit()?;
        Ok(true)
    }

    /// Returns the 128 random bits that the channel got when it was created; `None` where events do not outlive the
    /// process, and so have no lasting place.
    fn identity(&self) -> Option<u128> {
        None
    }

    /// Returns the parts of `ranges` that are not acknowledged yet, so that their events may come again. `None` where
    /// events have no lasting place, and while the channel is closed.
    fn unacknowledged(&self, ranges: &[EventRange]) -> Option<Vec<EventRange>> {
        let _ = ranges;
        None
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
///
/// ```
/// use millpond::{Channel, Event, MemoryChannel, MemoryOptions};
///
/// let channel = MemoryChannel::new(MemoryOptions::default())?;
/// let mut put = channel.begin_put();
/// put.put(Event::new("first"))?;
/// put.put(Event::new("second"))?;
/// put.commit()?; // both, or none
/// assert_eq!(channel.status().events, 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait PutTransaction: Send + Sync {
    /// Adds an event.
    ///
    /// # Errors
    /// The transaction has no place for it, or no channel has; the transaction stays as it was.
    fn put(&mut self, event: Event) -> Result<(), PutError>;

    /// Adds events, all of them or none.
    ///
    /// # Errors
    /// The first event that the transaction has no place for, or no channel has; the transaction
    /// stays as it was, and the events are dropped. A copy of an event shares its bytes.
    ///
    /// ```
    /// use millpond::{Channel, Event, MemoryChannel, MemoryOptions, PutError};
    ///
    /// let options = MemoryOptions { transaction_capacity: 3, ..MemoryOptions::default() };
    /// let channel = MemoryChannel::new(options)?;
    /// let lines = ["a", "b", "c", "d"].map(Event::new);
    /// let mut put = channel.begin_put();
    /// let refused = put.put_all(&mut lines.iter().cloned()).unwrap_err();
    /// assert_eq!((refused.index, refused.error), (3, PutError::TransactionFull { capacity: 3 }));
    /// put.put_all(&mut lines.into_iter().take(3))?; // none of them was added before
    /// put.commit()?;
    /// # assert_eq!(channel.status().events, 3);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    fn put_all(&mut self, events: &mut dyn Iterator<Item = Event>) -> Result<(), PutAllError>;

    /// Sets the source's offset that the commit carries (durable channels keep it, others ignore
    /// it). A transaction with a source offset and no event commits the source offset alone. An
    /// empty source offset removes the stored one and frees its room.
    ///
    /// Commits of one source that carry a source offset are done in the order in which they are
    /// requested; one that waits is refused with [`RefusedReason::EarlierCommitFailed`] when one
    /// before it fails, and with [`RefusedReason::EarlierCommitPending`] when its own time is over
    /// first. So a source offset never covers events that are missing.
    fn set_source_offset(&mut self, source: &str, source_offset: Bytes);

    /// Commits: waits up to `keep-alive` for room, then until the events are safe.
    ///
    /// # Errors
    /// See [`CommitFailure`]: refused (nothing will appear, and the transaction is returned with
    /// its events) or in doubt.
    fn commit(self: Box<Self>) -> Result<(), CommitFailure>;

    /// Commits without blocking the thread. A future dropped after its first poll leaves the
    /// transaction in doubt.
    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitFailure>>;

    /// Drops the events.
    fn rollback(self: Box<Self>);
}

/// A take transaction: lends events until they are acknowledged or handed back.
///
/// ```
/// use millpond::{Channel, Event, MemoryChannel, MemoryOptions};
///
/// let channel = MemoryChannel::new(MemoryOptions::default())?;
/// let mut put = channel.begin_put();
/// put.put(Event::new("a line"))?;
/// put.commit()?;
///
/// let mut take = channel.begin_take();
/// assert_eq!(take.take(10)?.len(), 1);
/// take.rollback(); // handed back
/// let mut take = channel.begin_take();
/// assert_eq!(take.take(10)?.len(), 1);
/// take.commit()?; // never delivered again
/// assert_eq!(channel.status().events, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait TakeTransaction: Send {
    /// Lends up to `max` further events. With none waiting, waits up to `keep-alive` for one and
    /// returns an empty list if none came.
    ///
    /// # Errors
    /// [`TakeError::TransactionFull`] when `transactionCapacity` events are lent already, or the
    /// channel is closed or cannot read.
    fn take(&mut self, max: usize) -> Result<Vec<Event>, TakeError>;

    /// Lends without blocking the thread.
    fn take_async(&mut self, max: usize) -> BoxFuture<'_, Result<Vec<Event>, TakeError>>;

    /// Returns the number of events lent so far.
    fn taken(&self) -> usize;

    /// Returns where the events lent so far are, in the order in which they were lent; `None` where events have no
    /// lasting place.
    fn ranges(&self) -> Option<Vec<EventRange>> {
        None
    }

    /// Acknowledges everything lent: it is never delivered again.
    ///
    /// # Errors
    /// See [`CommitError`]. A refusal hands the lent events back.
    fn commit(self: Box<Self>) -> Result<(), CommitError>;

    /// Acknowledges without blocking the thread.
    fn commit_async(self: Box<Self>) -> BoxFuture<'static, Result<(), CommitError>>;

    /// Hands everything back to the front of the channel, in order.
    fn rollback(self: Box<Self>);
}

/// The limits of transactions.
///
/// ```
/// use millpond::{Channel, MemoryChannel, MemoryOptions};
///
/// let channel = MemoryChannel::new(MemoryOptions::default())?;
/// let batch = channel.limits().transaction_capacity.min(1_000);
/// assert_eq!(batch, 100);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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

/// The offset that a source committed with its events: opaque bytes and a counter that grows with
/// each commit.
///
/// ```
/// use bytes::Bytes;
/// use millpond::{Channel, Event, FileChannel, FileChannelOptions};
///
/// # let dir = tempfile::tempdir()?;
/// # let mut options = FileChannelOptions::new(dir.path().join("checkpoint"), [dir.path().join("data")]);
/// # options.segment_bytes = 1 << 20;
/// # options.minimum_required_space = 1 << 20;
/// let channel = FileChannel::open(options)?;
/// let mut put = channel.begin_put();
/// put.put(Event::new("line 1"))?;
/// put.set_source_offset("app.log", Bytes::from_static(b"7")); // where to read on
/// put.commit()?;
/// let offset = channel.source_offset("app.log")?.expect("committed with the event");
/// assert_eq!((offset.counter, &offset.bytes[..]), (1, &b"7"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Grows by one with each committed offset of this source.
    pub counter: u64,
    /// The source's own bytes.
    pub bytes: Bytes,
}

/// Counts of a channel at one time.
///
/// ```
/// use millpond::{Channel, MemoryChannel, MemoryOptions};
///
/// let channel = MemoryChannel::new(MemoryOptions::default())?;
/// let status = channel.status();
/// assert_eq!((status.events, status.capacity), (0, 100));
/// assert!(!status.refuses());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Status {
    /// Events waiting or lent that can be reached, without those of [`Status::out_of_reach`].
    pub events: u64,
    /// Of those, the ones lent to takes that are open or in doubt, where the channel knows.
    pub lent: u64,
    /// The bytes that they occupy: of memory, or of the segments that hold them.
    pub bytes: u64,
    /// Events the channel holds at most.
    pub capacity: u64,
    /// Events whose put was committed, since the channel was opened.
    pub put: u64,
    /// Events whose take was committed, since the channel was opened.
    pub taken: u64,
    /// Events found damaged and quarantined, since the channel was created.
    pub quarantined: u64,
    /// Events of suspended stripes, which cannot be reached now.
    pub out_of_reach: u64,
    /// Age of the oldest event that waits, is lent or out of reach, to a second and rounded up;
    /// zero without one. Events present at the opening count from then.
    pub oldest: Duration,
    /// Checkpoints that could not be written into `checkpointDir`, since the channel was opened.
    pub checkpoint_errors: u64,
    /// Copies of checkpoints that could not be written into a data directory, since the channel was
    /// opened.
    pub checkpoint_copy_errors: u64,
    /// Events that were there at the opening or were put since, less those that were taken, wait or
    /// were found damaged: 0 as long as every event is accounted for. `None` where the channel
    /// cannot read both sides at one time.
    pub unaccounted: Option<i64>,
    /// Bytes of memory that hold events, those in transfer to and from the disk included.
    pub memory_bytes: u64,
    /// Writes to the log that succeeded, since the channel was opened.
    pub writes: u64,
    /// Bytes of those.
    pub written_bytes: u64,
    /// Writes to the log that failed or were given up, since the channel was opened.
    pub failed_writes: u64,
    /// Its stripes, one for each data directory; none of a channel in memory.
    pub stripes: Vec<StripeStatus>,
    /// Why a stripe takes no puts, or why the whole channel takes none for a reason other than
    /// `capacity`: [`Status::refuses`] distinguishes the two.
    pub fault: Option<FaultCause>,
    /// It has stopped, after an internal failure or for another process, which `fault` says, and
    /// does nothing until it is closed and opened again. What was committed is as safe as before.
    pub stopped: bool,
    /// It has stopped because another process has locked a directory of it.
    pub gave_way: bool,
}

impl Status {
    /// Returns whether a put would be refused now for a reason other than `capacity`. If one stripe
    /// cannot be written, the others can.
    #[must_use]
    pub fn refuses(&self) -> bool {
        let takes_none = |s: &StripeStatus| s.suspended.is_some() || s.no_space.is_some();
        self.fault.is_some() && self.stripes.iter().all(takes_none)
    }

    /// Returns the status of a channel of `capacity` events that has stopped because of `why`.
    #[doc(hidden)]
    #[must_use]
    pub fn stopped(capacity: u64, why: &FaultCause) -> Self {
        Self { capacity, fault: Some(why.clone()), stopped: true, ..Self::default() }
    }
}

/// Returns the cause that the status of a closed channel in memory names.
fn closed_cause() -> FaultCause {
    FaultCause::new(FaultKind::Stopped, FaultPlace::default(), "the channel is closed")
}

/// Checks what every channel requires of an event before it enters a transaction. Within these
/// limits every length fits its field on the disk, so every event put can be written and read back;
/// and one rule for all channels keeps an event that passed a channel in memory from being refused
/// by the next agent's file channel.
///
/// # Errors
/// The event is larger than every channel accepts.
pub fn check_event(event: &Event) -> Result<(), PutError> {
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

/// Adds `events` with `put`, up to the first that is refused.
fn put_each(
    events: &mut dyn Iterator<Item = Event>,
    mut put: impl FnMut(Event) -> Result<(), PutError>,
) -> Result<(), PutAllError> {
    let put = |(index, event)| put(event).map_err(|error| PutAllError { index, error });
    events.enumerate().try_for_each(put)
}
