//! The plan of a benchmark: what is measured, and how much of the disks it may take.

use super::device_speed::DeviceSpeed;
use millpond::FileChannelOptions;
use millpond_flow::base::limits::STRIPES_MAX;
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Bytes of events that wait in memory for a measurement of hot takes.
pub const HOT_BYTES_MAX: u64 = 256 << 20;

/// Bytes of a device's probe file at most.
const DEVICE_FILE_BYTES_MAX: u64 = 64 << 20;

/// Checkpoint slots, locks and the like of all directories together.
const SMALL_FILES_BYTES: u64 = 8 << 20;

/// Minimum bytes for each directory: 32 segments of a mebibyte.
const SPACE_PER_DIRECTORY_MIN: u64 = 32 << 20;

/// Minimum bytes in all.
const SPACE_MIN: u64 = 64 << 20;

/// Segments of an allowance: enough that the last, half-used one is a small part.
const SEGMENTS: u64 = 32;

const MIB: u64 = 1 << 20;

/// Approximate bytes of an event in a block in addition to its body; for estimates only.
const EVENT_OVERHEAD_BYTES: u64 = 16;

/// The options of a benchmark.
#[derive(Clone)]
pub struct BenchOptions {
    /// The directories to measure, a disk each.
    pub data_dirs: Vec<PathBuf>,
    /// They are directories of a configured channel, which must not be touched: measure next to
    /// them.
    pub beside: bool,
    /// Settings of the channel; its directories are ignored.
    pub channel: FileChannelOptions,
    /// Whether `channel.capacity` was configured. Else the space is the bound.
    pub capacity_is_set: bool,
    /// Bytes of an event's body.
    pub body_bytes: usize,
    /// Events of a transaction, several to compare.
    pub batches: Vec<usize>,
    /// Threads that put.
    pub producers: Vec<usize>,
    /// Threads that take; none for puts only.
    pub takers: Vec<usize>,
    /// How long each measurement takes at most.
    pub time: Duration,
    /// Rounds over all measurements.
    pub rounds: u64,
    /// Bytes that may be taken on the disks at a time, all directories together.
    pub space_bytes: u64,
    /// Whether to measure a plain file for each workload of puts.
    pub baseline: bool,
}

impl BenchOptions {
    /// Returns those of `batches` that can be measured with these options; all of them where none
    /// can, so that the error is reported.
    #[must_use]
    pub fn batches_that_fit(&self, batches: &[usize]) -> Vec<usize> {
        let fits =
            |batch: &usize| BenchPlan::new(&Self { batches: vec![*batch], ..self.clone() }).is_ok();
        let fitting: Vec<usize> = batches.iter().copied().filter(fits).collect();
        if fitting.is_empty() { batches.to_vec() } else { fitting }
    }
}

/// The batch size and the numbers of producers and takers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// Events of a transaction.
    pub batch: usize,
    /// Threads that put; 0 where only takes are measured.
    pub producers: usize,
    /// Threads that take; 0 where only puts are measured.
    pub takers: usize,
}

impl Workload {
    /// Returns a short name, such as `put b100 x4`.
    #[must_use]
    pub fn name(&self) -> String {
        let Self { batch, producers, takers } = self;
        match (producers, takers) {
            (_, 0) => format!("put b{batch} x{producers}"),
            (0, _) => format!("take b{batch} x{takers}"),
            _ => format!("mixed b{batch} x{producers}+{takers}"),
        }
    }
}

/// Why something cannot be measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanError {
    /// The allowance is too small for as many directories.
    #[error("--space is {bytes} bytes; {directories} directories need at least {least}")]
    Space {
        /// The allowance.
        bytes: u64,
        /// Directories.
        directories: usize,
        /// The minimum.
        least: u64,
    },
    /// A channel does not have so many directories.
    #[error("there are {directories} directories; a channel has 1 to {max}")]
    Directories {
        /// The number given.
        directories: usize,
        /// The maximum.
        max: usize,
    },
    /// A transaction would be too large.
    #[error("a batch of {batch} events has {bytes} bytes, at most {max} can be measured; {remedy}")]
    Batch {
        /// Events.
        batch: usize,
        /// Their bytes.
        bytes: u64,
        /// The maximum of a transaction.
        max: u64,
        /// What to do.
        remedy: &'static str,
    },
    /// The channel does not accept such a transaction.
    #[error(
        "a batch of {batch} events is more than the channel's transactionCapacity of {capacity}"
    )]
    TransactionCapacity {
        /// Events.
        batch: usize,
        /// Events of a transaction at most.
        capacity: usize,
    },
}

/// The measurements and their bounds.
#[derive(Clone, Debug)]
pub(super) struct BenchPlan {
    pub workloads: Vec<Workload>,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Bytes of each probe file, and of the plain one.
    pub device_file_bytes: u64,
    /// Segments ready in each directory at most.
    ready_max: usize,
    directories: u64,
    body_bytes: u64,
    seconds: f64,
    /// Bytes of events that may wait for hot takes.
    hot_bytes: u64,
    /// Events that a channel may hold.
    capacity: u64,
    baseline: bool,
}

/// Segments preallocated for a measurement, and how many of them it may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PreparedSegments {
    /// Segments ready in each directory.
    pub ready: usize,
    /// Segments in use, over all directories, at which the measurement ends.
    pub in_use_max: u64,
    /// Events that wait before takes are measured.
    pub waiting: u64,
}

impl BenchPlan {
    /// Returns the grid for `options`.
    pub(super) fn new(options: &BenchOptions) -> Result<Self, PlanError> {
        let (directories, max) = (options.data_dirs.len(), STRIPES_MAX);
        if directories == 0 || directories > max {
            return Err(PlanError::Directories { directories, max });
        }
        let directories = directories as u64;
        let space = options.space_bytes;
        let least = SPACE_MIN.max(SPACE_PER_DIRECTORY_MIN * directories);
        if space < least {
            let directories = options.data_dirs.len();
            return Err(PlanError::Space { bytes: space, directories, least });
        }
        let device_file_bytes = DEVICE_FILE_BYTES_MAX.min(space / 16 / directories) / MIB * MIB;
        // One more: the plain file.
        let probes = device_file_bytes * (directories + 1);
        let allowance = (space - probes - SMALL_FILES_BYTES) / directories;
        let segment_max = (allowance / SEGMENTS / MIB * MIB).max(MIB);
        let segment_bytes = options.channel.segment_bytes.min(segment_max);
        // Half: with the reserve made up when the puts are over, and with everything on one of
        // several stripes, there are at most twice as many.
        let ready_max = (allowance / 2 / segment_bytes).saturating_sub(3).clamp(4, 10_000) as usize;
        let body_bytes = options.body_bytes as u64;
        let plan = Self {
            workloads: grid(options),
            segment_bytes,
            device_file_bytes,
            ready_max,
            directories,
            body_bytes,
            seconds: options.time.as_secs_f64(),
            hot_bytes: HOT_BYTES_MAX.min(allowance / 4),
            capacity: options.channel.capacity,
            baseline: options.baseline,
        };
        for batch in &options.batches {
            plan.check_batch(*batch, options, segment_max / 2)?;
        }
        Ok(plan)
    }

    fn check_batch(
        &self,
        batch: usize,
        options: &BenchOptions,
        by_space: u64,
    ) -> Result<(), PlanError> {
        let capacity = options.channel.transaction_capacity;
        if batch > capacity {
            return Err(PlanError::TransactionCapacity { batch, capacity });
        }
        let bytes = self.batch_bytes(batch);
        let by_channel = options.channel.transaction_bytes_max as u64;
        if bytes > by_channel.min(by_space) {
            let remedy = match by_channel <= by_space {
                true => "the channel's transactionBytesMax is the limit: give smaller batches",
                false => "give a larger --space or smaller batches",
            };
            return Err(PlanError::Batch { batch, bytes, max: by_channel.min(by_space), remedy });
        }
        Ok(())
    }

    fn batch_bytes(&self, batch: usize) -> u64 {
        batch as u64 * (self.body_bytes + EVENT_OVERHEAD_BYTES)
    }

    /// Returns what a workload needs, on devices as fast as `speed`.
    pub(super) fn provision(&self, workload: &Workload, speed: &DeviceSpeed) -> PreparedSegments {
        let batch_bytes = self.batch_bytes(workload.batch);
        let waiting = self.waiting(workload, speed);
        let bytes = if waiting > 0 {
            waiting * (self.body_bytes + EVENT_OVERHEAD_BYTES)
        } else {
            // As fast as the devices allow, or as fast as that many threads can use them; half as
            // much again, because an estimate may be wrong.
            let by_bytes = speed.large_bytes_per_second;
            let by_commits = speed.small_writes_per_second
                * (workload.producers as u64 * batch_bytes.max(4096)) as f64;
            (by_bytes.min(by_commits) * 1.5 * self.seconds) as u64
        };
        // Maintenance creates further ones when half of them are used up.
        let wanted = (bytes * 2).div_ceil(self.segment_bytes * self.directories) as usize + 2;
        let ready = wanted.clamp(4, self.ready_max);
        // A transaction that needs more than a segment gets a longer one.
        let half_bytes = ready as u64 * self.directories * self.segment_bytes / 2;
        let in_use_max = half_bytes / self.segment_bytes.max(batch_bytes * 2);
        PreparedSegments { ready, in_use_max: in_use_max.max(1), waiting }
    }

    /// Returns the events that wait before hot takes are measured.
    fn waiting(&self, workload: &Workload, speed: &DeviceSpeed) -> u64 {
        if workload.producers > 0 {
            return 0;
        }
        let batch = workload.batch as u64;
        let per_second = speed.small_writes_per_second * (workload.takers as u64 * batch) as f64;
        let by_time = (per_second * 1.5 * self.seconds) as u64;
        let by_memory = self.hot_bytes / (self.body_bytes + EVENT_OVERHEAD_BYTES);
        by_time.min(by_memory).min(self.capacity).max(batch) / batch * batch
    }

    /// Returns whether a plain file is measured for `workload`.
    pub(super) fn has_baseline(&self, workload: &Workload) -> bool {
        self.baseline && workload.takers == 0
    }

    /// Returns whether the fastest puts are measured in one of the directories alone, too.
    pub(super) fn compares_directories(&self) -> bool {
        self.directories > 1 && self.workloads.iter().any(|workload| workload.takers == 0)
    }

    /// Returns the plan for one of the directories.
    pub(super) fn in_one(&self) -> Self {
        Self { directories: 1, ..self.clone() }
    }

    /// Returns the steps of a run: each workload and the devices, in every round, what is measured
    /// in one of several directories, and the devices at the end.
    pub(super) fn steps(&self, rounds: u64) -> u64 {
        let alone = u64::from(self.compares_directories());
        (self.workloads.len() as u64 + 1 + alone) * rounds + 1
    }
}

fn grid(options: &BenchOptions) -> Vec<Workload> {
    let mut workloads = Vec::new();
    for &batch in &options.batches {
        let puts = options.producers.iter().map(|&p| (p, 0));
        let takes = options.takers.iter().map(|&t| (0, t));
        let mixed =
            options.producers.iter().flat_map(|&p| options.takers.iter().map(move |&t| (p, t)));
        let threads = puts.chain(takes).chain(mixed);
        workloads.extend(threads.map(|(producers, takers)| Workload { batch, producers, takers }));
    }
    workloads
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Returns options of a run that is never carried out.
    pub(crate) fn options(directories: usize, space_bytes: u64) -> BenchOptions {
        BenchOptions {
            data_dirs: (0..directories).map(|n| PathBuf::from(format!("d{n}"))).collect(),
            beside: false,
            channel: FileChannelOptions::new("cp", ["d"]),
            capacity_is_set: false,
            body_bytes: 512,
            batches: vec![1, 100],
            producers: vec![1, 4],
            takers: vec![2],
            time: Duration::from_secs(2),
            rounds: 3,
            space_bytes,
            baseline: true,
        }
    }

    const SPEED: DeviceSpeed =
        DeviceSpeed { small_writes_per_second: 20_000.0, large_bytes_per_second: 2e9 };

    #[test]
    fn the_grid_has_puts_takes_and_both_of_every_batch() {
        let plan = BenchPlan::new(&options(1, 4 << 30)).expect("a plan");
        let names: Vec<String> = plan.workloads.iter().map(Workload::name).collect();
        let expected = [
            "put b1 x1",
            "put b1 x4",
            "take b1 x2",
            "mixed b1 x1+2",
            "mixed b1 x4+2",
            "put b100 x1",
            "put b100 x4",
            "take b100 x2",
            "mixed b100 x1+2",
            "mixed b100 x4+2",
        ];
        assert_eq!(names, expected);
        assert_eq!(plan.steps(3), 34);
        let two = BenchPlan::new(&options(2, 4 << 30)).expect("a plan");
        assert_eq!((two.steps(3), two.in_one().steps(3)), (37, 34));
        let puts = BenchPlan::new(&BenchOptions { takers: vec![], ..options(1, 4 << 30) })
            .expect("a plan");
        assert_eq!(puts.workloads.len(), 4);
    }

    /// For any options, segments and probe files together stay within the space.
    #[test]
    fn what_is_taken_stays_within_the_space() {
        for directories in [1, 2, 7, 32] {
            for space in [SPACE_MIN, 1 << 30, 5 << 30, 1 << 40] {
                let options = options(directories, space);
                let Ok(plan) = BenchPlan::new(&options) else {
                    assert!(space < SPACE_PER_DIRECTORY_MIN * directories as u64);
                    continue;
                };
                for workload in &plan.workloads {
                    let PreparedSegments { ready, in_use_max, waiting } =
                        plan.provision(workload, &SPEED);
                    let directories = directories as u64;
                    // Those in use on any stripe, and all that were ready made again, with the
                    // first of each directory and one being created.
                    let segments = in_use_max + (ready as u64 + 3) * directories;
                    let files = plan.device_file_bytes * (directories + 1) + SMALL_FILES_BYTES;
                    let bytes = segments * plan.segment_bytes + files;
                    assert!(bytes <= space, "{directories} {space} {}: {bytes}", workload.name());
                    assert!(waiting * 512 <= HOT_BYTES_MAX);
                    assert_eq!(waiting > 0, workload.producers == 0);
                }
            }
        }
    }

    #[test]
    fn transactions_that_do_not_fit_are_refused_with_what_to_do() {
        let refusal = |change: &dyn Fn(&mut BenchOptions)| {
            let mut options = options(2, 64 << 20);
            change(&mut options);
            BenchPlan::new(&options).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(refusal(&|_| {}), "");
        let many = refusal(&|o| o.data_dirs = vec![PathBuf::new(); 33]);
        assert!(many.contains("33 directories"), "{many}");
        assert!(refusal(&|o| o.data_dirs.clear()).contains("0 directories"));
        assert!(refusal(&|o| o.space_bytes -= 1).contains("need at least 67108864"));
        assert!(refusal(&|o| o.batches.push(5000)).contains("larger --space"));
        assert!(refusal(&|o| o.batches.push(10_001)).contains("transactionCapacity of 10000"));
        let small = options(1, 64 << 20);
        assert_eq!(small.batches_that_fit(&[1, 100, 1000, 5000]), [1, 100]);
        assert_eq!(small.batches_that_fit(&[5000]), [5000], "to be refused with an error");
        let by_channel = refusal(&|o| {
            o.space_bytes = 1 << 40;
            o.channel.transaction_bytes_max = 1024;
        });
        assert!(by_channel.contains("transactionBytesMax is the limit"), "{by_channel}");
    }
}
