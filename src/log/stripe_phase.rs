//! The phase of a stripe: whether it can be written, and how far the start of its epoch has come.
//!
//! ```text
//!              start durable
//!   Starting ----------------> Active -- failed --> Failing -- epoch ended --> Suspended
//!     |  ^  ^                    ^                     ^                        |   |  ^
//!     |  |  '--------------------|---------------------|------- resumed --------'   |  |
//!     |  '- resumed -- InSlot ---'                     |                 no segment |  | slot failed
//!     |                ^  ^  '-------- failed ---------'                            v  |
//!     '- slot written -'  '----------------- slot written ----------------- AwaitingSlot
//! ```
//!
//! An epoch ends where the next one starts, and one record says both: the state record at the start of a segment, or
//! the one in a checkpoint slot. So "the end of an epoch is in a slot" and "the next epoch starts in a slot" are the same
//! fact. A fence on another stripe says it earlier.
//!
//! A stripe opens as `Starting`, or `Missing`, which no event changes. `Starting` may fail too, and `AwaitingSlot` is
//! resumed when a segment comes first. [`StripePhase::after`] is the whole table.

use crate::base::fault_cause::FaultCause;
use std::time::Duration;

/// First pause before a suspended stripe is tried again; doubles up to the maximum.
const RETRY_FIRST: Duration = Duration::from_millis(200);
const RETRY_LONGEST: Duration = Duration::from_secs(30);

/// Time without a failure after which the next failure counts as the first.
const CALM: Duration = Duration::from_secs(60);

/// Consecutive failures after which a stripe that is the only one continues at once in a fresh segment. Otherwise a
/// disk that takes small writes and refuses large ones would use up a segment per commit, without end.
const RESTARTS_AT_ONCE: u32 = 3;

/// The phase of a stripe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum StripePhase {
    /// Its directory is missing.
    Missing,
    /// The state record that starts its epoch is the next write.
    Starting,
    /// The start of its epoch is in a checkpoint slot: the next segment's state record is written alone.
    InSlot,
    /// The start of its epoch is in the log.
    Active,
    /// A write failed or hangs; the epoch, whose start was in the log if `started`, ends when all reserved frames are
    /// filled.
    Failing { cause: FaultCause, started: bool },
    /// The failed epoch has ended; the next one is tried at `retry_at`.
    Suspended { cause: FaultCause, retry_at: Duration },
    /// Suspended, and no segment is free: the next checkpoint starts the epoch in the stripe's slot.
    AwaitingSlot { cause: FaultCause },
}

/// What changes the phase.
#[derive(Clone, Debug)]
pub(super) enum PhaseEvent {
    /// A write failed or hangs, or the file of the segment in use was lost.
    Failed(FaultCause),
    /// The failed epoch has ended: its frames were taken back.
    EpochEnded { retry_at: Duration },
    /// A segment is free in which the next epoch starts.
    Resumed,
    /// It is time to try again, and no segment is free.
    NoSegment,
    /// The start of the epoch is durable in a checkpoint slot.
    SlotWritten,
    /// It could not be written there.
    SlotFailed { retry_at: Duration },
    /// The start of the epoch is durable in the log.
    StartDurable,
}

impl StripePhase {
    /// Returns the phase after `event`; `None` if the event cannot occur in this phase.
    pub(super) fn after(&self, event: PhaseEvent) -> Option<Self> {
        use PhaseEvent as Event;
        Some(match (self.clone(), event) {
            (Self::Starting | Self::InSlot, Event::Failed(cause)) => {
                Self::Failing { cause, started: false }
            }
            (Self::Active, Event::Failed(cause)) => Self::Failing { cause, started: true },
            (Self::Starting | Self::InSlot, Event::StartDurable) => Self::Active,
            // The write that starts the epoch was given up as hanging, and returned before the epoch has ended.
            (Self::Failing { cause, .. }, Event::StartDurable) => {
                Self::Failing { cause, started: true }
            }
            (Self::Failing { cause, .. }, Event::EpochEnded { retry_at }) => {
                Self::Suspended { cause, retry_at }
            }
            (Self::Suspended { .. } | Self::AwaitingSlot { .. } | Self::InSlot, Event::Resumed) => {
                Self::Starting
            }
            (Self::Suspended { cause, .. }, Event::NoSegment) => Self::AwaitingSlot { cause },
            (Self::AwaitingSlot { .. } | Self::Starting, Event::SlotWritten) => Self::InSlot,
            (Self::AwaitingSlot { cause }, Event::SlotFailed { retry_at }) => {
                Self::Suspended { cause, retry_at }
            }
            _ => return None,
        })
    }

    /// Whether frames can be reserved and written: neither missing nor suspended. More than [`Self::Active`]: the epoch
    /// may still be starting, or be in a slot.
    pub(super) fn is_writable(&self) -> bool {
        matches!(self, Self::Starting | Self::InSlot | Self::Active)
    }

    /// Whether the start of its epoch is in the log.
    pub(super) fn is_started(&self) -> bool {
        matches!(self, Self::Active | Self::Failing { started: true, .. })
    }

    /// Whether it is active and the start of its epoch is durable, in the log or in a slot.
    pub(super) fn is_lendable(&self) -> bool {
        matches!(self, Self::InSlot | Self::Active)
    }

    /// Whether its reserved frames are still being filled after a failure.
    pub(super) fn is_failing(&self) -> bool {
        matches!(self, Self::Failing { .. })
    }

    /// Whether the next checkpoint is to start its epoch.
    pub(super) fn awaits_slot(&self) -> bool {
        matches!(self, Self::AwaitingSlot { .. })
    }

    /// Returns when it may be tried again, if it is suspended.
    pub(super) fn retry_at(&self) -> Option<Duration> {
        match self {
            Self::Suspended { retry_at, .. } => Some(*retry_at),
            _ => None,
        }
    }

    /// Returns the cause of its suspension.
    pub(super) fn cause(&self) -> Option<&FaultCause> {
        match self {
            Self::Failing { cause, .. }
            | Self::Suspended { cause, .. }
            | Self::AwaitingSlot { cause } => Some(cause),
            Self::Missing | Self::Starting | Self::InSlot | Self::Active => None,
        }
    }
}

/// The failures of a stripe since the channel was opened.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FailureCount {
    /// Without [`CALM`] between them.
    consecutive: u32,
    last_at: Duration,
}

impl FailureCount {
    /// Counts a failure; returns the pause before the stripe is tried again.
    pub(super) fn add(&mut self, now: Duration) -> Duration {
        if now.saturating_sub(self.last_at) > CALM {
            self.consecutive = 0;
        }
        self.last_at = now;
        self.consecutive = self.consecutive.saturating_add(1);
        RETRY_FIRST.saturating_mul(1 << (self.consecutive - 1).min(16)).min(RETRY_LONGEST)
    }

    /// Whether there was any.
    pub(super) fn is_any(self) -> bool {
        self.consecutive > 0
    }

    /// Whether there were so few in a row that the only stripe may continue at once.
    pub(super) fn are_few(self) -> bool {
        self.consecutive <= RESTARTS_AT_ONCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::fault_cause::FaultKind;
    use crate::base::ids::StripeIndex;

    /// Rows: phases. Columns: failed, epoch ended, resumed, no segment, slot written, slot failed, start durable. `-`:
    /// refused.
    const TABLE: &str = "
        missing   -         -         -        -        -      -         -
        starting  failing   -         -        -        inslot -         active
        inslot    failing   -         starting -        -      -         active
        active    failing+  -         -        -        -      -         -
        failing   -         suspended -        -        -      -         failing+
        failing+  -         suspended -        -        -      -         failing+
        suspended -         -         starting awaiting -      -         -
        awaiting  -         -         starting -        inslot suspended -
    ";

    fn cause() -> FaultCause {
        FaultCause::new(FaultKind::Hung, StripeIndex(0), "a write failed")
    }

    fn phase(name: &str) -> StripePhase {
        let (cause, retry_at) = (cause(), Duration::from_secs(3));
        match name {
            "missing" => StripePhase::Missing,
            "starting" => StripePhase::Starting,
            "inslot" => StripePhase::InSlot,
            "active" => StripePhase::Active,
            "failing" => StripePhase::Failing { cause, started: false },
            "failing+" => StripePhase::Failing { cause, started: true },
            "suspended" => StripePhase::Suspended { cause, retry_at },
            "awaiting" => StripePhase::AwaitingSlot { cause },
            other => panic!("no phase is called {other}"),
        }
    }

    #[test]
    fn every_phase_allows_the_events_of_its_row_and_refuses_the_others() {
        let retry_at = Duration::from_secs(3);
        let events = [
            PhaseEvent::Failed(cause()),
            PhaseEvent::EpochEnded { retry_at },
            PhaseEvent::Resumed,
            PhaseEvent::NoSegment,
            PhaseEvent::SlotWritten,
            PhaseEvent::SlotFailed { retry_at },
            PhaseEvent::StartDurable,
        ];
        let rows: Vec<Vec<&str>> =
            TABLE.trim().lines().map(|row| row.split_whitespace().collect()).collect();
        assert_eq!(rows.len(), 8, "each phase has a row, `failing` two");
        for row in rows {
            let (from, cells) = (phase(row[0]), &row[1..]);
            assert_eq!(cells.len(), events.len(), "{row:?}");
            for (event, cell) in events.iter().zip(cells) {
                let expected = (*cell != "-").then(|| phase(cell));
                assert_eq!(from.after(event.clone()), expected, "{from:?} after {event:?}");
            }
        }
    }

    #[test]
    fn a_suspended_stripe_has_a_cause_and_no_other_phase_has_one() {
        for name in ["missing", "starting", "inslot", "active"] {
            assert_eq!(phase(name).cause(), None, "{name}");
        }
        for name in ["failing", "failing+", "suspended", "awaiting"] {
            assert!(phase(name).cause().is_some() && !phase(name).is_writable(), "{name}");
        }
    }

    #[test]
    fn pauses_double_up_to_half_a_minute_and_begin_again_after_a_calm_minute() {
        let mut failures = FailureCount::default();
        assert!(!failures.is_any() && failures.are_few());
        let start = Duration::from_secs(100);
        let pauses: Vec<u128> = (0..10).map(|_| failures.add(start).as_millis()).collect();
        assert_eq!(pauses[..4], [200, 400, 800, 1600]);
        assert_eq!(pauses[9], 30_000);
        assert!(failures.is_any() && !failures.are_few());
        assert_eq!(failures.add(start + CALM * 2).as_millis(), 200);
    }
}
