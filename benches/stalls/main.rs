//! The evenness of a long run: threads that put and threads that take for a given time, on the channel with its default
//! settings and on the hand-written floor, which has no segments to make, roll or recycle and writes no checkpoints. An
//! interruption by these would show as a longer commit.
//!
//! `cargo bench --bench stalls -- [--dir DIR] [--rounds N] [--seconds S] [--only NAME] [--svg FILE]`
//!
//! Rounds are interleaved, and the first side changes from round to round. `--svg` draws the round whose longest
//! commits are the median ones of the channel.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

#[path = "../floor/mod.rs"]
mod floor;
#[path = "../settings/mod.rs"]
mod settings;
#[path = "../side/mod.rs"]
mod side;
#[path = "../timeline/mod.rs"]
mod timeline;

use floor::Floor;
use millpond::{FileChannel, FileChannelOptions};
use settings::{Settings, median};
use side::Side;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use timeline::{Legend, Line, SLICE, time_lines};

const LEGEND: Legend =
    Legend { title: "A long run, in slices of time", sides: ["millpond", "floor"] };

/// The floor's file, bytes: filled with zeroes before, and overwritten from the beginning.
const FLOOR_BYTES: u64 = 1 << 30;

struct Case {
    name: &'static str,
    batch: usize,
    /// Threads that put, and as many that take.
    threads: usize,
}

const CASES: [Case; 2] = [
    Case { name: "b1 x16", batch: 1, threads: 16 },
    Case { name: "b100 x4", batch: 100, threads: 4 },
];

fn main() {
    let settings = Settings::read(5, 20.0);
    println!(
        "| workload | | thousand puts/s | p50, ms | p99 | p99.9 | longest commit | longest time without a commit |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut drawn = Vec::new();
    for case in CASES.iter().filter(|case| settings.chooses(case.name)) {
        let mut rounds: Vec<[Line; 2]> = Vec::new();
        for round in 0..settings.rounds {
            let ours = || in_own_dir(&settings, |dir| on_channel(dir, case, settings.time));
            let floor = || in_own_dir(&settings, |dir| on_floor(dir, case, settings.time));
            rounds.push(if round % 2 == 0 {
                let ours = ours();
                [ours, floor()]
            } else {
                let floor = floor();
                [ours(), floor]
            });
            eprintln!("round {} of {}: {}", round + 1, settings.rounds, case.name);
        }
        report(case, &rounds);
        rounds.sort_by(|a, b| a[0].share(1.0).total_cmp(&b[0].share(1.0)));
        drawn.push((case.name, rounds.swap_remove(rounds.len() / 2)));
    }
    if let Some(path) = settings.value("--svg") {
        std::fs::write(path, time_lines(&LEGEND, &drawn, SLICE)).unwrap();
    }
}

fn in_own_dir<T>(settings: &Settings, run: impl FnOnce(&Path) -> T) -> T {
    let dir = tempfile::tempdir_in(&settings.dir).unwrap();
    run(dir.path())
}

/// A figure of a time line.
type Figure = fn(&Line) -> f64;

const FIGURES: [Figure; 6] = [
    |line| line.rate,
    |line| line.share(0.5),
    |line| line.share(0.99),
    |line| line.share(0.999),
    |line| line.share(1.0),
    |line| line.silence,
];

fn report(case: &Case, rounds: &[[Line; 2]]) {
    let row = |name: &str, of: &dyn Fn(Figure, &[Line; 2]) -> f64| {
        let middle = |figure| median(rounds.iter().map(|round| of(figure, round)));
        let cells = FIGURES.map(|figure| format!("{:.2}", middle(figure)));
        println!("| {} | {name} | {} |", case.name, cells.join(" | "));
    };
    row("millpond", &|figure, [ours, _]| figure(ours));
    row("floor", &|figure, [_, floor]| figure(floor));
    row("ratio", &|figure, [ours, floor]| figure(ours) / figure(floor));
}

fn on_channel(dir: &Path, case: &Case, time: Duration) -> Line {
    let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
    options.minimum_required_space = 0;
    let ready = options.ready_segments;
    let channel = FileChannel::open(options).unwrap();
    while channel.ready_segments() < ready {
        std::thread::sleep(Duration::from_millis(20));
    }
    run(&channel, case, time)
}

fn on_floor(dir: &Path, case: &Case, time: Duration) -> Line {
    run(&Floor::open(&dir.join("floor"), FLOOR_BYTES, true).unwrap(), case, time)
}

fn run(side: &impl Side, case: &Case, time: Duration) -> Line {
    let stop = AtomicBool::new(false);
    // When each put returned, since the beginning, and how long it took.
    let completions: Mutex<Vec<(Duration, Duration)>> = Mutex::default();
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..case.threads {
            scope.spawn(|| {
                let mut mine = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let before = began.elapsed();
                    side.put(case.batch);
                    let after = began.elapsed();
                    mine.push((after, after - before));
                }
                completions.lock().unwrap().extend(mine);
            });
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    side.take(case.batch);
                }
            });
        }
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    Line::new(completions.into_inner().unwrap(), case.batch)
}
