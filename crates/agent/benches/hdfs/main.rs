//! Measures the hdfs sink: a whole agent writes the events of a full file channel to HDFS. If Flume's jars are
//! available, its own hdfs sink writes the same events to the same HDFS in the same rounds.
//!
//! `.ci/hdfs cargo bench --features hdfs --bench hdfs -- --dir DIR [--rounds N] [--events N] [--body BYTES] [--batch N]
//! [--only NAME] [--flume-lib JARS]`
//!
//! `MILLPOND_HDFS` is the directory of core-site.xml and hdfs-site.xml; `.ci/hdfs` sets it. `--flume-lib` is a
//! directory with the jars of flume-ng-node, flume-file-channel, flume-hdfs-sink and Hadoop's client, or several
//! separated by `:`; it needs `java`. Each agent fills its file channel once, through its avro source, and every run
//! begins with a copy of these files. Rounds are interleaved and each begins with another agent; figures are medians,
//! ratios are medians of the ratios of the rounds.
//!
//! The clock runs from the creation of the first file to the rename of the last full one: [`FILES`] files that
//! `hdfs.rollCount` fills, so that neither the start of a process nor the reading of its channel is measured. `later`
//! leaves out the first of them, which a virtual machine writes before its compiler is done. A few more events go to
//! another file, because Flume closes a full file only when the next event comes. After the stop every event of the full
//! files has to be there, once.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

#[allow(dead_code, reason = "the other measurements of agents use the rest")]
#[path = "../agents/agent_process.rs"]
mod agent_process;
mod cluster;
mod drain;
mod lines;
#[path = "../../../../benches/settings/mod.rs"]
mod settings;

use agent_process::Contestant;
use drain::{Drain, Figures};
use settings::{Settings, median};

/// Full files of a run with one bucket.
pub(crate) const FILES: u64 = 5;
/// Buckets of a run with many. Each gets one full file.
pub(crate) const BUCKETS: u64 = 100;

/// Types of files, with the lines of the sink that choose them.
const TYPES: [(&str, &str); 4] = [
    ("DataStream", "a1.sinks.k1.hdfs.fileType = DataStream\n"),
    ("SequenceFile", "a1.sinks.k1.hdfs.fileType = SequenceFile\n"),
    (
        "CompressedStream, gzip",
        "a1.sinks.k1.hdfs.fileType = CompressedStream\na1.sinks.k1.hdfs.codeC = gzip\n",
    ),
    ("100 open buckets", "a1.sinks.k1.hdfs.fileType = DataStream\n"),
];

fn main() {
    let settings = Settings::read(5, 0.0);
    let number = |name: &str, default: u64| {
        settings.value(name).map_or(default, |text| text.parse().expect("a number"))
    };
    let drain = Drain {
        dir: settings.dir.clone(),
        events: number("--events", 400_000),
        body: usize::try_from(number("--body", 500)).unwrap(),
        batch: number("--batch", 100),
    };
    let mut contestants = vec![Contestant::Millpond];
    let flume = |jars: &str| Contestant::Flume(format!("{}:{jars}", cluster::settings_directory()));
    contestants.extend(settings.value("--flume-lib").map(flume));
    for who in &contestants {
        drain.fill(who).unwrap_or_else(|why| panic!("{} is not filled: {why}", who.name()));
    }
    println!(
        "{} events of {} bytes, hdfs.batchSize {}, {} rounds",
        drain.events, drain.body, drain.batch, settings.rounds
    );
    for (name, lines) in TYPES.iter().filter(|(name, _)| settings.chooses(name)) {
        let buckets = if name.contains("buckets") { BUCKETS } else { 1 };
        let mut runs: Vec<Vec<Option<Figures>>> = vec![Vec::new(); contestants.len()];
        for round in 0..settings.rounds {
            for step in 0..contestants.len() {
                let at = (round + step) % contestants.len();
                let figures = drain.run(&contestants[at], lines, buckets);
                if let Err(why) = &figures {
                    eprintln!("{name}: {}: {why}", contestants[at].name());
                }
                runs[at].push(figures.ok());
            }
            eprintln!("round {} of {}: {name}", round + 1, settings.rounds);
        }
        table(name, &contestants, &runs);
    }
}

fn table(name: &str, contestants: &[Contestant], runs: &[Vec<Option<Figures>>]) {
    println!("\n| {name} | k events/s | min to max | later | CPU µs/event | peak memory, MiB |");
    println!("|---|---|---|---|---|---|");
    for (who, runs) in contestants.iter().zip(runs) {
        if runs.iter().flatten().next().is_none() {
            println!("| {} | – | – | – | – | – |", who.name());
            continue;
        }
        let of = |figure: fn(&Figures) -> f64| runs.iter().flatten().map(figure);
        let rates = of(|run| run.rate);
        let (low, high) =
            rates.fold((f64::MAX, 0.0_f64), |(low, high), rate| (low.min(rate), high.max(rate)));
        println!(
            "| {} | {:.1} | {low:.1} to {high:.1} | {:.1} | {:.2} | {:.1} |",
            who.name(),
            median(of(|run| run.rate)),
            median(of(|run| run.later)),
            median(of(|run| run.processor)),
            median(of(|run| run.memory)),
        );
    }
    let Some((ours, theirs)) = runs.first().zip(runs.get(1)) else { return };
    let of = |figure: fn(&Figures) -> f64| -> Vec<f64> {
        let pairs = ours.iter().zip(theirs).filter_map(|(a, b)| Some((a.as_ref()?, b.as_ref()?)));
        pairs.map(|(a, b)| figure(a) / figure(b)).collect()
    };
    for (what, ratios) in [("all", of(|run| run.rate)), ("later", of(|run| run.later))] {
        if ratios.iter().all(|ratio| ratio.is_nan()) {
            continue;
        }
        let ends = ratios
            .iter()
            .fold((f64::MAX, 0.0_f64), |ends, ratio| (ends.0.min(*ratio), ends.1.max(*ratio)));
        let middle = median(ratios.iter().copied());
        println!("\n{what}: {middle:.1} times Flume ({:.1} to {:.1})", ends.0, ends.1);
    }
}
