//! The age of the oldest event of a queue.

use std::collections::VecDeque;
use std::time::Duration;

/// Time between two marks while there are few.
const STEP: Duration = Duration::from_secs(1);
/// Most marks, 24 bytes each. At the limit every second mark is removed and the step doubles.
const MARKS_MAX: usize = 1024;

/// Arrival times of the events of a queue, by sequence (a number in the order of arrival).
///
/// One mark per second stores the sequence from which on events arrived at that time or later; the age of an
/// event is that of the newest mark at or before it. So an age is never underestimated, whatever the order in
/// which events leave: callers pass the first sequence that has not left. For a queue with hours of events the
/// marks are further apart, by at most 1/500 of the remembered time. Events present at the beginning count from
/// then, because their real age is unknown.
#[derive(Debug)]
pub struct EventAges {
    /// First sequence and time of each mark; both only grow, and there is always one mark.
    marks: VecDeque<(u64, Duration)>,
    step: Duration,
}

impl EventAges {
    /// Returns the ages of a queue that is opened at `now` with its present content.
    #[must_use]
    pub fn new(now: Duration) -> Self {
        Self { marks: VecDeque::from([(0, now)]), step: STEP }
    }

    /// Records that events arrived at `now`, the first with the sequence `first`. Sequences below `frontier` will
    /// not be queried again.
    pub fn arrived(&mut self, first: u64, frontier: u64, now: Duration) {
        if frontier >= first {
            // No earlier event waits.
            self.marks.clear();
            self.marks.push_back((first, now));
            self.step = STEP;
            return;
        }
        self.remove_below(frontier);
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

    /// Returns the latest time at which the event `sequence` can have arrived.
    #[must_use]
    pub fn latest_arrival(&self, sequence: u64) -> Duration {
        let count = self.marks.partition_point(|(first, _)| *first <= sequence);
        // Before the first mark: uses the oldest known time.
        self.marks.get(count.saturating_sub(1)).map_or(Duration::ZERO, |(_, at)| *at)
    }

    /// Removes marks that cover only events below `frontier`.
    fn remove_below(&mut self, frontier: u64) {
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
        let mut ages = EventAges::new(seconds(5));
        for at in 10..20 {
            ages.arrived((at - 10) * 100, 0, seconds(at));
        }
        for (sequence, came) in [(0, 10), (99, 10), (100, 11), (999, 19)] {
            assert_eq!(ages.latest_arrival(sequence), seconds(came), "{sequence}");
        }
        // Events that arrive in a queue that was empty for an hour are young.
        ages.arrived(1000, 1000, seconds(4000));
        assert_eq!(ages.latest_arrival(1000), seconds(4000));
        assert_eq!(ages.marks.len(), 1, "marks below the frontier are removed");
    }

    #[test]
    fn what_was_there_counts_from_the_beginning() {
        let mut ages = EventAges::new(seconds(5));
        assert_eq!(ages.latest_arrival(6), seconds(5));
        ages.arrived(7, 0, seconds(60));
        assert_eq!(ages.latest_arrival(6), seconds(5));
        assert_eq!(ages.latest_arrival(7), seconds(60));
    }

    #[test]
    fn a_week_without_takes_costs_a_thousand_marks_and_little_precision() {
        let mut ages = EventAges::new(Duration::ZERO);
        let week = 7 * 86_400;
        for at in 0..week {
            ages.arrived(at, 0, seconds(at));
        }
        assert!(ages.marks.len() <= MARKS_MAX);
        for sequence in [0, week / 2, week - 3600] {
            let (age, waited) = (week - ages.latest_arrival(sequence).as_secs(), week - sequence);
            assert!((waited..=waited + week / 500).contains(&age), "{waited}: {age}");
        }
        // After all of it, or all but three events, has left, the marks are as close as at first.
        for left in [3, 0] {
            for at in week..week + 10 {
                ages.arrived(at, at - left, seconds(at));
                let age = (at - ages.latest_arrival(at - left).as_secs()).saturating_sub(left);
                let allowed = if at < week + 2 * left { 3000 } else { 1 };
                assert!(age <= allowed, "{left} left, at {at}: {age}");
            }
        }
    }
}
