//! One failing call to the disk: a sync returns EIO, or a write is short and returns so. A first run without fault
//! counts the calls; each round then picks one, spread over all of them, creation and closing included. The process
//! continues as long as it likes; then a sound one takes everything.

use super::{Cell, Fault, Progress, drain, usual};
use crate::bench::Bench;
use crate::fault_shim::Plan;
use crate::ledger::Ledger;
use crate::life::{End, Order, Until, live};
use std::io;

const ROUNDS: u64 = 12;
/// Transactions of a process.
const TIMES: u64 = 60;

pub(super) fn run(
    bench: &Bench,
    engine: &str,
    fault: Fault,
    progress: &mut Progress<'_>,
) -> io::Result<Cell> {
    let mut cell = Cell::new(engine, fault);
    if let Err(why) = &bench.shim {
        cell.left_out = Some(why.clone());
        return Ok(cell);
    }
    let kind = if fault == Fault::Sync { "sync" } else { "short" };
    let mut draw = bench.draw(engine, kind);
    let seed = draw.next() >> 16;
    let usual = usual(bench, engine)?;
    let counted = {
        let dir = bench.fresh()?;
        let plan = Plan::new(&bench.root, &dir, kind, 0, 0)?;
        let order = Order { engine, dir: &dir, verb: "work", seed, times: TIMES, shim: &[] };
        live(bench, &plan.on(order), &mut Ledger::new(seed, false), Until::Itself);
        plan.seen().0
    };
    if counted == 0 {
        cell.left_out = Some("it makes no such call".to_owned());
        return Ok(cell);
    }
    cell.remark(&format!("{counted} such calls in a run without fault"));
    let rounds = bench.rounds(ROUNDS);
    let mut went_on = 0;
    for round in 0..rounds {
        progress(round, rounds);
        let dir = bench.fresh()?;
        let at = 1 + (round * counted / rounds + draw.below(counted.div_ceil(rounds))) % counted;
        let plan = Plan::new(&bench.root, &dir, kind, at, draw.below(1000))?;
        let order = Order { engine, dir: &dir, verb: "work", seed, times: TIMES, shim: &[] };
        let mut ledger = Ledger::new(seed, false);
        let life = live(bench, &plan.on(order), &mut ledger, Until::Itself);
        let met = plan.seen().1 > 0;
        let last = drain(bench, engine, &dir, seed, &mut ledger);
        cell.rounds += 1;
        cell.met += u64::from(met);
        went_on += u64::from(met && life.end == End::Finished && life.last_kept);
        cell.count_ends(&[&life, &last]);
        let said = life.complains(&usual) || last.complains(&usual);
        cell.judge(&ledger, &last, said, &format!("call {at}"));
    }
    cell.went_on = Some((went_on, cell.met));
    Ok(cell)
}
