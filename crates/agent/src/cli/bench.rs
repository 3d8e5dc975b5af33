//! `bench`: measures throughput on the user's own disks.
//!
//! Exit codes: 0 measured, 1 a write failed or a disk hung, 2 wrong usage or something that could
//! not be measured.

use super::bench_arguments::BenchArguments;
use super::bench_progress::BenchProgress;
use super::channel_open;
use super::exit::{CommandError, say, show};
use super::interrupt::Interrupt;
use crate::agent::channels::file_options;
use millpond::FileChannelOptions;
use millpond_flow::base::files;
use millpond_tools::bench::{self, BenchError, BenchOptions, PlotFormat};
use std::io::Write;
use std::path::Path;

/// Batch sizes that are measured by default.
const BATCHES: [usize; 3] = [1, 100, 1000];

/// Capacity of a channel for which none is set: the space is the bound.
const NO_CAPACITY: u64 = u64::MAX / 2;

pub(super) fn run(arguments: &BenchArguments) -> Result<(), CommandError> {
    let plot = arguments.plot.as_deref().map(plot_to).transpose()?;
    let options = options(arguments)?;
    for path in bench::left_behind(&options.data_dirs) {
        say(&format!(
            "{} was left by a bench that was killed, or one runs there now; remove it when none does",
            path.display()
        ));
    }
    let interrupt = Interrupt::listen()?;
    let progress = BenchProgress::new();
    let mut made = |path: &Path| {
        if options.beside {
            say(&format!(
                "measures in {}; the channel's own files are not touched",
                path.display()
            ));
        }
    };
    let ended = bench::run(&options, &interrupt.came, &mut made, &mut |stage| progress.show(stage));
    progress.clear();
    let report = ended.map_err(stopped)?;
    if report.was_interrupted() {
        say("interrupted; what was measured until then follows");
    }
    match arguments.json {
        true => show(&(report.json().to_string() + "\n"))?,
        false => show(&report.table())?,
    }
    match plot {
        Some((path, format)) => draw(path, &report.plot(format)),
        None => Ok(()),
    }
}

/// Checks the file of `--plot` before anything is measured: the figures would be lost.
fn plot_to(path: &Path) -> Result<(&Path, PlotFormat), CommandError> {
    let shown = path.display();
    let Some(format) = PlotFormat::of(path) else {
        return Err(CommandError::Usage(format!(
            "--plot {shown}: its name must end in .svg or .html"
        )));
    };
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    if above.is_some_and(|above| !above.is_dir()) {
        return Err(CommandError::Usage(format!("--plot {shown}: there is no such directory")));
    }
    if path.symlink_metadata().is_ok() {
        return Err(CommandError::Usage(format!(
            "--plot {shown} is there already; give a new name"
        )));
    }
    Ok((path, format))
}

fn draw(path: &Path, text: &str) -> Result<(), CommandError> {
    let written = files::create_new_public(path)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written
        .map_err(|error| CommandError::Failed(format!("cannot write {}: {error}", path.display())))
}

fn stopped(error: BenchError) -> CommandError {
    match error.is_failure() {
        true => CommandError::Failed(error.to_string()),
        false => CommandError::Usage(error.to_string()),
    }
}

fn options(arguments: &BenchArguments) -> Result<BenchOptions, CommandError> {
    let (channel, beside) = match (&arguments.name, &arguments.channel) {
        (Some(agent), Some(channel)) => {
            let (files, outside) = (&arguments.conf_files, &arguments.outside);
            let settings = channel_open::named_by_configuration(files, outside, agent, channel)
                .map_err(|stop| CommandError::Usage(stop.to_string()))?;
            (file_options(&settings), true)
        }
        _ => {
            let mut channel = FileChannelOptions::new("", &arguments.data_dirs);
            channel.capacity = NO_CAPACITY;
            channel.transaction_capacity = usize::MAX / 4;
            (channel, false)
        }
    };
    let mut options = BenchOptions {
        data_dirs: channel.data_dirs.clone(),
        beside,
        channel,
        capacity_is_set: beside,
        body_bytes: usize::try_from(arguments.body).unwrap_or(usize::MAX),
        batches: sorted(&arguments.batch),
        producers: sorted(&arguments.producers),
        takers: sorted(&arguments.takers),
        time: arguments.seconds,
        rounds: arguments.rounds,
        space_bytes: arguments.space,
        baseline: arguments.baseline,
    };
    if options.batches.is_empty() {
        options.batches = options.batches_that_fit(&BATCHES);
    }
    Ok(options)
}

/// Returns the distinct numbers, the smallest first.
fn sorted(numbers: &[usize]) -> Vec<usize> {
    let mut numbers = numbers.to_vec();
    numbers.sort_unstable();
    numbers.dedup();
    numbers
}
