//! `load_balance`: the sinks in turn or in random order, and the next one when one fails.
//!
//! With `backoff` a sink that failed is left out for 1 s, 2 s, 4 s … up to `selector.maxTimeOut`. In Flume only
//! an hour without a failure shortens that again; here a delivery does. When all are left out, Flume's random
//! order ends in an error; here the group pauses.

use super::{Processor, ProcessorType};
use crate::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond::internal::base::random::{Random, SystemRandom};
use std::time::Duration;

/// The type `load_balance`.
pub(super) const TYPE: ProcessorType = ProcessorType {
    names: &["load_balance", "org.apache.flume.sink.LoadBalancingSinkProcessor"],
    keys: KEYS,
    build: |reader, sinks| Ok(Box::new(build(reader, sinks)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "selector",
        kind: KeyKind::Word,
        default: "round_robin",
        meaning: "round_robin: one sink after the other; random: in an order drawn each time.",
    },
    Key {
        name: "backoff",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Whether a sink that failed is left out for a while.",
    },
    Key {
        name: "selector.maxTimeOut",
        kind: KeyKind::Number,
        default: "30000",
        meaning: "Longest time that it is left out, in milliseconds; 0 for the default.",
    },
];

const TIMEOUT_MAX_MS: u64 = 30_000;
/// Most doublings of the first second.
const DOUBLINGS_MAX: u32 = 16;

struct LoadBalance {
    next: usize,
    drawn: bool,
    /// The longest time that a sink is left out; `None` without back-off.
    timeout_max: Option<Duration>,
    /// By index: failures since the last delivery, and the end of the time that it is left out.
    left_out: Vec<(u32, Duration)>,
}

fn build(reader: &mut SettingsReader<'_>, sinks: &[String]) -> Result<LoadBalance, SettingError> {
    let drawn = reader.word("selector", &["round_robin", "random"])? == Some("random");
    let max = reader.millis("selector.maxTimeOut", 0..=i32::MAX as u64)?;
    let max = max.filter(|max| !max.is_zero()).unwrap_or(Duration::from_millis(TIMEOUT_MAX_MS));
    Ok(LoadBalance {
        next: 0,
        drawn,
        timeout_max: reader.boolean("backoff", false).then_some(max),
        left_out: vec![(0, Duration::ZERO); sinks.len()],
    })
}

impl Processor for LoadBalance {
    fn order(&mut self, now: Duration, _: &dyn Fn(usize) -> bool) -> Vec<usize> {
        let may = |at: &usize| self.left_out[*at].1 <= now;
        let mut order: Vec<usize> = (0..self.left_out.len()).filter(may).collect();
        if order.is_empty() {
            return order;
        }
        if self.drawn {
            for end in (1..order.len()).rev() {
                // Fisher-Yates shuffle; the modulo bias of a few sinks in 2^64 is negligible.
                order.swap(end, (SystemRandom.next_u64() % (end as u64 + 1)) as usize);
            }
        } else {
            let start = self.next % order.len();
            self.next = start + 1;
            order.rotate_left(start);
        }
        order
    }

    fn spreads(&self) -> bool {
        true
    }

    fn delivered(&mut self, at: usize) {
        self.left_out[at] = (0, Duration::ZERO);
    }

    fn failed(&mut self, at: usize, now: Duration) {
        let Some(max) = self.timeout_max else { return };
        let failures = self.left_out[at].0;
        let timeout = Duration::from_secs(1 << failures.min(DOUBLINGS_MAX)).min(max);
        self.left_out[at] = (failures.saturating_add(1), now + timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::super::built;
    use super::*;

    const SINKS: [&str; 3] = ["k1", "k2", "k3"];

    fn order(processor: &mut Box<dyn Processor>, ms: u64) -> Vec<usize> {
        processor.order(Duration::from_millis(ms), &|_| true)
    }

    #[test]
    fn sinks_take_turns_and_a_failure_passes_to_the_next() {
        let mut processor = built(&TYPE, &[], &SINKS).0.unwrap();
        let turns: Vec<Vec<usize>> = (0..4).map(|_| order(&mut processor, 0)).collect();
        assert_eq!(turns, [[0, 1, 2], [1, 2, 0], [2, 0, 1], [0, 1, 2]]);
        processor.failed(1, Duration::ZERO);
        assert_eq!(order(&mut processor, 0).len(), 3, "without backoff none is left out");
    }

    #[test]
    fn with_backoff_a_failed_sink_is_left_out_longer_each_time() {
        let mut processor = built(&TYPE, &[("backoff", "true")], &SINKS).0.unwrap();
        for ms in [1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            processor.failed(1, Duration::from_secs(100));
            assert!(!order(&mut processor, 100_000 + ms - 1).contains(&1), "{ms}");
            assert!(order(&mut processor, 100_000 + ms).contains(&1), "{ms}");
        }
        processor.delivered(1);
        processor.failed(1, Duration::from_secs(100));
        assert!(order(&mut processor, 101_000).contains(&1), "a delivery forgets the failures");
        (0..3).for_each(|at| processor.failed(at, Duration::from_secs(200)));
        assert!(order(&mut processor, 200_500).is_empty());
    }

    #[test]
    fn a_drawn_order_has_every_sink_once_and_all_come_first() {
        let mut processor = built(&TYPE, &[("selector", "random")], &SINKS).0.unwrap();
        let mut firsts = [0; 3];
        for _ in 0..300 {
            let mut drawn = order(&mut processor, 0);
            firsts[drawn[0]] += 1;
            drawn.sort_unstable();
            assert_eq!(drawn, [0, 1, 2]);
        }
        assert!(firsts.iter().all(|n| *n > 0), "{firsts:?}");
        let class = built(&TYPE, &[("selector", "com.example.Own")], &SINKS).0.err().unwrap();
        assert!(class.contains("round_robin"), "{class}");
    }
}
