//! What was done, to look at when a seed fails.

use super::faults::On;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Operations that are remembered; a failing run is looked at from its end.
const TRACE_LINES_MAX: usize = 4096;

#[derive(Clone, Debug)]
struct Line {
    number: Option<u64>,
    on: On,
    path: PathBuf,
    at: u64,
    len: u64,
    remark: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Trace(Arc<VecDeque<Line>>);

impl Trace {
    pub(super) fn add(
        &mut self,
        number: Option<u64>,
        on: On,
        path: &Path,
        at: u64,
        len: u64,
        remark: &'static str,
    ) {
        // Shared only with images of a crash, which forget it at once.
        let lines = Arc::make_mut(&mut self.0);
        if lines.len() == TRACE_LINES_MAX {
            lines.pop_front();
        }
        lines.push_back(Line { number, on, path: path.to_owned(), at, len, remark });
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.0.iter().map(Line::text).collect()
    }
}

impl Line {
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
