//! Operations on a channel, as ten letters. Every word of up to four of them is a workload.

use crate::driver::{Driver, Stop};
use crate::random::step;
use crate::workload::{Ending, Op};
use millpond_sim::disk::FaultEffect;

/// One operation. A put or an acknowledgement is then in flight, not completed: [`Letter::Settle`] completes what is
/// under way, [`Letter::Fail`] lets one of its writes fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Letter {
    /// An event that shares a device block.
    Put,
    /// A transaction of several device blocks.
    PutLarge,
    /// An event with the position of its source.
    PutPosition,
    /// Takes up to two events and acknowledges them.
    Take,
    /// Takes an event and returns it.
    Return,
    /// Everything under way completes.
    Settle,
    /// A round of maintenance: segments are made, passed ones recycled.
    Keep,
    /// A checkpoint.
    Checkpoint,
    /// A write in flight fails although a part of it arrived.
    Fail,
    /// Closes the channel and opens it again.
    Reopen,
}

impl Letter {
    pub(super) const ALL: [Self; 10] = [
        Self::Put,
        Self::PutLarge,
        Self::PutPosition,
        Self::Take,
        Self::Return,
        Self::Settle,
        Self::Keep,
        Self::Checkpoint,
        Self::Fail,
        Self::Reopen,
    ];

    fn ops(self) -> Vec<Op> {
        let put = |count, size, source| Op::Put { count, size, source };
        match self {
            Self::Put => vec![put(1, 60, None)],
            Self::PutLarge => vec![put(2, 2300, None)],
            Self::PutPosition => vec![put(1, 60, Some(0))],
            Self::Take => vec![Op::Take { max: 2 }, Op::Ack { at: 0 }],
            Self::Return => vec![Op::Take { max: 1 }, Op::TakeRollback { at: 0 }],
            Self::Settle => vec![Op::Settle],
            Self::Keep => vec![Op::Keep, Op::Tasks, Op::Poll],
            Self::Checkpoint => vec![Op::Checkpoint],
            Self::Fail => vec![
                Op::EndWrite { at: 0, ending: Ending::Fails(FaultEffect::Part) },
                Op::Tasks,
                Op::Poll,
            ],
            Self::Reopen => vec![Op::Close],
        }
    }

    /// Runs the operation.
    pub(super) fn done_to(self, driver: &mut Driver) -> Result<(), Stop> {
        for op in self.ops() {
            step(driver, &op)?;
        }
        for stripe in 0..driver.setup.stripes {
            if driver.is_open() {
                driver.step(&Op::StartWrite { stripe })?;
            }
        }
        if self == Self::Reopen {
            driver.open()?;
        }
        Ok(())
    }
}

/// A workload.
pub(super) type Word = Vec<Letter>;

/// Letters of the longest workload.
pub(super) const LETTERS_MAX: usize = 4;

/// Returns every word of exactly `letters` letters.
pub(super) fn words(letters: usize) -> Vec<Word> {
    let mut words = vec![Vec::new()];
    for _ in 0..letters {
        let longer = |word: &Word| {
            Letter::ALL.map(|letter| word.iter().copied().chain([letter]).collect::<Word>())
        };
        words = words.iter().flat_map(longer).collect();
    }
    words
}
