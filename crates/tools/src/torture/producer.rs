//! A producer: puts transaction after transaction, as the seed says.

use super::note::{Note, RefusedPut, SelfReportedError};
use super::run_state::RunState;
use super::transaction_shape::{PutName, TransactionShape, event, source};
use bytes::Bytes;
use millpond::{Channel, CommitError, PutTransaction, RefusedReason};
use std::io;
use std::sync::atomic::Ordering;

/// Puts as `writer` until the run is over.
///
/// # Errors
/// The receiver of the notes is gone.
pub(super) fn run(life: &RunState, writer: u32) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let seed = life.orders.seed;
    let mut number = life.orders.next.get(writer as usize).copied().unwrap_or(0);
    while !life.is_over() {
        let put = PutName { writer, number };
        number += 1;
        let shape = TransactionShape::of(seed, put);
        let mut transaction = life.channel.begin_put();
        if !fill(life, &mut *transaction, put, &shape)? {
            continue;
        }
        if shape.rolled_back {
            transaction.rollback();
            continue;
        }
        life.note_writer.write_note(&Note::PutAsked(put))?;
        let ended = match shape.by_future {
            true => runtime.block_on(transaction.commit_async()),
            false => transaction.commit(),
        };
        match ended.map_err(CommitError::from) {
            Ok(()) => {
                life.acknowledged.fetch_add(u64::from(shape.events), Ordering::Relaxed);
                life.note_writer.write_note(&Note::PutDone(put))?;
            }
            Err(CommitError::InDoubt(_)) => life.note_writer.write_note(&Note::PutInDoubt(put))?,
            Err(CommitError::Refused(refusal)) => {
                let why = match refusal {
                    RefusedReason::Full { .. } => RefusedPut::Full,
                    RefusedReason::NoSpace(_) => RefusedPut::Space,
                    _ => RefusedPut::Other,
                };
                life.note_writer.write_note(&Note::PutRefused(put, why))?;
            }
        }
    }
    Ok(())
}

/// Adds the events and the source offset; returns false, after a note, when the channel does not
/// take them.
fn fill(
    life: &RunState,
    transaction: &mut dyn PutTransaction,
    put: PutName,
    shape: &TransactionShape,
) -> io::Result<bool> {
    for index in 0..shape.events {
        if let Err(error) = transaction.put(event(life.orders.seed, put, index)) {
            let words = format!("put {put}, event {index}: {error}");
            life.note_writer.write_note(&Note::Wrong(SelfReportedError::Failed, words))?;
            return Ok(false);
        }
    }
    if shape.position {
        let source = source(put.writer);
        let position = Bytes::from(format!("{source}@{}", put.number));
        transaction.set_source_offset(&source, position);
    }
    Ok(true)
}
