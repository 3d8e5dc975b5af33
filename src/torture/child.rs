//! Inside a child process: orders come from stdin, notes go to stdout. When the parent goes, stdin
//! ends, and the child with it.

use super::life::{Life, Orders, Work};
use super::note::Note;
use super::voice::{Pipe, Voice};
use crate::base::threads;
use std::io::{self, BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Words that a parent says after the orders, a line each.
pub(super) const STOP: &str = "stop";
/// Takers leave everything where it is.
pub(super) const HOLD: &str = "hold";
/// Takers go on.
pub(super) const TAKE: &str = "take";

/// How long a child waits before it says that it is still there.
const ALIVE: Duration = Duration::from_secs(1);

/// Lives the life that stdin asks for.
///
/// # Errors
/// The orders make no sense, the channel does not open, or nobody listens to stdout.
pub fn live() -> io::Result<()> {
    // Not locked for good: the thread that listens later needs its turn.
    let mut orders = String::new();
    let mut stdin = BufReader::new(io::stdin());
    stdin.read_line(&mut orders)?;
    let orders: Orders = serde_json::from_str(&orders).map_err(io::Error::other)?;
    let (look, voice) = (orders.work == Work::Look, Arc::new(Pipe::new(io::stdout())));
    let life = Life::begin(orders, Arc::clone(&voice) as Arc<dyn Voice>)?;
    let workers = life.work()?;
    if look {
        life.finish();
    }
    let listener = Arc::clone(&life);
    // It waits for a line until the process ends, so nobody joins it.
    let _listens = threads::spawn("torture-listen", move || listen(&listener, stdin))?;
    while !life.is_over() {
        life.wait(ALIVE);
        if voice.say(&Note::Alive).is_err() {
            life.finish();
        }
    }
    life.end(workers)
}

fn listen(life: &Life, stdin: impl BufRead) {
    for line in stdin.lines().map_while(Result::ok) {
        match line.as_str() {
            HOLD => life.held.store(true, Ordering::SeqCst),
            TAKE => life.held.store(false, Ordering::SeqCst),
            _ => break,
        }
        if life.voice.say(&Note::Heeded).is_err() {
            break;
        }
    }
    life.finish();
}
