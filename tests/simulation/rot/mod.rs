//! Bytes that change on the medium: nothing altered is delivered, and what is lost is counted.

mod actors;
pub(crate) mod campaign;
pub(crate) mod judge;
pub(crate) mod quiescence;

use crate::counts::Tally;
use crate::driver::{Driver, Stop, data_dir};
use crate::oracle::{EventState, PutState};
use crate::random::number;
use crate::workload::{Dice, Op, Setup, Taste};
use quiescence::{FilesAtRest, Range};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

const RUNS: u64 = 400;

/// Runs one seed: a calm life, rot, another life.
fn run(seed: u64, tally: &mut Tally) -> Result<(), Stop> {
    let mut dice = Dice::new(seed);
    let sealed = dice.wins(70);
    let drawn = Setup::drawn(seed, &mut dice);
    let setup = Setup { sealed, minimum_required_space: 0, ..drawn };
    let taste = Taste::drawn(&setup, &mut dice).calm();
    let mut driver = Driver::new(setup);
    driver.open()?;
    for _ in 0..dice.below(150) {
        driver.step(&taste.draw(&mut dice))?;
        driver.step(&Op::Poll)?;
    }
    driver.step(&Op::Settle)?;
    if sealed {
        driver.step(&Op::Close)?;
    }
    // Before the channel is dropped, which closes it.
    let disk = if dice.wins(50) { driver.disk.kill(seed) } else { driver.disk.crash(seed) };
    driver.die();
    let strikes = dice.one(&[1, 1, 3]);
    let still = FilesAtRest::read(driver.over(disk.kill(0)), disk.kill(0));
    let mut hits = Vec::new();
    for _ in 0..strikes {
        let (file, len) = place(&driver, &mut dice);
        let start = dice.below(len);
        let hit = dice.one(&[1, 1, 40, 600]).min(len - start);
        // A segment of that number may not exist.
        let _ = disk.rot(&file, start, hit);
        hits.push(Range { file, start, end: start + hit });
    }
    driver.oracle.rotten = true;
    driver.oracle.hit = still.cost(&still.reach(&hits, &disk));
    driver.oracle.remembers = sealed && strikes == 1;
    tally.state(disk.image_hash());
    let mut driver = driver.over(disk);
    driver.open()?;
    for _ in 0..200 {
        driver.step(&Op::Take { max: 50 })?;
        driver.step(&Op::Ack { at: 0 })?;
        driver.step(&Op::Settle)?;
    }
    // What is put from now on is there and comes, whatever was lost before.
    let put = driver.oracle.puts.len();
    driver.step(&Op::Put { count: 1, size: 10, source: None })?;
    driver.step(&Op::Settle)?;
    let there = driver.oracle.puts[put].record.state == PutState::Committed;
    driver.step(&Op::Take { max: 50 })?;
    driver.step(&Op::Settle)?;
    if there && driver.oracle.puts[put].record.events == [EventState::Waiting] {
        return Err(Stop::Violation(format!("put {put} was made after the rot and does not come")));
    }
    driver.step(&Op::Close)
}

fn place(driver: &Driver, dice: &mut Dice) -> (PathBuf, u64) {
    let dir = data_dir(dice.at() % driver.setup.stripes);
    match dice.below(10) {
        0 => (dir.join("checkpoint"), 532_480),
        1 => (PathBuf::from("/checkpoint/checkpoint"), 532_480),
        _ => {
            let name = format!("segment-{:05}.log", dice.below(4));
            (dir.join(name), dice.one(&[12_288, driver.setup.segment_bytes]))
        }
    }
}

#[test]
fn rot_alters_nothing_and_what_it_costs_is_counted() {
    let (mut tally, mut failures) = (Tally::default(), Vec::new());
    let seeds = match number("MILLPOND_SIM_SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("MILLPOND_SIM_RUNS").unwrap_or(RUNS),
    };
    for seed in seeds {
        tally.runs += 1;
        match catch_unwind(AssertUnwindSafe(|| run(seed, &mut tally))) {
            Ok(Ok(())) => {}
            Ok(Err(stop)) => failures.push(format!("seed {seed}: {stop:?}")),
            Err(_) => failures.push(format!("seed {seed}: panic")),
        }
    }
    println!("{tally}");
    assert!(failures.is_empty(), "{failures:#?}");
}
