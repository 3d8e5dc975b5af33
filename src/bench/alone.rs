//! What several directories bring: the fastest puts once more, in the first directory alone.

use super::drive::Run;
use super::plan::Workload;
use super::report::median;
use serde::Serialize;

/// Both measurements of each round.
#[derive(Debug, Default)]
pub(super) struct Alone {
    /// What is measured so: the workload of puts that was the fastest of the first round.
    chosen: Option<usize>,
    pairs: Vec<Pair>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    together: f64,
    alone: f64,
}

/// What came out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct FirstDirectory {
    /// The workload's name.
    pub workload: String,
    /// Events per second of all directories together, the median of the rounds.
    pub together_events_per_second: f64,
    /// Events per second of the first directory alone, likewise.
    pub events_per_second: f64,
    /// How many times as fast all were together, the median of the rounds' own.
    pub times: f64,
}

fn rate(run: &Run) -> f64 {
    run.put.events as f64 / run.seconds.max(1e-9)
}

impl Alone {
    /// Which of the workloads is to be measured again; none where nobody only puts.
    pub(super) fn choose(&mut self, workloads: &[Workload], runs: &[Vec<Run>]) -> Option<usize> {
        if self.chosen.is_none() {
            let last = |at: &usize| runs[*at].last().map_or(0.0, rate);
            let puts = (0..workloads.len()).filter(|at| workloads[*at].takers == 0);
            self.chosen = puts.max_by(|a, b| last(a).total_cmp(&last(b)));
        }
        self.chosen
    }

    /// Notes what one round showed.
    pub(super) fn note(&mut self, together: &Run, alone: &Run) {
        self.pairs.push(Pair { together: rate(together), alone: rate(alone) });
    }

    /// What came out, when something was measured.
    pub(super) fn found(&self, workloads: &[Workload]) -> Option<FirstDirectory> {
        let workload = workloads[self.chosen?].name();
        let of = |value: fn(&Pair) -> f64| median(self.pairs.iter().map(value));
        (!self.pairs.is_empty()).then(|| FirstDirectory {
            workload,
            together_events_per_second: of(|pair| pair.together),
            events_per_second: of(|pair| pair.alone),
            times: of(|pair| pair.together / pair.alone.max(1e-9)),
        })
    }
}
