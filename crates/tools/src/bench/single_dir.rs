//! The gain of several directories: the fastest puts once more, in the first directory alone.

use super::measurement::Measurement;
use super::plan::Workload;
use super::report_row::median;
use serde::Serialize;

/// Both measurements of each round.
#[derive(Debug, Default)]
pub(super) struct SingleDirRuns {
    /// The workload measured: of puts, the fastest of the first round.
    chosen: Option<usize>,
    pairs: Vec<RunPair>,
}

#[derive(Clone, Copy, Debug)]
struct RunPair {
    together: f64,
    alone: f64,
}

/// The result.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct SingleDirRatio {
    /// The workload's name.
    pub workload: String,
    /// Events per second of all directories together, the median of the rounds.
    pub together_events_per_second: f64,
    /// Events per second of the first directory alone, the median of the rounds.
    pub events_per_second: f64,
    /// How many times as fast all were together, the median of the rounds' own.
    pub times: f64,
}

fn rate(run: &Measurement) -> f64 {
    run.put.events as f64 / run.seconds.max(1e-9)
}

impl SingleDirRuns {
    /// Returns which of the workloads is to be measured again; `None` where none has puts only.
    pub(super) fn choose(
        &mut self,
        workloads: &[Workload],
        runs: &[Vec<Measurement>],
    ) -> Option<usize> {
        if self.chosen.is_none() {
            let last = |at: &usize| runs[*at].last().map_or(0.0, rate);
            let puts = (0..workloads.len()).filter(|at| workloads[*at].takers == 0);
            self.chosen = puts.max_by(|a, b| last(a).total_cmp(&last(b)));
        }
        self.chosen
    }

    /// Adds the result of one round.
    pub(super) fn note(&mut self, together: &Measurement, alone: &Measurement) {
        self.pairs.push(RunPair { together: rate(together), alone: rate(alone) });
    }

    /// Returns the result, when something was measured.
    pub(super) fn found(&self, workloads: &[Workload]) -> Option<SingleDirRatio> {
        let workload = workloads[self.chosen?].name();
        let of = |value: fn(&RunPair) -> f64| median(self.pairs.iter().map(value));
        (!self.pairs.is_empty()).then(|| SingleDirRatio {
            workload,
            together_events_per_second: of(|pair| pair.together),
            events_per_second: of(|pair| pair.alone),
            times: of(|pair| pair.together / pair.alone.max(1e-9)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::latency::Latencies;
    use crate::bench::measurement::{EndReason, WorkloadSide};

    fn run(events: u64) -> Measurement {
        let side = |events| WorkloadSide { events, commits: Latencies::new() };
        Measurement {
            seconds: 2.0,
            put: side(events),
            taken: side(0),
            cpu_seconds: None,
            log_bytes: 0,
            log_writes: 0,
            device_bytes: None,
            over_time: Vec::new(),
            baseline: None,
            ended: EndReason::Time,
        }
    }

    fn workload(batch: usize, takers: usize) -> Workload {
        Workload { batch, producers: 1, takers }
    }

    #[test]
    fn the_fastest_puts_of_the_first_round_are_chosen_for_good() {
        let workloads = [workload(1, 0), workload(10, 0), workload(100, 2)];
        let mut alone = SingleDirRuns::default();
        let mut runs = vec![vec![run(10)], vec![run(20)], vec![run(90)]];
        assert_eq!(alone.choose(&workloads, &runs), Some(1), "one with takers is not a put");
        runs[0].push(run(99));
        assert_eq!(alone.choose(&workloads, &runs), Some(1), "rounds must be of the same");
        let takes = [workload(1, 1)];
        assert_eq!(SingleDirRuns::default().choose(&takes, &[vec![run(10)]]), None);
    }

    #[test]
    fn what_several_bring_is_the_median_of_the_rounds_own_ratios() {
        let workloads = [workload(10, 0)];
        let mut alone = SingleDirRuns::default();
        assert_eq!(alone.found(&workloads), None);
        alone.choose(&workloads, &[vec![run(10)]]);
        assert_eq!(alone.found(&workloads), None, "nothing was measured twice");
        // The medians of the sides, 300 and 100 per second, are of different rounds.
        for (together, first) in [(400, 400), (600, 100), (800, 200)] {
            alone.note(&run(together), &run(first));
        }
        let found = alone.found(&workloads).expect("it was measured");
        assert_eq!(found.workload, "put b10 x1");
        assert_eq!(found.together_events_per_second, 300.0);
        assert_eq!((found.events_per_second, found.times), (100.0, 4.0));
    }
}
