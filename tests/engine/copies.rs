//! Data stored twice on the disk: a damaged copy is reported, and written again by an opening.

use crate::rig::{Machine, bodies, checkpoint_dir, data_dir};
use millpond::Channel;
use millpond::internal::layout::MEMBER_NAME;
use millpond::internal::record::segment::{SEGMENT_HEADER_BYTES, SegmentHeader};
use millpond::internal::record::slot::{MEMBER_SLOT_BYTES, SLOTS_PER_FILE};
use millpond::internal::recovery::RecoverOptions;
use millpond::internal::recovery::decision_table::Case;
use millpond::internal::recovery::inspection::{self, Presence};
use std::path::PathBuf;

/// Returns the findings of `channel check`, with the offsets.
fn said(machine: &Machine) -> Vec<(Case, PathBuf, Option<u64>)> {
    let options = RecoverOptions {
        checkpoint_dir: checkpoint_dir(),
        data_dirs: (0..machine.stripes).map(data_dir).collect(),
        open_degraded: false,
        open_without_missing_segments: false,
        create: false,
        segment_bytes: machine.options().segment_bytes,
    };
    let (survey, check) = inspection::verify(&machine.disk, &options).expect("readable");
    assert!(survey.presence == Presence::Created && check.is_sound(), "{:?}", check.findings);
    // The unfinished creation of a member is here its last record, which is lost.
    let ordinary = |case: Case| case.is_ordinary() && case != Case::R9;
    let findings = check.findings.into_iter().filter(|f| !ordinary(f.case));
    findings.map(|f| (f.case, f.path, f.offset)).collect()
}

/// Returns a stopped channel with events, and the file of its segment in use.
fn stopped() -> (Machine, PathBuf) {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for round in 0..4 {
        engine.put(&bodies(&format!("r{round}"), 0..3));
    }
    engine.channel.close().expect("sealed");
    drop(engine);
    let machine = machine.after_power_cut(1);
    let in_use = |file: &PathBuf| {
        let bytes = machine.disk.contents(file).expect("listed");
        file.starts_with(data_dir(0)) && SegmentHeader::decode(&bytes).is_ok()
    };
    let file = machine.disk.files().into_iter().find(in_use).expect("a segment in use");
    (machine, file)
}

/// Opens and closes the channel, and counts the waiting events.
fn reopened(machine: &Machine) -> usize {
    let mut engine = machine.open();
    let events = engine.drain().len();
    engine.channel.close().expect("sealed");
    events
}

#[test]
fn a_damaged_copy_of_a_segment_header_is_named_and_written_again() {
    let (machine, file) = stopped();
    assert_eq!(said(&machine), []);
    let copy_bytes = (SEGMENT_HEADER_BYTES / 2) as u64;
    for offset in [0, copy_bytes] {
        let machine = machine.after_power_cut(2);
        machine.disk.rot(&file, offset + 20, 4).expect("there");
        assert_eq!(said(&machine), [(Case::R13, file.clone(), Some(offset))]);
        // Reported by an inspection, but not written by it.
        assert_eq!(said(&machine).len(), 1);
        let engine = machine.open();
        let bytes = machine.disk.contents(&file).expect("there");
        assert_eq!(SegmentHeader::damaged_copy(&bytes[..SEGMENT_HEADER_BYTES]), None, "{offset}");
        engine.channel.close().expect("sealed");
        drop(engine);
        assert_eq!(said(&machine), [], "{offset}");
        // The other copy may be lost now.
        let machine = machine.after_power_cut(3);
        machine.disk.rot(&file, (copy_bytes - offset) + 20, 4).expect("there");
        assert_eq!(reopened(&machine), 12, "{offset}");
    }
}

#[test]
fn a_damaged_record_in_a_member_file_is_named_and_written_again() {
    let (machine, _) = stopped();
    for directory in [checkpoint_dir(), data_dir(1)] {
        let file = directory.join(MEMBER_NAME);
        for slot in 0..SLOTS_PER_FILE {
            let about = format!("record {slot} of {}", file.display());
            let machine = machine.after_power_cut(2);
            let offset = (slot * MEMBER_SLOT_BYTES) as u64;
            machine.disk.rot(&file, offset + 40, 4).expect("there");
            let found = said(&machine);
            let named = |(case, path, _): &(Case, PathBuf, _)| {
                [Case::R14, Case::R9].contains(case) && *path == directory
            };
            assert!(found.len() == 1 && found.iter().all(named), "{about}: {found:?}");
            machine.open().channel.close().expect("sealed");
            assert_eq!(said(&machine), [], "{about}");
            // The other copy may be lost now.
            let machine = machine.after_power_cut(3);
            let other = (SLOTS_PER_FILE - 1 - slot) * MEMBER_SLOT_BYTES;
            machine.disk.rot(&file, other as u64 + 40, 4).expect("there");
            assert_eq!(reopened(&machine), 12, "{about}");
        }
    }
}
