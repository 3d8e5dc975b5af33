//! Events in memory and their size: the part that the memory channel and the memory tier of the
//! spillable channel share. No lock, no waiting.

use crate::base::event_ages::EventAges;
use crate::base::ranges::RangeSet;
use crate::event::Event;
use std::collections::VecDeque;
use std::time::Duration;

/// The share of a store that a number of events takes.
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
    /// Returns the load with `event` added. Slots round each body up and ignore headers, for which
    /// `byteCapacityBufferPercentage` reserves a share.
    pub(crate) fn with(self, event: &Event, slot_bytes: u64) -> Self {
        let body = u64::try_from(event.body.len().max(1)).unwrap_or(u64::MAX);
        Self {
            events: self.events + 1,
            slots: self.slots.saturating_add(body.div_ceil(slot_bytes)),
            bytes: self.bytes.saturating_add(event.size_bytes() as u64),
        }
    }

    /// Returns the load of `events`.
    pub(crate) fn of(events: &[Event], slot_bytes: u64) -> Self {
        events.iter().fold(Self::default(), |load, event| load.with(event, slot_bytes))
    }
}

/// Events that left the queue, to be acknowledged or handed back.
#[derive(Default)]
pub(crate) struct Loan {
    /// In the order in which they were lent.
    pub(crate) events: Vec<Event>,
    /// Their sequences, `start..end`, in the same order.
    ranges: Vec<(u64, u64)>,
}

impl Loan {
    /// Adds a loan that was lent after it.
    pub(crate) fn extend(&mut self, more: Self) {
        self.events.extend(more.events);
        self.ranges.extend(more.ranges);
    }
}

/// A queue of events with a limit on events and on bytes.
pub(crate) struct Store {
    /// Events that wait.
    queue: VecDeque<Event>,
    /// Their sequences, `start..end`, in the order of the queue: one range, except for events
    /// handed back.
    ranges: VecDeque<(u64, u64)>,
    /// Sequence of the next event.
    next: u64,
    /// Sequences of acknowledged events.
    gone: RangeSet,
    ages: EventAges,
    /// The load of waiting and lent events.
    held: Load,
    /// Events it holds at most.
    pub(crate) capacity: u64,
    /// Slots it holds at most.
    pub(crate) slots_max: u64,
    /// Bytes of one slot, at least 1.
    pub(crate) slot_bytes: u64,
}

impl Store {
    /// Returns an empty store. `byte_capacity` 0 means no limit on bytes.
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
            ranges: VecDeque::new(),
            next: 0,
            gone: RangeSet::default(),
            ages: EventAges::new(Duration::ZERO),
            held: Load::default(),
            capacity,
            slots_max,
            slot_bytes: slot_bytes.max(1),
        }
    }

    /// Returns the load of waiting and lent events.
    pub(crate) fn held(&self) -> Load {
        self.held
    }

    /// Returns the number of waiting events.
    pub(crate) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// Returns whether `load` fits now.
    pub(crate) fn fits(&self, load: Load) -> bool {
        self.held.events.saturating_add(load.events) <= self.capacity
            && self.held.slots.saturating_add(load.slots) <= self.slots_max
    }

    /// Returns the age of the oldest event that waits or is lent; zero without one.
    pub(crate) fn oldest(&self, now: Duration) -> Duration {
        match self.held.events {
            0 => Duration::ZERO,
            _ => now.saturating_sub(self.ages.latest_arrival(self.gone.frontier())),
        }
    }

    /// Adds events that fit.
    pub(crate) fn append(&mut self, events: Vec<Event>, load: Load, now: Duration) {
        assert!(self.fits(load), "appended more than fits");
        assert_eq!(load.events, events.len() as u64, "a load is that of its events");
        self.held.events += load.events;
        self.held.slots += load.slots;
        self.held.bytes += load.bytes;
        self.queue.extend(events);
        let first = self.next;
        self.next += load.events;
        self.ages.arrived(first, self.gone.frontier(), now);
        match self.ranges.back_mut() {
            Some((_, end)) if *end == first => *end = self.next,
            _ if load.events > 0 => self.ranges.push_back((first, self.next)),
            _ => {}
        }
    }

    /// Lends up to `max` events from the front.
    pub(crate) fn lend(&mut self, max: usize) -> Loan {
        let events: Vec<Event> = self.queue.drain(..max.min(self.queue.len())).collect();
        let mut left = events.len() as u64;
        let mut ranges = Vec::new();
        while left > 0 {
            let (start, end) =
                self.ranges.pop_front().expect("each event of the queue has a sequence");
            let cut = end.min(start + left);
            if cut < end {
                self.ranges.push_front((cut, end));
            }
            ranges.push((start, cut));
            left -= cut - start;
        }
        Loan { events, ranges }
    }

    /// Hands lent events back to the front, in order.
    pub(crate) fn give_back(&mut self, loan: Loan) {
        for event in loan.events.into_iter().rev() {
            self.queue.push_front(event);
        }
        for (start, end) in loan.ranges.into_iter().rev() {
            match self.ranges.front_mut() {
                Some((first, _)) if *first == end => *first = start,
                _ => self.ranges.push_front((start, end)),
            }
        }
    }

    /// Removes lent events for good; returns their load.
    pub(crate) fn acknowledge(&mut self, loan: &Loan) -> Load {
        let load = Load::of(&loan.events, self.slot_bytes);
        assert!(self.held.events >= load.events, "acknowledged more than was lent");
        self.held.events -= load.events;
        self.held.slots -= load.slots;
        self.held.bytes -= load.bytes;
        for (start, end) in &loan.ranges {
            self.gone.insert(*start, *end);
        }
        load
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
    fn the_oldest_is_the_first_unacknowledged_event_wherever_it_is() {
        let seconds = Duration::from_secs;
        let mut store = Store::new(1000, 0, 20, 100);
        assert_eq!(store.oldest(seconds(9)), Duration::ZERO);
        for at in 10..20 {
            let events = vec![Event::new("a"), Event::new("b")];
            let load = Load::of(&events, 100);
            store.append(events, load, seconds(at));
        }
        assert_eq!(store.oldest(seconds(30)), seconds(20), "it waits");
        let (held, next, third) = (store.lend(3), store.lend(1), store.lend(10));
        store.acknowledge(&third);
        assert_eq!(
            store.oldest(seconds(30)),
            seconds(20),
            "it is lent, and others were taken before it"
        );
        store.acknowledge(&held);
        assert_eq!(store.oldest(seconds(30)), seconds(19));
        store.give_back(next);
        assert_eq!(store.oldest(seconds(30)), seconds(19), "it came back");
        let one = store.lend(1);
        store.acknowledge(&one);
        assert_eq!(store.oldest(seconds(30)), seconds(13));
        // Two that come back in the wrong order, and leave in pieces.
        let (first, second) = (store.lend(2), store.lend(2));
        store.give_back(first);
        store.give_back(second);
        assert_eq!(store.oldest(seconds(30)), seconds(13));
        let later = store.lend(2);
        store.acknowledge(&later);
        assert_eq!(store.oldest(seconds(30)), seconds(13), "the later ones went first");
        let rest = store.lend(100);
        assert_eq!(rest.events.len(), 4);
        store.acknowledge(&rest);
        assert_eq!(store.oldest(seconds(30)), Duration::ZERO);
        assert_eq!(store.held(), Load::default());
    }

    #[test]
    fn byte_capacity_zero_or_below_a_slot_is_no_limit() {
        assert_eq!(Store::new(1, 0, 20, 100).slots_max, u64::MAX);
        assert_eq!(Store::new(1, 99, 0, 100).slots_max, u64::MAX);
        assert_eq!(Store::new(1, u64::MAX, 100, 100).slots_max, u64::MAX);
    }
}
