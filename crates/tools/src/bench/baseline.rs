//! The baseline to compare with: one file, one writer at a time, a write and a sync for each
//! transaction. It has no events to create, no checksums, takes or anything else.

use super::bench_dirs::BASELINE;
use super::device::{make_filled, noise};
use super::error::BenchError;
use super::join_timeout::{TIMEOUT, joined};
use super::plan::Workload;
use millpond::internal::base::threads;
use millpond::internal::disk::memory::{Area, SlabPool};
use millpond::internal::disk::real::RealDisk;
use millpond::internal::disk::{Access, Disk, File};
use millpond::{Clock, SystemClock};
use millpond_flow::base::limits::DEVICE_BLOCK_BYTES;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The file of the baseline.
pub(super) struct PlainFileBaseline {
    file: Arc<dyn File>,
    len: u64,
}

impl PlainFileBaseline {
    /// Creates the file in `directory`, filled beforehand; the baseline does not use direct writes.
    pub(super) fn prepare(
        directory: &Path,
        len: u64,
        stop: &AtomicBool,
    ) -> Result<Self, BenchError> {
        let path = directory.join(BASELINE);
        let made = RealDisk::buffered().open_dir(directory, false).and_then(|directory| {
            drop(make_filled(&*directory, BASELINE, len, stop)?);
            directory.open(BASELINE, Access::Write)
        });
        let file = made.map_err(|source| BenchError::Device { path, source })?;
        Ok(Self { file, len })
    }

    /// Returns events per second, with as many threads as `workload` has producers; `None` for
    /// transactions that are longer than the file.
    pub(super) fn measure(
        &self,
        workload: &Workload,
        body_bytes: usize,
        time: Duration,
    ) -> Result<Option<f64>, BenchError> {
        let bytes = (workload.batch * body_bytes).next_multiple_of(DEVICE_BLOCK_BYTES);
        if bytes as u64 > self.len {
            return Ok(None);
        }
        let area = noise(&SlabPool::new(bytes, 0), bytes).map_err(BenchError::Memory)?;
        let (places, file) = (self.len / bytes as u64, Arc::clone(&self.file));
        let (next, commits) = (AtomicU64::new(0), AtomicU64::new(0));
        let field = Arc::new(SharedCounters {
            file,
            area,
            places,
            next,
            commits,
            clock: SystemClock::new(),
        });
        let mut crew = Vec::new();
        for n in 0..workload.producers {
            let field = Arc::clone(&field);
            let work = move || field.write_for(time);
            crew.push(
                threads::spawn(&format!("bench-base-{n}"), work).map_err(BenchError::Thread)?,
            );
        }
        let mut took = Duration::ZERO;
        for ended in joined(crew, time + TIMEOUT)? {
            let ended = ended.unwrap_or_else(|_| Err(io::Error::other("a thread panicked")));
            let path = self.file.path().to_owned();
            took = took.max(ended.map_err(|source| BenchError::Device { path, source })?);
        }
        let took = took.as_secs_f64().max(1e-9);
        let events = field.commits.load(Ordering::Relaxed) * workload.batch as u64;
        Ok(Some(events as f64 / took))
    }
}

/// The counters that the threads share.
struct SharedCounters {
    file: Arc<dyn File>,
    area: Area,
    places: u64,
    next: AtomicU64,
    commits: AtomicU64,
    clock: SystemClock,
}

impl SharedCounters {
    /// Returns when the last write ended.
    fn write_for(&self, time: Duration) -> io::Result<Duration> {
        // At least once: on a busy machine the time may be over when a thread begins.
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed) % self.places;
            // The file itself lets one write and sync at a time.
            self.file.write_durable(place * self.area.len() as u64, self.area.as_ref())?;
            self.commits.fetch_add(1, Ordering::Relaxed);
            let now = self.clock.now();
            if now >= time {
                return Ok(now);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_file_is_written_by_all_and_keeps_its_length() {
        let directory = tempfile::tempdir().expect("a directory");
        let go = AtomicBool::new(false);
        let baseline = PlainFileBaseline::prepare(directory.path(), 1 << 20, &go).expect("made");
        let (mut workload, time) =
            (Workload { batch: 10, producers: 3, takers: 0 }, Duration::from_millis(20));
        let rate = baseline.measure(&workload, 512, time).expect("measured");
        assert!(rate.is_some_and(|rate| rate > 0.0), "{rate:?}");
        assert_eq!(baseline.file.len().expect("a length"), 1 << 20);
        workload.batch = 3000;
        assert_eq!(baseline.measure(&workload, 512, time).expect("left out"), None);
    }
}
