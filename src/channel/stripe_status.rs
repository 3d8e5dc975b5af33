//! The state of one stripe at one moment, for a channel's status.

use crate::base::fault_cause::FaultCause;
use crate::base::histogram::HistogramReading;
use std::time::Duration;

/// Values of one stripe of a channel.
///
/// ```
/// use millpond::{Channel, FileChannel, FileChannelOptions};
///
/// # let dir = tempfile::tempdir()?;
/// # let mut options = FileChannelOptions::new(dir.path().join("checkpoint"), [dir.path().join("data")]);
/// # options.segment_bytes = 1 << 20;
/// # options.minimum_required_space = 1 << 20;
/// let channel = FileChannel::open(options)?;
/// for stripe in channel.status().stripes {
///     if let Some(why) = &stripe.suspended {
///         eprintln!("{} ({:?}): {why}", stripe.directory, why.kind());
///     }
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StripeStatus {
    /// Its data directory; empty while that is missing.
    pub directory: String,
    /// Events waiting, lent or being written.
    pub events: u64,
    /// Bytes of the segments that hold blocks.
    pub segment_bytes: u64,
    /// Segments that hold blocks.
    pub segments: u64,
    /// Segments ready for use.
    pub free_segments: u64,
    /// Every sequence below this one is durably acknowledged or void.
    pub frontier: u64,
    /// Every sequence below this one is durable.
    pub watermark: u64,
    /// Age of the first event that is not acknowledged; zero without events.
    pub oldest: Duration,
    /// Approximate bytes of the log from that event to its end.
    pub lag_bytes: u64,
    /// Durations of successful, durable writes.
    pub writes: HistogramReading,
    /// Why it is suspended, if it is.
    pub suspended: Option<FaultCause>,
    /// Why it takes no puts, if it takes none.
    pub no_space: Option<FaultCause>,
}
