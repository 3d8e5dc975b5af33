//! The campaign: the whole engine through a million different crash states, in one command.
//!
//! `MILLPOND_STATES` sets how many crash states must be met; without it a small part runs. Short workloads are tried
//! exhaustively ([`stops`]); then long lives from seeds ([`runs`]) run until the number is reached. docs/testing.md
//! has the command, docs/campaigns.md its output.

mod damage;
mod lost_segments;
mod report;
mod runs;
mod short_workloads;
mod stops;

use crate::counts::Tally;
use crate::coverage::{self, Met};
use crate::random::number;
use millpond_sim::disk::Model;
use report::{Progress, Report};
use runs::Kind;
use short_workloads::{LETTERS_MAX, Word, words as all_words};
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use stops::Ground;

/// Threads: one for each core, at most this many.
const THREADS_MAX: usize = 64;

/// Violations that are reported; more of the same are of no use.
const FAILURES_MAX: usize = 20;

/// Length in letters of the words by which the threads divide the work.
const ROOT_LETTERS: usize = 2;

/// Seeds of long lives, of each kind, in the whole campaign at least, and in the small part.
const SEEDS_MIN: u64 = 4000;
const SEEDS_SMALL: u64 = 60;

/// A part of the work that is tried exhaustively.
enum Root {
    Creation { stripes: usize, model: Model },
    Word { ground: usize, word: Word, letters_max: usize },
}

/// The state shared by the threads.
struct Work {
    grounds: Vec<Ground>,
    roots: Vec<Root>,
    next_root: AtomicUsize,
    first_seed: u64,
    next_seed: AtomicU64,
    seeds_min: u64,
    states_min: usize,
    ended: AtomicBool,
    failures: Mutex<Vec<String>>,
}

impl Work {
    fn new(states: Option<u64>) -> Self {
        let mut grounds = Vec::new();
        let mut roots = Vec::new();
        let fresh = RandomState::new().hash_one(0u8) % 1_000_000_000;
        let first_seed = number("MILLPOND_SIM_FIRST").unwrap_or(match states {
            Some(_) => 1,
            None => fresh,
        });
        for model in [Model::StrictPosix, Model::Journalling] {
            for stripes in [1, 2] {
                roots.push(Root::Creation { stripes, model });
                let ground = grounds.len();
                grounds.push(Ground::new(stripes, model).expect("creation on a sound disk"));
                for letters in 0..=ROOT_LETTERS {
                    let max = if letters < ROOT_LETTERS { letters } else { LETTERS_MAX };
                    let root = |word| Root::Word { ground, word, letters_max: max };
                    roots.extend(all_words(letters).into_iter().map(root));
                }
            }
        }
        let only = std::env::var_os("MILLPOND_ONLY").is_some();
        if states.is_none() && !only {
            roots = a_part(roots, fresh);
        }
        let per_kind = match states {
            _ if only => 0,
            Some(_) => SEEDS_MIN,
            None => SEEDS_SMALL,
        };
        Self {
            grounds,
            roots,
            next_root: AtomicUsize::new(0),
            first_seed,
            next_seed: AtomicU64::new(0),
            seeds_min: per_kind * Kind::ALL.len() as u64,
            states_min: usize::try_from(states.unwrap_or(0)).expect("it fits into memory"),
            ended: AtomicBool::new(false),
            failures: Mutex::default(),
        }
    }

    /// Runs one thread: roots as long as there are any, then seeds until the number is reached.
    fn run(&self, tally: &mut Tally) -> Met {
        coverage::start_recording();
        while let Some(root) = self.roots.get(self.next_root.fetch_add(1, Ordering::SeqCst)) {
            self.judge(|| self.explore(root, tally));
        }
        tally.judge_other_outcomes();
        while !self.is_enough(tally) {
            let at = self.next_seed.fetch_add(1, Ordering::SeqCst);
            let kind = Kind::ALL[(at % Kind::ALL.len() as u64) as usize];
            let seed = self.first_seed + at / Kind::ALL.len() as u64;
            self.judge(|| runs::run_seed(kind, seed, tally));
        }
        coverage::take_met()
    }

    fn explore(&self, root: &Root, tally: &mut Tally) -> Result<(), String> {
        match root {
            Root::Creation { stripes, model } => stops::explore_creation(*stripes, *model, tally),
            Root::Word { ground, word, letters_max } => {
                self.grounds[*ground].explore(word, *letters_max, tally)
            }
        }
    }

    fn judge(&self, run: impl FnOnce() -> Result<(), String>) {
        let words = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => return,
            Ok(Err(words)) => words,
            Err(panic) => {
                let words = panic.downcast_ref::<String>().cloned();
                let words = words.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
                format!("panic: {}", words.unwrap_or_default())
            }
        };
        eprintln!("\nviolation: {words}");
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).push(words);
    }

    fn failures(&self) -> Vec<String> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn is_enough(&self, tally: &Tally) -> bool {
        let seeds = self.next_seed.load(Ordering::SeqCst);
        let whole = seeds >= self.seeds_min && tally.states() >= self.states_min;
        whole || self.failures().len() >= FAILURES_MAX
    }
}

/// Selects the roots of a normal run: short words, and a few others with their extensions.
fn a_part(roots: Vec<Root>, lot: u64) -> Vec<Root> {
    let keep = |(at, root): (usize, Root)| match root {
        Root::Word { word, letters_max, ground } if letters_max == LETTERS_MAX => {
            let drawn = at as u64 % 101 == lot % 101;
            let letters_max = if drawn { LETTERS_MAX - 1 } else { ROOT_LETTERS };
            (drawn || at % 4 == 0).then_some(Root::Word { word, letters_max, ground })
        }
        Root::Creation { stripes, .. } if stripes > 1 => None,
        root => Some(root),
    };
    roots.into_iter().enumerate().filter_map(keep).collect()
}

#[test]
fn a_million_crash_states_leave_a_sound_channel() {
    let states = number("MILLPOND_STATES");
    // Pages as they are used, not two megabytes of zeroes for each opening.
    let _ = rustix::thread::disable_transparent_huge_pages(true);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = number("MILLPOND_THREADS").map_or(cores, |n| n as usize).clamp(1, THREADS_MAX);
    let work = Work::new(states);
    let mut tally = Tally::default();
    let mut met = Met::default();
    let progress = Progress::new(&work, tally.for_thread());
    let (ended, took) = std::thread::scope(|scope| {
        let run = || {
            let mut own = tally.for_thread();
            let heard = work.run(&mut own);
            (own, heard)
        };
        let started: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let progress = scope.spawn(|| progress.run(states.is_some()));
        let ended: Vec<_> = started
            .into_iter()
            .map(|thread| thread.join().expect("what panics in a life is caught there"))
            .collect();
        work.ended.store(true, Ordering::SeqCst);
        (ended, progress.join().expect("it only prints"))
    });
    for (own, heard) in &ended {
        tally.add(own);
        met.add(heard);
    }
    let report = Report { tally: &tally, met: &met, took, threads };
    println!("{report}");
    let failures = work.failures();
    let shown = &failures[..failures.len().min(FAILURES_MAX)];
    assert!(
        failures.is_empty(),
        "first seed {}, {} violations: {shown:#?}",
        work.first_seed,
        failures.len()
    );
    if std::env::var_os("MILLPOND_ONLY").is_none() {
        report.check(states.is_some());
    }
}
