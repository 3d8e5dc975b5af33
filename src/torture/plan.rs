//! How a life is to end, drawn from the seed.

use super::draw::{Draw, purpose};
use super::moment::{How, Moment, Strike};
use std::time::Duration;

/// The end of a life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// It kills itself at a call of the door; failing that, it is killed after a while.
    AtCall(Strike),
    /// It is killed from outside, so long after it was started.
    AtTime(Duration),
    /// It is closed in order, so long after work began.
    Close(Duration),
}

/// One life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) ending: Ending,
    /// Whether the disk is full for a while.
    pub(super) full: bool,
}

/// Calls of an opening that are counted with before one was heard of.
const OPENING_CALLS_FIRST: u64 = 60;

impl Plan {
    /// The plan of life number `life`. `opening_calls` is how many calls of the door the last
    /// opening took; with `kill9` all kills come from outside.
    pub(super) fn draw(
        seed: u64,
        life: u64,
        kill9: bool,
        opening_calls: Option<u64>,
        quota: bool,
    ) -> Self {
        let draw = Draw::new(seed, &[purpose::LIFE, life]);
        let (by_call, full) = (draw.one_in(2) && !kill9, draw.one_in(2) && quota);
        let ending = match draw.below(12) {
            0 => Ending::Close(Duration::from_millis(draw.below(200))),
            _ if by_call => Ending::AtCall(strike(&draw, opening_calls)),
            // Every fourth may hit a process that is still opening.
            1..=3 => Ending::AtTime(Duration::from_millis(draw.below(40))),
            _ => Ending::AtTime(Duration::from_millis(draw.below(400))),
        };
        Self { ending, full }
    }

    /// The call at which the child kills itself.
    pub(super) fn strike(&self) -> Option<Strike> {
        match self.ending {
            Ending::AtCall(strike) => Some(strike),
            Ending::AtTime(_) | Ending::Close(_) => None,
        }
    }
}

fn strike(draw: &Draw, opening_calls: Option<u64>) -> Strike {
    let moment = draw.one_of(&[
        Moment::Opening,
        Moment::Opening,
        Moment::Commit,
        Moment::Commit,
        Moment::Roll,
        Moment::Recycle,
        Moment::Make,
        Moment::Checkpoint,
        Moment::Read,
        Moment::Closing,
    ]);
    let last = match moment {
        Moment::Opening => opening_calls.unwrap_or(OPENING_CALLS_FIRST),
        Moment::Commit => 200,
        Moment::Make => 40,
        Moment::Roll | Moment::Recycle | Moment::Checkpoint | Moment::Read => 8,
        Moment::Closing => 12,
    };
    Strike { moment, nth: draw.between(1, last.max(1)), how: draw.one_of(&How::ALL) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_decides_and_every_moment_comes() {
        let mut moments = std::collections::BTreeSet::new();
        for life in 0..1000 {
            let plan = Plan::draw(5, life, false, Some(80), false);
            assert_eq!(plan, Plan::draw(5, life, false, Some(80), false));
            assert!(!plan.full);
            moments.extend(plan.strike().map(|strike| strike.moment));
            assert_eq!(Plan::draw(5, life, true, Some(80), false).strike(), None);
        }
        assert_eq!(moments.len(), Moment::ALL.len());
    }
}
