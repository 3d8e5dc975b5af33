//! What is measured: cells, each a workload with its sizes.

use std::fmt::{self, Display};
use std::str::FromStr;

/// Bodies of a cell of `all`, bytes.
const BODIES: [usize; 3] = [64, 512, 4096];
const BATCHES: [usize; 4] = [1, 10, 100, 1000];
const THREADS: [usize; 3] = [1, 4, 16];
const DIRS: [usize; 3] = [1, 2, 4];

/// The cells that the project's aims are stated for, then sizes and directories around them.
const DEFAULT: &str = "produce:512:1:1,produce:512:1:16,produce:512:100:1,produce:512:100:16,\
                       produce:512:1000:4,hot:512:1:1,hot:512:100:4,hot:512:1000:4,\
                       mixed:512:100:4,mixed:512:1000:4,cold:512:1000:1,\
                       produce:64:100:4,produce:4096:100:4,produce:512:100:16:2,produce:512:100:16:4";

/// Bytes of a body, events of a batch, threads, and directories at most.
const MOST: [usize; 4] = [1 << 20, 10_000, 64, 16];

/// Bytes of one transaction at most.
const TRANSACTION_MOST: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Workload {
    /// Puts alone.
    Produce,
    /// Takes what this process has just put.
    Hot,
    /// Opens what a process that has ended left, none of it in the page cache, and takes it.
    Cold,
    /// Puts and takes at the same time, as many threads each.
    Mixed,
}

const WORKLOADS: [(&str, Workload); 4] = [
    ("produce", Workload::Produce),
    ("hot", Workload::Hot),
    ("cold", Workload::Cold),
    ("mixed", Workload::Mixed),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    pub(crate) workload: Workload,
    /// Bytes of each body.
    pub(crate) body: usize,
    /// Events of a transaction.
    pub(crate) batch: usize,
    /// Threads that put, and as many that take.
    pub(crate) threads: usize,
    pub(crate) dirs: usize,
}

impl Cell {
    pub(crate) fn puts(&self) -> bool {
        matches!(self.workload, Workload::Produce | Workload::Mixed)
    }

    pub(crate) fn takes(&self) -> bool {
        self.workload != Workload::Produce
    }

    /// Events that wait before it begins; `bytes` of bodies at most.
    pub(crate) fn waiting(&self, bytes: u64) -> u64 {
        let most = match (self.workload, self.batch) {
            (Workload::Produce | Workload::Mixed, _) => 0,
            (_, ..10) => 100_000,
            (_, ..100) => 300_000,
            _ => 1_000_000,
        };
        (bytes.min(256 << 20) / self.body as u64).min(most)
    }

    /// Bytes of bodies that may be put in `seconds` before it ends by itself. A disk answers small
    /// transactions one by one, so less room has to be made for them.
    pub(crate) fn budget(&self, bytes: u64, seconds: f64) -> u64 {
        let per_second: f64 = if self.batch * self.body < 16 << 10 { 4e8 } else { 2.5e9 };
        let most = (per_second * seconds) as u64;
        if self.puts() { bytes.min(most) } else { 0 }
    }

    /// As people say it: `produce 512 B b100 x16`.
    pub(crate) fn title(&self) -> String {
        let name = WORKLOADS.iter().find(|(_, w)| *w == self.workload).map_or("", |(name, _)| name);
        let mut title = format!("{name} {} B b{} x{}", self.body, self.batch, self.threads);
        if self.dirs > 1 {
            title += &format!(", {} directories", self.dirs);
        }
        title
    }
}

impl Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = WORKLOADS.iter().find(|(_, w)| *w == self.workload).map_or("", |(name, _)| name);
        write!(f, "{name}:{}:{}:{}:{}", self.body, self.batch, self.threads, self.dirs)
    }
}

impl FromStr for Cell {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| {
            format!(
                "{text:?}: {why}; a cell is workload:body:batch:threads or workload:body:batch:threads:dirs, as in produce:512:100:16"
            )
        };
        let mut parts = text.trim().split(':');
        let name = parts.next().unwrap_or_default();
        let Some((_, workload)) = WORKLOADS.iter().find(|(known, _)| *known == name) else {
            return Err(wrong("there are produce, hot, cold and mixed"));
        };
        let numbers: Result<Vec<usize>, _> = parts.map(str::parse).collect();
        let mut numbers = numbers.map_err(|_| wrong("a part is not a number"))?;
        if numbers.len() == 3 {
            numbers.push(1);
        }
        let [body, batch, threads, dirs] = numbers[..] else {
            return Err(wrong("it has three or four numbers"));
        };
        // The first bytes of a body say which it is.
        if body < 8 || numbers.iter().zip(MOST).any(|(n, most)| *n == 0 || *n > most) {
            return Err(wrong(&format!(
                "a body has 8 to {} bytes, a batch up to {} events; up to {} threads and {} directories",
                MOST[0], MOST[1], MOST[2], MOST[3]
            )));
        }
        if body * batch > TRANSACTION_MOST {
            return Err(wrong(&format!("a transaction has {TRANSACTION_MOST} bytes at most")));
        }
        Ok(Self { workload: *workload, body, batch, threads, dirs })
    }
}

/// Several, parted by commas; `default`, or `all`.
pub(crate) fn cells(text: &str) -> Result<Vec<Cell>, String> {
    match text {
        "default" => cells(DEFAULT),
        "all" => Ok(all()),
        several => several.split(',').map(str::parse).collect(),
    }
}

fn all() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (_, workload) in WORKLOADS {
        for body in BODIES {
            for batch in BATCHES {
                for threads in THREADS {
                    for dirs in DIRS {
                        cells.push(Cell { workload, body, batch, threads, dirs });
                    }
                }
            }
        }
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cell_reads_as_it_is_written_and_nonsense_is_refused_in_words() {
        let default = cells("default").unwrap();
        let words: Vec<String> = default.iter().map(Cell::to_string).collect();
        assert_eq!(cells(&words.join(",")).unwrap(), default);
        assert_eq!(cells("all").unwrap().len(), 4 * 3 * 4 * 3 * 3);
        for (text, word) in [
            ("drink:512:1:1", "produce, hot"),
            ("hot:512:1", "three or four"),
            ("hot:512:x:1", "no number"),
            ("hot:4:1:1", "8 to"),
            ("hot:512:0:1", "up to"),
            ("hot:512:1:65", "up to 10000 events; up to 64 threads"),
            ("hot:1048576:1000:1", "bytes at most"),
        ] {
            let error = cells(text).unwrap_err();
            assert!(error.contains(word) && error.contains(text), "{error}");
        }
    }

    #[test]
    fn what_waits_and_what_is_put_is_bounded() {
        for cell in all() {
            assert!(cell.waiting(1 << 30) * cell.body as u64 <= 256 << 20, "{cell}");
            assert!(cell.waiting(1 << 20) * cell.body as u64 <= 1 << 20, "{cell}");
            assert!(cell.budget(1 << 20, 10.0) <= 1 << 20, "{cell}");
            assert_eq!(cell.waiting(1 << 30) > 0, !cell.puts(), "{cell}");
        }
    }
}
