//! Threads that put into a channel in a loop, for programs that measure one on a modified disk.

use bytes::Bytes;
use millpond::{Channel, Event, FileChannel};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const BODY: [u8; 512] = [7; 512];

/// The result of the puts.
#[allow(dead_code, reason = "not every program wants the sum")]
pub(crate) struct Puts {
    pub(crate) events: u64,
    pub(crate) seconds: f64,
    /// Duration of each commit, ms, ascending.
    commits_ms: Vec<f64>,
}

#[allow(dead_code, reason = "not every program wants the sum")]
impl Puts {
    /// Returns thousand events per second.
    pub(crate) fn rate(&self) -> f64 {
        self.events as f64 / self.seconds / 1e3
    }

    /// Returns the time within which `percent` of the commits returned, ms.
    pub(crate) fn percentile_ms(&self, percent: usize) -> f64 {
        self.commits_ms.get(self.commits_ms.len() * percent / 100).copied().unwrap_or(0.0)
    }
}

/// Waits until `count` segments are ready.
pub(crate) fn ready(channel: &FileChannel, count: usize) {
    while channel.ready_segments() < count {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Puts `batch` events of 512 bytes per transaction on `threads` threads, for the given time.
#[allow(dead_code, reason = "not every program wants the sum")]
pub(crate) fn put(channel: &FileChannel, batch: usize, threads: usize, time: Duration) -> Puts {
    let began = Instant::now();
    let completions = completions(channel, batch, threads, time);
    let seconds = began.elapsed().as_secs_f64();
    let events = (completions.len() * batch) as u64;
    let mut commits_ms: Vec<f64> =
        completions.iter().map(|(_, took)| took.as_secs_f64() * 1e3).collect();
    commits_ms.sort_by(f64::total_cmp);
    Puts { events, seconds, commits_ms }
}

/// Like [`put`], but returns when each commit returned, since the beginning, and how long it took.
pub(crate) fn completions(
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
