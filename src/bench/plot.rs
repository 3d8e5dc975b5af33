//! The figures as drawings: one SVG, alone or in an HTML page with the table. No script, nothing
//! from a network, light or dark as the reader has it.

use super::draw::{Axis, Canvas, Line, escaped};
use super::drive::Run;
use super::latency::Latencies;
use super::plan::Workload;
use super::report::{Report, Row, What};
use std::fmt::Write as _;

/// What a plot is written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A drawing alone.
    Svg,
    /// A page with the drawing and the table.
    Html,
}

impl Format {
    /// By the end of the file's name.
    #[must_use]
    pub fn of(path: &std::path::Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "svg" => Some(Self::Svg),
            "html" | "htm" => Some(Self::Html),
            _ => None,
        }
    }
}

/// Lines of a panel at most: more cannot be told apart.
const LINES_MAX: usize = 8;

/// Points of a line over time at most.
const POINTS_MAX: usize = 200;

impl Report {
    /// As a drawing, XML in either format.
    #[must_use]
    pub fn plot(&self, format: Format) -> String {
        let svg = self.svg();
        match format {
            Format::Svg => svg,
            Format::Html => page(&svg, &self.table()),
        }
    }

    fn svg(&self) -> String {
        let mut canvas = Canvas::new(3);
        let events = |words: &str| Axis::linear(words);
        canvas.panel(
            "Throughput over time, last round",
            &events("seconds"),
            &events("events/s"),
            &self.lines_over_time(),
        );
        canvas.panel(
            "Time of a commit, all rounds",
            &Axis::nines("share of commits that took no longer"),
            &Axis::logarithmic("milliseconds"),
            &self.lines_of_latency(),
        );
        canvas.panel(
            "Scaling, medians of the rounds",
            &Axis::logarithmic("threads"),
            &Axis::logarithmic("events/s"),
            &self.lines_of_scaling(),
        );
        canvas.finish()
    }

    /// The fastest of each kind of workload first, as many as can be told apart.
    fn shown(&self) -> Vec<(&Row, &[Run])> {
        let runs = |workload: &Workload| {
            let at = self.workloads.iter().position(|known| known == workload);
            at.and_then(|at| self.runs.get(at)).map_or(&[][..], Vec::as_slice)
        };
        let mut shown: Vec<(&Row, &[Run])> =
            self.rows.iter().map(|row| (row, runs(&row.workload))).collect();
        shown.sort_by(|(a, _), (b, _)| b.events_per_second.total_cmp(&a.events_per_second));
        shown.truncate(LINES_MAX);
        shown
    }

    fn lines_over_time(&self) -> Vec<Line> {
        let lines = self.shown().into_iter().filter_map(|(row, runs)| {
            let samples = &runs.last()?.over_time;
            // Neighbours are joined until there are few enough.
            let step = samples.len().div_ceil(POINTS_MAX).max(1);
            let kept: Vec<_> = samples.iter().step_by(step).collect();
            let done = |at: usize| match row.side {
                What::Put => kept[at].put,
                What::Take => kept[at].taken,
            };
            let points = (1..kept.len()).filter_map(|at| {
                let took = kept[at].seconds - kept[at - 1].seconds;
                let events = done(at).saturating_sub(done(at - 1)) as f64;
                (took > 0.0).then(|| (kept[at].seconds, events / took))
            });
            Some(Line { name: label(row), points: points.collect() })
        });
        lines.collect()
    }

    fn lines_of_latency(&self) -> Vec<Line> {
        let lines = self.shown().into_iter().map(|(row, runs)| {
            let mut commits = Latencies::new();
            for run in runs {
                commits.join(match row.side {
                    What::Put => &run.put.commits,
                    What::Take => &run.taken.commits,
                });
            }
            Line { name: label(row), points: curve(&commits) }
        });
        lines.collect()
    }

    /// A line for each batch of puts alone and of takes alone.
    fn lines_of_scaling(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
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
                None => lines.push(Line { name, points: vec![point] }),
            }
        }
        lines.truncate(LINES_MAX);
        lines
    }
}

fn label(row: &Row) -> String {
    match (row.side, row.workload.producers > 0 && row.workload.takers > 0) {
        (What::Put, true) => format!("{}, put", row.name),
        (What::Take, true) => format!("{}, taken", row.name),
        _ => row.name.clone(),
    }
}

/// Shares from the half to five nines, as far as there are commits enough to tell. The place of a
/// share is the number of its nines.
fn curve(commits: &Latencies) -> Vec<(f64, f64)> {
    let nines = (0..=50).map(|tenth| f64::from(tenth) / 10.0);
    let shares = nines.map(|nines| (nines, 1.0 - 10f64.powf(-nines)));
    shares
        .filter(|(nines, _)| commits.total() as f64 >= 10f64.powf(*nines))
        .map(|(nines, share)| (nines, commits.at_ms(share.max(0.001)).max(0.001)))
        .collect()
}

/// XML that browsers read as HTML.
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
