//! Logs which sinks of a group deliver, when that changes, not at each batch.
//!
//! Limits: [`LINES_MAX`] lines in [`WINDOW`]; further changes are merged into the next line.

use std::time::Duration;

/// Time window in which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// Most lines of a group within the window: a sink that fails every other batch changes the state all the time.
const LINES_MAX: u32 = 4;

/// The sinks of a group that deliver, and the state that was logged last.
#[derive(Debug)]
pub(super) struct ActiveSinks {
    /// True if several sinks deliver in turn; otherwise only the last one that delivered counts.
    spread: bool,
    now: Vec<bool>,
    last: Option<usize>,
    /// True if the last batch was delivered by another sink than the one before.
    has_moved: bool,
    said: Vec<bool>,
    window_from: Duration,
    lines: u32,
}

impl ActiveSinks {
    pub(super) fn new(spread: bool, sinks: usize) -> Self {
        Self {
            spread,
            now: vec![false; sinks],
            last: None,
            has_moved: false,
            said: vec![false; sinks],
            window_from: Duration::ZERO,
            lines: 0,
        }
    }

    /// Records that the sink `at` has delivered a batch.
    pub(super) fn delivered(&mut self, at: usize) {
        if !self.spread {
            self.now.fill(false);
        }
        if let Some(delivers) = self.now.get_mut(at) {
            *delivers = true;
        }
        self.has_moved = self.last != Some(at);
        self.last = Some(at);
    }

    /// Records that the sink `at` has failed.
    pub(super) fn failed(&mut self, at: usize) {
        if let Some(delivers) = self.now.get_mut(at) {
            *delivers = false;
        }
    }

    /// Logs through which sinks `group` delivers, if that has changed.
    pub(super) fn tell<'a>(
        &mut self,
        group: &str,
        now: Duration,
        name: impl Fn(usize) -> &'a String,
    ) {
        if let Some(sinks) = self.changed(now) {
            let names: Vec<&str> = sinks.into_iter().map(|at| name(at).as_str()).collect();
            tracing::info!(group, "delivers through {}", names.join(", "));
        } else if let Some(last) = self.last.filter(|_| self.has_moved) {
            tracing::debug!(group, "delivers through {}", name(last));
        }
    }

    /// Returns the delivering sinks if they are to be logged now.
    fn changed(&mut self, now: Duration) -> Option<Vec<usize>> {
        if self.now == self.said {
            return None;
        }
        if now.saturating_sub(self.window_from) >= WINDOW {
            (self.window_from, self.lines) = (now, 0);
        }
        if self.lines >= LINES_MAX {
            return None;
        }
        self.lines += 1;
        self.said.clone_from(&self.now);
        Some((0..self.now.len()).filter(|&at| self.now[at]).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn alternating_sinks_are_logged_once() {
        let mut group = ActiveSinks::new(true, 2);
        group.delivered(0);
        assert_eq!(group.changed(SECOND), Some(vec![0]));
        group.delivered(1);
        assert_eq!(group.changed(SECOND), Some(vec![0, 1]));
        for batch in 0..10_000 {
            group.delivered(batch % 2);
            assert_eq!(group.changed(SECOND * 2), None);
        }
        group.failed(0);
        group.delivered(1);
        assert_eq!(group.changed(SECOND * 3), Some(vec![1]));
        group.delivered(0);
        assert_eq!(group.changed(SECOND * 3), Some(vec![0, 1]));
    }

    #[test]
    fn in_a_failover_group_the_current_sink_is_logged() {
        let mut group = ActiveSinks::new(false, 2);
        for (at, told) in
            [(0, Some(vec![0])), (0, None), (1, Some(vec![1])), (1, None), (0, Some(vec![0]))]
        {
            group.delivered(at);
            assert_eq!(group.changed(SECOND), told);
        }
    }

    #[test]
    fn a_sink_that_fails_every_other_batch_does_not_fill_the_log() {
        let mut group = ActiveSinks::new(true, 2);
        let mut told = 0;
        for batch in 0..36_000u32 {
            group.delivered(0);
            if batch % 2 == 0 {
                group.delivered(1);
            } else {
                group.failed(1);
            }
            told += u32::from(group.changed(SECOND / 10 * batch).is_some());
        }
        assert!((60..=61 * LINES_MAX).contains(&told), "{told} in an hour");
    }
}
