//! Every stop of every short workload, every outcome of each, and every stop of the recoveries.
//!
//! A word is run on a channel that was created and closed before. The machine is stopped at every operation of its last
//! letter, and after it: the stops of earlier letters are those of shorter words. A letter without effect (no operation
//! on the disk, nothing visible to a user, nothing newly under way) makes its word equal to the one without it, so that
//! word is left out with all that begin with it.
//!
//! At each stop every subset of what is undecided is a power cut of its own, up to [`EACH_MAX`] undecided changes;
//! beyond that none, all, each alone, all but each, and some drawn subsets. Those that tear a device block are judged a
//! second time with a garbage sector. Kills are added.

use super::short_workloads::{LETTERS_MAX, Letter, Word};
use crate::counts::{Stopped, Tally};
use crate::driver::{Driver, Stop};
use crate::random::{drain, verbose};
use crate::workload::{Dice, Op, Setup};
use millpond_sim::disk::{Model, SimDisk};
use std::sync::{Mutex, OnceLock};

/// Number of undecided changes up to which every subset of them is tried.
const EACH_MAX: usize = 8;

/// Of more, this many are tried alone, and this many left out.
const ALONE_MAX: usize = 24;

/// Of more, this many subsets are drawn.
const DRAWN: usize = 16;

/// Outcomes of a stop within a recovery, in addition to none and all: fewer, as there are many such stops.
const DRAWN_RECOVERING: usize = 2;

/// One out of this many recoveries is stopped at each of its operations.
const RECOVERY_STRIDE: u64 = 5;

/// One out of this many recovered channels is used further: drained, filled and closed.
const AFTERLIFE_STRIDE: u64 = 31;

/// A channel on which words are run.
pub(super) struct Ground {
    setup: Setup,
    closed: Mutex<Driver>,
}

/// The observable state at a moment of a word.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    operations: u64,
    expectation: u64,
    under_way: (usize, usize, usize),
    deliveries: usize,
}

/// A word that was run.
struct Played {
    driver: Driver,
    marks: Vec<Mark>,
}

fn words_of(stop: Stop, what: &str) -> String {
    match stop {
        Stop::Crashed => format!("{what}: stopped unasked"),
        Stop::Violation(cause) => format!("{what}: {cause}"),
    }
}

/// Whether to try this. `MILLPOND_ONLY`, set to the words of a violation, selects one.
fn wanted(what: &str) -> bool {
    static ONLY: OnceLock<Option<String>> = OnceLock::new();
    let only = ONLY.get_or_init(|| std::env::var("MILLPOND_ONLY").ok());
    let wanted = only.as_ref().is_none_or(|only| only.starts_with(what) || what.starts_with(only));
    if only.is_some() && wanted && verbose() {
        eprintln!("==== {what}");
    }
    wanted
}

/// Returns which of `count` undecided changes are kept, in each outcome.
fn subsets(count: usize, drawn: usize, seed: u64) -> Vec<Vec<bool>> {
    if count <= EACH_MAX && drawn == DRAWN {
        let bits = |set: usize| (0..count).map(|at| set >> at & 1 == 1).collect();
        return (0..1 << count).map(bits).collect();
    }
    let mut all = vec![vec![false; count], vec![true; count]];
    let mut dice = Dice::new(seed);
    if drawn == DRAWN {
        let step = count.div_ceil(ALONE_MAX);
        for at in (0..count).step_by(step) {
            all.extend([false, true].map(|others| {
                (0..count).map(|other| (other == at) != others).collect::<Vec<bool>>()
            }));
        }
    }
    for _ in 0..drawn {
        let chance = dice.one(&[20, 50, 80]);
        all.push((0..count).map(|_| dice.wins(chance)).collect());
    }
    all
}

/// Returns the setup of a short life: a segment has room for a state record and two more device blocks, so four puts
/// roll twice.
fn setup(stripes: usize, model: Model) -> Setup {
    Setup {
        pending: true,
        segment_bytes: 20 * 1024,
        ..Setup::plain(stripes as u64, stripes, model)
    }
}

impl Ground {
    /// Returns a channel that was created and closed.
    pub(super) fn new(stripes: usize, model: Model) -> Result<Self, String> {
        let setup = setup(stripes, model);
        let mut driver = Driver::new(setup.clone());
        let closed = driver.open().and_then(|_| driver.step(&Op::Close));
        closed.map_err(|stop| words_of(stop, "creation"))?;
        Ok(Self { setup, closed: Mutex::new(driver) })
    }

    fn play(&self, word: &[Letter], crash_at: Option<u64>) -> Result<Played, String> {
        let mut driver = {
            let closed = self.closed.lock().expect("no thread panics while copying");
            closed.over(closed.disk.kill(0))
        };
        if let Some(at) = crash_at {
            driver.disk.crash_at(at);
        }
        let mut marks = vec![];
        let played = (|| {
            driver.open()?;
            marks.push(Mark::of(&driver));
            for letter in word {
                letter.done_to(&mut driver)?;
                marks.push(Mark::of(&driver));
            }
            Ok(())
        })();
        match played {
            Err(Stop::Violation(words)) => Err(format!("{word:?}: {words}")),
            _ => Ok(Played { driver, marks }),
        }
    }

    /// Tries all stops of a word's last letter, and then of the longer words that begin with it.
    pub(super) fn explore(
        &self,
        word: &Word,
        letters_max: usize,
        tally: &mut Tally,
    ) -> Result<(), String> {
        let what = || format!("{:?}, {} stripes, {word:?}", self.setup.model, self.setup.stripes);
        let longer_wanted = || wanted(what().trim_end_matches(']'));
        if !longer_wanted() {
            return Ok(());
        }
        let whole = self.play(word, None)?;
        if whole.marks.windows(2).any(|pair| pair[0] == pair[1]) {
            return Ok(());
        }
        tally.runs += 1;
        let last = whole.driver.disk.operations();
        let before = if word.is_empty() { 0 } else { whole.marks[word.len() - 1].operations };
        for at in before + 1..=last {
            if !wanted(&format!("{}, operation {at},", what())) {
                continue;
            }
            let stopped = self.play(word, Some(at))?;
            stop(stopped.driver, None, &format!("{}, operation {at}", what()), tally)?;
        }
        if wanted(&format!("{}, at the end", what())) {
            stop(whole.driver, None, &format!("{}, at the end", what()), tally)?;
        }
        if word.len() < letters_max.min(LETTERS_MAX) {
            for letter in Letter::ALL {
                let longer: Word = word.iter().copied().chain([letter]).collect();
                self.explore(&longer, letters_max, tally)?;
            }
        }
        Ok(())
    }
}

impl Mark {
    fn of(driver: &Driver) -> Self {
        Self {
            operations: driver.disk.operations(),
            expectation: driver.oracle.expectation(),
            under_way: driver.under_way(),
            deliveries: driver.oracle.deliveries(),
        }
    }
}

/// Tries all stops of the creation of a channel.
pub(super) fn explore_creation(
    stripes: usize,
    model: Model,
    tally: &mut Tally,
) -> Result<(), String> {
    let create = |crash_at: Option<u64>| {
        let mut driver = Driver::new(setup(stripes, model));
        if let Some(at) = crash_at {
            driver.disk.crash_at(at);
        }
        match driver.open() {
            Err(Stop::Violation(words)) => Err(format!("creation: {words}")),
            _ => Ok(driver),
        }
    };
    tally.runs += 1;
    let operations = create(None)?.disk.operations();
    for at in 1..=operations {
        let what = format!("{model:?}, creation of {stripes} stripes, operation {at}");
        stop(create(Some(at))?, Some(Stopped::Creating), &what, tally)?;
    }
    Ok(())
}

/// Judges every outcome of a machine that stops now.
fn stop(
    mut stopped: Driver,
    kind: Option<Stopped>,
    what: &str,
    tally: &mut Tally,
) -> Result<(), String> {
    let disk = stopped.disk.clone();
    let (seed, outcomes) = (disk.operations(), disk.outcomes());
    stopped.die();
    let expectation = stopped.oracle.expectation();
    if !tally.is_new_stop(outcomes.hash(), expectation) {
        return Ok(());
    }
    let mut judge = |image: SimDisk, how: Stopped, words: String| {
        if !wanted(&format!("{what}, {words}")) {
            return Ok(());
        }
        let hash = image.state_hash();
        if !tally.is_new(hash, expectation) {
            return Ok(());
        }
        tally.stopped(how);
        kind.into_iter().for_each(|kind| tally.stopped(kind));
        judge(&stopped, image, hash ^ expectation, &format!("{what}, {words}"), tally)
    };
    for left in subsets(outcomes.undecided(), DRAWN, seed) {
        judge(outcomes.leaving(seed, &left), Stopped::Power, told("left", &left))?;
        if let Some(image) = outcomes.damaged(seed, &left) {
            judge(image, Stopped::Power, told("damaged, left", &left))?;
        }
    }
    for seed in 0..2 {
        judge(disk.kill(seed), Stopped::Kill, format!("kill {seed}"))?;
    }
    Ok(())
}

fn told(word: &str, left: &[bool]) -> String {
    let bits: String = left.iter().map(|left| if *left { '1' } else { '0' }).collect();
    format!("{word} {bits}")
}

/// Opens an image and judges it; for some also every stop of the opening, or further use.
fn judge(
    before: &Driver,
    image: SimDisk,
    lot: u64,
    what: &str,
    tally: &mut Tally,
) -> Result<(), String> {
    let deeper = lot.is_multiple_of(RECOVERY_STRIDE);
    let copy = deeper.then(|| image.kill(0));
    let mut driver = before.over(image);
    tally.recoveries += 1;
    driver.open().map_err(|stop| words_of(stop, what))?;
    if let Some(copy) = copy {
        explore_recovery(before, &copy, driver.disk.operations(), what, tally)?;
    }
    if lot.is_multiple_of(AFTERLIFE_STRIDE) {
        driver.die();
        let mut again = driver.over(driver.disk.kill(1));
        drain(&mut again).map_err(|stop| words_of(stop, &format!("{what}, and on")))?;
    }
    Ok(())
}

/// Stops an opening at every operation, and judges the result.
fn explore_recovery(
    before: &Driver,
    disk: &SimDisk,
    operations: u64,
    what: &str,
    tally: &mut Tally,
) -> Result<(), String> {
    for at in 1..=operations {
        let what = format!("{what}, then operation {at}");
        if !wanted(&format!("{what},")) {
            continue;
        }
        let copy = disk.kill(0);
        copy.crash_at(at);
        let mut opening = before.over(copy.clone());
        if let Err(Stop::Violation(cause)) = opening.open() {
            return Err(format!("{what}: {cause}"));
        }
        opening.die();
        let expectation = opening.oracle.expectation();
        let outcomes = copy.outcomes();
        let left = subsets(outcomes.undecided(), DRAWN_RECOVERING, at);
        let powerless = left.iter().map(|left| {
            let image = outcomes.damaged(at, left);
            let image = image.unwrap_or_else(|| outcomes.leaving(at, left));
            (Stopped::Power, image, told("left", left))
        });
        let images = powerless.chain([(Stopped::Kill, copy.kill(at), "kill".to_owned())]);
        for (how, image, words) in images {
            let what = format!("{what}, {words}");
            if wanted(&what) && tally.is_new(image.state_hash(), expectation) {
                tally.stopped(how);
                tally.stopped(Stopped::Recovering);
                tally.recoveries += 1;
                let opened = opening.over(image).open();
                opened.map_err(|stop| words_of(stop, &what))?;
            }
        }
    }
    Ok(())
}
