//! A disk with slow writes: how many commits share one, with threads that put single events in a loop. Each write
//! through the disk trait is delayed; the real disk should be faster than that.
//!
//! `cargo bench --bench slow -- [--dir DIR] [--rounds N] [--seconds S] [--only "5 ms"]`
//!
//! Rounds are interleaved; the printed values are medians.
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
use millpond::{Channel, FileChannel, FileChannelOptions};
use settings::{Settings, median};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tap::{Call, TappedDisk};

/// Delay of each write, ms.
const DELAYS_MS: [u64; 3] = [0, 1, 5];

const THREADS: [usize; 5] = [1, 2, 4, 16, 64];

/// Segments that are ready before the measurement.
const READY: usize = 4;

struct Score {
    /// Thousand events per second.
    rate: f64,
    per_write: f64,
    p50_ms: f64,
    p99_ms: f64,
}

fn main() {
    let settings = Settings::read(3, 1.0);
    let cells = DELAYS_MS.iter().flat_map(|delay| THREADS.map(|threads| (*delay, threads)));
    let cells = cells.filter(|(delay, _)| settings.chooses(&format!("{delay} ms")));
    let mut rows: Vec<_> = cells.map(|cell| (cell, Vec::new())).collect();
    for round in 1..=settings.rounds {
        for ((delay, threads), scores) in &mut rows {
            eprintln!("round {round} of {}: {delay} ms longer, {threads} threads", settings.rounds);
            scores.push(run(&settings, Duration::from_millis(*delay), *threads));
        }
    }
    println!(
        "| added write time, ms | threads | thousand events/s | commits per write | p50, ms | p99, ms |"
    );
    println!("|---|---|---|---|---|---|");
    for ((delay, threads), scores) in &rows {
        let of = |figure: fn(&Score) -> f64| median(scores.iter().map(figure));
        println!(
            "| {delay} | {threads} | {:.2} | {:.1} | {:.2} | {:.2} |",
            of(|score| score.rate),
            of(|score| score.per_write),
            of(|score| score.p50_ms),
            of(|score| score.p99_ms)
        );
    }
}

fn run(settings: &Settings, delay: Duration, threads: usize) -> Score {
    let dir = tempfile::tempdir_in(&settings.dir).unwrap();
    // The files are created without the delay.
    let on = Arc::new(AtomicBool::new(false));
    let slow = Arc::clone(&on);
    let wait = move |call: Call, _: &Path, _: usize| {
        if call == Call::Submit && slow.load(Ordering::Relaxed) && !delay.is_zero() {
            std::thread::sleep(delay);
        }
    };
    let disk = TappedDisk::new(Arc::new(RealDisk::new()), wait);
    let mut options =
        FileChannelOptions::new(dir.path().join("checkpoint"), [dir.path().join("data")])
            .with_disk(Arc::new(disk));
    options.capacity = u64::MAX / 2;
    options.minimum_required_space = 0;
    options.first_segment_bytes = options.segment_bytes;
    options.ready_segments = READY;
    let channel = FileChannel::open(options).unwrap();
    putting::ready(&channel, READY);
    on.store(true, Ordering::Relaxed);
    let before = channel.status().writes;
    let puts = putting::put(&channel, 1, threads, settings.time);
    let writes = (channel.status().writes - before).max(1) as f64;
    on.store(false, Ordering::Relaxed);
    Score {
        rate: puts.rate(),
        per_write: puts.events as f64 / writes,
        p50_ms: puts.percentile_ms(50),
        p99_ms: puts.percentile_ms(99),
    }
}
