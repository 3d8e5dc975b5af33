//! What becomes of a block, and how a committer learns what became of its frame.

use crate::base::ids::StripeIndex;
use crate::base::signal::Signal;
use crate::base::trouble::Trouble;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

/// What became of a block.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Durable, and so is everything before it on its stripe.
    Durable,
    /// Its write failed; each frame went to another block.
    Moved,
    /// Its write failed and there was nowhere to go: a reopened channel knows.
    InDoubt(Trouble),
}

/// One block's future: all its committers wait on the one signal.
#[derive(Debug)]
pub struct Fate {
    /// The stripe whose write decides it.
    pub stripe: StripeIndex,
    /// Raised when the outcome is set; nudged when a waiter should write.
    pub signal: Signal,
    outcome: OnceLock<Outcome>,
    rare: Mutex<Rare>,
}

/// What hardly ever happens to a block.
#[derive(Debug, Default)]
struct Rare {
    /// Frames whose encoder panicked or was dropped.
    void: Vec<u32>,
    /// Where frames of a failed block went.
    moved: BTreeMap<u32, Promise>,
}

/// A frame's future: the block it lies in and its place among the block's frames.
#[derive(Clone, Debug)]
pub struct Promise {
    fate: Arc<Fate>,
    frame: u32,
}

impl Fate {
    pub(super) fn new(stripe: StripeIndex) -> Arc<Self> {
        let (signal, outcome, rare) = Default::default();
        Arc::new(Self { stripe, signal, outcome, rare })
    }

    fn rare(&self) -> MutexGuard<'_, Rare> {
        self.rare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the outcome. The caller raises [`Fate::signal`] once it holds no lock.
    pub(super) fn settle(&self, outcome: Outcome) {
        let fresh = self.outcome.set(outcome).is_ok();
        debug_assert!(fresh, "a block has one outcome");
    }

    /// The outcome, once there is one.
    #[must_use]
    pub fn outcome(&self) -> Option<&Outcome> {
        self.outcome.get()
    }

    pub(super) fn void(&self, frame: u32) {
        self.rare().void.push(frame);
    }

    pub(super) fn is_void(&self, frame: u32) -> bool {
        self.rare().void.contains(&frame)
    }

    pub(super) fn move_frame(&self, frame: u32, to: Promise) {
        self.rare().moved.insert(frame, to);
    }

    fn moved(&self, frame: u32) -> Option<Promise> {
        self.rare().moved.get(&frame).cloned()
    }
}

impl Promise {
    /// The promise of frame number `frame` of a block.
    pub(super) fn new(fate: Arc<Fate>, frame: u32) -> Self {
        Self { fate, frame }
    }

    pub(super) fn mark_void(&self) {
        self.fate.void(self.frame);
    }

    /// What to wait on.
    #[must_use]
    pub fn fate(&self) -> &Arc<Fate> {
        &self.fate
    }

    /// Whether the frame is durable, or in doubt; `None` while that is open. Follows a frame that
    /// was moved, so that [`Promise::fate`] is always what to wait on next.
    pub fn settled(&mut self) -> Option<Result<(), Trouble>> {
        loop {
            match self.fate.outcome()? {
                Outcome::Durable => return Some(Ok(())),
                Outcome::InDoubt(trouble) => return Some(Err(trouble.clone())),
                Outcome::Moved => match self.fate.moved(self.frame) {
                    Some(next) => *self = next,
                    None => {
                        let trouble = "the frame was void when its block was moved";
                        return Some(Err(Trouble::new(trouble)));
                    }
                },
            }
        }
    }
}
