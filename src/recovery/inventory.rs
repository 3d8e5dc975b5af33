//! What lies in a stripe's directory: segments by their headers, free files, checkpoint slots.

use super::buffer::{self, Buffer};
use super::salvage::{self, Depth};
use super::scan::{self, Block};
use super::slots::{self, Slots};
use super::strays::Stray;
use super::table::Case;
use super::{CHECKPOINT_NAME, Finding, OpenError, quarantine};
use crate::base::ids::{SegmentId, StripeIndex, Uuid};
use crate::base::limits::FIRST_SEGMENT_BYTES;
use crate::base::zeroes::is_zero;
use crate::disk::{Access, Directory, Entry, File};
use crate::log::FreeSegment;
use crate::record::Refusal;
use crate::record::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::slot::SlotKind;
use crate::record::state::StateRecord;
use std::cmp::Reverse;
use std::sync::Arc;

/// Names of ours in a directory; everything else is somebody else's.
const OWN_NAMES: [&str; 3] = [super::LOCK_NAME, super::MEMBER_NAME, CHECKPOINT_NAME];

/// Which stripe is read, and how.
#[derive(Clone, Copy)]
pub(super) struct Subject {
    pub(super) channel: Uuid,
    pub(super) uuid: Uuid,
    pub(super) index: StripeIndex,
    pub(super) access: Access,
    /// Bytes of a new segment.
    pub(super) segment_bytes: u64,
}

/// A segment file with a header of this stripe.
#[derive(Clone)]
pub(super) struct SegmentFile {
    pub(super) slot: u32,
    pub(super) file: Arc<dyn File>,
    pub(super) len: u64,
    pub(super) header: SegmentHeader,
    /// The header on the disk is damaged; this one was made from the block at that offset, bytes.
    pub(super) rebuilt: Option<u64>,
    /// Where the copy of the header begins that is damaged, if the other one is whole, bytes.
    pub(super) damaged_copy: Option<u64>,
}

/// What lies in a stripe's directory.
#[derive(Default)]
pub(super) struct Inventory {
    /// By ascending id.
    pub(super) segments: Vec<SegmentFile>,
    /// Files that were never used.
    pub(super) blank: Vec<FreeSegment>,
    /// Files whose making was interrupted, with their names.
    pub(super) unfinished: Vec<(String, FreeSegment)>,
    pub(super) next_slot: u32,
    /// Segments of other stripes of the channel.
    pub(super) strays: Vec<Stray>,
    pub(super) findings: Vec<Finding>,
}

impl Inventory {
    /// Lists and reads the headers.
    pub(super) fn take(
        subject: &Subject,
        directory: &dyn Directory,
        entries: &[Entry],
        buffer: &mut Buffer,
    ) -> Result<Self, OpenError> {
        let mut found = Self::default();
        for entry in entries {
            if !entry.is_file {
                refuse_no_file(directory, entry)?;
                continue;
            }
            if let Some(slot) = segment::slot_of(&entry.name) {
                found.next_slot = found.next_slot.max(slot.saturating_add(1));
                found.segment(subject, directory, entry, slot, buffer)?;
            } else if !entry.name.starts_with(quarantine::PREFIX)
                && !OWN_NAMES.contains(&entry.name.as_str())
            {
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
        buffer: &mut Buffer,
    ) -> Result<(), OpenError> {
        // Listed and gone: beside a running agent a file may be removed meanwhile.
        let Some(file) = slots::open(directory, &entry.name, subject.access)? else {
            return Ok(());
        };
        let bytes = buffer.first(SEGMENT_HEADER_BYTES)?;
        let len = buffer::read(&*file, 0, bytes)?;
        let header = SegmentHeader::decode(&bytes[..len]);
        let blank = is_zero(&bytes[..len]);
        // A file that was cut short has no room for the other copy.
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
                    self.strays.push(Stray { path: path.clone(), header });
                }
                let words = format!(
                    "a segment of stripe {} of the channel {}; left alone",
                    header.stripe, header.channel
                );
                self.findings.push(Finding::of(Case::R11, path, words));
            }
            Err(Refusal::Version { found, newest }) => {
                return Err(OpenError::Newer { path, found, known: newest });
            }
            Err(_) if blank && !is_made_so(entry.len, subject.segment_bytes) => {
                let free = FreeSegment { slot, file, len: entry.len };
                self.unfinished.push((entry.name.clone(), free));
                let words = "an empty segment file of a length that no new one has: its making was \
                             interrupted, or maxFileSize was smaller; nothing was in it";
                self.findings.push(Finding::of(Case::R9, path, words));
            }
            Err(refusal) => {
                let free = FreeSegment { slot, file, len: entry.len };
                self.headless(subject, free, &refusal, buffer)?;
            }
        }
        Ok(())
    }

    /// A file without a readable header: damaged, if a block in it tells whose it is; else free. One
    /// whose beginning is blank is free, as nearly all such are, unless something is missing.
    fn headless(
        &mut self,
        subject: &Subject,
        free: FreeSegment,
        refusal: &Refusal,
        buffer: &mut Buffer,
    ) -> Result<(), OpenError> {
        let found = match salvage::is_blank(&*free.file, buffer)? {
            true => None,
            false => salvage::segment(subject, &free, Depth::Reach, buffer)?,
        };
        match found {
            Some(segment) => self.made_again(segment, refusal),
            None => self.blank.push(free),
        }
        Ok(())
    }

    /// Takes up a segment whose header was made from a block.
    pub(super) fn made_again(&mut self, segment: SegmentFile, refusal: &Refusal) {
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

    /// The segments that are there.
    pub(super) fn ids(&self) -> impl Iterator<Item = SegmentId> {
        self.segments.iter().map(|s| s.header.id)
    }

    /// Looks through all of the files without a header, since something is missing in the log.
    pub(super) fn look_for_missing(
        &mut self,
        subject: &Subject,
        buffer: &mut Buffer,
    ) -> Result<(), OpenError> {
        let before = self.segments.len();
        let mut blank = Vec::new();
        for free in std::mem::take(&mut self.blank) {
            let known = self.segments.iter().any(|s| s.slot == free.slot);
            match if known { None } else { salvage::segment(subject, &free, Depth::Whole, buffer)? }
            {
                Some(segment) => self.made_again(segment, &Refusal::Empty),
                None => blank.push(free),
            }
        }
        self.blank.append(&mut blank);
        let mut unfinished = Vec::new();
        for (name, free) in std::mem::take(&mut self.unfinished) {
            match salvage::segment(subject, &free, Depth::Whole, buffer)? {
                Some(segment) => {
                    self.findings.retain(|f| f.case != Case::R9 || f.path != free.file.path());
                    self.made_again(segment, &Refusal::Empty);
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

    /// Puts the segments in order. Of two with one id the one of the later life counts: that gave the id
    /// again since it knew of no such segment, so the other was never promised and is as good as never
    /// used. The write that took it into use was still on its way, or it lay in a file without a header.
    fn sort(&mut self) {
        self.segments
            .sort_by_key(|s| (s.header.id, Reverse(s.header.epoch.number), s.rebuilt.is_some()));
        let Self { segments, blank, findings, .. } = self;
        let mut counts = None;
        segments.retain(|s| {
            let (id, epoch) = (s.header.id, s.header.epoch.number);
            let again = match counts {
                // Of the same life and with its header it is a copy that somebody made: not ruled on here.
                Some((of, later)) if of == id => epoch < later || s.rebuilt.is_some(),
                _ => false,
            };
            if again {
                findings.retain(|f| f.case != Case::R6 || f.path != s.file.path());
                // One that was passed over as late is free already.
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

/// Whether a channel whose segments have `segment_bytes` in the end makes files of `len` bytes: the first ones are
/// smaller, and later ones double.
fn is_made_so(len: u64, segment_bytes: u64) -> bool {
    let steps = len / FIRST_SEGMENT_BYTES;
    len >= segment_bytes || (len.is_multiple_of(FIRST_SEGMENT_BYTES) && steps.is_power_of_two())
}

/// What has the name of a segment and is no file, a link to a disk that is not mounted for example,
/// says nothing about what the segment holds.
fn refuse_no_file(directory: &dyn Directory, entry: &Entry) -> Result<(), OpenError> {
    if segment::slot_of(&entry.name).is_none() {
        return Ok(());
    }
    let source = std::io::Error::other("it has the name of a segment and is not a regular file");
    let path = directory.path().join(&entry.name);
    Err(OpenError::Unreadable { path, offset: 0, source })
}

/// The first block of a segment, if it is whole.
pub(super) fn first_block(
    subject: &Subject,
    file: &dyn File,
    len: u64,
    buffer: &mut Buffer,
) -> Result<Option<Block>, OpenError> {
    scan::block_at(subject, file, len, None, SEGMENT_HEADER_BYTES as u64, buffer)
}

/// What the checkpoint file of a directory holds.
pub(super) struct Checkpoints {
    pub(super) slots: Slots,
    pub(super) file: Option<Arc<dyn File>>,
    pub(super) states: Vec<StateRecord>,
    pub(super) findings: Vec<Finding>,
}

/// Reads the checkpoint slots of a directory that is the member `owner`.
pub(super) fn checkpoints(
    channel: Uuid,
    owner: Uuid,
    stripes: usize,
    directory: &dyn Directory,
    access: Access,
    buffer: &mut Buffer,
) -> Result<Checkpoints, OpenError> {
    let path = directory.path().join(CHECKPOINT_NAME);
    let mut found = Checkpoints {
        slots: Slots::default(),
        file: slots::open(directory, CHECKPOINT_NAME, access)?,
        states: Vec::new(),
        findings: Vec::new(),
    };
    let Some(file) = &found.file else {
        let words = "no checkpoint file: opening reads more of the log, nothing is lost";
        found.findings.push(Finding::of(Case::R13, path, words));
        return Ok(found);
    };
    found.slots = slots::read(&**file, SlotKind::Checkpoint, buffer)?;
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
            assert!(is_made_so(steps * FIRST_SEGMENT_BYTES, most), "{steps}");
        }
        for len in [0, 4096, FIRST_SEGMENT_BYTES - 4096, 3 * FIRST_SEGMENT_BYTES] {
            assert!(!is_made_so(len, most), "{len}");
        }
        assert!(
            is_made_so(FIRST_SEGMENT_BYTES / 4, FIRST_SEGMENT_BYTES / 4),
            "a small maxFileSize"
        );
    }
}
