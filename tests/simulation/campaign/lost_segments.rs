//! Lives in which a segment file is removed, or truncated, under the running channel.
//!
//! docs/operations.md, "A disk is lost", states the cost: what was in the file and was not taken before the process
//! ends. What is committed after the channel had time to notice is safe, and what is lost is counted.

use crate::driver::{Driver, Stop, data_dir};
use crate::random::{step, verbose};
use crate::rot::quiescence::{FilesAtRest, Name, Range};
use crate::workload::{Dice, Op, Taste};
use millpond::internal::record::segment::SegmentHeader;
use millpond_sim::disk::{Nameless, SimDisk};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// File checks for which the channel is given time, each after a pause longer than the one between two checks: while a
/// write moves from one segment to the next nothing can be done, and another check finds the file.
const LOOKS: usize = 4;
const PAUSE_MS: u64 = 600;

/// What happened to the file.
enum Damage {
    Removed(PathBuf, Nameless),
    CutShort(PathBuf, u64),
}

/// Runs one life. With `closes` it ends with a clean stop.
pub(super) fn run_seed(
    driver: &mut Driver,
    taste: &Taste,
    dice: &mut Dice,
    closes: bool,
) -> Result<(), Stop> {
    driver.open()?;
    steps(driver, taste, dice, 60)?;
    if dice.wins(50) {
        step(driver, &Op::Settle)?;
    }
    let Some(damage) = inflict(driver, dice) else { return Ok(()) };
    // Reading a missing range fails.
    driver.calm = false;
    driver.oracle.remembers |= !driver.oracle.rotten;
    driver.oracle.rotten = true;
    steps(driver, taste, dice, 12)?;
    if !closes && dice.wins(20) {
        // Ended before it could notice: the content of the file may be recorded nowhere else.
        (driver.setup.sealed, driver.oracle.remembers) = (false, false);
        damage.report(driver);
        return Ok(());
    }
    for _ in 0..LOOKS {
        step(driver, &Op::Settle)?;
        step(driver, &Op::Advance { ms: PAUSE_MS })?;
        step(driver, &Op::Keep)?;
    }
    step(driver, &Op::Settle)?;
    damage.report(driver);
    steps(driver, taste, dice, 40)?;
    if closes {
        step(driver, &Op::Settle)?;
        step(driver, &Op::Close)?;
    }
    Ok(())
}

fn steps(driver: &mut Driver, taste: &Taste, dice: &mut Dice, max: u64) -> Result<(), Stop> {
    for _ in 0..dice.below(max) {
        step(driver, &taste.draw(dice))?;
        step(driver, &Op::Poll)?;
    }
    Ok(())
}

/// Removes or truncates a segment of some stripe that is in use, or was.
fn inflict(driver: &mut Driver, dice: &mut Dice) -> Option<Damage> {
    let dir = data_dir(dice.at() % driver.setup.stripes);
    let is_used = |file: &PathBuf| {
        let bytes = driver.disk.contents(file).unwrap_or_default();
        file.parent() == Some(&dir) && SegmentHeader::decode(&bytes).is_ok()
    };
    let files: Vec<PathBuf> = driver.disk.files().into_iter().filter(is_used).collect();
    let file = files.get(dice.at() % files.len().max(1))?.clone();
    let damage = if dice.wins(60) {
        let gone = driver.disk.take_away(&file).expect("listed");
        Damage::Removed(file, gone)
    } else {
        let pages = dice.below(driver.setup.segment_bytes / 4096);
        let len = pages * 4096 + dice.one(&[0, 0, 1, 4095]);
        // What is written from now on makes it longer again, and is kept.
        driver.oracle.hit.extend(cost(driver, driver.disk.kill(0), &file, len));
        driver.disk.cut_in_use(&file, len).expect("listed");
        Damage::CutShort(file, len)
    };
    if verbose() {
        match &damage {
            Damage::Removed(file, _) => eprintln!("removed: {}", file.display()),
            Damage::CutShort(file, len) => eprintln!("cut: {} to {len}", file.display()),
        }
    }
    Some(damage)
}

impl Damage {
    /// Notifies the oracle of the content of the file: it may be lost, but nothing that is put from now on.
    fn report(self, driver: &mut Driver) {
        let Self::Removed(file, gone) = self else { return };
        let bytes = driver.disk.contents_of(&gone);
        let disk = driver.disk.kill(0);
        disk.put_in_place(&file, Some(&bytes)).expect("a directory of the channel");
        driver.oracle.hit.extend(cost(driver, disk, &file, 0));
    }
}

/// Returns the events of a file on `disk` that are lost with the bytes from `len` on.
fn cost(driver: &Driver, disk: SimDisk, file: &Path, len: u64) -> BTreeSet<Name> {
    let hit = Range { file: file.to_owned(), start: len / 4096 * 4096, end: u64::MAX };
    FilesAtRest::read(driver.over(disk.clone()), disk).cost(&[hit])
}
