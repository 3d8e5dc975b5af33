//! Files of every format version stay readable: the files in tests/golden were written once and are never rewritten. A
//! change of the format gets a version, and a directory, of its own. What did not change with version 2 is in the
//! directory of version 1 only.

use super::block::{BlockHeader, check_block};
use super::member::Member;
use super::segment::SegmentHeader;
use super::slot::{self, Slot, SlotKind};
use super::state::StateRecord;
use super::{event, samples};
use bytes::Bytes;
use std::path::Path;

fn golden(name: &str) -> Vec<u8> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    std::fs::read(dir.join(name)).unwrap()
}

/// Returns the sample state as version 1 had it: no directory was ever missing.
fn first_state() -> StateRecord {
    let mut state = samples::state();
    for stripe in &mut state.stripes {
        (stripe.opened, stripe.adopted) = Default::default();
    }
    state
}

/// Returns every golden file and what this program writes for the same value.
fn written_today() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("v2/block.bin", samples::block_bytes()),
        ("v1/segment.bin", samples::segment_bytes()),
        ("v2/checkpoint-slot.bin", samples::checkpoint_slot()),
        ("v2/member-slot.bin", samples::member_slot()),
        ("v2/state.bin", samples::state().to_bytes().unwrap()),
        ("v1/member.bin", samples::member().encode().unwrap()),
        ("v1/event.bin", samples::event_bytes(&samples::event())),
    ]
}

/// For a new version of the format, `MILLPOND_GOLDEN=write cargo test --lib what_is_written_today` writes its files; one that is
/// there is never replaced.
#[test]
fn what_is_written_today_is_what_its_version_wrote() {
    if std::env::var("MILLPOND_GOLDEN").is_ok_and(|value| value == "write") {
        write_missing_files();
    }
    for (name, bytes) in written_today() {
        assert!(golden(name) == bytes, "{name} is no longer written as its version wrote it");
    }
}

#[allow(clippy::disallowed_methods)]
fn write_missing_files() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for (name, bytes) in written_today() {
        std::fs::create_dir_all(dir.join(name).parent().unwrap()).unwrap();
        if !dir.join(name).exists() {
            std::fs::write(dir.join(name), bytes).unwrap();
        }
    }
}

/// Checks that a golden block is read; its header is the sample's but for the payload's length.
fn check_block_of(name: &str, state: &StateRecord) {
    let bytes = golden(name);
    let header = BlockHeader::decode(samples::block_place(), &bytes).unwrap();
    let BlockHeader { payload_len, .. } = header;
    assert_eq!(header, BlockHeader { payload_len, ..samples::block_header() });
    assert_eq!(header.written_len(), bytes.len());
    check_block(&header, &samples::stripe(), &bytes).unwrap();
    super::tests::check_sample_frames(&bytes, &header, state);
}

#[test]
fn blocks_of_every_version_are_read_with_every_kind_of_frame() {
    check_block_of("v1/block.bin", &first_state());
    check_block_of("v2/block.bin", &samples::state());
}

#[test]
fn a_version_1_segment_header_is_read() {
    assert_eq!(SegmentHeader::decode(&golden("v1/segment.bin")), Ok(samples::segment()));
}

#[test]
fn slots_of_every_version_are_read() {
    for (version, state) in [("v1", first_state()), ("v2", samples::state())] {
        let bytes = golden(&format!("{version}/checkpoint-slot.bin"));
        let found = slot::decode(SlotKind::Checkpoint, &bytes).unwrap();
        let read = StateRecord::decode(&bytes[found.payload.clone()]);
        assert_eq!((found.generation, read), (7, Ok(state)));
        let Slot { channel, owner, .. } = found;
        assert_eq!((channel, owner), (samples::channel(), samples::stripe()));
        let bytes = golden(&format!("{version}/member-slot.bin"));
        let found = slot::decode(SlotKind::Member, &bytes).unwrap();
        let read = Member::decode(&bytes[found.payload]);
        assert_eq!((found.generation, read), (2, Ok(samples::member())));
    }
}

#[test]
fn state_member_and_event_of_every_version_are_read() {
    assert_eq!(StateRecord::decode(&golden("v1/state.bin")), Ok(first_state()));
    assert_eq!(StateRecord::decode(&golden("v2/state.bin")), Ok(samples::state()));
    assert_eq!(Member::decode(&golden("v1/member.bin")), Ok(samples::member()));
    let (bytes, mut at) = (Bytes::from(golden("v1/event.bin")), 0);
    assert_eq!(event::decode(&bytes, &mut at), Ok(samples::event()));
}
