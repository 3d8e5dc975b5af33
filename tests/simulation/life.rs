//! Any bytes as a life: configuration, steps, faults, power cuts, kills, and the seeds of both.
//!
//! Two bytes choose the channel and its disk; each pair after them is a step and a number for it. So a fuzzer that
//! changes a byte changes a step, and one that removes two removes a step.

use crate::driver::{Driver, Stop};
use crate::random::{drain, step};
use crate::workload::{Dice, Ending, Op, Setup, fault};
use millpond_sim::disk::{FaultEffect, Loss, Model, TornBlock};
use std::time::Duration;

/// Steps of a life; further bytes are ignored.
const STEPS_MAX: usize = 300;

fn pick<T: Copy>(of: &[T], at: u8) -> T {
    of[usize::from(at) % of.len()]
}

fn setup(disk: u8, channel: u8) -> Setup {
    let (direct, eager) = (disk & 2 == 0, disk & 128 != 0);
    let torn = [TornBlock::Clean, TornBlock::DamageWritten, TornBlock::DamageAll];
    let model = pick(&[Model::StrictPosix, Model::Journalling], disk);
    Setup {
        // As in `Setup::drawn`.
        torn_block: if direct { pick(&torn, disk >> 3) } else { TornBlock::Clean },
        direct,
        pending: disk & 4 == 0,
        eager_sources: eager,
        segment_bytes: pick(&[16, 20, 32, 64], channel) * 1024,
        capacity: pick(&[1000, 100, 20], channel >> 2),
        keep_alive: Duration::from_millis(pick(&[0, 5, 100], channel >> 4)),
        checkpoint_interval: Duration::from_millis(pick(&[30_000, 500, 20, 1], channel >> 6)),
        ..Setup::plain(u64::from(channel), 1 + usize::from(disk >> 5 & 3) % 3, model)
    }
}

/// The meaning of a step and its number.
enum Move {
    Step(Op),
    /// The machine stops after this many operations.
    StopIn(u64),
    /// It stops now: by a power cut, or by a kill of the process.
    PowerCut(u64),
    Kill(u64),
}

fn effect(number: u8) -> FaultEffect {
    let loss = pick(&[Loss::KeepsNew, Loss::RevertsToOld, Loss::DropsAtNextRead], number >> 4);
    let all = [
        FaultEffect::Nothing,
        FaultEffect::Part,
        FaultEffect::All,
        FaultEffect::Later,
        FaultEffect::Lost(loss),
    ];
    pick(&all, number)
}

fn meaning(kind: u8, number: u8) -> Move {
    let at = usize::from(number);
    Move::Step(match kind % 26 {
        0..=2 => Op::Put {
            count: 1 + at % 4,
            size: pick(&[20, 100, 900, 4000], number >> 2),
            source: (number >= 200).then_some(at % 2),
        },
        3 => Op::Put { count: at % 2, size: 9000, source: Some(at / 2 % 2) },
        4 => Op::PutRollback { count: 1 + at % 5, size: 50 },
        5 => Op::DropCall { at },
        6 => Op::Take { max: 1 + at % 20 },
        7 => Op::TakeMore { at, max: 1 + at % 10 },
        8 => Op::Ack { at },
        9 => Op::TakeRollback { at },
        10 => Op::StartWrite { stripe: at % 3 },
        11 | 12 => Op::EndWrite { at, ending: Ending::Good },
        13 => Op::EndWrite { at: at >> 3, ending: Ending::Fails(effect(number)) },
        14 => Op::EndWrite { at, ending: Ending::Hangs },
        15 => Op::EndHung { at },
        16 => Op::Keep,
        17 => Op::Tasks,
        18 => Op::Checkpoint,
        19 => Op::Advance { ms: pick(&[1, 10, 100, 3000, 50_000], number) },
        20 => Op::Poll,
        21 => match number % 4 {
            0 => Op::Heal,
            1 => Op::Settle,
            2 => Op::Close,
            _ => Op::PollSome { odd: number & 4 == 0 },
        },
        22 => Op::Fail(fault(&mut Dice::new(u64::from(number)))),
        23 => Op::Capacity { stripe: at, more: pick(&[0, 4096, 20_000, 70_000], number >> 2) },
        24 => return Move::StopIn(1 + u64::from(number)),
        _ if number & 1 == 0 => return Move::PowerCut(u64::from(number)),
        _ => return Move::Kill(u64::from(number)),
    })
}

/// Runs the life encoded in `bytes`. On a sound disk everything must then open and be delivered.
pub(crate) fn run_encoded(bytes: &[u8]) -> Result<(), String> {
    let Some((&[disk, channel], steps)) = bytes.split_first_chunk() else { return Ok(()) };
    let mut driver = Driver::new(setup(disk, channel));
    for pair in steps.chunks_exact(2).take(STEPS_MAX) {
        let number = u64::from(pair[1]);
        let done = match meaning(pair[0], pair[1]) {
            Move::Step(op) => opened(&mut driver).and_then(|()| step_of(&mut driver, &op)),
            Move::StopIn(operations) => {
                driver.disk.crash_at(driver.disk.operations() + operations);
                Ok(())
            }
            Move::PowerCut(seed) => {
                driver = restarted(driver, true, seed);
                Ok(())
            }
            Move::Kill(seed) => {
                driver = restarted(driver, false, seed);
                Ok(())
            }
        };
        match done {
            // Closed. A hanging call holds its locks until the process ends.
            Ok(()) if driver.opens > 0 && !driver.is_open() => {
                driver = restarted(driver, false, number);
            }
            Ok(()) => {}
            Err(Stop::Crashed) => driver = restarted(driver, number & 2 == 0, number),
            Err(Stop::Violation(words)) => return Err(words),
        }
    }
    driver = restarted(driver, true, steps.len() as u64);
    match drain(&mut driver) {
        Ok(()) => Ok(()),
        Err(Stop::Crashed) => Err("the machine stopped unasked".to_owned()),
        Err(Stop::Violation(words)) => Err(words),
    }
}

/// Opens the channel if it is closed; on a faulty disk, as soon as that is sound.
fn opened(driver: &mut Driver) -> Result<(), Stop> {
    while !driver.is_open() && !driver.open()? {
        step(driver, &Op::Heal)?;
    }
    Ok(())
}

fn step_of(driver: &mut Driver, op: &Op) -> Result<(), Stop> {
    // A stripe that exists.
    let stripes = driver.setup.stripes;
    match *op {
        Op::StartWrite { stripe } => step(driver, &Op::StartWrite { stripe: stripe % stripes }),
        _ => step(driver, op),
    }
}

/// Returns the machine after a power cut or a kill. A closed channel is opened anew as well.
fn restarted(mut driver: Driver, power: bool, seed: u64) -> Driver {
    let disk = if power { driver.disk.crash(seed) } else { driver.disk.kill(seed) };
    driver.die();
    driver.over(disk)
}

/// Entry point of the fuzzer; unused in a test binary.
///
/// # Panics
/// A promise to the user does not hold.
#[allow(dead_code)]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Err(words) = run_encoded(bytes) {
        panic!("{words}");
    }
}

#[cfg(test)]
#[path = "../../crates/agent/tests/hostile/files.rs"]
mod files;
#[cfg(test)]
#[path = "../../crates/agent/tests/hostile/mutation.rs"]
mod mutate;

#[cfg(test)]
mod tests {
    use super::*;
    use files::Named;
    use mutate::{Draws, hex, mutant, number, seed_or};
    use std::hash::{BuildHasher, RandomState};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    /// Mutants in `cargo test`; `MILLPOND_FUZZ_MUTANTS` sets another number.
    const MUTANTS: u64 = 600;

    const PUT: [u8; 2] = [0, 1];
    const BIG: [u8; 2] = [1, 12];
    const TAKE: [u8; 2] = [6, 4];
    const ACK: [u8; 2] = [8, 0];
    const SETTLE: [u8; 2] = [21, 1];
    const KEEP: [u8; 2] = [16, 0];

    /// Returns small scripts, on one disk and on two, and with sources that do not wait for commits, on a channel where
    /// their puts wait for room.
    fn made() -> Vec<Named> {
        let settled = [PUT, SETTLE, TAKE, ACK, SETTLE];
        let rolls = [BIG, SETTLE, BIG, SETTLE, TAKE, ACK, SETTLE, KEEP].repeat(3);
        let in_flight = [BIG, [10, 0], BIG, [10, 1], PUT, [13, 4], [11, 0], SETTLE, [21, 0]];
        let faults = [PUT, [22, 3], BIG, SETTLE, [22, 90], KEEP, [18, 0], [21, 0], SETTLE];
        let stops = [PUT, [24, 9], PUT, SETTLE, TAKE, [24, 40], ACK, SETTLE, [25, 6]];
        let sources = [[3, 0], [0, 200], SETTLE, [25, 4], [0, 201], SETTLE, [21, 2], PUT];
        let hangs = [BIG, [10, 0], [14, 0], PUT, [19, 4], SETTLE, [15, 0], [21, 0], TAKE, ACK];
        let full = [[23, 0], BIG, BIG, SETTLE, TAKE, ACK, SETTLE, [25, 1], [21, 0], SETTLE];
        let turns = [[0, 255], KEEP, [3, 3], [17, 0], [20, 0], [3, 1], [5, 1], SETTLE, [25, 8]];
        let stories: [(&str, &[[u8; 2]]); 9] = [
            ("settled", &settled),
            ("rolls", &rolls),
            ("in-flight", &in_flight),
            ("faults", &faults),
            ("stops", &stops),
            ("sources", &sources),
            ("hangs", &hangs),
            ("full", &full),
            ("turns", &turns),
        ];
        let bytes = |head: [u8; 2], story: &[[u8; 2]]| [&head[..], story.as_flattened()].concat();
        let all = |(name, story): (&str, &[[u8; 2]])| {
            [
                (format!("{name}-1"), bytes([0, 0], story)),
                (format!("{name}-2"), bytes([33, 66], story)),
                (format!("{name}-eager"), bytes([161, 45], story)),
            ]
        };
        stories.into_iter().flat_map(all).collect()
    }

    fn drawn() -> u64 {
        RandomState::new().hash_one(0u8) % 1_000_000
    }

    #[test]
    fn checked_in_seeds_equal_the_generated_ones() {
        files::check("life", made());
    }

    #[test]
    fn whatever_bytes_say_is_done_nothing_acknowledged_is_lost() {
        let (seed, seeds) = (seed_or(drawn), files::bytes_of("life"));
        let mut draws = Draws::new(seed);
        let mutants = number("MILLPOND_FUZZ_MUTANTS").unwrap_or(MUTANTS);
        let mutants = (0..mutants).map(|_| mutant(&seeds, &mut draws, 2 + 2 * STEPS_MAX));
        // One life in hexadecimal, for examination.
        let one = std::env::var("MILLPOND_FUZZ_INPUT").ok().map(|digits| mutate::bytes_of(&digits));
        let (seeds, mutants) = match one {
            Some(one) => (vec![one], Vec::new()),
            None => (seeds.clone(), mutants.collect()),
        };
        let mut failures = Vec::new();
        for bytes in seeds.into_iter().chain(mutants) {
            let words = match catch_unwind(AssertUnwindSafe(|| run_encoded(&bytes))) {
                Ok(Ok(())) => continue,
                Ok(Err(words)) => words,
                Err(_) => "panic".to_owned(),
            };
            failures.push(format!("{words}: {}", hex(&bytes)));
        }
        failures.truncate(10);
        assert!(failures.is_empty(), "MILLPOND_FUZZ_SEED={seed}: {failures:#?}");
    }
}
