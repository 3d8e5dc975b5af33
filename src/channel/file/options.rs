//! The options of a file channel.

use super::error::OpenError;
use crate::base::clock::{Clock, SystemClock};
use crate::base::limits;
use crate::base::random::{Random, SeededRandom, SystemRandom};
use crate::base::setting::{self, Setting};
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Settings of a file channel; every number has a unit and a range.
///
/// ```
/// use millpond::FileChannelOptions;
/// let mut options = FileChannelOptions::new("/tmp/c1/checkpoint", ["/tmp/c1/data"]);
/// options.capacity = 10_000;
/// ```
#[derive(Clone)]
#[non_exhaustive]
pub struct FileChannelOptions {
    /// Directory of the channel's own checkpoint; created when missing.
    pub checkpoint_dir: PathBuf,
    /// One stripe each; created when missing. 1 to [`limits::STRIPES_MAX`].
    pub data_dirs: Vec<PathBuf>,
    /// Events the channel holds at most; at least 1. Default 1,000,000.
    pub capacity: u64,
    /// Events of one transaction at most; 1 to `capacity`. Default 10,000.
    pub transaction_capacity: usize,
    /// Bytes of one put transaction at most; 1 KiB to 1 GiB. Default 64 MiB.
    pub transaction_bytes_max: usize,
    /// Time between checkpoints; at least 1 ms. Default 30 s.
    pub checkpoint_interval: Duration,
    /// Bytes of a segment at most, unless one transaction needs more; at least 16 KiB, rounded down to whole
    /// device blocks. Default 64 MiB.
    pub segment_bytes: u64,
    /// Bytes of the first segments of a new stripe; at least 16 KiB. A segment that was used up
    /// within 10 s is followed by larger ones, up to `segment_bytes`. For a first burst at full
    /// speed set both alike and wait for [`ready_segments`](super::FileChannel::ready_segments).
    /// Default 4 MiB.
    pub first_segment_bytes: u64,
    /// Bytes that stay free on each disk: below it puts wait. Default 500 MiB.
    pub minimum_required_space: u64,
    /// How long a put waits for room and a take for an event. Default 3 s.
    pub keep_alive: Duration,
    /// Segments that each stripe keeps ready beyond those in use. While a stripe is written only half of
    /// them are made, two at the least. At least 2. Default 2.
    pub ready_segments: usize,
    /// Open although data directories are missing. Default false.
    pub open_degraded: bool,
    /// Open although segment files are missing, and give up the events that waited in them. Default
    /// false: the opening is refused, and nothing is lost once the files are back.
    pub open_without_missing_segments: bool,
    /// The channel's name in the log; its id if `None`. Default `None`.
    pub name: Option<String>,
    /// Bytes of block memory kept for takers that keep up; at least 1 MiB. Default 48 MiB
    /// (24 MiB for a channel of an agent).
    pub hot_window_bytes: usize,
    /// A write that has not returned after this long counts as failed; at least 1 ms.
    /// Default 30 s.
    pub write_timeout: Duration,
    /// Whether missing directories are created, and a new channel in them. Default true.
    pub create: bool,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) random: Arc<dyn Random>,
    pub(super) step_driven: bool,
}

impl FileChannelOptions {
    /// Returns the defaults, for a channel in these directories of the machine.
    pub fn new<P: Into<PathBuf>>(
        checkpoint_dir: impl Into<PathBuf>,
        data_dirs: impl IntoIterator<Item = P>,
    ) -> Self {
        Self {
            checkpoint_dir: checkpoint_dir.into(),
            data_dirs: data_dirs.into_iter().map(Into::into).collect(),
            capacity: 1_000_000,
            transaction_capacity: 10_000,
            transaction_bytes_max: limits::TRANSACTION_BYTES_MAX_DEFAULT,
            checkpoint_interval: Duration::from_secs(30),
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            first_segment_bytes: limits::FIRST_SEGMENT_BYTES,
            minimum_required_space: 500 * 1024 * 1024,
            keep_alive: Duration::from_secs(3),
            ready_segments: 2,
            open_degraded: false,
            open_without_missing_segments: false,
            name: None,
            hot_window_bytes: limits::HOT_WINDOW_BYTES_DEFAULT,
            write_timeout: Duration::from_secs(30),
            create: true,
            disk: Arc::new(RealDisk::new()),
            clock: Arc::new(SystemClock::new()),
            random: Arc::new(SystemRandom),
            step_driven: false,
        }
    }

    /// Uses another implementation of storage, for tests and measurements.
    #[must_use]
    pub fn with_disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }

    /// Uses another clock, for tests.
    #[must_use]
    pub fn with_clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Starts no thread and draws its random numbers from `seed`: the caller drives the channel
    /// through [`StepDriver`](super::StepDriver). For simulation.
    #[must_use]
    pub fn step_driven(mut self, seed: u64) -> Self {
        self.step_driven = true;
        self.random = Arc::new(SeededRandom::new(seed));
        self
    }

    /// Names the first setting that is outside its range.
    pub(super) fn check(&self) -> Result<(), OpenError> {
        let refuse = |option: Setting, value: String, legal: String| {
            Err(OpenError::Setting { option, value, legal })
        };
        let directories = self.data_dirs.len();
        if directories == 0 || directories > limits::STRIPES_MAX {
            let legal = format!("1 to {} directories", limits::STRIPES_MAX);
            return refuse(setting::DATA_DIRS, format!("{directories} directories"), legal);
        }
        if self.capacity == 0 {
            return refuse(setting::CAPACITY, "0".into(), "at least 1 event".into());
        }
        if self.transaction_capacity == 0 || self.transaction_capacity as u64 > self.capacity {
            let legal = format!("1 to the channel's capacity, {} events", self.capacity);
            return refuse(
                setting::TRANSACTION_CAPACITY,
                self.transaction_capacity.to_string(),
                legal,
            );
        }
        if !(1024..=1 << 30).contains(&self.transaction_bytes_max) {
            let legal = "1024 to 1073741824 bytes".into();
            return refuse(
                setting::TRANSACTION_BYTES_MAX,
                self.transaction_bytes_max.to_string(),
                legal,
            );
        }
        if self.segment_bytes < limits::SEGMENT_BYTES_MIN {
            let legal = format!("at least {} bytes", limits::SEGMENT_BYTES_MIN);
            return refuse(setting::SEGMENT_BYTES, self.segment_bytes.to_string(), legal);
        }
        if self.first_segment_bytes < limits::SEGMENT_BYTES_MIN {
            let legal = format!("at least {} bytes", limits::SEGMENT_BYTES_MIN);
            return refuse(
                setting::FIRST_SEGMENT_BYTES,
                self.first_segment_bytes.to_string(),
                legal,
            );
        }
        let moment = Duration::from_millis(1);
        for (option, value) in [
            (setting::CHECKPOINT_INTERVAL, self.checkpoint_interval),
            (setting::WRITE_TIMEOUT, self.write_timeout),
        ] {
            if value < moment {
                return refuse(option, format!("{value:?}"), "at least 1 ms".into());
            }
        }
        if !(2..=10_000).contains(&self.ready_segments) {
            return refuse(
                setting::READY_SEGMENTS,
                self.ready_segments.to_string(),
                "2 to 10000".into(),
            );
        }
        // The simulator's channels hold little.
        let least = if self.step_driven { 4096 } else { 1024 * 1024 };
        if self.hot_window_bytes < least {
            let legal = format!("at least {least} bytes");
            return refuse(setting::HOT_WINDOW_BYTES, self.hot_window_bytes.to_string(), legal);
        }
        Ok(())
    }

    /// Returns the bytes of a segment, in whole device blocks.
    pub(super) fn segment_bytes(&self) -> u64 {
        let block = limits::DEVICE_BLOCK_BYTES as u64;
        self.segment_bytes / block * block
    }

    /// Returns the bytes of a new stripe's first segments, in whole device blocks.
    pub(super) fn first_segment_bytes(&self) -> u64 {
        let block = limits::DEVICE_BLOCK_BYTES as u64;
        self.segment_bytes().min(self.first_segment_bytes / block * block)
    }
}
