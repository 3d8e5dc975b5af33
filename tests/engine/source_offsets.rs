//! Section 8: source offsets.

use crate::rig::{Engine, Machine, bodies, data_dir};
use millpond::internal::base::ids::Uuid;
use millpond::internal::recovery::returned_segments::source_of;
use millpond::{Channel, CommitError, CommittedOffset, RefusedReason, SourceOffsetError};
use millpond_sim::disk::{Fault, SimOptions};
use std::time::Duration;

fn source_offset(
    counter: u64,
    bytes: &'static str,
) -> Result<Option<CommittedOffset>, SourceOffsetError> {
    Ok(Some(CommittedOffset { counter, bytes: bytes.into() }))
}

#[test]
fn a_source_offset_commits_with_its_events_and_survives_a_power_cut() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    assert_eq!(engine.channel.source_offset("tail"), Ok(None));
    for i in 1..=5u64 {
        let at = ["", "100", "200", "300", "400", "500"][i as usize];
        let commit = engine.begin_put_at(&bodies(&format!("tx{i}"), 0..2), "tail", at);
        engine.end(commit).expect("committed");
        assert_eq!(engine.channel.source_offset("tail"), source_offset(i, at));
        for machine in [machine.after_kill(i), machine.after_power_cut(i)] {
            let again = machine.open();
            assert_eq!(again.channel.source_offset("tail"), source_offset(i, at));
            assert_eq!(again.events(), 2 * i);
        }
    }
}

#[test]
fn events_and_their_source_offset_survive_a_power_cut_together() {
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
            let found = again.channel.source_offset("tail").expect("settled by the opening");
            let counter = found.map_or(0, |p| p.counter);
            assert_eq!(again.events(), counter, "crash at {operation}");
        }
    }
}

#[test]
fn offsets_of_one_source_are_serialised_and_those_of_two_are_not() {
    let machine = Machine::with(2, SimOptions { pending: true, ..SimOptions::new(1) });
    let mut engine = machine.open();
    let mut first = engine.begin_put_at(&bodies("a", 0..1), "tail", "1");
    let other = engine.begin_put_at(&bodies("b", 0..1), "other", "1");
    let mut second = engine.begin_put_at(&bodies("c", 0..1), "tail", "2");
    assert_eq!(engine.events(), 2, "the second commit of `tail` waits, that of `other` does not");
    assert!(first.poll().is_none() && second.poll().is_none());
    engine.end(first).expect("committed");
    engine.end(second).expect("continues by itself");
    engine.end(other).expect("committed");
    assert_eq!(engine.channel.source_offset("tail"), source_offset(2, "2"));
    assert_eq!(engine.channel.source_offset("other"), source_offset(1, "1"));
}

#[test]
fn waiting_commits_of_one_source_enter_in_the_order_of_their_requests() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    (options.capacity, options.transaction_capacity) = (3, 3);
    let mut engine = machine.open_with(options);
    engine.put(&bodies("full", 0..3));
    let mut first = engine.begin_put_at(&bodies("a", 0..2), "tail", "1");
    let mut second = engine.begin_put_at(&bodies("b", 0..1), "tail", "2");
    assert!(matches!(
        engine.channel.source_offset("tail"),
        Err(SourceOffsetError::Unsettled { .. })
    ));
    assert_eq!(engine.take(1), ["full-0"]);
    assert!(second.poll().is_none(), "there is room for it, and not for the one before");
    engine.run_pending();
    assert!(second.poll().is_none());
    assert_eq!(engine.take(2), ["full-1", "full-2"]);
    assert!(second.poll().is_none() && first.poll().is_none());
    engine.end(first).expect("room came in time");
    engine.end(second).expect("its turn came");
    assert_eq!(engine.channel.source_offset("tail"), source_offset(2, "2"));
    assert_eq!(engine.drain(), ["a-0", "a-1", "b-0"]);
}

/// Otherwise the source offset would cover those lines too, and they would not be put again.
#[test]
fn a_commit_is_refused_when_an_earlier_one_of_its_source_fails() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    (options.capacity, options.transaction_capacity) = (3, 3);
    let mut engine = machine.open_with(options);
    engine.put(&bodies("full", 0..3));
    let mut first = engine.begin_put_at(&bodies("a", 0..2), "tail", "1");
    engine.clock.advance(crate::rig::KEEP_ALIVE / 2);
    let mut second = engine.begin_put_at(&bodies("b", 0..1), "tail", "2");
    let dropped = engine.begin_put_at(&bodies("other", 0..2), "other", "1");
    let mut after_dropped = engine.begin_put_at(&bodies("other", 2..3), "other", "2");
    assert_eq!(engine.take(1), ["full-0"]);
    engine.clock.advance(crate::rig::KEEP_ALIVE / 2);
    let out_of_turn = || Some(Err(CommitError::Refused(RefusedReason::EarlierCommitFailed)));
    assert!(matches!(first.poll(), Some(Err(CommitError::Refused(RefusedReason::Full { .. })))));
    let mut third = engine.begin_put_at(&bodies("c", 0..1), "tail", "3");
    assert_eq!(third.poll(), out_of_turn(), "requested before the second returned");
    assert_eq!(second.poll(), out_of_turn(), "there is room for it");
    drop((first, second, third));
    drop(dropped);
    assert_eq!(after_dropped.poll(), out_of_turn());
    drop(after_dropped);
    assert_eq!((engine.events(), engine.channel.source_offset("tail")), (2, Ok(None)));
    assert_eq!(engine.drain(), ["full-1", "full-2"]);
    for (body, at) in [("a", "1"), ("b", "2")] {
        let commit = engine.begin_put_at(&bodies(body, 0..1), "tail", at);
        engine.end(commit).expect("put again in order");
    }
    assert_eq!(engine.channel.source_offset("tail"), source_offset(2, "2"));
}

/// Not an error about a segment or about room, which would point to the disks.
#[test]
fn a_wait_that_ends_after_another_commit_of_the_source_says_so() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    (options.capacity, options.transaction_capacity) = (3, 3);
    let mut engine = machine.open_with(options);
    engine.put(&bodies("full", 0..3));
    let behind = || {
        Some(Err(CommitError::Refused(RefusedReason::EarlierCommitPending {
            of: "tail".to_owned(),
        })))
    };
    let mut first = engine.begin_put_at(&bodies("a", 0..2), "tail", "1");
    let mut second = engine.begin_put_at(&bodies("b", 0..1), "tail", "2");
    engine.clock.advance(crate::rig::KEEP_ALIVE);
    assert_eq!(second.poll(), behind(), "the first waits for room");
    assert!(matches!(first.poll(), Some(Err(CommitError::Refused(RefusedReason::Full { .. })))));
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
fn an_emptied_batch_commits_its_source_offset_alone() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let commit = engine.begin_put_at(&[], "tail", "77");
    engine.end(commit).expect("committed");
    assert_eq!(engine.events(), 0);
    assert_eq!(engine.drain(), Vec::<String>::new());
    assert_eq!(
        machine.after_power_cut(1).open().channel.source_offset("tail"),
        source_offset(1, "77")
    );
}

#[test]
fn a_source_offset_survives_rolls_recycling_and_checkpoints() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let commit = engine.begin_put_at(&bodies("e", 0..1), "tail", "early");
    engine.end(commit).expect("committed");
    for round in 0..40 {
        engine.put(&crate::rig::large(&format!("r{round}"), 0..20, 2000));
        engine.drain();
    }
    assert!(engine.channel.log_counts().recycled > 2);
    assert_eq!(
        machine.after_power_cut(1).open().channel.source_offset("tail"),
        source_offset(1, "early")
    );
}

#[test]
fn a_source_in_doubt_gets_no_further_offset_until_it_is_resolved() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let commit = engine.begin_put_at(&bodies("a", 0..1), "tail", "1");
    engine.end(commit).expect("committed");
    machine.disk.fail(Fault::dead("data"));
    let commit = engine.begin_put_at(&bodies("b", 0..1), "tail", "2");
    assert!(matches!(engine.end(commit), Err(CommitError::InDoubt(_))));
    machine.disk.clear_faults();
    let unsettled = engine.channel.source_offset("tail");
    assert!(matches!(unsettled, Err(SourceOffsetError::Unsettled { .. })), "{unsettled:?}");
    assert_eq!(engine.channel.source_offset("other"), Ok(None), "only this source is in doubt");
    let mut early = engine.begin_put_at(&bodies("c", 0..1), "tail", "3");
    assert!(early.poll().is_none());
    engine.pass(Duration::from_secs(60));
    // The fence has settled it: the lines of `b` are absent, and the source offset shows it.
    drop(early);
    assert_eq!(engine.channel.source_offset("tail"), source_offset(1, "1"));
    let commit = engine.begin_put_at(&bodies("b", 0..1), "tail", "2");
    engine.end(commit).expect("sent again");
    assert_eq!(engine.channel.source_offset("tail"), source_offset(2, "2"));
    assert_eq!(engine.drain(), [bodies("a", 0..1), bodies("b", 0..1)].concat());
}

#[test]
fn a_source_offset_that_moved_with_a_failed_write_is_kept() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for stripe in ["data0", "data1"] {
        machine.disk.fail(Fault::next(millpond_sim::disk::FaultTarget::Submit, stripe));
        for i in 0..4 {
            let at = format!("{stripe}-{i}");
            let commit = engine.begin_put_at(&bodies(&at, 0..1), "tail", &at);
            engine.end(commit).expect("committed, here or there");
            let found = machine.after_power_cut(i).open().channel.source_offset("tail");
            let found = found.expect("settled by the opening").map(|p| p.bytes);
            assert_eq!(found, Some(at.into()));
        }
        machine.disk.clear_faults();
        engine.pass(Duration::from_secs(1));
    }
}

#[test]
fn source_offsets_that_take_too_much_room_are_refused() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let huge = "x".repeat(200 * 1024);
    let commit = engine.begin_put_at(&bodies("a", 0..1), "tail", &huge);
    let refused = engine.end(commit).expect_err("too large");
    assert!(
        matches!(refused, CommitError::Refused(RefusedReason::SourceOffsetTooLarge { .. })),
        "{refused}"
    );
    assert_eq!(engine.events(), 0);
}

#[test]
fn source_offsets_in_flight_count_with_durable_ones() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let large = "x".repeat(40 * 1024);
    let mut two: Vec<_> = ["one", "two"]
        .iter()
        .map(|source| engine.begin_put_at(&bodies(source, 0..1), source, &large))
        .collect();
    let third = engine.begin_put_at(&bodies("three", 0..1), "three", &large);
    let refused = engine.end(third).expect_err("a third one has no place");
    assert!(
        matches!(refused, CommitError::Refused(RefusedReason::SourceOffsetTooLarge { .. })),
        "{refused}"
    );
    for commit in two.drain(..) {
        engine.end(commit).expect("committed");
    }
    // Replacing one takes no more room than it had.
    let again = engine.begin_put_at(&bodies("again", 0..1), "two", &large);
    engine.end(again).expect("committed");
    assert_eq!(engine.events(), 3);
}

const MANY: usize = 60 * 1024;

/// Begins a put with a source offset of [`MANY`] bytes.
fn long(engine: &Engine, source: &str) -> crate::rig::Commit {
    engine.begin_put_at(&bodies(source, 0..1), source, &"x".repeat(MANY))
}

fn has(engine: &Engine, source: &str) -> bool {
    engine.channel.source_offset(source).expect("settled").is_some()
}

#[test]
fn a_source_that_is_forgotten_gives_its_room_to_others_also_after_crashes() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let old = long(&engine, "old");
    engine.end(old).expect("it fits");
    let new = long(&engine, "new");
    let refused = engine.end(new);
    assert!(
        matches!(refused, Err(CommitError::Refused(RefusedReason::SourceOffsetTooLarge { .. }))),
        "{refused:?}"
    );
    // An offset that is not longer than before always fits.
    let shorter = engine.begin_put_at(&[], "old", "");
    engine.end(shorter).expect("forgotten");
    assert!(!has(&engine, "old"));
    let new = long(&engine, "new");
    engine.end(new).expect("there is room");
    for machine in [machine.after_kill(1), machine.after_power_cut(2)] {
        let again = machine.open();
        assert!(!has(&again, "old") && has(&again, "new"));
    }
}

#[test]
fn sources_that_are_not_named_give_way_when_room_is_needed_and_not_before() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for source in ["old", "kept"] {
        let commit = engine.begin_put_at(&[], source, &"x".repeat(40 * 1024));
        engine.end(commit).expect("it fits");
    }
    let names = ["kept", "new"].map(str::to_owned);
    engine.channel.name_sources(&names);
    engine.run_pending();
    assert!(has(&engine, "old"), "it may come back");
    let new = engine.begin_put_at(&bodies("a", 0..1), "new", &"y".repeat(40 * 1024));
    engine.end(new).expect("room is made");
    assert!(!has(&engine, "old") && has(&engine, "kept") && has(&engine, "new"));
    for machine in [machine.after_kill(1), machine.after_power_cut(2)] {
        let again = machine.open();
        assert!(!has(&again, "old") && has(&again, "kept") && has(&again, "new"));
    }
    // Named ones are not evicted.
    let fourth = engine.begin_put_at(&[], "kept", &"z".repeat(60 * 1024));
    assert!(matches!(
        engine.end(fourth),
        Err(CommitError::Refused(RefusedReason::SourceOffsetTooLarge { .. }))
    ));
}

#[test]
fn sources_not_named_for_a_day_expire_and_one_that_returns_does_not() {
    let day = millpond::internal::base::limits::SOURCE_OFFSET_RETENTION;
    let machine = Machine::new(1);
    let mut engine = machine.open();
    for source in ["gone", "back"] {
        let commit = engine.begin_put_at(&[], source, "1");
        engine.end(commit).expect("committed");
    }
    // A channel without named sources forgets none.
    engine.pass(day * 2);
    assert!(has(&engine, "gone") && has(&engine, "back"));
    engine.channel.name_sources(&[]);
    engine.pass(day / 2);
    engine.channel.name_sources(&["back".to_owned()]);
    engine.pass(day - Duration::from_secs(1));
    assert!(has(&engine, "gone") && has(&engine, "back"));
    engine.pass(Duration::from_secs(1));
    assert!(!has(&engine, "gone") && has(&engine, "back"));
    // It starts again, above its former counter.
    let commit = engine.begin_put_at(&[], "gone", "2");
    engine.end(commit).expect("committed");
    assert_eq!(engine.channel.source_offset("gone"), source_offset(3, "2"));
}

#[test]
fn the_progress_of_a_restore_is_never_forgotten_by_itself() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let restore = source_of(Uuid([7; 16]));
    for source in ["gone", restore.as_str()] {
        let commit = engine.begin_put_at(&[], source, "12345678");
        engine.end(commit).expect("committed");
    }
    engine.channel.name_sources(&[]);
    engine.pass(millpond::internal::base::limits::SOURCE_OFFSET_RETENTION);
    assert!(!has(&engine, "gone") && has(&engine, &restore), "a second restore puts nothing twice");
}

#[test]
fn a_tombstone_wins_over_an_old_offset_of_a_directory_that_is_back() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for _ in 0..4 {
        // On both stripes, so that each knows it.
        let commit = engine.begin_put_at(&bodies("e", 0..1), "old", "1");
        engine.end(commit).expect("committed");
    }
    engine.channel.close().expect("a checkpoint everywhere");
    drop(engine);
    for missing in 0..2 {
        let machine = machine.after_power_cut(missing as u64);
        machine.disk.remove_directory(&data_dir(missing));
        let mut options = machine.options();
        options.open_degraded = true;
        let mut engine = machine.open_with(options);
        engine.channel.name_sources(&[]);
        engine.pass(millpond::internal::base::limits::SOURCE_OFFSET_RETENTION);
        assert!(!has(&engine, "old"));
        drop(engine);
        machine.disk.restore(&data_dir(missing));
        assert!(!has(&machine.open(), "old"), "stripe {missing}");
    }
}

#[test]
fn after_a_power_cut_while_a_source_is_forgotten_the_next_offset_wins() {
    let before = Machine::new(2);
    let mut engine = before.open();
    let commit = engine.begin_put_at(&[], "gone", "1");
    engine.end(commit).expect("committed");
    drop(engine);
    for operation in 1..60 {
        let machine = before.after_power_cut(0);
        machine.disk.crash_at(operation);
        let mut answered = false;
        if let Ok(mut engine) = machine.try_open(machine.options()) {
            engine.channel.name_sources(&[]);
            engine.pass(millpond::internal::base::limits::SOURCE_OFFSET_RETENTION);
            let commit = engine.begin_put_at(&[], "gone", "2");
            answered = engine.end(commit).is_ok();
        }
        for seed in 0..4 {
            let again = machine.after_power_cut(seed).open();
            let found = again.channel.source_offset("gone").expect("settled by the opening");
            let bytes = found.map(|p| p.bytes);
            assert!(!answered || bytes.as_deref() == Some(b"2"), "crash at {operation}: {bytes:?}");
        }
    }
}
