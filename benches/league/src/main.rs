//! A league table of durable queues and logs.
//!
//! `league run` treats each engine alike: a process works with a store and reports what it does; another kills it, lets
//! its disk fail or fill up, or damages its files; then it judges what a sound process finds. It is a measurement: the
//! exit code is 0 if it was completed, whatever it found.
//!
//! A store is driven by one thread: one transaction at a time. Failures that need several threads are not covered, and
//! neither is the effect of a power cut: after a kill everything written is still there, synced or not.

mod bench;
mod control;
mod draw;
mod engines;
mod fault_shim;
mod faults;
mod flume;
mod ledger;
mod life;
mod table;
mod volume;
mod worker;

use bench::Bench;
use clap::{Parser, Subcommand};
use faults::{Cell, FAULTS, Fault};
use std::error::Error;
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use stores::FLUME;

/// A league table of durable queues and logs under kill, failing syncs, full disks, short writes
/// and rot.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Runs the cells and prints the table
    Run(Choice),
    /// Works with one store; started by `run`
    #[command(hide = true)]
    Worker(worker::Task),
}

#[derive(Debug, clap::Args)]
struct Choice {
    /// Only these engines; may be repeated
    #[arg(long)]
    engine: Vec<String>,
    /// Only these faults; may be repeated
    #[arg(long)]
    fault: Vec<Fault>,
    /// Rounds of each cell, in percent of the usual number
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rounds: u64,
    /// Repeats the random numbers of a run; each run prints its seed
    #[arg(long)]
    seed: Option<u64>,
    /// A directory on the disk to measure
    #[arg(long, default_value_os_t = std::env::temp_dir())]
    dir: PathBuf,
    /// Directories with Flume's jars, separated by `:`; also MILLPOND_LEAGUE_FLUME
    #[arg(long)]
    flume_lib: Option<OsString>,
    /// Seconds of silence after which a process counts as hung; three times that for Flume
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3600))]
    patience: u64,
    /// File for all figures as JSON
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Worker(task) => {
            // What engines log: a warning counts as a report of a problem.
            tracing_subscriber::fmt()
                .with_env_filter("warn")
                .with_writer(std::io::stderr)
                .without_time()
                .init();
            worker::run(&task)
        }
        Verb::Run(choice) => match run(&choice) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("league: {error}");
                ExitCode::FAILURE
            }
        },
    }
}

fn run(choice: &Choice) -> Result<(), Box<dyn Error>> {
    let engines = chosen(choice)?;
    let seed = choice.seed.unwrap_or_else(|| {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |time| time.as_secs())
    });
    let root = choice.dir.canonicalize().map_err(|e| format!("{}: {e}", choice.dir.display()))?;
    let root = root.join(format!("league-{}", std::process::id()));
    std::fs::create_dir(&root).map_err(|e| format!("{}: {e}", root.display()))?;
    let libraries = choice.flume_lib.clone().or_else(|| std::env::var_os("MILLPOND_LEAGUE_FLUME"));
    let bench = Bench {
        seed,
        effort: choice.rounds,
        patience: Duration::from_secs(choice.patience),
        shim: fault_shim::build(&root),
        flume: flume::find(libraries.as_deref(), &root),
        root: root.clone(),
    };
    let began = Instant::now();
    let cells = cells(&bench, choice, &engines);
    std::fs::remove_dir_all(&root).map_err(|e| format!("{}: {e}", root.display()))?;
    let cells = cells?;
    let flume = bench.flume.as_ref().ok().map(|flume| flume.version.as_str());
    println!("seed {seed}, {:.0} s\n", began.elapsed().as_secs_f64());
    println!("{}\n{}", table::engines(flume), table::table(&cells));
    if let Some(path) = &choice.json {
        write_json(path, seed, flume, &cells)?;
    }
    Ok(())
}

/// Returns the names of the selected engines, in the order of the table.
fn chosen(choice: &Choice) -> Result<Vec<String>, String> {
    let all = engines::all().map(|engine| engine.name.to_owned());
    if choice.engine.is_empty() {
        return Ok(all.collect());
    }
    let known: Vec<String> = all.collect();
    let control = |name: &&String| name.starts_with("control-");
    match choice.engine.iter().find(|name| !known.contains(name) && !control(name)) {
        Some(name) => Err(format!("no engine is called {name}; there are {}", known.join(", "))),
        None => Ok(choice.engine.clone()),
    }
}

fn cells(bench: &Bench, choice: &Choice, engines: &[String]) -> std::io::Result<Vec<Cell>> {
    let terminal = std::io::stderr().is_terminal();
    let faults = FAULTS.iter().filter(|f| choice.fault.is_empty() || choice.fault.contains(f));
    let cells = faults.flat_map(|fault| engines.iter().map(move |engine| (engine, *fault)));
    let cells: Vec<(&String, Fault)> = cells.collect();
    let mut done = Vec::new();
    for (number, (engine, fault)) in cells.iter().enumerate() {
        let began = Instant::now();
        let at = format!("{}/{} {engine} {fault:?}", number + 1, cells.len());
        let mut progress = |round, rounds| {
            if terminal {
                eprint!("\r\x1b[K{at} {round}/{rounds}");
                let _ = std::io::stderr().flush();
            }
        };
        let mut cell = match (&bench.flume, engine.as_str()) {
            (Err(why), FLUME) => faults::left_out(engine, *fault, why),
            _ => faults::run(bench, engine, *fault, &mut progress)?,
        };
        cell.seconds = began.elapsed().as_secs_f64();
        let here = format!("{}/", bench.root.display());
        cell.notes.iter_mut().for_each(|note| *note = note.replace(&here, ""));
        let line_end = if terminal { "\r\x1b[K" } else { "" };
        eprintln!("{line_end}{at}: {} rounds in {:.1} s", cell.rounds, cell.seconds);
        done.push(cell);
    }
    Ok(done)
}

fn write_json(
    path: &Path,
    seed: u64,
    flume: Option<&str>,
    cells: &[Cell],
) -> Result<(), Box<dyn Error>> {
    let all = serde_json::json!({ "seed": seed, "flume": flume, "cells": cells });
    std::fs::write(path, serde_json::to_string_pretty(&all)?)
        .map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(())
}
