//! Writes that fail and land nevertheless, after the process that made them was killed and another one has opened the
//! channel: nothing that they bring may end what was built meanwhile.

use crate::counts::Tally;
use crate::driver::{Driver, Step, Stop};
use crate::random::{explain, step};
use crate::workload::{Dice, Ending, Op, Setup, Taste};
use millpond_sim::disk::FaultEffect;
use std::time::Duration;

/// Lives in `cargo test`.
const RUNS: u64 = 60;

/// Runs a few lives from a seed: in each some writes fail, and land at the next power cut, or, if it `hangs`, one does
/// not return until long after it was given up.
pub(crate) fn run(seed: u64, hangs: bool, tally: &mut Tally) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let drawn = Setup::drawn(seed, &mut dice);
    let setup = Setup {
        pending: true,
        direct: true,
        // Two blocks after the state record: every other write is a roll.
        segment_bytes: 20 * 1024,
        checkpoint_interval: Duration::from_secs(30),
        minimum_required_space: 0,
        ..drawn
    };
    let taste = Taste::drawn(&setup, &mut dice).calm();
    let mut driver = Driver::new(setup);
    for life in 0..6 {
        // An interrupted opening has recorded what it keeps in some of its directories, and not in all.
        if life > 0 && !hangs && dice.wins(40) {
            let now = driver.disk.operations();
            driver.disk.crash_at(now + 1 + dice.below(90));
        }
        if let Err(Stop::Violation(words)) = one_run(&mut driver, &taste, &mut dice, hangs) {
            return Err(explain(&driver, seed, &words));
        }
        // A kill leaves failed writes pending; a power cut decides them.
        let (odd, seed) = (life % 2 == 1, dice.next());
        let disk = if odd { driver.disk.crash(seed) } else { driver.disk.kill(seed) };
        driver.die();
        tally.state(disk.image_hash());
        driver = driver.over(disk);
    }
    Ok(())
}

fn one_run(driver: &mut Driver, taste: &Taste, dice: &mut Dice, hangs: bool) -> Step {
    driver.open()?;
    for _ in 0..dice.below(25) {
        step(driver, &taste.draw(dice))?;
        step(driver, &Op::Poll)?;
    }
    step(driver, &Op::Settle)?;
    if hangs {
        return hang(driver, dice);
    }
    if dice.wins(70) {
        driver.calm = false;
        for _ in 0..1 + dice.below(3) {
            let source = dice.wins(50).then(|| dice.at() % 2);
            step(driver, &Op::Put { count: 2, size: dice.one(&[100, 3000]), source })?;
            step(driver, &Op::StartWrite { stripe: dice.at() % driver.setup.stripes })?;
            // A failed write that is there nevertheless is kept; the fence that ends it may land later.
            let effect = dice.one(&[FaultEffect::All, FaultEffect::Later, FaultEffect::Later]);
            step(driver, &Op::EndWrite { at: 0, ending: Ending::Fails(effect) })?;
            step(driver, &Op::Tasks)?;
            step(driver, &Op::Poll)?;
        }
    }
    Ok(())
}

/// A write hangs and is given up; the channel continues through all its segments, and then the write returns.
fn hang(driver: &mut Driver, dice: &mut Dice) -> Step {
    let stripe = dice.at() % driver.setup.stripes;
    step(driver, &Op::Put { count: 2, size: 3000, source: None })?;
    (0..driver.setup.stripes).try_for_each(|at| step(driver, &Op::StartWrite { stripe: at }))?;
    step(driver, &Op::EndWrite { at: stripe, ending: Ending::Hangs })?;
    driver.calm = false;
    step(driver, &Op::Advance { ms: 50_000 })?;
    for _ in 0..dice.below(20) {
        step(driver, &Op::Keep)?;
        step(driver, &Op::Put { count: 2, size: 3000, source: None })?;
        step(driver, &Op::Tasks)?;
        step(driver, &Op::Take { max: 20 })?;
        step(driver, &Op::Ack { at: 0 })?;
        step(driver, &Op::Tasks)?;
        step(driver, &Op::Poll)?;
    }
    step(driver, &Op::EndHung { at: 0 })
}

#[test]
fn writes_that_land_after_an_opening_end_nothing_that_it_built() {
    let mut tally = Tally::default();
    let failures: Vec<String> = (1..=RUNS)
        .flat_map(|seed| [(seed, false), (seed, true)])
        .filter_map(|(seed, hangs)| run(seed, hangs, &mut tally).err())
        .collect();
    println!("{tally}");
    assert!(failures.is_empty(), "{failures:#?}");
}
