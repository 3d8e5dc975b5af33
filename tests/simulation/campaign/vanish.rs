//! Lives in which a segment file goes, or is cut short, under the running channel.
//!
//! docs/operations.md, "A disk is lost", says what that costs: what was in the file and was not taken
//! before the process ends. What is answered once the channel had the time to notice is safe, and what
//! is lost is counted.

use crate::driver::{Driver, Stop, data_dir};
use crate::random::{step, verbose};
use crate::rot::still::{Name, Range, Still};
use crate::workload::{Dice, Op, Taste};
use millpond::disk::sim::{Nameless, SimDisk};
use millpond::record::segment::SegmentHeader;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Looks at its files for which the channel is given the time, each with a pause before it that is
/// longer than the one between two looks: while a write goes from one segment to the next there is
/// nothing to be done, and another look finds the file.
const LOOKS: usize = 4;
const PAUSE_MS: u64 = 600;

/// What befell the file.
enum Befallen {
    Removed(PathBuf, Nameless),
    CutShort(PathBuf, u64),
}

/// Lives one. With `closes` it ends in order.
pub(super) fn live(
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
    let Some(befallen) = befall(driver, dice) else { return Ok(()) };
    // Reading what is not there fails.
    driver.calm = false;
    driver.oracle.remembers |= !driver.oracle.rotten;
    driver.oracle.rotten = true;
    steps(driver, taste, dice, 12)?;
    if !closes && dice.wins(20) {
        // Ended before it could notice: what was in the file may be known to nobody else.
        (driver.setup.sealed, driver.oracle.remembers) = (false, false);
        befallen.tell(driver);
        return Ok(());
    }
    for _ in 0..LOOKS {
        step(driver, &Op::Settle)?;
        step(driver, &Op::Advance { ms: PAUSE_MS })?;
        step(driver, &Op::Keep)?;
    }
    step(driver, &Op::Settle)?;
    befallen.tell(driver);
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

/// A segment of some stripe that is in use, or was, is removed or cut short.
fn befall(driver: &mut Driver, dice: &mut Dice) -> Option<Befallen> {
    let dir = data_dir(dice.at() % driver.setup.stripes);
    let is_used = |file: &PathBuf| {
        let bytes = driver.disk.contents(file).unwrap_or_default();
        file.parent() == Some(&dir) && SegmentHeader::decode(&bytes).is_ok()
    };
    let files: Vec<PathBuf> = driver.disk.files().into_iter().filter(is_used).collect();
    let file = files.get(dice.at() % files.len().max(1))?.clone();
    let befallen = if dice.wins(60) {
        let gone = driver.disk.take_away(&file).expect("listed");
        Befallen::Removed(file, gone)
    } else {
        let pages = dice.below(driver.setup.segment_bytes / 4096);
        let len = pages * 4096 + dice.one(&[0, 0, 1, 4095]);
        // What is written from now on makes it longer again, and is there.
        driver.oracle.hit.extend(cost(driver, driver.disk.kill(0), &file, len));
        driver.disk.cut_in_use(&file, len).expect("listed");
        Befallen::CutShort(file, len)
    };
    if verbose() {
        match &befallen {
            Befallen::Removed(file, _) => eprintln!("removed: {}", file.display()),
            Befallen::CutShort(file, len) => eprintln!("cut: {} to {len}", file.display()),
        }
    }
    Some(befallen)
}

impl Befallen {
    /// Tells the oracle what was in the file: that may be lost, and nothing that is put from now on.
    fn tell(self, driver: &mut Driver) {
        let Self::Removed(file, gone) = self else { return };
        let bytes = driver.disk.contents_of(&gone);
        let disk = driver.disk.kill(0);
        disk.put_in_place(&file, Some(&bytes)).expect("a directory of the channel");
        driver.oracle.hit.extend(cost(driver, disk, &file, 0));
    }
}

/// Events of a file on `disk` that are lost with what stands behind byte `len`.
fn cost(driver: &Driver, disk: SimDisk, file: &Path, len: u64) -> BTreeSet<Name> {
    let hit = Range { file: file.to_owned(), start: len / 4096 * 4096, end: u64::MAX };
    Still::read(driver.over(disk.clone()), disk).cost(&[hit])
}
