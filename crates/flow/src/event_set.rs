//! Events by their places in channels: which ones a file has, and which ones are delivered.
//!
//! As text, for what a sink keeps of them: `CHANNEL/STRIPE:START-END,START-END CHANNEL/STRIPE:…`, the channel in hexadecimal digits, each
//! end exclusive.

use millpond::{EventRange, StripeIndex};
use std::collections::BTreeMap;
use std::fmt;

/// The place of one event in its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPlace {
    /// The stripe.
    pub stripe: u16,
    /// The sequence in the stripe.
    pub sequence: u64,
}

/// A set of events: for each channel and stripe, disjoint ranges of sequences that do not touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventSet(BTreeMap<(u128, u16), BTreeMap<u64, u64>>);

impl EventSet {
    /// Returns the events of `places` in `channel`.
    #[must_use]
    pub fn of(channel: u128, places: &[EventPlace]) -> Self {
        let mut set = Self::default();
        for place in places {
            set.add(channel, place.stripe, place.sequence, place.sequence.saturating_add(1));
        }
        set
    }

    /// Adds `start..end`.
    pub fn add(&mut self, channel: u128, stripe: u16, start: u64, end: u64) {
        if start >= end {
            return;
        }
        let ranges = self.0.entry((channel, stripe)).or_default();
        let (mut start, mut end) = (start, end);
        // From the last one that begins at or before the start; all that touch become one.
        let first = ranges.range(..=start).next_back().filter(|(_, e)| **e >= start);
        let first = first.map_or(start, |(first, _)| *first);
        let touching: Vec<u64> = ranges.range(first..=end).map(|(first, _)| *first).collect();
        for key in touching {
            if let Some(e) = ranges.remove(&key) {
                (start, end) = (start.min(key), end.max(e));
            }
        }
        ranges.insert(start, end);
    }

    /// Adds all events of `other`.
    pub fn join(&mut self, other: &Self) {
        for (&(channel, stripe), ranges) in &other.0 {
            for (&start, &end) in ranges {
                self.add(channel, stripe, start, end);
            }
        }
    }

    /// Returns true if it has the event at `place` of `channel`.
    #[must_use]
    pub fn contains(&self, channel: u128, place: EventPlace) -> bool {
        let ranges = self.0.get(&(channel, place.stripe));
        let last = ranges.and_then(|ranges| ranges.range(..=place.sequence).next_back());
        last.is_some_and(|(_, end)| place.sequence < *end)
    }

    /// Returns true if it has no event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns how many ranges there are.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.0.values().map(BTreeMap::len).sum()
    }

    /// Returns the ranges of `channel`.
    #[must_use]
    pub fn ranges(&self, channel: u128) -> Vec<EventRange> {
        let of_channel = self.0.range((channel, 0)..=(channel, u16::MAX));
        let range = |stripe: u16, (&start, &end): (&u64, &u64)| EventRange {
            stripe: StripeIndex(stripe),
            start,
            end,
        };
        of_channel
            .flat_map(|(&(_, stripe), ranges)| ranges.iter().map(move |one| range(stripe, one)))
            .collect()
    }

    /// Replaces what it has of `channel` by `ranges`.
    pub fn replace(&mut self, channel: u128, ranges: &[EventRange]) {
        self.0.retain(|(of, _), _| *of != channel);
        for range in ranges {
            self.add(channel, range.stripe.0, range.start, range.end);
        }
    }

    /// Reads the text of a set; `None` if it is not one.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let mut set = Self::default();
        for part in text.split(' ').filter(|part| !part.is_empty()) {
            let (place, ranges) = part.split_once(':')?;
            let (channel, stripe) = place.split_once('/')?;
            let (channel, stripe) = (u128::from_str_radix(channel, 16).ok()?, stripe.parse().ok()?);
            for range in ranges.split(',') {
                let (start, end) = range.split_once('-')?;
                set.add(channel, stripe, start.parse().ok()?, end.parse().ok()?);
            }
        }
        Some(set)
    }
}

impl fmt::Display for EventSet {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, ((channel, stripe), ranges)) in self.0.iter().enumerate() {
            let gap = if n == 0 { "" } else { " " };
            write!(to, "{gap}{channel:x}/{stripe}")?;
            for (n, (start, end)) in ranges.iter().enumerate() {
                let mark = if n == 0 { ':' } else { ',' };
                write!(to, "{mark}{start}-{end}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_set_has_what_was_added_and_its_text_reads_back(
            added in proptest::collection::vec((0_u16..2, 0_u64..40, 1_u64..9), 0..40)
        ) {
            let (mut set, mut model) = (EventSet::default(), BTreeSet::new());
            for (stripe, start, count) in added {
                set.add(7, stripe, start, start + count);
                model.extend((start..start + count).map(|sequence| (stripe, sequence)));
            }
            for stripe in 0..2 {
                for sequence in 0..60 {
                    let place = EventPlace { stripe, sequence };
                    prop_assert_eq!(set.contains(7, place), model.contains(&(stripe, sequence)));
                    prop_assert!(!set.contains(8, place));
                }
            }
            let ranges = set.ranges(7);
            prop_assert!(ranges.windows(2).all(|w| w[0].stripe != w[1].stripe || w[0].end < w[1].start));
            prop_assert_eq!(EventSet::read(&set.to_string()), Some(set));
        }
    }

    #[test]
    fn a_text_that_is_not_a_set_is_refused() {
        for text in ["x", "7/0", "7/0:5", "7/0:5-", "7/0:5-6,", "g/0:1-2", "7/70000:1-2"] {
            assert_eq!(EventSet::read(text), None, "{text}");
        }
    }
}
