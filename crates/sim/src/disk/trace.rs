//! A trace of operations, for failing seeds.

use super::faults::FaultTarget;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Operations that are kept; a failing run is read from its end.
const TRACE_LINES_MAX: usize = 4096;

#[derive(Clone, Debug)]
struct TraceLine {
    number: Option<u64>,
    on: FaultTarget,
    path: PathBuf,
    at: u64,
    len: u64,
    remark: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Trace(Arc<VecDeque<TraceLine>>);

impl Trace {
    pub(super) fn add(
        &mut self,
        number: Option<u64>,
        on: FaultTarget,
        path: &Path,
        at: u64,
        len: u64,
        remark: &'static str,
    ) {
        // Shared only with images of a crash, which drop it at once.
        let lines = Arc::make_mut(&mut self.0);
        if lines.len() == TRACE_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(TraceLine { number, on, path: path.to_owned(), at, len, remark });
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(TraceLine::text).collect()
    }
}

impl TraceLine {
    fn text(&self) -> String {
        let number = self.number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let mut text = format!("{number} {:?} {}", self.on, self.path.display());
        if self.len > 0 {
            text.push_str(&format!(" {}+{}", self.at, self.len));
        }
        if !self.remark.is_empty() {
            text.push(' ');
            text.push_str(self.remark);
        }
        text
    }
}
