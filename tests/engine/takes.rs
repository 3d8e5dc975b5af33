//! Section 5: lending, acknowledging, reading back, damage found by a take.

use crate::rig::{Commit, Machine, bodies, data_dir, large, sorted};
use millpond::internal::disk::Disk;
use millpond::{Channel, TakeError};
use millpond_sim::disk::{Fault, FaultTarget, SimOptions};
use std::time::Duration;

#[test]
fn rolling_back_returns_events_to_the_front_in_order_and_touches_no_disk() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for i in 0..6 {
        engine.put(&bodies(&format!("tx{i}"), 0..3));
    }
    let all: Vec<String> = (0..6).flat_map(|i| bodies(&format!("tx{i}"), 0..3)).collect();
    let (mut one, mut two) = (engine.begin_take(), engine.begin_take());
    assert_eq!(engine.lend(&mut *one, 7).expect("lent"), all[..7]);
    assert_eq!(engine.lend(&mut *two, 4).expect("lent"), all[7..11]);
    let operations = machine.disk.operations();
    one.rollback();
    drop(two);
    let mut again = engine.begin_take();
    let lent = again.take(100).expect("from memory");
    assert_eq!(lent.iter().map(crate::rig::text).collect::<Vec<_>>(), all);
    assert_eq!(machine.disk.operations(), operations);
}

/// The block with the lower write order becomes durable while a transaction of the other stripe has
/// been delivered in part.
#[test]
fn a_transaction_lent_in_part_is_finished_before_another_stripe_has_its_turn() {
    for returns in [false, true] {
        let machine = Machine::new(2);
        let mut engine = machine.open();
        let (early, late) = (bodies("early", 0..2), bodies("late", 0..3));
        let mut first = engine.begin_put(&early);
        let begun = (0..2).find_map(|s| engine.stepper.start_write(s)).expect("a write is due");
        let mut second = engine.begin_put(&late);
        let mut other = (0..2).find_map(|s| engine.stepper.start_write(s)).expect("a write is due");
        let result = other.finish();
        engine.stepper.report(other, result);
        engine.run_pending();
        assert!(matches!((first.poll(), second.poll()), (None, Some(Ok(())))), "the second only");
        assert_eq!(engine.take(2), late[..2]);
        if returns {
            let mut given_up = engine.begin_take();
            assert_eq!(engine.lend(&mut *given_up, 2).expect("lent"), late[2..]);
            given_up.rollback();
        }
        let mut begun = begun;
        let result = begun.finish();
        engine.stepper.report(begun, result);
        engine.end(first).expect("committed");
        assert_eq!(engine.drain(), [&late[2..], &early[..]].concat());
    }
}

#[test]
fn what_was_given_back_comes_before_the_rest_of_a_later_transaction() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let (early, late) = (bodies("early", 0..1), bodies("late", 0..3));
    engine.put(&early);
    engine.put(&late);
    let mut given_up = engine.begin_take();
    assert_eq!(engine.lend(&mut *given_up, 1).expect("lent"), early);
    let mut kept = engine.begin_take();
    assert_eq!(engine.lend(&mut *kept, 1).expect("lent"), late[..1]);
    given_up.rollback();
    assert_eq!(engine.drain(), [&early[..], &late[1..]].concat());
    drop(kept);
}

#[test]
fn the_rest_of_a_transaction_taken_in_part_before_a_crash_has_no_precedence() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let (early, late) = (bodies("early", 0..1), bodies("late", 0..3));
    engine.put(&early);
    engine.put(&late);
    let mut held = engine.begin_take();
    assert_eq!(engine.lend(&mut *held, 1).expect("lent"), early);
    assert_eq!(engine.take(1), late[..1]);
    let cut = machine.after_power_cut(1);
    assert_eq!(cut.reopened(), [&early[..], &late[1..]].concat());
}

#[test]
fn what_one_taker_holds_no_other_gets() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..10));
    let mut one = engine.begin_take();
    assert_eq!(engine.lend(&mut *one, 6).expect("lent").len(), 6);
    assert_eq!(engine.drain(), bodies("e", 6..10));
    assert_eq!(engine.events(), 6, "lent events still take room");
    let commit = Commit::begin(one.commit_async());
    engine.end(commit).expect("acknowledged");
    assert_eq!(engine.events(), 0);
}

#[test]
fn one_acknowledgement_however_many_events_and_a_copy_on_every_touched_stripe() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for i in 0..20 {
        engine.put(&bodies(&format!("tx{i:02}"), 0..5));
    }
    let before = engine.channel.log_counts();
    assert_eq!(engine.take(100).len(), 100);
    let after = engine.channel.log_counts();
    assert_eq!(after.writes - before.writes, 2, "one block on each stripe");
    assert!(after.written_bytes - before.written_bytes <= 2 * 4096);
    // Each copy alone is enough: whichever disk's log tail is lost, nothing comes back.
    for lost in 0..2 {
        let damaged = machine.after_power_cut(lost as u64);
        let reached = {
            damaged.disk.remove_directory(&data_dir(lost));
            let mut options = damaged.options();
            options.open_degraded = true;
            let mut engine = damaged.open_with(options);
            engine.drain()
        };
        assert_eq!(reached, Vec::<String>::new(), "the other stripe holds the whole transaction");
    }
}

#[test]
fn an_acknowledgement_rides_in_the_same_block_as_puts() {
    let machine = Machine::with(1, SimOptions { pending: true, ..SimOptions::new(1) });
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..10));
    let mut take = engine.begin_take();
    engine.lend(&mut *take, 10).expect("lent");
    let before = engine.channel.log_counts().writes;
    let put = engine.begin_put(&bodies("f", 0..3));
    let ack = Commit::begin(take.commit_async());
    engine.end(put).expect("durable");
    engine.end(ack).expect("durable");
    assert_eq!(engine.channel.log_counts().writes - before, 1, "it added no write");
}

#[test]
fn a_dropped_take_commit_is_in_doubt_and_its_events_stay_lent_until_it_settles() {
    let machine = Machine::with(1, SimOptions { pending: true, ..SimOptions::new(1) });
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..5));
    let mut take = engine.begin_take();
    engine.lend(&mut *take, 3).expect("lent");
    drop(Commit::begin(take.commit_async()));
    let write = engine.stepper.start_write(0);
    let mut other = engine.begin_take();
    let lent = other.take(10).expect("from memory");
    assert_eq!(lent.len(), 2, "what is in doubt is not delivered to another");
    other.rollback();
    let mut write = write.expect("the acknowledgement is written without its future");
    let result = write.finish();
    engine.stepper.report(write, result);
    assert_eq!(engine.drain(), bodies("e", 3..5));
    assert_eq!(engine.events(), 0);
}

#[test]
fn a_backlog_beyond_the_hot_window_is_read_back_in_order() {
    let machine = Machine::new(2);
    let mut options = machine.options();
    options.hot_window_bytes = 1 << 20;
    let mut engine = machine.open_with(options);
    let mut all = Vec::new();
    for i in 0..80 {
        let batch = large(&format!("b{i}"), 0..10, 4000);
        all.extend(batch.clone());
        engine.put(&batch);
    }
    let mut taken = Vec::new();
    loop {
        let events = engine.take(37);
        if events.is_empty() {
            break;
        }
        taken.extend(events);
    }
    assert_eq!(taken.len(), all.len());
    assert!(taken == all, "in order, byte for byte");
}

#[test]
fn many_small_transactions_are_lent_together_to_several_takers() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    for i in 0..1500 {
        engine.put(&bodies(&format!("{i}"), 0..1));
    }
    let mut takes: Vec<_> = (0..3).map(|_| engine.begin_take()).collect();
    for take in &mut takes {
        assert_eq!(engine.lend(&mut **take, 500).expect("lent").len(), 500);
    }
    for take in takes.into_iter().rev() {
        let commit = Commit::begin(take.commit_async());
        engine.end(commit).expect("acknowledged");
    }
    assert_eq!(engine.events(), 0);
}

#[test]
fn holes_are_bounded_and_nothing_is_lent_beyond_the_last_until_one_closes() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    for i in 0..700 {
        engine.put(&bodies(&format!("{i}"), 0..1));
    }
    // Every other event stays lent.
    let (mut held, mut took) = (Vec::new(), 0);
    loop {
        let mut keep = engine.begin_take();
        let kept = keep.take_async(1);
        drop(kept);
        let lent = engine.lend(&mut *keep, 1).expect("readable");
        if lent.is_empty() {
            break;
        }
        held.push(keep);
        took += engine.take(1).len();
        assert!(held.len() <= 300, "holes without a bound");
    }
    assert!(held.len() >= 128, "{} holes", held.len());
    let mut expected: Vec<String> = (0..700).map(|i| format!("{i}-0")).collect();
    for hole in held.drain(..) {
        hole.rollback();
    }
    assert_eq!(engine.events(), 700 - took as u64);
    let rest = engine.drain();
    assert_eq!(rest.len(), 700 - took);
    expected.retain(|e| rest.contains(e));
    assert_eq!(rest, expected, "in order");
}

/// Damages every other one of the blocks of `count` transactions put one by one into a fresh
/// stripe.
fn with_every_other_block_rotten(machine: &Machine, segment_bytes: u64, count: usize) {
    let mut options = machine.options();
    options.segment_bytes = segment_bytes;
    let mut engine = machine.open_with(options);
    (0..count).for_each(|i| engine.put(&bodies(&format!("e{i}"), 0..1)));
    engine.channel.close().expect("sealed");
    drop(engine);
    let (mut left, mut file) = (count as u64, 0);
    while left > 0 {
        // Before the puts come the header's two blocks and a state record.
        let bytes = machine.disk.contents(&file_of(file)).expect("there").len() as u64;
        let held = (bytes / 4096 - 3).min(left);
        for at in (1..held).step_by(2) {
            machine.disk.rot(&file_of(file), 4096 * (3 + at) + 40, 16).expect("there");
        }
        (left, file) = (left - held, file + 1);
    }
}

fn file_of(slot: u64) -> std::path::PathBuf {
    data_dir(0).join(millpond::internal::layout::segment_name(slot as u32))
}

/// Returns a machine whose channel holds five transactions of four events, the third damaged.
fn rotten() -> Machine {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    for i in 0..5 {
        engine.put(&bodies(&format!("tx{i}"), 0..4));
    }
    engine.channel.close().expect("sealed");
    drop(engine);
    // The log: header, epoch's state record, then the puts; the third put is damaged.
    let segment = data_dir(0).join(millpond::internal::layout::segment_name(0));
    machine.disk.rot(&segment, 2 * 4096 + 3 * 4096 + 200, 16).expect("the segment is there");
    machine
}

fn has_quarantine(machine: &Machine) -> bool {
    let directory = machine.disk.open_dir(&data_dir(0), false).expect("there");
    let names = directory.list().expect("listed");
    names.iter().any(|e| e.name.starts_with("quarantine-"))
}

#[test]
fn a_damaged_block_is_quarantined_counted_and_the_next_one_is_delivered() {
    let machine = rotten();
    let mut engine = machine.open();
    let all = engine.drain();
    let status = engine.channel.status();
    assert_eq!((all.len(), status.quarantined, status.events), (16, 4, 0), "{all:?}");
    let lost: Vec<usize> = (0..5).filter(|i| !all.contains(&format!("tx{i}-0"))).collect();
    assert_eq!(lost.len(), 1, "one transaction, whole");
    let expected: Vec<String> =
        (0..5).filter(|i| *i != lost[0]).flat_map(|i| bodies(&format!("tx{i}"), 0..4)).collect();
    assert_eq!(all, expected);
    assert!(has_quarantine(&machine));
    // The count is durable.
    engine.channel.close().expect("sealed");
    drop(engine);
    let engine = machine.open();
    assert_eq!((engine.channel.status().quarantined, engine.events()), (4, 0));
}

/// Half a copy would be taken for the whole one.
#[test]
fn a_copy_of_damage_that_cannot_be_finished_is_not_left_lying_about() {
    for on in [FaultTarget::Write, FaultTarget::Sync] {
        let machine = rotten();
        let mut engine = machine.open();
        machine.disk.fail(Fault::next(on, "quarantine-"));
        assert_eq!(engine.drain().len(), 16);
        assert_eq!(engine.channel.status().quarantined, 4, "counted all the same");
        assert!(!has_quarantine(&machine));
    }
}

#[test]
fn many_void_ranges_keep_nothing_from_being_taken() {
    let machine = Machine::new(1);
    with_every_other_block_rotten(&machine, 8 << 20, 600);
    assert_eq!(machine.open().drain().len(), 300);
}

#[test]
fn many_failed_writes_under_a_backlog_keep_nothing_from_being_taken() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    for i in 0..300 {
        // So late that the last failure is forgotten.
        engine.pass(Duration::from_secs(61));
        machine.disk.fail(Fault::next(FaultTarget::Submit, "segment"));
        engine.put(&bodies(&format!("e{i}"), 0..1));
    }
    assert_eq!(engine.drain().len(), 300);
}

#[test]
fn a_refused_read_is_no_damage_and_is_tried_again() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for i in 0..10 {
        engine.put(&bodies(&format!("tx{i}"), 0..4));
    }
    drop(engine);
    let mut engine = machine.open();
    machine.disk.fail(Fault::dead("data0"));
    let mut take = engine.begin_take();
    let mut reached = Vec::new();
    for _ in 0..40 {
        match engine.lend(&mut *take, 100) {
            Ok(events) => reached.extend(events),
            Err(TakeError::Unreadable(fault)) => {
                assert!(fault.to_string().contains("/c/data0"), "{fault}");
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(!reached.is_empty(), "the other disk's events are delivered meanwhile");
    assert_eq!(engine.channel.status().quarantined, 0, "nothing was given up");
    machine.disk.clear_faults();
    engine.pass(Duration::from_secs(60));
    take.rollback();
    engine.pass(Duration::from_secs(2));
    let all: Vec<String> = (0..10).flat_map(|i| bodies(&format!("tx{i}"), 0..4)).collect();
    assert_eq!(sorted(engine.drain()), sorted(all));
}

#[test]
fn a_taker_that_waits_long_is_woken_when_a_refused_read_may_be_tried_again() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..4));
    drop(engine);
    let mut options = machine.options();
    options.keep_alive = Duration::from_secs(3600);
    let mut engine = machine.open_with(options);
    machine.disk.fail(Fault::dead("data0/segment"));
    let mut take = engine.begin_take();
    let mut future = take.take_async(4);
    let poll = |future: &mut millpond::BoxFuture<'_, _>| {
        future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    };
    for _ in 0..4 {
        assert!(poll(&mut future).is_pending());
        engine.run_pending();
    }
    machine.disk.clear_faults();
    for _ in 0..4 {
        engine.pass(Duration::from_secs(1));
        if let std::task::Poll::Ready(events) = poll(&mut future) {
            let events: Vec<millpond::Event> = events.expect("readable");
            assert_eq!(events.len(), 4);
            return;
        }
    }
    panic!("it does not wake");
}

#[test]
fn one_refused_read_is_tried_again_at_once() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..4));
    drop(engine);
    let mut engine = machine.open();
    machine.disk.fail(Fault::next(FaultTarget::Read, "data0"));
    assert_eq!(engine.drain(), bodies("e", 0..4));
}

#[test]
fn a_body_that_a_taker_kept_never_changes() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let first = large("keep", 0..10, 3000);
    engine.put(&first);
    let mut take = engine.begin_take();
    let kept = take.take(10).expect("from memory");
    let commit = Commit::begin(take.commit_async());
    engine.end(commit).expect("acknowledged");
    // The segment is reused many times.
    for round in 0..60 {
        engine.put(&large(&format!("r{round}"), 0..10, 3000));
        engine.drain();
    }
    assert!(engine.channel.log_counts().recycled > 3);
    assert_eq!(kept.iter().map(crate::rig::text).collect::<Vec<_>>(), first);
}
