//! The workloads of docs/performance.md, compared with a hand-written floor: one zero-filled file, group commit by
//! leader and followers, one buffered write and one fdatasync per group.
//!
//! `cargo bench --bench workloads -- [--dir DIR] [--rounds N] [--seconds S] [--only NAME]`
//!
//! Rounds are interleaved: each runs every workload on both sides, so that other load on the machine affects both
//! alike; the first side changes from round to round. What counts is the ratio, the median of the rounds' own. The
//! directory should be on the disk to measure; a file system in memory measures nothing.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod cold;
mod floor;
mod process;
mod settings;
mod side;

use floor::Floor;
use millpond::{FileChannel, FileChannelOptions};
use settings::{Settings, median};
use side::Side;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Segments filled with zeroes before the measurement: 3 GiB. Half of them can be used before maintenance fills more
/// during the puts.
const READY: usize = 48;

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Put,
    /// From the hot window: a taker that keeps up.
    Take,
    Mixed,
    /// After reopening, from the disk. Its floor is a sequential read of the same files.
    Drain,
}

#[derive(Clone, Copy)]
struct Workload {
    name: &'static str,
    kind: Kind,
    batch: usize,
    threads: usize,
}

const fn workload(name: &'static str, kind: Kind, batch: usize, threads: usize) -> Workload {
    Workload { name, kind, batch, threads }
}

const WORKLOADS: [Workload; 11] = [
    workload("put b1 x1", Kind::Put, 1, 1),
    workload("put b1 x16", Kind::Put, 1, 16),
    workload("put b100 x1", Kind::Put, 100, 1),
    workload("put b100 x16", Kind::Put, 100, 16),
    workload("put b1000 x4", Kind::Put, 1000, 4),
    workload("take b1 x1", Kind::Take, 1, 1),
    workload("take b100 x4", Kind::Take, 100, 4),
    workload("take b1000 x4", Kind::Take, 1000, 4),
    workload("mixed b100 x4", Kind::Mixed, 100, 4),
    workload("mixed b1000 x4", Kind::Mixed, 1000, 4),
    workload("drain b1000 x1", Kind::Drain, 1000, 1),
];

/// The result of one run of one side.
#[derive(Clone, Copy)]
struct Score {
    /// Thousand events per second.
    put: f64,
    /// Thousand events per second.
    take: f64,
    /// Processor time per event put or taken, microseconds; that of maintenance included.
    cpu: f64,
    /// Largest resident memory, MiB.
    memory: f64,
}

fn main() {
    let settings = Settings::read(3, 1.0);
    let chosen: Vec<Workload> =
        WORKLOADS.into_iter().filter(|w| settings.chooses(w.name)).collect();
    let mut scores: Vec<Vec<(Score, Score)>> = vec![Vec::new(); chosen.len()];
    for round in 0..settings.rounds {
        for (at, workload) in chosen.iter().enumerate() {
            let ours = || in_own_dir(&settings, |dir| run_channel(dir, workload, settings.time));
            let floor = || in_own_dir(&settings, |dir| run_floor(dir, workload, settings.time));
            let pair = if workload.kind == Kind::Drain {
                in_own_dir(&settings, cold::drain)
            } else if round % 2 == 0 {
                let ours = ours();
                (ours, floor())
            } else {
                let floor = floor();
                (ours(), floor)
            };
            scores[at].push(pair);
            eprintln!("round {} of {}: {}", round + 1, settings.rounds, workload.name);
        }
    }
    report(&chosen, &scores);
}

fn in_own_dir<T>(settings: &Settings, run: impl FnOnce(&Path) -> T) -> T {
    let dir = tempfile::tempdir_in(&settings.dir).unwrap();
    process::forget_peak();
    run(dir.path())
}

fn report(chosen: &[Workload], scores: &[Vec<(Score, Score)>]) {
    println!(
        "| workload | put k/s | floor | ratio | take k/s | floor | ratio | CPU us/event | floor | peak MiB | floor |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for (workload, rounds) in chosen.iter().zip(scores) {
        let of = |value: &dyn Fn(&(Score, Score)) -> f64| median(rounds.iter().map(value));
        let trio = |value: &dyn Fn(&Score) -> f64| {
            let ours = of(&|(ours, _)| value(ours));
            if ours == 0.0 {
                return "| | | ".to_owned();
            }
            let (floor, ratio) =
                (of(&|(_, floor)| value(floor)), of(&|(o, f)| value(o) / value(f)));
            format!("| {ours:.1} | {floor:.1} | {ratio:.2} ")
        };
        println!(
            "| {} {}{}| {:.2} | {:.2} | {:.0} | {:.0} |",
            workload.name,
            trio(&|s| s.put),
            trio(&|s| s.take),
            of(&|(o, _)| o.cpu),
            of(&|(_, f)| f.cpu),
            of(&|(o, _)| o.memory),
            of(&|(_, f)| f.memory),
        );
    }
}

fn run_channel(dir: &Path, workload: &Workload, time: Duration) -> Score {
    let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
    options.capacity = u64::MAX / 2;
    options.minimum_required_space = 0;
    // Takers end with the run, also if there is nothing to take.
    options.keep_alive = Duration::from_millis(if workload.kind == Kind::Put { 30_000 } else { 5 });
    if workload.kind == Kind::Take {
        options.hot_window_bytes = 512 << 20;
    }
    // The floor writes into a file that was filled before; so does the channel.
    options.first_segment_bytes = options.segment_bytes;
    options.ready_segments = if workload.batch == 1 { 4 } else { READY };
    let ready = options.ready_segments;
    let channel = FileChannel::open(options).unwrap();
    while channel.ready_segments() < ready {
        std::thread::sleep(Duration::from_millis(20));
    }
    run(&channel, workload, time)
}

fn run_floor(dir: &Path, workload: &Workload, time: Duration) -> Score {
    let takers = workload.kind != Kind::Put;
    run(&Floor::open(&dir.join("floor"), 1 << 29, takers).unwrap(), workload, time)
}

fn run(side: &impl Side, workload: &Workload, time: Duration) -> Score {
    let waiting: u64 = match (workload.kind, workload.batch) {
        (Kind::Take, 1) => 200_000,
        (Kind::Take, _) => 800_000,
        _ => 0,
    };
    for _ in 0..waiting / 100 {
        side.put(100);
    }
    let (stop, puts, takes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (began, cpu) = (Instant::now(), process::cpu_seconds());
    std::thread::scope(|scope| {
        let putters = if workload.kind == Kind::Take { 0 } else { workload.threads };
        let takers = if workload.kind == Kind::Put { 0 } else { workload.threads };
        for _ in 0..putters {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    side.put(workload.batch);
                    puts.fetch_add(workload.batch as u64, Ordering::Relaxed);
                }
            });
        }
        for _ in 0..takers {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let taken = side.take(workload.batch) as u64;
                    let all = takes.fetch_add(taken, Ordering::Relaxed) + taken;
                    if workload.kind == Kind::Take && all == waiting {
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
        while began.elapsed() < time && !stop.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(1));
        }
        stop.store(true, Ordering::Relaxed);
    });
    let took = began.elapsed().as_secs_f64();
    let (puts, takes) = (puts.into_inner() as f64, takes.into_inner() as f64);
    Score {
        put: puts / took / 1e3,
        take: takes / took / 1e3,
        cpu: (process::cpu_seconds() - cpu) * 1e6 / (puts + takes),
        memory: process::peak_mib(),
    }
}
