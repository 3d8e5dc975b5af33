//! The workloads of docs/performance.md, side by side with a hand-written floor: one zero-filled
//! file, group commit by leader and followers, one buffered write and one fdatasync per group.
//!
//! `cargo bench --bench workloads -- [--dir DIR] [--rounds N] [--seconds S] [--only NAME]`
//!
//! Rounds are interleaved: each runs every workload on both, so that whatever else the machine
//! does meets both alike. What counts is the ratio of the medians. The directory should lie on the
//! disk in question; a file system in memory measures nothing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod floor;

use floor::Floor;
use millpond::channel::Channel;
use millpond::channel::file::{FileChannel, FileChannelOptions};
use millpond::event::Event;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const BODY: usize = 512;

/// Segments filled with zeroes before the clock runs: 3 GiB.
const READY: usize = 48;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Put,
    Take,
    Mixed,
}

#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    kind: Kind,
    batch: usize,
    threads: usize,
}

const WORKLOADS: [Workload; 8] = [
    Workload { name: "put b1 x1", kind: Kind::Put, batch: 1, threads: 1 },
    Workload { name: "put b1 x16", kind: Kind::Put, batch: 1, threads: 16 },
    Workload { name: "put b100 x1", kind: Kind::Put, batch: 100, threads: 1 },
    Workload { name: "put b100 x16", kind: Kind::Put, batch: 100, threads: 16 },
    Workload { name: "put b1000 x4", kind: Kind::Put, batch: 1000, threads: 4 },
    Workload { name: "take b1 x1", kind: Kind::Take, batch: 1, threads: 1 },
    Workload { name: "take b100 x4", kind: Kind::Take, batch: 100, threads: 4 },
    Workload { name: "mixed b100 x4", kind: Kind::Mixed, batch: 100, threads: 4 },
];

struct Settings {
    dir: PathBuf,
    rounds: usize,
    time: Duration,
    only: Option<String>,
}

fn settings() -> Settings {
    let mut settings =
        Settings { dir: std::env::temp_dir(), rounds: 3, time: Duration::from_secs(2), only: None };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().unwrap_or_default();
        match arg.as_str() {
            "--dir" => settings.dir = value().into(),
            "--rounds" => settings.rounds = value().parse().unwrap(),
            "--seconds" => settings.time = Duration::from_secs_f64(value().parse().unwrap()),
            "--only" => settings.only = Some(value()),
            _ => {}
        }
    }
    settings
}

fn main() {
    let settings = settings();
    let chosen: Vec<Workload> = WORKLOADS
        .into_iter()
        .filter(|w| settings.only.as_deref().is_none_or(|only| w.name.contains(only)))
        .collect();
    let mut ours: Vec<Vec<(f64, f64)>> = vec![Vec::new(); chosen.len()];
    let mut floors: Vec<Vec<f64>> = vec![Vec::new(); chosen.len()];
    for round in 0..settings.rounds {
        for (at, workload) in chosen.iter().enumerate() {
            let dir = tempfile::tempdir_in(&settings.dir).unwrap();
            ours[at].push(run_channel(dir.path(), workload, settings.time));
            if workload.kind == Kind::Put {
                let dir = tempfile::tempdir_in(&settings.dir).unwrap();
                floors[at].push(run_floor(dir.path(), workload, settings.time));
            }
            eprintln!("round {} of {}: {}", round + 1, settings.rounds, workload.name);
        }
    }
    println!("| workload | put k/s | take k/s | floor k/s | ratio |");
    println!("|---|---|---|---|---|");
    for (at, workload) in chosen.iter().enumerate() {
        let put = median(ours[at].iter().map(|(put, _)| *put));
        let take = median(ours[at].iter().map(|(_, take)| *take));
        let floor = median(floors[at].iter().copied());
        let ratio = if floor > 0.0 { format!("{:.2}", put / floor) } else { String::new() };
        println!("| {} | {put:.1} | {take:.1} | {floor:.1} | {ratio} |", workload.name);
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

fn put(channel: &FileChannel, event: &Event, batch: usize) {
    let mut tx = channel.begin_put();
    for _ in 0..batch {
        tx.put(event.clone()).unwrap();
    }
    tx.commit().unwrap();
}

/// Thousand events per second put and taken.
fn run_channel(dir: &Path, workload: &Workload, time: Duration) -> (f64, f64) {
    let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
    options.capacity = u64::MAX / 2;
    options.minimum_required_space = 0;
    options.keep_alive = Duration::from_millis(match workload.kind {
        Kind::Take => 1,
        Kind::Put | Kind::Mixed => 30_000,
    });
    // The floor writes into a file that was filled before; so do we.
    options.ready_segments = if workload.batch == 1 { 4 } else { READY };
    let ready = options.ready_segments;
    let channel = FileChannel::open(options).unwrap();
    while channel.ready_segments() < ready {
        std::thread::sleep(Duration::from_millis(20));
    }
    let event = Event::new(vec![7u8; BODY]);
    if workload.kind == Kind::Take {
        // What stays in the hot window: a taker that keeps up.
        for _ in 0..(if workload.batch == 1 { 40_000 } else { 80_000 }) / 100 {
            put(&channel, &event, 100);
        }
    }
    let (stop, puts, takes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let began = Instant::now();
    let mut took = time;
    std::thread::scope(|scope| {
        let putters = if workload.kind == Kind::Take { 0 } else { workload.threads };
        let takers = if workload.kind == Kind::Put { 0 } else { workload.threads };
        for _ in 0..putters {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    put(&channel, &event, workload.batch);
                    puts.fetch_add(workload.batch as u64, Ordering::Relaxed);
                }
            });
        }
        let hands: Vec<_> = (0..takers)
            .map(|_| {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let mut tx = channel.begin_take();
                        let events = tx.take(workload.batch).unwrap();
                        tx.commit().unwrap();
                        takes.fetch_add(events.len() as u64, Ordering::Relaxed);
                        if workload.kind == Kind::Take && channel.status().events == 0 {
                            break;
                        }
                    }
                })
            })
            .collect();
        if workload.kind == Kind::Take {
            for hand in hands {
                hand.join().unwrap();
            }
        } else {
            std::thread::sleep(time);
        }
        took = began.elapsed();
        stop.store(true, Ordering::Relaxed);
    });
    let rate = |count: &AtomicU64| count.load(Ordering::Relaxed) as f64 / took.as_secs_f64() / 1e3;
    (rate(&puts), rate(&takes))
}

fn run_floor(dir: &Path, workload: &Workload, time: Duration) -> f64 {
    let floor = Arc::new(Floor::open(&dir.join("floor"), 1 << 29).unwrap());
    let (stop, puts) = (AtomicBool::new(false), AtomicU64::new(0));
    let event = vec![7u8; BODY];
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..workload.threads {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    floor.commit(&event, workload.batch);
                    puts.fetch_add(workload.batch as u64, Ordering::Relaxed);
                }
            });
        }
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    puts.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64() / 1e3
}
