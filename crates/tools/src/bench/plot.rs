//! The figures as drawings: one SVG, alone or in an HTML page with the table. No script, nothing
//! from a network, light or dark as the reader prefers.

use super::latency::Latencies;
use super::measurement::Measurement;
use super::plan::Workload;
use super::report::BenchReport;
use super::report_row::{ReportRow, ReportSide};
use millpond_observe::svg::chart::{Canvas, ChartAxis, ChartLine};
use millpond_observe::svg::escaped;
use std::fmt::Write as _;

/// The format of a plot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlotFormat {
    /// A drawing alone.
    Svg,
    /// A page with the drawing and the table.
    Html,
}

impl PlotFormat {
    /// Returns the format for the file name's extension.
    #[must_use]
    pub fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "svg" => Some(Self::Svg),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}

/// Lines of a panel at most: more cannot be distinguished.
const LINES_MAX: usize = 8;

/// Points of a line over time at most.
const POINTS_MAX: usize = 200;

impl BenchReport {
    /// Returns the drawing, XML in either format.
    #[must_use]
    pub fn plot(&self, format: PlotFormat) -> String {
        let svg = self.svg();
        match format {
            PlotFormat::Svg => svg,
            PlotFormat::Html => page(&svg, &self.table()),
        }
    }

    fn svg(&self) -> String {
        let mut canvas = Canvas::new("millpond bench", 3);
        let events = |words: &str| ChartAxis::linear(words);
        canvas.panel(
            "Throughput over time, last round",
            &events("seconds"),
            &events("events/s"),
            &self.lines_over_time(),
        );
        canvas.panel(
            "Time of a commit, all rounds",
            &ChartAxis::nines("share of commits that took no longer"),
            &ChartAxis::logarithmic("milliseconds"),
            &self.lines_of_latency(),
        );
        canvas.panel(
            "Scaling, medians of the rounds",
            &ChartAxis::logarithmic("threads"),
            &ChartAxis::logarithmic("events/s"),
            &self.lines_of_scaling(),
        );
        canvas.finish()
    }

    /// Returns the fastest of each kind of workload first, as many as can be distinguished.
    fn shown(&self) -> Vec<(&ReportRow, &[Measurement])> {
        let runs = |workload: &Workload| {
            let at = self.workloads.iter().position(|known| known == workload);
            at.and_then(|at| self.runs.get(at)).map_or(&[][..], Vec::as_slice)
        };
        let mut shown: Vec<(&ReportRow, &[Measurement])> =
            self.rows.iter().map(|row| (row, runs(&row.workload))).collect();
        shown.sort_by(|(a, _), (b, _)| b.events_per_second.total_cmp(&a.events_per_second));
        shown.truncate(LINES_MAX);
        shown
    }

    fn lines_over_time(&self) -> Vec<ChartLine> {
        let lines = self.shown().into_iter().filter_map(|(row, runs)| {
            let samples = &runs.last()?.over_time;
            // Neighbours are joined until there are few enough.
            let step = samples.len().div_ceil(POINTS_MAX).max(1);
            let kept: Vec<_> = samples.iter().step_by(step).collect();
            let done = |at: usize| match row.side {
                ReportSide::Put => kept[at].put,
                ReportSide::Take => kept[at].taken,
            };
            let points = (1..kept.len()).filter_map(|at| {
                let took = kept[at].seconds - kept[at - 1].seconds;
                let events = done(at).saturating_sub(done(at - 1)) as f64;
                (took > 0.0).then(|| (kept[at].seconds, events / took))
            });
            Some(ChartLine { name: label(row), points: points.collect() })
        });
        lines.collect()
    }

    fn lines_of_latency(&self) -> Vec<ChartLine> {
        let lines = self.shown().into_iter().map(|(row, runs)| {
            let mut commits = Latencies::new();
            for run in runs {
                commits.join(match row.side {
                    ReportSide::Put => &run.put.commits,
                    ReportSide::Take => &run.taken.commits,
                });
            }
            ChartLine { name: label(row), points: curve(&commits) }
        });
        lines.collect()
    }

    /// Returns a line for each batch of puts alone and of takes alone.
    fn lines_of_scaling(&self) -> Vec<ChartLine> {
        let mut lines: Vec<ChartLine> = Vec::new();
        for row in &self.rows {
            let Workload { batch, producers, takers } = row.workload;
            let (word, threads) = match (producers, takers) {
                (_, 0) => ("put", producers),
                (0, _) => ("take", takers),
                _ => continue,
            };
            let name = format!("{word} b{batch}");
            let point = (threads as f64, row.events_per_second);
            match lines.iter_mut().find(|line| line.name == name) {
                Some(line) => line.points.push(point),
                None => lines.push(ChartLine { name, points: vec![point] }),
            }
        }
        lines.truncate(LINES_MAX);
        lines
    }
}

fn label(row: &ReportRow) -> String {
    match (row.side, row.workload.producers > 0 && row.workload.takers > 0) {
        (ReportSide::Put, true) => format!("{}, put", row.name),
        (ReportSide::Take, true) => format!("{}, taken", row.name),
        _ => row.name.clone(),
    }
}

/// Returns shares from one half to five nines, as far as there are enough commits. The position of
/// a share is the number of its nines.
fn curve(commits: &Latencies) -> Vec<(f64, f64)> {
    let nines = (0..=50).map(|tenth| f64::from(tenth) / 10.0);
    let shares = nines.map(|nines| (nines, 1.0 - 10f64.powf(-nines)));
    shares
        .filter(|(nines, _)| commits.total() as f64 >= 10f64.powf(*nines))
        .map(|(nines, share)| (nines, commits.at_ms(share.max(0.001)).max(0.001)))
        .collect()
}

/// Returns XML that browsers read as HTML.
fn page(svg: &str, table: &str) -> String {
    let mut page = String::from(
        "<!DOCTYPE html>\n<html lang=\"en\" xmlns=\"http://www.w3.org/1999/xhtml\">\n<head>\n\
         <meta charset=\"utf-8\"/>\n<title>millpond bench</title>\n<style>\n\
         :root { color-scheme: light dark; }\n\
         body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }\n\
         pre { font: 12px/1.5 ui-monospace, monospace; overflow-x: auto; }\n\
         svg { width: 100%; height: auto; }\n</style>\n</head>\n<body>\n<h1>millpond bench</h1>\n",
    );
    let _ = write!(page, "{svg}<pre>{}</pre>\n</body>\n</html>\n", escaped(table));
    page
}
