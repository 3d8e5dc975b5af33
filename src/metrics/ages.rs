//! How long the oldest event of a queue waits.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Time between two marks while there are few.
const STEP: Duration = Duration::from_secs(1);
/// Marks at most, 16 bytes and a bit each: at the next one every second goes, and the step doubles.
const MARKS_MAX: usize = 1024;

/// When events came into a queue that gives them back in about the order in which they came.
///
/// One mark a second says how many had come before that moment; an event is as old as the newest mark
/// that it came behind, so never taken for younger than it is. Of a queue with hours of events the marks
/// are further apart, at most a part in 500 of what waits. Events that were there at the beginning
/// count from then: nobody knows how long they had waited.
#[derive(Debug)]
pub struct Ages {
    /// Events that came, with those that were there.
    put: AtomicU64,
    /// Nanoseconds of the clock from which a further mark is due.
    due: AtomicU64,
    marks: Mutex<Marks>,
}

#[derive(Debug)]
struct Marks {
    /// Events that had come before, and when; both only grow.
    marks: VecDeque<(u64, Duration)>,
    step: Duration,
}

impl Ages {
    /// Of a queue in which `there` events wait `now`.
    #[must_use]
    pub fn new(there: u64, now: Duration) -> Self {
        let marks = Marks { marks: VecDeque::from([(0, now)]), step: STEP };
        Self {
            put: AtomicU64::new(there),
            due: AtomicU64::new(nanos(now)),
            marks: Mutex::new(marks),
        }
    }

    /// `events` have come `now`.
    pub fn came(&self, events: u64, now: Duration) {
        let before = self.put.fetch_add(events, Ordering::Relaxed);
        if nanos(now) < self.due.load(Ordering::Relaxed) {
            return;
        }
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        // Others may have come meanwhile, and marked a later moment.
        if marks.marks.back().is_none_or(|(last, at)| *last <= before && *at <= now) {
            marks.add(before, now);
            self.due.store(nanos(now + marks.step), Ordering::Relaxed);
        }
    }

    /// How long the oldest waits `now` that `waiting` are left; zero when none is.
    #[must_use]
    pub fn oldest(&self, waiting: u64, now: Duration) -> Duration {
        let gone = self.put.load(Ordering::Relaxed).saturating_sub(waiting);
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        marks.forget_below(gone);
        let since = marks.marks.front().map_or(now, |(_, at)| *at);
        if waiting == 0 { Duration::ZERO } else { now.saturating_sub(since) }
    }
}

impl Marks {
    fn add(&mut self, before: u64, now: Duration) {
        if self.marks.len() >= MARKS_MAX {
            let mut at = 0;
            self.marks.retain(|_| {
                at += 1;
                at % 2 == 1
            });
            self.step *= 2;
        }
        self.marks.push_back((before, now));
    }

    /// Forgets the marks behind which only events that went came.
    fn forget_below(&mut self, gone: u64) {
        while self.marks.get(1).is_some_and(|(before, _)| *before <= gone) {
            self.marks.pop_front();
        }
        if self.marks.len() < MARKS_MAX / 4 {
            self.step = STEP;
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    #[test]
    fn an_event_is_as_old_as_the_moment_it_came_at() {
        let ages = Ages::new(0, seconds(5));
        assert_eq!(ages.oldest(0, seconds(9)), Duration::ZERO);
        for at in 10..20 {
            ages.came(100, seconds(at));
        }
        assert_eq!(ages.oldest(1000, seconds(20)), seconds(10));
        assert_eq!(ages.oldest(901, seconds(20)), seconds(10));
        assert_eq!(ages.oldest(900, seconds(20)), seconds(9));
        assert_eq!(ages.oldest(1, seconds(20)), seconds(1));
        assert_eq!(ages.oldest(0, seconds(20)), Duration::ZERO);
        // What comes into a queue that was empty for an hour is young.
        ages.came(1, seconds(4000));
        assert_eq!(ages.oldest(1, seconds(4000)), Duration::ZERO);
        assert_eq!(ages.oldest(1, seconds(4003)), seconds(3));
    }

    #[test]
    fn what_was_there_counts_from_the_beginning() {
        let ages = Ages::new(7, seconds(5));
        assert_eq!(ages.oldest(7, seconds(6)), seconds(1));
        ages.came(1, seconds(60));
        assert_eq!(ages.oldest(8, seconds(65)), seconds(60));
        assert_eq!(ages.oldest(1, seconds(65)), seconds(5));
    }

    #[test]
    fn a_week_that_nobody_takes_costs_a_thousand_marks_and_little_precision() {
        let ages = Ages::new(0, Duration::ZERO);
        let week = 7 * 86_400;
        for at in 0..week {
            ages.came(1, seconds(at));
        }
        assert!(ages.marks.lock().unwrap().marks.len() <= MARKS_MAX);
        for waiting in [week, week / 2, 3600] {
            let age = ages.oldest(waiting, seconds(week)).as_secs();
            assert!((waiting..=waiting + week / 500).contains(&age), "{waiting}: {age}");
        }
        // Behind it the marks are as close as at first.
        assert_eq!(ages.oldest(1, seconds(week)).as_secs() / 2048, 0);
        for at in week..week + 10 {
            ages.came(1, seconds(at));
        }
    }
}
