//! The destinations of log lines, and the log of this process.

use super::queue::{LineQueue, PANIC_FLUSH_WITHIN};
use super::style::LineStyle;
use super::throttle::{self, LogThrottle};
use millpond_flow::base::lost_lines;
use std::io::{self, Write as _};
use std::sync::{Arc, OnceLock};
use tracing_subscriber::fmt::MakeWriter;

/// The log of this process.
pub(super) static STARTED: OnceLock<StartedLogging> = OnceLock::new();

pub(super) struct StartedLogging {
    pub(super) style: LineStyle,
    pub(super) throttle: Arc<LogThrottle>,
    pub(super) outputs: LogOutputs,
}

impl StartedLogging {
    /// Writes the counts of suppressed lines.
    pub(super) fn write_counts(&self, counts: Vec<throttle::Suppressed>) {
        for suppressed in counts {
            self.outputs.add(self.style.suppressed(&suppressed).as_bytes());
        }
    }
}

/// The destinations of lines.
#[derive(Clone, Debug)]
pub(super) struct LogOutputs {
    /// None if the calling thread writes each line: for a command, or if no thread could be
    /// started.
    pub(super) stderr: Option<LineQueue>,
    pub(super) file: Option<LineQueue>,
    /// Whether all lines go to stderr, and not only those that scripts wait for.
    pub(super) console: bool,
}

impl LogOutputs {
    /// Does what adds a line, and waits briefly until it is written by the queues that keep up: the
    /// first line waits for a destination that hangs, and no further line does.
    pub(super) fn write_out(&self, add: impl FnOnce()) {
        let queues = self.file.iter().chain(&self.stderr);
        let keeping_up: Vec<_> = queues.filter(|queue| queue.is_empty()).collect();
        add();
        keeping_up.into_iter().for_each(|queue| {
            queue.flush_within(PANIC_FLUSH_WITHIN);
        });
    }

    /// Adds whole lines. If there is a file, the console gets a copy.
    pub(super) fn add(&self, lines: &[u8]) {
        let on_console = self.console.then(|| match &self.stderr {
            Some(queue) => queue.add(lines.to_vec()),
            None => io::stderr().lock().write_all(lines).is_ok(),
        });
        let in_file = self.file.as_ref().map(|file| file.add(lines.to_vec()));
        if !in_file.or(on_console).unwrap_or(true) {
            lost_lines::note();
        }
    }
}

/// One log event comes as one write.
impl io::Write for LogOutputs {
    fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        self.add(lines);
        Ok(lines.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogOutputs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Adds a line to stderr only.
pub(super) fn on_stderr(line: &str) {
    // A closed stderr is not a reason to stop.
    let _ = match STARTED.get().and_then(|log| log.outputs.stderr.as_ref()) {
        Some(queue) => queue.add(line.as_bytes().to_vec()),
        None => io::stderr().lock().write_all(line.as_bytes()).is_ok(),
    };
}
