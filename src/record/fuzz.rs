//! Entry points of the fuzz targets, one function for each structure; crates/agent/tests/hostile and the unit tests run them too.
//!
//! Each decodes any bytes as they are, and again with corrected checksums, since random bytes seldom pass one. Whatever
//! is accepted must be encoded as the same bytes again or, for an earlier version, as bytes with the same meaning.

use super::block::{self, BLOCK_HEADER_BYTES, BLOCK_MAGIC, BlockHeader};
use super::body::{AckBody, FenceBody, LostBody, PutPrefix};
use super::frame::{self, FRAME_HEADER_BYTES, FrameKind};
use super::member::Member;
use super::segment::{SEGMENT_COPY_BYTES, SEGMENT_HEADER_BYTES, SEGMENT_MAGIC, SegmentHeader};
use super::slot::{self, SLOT_HEADER_BYTES, SLOT_MAGIC, SLOT_PAYLOAD_AT, SlotKind};
use super::state::StateRecord;
use crate::base::checksum::Salt;
use crate::base::ids::Uuid;
use bytes::Bytes;

/// Decodes any bytes as a block: header, frames, and payloads.
///
/// # Panics
/// Something is accepted that encodes as other bytes.
pub fn block(bytes: &[u8]) {
    let salt = block::block_salt(&Uuid::default(), &Uuid::default());
    whole_block(salt, bytes);
    let mut right = bytes.to_vec();
    if let Some(head) = right.get_mut(..BLOCK_HEADER_BYTES) {
        head[..BLOCK_MAGIC.len()].copy_from_slice(&BLOCK_MAGIC);
        seal_end(salt, head);
        whole_block(salt, &right);
    }
}

fn whole_block(salt: Salt, bytes: &[u8]) {
    let Ok(header) = BlockHeader::decode(salt, bytes) else { return };
    let mut again = [0; BLOCK_HEADER_BYTES];
    header.encode(salt, &mut again);
    if bytes[BLOCK_MAGIC.len()..][..2] == 1u16.to_le_bytes() {
        assert_eq!(BlockHeader::decode(salt, &again), Ok(header), "a first header means the same");
    } else {
        assert_eq!(again, bytes[..BLOCK_HEADER_BYTES], "a block header has one encoding");
    }
    let mut bytes = bytes.to_vec();
    let payload = &mut bytes[BLOCK_HEADER_BYTES..];
    let frames = frame::frame_salt(&Uuid::default(), header.nonce, header.key);
    seal_frames(frames, payload);
    all_frames(frames, payload);
    let _ = block::check_block(&header, &Uuid::default(), &bytes);
}

/// Decodes any bytes as the frames of a block.
///
/// # Panics
/// Something is accepted that encodes as other bytes.
pub fn frame(bytes: &[u8]) {
    let salt = frame::frame_salt(&Uuid::default(), 1, 1);
    all_frames(salt, bytes);
    let mut right = bytes.to_vec();
    seal_frames(salt, &mut right);
    all_frames(salt, &right);
    for kind in [FrameKind::Put, FrameKind::Ack, FrameKind::Fence, FrameKind::Lost] {
        body(kind, bytes.first().copied().unwrap_or(0), bytes);
    }
}

/// Corrects the checksums of a chain of frames.
fn seal_frames(salt: Salt, mut rest: &mut [u8]) {
    while rest.len() >= FRAME_HEADER_BYTES {
        let len = u32::from_le_bytes([rest[4], rest[5], rest[6], rest[7]]) as usize;
        let Some(len) = len.checked_add(FRAME_HEADER_BYTES).filter(|len| *len <= rest.len()) else {
            return;
        };
        let (frame, end) = rest.split_at_mut(len);
        let void = frame[8] == FrameKind::Void as u8;
        let covered = if void { FRAME_HEADER_BYTES } else { len };
        let crc = salt.checksum(&[&frame[4..covered]]);
        frame[..4].copy_from_slice(&crc.to_le_bytes());
        rest = end;
    }
}

fn all_frames(salt: Salt, payload: &[u8]) {
    let mut end = 0;
    for found in frame::frames(salt, payload) {
        let Ok(found) = found else { continue };
        assert!(found.offset >= end, "frames do not overlap");
        end = found.payload().end;
        let bytes = &payload[found.offset..end];
        assert_eq!(frame::parse(salt, bytes), Ok(found.header));
        let mut again = bytes.to_vec();
        again[..FRAME_HEADER_BYTES].fill(0);
        if found.header.kind == FrameKind::Void {
            frame::void_frame(salt, &found.header, &mut again);
        } else {
            frame::seal_frame(salt, &found.header, &mut again);
        }
        assert_eq!(again, bytes, "a frame has one encoding");
        body(found.header.kind, found.header.flags, &payload[found.payload()]);
    }
}

fn body(kind: FrameKind, flags: u8, payload: &[u8]) {
    let mut again = vec![0; payload.len()];
    let written = match kind {
        FrameKind::Put => {
            let Ok((prefix, events)) = PutPrefix::decode(flags, payload) else { return };
            event(&payload[events..]);
            let written = prefix.encode(&mut again);
            assert_eq!(written, events, "the events begin after the prefix");
            assert_eq!(again[..written], payload[..written], "a prefix has one encoding");
            return;
        }
        FrameKind::Ack => AckBody::decode(payload).map(|body| body.encode(&mut again)),
        FrameKind::Fence => FenceBody::decode(payload).map(|body| body.encode(&mut again)),
        FrameKind::Lost => LostBody::decode(payload).map(|body| body.encode(&mut again)),
        FrameKind::State => return state(payload),
        FrameKind::Void => return,
    };
    if let Ok(written) = written {
        assert_eq!(&again[..written], payload, "a body has one encoding");
    }
}

/// Decodes any bytes as the events of a put.
///
/// # Panics
/// Something is accepted that encodes as other bytes.
pub fn event(bytes: &[u8]) {
    let shared = Bytes::copy_from_slice(bytes);
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let Ok(event) = super::event::decode(&shared, &mut at) else {
            assert_eq!(at, start, "a refused event moves nothing");
            return;
        };
        let (mut skipped, mut copied) = (start, start);
        assert_eq!(super::event::skip(bytes, &mut skipped), Ok(()));
        let copy = super::event::decode_copied(bytes, &mut copied);
        assert_eq!((skipped, copied), (at, at));
        for event in [Ok(event), copy].into_iter().flatten() {
            let mut again = vec![0; super::event::encoded_len(&event)];
            super::event::encode(&event, &mut again);
            assert_eq!(again, bytes[start..at], "an event has one encoding");
        }
    }
}

/// Decodes any bytes as a segment header.
///
/// # Panics
/// Something is accepted that encodes as other bytes.
pub fn segment(bytes: &[u8]) {
    let _ = SegmentHeader::decode(bytes);
    let Some(copy) = bytes.get(..SEGMENT_COPY_BYTES) else { return };
    let mut right = copy.to_vec();
    right[..SEGMENT_MAGIC.len()].copy_from_slice(&SEGMENT_MAGIC);
    seal_end(Salt::of(&SEGMENT_MAGIC), &mut right);
    if let Ok(header) = SegmentHeader::decode(&right) {
        let mut again = vec![0; SEGMENT_HEADER_BYTES];
        header.encode(&mut again);
        assert_eq!(again[..SEGMENT_COPY_BYTES], right, "a segment header has one encoding");
    }
}

/// Writes the checksum of all bytes before it to the end of `bytes`.
fn seal_end(salt: Salt, bytes: &mut [u8]) {
    let (covered, crc) = bytes.split_at_mut(bytes.len() - 4);
    crc.copy_from_slice(&salt.checksum(&[covered]).to_le_bytes());
}

/// Decodes any bytes as a slot: a header, then the payload.
///
/// # Panics
/// Something is accepted that encodes as other bytes.
pub fn slot(bytes: &[u8]) {
    for kind in [SlotKind::Checkpoint, SlotKind::Member] {
        let _ = slot::decode(kind, bytes);
        let Some((head, payload)) = bytes.split_at_checked(SLOT_HEADER_BYTES) else { return };
        let mut right = vec![0; SLOT_PAYLOAD_AT];
        right[..SLOT_HEADER_BYTES].copy_from_slice(head);
        right[..SLOT_MAGIC.len()].copy_from_slice(&SLOT_MAGIC);
        right.extend_from_slice(payload);
        let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        right[56..60].copy_from_slice(&len.to_le_bytes());
        let crc = Salt::of(&SLOT_MAGIC).checksum(&[&right[..60], payload]);
        right[60..64].copy_from_slice(&crc.to_le_bytes());
        let Ok(found) = slot::decode(kind, &right) else { continue };
        let mut again = vec![0; slot::encoded_len(payload.len())];
        slot::encode(kind, &found.channel, &found.owner, found.generation, payload, &mut again)
            .expect("a decoded slot is within the limits");
        if right[SLOT_MAGIC.len()..][..4] == 1u32.to_le_bytes() {
            assert_eq!(slot::decode(kind, &again), Ok(found), "a first slot means the same");
        } else {
            assert_eq!(again[..right.len()], right, "a slot has one encoding");
        }
    }
}

/// Decodes any bytes as a state record.
///
/// # Panics
/// Something is accepted that encodes as other bytes.
pub fn state(bytes: &[u8]) {
    let Ok(record) = StateRecord::decode(bytes) else { return };
    match record.to_bytes() {
        // The layout of version 1.
        Ok(again) if bytes[2..4] == [0, 0] => {
            assert_eq!(StateRecord::decode(&again).as_ref(), Ok(&record), "it means the same");
        }
        Err(_) if bytes[2..4] == [0, 0] => {}
        again => assert_eq!(again.as_deref(), Ok(bytes), "a state record has one encoding"),
    }
    let mut joined = record.clone();
    joined.join(&record);
    assert_eq!(joined, record, "joining what is known changes nothing");
}

/// Decodes any bytes as a member record.
///
/// # Panics
/// Something is accepted that encodes as other bytes.
pub fn member(bytes: &[u8]) {
    let Ok(member) = Member::decode(bytes) else { return };
    assert_eq!(member.encode().as_deref(), Ok(bytes), "a member record has one encoding");
}
