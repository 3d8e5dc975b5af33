//! A full disk: a file system of 96 MiB, of which 24 MiB come free later.
//!
//! A process puts until the engine refuses, then takes. In even rounds there is room again and the
//! same process puts. In odd rounds it is killed, the store is opened on the full disk, and then
//! there is room. At the end a sound process takes everything.

use super::{Cell, Fault, Progress, drain};
use crate::bench::Bench;
use crate::ledger::Ledger;
use crate::life::{End, Life, Order, Until, live};
use crate::volume::Volume;
use std::io;

const ROUNDS: u64 = 2;

pub(super) fn run(bench: &Bench, engine: &str, progress: &mut Progress<'_>) -> io::Result<Cell> {
    let rounds = bench.rounds(ROUNDS).max(2);
    let mut draw = bench.draw(engine, "full");
    let mut cell = Cell::new(engine, Fault::Full);
    let mut went_on = 0;
    for round in 0..rounds {
        progress(round, rounds);
        let volume = match Volume::mount(&bench.root) {
            Ok(volume) => volume,
            Err(why) => {
                cell.left_out = Some(format!("no small file system could be mounted: {why}"));
                return Ok(cell);
            }
        };
        let (dir, seed) = (volume.store(), draw.next() >> 16);
        let mut ledger = Ledger::new(seed, true);
        let order = Order { engine, dir: &dir, verb: "fill", seed, times: 0, shim: &[] };
        let stays = round % 2 == 0;
        let mut room = || stays && volume.give_room();
        let life = live(bench, &order, &mut ledger, Until::Phase("taken", &mut room));
        cell.rounds += 1;
        cell.met += u64::from(life.refused > 0 || matches!(life.end, End::Died(_)));
        if life.untaken > 0 {
            cell.remark("takes fail on the full disk");
        }
        went_on += u64::from(stays && life.end == End::Finished && life.last_kept);
        let mut lives = vec![&life];
        let reopened: Option<Life> = (!stays && life.end == End::Killed).then(|| {
            let order = Order { verb: "work", ..order };
            live(bench, &order, &mut ledger, Until::Itself)
        });
        if let Some(reopened) = &reopened {
            let can = if reopened.opened { "opens" } else { "does not open" };
            cell.remark(&format!("after a kill it {can} while the disk is full"));
            lives.push(reopened);
        }
        volume.give_room();
        let last = drain(bench, engine, &dir, seed, &mut ledger);
        lives.push(&last);
        cell.count_ends(&lives);
        // Refusals are expected on a full disk: only what the last process reports counts as reported.
        let said = !last.errors.is_empty() || last.end != End::Finished || last.damaged > 0;
        cell.judge(&ledger, &last, said, "after a full disk");
    }
    cell.went_on = Some((went_on, rounds.div_ceil(2)));
    Ok(cell)
}
