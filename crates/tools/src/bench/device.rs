//! The speed of the devices without a channel: synced writes through the disk traits.
//!
//! Small ones, one after the other, bound how often a lone producer can commit; large ones, several
//! at a time, bound the bytes. All directories are written at once, as a channel does.

use super::bench_dirs;
use super::device_speed::DeviceSpeed;
use super::error::BenchError;
use super::join_timeout::TIMEOUT;
use millpond::internal::base::random::{Random, SeededRandom};
use millpond::internal::base::threads;
use millpond::internal::disk::memory::{Area, SlabPool};
use millpond::internal::disk::{Directory, File};
use millpond::{Clock, SystemClock};
use millpond_flow::base::limits::{DEVICE_BLOCK_BYTES, WRITES_IN_FLIGHT_MAX};
use serde::Serialize;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// Bytes of a small write.
const SMALL_BYTES: usize = DEVICE_BLOCK_BYTES;

/// Bytes of a large write.
const LARGE_BYTES: usize = 256 * 1024;

/// Bytes written at a time while a probe file is created.
const FILL_BYTES: usize = 1024 * 1024;

/// How long one kind of write is measured at most.
pub(super) const TIME_MAX: Duration = Duration::from_secs(1);

/// One measurement of one device.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct DirectorySpeed {
    /// Synced writes of 4 KiB per second, one after the other.
    pub small_writes_per_second: f64,
    /// Megabytes (10^6) per second of synced writes of 256 KiB, several in flight.
    pub large_mb_per_second: f64,
}

/// Returns the devices' joint speed.
pub(super) fn together(directories: &[DirectorySpeed]) -> DeviceSpeed {
    let count = directories.len().max(1) as f64;
    let small: f64 = directories.iter().map(|d| d.small_writes_per_second).sum();
    let large: f64 = directories.iter().map(|d| d.large_mb_per_second).sum();
    DeviceSpeed { small_writes_per_second: small / count, large_bytes_per_second: large * 1e6 }
}

/// A probe file in each directory.
pub(super) struct ProbeFiles {
    files: Vec<(Arc<dyn File>, PathBuf, usize)>,
    pool: SlabPool,
    file_bytes: u64,
}

impl ProbeFiles {
    /// Creates the probe files, `file_bytes` each.
    pub(super) fn prepare(
        directories: &[Arc<dyn Directory>],
        file_bytes: u64,
        stop: &AtomicBool,
    ) -> Result<Self, BenchError> {
        let mut files = Vec::new();
        for directory in directories {
            let path = directory.path().join(bench_dirs::DEVICE);
            let depth = directory.capabilities().writes_in_flight_max.min(WRITES_IN_FLIGHT_MAX);
            let made = make_filled(&**directory, bench_dirs::DEVICE, file_bytes, stop);
            let file = made.map_err(|source| BenchError::Device { path: path.clone(), source })?;
            files.push((file, path, depth));
        }
        Ok(Self { files, pool: SlabPool::new(LARGE_BYTES, 0), file_bytes })
    }

    /// Measures all devices at once; each kind of write for half of `time`.
    pub(super) fn measure(&self, time: Duration) -> Result<Vec<DirectorySpeed>, BenchError> {
        let time = (time / 2).min(TIME_MAX);
        let small = self.rates(SMALL_BYTES, 1, time)?;
        let large = self.rates(LARGE_BYTES, WRITES_IN_FLIGHT_MAX, time)?;
        let both = small.into_iter().zip(large);
        Ok(both
            .map(|(small, large)| DirectorySpeed {
                small_writes_per_second: small,
                large_mb_per_second: large * LARGE_BYTES as f64 / 1e6,
            })
            .collect())
    }

    /// Returns the writes per second in each directory.
    fn rates(&self, bytes: usize, depth: usize, time: Duration) -> Result<Vec<f64>, BenchError> {
        let clock = Arc::new(SystemClock::new());
        let (tell, told) = mpsc::channel();
        let mut crew = Vec::new();
        for (index, (file, path, depth_max)) in self.files.iter().enumerate() {
            let next = Arc::new(AtomicU64::new(0));
            for _ in 0..depth.min(*depth_max) {
                let place = WriteCursor {
                    file: Arc::clone(file),
                    next: Arc::clone(&next),
                    len: self.file_bytes,
                };
                let area = noise(&self.pool, bytes).map_err(BenchError::Memory)?;
                let (clock, tell, path) = (Arc::clone(&clock), tell.clone(), path.clone());
                let work = move || {
                    let rate = place.write_for(time, &area, &clock);
                    // The receiver is gone when another has failed.
                    let _ = tell.send(rate.map(|rate| (index, rate)).map_err(|e| (path, e)));
                };
                crew.push(threads::spawn("bench-device", work).map_err(BenchError::Thread)?);
            }
        }
        let mut rates = vec![0.0; self.files.len()];
        for _ in &crew {
            match told.recv_timeout(time + TIMEOUT) {
                Ok(Ok((index, rate))) => rates[index] += rate,
                Ok(Err((path, source))) => return Err(BenchError::Device { path, source }),
                Err(_) => return Err(BenchError::Hangs { seconds: TIMEOUT.as_secs() }),
            }
        }
        Ok(rates)
    }
}

/// The place of the next write in a file.
struct WriteCursor {
    file: Arc<dyn File>,
    next: Arc<AtomicU64>,
    len: u64,
}

impl WriteCursor {
    /// Writes one place after the other, from the beginning again at the end of the file. Returns
    /// writes per second.
    fn write_for(&self, time: Duration, area: &Area, clock: &SystemClock) -> io::Result<f64> {
        let bytes = area.as_ref();
        let places = (self.len / bytes.len() as u64).max(1);
        let (began, mut writes) = (clock.now(), 0u64);
        loop {
            let place = self.next.fetch_add(1, Ordering::Relaxed) % places;
            self.file.write_durable(place * bytes.len() as u64, bytes)?;
            writes += 1;
            let took = clock.now() - began;
            if took >= time {
                return Ok(writes as f64 / took.as_secs_f64().max(1e-9));
            }
        }
    }
}

/// Returns bytes that a device cannot compress.
pub(super) fn noise(pool: &SlabPool, bytes: usize) -> io::Result<Area> {
    let mut writer = pool.writer(bytes)?;
    let mut span = writer.reserve(bytes).expect("a slab of at least as many bytes has room");
    fill_with_noise(span.bytes_mut());
    drop(span);
    Ok(writer.close())
}

/// Fills `bytes` with such bytes.
pub(super) fn fill_with_noise(bytes: &mut [u8]) {
    let random = SeededRandom::new(1);
    for piece in bytes.chunks_mut(8) {
        piece.copy_from_slice(&random.next_u64().to_le_bytes()[..piece.len()]);
    }
}

/// Creates a file of `len` bytes that are on the device, so that a later write changes neither its
/// length nor its place.
pub(super) fn make_filled(
    directory: &dyn Directory,
    name: &str,
    len: u64,
    stop: &AtomicBool,
) -> io::Result<Arc<dyn File>> {
    let file = directory.create(name)?;
    let piece = vec![0; FILL_BYTES];
    let mut at = 0;
    while at < len {
        if stop.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let bytes = (len - at).min(FILL_BYTES as u64) as usize;
        file.write_at(at, &piece[..bytes])?;
        at += bytes as u64;
    }
    file.sync()?;
    directory.sync()?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::internal::disk::Disk;
    use millpond::internal::disk::real::RealDisk;

    #[test]
    fn every_directory_is_measured_and_the_files_keep_their_length() {
        let top = tempfile::tempdir().expect("a directory");
        for disk in [RealDisk::new(), RealDisk::buffered()] {
            let below = tempfile::tempdir_in(top.path()).expect("a directory").keep();
            let directories: Vec<_> = ["a", "b"]
                .map(|name| disk.open_dir(&below.join(name), true).expect("made"))
                .into_iter()
                .collect();
            let go = AtomicBool::new(false);
            let devices = ProbeFiles::prepare(&directories, 1 << 20, &go).expect("made");
            let speeds = devices.measure(Duration::from_millis(20)).expect("measured");
            assert_eq!(speeds.len(), 2);
            for speed in &speeds {
                assert!(speed.small_writes_per_second > 0.0 && speed.large_mb_per_second > 0.0);
            }
            let both = together(&speeds);
            let sum = speeds[0].large_mb_per_second + speeds[1].large_mb_per_second;
            assert!((both.large_bytes_per_second / 1e6 - sum).abs() < 1e-6);
            let entries = directories[0].list().expect("listed");
            assert_eq!((entries.len(), entries[0].len), (1, 1 << 20));
            assert!(ProbeFiles::prepare(&directories, 1 << 20, &go).is_err(), "its name is taken");
        }
    }
}
