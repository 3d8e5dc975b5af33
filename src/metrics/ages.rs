//! How long the oldest event of a queue has waited.

use std::collections::VecDeque;
use std::time::Duration;

/// Time between two marks while there are few.
const STEP: Duration = Duration::from_secs(1);
/// Marks at most, 24 bytes each: at the next one every second goes, and the step doubles.
const MARKS_MAX: usize = 1024;

/// When the events of a queue came, by their sequences: numbers in the order of coming.
///
/// One mark a second says from which sequence on events came at that moment or later; an event is as old as
/// the newest mark that it came behind. So it is never taken for younger than it is, in whatever order events
/// leave: whoever asks names the first that has not left. Of a queue with hours of events the marks are further
/// apart, at most a part in 500 of what is remembered. Events that were there at the beginning count from then:
/// nobody knows how long they had waited.
#[derive(Debug)]
pub struct Ages {
    /// From which sequence on events came no earlier than when; both only grow, and there is always one.
    marks: VecDeque<(u64, Duration)>,
    step: Duration,
}

impl Ages {
    /// Of a queue that begins `now`, with what is in it.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { marks: VecDeque::from([(0, now)]), step: STEP }
    }

    /// Events have come `now`, the first of them with the sequence `first`; nobody will ask for one below
    /// `frontier` again.
    pub fn came(&mut self, first: u64, frontier: u64, now: Duration) {
        if frontier >= first {
            // Nothing waits in front of them.
            self.marks.clear();
            self.marks.push_back((first, now));
            self.step = STEP;
            return;
        }
        self.forget_below(frontier);
        if self.marks.back().is_some_and(|(_, at)| now < at.saturating_add(self.step)) {
            return;
        }
        if self.marks.len() >= MARKS_MAX {
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.step *= 2;
        }
        self.marks.push_back((first, now));
    }

    /// When the event `sequence` came, at the latest.
    #[must_use]
    pub fn since(&self, sequence: u64) -> Duration {
        let behind = self.marks.partition_point(|(first, _)| *first <= sequence);
        // Behind none is what was forgotten too early: as old as the oldest that is known.
        self.marks.get(behind.saturating_sub(1)).map_or(Duration::ZERO, |(_, at)| *at)
    }

    /// Forgets the marks behind which only events below `frontier` came.
    fn forget_below(&mut self, frontier: u64) {
        while self.marks.get(1).is_some_and(|(first, _)| *first <= frontier) {
            self.marks.pop_front();
        }
        if self.marks.len() < MARKS_MAX / 4 {
            self.step = STEP;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn an_event_is_as_old_as_the_moment_it_came_at() {
        let mut ages = Ages::new(seconds(5));
        for at in 10..20 {
            ages.came((at - 10) * 100, 0, seconds(at));
        }
        for (sequence, came) in [(0, 10), (99, 10), (100, 11), (999, 19)] {
            assert_eq!(ages.since(sequence), seconds(came), "{sequence}");
        }
        // What comes into a queue that was empty for an hour is young.
        ages.came(1000, 1000, seconds(4000));
        assert_eq!(ages.since(1000), seconds(4000));
        assert_eq!(ages.marks.len(), 1, "what nobody will ask for is forgotten");
    }

    #[test]
    fn what_was_there_counts_from_the_beginning() {
        let mut ages = Ages::new(seconds(5));
        assert_eq!(ages.since(6), seconds(5));
        ages.came(7, 0, seconds(60));
        assert_eq!(ages.since(6), seconds(5));
        assert_eq!(ages.since(7), seconds(60));
    }

    #[test]
    fn a_week_that_nobody_takes_costs_a_thousand_marks_and_little_precision() {
        let mut ages = Ages::new(Duration::ZERO);
        let week = 7 * 86_400;
        for at in 0..week {
            ages.came(at, 0, seconds(at));
        }
        assert!(ages.marks.len() <= MARKS_MAX);
        for sequence in [0, week / 2, week - 3600] {
            let (age, waited) = (week - ages.since(sequence).as_secs(), week - sequence);
            assert!((waited..=waited + week / 500).contains(&age), "{waited}: {age}");
        }
        // Once that is gone, all but three events of it or all, the marks are as close as at first.
        for left in [3, 0] {
            for at in week..week + 10 {
                ages.came(at, at - left, seconds(at));
                let age = (at - ages.since(at - left).as_secs()).saturating_sub(left);
                let allowed = if at < week + 2 * left { 3000 } else { 1 };
                assert!(age <= allowed, "{left} left, at {at}: {age}");
            }
        }
    }
}
