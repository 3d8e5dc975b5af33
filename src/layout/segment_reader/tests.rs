//! Blocks, tears, holes and errors of a segment, on a file of bytes in memory.

use super::*;
use crate::base::ids::{Sequence, WriteOrder};
use crate::disk::{Submitted, WriteToken};
use crate::record::block::{BLOCK_HEADER_BYTES, check_block};
use crate::record::frame::{self, FRAME_HEADER_BYTES, FrameHeader, FrameKind};
use crate::record::segment::SEGMENT_HEADER_BYTES;
use std::path::Path;
use std::sync::Mutex;

const CHANNEL: Uuid = Uuid([1; 16]);
const STRIPE: Uuid = Uuid([2; 16]);
const SEGMENT: SegmentId = SegmentId(7);
const FIRST: u64 = SEGMENT_HEADER_BYTES as u64;
const STEP: u64 = DEVICE_BLOCK_BYTES as u64;

/// A file of bytes with unreadable ranges, which notes every read.
#[derive(Default)]
struct BytesFile {
    bytes: Vec<u8>,
    unreadable: Option<Range<u64>>,
    /// Reads that fail before any succeeds.
    failures: Mutex<u32>,
    reads: Mutex<Vec<(u64, usize)>>,
}

impl BytesFile {
    /// Returns a file of a segment header and `blocks`, with room for `room` bytes more.
    fn of(blocks: &[Vec<u8>], room: usize) -> Self {
        let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
        blocks.iter().for_each(|block| bytes.extend(block));
        bytes.extend(vec![0; room]);
        Self { bytes, ..Self::default() }
    }

    fn end(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn reads(&self) -> Vec<(u64, usize)> {
        std::mem::take(&mut self.reads.lock().expect("no panic"))
    }
}

impl File for BytesFile {
    fn path(&self) -> &Path {
        Path::new("/d/segment-00000.log")
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.end())
    }

    fn named_len(&self) -> io::Result<Option<u64>> {
        Ok(Some(self.end()))
    }

    fn identity(&self) -> io::Result<(u64, u64)> {
        Ok((0, 0))
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.reads.lock().expect("no panic").push((offset, buffer.len()));
        let end = offset + buffer.len() as u64;
        let mut failures = self.failures.lock().expect("no panic");
        let bad = self.unreadable.as_ref().is_some_and(|bad| offset < bad.end && bad.start < end);
        if bad || *failures > 0 {
            *failures = failures.saturating_sub(1);
            return Err(io::Error::from_raw_os_error(libc::EIO));
        }
        let from = self.bytes.get(offset as usize..).unwrap_or_default();
        let len = from.len().min(buffer.len());
        buffer[..len].copy_from_slice(&from[..len]);
        Ok(len)
    }

    fn write_at(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn sync(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn submit(&self, _: u64, _: &[u8]) -> Submitted {
        Submitted::Done(Err(io::ErrorKind::Unsupported.into()))
    }

    fn finish(&self, _: WriteToken) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Returns the header of a block of one event in a payload of `payload` bytes.
fn header(number: u64, offset: u64, payload: usize) -> BlockHeader {
    BlockHeader {
        flags: 0,
        number: BlockNumber(number),
        epoch: EpochNumber(3),
        nonce: 5,
        key: number,
        segment: SEGMENT,
        offset,
        order: WriteOrder(number),
        first_sequence: Sequence(number),
        event_count: 1,
        payload_len: payload as u32,
        watermark_block: BlockNumber(0),
        watermark_sequence: Sequence(0),
    }
}

/// Returns the bytes of such a block.
fn encoded(header: &BlockHeader) -> Vec<u8> {
    let mut bytes = vec![9; header.written_len()];
    header.encode(block_salt(&CHANNEL, &STRIPE), &mut bytes);
    let frame = FrameHeader {
        len: header.payload_len - FRAME_HEADER_BYTES as u32,
        kind: FrameKind::Put,
        flags: 0,
        count: 1,
        first_sequence: header.first_sequence,
    };
    let salt = frame::frame_salt(&STRIPE, header.nonce, header.key);
    frame::seal_frame(salt, &frame, &mut bytes[BLOCK_HEADER_BYTES..]);
    bytes
}

fn reader<'a>(
    file: &'a BytesFile,
    buffer: &'a mut AlignedBuffer,
) -> SegmentReader<'a, ReusedBuffer<'a>> {
    let memory = ReusedBuffer::new(buffer);
    SegmentReader::new(file, file.end(), (&CHANNEL, &STRIPE), Some(SEGMENT), memory)
}

fn check(header: &BlockHeader, bytes: &[u8]) -> Result<u64, DecodeError> {
    check_block(header, &STRIPE, bytes).map(|()| header.number.0)
}

fn small() -> AlignedBuffer {
    AlignedBuffer::small().expect("memory")
}

/// Returns what is at `offset` of a file.
fn at(file: &BytesFile, offset: u64) -> Result<Probe<u64>, LayoutError> {
    let mut buffer = small();
    reader(file, &mut buffer).probe(offset, check)
}

#[test]
fn a_block_that_begins_in_one_piece_and_ends_in_the_next_is_read_whole() {
    let first = header(1, FIRST, COLD_READ_BYTES - 3 * DEVICE_BLOCK_BYTES);
    let next = FIRST + first.written_len() as u64;
    let across = header(2, next, 5 * DEVICE_BLOCK_BYTES);
    assert!(next < FIRST + COLD_READ_BYTES as u64, "it begins in the first piece");
    let after = header(3, next + across.written_len() as u64, 100);
    // Longer than a piece.
    let long = header(4, after.offset + STEP, 2 * COLD_READ_BYTES);
    let all = [first, across, after, long];
    let file = BytesFile::of(&all.map(|header| encoded(&header)), 0);
    let mut buffer = small();
    let mut blocks = reader(&file, &mut buffer);
    for header in all {
        let found = blocks.probe(header.offset, check).expect("readable");
        assert_eq!(found, Probe::Block(header.number.0));
        assert!(blocks.bytes(&header) == encoded(&header), "block {}", header.number.0);
    }
    let offsets: Vec<u64> = file.reads().iter().map(|(offset, _)| *offset).collect();
    assert_eq!(offsets, [FIRST, across.offset, long.offset], "two small blocks are one read");
}

#[test]
fn a_block_with_a_torn_or_damaged_payload_is_told_from_no_block() {
    let whole = header(1, FIRST, 2 * DEVICE_BLOCK_BYTES);
    let mut torn = BytesFile::of(&[encoded(&whole)], 0);
    torn.bytes[SEGMENT_HEADER_BYTES + DEVICE_BLOCK_BYTES..].fill(0);
    assert_eq!(at(&torn, FIRST).expect("readable"), Probe::Torn(whole));
    let mut damaged = BytesFile::of(&[encoded(&whole)], 0);
    damaged.bytes[SEGMENT_HEADER_BYTES + 5000] ^= 0x40;
    assert_eq!(at(&damaged, FIRST).expect("readable"), Probe::Torn(whole));
    let mut headless = BytesFile::of(&[encoded(&whole)], 0);
    headless.bytes[SEGMENT_HEADER_BYTES + 20] ^= 0x40;
    assert_eq!(at(&headless, FIRST).expect("readable"), Probe::Nothing);
}

#[test]
fn a_header_of_another_place_or_owner_is_no_block() {
    let own = header(1, FIRST, 200);
    let elsewhere = BlockHeader { offset: FIRST + STEP, ..own };
    let other_segment = BlockHeader { segment: SegmentId(6), ..own };
    for wrong in [elsewhere, other_segment] {
        let file = BytesFile::of(&[encoded(&wrong)], 0);
        assert_eq!(at(&file, FIRST).expect("readable"), Probe::Nothing);
    }
    let file = BytesFile::of(&[encoded(&other_segment)], 0);
    let mut buffer = small();
    let memory = ReusedBuffer::new(&mut buffer);
    let owner = (&CHANNEL, &STRIPE);
    let mut any = SegmentReader::new(&file, file.end(), owner, None, memory);
    assert_eq!(any.probe(FIRST, check).expect("readable"), Probe::Block(1), "of any segment");
    let file = BytesFile::of(&[encoded(&own)], 0);
    let memory = ReusedBuffer::new(&mut buffer);
    let mut other = SegmentReader::new(&file, file.end(), (&CHANNEL, &CHANNEL), None, memory);
    assert_eq!(other.probe(FIRST, check).expect("readable"), Probe::Nothing, "another stripe");
}

#[test]
fn a_hole_hides_nothing_that_stands_after_it() {
    let hole = 3 * DEVICE_BLOCK_BYTES;
    let after = header(2, FIRST + hole as u64, 200);
    let file = BytesFile::of(&[vec![0; hole], encoded(&after)], 0);
    let mut buffer = small();
    let mut blocks = reader(&file, &mut buffer);
    for offset in (FIRST..after.offset).step_by(DEVICE_BLOCK_BYTES) {
        assert_eq!(blocks.probe(offset, check).expect("readable"), Probe::Nothing);
    }
    assert_eq!(blocks.probe(after.offset, check).expect("readable"), Probe::Block(2));
}

#[test]
fn a_block_beyond_the_end_is_torn_and_nothing_is_after_the_end() {
    let long = header(1, FIRST, 3 * DEVICE_BLOCK_BYTES);
    let mut cut = BytesFile::of(&[encoded(&long)], 0);
    cut.bytes.truncate(SEGMENT_HEADER_BYTES + 2 * DEVICE_BLOCK_BYTES);
    assert_eq!(at(&cut, FIRST).expect("readable"), Probe::Torn(long), "longer than the segment");
    assert_eq!(at(&cut, cut.end()).expect("readable"), Probe::Nothing);
    // The segment is known to be longer than the file now is.
    let mut buffer = small();
    let (owner, end) = ((&CHANNEL, &STRIPE), cut.end() + (1 << 20));
    let memory = ReusedBuffer::new(&mut buffer);
    let mut blocks = SegmentReader::new(&cut, end, owner, Some(SEGMENT), memory);
    assert_eq!(blocks.probe(FIRST, check).expect("readable"), Probe::Torn(long), "cut short");
    assert_eq!(blocks.bytes(&long), [0u8; 0], "no part of a block is taken for it");
    assert_eq!(blocks.probe(cut.end(), check).expect("readable"), Probe::Nothing);
}

#[test]
fn an_unreadable_sector_hides_no_block_before_it_and_is_named() {
    let headers: Vec<BlockHeader> = (0..4).map(|n| header(n + 1, FIRST + n * STEP, 200)).collect();
    let blocks: Vec<Vec<u8>> = headers.iter().map(encoded).collect();
    let bad = headers[2].offset;
    let file =
        BytesFile { unreadable: Some(bad..bad + 512), ..BytesFile::of(&blocks, COLD_READ_BYTES) };
    let mut buffer = small();
    let mut blocks = reader(&file, &mut buffer);
    for (n, header) in headers.iter().enumerate() {
        match blocks.probe(header.offset, check) {
            Ok(found) if n != 2 => assert_eq!(found, Probe::Block(n as u64 + 1)),
            Err(LayoutError::Read { path, offset, source }) if n == 2 => {
                assert_eq!((path.as_path(), offset), (file.path(), bad));
                assert_eq!(source.raw_os_error(), Some(libc::EIO));
            }
            other => panic!("block {n}: {other:?}"),
        }
    }
    let reads = file.reads();
    let large = reads.iter().filter(|(_, len)| *len > DEVICE_BLOCK_BYTES).count();
    assert_eq!(large, 2, "a large piece there is tried once, twice: {reads:?}");
}

#[test]
fn one_failed_read_is_no_error() {
    let only = header(1, FIRST, 200);
    let file = BytesFile { failures: Mutex::new(1), ..BytesFile::of(&[encoded(&only)], 0) };
    assert_eq!(at(&file, FIRST).expect("readable"), Probe::Block(1));
    assert_eq!(file.reads().len(), 2);
}

#[test]
fn the_first_piece_is_as_large_as_can_be_read() {
    let only = header(1, FIRST, 200);
    let blocks = [encoded(&only)];
    let piece = COLD_READ_BYTES / 16;
    for (bad, left) in [
        (None, COLD_READ_BYTES),
        (Some(FIRST + piece as u64), piece),
        (Some(FIRST + STEP), DEVICE_BLOCK_BYTES),
    ] {
        let unreadable = bad.map(|bad| bad..bad + 512);
        let file = BytesFile { unreadable, ..BytesFile::of(&blocks, 2 * COLD_READ_BYTES) };
        let mut buffer = small();
        let mut blocks = reader(&file, &mut buffer);
        blocks.load_readable(FIRST).expect("something can be read");
        assert_eq!(blocks.left(FIRST), left);
        assert_eq!(blocks.header(FIRST).expect("known"), Some(only));
        assert_eq!(blocks.range(&only), Some(0..DEVICE_BLOCK_BYTES));
    }
    let file = BytesFile { unreadable: Some(0..u64::MAX), ..BytesFile::of(&blocks, 0) };
    let mut buffer = small();
    let read = reader(&file, &mut buffer).load_readable(FIRST);
    assert!(matches!(read, Err(LayoutError::Read { offset: FIRST, .. })), "{read:?}");
}

#[test]
fn a_block_of_a_newer_build_is_refused_and_not_passed_over() {
    let mut newer = encoded(&header(1, FIRST, 200));
    newer[4..6].copy_from_slice(&99u16.to_le_bytes());
    let crc_at = BLOCK_HEADER_BYTES - 4;
    let crc = block_salt(&CHANNEL, &STRIPE).checksum(&[&newer[..crc_at]]);
    newer[crc_at..BLOCK_HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    let found = at(&BytesFile::of(&[newer], 0), FIRST);
    assert!(matches!(found, Err(LayoutError::Newer { found: 99, .. })), "{found:?}");
}

#[test]
fn a_block_that_changed_since_it_was_found_is_an_error() {
    let was = header(1, FIRST, 200);
    let file = BytesFile::of(&[encoded(&was)], 0);
    let mut buffer = small();
    reader(&file, &mut buffer).reread_block(&was, check).expect("it is the same");
    let now = BlockHeader { number: BlockNumber(2), ..was };
    let file = BytesFile::of(&[encoded(&now)], 0);
    let found = reader(&file, &mut buffer).reread_block(&was, check);
    assert!(
        matches!(&found, Err(LayoutError::Read { source, .. })
            if source.kind() == io::ErrorKind::InvalidData),
        "{found:?}"
    );
}

#[test]
fn only_blocks_of_the_log_are_expected() {
    let expected =
        ExpectedBlocks { next: BlockNumber(4), last: BlockNumber(6), epoch: EpochNumber(3) };
    let contains = |number, epoch| {
        let header = BlockHeader { epoch: EpochNumber(epoch), ..header(number, FIRST, 200) };
        expected.contains(&header)
    };
    assert!(contains(4, 3) && contains(6, 3) && contains(5, 9));
    assert!(!contains(3, 3), "it was there before");
    assert!(!contains(7, 3), "it is beyond the last");
    assert!(!contains(5, 2), "it is left over from an ended epoch");
}
