//! Segments whose header and first blocks are lost: what the later blocks recover.

use super::*;
use crate::recovery::inspection;

const ZERO: StripeIndex = StripeIndex(0);

/// A log of one stripe: a segment, one whose beginning will be lost, and perhaps one after it.
struct Log {
    stage: Stage,
    lost: TestDir,
    kept: TestDir,
}

fn log(last: bool, is_named: bool) -> Log {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    pen.roll(&mut stage);
    let lost = pen.durable(&mut stage, &[Ink::Put(3)]);
    let kept = pen.durable(&mut stage, &[Ink::Put(2)]);
    if !last {
        pen.roll(&mut stage);
        pen.durable(&mut stage, &[Ink::Put(2)]);
    }
    if is_named {
        // The opening names what it keeps.
        drop(stage.open());
    }
    Log { stage, lost, kept }
}

impl Log {
    fn overwrite(&self, to: u64, byte: u8) {
        let len = usize::try_from(to).expect("a small segment");
        self.lost.file.write_at(0, &vec![byte; len]).expect("written");
    }

    /// Returns names and bytes of the copies.
    fn copies(&self) -> Vec<(String, Vec<u8>)> {
        let directory = self.stage.disk.open_dir(&self.stage.options.data_dirs[0], false);
        let directory = directory.expect("there");
        let entries = directory.list().expect("listed").into_iter();
        let copies = entries.filter(|e| e.name.starts_with(quarantine::PREFIX));
        let read = |entry: crate::disk::Entry| {
            let mut bytes = vec![0; entry.len as usize];
            let file = directory.open(&entry.name, Access::Read).expect("there");
            file.read_at(0, &mut bytes).expect("readable");
            (entry.name, bytes)
        };
        copies.map(read).collect()
    }
}

#[test]
fn r6_without_header_and_first_blocks_later_blocks_are_kept() {
    for (last, byte) in [(true, 0xA5), (true, 0), (false, 0xA5), (false, 0)] {
        let log = log(last, true);
        log.overwrite(log.kept.offset, byte);
        let what = format!("last: {last}, byte: {byte}");
        let (_, check) =
            inspection::verify(&*log.stage.disk, &log.stage.options).expect("it can be read");
        assert!(!check.is_sound(), "{what}: {:?}", check.findings);
        let found = log.stage.open();
        let findings = &found.report.findings;
        let header: Vec<_> = findings.iter().filter(|f| f.case == Case::R6).collect();
        assert_eq!(header.len(), 1, "{what}: {findings:?}");
        assert_eq!(header[0].segment, Some(log.lost.segment), "{what}");
        let holes: Vec<_> = findings.iter().filter(|f| f.case == Case::R2).collect();
        assert_eq!(holes.len(), 1, "{what}: {findings:?}");
        assert_eq!(holes[0].sequences, range(1, 4), "{what}: {findings:?}");
        assert_eq!(holes[0].segment, Some(log.lost.segment), "{what}: {findings:?}");
        assert_eq!(found.state.stripe(ZERO).damaged_events, 3, "{what}");
        let rest = if last { vec![(0, 1), (4, 6)] } else { vec![(0, 1), (4, 8)] };
        assert_eq!(waiting(&found), rest, "{what}");
        drop(found);
        let copies = log.copies();
        assert_eq!(copies.len(), 1, "{what}: {copies:?}");
        assert!(copies[0].0.starts_with("quarantine-2-0-"), "{what}: {}", copies[0].0);
        assert!(copies[0].1.iter().all(|b| *b == byte), "{what}");
        assert_eq!(copies[0].1.len() as u64, log.kept.offset, "{what}");
        let again = log.stage.open();
        assert!(again.report.findings.iter().all(|f| !f.case.is_damage()), "{:?}", again.report);
        assert_eq!(waiting(&again), rest, "{what}");
        drop(again);
        let (_, check) =
            inspection::verify(&*log.stage.disk, &log.stage.options).expect("it can be read");
        assert!(check.is_sound(), "{what}: {:?}", check.findings);
    }
}

#[test]
fn r6_a_segment_that_no_checkpoint_names_is_named_by_its_own_later_blocks() {
    let log = log(true, false);
    log.overwrite(log.lost.offset, 0xA5);
    let found = log.stage.open();
    assert_eq!(of(&found, Case::R6).len(), 1, "{:?}", found.report);
    assert_eq!(of(&found, Case::R2).len(), 1, "{:?}", found.report);
    assert_eq!(waiting(&found), [(0, 6)], "{:?}", found.report);
}

#[test]
fn r6_a_segment_that_a_checkpoint_names_is_sought_without_missing_events() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    let first = pen.roll(&mut stage);
    // Named by the opening, and then appended to.
    pen.epoch.number = stage.open().state.stripe(ZERO).epoch.number;
    let from = pen.next_block;
    let epoch = pen.begin_epoch(&mut stage, from);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    let blank = vec![0; usize::try_from(epoch.offset).expect("a small segment")];
    first.file.write_at(0, &blank).expect("written");
    let found = stage.open();
    assert_eq!(of(&found, Case::R6).len(), 1, "{:?}", found.report);
    assert_eq!(waiting(&found), [(0, 2)], "{:?}", found.report);
    drop(found);
    assert_eq!(waiting(&stage.open()), [(0, 2)]);
}

#[test]
fn r6_a_rebuilt_segment_hides_none_before_it() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    let rotten = [pen.roll(&mut stage), pen.durable(&mut stage, &[Ink::Put(2)])];
    let lost = pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    pen.roll(&mut stage);
    rotten.iter().for_each(TestDir::rot);
    lost.file.write_at(0, &[0; SEGMENT_HEADER_BYTES + 4096]).expect("written");
    let found = stage.open();
    assert_eq!(waiting(&found), [(0, 1), (3, 5)], "{:?}", found.report);
    let blocks: Vec<u64> = found.stripes[0].segments.iter().map(|s| s.first_block.0).collect();
    // Lookups of events depend on these.
    assert_eq!(blocks, [1, 3, 3, 7], "{:?}", found.report);
}

#[test]
fn r6_a_torn_taking_into_use_with_a_whole_block_behind_it_is_no_damage() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    let before = stage.state.clone();
    let torn = pen.roll(&mut stage);
    stage.state = before;
    pen.in_flight(&mut stage, &[Ink::Put(2)]);
    torn.file.write_at(0, &[0xA5; SEGMENT_HEADER_BYTES + 512]).expect("written");
    for _ in 0..2 {
        let found = stage.open();
        assert!(found.report.findings.iter().all(|f| !f.case.is_damage()), "{:?}", found.report);
        assert_eq!(waiting(&found), [(0, 3)], "what was in doubt and is whole may come");
    }
}

/// An epoch that was killed while it put a segment into use left one that the next epoch did not
/// know of.
#[test]
fn r6_of_two_headerless_segments_of_one_id_the_later_epochs_counts() {
    for older_first in [true, false] {
        let (mut stage, mut pens) = Stage::new(1);
        let pen = &mut pens[0];
        pen.roll(&mut stage);
        pen.durable(&mut stage, &[Ink::Put(1)]);
        let (old, behind, new) = pen.roll_twice(&mut stage, older_first, &[Ink::Put(5)]);
        let behind = behind.expect("something was put there");
        let kept = pen.durable(&mut stage, &[Ink::Put(3)]);
        for (place, to) in [(&old, behind.offset), (&new, kept.offset)] {
            let len = usize::try_from(to).expect("a small segment");
            place.file.write_at(0, &vec![0xA5; len]).expect("written");
        }
        let found = stage.open();
        assert_eq!(waiting(&found), [(0, 4)], "{:?}", found.report);
        assert_eq!(found.state.stripe(ZERO).damaged_events, 0, "{:?}", found.report);
        let headers = of(&found, Case::R6);
        assert!(headers.iter().all(|f| f.path == new.file.path()), "{headers:?}");
    }
}

#[test]
fn r7_two_files_that_begin_alike_are_both_kept() {
    let log = log(true, true);
    log.overwrite(SEGMENT_BYTES, 0xA5);
    let directory = log.stage.disk.open_dir(&log.stage.options.data_dirs[0], false).expect("there");
    let bytes = vec![0xA5; SEGMENT_BYTES as usize - 4096];
    let other = directory.create(&layout::segment_name(9)).expect("made");
    other.write_at(0, &[&bytes[..], &[0x5A; 4096]].concat()).expect("written");
    drop(log.stage.open());
    let copies = log.copies().into_iter().filter(|c| c.0.starts_with("quarantine-unknown-"));
    let mut ends: Vec<u8> = copies.filter_map(|c| c.1.last().copied()).collect();
    ends.sort_unstable();
    assert_eq!(ends, [0x5A, 0xA5]);
}

#[test]
fn r7_a_file_without_a_whole_block_is_kept_aside_and_its_loss_counted() {
    for last in [true, false] {
        let log = log(last, true);
        log.overwrite(SEGMENT_BYTES, 0xA5);
        let found = log.stage.open();
        let findings = &found.report.findings;
        assert_eq!(found.state.stripe(ZERO).damaged_events, 5, "last: {last}, {findings:?}");
        let said = findings.iter().any(|f| f.path == log.lost.file.path() && f.case.is_damage());
        assert!(said, "last: {last}, {findings:?}");
        drop(found);
        let is_unknown = |name: &str| name.starts_with("quarantine-unknown-");
        let copies: Vec<_> = log.copies().into_iter().filter(|c| is_unknown(&c.0)).collect();
        assert_eq!(copies.len(), 1, "last: {last}");
        assert_eq!(copies[0].1, vec![0xA5; SEGMENT_BYTES as usize], "last: {last}");
    }
}

#[test]
fn r6_the_rest_of_a_half_wiped_passed_segment_is_not_part_of_the_log() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    let passed = pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Ack(ZERO, 0, 6)]);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    for byte in [0xA5, 0] {
        passed.file.write_at(0, &[0; SEGMENT_HEADER_BYTES]).expect("written");
        passed.file.write_at(SEGMENT_HEADER_BYTES as u64, &[byte; 4096]).expect("written");
        let (_, check) = inspection::verify(&*stage.disk, &stage.options).expect("it can be read");
        assert!(check.is_sound(), "{:?}", check.findings);
        let found = stage.open();
        assert!(found.report.findings.iter().all(|f| !f.case.is_damage()), "{:?}", found.report);
        assert_eq!(waiting(&found), [(6, 8)]);
        assert_eq!(found.stripes[0].free.len(), 1, "it can be used again");
    }
}
