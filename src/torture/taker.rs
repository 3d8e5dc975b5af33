//! Takes, compares every byte, and acknowledges or hands back, as the seed says.

use super::draw::{Draw, purpose};
use super::life::{Life, Work};
use super::note::{Note, Wrong, spans_of};
use crate::channel::{Channel, CommitError, TakeError};
use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long a taker that may not take looks away, milliseconds.
const PAUSE_MS: u64 = 2;

/// Takes as `taker` until the life is over, or, in a drain, until nothing is left.
///
/// # Errors
/// Nobody listens any more.
pub(super) fn run(life: &Life, taker: u32) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let draining = life.orders.work == Work::Drain;
    let path = [purpose::TAKE, life.orders.life, u64::from(taker)];
    let draw = Draw::new(life.orders.seed, &path);
    // Some lives drain the channel and some let it fill.
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
                life.voice.say(&Note::Wrong(Wrong::Failed, format!("a take: {error}")))?;
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
        life.voice.say(&Note::Lent { taker, events })?;
        if !draining && draw.one_in(8) {
            life.voice.say(&Note::HandedBack(taker))?;
            // Dropping one rolls it back too.
            if draw.one_in(2) {
                transaction.rollback();
            }
            continue;
        }
        life.voice.say_surely(&Note::TakeAsked(taker))?;
        let ended = match by_future {
            true => runtime.block_on(transaction.commit_async()),
            false => transaction.commit(),
        };
        life.voice.say(&match ended {
            Ok(()) => Note::TakeDone(taker),
            Err(CommitError::InDoubt(_)) => Note::TakeInDoubt(taker),
            Err(_) => Note::TakeRefused(taker),
        })?;
    }
    Ok(())
}
