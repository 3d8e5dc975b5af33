//! The phases of a sink and the time spent in each.

use millpond::Clock;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Current activity of a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SinkPhase {
    /// Not started, or ended.
    Stopped,
    /// Being opened, or waiting to be opened again.
    Opening,
    /// Waiting for events.
    Waiting,
    /// Delivering a batch.
    Delivering,
    /// Backing off after a batch that it could not deliver.
    Resting,
}

impl SinkPhase {
    /// All phases, in the order of a sink's life cycle.
    pub const ALL: [Self; 5] =
        [Self::Stopped, Self::Opening, Self::Waiting, Self::Delivering, Self::Resting];

    /// Returns the name that monitoring shows.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Opening => "opening",
            Self::Waiting => "waiting",
            Self::Delivering => "delivering",
            Self::Resting => "resting",
        }
    }
}

/// The current phase of a sink, and the time spent in each one since the first began.
#[derive(Default)]
pub struct SinkPhases(Mutex<Option<CurrentPhase>>);

/// The current phase and the time spent in each, in the order of [`SinkPhase::ALL`], the current one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseReading {
    /// The current phase.
    pub phase: SinkPhase,
    /// How long it has lasted.
    pub lasts: Duration,
    /// Time spent in each phase.
    pub spent: [Duration; SinkPhase::ALL.len()],
}

struct CurrentPhase {
    phase: SinkPhase,
    since: Duration,
    spent: [Duration; SinkPhase::ALL.len()],
    /// Clock of `since`, with which a reader computes how long the phase has lasted.
    clock: Arc<dyn Clock>,
}

impl SinkPhases {
    /// Begins `phase`.
    pub fn enter(&self, phase: SinkPhase, clock: &Arc<dyn Clock>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = inner.get_or_insert_with(|| CurrentPhase {
            phase,
            since: clock.now(),
            spent: [Duration::ZERO; SinkPhase::ALL.len()],
            clock: Arc::clone(clock),
        });
        if now.phase != phase {
            *now = CurrentPhase {
                phase,
                since: now.clock.now(),
                spent: now.spent(),
                clock: Arc::clone(&now.clock),
            };
        }
    }

    /// Returns the times spent so far; `None` before the first phase.
    #[must_use]
    pub fn read(&self) -> Option<PhaseReading> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = inner.as_ref()?;
        Some(PhaseReading { phase: now.phase, lasts: now.lasts(), spent: now.spent() })
    }
}

impl fmt::Debug for SinkPhases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Phases").field(&self.read()).finish()
    }
}

impl CurrentPhase {
    fn lasts(&self) -> Duration {
        self.clock.now().saturating_sub(self.since)
    }

    fn spent(&self) -> [Duration; SinkPhase::ALL.len()] {
        let mut spent = self.spent;
        spent[self.phase as usize] += self.lasts();
        spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::ManualClock;

    #[test]
    fn a_phase_counts_while_it_lasts_and_when_it_comes_again() {
        let manual = Arc::new(ManualClock::default());
        let clock: Arc<dyn Clock> = manual.clone();
        let phases = SinkPhases::default();
        assert_eq!(phases.read(), None);
        for (phase, seconds) in [
            (SinkPhase::Opening, 1),
            (SinkPhase::Waiting, 2),
            (SinkPhase::Delivering, 4),
            (SinkPhase::Delivering, 8),
        ] {
            phases.enter(phase, &clock);
            manual.advance(Duration::from_secs(seconds));
        }
        phases.enter(SinkPhase::Waiting, &clock);
        manual.advance(Duration::from_secs(16));
        let read = phases.read().unwrap();
        assert_eq!((read.phase, read.lasts.as_secs()), (SinkPhase::Waiting, 16));
        assert_eq!(read.spent.map(|spent| spent.as_secs()), [0, 1, 18, 12, 0]);
    }
}
