//! How even a long run is: threads that put and threads that take for as long as is asked, on the
//! channel with its default settings and on the hand-written floor, which has no segments to make, to
//! roll or to use again and writes no checkpoints. What they interrupt would show as a longer commit.
//!
//! `cargo bench --bench stalls -- [--dir DIR] [--rounds N] [--seconds S] [--only NAME] [--svg FILE]`
//!
//! Rounds are interleaved, and who begins changes from round to round. `--svg` draws the round whose
//! longest commits are the median ones of the channel.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod draw;
#[path = "../floor/mod.rs"]
mod floor;
#[path = "../settings/mod.rs"]
mod settings;
#[path = "../side/mod.rs"]
mod side;

use floor::Floor;
use millpond::channel::file::{FileChannel, FileChannelOptions};
use settings::{Settings, median};
use side::Side;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// One point of a time line lasts so long.
const SLICE: Duration = Duration::from_millis(50);

/// The floor's file, bytes: filled with zeroes before, and written from the beginning again.
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

/// One run of one side.
#[derive(Clone, Default)]
struct Line {
    /// Of each slice: events put, and the longest commit of a put that ended in it, milliseconds.
    slices: Vec<(f64, f64)>,
    /// How long each put took with its commit, milliseconds, in order of length.
    commits: Vec<f64>,
    /// The longest time in which no put was answered, milliseconds.
    silence: f64,
    /// Thousand events put each second.
    rate: f64,
}

impl Line {
    fn share(&self, share: f64) -> f64 {
        let at = (self.commits.len().saturating_sub(1) as f64 * share).round() as usize;
        self.commits.get(at).copied().unwrap_or(0.0)
    }
}

fn main() {
    let settings = Settings::read(5, 20.0);
    println!(
        "| workload | | thousand puts/s | p50, ms | p99 | p99.9 | longest commit | longest time without an answer |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let mut drawn = Vec::new();
    for case in CASES.iter().filter(|case| settings.chooses(case.name)) {
        let mut rounds: Vec<[Line; 2]> = Vec::new();
        for round in 0..settings.rounds {
            let ours = || beside(&settings, |dir| on_channel(dir, case, settings.time));
            let floor = || beside(&settings, |dir| on_floor(dir, case, settings.time));
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
        std::fs::write(path, draw::time_lines(&drawn, SLICE)).unwrap();
    }
}

fn beside<T>(settings: &Settings, run: impl FnOnce(&Path) -> T) -> T {
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
    // When each put was answered, since the beginning, and how long it took.
    let answers: Mutex<Vec<(Duration, Duration)>> = Mutex::default();
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
                answers.lock().unwrap().extend(mine);
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
    line(answers.into_inner().unwrap(), case.batch)
}

fn line(mut answers: Vec<(Duration, Duration)>, batch: usize) -> Line {
    answers.sort_unstable();
    let end = answers.last().map_or(Duration::ZERO, |(at, _)| *at);
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let slots = (end.as_nanos() / SLICE.as_nanos()) as usize + 1;
    let mut slices = vec![(0.0, 0.0_f64); slots];
    let (mut silence, mut last) = (Duration::ZERO, Duration::ZERO);
    for (at, took) in &answers {
        let slice = &mut slices[(at.as_nanos() / SLICE.as_nanos()) as usize];
        slice.0 += batch as f64;
        slice.1 = slice.1.max(ms(*took));
        silence = silence.max(*at - last);
        last = *at;
    }
    let rate = (answers.len() * batch) as f64 / end.as_secs_f64() / 1e3;
    let mut commits: Vec<f64> = answers.iter().map(|(_, took)| ms(*took)).collect();
    commits.sort_by(f64::total_cmp);
    Line { slices, commits, silence: ms(silence), rate }
}
