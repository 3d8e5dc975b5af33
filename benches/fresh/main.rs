//! The first seconds of a channel: threads that put into one that was opened a moment ago with default
//! options, and into one with the same options whose segments are all made and calm.
//!
//! `cargo bench --bench fresh -- [--dir DIR] [--rounds N] [--seconds S] [--only NAME] [--svg FILE]`
//!
//! Rounds are interleaved, and which of the two begins changes from round to round. A ratio is the median
//! of the rounds' own. `--svg` draws the round with the median ratio of the rates.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

#[path = "../putting/mod.rs"]
mod putting;
#[path = "../settings/mod.rs"]
mod settings;
#[path = "../timeline/mod.rs"]
mod timeline;

use millpond::channel::file::{FileChannel, FileChannelOptions};
use settings::{Settings, median};
use std::path::Path;
use std::time::Duration;
use timeline::{Legend, Line, SLICE, time_lines};

const LEGEND: Legend = Legend {
    title: "The first seconds, in slices of time",
    sides: ["opened a moment ago", "segments made"],
};

/// Name, events in a transaction, threads.
const CASES: [(&str, usize, usize); 5] = [
    ("put b1 x1", 1, 1),
    ("put b1 x16", 1, 16),
    ("put b1 x64", 1, 64),
    ("put b100 x1", 100, 1),
    ("put b100 x16", 100, 16),
];

/// A channel counts as calm this long after the last of its segments was made.
const CALM: Duration = Duration::from_millis(300);

fn main() {
    let settings = Settings::read(5, 1.0);
    println!("| workload | | thousand puts/s | p50, ms | p99 | p99.9 | longest commit |");
    println!("|---|---|---|---|---|---|---|");
    let mut drawn = Vec::new();
    for case in CASES.iter().filter(|case| settings.chooses(case.0)) {
        let mut rounds: Vec<[Line; 2]> = Vec::new();
        for round in 0..settings.rounds {
            let run = |warm| {
                let dir = tempfile::tempdir_in(&settings.dir).unwrap();
                run(dir.path(), warm, case, settings.time)
            };
            rounds.push(if round % 2 == 0 {
                let fresh = run(false);
                [fresh, run(true)]
            } else {
                let warm = run(true);
                [run(false), warm]
            });
            eprintln!("round {} of {}: {}", round + 1, settings.rounds, case.0);
        }
        report(case.0, &rounds);
        rounds.sort_by(|a, b| (a[0].rate / a[1].rate).total_cmp(&(b[0].rate / b[1].rate)));
        drawn.push((case.0, rounds.swap_remove(rounds.len() / 2)));
    }
    if let Some(path) = settings.value("--svg") {
        std::fs::write(path, time_lines(&LEGEND, &drawn, SLICE)).unwrap();
    }
}

/// A figure of a time line.
type Figure = fn(&Line) -> f64;

const FIGURES: [Figure; 5] = [
    |line| line.rate,
    |line| line.share(0.5),
    |line| line.share(0.99),
    |line| line.share(0.999),
    |line| line.share(1.0),
];

fn report(name: &str, rounds: &[[Line; 2]]) {
    let row = |side: &str, of: &dyn Fn(Figure, &[Line; 2]) -> f64| {
        let middle = |figure| median(rounds.iter().map(|round| of(figure, round)));
        let cells = FIGURES.map(|figure| format!("{:.2}", middle(figure)));
        println!("| {name} | {side} | {} |", cells.join(" | "));
    };
    row("opened a moment ago", &|figure, [fresh, _]| figure(fresh));
    row("segments made", &|figure, [_, warm]| figure(warm));
    row("ratio", &|figure, [fresh, warm]| figure(fresh) / figure(warm));
}

fn run(dir: &Path, warm: bool, case: &(&str, usize, usize), time: Duration) -> Line {
    let (_, batch, threads) = *case;
    let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
    options.capacity = u64::MAX / 2;
    options.minimum_required_space = 0;
    let ready = options.ready_segments;
    let channel = FileChannel::open(options).unwrap();
    if warm {
        putting::ready(&channel, ready);
        std::thread::sleep(CALM);
    }
    Line::new(putting::answers(&channel, batch, threads, time), batch)
}
