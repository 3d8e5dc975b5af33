//! The plan of a child run, drawn from the seed.

use super::crash_point::{CrashPoint, CrashTiming, PlannedCrash};
use super::seed_stream::{SeedStream, purpose};
use std::time::Duration;

/// The end of a child run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunEnding {
    /// It kills itself at a disk call; failing that, it is killed after a while.
    AtCall(PlannedCrash),
    /// It is killed from outside, this long after it was started.
    AtTime(Duration),
    /// It is closed in order, this long after work began.
    Close(Duration),
}

/// One child run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RunPlan {
    pub(super) ending: RunEnding,
    /// Whether the disk is full for a while.
    pub(super) full: bool,
}

/// Disk calls assumed for an opening before the first one was observed.
const OPENING_CALLS_FIRST: u64 = 60;

impl RunPlan {
    /// Returns the plan of child run number `life`. `opening_calls` is the number of disk calls of
    /// the last opening; with `kill9` all kills come from outside.
    pub(super) fn draw(
        seed: u64,
        life: u64,
        kill9: bool,
        opening_calls: Option<u64>,
        quota: bool,
    ) -> Self {
        let draw = SeedStream::new(seed, &[purpose::LIFE, life]);
        let (by_call, full) = (draw.one_in(2) && !kill9, draw.one_in(2) && quota);
        let ending = match draw.below(12) {
            0 => RunEnding::Close(Duration::from_millis(draw.below(200))),
            _ if by_call => RunEnding::AtCall(strike(&draw, opening_calls)),
            // Every fourth may hit a process that is still opening.
            1..=3 => RunEnding::AtTime(Duration::from_millis(draw.below(40))),
            _ => RunEnding::AtTime(Duration::from_millis(draw.below(400))),
        };
        Self { ending, full }
    }

    /// Returns the call at which the child kills itself.
    pub(super) fn strike(&self) -> Option<PlannedCrash> {
        match self.ending {
            RunEnding::AtCall(strike) => Some(strike),
            RunEnding::AtTime(_) | RunEnding::Close(_) => None,
        }
    }
}

fn strike(draw: &SeedStream, opening_calls: Option<u64>) -> PlannedCrash {
    let moment = draw.one_of(&[
        CrashPoint::Opening,
        CrashPoint::Opening,
        CrashPoint::Commit,
        CrashPoint::Commit,
        CrashPoint::Roll,
        CrashPoint::Recycle,
        CrashPoint::Make,
        CrashPoint::Checkpoint,
        CrashPoint::Read,
        CrashPoint::Closing,
    ]);
    let last = match moment {
        CrashPoint::Opening => opening_calls.unwrap_or(OPENING_CALLS_FIRST),
        CrashPoint::Commit => 200,
        CrashPoint::Make => 40,
        CrashPoint::Roll | CrashPoint::Recycle | CrashPoint::Checkpoint | CrashPoint::Read => 8,
        CrashPoint::Closing => 12,
    };
    PlannedCrash { moment, nth: draw.between(1, last.max(1)), how: draw.one_of(&CrashTiming::ALL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_and_every_moment_comes() {
        let mut moments = std::collections::BTreeSet::new();
        for life in 0..1000 {
            let plan = RunPlan::draw(5, life, false, Some(80), false);
            assert_eq!(plan, RunPlan::draw(5, life, false, Some(80), false));
            assert!(!plan.full);
            moments.extend(plan.strike().map(|strike| strike.moment));
            assert_eq!(RunPlan::draw(5, life, true, Some(80), false).strike(), None);
        }
        assert_eq!(moments.len(), CrashPoint::ALL.len());
    }
}
