//! Judges many strikes on several threads, with a progress line every ten seconds.

use millpond::{Clock, SystemClock};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Pause between two checks whether the work has ended.
const LOOK: Duration = Duration::from_millis(50);
const WORDS: Duration = Duration::from_secs(10);

/// The result of the strikes.
#[derive(Debug, Default)]
pub(super) struct Judged {
    /// Strikes that cost events.
    pub(super) costly: usize,
    /// Events that they cost.
    pub(super) lost: usize,
    /// Messages of misjudged strikes.
    pub(super) failures: Vec<String>,
}

/// Judges the strikes `0..count` on `threads` threads. Each makes a judge of its own, which returns how many events a
/// strike has cost, or what is wrong.
pub(super) fn judge_all<J>(
    count: usize,
    threads: usize,
    judge: impl Fn() -> J + Sync,
) -> (Judged, Duration)
where
    J: FnMut(usize) -> Result<usize, String>,
{
    let clock = SystemClock::new();
    let (next, judged) = (AtomicUsize::new(0), Mutex::new(Judged::default()));
    let all = || judged.lock().expect("a judge's panic is caught where it judges");
    let run = || {
        let mut judge = judge();
        loop {
            let at = next.fetch_add(1, Ordering::SeqCst);
            if at >= count {
                return;
            }
            match judge(at) {
                Ok(0) => {}
                Ok(events) => {
                    let mut all = all();
                    (all.costly, all.lost) = (all.costly + 1, all.lost + events);
                }
                Err(words) => {
                    println!("misjudged: {words}");
                    all().failures.push(words);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        let hands: Vec<_> = (0..threads).map(|_| scope.spawn(run)).collect();
        let mut due = WORDS;
        while !hands.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            std::thread::sleep(LOOK);
            if clock.now() >= due {
                due += WORDS;
                let (at, all) = (next.load(Ordering::SeqCst).min(count), all());
                let (took, wrong) = (clock.now().as_secs(), all.failures.len());
                println!(
                    "{took} s: {at} of {count} strikes, {} cost events, {wrong} misjudged",
                    all.costly
                );
            }
        }
    });
    let judged = judged.into_inner().expect("as above");
    (judged, clock.now())
}
