//! What a sink does, and how long it did what.

use crate::base::clock::Clock;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What a sink does at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing: it was not begun, or has ended.
    Stopped,
    /// It is being opened, or waits to be opened again.
    Opening,
    /// It waits for events.
    Waiting,
    /// It has a batch and delivers it.
    Delivering,
    /// It rests behind a batch that it could not deliver.
    Resting,
}

impl Phase {
    /// All of them, in the order of a life.
    pub const ALL: [Self; 5] =
        [Self::Stopped, Self::Opening, Self::Waiting, Self::Delivering, Self::Resting];

    /// Its name for watchers.
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

/// The phase of a sink, and the time spent in each one since the first of them began.
#[derive(Default)]
pub struct Phases(Mutex<Option<Now>>);

/// What was spent in each phase, in the order of [`Phase::ALL`], the present one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PhaseReading {
    /// The present one.
    pub phase: Phase,
    /// How long it lasts by now.
    pub lasts: Duration,
    /// In each.
    pub spent: [Duration; Phase::ALL.len()],
}

struct Now {
    phase: Phase,
    since: Duration,
    spent: [Duration; Phase::ALL.len()],
    /// Whose time `since` is, and with which a reader sees how long the present phase lasts.
    clock: Arc<dyn Clock>,
}

impl Phases {
    /// From now on it is in `phase`.
    pub fn enter(&self, phase: Phase, clock: &Arc<dyn Clock>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = inner.get_or_insert_with(|| Now {
            phase,
            since: clock.now(),
            spent: [Duration::ZERO; Phase::ALL.len()],
            clock: Arc::clone(clock),
        });
        if now.phase != phase {
            *now = Now {
                phase,
                since: now.clock.now(),
                spent: now.spent(),
                clock: Arc::clone(&now.clock),
            };
        }
    }

    /// What was spent in each until now; `None` before the first.
    #[must_use]
    pub fn read(&self) -> Option<PhaseReading> {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = inner.as_ref()?;
        Some(PhaseReading { phase: now.phase, lasts: now.lasts(), spent: now.spent() })
    }
}

impl fmt::Debug for Phases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Phases").field(&self.read()).finish()
    }
}

impl Now {
    fn lasts(&self) -> Duration {
        self.clock.now().saturating_sub(self.since)
    }

    fn spent(&self) -> [Duration; Phase::ALL.len()] {
        let mut spent = self.spent;
        spent[self.phase as usize] += self.lasts();
        spent
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::clock::ManualClock;

    #[test]
    fn a_phase_counts_while_it_lasts_and_when_it_comes_again() {
        let manual = Arc::new(ManualClock::default());
        let clock: Arc<dyn Clock> = manual.clone();
        let phases = Phases::default();
        assert_eq!(phases.read(), None);
        for (phase, seconds) in [
            (Phase::Opening, 1),
            (Phase::Waiting, 2),
            (Phase::Delivering, 4),
            (Phase::Delivering, 8),
        ] {
            phases.enter(phase, &clock);
            manual.advance(Duration::from_secs(seconds));
        }
        phases.enter(Phase::Waiting, &clock);
        manual.advance(Duration::from_secs(16));
        let read = phases.read().unwrap();
        assert_eq!((read.phase, read.lasts.as_secs()), (Phase::Waiting, 16));
        assert_eq!(read.spent.map(|spent| spent.as_secs()), [0, 1, 18, 12, 0]);
    }
}
