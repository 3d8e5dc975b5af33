//! Moves the events in memory to the overflow when the channel closes.

use super::super::{Channel, PutTransaction};
use crate::event::Event;

/// A move in progress: transactions as large as the overflow takes them.
pub(super) struct OverflowMove<'c> {
    channel: &'c dyn Channel,
    transaction: Box<dyn PutTransaction>,
    /// Events in `transaction`.
    held: usize,
    lost: usize,
    why: String,
}

impl<'c> OverflowMove<'c> {
    /// Puts `events` into `channel`. Returns how many it did not take, and why it did not take the
    /// last of them.
    pub(super) fn into(channel: &'c dyn Channel, events: &[Event]) -> (usize, String) {
        let transaction = channel.begin_put();
        let mut moving = Self { channel, transaction, held: 0, lost: 0, why: String::new() };
        events.iter().for_each(|event| moving.put(event));
        moving.commit();
        (moving.lost, moving.why)
    }

    fn put(&mut self, event: &Event) {
        let mut put = self.transaction.put(event.clone());
        if put.is_err() && self.held > 0 {
            // This transaction is full, by events or bytes; the next one is not.
            self.commit();
            put = self.transaction.put(event.clone());
        }
        match put {
            Ok(()) => self.held += 1,
            Err(error) => self.record_loss(1, error.to_string()),
        }
    }

    /// Commits the collected events and begins the next transaction.
    fn commit(&mut self) {
        let full = std::mem::replace(&mut self.transaction, self.channel.begin_put());
        let held = std::mem::take(&mut self.held);
        if let Err(error) = full.commit() {
            self.record_loss(held, error.to_string());
        }
    }

    fn record_loss(&mut self, events: usize, why: String) {
        self.lost += events;
        self.why = why;
    }
}
