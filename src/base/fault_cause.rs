//! The cause of a failure: its kind, its place, its text and the error of the operating system.

use super::ids::{SegmentId, StripeIndex};
use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The cause of a failure, cheap to copy: several commits may share one failed write.
///
/// `Display` is for people: what happened, where, and what to do. A program matches on
/// [`FaultCause::kind`]; [`Error::source`] is the error of the operating system, if there was one.
///
/// ```
/// use millpond::{FaultCause, FaultKind, StripeIndex};
/// use std::io;
///
/// let full = io::Error::from(io::ErrorKind::StorageFull);
/// let cause = FaultCause::from_io(StripeIndex(1), "cannot write", full);
/// assert_eq!(cause.kind(), FaultKind::NoSpace);
/// assert_eq!(cause.place().stripe, Some(StripeIndex(1)));
/// ```
#[derive(Clone)]
pub struct FaultCause(Arc<Fault>);

struct Fault {
    kind: FaultKind,
    place: FaultPlace,
    text: FaultText,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// The text of a cause, formatted when it is read: a cause may be made under a lock.
enum FaultText {
    Given(Box<dyn fmt::Display + Send + Sync>),
    /// That of a failed write, made of its place and source.
    Write,
}

/// What kind of failure a [`FaultCause`] is.
///
/// ```
/// use millpond::FaultKind;
///
/// /// Returns whether a person has to free space on a disk.
/// fn needs_space(kind: FaultKind) -> bool {
///     matches!(kind, FaultKind::NoSpace)
/// }
/// assert!(!needs_space(FaultKind::Hung));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FaultKind {
    /// The storage refused an operation.
    Io(io::ErrorKind),
    /// A disk has no room left: it is full, a quota is used up, or less than `minimumRequiredSpace`
    /// is free.
    NoSpace,
    /// Room that is being made was not ready in time: a segment, or a checkpoint.
    NotReady,
    /// The waiting events of a stripe have as many gaps as its state record can hold; takes reduce
    /// them.
    TooManyGaps,
    /// The operating system refused memory.
    OutOfMemory,
    /// An operation of a disk has not returned in time.
    Hung,
    /// A directory or a file is not there, or was removed while it is in use.
    Missing,
    /// The channel has stopped: after an internal failure, because another process has locked one of
    /// its directories, or because it was closed.
    Stopped,
    /// A defect of this program: a thread panicked.
    Internal,
    /// A part outside the channel failed, such as an interceptor or the server that stores its events.
    External,
}

/// The place of a failure, as far as it is known.
///
/// ```
/// use millpond::{FaultPlace, SegmentId, StripeIndex};
///
/// let place = FaultPlace::from(StripeIndex(0)).in_segment(SegmentId(12)).at_offset(4096);
/// assert_eq!((place.segment, place.offset, place.path), (Some(SegmentId(12)), Some(4096), None));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FaultPlace {
    /// The stripe: the index of its directory.
    pub stripe: Option<StripeIndex>,
    /// The segment in the stripe's log.
    pub segment: Option<SegmentId>,
    /// The file or directory.
    pub path: Option<PathBuf>,
    /// The offset in the file, bytes.
    pub offset: Option<u64>,
}

impl FaultPlace {
    /// Returns the place with a segment.
    #[must_use]
    pub fn in_segment(mut self, segment: SegmentId) -> Self {
        self.segment = Some(segment);
        self
    }

    /// Returns the place with a file or directory.
    #[must_use]
    pub fn at_path(mut self, path: impl Into<PathBuf>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// Returns the place with an offset in bytes.
    #[must_use]
    pub fn at_offset(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }
}

impl From<StripeIndex> for FaultPlace {
    fn from(stripe: StripeIndex) -> Self {
        Self { stripe: Some(stripe), ..Self::default() }
    }
}

impl From<Option<StripeIndex>> for FaultPlace {
    fn from(stripe: Option<StripeIndex>) -> Self {
        Self { stripe, ..Self::default() }
    }
}

impl From<&Path> for FaultPlace {
    fn from(path: &Path) -> Self {
        Self::default().at_path(path)
    }
}

impl From<&io::Error> for FaultKind {
    fn from(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::OutOfMemory => Self::OutOfMemory,
            kind => Self::Io(kind),
        }
    }
}

impl FaultCause {
    /// Returns a cause; `text` says what happened, where, and what to do.
    #[must_use]
    pub fn new(kind: FaultKind, place: impl Into<FaultPlace>, text: impl Into<Box<str>>) -> Self {
        Self::described(kind, place, text.into())
    }

    /// Returns a cause whose text is formatted when it is read; made under a lock, it formats nothing there.
    #[must_use]
    pub(crate) fn described(
        kind: FaultKind,
        place: impl Into<FaultPlace>,
        text: impl fmt::Display + Send + Sync + 'static,
    ) -> Self {
        let (place, text) = (place.into(), FaultText::Given(Box::new(text)));
        Self(Arc::new(Fault { kind, place, text, source: None }))
    }

    /// Returns the cause of a write at a place with a path and an offset that the storage refused; its text is
    /// formatted when it is read.
    #[must_use]
    pub(crate) fn of_write(place: FaultPlace, error: io::Error) -> Self {
        let (kind, source) = (FaultKind::from(&error), Some(Box::new(error) as Box<_>));
        Self(Arc::new(Fault { kind, place, text: FaultText::Write, source }))
    }

    /// Returns the cause of an operation that the storage refused; `what` says which one.
    #[must_use]
    pub fn from_io(
        place: impl Into<FaultPlace>,
        what: impl fmt::Display,
        error: io::Error,
    ) -> Self {
        let (kind, text) =
            (FaultKind::from(&error), FaultText::Given(Box::new(format!("{what}: {error}"))));
        let place = place.into();
        Self(Arc::new(Fault { kind, place, text, source: Some(Box::new(error)) }))
    }

    /// Returns the cause that `error` describes: its text, and the kind of the storage's error that
    /// it comes from.
    #[must_use]
    pub fn from_error(
        place: impl Into<FaultPlace>,
        error: impl Error + Send + Sync + 'static,
    ) -> Self {
        let kind = io_error_of(&error).map_or(FaultKind::Internal, FaultKind::from);
        let (place, text) = (place.into(), FaultText::Given(Box::new(error.to_string())));
        Self(Arc::new(Fault { kind, place, text, source: Some(Box::new(error)) }))
    }

    /// Returns its kind.
    #[must_use]
    pub fn kind(&self) -> FaultKind {
        self.0.kind
    }

    /// Returns its place.
    #[must_use]
    pub fn place(&self) -> &FaultPlace {
        &self.0.place
    }
}

/// Returns the storage's error that `error` comes from.
fn io_error_of<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e io::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

impl fmt::Display for FaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { place, text, source, .. } = &*self.0;
        match text {
            FaultText::Given(text) => text.fmt(f),
            FaultText::Write => {
                let (path, offset) = (place.path.as_deref(), place.offset.unwrap_or(0));
                write!(f, "writing {} at {offset}", path.unwrap_or(Path::new("")).display())?;
                source.as_ref().map_or(Ok(()), |source| write!(f, ": {source}"))
            }
        }
    }
}

impl fmt::Debug for FaultCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}({:?})", self.0.kind, self.to_string())
    }
}

impl Error for FaultCause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

impl PartialEq for FaultCause {
    /// Compares what a reader sees: kind, place and text.
    fn eq(&self, other: &Self) -> bool {
        let (one, two) = (&*self.0, &*other.0);
        let is_same = (one.kind, &one.place) == (two.kind, &two.place);
        is_same && (Arc::ptr_eq(&self.0, &other.0) || self.to_string() == other.to_string())
    }
}

impl Eq for FaultCause {}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot write {path}: {source}")]
    struct Wrapped {
        path: &'static str,
        source: io::Error,
    }

    #[test]
    fn a_cause_has_kind_place_text_and_the_error_of_the_operating_system() {
        let place = FaultPlace::from(StripeIndex(3))
            .in_segment(SegmentId(7))
            .at_path("/d/segment-00001.log")
            .at_offset(4096);
        let full = || io::Error::from_raw_os_error(libc::ENOSPC);
        let cause = FaultCause::from_io(place.clone(), "writing /d at 4096", full());
        assert_eq!((cause.kind(), cause.place()), (FaultKind::NoSpace, &place));
        assert_eq!(cause.to_string(), format!("writing /d at 4096: {}", full()));
        let source = cause.source().and_then(<dyn Error>::downcast_ref::<io::Error>);
        assert_eq!(source.and_then(io::Error::raw_os_error), Some(libc::ENOSPC));
        assert_eq!(cause, cause.clone());
        let mut of_write = place.clone();
        of_write.path = Some("/d".into());
        let of_write = FaultCause::of_write(of_write, full());
        assert_eq!(of_write.to_string(), cause.to_string());
        let source = of_write.source().expect("a source");
        assert!(source.is::<io::Error>());
        let elsewhere = FaultCause::from_io(StripeIndex(2), "writing /d at 4096", full());
        assert_ne!(cause, elsewhere);
    }

    #[test]
    fn the_kind_is_that_of_the_storages_error_however_deep_it_is() {
        let kind = |code: i32| {
            let source = io::Error::from_raw_os_error(code);
            FaultCause::from_error(StripeIndex(0), Wrapped { path: "/d", source }).kind()
        };
        assert_eq!(kind(libc::EDQUOT), FaultKind::NoSpace);
        assert_eq!(kind(libc::ENOMEM), FaultKind::OutOfMemory);
        assert_eq!(kind(libc::EROFS), FaultKind::Io(io::ErrorKind::ReadOnlyFilesystem));
        let defect = FaultCause::from_error(FaultPlace::default(), fmt::Error);
        assert_eq!(defect.kind(), FaultKind::Internal);
    }
}
