//! Hands the events of a memory channel over to the channel that replaces it.

use millpond::internal::base::quantity::Quantity;
use millpond::{Channel, Event, TakeTransaction};
use millpond_flow::codes;
use millpond_flow::context::StopSignal;
use millpond_flow::metrics::{ChannelCounters, DropReason};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Events of a transaction at most.
const BATCH_EVENTS: usize = 1000;

/// Pause after a refusal: the new channel is full, and its sinks have to make room.
const PAUSE: Duration = Duration::from_millis(100);

/// Replaced channels of a name that are closed to all other users, and still hold events: the
/// oldest one's come first. Events that a channel has not taken over when it stops pass to its
/// successor.
#[derive(Clone, Default)]
pub(super) struct MemoryHandover(Arc<Mutex<VecDeque<Arc<dyn Channel>>>>);

impl MemoryHandover {
    /// The channels, in this order.
    pub(super) fn of(channels: Vec<Arc<dyn Channel>>) -> Self {
        Self(Arc::new(Mutex::new(channels.into())))
    }

    /// Takes what is left of it.
    pub(super) fn take(&self) -> Vec<Arc<dyn Channel>> {
        std::mem::take(&mut *self.lock()).into()
    }

    /// Moves everything to `new`, in its order, however long that takes, except for events that it
    /// can never hold: they stay here, for the next channel of the name. Once `stop` has fired the
    /// first refusal for lack of room ends it, and the rest stays here. Nothing else has access to
    /// these channels.
    pub(super) async fn transfer(&self, name: &str, new: &Arc<dyn Channel>, stop: &StopSignal) {
        let channels = self.lock().len();
        let mut kept = 0;
        for _ in 0..channels {
            let Some(old) = self.lock().get(kept).cloned() else { return };
            let events = old.status().events;
            let (channel, to, from) = (name.to_owned(), Arc::clone(new), Arc::clone(&old));
            let signal = stop.clone();
            let moving =
                tokio::task::spawn_blocking(move || move_all(&channel, &*from, &*to, &signal));
            let unfit = match moving.await {
                Ok(unfit) => unfit,
                Err(panic) => {
                    tracing::error!(code = %codes::COMPONENT_PANICKED, channel = name, "handing its events over panicked: {panic}");
                    return;
                }
            };
            let left = old.status().events;
            if left > unfit {
                return;
            }
            let moved = Quantity(events - left, "event");
            tracing::info!(channel = name, "{} {} handed over", moved, moved.was());
            if left > 0 {
                kept += 1;
            } else {
                // Not closed: for monitoring the two are one channel, and it is open.
                self.lock().remove(kept);
            }
        }
    }

    /// Drops what is left of it, and logs it.
    pub(super) fn lose(&self, name: &str, counters: &ChannelCounters) {
        for old in self.take() {
            let left = old.status().events;
            if left > 0 {
                counters.drops.add(DropReason::Memory, left);
                let left = Quantity(left, "event");
                tracing::warn!(
                    code = %codes::MEMORY_EVENTS_LOST,
                    channel = name,
                    "{left} in memory {} not handed over: lost",
                    left.was()
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<dyn Channel>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocks until `old` has nothing more that `new` can hold, or a put is refused after `stop` has
/// fired. Returns how many events `new` can never hold; they are still in `old`.
fn move_all(name: &str, old: &dyn Channel, new: &dyn Channel, stop: &StopSignal) -> u64 {
    // Held in a take transaction meanwhile, so that later events can be taken.
    let mut unfit: Vec<Box<dyn TakeTransaction>> = Vec::new();
    let most = |channel: &dyn Channel| channel.limits().transaction_capacity;
    let most = most(old).min(most(new)).clamp(1, BATCH_EVENTS);
    let (mut count, mut said) = (most, false);
    while old.status().events > unfit.len() as u64 {
        match batch(old, new, count) {
            Ok(()) => (count, said) = ((count * 2).min(most), false),
            Err(MoveRefused { too_large: true, .. }) if count > 1 => count /= 2,
            Err(MoveRefused { why, too_large: true }) => {
                let mut take = old.begin_take();
                if take.take(1).is_ok_and(|events| events.len() == 1) {
                    // Of many such events only the first is reported.
                    if unfit.is_empty() {
                        tracing::error!(
                            code = %codes::CARRIED_EVENT_TOO_LARGE,
                            channel = name,
                            "an event that it held before does not fit its new settings: {why}. It is kept in memory, and its sources continue; to keep it, raise the limit that is named and reload, else it is lost when the agent ends"
                        );
                    }
                    unfit.push(take);
                }
                count = most;
            }
            Err(_) if stop.fired() => break,
            Err(_) if count > 1 => count /= 2, // There may be room for some of them.
            Err(MoveRefused { why, .. }) => {
                if !said {
                    tracing::warn!(
                        channel = name,
                        "cannot take over its earlier events yet; its sources wait for that: {why}"
                    );
                }
                said = true;
                std::thread::sleep(PAUSE);
            }
        }
    }
    let count = unfit.len() as u64;
    if count > 1 {
        tracing::error!(code = %codes::CARRIED_EVENT_TOO_LARGE, channel = name, "{count} such events in all are kept in memory");
    }
    // The last first: each is put back to the front.
    unfit.into_iter().rev().for_each(TakeTransaction::rollback);
    count
}

/// Why a batch was not moved.
struct MoveRefused {
    why: String,
    /// No transaction of the new channel can hold it.
    too_large: bool,
}

impl MoveRefused {
    fn now(why: impl ToString) -> Self {
        Self { why: why.to_string(), too_large: false }
    }
}

fn batch(old: &dyn Channel, new: &dyn Channel, count: usize) -> Result<(), MoveRefused> {
    let mut take = old.begin_take();
    let events = take.take(count).map_err(MoveRefused::now)?;
    if events.is_empty() {
        return Err(MoveRefused::now("the rest is still leased"));
    }
    match put(new, &events) {
        Ok(()) => take.commit().map_err(MoveRefused::now),
        // In doubt, the events may be there: a duplicate is better than a loss.
        Err(why) => {
            take.rollback();
            Err(why)
        }
    }
}

fn put(new: &dyn Channel, events: &[Event]) -> Result<(), MoveRefused> {
    let mut put = new.begin_put();
    for event in events {
        put.put(event.clone())
            .map_err(|error| MoveRefused { why: error.to_string(), too_large: true })?;
    }
    put.commit().map_err(|failure| MoveRefused {
        why: failure.to_string(),
        too_large: failure.error.never_fits(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::{FileChannel, FileChannelOptions, MemoryChannel, MemoryOptions};

    fn memory(bytes: u64, bodies: &[&str]) -> Arc<dyn Channel> {
        let options = MemoryOptions {
            byte_capacity: bytes,
            byte_capacity_buffer_percentage: 0,
            keep_alive: Duration::ZERO,
            ..MemoryOptions::default()
        };
        let memory = MemoryChannel::new(options).expect("opens");
        for body in bodies {
            let mut put = memory.begin_put();
            put.put(Event::new((*body).to_owned())).expect("fits");
            put.commit().expect("there is room");
        }
        Arc::new(memory)
    }

    fn held(channel: &dyn Channel) -> Vec<usize> {
        let mut take = channel.begin_take();
        let lengths = take.take(100).expect("readable").iter().map(|e| e.body.len()).collect();
        take.rollback();
        lengths
    }

    #[tokio::test]
    async fn an_event_that_never_fits_waits_for_a_larger_channel() {
        let long = ["x".repeat(900), "x".repeat(800)];
        let first = memory(1 << 20, &["a", &long[0], "aa", &long[1], "aaa"]);
        let second = memory(1 << 20, &["aaaa"]);
        let handover = MemoryHandover::of(vec![first, second]);
        let (_stays, stop) = StopSignal::new();
        let narrow = memory(500, &[]);
        let carrying = handover.transfer("c1", &narrow, &stop);
        tokio::time::timeout(Duration::from_secs(60), carrying).await.expect("no wait for ever");
        assert_eq!(held(&*narrow), [1, 2, 3, 4]);
        // Events that could not pass go to the next one, in their order.
        let handover = MemoryHandover::of([vec![narrow], handover.take()].concat());
        let wide = memory(1 << 20, &[]);
        handover.transfer("c1", &wide, &stop).await;
        assert_eq!(held(&*wide), [1, 2, 3, 4, 900, 800]);
        assert!(handover.take().is_empty());
    }

    #[tokio::test]
    async fn events_that_are_too_large_for_one_transaction_pass_in_several() {
        let directory = tempfile::tempdir().expect("a directory");
        let memory = MemoryChannel::new(MemoryOptions::default()).expect("opens");
        for n in 0..9 {
            let mut put = memory.begin_put();
            put.put(Event::new(format!("{n}{}", "x".repeat(400)))).expect("fits");
            put.commit().expect("there is room");
        }
        let at = |name| directory.path().join(name);
        let mut options = FileChannelOptions::new(at("checkpoint"), [at("data")]);
        options.segment_bytes = 1 << 20;
        options.minimum_required_space = 0;
        // Two of them.
        options.transaction_bytes_max = 1024;
        let file = Arc::new(FileChannel::open(options).expect("opens"));
        let handover = MemoryHandover::of(vec![Arc::new(memory)]);
        let (fire, stop) = StopSignal::new();
        // Even at a stop: only a full channel ends it then.
        fire.send_replace(true);
        let new = Arc::clone(&file) as Arc<dyn Channel>;
        let carrying = handover.transfer("c1", &new, &stop);
        tokio::time::timeout(Duration::from_secs(60), carrying).await.expect("no wait for ever");
        let mut take = file.begin_take();
        let mut firsts = Vec::new();
        while firsts.len() < 9 {
            let events = take.take(100).expect("readable");
            firsts.extend(events.iter().map(|event| event.body[0]));
        }
        assert_eq!(firsts, b"012345678");
        take.commit().expect("acknowledged");
        assert_eq!((file.status().events, handover.take().len()), (0, 0));
        file.close().expect("closed");
    }
}
