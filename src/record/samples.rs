//! One fixed value of every structure, with distinct values in all fields: the golden files hold their bytes, and the
//! tables of docs/format.md are compared with them.

use super::block::{BLOCK_HEADER_BYTES, BlockHeader, SOLO, STATE, block_salt, written_len};
use super::body::{AckBody, FenceBody, LostBody, Origin, PutPrefix, SourceOffsetRef};
use super::frame::{
    FRAME_HEADER_BYTES, FrameHeader, FrameKind, frame_salt, seal_frame, void_frame,
};
use super::member::{Member, MemberName, Phase, Role};
use super::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::slot::{self, SlotKind};
use super::state::{SourceOffset, StateRecord, StripeState};
use super::{Epoch, Watermark, event};
use crate::base::checksum::Salt;
use crate::base::ids::{
    BlockNumber, EpochNumber, GroupId, MAIN_GROUP, SegmentId, Sequence, StripeIndex, Uuid,
    WriteOrder,
};
use crate::base::ranges::RangeSet;
use crate::event::{Event, Headers};
use std::collections::BTreeMap;

pub(super) fn channel() -> Uuid {
    Uuid(std::array::from_fn(|i| 0xC0 + i as u8))
}

pub(super) fn stripe() -> Uuid {
    Uuid(std::array::from_fn(|i| 0x50 + i as u8))
}

pub(super) fn block_place() -> Salt {
    block_salt(&channel(), &stripe())
}

pub(super) fn frame_place() -> Salt {
    frame_salt(&stripe(), NONCE, KEY)
}

const NONCE: u64 = 0x0123_4567_89AB_CDEF;
const KEY: u64 = 77;

pub(super) fn plain_event() -> Event {
    Event::new("a line without headers")
}

pub(super) fn event() -> Event {
    let headers = [("host", "web1"), ("empty", ""), ("名", "值")];
    Event { headers: Headers::from_iter(headers), body: "body \u{0}\r\n".into() }
}

pub(super) fn prefix() -> PutPrefix<'static> {
    PutPrefix {
        origin: Some(Origin {
            stripe: StripeIndex(3),
            epoch: EpochNumber(8),
            sequence: Sequence(9000),
        }),
        source_offset: Some(SourceOffsetRef {
            source: "tail",
            counter: 12,
            bytes: b"inode 5 at 600",
        }),
    }
}

pub(super) fn ack() -> AckBody {
    AckBody {
        group: MAIN_GROUP,
        ranges: vec![(StripeIndex(0), 10, 20), (StripeIndex(1), 5, 6), (StripeIndex(0), 30, 31)],
    }
}

pub(super) fn fence() -> FenceBody {
    FenceBody {
        stripe: StripeIndex(2),
        epoch: epoch(),
        void_start: Sequence(4100),
        void_end: Sequence(4200),
    }
}

pub(super) fn lost() -> LostBody {
    LostBody { stripe: StripeIndex(1), start: 71, end: 74 }
}

pub(super) fn epoch() -> Epoch {
    Epoch { number: EpochNumber(6), nonce: 0xFEDC_BA98_7654_3210, start: BlockNumber(41) }
}

pub(super) fn watermark() -> Watermark {
    Watermark {
        block: BlockNumber(40),
        sequence: Sequence(4100),
        order: WriteOrder(95),
        segment: SegmentId(11),
        end_offset: 1_052_672,
    }
}

pub(super) fn state() -> StateRecord {
    let mut main = RangeSet::up_to(3900);
    main.insert(3950, 3960);
    main.insert(4000, 4001);
    let mut busy = StripeState {
        epoch: epoch(),
        watermark: watermark(),
        next: Sequence(4205),
        acknowledged: BTreeMap::from([(MAIN_GROUP, main), (GroupId(4), RangeSet::up_to(17))]),
        damaged_events: 33,
        damaged: vec![(100, 130), (150, 153)],
        opened: 5,
        adopted: RangeSet::default(),
    };
    busy.adopted.insert(3700, 3720);
    busy.adopted.insert(3800, 3801);
    let source_offset = |counter, bytes: &[u8]| SourceOffset { counter, bytes: bytes.to_vec() };
    let mut state = StateRecord::new(2);
    state.stripes[0] = busy;
    state.source_offsets = BTreeMap::from([
        ("spool".to_owned(), source_offset(1, b"")),
        ("tail".to_owned(), source_offset(12, b"inode 5 at 600")),
    ]);
    state
}

pub(super) fn member() -> Member {
    let name = |uuid, role, path: &str| MemberName { uuid, role, path: path.to_owned() };
    Member {
        channel: channel(),
        me: stripe(),
        role: Role::Stripe(StripeIndex(1)),
        phase: Phase::Created,
        members: vec![
            name(Uuid([1; 16]), Role::Stripe(StripeIndex(0)), "/disk1/log"),
            name(stripe(), Role::Stripe(StripeIndex(1)), "/disk2/日志"),
            name(Uuid([3; 16]), Role::Checkpoint, ""),
        ],
    }
}

pub(super) fn segment() -> SegmentHeader {
    SegmentHeader {
        channel: channel(),
        stripe: stripe(),
        id: SegmentId(12),
        epoch: epoch(),
        first_block: BlockNumber(42),
        first_sequence: Sequence(4205),
        first_order: WriteOrder(96),
        len: 64 * 1024 * 1024,
    }
}

pub(super) fn segment_bytes() -> Vec<u8> {
    let mut out = vec![0xAA; SEGMENT_HEADER_BYTES];
    segment().encode(&mut out);
    out
}

/// Returns a sealed frame: header for `payload`, checksum, payload.
pub(super) fn frame(kind: FrameKind, flags: u8, count: u32, first: u64, payload: &[u8]) -> Vec<u8> {
    let len = payload.len() as u32;
    let header = FrameHeader { len, kind, flags, count, first_sequence: Sequence(first) };
    let mut out = vec![0; FRAME_HEADER_BYTES];
    out.extend_from_slice(payload);
    match kind {
        FrameKind::Void => void_frame(frame_place(), &header, &mut out),
        _ => seal_frame(frame_place(), &header, &mut out),
    }
    out
}

pub(super) fn event_bytes(event: &Event) -> Vec<u8> {
    let mut out = vec![0; event::encoded_len(event)];
    assert_eq!(event::encode(event, &mut out), out.len());
    out
}

/// Returns the payload of the sample put: the prefix, then both events.
pub(super) fn put_payload() -> Vec<u8> {
    let mut out = vec![0; prefix().encoded_len()];
    assert_eq!(prefix().encode(&mut out), out.len());
    out.extend(event_bytes(&event()));
    out.extend(event_bytes(&plain_event()));
    out
}

pub(super) fn encoded<const N: usize>(write: impl FnOnce(&mut [u8]) -> usize) -> Vec<u8> {
    let mut out = vec![0xAA; N];
    assert_eq!(write(&mut out), N);
    out
}

/// Returns one frame of each kind, in the order of the sample block.
pub(super) fn frames() -> Vec<Vec<u8>> {
    let mut acked = vec![0; ack().encoded_len()];
    ack().encode(&mut acked);
    let fenced = encoded::<{ FenceBody::BYTES }>(|out| fence().encode(out));
    let gone = encoded::<{ LostBody::BYTES }>(|out| lost().encode(out));
    vec![
        frame(FrameKind::State, 0, 0, 4205, &state().to_bytes().unwrap()),
        frame(FrameKind::Put, prefix().flags(), 2, 4205, &put_payload()),
        frame(FrameKind::Ack, 0, 0, 4207, &acked),
        frame(FrameKind::Void, 0, 3, 4207, b"whatever stood here"),
        frame(FrameKind::Fence, 0, 0, 4210, &fenced),
        frame(FrameKind::Lost, 0, 0, 4210, &gone),
        frame(FrameKind::Put, 0, 1, 4210, &event_bytes(&plain_event())),
    ]
}

pub(super) fn block_header() -> BlockHeader {
    BlockHeader {
        flags: SOLO | STATE,
        number: BlockNumber(42),
        epoch: EpochNumber(6),
        nonce: NONCE,
        key: KEY,
        segment: SegmentId(12),
        offset: SEGMENT_HEADER_BYTES as u64,
        order: WriteOrder(96),
        first_sequence: Sequence(4205),
        event_count: 6,
        payload_len: frames().iter().map(Vec::len).sum::<usize>() as u32,
        watermark_block: BlockNumber(40),
        watermark_sequence: Sequence(4100),
    }
}

/// Returns the sample block as it is written, padded with zeroes.
pub(super) fn block_bytes() -> Vec<u8> {
    let header = block_header();
    let mut out = vec![0; BLOCK_HEADER_BYTES];
    header.encode(block_place(), &mut out);
    out.extend(frames().concat());
    out.resize(written_len(header.payload_len as usize), 0);
    out
}

pub(super) fn slot_bytes(kind: SlotKind, generation: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![0xAA; slot::encoded_len(payload.len())];
    slot::encode(kind, &channel(), &stripe(), generation, payload, &mut out).unwrap();
    out
}

pub(super) fn checkpoint_slot() -> Vec<u8> {
    slot_bytes(SlotKind::Checkpoint, 7, &state().to_bytes().unwrap())
}

pub(super) fn member_slot() -> Vec<u8> {
    slot_bytes(SlotKind::Member, 2, &member().encode().unwrap())
}
