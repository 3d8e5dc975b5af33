//! Handling of events that a destination refuses for good.
//!
//! A sink marks a failure as a refusal of the events themselves ([`Failure::refused`]). The flow then passes it
//! the events of that batch one by one, so that those before the cause are delivered and the cause is known. The
//! refused event stays in the channel, as in Flume, blocks those after it, and is named in the log; or, where the
//! sink's `deadLetter.*` is set, it is written to the dead-letter queue ([`DeadLetterQueue`]): once it was refused often
//! enough, or at once if no later try can change the refusal ([`Failure::refused_for_ever`]).
//!
//! Invariant: such an event leaves the channel only after it is durable in the dead-letter queue. A crash between
//! the two steps writes it there twice, and never loses it.

mod queue;
#[cfg(test)]
mod tests;

pub use queue::DeadLetterQueue;

use super::context::Failure;
use crate::codes;
use crate::metrics::{DropReason, SinkCounters};
use millpond::Event;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most characters of an event's headers that the log shows.
const SHOWN_CHARS: usize = 200;

/// The refused events of one sink.
#[derive(Default)]
pub struct RefusedEvents {
    policy: Option<DeadLetterPolicy>,
    suspicion: Mutex<SuspectEvent>,
}

/// The outcome of a refused batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RefusedOutcome {
    /// It is stored elsewhere and may leave the channel.
    Elsewhere,
    /// It stays, to be tried again.
    Stays,
    /// It stays because the dead-letter queue does not take it; with the reason, in words that are the same at
    /// every try.
    HeldUp(String),
}

/// When a refused event goes to the dead-letter queue, and to which.
pub struct DeadLetterPolicy {
    /// Refusals before that, at least 1. A final refusal is enough by itself.
    pub after: u32,
    /// The queue.
    pub dead_letter_queue: DeadLetterQueue,
}

#[derive(Default)]
struct SuspectEvent {
    /// Events that are still to be tried one by one.
    suspects: usize,
    /// The last event that was refused alone, and its consecutive refusals.
    last: Option<(Event, u32)>,
}

impl RefusedEvents {
    /// Returns the state of a sink with this policy; with `None` refused events stay in the channel.
    #[must_use]
    pub fn new(policy: Option<DeadLetterPolicy>) -> Self {
        Self { policy, suspicion: Mutex::default() }
    }

    /// Returns true if there is a dead-letter queue.
    #[must_use]
    pub fn gives_up(&self) -> bool {
        self.policy.is_some()
    }

    /// Returns true if events are to be tried one by one.
    pub(super) fn suspects(&self) -> bool {
        self.lock().suspects > 0
    }

    /// Records that `events` were delivered.
    pub(super) fn delivered(&self, events: usize) {
        let mut suspicion = self.lock();
        suspicion.suspects = suspicion.suspects.saturating_sub(events);
        suspicion.last = None;
    }

    /// Returns true if [`Self::handle`] logs all there is to log of a refusal of `events` together.
    pub(super) fn says(&self, events: usize) -> bool {
        events > 1 || self.gives_up()
    }

    /// Handles a refused `batch`; `last` means that it will not be tried again, since the channel ends with the
    /// process.
    pub(super) async fn handle(
        &self,
        sink: &str,
        batch: &[Event],
        why: &Failure,
        last: bool,
        counters: &SinkCounters,
    ) -> RefusedOutcome {
        let refusals = self.note(batch);
        let (Some(refusals), [event]) = (refusals, batch) else {
            tracing::info!(
                sink,
                "the {} events that were refused are tried one by one",
                batch.len()
            );
            return RefusedOutcome::Stays;
        };
        let Some(DeadLetterPolicy { after, .. }) = &self.policy else {
            if refusals == 1 {
                tracing::warn!(
                    code = %codes::EVENT_HOLDS_UP,
                    sink,
                    "an event is refused by its destination and holds up the channel until it is taken: {}: {why}; with deadLetter.directory or deadLetter.channel it would go there",
                    shown(event)
                );
            }
            return RefusedOutcome::Stays;
        };
        if refusals < *after && !why.is_final() && !last {
            return RefusedOutcome::Stays;
        }
        match self.put_aside(sink, event, &why.to_string(), refusals, counters).await {
            Ok(()) => {
                self.delivered(1);
                RefusedOutcome::Elsewhere
            }
            Err(why) => RefusedOutcome::HeldUp(why),
        }
    }

    /// Writes a refused event to the dead-letter queue.
    ///
    /// # Errors
    /// There is none, or it does not take the event; in words that are the same at every try.
    pub(super) async fn put_aside(
        &self,
        sink: &str,
        event: &Event,
        why: &str,
        refusals: u32,
        counters: &SinkCounters,
    ) -> Result<(), String> {
        let Some(DeadLetterPolicy { dead_letter_queue, .. }) = &self.policy else {
            return Err(format!(
                "an event is refused by its destination and holds up the channel: {}: {why}; with deadLetter.directory or deadLetter.channel it would go there",
                shown(event)
            ));
        };
        match dead_letter_queue.write(sink, event, why, refusals).await {
            Ok(()) => {
                tracing::warn!(
                    code = %codes::EVENT_IN_DEAD_LETTERS,
                    sink,
                    "an event was refused {} and is now in {dead_letter_queue}: {}: {why}",
                    if refusals == 1 { "once".to_owned() } else { format!("{refusals} times") },
                    shown(event)
                );
                counters.dead_letter.add(1);
                counters.drops.add(DropReason::DeadLetter, 1);
                Ok(())
            }
            Err(error) => Err(format!(
                "a refused event stays in the channel, since it cannot go to {dead_letter_queue}: {error}: {}",
                shown(event)
            )),
        }
    }

    /// Counts a refusal of the only event of `batch` and returns the count so far; `None` if there are several
    /// events.
    fn note(&self, batch: &[Event]) -> Option<u32> {
        let mut suspicion = self.lock();
        let [event] = batch else {
            suspicion.suspects = batch.len();
            return None;
        };
        suspicion.suspects = suspicion.suspects.max(1);
        let before = suspicion.last.as_ref().filter(|(last, _)| last == event);
        let refusals = before.map_or(0, |(_, refusals)| *refusals).saturating_add(1);
        suspicion.last = Some((event.clone(), refusals));
        Some(refusals)
    }

    fn lock(&self) -> MutexGuard<'_, SuspectEvent> {
        self.suspicion.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns what the log shows of an event: its headers and the length of its body. The body itself is private.
fn shown(event: &Event) -> String {
    let mut text = format!("a body of {} bytes", event.body.len());
    let mut headers = String::new();
    for (name, value) in event.headers.iter() {
        let cut = |text: &str| text.chars().take(SHOWN_CHARS).collect::<String>();
        let (name, value) = (cut(name), cut(value));
        let _ = write!(headers, ", {}={}", name.escape_debug(), value.escape_debug());
        if headers.len() > SHOWN_CHARS {
            break;
        }
    }
    match headers.char_indices().nth(SHOWN_CHARS) {
        Some((at, _)) => text.extend([&headers[..at], "…"]),
        None => text.push_str(&headers),
    }
    text
}
