//! A pair of checkpoint slots: one file in one directory, written in turn.

use crate::base::ids::{StripeIndex, Uuid};
use crate::base::mutant::Broken;
use crate::disk::{Access, Directory};
use crate::recovery::{CHECKPOINT_NAME, SlotHome};
use std::path::PathBuf;
use std::sync::Arc;

/// Checkpoints for which a slot is left out that could not be written: a disk may take seconds to say so.
const AVOIDED: u32 = 16;

/// A pair of checkpoint slots.
pub(super) struct Slots {
    /// The stripe whose directory they lie in; `None` for `checkpointDir`.
    pub(super) stripe: Option<StripeIndex>,
    owner: Uuid,
    directory: Arc<dyn Directory>,
    home: SlotHome,
    /// The last write failed: the file is opened again before the next.
    reopen: bool,
    /// Checkpoints for which the slot is left out that comes next: it could not be written.
    avoided: u32,
}

impl Slots {
    /// Slots that were just opened.
    pub(super) fn new(
        stripe: Option<StripeIndex>,
        owner: Uuid,
        directory: Arc<dyn Directory>,
        home: SlotHome,
    ) -> Self {
        Self { stripe, owner, directory, home, reopen: false, avoided: 0 }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.directory.path().join(CHECKPOINT_NAME)
    }

    /// Whether the next write may go over the newest value: one slot could not be written the last time.
    pub(super) fn is_unwell(&self) -> bool {
        self.reopen || self.avoided > 0
    }

    /// Writes the next value. A slot that cannot be written the second time either is left for the other
    /// one, where what that one holds stands `elsewhere` too: torn by a crash, it would take its value along.
    pub(super) fn write(
        &mut self,
        channel: Uuid,
        bytes: &[u8],
        elsewhere: bool,
    ) -> Result<(), String> {
        let failed_before = self.reopen;
        let avoids = elsewhere && self.avoided > 0;
        if avoids {
            self.avoided -= 1;
            self.home.next_generation += 1;
        }
        let Err(words) = self.write_once(channel, bytes) else { return Ok(()) };
        if avoids || !failed_before || !elsewhere || Broken::SlotTriedForEver.is_chosen() {
            self.avoided = 0;
            return Err(words);
        }
        self.home.next_generation += 1;
        match self.write_once(channel, bytes) {
            Ok(()) => {
                tracing::warn!(
                    "checkpoint: {words}; the other place for it in the file was written"
                );
                self.avoided = AVOIDED;
                Ok(())
            }
            Err(_) => {
                self.home.next_generation -= 1;
                Err(words)
            }
        }
    }

    /// After a failure the file is opened again: an open file whose
    /// write-back failed once may call the next sync a success although nothing was written.
    fn write_once(&mut self, channel: Uuid, bytes: &[u8]) -> Result<(), String> {
        if self.reopen {
            let path = self.path();
            self.home.file = self
                .directory
                .open(CHECKPOINT_NAME, Access::Write)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            self.reopen = false;
        }
        // Set first, and so also where the write panics.
        self.reopen = true;
        let written = self.home.write_state(channel, self.owner, bytes);
        self.reopen = written.is_err();
        written.map_err(|error| error.to_string())
    }
}
