//! Broken engines: each must be noticed, or a campaign would not notice an engine with the same bug.
//!
//! Most are disk mutations, on which the sound engine behaves like one that leaves out a sync or ignores an error. What
//! a disk mutation cannot imitate is broken in the code, in a build with `--cfg mutant`. docs/campaigns.md has the table,
//! which this run makes.

mod list;
mod table;

use crate::counts::Tally;
use crate::exhaustive;
use crate::random;
use crate::workload::Setup;
use crate::{edges, late_writes, missing_dirs, reads, rot};
use list::{Breaks, Campaign, HUNTS, Hunt};
use millpond_sim::disk::{DiskMutation, Model};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use table::Row;

/// One out of this many recoveries is itself stopped at every operation.
const STRIDE: u64 = 17;

/// Characters of the oracle's message kept in the table.
const WORDS_MAX: usize = 90;

thread_local! {
    static DISK: Cell<Option<DiskMutation>> = const { Cell::new(None) };
    static HUNTING: Cell<bool> = const { Cell::new(false) };
}

/// Returns the disk mutation of this thread's machines.
pub(crate) fn disk_mutation() -> Option<DiskMutation> {
    DISK.get()
}

/// Something broken for this thread as long as this value lives. Its panics are findings, and print nothing.
struct Breakage;

impl Breakage {
    fn of(breaks: Breaks) -> Self {
        static QUIET: Once = Once::new();
        QUIET.call_once(|| {
            let loud = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                if !HUNTING.get() {
                    loud(panic);
                }
            }));
        });
        HUNTING.set(true);
        match breaks {
            Breaks::Disk(mutation) => DISK.set(Some(mutation)),
            Breaks::Rule(name) => choose(Some(name)),
        }
        Self
    }
}

impl Drop for Breakage {
    fn drop(&mut self) {
        DISK.set(None);
        choose(None);
        HUNTING.set(false);
    }
}

#[cfg(mutant)]
fn choose(name: Option<&str>) {
    use millpond::internal::base::mutation::Mutation;
    let rule = |name| Mutation::ALL.into_iter().find(|rule| format!("{rule:?}") == name);
    Mutation::choose(name.map(|name| rule(name).expect("the list names rules of the engine")));
}

#[cfg(not(mutant))]
fn choose(_: Option<&str>) {}

/// Runs a campaign until something is wrong, or `states_max` crash states were met.
fn run(campaign: Campaign, states_max: usize, tally: &mut Tally) -> Option<String> {
    let quiet = |words: Result<(), String>| words.err();
    if campaign == Campaign::Scripts {
        for script in exhaustive::scripts() {
            for model in [Model::StrictPosix, Model::Journalling] {
                tally.runs += 1;
                let explored = || exhaustive::explore(&script, model, None, STRIDE, tally);
                if let Some(words) = quiet(caught(explored)) {
                    return Some(words);
                }
            }
            if tally.states() > states_max {
                return None;
            }
        }
        return None;
    }
    if campaign == Campaign::Edges {
        for edge in edges::ALL {
            tally.runs += 1;
            if let Some(words) = quiet(caught(edge)) {
                return Some(words);
            }
        }
        return None;
    }
    for seed in 1.. {
        tally.runs += 1;
        let found = caught(|| match campaign {
            Campaign::Scripts | Campaign::Edges => Ok(()),
            Campaign::Seeds => random::run(seed, None, tally),
            Campaign::Eager => random::run_with(seed, eager, tally),
            Campaign::Full => random::run_with(seed, crammed, tally),
            Campaign::Late => late_writes::run(seed, false, tally),
            Campaign::Hung => late_writes::run(seed, true, tally),
            Campaign::Reads => reads::run(seed, tally),
            Campaign::Away => missing_dirs::run_seed(seed, tally),
            Campaign::Rot => rot::campaign::run(seed, tally),
        });
        if found.is_err() {
            return quiet(found);
        }
        if tally.states() > states_max {
            return None;
        }
    }
    None
}

/// Turns a panic of the engine into a finding.
fn caught(run: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
        let words = panic.downcast_ref::<String>().cloned();
        let words = words.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("panic: {}", words.unwrap_or_default()))
    })
}

/// Makes sources that do not wait for commits.
fn eager(setup: Setup) -> Setup {
    Setup { eager_sources: true, ..setup }
}

/// Makes disks that fill up at once: acknowledgements and epochs are in checkpoint slots.
fn crammed(setup: Setup) -> Setup {
    Setup { crammed: true, minimum_required_space: 0, ..setup }
}

fn hunt(hunt: &Hunt) -> Result<Row, String> {
    let breakage = Breakage::of(hunt.breaks);
    let (mut tally, max) = (Tally::default(), hunt.campaign.states_max());
    let found = run(hunt.campaign, max, &mut tally);
    drop(breakage);
    let (name, campaign) = (hunt.name(), hunt.campaign);
    let (states, runs) = (tally.states(), tally.runs);
    match found {
        Some(words) if states <= max => {
            println!("{name}: {campaign:?}, {runs} runs, {states} crash states: {words}");
            let words = words.chars().take(WORDS_MAX).collect();
            Ok(Row { name, broken: hunt.broken, campaign, runs, states, words })
        }
        Some(words) => Err(format!("{name}: only after {states} crash states: {words}")),
        None => Err(format!("{name}: not noticed by {campaign:?} in {states} crash states")),
    }
}

/// Hunts the mutants that `which` selects; with `MILLPOND_MUTANT=name` only that mutant.
fn hunt_all(which: impl Fn(&Hunt) -> bool) -> Vec<Row> {
    let only = std::env::var("MILLPOND_MUTANT").unwrap_or_default();
    let (mut rows, mut missed) = (Vec::new(), Vec::new());
    for it in HUNTS.iter().filter(|it| which(it) && it.name().contains(&only)) {
        match hunt(it) {
            Ok(row) => rows.push(row),
            Err(words) => {
                println!("{words}");
                missed.push(words);
            }
        }
    }
    assert!(missed.is_empty(), "{missed:#?}");
    rows
}

#[test]
fn every_faulty_disk_is_found_out() {
    let rows = hunt_all(|it| matches!(it.breaks, Breaks::Disk(_)));
    table::write(&rows);
}

#[cfg(mutant)]
#[test]
fn every_broken_rule_is_found_out() {
    use millpond::internal::base::mutation::Mutation;
    let rules = Mutation::ALL.map(|rule| format!("{rule:?}"));
    let listed = HUNTS.iter().filter(|it| matches!(it.breaks, Breaks::Rule(_)));
    assert!(listed.map(Hunt::name).eq(rules), "the list has each rule of the engine, in order");
    let rows = hunt_all(|it| matches!(it.breaks, Breaks::Rule(_)));
    table::write(&rows);
}

#[test]
fn sources_that_do_not_wait_are_never_ahead_of_what_is_there() {
    let mut tally = Tally::default();
    let failures: Vec<String> =
        (1..=300).filter_map(|seed| random::run_with(seed, eager, &mut tally).err()).collect();
    println!("{tally}");
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn full_disks_lose_and_double_nothing() {
    let mut tally = Tally::default();
    let failures: Vec<String> =
        (1..=300).filter_map(|seed| random::run_with(seed, crammed, &mut tally).err()).collect();
    println!("{tally}");
    assert!(failures.is_empty(), "{failures:#?}");
}
