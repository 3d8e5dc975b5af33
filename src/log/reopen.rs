//! Segments that a write has failed on: opened anew before they are used again.
//!
//! The kernel tells of a write-back that failed once per open file description, so a description that was
//! told believes no later sync (`disk/real/file.rs`). Used again through it, the segment would fail the
//! first write of each of its turns, and end an epoch each time.

use super::Log;
use super::stripe::{FreeSegment, Stripe};
use crate::base::ids::StripeIndex;
use crate::base::mutant::Broken;

impl Log {
    /// Takes the segments of a stripe that are to be opened anew. Each comes back by
    /// [`Log::add_segment`], with the file that was opened; by [`Log::defer_reopening`], when it could not
    /// be opened now; or never, when its file is gone.
    pub fn segments_to_reopen(&mut self, index: StripeIndex) -> Vec<FreeSegment> {
        std::mem::take(&mut self.stripes[index.at()].to_reopen)
    }

    /// A segment that could not be opened now.
    pub fn defer_reopening(&mut self, index: StripeIndex, segment: FreeSegment) {
        self.stripes[index.at()].to_reopen.push(segment);
    }
}

impl Stripe {
    /// A write to the file in `slot` has failed.
    pub(super) fn note_failed(&mut self, slot: u32) {
        if let Some(at) = self.free.iter().position(|s| s.slot == slot) {
            let free = self.free.remove(at);
            self.to_reopen.push(free);
        } else if !self.failed.contains(&slot) {
            self.failed.push(slot);
        }
    }

    /// A segment comes free. Answers whether it can be used at once: not before it is opened anew when a
    /// write to it has failed.
    pub(super) fn put_free(&mut self, segment: FreeSegment) -> bool {
        match self.failed.iter().position(|slot| *slot == segment.slot) {
            Some(at) if !Broken::FailedFileReused.is_chosen() => {
                self.failed.swap_remove(at);
                self.to_reopen.push(segment);
                false
            }
            Some(_) | None => {
                self.has_come(segment.len);
                self.free.push(segment);
                true
            }
        }
    }
}
