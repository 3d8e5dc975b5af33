//! What is known of a batch that failed, so that its repetition writes the same rows and adds nothing twice.

use bytes::Bytes;
use millpond::Event;
use std::collections::VecDeque;

/// One event of a batch that is not yet delivered as a whole.
#[derive(Debug)]
pub(super) struct PendingEvent {
    /// The event; it shares the bytes of the taken one.
    event: Event,
    /// The row key that was made for it.
    pub(super) row: Option<Bytes>,
    /// Whether HBase has acknowledged its increment.
    pub(super) is_counted: bool,
}

/// The events of the current batch, or of the batch that failed last, in their order.
///
/// A channel returns the events of a failed take first and in their order, so they are recognised at the front of the
/// next batch, also if that is shorter or longer. Events that differ are forgotten: another sink took those that were
/// expected. The rows are kept in memory only; after a restart a repetition gets new row keys.
#[derive(Debug, Default)]
pub(super) struct RetryMemory(VecDeque<PendingEvent>);

impl RetryMemory {
    /// Returns the entries of the events of `batch`, with what is known of them from an earlier try.
    pub(super) fn recall(&mut self, batch: &[Event]) -> &mut [PendingEvent] {
        // Events before the first one left the channel for the dead letters.
        let first = batch.first();
        match self.0.iter().position(|pending| Some(&pending.event) == first) {
            Some(at) => drop(self.0.drain(..at)),
            None => self.0.clear(),
        }
        let known = self.0.iter().zip(batch).take_while(|(old, new)| old.event == **new).count();
        if known < batch.len() {
            self.0.truncate(known);
        }
        for event in &batch[known..] {
            let event = event.clone();
            self.0.push_back(PendingEvent { event, row: None, is_counted: false });
        }
        &mut self.0.make_contiguous()[..batch.len()]
    }

    /// Forgets the first `events`, which are delivered.
    pub(super) fn delivered(&mut self, events: usize) {
        self.0.drain(..events.min(self.0.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(bodies: &[&'static str]) -> Vec<Event> {
        bodies.iter().map(|body| Event::new(*body)).collect()
    }

    fn rows(memory: &mut RetryMemory, bodies: &[&'static str]) -> Vec<bool> {
        let pending = memory.recall(&events(bodies));
        let known = pending.iter().map(|one| one.row.is_some()).collect();
        pending.iter_mut().for_each(|one| one.row = Some(Bytes::from_static(b"row")));
        known
    }

    #[test]
    fn a_repeated_batch_is_recognised_whatever_its_length() {
        let mut memory = RetryMemory::default();
        assert_eq!(rows(&mut memory, &["a", "b", "b"]), [false; 3]);
        assert_eq!(rows(&mut memory, &["a", "b", "b", "c"]), [true, true, true, false]);
        assert_eq!(rows(&mut memory, &["a"]), [true]);
        memory.delivered(1);
        assert_eq!(rows(&mut memory, &["b", "b", "c", "d"]), [true, true, true, false]);
        memory.delivered(4);
        assert_eq!(rows(&mut memory, &["a", "b"]), [false; 2]);
    }

    #[test]
    fn an_event_that_went_to_the_dead_letters_does_not_hide_those_after_it() {
        let mut memory = RetryMemory::default();
        rows(&mut memory, &["bad", "b", "c"]);
        assert_eq!(rows(&mut memory, &["b", "c"]), [true; 2]);
    }

    #[test]
    fn other_events_than_expected_are_new() {
        let mut memory = RetryMemory::default();
        rows(&mut memory, &["a", "b", "c"]);
        assert_eq!(rows(&mut memory, &["a", "x", "c"]), [true, false, false]);
        assert_eq!(rows(&mut memory, &["y"]), [false]);
    }
}
