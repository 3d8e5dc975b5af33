//! What a channel in memory holds passes to the channel that takes its place.

use crate::channel::Channel;
use crate::event::Event;
use crate::flow::context::StopSignal;
use std::sync::Arc;
use std::time::Duration;

/// Events of a transaction at most.
const BATCH_EVENTS: usize = 1000;

/// Pause after a refusal: the new channel is full, and its sinks have to make room.
const PAUSE: Duration = Duration::from_millis(100);

/// Moves everything from `old` to `new`, in its order, however long that takes; ends early when
/// `stop` fires. Nobody else has `old`.
pub(super) async fn carry(
    name: &str,
    old: Arc<dyn Channel>,
    new: &Arc<dyn Channel>,
    stop: &StopSignal,
) {
    let events = old.status().events;
    let (to, signal, from) = (Arc::clone(new), stop.clone(), Arc::clone(&old));
    let moving = tokio::task::spawn_blocking(move || {
        while from.status().events > 0 && !signal.fired() {
            if let Err(why) = batch(&*from, &*to) {
                tracing::debug!("events are carried over: {why}");
                std::thread::sleep(PAUSE);
            }
        }
    });
    if let Err(panic) = moving.await {
        tracing::error!(channel = name, "carrying its events over panicked: {panic}");
    }
    match old.status().events {
        0 => tracing::info!(channel = name, "{events} events were carried over"),
        left => {
            tracing::warn!(
                channel = name,
                "{left} events in memory were not delivered and are lost"
            );
        }
    }
    // It is memory: there is nothing that could fail to be written.
    let _ = old.close();
}

fn batch(old: &dyn Channel, new: &dyn Channel) -> Result<(), String> {
    let most = |channel: &dyn Channel| channel.limits().transaction_capacity;
    let count = most(old).min(most(new)).clamp(1, BATCH_EVENTS);
    let mut take = old.begin_take();
    let events = take.take(count).map_err(|error| error.to_string())?;
    if events.is_empty() {
        return Err("the rest is lent still".to_owned());
    }
    match put(new, &events) {
        // Possibly there: a second time is better than never.
        Ok(()) => take.commit().map_err(|error| error.to_string()),
        Err(why) => {
            take.rollback();
            Err(why)
        }
    }
}

fn put(new: &dyn Channel, events: &[Event]) -> Result<(), String> {
    let mut put = new.begin_put();
    for event in events {
        put.put(event.clone()).map_err(|error| error.to_string())?;
    }
    put.commit().map_err(|error| error.to_string())
}
