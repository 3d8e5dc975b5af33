//! Events that a destination refuses for good.
//!
//! A sink says of a failure that it is the destination's answer to the events themselves
//! ([`Failure::refused`]). The flow then hands it the events of that batch one by one, so that those in
//! front of the cause go and the cause is known. That event stays, as in Flume, holds up what is behind
//! it, and is named in the log; or, where the sink's `deadLetter.*` says so, it goes elsewhere once it was
//! refused often enough ([`Grave`]).
//!
//! Invariant: an event leaves the channel by this way only after it is durable in the place that is
//! meant for it. A crash between the two puts it there twice, never nowhere.

mod grave;
#[cfg(test)]
mod tests;

pub use grave::Grave;

use super::context::Failure;
use crate::codes;
use crate::event::Event;
use crate::metrics::{DropReason, SinkCounters};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Characters of an event's headers that the log shows.
const SHOWN_CHARS: usize = 200;

/// What one sink knows of refusals.
#[derive(Default)]
pub struct Refused {
    policy: Option<Policy>,
    suspicion: Mutex<Suspicion>,
}

/// What became of a batch that was refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It may leave the channel, since it is safe elsewhere.
    Elsewhere,
    /// It stays, to be tried again.
    Stays,
    /// It stays, since the place that is meant for it does not take it: why, in words that are the same
    /// at every try.
    HeldUp(String),
}

/// When an event goes, and where.
pub struct Policy {
    /// Refusals before it does, at least 1.
    pub after: u32,
    /// Where it goes.
    pub grave: Grave,
}

#[derive(Default)]
struct Suspicion {
    /// Events that are still to be tried one by one.
    suspects: usize,
    /// The last event that was refused alone, and how often it was, one time after the other.
    last: Option<(Event, u32)>,
}

impl Refused {
    /// Of a sink with this policy; `None`: refused events stay.
    #[must_use]
    pub fn new(policy: Option<Policy>) -> Self {
        Self { policy, suspicion: Mutex::default() }
    }

    /// Whether refused events go elsewhere.
    #[must_use]
    pub fn gives_up(&self) -> bool {
        self.policy.is_some()
    }

    /// Whether events are to be tried one by one.
    pub(super) fn suspects(&self) -> bool {
        self.lock().suspects > 0
    }

    /// `events` were delivered.
    pub(super) fn delivered(&self, events: usize) {
        let mut suspicion = self.lock();
        suspicion.suspects = suspicion.suspects.saturating_sub(events);
        suspicion.last = None;
    }

    /// Whether a refusal of `events` together is said here, all that there is to say of it.
    pub(super) fn says(&self, events: usize) -> bool {
        events > 1 || self.gives_up()
    }

    /// `batch` was refused; `last`: it will not be tried again, since the channel ends with the process.
    pub(super) async fn settle(
        &self,
        sink: &str,
        batch: &[Event],
        why: &Failure,
        last: bool,
        counters: &SinkCounters,
    ) -> Fate {
        let refusals = self.note(batch);
        let (Some(refusals), [event]) = (refusals, batch) else {
            tracing::info!(
                sink,
                "the {} events that were refused are tried one by one",
                batch.len()
            );
            return Fate::Stays;
        };
        let Some(Policy { after, grave }) = &self.policy else {
            if refusals == 1 {
                tracing::warn!(
                    code = %codes::EVENT_HOLDS_UP,
                    sink,
                    "an event is refused by its destination and holds up the channel until it is taken: {}: {why}; with deadLetter.directory or deadLetter.channel it would go there",
                    shown(event)
                );
            }
            return Fate::Stays;
        };
        if refusals < *after && !last {
            return Fate::Stays;
        }
        match grave.bury(sink, event, &why.to_string(), refusals).await {
            Ok(()) => {
                tracing::warn!(
                    code = %codes::EVENT_IN_DEAD_LETTERS,
                    sink,
                    "an event was refused {} and is now in {grave}: {}: {why}",
                    if refusals == 1 { "once".to_owned() } else { format!("{refusals} times") },
                    shown(event)
                );
                counters.dead_letter.add(1);
                counters.drops.add(DropReason::DeadLetter, 1);
                self.delivered(1);
                Fate::Elsewhere
            }
            Err(error) => Fate::HeldUp(format!(
                "a refused event stays in the channel, since it cannot go to {grave}: {error}: {}",
                shown(event)
            )),
        }
    }

    /// How often the one event of `batch` was refused until now; `None` if there are several.
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

    fn lock(&self) -> MutexGuard<'_, Suspicion> {
        self.suspicion.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the log says of an event: its headers and how long it is. Bodies are nobody's but the user's.
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
