//! `failover`: the sink with the highest priority, and the next one when it fails.
//!
//! A sink that failed pauses for 2 s, 4 s, 8 s … up to `maxpenalty`, and is then tried before the others as soon
//! as there is an event to try it with; what it does not deliver goes to the next one in the same turn. In Flume
//! a failed sink with an empty channel keeps the others from their turn, and after 22 consecutive failures its
//! penalty overflows; neither happens here.

use super::{Processor, ProcessorType};
use crate::settings::flume_names::did_you_mean;
use crate::settings::{Key, KeyKind, SettingError, SettingsReader, Severity};
use std::time::Duration;

/// The type `failover`.
pub(super) const TYPE: ProcessorType = ProcessorType {
    names: &["failover", "org.apache.flume.sink.FailoverSinkProcessor"],
    keys: KEYS,
    build: |reader, sinks| Ok(Box::new(build(reader, sinks)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "priority.*",
        kind: KeyKind::Number,
        default: "",
        meaning: "priority.SINK: the higher, the sooner it is used. Sinks without one come after those that have one, in the order they are listed; so do sinks of the same priority, of which Flume uses one only.",
    },
    Key {
        name: "maxpenalty",
        kind: KeyKind::Number,
        default: "30000",
        meaning: "Longest rest of a sink that failed, in milliseconds.",
    },
];

const PENALTY_MAX_MS: u64 = 30_000;

struct Failover {
    /// By descending priority.
    sinks: Vec<usize>,
    /// By index: consecutive failures, and the end of the pause.
    resting: Vec<Option<(u32, Duration)>>,
    penalty_max: Duration,
}

fn build(reader: &mut SettingsReader<'_>, sinks: &[String]) -> Result<Failover, SettingError> {
    let max = reader.millis("maxpenalty", 0..=i32::MAX as u64)?;
    let mut unset = 0;
    let mut priorities: Vec<(i64, usize)> = Vec::new();
    for (at, sink) in sinks.iter().enumerate() {
        let key = format!("priority.{sink}");
        let priority = reader.number(&key, i64::from(i32::MIN)..=i64::from(i32::MAX));
        let priority = priority.unwrap_or_else(|error| {
            let message = format!("{}; as if it were not set, as in Flume", error.message);
            reader.find(Severity::Warning, &key, message);
            None
        });
        let priority = priority.unwrap_or_else(|| {
            unset -= 1;
            unset
        });
        if priorities.iter().any(|(other, _)| *other == priority) {
            let message = format!(
                "{priority} is the priority of another sink too; {sink} comes after it (Flume would never use it)"
            );
            reader.find(Severity::Warning, &key, message);
        }
        priorities.push((priority, at));
    }
    for key in reader.settings().entries.keys() {
        let Some(sink) = key.strip_prefix("priority.") else { continue };
        if !sinks.iter().any(|known| known == sink) {
            let hint = did_you_mean(sink, sinks.iter().map(String::as_str));
            let message = format!("has no effect: no sink {sink} can be used in the group{hint}");
            reader.find(Severity::Warning, key, message);
        }
    }
    // Stable sort: equal priorities stay in the order in which they are listed.
    priorities.sort_by_key(|(priority, _)| std::cmp::Reverse(*priority));
    Ok(Failover {
        sinks: priorities.into_iter().map(|(_, at)| at).collect(),
        resting: vec![None; sinks.len()],
        penalty_max: max.unwrap_or(Duration::from_millis(PENALTY_MAX_MS)),
    })
}

impl Processor for Failover {
    fn order(&mut self, now: Duration, waits: &dyn Fn(usize) -> bool) -> Vec<usize> {
        let rested = |at: &usize| self.resting[*at].is_some_and(|(_, until)| until < now);
        let mut order: Vec<usize> =
            self.sinks.iter().copied().filter(|at| rested(at) && waits(*at)).collect();
        order.sort_by_key(|at| self.resting[*at].map(|(_, until)| until));
        order.extend(self.sinks.iter().filter(|at| self.resting[**at].is_none()));
        order
    }

    fn delivered(&mut self, at: usize) {
        self.resting[at] = None;
    }

    fn failed(&mut self, at: usize, now: Duration) {
        let failures = self.resting[at].map_or(0, |(failures, _)| failures).saturating_add(1);
        let rest = Duration::from_secs(1 << failures.min(30)).min(self.penalty_max);
        self.resting[at] = Some((failures, now + rest));
    }
}

#[cfg(test)]
mod tests {
    use super::super::built;
    use super::*;

    const SINKS: [&str; 3] = ["k1", "k2", "k3"];

    fn seconds(s: u64) -> Duration {
        Duration::from_secs(s)
    }

    #[test]
    fn the_highest_priority_goes_first_and_rests_longer_with_each_failure() {
        let pairs = [("priority.k1", "5"), ("priority.k2", "10")];
        let mut processor = built(&TYPE, &pairs, &SINKS).0.unwrap();
        let order = |p: &mut Box<dyn Processor>, now| p.order(seconds(now), &|_| true);
        assert_eq!(order(&mut processor, 0), [1, 0, 2]);
        let mut now = 100;
        for rest in [2, 4, 8, 16, 30, 30] {
            processor.failed(1, seconds(now));
            assert_eq!(order(&mut processor, now + rest), [0, 2], "it rests {rest} s");
            assert_eq!(order(&mut processor, now + rest + 1), [1, 0, 2]);
            now += 100;
        }
        processor.delivered(1);
        processor.failed(1, seconds(now));
        assert_eq!(order(&mut processor, now + 3), [1, 0, 2], "success forgets the failures");
    }

    #[test]
    fn a_penalty_never_overflows() {
        let mut processor = built(&TYPE, &[("maxpenalty", "2000000000")], &["k1"]).0.unwrap();
        for _ in 0..100 {
            processor.failed(0, seconds(1));
            assert!(processor.order(seconds(2), &|_| true).is_empty());
        }
    }

    #[test]
    fn a_rested_sink_without_an_event_does_not_keep_the_others() {
        let mut processor = built(&TYPE, &[], &SINKS).0.unwrap();
        processor.failed(0, seconds(0));
        assert_eq!(processor.order(seconds(60), &|at| at != 0), [1, 2]);
        processor.failed(2, seconds(1));
        processor.failed(1, seconds(2));
        assert_eq!(processor.order(seconds(60), &|_| true), [0, 2, 1], "the longest rested first");
    }

    #[test]
    fn a_priority_of_a_sink_that_is_not_in_the_group_is_said_to_have_no_effect() {
        let pairs = [("priority.k1", "5"), ("priority.k22", "7")];
        let findings = built(&TYPE, &pairs, &SINKS).1;
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].contains("no sink k22") && findings[0].contains("did you mean k2?"));
    }

    #[test]
    fn equal_and_unreadable_priorities_are_said_and_used() {
        let pairs = [("priority.k1", "5"), ("priority.k2", "5"), ("priority.k3", "high")];
        let (processor, findings) = built(&TYPE, &pairs, &SINKS);
        assert_eq!(processor.unwrap().order(seconds(0), &|_| true), [0, 1, 2]);
        assert_eq!(findings.len(), 2);
        assert!(findings[0].contains("priority.k2: 5 is the priority of another"), "{findings:?}");
        assert!(findings[1].contains("priority.k3") && findings[1].contains("high"));
    }
}
