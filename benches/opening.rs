//! The time to open a channel with a backlog: with its checkpoints, and without any, when everything comes from the
//! log.
//!
//! `cargo bench --bench opening -- [--dir DIR] [--rounds N] [--only valid] [--events 10000000] [--body 512]`
//!
//! Needs room for the backlog. Prints medians of the rounds. The peak of memory is the most that the process has during
//! the opening in addition to what it had before.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod process;
mod settings;

use bytes::Bytes;
use millpond::{Channel, Event, FileChannel, FileChannelOptions};
use settings::{Settings, median};
use std::fs;
use std::path::Path;
use std::time::Instant;

const BATCH: u64 = 1000;

fn main() {
    let settings = Settings::read(5, 0.0);
    let number =
        |name, default| settings.value(name).map_or(default, |v| v.parse::<u64>().unwrap());
    let (events, body) = (number("--events", 10_000_000), number("--body", 512));
    let dir = tempfile::tempdir_in(&settings.dir).unwrap();
    eprintln!("puts {events} events of {body} bytes");
    fill(dir.path(), events, body);
    let gigabytes = log_bytes(dir.path()) as f64 / 1e9;
    println!("{events} events of {body} bytes wait, {gigabytes:.2} GB of segments\n");
    println!("| checkpoints | opened in, ms | memory, MiB |\n|---|---|---|");
    for (name, kept) in [("valid", true), ("none", false)] {
        if !settings.chooses(name) {
            continue;
        }
        let runs: Vec<_> = (0..settings.rounds).map(|_| open(dir.path(), kept, events)).collect();
        let seconds = median(runs.iter().map(|run| run.0));
        let memory = median(runs.iter().map(|run| run.1));
        println!("| {name} | {:.0} | {memory:.1} |", seconds * 1e3);
    }
}

fn options(dir: &Path) -> FileChannelOptions {
    let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
    options.capacity = u64::MAX / 2;
    options.minimum_required_space = 0;
    options
}

fn fill(dir: &Path, events: u64, body: u64) {
    let channel = FileChannel::open(options(dir)).unwrap();
    let body = Bytes::from(vec![7; body as usize]);
    for _ in 0..events / BATCH {
        let mut tx = channel.begin_put();
        for _ in 0..BATCH {
            tx.put(Event::new(body.clone())).unwrap();
        }
        tx.commit().unwrap();
    }
}

/// Returns the seconds of an opening, and the MiB of memory that it takes.
fn open(dir: &Path, kept: bool, events: u64) -> (f64, f64) {
    if !kept {
        for place in ["checkpoint/checkpoint", "data/checkpoint"] {
            let length = fs::metadata(dir.join(place)).unwrap().len();
            fs::write(dir.join(place), vec![0; length as usize]).unwrap();
        }
    }
    process::forget_peak();
    let before = process::peak_mib();
    let began = Instant::now();
    let channel = FileChannel::open(options(dir)).unwrap();
    let seconds = began.elapsed().as_secs_f64();
    let memory = process::peak_mib() - before;
    assert_eq!(channel.status().events, events / BATCH * BATCH, "all of them wait");
    (seconds, memory)
}

fn log_bytes(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir.join("data")).unwrap().map(Result::unwrap);
    let segments =
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("segment"));
    segments.map(|entry| entry.metadata().unwrap().len()).sum()
}
