//! `torture`: crash tests on the user's own disks.
//!
//! Exit codes: 0 clean, 1 something was found that must not be, 2 wrong usage or a test that could
//! not be carried out.

use super::exit::{CommandError, say, show, show_words};
use super::interrupt::Interrupt;
use super::torture_arguments::{
    CollectArguments, RunArguments, TortureArguments, TortureCommand, VerifyArguments,
    WriteArguments,
};
use super::torture_progress::TortureProgress;
use millpond::internal::base::quantity::Quantity;
use millpond::internal::base::random::{Random, SystemRandom};
use millpond_tools::torture::phases::{self, CollectorStatus, VerifyOptions, WriteOptions};
use millpond_tools::torture::{self, RunLimit, RunOptions};
use std::time::Duration;

/// Default duration of a run, seconds.
const SECONDS_DEFAULT: u64 = 60;

pub(super) fn run(arguments: &TortureArguments) -> Result<(), CommandError> {
    match &arguments.command {
        None => run_campaign(&arguments.run),
        Some(TortureCommand::Life) => torture::run_child().map_err(cannot),
        Some(TortureCommand::Write(arguments)) => write(arguments),
        Some(TortureCommand::Collect(arguments)) => collect(arguments),
        Some(TortureCommand::Verify(arguments)) => verify(arguments),
    }
}

/// What prevents a test says nothing about the disk.
fn cannot(error: impl std::fmt::Display) -> CommandError {
    CommandError::Usage(error.to_string())
}

fn seed_or_drawn(seed: Option<u64>) -> u64 {
    // Short enough to be copied by hand.
    seed.unwrap_or_else(|| SystemRandom.next_u64() >> 32)
}

fn run_campaign(arguments: &RunArguments) -> Result<(), CommandError> {
    let kills = arguments.kills;
    let seconds = arguments.seconds.or(kills.is_none().then_some(SECONDS_DEFAULT));
    let limit = RunLimit { time: seconds.map(Duration::from_secs), kills };
    let options = RunOptions {
        data_dirs: arguments.data_dirs.clone(),
        limit,
        seed: seed_or_drawn(arguments.seed),
        kill9: arguments.kill9,
        quota: arguments.quota,
        discard: arguments.discard,
        keep: arguments.keep,
        record: arguments.record.clone(),
        lie: arguments.lie,
        program: std::env::current_exe().map_err(cannot)?,
    };
    let interrupt = Interrupt::listen()?;
    let progress = TortureProgress::new(limit);
    let ended = torture::run(&options, &interrupt.came, &mut |report| progress.show(report));
    progress.clear();
    let report = ended.map_err(cannot)?;
    let shown = if arguments.json {
        show(&(report.json().to_string() + "\n"))
    } else {
        show_words(&report.table())
    };
    let directories: Vec<String> =
        options.data_dirs.iter().map(|path| path.display().to_string()).collect();
    // A closed stdout does not change the exit code.
    if report.is_clean() {
        return shown;
    }
    say(&format!("what was left is in {}", directories.join(", ")));
    Err(CommandError::Failed(format!(
        "the channel broke a promise, or a disk below it did; repeat with --seed {}",
        options.seed
    )))
}

fn write(arguments: &WriteArguments) -> Result<(), CommandError> {
    let options = WriteOptions {
        data_dirs: arguments.data_dirs.clone(),
        acks: arguments.acks.clone(),
        time: arguments.seconds.map(Duration::from_secs),
        seed: seed_or_drawn(arguments.seed),
        discard: arguments.discard,
        lie: arguments.lie,
    };
    let interrupt = Interrupt::listen()?;
    say(&format!("seed {}; cut the power at any moment", options.seed));
    let progress = TortureProgress::counting();
    let mut warn = |words: &str| say(&format!("warning: {words}"));
    let ended = phases::write(&options, &interrupt.came, &mut warn, &mut |n| progress.count(n));
    progress.clear();
    let written = ended.map_err(cannot)?;
    let events = Quantity(written.acknowledged, "event");
    say(&format!("ended in order; {events} {} acknowledged", events.was()));
    Ok(())
}

fn collect(arguments: &CollectArguments) -> Result<(), CommandError> {
    let interrupt = Interrupt::listen()?;
    let silence = Duration::from_secs(arguments.silence);
    let mut waiting = |waiting| match waiting {
        CollectorStatus::Listening(at) => say(&format!("listening on {at}")),
        CollectorStatus::Stranger(at) => {
            say(&format!("{at} connected and is not `torture write`; still waiting for one"));
        }
    };
    let (listen, file) = (&arguments.listen, &arguments.file);
    let ended = phases::collect(listen, file, silence, &interrupt.came, &mut waiting);
    let collected = ended.map_err(cannot)?;
    if collected.lines == 0 {
        say("stopped before a writer came; nothing was written");
        return Ok(());
    }
    let how = if collected.closed { "the writer ended" } else { "the writer has gone silent" };
    let (lines, file) = (Quantity(collected.lines, "line"), file.display());
    say(&format!("{how}; {file} has {lines}; judge by: torture verify --acks {file}"));
    Ok(())
}

fn verify(arguments: &VerifyArguments) -> Result<(), CommandError> {
    let options = VerifyOptions {
        data_dirs: arguments.data_dirs.clone(),
        acks: arguments.acks.clone(),
        keep: arguments.keep,
    };
    let verdict = phases::verify(&options).map_err(cannot)?;
    let shown = match arguments.json {
        true => show(&(verdict.json().to_string() + "\n")),
        false => show_words(&verdict.words()),
    };
    // A closed stdout does not change the exit code.
    match verdict.is_clean() {
        true => shown,
        false => Err(CommandError::Failed("a promise was broken".to_owned())),
    }
}
