//! Outcomes of blocks, and the tickets by which committers learn the outcome of their frames.

use crate::base::event_count::EventCount;
use crate::base::fault_cause::{FaultCause, FaultKind};
use crate::base::ids::StripeIndex;
use crate::base::lock_rank::{LockRank, RankedGuard};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};

/// The outcome of a block.
#[derive(Clone, Debug)]
pub enum BlockOutcome {
    /// Durable, and so is everything before it on its stripe.
    Durable,
    /// Its write failed; each frame was moved to another block.
    Moved,
    /// Its write failed and its frames could not be moved; the next opening of the channel decides.
    InDoubt(FaultCause),
}

/// The future outcome of one block; all its committers wait on one event count.
#[derive(Debug)]
pub struct BlockCompletion {
    /// The stripe that writes the block.
    pub stripe: StripeIndex,
    /// Notified (all) when the outcome is set, and (one) when a waiter should write.
    pub waiters: EventCount,
    outcome: OnceLock<BlockOutcome>,
    exceptions: Mutex<FrameExceptions>,
}

/// Rare states of a block's frames.
#[derive(Debug, Default)]
struct FrameExceptions {
    /// Frames whose encoder panicked or was dropped.
    void: Vec<u32>,
    /// New tickets of the frames of a failed block.
    moved: BTreeMap<u32, CommitTicket>,
}

/// The future outcome of a frame: its block, and its index among the block's frames.
#[derive(Clone, Debug)]
pub struct CommitTicket {
    completion: Arc<BlockCompletion>,
    frame: u32,
}

impl BlockCompletion {
    pub(super) fn new(stripe: StripeIndex) -> Arc<Self> {
        let (waiters, outcome, exceptions) = Default::default();
        Arc::new(Self { stripe, waiters, outcome, exceptions })
    }

    fn exceptions(&self) -> RankedGuard<'_, FrameExceptions> {
        LockRank::FrameExceptions.lock(&self.exceptions)
    }

    /// Sets the outcome. The caller notifies [`BlockCompletion::waiters`] after it has released the lock.
    pub(super) fn set_outcome(&self, outcome: BlockOutcome) {
        let fresh = self.outcome.set(outcome).is_ok();
        debug_assert!(fresh, "a block has one outcome");
    }

    /// Returns the outcome, if it is known.
    #[must_use]
    pub fn outcome(&self) -> Option<&BlockOutcome> {
        self.outcome.get()
    }

    pub(super) fn void(&self, frame: u32) {
        self.exceptions().void.push(frame);
    }

    pub(super) fn is_void(&self, frame: u32) -> bool {
        self.exceptions().void.contains(&frame)
    }

    pub(super) fn move_frame(&self, frame: u32, to: CommitTicket) {
        self.exceptions().moved.insert(frame, to);
    }

    fn moved(&self, frame: u32) -> Option<CommitTicket> {
        self.exceptions().moved.get(&frame).cloned()
    }
}

impl CommitTicket {
    /// Returns a ticket for frame number `frame` of a block.
    pub(super) fn new(completion: Arc<BlockCompletion>, frame: u32) -> Self {
        Self { completion, frame }
    }

    pub(super) fn mark_void(&self) {
        self.completion.void(self.frame);
    }

    /// Returns what to wait on.
    #[must_use]
    pub fn completion(&self) -> &Arc<BlockCompletion> {
        &self.completion
    }

    /// Returns `Ok` if the frame is durable, the cause if it is in doubt, `None` while that is open. Follows a frame
    /// that was moved, so that [`CommitTicket::completion`] is always the next to wait on.
    pub fn poll_outcome(&mut self) -> Option<Result<(), FaultCause>> {
        loop {
            match self.completion.outcome()? {
                BlockOutcome::Durable => return Some(Ok(())),
                BlockOutcome::InDoubt(fault) => return Some(Err(fault.clone())),
                BlockOutcome::Moved => match self.completion.moved(self.frame) {
                    Some(next) => *self = next,
                    None => {
                        let (stripe, fault) =
                            (self.completion.stripe, "the frame was void when its block was moved");
                        return Some(Err(FaultCause::new(FaultKind::OutOfMemory, stripe, fault)));
                    }
                },
            }
        }
    }
}
