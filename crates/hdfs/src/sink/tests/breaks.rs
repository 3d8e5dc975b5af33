//! Points at which the ledger can fail, or the process end, as the file system in memory can.

use crate::file_system::memory::Memory;
use std::cell::RefCell;
use std::io;

thread_local! {
    static MEMORY: RefCell<Option<Memory>> = const { RefCell::new(None) };
}

/// Counts the ledger's lines of this thread among the calls of `memory`.
pub(in crate::sink) fn count_lines(memory: &Memory) {
    MEMORY.with(|current| *current.borrow_mut() = Some(memory.clone()));
}

fn memory() -> Option<Memory> {
    MEMORY.with(|current| current.borrow().clone())
}

/// Before a line of the ledger is written; returns the number of that call.
pub(in crate::sink) async fn before_line() -> io::Result<usize> {
    match memory() {
        Some(memory) => memory.pass_before().await.map_err(|_| io::Error::other("injected")),
        None => Ok(0),
    }
}

/// After a line of the ledger is durable.
pub(in crate::sink) async fn after_line(number: usize) -> io::Result<()> {
    match memory() {
        Some(memory) => memory.pass_after(number).await.map_err(|_| io::Error::other("injected")),
        None => Ok(()),
    }
}
