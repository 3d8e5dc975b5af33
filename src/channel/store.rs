//! Events in memory and what they weigh: the part that the memory channel and the memory tier of
//! the spillable channel share. No lock, no waiting.

use crate::event::Event;
use std::collections::VecDeque;

/// What a number of events takes of a store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Load {
    /// Events.
    pub(crate) events: u64,
    /// Byte slots, as `byteCapacity` counts them.
    pub(crate) slots: u64,
    /// Bytes of bodies and headers.
    pub(crate) bytes: u64,
}

impl Load {
    /// With `event` added. Slots round each body up and ignore headers, for which
    /// `byteCapacityBufferPercentage` sets a share aside.
    pub(crate) fn with(self, event: &Event, slot_bytes: u64) -> Self {
        let body = u64::try_from(event.body.len().max(1)).unwrap_or(u64::MAX);
        Self {
            events: self.events + 1,
            slots: self.slots.saturating_add(body.div_ceil(slot_bytes)),
            bytes: self.bytes.saturating_add(event.size_bytes() as u64),
        }
    }

    /// What `events` take.
    pub(crate) fn of(events: &[Event], slot_bytes: u64) -> Self {
        events.iter().fold(Self::default(), |load, event| load.with(event, slot_bytes))
    }
}

/// A queue of events with a limit on events and on bytes.
pub(crate) struct Store {
    /// Events that wait.
    queue: VecDeque<Event>,
    /// What waits and what is lent.
    held: Load,
    /// Events it holds at most.
    pub(crate) capacity: u64,
    /// Slots it holds at most.
    pub(crate) slots_max: u64,
    /// Bytes of one slot, at least 1.
    pub(crate) slot_bytes: u64,
}

impl Store {
    /// An empty store. `byte_capacity` 0 stands for no limit on bytes.
    pub(crate) fn new(
        capacity: u64,
        byte_capacity: u64,
        buffer_percentage: u8,
        slot_bytes: u64,
    ) -> Self {
        let share = u64::from(100 - buffer_percentage.min(100));
        let usable = (u128::from(byte_capacity) * u128::from(share) / 100) as u64;
        let slots_max = match usable / slot_bytes.max(1) {
            0 => u64::MAX,
            slots => slots,
        };
        Self {
            queue: VecDeque::new(),
            held: Load::default(),
            capacity,
            slots_max,
            slot_bytes: slot_bytes.max(1),
        }
    }

    /// What waits and what is lent.
    pub(crate) fn held(&self) -> Load {
        self.held
    }

    /// Events that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Whether `load` has room now.
    pub(crate) fn fits(&self, load: Load) -> bool {
        self.held.events.saturating_add(load.events) <= self.capacity
            && self.held.slots.saturating_add(load.slots) <= self.slots_max
    }

    /// Adds events that fit.
    pub(crate) fn append(&mut self, events: Vec<Event>, load: Load) {
        assert!(self.fits(load), "appended more than fits");
        assert_eq!(load.events, events.len() as u64, "a load is that of its events");
        self.held.events += load.events;
        self.held.slots += load.slots;
        self.held.bytes += load.bytes;
        self.queue.extend(events);
    }

    /// Lends up to `max` events from the front.
    pub(crate) fn lend(&mut self, max: usize) -> Vec<Event> {
        self.queue.drain(..max.min(self.queue.len())).collect()
    }

    /// Hands lent events back to the front, in order.
    pub(crate) fn give_back(&mut self, events: Vec<Event>) {
        for event in events.into_iter().rev() {
            self.queue.push_front(event);
        }
    }

    /// Lets go of lent events for good.
    pub(crate) fn acknowledge(&mut self, load: Load) {
        assert!(self.held.events >= load.events, "acknowledged more than was lent");
        self.held.events -= load.events;
        self.held.slots -= load.slots;
        self.held.bytes -= load.bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_capacity_counts_in_slots_without_the_share_for_headers() {
        let store = Store::new(100, 1000, 20, 100);
        assert_eq!(store.slots_max, 8);
        let hundred = Event::new(vec![0; 100]);
        let longer = Event::new(vec![0; 101]);
        assert_eq!(Load::default().with(&hundred, 100).slots, 1);
        assert_eq!(Load::default().with(&longer, 100).slots, 2);
        assert_eq!(Load::default().with(&Event::new(""), 100).slots, 1, "an empty body takes one");
        assert!(store.fits(Load { events: 8, slots: 8, bytes: 0 }));
        assert!(!store.fits(Load { events: 8, slots: 9, bytes: 0 }));
    }

    #[test]
    fn byte_capacity_zero_or_below_a_slot_is_no_limit() {
        assert_eq!(Store::new(1, 0, 20, 100).slots_max, u64::MAX);
        assert_eq!(Store::new(1, 99, 0, 100).slots_max, u64::MAX);
        assert_eq!(Store::new(1, u64::MAX, 100, 100).slots_max, u64::MAX);
    }
}
