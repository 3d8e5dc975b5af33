//! SIGKILL, at a random moment after the store was opened or, one time in four, after the process was started. A store
//! survives five kills; then a sound process takes everything.

use super::{Cell, Fault, Progress, drain};
use crate::bench::Bench;
use crate::ledger::Ledger;
use crate::life::{End, Order, Until, live};
use std::io;
use std::time::Duration;
use stores::FLUME;

const ROUNDS: u64 = 30;
const LIVES: u64 = 5;

pub(super) fn run(bench: &Bench, engine: &str, progress: &mut Progress<'_>) -> io::Result<Cell> {
    let rounds = bench.rounds(ROUNDS);
    let mut draw = bench.draw(engine, "kill");
    let mut cell = Cell::new(engine, Fault::Kill);
    // Milliseconds that a process of each kind needs to start, and to do much.
    let (start, work) = if engine == FLUME { (1500, 800) } else { (40, 250) };
    while cell.rounds < rounds {
        let (dir, seed) = (bench.fresh()?, draw.next() >> 16);
        let mut ledger = Ledger::new(seed, false);
        let order =
            Order { engine, dir: &dir, verb: "work", seed, times: u64::MAX >> 1, shim: &[] };
        for _ in 0..LIVES.min(rounds - cell.rounds) {
            progress(cell.rounds, rounds);
            let open = draw.below(4) != 0;
            let after = Duration::from_millis(draw.below(if open { work } else { start }));
            let life = live(bench, &order, &mut ledger, Until::Killed { after, open });
            cell.rounds += 1;
            cell.met += u64::from(life.end == End::Killed);
            cell.count_ends(&[&life]);
            if life.end != End::Killed {
                break;
            }
        }
        let last = drain(bench, engine, &dir, seed, &mut ledger);
        cell.count_ends(&[&last]);
        cell.judge(&ledger, &last, !last.errors.is_empty(), "after kills");
    }
    Ok(cell)
}
