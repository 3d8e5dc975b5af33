//! A taker: takes, compares every byte, and acknowledges or hands back, as the seed says.

use super::note::{Note, SelfReportedError, spans_of};
use super::run_state::{RunKind, RunState};
use super::seed_stream::{SeedStream, purpose};
use millpond::{Channel, CommitError, TakeError};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a paused taker waits between checks, milliseconds.
const PAUSE_MS: u64 = 2;

/// Takes as `taker` until the run is over, or, in a drain, until nothing is left.
///
/// # Errors
/// The receiver of the notes is gone.
pub(super) fn run(life: &RunState, taker: u32) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let draining = life.orders.work == RunKind::Drain;
    let path = [purpose::TAKE, life.orders.life, u64::from(taker)];
    let draw = SeedStream::new(life.orders.seed, &path);
    // Some child runs drain the channel and some let it fill.
    let batch_max = draw.one_of(&[1, 5, 30, 200]);
    let limit = life.channel.limits().transaction_capacity;
    while !life.is_over() {
        if life.held.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(PAUSE_MS));
            continue;
        }
        let mut transaction = life.channel.begin_take();
        let max = if draining { limit } else { (1 + draw.below(batch_max) as usize).min(limit) };
        let by_future = draw.one_in(4);
        let lent = match by_future {
            true => runtime.block_on(transaction.take_async(max)),
            false => transaction.take(max),
        };
        let events = match lent {
            Ok(events) => events,
            Err(TakeError::Closed) => return Ok(()),
            Err(error) => {
                life.note_writer.write_note(&Note::Wrong(
                    SelfReportedError::Failed,
                    format!("a take: {error}"),
                ))?;
                return Ok(());
            }
        };
        if events.is_empty() {
            if draining && life.channel.status().events == 0 {
                life.finish();
                return Ok(());
            }
            continue;
        }
        let events = spans_of(life.names(&events)?);
        life.note_writer.write_note(&Note::Lent { taker, events })?;
        if !draining && draw.one_in(8) {
            life.note_writer.write_note(&Note::HandedBack(taker))?;
            // Dropping one rolls it back too.
            if draw.one_in(2) {
                transaction.rollback();
            }
            continue;
        }
        life.note_writer.write_durably(&Note::TakeAsked(taker))?;
        let ended = match by_future {
            true => runtime.block_on(transaction.commit_async()),
            false => transaction.commit(),
        };
        life.note_writer.write_note(&match ended {
            Ok(()) => Note::TakeDone(taker),
            Err(CommitError::InDoubt(_)) => Note::TakeInDoubt(taker),
            Err(_) => Note::TakeRefused(taker),
        })?;
    }
    Ok(())
}
