//! The report of a run: a table for people, JSON for programs.

use super::advice;
use super::device::DirectorySpeed;
use super::latency::Latencies;
use super::measurement::{EndReason, Measurement, ThroughputSample, WorkloadSide};
use super::plan::{BenchOptions, BenchPlan, Workload};
use super::report_row::{ReportRow, ReportSide, median, with_separators};
use super::single_dir::{SingleDirRatio, SingleDirRuns};
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

/// The machine of the measurement.
#[derive(Debug, Serialize)]
pub(super) struct MachineDescription {
    /// The directories that were named.
    pub data_dirs: Vec<PathBuf>,
    /// Whether each is written past the page cache.
    pub direct: Vec<bool>,
    /// The number of their file systems.
    pub file_systems: usize,
}

/// The results.
#[derive(Debug)]
pub struct BenchReport {
    place: MachineDescription,
    body_bytes: usize,
    seconds: f64,
    rounds: u64,
    segment_bytes: u64,
    /// Events that the channel may hold, where that was configured.
    capacity: Option<u64>,
    pub(super) workloads: Vec<Workload>,
    /// Every measurement of every directory.
    pub(super) devices: Vec<Vec<DirectorySpeed>>,
    /// Every measurement of every workload.
    pub(super) runs: Vec<Vec<Measurement>>,
    /// The results of the first of several directories alone.
    pub(super) alone: SingleDirRuns,
    pub(super) interrupted: bool,
    pub(super) rows: Vec<ReportRow>,
    device: Vec<DirectorySpeed>,
    first_directory: Option<SingleDirRatio>,
    advice: Vec<String>,
}

impl BenchReport {
    pub(super) fn new(options: &BenchOptions, plan: &BenchPlan, place: MachineDescription) -> Self {
        Self {
            place,
            body_bytes: options.body_bytes,
            seconds: options.time.as_secs_f64(),
            rounds: options.rounds,
            segment_bytes: plan.segment_bytes,
            capacity: options.capacity_is_set.then_some(options.channel.capacity),
            runs: plan.workloads.iter().map(|_| Vec::new()).collect(),
            workloads: plan.workloads.clone(),
            devices: Vec::new(),
            alone: SingleDirRuns::default(),
            interrupted: false,
            rows: Vec::new(),
            device: Vec::new(),
            first_directory: None,
            advice: Vec::new(),
        }
    }

    /// Returns whether it was ended before everything was measured.
    #[must_use]
    pub fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Derives rows and advice from the measurements.
    pub(super) fn conclude(&mut self) {
        self.device = (0..self.place.data_dirs.len()).map(|at| self.median_device(at)).collect();
        let mut rows = Vec::new();
        for (workload, runs) in self.workloads.iter().zip(&self.runs) {
            if runs.is_empty() {
                continue;
            }
            if workload.producers > 0 {
                rows.push(self.row(workload, ReportSide::Put, runs));
            }
            if workload.takers > 0 {
                rows.push(self.row(workload, ReportSide::Take, runs));
            }
        }
        self.rows = rows;
        self.first_directory = self.alone.found(&self.workloads);
        self.advice = advice::of(&self.findings());
    }

    fn findings(&self) -> advice::AdviceInput<'_> {
        advice::AdviceInput {
            rows: &self.rows,
            device: &self.device,
            file_systems: self.place.file_systems,
            first_directory: self.first_directory.clone(),
            direct: self.place.direct.iter().all(|direct| *direct),
            body_bytes: self.body_bytes,
            capacity: self.capacity,
            interrupted: self.interrupted,
        }
    }

    fn median_device(&self, at: usize) -> DirectorySpeed {
        let of = |value: fn(&DirectorySpeed) -> f64| {
            median(self.devices.iter().filter_map(|all| all.get(at)).map(value))
        };
        DirectorySpeed {
            small_writes_per_second: of(|d| d.small_writes_per_second),
            large_mb_per_second: of(|d| d.large_mb_per_second),
        }
    }

    /// Returns the events per second that no durable queue on these devices can exceed: a thread
    /// waits for at least one small write per commit, and every byte put is written to the devices.
    fn limit(&self, workload: &Workload, what: ReportSide) -> f64 {
        let device = super::device::together(&self.device);
        let threads = if what == ReportSide::Put { workload.producers } else { workload.takers };
        let by_commits = device.small_writes_per_second * (threads * workload.batch) as f64;
        match what {
            ReportSide::Put => {
                by_commits.min(device.large_bytes_per_second / self.body_bytes as f64)
            }
            ReportSide::Take => by_commits,
        }
    }

    fn row(&self, workload: &Workload, what: ReportSide, runs: &[Measurement]) -> ReportRow {
        let side = |run: &Measurement| -> WorkloadSide {
            if what == ReportSide::Put { run.put.clone() } else { run.taken.clone() }
        };
        let rate = |run: &Measurement| side(run).events as f64 / run.seconds.max(1e-9);
        let mut commits = Latencies::new();
        runs.iter().for_each(|run| commits.join(&side(run).commits));
        let of = |value: &dyn Fn(&Measurement) -> f64| median(runs.iter().map(value));
        let some = |value: &dyn Fn(&Measurement) -> Option<f64>| {
            let values: Option<Vec<f64>> = runs.iter().map(value).collect();
            values.map(|values| median(values.into_iter()))
        };
        let all = |run: &Measurement| (run.put.events + run.taken.events).max(1) as f64;
        let body_bytes = self.body_bytes as f64;
        let bodies = |run: &Measurement| side(run).events.max(1) as f64 * body_bytes;
        let events_per_second = of(&rate);
        let bandwidth = super::device::together(&self.device).large_bytes_per_second;
        let processors = std::thread::available_parallelism().map_or(1.0, |n| n.get() as f64);
        ReportRow {
            name: workload.name(),
            workload: *workload,
            side: what,
            events_per_second,
            rounds: runs.iter().map(rate).collect(),
            baseline: some(&|run| run.baseline),
            of_baseline: some(&|run| Some(rate(run) / run.baseline?.max(1e-9))),
            mb_per_second: events_per_second * body_bytes / 1e6,
            of_bandwidth: match what {
                ReportSide::Put => events_per_second * body_bytes / bandwidth.max(1e-9),
                ReportSide::Take => 0.0,
            },
            of_device: events_per_second / self.limit(workload, what).max(1e-9),
            p50_ms: commits.at_ms(0.5),
            p99_ms: commits.at_ms(0.99),
            p999_ms: commits.at_ms(0.999),
            longest_ms: commits.longest_ms(),
            commits: commits.total(),
            cpu_us: some(&|run| Some(run.cpu_seconds? * 1e6 / all(run))),
            cpu_share: some(&|run| Some(run.cpu_seconds? / run.seconds.max(1e-9) / processors)),
            log_bytes: of(&|run| run.log_bytes as f64 / bodies(run)),
            device_bytes: some(&|run| Some(run.device_bytes? as f64 / bodies(run))),
            events_per_write: of(&|run| all(run) / run.log_writes.max(1) as f64),
            seconds: of(&|run| run.seconds),
            ended: runs.last().map_or(EndReason::Time, |run| run.ended),
        }
    }

    /// Returns the report as JSON, one object.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "interrupted": self.interrupted,
            "where": self.place,
            "body_bytes": self.body_bytes,
            "seconds": self.seconds,
            "rounds": self.rounds,
            "segment_bytes": self.segment_bytes,
            "capacity": self.capacity,
            "devices": self.device,
            "rows": self.rows,
            "first_directory": self.first_directory,
            "over_time": self.over_time(),
            "advice": self.advice,
        })
    }

    /// Returns the progress over time, in the last round of each workload.
    fn over_time(&self) -> BTreeMap<String, &[ThroughputSample]> {
        let named = self.workloads.iter().map(Workload::name).zip(&self.runs);
        named.filter_map(|(name, runs)| Some((name, &*runs.last()?.over_time))).collect()
    }

    /// Returns the report as a table.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = self.head();
        if self.rows.is_empty() {
            text.push_str("nothing was measured\n");
            return text;
        }
        let plain = self.rows.iter().any(|row| row.baseline.is_some());
        let mut lines = vec![heads(plain)];
        lines.extend(self.rows.iter().map(|row| cells(row, plain)));
        text.push('\n');
        text.push_str(&aligned(&lines));
        text.push_str(LEGEND);
        if plain {
            text.push_str(PLAIN_LEGEND);
        }
        text.push_str("\nWhat follows from it\n");
        for sentence in &self.advice {
            let _ = writeln!(text, "- {sentence}");
        }
        text
    }

    fn head(&self) -> String {
        let mut text = String::new();
        let ended = if self.interrupted { ", interrupted" } else { "" };
        let (body, rounds, seconds) = (self.body_bytes, self.rounds, self.seconds);
        let _ = writeln!(
            text,
            "events of {body} bytes, {rounds} rounds of at most {seconds} s each{ended}"
        );
        for ((path, direct), device) in
            self.place.data_dirs.iter().zip(&self.place.direct).zip(&self.device)
        {
            let way = if *direct { "direct" } else { "through the page cache" };
            let _ = writeln!(
                text,
                "{}: {:.0} synced writes/s of 4 KiB, {:.0} MB/s in writes of 256 KiB, {way}",
                path.display(),
                device.small_writes_per_second,
                device.large_mb_per_second
            );
        }
        text
    }
}

const LEGEND: &str = "
events/s: median of the rounds. device: share of what the devices allow this workload, from the
lines above. ms: from the beginning of a transaction to the end of its commit, all rounds together.
CPU: of all threads, per event put or taken. log B/B, disk B/B: bytes of log, and bytes sent to
the disks, per byte of event bodies. ev/write: events per write of the log. s: seconds measured.
";

const PLAIN_LEGEND: &str = "plain/s, times: a plain file with a write and a sync for each transaction, and how many times as
fast the channel is.
";

fn heads(plain: bool) -> Vec<String> {
    let mut heads = vec![
        "workload",
        "side",
        "events/s",
        "MB/s",
        "device",
        "p50 ms",
        "p99 ms",
        "p99.9 ms",
        "longest ms",
        "CPU us/ev",
        "log B/B",
        "disk B/B",
        "ev/write",
        "s",
    ];
    if plain {
        heads.extend(["plain/s", "times"]);
    }
    heads.into_iter().map(str::to_owned).collect()
}

fn cells(row: &ReportRow, plain: bool) -> Vec<String> {
    let side = if row.side == ReportSide::Put { "put" } else { "take" };
    let optional = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |v| format!("{v:.digits$}"))
    };
    let mut cells = vec![
        row.name.clone(),
        side.to_owned(),
        with_separators(row.events_per_second),
        format!("{:.1}", row.mb_per_second),
        format!("{:.2}", row.of_device),
        format!("{:.3}", row.p50_ms),
        format!("{:.3}", row.p99_ms),
        format!("{:.3}", row.p999_ms),
        format!("{:.2}", row.longest_ms),
        optional(row.cpu_us, 2),
        format!("{:.2}", row.log_bytes),
        optional(row.device_bytes, 2),
        format!("{:.1}", row.events_per_write),
        format!("{:.2}", row.seconds),
    ];
    if plain {
        cells.push(row.baseline.map_or("-".to_owned(), with_separators));
        cells.push(optional(row.of_baseline, 1));
    }
    cells
}

/// Aligns columns of one width; the first two to the left.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widest = |at: usize| lines.iter().map(|line| line[at].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(widest).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .enumerate()
            .map(|(at, (cell, width))| match at {
                0 | 1 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            })
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable_and_columns_align() {
        for (number, text) in
            [(0.0, "0"), (999.4, "999"), (1000.0, "1,000"), (1_234_567.0, "1,234,567")]
        {
            assert_eq!(with_separators(number), text);
        }
        let line = |words: [&str; 3]| words.map(str::to_owned).to_vec();
        let text = aligned(&[line(["a", "b", "c"]), line(["long", "b", "1,000"])]);
        assert_eq!(text, "a     b      c\nlong  b  1,000\n");
    }

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
