//! Durable queues and logs side by side: throughput, latency, processor time, bytes written, memory.
//!
//! Each cell (a workload with its sizes) and store is a process of its own that prints one line of
//! JSON; rounds are outermost and the order of the stores changes from round to round, so that
//! whatever else the machine does meets all alike. What counts are medians over rounds, and ratios
//! within one. A store whose events do not all come back as they were put has no figures.

mod bodies;
mod draw;
mod latency;
mod launch;
mod machine;
mod page;
mod plan;
mod row;
mod scratch_dirs;
mod slice;

use clap::{Parser, Subcommand};
use launch::Launcher;
use plan::Cell;
use row::Row;
use scratch_dirs::ScratchDirs;
use std::error::Error;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use stores::{Entry, FLUME, STORES};

const EXAMPLES: &str = "\
Examples:
  peers --dir /mnt/disk/peers --quick
      every store and cell once, a third of a second each: shows that all works
  peers --dir /mnt/disk/peers --json all.json --docs docs/performance
      five rounds; tables and drawings for a page
  peers --dir /mnt/disk/peers --store millpond,raft-engine --cells produce:512:100:16,hot:512:100:4
      two stores, two cells
  peers --dir /mnt/disk1/p --dir /mnt/disk2/p --cells produce:512:1000:4:2
      two directories on two disks
  chrt -r 1 peers --dir /mnt/disk/peers
      at real-time priority, which shields a run from what else the machine does";

/// Durable queues and logs side by side: throughput, latency, processor time, bytes written, memory.
#[derive(Debug, Parser)]
#[command(version, after_help = EXAMPLES, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    choice: Choice,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measures one store in one cell; started by a run
    #[command(hide = true)]
    Slice(slice::Task),
}

#[derive(Debug, clap::Args)]
struct Choice {
    /// An empty directory, made if missing, on the disk in question; several for several disks
    #[arg(long, required = true)]
    dir: Vec<PathBuf>,
    /// Cells: `default`, `all`, or workload:body:batch:threads[:dirs] parted by commas, where a
    /// workload is produce, hot, cold or mixed
    #[arg(long, default_value = "default")]
    cells: String,
    /// Only these stores
    #[arg(long, value_delimiter = ',')]
    store: Vec<String>,
    /// Rounds
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// Seconds of each measurement at most
    #[arg(long, default_value_t = 0.5, value_parser = seconds)]
    seconds: f64,
    /// One round, 0.3 s each, less to begin with: shows that all works and measures little
    #[arg(long)]
    quick: bool,
    /// Bytes of bodies that one measurement puts at most; four times as many have to be free
    #[arg(long, default_value_t = 1 << 30, value_parser = clap::value_parser!(u64).range(16 << 20..=1 << 40))]
    bytes: u64,
    /// Directories with Flume's jars, parted by `:`; also MILLPOND_LEAGUE_FLUME
    #[arg(long)]
    flume_lib: Option<OsString>,
    /// Seconds of each measurement of Flume, whose first ones are slow [default: 4 times --seconds]
    #[arg(long, value_parser = seconds)]
    flume_seconds: Option<f64>,
    /// Seconds for which Flume does the same work on a channel that is thrown away
    #[arg(long, default_value_t = 4.0, value_parser = seconds)]
    flume_warm: f64,
    /// Seconds after which a process counts as hung
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    patience: u64,
    /// Writes all figures as JSON there
    #[arg(long)]
    json: Option<PathBuf>,
    /// Writes the tables and drawings there: peers.md, peers-*.svg
    #[arg(long)]
    docs: Option<PathBuf>,
}

/// More than nothing, and not for ever.
fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    match (0.01..=3600.0).contains(&seconds) {
        true => Ok(seconds),
        false => Err("0.01 to 3600".to_owned()),
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(Verb::Slice(task)) = &arguments.verb {
        let slice = slice::run(task);
        println!("{}", slice::say(&slice));
        return if slice.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match run(arguments.choice) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<launch::Interrupted>() => {
            eprintln!("peers: {error}");
            ExitCode::from(130)
        }
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut choice: Choice) -> Result<(), Box<dyn Error>> {
    if choice.quick {
        (choice.rounds, choice.seconds) = (1, 0.3);
        choice.flume_seconds = choice.flume_seconds.or(Some(0.5));
        (choice.flume_warm, choice.bytes) = (0.5, choice.bytes.min(256 << 20));
    }
    let cells = plan::cells(&choice.cells)?;
    let chosen = chosen(&choice.store)?;
    launch::listen_for_interrupts()?;
    let scratch_dirs = ScratchDirs::make(&choice.dir, 4 * choice.bytes)?;
    let libraries = choice.flume_lib.clone().or_else(|| std::env::var_os("MILLPOND_LEAGUE_FLUME"));
    let launcher = Launcher::new(&scratch_dirs, &choice, libraries.as_deref());
    let mut rows = rows(&launcher, &chosen, &cells);
    for (name, why) in launcher.left_out(&chosen) {
        println!("left out {name}: {why}");
    }
    let (began, load) = (Instant::now(), machine::load());
    for round in 0..choice.rounds as usize {
        measure(&launcher, round, choice.rounds as usize, &mut rows)?;
    }
    let run = page::Run {
        rows: &rows,
        cells: &cells,
        choice: &choice,
        flume: launcher.flume_version().map(str::to_owned),
        machine: machine::facts(scratch_dirs.first()),
        load: [load, machine::load()],
        seconds: began.elapsed().as_secs_f64(),
    };
    println!("{}", run.tables());
    if let Some(path) = &choice.json {
        let text = serde_json::to_string_pretty(&run.json())?;
        std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    if let Some(dir) = &choice.docs {
        run.write(dir)?;
    }
    let failed = rows.iter().filter(|row| row.failed.is_some()).count();
    match failed {
        0 => Ok(()),
        _ => Err(format!("{failed} cells of stores have no figures; the tables say why").into()),
    }
}

/// The stores asked for, in the order of the tables.
fn chosen(names: &[String]) -> Result<Vec<&'static Entry>, String> {
    let all: Vec<&Entry> = STORES.iter().filter(|store| !store.speed.is_empty()).collect();
    if let Some(name) = names.iter().find(|name| !all.iter().any(|store| store.name == **name)) {
        let known: Vec<&str> = all.iter().map(|store| store.name).collect();
        return Err(format!("no store is called {name}; there are {}", known.join(", ")));
    }
    let wanted = |store: &&Entry| names.is_empty() || names.iter().any(|name| name == store.name);
    Ok(all.into_iter().filter(wanted).collect())
}

/// A row for each cell and each store that can do it, cell by cell.
fn rows(launcher: &Launcher<'_>, chosen: &[&'static Entry], cells: &[Cell]) -> Vec<Row> {
    let left_out = launcher.left_out(chosen);
    let here = |store: &&&Entry| !left_out.iter().any(|(name, _)| *name == store.name);
    let can = |store: &Entry, cell: Cell| {
        (cell.dirs == 1 || store.stripes) && (!cell.takes() || store.takes)
    };
    let mut rows = Vec::new();
    for cell in cells {
        let stores = chosen.iter().filter(here).filter(|store| can(store, *cell));
        rows.extend(stores.map(|store| Row::new(store.name, *cell)));
    }
    rows
}

/// One round: every cell and store once.
fn measure(
    launcher: &Launcher<'_>,
    round: usize,
    rounds: usize,
    rows: &mut [Row],
) -> Result<(), Box<dyn Error>> {
    let terminal = std::io::stderr().is_terminal();
    let (mut done, all) = (0, rows.len());
    for (number, group) in rows.chunk_by_mut(|a, b| a.cell == b.cell).enumerate() {
        let len = group.len();
        for turn in 0..len {
            let row = &mut group[(turn + round + number) % len];
            done += 1;
            let at = format!(
                "round {}/{rounds}, {done}/{all}: {} {}",
                round + 1,
                row.cell.title(),
                row.store
            );
            if terminal {
                eprint!("\r\x1b[K{at}");
                let _ = std::io::stderr().flush();
            }
            let began = Instant::now();
            row.add(launcher.slice(row.store, row.cell)?);
            let end = if terminal { "\r\x1b[K" } else { "" };
            eprintln!("{end}{at}: {} ({:.1} s)", row.last_words(), began.elapsed().as_secs_f64());
        }
    }
    Ok(())
}

impl Choice {
    fn patience(&self) -> Duration {
        Duration::from_secs(self.patience)
    }

    /// Seconds of a measurement of this store.
    fn seconds_of(&self, store: &str) -> f64 {
        match store {
            FLUME => self.flume_seconds.unwrap_or(4.0 * self.seconds),
            _ => self.seconds,
        }
    }
}
