//! Sections 1 to 4: guarantees of a commit, blocks, group commit, the choice of stripe.

use crate::rig::{Commit, KEEP_ALIVE, Machine, bodies, large, sorted};
use millpond::{Channel, CommitError, Event, PutError, RefusedReason};
use millpond_sim::disk::{Fault, FaultEffect, FaultTarget, Model, SimOptions, TornBlock};
use std::time::Duration;

#[test]
fn a_put_that_returned_ok_is_there_after_a_power_cut_and_after_a_kill() {
    for model in [Model::StrictPosix, Model::Journalling] {
        for torn_block in [TornBlock::Clean, TornBlock::DamageWritten] {
            let options = SimOptions { model, torn_block, ..SimOptions::new(5) };
            let machine = Machine::with(2, options);
            let mut engine = machine.open();
            for i in 0..10 {
                engine.put(&bodies(&format!("tx{i}"), 0..3));
                let expected: Vec<String> =
                    (0..=i).flat_map(|i| bodies(&format!("tx{i}"), 0..3)).collect();
                assert_eq!(machine.after_power_cut(i).reopened(), expected);
                assert_eq!(machine.after_kill(i).reopened(), expected);
            }
        }
    }
}

#[test]
fn a_take_that_returned_ok_is_never_delivered_again() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for i in 0..10 {
        engine.put(&bodies(&format!("tx{i}"), 0..3));
    }
    let all: Vec<String> = (0..10).flat_map(|i| bodies(&format!("tx{i}"), 0..3)).collect();
    for taken in 1..=6 {
        assert_eq!(engine.take(5), all[(taken - 1) * 5..taken * 5]);
        assert_eq!(machine.after_power_cut(taken as u64).reopened(), all[taken * 5..]);
        assert_eq!(machine.after_kill(taken as u64).reopened(), all[taken * 5..]);
    }
}

#[test]
fn a_transaction_is_there_whole_or_not_at_all_wherever_the_power_is_cut() {
    // Crash at every operation of a put of many events over the bytes of several blocks.
    let before = Machine::new(1);
    let mut engine = before.open();
    engine.put(&bodies("first", 0..2));
    drop(engine);
    let mut whole = 0;
    for operation in 1..200 {
        let machine = before.after_power_cut(0);
        machine.disk.crash_at(operation);
        let result = match machine.try_open(machine.options()) {
            Ok(mut engine) => Some(engine.try_put(&large("tx", 0..30, 600))),
            Err(_) => None,
        };
        let crashed = machine.disk.crashed();
        for seed in 0..3 {
            let all = machine.after_power_cut(seed).reopened();
            assert_eq!(all[..2], bodies("first", 0..2));
            assert!(all.len() == 2 || all.len() == 32, "{} events", all.len());
            if matches!(result, Some(Ok(()))) {
                assert_eq!(all.len(), 32, "it returned Ok");
            }
            whole += usize::from(crashed && all.len() == 32);
        }
        if !crashed {
            break;
        }
    }
    assert!(whole > 0, "a pending commit may be found whole");
}

#[test]
fn nothing_uncommitted_is_ever_delivered() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let mut put = engine.channel.begin_put();
    put.put(Event::new("never")).expect("fits");
    assert_eq!(engine.take(10), Vec::<String>::new());
    put.rollback();
    let mut dropped = engine.channel.begin_put();
    dropped.put(Event::new("neither")).expect("fits");
    drop(dropped);
    // Committed but not durable yet: not visible either.
    let mut commit = engine.begin_put(&bodies("later", 0..1));
    assert!(commit.poll().is_none());
    let mut take = engine.begin_take();
    let mut lent = take.take_async(10);
    let poll = lent.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert!(poll.is_pending(), "visible only up to the watermark");
    drop(lent);
    drop(take);
    engine.end(commit).expect("committed");
    assert_eq!(engine.drain(), bodies("later", 0..1));
}

#[test]
fn an_event_comes_out_byte_for_byte() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let mut put = engine.channel.begin_put();
    let body: Vec<u8> = (0..=255).cycle().take(9000).collect();
    let mut event = Event::new(body);
    event.headers.set("héader", "wert\n\0");
    event.headers.set("", "");
    put.put(event.clone()).expect("fits");
    put.put(Event::new("")).expect("fits");
    engine.end(Commit::begin(put.commit_async())).expect("committed");
    for machine in [machine.after_power_cut(1), machine.after_kill(1)] {
        let engine = machine.open();
        let mut take = engine.channel.begin_take();
        let events = take.take(2).expect("readable");
        assert_eq!(events[0], event);
        assert_eq!(events[1], Event::new(""));
        take.rollback();
    }
}

#[test]
fn a_transaction_begun_after_anothers_commit_returned_comes_after_it() {
    let machine = Machine::new(3);
    let mut engine = machine.open();
    let all: Vec<String> = (0..60).map(|i| format!("e{i}")).collect();
    for body in &all {
        engine.put(std::slice::from_ref(body));
    }
    let counts: Vec<_> = (0..3).map(|s| engine.stepper.start_write(s).is_some()).collect();
    assert_eq!(counts, [false; 3]);
    assert_eq!(machine.after_power_cut(1).reopened(), all, "also over three stripes, read back");
    assert_eq!(engine.drain(), all);
}

#[test]
fn puts_go_to_all_stripes_and_a_slow_one_gets_fewer() {
    let machine = Machine::with(2, SimOptions { pending: true, ..SimOptions::new(2) });
    let mut engine = machine.open();
    engine.run_pending();
    // Stripe 0's write does not return, stripe 1's take a millisecond.
    let mut commits = Vec::new();
    let mut slow = None;
    for i in 0..200 {
        commits.push(engine.begin_put(&bodies(&format!("{i}"), 0..1)));
        engine.clock.advance(Duration::from_millis(1));
        engine.stepper.keep();
        if slow.is_none() {
            slow = engine.stepper.start_write(0);
        }
        if let Some(mut write) = engine.stepper.start_write(1) {
            let result = write.finish();
            engine.stepper.report(write, result);
        }
    }
    assert!(slow.is_some(), "the slow one was tried");
    let waiting = commits.iter_mut().filter_map(|c| c.poll().is_none().then_some(())).count();
    assert!(waiting < 10, "{waiting} of 200 commits wait for the slow stripe");
    if let Some(mut write) = slow {
        let result = write.finish();
        engine.stepper.report(write, result);
    }
    engine.run_pending();
}

#[test]
fn with_many_committers_waiting_one_write_carries_many_frames() {
    let machine = Machine::with(1, SimOptions { pending: true, ..SimOptions::new(2) });
    let mut engine = machine.open();
    engine.run_pending();
    let writes = |engine: &crate::rig::Engine| engine.channel.log_counts().writes;
    let before = writes(&engine);
    let mut commits: Vec<Commit> =
        (0..100).map(|i| engine.begin_put(&bodies(&format!("{i}"), 0..1))).collect();
    for commit in &mut commits {
        assert!(commit.poll().is_none());
    }
    let mut first = engine.stepper.start_write(0).expect("a write may start");
    assert!(engine.stepper.start_write(0).is_none(), "nothing more is pending");
    let result = first.finish();
    engine.stepper.report(first, result);
    for mut commit in commits {
        assert_eq!(commit.poll(), Some(Ok(())));
    }
    assert_eq!(writes(&engine) - before, 1, "a hundred commits, one write");
}

#[test]
fn writes_overlap_and_are_answered_in_order_only() {
    let machine = Machine::with(1, SimOptions { pending: true, ..SimOptions::new(2) });
    let mut options = machine.options();
    options.segment_bytes = 4 << 20;
    let mut engine = machine.open_with(options);
    engine.run_pending();
    let (mut commits, mut writes) = (Vec::new(), Vec::new());
    for i in 0..4 {
        commits.push(engine.begin_put(&large(&format!("{i}"), 0..20, 5000)));
        writes.extend(engine.stepper.start_write(0));
    }
    assert!(writes.len() > 1, "more than 64 KiB pending: a further write starts");
    let last = writes.len() - 1;
    let mut late = writes.remove(last);
    let result = late.finish();
    engine.stepper.report(late, result);
    assert!(commits[last].poll().is_none(), "its predecessor is not durable");
    assert_eq!(engine.events(), 80);
    for mut write in writes {
        let result = write.finish();
        engine.stepper.report(write, result);
    }
    engine.run_pending();
    for mut commit in commits {
        assert_eq!(commit.poll(), Some(Ok(())));
    }
}

#[test]
fn a_put_future_dropped_after_its_reservation_appears_whole_or_not_at_all() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let mut commit = engine.begin_put(&bodies("doubt", 0..3));
    assert!(commit.poll().is_none());
    drop(commit);
    engine.put(&bodies("next", 0..3));
    assert_eq!(engine.drain(), [bodies("doubt", 0..3), bodies("next", 0..3)].concat());
    let mut put = engine.channel.begin_put();
    put.put(Event::new("never")).expect("fits");
    drop(put.commit_async());
    assert_eq!(engine.drain(), Vec::<String>::new());
    assert_eq!(engine.events(), 0);
}

#[test]
fn a_large_transaction_gets_a_block_of_its_own_and_a_segment_that_holds_it() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let big = large("big", 0..3, 700 * 1024);
    engine.put(&big);
    engine.put(&bodies("small", 0..2));
    let expected = [big.clone(), bodies("small", 0..2)].concat();
    assert_eq!(machine.after_power_cut(1).reopened(), expected);
    assert_eq!(engine.drain(), expected);
}

#[test]
fn limits_of_a_transaction_are_refused_at_put_and_name_the_setting() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    options.transaction_bytes_max = 4096;
    options.transaction_capacity = 3;
    let engine = machine.open_with(options);
    let mut put = engine.channel.begin_put();
    let error = put.put(Event::new(vec![0; 5000])).expect_err("too large");
    assert!(error.to_string().contains("transaction_bytes_max"), "{error}");
    for _ in 0..3 {
        put.put(Event::new("x")).expect("fits");
    }
    assert_eq!(put.put(Event::new("x")), Err(PutError::TransactionFull { capacity: 3 }));
}

#[test]
fn a_full_channel_refuses_after_keep_alive_and_says_how_full_it_is() {
    let machine = Machine::new(2);
    let mut options = machine.options();
    options.capacity = 10;
    options.transaction_capacity = 10;
    let mut engine = machine.open_with(options);
    engine.put(&bodies("e", 0..8));
    let start = machine.clock.clone();
    let before = millpond::Clock::now(&*start);
    let refused = engine.try_put(&bodies("f", 0..3)).expect_err("no room");
    assert_eq!(refused, CommitError::Refused(RefusedReason::Full { events: 8, capacity: 10 }));
    assert!(millpond::Clock::now(&*start) - before >= KEEP_ALIVE);
    engine.put(&bodies("g", 0..2));
    let mut waiting = engine.begin_put(&bodies("h", 0..4));
    assert!(waiting.poll().is_none());
    assert_eq!(engine.take(4).len(), 4);
    engine.end(waiting).expect("continues when there is room");
}

#[test]
fn capacity_lowered_below_the_backlog_opens_and_refuses_puts_until_drained() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..50));
    drop(engine);
    let mut options = machine.options();
    options.capacity = 10;
    options.transaction_capacity = 10;
    let mut engine = machine.open_with(options);
    assert_eq!(engine.events(), 50);
    assert!(matches!(
        engine.try_put(&bodies("f", 0..1)),
        Err(CommitError::Refused(RefusedReason::Full { events: 50, capacity: 10 }))
    ));
    assert_eq!(engine.drain(), bodies("e", 0..50));
    engine.put(&bodies("f", 0..1));
}

#[test]
fn an_opening_without_any_event_and_many_in_a_row_keep_everything() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..5));
    drop(engine);
    for round in 0..12 {
        let mut engine = machine.open();
        engine.put(&bodies(&format!("r{round}"), 0..1));
        assert_eq!(engine.events(), 6 + round);
        if round % 2 == 0 {
            engine.channel.close().expect("sealed");
        }
    }
    let mut expected = bodies("e", 0..5);
    expected.extend((0..12).flat_map(|r| bodies(&format!("r{r}"), 0..1)));
    assert_eq!(sorted(machine.reopened()), sorted(expected));
}

#[test]
fn the_counts_add_up() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..30));
    engine.take(12);
    let mut take = engine.begin_take();
    engine.lend(&mut *take, 5).expect("lent");
    let status = engine.channel.status();
    assert_eq!((status.put, status.taken, status.events), (30, 12, 18));
    take.rollback();
    assert_eq!(engine.channel.status().events, 18);
}

/// Larger than what a scan searches after the last whole block, in segments as an agent has them.
#[test]
fn transactions_of_many_mebibytes_survive_failed_writes_and_power_cuts() {
    for direct in [true, false] {
        let machine = Machine::with(1, SimOptions { direct, ..SimOptions::new(1) });
        let mut options = machine.options();
        options.segment_bytes = millpond::internal::base::limits::SEGMENT_BYTES_DEFAULT;
        let mut engine = machine.open_with(options);
        let mut all = bodies("before", 0..1);
        engine.put(&all.clone());
        for round in 0..3 {
            if round == 1 {
                machine
                    .disk
                    .fail(Fault::next(FaultTarget::Submit, "segment").effect(FaultEffect::Part));
            }
            for batch in
                [large(&format!("big{round}"), 0..6, 1 << 20), bodies(&format!("e{round}"), 0..2)]
            {
                engine.put(&batch);
                all.extend(batch);
            }
        }
        assert_eq!(engine.channel.log_counts().failed_writes, 1);
        assert!(machine.after_power_cut(1).reopened() == all, "all there, in order: {direct}");
        assert!(engine.drain() == all, "all there, in order: {direct}");
    }
}
