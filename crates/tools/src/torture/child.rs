//! A child process: orders come from stdin, notes go to stdout. When the parent ends, stdin ends,
//! and the child with it.

use super::note::Note;
use super::note_writer::{NoteWriter, PipeNotes};
use super::run_state::{RunKind, RunOrders, RunState};
use millpond::internal::base::threads;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Commands of a parent after the orders, a line each.
pub(super) const STOP: &str = "stop";
/// Takers pause.
pub(super) const HOLD: &str = "hold";
/// Takers continue.
pub(super) const TAKE: &str = "take";

/// How long a child waits before it notes that it is still alive.
const ALIVE: Duration = Duration::from_secs(1);

/// Runs the child process that the orders on stdin describe.
///
/// # Errors
/// The orders make no sense, the channel does not open, or stdout is closed.
pub fn run_child() -> io::Result<()> {
    // Not locked permanently: the thread that reads commands later needs it.
    let mut orders = String::new();
    let mut stdin = BufReader::new(io::stdin());
    stdin.read_line(&mut orders)?;
    let orders: RunOrders = serde_json::from_str(&orders).map_err(io::Error::other)?;
    let (look, note_writer) =
        (orders.work == RunKind::Look, Arc::new(PipeNotes::new(io::stdout())));
    let life = RunState::begin(orders, Arc::clone(&note_writer) as Arc<dyn NoteWriter>)?;
    let workers = life.work()?;
    if look {
        life.finish();
    }
    let listener = Arc::clone(&life);
    // It waits for a line until the process ends, so it is never joined.
    let _listens = threads::spawn("torture-listen", move || listen(&listener, stdin))?;
    while !life.is_over() {
        life.wait(ALIVE);
        if note_writer.write_note(&Note::Alive).is_err() {
            life.finish();
        }
    }
    life.end(workers)
}

fn listen(life: &RunState, stdin: impl BufRead) {
    for line in stdin.lines().map_while(Result::ok) {
        match line.as_str() {
            HOLD => life.held.store(true, Ordering::SeqCst),
            TAKE => life.held.store(false, Ordering::SeqCst),
            _ => break,
        }
        if life.note_writer.write_note(&Note::Heeded).is_err() {
            break;
        }
    }
    life.finish();
}
