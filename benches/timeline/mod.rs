//! The time line of one run: events per slice of time and the duration of each commit, and its drawing.

mod draw;
#[allow(dead_code, unreachable_pub, unused_imports, reason = "a folder of the agent")]
#[path = "../../crates/observe/src/svg/mod.rs"]
mod svg;

pub(crate) use draw::{Legend, time_lines};

use std::time::Duration;

/// Duration of one point of a time line.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// One run of one side.
#[derive(Clone, Default)]
pub(crate) struct Line {
    /// Per slice: events put, and the longest commit of a put that ended in it, milliseconds.
    pub(crate) slices: Vec<(f64, f64)>,
    /// Duration of each put with its commit, milliseconds, ascending.
    pub(crate) commits: Vec<f64>,
    /// The longest time in which no put returned, milliseconds.
    #[allow(dead_code, reason = "not every program prints it")]
    pub(crate) silence: f64,
    /// Thousand events put each second.
    pub(crate) rate: f64,
}

impl Line {
    /// Returns the time line from when each put of `batch` events returned, since the beginning, and how long it took.
    pub(crate) fn new(mut completions: Vec<(Duration, Duration)>, batch: usize) -> Self {
        completions.sort_unstable();
        let end = completions.last().map_or(Duration::ZERO, |(at, _)| *at);
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let slots = (end.as_nanos() / SLICE.as_nanos()) as usize + 1;
        let mut slices = vec![(0.0, 0.0_f64); slots];
        let (mut silence, mut last) = (Duration::ZERO, Duration::ZERO);
        for (at, took) in &completions {
            let slice = &mut slices[(at.as_nanos() / SLICE.as_nanos()) as usize];
            slice.0 += batch as f64;
            slice.1 = slice.1.max(ms(*took));
            silence = silence.max(*at - last);
            last = *at;
        }
        let rate = (completions.len() * batch) as f64 / end.as_secs_f64() / 1e3;
        let mut commits: Vec<f64> = completions.iter().map(|(_, took)| ms(*took)).collect();
        commits.sort_by(f64::total_cmp);
        Self { slices, commits, silence: ms(silence), rate }
    }

    /// Returns the time within which this share of the commits returned, milliseconds.
    pub(crate) fn share(&self, share: f64) -> f64 {
        let at = (self.commits.len().saturating_sub(1) as f64 * share).round() as usize;
        self.commits.get(at).copied().unwrap_or(0.0)
    }
}
