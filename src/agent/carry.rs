//! What a channel in memory holds passes to the channel that takes its place.

use crate::channel::Channel;
use crate::event::Event;
use crate::flow::context::StopSignal;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Events of a transaction at most.
const BATCH_EVENTS: usize = 1000;

/// Pause after a refusal: the new channel is full, and its sinks have to make room.
const PAUSE: Duration = Duration::from_millis(100);

/// Earlier channels of a name that are closed to all others, and hold events still: the first one's
/// come first. What one channel has not taken over when it stops passes to its successor.
#[derive(Clone, Default)]
pub(super) struct Estate(Arc<Mutex<VecDeque<Arc<dyn Channel>>>>);

impl Estate {
    /// Of these, in this order.
    pub(super) fn of(channels: Vec<Arc<dyn Channel>>) -> Self {
        Self(Arc::new(Mutex::new(channels.into())))
    }

    /// What is left of it; leaves nothing.
    pub(super) fn take(&self) -> Vec<Arc<dyn Channel>> {
        std::mem::take(&mut *self.lock()).into()
    }

    /// Moves everything to `new`, in its order, however long that takes. Once `stop` has fired the
    /// first refusal for want of room ends it, and what is left stays here. Nobody else has these channels.
    pub(super) async fn carry(&self, name: &str, new: &Arc<dyn Channel>, stop: &StopSignal) {
        loop {
            let Some(old) = self.lock().front().cloned() else { return };
            let events = old.status().events;
            let (channel, to, from) = (name.to_owned(), Arc::clone(new), Arc::clone(&old));
            let signal = stop.clone();
            let moving =
                tokio::task::spawn_blocking(move || move_all(&channel, &*from, &*to, &signal));
            if let Err(panic) = moving.await {
                tracing::error!(channel = name, "carrying its events over panicked: {panic}");
                return;
            }
            if old.status().events > 0 {
                return;
            }
            tracing::info!(channel = name, "{events} events were carried over");
            // Not closed: for whoever watches, the two are one channel, and that is open.
            self.lock().pop_front();
        }
    }

    /// Gives up what is left of it, and says so.
    pub(super) fn lose(&self, name: &str) {
        for old in self.take() {
            let left = old.status().events;
            if left > 0 {
                tracing::warn!(
                    channel = name,
                    "{left} events in memory were not carried over and are lost"
                );
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Arc<dyn Channel>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Blocks until `old` is empty, or refused after `stop` has fired.
fn move_all(name: &str, old: &dyn Channel, new: &dyn Channel, stop: &StopSignal) {
    let most = |channel: &dyn Channel| channel.limits().transaction_capacity;
    let most = most(old).min(most(new)).clamp(1, BATCH_EVENTS);
    let (mut count, mut said) = (most, false);
    while old.status().events > 0 {
        match batch(old, new, count) {
            Ok(()) => (count, said) = ((count * 2).min(most), false),
            Err(Refused { too_large: true, .. }) if count > 1 => count /= 2,
            Err(_) if stop.fired() => return,
            Err(_) if count > 1 => count /= 2, // There may be room for some of them.
            Err(Refused { why, .. }) => {
                if !said {
                    tracing::warn!(
                        channel = name,
                        "cannot take over yet what it held before; its sources wait for that: {why}"
                    );
                }
                said = true;
                std::thread::sleep(PAUSE);
            }
        }
    }
}

/// Why a batch was not moved.
struct Refused {
    why: String,
    /// No transaction of the new channel can hold it.
    too_large: bool,
}

impl Refused {
    fn now(why: impl ToString) -> Self {
        Self { why: why.to_string(), too_large: false }
    }
}

fn batch(old: &dyn Channel, new: &dyn Channel, count: usize) -> Result<(), Refused> {
    let mut take = old.begin_take();
    let events = take.take(count).map_err(Refused::now)?;
    if events.is_empty() {
        return Err(Refused::now("the rest is lent still"));
    }
    match put(new, &events) {
        Ok(()) => take.commit().map_err(Refused::now),
        // Possibly there, where it is in doubt: a second time is better than never.
        Err(why) => {
            take.rollback();
            Err(why)
        }
    }
}

fn put(new: &dyn Channel, events: &[Event]) -> Result<(), Refused> {
    let mut put = new.begin_put();
    for event in events {
        put.put(event.clone())
            .map_err(|error| Refused { why: error.to_string(), too_large: true })?;
    }
    put.commit().map_err(|error| Refused { why: error.to_string(), too_large: error.never_fits() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::file::{FileChannel, FileChannelOptions};
    use crate::channel::memory::{MemoryChannel, MemoryOptions};

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
        let estate = Estate::of(vec![Arc::new(memory)]);
        let (fire, stop) = StopSignal::new();
        // Even at a stop: only a channel that is full ends it then.
        fire.send_replace(true);
        let new = Arc::clone(&file) as Arc<dyn Channel>;
        let carrying = estate.carry("c1", &new, &stop);
        tokio::time::timeout(Duration::from_secs(60), carrying).await.expect("no wait for ever");
        let mut take = file.begin_take();
        let mut firsts = Vec::new();
        while firsts.len() < 9 {
            let events = take.take(100).expect("readable");
            firsts.extend(events.iter().map(|event| event.body[0]));
        }
        assert_eq!(firsts, b"012345678");
        take.commit().expect("acknowledged");
        assert_eq!((file.status().events, estate.take().len()), (0, 0));
        file.close().expect("closed");
    }
}
