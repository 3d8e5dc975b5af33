//! The output: one table per fault, and everything as JSON.

use crate::engines;
use crate::faults::{Cell, FAULTS, Fault};
use std::fmt::Write as _;
use stores::{FLUME, version};

const COLUMNS: &str = "| engine | rounds | acknowledged | lost, of which beyond one transaction | duplicated | altered | out of order / partial \
                       | unopenable | hung | died | continued | rounds with errors, of which silent | worst loss |";

fn title(fault: Fault) -> &'static str {
    match fault {
        Fault::Kill => "kill -9",
        Fault::Sync => "EIO on one sync",
        Fault::Full => "Disk full",
        Fault::Short => "One short write",
        Fault::Flip => "One bit flipped",
        Fault::Cut => "One file cut short",
    }
}

fn row(cell: &Cell) -> String {
    if let Some(why) = &cell.left_out {
        return format!("| {} | not run: {why} |", cell.engine);
    }
    let events = &cell.events;
    let rounds = match cell.met == cell.rounds {
        true => cell.rounds.to_string(),
        false => format!("{} (fault in {})", cell.rounds, cell.met),
    };
    let went_on = cell.went_on.map_or_else(|| "–".to_owned(), |(n, of)| format!("{n} of {of}"));
    let ends = [cell.unopenable, cell.hung, cell.died];
    let ends: Vec<String> = ends.iter().map(u64::to_string).collect();
    format!(
        "| {} | {rounds} | {} | {}, {} | {} | {} | {} / {} | {} | {went_on} | {}, {} | {} |",
        cell.engine,
        events.acked,
        events.lost,
        events.beyond,
        events.doubled,
        events.altered,
        events.disordered,
        events.parted,
        ends.join(" | "),
        cell.harmed,
        cell.silent,
        cell.worst
    )
}

/// Returns the tables in Markdown.
pub(crate) fn table(cells: &[Cell]) -> String {
    let mut text = String::new();
    for fault in FAULTS {
        let cells: Vec<&Cell> = cells.iter().filter(|cell| cell.fault == fault).collect();
        if cells.is_empty() {
            continue;
        }
        let line = "|---".repeat(COLUMNS.matches('|').count() - 1);
        let _ = writeln!(text, "### {}\n\n{COLUMNS}\n{line}|", title(fault));
        for cell in &cells {
            let _ = writeln!(text, "{}", row(cell));
        }
        text.push('\n');
        for cell in cells.iter().filter(|cell| !cell.notes.is_empty()) {
            let _ = writeln!(text, "- {}: {}", cell.engine, cell.notes.join("; "));
        }
        text.push('\n');
    }
    text
}

/// Returns engines, versions and settings, in Markdown.
pub(crate) fn engines(flume: Option<&str>) -> String {
    let mut text = "| engine | version | setting | remark |\n|---|---|---|---|\n".to_owned();
    for engine in engines::all() {
        let version = match engine.name {
            FLUME => flume.unwrap_or("not run").to_owned(),
            name => version(name),
        };
        let _ = writeln!(
            text,
            "| {} | {version} | {} | {} |",
            engine.name, engine.faults, engine.remark
        );
    }
    text
}
