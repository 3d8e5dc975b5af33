//! A line of the report, and how its numbers are written.

use super::measurement::EndReason;
use super::plan::Workload;
use serde::Serialize;

/// A side of a workload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ReportSide {
    Put,
    Take,
}

/// One side of one workload, over all rounds.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ReportRow {
    pub name: String,
    pub workload: Workload,
    pub side: ReportSide,
    /// The median of the rounds.
    pub events_per_second: f64,
    /// The value of each round.
    pub rounds: Vec<f64>,
    /// Events per second of a plain file with a sync for each transaction, where that was
    /// requested.
    pub baseline: Option<f64>,
    /// How many times as fast the channel was, the median of the rounds' own.
    pub of_baseline: Option<f64>,
    /// Megabytes (10^6) of bodies per second.
    pub mb_per_second: f64,
    /// Share of what the devices allow; 1 is all of it.
    pub of_device: f64,
    /// Share of the devices' bandwidth; 0 for takes, whose bytes are not moved.
    pub of_bandwidth: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub longest_ms: f64,
    /// The number of commits timed.
    pub commits: u64,
    /// Processor time per event put or taken, microseconds.
    pub cpu_us: Option<f64>,
    /// Share of all processors that were busy with it; 1 is all.
    pub cpu_share: Option<f64>,
    /// Bytes written to the log per byte of the bodies put; for takes, per event taken.
    pub log_bytes: f64,
    /// Bytes that were written to the devices, by the same measure.
    pub device_bytes: Option<f64>,
    /// Events per write of the log.
    pub events_per_write: f64,
    /// Duration of a measurement, seconds; the median.
    pub seconds: f64,
    /// Why the last one ended.
    pub ended: EndReason,
}

/// Returns the middle one; 0 of none.
pub(super) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

/// Formats `1234567` as `1,234,567`.
pub(super) fn with_separators(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
