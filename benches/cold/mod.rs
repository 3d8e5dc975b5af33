//! Draining a backlog that is only on the disk, compared with a sequential read of the same files: one thread, direct,
//! a mebibyte at a time.

use crate::{Score, Side, process};
use millpond::internal::disk::memory::SlabPool;
use millpond::{FileChannel, FileChannelOptions};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

const EVENTS: usize = 1_000_000;
const PIECE: usize = 1 << 20;

pub(crate) fn drain(dir: &Path) -> (Score, Score) {
    let options = || {
        let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
        options.capacity = u64::MAX / 2;
        options.minimum_required_space = 0;
        options.keep_alive = Duration::from_millis(5);
        options
    };
    let channel = FileChannel::open(options()).unwrap();
    for _ in 0..EVENTS / 1000 {
        channel.put(1000);
    }
    drop(channel);
    let floor = sequential(&dir.join("data"));
    process::forget_peak();
    let channel = FileChannel::open(options()).unwrap();
    let (began, cpu) = (Instant::now(), process::cpu_seconds());
    let mut taken = 0;
    while taken < EVENTS {
        taken += channel.take(1000);
    }
    let took = began.elapsed().as_secs_f64();
    let cpu = (process::cpu_seconds() - cpu) * 1e6 / EVENTS as f64;
    let take = EVENTS as f64 / took / 1e3;
    (Score { put: 0.0, take, cpu, memory: process::peak_mib() }, floor)
}

/// Returns the events per second that the bytes of the segments would make.
fn sequential(data: &Path) -> Score {
    let pool = SlabPool::new(PIECE, PIECE);
    let mut span = pool.writer(PIECE).unwrap().reserve(PIECE).unwrap();
    let (mut bytes, began) = (0, Instant::now());
    for entry in fs::read_dir(data).unwrap().map(Result::unwrap) {
        if entry.metadata().unwrap().len() < PIECE as u64 {
            continue;
        }
        let file = OpenOptions::new().read(true).custom_flags(libc::O_DIRECT).open(entry.path());
        let file = file.unwrap();
        let mut offset = 0;
        loop {
            match file.read_at(span.bytes_mut(), offset).unwrap() {
                0 => break,
                read => offset += read as u64,
            }
        }
        bytes += offset;
    }
    let took = began.elapsed().as_secs_f64();
    let take = bytes as f64 / 520.0 / took / 1e3;
    Score { put: 0.0, take, cpu: 0.0, memory: 0.0 }
}
