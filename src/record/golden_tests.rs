//! Files of every format version open for ever: tests/golden/v1 was written once and is never
//! rewritten. A change of the format gets a version, and a directory, of its own.

use super::block::{BlockHeader, check_block};
use super::member::Member;
use super::segment::SegmentHeader;
use super::slot::{self, Slot, SlotKind};
use super::state::StateRecord;
use super::{event, samples};
use bytes::Bytes;
use std::path::Path;

fn golden(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    std::fs::read(dir.join(name)).unwrap()
}

/// Every golden file and what this program writes for the same value.
fn written_today() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("block.bin", samples::block_bytes()),
        ("segment.bin", samples::segment_bytes()),
        ("checkpoint-slot.bin", samples::checkpoint_slot()),
        ("member-slot.bin", samples::member_slot()),
        ("state.bin", samples::state().to_bytes().unwrap()),
        ("member.bin", samples::member().encode().unwrap()),
        ("event.bin", samples::event_bytes(&samples::event())),
    ]
}

#[test]
fn what_is_written_today_is_what_version_1_wrote() {
    for (name, bytes) in written_today() {
        assert!(golden(name) == bytes, "{name} is no longer written as version 1 wrote it");
    }
}

#[test]
fn a_version_1_block_is_read_with_every_kind_of_frame() {
    let bytes = golden("block.bin");
    let header = BlockHeader::decode(samples::block_place(), &bytes).unwrap();
    assert_eq!(header, samples::block_header());
    assert_eq!(header.written_len(), bytes.len());
    check_block(&header, &samples::stripe(), &bytes).unwrap();
    super::tests::check_sample_frames(&bytes, &header);
}

#[test]
fn a_version_1_segment_header_is_read() {
    assert_eq!(SegmentHeader::decode(&golden("segment.bin")), Ok(samples::segment()));
}

#[test]
fn version_1_slots_are_read() {
    let bytes = golden("checkpoint-slot.bin");
    let found = slot::decode(SlotKind::Checkpoint, &bytes).unwrap();
    assert_eq!(
        (found.generation, StateRecord::decode(&bytes[found.payload.clone()])),
        (7, Ok(samples::state()))
    );
    let Slot { channel, owner, .. } = found;
    assert_eq!((channel, owner), (samples::channel(), samples::stripe()));
    let bytes = golden("member-slot.bin");
    let found = slot::decode(SlotKind::Member, &bytes).unwrap();
    assert_eq!(
        (found.generation, Member::decode(&bytes[found.payload])),
        (2, Ok(samples::member()))
    );
}

#[test]
fn version_1_state_member_and_event_are_read() {
    assert_eq!(StateRecord::decode(&golden("state.bin")), Ok(samples::state()));
    assert_eq!(Member::decode(&golden("member.bin")), Ok(samples::member()));
    let mut at = 0;
    assert_eq!(event::decode(&Bytes::from(golden("event.bin")), &mut at), Ok(samples::event()));
}

/// `cargo test --lib write_missing_golden_files -- --ignored`, for a new version only.
#[test]
#[ignore = "writes into the source tree; existing files are never overwritten"]
#[allow(clippy::disallowed_methods)]
fn write_missing_golden_files() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/v1");
    std::fs::create_dir_all(&dir).unwrap();
    for (name, bytes) in written_today() {
        if !dir.join(name).exists() {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }
}
