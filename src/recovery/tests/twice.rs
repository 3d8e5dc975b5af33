//! Recovering again, and crashes inside a recovery.

use super::*;
use crate::recovery::decide::numbers::LATE_EPOCHS_MAX;

const ZERO: StripeIndex = StripeIndex(0);

/// Where one stripe continues: block, sequence, offset, and its segments.
pub(super) type GoesOn = (BlockNumber, Sequence, u64, Vec<SegmentId>);

/// Returns what a recovery decided, without what it wrote. Each recovery ends the logs by an epoch
/// of its own.
pub(super) fn outcome(found: &Recovered) -> (StateRecord, Vec<GoesOn>) {
    let stripes = found
        .stripes
        .iter()
        .map(|s| {
            let segments = s.segments.iter().map(|s| s.id).collect();
            (s.next_block, s.next_sequence, s.end_offset, segments)
        })
        .collect();
    let mut state = found.state.clone();
    state.stripes.iter_mut().for_each(|stripe| stripe.epoch = Epoch::default());
    (state, stripes)
}

#[test]
fn a_second_recovery_without_a_run_between_decides_the_same() {
    let (mut stage, mut pens) = Stage::new(2);
    for pen in &mut pens {
        pen.roll(&mut stage);
    }
    pens[0].durable(&mut stage, &[Ink::Put(3)]);
    let lost = pens[0].durable(&mut stage, &[Ink::Put(3)]);
    pens[0].durable(&mut stage, &[Ink::Put(1)]);
    pens[1].durable(&mut stage, &[Ink::Put(5), Ink::Ack(ZERO, 0, 2)]);
    let hole = pens[0].in_flight(&mut stage, &[Ink::Put(2)]);
    pens[0].in_flight(&mut stage, &[Ink::Put(2)]);
    let torn = pens[1].in_flight(&mut stage, &[Ink::Put(2)]);
    lost.rot();
    hole.rot();
    torn.rot_payload();
    let first = stage.open();
    let once = outcome(&first);
    drop(first);
    let second = stage.open();
    assert_eq!(outcome(&second), once);
    assert_eq!(second.report.blocks_rewritten, 0, "the first one made everything durable");
    drop(second);
    stage.lose_checkpoints();
    let third = stage.open();
    assert_eq!(outcome(&third).1, once.1, "nor does it depend on what the first one wrote");
}

#[test]
fn a_hole_that_an_opening_has_ruled_on_is_not_reported_as_damage_later() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(3)]);
    let hole = pen.in_flight(&mut stage, &[Ink::Put(2)]);
    pen.in_flight(&mut stage, &[Ink::Put(4)]);
    hole.rot();
    let found = stage.open();
    stage.state = found.state.clone();
    drop(found);
    let next = pen.next_block;
    pen.begin_epoch(&mut stage, next);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    stage.lose_checkpoints();
    let again = stage.open();
    assert!(again.report.findings.iter().all(|f| !f.case.is_damage()), "{:?}", again.report);
    assert_eq!(waiting(&again), [(0, 3), (5, 10)]);
}

#[test]
fn an_old_block_after_a_lost_one_is_never_resurrected() {
    // Epoch 1 leaves block 3 torn and block 4 whole; a fence that epoch 2 knows cuts it after 2.
    // Epoch 2 writes block 3 over the torn one and is then lost itself.
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    let (offset, sequence) = (pen.offset, pen.next_sequence);
    pen.in_flight(&mut stage, &[Ink::Put(2)]);
    pen.in_flight(&mut stage, &[Ink::Put(2)]);
    pen.offset = offset;
    stage.state.stripe_mut(ZERO).void(sequence, pen.next_sequence);
    pen.begin_epoch(&mut stage, 3);
    stage.lose_checkpoints();
    let found = stage.open();
    assert_eq!(of(&found, Case::R4).len(), 1);
    assert_eq!(waiting(&found), [(0, 1)]);
    assert_eq!(found.stripes[0].next_block, BlockNumber(4));
}

#[test]
fn a_segment_begun_by_a_torn_write_is_wiped_and_never_cuts_the_log() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    pen.roll(&mut stage);
    pen.durable(&mut stage, &[Ink::Put(1)]);
    let (file, offset, block) = (pen.file.clone(), pen.offset, pen.next_block);
    let before = stage.state.clone();
    pen.roll(&mut stage).rot();
    stage.state = before;
    stage.lose_checkpoints();
    let found = stage.open();
    let stripe = &found.stripes[0];
    assert_eq!(stripe.segments.len(), 1);
    assert_eq!((stripe.end_offset, stripe.next_block), (offset, BlockNumber(block)));
    assert_eq!(stripe.free.len(), 1, "it can be used again");
    assert_eq!(stripe.segment_seen, SegmentId(2), "its id cannot");
    drop(found);
    // Two epochs later no record says when the torn one's epoch ended.
    (pen.file, pen.offset, pen.segment) = (file, offset, 1);
    pen.begin_epoch(&mut stage, block);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    let next = pen.next_block;
    pen.begin_epoch(&mut stage, next);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    pen.segment = 2;
    pen.roll(&mut stage);
    stage.lose_checkpoints();
    let found = stage.open();
    assert_eq!(waiting(&found), [(0, 5)]);
    let ids: Vec<u64> = found.stripes[0].segments.iter().map(|s| s.id.0).collect();
    assert_eq!(ids, [1, 3], "else the first segment would seem to end at the torn one");
}

/// An epoch was killed while it put a passed segment into use, and the record that it was passed
/// was damaged. So the next epoch kept that file and gave out the id again, and then the write
/// arrived.
#[test]
fn of_two_segments_of_one_id_the_one_of_the_later_epoch_counts() {
    for older_first in [true, false] {
        let (mut stage, mut pens) = Stage::new(1);
        let pen = &mut pens[0];
        pen.roll(&mut stage);
        pen.durable(&mut stage, &[Ink::Put(1)]);
        let (old, _, new) = pen.roll_twice(&mut stage, older_first, &[]);
        pen.durable(&mut stage, &[Ink::Put(3)]);
        let found = stage.open();
        assert!(found.report.findings.iter().all(|f| !f.case.is_damage()), "{:?}", found.report);
        assert_eq!(waiting(&found), [(0, 4)], "{:?}", found.report);
        let stripe = &found.stripes[0];
        let live: Vec<_> = stripe.segments.iter().map(|s| (s.id.0, s.file.path())).collect();
        assert_eq!(live[1..], [(2, new.file.path())], "events are taken from there");
        let free: Vec<_> = stripe.free.iter().map(|s| s.file.path()).collect();
        assert_eq!(free, [old.file.path()], "counts as unused");
        drop(found);
        assert_eq!(waiting(&stage.open()), [(0, 4)]);
    }
}

/// Opens the channel, and begins new epochs after it.
fn go_on(stage: &mut Stage, pens: &mut [Pen]) {
    let found = stage.open();
    for (pen, stripe) in pens.iter_mut().zip(&found.stripes) {
        pen.epoch.number = stripe.epoch_seen;
        let next = pen.next_block;
        pen.begin_epoch(stage, next);
    }
}

#[test]
fn r6_of_two_segments_of_one_id_the_later_epochs_counts_without_header() {
    let cases = [(true, true), (true, false), (false, true), (false, false)];
    for ((older_first, named), byte) in cases.into_iter().flat_map(|c| [(c, 0xA5), (c, 0)]) {
        let what = format!("older first: {older_first}, named: {named}, byte: {byte}");
        let (mut stage, mut pens) = Stage::new(2);
        pens.iter_mut().for_each(|pen| _ = pen.roll(&mut stage));
        pens[0].durable(&mut stage, &[Ink::Put(1)]);
        let (before, block, sequence) =
            (stage.state.clone(), pens[0].next_block, pens[0].next_sequence);
        let (epoch, slot) = (pens[0].epoch, pens[0].slot);
        go_on(&mut stage, &mut pens);
        pens[0].slot = if older_first { slot + 1 } else { slot };
        let new = pens[0].roll(&mut stage);
        let kept = pens[0].durable(&mut stage, &[Ink::Put(3)]);
        if named {
            // Otherwise the late one is after all names, and free for that reason alone.
            go_on(&mut stage, &mut pens);
        }
        pens[0].durable(&mut stage, &[Ink::Put(2)]);
        // Where its beginning reads as zeroes, this record shows that something is missing.
        pens[1].durable(&mut stage, &[Ink::Ack(ZERO, 4, 5)]);
        // Now the other one arrives.
        let pen = &mut pens[0];
        stage.state = before;
        (pen.next_block, pen.next_sequence, pen.segment) = (block, sequence, 1);
        (pen.epoch, pen.slot) = (epoch, if older_first { slot } else { slot + 1 });
        let old = pen.roll(&mut stage);
        assert_eq!(old.segment, new.segment);
        let len = usize::try_from(kept.offset).expect("a small segment");
        new.file.write_at(0, &vec![byte; len]).expect("written");
        for _ in 0..2 {
            let found = stage.open();
            assert_eq!(waiting(&found), [(0, 4), (5, 6)], "{what}: {:?}", found.report);
            let stripe = &found.stripes[0];
            let live: Vec<_> = stripe.segments.iter().map(|s| (s.id.0, s.file.path())).collect();
            assert_eq!(live[1..], [(2, new.file.path())], "{what}: {:?}", found.report);
            let free: Vec<_> = stripe.free.iter().map(|s| s.file.path()).collect();
            assert_eq!(free, [old.file.path()], "{what}: once: {:?}", found.report);
        }
    }
}

#[test]
fn acknowledged_segments_are_handed_over_as_free() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    for _ in 0..3 {
        pen.roll(&mut stage);
        pen.durable(&mut stage, &[Ink::Put(2)]);
    }
    pen.durable(&mut stage, &[Ink::Ack(ZERO, 0, 4)]);
    let found = stage.open();
    let stripe = &found.stripes[0];
    assert_eq!(stripe.segments.iter().map(|s| s.id.0).collect::<Vec<_>>(), [3]);
    assert_eq!(stripe.free.iter().map(|s| s.slot).collect::<Vec<_>>(), [0, 1]);
    assert_eq!(waiting(&found), [(4, 6)]);
}

#[test]
fn only_what_follows_the_newest_record_is_read() {
    let (mut stage, mut pens) = Stage::new(1);
    let pen = &mut pens[0];
    for _ in 0..5 {
        pen.roll(&mut stage);
        for _ in 0..10 {
            pen.durable(&mut stage, &[Ink::Put(2)]);
        }
    }
    let without = stage.open();
    assert_eq!(without.report.blocks_scanned, 11, "the last segment");
    // As an opening begins its epoch: beyond the one that ended the log.
    pen.epoch.number = without.stripes[0].epoch_seen;
    drop(without);
    let next = pen.next_block;
    pen.begin_epoch(&mut stage, next);
    pen.durable(&mut stage, &[Ink::Put(2)]);
    let with = stage.open();
    assert_eq!(with.report.blocks_scanned, 2, "of the new epoch");
    assert_eq!(waiting(&with), [(0, 102)]);
}

#[test]
fn fences_go_in_descending_write_order() {
    // Stripe 1 fences stripe 0; that block is itself void by a later fence on stripe 2. So the
    // first fence never took effect, and stripe 0 keeps its last block.
    let (mut stage, mut pens) = Stage::new(3);
    for pen in &mut pens {
        pen.roll(&mut stage);
    }
    let marks: Vec<Watermark> = stage.state.stripes.iter().map(|s| s.watermark).collect();
    pens[0].in_flight(&mut stage, &[Ink::Put(3)]);
    let fence = |stripe: u16, nonce, end| FenceBody {
        stripe: StripeIndex(stripe),
        epoch: Epoch {
            number: EpochNumber(2),
            nonce,
            start: marks[usize::from(stripe)].block.next(),
        },
        void_start: Sequence(0),
        void_end: Sequence(end),
    };
    pens[1].in_flight(&mut stage, &[Ink::Fence(fence(0, 5, 3))]);
    pens[2].in_flight(&mut stage, &[Ink::Fence(fence(1, 6, 0))]);
    let found = stage.open();
    assert_eq!(waiting(&found), [(0, 3)]);
    // And each log is ended by one more epoch.
    assert_eq!(found.stripes[0].epoch_seen, EpochNumber(1 + LATE_EPOCHS_MAX));
    assert_eq!(found.stripes[1].epoch_seen, EpochNumber(2 + LATE_EPOCHS_MAX));
}
