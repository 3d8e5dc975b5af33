//! Long lives drawn from seeds: configuration, steps, faults, crashes.

use crate::counts::{Stopped, Tally};
use crate::coverage;
use crate::driver::{Driver, Stop};
use crate::workload::{Dice, Op, Setup, Taste, fault};
use millpond::internal::base::coverage_mark::CoverageMark;
use millpond::internal::recovery::decision_table::Case;
use millpond_sim::disk::{DiskMutation, Fault, FaultTarget, SimDisk};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::OnceLock;

/// Runs in `cargo test`; `MILLPOND_SIM_RUNS` sets another number.
const RUNS: u64 = 2000;

/// Lives of a channel with large transactions, and steps of each: a step moves megabytes.
const LARGE_LIVES_MAX: u64 = 3;
const LARGE_STEPS_MAX: u64 = 40;

/// Rows of the recovery table that these lives must meet.
pub(crate) const ROWS: [Case; 6] = [Case::R1, Case::R3, Case::R4, Case::R5, Case::R9, Case::R13];

/// Coverage marks that they must reach.
pub(crate) const PLACES: [CoverageMark; 11] = [
    CoverageMark::FenceMoved,
    CoverageMark::MovedTwice,
    CoverageMark::FreshSegment,
    CoverageMark::NowhereToGo,
    CoverageMark::HungWrite,
    CoverageMark::LateReturn,
    CoverageMark::SlotAck,
    CoverageMark::EpochInSlot,
    CoverageMark::RollWaits,
    CoverageMark::BlockFlushed,
    CoverageMark::BlockRewritten,
];

/// Seeds that once failed.
const PAST: &str = include_str!("seeds.txt");

/// Runs one seed.
pub(crate) fn run(
    seed: u64,
    mutant: Option<DiskMutation>,
    tally: &mut Tally,
) -> Result<(), String> {
    run_with(seed, |setup| Setup { mutant, ..setup }, tally)
}

/// Runs one seed on a given setup.
pub(crate) fn run_with(
    seed: u64,
    change: impl Fn(Setup) -> Setup,
    tally: &mut Tally,
) -> Result<(), String> {
    let run = AssertUnwindSafe(|| run_seed(seed, change, tally));
    match catch_unwind(run) {
        Ok(result) => result,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            Err(format!("panic: {}", words.unwrap_or_default()))
        }
    }
}

fn run_seed(seed: u64, change: impl Fn(Setup) -> Setup, tally: &mut Tally) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let setup = change(Setup::drawn(seed, &mut dice).sometimes_large());
    if verbose() {
        eprintln!("{setup:?}");
    }
    let taste = Taste::drawn(&setup, &mut dice);
    let mut driver = Driver::new(setup);
    let mut lives = 1 + dice.below(6);
    if driver.setup.large {
        lives = lives.min(LARGE_LIVES_MAX);
    }
    for life in 0..lives {
        let taste =
            if dice.wins(30) { Taste::drawn(&driver.setup, &mut dice) } else { taste.clone() };
        let last = life + 1 == lives;
        match one_run(&mut driver, &taste, &mut dice, last, tally) {
            Ok(()) | Err(Stop::Crashed) => {}
            Err(Stop::Violation(words)) => return Err(explain(&driver, seed, &words)),
        }
        tally.faults += u64::from(!driver.calm);
        driver = match restarted(driver, &mut dice, tally) {
            Ok(driver) => driver,
            Err(words) => return Err(format!("seed {seed}: {words}")),
        };
    }
    // Whatever happened: on a sound disk the channel opens, and everything can be taken.
    match drain(&mut driver) {
        Ok(()) => Ok(()),
        Err(Stop::Crashed) => Err("the machine stopped unasked".to_owned()),
        Err(Stop::Violation(words)) => Err(explain(&driver, seed, &words)),
    }
}

pub(crate) fn explain(driver: &Driver, seed: u64, words: &str) -> String {
    if verbose() {
        for line in driver.disk.trace() {
            eprintln!("  {line}");
        }
    }
    format!("seed {seed}: {words}")
}

pub(crate) fn verbose() -> bool {
    static VERBOSE: OnceLock<bool> = OnceLock::new();
    *VERBOSE.get_or_init(|| std::env::var_os("MILLPOND_SIM_VERBOSE").is_some())
}

pub(crate) fn step(driver: &mut Driver, op: &Op) -> Result<(), Stop> {
    if verbose() {
        eprintln!("  {op:?}");
    }
    driver.step(op)
}

pub(crate) fn one_run(
    driver: &mut Driver,
    taste: &Taste,
    dice: &mut Dice,
    last: bool,
    tally: &mut Tally,
) -> Result<(), Stop> {
    // Some crash at a drawn operation, also while opening; others between two steps.
    if dice.wins(40) {
        let range = dice.one(&[10, 60, 200, 600]);
        driver.disk.crash_at(1 + dice.below(range));
    }
    if verbose() {
        eprintln!("open");
    }
    if taste.fails() && dice.wins(25) {
        for _ in 0..=dice.below(3) {
            step(driver, &Op::Fail(fault(dice)))?;
        }
    }
    while !driver.open()? {
        step(driver, &Op::Heal)?;
        if dice.wins(50) {
            return Ok(());
        }
    }
    if driver.setup.crammed {
        let full = |stripe| Op::Capacity { stripe, more: 0 };
        (0..driver.setup.stripes).try_for_each(|stripe| step(driver, &full(stripe)))?;
        if taste.fails() && dice.wins(50) {
            let slot =
                Fault::next(dice.one(&[FaultTarget::Submit, FaultTarget::Finish]), "/checkpoint");
            step(driver, &Op::Fail(slot.after(dice.below(4)).times(4)))?;
        }
    }
    let mut steps = dice.one(&[5, 30, 100, 250]);
    if driver.setup.large {
        steps = LARGE_STEPS_MAX;
    }
    for _ in 0..dice.below(steps) {
        let op = taste.draw(dice);
        step(driver, &op)?;
        if dice.wins(70) {
            step(driver, &Op::Poll)?;
        }
        judge_crash_now(driver, tally)?;
    }
    if driver.setup.crammed && !last && dice.wins(50) {
        // In the middle of a checkpoint, which may hold the only copy of an acknowledgement.
        let now = driver.disk.operations();
        driver.disk.crash_at(now + 1 + dice.below(8));
        step(driver, &Op::Checkpoint)?;
    }
    if last || dice.wins(30) {
        step(driver, &Op::Heal)?;
        step(driver, &Op::Settle)?;
        if dice.wins(60) {
            step(driver, &Op::Close)?;
        }
    }
    Ok(())
}

/// Returns the machine after a power cut or a kill.
fn restarted(mut driver: Driver, dice: &mut Dice, tally: &mut Tally) -> Result<Driver, String> {
    let seed = dice.next();
    let power = dice.wins(70);
    if verbose() {
        driver.disk.trace().iter().for_each(|line| eprintln!("  {line}"));
        eprintln!("{} {seed}", if power { "power cut" } else { "kill" });
    }
    driver.die();
    let disk = outcome(&driver, seed, power, tally);
    branch(&driver, seed, tally)?;
    if driver.setup.crammed && dice.wins(40) {
        // It never has the only copy of anything, so a full disk must not have one either.
        disk.remove_directory(Path::new("/checkpoint"));
    }
    Ok(driver.over(disk))
}

/// Returns what a power cut or a kill leaves of a machine.
pub(crate) fn outcome(before: &Driver, seed: u64, power: bool, tally: &mut Tally) -> SimDisk {
    let disk = if power { before.disk.crash(seed) } else { before.disk.kill(seed) };
    tally.is_new(disk.state_hash(), before.oracle.expectation());
    tally.recoveries += 1;
    tally.stopped(if power { Stopped::Power } else { Stopped::Kill });
    if !before.born {
        tally.stopped(Stopped::Creating);
    }
    disk
}

/// Judges the state after a crash in the middle of a life; the life continues.
pub(crate) fn judge_crash_now(driver: &Driver, tally: &mut Tally) -> Result<(), Stop> {
    if tally.glances == 0 || driver.setup.large {
        return Ok(());
    }
    let at = driver.disk.operations();
    let seed = at.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ driver.opens;
    let told = |words| Stop::Violation(format!("if it crashed after operation {at}: {words}"));
    branches(&driver.fork(), seed, tally.glances, tally).map_err(told)
}

/// Judges other outcomes of the crash from which the life continues.
pub(crate) fn branch(before: &Driver, seed: u64, tally: &mut Tally) -> Result<(), String> {
    branches(before, seed, tally.branches, tally)
}

fn branches(before: &Driver, seed: u64, count: u64, tally: &mut Tally) -> Result<(), String> {
    let expectation = before.oracle.expectation();
    if count == 0 || !tally.is_new_stop(before.disk.outcomes().hash(), expectation) {
        return Ok(());
    }
    for at in 1..=count {
        let power = !at.is_multiple_of(4);
        let seed = seed ^ at.rotate_right(16);
        let disk = if power { before.disk.crash(seed) } else { before.disk.kill(seed) };
        if !tally.is_new(disk.state_hash(), expectation) {
            continue;
        }
        tally.recoveries += 1;
        tally.stopped(if power { Stopped::Power } else { Stopped::Kill });
        let mut after = before.over(disk);
        let words = match after.open() {
            Ok(_) => continue,
            Err(Stop::Crashed) => "stopped unasked".to_owned(),
            Err(Stop::Violation(words)) => words,
        };
        return Err(explain(&after, seed, &format!("branch {at}: {words}")));
    }
    Ok(())
}

pub(crate) fn drain(driver: &mut Driver) -> Result<(), Stop> {
    step(driver, &Op::Heal)?;
    driver.open()?;
    for round in 0.. {
        step(driver, &Op::Take { max: 50 })?;
        step(driver, &Op::Ack { at: 0 })?;
        step(driver, &Op::Settle)?;
        if driver.oracle.held() == 0 {
            break;
        }
        if round == 500 {
            return Err(Stop::Violation("the channel does not run dry".to_owned()));
        }
    }
    for round in 0.. {
        // A segment may be in the making: then a put that does not wait is refused.
        step(driver, &Op::Put { count: 3, size: 100, source: None })?;
        step(driver, &Op::Settle)?;
        if driver.oracle.held() == 3 {
            break;
        }
        if round == 10 {
            return Err(Stop::Violation("puts do not go on by themselves".to_owned()));
        }
        step(driver, &Op::Keep)?;
    }
    step(driver, &Op::Close)
}

/// Returns seeds that failed before, one per line, with a note after it.
fn past() -> impl Iterator<Item = u64> {
    let lines = PAST.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.filter_map(|line| line.split_whitespace().next()?.parse().ok())
}

pub(crate) fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

#[test]
fn whatever_happens_nothing_acknowledged_is_lost_doubled_or_altered() {
    let mut tally = Tally::default();
    let first = number("MILLPOND_SIM_FIRST").unwrap_or(1);
    let seeds: Vec<u64> = match number("MILLPOND_SIM_SEED") {
        Some(seed) => {
            tally.judge_other_outcomes();
            vec![seed]
        }
        None => {
            let runs = number("MILLPOND_SIM_RUNS").unwrap_or(RUNS);
            past().chain(first..first + runs).collect()
        }
    };
    let whole = seeds.len() as u64 > RUNS;
    coverage::start_recording();
    let mut failures = Vec::new();
    for seed in seeds {
        tally.runs += 1;
        if let Err(words) = run(seed, None, &mut tally) {
            failures.push(words);
        }
    }
    println!("{tally}");
    let shown: Vec<&String> = failures.iter().take(20).collect();
    assert!(
        failures.is_empty(),
        "{} runs failed; MILLPOND_SIM_SEED=… repeats one, MILLPOND_SIM_VERBOSE=1 shows its steps: {shown:#?}",
        failures.len()
    );
    if whole {
        coverage::check_met(&ROWS, &PLACES);
    }
}
