//! The gain of several directories, and the cost of a slow one among them: on a disk that gives each directory the same
//! share of bytes per second, since there is one real disk here.
//!
//! `cargo bench --bench stripes -- [--dir DIR] [--rounds N] [--seconds S]`
//!
//! Rounds are interleaved; the printed values are medians, and the median of the rounds' own ratios.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

#[path = "../tests/engine/tap.rs"]
mod tap;

mod putting;
mod settings;

use millpond::internal::disk::real::RealDisk;
use millpond::{FileChannel, FileChannelOptions};
use settings::{Settings, median};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tap::{Call, TappedDisk};

/// Bytes per second of each directory: low enough that the real disk does not matter.
const RATE: f64 = 100e6;

/// Delay of each write to a slow directory.
const DELAY: Duration = Duration::from_millis(20);

/// Segments that are ready in each directory before the measurement.
const READY: usize = 8;

#[derive(Clone, Copy)]
struct Case {
    name: &'static str,
    directories: usize,
    /// Whether the last directory is slow.
    slow: bool,
}

const CASES: [Case; 4] = [
    Case { name: "1 directory", directories: 1, slow: false },
    Case { name: "2 directories", directories: 2, slow: false },
    Case { name: "4 directories", directories: 4, slow: false },
    Case { name: "2 directories, one of them slow", directories: 2, slow: true },
];

/// Batch and threads.
const WORKLOADS: [(usize, usize); 2] = [(100, 16), (1000, 4)];

/// The result of one run: thousand events per second, and the 99th percentile of a commit, milliseconds.
#[derive(Clone, Copy)]
struct Score {
    rate: f64,
    late: f64,
}

fn main() {
    let settings = Settings::read(5, 1.0);
    for (batch, threads) in WORKLOADS {
        let name = format!("put b{batch} x{threads}");
        if !settings.chooses(&name) {
            continue;
        }
        let mut scores: [Vec<Score>; CASES.len()] = Default::default();
        for round in 0..settings.rounds {
            for step in 0..CASES.len() {
                let at = (round + step) % CASES.len();
                scores[at].push(run(&settings, CASES[at], batch, threads));
            }
            eprintln!("round {} of {}: {name}", round + 1, settings.rounds);
        }
        println!("\n| {name} | k/s | ratio to 1 directory | p99 of a commit, ms |");
        println!("|---|---|---|---|");
        for (case, runs) in CASES.iter().zip(&scores) {
            let ratios = runs.iter().zip(&scores[0]).map(|(one, base)| one.rate / base.rate);
            println!(
                "| {} | {:.0} | {:.2} | {:.1} |",
                case.name,
                median(runs.iter().map(|score| score.rate)),
                median(ratios),
                median(runs.iter().map(|score| score.late)),
            );
        }
    }
}

/// Returns a disk whose directories each take [`RATE`] bytes per second, and whose `slow` one is delayed.
fn limited(slow: Option<PathBuf>, on: Arc<AtomicBool>) -> TappedDisk {
    let free_at: Mutex<HashMap<PathBuf, Instant>> = Mutex::default();
    TappedDisk::new(Arc::new(RealDisk::new()), move |call: Call, path: &Path, bytes: usize| {
        if call != Call::Submit || !on.load(Ordering::Relaxed) {
            return;
        }
        let directory = path.parent().unwrap().to_owned();
        let is_slow = slow.as_ref() == Some(&directory);
        let now = Instant::now();
        let until = {
            let mut free_at = free_at.lock().unwrap();
            let from = free_at.get(&directory).map_or(now, |at| now.max(*at));
            let until = from + Duration::from_secs_f64(bytes as f64 / RATE);
            free_at.insert(directory, until);
            if is_slow { until + DELAY } else { until }
        };
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
    })
}

fn run(settings: &Settings, case: Case, batch: usize, threads: usize) -> Score {
    let dir = tempfile::tempdir_in(&settings.dir).unwrap();
    let data: Vec<PathBuf> =
        (0..case.directories).map(|at| dir.path().join(format!("data{at}"))).collect();
    // The files are created without the limit.
    let on = Arc::new(AtomicBool::new(false));
    let slow = data.last().filter(|_| case.slow).cloned();
    let disk = limited(slow, Arc::clone(&on));
    let mut options = FileChannelOptions::new(dir.path().join("checkpoint"), data);
    options = options.with_disk(Arc::new(disk));
    options.capacity = u64::MAX / 2;
    options.minimum_required_space = 0;
    options.ready_segments = READY;
    let channel = FileChannel::open(options).unwrap();
    putting::ready(&channel, READY * case.directories);
    on.store(true, Ordering::Relaxed);
    let puts = putting::put(&channel, batch, threads, settings.time);
    on.store(false, Ordering::Relaxed);
    Score { rate: puts.rate(), late: puts.percentile_ms(99) }
}
