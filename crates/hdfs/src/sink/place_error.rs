//! Why an event has no place.

/// Why an event has no path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PlaceError {
    /// The path has a date and the event has none.
    #[error(
        "the header timestamp is missing and the path has a date; set hdfs.useLocalTimeStamp or the timestamp interceptor"
    )]
    NoTimestamp,
    /// The header `timestamp` is not a number of milliseconds that a date can have.
    #[error("the header timestamp is not a time in milliseconds: \"{0}\"")]
    BadTimestamp(String),
}
