//! A channel at rest on its disk, and the purpose of each of its bytes.

use crate::driver::{Driver, data_dir};
use crate::oracle::{self, PutId};
use crate::workload::{Op, Setup};
use bytes::Bytes;
use millpond::internal::base::ids::MAIN_GROUP;
use millpond::internal::base::limits::DEVICE_BLOCK_BYTES;
use millpond::internal::base::zeroes::is_zero;
use millpond::internal::record::block::{self, BLOCK_HEADER_BYTES, BlockHeader};
use millpond::internal::record::body::{AckBody, PutPrefix};
use millpond::internal::record::event;
use millpond::internal::record::frame::{self, FrameKind};
use millpond::internal::record::segment::{
    SEGMENT_COPY_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader,
};
use millpond::internal::record::slot::{self, SlotKind};
use millpond::internal::record::state::StateRecord;
use millpond_sim::disk::SimDisk;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// An event by the transaction that put it and its index there.
pub(crate) type Name = (PutId, usize);

/// Bytes `start..end` of a file.
#[derive(Clone, Debug)]
pub(crate) struct Range {
    pub(crate) file: PathBuf,
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Range {
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.file == other.file && self.start < other.end && other.start < self.end
    }
}

/// Whether `hits` leave no copy of a segment's header whole.
pub(crate) fn no_header(file: &Path, hits: &[Range]) -> bool {
    let half = SEGMENT_HEADER_BYTES as u64 / 2;
    let copy =
        |start| Range { file: file.to_owned(), start, end: start + SEGMENT_COPY_BYTES as u64 };
    [0, half].map(copy).iter().all(|copy| hits.iter().any(|hit| hit.overlaps(copy)))
}

/// A block on the disk.
pub(crate) struct Block {
    pub(crate) stripe: usize,
    pub(crate) header: BlockHeader,
    /// Header and frames; the padding of the last device block has no purpose.
    pub(crate) range: Range,
    /// Events by sequence.
    pub(crate) events: Vec<(u64, Name)>,
    /// Its acknowledgements: stripe, start, end.
    pub(crate) acks: Vec<(usize, u64, u64)>,
}

/// A record that says how far a stripe was durable.
struct Namer {
    range: Range,
    stripe: usize,
    block: u64,
    sequence: u64,
}

/// The channel.
pub(crate) struct FilesAtRest {
    pub(crate) driver: Driver,
    pub(crate) disk: SimDisk,
    pub(crate) blocks: Vec<Block>,
    namers: Vec<Namer>,
}

/// Returns puts of one and of several events over several segments, some taken, with holes.
fn small_workload() -> Vec<Op> {
    let put = |count, size| Op::Put { count, size, source: None };
    let mut ops = Vec::new();
    for round in 0..4 {
        ops.extend([put(2, 900), Op::Settle, put(1, 200), put(3, 1500), Op::Settle]);
        if round % 2 == 0 {
            ops.extend([Op::Take { max: 2 }, Op::Take { max: 2 }, Op::Ack { at: 0 }]);
        }
        ops.extend([Op::Settle, Op::Keep]);
        if round == 1 {
            ops.extend([Op::TakeRollback { at: 0 }, Op::Checkpoint]);
        }
    }
    ops.extend([put(1, 100), Op::Settle, put(2, 100), Op::Settle]);
    ops
}

impl FilesAtRest {
    /// Runs a life and stops it: cleanly, or with no record of the last blocks.
    pub(crate) fn new(setup: Setup, sealed: bool) -> Self {
        let mut driver = Driver::new(setup);
        driver.open().expect("a new channel on a sound disk");
        for op in small_workload() {
            driver.step(&op).expect("a calm life");
        }
        if sealed {
            driver.step(&Op::Close).expect("closed");
        }
        // Before the channel is dropped, which closes it.
        let disk = driver.disk.kill(0);
        driver.die();
        let still = Self::read(driver, disk);
        assert!(still.blocks.len() > 12, "a life of many blocks");
        still
    }

    /// Returns what is on a disk.
    pub(crate) fn read(driver: Driver, disk: SimDisk) -> Self {
        let mut still = Self { driver, disk, blocks: Vec::new(), namers: Vec::new() };
        for file in still.disk.files() {
            let name = file.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
            if name.starts_with("segment-") {
                still.read_segment(&file);
            } else if name == "checkpoint" {
                still.read_slots(&file);
            }
        }
        still
    }

    /// Prints what is where, to examine a failure.
    pub(crate) fn show(&self) {
        for block in &self.blocks {
            let (header, file) = (&block.header, block.range.file.display());
            println!(
                "{file} {}: segment {} block {} life {} order {} watermark {}/{} events {:?} acks {:?}",
                header.offset,
                header.segment,
                header.number,
                header.epoch,
                header.order,
                header.watermark_block,
                header.watermark_sequence,
                block.events,
                block.acks
            );
        }
    }

    fn stripe_of(&self, file: &Path) -> usize {
        let of = |stripe: &usize| file.parent() == Some(&data_dir(*stripe));
        (0..self.driver.setup.stripes).find(of).expect("a segment is in a data directory")
    }

    fn read_segment(&mut self, file: &Path) {
        let bytes = self.disk.contents(file).expect("listed");
        let Ok(segment) = SegmentHeader::decode(&bytes) else { return };
        let stripe = self.stripe_of(file);
        for copy in 0..2 {
            let start = copy * SEGMENT_HEADER_BYTES as u64 / 2;
            let end = start + SEGMENT_COPY_BYTES as u64;
            self.namers.push(Namer {
                range: Range { file: file.to_owned(), start, end },
                stripe,
                block: segment.first_block.0 - 1,
                sequence: segment.first_sequence.0,
            });
        }
        let salt = block::block_salt(&segment.channel, &segment.stripe);
        for at in (SEGMENT_HEADER_BYTES..bytes.len()).step_by(4096) {
            let Ok(header) = BlockHeader::decode(salt, &bytes[at..]) else { continue };
            let whole = block::check_block(&header, &segment.stripe, &bytes[at..]).is_ok();
            if whole && header.segment == segment.id && header.offset == at as u64 {
                self.read_block(file, stripe, &segment, header, &bytes[at..]);
            }
        }
    }

    fn read_block(
        &mut self,
        file: &Path,
        stripe: usize,
        segment: &SegmentHeader,
        header: BlockHeader,
        bytes: &[u8],
    ) {
        let len = BLOCK_HEADER_BYTES + header.payload_len as usize;
        let range = |len: u64| Range {
            file: file.to_owned(),
            start: header.offset,
            end: header.offset + len,
        };
        let whole = range(len as u64);
        self.namers.push(Namer {
            range: range(BLOCK_HEADER_BYTES as u64),
            stripe,
            block: header.watermark_block.0,
            sequence: header.watermark_sequence.0,
        });
        let mut block =
            Block { stripe, header, range: whole.clone(), events: Vec::new(), acks: Vec::new() };
        let payload = &bytes[BLOCK_HEADER_BYTES..len];
        let salt = frame::frame_salt(&segment.stripe, header.nonce, header.key);
        for found in frame::frames(salt, payload).flatten() {
            let body = &payload[found.payload()];
            match found.header.kind {
                FrameKind::Put => {
                    let (_, mut at) =
                        PutPrefix::decode(found.header.flags, body).expect("a whole block");
                    let body = Bytes::copy_from_slice(body);
                    for n in 0..u64::from(found.header.count) {
                        let event = event::decode(&body, &mut at).expect("a whole block");
                        let name = oracle::name_of(&event).expect("an event of the oracle");
                        block.events.push((found.header.first_sequence.0 + n, name));
                    }
                }
                FrameKind::Ack => {
                    let ack = AckBody::decode(body).expect("a whole block");
                    for (stripe, start, end) in ack.ranges {
                        block.acks.push((stripe.at(), start, end));
                        let range = whole.clone();
                        let named = Namer { range, stripe: stripe.at(), block: 0, sequence: end };
                        self.namers.push(named);
                    }
                }
                FrameKind::State => {
                    let state = StateRecord::decode(body).expect("a whole block");
                    self.read_state(&whole, &state);
                }
                _ => {}
            }
        }
        self.blocks.push(block);
    }

    fn read_slots(&mut self, file: &Path) {
        let bytes = self.disk.contents(file).expect("listed");
        for (at, piece) in bytes.chunks(SlotKind::Checkpoint.slot_bytes()).enumerate() {
            let Ok(found) = slot::decode(SlotKind::Checkpoint, piece) else { continue };
            let start = (at * SlotKind::Checkpoint.slot_bytes()) as u64;
            let end = start + found.payload.end as u64;
            let state = StateRecord::decode(&piece[found.payload]).expect("a whole slot");
            self.read_state(&Range { file: file.to_owned(), start, end }, &state);
        }
    }

    fn read_state(&mut self, range: &Range, state: &StateRecord) {
        for (stripe, known) in state.stripes.iter().enumerate() {
            let taken = known.acknowledged.get(&MAIN_GROUP);
            let taken = taken.map_or(0, |t| t.beyond().last().map_or(t.frontier(), |(_, end)| end));
            self.namers.push(Namer {
                range: range.clone(),
                stripe,
                block: known.watermark.block.0.max(known.epoch.start.0.saturating_sub(1)),
                sequence: taken.max(known.watermark.sequence.0),
            });
        }
    }

    /// Returns `hits`, and all of each segment of which no record is left, where `after` is the disk after them. This
    /// is a segment whose header and first block read as zeroes, as a wipe leaves them, and for whose later blocks an
    /// opening has no reason to look: it is the last one, and nothing else refers to it (docs/recovery.md, R6).
    pub(crate) fn reach(&self, hits: &[Range], after: &SimDisk) -> Vec<Range> {
        let mut reach = hits.to_vec();
        for stripe in 0..self.driver.setup.stripes {
            let of_stripe = self.blocks.iter().filter(|block| block.stripe == stripe);
            let Some(last) = of_stripe.max_by_key(|block| block.header.segment) else { continue };
            let all = Range { start: 0, end: u64::MAX, ..last.range.clone() };
            let hit = [hits, std::slice::from_ref(&all)].concat();
            let blocks = self.blocks.iter().filter(|block| block.range.overlaps(&all));
            let is_named = |b: &Block| {
                let mut events = b.events.iter().map(|(sequence, _)| *sequence);
                // By its number, or by an event in it.
                self.is_promised(b, u64::MAX, &hit) || events.any(|s| self.is_promised(b, s, &hit))
            };
            let bytes = after.contents(&all.file).unwrap_or_default();
            let beginning = bytes.len().min(SEGMENT_HEADER_BYTES + DEVICE_BLOCK_BYTES);
            if is_zero(&bytes[..beginning]) && !blocks.into_iter().any(is_named) {
                reach.push(all);
            }
        }
        reach
    }

    /// Returns events of blocks that `hits` leave damaged.
    pub(crate) fn cost(&self, hits: &[Range]) -> BTreeSet<Name> {
        self.hit(hits).flat_map(|block| block.events.iter().map(|(_, name)| *name)).collect()
    }

    /// Returns blocks that `hits` leave damaged.
    pub(crate) fn hit<'a>(&'a self, hits: &'a [Range]) -> impl Iterator<Item = &'a Block> {
        self.blocks.iter().filter(|b| hits.iter().any(|hit| hit.overlaps(&b.range)))
    }

    /// Whether some record that `hits` leave whole says that the event of `block` was durable.
    pub(crate) fn is_promised(&self, block: &Block, sequence: u64, hits: &[Range]) -> bool {
        self.namers.iter().any(|n| {
            n.stripe == block.stripe
                && (n.block >= block.header.number.0 || n.sequence > sequence)
                && !hits.iter().any(|hit| hit.overlaps(&n.range))
        })
    }

    /// Returns events that may come again if `hits` destroyed the only copy of their acknowledgement.
    pub(crate) fn may_return(&self, hits: &[Range]) -> BTreeSet<Name> {
        let acks: Vec<_> = self.hit(hits).flat_map(|b| b.acks.clone()).collect();
        let acked = |stripe: usize, at: u64| {
            acks.iter().any(|(of, start, end)| *of == stripe && (*start..*end).contains(&at))
        };
        let events = self.blocks.iter().flat_map(|b| b.events.iter().map(move |e| (b.stripe, e)));
        events.filter(|(stripe, (at, _))| acked(*stripe, *at)).map(|(_, (_, name))| *name).collect()
    }
}
