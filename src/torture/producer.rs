//! Puts transaction after transaction, as the seed says.

use super::life::Life;
use super::note::{Note, Why, Wrong};
use super::shape::{PutName, Shape, event, source};
use crate::channel::{Channel, CommitError, PutTransaction, Refusal};
use bytes::Bytes;
use std::io;
use std::sync::atomic::Ordering;

/// Puts as `writer` until the life is over.
///
/// # Errors
/// Nobody listens any more.
pub(super) fn run(life: &Life, writer: u32) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let seed = life.orders.seed;
    let mut number = life.orders.next.get(writer as usize).copied().unwrap_or(0);
    while !life.is_over() {
        let put = PutName { writer, number };
        number += 1;
        let shape = Shape::of(seed, put);
        let mut transaction = life.channel.begin_put();
        if !fill(life, &mut *transaction, put, &shape)? {
            continue;
        }
        if shape.rolled_back {
            transaction.rollback();
            continue;
        }
        life.voice.say(&Note::PutAsked(put))?;
        let ended = match shape.by_future {
            true => runtime.block_on(transaction.commit_async()),
            false => transaction.commit(),
        };
        match ended.map_err(CommitError::from) {
            Ok(()) => {
                life.acknowledged.fetch_add(u64::from(shape.events), Ordering::Relaxed);
                life.voice.say(&Note::PutDone(put))?;
            }
            Err(CommitError::InDoubt(_)) => life.voice.say(&Note::PutInDoubt(put))?,
            Err(CommitError::Refused(refusal)) => {
                let why = match refusal {
                    Refusal::Full { .. } => Why::Full,
                    Refusal::NoSpace(_) => Why::Space,
                    _ => Why::Other,
                };
                life.voice.say(&Note::PutRefused(put, why))?;
            }
        }
    }
    Ok(())
}

/// Adds the events and the position; false, and said, when the channel does not take them.
fn fill(
    life: &Life,
    transaction: &mut dyn PutTransaction,
    put: PutName,
    shape: &Shape,
) -> io::Result<bool> {
    for index in 0..shape.events {
        if let Err(error) = transaction.put(event(life.orders.seed, put, index)) {
            let words = format!("put {put}, event {index}: {error}");
            life.voice.say(&Note::Wrong(Wrong::Failed, words))?;
            return Ok(false);
        }
    }
    if shape.position {
        let source = source(put.writer);
        let position = Bytes::from(format!("{source}@{}", put.number));
        transaction.set_position(&source, position);
    }
    Ok(true)
}
