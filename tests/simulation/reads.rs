//! Openings with a refused read, every read in turn: the channel opens or refuses, and what a refused read did not
//! return is never taken for torn or lost.

use crate::counts::Tally;
use crate::driver::{Driver, Stop};
use crate::random::explain;
use crate::workload::{Dice, Op, Setup, Taste};
use millpond_sim::disk::{Fault, FaultTarget};

/// Lives in `cargo test`.
const RUNS: u64 = 12;

/// How often a read fails until it is given up, and once more.
const TIMES: u64 = 3;

/// Runs a calm life from a seed, and openings after its end in which one read is refused.
pub(crate) fn run(seed: u64, tally: &mut Tally) -> Result<(), String> {
    let mut dice = Dice::new(seed);
    let setup = Setup { minimum_required_space: 0, ..Setup::drawn(seed, &mut dice) };
    let taste = Taste::drawn(&setup, &mut dice).calm();
    let mut driver = Driver::new(setup);
    match refuse_each_read(&mut driver, &taste, &mut dice, tally) {
        Ok(()) => Ok(()),
        Err(Stop::Crashed) => Err("the machine stopped unasked".to_owned()),
        Err(Stop::Violation(words)) => Err(explain(&driver, seed, &words)),
    }
}

fn refuse_each_read(
    driver: &mut Driver,
    taste: &Taste,
    dice: &mut Dice,
    tally: &mut Tally,
) -> Result<(), Stop> {
    driver.open()?;
    for _ in 0..dice.below(80) {
        driver.step(&taste.draw(dice))?;
        driver.step(&Op::Poll)?;
    }
    let disk = driver.disk.crash(dice.next());
    driver.die();
    tally.state(disk.image_hash());
    for refused in 0.. {
        let image = disk.kill(0);
        let mut opening = driver.over(image.clone());
        opening.calm = false;
        image.fail(Fault::next(FaultTarget::Read, "").after(refused).times(TIMES));
        opening.open()?;
        let struck = image.trace().iter().any(|line| line.ends_with("fault"));
        // The next opening reads everything, on the result of this one.
        let after = image.crash(refused);
        opening.die();
        tally.state(after.image_hash());
        opening.over(after).open()?;
        if !struck {
            break;
        }
    }
    Ok(())
}

#[test]
fn a_refused_read_at_an_opening_voids_nothing() {
    let mut tally = Tally::default();
    let failures: Vec<String> = (1..=RUNS).filter_map(|seed| run(seed, &mut tally).err()).collect();
    println!("{tally}");
    assert!(failures.is_empty(), "{failures:#?}");
}
