//! Refusals: any flipped bit, any prefix, and every value that is never written is refused.

use super::block::{
    BLOCK_HEADER_BYTES, BLOCK_VERSION, BlockHeader, STATE, block_salt, check_block,
};
use super::body::{AckBody, FenceBody, LostBody, PutPrefix};
use super::frame::{FrameAt, FrameKind, frame_salt, frames, parse};
use super::member::{MEMBER_PATH_BYTES_MAX, MEMBERS_MAX, Member};
use super::segment::{SEGMENT_COPY_BYTES, SEGMENT_MAGIC, SegmentHeader};
use super::slot::{self, SlotKind};
use super::state::{ADOPTED_RANGES_MAX, DAMAGE_NAMED_MAX, SourceOffset, StateRecord};
use super::{DecodeError, event, samples};
use crate::base::checksum::Salt;
use crate::base::ids::{Sequence, Uuid};
use crate::base::limits::{DEVICE_BLOCK_BYTES, STATE_BYTES_MAX, STRIPES_MAX};
use bytes::Bytes;
use std::fmt::Debug;

/// Checks that no prefix of `bytes`, and with `flips` no single flipped bit, passes `read`.
fn check_refusals<T: Debug>(
    bytes: &[u8],
    flips: bool,
    read: impl Fn(&[u8]) -> Result<T, DecodeError>,
) {
    read(bytes).expect("the whole is accepted");
    for len in 0..bytes.len() {
        read(&bytes[..len]).expect_err(&format!("the first {len} bytes alone"));
    }
    if !flips {
        return;
    }
    let mut flipped = bytes.to_vec();
    for bit in 0..bytes.len() * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        read(&flipped).expect_err(&format!("bit {bit} flipped"));
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
}

/// Replaces the bytes at `at`, and the checksum in the four bytes at `crc_at`.
fn resealed(bytes: &[u8], at: usize, new: &[u8], salt: Salt, crc_at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    let crc = salt.checksum(&[&bytes[..crc_at]]);
    bytes[crc_at..crc_at + 4].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// Checks that the frames of the sample block hold their values.
pub(super) fn check_sample_frames(block: &[u8], header: &BlockHeader, state: &StateRecord) {
    let payload = &block[BLOCK_HEADER_BYTES..][..header.payload_len as usize];
    let salt = frame_salt(&samples::stripe(), header.nonce, header.key);
    let all: Vec<FrameAt> = frames(salt, payload).collect::<Result<_, _>>().unwrap();
    let body = |at: usize| &payload[all[at].payload()];
    use FrameKind::{Ack, Fence, Lost, Put, State, Void};
    let kinds: Vec<FrameKind> = all.iter().map(|found| found.header.kind).collect();
    assert_eq!(kinds, [State, Put, Ack, Void, Fence, Lost, Put]);
    assert_eq!(StateRecord::decode(body(0)).as_ref(), Ok(state));
    let (prefix, at) = PutPrefix::decode(all[1].header.flags, body(1)).unwrap();
    assert_eq!(prefix, samples::prefix());
    let (events, mut at) = (Bytes::copy_from_slice(body(1)), at);
    assert_eq!(event::decode(&events, &mut at), Ok(samples::event()));
    assert_eq!(event::decode(&events, &mut at), Ok(samples::plain_event()));
    assert_eq!(at, events.len());
    assert_eq!(AckBody::decode(body(2)), Ok(samples::ack()));
    assert_eq!((all[3].header.count, all[3].header.first_sequence), (3, Sequence(4207)));
    assert_eq!(FenceBody::decode(body(4)), Ok(samples::fence()));
    assert_eq!(LostBody::decode(body(5)), Ok(samples::lost()));
}

// Blocks and frames.

fn read_block(bytes: &[u8]) -> Result<(), DecodeError> {
    let header = BlockHeader::decode(samples::block_place(), bytes)?;
    check_block(&header, &samples::stripe(), bytes)
}

#[test]
fn a_block_with_any_flipped_bit_or_any_prefix_of_it_is_refused() {
    let bytes = samples::block_bytes();
    let end = BLOCK_HEADER_BYTES + samples::block_header().payload_len as usize;
    check_refusals(&bytes[..end], false, read_block);
    // All but the payload of the void frame, which is not read.
    let void_at: usize = samples::frames()[..3].iter().map(Vec::len).sum();
    let void = samples::frames()[3].len();
    let unread = BLOCK_HEADER_BYTES + void_at + 24..BLOCK_HEADER_BYTES + void_at + void;
    let mut flipped = bytes.clone();
    for bit in 0..end * 8 {
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(read_block(&flipped).is_ok(), unread.contains(&(bit / 8)), "bit {bit} flipped");
        flipped[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn a_block_of_another_channel_or_stripe_is_refused() {
    let bytes = samples::block_bytes();
    let other = Uuid([9; 16]);
    for salt in [block_salt(&other, &samples::stripe()), block_salt(&samples::channel(), &other)] {
        assert_eq!(BlockHeader::decode(salt, &bytes), Err(DecodeError::Checksum));
    }
}

#[test]
fn frames_of_another_stripe_epoch_or_block_are_refused() {
    let header = samples::block_header();
    let bytes = samples::block_bytes();
    let frame = &bytes[BLOCK_HEADER_BYTES..];
    assert!(parse(samples::frame_place(), frame).is_ok());
    for place in [
        frame_salt(&Uuid([9; 16]), header.nonce, header.key),
        frame_salt(&samples::stripe(), header.nonce + 1, header.key),
        frame_salt(&samples::stripe(), header.nonce, header.key + 1),
    ] {
        assert_eq!(parse(place, frame), Err(DecodeError::Checksum));
    }
}

#[test]
fn a_block_whose_frames_do_not_add_up_is_refused() {
    let good = samples::block_header();
    let wrong = |change: fn(&mut BlockHeader)| {
        let mut header = good;
        change(&mut header);
        check_block(&header, &samples::stripe(), &samples::block_bytes())
    };
    assert_eq!(wrong(|_| {}), Ok(()));
    assert_eq!(wrong(|h| h.event_count += 1), Err(DecodeError::Field("event count")));
    assert_eq!(wrong(|h| h.first_sequence.0 += 1), Err(DecodeError::Field("first sequence")));
    assert_eq!(wrong(|h| h.payload_len -= 1), Err(DecodeError::Length));
    assert_eq!(wrong(|h| h.payload_len += 24), Err(DecodeError::Empty));
    assert_eq!(wrong(|h| h.payload_len = u32::MAX), Err(DecodeError::Length));
    assert_eq!(wrong(|h| h.key += 1), Err(DecodeError::Checksum));
}

#[test]
fn a_block_that_says_state_begins_with_a_state_record() {
    let put = samples::frame(FrameKind::Put, 0, 0, 1, b"");
    for (payload, wanted) in [(&b""[..], false), (&put, false), (&samples::frames()[0], true)] {
        let header = BlockHeader {
            flags: STATE,
            first_sequence: Sequence(1),
            event_count: 0,
            payload_len: payload.len() as u32,
            ..samples::block_header()
        };
        let block = [&[0; BLOCK_HEADER_BYTES], payload].concat();
        let found = check_block(&header, &samples::stripe(), &block);
        assert_eq!(found, if wanted { Ok(()) } else { Err(DecodeError::Field("block flags")) });
    }
}

#[test]
fn block_header_fields_that_are_never_written_are_refused() {
    let (salt, bytes) = (samples::block_place(), samples::block_bytes());
    let read = |at, new: &[u8]| BlockHeader::decode(salt, &resealed(&bytes, at, new, salt, 124));
    assert_eq!(read(8, &[42]), Ok(samples::block_header()));
    assert_eq!(read(6, &[4]), Err(DecodeError::Field("block flags")));
    assert_eq!(read(8, &[0; 8]), Err(DecodeError::Field("block number")));
    assert_eq!(read(48, &0u64.to_le_bytes()), Err(DecodeError::Field("block offset")));
    assert_eq!(read(48, &8704u64.to_le_bytes()), Err(DecodeError::Field("block offset")));
    assert_eq!(read(64, &[0xFF; 8]), Err(DecodeError::Field("first sequence")));
    assert_eq!(read(100, &[1]), Err(DecodeError::Field("reserved")));
    let newest = u32::from(BLOCK_VERSION);
    assert_eq!(read(4, &[3]), Err(DecodeError::Version { found: 3, newest }));
    assert_eq!(read(4, &[0]), Err(DecodeError::Field("version")));
    let mut rotten = bytes.clone();
    rotten[4] = 3;
    assert_eq!(
        BlockHeader::decode(salt, &rotten),
        Err(DecodeError::Checksum),
        "rot is not a version"
    );
    assert_eq!(BlockHeader::decode(salt, &[0; 4096]), Err(DecodeError::Empty));
    assert_eq!(BlockHeader::decode(salt, &[1; 4096]), Err(DecodeError::Magic));
}

#[test]
fn unwritten_frame_header_fields_are_refused_and_the_next_frame_follows() {
    let salt = samples::frame_place();
    let good = samples::frame(FrameKind::Ack, 0, 0, 5, b"payload");
    let with = |at: usize, new: &[u8]| {
        let mut bytes = good.clone();
        bytes[at..at + new.len()].copy_from_slice(new);
        let crc = salt.checksum(&[&bytes[4..]]);
        bytes[..4].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    for (bytes, refusal) in [
        (with(8, &[0]), DecodeError::Field("frame kind")),
        (with(8, &[6]), DecodeError::Field("frame kind")),
        (with(9, &[1]), DecodeError::Field("frame flags")),
        (with(10, &[1]), DecodeError::Field("reserved")),
        (with(12, &[1]), DecodeError::Field("frame count")),
        (with(8, &[1, 4]), DecodeError::Field("frame flags")),
        (
            with(8, &[1, 0, 0, 0, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255]),
            DecodeError::Field("first sequence"),
        ),
    ] {
        assert_eq!(parse(salt, &bytes), Err(refusal));
        let two = [bytes, good.clone()].concat();
        let found: Vec<_> = frames(salt, &two).collect();
        assert_eq!(found[0], Err((0, refusal)));
        assert_eq!(found[1].unwrap().offset, good.len());
        assert_eq!(found.len(), 2);
    }
}

#[test]
fn the_walk_over_frames_ends_where_a_length_cannot_be_trusted() {
    let salt = samples::frame_place();
    let good = samples::frame(FrameKind::Put, 0, 1, 5, b"payload");
    let mut torn = good.clone();
    torn[30] ^= 1;
    for (bad, refusal) in [
        (torn, DecodeError::Checksum),
        (vec![0; good.len()], DecodeError::Empty),
        (samples::frame(FrameKind::Put, 0, 1, 5, &[7; 900])[..60].to_vec(), DecodeError::Length),
    ] {
        let all = [good.clone(), bad, good.clone()].concat();
        let found: Vec<_> = frames(salt, &all).collect();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].unwrap().payload(), 24..good.len());
        assert_eq!(found[1], Err((good.len(), refusal)));
    }
}

#[test]
fn bodies_that_are_never_written_are_refused() {
    let mut acked = vec![0; samples::ack().encoded_len()];
    samples::ack().encode(&mut acked);
    check_refusals(&acked, false, AckBody::decode);
    let fenced = samples::encoded::<{ FenceBody::BYTES }>(|out| samples::fence().encode(out));
    check_refusals(&fenced, false, FenceBody::decode);
    let gone = samples::encoded::<{ LostBody::BYTES }>(|out| samples::lost().encode(out));
    check_refusals(&gone, false, LostBody::decode);
    let with = |bytes: &[u8], at: usize, new: u8| {
        let mut bytes = bytes.to_vec();
        bytes[at] = new;
        bytes
    };
    assert_eq!(AckBody::decode(&with(&acked, 4, 200)), Err(DecodeError::Length));
    assert_eq!(AckBody::decode(&[&acked[..], &[0]].concat()), Err(DecodeError::Length));
    assert_eq!(AckBody::decode(&with(&acked, 8, 32)), Err(DecodeError::Field("stripe")));
    assert_eq!(AckBody::decode(&with(&acked, 10, 1)), Err(DecodeError::Field("reserved")));
    assert_eq!(AckBody::decode(&with(&acked, 16, 20)), Err(DecodeError::Field("range")));
    assert_eq!(FenceBody::decode(&with(&fenced, 33, 0x17)), Err(DecodeError::Field("void range")));
    assert_eq!(LostBody::decode(&with(&gone, 8, 74)), Err(DecodeError::Field("range")));
    assert_eq!(LostBody::decode(&[&gone[..], &[0]].concat()), Err(DecodeError::Length));
    let nothing = FenceBody { void_end: samples::fence().void_start, ..samples::fence() };
    let bytes = samples::encoded::<{ FenceBody::BYTES }>(|out| nothing.encode(out));
    assert_eq!(FenceBody::decode(&bytes), Ok(nothing), "a fence with nothing in flight");
}

// Segments.

#[test]
fn either_copy_of_a_segment_header_suffices() {
    let bytes = samples::segment_bytes();
    for (from, to) in [(0, DEVICE_BLOCK_BYTES), (DEVICE_BLOCK_BYTES, 2 * DEVICE_BLOCK_BYTES)] {
        for wrong in [0, 0xFF] {
            let mut one = bytes.clone();
            one[from..to].fill(wrong);
            assert_eq!(SegmentHeader::decode(&one), Ok(samples::segment()));
        }
    }
    check_refusals(&bytes[..SEGMENT_COPY_BYTES], true, SegmentHeader::decode);
}

#[test]
fn the_later_of_two_segment_headers_counts() {
    let later = SegmentHeader { id: samples::segment().id.next(), ..samples::segment() };
    let mut bytes = [samples::segment_bytes(), vec![0; 8192]].concat();
    later.encode(&mut bytes[8192..]);
    let (old, new) = (bytes[..4096].to_vec(), bytes[8192..12288].to_vec());
    for torn in [[&old[..], &new], [&new[..], &old]] {
        assert_eq!(SegmentHeader::decode(&torn.concat()), Ok(later));
    }
}

#[test]
fn a_segment_header_is_refused_with_the_reason_that_says_most() {
    let read = |at, new: &[u8]| {
        let mut bytes = samples::segment_bytes();
        bytes[4096..].fill(0);
        SegmentHeader::decode(&resealed(&bytes, at, new, Salt::of(&SEGMENT_MAGIC), 124))
    };
    let version = DecodeError::Version { found: 2, newest: 1 };
    assert_eq!(read(8, &[2]), Err(version));
    assert_eq!(read(48, &[0]), Err(DecodeError::Field("segment id")));
    assert_eq!(read(80, &[0]), Err(DecodeError::Field("first block")));
    assert_eq!(read(112, &[1]), Err(DecodeError::Field("reserved")));
    assert_eq!(SegmentHeader::decode(&[0; 8192]), Err(DecodeError::Empty));
    assert_eq!(SegmentHeader::decode(&[0; 4096]), Err(DecodeError::Empty));
    assert_eq!(SegmentHeader::decode(&[]), Err(DecodeError::Length));
    assert_eq!(SegmentHeader::decode(b"a foreign file"), Err(DecodeError::Length));
    assert_eq!(SegmentHeader::decode(&[7; 8192]), Err(DecodeError::Magic));
    let newer = resealed(&samples::segment_bytes(), 8, &[2], Salt::of(&SEGMENT_MAGIC), 124);
    let mut second_only = [vec![0; 4096], newer[..4096].to_vec()].concat();
    assert_eq!(SegmentHeader::decode(&second_only), Err(version));
    second_only[4096 + 20] ^= 1;
    assert_eq!(SegmentHeader::decode(&second_only), Err(DecodeError::Checksum));
}

// Slots, members, state.

#[test]
fn slots_with_any_flipped_bit_or_cut_short_are_refused() {
    let (bytes, kind) = (samples::checkpoint_slot(), SlotKind::Checkpoint);
    let end = slot::decode(kind, &bytes).unwrap().payload.end;
    check_refusals(&bytes[..end], false, |b| slot::decode(kind, b));
    let mut flipped = bytes.clone();
    for at in (0..slot::SLOT_HEADER_BYTES).chain(slot::SLOT_PAYLOAD_AT..end) {
        for bit in 0..8 {
            flipped[at] ^= 1 << bit;
            assert!(slot::decode(kind, &flipped).is_err(), "bit {bit} of byte {at} flipped");
            flipped[at] ^= 1 << bit;
        }
    }
}

#[test]
fn a_new_slot_header_over_an_old_payload_is_refused() {
    let old = samples::slot_bytes(SlotKind::Checkpoint, 1, &[1; 5000]);
    let new = samples::slot_bytes(SlotKind::Checkpoint, 2, &[2; 5000]);
    let torn = [&new[..DEVICE_BLOCK_BYTES], &old[DEVICE_BLOCK_BYTES..]].concat();
    assert_eq!(slot::decode(SlotKind::Checkpoint, &torn), Err(DecodeError::Checksum));
}

#[test]
fn slots_of_another_kind_or_version_are_refused() {
    let bytes = samples::member_slot();
    let kind = DecodeError::Field("slot kind");
    assert_eq!(slot::decode(SlotKind::Checkpoint, &bytes), Err(kind));
    assert_eq!(slot::decode(SlotKind::Member, &vec![0; bytes.len()]), Err(DecodeError::Empty));
    assert_eq!(slot::decode(SlotKind::Member, &vec![5; bytes.len()]), Err(DecodeError::Magic));
    let mut newer = bytes.clone();
    newer[8] = 3;
    let payload = slot::decode(SlotKind::Member, &bytes).unwrap().payload;
    let crc = Salt::of(&slot::SLOT_MAGIC).checksum(&[&newer[..60], &newer[payload]]);
    newer[60..64].copy_from_slice(&crc.to_le_bytes());
    let version = DecodeError::Version { found: 3, newest: 2 };
    assert_eq!(slot::decode(SlotKind::Member, &newer), Err(version));
}

#[test]
fn generations_take_turns_and_the_largest_payload_fits() {
    for kind in [SlotKind::Checkpoint, SlotKind::Member] {
        assert_eq!(kind.slot_offset(4), 0);
        assert_eq!(kind.slot_offset(5), kind.slot_bytes() as u64);
        assert!(kind.slot_bytes().is_multiple_of(DEVICE_BLOCK_BYTES));
        let payload = vec![1; kind.payload_bytes_max() + 1];
        let bytes = samples::slot_bytes(kind, 5, &payload[1..]);
        assert_eq!(bytes.len(), kind.slot_bytes());
        assert_eq!(slot::decode(kind, &bytes).unwrap().payload.end, kind.slot_bytes());
        let mut out = vec![0; kind.file_bytes()];
        let refused = slot::encode(kind, &Uuid([1; 16]), &Uuid([2; 16]), 1, &payload, &mut out);
        assert_eq!(refused, Err(DecodeError::Bounds));
    }
    const { assert!(SlotKind::Checkpoint.payload_bytes_max() >= STATE_BYTES_MAX) };
}

#[test]
fn member_records_refuse_what_is_never_written() {
    let bytes = samples::member().encode().unwrap();
    check_refusals(&bytes, false, Member::decode);
    let with = |at: usize, new: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = new;
        Member::decode(&bytes)
    };
    assert_eq!(with(32, 3), Err(DecodeError::Field("role")));
    assert_eq!(with(34, 32), Err(DecodeError::Field("role")));
    assert_eq!(with(36, 3), Err(DecodeError::Field("phase")));
    assert_eq!(with(38, 34), Err(DecodeError::Bounds));
    assert_eq!(with(38, 2), Err(DecodeError::Length));
    assert_eq!(with(61, 0xFF), Err(DecodeError::Bounds));
    assert_eq!(with(64, 0xFF), Err(DecodeError::Text));
    let mut crowd = samples::member();
    crowd.members = vec![crowd.members[0].clone(); MEMBERS_MAX + 1];
    assert_eq!(crowd.encode(), Err(DecodeError::Bounds));
}

#[test]
fn a_path_too_long_for_its_member_record_keeps_its_end() {
    let mut member = samples::member();
    member.members[0].path = format!("/x/{}/日/end", "a日".repeat(400));
    let read = Member::decode(&member.encode().unwrap()).unwrap();
    let kept = &read.members[0].path;
    assert!(kept.len() <= MEMBER_PATH_BYTES_MAX && kept.len() > MEMBER_PATH_BYTES_MAX - 4);
    assert!(member.members[0].path.ends_with(kept.as_str()));
    assert_eq!(read.members[1], member.members[1]);
}

#[test]
fn state_records_refuse_what_is_never_written() {
    let good = samples::state();
    check_refusals(&good.to_bytes().unwrap(), false, StateRecord::decode);
    let trailing = [good.to_bytes().unwrap(), vec![0]].concat();
    assert_eq!(StateRecord::decode(&trailing), Err(DecodeError::Length));
    let bytes = good.to_bytes().unwrap();
    let with = |at: usize, new: u64| {
        let mut bytes = bytes.clone();
        bytes[at..at + 8].copy_from_slice(&new.to_le_bytes());
        StateRecord::decode(&bytes)
    };
    let first = |low: u64, high: u64| low | high << 32;
    assert_eq!(with(0, first(STRIPES_MAX as u64 + 1, 2)), Err(DecodeError::Bounds));
    assert_eq!(with(0, first(2 | 2 << 16, 2)), Err(DecodeError::Field("state layout")));
    assert_eq!(with(0, first(2 | 1 << 16, 3)), Err(DecodeError::Length));
    assert_eq!(with(88, first(DAMAGE_NAMED_MAX as u64 + 1, 2)), Err(DecodeError::Bounds));
    assert_eq!(with(104, first(ADOPTED_RANGES_MAX as u64 + 1, 0)), Err(DecodeError::Bounds));
    assert_eq!(with(104, first(2, 1)), Err(DecodeError::Field("reserved")));
    // The first stripe's damage is at 112, its adopted ranges at 144, its groups at 176 and 224.
    assert_eq!(with(112, 130), Err(DecodeError::Field("range")));
    assert_eq!(with(128, 99), Err(DecodeError::Field("damage order")));
    assert_eq!(with(144, 3720), Err(DecodeError::Field("range")));
    assert_eq!(with(160, 3720), Err(DecodeError::Field("adopted order")));
    assert_eq!(with(192, 3900), Err(DecodeError::Field("range order")));
    assert_eq!(with(208, 3960), Err(DecodeError::Field("range order")));
    assert_eq!(with(224, 1), Err(DecodeError::Field("group order")));
    let mut unordered = bytes.clone();
    let spool = unordered.windows(5).position(|window| window == b"spool").unwrap();
    unordered[spool] = b'z';
    assert_eq!(StateRecord::decode(&unordered), Err(DecodeError::Field("position order")));
    assert_eq!(StateRecord::decode(&vec![0; STATE_BYTES_MAX + 1]), Err(DecodeError::Bounds));
}

#[test]
fn a_state_record_beyond_its_bounds_is_not_written() {
    let mut out = vec![0; 2 * STATE_BYTES_MAX];
    let crowd = StateRecord::new(STRIPES_MAX + 1);
    assert_eq!(crowd.encode(&mut out), Err(DecodeError::Bounds));
    let mut large = StateRecord::new(1);
    let bytes = vec![7; STATE_BYTES_MAX];
    large.advance_source_offset("source", &SourceOffset { counter: 1, bytes });
    assert_eq!(large.encode(&mut out), Err(DecodeError::Bounds));
}

#[test]
fn a_count_beyond_the_bytes_allocates_nothing() {
    let huge = |at: usize, mut bytes: Vec<u8>| {
        bytes[at..at + 4].fill(0xFF);
        bytes
    };
    let event = Bytes::from(huge(8, samples::event_bytes(&samples::event())));
    assert_eq!(event::decode(&event, &mut 0), Err(DecodeError::Bounds));
    let none = [[5, 0, 0, 0], [0; 4], [0; 4]].concat();
    assert_eq!(
        event::decode(&Bytes::from([&none[..], &[0]].concat()), &mut 0),
        Err(DecodeError::Field("header count"))
    );
    let state = StateRecord::decode(&huge(4, samples::state().to_bytes().unwrap()));
    assert_eq!(state, Err(DecodeError::Length));
}

#[test]
fn event_texts_must_be_utf_8_and_headers_end_where_they_say() {
    let good = samples::event_bytes(&samples::event());
    let mut bytes = good.clone();
    bytes[20] = 0xFF;
    assert_eq!(event::decode(&Bytes::from(bytes), &mut 0), Err(DecodeError::Text));
    let mut longer = good.clone();
    longer[0] += 1;
    longer[4] -= 1;
    assert_eq!(event::decode(&Bytes::from(longer), &mut 0), Err(DecodeError::Length));
}

#[test]
fn an_event_without_headers_shares_its_block() {
    let block = Bytes::from(samples::event_bytes(&samples::plain_event()));
    let event = event::decode(&block, &mut 0).unwrap();
    assert_eq!(event.body.as_ptr(), block[8..].as_ptr(), "no copy");
    let copy = event::decode_copied(&block, &mut 0).unwrap();
    assert_ne!(copy.body.as_ptr(), block[8..].as_ptr(), "memory of its own");
    assert_eq!(event, copy);
}
