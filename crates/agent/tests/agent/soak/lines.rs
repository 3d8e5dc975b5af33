//! Numbered lines on their way in, and their arrival.

use crate::kill::line;
use crate::process::{connect, lines_in, read_line};
use millpond_flow::base::files;
use std::io::Write;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Lines that are sent together.
const TOGETHER: u64 = 20;
/// Pause after them, except in a burst: about 800 lines a second.
const PAUSE: Duration = Duration::from_millis(25);

/// A set of numbers, a bit for each: a day's lines are some ten megabytes.
#[derive(Default)]
pub(super) struct Numbers {
    words: Vec<u64>,
    count: u64,
}

impl Numbers {
    fn place(n: u64) -> (usize, u64) {
        (usize::try_from(n / 64).expect("it fits in memory"), 1 << (n % 64))
    }

    /// Adds a number; returns false if it was there.
    fn insert(&mut self, n: u64) -> bool {
        let (at, bit) = Self::place(n);
        if at >= self.words.len() {
            self.words.resize(at + 1, 0);
        }
        let is_new = self.words[at] & bit == 0;
        self.words[at] |= bit;
        self.count += u64::from(is_new);
        is_new
    }

    pub(super) fn len(&self) -> u64 {
        self.count
    }

    pub(super) fn is_in(&self, all: &Self) -> bool {
        let there = |at: usize| all.words.get(at).copied().unwrap_or(0);
        self.words.iter().enumerate().all(|(at, word)| word & !there(at) == 0)
    }
}

/// The client that sends lines and counts the acknowledgements.
#[derive(Default)]
pub(super) struct Client {
    pub(super) stop: AtomicBool,
    /// Without pauses.
    pub(super) bursts: AtomicBool,
    /// Numbers from 0 that were sent, perhaps.
    pub(super) sent: AtomicU64,
    pub(super) answered: AtomicU64,
}

impl Client {
    pub(super) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Sends until stopped; returns what was acknowledged with OK. A line without a reply is not
    /// sent again.
    pub(super) fn run(&self, port: u16) -> Numbers {
        let mut acknowledged = Numbers::default();
        while !self.stopped() {
            let Some((mut reader, mut writer)) = connect(port) else {
                std::thread::sleep(PAUSE);
                continue;
            };
            while !self.stopped() {
                let first = self.sent.fetch_add(TOGETHER, Ordering::SeqCst);
                let numbers = first..first + TOGETHER;
                let text: String = numbers.clone().map(|n| line(n) + "\n").collect();
                let sent = writer.write_all(text.as_bytes()).is_ok();
                let heard = sent
                    && numbers.into_iter().all(|n| match read_line(&mut reader) {
                        Some(answer) => {
                            if answer == "OK" {
                                acknowledged.insert(n);
                                self.answered.fetch_add(1, Ordering::SeqCst);
                            }
                            true
                        }
                        None => false,
                    });
                if !heard {
                    break;
                }
                if !self.bursts.load(Ordering::SeqCst) {
                    std::thread::sleep(PAUSE);
                }
            }
        }
        acknowledged
    }
}

/// The files that lines come out into. Files that were checked are removed.
pub(super) struct Outlet {
    out: PathBuf,
    aside: PathBuf,
    pub(super) seen: Numbers,
    pub(super) repeats: u64,
}

impl Outlet {
    pub(super) fn new(place: PathBuf) -> Self {
        let aside = place.join("aside");
        std::fs::create_dir_all(&aside).expect("a directory");
        Self { out: place.join("out"), aside, seen: Numbers::default(), repeats: 0 }
    }

    /// Checks all files but the `newest`, into which the sink may still write.
    pub(super) fn sweep(&mut self, sent: u64, newest: usize) {
        let mut names = self.names();
        names.truncate(names.len().saturating_sub(newest));
        self.look_at(&names, sent);
    }

    /// Oldest first: a name is a time, a dash and a number.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(&self.out).expect("listed");
        let names = entries.map(|e| e.expect("an entry").file_name().into_string().expect("text"));
        let mut names: Vec<String> = names.collect();
        let numbers = |name: &String| -> Vec<u64> {
            name.split('-').filter_map(|number| number.parse().ok()).collect()
        };
        names.sort_by_key(numbers);
        names
    }

    fn look_at(&mut self, names: &[String], sent: u64) {
        for name in names {
            let aside = self.aside.join(name);
            files::rename_new(&self.out.join(name), &aside).expect("moved");
        }
        for came_out in lines_in(&self.aside) {
            let text = std::str::from_utf8(&came_out).expect("lines are ASCII");
            let n = text.split(':').next().and_then(|n| n.parse().ok()).filter(|n| *n < sent);
            let n: u64 = n.unwrap_or_else(|| panic!("never sent: {text:?}"));
            assert_eq!(text, line(n), "line {n} was altered");
            self.repeats += u64::from(!self.seen.insert(n));
        }
        for name in names {
            std::fs::remove_file(self.aside.join(name)).expect("removed");
        }
    }
}
