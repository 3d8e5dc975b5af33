//! The time line of one run: events per slice of time and how long each commit took, and its drawing.

mod draw;

pub(crate) use draw::{Legend, time_lines};

use std::time::Duration;

/// One point of a time line lasts so long.
pub(crate) const SLICE: Duration = Duration::from_millis(50);

/// One run of one side.
#[derive(Clone, Default)]
pub(crate) struct Line {
    /// Of each slice: events put, and the longest commit of a put that ended in it, milliseconds.
    pub(crate) slices: Vec<(f64, f64)>,
    /// How long each put took with its commit, milliseconds, ascending.
    pub(crate) commits: Vec<f64>,
    /// The longest time in which no put was answered, milliseconds.
    #[allow(dead_code, reason = "not every program prints it")]
    pub(crate) silence: f64,
    /// Thousand events put each second.
    pub(crate) rate: f64,
}

impl Line {
    /// Made of when each put of `batch` events was answered, since the beginning, and how long it took.
    pub(crate) fn new(mut answers: Vec<(Duration, Duration)>, batch: usize) -> Self {
        answers.sort_unstable();
        let end = answers.last().map_or(Duration::ZERO, |(at, _)| *at);
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let slots = (end.as_nanos() / SLICE.as_nanos()) as usize + 1;
        let mut slices = vec![(0.0, 0.0_f64); slots];
        let (mut silence, mut last) = (Duration::ZERO, Duration::ZERO);
        for (at, took) in &answers {
            let slice = &mut slices[(at.as_nanos() / SLICE.as_nanos()) as usize];
            slice.0 += batch as f64;
            slice.1 = slice.1.max(ms(*took));
            silence = silence.max(*at - last);
            last = *at;
        }
        let rate = (answers.len() * batch) as f64 / end.as_secs_f64() / 1e3;
        let mut commits: Vec<f64> = answers.iter().map(|(_, took)| ms(*took)).collect();
        commits.sort_by(f64::total_cmp);
        Self { slices, commits, silence: ms(silence), rate }
    }

    /// The time within which this share of the commits were answered, milliseconds.
    pub(crate) fn share(&self, share: f64) -> f64 {
        let at = (self.commits.len().saturating_sub(1) as f64 * share).round() as usize;
        self.commits.get(at).copied().unwrap_or(0.0)
    }
}
