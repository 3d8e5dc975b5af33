//! A pair of checkpoint slots: one file in one directory, written in turn.

use super::aligned_buffer::AlignedBuffer;
use super::error::LayoutError;
use super::names::CHECKPOINT_NAME;
use super::slot_file::SlotFile;
use crate::base::ids::{StripeIndex, Uuid};
use crate::base::mutation::Mutation;
use crate::disk::{Access, Directory};
use crate::record::slot::{self, SlotKind};
use std::path::PathBuf;
use std::sync::Arc;

/// Checkpoints for which a slot that could not be written is skipped: a disk may take seconds to
/// report the error.
const AVOIDED: u32 = 16;

/// A pair of checkpoint slots.
pub(crate) struct CheckpointSlots {
    /// The stripe whose directory holds them; `None` for `checkpointDir`.
    pub(crate) stripe: Option<StripeIndex>,
    owner: Uuid,
    directory: Arc<dyn Directory>,
    home: SlotFile,
    /// The last write failed: the file is opened again before the next.
    reopen: bool,
    /// Checkpoints for which the next slot is skipped: it could not be written.
    avoided: u32,
}

impl CheckpointSlots {
    /// Returns slots that were just opened.
    pub(crate) fn new(
        stripe: Option<StripeIndex>,
        owner: Uuid,
        directory: Arc<dyn Directory>,
        home: SlotFile,
    ) -> Self {
        Self { stripe, owner, directory, home, reopen: false, avoided: 0 }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join(CHECKPOINT_NAME)
    }

    /// Returns whether the next write may overwrite the newest value: one slot could not be written
    /// the last time.
    pub(crate) fn has_failed_slot(&self) -> bool {
        self.reopen || self.avoided > 0
    }

    /// Writes the next value. A slot that fails twice is skipped for the other one, if the other's
    /// value is stored `elsewhere` too: a write torn by a crash would destroy it.
    pub(crate) fn write(
        &mut self,
        channel: Uuid,
        bytes: &[u8],
        elsewhere: bool,
    ) -> Result<(), LayoutError> {
        let failed_before = self.reopen;
        let avoids = elsewhere && self.avoided > 0;
        if avoids {
            self.avoided -= 1;
            self.home.skip_slot();
        }
        let Err(error) = self.write_once(channel, bytes) else { return Ok(()) };
        if avoids || !failed_before || !elsewhere || Mutation::SlotTriedForEver.is_active() {
            self.avoided = 0;
            return Err(error);
        }
        self.home.skip_slot();
        match self.write_once(channel, bytes) {
            Ok(()) => {
                tracing::warn!("checkpoint: {error}; the other slot of the file was written");
                self.avoided = AVOIDED;
                Ok(())
            }
            Err(_) => {
                self.home.unskip_slot();
                Err(error)
            }
        }
    }

    /// After a failure the file is opened again: an open file whose write-back failed once may
    /// report the next sync as a success although nothing was written.
    fn write_once(&mut self, channel: Uuid, bytes: &[u8]) -> Result<(), LayoutError> {
        if self.reopen {
            let path = self.path();
            let opened = self.directory.open(CHECKPOINT_NAME, Access::Write);
            self.home.reopened(opened.map_err(|source| LayoutError::read(path, 0, source))?);
            self.reopen = false;
        }
        // Set first, so that it is set also if the write panics.
        self.reopen = true;
        let written = AlignedBuffer::new(slot::encoded_len(bytes.len())).and_then(|mut buffer| {
            self.home.write(SlotKind::Checkpoint, channel, self.owner, bytes, &mut buffer)
        });
        self.reopen = written.is_err();
        written
    }
}
