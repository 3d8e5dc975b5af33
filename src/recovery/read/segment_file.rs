//! The stripe that is read, and its segment files.

use crate::base::ids::{SegmentId, StripeIndex, Uuid};
use crate::disk::{Access, File};
use crate::layout::{AlignedBuffer, ReusedBuffer, SegmentReader};
use crate::log::{FreeSegment, LiveSegment};
use crate::record::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use std::sync::Arc;

/// A reader that keeps nothing of what it read.
pub(crate) type LogReader<'a> = SegmentReader<'a, ReusedBuffer<'a>>;

/// The stripe to read, and how.
#[derive(Clone, Copy)]
pub(crate) struct Subject {
    pub(crate) channel: Uuid,
    pub(crate) uuid: Uuid,
    pub(crate) index: StripeIndex,
    pub(crate) access: Access,
    /// Bytes of a new segment.
    pub(crate) segment_bytes: u64,
}

impl Subject {
    /// Returns a reader of the blocks of the stripe in `file`: those of `segment`, or of any.
    pub(crate) fn reader<'a>(
        &self,
        file: &'a dyn File,
        len: u64,
        segment: Option<SegmentId>,
        buffer: &'a mut AlignedBuffer,
    ) -> LogReader<'a> {
        let owner = (&self.channel, &self.uuid);
        SegmentReader::new(file, len, owner, segment, ReusedBuffer::new(buffer))
    }
}

/// A segment file with a header of this stripe.
#[derive(Clone)]
pub(crate) struct SegmentFile {
    pub(crate) slot: u32,
    pub(crate) file: Arc<dyn File>,
    pub(crate) len: u64,
    pub(crate) header: SegmentHeader,
    /// The header on the disk is damaged; this one was rebuilt from the block at that offset,
    /// bytes.
    pub(crate) rebuilt: Option<u64>,
    /// Offset of the damaged copy of the header, if the other one is whole, bytes.
    pub(crate) damaged_copy: Option<u64>,
}

impl SegmentFile {
    /// Returns a reader of its blocks.
    pub(crate) fn reader<'a>(
        &'a self,
        subject: &Subject,
        buffer: &'a mut AlignedBuffer,
    ) -> LogReader<'a> {
        subject.reader(&*self.file, self.len, Some(self.header.id), buffer)
    }

    /// Returns the segment as part of the log.
    pub(crate) fn live(&self) -> LiveSegment {
        LiveSegment {
            slot: self.slot,
            id: self.header.id,
            file: Arc::clone(&self.file),
            len: self.len,
            first_block: self.header.first_block,
            first_sequence: self.header.first_sequence,
            first_order: self.header.first_order,
        }
    }

    /// Returns the segment as one that can be reused.
    pub(crate) fn free(&self) -> FreeSegment {
        FreeSegment { slot: self.slot, file: Arc::clone(&self.file), len: self.len }
    }

    /// Returns where the first known block begins of a segment whose header was lost together with
    /// everything before that block, bytes.
    pub(crate) fn starts_with_hole(&self) -> Option<u64> {
        self.rebuilt.filter(|at| *at > SEGMENT_HEADER_BYTES as u64)
    }
}
