//! What is printed and written: tables, a page with drawings, and everything as JSON.

use crate::Choice;
use crate::draw;
use crate::machine;
use crate::plan::Cell;
use crate::row::Row;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use stores::{FLUME, STORES, version};

/// A run that came to its end.
pub(crate) struct Run<'a> {
    /// Cell by cell.
    pub(crate) rows: &'a [Row],
    pub(crate) cells: &'a [Cell],
    pub(crate) choice: &'a Choice,
    /// The version of Flume that ran.
    pub(crate) flume: Option<String>,
    pub(crate) machine: String,
    /// How busy the machine was at the beginning and at the end.
    pub(crate) load: [f64; 2],
    pub(crate) seconds: f64,
}

/// The store whose ratio to each other is in the tables.
const OURS: &str = "millpond";

const METHOD: &str = include_str!("method.md");

impl Run<'_> {
    fn of(&self, cell: Cell) -> impl Iterator<Item = &Row> + Clone {
        self.rows.iter().filter(move |row| row.cell == cell)
    }

    /// Markdown: a table for each cell.
    pub(crate) fn tables(&self) -> String {
        let mut text = String::new();
        for cell in self.cells {
            let _ = writeln!(text, "### {}\n", cell.title());
            text += &self.table(*cell);
            for row in self.of(*cell) {
                if let Some(words) = &row.failed {
                    let _ = writeln!(text, "\n{}: no figures. {words}", row.store);
                }
            }
            text.push('\n');
        }
        text
    }

    fn table(&self, cell: Cell) -> String {
        let mut head = "| store |".to_owned();
        let mut columns = |words: &str| head += words;
        if cell.puts() {
            columns(" put, thousand events/s | min to max | put p50, p99, p99.9, max, µs |");
        }
        if cell.takes() {
            columns(" taken, thousand events/s | min to max | take p50, p99, p99.9, max, µs |");
        }
        columns(
            " CPU µs/event | bytes written by process, to device / body byte | on disk, MiB | peak memory, MiB | millpond / store |",
        );
        let line = "|---".repeat(head.matches('|').count() - 1);
        let mut text = format!("{head}\n{line}|\n");
        let ours = self.of(cell).find(|row| row.store == OURS);
        for row in self.of(cell).filter(|row| row.failed.is_none()) {
            let _ = writeln!(text, "{}", line_of(row, ours));
        }
        text
    }

    /// Versions and settings.
    fn stores(&self) -> String {
        let mut text = "| store | version | setting | remark |\n|---|---|---|---|\n".to_owned();
        for store in STORES.iter().filter(|store| !store.speed.is_empty()) {
            if !self.rows.iter().any(|row| row.store == store.name) {
                continue;
            }
            let version = match store.name {
                FLUME => self.flume.clone().unwrap_or_default(),
                name => version(name),
            };
            let _ = writeln!(
                text,
                "| {} | {version} | {} | {} |",
                store.name, store.speed, store.remark
            );
        }
        text
    }

    /// The run in a sentence.
    fn circumstances(&self) -> String {
        let priority = if machine::real_time() { "real-time priority" } else { "normal priority" };
        let choice = self.choice;
        format!(
            "{} rounds of {} s each (Flume {} s, warmed up for {} s), {priority}; load average {:.1} at the \
             beginning and {:.1} at the end; {:.0} minutes in all. {}.",
            choice.rounds,
            choice.seconds,
            choice.seconds_of(FLUME),
            choice.flume_warm,
            self.load[0],
            self.load[1],
            self.seconds / 60.0,
            self.machine
        )
    }

    /// Writes the page and its drawings into `dir`.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), String> {
        let page = format!(
            "{METHOD}\n## The run\n\n{}\n\n## The stores\n\n{}\n## Figures\n\n\
             ![Throughput](peers-throughput.svg)\n\n![Latency](peers-latency.svg)\n\n{}",
            self.circumstances(),
            self.stores(),
            self.tables().trim_end().to_owned() + "\n"
        );
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        for (name, text) in [
            ("peers.md", page),
            ("peers-throughput.svg", draw::throughput(self.cells, self.rows)),
            ("peers-latency.svg", draw::latency(self.cells, self.rows)),
        ] {
            let path = dir.join(name);
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
        }
        Ok(())
    }

    /// Everything, round by round.
    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                json!({
                    "cell": row.cell.to_string(),
                    "store": row.store,
                    "events_per_second": row.rate(),
                    "failed": row.failed,
                    "rounds": row.slices,
                })
            })
            .collect();
        json!({
            "machine": self.machine,
            "load": self.load,
            "real_time_priority": machine::real_time(),
            "rounds": self.choice.rounds,
            "seconds": self.choice.seconds,
            "flume_seconds": self.choice.seconds_of(FLUME),
            "flume": self.flume,
            "rows": rows,
        })
    }
}

fn line_of(row: &Row, ours: Option<&Row>) -> String {
    let mut line = format!("| {} ", row.store);
    let mut part = |takes: bool| {
        let rate = row.spread(|slice| match takes {
            true => slice.takes_per_second(),
            false => slice.puts_per_second(),
        });
        let times = row.latency(takes).map(figure).join(", ");
        let [median, min, max] = [rate.median, rate.min, rate.max].map(|rate| figure(rate / 1e3));
        let _ = write!(line, "| {median} | {min} to {max} | {times} ");
    };
    if row.cell.puts() {
        part(false);
    }
    if row.cell.takes() {
        part(true);
    }
    let device = row.device().map_or("–".to_owned(), figure);
    let ratio = ours.and_then(|ours| ours.times(row)).filter(|_| row.store != OURS);
    let ratio = ratio.map_or("–".to_owned(), |times| figure(times));
    let mib = |bytes: f64| figure(bytes / f64::from(1 << 20));
    let _ = write!(
        line,
        "| {} | {}, {device} | {} | {} | {ratio} |",
        figure(row.cpu()),
        figure(row.written()),
        mib(row.median(|slice| slice.on_disk as f64)),
        mib(row.median(|slice| slice.peak as f64)),
    );
    line
}

/// Three digits that count.
pub(crate) fn figure(value: f64) -> String {
    let digits = match value.abs() {
        v if v >= 99.95 || v == 0.0 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.digits$}");
    if digits > 0 {
        return text;
    }
    // Thousands apart.
    let mut parts: Vec<&str> = Vec::new();
    let mut rest = text.as_str();
    while rest.len() > 3 {
        let (front, end) = rest.split_at(rest.len() - 3);
        parts.push(end);
        rest = front;
    }
    parts.push(rest);
    parts.reverse();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits_that_count() {
        for (value, text) in [
            (0.0, "0"),
            (0.1234, "0.12"),
            (9.99, "9.99"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1234.0, "1,234"),
            (1_234_567.0, "1,234,567"),
        ] {
            assert_eq!(figure(value), text);
        }
    }
}
