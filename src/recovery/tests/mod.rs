//! A channel on a real file system, and a writer that writes logs byte by byte by the format.

mod crashes;
mod inspection;
mod labels;
mod member_rebuild;
mod members;
mod misplaced_segments;
mod number_limit;
mod returned_segments;
mod rows;
mod salvage;
mod twice;

use super::*;
use crate::base::clock::ManualClock;
use crate::base::ids::MAIN_GROUP;
use crate::base::ids::{
    BlockNumber, EpochNumber, SegmentId, Sequence, StripeIndex, Uuid, WriteOrder,
};
use crate::base::random::{Random, SeededRandom};
use crate::disk::real::RealDisk;
use crate::disk::{Access, File};
use crate::disk::{Directory, Disk};
use crate::event::Event;
use crate::layout::{
    self, AlignedBuffer, CHECKPOINT_NAME, LayoutError, MEMBER_NAME, SlotFile, quarantine,
};
use crate::record::block::{self, BLOCK_HEADER_BYTES, BlockHeader, SOLO, STATE};
use crate::record::body::{AckBody, FenceBody, PutPrefix, SourceOffsetRef};
use crate::record::frame::{self, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::record::segment::{self, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::record::slot::SlotKind;
use crate::record::state::StateRecord;
use crate::record::{Epoch, Watermark, event};
use crate::recovery::case::Case;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

pub(super) const SEGMENT_BYTES: u64 = 128 * 1024;

/// Writes `state` as the next checkpoint of the directory `owner`.
pub(super) fn write_state(slots: &mut SlotFile, channel: Uuid, owner: Uuid, state: &StateRecord) {
    let mut buffer = AlignedBuffer::small().expect("memory");
    slots.write_checkpoint(channel, owner, state, &mut buffer).expect("written");
}

/// Directories of one channel on a real file system.
pub(super) struct Stage {
    pub(super) root: tempfile::TempDir,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) random: SeededRandom,
    pub(super) options: RecoverOptions,
    /// The durable state, as a running channel would know it.
    pub(super) state: StateRecord,
    pub(super) channel: Uuid,
    pub(super) order: u64,
}

impl Stage {
    /// Returns directories that do not exist yet.
    pub(super) fn empty(stripes: usize) -> Self {
        Self::on(Arc::new(RealDisk::buffered()), stripes)
    }

    /// Returns such directories on `disk`.
    pub(super) fn on(disk: Arc<dyn Disk>, stripes: usize) -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let options = RecoverOptions {
            checkpoint_dir: root.path().join("checkpoint"),
            data_dirs: (0..stripes).map(|i| root.path().join(format!("data{i}"))).collect(),
            open_degraded: false,
            // The rows are about the result of an opening; that it is refused first has tests of
            // its own.
            open_without_missing_segments: true,
            create: true,
            segment_bytes: SEGMENT_BYTES,
        };
        Self {
            root,
            disk,
            random: SeededRandom::new(crate::base::random::SystemRandom.next_u64()),
            options,
            state: StateRecord::new(stripes),
            channel: Uuid::default(),
            order: 0,
        }
    }

    /// Returns a created channel without a log, and a writer for each stripe.
    pub(super) fn new(stripes: usize) -> (Self, Vec<Pen>) {
        Self::empty(stripes).created()
    }

    /// Creates the channel.
    pub(super) fn created(self) -> (Self, Vec<Pen>) {
        let mut stage = self;
        let made = stage.open();
        assert!(made.report.created);
        stage.channel = made.channel;
        let pens = made
            .stripes
            .iter()
            .map(|s| Pen {
                index: s.index,
                uuid: s.uuid,
                directory: s.home.as_ref().expect("there").directory.clone(),
                epoch: Epoch { number: EpochNumber(1), nonce: 11, start: BlockNumber(1) },
                next_block: 1,
                next_sequence: 0,
                key: 1,
                segment: 0,
                slot: 0,
                offset: SEGMENT_BYTES,
                file: None,
            })
            .collect();
        (stage, pens)
    }

    pub(super) fn try_open(&self) -> Result<Recovered, RecoveryError> {
        recover(&*self.disk, &ManualClock::default(), &self.random, &self.options)
    }

    pub(super) fn open(&self) -> Recovered {
        self.try_open().expect("the channel opens")
    }

    /// Removes every checkpoint: the log alone must suffice.
    pub(super) fn lose_checkpoints(&self) {
        for path in self.options.data_dirs.iter().chain([&self.options.checkpoint_dir]) {
            let zeroes = vec![0u8; SlotKind::Checkpoint.file_bytes()];
            self.file(path, CHECKPOINT_NAME).write_at(0, &zeroes).expect("written");
        }
    }

    pub(super) fn file(&self, directory: &Path, name: &str) -> Arc<dyn File> {
        let directory = self.disk.open_dir(directory, false).expect("there");
        directory.open(name, Access::Write).expect("there")
    }
}

/// Renames a directory as an administrator would, without the disk traits.
pub(super) fn rename(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    rustix::fs::rename(from.as_ref(), to.as_ref()).expect("moved");
}

/// Where a block was written.
#[derive(Clone)]
pub(super) struct TestDir {
    pub(super) file: Arc<dyn File>,
    pub(super) segment: SegmentId,
    pub(super) number: u64,
    pub(super) offset: u64,
    pub(super) len: u64,
    pub(super) first: u64,
    pub(super) end: u64,
}

impl TestDir {
    /// Flips a bit of every device block in it.
    pub(super) fn rot(&self) {
        for at in (self.offset..self.offset + self.len).step_by(4096) {
            flip(&*self.file, at + 60);
        }
    }

    /// Damages the payload and leaves the header readable.
    pub(super) fn rot_payload(&self) {
        flip(&*self.file, self.offset + BLOCK_HEADER_BYTES as u64 + 30);
    }
}

pub(super) fn flip(file: &dyn File, at: u64) {
    let mut byte = [0u8];
    file.read_at(at, &mut byte).expect("readable");
    file.write_at(at, &[byte[0] ^ 0x40]).expect("writable");
    file.sync().expect("synced");
}

/// Contents of a block.
pub(super) enum Ink {
    Put(u32),
    PutAt(u32, &'static str, u64),
    Ack(StripeIndex, u64, u64),
    Fence(FenceBody),
    Void(u32),
    State,
}

/// Writes one stripe's log by the format.
pub(super) struct Pen {
    pub(super) index: StripeIndex,
    pub(super) uuid: Uuid,
    pub(super) directory: Arc<dyn Directory>,
    pub(super) epoch: Epoch,
    pub(super) next_block: u64,
    pub(super) next_sequence: u64,
    pub(super) key: u64,
    pub(super) segment: u64,
    pub(super) slot: u32,
    pub(super) offset: u64,
    pub(super) file: Option<Arc<dyn File>>,
}

impl Pen {
    /// Puts a new segment into use.
    pub(super) fn roll(&mut self, stage: &mut Stage) -> TestDir {
        let name = layout::segment_name(self.slot);
        let file = layout::make_zeroed(&*self.directory, &name, SEGMENT_BYTES).expect("made");
        self.slot += 1;
        self.segment += 1;
        let header = SegmentHeader {
            channel: stage.channel,
            stripe: self.uuid,
            id: SegmentId(self.segment),
            epoch: self.epoch,
            first_block: BlockNumber(self.next_block),
            first_sequence: Sequence(self.next_sequence),
            first_order: WriteOrder(stage.order + 1),
            len: SEGMENT_BYTES,
        };
        let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
        header.encode(&mut bytes);
        file.write_at(0, &bytes).expect("written");
        self.file = Some(file);
        self.offset = SEGMENT_HEADER_BYTES as u64;
        self.durable(stage, &[Ink::State])
    }

    /// Puts a segment into use, writes `behind` there if that is not empty, and is killed. The next
    /// epoch does not know of the segment and gives out the id again, in the other one of two
    /// files. Returns the places of the older segment's state record, of what was written there
    /// last, and of the newer one's.
    pub(super) fn roll_twice(
        &mut self,
        stage: &mut Stage,
        older_first: bool,
        behind: &[Ink],
    ) -> (TestDir, Option<TestDir>, TestDir) {
        let (before, block, sequence) = (stage.state.clone(), self.next_block, self.next_sequence);
        let (segment, low, high) = (self.segment, self.slot, self.slot + 1);
        self.slot = if older_first { low } else { high };
        let old = self.roll(stage);
        let last = (!behind.is_empty()).then(|| self.in_flight(stage, behind));
        stage.state = before;
        (self.next_block, self.next_sequence, self.segment) = (block, sequence, segment);
        let number = self.epoch.number.next();
        self.epoch = Epoch { number, nonce: 99, start: BlockNumber(block) };
        self.slot = if older_first { high } else { low };
        let new = self.roll(stage);
        assert_eq!(old.segment, new.segment);
        (old, last, new)
    }

    /// Writes an acknowledged block: the state names it.
    pub(super) fn durable(&mut self, stage: &mut Stage, ink: &[Ink]) -> TestDir {
        let place = self.in_flight(stage, ink);
        let state = stage.state.stripe_mut(self.index);
        state.next = state.next.max(Sequence(place.end));
        state.epoch = self.epoch;
        state.watermark = Watermark {
            block: BlockNumber(place.number),
            sequence: Sequence(place.end),
            order: WriteOrder(stage.order),
            segment: place.segment,
            end_offset: place.offset + place.len,
        };
        for ink in ink {
            match ink {
                Ink::Ack(stripe, start, end) => {
                    stage.state.stripe_mut(*stripe).acknowledge(MAIN_GROUP, *start, *end);
                }
                Ink::Fence(fence) => {
                    let state = stage.state.stripe_mut(fence.stripe);
                    state.void(fence.void_start.0, fence.void_end.0);
                    state.epoch = fence.epoch;
                }
                _ => {}
            }
        }
        place
    }

    /// Writes a block that is whole on the disk and that no record names.
    pub(super) fn in_flight(&mut self, stage: &mut Stage, ink: &[Ink]) -> TestDir {
        let first = self.next_sequence;
        let salt = frame::frame_salt(&self.uuid, self.epoch.nonce, self.key);
        let mut payload = Vec::new();
        let mut is_state = false;
        for ink in ink {
            is_state |= matches!(ink, Ink::State);
            payload.extend(self.frame(stage, salt, ink));
        }
        stage.order += 1;
        let mark = stage.state.stripe(self.index).watermark;
        let header = BlockHeader {
            flags: if is_state { STATE | SOLO } else { 0 },
            number: BlockNumber(self.next_block),
            epoch: self.epoch.number,
            nonce: self.epoch.nonce,
            key: self.key,
            segment: SegmentId(self.segment),
            offset: self.offset,
            order: WriteOrder(stage.order),
            first_sequence: Sequence(first),
            event_count: (self.next_sequence - first) as u32,
            payload_len: payload.len() as u32,
            watermark_block: mark.block,
            watermark_sequence: mark.sequence,
        };
        let mut bytes = vec![0; header.written_len()];
        header.encode(block::block_salt(&stage.channel, &self.uuid), &mut bytes);
        bytes[BLOCK_HEADER_BYTES..BLOCK_HEADER_BYTES + payload.len()].copy_from_slice(&payload);
        let file = self.file.clone().expect("a segment");
        file.write_at(self.offset, &bytes).expect("written");
        file.sync().expect("synced");
        let place = TestDir {
            file,
            segment: header.segment,
            number: self.next_block,
            offset: self.offset,
            len: bytes.len() as u64,
            first,
            end: self.next_sequence,
        };
        self.offset += bytes.len() as u64;
        self.next_block += 1;
        self.key += 1;
        place
    }

    fn frame(&mut self, stage: &Stage, salt: crate::base::checksum::Salt, ink: &Ink) -> Vec<u8> {
        let (kind, flags, count, body) = match ink {
            Ink::Put(count) => (FrameKind::Put, 0, *count, events(*count)),
            Ink::PutAt(count, source, counter) => {
                let bytes = counter.to_le_bytes();
                let source_offset = SourceOffsetRef { source, counter: *counter, bytes: &bytes };
                let prefix = PutPrefix { origin: None, source_offset: Some(source_offset) };
                let mut body = vec![0; prefix.encoded_len()];
                prefix.encode(&mut body);
                body.extend(events(*count));
                (FrameKind::Put, prefix.flags(), *count, body)
            }
            Ink::Ack(stripe, start, end) => {
                let ack = AckBody { group: MAIN_GROUP, ranges: vec![(*stripe, *start, *end)] };
                let mut body = vec![0; ack.encoded_len()];
                ack.encode(&mut body);
                (FrameKind::Ack, 0, 0, body)
            }
            Ink::Fence(fence) => {
                let mut body = vec![0; FenceBody::BYTES];
                fence.encode(&mut body);
                (FrameKind::Fence, 0, 0, body)
            }
            Ink::Void(count) => (FrameKind::Void, 0, *count, vec![7; 40]),
            Ink::State => {
                let mut state = stage.state.clone();
                state.stripe_mut(self.index).epoch = self.epoch;
                (FrameKind::State, 0, 0, state.to_bytes().expect("it fits"))
            }
        };
        let header = FrameHeader {
            len: body.len() as u32,
            kind,
            flags,
            count,
            first_sequence: Sequence(self.next_sequence),
        };
        self.next_sequence += u64::from(count);
        let mut frame = vec![0; FRAME_HEADER_BYTES];
        frame.extend(body);
        if kind == FrameKind::Void {
            frame::void_frame(salt, &header, &mut frame);
        } else {
            frame::seal_frame(salt, &header, &mut frame);
        }
        frame
    }

    /// Starts a new epoch at the next block, as an opening does: a state record alone.
    pub(super) fn begin_epoch(&mut self, stage: &mut Stage, from_block: u64) -> TestDir {
        let number = self.epoch.number.next();
        self.next_block = from_block;
        self.epoch =
            Epoch { number, nonce: self.epoch.nonce + 100, start: BlockNumber(from_block) };
        self.key = 1;
        self.durable(stage, &[Ink::State])
    }
}

fn events(count: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for i in 0..count {
        let event = Event::new(format!("event {i}"));
        let at = out.len();
        out.resize(at + event::encoded_len(&event), 0);
        event::encode(&event, &mut out[at..]);
    }
    out
}

/// Returns the labels of the findings, in order.
pub(super) fn cases(recovered: &Recovered) -> Vec<Case> {
    recovered.report.findings.iter().map(|f| f.case).collect()
}

/// Returns the findings of one row.
pub(super) fn of(recovered: &Recovered, case: Case) -> Vec<Finding> {
    recovered.report.findings.iter().filter(|f| f.case == case).cloned().collect()
}

/// Returns the sequences of stripe 0 that are neither acknowledged nor void.
pub(super) fn waiting(recovered: &Recovered) -> Vec<(u64, u64)> {
    let state = recovered.state.stripe(StripeIndex(0));
    state.missing(0, state.next.0)
}

pub(super) fn range(start: u64, end: u64) -> Option<(Sequence, Sequence)> {
    Some((Sequence(start), Sequence(end)))
}
