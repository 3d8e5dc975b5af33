//! The first seconds of a channel: threads that put into one that was just opened with default options, into one with
//! the same options whose segments are all made, and into one whose segments are all made and have their full size from
//! the beginning.
//!
//! `cargo bench --bench fresh -- [--dir DIR] [--rounds N] [--seconds S] [--only NAME] [--svg FILE]`
//!
//! Rounds are interleaved, and the first side changes from round to round. A ratio is the median of the rounds' own.
//! `--svg` draws the round with the median ratio of the rates.
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

use millpond::{FileChannel, FileChannelOptions};
use settings::{Settings, median};
use std::path::Path;
use std::time::Duration;
use timeline::{Legend, Line, SLICE, time_lines};

const LEGEND: Legend = Legend {
    title: "The first seconds, in slices of time",
    sides: ["just opened", "segments made"],
};

/// Name, events in a transaction, threads.
const CASES: [(&str, usize, usize); 5] = [
    ("put b1 x1", 1, 1),
    ("put b1 x16", 1, 16),
    ("put b1 x64", 1, 64),
    ("put b100 x1", 100, 1),
    ("put b100 x16", 100, 16),
];

#[derive(Clone, Copy, PartialEq)]
enum Start {
    Fresh,
    Made,
    FullSize,
}

const SIDES: [(&str, Start); 3] = [
    ("just opened", Start::Fresh),
    ("segments made", Start::Made),
    ("made at full size", Start::FullSize),
];

/// Time after which a channel counts as calm, from the making of its last segment.
const CALM: Duration = Duration::from_millis(300);

fn main() {
    let settings = Settings::read(5, 1.0);
    println!("| workload | | thousand puts/s | p50, ms | p99 | p99.9 | longest commit |");
    println!("|---|---|---|---|---|---|---|");
    let mut drawn = Vec::new();
    for case in CASES.iter().filter(|case| settings.chooses(case.0)) {
        let mut rounds: Vec<[Line; 3]> = Vec::new();
        for round in 0..settings.rounds {
            let mut lines = [Line::default(), Line::default(), Line::default()];
            for at in 0..SIDES.len() {
                let side = (at + round) % SIDES.len();
                let dir = tempfile::tempdir_in(&settings.dir).unwrap();
                lines[side] = run(dir.path(), SIDES[side].1, case, settings.time);
            }
            rounds.push(lines);
            eprintln!("round {} of {}: {}", round + 1, settings.rounds, case.0);
        }
        report(case.0, &rounds);
        rounds.sort_by(|a, b| (a[0].rate / a[1].rate).total_cmp(&(b[0].rate / b[1].rate)));
        let [fresh, made, _] = rounds.swap_remove(rounds.len() / 2);
        drawn.push((case.0, [fresh, made]));
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

fn report(name: &str, rounds: &[[Line; 3]]) {
    let row = |side: &str, of: &dyn Fn(Figure, &[Line; 3]) -> f64| {
        let middle = |figure| median(rounds.iter().map(|round| of(figure, round)));
        let cells = FIGURES.map(|figure| format!("{:.2}", middle(figure)));
        println!("| {name} | {side} | {} |", cells.join(" | "));
    };
    for (at, (side, _)) in SIDES.iter().enumerate() {
        row(side, &|figure, lines| figure(&lines[at]));
    }
    row("first to second", &|figure, [fresh, made, _]| figure(fresh) / figure(made));
    row("first to third", &|figure, [fresh, _, full]| figure(fresh) / figure(full));
}

fn run(dir: &Path, start: Start, case: &(&str, usize, usize), time: Duration) -> Line {
    let (_, batch, threads) = *case;
    let mut options = FileChannelOptions::new(dir.join("checkpoint"), [dir.join("data")]);
    options.capacity = u64::MAX / 2;
    options.minimum_required_space = 0;
    if start == Start::FullSize {
        options.first_segment_bytes = options.segment_bytes;
    }
    let ready = options.ready_segments;
    let channel = FileChannel::open(options).unwrap();
    if start != Start::Fresh {
        putting::ready(&channel, ready);
        std::thread::sleep(CALM);
    }
    Line::new(putting::completions(&channel, batch, threads, time), batch)
}
