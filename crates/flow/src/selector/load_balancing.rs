//! `load_balancing`: each event to one channel, in turn or at random.

use super::{EventRoute, Selector, SelectorType};
use crate::settings::{Key, KeyKind};
use millpond::Event;
use millpond::internal::base::random::{Random, SystemRandom};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The type `load_balancing`. In Flume 1.10 and 1.11 it cannot be configured by this name.
pub(super) const TYPE: SelectorType = SelectorType {
    names: &["load_balancing", "org.apache.flume.channel.LoadBalancingChannelSelector"],
    keys: &[Key {
        name: "policy",
        kind: KeyKind::Word,
        default: "round_robin",
        meaning: "round_robin: one channel after the other; random: drawn for each event.",
    }],
    build: |reader, channels| {
        let policy = reader.word("policy", &["round_robin", "random"])?;
        Ok(Box::new(LoadBalancing {
            places: (0..channels.len()).collect(),
            next: AtomicUsize::new(0),
            drawn: policy == Some("random"),
        }))
    },
};

struct LoadBalancing {
    places: Vec<usize>,
    next: AtomicUsize,
    drawn: bool,
}

impl Selector for LoadBalancing {
    fn is_repeatable(&self) -> bool {
        false
    }

    fn route(&self, _event: &Event) -> EventRoute<'_> {
        let turn = match self.drawn {
            // The low bits are as random as the whole number.
            true => SystemRandom.next_u64() as usize,
            false => self.next.fetch_add(1, Ordering::Relaxed),
        };
        let at = turn % self.places.len();
        EventRoute { required: &self.places[at..=at], optional: &[] }
    }
}

#[cfg(test)]
mod tests {
    use super::super::built;
    use super::*;

    fn turns(pairs: &[(&str, &str)], count: usize) -> Vec<usize> {
        let selector = built(&TYPE, pairs, &["c1", "c2", "c3"]).unwrap();
        (0..count)
            .map(|_| match selector.route(&Event::new("")) {
                EventRoute { required: [at], optional: [] } => *at,
                other => panic!("one channel, not {other:?}"),
            })
            .collect()
    }

    #[test]
    fn each_event_goes_to_one_channel_in_turn() {
        assert_eq!(turns(&[], 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn drawn_channels_are_all_drawn() {
        let drawn = turns(&[("policy", "random")], 300);
        // The probability that 300 draws miss one of three is 10^-52.
        assert!((0..3).all(|at| drawn.contains(&at)));
        assert!(built(&TYPE, &[("policy", "x")], &["c1"]).is_err());
    }
}
