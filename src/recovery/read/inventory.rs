//! The contents of a stripe's directory: segments by their headers, free files, checkpoint slots.

use super::salvage::{self, Depth};
use super::scan::{self, ScannedBlock};
use super::segment_file::{SegmentFile, Subject};
use crate::base::ids::{SegmentId, Uuid};
use crate::base::limits::FIRST_SEGMENT_BYTES;
use crate::base::zeroes::is_zero;
use crate::disk::{Access, Directory, Entry, File};
use crate::layout::{
    self, AlignedBuffer, CHECKPOINT_NAME, LayoutError, SlotContents, is_own_name, quarantine,
};
use crate::log::FreeSegment;
use crate::record::DecodeError;
use crate::record::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::slot::SlotKind;
use crate::record::state::StateRecord;
use crate::recovery::case::Case;
use crate::recovery::finding::Finding;
use std::cmp::Reverse;
use std::path::PathBuf;
use std::sync::Arc;

/// A segment whose header names another stripe of the channel than its directory is.
pub(crate) struct MisplacedSegment {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
}

/// The contents of a stripe's directory.
#[derive(Default)]
pub(crate) struct Inventory {
    /// By ascending id.
    pub(crate) segments: Vec<SegmentFile>,
    /// Files that were never used.
    pub(crate) blank: Vec<FreeSegment>,
    /// Files whose creation was interrupted, with their names.
    pub(crate) unfinished: Vec<(String, FreeSegment)>,
    pub(crate) next_slot: u32,
    /// Segments of other stripes of the channel.
    pub(crate) misplaced: Vec<MisplacedSegment>,
    pub(crate) findings: Vec<Finding>,
}

impl Inventory {
    /// Lists the directory and reads the headers.
    pub(crate) fn take(
        subject: &Subject,
        directory: &dyn Directory,
        entries: &[Entry],
        buffer: &mut AlignedBuffer,
    ) -> Result<Self, LayoutError> {
        let mut found = Self::default();
        for entry in entries {
            if !entry.is_file {
                refuse_no_file(directory, entry)?;
                continue;
            }
            if let Some(slot) = layout::segment_slot(&entry.name) {
                found.next_slot = found.next_slot.max(slot.saturating_add(1));
                found.segment(subject, directory, entry, slot, buffer)?;
            } else if !entry.name.starts_with(quarantine::PREFIX) && !is_own_name(&entry.name) {
                let path = directory.path().join(&entry.name);
                found.findings.push(Finding::of(Case::R11, path, "not a file of ours; left alone"));
            }
        }
        found.sort();
        for finding in &mut found.findings {
            finding.stripe = Some(subject.index);
        }
        Ok(found)
    }

    fn segment(
        &mut self,
        subject: &Subject,
        directory: &dyn Directory,
        entry: &Entry,
        slot: u32,
        buffer: &mut AlignedBuffer,
    ) -> Result<(), LayoutError> {
        // Listed but gone: while an agent runs, a file may be removed meanwhile.
        let Some(file) = layout::open_file(directory, &entry.name, subject.access)? else {
            return Ok(());
        };
        let bytes = buffer.first(SEGMENT_HEADER_BYTES)?;
        let len = layout::read_at(&*file, 0, bytes)?;
        let header = SegmentHeader::decode(&bytes[..len]);
        let blank = is_zero(&bytes[..len]);
        // A file that was cut short may not contain the other copy.
        let damaged_copy = SegmentHeader::damaged_copy(&bytes[..len]);
        let damaged_copy = damaged_copy.filter(|_| len == SEGMENT_HEADER_BYTES);
        let path = file.path().to_owned();
        match header {
            Ok(header) if header.channel == subject.channel && header.stripe == subject.uuid => {
                let (len, rebuilt) = (entry.len, None);
                self.segments.push(SegmentFile { slot, len, file, header, rebuilt, damaged_copy });
            }
            Ok(header) => {
                if header.channel == subject.channel {
                    self.misplaced.push(MisplacedSegment { path: path.clone(), header });
                }
                let words = format!(
                    "a segment of stripe {} of the channel {}; left alone",
                    header.stripe, header.channel
                );
                self.findings.push(Finding::of(Case::R11, path, words));
            }
            Err(DecodeError::Version { found, newest }) => {
                return Err(LayoutError::Newer { path, found, known: newest });
            }
            Err(_) if blank && !is_segment_length(entry.len, subject.segment_bytes) => {
                let free = FreeSegment { slot, file, len: entry.len };
                self.unfinished.push((entry.name.clone(), free));
                let words = "an empty segment file of a length that no new one has: its creation was \
                             interrupted, or maxFileSize was smaller; nothing was in it";
                self.findings.push(Finding::of(Case::R9, path, words));
            }
            Err(refusal) => {
                let free = FreeSegment { slot, file, len: entry.len };
                self.headerless(subject, free, &refusal, buffer)?;
            }
        }
        Ok(())
    }

    /// Handles a file without a readable header: damaged, if a block in it names its owner; else
    /// free. A file whose beginning is blank is free, as nearly all such files are, unless
    /// something is missing.
    fn headerless(
        &mut self,
        subject: &Subject,
        free: FreeSegment,
        refusal: &DecodeError,
        buffer: &mut AlignedBuffer,
    ) -> Result<(), LayoutError> {
        let found = match salvage::is_blank(&*free.file, buffer)? {
            true => None,
            false => salvage::segment(subject, &free, Depth::Reach, buffer)?,
        };
        match found {
            Some(segment) => self.add_rebuilt(segment, refusal),
            None => self.blank.push(free),
        }
        Ok(())
    }

    /// Adds a segment whose header was rebuilt from a block.
    pub(crate) fn add_rebuilt(&mut self, segment: SegmentFile, refusal: &DecodeError) {
        let from = match segment.starts_with_hole() {
            Some(offset) => format!("the block at {offset}, the first that is there"),
            None => "the first block".to_owned(),
        };
        let words =
            format!("no copy of the header is readable ({refusal}); made again from {from}");
        let mut finding = Finding::of(Case::R6, segment.file.path(), words);
        (finding.segment, finding.offset) = (Some(segment.header.id), Some(0));
        self.findings.push(finding);
        self.segments.push(segment);
    }

    /// Returns the ids of the segments present.
    pub(crate) fn ids(&self) -> impl Iterator<Item = SegmentId> {
        self.segments.iter().map(|s| s.header.id)
    }

    /// Looks through all of each file without a header, since something is missing in the log.
    pub(crate) fn search_whole_files(
        &mut self,
        subject: &Subject,
        buffer: &mut AlignedBuffer,
    ) -> Result<(), LayoutError> {
        let before = self.segments.len();
        let mut blank = Vec::new();
        for free in std::mem::take(&mut self.blank) {
            let known = self.segments.iter().any(|s| s.slot == free.slot);
            match if known { None } else { salvage::segment(subject, &free, Depth::Whole, buffer)? }
            {
                Some(segment) => self.add_rebuilt(segment, &DecodeError::Empty),
                None => blank.push(free),
            }
        }
        self.blank.append(&mut blank);
        let mut unfinished = Vec::new();
        for (name, free) in std::mem::take(&mut self.unfinished) {
            match salvage::segment(subject, &free, Depth::Whole, buffer)? {
                Some(segment) => {
                    self.findings.retain(|f| f.case != Case::R9 || f.path != free.file.path());
                    self.add_rebuilt(segment, &DecodeError::Empty);
                }
                None => unfinished.push((name, free)),
            }
        }
        self.unfinished = unfinished;
        if self.segments.len() > before {
            self.sort();
        }
        Ok(())
    }

    /// Sorts the segments. Of two with one id, the one of the later epoch counts: the later epoch
    /// gave out the id again since it did not know of the other segment, which therefore has
    /// nothing acknowledged and counts as unused. Its first write was still in flight, or it was in
    /// a file without a header.
    fn sort(&mut self) {
        self.segments
            .sort_by_key(|s| (s.header.id, Reverse(s.header.epoch.number), s.rebuilt.is_some()));
        let Self { segments, blank, findings, .. } = self;
        let mut counts = None;
        segments.retain(|s| {
            let (id, epoch) = (s.header.id, s.header.epoch.number);
            let again = match counts {
                // One of the same epoch with its header is a copy made from outside: not ruled on
                // here.
                Some((of, later)) if of == id => epoch < later || s.rebuilt.is_some(),
                _ => false,
            };
            if again {
                findings.retain(|f| f.case != Case::R6 || f.path != s.file.path());
                // A segment that was passed over as late is already free.
                if blank.iter().all(|free| free.slot != s.slot) {
                    let file = Arc::clone(&s.file);
                    blank.push(FreeSegment { slot: s.slot, file, len: s.len });
                }
            } else {
                counts = Some((id, epoch));
            }
            !again
        });
    }
}

/// Returns whether a channel whose final segment size is `segment_bytes` makes files of `len`
/// bytes: the first ones are smaller, and later ones double.
fn is_segment_length(len: u64, segment_bytes: u64) -> bool {
    let steps = len / FIRST_SEGMENT_BYTES;
    len >= segment_bytes || (len.is_multiple_of(FIRST_SEGMENT_BYTES) && steps.is_power_of_two())
}

/// Refuses an entry with the name of a segment that is not a file, a link to an unmounted disk for
/// example: it says nothing about what the segment holds.
fn refuse_no_file(directory: &dyn Directory, entry: &Entry) -> Result<(), LayoutError> {
    if layout::segment_slot(&entry.name).is_none() {
        return Ok(());
    }
    let source = std::io::Error::other("it has the name of a segment and is not a regular file");
    let path = directory.path().join(&entry.name);
    Err(LayoutError::Read { path, offset: 0, source })
}

/// Returns the first block of a segment, if it is whole.
pub(crate) fn first_block(
    subject: &Subject,
    file: &dyn File,
    len: u64,
    buffer: &mut AlignedBuffer,
) -> Result<Option<ScannedBlock>, LayoutError> {
    scan::block_at(subject, file, len, None, SEGMENT_HEADER_BYTES as u64, buffer)
}

/// The contents of a directory's checkpoint file.
pub(crate) struct CheckpointContents {
    pub(crate) slots: SlotContents,
    pub(crate) file: Option<Arc<dyn File>>,
    pub(crate) states: Vec<StateRecord>,
    pub(crate) findings: Vec<Finding>,
}

/// Reads the checkpoint slots of a directory that is the member `owner`.
pub(crate) fn checkpoints(
    channel: Uuid,
    owner: Uuid,
    stripes: usize,
    directory: &dyn Directory,
    access: Access,
    buffer: &mut AlignedBuffer,
) -> Result<CheckpointContents, LayoutError> {
    let path = directory.path().join(CHECKPOINT_NAME);
    let mut found = CheckpointContents {
        slots: SlotContents::default(),
        file: layout::open_file(directory, CHECKPOINT_NAME, access)?,
        states: Vec::new(),
        findings: Vec::new(),
    };
    let Some(file) = &found.file else {
        let words = "no checkpoint file: opening reads more of the log, nothing is lost";
        found.findings.push(Finding::of(Case::R13, path, words));
        return Ok(found);
    };
    found.slots = layout::read_slots(&**file, SlotKind::Checkpoint, buffer)?;
    for offset in &found.slots.damaged {
        let words = "a checkpoint that was torn or damaged; the other one and the log suffice";
        let mut finding = Finding::of(Case::R13, &path, words);
        finding.offset = Some(*offset);
        found.findings.push(finding);
    }
    for whole in &found.slots.whole {
        if whole.channel != channel || whole.owner != owner {
            let words = format!(
                "a checkpoint of member {} of the channel {}; not used",
                whole.owner, whole.channel
            );
            found.findings.push(Finding::of(Case::R11, &path, words));
            continue;
        }
        match StateRecord::decode(&whole.payload) {
            Ok(state) if state.stripes.len() <= stripes => found.states.push(state),
            Ok(_) => {
                let words = "a checkpoint with more stripes than the channel has; not used";
                found.findings.push(Finding::of(Case::R13, &path, words));
            }
            Err(refusal) => {
                let words = format!("a checkpoint that cannot be understood ({refusal}); not used");
                found.findings.push(Finding::of(Case::R13, &path, words));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_segments_have_the_lengths_to_which_a_channel_doubles_them() {
        let most = 16 * FIRST_SEGMENT_BYTES;
        for steps in [1, 2, 4, 8, 16, 17] {
            assert!(is_segment_length(steps * FIRST_SEGMENT_BYTES, most), "{steps}");
        }
        for len in [0, 4096, FIRST_SEGMENT_BYTES - 4096, 3 * FIRST_SEGMENT_BYTES] {
            assert!(!is_segment_length(len, most), "{len}");
        }
        assert!(
            is_segment_length(FIRST_SEGMENT_BYTES / 4, FIRST_SEGMENT_BYTES / 4),
            "a small maxFileSize"
        );
    }
}
