//! Errors of channels and their transactions, and what a caller can do after each.

use super::PutTransaction;
use crate::base::fault_cause::{FaultCause, FaultKind, FaultPlace};
use crate::base::quantity::Quantity;
use crate::base::setting::{self, Setting};
use std::time::Duration;

/// What a caller can do after an error.
///
/// ```
/// use millpond::{CommitError, FaultCause, FaultKind, FaultPlace, RefusedReason, Retry};
///
/// let full = CommitError::Refused(RefusedReason::Full { events: 10, capacity: 10 });
/// assert_eq!(full.retry(), Retry::Later);
/// let lost_disk = FaultCause::new(FaultKind::Hung, FaultPlace::default(), "no answer");
/// assert_eq!(CommitError::InDoubt(lost_disk).retry(), Retry::MayRepeat);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Retry {
    /// Nothing happened; the same call may succeed later. The caller pauses before
    /// it.
    Later,
    /// Nothing happened; the same call may succeed once the earlier commits of its source, which
    /// failed, have been done again.
    AfterEarlierCommits,
    /// Nothing happened; only a channel that is opened again can do it.
    Reopen,
    /// Nothing happened; the same call can only fail again.
    Never,
    /// It may have happened: what is done again may be done twice. A channel opened again knows.
    MayRepeat,
}

/// Why the offset of a source is unknown now.
///
/// ```
/// use millpond::{Retry, SourceOffsetError};
/// use std::time::Duration;
///
/// let error = SourceOffsetError::Unsettled { of: "app.log".into(), waited: Duration::from_secs(30) };
/// assert_eq!(error.retry(), Retry::Later);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceOffsetError {
    /// A commit that carries an offset of the source is in flight or in doubt.
    #[error(
        "a commit of source {of} is still in doubt after {} ms; ask again, its disk may come back",
        waited.as_millis()
    )]
    Unsettled {
        /// The source.
        of: String,
        /// How long the call waited for its commits.
        waited: Duration,
    },
    /// The channel has stopped: another process may have its directories, or its state cannot be
    /// trusted any more.
    #[error("{0}")]
    Stopped(#[source] FaultCause),
}

impl SourceOffsetError {
    /// Returns what the caller can do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Unsettled { .. } => Retry::Later,
            Self::Stopped(_) => Retry::Reopen,
        }
    }
}

impl From<SourceOffsetError> for FaultCause {
    fn from(error: SourceOffsetError) -> Self {
        match error {
            SourceOffsetError::Stopped(cause) => cause,
            SourceOffsetError::Unsettled { .. } => {
                Self::new(FaultKind::Hung, FaultPlace::default(), error.to_string())
            }
        }
    }
}

/// Why an event was not added to a put transaction.
///
/// ```
/// use millpond::{Channel, Event, MemoryChannel, MemoryOptions, PutError};
///
/// let options = MemoryOptions { transaction_capacity: 1, ..MemoryOptions::default() };
/// let channel = MemoryChannel::new(options)?;
/// let mut put = channel.begin_put();
/// put.put(Event::new("first"))?;
/// let refused = put.put(Event::new("second"));
/// assert_eq!(refused, Err(PutError::TransactionFull { capacity: 1 }));
/// put.commit()?; // has the first
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
        /// [`EVENT_BYTES_MAX`](super::EVENT_BYTES_MAX).
        max: usize,
    },
    /// No channel takes an event of so many headers.
    #[error("the event has {headers} headers, the limit of one event is {max}")]
    TooManyHeaders {
        /// Its headers.
        headers: usize,
        /// [`HEADERS_MAX`](crate::base::limits::HEADERS_MAX).
        max: usize,
    },
    /// The channel has no place for this event, whatever its size: a header names one that does not exist.
    #[error("the channel has no place for the event: {0}")]
    NoPlace(#[source] FaultCause),
}

impl PutError {
    /// Returns what the caller can do: the event does not enter this transaction. With
    /// [`PutError::TransactionFull`], and with [`PutError::TooLarge`] where it fits alone, it enters
    /// the next one.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::TransactionFull { .. }
            | Self::TooLarge { .. }
            | Self::EventTooLarge { .. }
            | Self::TooManyHeaders { .. }
            | Self::NoPlace(_) => Retry::Never,
        }
    }
}

/// Why no event of several was added to a put transaction.
///
/// ```
/// use millpond::{PutAllError, PutError};
///
/// let error = PutAllError { index: 3, error: PutError::TransactionFull { capacity: 3 } };
/// assert!(error.to_string().starts_with("event 3 of those to be added: "));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("event {index} of those to be added: {error}")]
pub struct PutAllError {
    /// Index of the event that was refused, from 0.
    pub index: usize,
    /// Why it was refused.
    #[source]
    pub error: PutError,
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

/// Why nothing was lent.
///
/// ```
/// use millpond::{Channel, MemoryChannel, MemoryOptions, TakeError};
///
/// let channel = MemoryChannel::new(MemoryOptions::default())?;
/// channel.close()?;
/// assert_eq!(channel.begin_take().take(1), Err(TakeError::Closed));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
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
    /// The channel has stopped; what it holds is as safe as before.
    #[error("{0}")]
    Stopped(#[source] FaultCause),
    /// The events cannot be read now; they stay where they are.
    #[error("cannot read from the channel: {0}")]
    Unreadable(#[source] FaultCause),
}

impl TakeError {
    /// Returns what the caller can do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::TransactionFull { .. } => Retry::Never,
            Self::Closed | Self::Stopped(_) => Retry::Reopen,
            Self::Unreadable(_) => Retry::Later,
        }
    }
}

/// Why a commit failed: a commit is done, refused or in doubt, and nothing else.
///
/// ```
/// use millpond::{CommitError, RefusedReason};
///
/// /// Returns whether the events may be in the channel although the commit failed.
/// fn may_be_there(error: &CommitError) -> bool {
///     matches!(error, CommitError::InDoubt(_))
/// }
/// assert!(!may_be_there(&CommitError::Refused(RefusedReason::Closed)));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// Nothing happened and nothing will appear: the transaction, which a refused put returns
    /// ([`CommitFailure::transaction`]), may be tried again.
    #[error("refused: {0}")]
    Refused(#[source] RefusedReason),
    /// It may or may not be committed, whole; a reopened channel knows.
    #[error("in doubt: {0}")]
    InDoubt(#[source] FaultCause),
}

/// The error of a put transaction's commit, and the transaction, so that it can be tried again
/// without a copy of its events.
///
/// ```
/// use millpond::{Channel, CommitError, Event, MemoryChannel, MemoryOptions, RefusedReason};
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
/// assert!(matches!(failure.error, CommitError::Refused(RefusedReason::Full { .. })));
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
    /// The error.
    #[source]
    pub error: CommitError,
    /// The transaction as it was, with its events and its source offset, when the commit was
    /// refused. `None` when it is in doubt (committed again it could be there twice), and where its
    /// channel no longer exists.
    pub transaction: Option<Box<dyn PutTransaction>>,
}

impl CommitFailure {
    /// Returns the failure of a transaction whose commit ended with `error`; the transaction is
    /// kept if it was refused.
    #[must_use]
    pub fn new(error: CommitError, transaction: Box<dyn PutTransaction>) -> Self {
        let refused = matches!(error, CommitError::Refused(_));
        Self { transaction: refused.then_some(transaction), error }
    }
}

// It can be used like any other error.
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
///
/// ```
/// use millpond::{RefusedReason, Retry};
///
/// let full = RefusedReason::Full { events: 100, capacity: 100 };
/// assert_eq!((full.retry(), full.never_fits()), (Retry::Later, false));
/// let never = RefusedReason::LargerThanChannel { events: 200, capacity: 100 };
/// assert!(never.never_fits());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedReason {
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
    /// No directory had room within `keep-alive`. [`FaultCause::kind`] is
    /// [`FaultKind::NoSpace`] where a disk is full.
    #[error("no room on the channel's disks: {0}")]
    NoSpace(#[source] FaultCause),
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
    Transaction(#[source] PutError),
    /// The offsets of all sources exceed the room of a state record.
    #[error(
        "the positions of all sources would take {bytes} bytes of {max}; forget those of sources that are gone, or give sources a channel of their own"
    )]
    SourceOffsetTooLarge {
        /// Bytes of all source offsets together.
        bytes: usize,
        /// Bytes they may have.
        max: usize,
    },
    /// It carries an offset of a source, and an earlier commit of the same source did not return
    /// Ok: its source offset would cover those events too.
    #[error("an earlier commit of the same source did not end well; put its events first")]
    EarlierCommitFailed,
    /// It carries an offset of a source, and an earlier commit of the same source had not been
    /// settled within `keep-alive`: it waits for room itself, is being written, or is in doubt.
    #[error(
        "an earlier commit of source {of} was still waiting or in doubt after keep-alive; try again when it has returned"
    )]
    EarlierCommitPending {
        /// The source.
        of: String,
    },
    /// The channel was closed.
    #[error("the channel is closed")]
    Closed,
    /// The channel has stopped; what it holds is as safe as before.
    #[error("{0}")]
    Stopped(#[source] FaultCause),
    /// No stripe can be written now, for a reason other than a full disk.
    #[error("no data directory can be written: {0}")]
    NoStripe(#[source] FaultCause),
    /// The server that stores the channel's events does not take them now.
    #[error("the channel's server does not take events: {0}")]
    Unreachable(#[source] FaultCause),
    /// An interceptor on the way to the channel failed.
    #[error("not intercepted: {0}")]
    NotIntercepted(#[source] FaultCause),
}

impl CommitError {
    /// Returns what the caller can do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        match self {
            Self::Refused(reason) => reason.retry(),
            Self::InDoubt(_) => Retry::MayRepeat,
        }
    }

    /// Returns the cause, for an error that has one besides the state of the channel.
    #[must_use]
    pub fn cause(&self) -> Option<&FaultCause> {
        match self {
            Self::Refused(reason) => reason.cause(),
            Self::InDoubt(cause) => Some(cause),
        }
    }

    /// Returns whether another commit of the same events can only be refused again, whatever is
    /// taken meanwhile: the cause is in the events, not in the channel's state. Fewer or smaller
    /// events may fit.
    #[must_use]
    pub fn never_fits(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.never_fits(),
            Self::InDoubt(_) => false,
        }
    }
}

impl RefusedReason {
    /// Returns the reason of a commit that no stripe took because of `cause`.
    pub(crate) fn of_stripes(cause: FaultCause) -> Self {
        match cause.kind() {
            FaultKind::NoSpace | FaultKind::NotReady | FaultKind::TooManyGaps => {
                Self::NoSpace(cause)
            }
            FaultKind::Stopped => Self::Stopped(cause),
            FaultKind::Io(_)
            | FaultKind::OutOfMemory
            | FaultKind::Hung
            | FaultKind::Missing
            | FaultKind::Internal
            | FaultKind::External => Self::NoStripe(cause),
        }
    }

    /// Returns what the caller can do.
    #[must_use]
    pub fn retry(&self) -> Retry {
        // Without a wildcard: the meaning of a new reason here decides between waiting and losing.
        match self {
            Self::LargerThanChannel { .. } | Self::Transaction(_) => Retry::Never,
            Self::Full { .. }
            | Self::FullOfBytes { .. }
            | Self::NoSpace(_)
            | Self::NoStripe(_)
            | Self::Unreachable(_)
            | Self::NotIntercepted(_)
            // Refused for other events as well; offsets of unnamed sources are evicted or
            // forgotten.
            | Self::SourceOffsetTooLarge { .. }
            | Self::EarlierCommitPending { .. } => Retry::Later,
            Self::EarlierCommitFailed => Retry::AfterEarlierCommits,
            Self::Closed | Self::Stopped(_) => Retry::Reopen,
        }
    }

    /// Returns the cause, for a reason that has one besides the state of the channel.
    #[must_use]
    pub fn cause(&self) -> Option<&FaultCause> {
        match self {
            Self::NoSpace(cause)
            | Self::NoStripe(cause)
            | Self::Stopped(cause)
            | Self::Unreachable(cause)
            | Self::NotIntercepted(cause) => Some(cause),
            _ => None,
        }
    }

    /// Returns whether the commit can only be refused again, as [`CommitError::never_fits`] does.
    #[must_use]
    pub fn never_fits(&self) -> bool {
        self.retry() == Retry::Never
    }
}

/// Why closing failed. Nothing that was committed is lost by it, and the channel is closed.
///
/// ```
/// use millpond::{Channel, FileChannel, FileChannelOptions};
///
/// # let dir = tempfile::tempdir()?;
/// # let mut options = FileChannelOptions::new(dir.path().join("checkpoint"), [dir.path().join("data")]);
/// # options.segment_bytes = 1 << 20;
/// # options.minimum_required_space = 1 << 20;
/// let channel = FileChannel::open(options)?;
/// if let Err(error) = channel.close() {
///     eprintln!("the next opening takes longer: {} ({:?})", error, error.0.kind());
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("closed without a checkpoint: {0}")]
pub struct CloseError(#[source] pub FaultCause);
