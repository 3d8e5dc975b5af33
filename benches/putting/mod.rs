//! Threads that put into a channel in a loop, for the programs that measure one behind a door of their own.

use bytes::Bytes;
use millpond::channel::Channel;
use millpond::channel::file::FileChannel;
use millpond::event::Event;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BODY: [u8; 512] = [7; 512];

/// What they came to.
#[allow(dead_code, reason = "not every program wants the sum")]
pub(crate) struct Puts {
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    /// How long each commit took, ms, ascending.
    commits_ms: Vec<f64>,
}

#[allow(dead_code, reason = "not every program wants the sum")]
impl Puts {
    /// Thousand events a second.
    pub(crate) fn rate(&self) -> f64 {
        self.events as f64 / self.seconds / 1e3
    }

    /// The time within which `percent` of the commits were answered, ms.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        self.commits_ms.get(self.commits_ms.len() * percent / 100).copied().unwrap_or(0.0)
    }
}

/// Waits until `count` segments lie ready.
pub(crate) fn ready(channel: &FileChannel, count: usize) {
    while channel.ready_segments() < count {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// `threads` put `batch` events of 512 bytes in each transaction, for so long.
#[allow(dead_code, reason = "not every program wants the sum")]
pub(crate) fn put(channel: &FileChannel, batch: usize, threads: usize, time: Duration) -> Puts {
    let began = Instant::now();
    let answers = answers(channel, batch, threads, time);
    let seconds = began.elapsed().as_secs_f64();
    let events = (answers.len() * batch) as u64;
    let mut commits_ms: Vec<f64> =
        answers.iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect();
    commits_ms.sort_by(f64::total_cmp);
    Puts { events, seconds, commits_ms }
}

/// The same: when each commit was answered, since the beginning, and how long it took.
pub(crate) fn answers(
    channel: &FileChannel,
    batch: usize,
    threads: usize,
    time: Duration,
) -> Vec<(Duration, Duration)> {
    let stop = AtomicBool::new(false);
    let all = Mutex::new(Vec::new());
    let began = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut mine = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let before = began.elapsed();
                    let mut tx = channel.begin_put();
                    for _ in 0..batch {
                        tx.put(Event::new(Bytes::from_static(&BODY))).unwrap();
                    }
                    tx.commit().unwrap();
                    let after = began.elapsed();
                    mine.push((after, after - before));
                }
                all.lock().unwrap().extend(mine);
            });
        }
        std::thread::sleep(time);
        stop.store(true, Ordering::Relaxed);
    });
    all.into_inner().unwrap()
}
