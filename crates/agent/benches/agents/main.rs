//! Measures whole agents: lines through channels into files, replies, two agents in a row, start, idleness, many
//! clients. If a Flume is available, it is measured in the same rounds.
//!
//! `cargo bench --bench agents -- --dir DIR [--rounds N] [--seconds S] [--only NAME] [--flume-lib JARS] [--other
//! BINARY]`
//!
//! `--flume-lib` is a directory with Flume's jars, or several separated by `:`; it needs `java`. `--other` is a
//! millpond of another build, to measure a change. Rounds are interleaved and each begins with another contestant;
//! figures are medians, ratios are medians of the ratios of each round. `chrt -r 1` before cargo's binary shields a
//! run on a busy machine.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

mod agent_process;
mod cases;
mod load;
#[path = "../../../../benches/settings/mod.rs"]
mod settings;

use agent_process::Contestant;
use cases::{CASES, Case};
use settings::{Settings, median};
use std::collections::BTreeMap;

/// Figures of one run, by their names in the table.
pub(crate) type Figures = Vec<(&'static str, f64)>;

fn main() {
    let settings = Settings::read(5, 8.0);
    let mut contestants = vec![Contestant::Millpond];
    let own = |binary: &str| Contestant::Other(binary.to_owned());
    contestants.extend(settings.value("--other").map(own));
    contestants
        .extend(settings.value("--flume-lib").map(|jars| Contestant::Flume(jars.to_owned())));
    for case in CASES.iter().filter(|case| settings.chooses(case.name)) {
        let mut runs: Vec<Vec<Figures>> = vec![Vec::new(); contestants.len()];
        for round in 0..settings.rounds {
            for step in 0..contestants.len() {
                let at = (round + step) % contestants.len();
                let dir = tempfile::tempdir_in(&settings.dir).unwrap();
                match (case.run)(&contestants[at], dir.path(), settings.time) {
                    Ok(figures) => runs[at].push(figures),
                    Err(why) => eprintln!("{}: {}: {why}", case.name, contestants[at].name()),
                }
            }
            eprintln!("round {} of {}: {}", round + 1, settings.rounds, case.name);
        }
        table(case, &contestants, &runs);
    }
}

fn table(case: &Case, contestants: &[Contestant], runs: &[Vec<Figures>]) {
    let names: Vec<&str> =
        runs.iter().flatten().next().into_iter().flatten().map(|(name, _)| *name).collect();
    println!("\n| {} | {} |", case.name, names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    for (contestant, runs) in contestants.iter().zip(runs) {
        let mut by_name: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for (name, value) in runs.iter().flatten() {
            by_name.entry(name).or_default().push(*value);
        }
        let cells = names.iter().map(|name| {
            by_name
                .get(name)
                .map_or("–".to_owned(), |values| shown(median(values.iter().copied())))
        });
        println!("| {} | {} |", contestant.name(), cells.collect::<Vec<_>>().join(" | "));
    }
    let Some((first, ours)) = names.first().zip(runs.first()) else { return };
    for (contestant, theirs) in contestants.iter().zip(runs).skip(1) {
        if ours.len() == theirs.len() {
            let of =
                |figures: &Figures| figures.iter().find(|(n, _)| n == first).map_or(0.0, |f| f.1);
            let ratios: Vec<f64> = ours.iter().zip(theirs).map(|(a, b)| of(a) / of(b)).collect();
            println!(
                "\n{first}: {} to one of {}",
                shown(median(ratios.into_iter())),
                contestant.name()
            );
        }
    }
}

fn shown(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}
