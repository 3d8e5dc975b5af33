//! Section 8: what a source leaves with its events.

use crate::rig::{Machine, bodies};
use millpond::channel::{Channel, CommitError, Position, PositionError, Refusal};
use millpond::disk::sim::{Fault, SimOptions};
use std::time::Duration;

fn position(counter: u64, bytes: &'static str) -> Result<Option<Position>, PositionError> {
    Ok(Some(Position { counter, bytes: bytes.into() }))
}

#[test]
fn a_position_is_committed_with_its_events_and_survives_a_kill_and_a_power_cut() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    assert_eq!(engine.channel.position("tail"), Ok(None));
    for i in 1..=5u64 {
        let at = ["", "100", "200", "300", "400", "500"][i as usize];
        let commit = engine.begin_put_at(&bodies(&format!("tx{i}"), 0..2), "tail", at);
        engine.end(commit).expect("committed");
        assert_eq!(engine.channel.position("tail"), position(i, at));
        for machine in [machine.after_kill(i), machine.after_power_cut(i)] {
            let again = machine.open();
            assert_eq!(again.channel.position("tail"), position(i, at));
            assert_eq!(again.events(), 2 * i);
        }
    }
}

#[test]
fn lines_and_their_position_are_found_together_or_not_at_all_wherever_the_power_is_cut() {
    let before = Machine::new(2);
    drop(before.open());
    for operation in 1..60 {
        let machine = before.after_power_cut(0);
        machine.disk.crash_at(operation);
        if let Ok(mut engine) = machine.try_open(machine.options()) {
            for at in ["1", "2", "3"] {
                let commit = engine.begin_put_at(&bodies(at, 0..1), "tail", at);
                if engine.end(commit).is_err() {
                    break;
                }
            }
        }
        for seed in 0..4 {
            let again = machine.after_power_cut(seed).open();
            let found = again.channel.position("tail").expect("settled by the opening");
            let counter = found.map_or(0, |p| p.counter);
            assert_eq!(again.events(), counter, "crash at {operation}");
        }
    }
}

#[test]
fn positions_of_one_source_are_serialised_and_those_of_two_are_not() {
    let machine = Machine::with(2, SimOptions { pending: true, ..SimOptions::new(1) });
    let mut engine = machine.open();
    let mut first = engine.begin_put_at(&bodies("a", 0..1), "tail", "1");
    let other = engine.begin_put_at(&bodies("b", 0..1), "other", "1");
    let mut second = engine.begin_put_at(&bodies("c", 0..1), "tail", "2");
    assert_eq!(engine.events(), 2, "the second position of `tail` waits, that of `other` does not");
    assert!(first.poll().is_none() && second.poll().is_none());
    engine.end(first).expect("committed");
    engine.end(second).expect("goes on by itself");
    engine.end(other).expect("committed");
    assert_eq!(engine.channel.position("tail"), position(2, "2"));
    assert_eq!(engine.channel.position("other"), position(1, "1"));
}

#[test]
fn commits_of_one_source_that_wait_for_room_enter_in_the_order_in_which_they_were_asked_for() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    (options.capacity, options.transaction_capacity) = (3, 3);
    let mut engine = machine.open_with(options);
    engine.put(&bodies("full", 0..3));
    let mut first = engine.begin_put_at(&bodies("a", 0..2), "tail", "1");
    let mut second = engine.begin_put_at(&bodies("b", 0..1), "tail", "2");
    assert!(matches!(engine.channel.position("tail"), Err(PositionError::Unsettled { .. })));
    assert_eq!(engine.take(1), ["full-0"]);
    assert!(second.poll().is_none(), "there is room for it, and not for the one before");
    engine.settle();
    assert!(second.poll().is_none());
    assert_eq!(engine.take(2), ["full-1", "full-2"]);
    assert!(second.poll().is_none() && first.poll().is_none());
    engine.end(first).expect("room came in time");
    engine.end(second).expect("its turn came");
    assert_eq!(engine.channel.position("tail"), position(2, "2"));
    assert_eq!(engine.drain(), ["a-0", "a-1", "b-0"]);
}

/// Else the position would say that those lines are there too, and nobody would put them again.
#[test]
fn a_commit_that_waits_behind_another_of_its_source_is_refused_when_that_one_does_not_end_well() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    (options.capacity, options.transaction_capacity) = (3, 3);
    let mut engine = machine.open_with(options);
    engine.put(&bodies("full", 0..3));
    let mut first = engine.begin_put_at(&bodies("a", 0..2), "tail", "1");
    engine.clock.advance(crate::rig::KEEP_ALIVE / 2);
    let mut second = engine.begin_put_at(&bodies("b", 0..1), "tail", "2");
    let dropped = engine.begin_put_at(&bodies("other", 0..2), "other", "1");
    let mut behind_dropped = engine.begin_put_at(&bodies("other", 2..3), "other", "2");
    assert_eq!(engine.take(1), ["full-0"]);
    engine.clock.advance(crate::rig::KEEP_ALIVE / 2);
    let out_of_turn = || Some(Err(CommitError::Refused(Refusal::OutOfTurn)));
    assert!(matches!(first.poll(), Some(Err(CommitError::Refused(Refusal::Full { .. })))));
    let mut third = engine.begin_put_at(&bodies("c", 0..1), "tail", "3");
    assert_eq!(third.poll(), out_of_turn(), "asked for before the second was answered");
    assert_eq!(second.poll(), out_of_turn(), "there is room for it");
    drop((first, second, third));
    drop(dropped);
    assert_eq!(behind_dropped.poll(), out_of_turn());
    drop(behind_dropped);
    assert_eq!((engine.events(), engine.channel.position("tail")), (2, Ok(None)));
    assert_eq!(engine.drain(), ["full-1", "full-2"]);
    for (body, at) in [("a", "1"), ("b", "2")] {
        let commit = engine.begin_put_at(&bodies(body, 0..1), "tail", at);
        engine.end(commit).expect("put again in order");
    }
    assert_eq!(engine.channel.position("tail"), position(2, "2"));
}

/// Not of a segment or of room, which would send whoever reads it to the disks.
#[test]
fn a_wait_that_ends_behind_another_commit_of_the_source_says_so() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    (options.capacity, options.transaction_capacity) = (3, 3);
    let mut engine = machine.open_with(options);
    engine.put(&bodies("full", 0..3));
    let behind = || Some(Err(CommitError::Refused(Refusal::Behind { of: "tail".to_owned() })));
    let mut first = engine.begin_put_at(&bodies("a", 0..2), "tail", "1");
    let mut second = engine.begin_put_at(&bodies("b", 0..1), "tail", "2");
    engine.clock.advance(crate::rig::KEEP_ALIVE);
    assert_eq!(second.poll(), behind(), "the first waits for room");
    assert!(matches!(first.poll(), Some(Err(CommitError::Refused(Refusal::Full { .. })))));
    drop((first, second));
    assert_eq!(engine.drain(), bodies("full", 0..3));
    machine.disk.fail(Fault::dead("data"));
    let doubt = engine.begin_put_at(&bodies("c", 0..1), "tail", "3");
    assert!(matches!(engine.end(doubt), Err(CommitError::InDoubt(_))));
    let mut third = engine.begin_put_at(&bodies("d", 0..1), "tail", "4");
    engine.clock.advance(crate::rig::KEEP_ALIVE);
    assert_eq!(third.poll(), behind(), "the one before it is in doubt");
}

#[test]
fn a_batch_that_was_emptied_commits_its_position_alone() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let commit = engine.begin_put_at(&[], "tail", "77");
    engine.end(commit).expect("committed");
    assert_eq!(engine.events(), 0);
    assert_eq!(engine.drain(), Vec::<String>::new());
    assert_eq!(machine.after_power_cut(1).open().channel.position("tail"), position(1, "77"));
}

#[test]
fn a_position_survives_rolls_recycling_and_checkpoints() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let commit = engine.begin_put_at(&bodies("e", 0..1), "tail", "early");
    engine.end(commit).expect("committed");
    for round in 0..40 {
        engine.put(&crate::rig::large(&format!("r{round}"), 0..20, 2000));
        engine.drain();
    }
    assert!(engine.channel.log_counts().recycled > 2);
    assert_eq!(machine.after_power_cut(1).open().channel.position("tail"), position(1, "early"));
}

#[test]
fn a_source_in_doubt_gets_no_further_position_until_the_doubt_is_settled() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let commit = engine.begin_put_at(&bodies("a", 0..1), "tail", "1");
    engine.end(commit).expect("committed");
    machine.disk.fail(Fault::dead("data"));
    let commit = engine.begin_put_at(&bodies("b", 0..1), "tail", "2");
    assert!(matches!(engine.end(commit), Err(CommitError::InDoubt(_))));
    machine.disk.clear_faults();
    let unsettled = engine.channel.position("tail");
    assert!(matches!(unsettled, Err(PositionError::Unsettled { .. })), "{unsettled:?}");
    assert_eq!(engine.channel.position("other"), Ok(None), "only this source is in doubt");
    let mut early = engine.begin_put_at(&bodies("c", 0..1), "tail", "3");
    assert!(early.poll().is_none());
    engine.pass(Duration::from_secs(60));
    // The fence has settled it: the lines of `b` are not there, and the position says so.
    drop(early);
    assert_eq!(engine.channel.position("tail"), position(1, "1"));
    let commit = engine.begin_put_at(&bodies("b", 0..1), "tail", "2");
    engine.end(commit).expect("sent again");
    assert_eq!(engine.channel.position("tail"), position(2, "2"));
    assert_eq!(engine.drain(), [bodies("a", 0..1), bodies("b", 0..1)].concat());
}

#[test]
fn a_position_that_moved_with_a_failed_write_is_kept() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for stripe in ["data0", "data1"] {
        machine.disk.fail(Fault::next(millpond::disk::sim::On::Submit, stripe));
        for i in 0..4 {
            let at = format!("{stripe}-{i}");
            let commit = engine.begin_put_at(&bodies(&at, 0..1), "tail", &at);
            engine.end(commit).expect("committed, here or there");
            let found = machine.after_power_cut(i).open().channel.position("tail");
            let found = found.expect("settled by the opening").map(|p| p.bytes);
            assert_eq!(found, Some(at.into()));
        }
        machine.disk.clear_faults();
        engine.pass(Duration::from_secs(1));
    }
}

#[test]
fn positions_that_take_too_much_room_are_refused() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let huge = "x".repeat(200 * 1024);
    let commit = engine.begin_put_at(&bodies("a", 0..1), "tail", &huge);
    let refused = engine.end(commit).expect_err("too large");
    assert!(matches!(refused, CommitError::Refused(Refusal::PositionTooLarge { .. })), "{refused}");
    assert_eq!(engine.events(), 0);
}

#[test]
fn positions_on_their_way_count_with_those_that_are_durable() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let large = "x".repeat(40 * 1024);
    let mut two: Vec<_> = ["one", "two"]
        .iter()
        .map(|source| engine.begin_put_at(&bodies(source, 0..1), source, &large))
        .collect();
    let third = engine.begin_put_at(&bodies("three", 0..1), "three", &large);
    let refused = engine.end(third).expect_err("a third one has no place");
    assert!(matches!(refused, CommitError::Refused(Refusal::PositionTooLarge { .. })), "{refused}");
    for commit in two.drain(..) {
        engine.end(commit).expect("committed");
    }
    // Replacing one takes no more room than it had.
    let again = engine.begin_put_at(&bodies("again", 0..1), "two", &large);
    engine.end(again).expect("committed");
    assert_eq!(engine.events(), 3);
}
