//! The process that is killed: opens one store and works with it, writing to stdout what it is about to do and what the
//! engine returned. The Java driver writes the same lines.
//!
//! | line | means |
//! |---|---|
//! | `open` | the store is open |
//! | `put A B` | events A to B - 1 are about to be put, in one transaction |
//! | `kept` | that commit succeeded |
//! | `not WORDS` | or failed |
//! | `got N LEN HASH` | a take delivered an event with the number N |
//! | `taken` | that take's commit succeeded |
//! | `untaken WORDS` | or the take failed |
//! | `phase WORD` | the disk is full; what can be taken was |
//! | `damaged N` | the engine counts N events as damaged |
//! | `fails WORDS` | opening or closing failed |
//! | `closed` | a clean end |

use crate::draw::{Draw, body, claimed, hash};
use crate::engines;
use std::fmt::Display;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use stores::{Bytes, Store};

/// Most events of a put.
pub(crate) const PUT_MOST: u64 = 8;
/// Most events of a take.
pub(crate) const TAKE_MOST: u64 = 12;
/// Events of each take of a drain.
const DRAIN: usize = 32;
/// Most bytes of a body.
pub(crate) const BODY_MOST: u64 = 600;
/// Most bytes of a body while a disk is filled.
pub(crate) const FILL_BODY_MOST: u64 = 4096;
/// Events of each put while a disk is filled.
pub(crate) const FILL: u64 = 32;
/// Consecutive failed calls after which work or a drain is given up.
const PATIENCE: u32 = 5;
/// Most puts until a disk has to be full.
const FILL_PUTS: u32 = 20_000;
/// Puts, four per second, until one must succeed again: some engines check the free space only every 15 s.
const ROOM_TRIES: u32 = 80;
/// Exit code when the store could not be opened.
pub(crate) const NOT_OPEN: u8 = 3;

/// What a worker is started for.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Task {
    /// Engine of the store
    pub(crate) engine: String,
    /// Its directory
    pub(crate) dir: std::path::PathBuf,
    /// `work` N times, `fill` the disk, or `drain`
    pub(crate) verb: String,
    /// Seed of all bodies
    pub(crate) seed: u64,
    /// Number of the next event
    pub(crate) first: u64,
    /// Maximum number of transactions
    pub(crate) times: u64,
}

fn say(line: impl Display) {
    // One write for each line: what was written before a kill is whole.
    let mut out = io::stdout().lock();
    if out.write_all(format!("{line}\n").as_bytes()).and_then(|()| out.flush()).is_err() {
        // The reader is gone: to continue would fill the disk for nothing.
        std::process::exit(1);
    }
}

fn words(error: &dyn Display) -> String {
    error.to_string().replace(['\n', '\r'], " ")
}

pub(crate) fn run(task: &Task) -> ExitCode {
    let store = match engines::open(&task.engine, Path::new(&task.dir)) {
        Ok(store) => store,
        Err(error) => {
            say(format_args!("fails {}", words(&error)));
            return ExitCode::from(NOT_OPEN);
        }
    };
    say("open");
    let mut work = Work { store: store.as_ref(), seed: task.seed, next: task.first };
    match task.verb.as_str() {
        "work" => work.work(task.times),
        "fill" => work.fill(),
        _ => work.drain(),
    }
    if store.damaged() > 0 {
        say(format_args!("damaged {}", store.damaged()));
    }
    match store.close() {
        Ok(()) => say("closed"),
        Err(error) => say(format_args!("fails {}", words(&error))),
    }
    ExitCode::SUCCESS
}

struct Work<'a> {
    store: &'a dyn Store,
    seed: u64,
    next: u64,
}

impl Work<'_> {
    fn put(&mut self, count: u64, largest: u64) -> bool {
        let end = self.next + count;
        let bodies: Vec<_> =
            (self.next..end).map(|n| Bytes::from(body(self.seed, n, largest))).collect();
        say(format_args!("put {} {end}", self.next));
        self.next = end;
        match self.store.put(0, &bodies) {
            Ok(()) => say("kept"),
            Err(error) => {
                say(format_args!("not {}", words(&error)));
                return false;
            }
        }
        true
    }

    /// `None`: the take failed.
    fn take(&mut self, most: usize) -> Option<usize> {
        let mut deliver = |body: &[u8]| {
            let number = claimed(body).map_or_else(|| "?".to_owned(), |n| n.to_string());
            say(format_args!("got {number} {} {:x}", body.len(), hash(body)));
        };
        match self.store.take(0, most, &mut deliver) {
            Ok(taken) => {
                say("taken");
                Some(taken)
            }
            Err(error) => {
                say(format_args!("untaken {}", words(&error)));
                None
            }
        }
    }

    /// Puts, with a take after every third.
    fn work(&mut self, times: u64) {
        let mut draw = Draw::of(self.seed ^ self.next, "work");
        let mut failures = 0;
        for _ in 0..times {
            let kept = self.put(1 + draw.below(PUT_MOST), BODY_MOST);
            let most = 1 + draw.below(TAKE_MOST) as usize;
            let taken = draw.below(3) != 0 || self.take(most).is_some();
            failures = if kept && taken { 0 } else { failures + 1 };
            if failures == PATIENCE {
                return;
            }
        }
    }

    /// Puts until the disk is full, takes a part, waits for the notification that there is room, puts again.
    fn fill(&mut self) {
        let mut failures = 0;
        for _ in 0..FILL_PUTS {
            failures = if self.put(FILL, FILL_BODY_MOST) { 0 } else { failures + 1 };
            if failures == PATIENCE {
                break;
            }
        }
        say("phase full");
        for _ in 0..20 {
            if self.take(DRAIN).is_none() {
                break;
            }
        }
        say("phase taken");
        let _ = io::stdin().lock().read_line(&mut String::new());
        for _ in 0..ROOM_TRIES {
            if self.put(FILL, FILL_BODY_MOST) {
                return;
            }
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// Takes until nothing is left.
    fn drain(&mut self) {
        let mut failures = 0;
        while failures < PATIENCE {
            match self.take(DRAIN) {
                Some(0) => return,
                Some(_) => failures = 0,
                None => failures += 1,
            }
        }
    }
}
