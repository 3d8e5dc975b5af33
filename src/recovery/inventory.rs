//! What lies in a stripe's directory: segments by their headers, free files, checkpoint slots.

use super::buffer::{self, Buffer};
use super::scan::{self, Block};
use super::slots::{self, Slots};
use super::table::Case;
use super::{CHECKPOINT_NAME, Finding, OpenError, quarantine};
use crate::base::ids::{StripeIndex, Uuid};
use crate::base::zeroes::is_zero;
use crate::disk::{Access, Directory, Entry, File};
use crate::log::FreeSegment;
use crate::record::Refusal;
use crate::record::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::slot::SlotKind;
use crate::record::state::StateRecord;
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
    /// The header on the disk is damaged; this one was made from the first block.
    pub(super) rebuilt: bool,
}

/// What lies in a stripe's directory.
#[derive(Default)]
pub(super) struct Inventory {
    /// By ascending id.
    pub(super) segments: Vec<SegmentFile>,
    /// Files that were never used.
    pub(super) blank: Vec<FreeSegment>,
    /// Names of files whose making was interrupted.
    pub(super) unfinished: Vec<String>,
    pub(super) next_slot: u32,
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
        found.segments.sort_by_key(|s| (s.header.id, s.header.epoch.number));
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
        let path = file.path().to_owned();
        match header {
            Ok(header) if header.channel == subject.channel && header.stripe == subject.uuid => {
                let found = SegmentFile { slot, len: entry.len, file, header, rebuilt: false };
                self.segments.push(found);
            }
            Ok(header) => {
                let words = format!(
                    "a segment of stripe {} of the channel {}; left alone",
                    header.stripe, header.channel
                );
                self.findings.push(Finding::of(Case::R11, path, words));
            }
            Err(Refusal::Version { found, newest }) => {
                return Err(OpenError::Newer { path, found, known: newest });
            }
            Err(_) if entry.len < subject.segment_bytes && blank => {
                self.unfinished.push(entry.name.clone());
                let words = "a segment whose making was interrupted; nothing was in it";
                self.findings.push(Finding::of(Case::R9, path, words));
            }
            Err(refusal) => self.headless(subject, entry, slot, file, refusal, buffer)?,
        }
        Ok(())
    }

    /// A file without a readable header: damaged, if its first block is whole; else free.
    fn headless(
        &mut self,
        subject: &Subject,
        entry: &Entry,
        slot: u32,
        file: Arc<dyn File>,
        refusal: Refusal,
        buffer: &mut Buffer,
    ) -> Result<(), OpenError> {
        let Some(first) = first_block(subject, &*file, entry.len, buffer)? else {
            self.blank.push(FreeSegment { slot, file, len: entry.len });
            return Ok(());
        };
        let Some(state) = first.state() else {
            self.blank.push(FreeSegment { slot, file, len: entry.len });
            return Ok(());
        };
        let block = &first.header;
        let named = state.stripes.get(subject.index.at()).map(|s| s.epoch).unwrap_or_default();
        let epoch = crate::record::Epoch {
            number: block.epoch,
            nonce: block.nonce,
            start: if named.number == block.epoch { named.start } else { block.number },
        };
        let header = SegmentHeader {
            channel: subject.channel,
            stripe: subject.uuid,
            id: block.segment,
            epoch,
            first_block: block.number,
            first_sequence: block.first_sequence,
            first_order: block.order,
            len: entry.len,
        };
        let words = format!(
            "no copy of the header is readable ({refusal}); made again from the first block"
        );
        let mut finding = Finding::of(Case::R6, file.path(), words);
        (finding.segment, finding.offset) = (Some(header.id), Some(0));
        self.findings.push(finding);
        self.segments.push(SegmentFile { slot, file, len: entry.len, header, rebuilt: true });
        Ok(())
    }
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
