//! One test for each row of the table, named by its label; then what a row must not do.

use super::*;
use crate::recovery::decide::numbers::LATE_EPOCHS_MAX;

const ZERO: StripeIndex = StripeIndex(0);

#[test]
fn r1_a_whole_block_above_everything_named_is_kept_and_written_again() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    pen.in_flight(&mut stage, &[Ink::PutAt(2, "tail", 7)]);
    let found = stage.open();
    // Block 3's header names block 1; no record names 2 and 3.
    assert_eq!((found.report.blocks_scanned, found.report.blocks_rewritten), (3, 1));
    assert_eq!(cases(&found), [Case::R1]);
    assert_eq!(waiting(&found), [(0, 5)]);
    assert_eq!(found.state.source_offsets["tail"].counter, 7);
    let stripe = &found.stripes[0];
    assert_eq!((stripe.next_block, stripe.next_sequence), (BlockNumber(4), Sequence(5)));
    assert_eq!(stripe.end_offset, pen.offset);
    assert_eq!(found.order, WriteOrder(stage.order));
}

#[test]
fn r2_a_hole_below_something_named_is_damage_counted_named_and_copied_aside() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    let lost = pen.durable(&mut stage, &[Ink::Put(3)]);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    lost.rot();
    let found = stage.open();
    let damage = of(&found, Case::R2);
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].sequences, range(0, 3));
    assert_eq!((damage[0].segment, damage[0].offset), (Some(lost.segment), Some(lost.offset)));
    assert_eq!(waiting(&found), [(3, 6)]);
    let state = found.state.stripe(ZERO);
    assert_eq!((state.damaged_events, &state.damaged[..]), (3, &[(0, 3)][..]));
    let copy = stage.file(
        &stage.options.data_dirs[0],
        &format!("quarantine-1-{}-{}.bin", lost.offset, lost.len),
    );
    assert_eq!(copy.len().expect("length"), lost.len);
    drop(found);
    // A crash before the report was read does not suppress it, and nothing is counted twice.
    let again = stage.open();
    assert_eq!(again.state.stripe(ZERO).damaged_events, 3);
}

#[test]
fn r2_an_acknowledgement_in_another_stripe_names_a_lost_last_block() {
    let (mut stage, mut pens) = Stage::new(2);
    pens[0].roll(&mut stage);
    pens[1].roll(&mut stage);
    let before = stage.state.clone();
    let lost = pens[0].durable(&mut stage, &[Ink::Put(3)]);
    pens[1].durable(&mut stage, &[Ink::Ack(ZERO, 0, 2)]);
    stage.state = before;
    lost.rot();
    let found = stage.open();
    assert_eq!(of(&found, Case::R2).len(), 1);
    assert_eq!(of(&found, Case::R2)[0].sequences, None, "what it named was taken");
    assert!(found.stripes[0].next_sequence >= Sequence(2), "no sequence is given out twice");
    assert!(waiting(&found).is_empty());
}

#[test]
fn r2_a_lost_last_block_that_a_state_record_elsewhere_names_is_damage() {
    let (mut stage, mut pens) = Stage::new(2);
    pens[0].roll(&mut stage);
    pens[1].roll(&mut stage);
    let lost = pens[0].durable(&mut stage, &[Ink::Put(2)]);
    pens[1].durable(&mut stage, &[Ink::State]);
    lost.rot();
    let found = stage.open();
    assert_eq!(of(&found, Case::R2).len(), 1);
    assert_eq!(of(&found, Case::R2)[0].sequences, range(0, 2));
    let stripe = &found.stripes[0];
    assert_eq!(
        stripe.next_block,
        BlockNumber(lost.number + 1),
        "a number is never given out twice"
    );
    assert!(waiting(&found).is_empty());
}

#[test]
fn r2_a_lost_block_without_events_is_damage_too() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    let lost = pen.durable(&mut stage, &[Ink::Ack(ZERO, 0, 1)]);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    lost.rot();
    let found = stage.open();
    assert_eq!(of(&found, Case::R2).len(), 1);
    assert_eq!(of(&found, Case::R2)[0].sequences, None);
    assert_eq!(waiting(&found), [(0, 5)], "the limit: its takes come back");
}

#[test]
fn r3_a_hole_that_nothing_names_is_void_and_what_stands_behind_it_is_kept() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    let hole = pen.in_flight(&mut stage, &[Ink::Put(2)]);
    pen.in_flight(&mut stage, &[Ink::Put(4)]);
    hole.rot();
    let found = stage.open();
    assert_eq!(of(&found, Case::R3).len(), 1);
    assert_eq!(of(&found, Case::R3)[0].sequences, range(3, 5));
    assert!(of(&found, Case::R2).is_empty());
    assert_eq!(waiting(&found), [(0, 3), (5, 9)]);
    assert_eq!(found.state.stripe(ZERO).damaged_events, 0);
}

#[test]
fn r4_a_block_of_an_ended_epoch_is_void() {
    let (mut stage, mut pens) = Stage::new(2);
    pens[0].roll(&mut stage);
    pens[1].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(1)]);
    let watermark = stage.state.stripe(ZERO).watermark;
    pens[0].in_flight(&mut stage, &[Ink::Put(4)]);
    let fence = FenceBody {
        stripe: ZERO,
        epoch: Epoch { number: EpochNumber(2), nonce: 77, start: watermark.block.next() },
        void_start: Sequence(1),
        void_end: Sequence(5),
    };
    pens[1].in_flight(&mut stage, &[Ink::Fence(fence)]);
    pens[1].in_flight(&mut stage, &[Ink::Put(4)]);
    let found = stage.open();
    assert_eq!(of(&found, Case::R4).len(), 1);
    assert_eq!(waiting(&found), [(0, 1)], "the moved events wait on the other stripe only");
    assert_eq!(found.stripes[0].next_sequence, Sequence(5));
    assert_eq!(found.stripes[0].next_block, watermark.block.next());
    assert_eq!(found.stripes[0].end_offset, watermark.end_offset);
    assert_eq!(found.stripes[0].epoch_seen, EpochNumber(2 + LATE_EPOCHS_MAX), "one ends the log");
    assert_eq!(found.state.stripe(ZERO).epoch.number, EpochNumber(2 + LATE_EPOCHS_MAX));
    let other = found.state.stripe(StripeIndex(1));
    assert_eq!(other.missing(0, other.next.0), [(0, 4)]);
}

#[test]
fn r5_a_torn_tail_is_cut_and_its_sequences_are_never_reused() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    let torn = pen.in_flight(&mut stage, &[Ink::Put(2)]);
    torn.rot_payload();
    let found = stage.open();
    assert_eq!(of(&found, Case::R5).len(), 1);
    assert!(found.report.findings.iter().all(|f| !f.case.is_damage()));
    assert_eq!(waiting(&found), [(0, 3)]);
    assert_eq!(found.stripes[0].next_sequence, Sequence(5));
    assert_eq!(found.stripes[0].end_offset, torn.offset, "the log continues over the torn block");
}

#[test]
fn r4_a_fence_that_lands_when_an_opening_has_kept_what_it_voids_comes_too_late() {
    let (mut stage, mut pens) = Stage::new(2);
    pens[0].roll(&mut stage);
    pens[1].roll(&mut stage);
    let watermark = stage.state.stripe(ZERO).watermark;
    pens[0].in_flight(&mut stage, &[Ink::PutAt(2, "tail", 1)]);
    // This opening keeps and names the block, and is killed before its own epoch begins.
    let found = stage.open();
    assert_eq!(waiting(&found), [(0, 2)]);
    drop(found);
    let fence = FenceBody {
        stripe: ZERO,
        epoch: Epoch { number: EpochNumber(2), nonce: 77, start: watermark.block.next() },
        void_start: Sequence(0),
        void_end: Sequence(2),
    };
    pens[1].in_flight(&mut stage, &[Ink::Fence(fence)]);
    let found = stage.open();
    assert_eq!(of(&found, Case::R4).len(), 1, "the fence");
    assert_eq!(waiting(&found), [(0, 2)], "else their offset would be kept without them");
}

#[test]
fn r4_a_block_that_no_opening_saw_takes_nothing_from_the_later_epoch() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    let (block, sequence) = (pen.next_block, pen.next_sequence);
    // It arrives when the next epoch has begun, after that epoch's last block or before it.
    pen.in_flight(&mut stage, &[Ink::Put(3)]);
    pen.next_sequence = sequence;
    pen.begin_epoch(&mut stage, block);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    stage.lose_checkpoints();
    let found = stage.open();
    assert_eq!(of(&found, Case::R4).len(), 1);
    let state = found.state.stripe(ZERO);
    assert_eq!(state.missing(0, 1), [(0, 1)], "the new epoch's event waits");
}

#[test]
fn r4_a_segment_that_lands_after_its_epoch_was_ended_is_ignored() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    let (block, offset) = (pen.next_block, pen.offset);
    pen.in_flight(&mut stage, &[Ink::PutAt(2, "tail", 1)]);
    // This opening keeps and names the block, and is killed before it wipes or begins anything.
    assert_eq!(waiting(&stage.open()), [(0, 2)]);
    // The fence of the epoch before: it voids the block, whose write had failed.
    let before = stage.state.clone();
    stage.state.stripe_mut(ZERO).void(0, 2);
    (pen.next_block, pen.offset) = (block, offset);
    pen.epoch = Epoch { number: EpochNumber(2), nonce: 77, start: BlockNumber(block) };
    pen.roll(&mut stage);
    stage.state = before;
    let found = stage.open();
    assert!(found.report.findings.iter().all(|f| !f.case.is_damage()), "{:?}", found.report);
    assert_eq!(waiting(&found), [(0, 2)], "else their offset would be kept without them");
    assert_eq!(found.stripes[0].free.len(), 1, "it can be used again");
}

#[test]
fn r4_segments_of_a_directory_that_was_missing_are_not_late() {
    let (mut stage, mut pens) = Stage::new(2);
    pens[0].roll(&mut stage);
    // All that stripe 1 has recorded of stripe 0, but for the fence.
    pens[1].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(2)]);
    pens[0].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(3)]);
    let start = stage.state.stripe(ZERO).watermark.block.next();
    let fence = FenceBody {
        stripe: ZERO,
        epoch: Epoch { number: EpochNumber(2), nonce: 77, start },
        void_start: Sequence(5),
        void_end: Sequence(5),
    };
    pens[1].durable(&mut stage, &[Ink::Fence(fence)]);
    let (home, away) = (stage.options.data_dirs[0].clone(), stage.root.path().join("away"));
    rename(&home, &away);
    stage.options.open_degraded = true;
    drop(stage.open());
    rename(&away, &home);
    stage.options.open_degraded = false;
    let found = stage.open();
    assert!(found.report.findings.iter().all(|f| !f.case.is_damage()), "{:?}", found.report);
    assert_eq!(waiting(&found), [(0, 5)], "everything that was acknowledged");
}

#[test]
fn r6_a_damaged_segment_header_is_made_again_from_the_first_block() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    let first = pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    flip(&*first.file, 20);
    flip(&*first.file, 4096 + 20);
    let found = stage.open();
    assert_eq!(of(&found, Case::R6).len(), 1);
    assert_eq!(waiting(&found), [(0, 3)]);
    assert_eq!(found.stripes[0].segments.len(), 1);
    drop(found);
    assert!(of(&stage.open(), Case::R6).is_empty(), "it was written");
}

#[test]
fn r6_a_header_of_which_nothing_was_promised_is_no_damage() {
    let check = |what: &str, torn: &TestDir, stage: &Stage, waits: &[(u64, u64)]| {
        flip(&*torn.file, 20);
        flip(&*torn.file, 4096 + 20);
        let (_, found) =
            crate::recovery::inspection::verify(&*stage.disk, &stage.options).expect("it opens");
        assert!(found.is_sound(), "{what}: {:?}", found.findings);
        let found = stage.open();
        assert!(found.report.findings.iter().all(|f| !f.case.is_damage()), "{what}");
        assert_eq!(waiting(&found), waits, "{what}");
    };
    // As when the wipe of a free segment is cut off after the header.
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    let passed = pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Ack(ZERO, 0, 3)]);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    check("passed", &passed, &stage, &[(3, 5)]);
    // As when the write that puts a segment into use is torn within the header.
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    let torn = pen.roll(&mut stage);
    check("torn", &torn, &stage, &[(0, 3)]);
}

#[test]
fn r7_a_missing_first_segment_loses_what_waited_in_it_and_says_so() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    pen.durable(&mut stage, &[Ink::Ack(ZERO, 0, 1)]);
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    stage
        .disk
        .open_dir(&stage.options.data_dirs[0], false)
        .expect("there")
        .remove(&layout::segment_name(0))
        .expect("removed");
    let found = stage.open();
    let missing = of(&found, Case::R7);
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].sequences, range(1, 3));
    assert_eq!(waiting(&found), [(3, 5)]);
    assert_eq!(found.state.stripe(ZERO).damaged_events, 2);
}

#[test]
fn r7_a_segment_missing_between_two_is_found_by_its_id() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    stage
        .disk
        .open_dir(&stage.options.data_dirs[0], false)
        .expect("there")
        .remove(&layout::segment_name(1))
        .expect("removed");
    let found = stage.open();
    assert_eq!(of(&found, Case::R7)[0].sequences, range(3, 5));
    assert_eq!(waiting(&found), [(0, 3), (5, 6)]);
}

#[test]
fn r8_a_failed_read_voids_nothing_and_refuses_the_opening() {
    let (mut stage, mut pens) = Stage::new(1);
    pens[0].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(3)]);
    // A directory in a segment's place can be opened but not read.
    let name = layout::segment_name(0);
    let opened = stage.disk.open_dir(&stage.options.data_dirs[0], false).expect("there");
    let checkpoint = stage.options.data_dirs[0].join(CHECKPOINT_NAME);
    opened.remove(CHECKPOINT_NAME).expect("removed");
    stage.disk.open_dir(&checkpoint, true).expect("made");
    match stage.try_open() {
        Err(RecoveryError::File(LayoutError::Read { path, .. })) => assert_eq!(path, checkpoint),
        other => panic!("{:?}", other.map(|r| r.report)),
    }
    assert!(opened.open(&name, Access::Read).is_ok());
}

#[test]
fn r9_a_segment_whose_making_was_interrupted_is_no_damage() {
    let (mut stage, mut pens) = Stage::new(1);
    pens[0].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(3)]);
    layout::make_zeroed(&*pens[0].directory, &layout::segment_name(7), 4096).expect("made");
    layout::make_zeroed(&*pens[0].directory, &layout::segment_name(8), 0).expect("made");
    layout::make_zeroed(&*pens[0].directory, &layout::segment_name(9), SEGMENT_BYTES)
        .expect("made");
    let found = stage.open();
    assert_eq!(of(&found, Case::R9).len(), 2);
    assert_eq!(found.stripes[0].free.iter().map(|f| f.slot).collect::<Vec<_>>(), [9]);
    assert_eq!(found.stripes[0].next_slot, 10);
    assert_eq!(waiting(&found), [(0, 3)]);
}

#[test]
fn r10_a_newer_format_is_refused() {
    let (mut stage, mut pens) = Stage::new(1);
    let first = pens[0].roll(&mut stage);
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
    first.file.read_at(0, &mut bytes).expect("readable");
    bytes[8] = 2;
    let crc = crate::base::checksum::Salt::of(&segment::SEGMENT_MAGIC)
        .checksum(&[&bytes[..segment::SEGMENT_COPY_BYTES - 4]]);
    bytes[segment::SEGMENT_COPY_BYTES - 4..segment::SEGMENT_COPY_BYTES]
        .copy_from_slice(&crc.to_le_bytes());
    bytes.copy_within(..4096, 4096);
    first.file.write_at(0, &bytes).expect("written");
    assert!(matches!(
        stage.try_open(),
        Err(RecoveryError::File(LayoutError::Newer { found: 2, known: 1, .. }))
    ));
}

#[test]
fn r11_files_of_others_are_left_alone() {
    let (mut stage, mut pens) = Stage::new(1);
    pens[0].roll(&mut stage);
    let mut theirs =
        SegmentHeader { len: SEGMENT_BYTES, id: SegmentId(1), ..SegmentHeader::default() };
    theirs.first_block = BlockNumber(1);
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
    theirs.encode(&mut bytes);
    let file = layout::make_zeroed(&*pens[0].directory, &layout::segment_name(5), SEGMENT_BYTES)
        .expect("made");
    file.write_at(0, &bytes).expect("written");
    layout::make_zeroed(&*pens[0].directory, "notes.txt", 3).expect("made");
    let found = stage.open();
    assert_eq!(of(&found, Case::R11).len(), 2);
    assert!(found.stripes[0].free.is_empty(), "not ours to overwrite");
    assert_eq!(found.stripes[0].next_slot, 6);
}

#[test]
fn r12_blocks_of_an_epoch_whose_first_block_is_gone_are_kept() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    let next = pen.next_block;
    let start = pen.begin_epoch(&mut stage, next);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    start.rot();
    stage.lose_checkpoints();
    let found = stage.open();
    assert_eq!(of(&found, Case::R12).len(), 1);
    assert_eq!(waiting(&found), [(0, 6)]);
    assert_eq!(found.stripes[0].epoch_seen, EpochNumber(2 + LATE_EPOCHS_MAX), "one ends the log");
}

#[test]
fn r13_without_any_checkpoint_the_log_suffices() {
    let (mut stage, mut pens) = Stage::new(2);
    for pen in &mut pens {
        pen.roll(&mut stage);
    }
    pens[0].durable(&mut stage, &[Ink::PutAt(3, "tail", 4)]);
    pens[1].durable(&mut stage, &[Ink::Put(2), Ink::Ack(ZERO, 0, 2)]);
    pens[0].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(2), Ink::Void(3)]);
    let with = stage.open();
    let (state, next) = (with.state.clone(), with.stripes[0].next_block);
    drop(with);
    for dir in stage.options.data_dirs.iter().chain([&stage.options.checkpoint_dir]) {
        let dir = stage.disk.open_dir(dir, false).expect("there");
        dir.remove(CHECKPOINT_NAME).expect("removed");
    }
    let without = stage.open();
    assert_eq!(of(&without, Case::R13).len(), 3);
    assert_eq!((without.state, without.stripes[0].next_block), (state, next));
}

#[test]
fn r14_a_damaged_member_file_is_written_again_where_the_others_vouch() {
    let (mut stage, mut pens) = Stage::new(2);
    for pen in &mut pens {
        pen.roll(&mut stage);
        pen.durable(&mut stage, &[Ink::Put(3)]);
    }
    let member = stage.file(&stage.options.data_dirs[0], MEMBER_NAME);
    member.write_at(0, &vec![0xA5; SlotKind::Member.file_bytes()]).expect("written");
    let found = stage.open();
    assert_eq!(of(&found, Case::R14).len(), 1);
    assert_eq!((found.stripes[0].uuid, found.channel), (pens[0].uuid, stage.channel));
    assert_eq!(waiting(&found), [(0, 3)]);
    drop(found);
    assert!(of(&stage.open(), Case::R14).is_empty());
}

#[test]
fn r14_a_foreign_segment_does_not_identify_a_directory() {
    let (mut stage, mut pens) = Stage::new(1);
    let lost = pens[0].roll(&mut stage);
    let own = pens[0].roll(&mut stage);
    pens[0].durable(&mut stage, &[Ink::Put(3)]);
    let theirs = SegmentHeader { len: SEGMENT_BYTES, id: SegmentId(1), ..SegmentHeader::default() };
    let mut bytes = vec![0; SEGMENT_HEADER_BYTES];
    theirs.encode(&mut bytes);
    // In the place of its own first one: found before all others.
    lost.file.write_at(0, &bytes).expect("written");
    drop(stage.open());
    let member = stage.file(&stage.options.data_dirs[0], MEMBER_NAME);
    member.write_at(0, &vec![0xA5; SlotKind::Member.file_bytes()]).expect("written");
    let found = stage.open();
    assert_eq!(of(&found, Case::R14).len(), 1);
    assert_eq!((found.channel, found.stripes[0].uuid), (stage.channel, pens[0].uuid));
    assert_eq!(waiting(&found), [(0, 3)]);
    drop(found);
    // Nor when its header is the only whole one.
    member.write_at(0, &vec![0xA5; SlotKind::Member.file_bytes()]).expect("written");
    own.file.write_at(0, &[0xA5; SEGMENT_HEADER_BYTES]).expect("written");
    let found = stage.open();
    assert_eq!((of(&found, Case::R14).len(), of(&found, Case::R6).len()), (1, 1));
    assert_eq!(waiting(&found), [(0, 3)]);
}

#[test]
fn r14_member_files_that_were_swapped_are_corrected_by_the_logs() {
    let (mut stage, mut pens) = Stage::new(2);
    for pen in &mut pens {
        pen.roll(&mut stage);
        pen.durable(&mut stage, &[Ink::Put(3)]);
    }
    drop(stage.open());
    let [one, two] = [0, 1].map(|at| stage.options.data_dirs[at].join(MEMBER_NAME));
    let aside = stage.root.path().join("aside");
    rename(&one, &aside);
    rename(&two, &one);
    rename(&aside, &two);
    let found = stage.open();
    assert_eq!(of(&found, Case::R14).len(), 2);
    assert_eq!((found.stripes[0].uuid, found.stripes[1].uuid), (pens[0].uuid, pens[1].uuid));
    for stripe in [0, 1] {
        let state = found.state.stripe(StripeIndex(stripe));
        assert_eq!(state.missing(0, state.next.0), [(0, 3)]);
    }
    drop(found);
    assert!(of(&stage.open(), Case::R14).is_empty());
}

#[test]
fn r15_a_missing_directory_is_refused_by_name_and_left_out_only_on_request() {
    let (mut stage, mut pens) = Stage::new(2);
    for pen in &mut pens {
        pen.roll(&mut stage);
        pen.durable(&mut stage, &[Ink::Put(3)]);
    }
    let (away, home) = (stage.root.path().join("away"), stage.options.data_dirs[1].clone());
    rename(&home, &away);
    match stage.try_open() {
        Err(RecoveryError::MemberMissing { member, last_path, .. }) => {
            assert_eq!((member, last_path), (pens[1].uuid, home.clone()));
        }
        other => panic!("{:?}", other.map(|r| r.report)),
    }
    assert!(!home.exists(), "nothing is created in its place");
    stage.options.open_degraded = true;
    let found = stage.open();
    let about: Vec<_> = of(&found, Case::R15).iter().map(|f| f.stripe).collect();
    let (zero, one) = (StripeIndex(0), StripeIndex(1));
    assert_eq!(about, [Some(one), Some(zero)], "the missing one, and what was kept without it");
    assert!(found.state.stripe(zero).adopted.covers(0, 3));
    assert!(found.stripes[0].available() && !found.stripes[1].available());
    assert!(found.stripes[0].next_sequence > Sequence(1 << 32), "far ahead");
    assert!(found.stripes[0].epoch_seen > EpochNumber(1 << 31));
    assert_eq!(waiting(&found), [(0, 3)], "the jump is void from the start");
    drop(found);
    rename(&away, &home);
    stage.options.open_degraded = false;
    let found = stage.open();
    let back = found.state.stripe(StripeIndex(1));
    assert_eq!(back.missing(0, back.next.0), [(0, 3)]);
}
