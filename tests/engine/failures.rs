//! Section 7: writes that fail or hang, and disks that die.

use crate::rig::{Commit, Engine, Machine, WRITE_TIMEOUT, bodies, large, sorted};
use millpond::{Channel, CommitError};
use millpond_sim::disk::{Completion, Fault, FaultEffect, FaultTarget, Loss, SimOptions};
use std::io::Error;
use std::time::Duration;

/// Fails the next write of events on a stripe of two, with each effect it can have, and checks what
/// is delivered now, and after a power cut.
#[test]
fn frames_of_a_failed_write_commit_on_the_other_stripe_once() {
    let effects = [FaultEffect::Nothing, FaultEffect::Part, FaultEffect::All, FaultEffect::Later];
    for (seed, effect) in effects.into_iter().enumerate() {
        for stripe in ["data0", "data1"] {
            let machine = Machine::new(2);
            let mut engine = machine.open();
            engine.put(&bodies("before", 0..3));
            engine.put(&bodies("also", 0..3));
            machine.disk.fail(Fault::next(FaultTarget::Submit, stripe).effect(effect));
            let commits: Vec<Commit> =
                (0..6).map(|i| engine.begin_put(&bodies(&format!("tx{i}"), 0..4))).collect();
            for commit in commits {
                engine.end(commit).unwrap_or_else(|e| panic!("{effect:?} on {stripe}: {e}"));
            }
            let mut expected = [bodies("before", 0..3), bodies("also", 0..3)].concat();
            expected.extend((0..6).flat_map(|i| bodies(&format!("tx{i}"), 0..4)));
            let cut = machine.after_power_cut(seed as u64).reopened();
            assert_eq!(sorted(cut), sorted(expected.clone()), "{effect:?} on {stripe}, cut");
            engine.pass(Duration::from_secs(1));
            assert_eq!(engine.events(), expected.len() as u64, "{effect:?}: room is accounted");
            assert_eq!(sorted(engine.drain()), sorted(expected), "{effect:?} on {stripe}, alive");
            assert_eq!(engine.events(), 0);
            assert_eq!(machine.after_power_cut(9).reopened(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_failed_write_on_the_only_stripe_goes_on_in_a_fresh_segment() {
    for effect in [FaultEffect::Nothing, FaultEffect::Part, FaultEffect::All, FaultEffect::Later] {
        let machine = Machine::new(1);
        let mut engine = machine.open();
        engine.run_pending();
        engine.put(&bodies("before", 0..3));
        machine.disk.fail(Fault::next(FaultTarget::Submit, "data0").effect(effect));
        engine.put(&bodies("during", 0..3));
        engine.put(&bodies("after", 0..3));
        let expected =
            [bodies("before", 0..3), bodies("during", 0..3), bodies("after", 0..3)].concat();
        for seed in 0..4 {
            assert_eq!(machine.after_power_cut(seed).reopened(), expected, "{effect:?}");
        }
        assert_eq!(engine.drain(), expected, "{effect:?}");
    }
}

/// Through the page cache, a file handle that reported a failed sync reports no later failure.
#[test]
fn a_segment_whose_sync_failed_is_opened_anew_before_its_next_use() {
    let machine = Machine::with(1, SimOptions { direct: false, ..SimOptions::new(1) });
    let mut engine = machine.open();
    engine.put(&bodies("a", 0..1));
    machine.disk.fail(Fault::next(FaultTarget::Submit, "segment"));
    for round in 0..120 {
        engine.put(&large(&format!("r{round}"), 0..10, 3000));
        engine.drain();
    }
    let counts = engine.channel.log_counts();
    assert!(counts.rolls > 10 && counts.recycled > 10, "{counts:?}");
    assert_eq!(counts.failed_writes, 1);
}

#[test]
fn frames_of_a_failed_block_keep_their_order_where_they_move_to() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    engine.put(&bodies("first", 0..1));
    machine.disk.fail(Fault::next(FaultTarget::Submit, "data").times(1));
    let commits: Vec<Commit> =
        (0..20).map(|i| engine.begin_put(&bodies(&format!("tx{i:02}"), 0..5))).collect();
    for commit in commits {
        engine.end(commit).expect("committed on the other stripe");
    }
    engine.pass(Duration::from_secs(1));
    let all = engine.drain();
    for i in 0..20 {
        let at = all.iter().position(|e| *e == format!("tx{i:02}-0")).expect("is there");
        assert_eq!(all[at..at + 5], bodies(&format!("tx{i:02}"), 0..5), "contiguous, in order");
    }
}

#[test]
fn an_acknowledgement_whose_write_failed_is_committed_from_the_other_stripe() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for i in 0..4 {
        engine.put(&bodies(&format!("tx{i}"), 0..5));
    }
    machine.disk.fail(Fault::next(FaultTarget::Submit, "data0").effect(FaultEffect::Later));
    assert_eq!(engine.take(20).len(), 20);
    engine.pass(Duration::from_secs(1));
    assert_eq!(engine.events(), 0, "room is released once, whichever copy failed");
    assert_eq!(engine.channel.status().out_of_reach, 0);
    for seed in 0..4 {
        assert_eq!(machine.after_power_cut(seed).reopened(), Vec::<String>::new());
    }
}

#[test]
fn a_dead_disk_is_suspended_and_rejoins_without_loss_or_repeats() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for i in 0..10 {
        engine.put(&bodies(&format!("early{i}"), 0..2));
    }
    machine.disk.fail(Fault::dead("data1"));
    for i in 0..10 {
        engine.put(&bodies(&format!("while{i}"), 0..2));
    }
    let status = engine.channel.status();
    assert!(status.out_of_reach > 0, "{status:?}");
    assert_eq!(
        status.events + status.out_of_reach,
        40,
        "events waiting on it left the capacity count"
    );
    let fault = status.fault.expect("the suspended stripe is reported").to_string();
    assert!(fault.contains("data1"), "{fault}");
    let reached = engine.drain();
    assert_eq!(reached.len() as u64, status.events);
    let still = engine.channel.status();
    assert_eq!((still.events, still.out_of_reach), (0, status.out_of_reach));
    // It stays dead for long: no retry loses or repeats anything.
    for _ in 0..20 {
        engine.pass(Duration::from_secs(7));
    }
    machine.disk.clear_faults();
    engine.pass(Duration::from_secs(40));
    let back = engine.channel.status();
    assert_eq!((back.events, back.out_of_reach), (status.out_of_reach, 0));
    assert_eq!(back.fault, None);
    let rest = engine.drain();
    let early: Vec<String> = (0..10).flat_map(|i| bodies(&format!("early{i}"), 0..2)).collect();
    let during: Vec<String> = (0..10).flat_map(|i| bodies(&format!("while{i}"), 0..2)).collect();
    assert_eq!(sorted([reached, rest].concat()), sorted([early, during].concat()));
    assert_eq!(machine.after_power_cut(3).reopened(), Vec::<String>::new());
}

#[test]
fn the_last_disk_to_die_leaves_commits_in_doubt_and_the_channel_alive() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    engine.put(&bodies("safe", 0..3));
    machine.disk.fail(Fault::dead("data"));
    let result = engine.try_put(&bodies("doubt", 0..3));
    assert!(matches!(result, Err(CommitError::InDoubt(_))), "{result:?}");
    let refused = engine.try_put(&bodies("refused", 0..3)).expect_err("no stripe is left");
    assert!(refused.to_string().contains("no data directory can be written"), "{refused}");
    machine.disk.clear_faults();
    engine.pass(Duration::from_secs(60));
    engine.put(&bodies("later", 0..3));
    let all = engine.drain();
    assert_eq!(sorted(all), sorted([bodies("safe", 0..3), bodies("later", 0..3)].concat()));
    assert_eq!(machine.after_power_cut(1).reopened(), Vec::<String>::new());
}

#[test]
fn a_take_in_doubt_stays_lent_until_a_fence_is_durable() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..5));
    let mut take = engine.begin_take();
    assert_eq!(engine.lend(&mut *take, 5).expect("lent").len(), 5);
    machine.disk.fail(Fault::dead("data"));
    let commit = Commit::begin(take.commit_async());
    let result = engine.end(commit);
    assert!(matches!(result, Err(CommitError::InDoubt(_))), "{result:?}");
    let mut other = engine.begin_take();
    assert_eq!(engine.lend(&mut *other, 5), Ok(vec![]), "it is in doubt, not rolled back");
    other.rollback();
    machine.disk.clear_faults();
    engine.pass(Duration::from_secs(60));
    assert_eq!(engine.drain(), bodies("e", 0..5), "the new epoch settles it");
    assert_eq!(engine.events(), 0);
}

/// Resumes only stripe `back`. Returns what is lent then, and not before a fence of the other is
/// durable.
fn lent_when_one_is_back(machine: &Machine, engine: &mut Engine, back: usize) -> Vec<String> {
    machine.disk.clear_faults();
    machine.disk.fail(Fault::dead(&format!("data{}", 1 - back)));
    engine.clock.advance(Duration::from_secs(60));
    engine.stepper.keep();
    // The first write begins the stripe's new epoch, the second carries the other's fence.
    for step in 0..2 {
        let mut other = engine.begin_take();
        let events = other.take_async(10);
        drop(events);
        let mut future = other.take_async(10);
        let poll =
            future.as_mut().poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(poll.is_pending(), "in doubt before write {step} of stripe {back}");
        drop(future);
        let mut write = engine.stepper.start_write(back).expect("a write may start");
        let result = write.finish();
        engine.stepper.report(write, result);
    }
    assert!(engine.stepper.start_write(back).is_none(), "one fence is enough");
    let mut other = engine.begin_take();
    let lent = engine.lend(&mut *other, 10).expect("readable");
    other.rollback();
    lent
}

/// Both disks die, one comes back: what was in doubt on the other is lent again only when the
/// returned stripe durably records that it is void.
#[test]
fn a_take_in_doubt_on_a_dead_disk_is_fenced_by_the_first_one_that_is_back() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for i in 0..4 {
        engine.put(&bodies(&format!("tx{i}"), 0..1));
    }
    let mut take = engine.begin_take();
    assert_eq!(engine.lend(&mut *take, 4).expect("lent").len(), 4);
    machine.disk.fail(Fault::dead("data0"));
    for i in 0..4 {
        engine.put(&bodies(&format!("more{i}"), 0..1));
    }
    let held = engine.begin_take();
    machine.disk.fail(Fault::dead("data1"));
    let commit = Commit::begin(take.commit_async());
    let result = engine.end(commit);
    assert!(matches!(result, Err(CommitError::InDoubt(_))), "{result:?}");
    drop(held);
    let lent = lent_when_one_is_back(&machine, &mut engine, 0);
    assert!(!lent.is_empty() && lent.iter().all(|e| e.starts_with("tx")), "{lent:?}");
    machine.disk.clear_faults();
    engine.pass(Duration::from_secs(60));
    let mut expected: Vec<String> = (0..4).map(|i| format!("tx{i}-0")).collect();
    expected.extend((0..4).map(|i| format!("more{i}-0")));
    assert_eq!(sorted(engine.drain()), sorted(expected));
}

/// An acknowledgement that moved has a copy on each of two disks when it is in doubt. If its events
/// were lent again when only the second was void, they would be lost to the new taker if the first
/// one arrived.
#[test]
fn a_take_in_doubt_is_lent_again_when_both_acknowledgements_are_void() {
    for back in 0..2 {
        let machine = Machine::new(2);
        let mut engine = machine.open();
        for i in 0..4 {
            engine.put(&bodies(&format!("tx{i}"), 0..1));
        }
        let mut take = engine.begin_take();
        assert_eq!(engine.lend(&mut *take, 4).expect("lent").len(), 4);
        machine.disk.fail(Fault::dead("data").effect(FaultEffect::Later));
        let commit = Commit::begin(take.commit_async());
        let result = engine.end(commit);
        assert!(matches!(result, Err(CommitError::InDoubt(_))), "{result:?}");
        let lent = lent_when_one_is_back(&machine, &mut engine, back);
        assert!(!lent.is_empty(), "stripe {back} can be read");
        for seed in 0..8 {
            let cut = machine.after_power_cut(seed);
            cut.disk.clear_faults();
            let left = cut.reopened();
            assert!(lent.iter().all(|event| left.contains(event)), "cut {seed}: {left:?}");
        }
        machine.disk.clear_faults();
        engine.pass(Duration::from_secs(60));
        let all: Vec<String> = (0..4).map(|i| format!("tx{i}-0")).collect();
        assert_eq!(sorted(engine.drain()), all);
    }
}

/// The write is started and never ends; the clock passes `write_timeout`.
#[test]
fn a_hung_write_is_given_up_and_its_late_landing_changes_nothing() {
    for stripes in [1, 2] {
        let machine =
            Machine::with(stripes, SimOptions { pending: true, ..SimOptions::new(stripes as u64) });
        let mut engine = machine.open();
        engine.run_pending();
        let mut commit = engine.begin_put(&bodies("slow", 0..3));
        let hung: Vec<_> =
            (0..stripes).filter_map(|stripe| engine.stepper.start_write(stripe)).collect();
        assert_eq!(hung.len(), 1, "one block, one write");
        assert!(commit.poll().is_none());
        engine.pass(WRITE_TIMEOUT + Duration::from_secs(2));
        engine.end(commit).expect("committed elsewhere, without waiting for the write");
        engine.put(&bodies("next", 0..3));
        let expected = [bodies("slow", 0..3), bodies("next", 0..3)].concat();
        assert_eq!(sorted(machine.after_power_cut(5).reopened()), sorted(expected.clone()));
        // Now it completes after all, and is reported.
        for mut write in hung {
            let token = write.token().expect("it is pending");
            machine.disk.complete(token, Completion::Done);
            let result = write.finish();
            engine.stepper.report(write, result);
        }
        engine.run_pending();
        for seed in 0..4 {
            let seen = machine.after_power_cut(seed).reopened();
            assert_eq!(sorted(seen), sorted(expected.clone()), "nothing is doubled");
        }
        engine.pass(Duration::from_secs(60));
        assert_eq!(sorted(engine.drain()), sorted(expected));
        assert_eq!(engine.channel.status().out_of_reach, 0);
    }
}

#[test]
fn a_segment_is_not_used_again_while_a_write_that_hangs_may_reach_it() {
    let machine = Machine::with(1, SimOptions { pending: true, ..SimOptions::new(3) });
    let mut engine = machine.open();
    engine.run_pending();
    let mut commit = engine.begin_put(&bodies("slow", 0..3));
    let mut hung = engine.stepper.start_write(0).expect("it may start");
    assert!(commit.poll().is_none());
    engine.pass(WRITE_TIMEOUT + Duration::from_secs(2));
    engine.end(commit).expect("moved to a fresh segment");
    // Everything is taken and the log rolls often enough to use every free segment.
    for round in 0..20 {
        engine.put(&large(&format!("r{round}"), 0..20, 4000));
        engine.drain();
    }
    assert!(engine.channel.log_counts().recycled > 4);
    // The simulated disk forbids two writes in flight at one place: it would have panicked.
    machine.disk.complete(hung.token().expect("pending"), Completion::Done);
    let result = hung.finish();
    engine.stepper.report(hung, result);
    engine.put(&bodies("end", 0..2));
    assert_eq!(machine.after_power_cut(2).reopened(), bodies("end", 0..2));
}

#[test]
fn a_failed_sync_is_not_believed_the_second_time_either() {
    // Buffered storage: a write followed by a sync that fails once, drops the pages, and reports
    // the next sync as a success.
    for loss in [Loss::KeepsNew, Loss::RevertsToOld, Loss::DropsAtNextRead] {
        for stripes in [1, 2] {
            let options = SimOptions { direct: false, ..SimOptions::new(11) };
            let machine = Machine::with(stripes, options);
            let mut engine = machine.open();
            engine.run_pending();
            engine.put(&bodies("before", 0..3));
            machine
                .disk
                .fail(Fault::next(FaultTarget::Submit, "data").effect(FaultEffect::Lost(loss)));
            engine.put(&bodies("during", 0..3));
            engine.put(&bodies("after", 0..3));
            let expected =
                [bodies("before", 0..3), bodies("during", 0..3), bodies("after", 0..3)].concat();
            for seed in 0..6 {
                let seen = machine.after_power_cut(seed).reopened();
                assert_eq!(sorted(seen), sorted(expected.clone()), "{loss:?}, {stripes} stripes");
            }
        }
    }
}

#[test]
fn a_checkpoint_slot_whose_write_failed_is_opened_again_and_written_again() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..3));
    let path = "data0/checkpoint";
    machine.disk.fail(Fault::next(FaultTarget::Submit, path));
    machine.disk.fail(Fault::next(FaultTarget::Sync, path));
    let failed = engine.channel.checkpoint();
    assert!(failed.is_err(), "a stripe's own slot counts: {failed:?}");
    engine.channel.checkpoint().expect("written with the file opened again");
    let opened = machine.disk.trace().iter().filter(|l| l.contains(path)).count();
    assert!(opened > 0);
    let trace = machine.disk.trace();
    let last_fault = trace.iter().rposition(|l| l.contains(path) && l.contains("fault"));
    let reopened = trace.iter().rposition(|l| l.contains(path) && l.contains("Open"));
    assert!(reopened > last_fault, "opened again after the failure:\n{}", trace.join("\n"));
    assert_eq!(machine.after_power_cut(1).reopened(), bodies("e", 0..3));
}

/// A sector that cannot be written any more is in one of the two slots.
#[test]
fn a_checkpoint_slot_that_cannot_be_written_leaves_the_other_one() {
    let slot = millpond::internal::record::slot::CHECKPOINT_SLOT_BYTES as u64;
    for bad in ["data0/checkpoint", "c/checkpoint"] {
        let machine = Machine::new(1);
        let mut engine = machine.open();
        machine.disk.fail(Fault::next(FaultTarget::Submit, bad).below(slot).times(u64::MAX));
        for round in 0..40 {
            engine.put(&bodies(&format!("e{round}"), 0..1));
            let written = engine.channel.checkpoint().or_else(|_| engine.channel.checkpoint());
            written.expect("the other slot is written");
        }
        drop(engine);
        for seed in 0..3 {
            assert_eq!(machine.after_power_cut(seed).reopened().len(), 40);
        }
        for _ in 0..3 {
            let engine = machine.open();
            assert_eq!(engine.events(), 40, "an opening is not refused for it");
        }
    }
}

#[test]
fn a_large_write_has_the_time_that_a_slow_disk_needs_for_it() {
    let machine = Machine::with(1, SimOptions { pending: true, ..SimOptions::new(1) });
    let mut engine = machine.open();
    let batch = large("big", 0..24, 1 << 20);
    let mut commit = engine.begin_put(&batch);
    let mut write = loop {
        let _ = commit.poll();
        engine.stepper.keep();
        let Some(mut write) = engine.stepper.start_write(0) else { continue };
        if write.bytes() > 24 << 20 {
            break write;
        }
        let result = write.finish();
        engine.stepper.report(write, result);
    };
    // 24 MiB at 1 MiB per second, in addition to the time in which any write returns.
    engine.clock.advance(WRITE_TIMEOUT + Duration::from_secs(20));
    engine.stepper.keep();
    assert_eq!(engine.channel.log_counts().failed_writes, 0, "it only takes its time");
    assert!(commit.poll().is_none());
    engine.clock.advance(Duration::from_secs(10));
    engine.stepper.keep();
    assert_eq!(engine.channel.log_counts().failed_writes, 1, "now it hangs");
    let result = write.finish();
    engine.stepper.report(write, result);
    engine.end(commit).expect("written again elsewhere");
    assert_eq!(engine.drain().len(), 24);
}

#[test]
fn a_failed_first_write_of_an_epoch_refuses_the_opening_without_loss() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..3));
    engine.put(&bodies("f", 0..3));
    drop(engine);
    for nth in 0..6 {
        machine.disk.fail(Fault::next(FaultTarget::Submit, "data").after(nth));
        let opened = machine.try_open(machine.options());
        machine.disk.clear_faults();
        drop(opened);
    }
    let all = machine.reopened();
    assert_eq!(sorted(all), sorted([bodies("e", 0..3), bodies("f", 0..3)].concat()));
}

/// Small writes succeed, larger ones fail for ever: the channel must not use up a segment for each
/// attempt.
#[test]
fn a_disk_that_keeps_failing_is_left_alone_for_longer_and_longer() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.run_pending();
    machine.disk.fail(Fault::next(FaultTarget::Submit, "seg").after(1).times(3));
    for i in 0..12 {
        let commit = engine.begin_put(&bodies(&format!("p{i}"), 0..2));
        let _ = engine.end(commit);
        machine.disk.clear_faults();
        machine.disk.fail(Fault::next(FaultTarget::Submit, "data0").after(1).times(3));
    }
    machine.disk.clear_faults();
    let failed = engine.channel.log_counts().failed_writes;
    assert!(failed < 60, "{failed} failed writes");
    engine.pass(Duration::from_secs(60));
    engine.put(&bodies("alive", 0..1));
    let all = engine.drain();
    assert_eq!(all.last(), bodies("alive", 0..1).last());
    let mut once = all.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), all.len(), "nothing twice");
}

#[test]
fn a_write_that_fails_names_the_file_and_the_place() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let commit = engine.begin_put(&bodies("e", 0..1));
    let write = (0..2).find_map(|s| engine.stepper.start_write(s)).expect("a write may start");
    engine.stepper.report(write, Err(Error::other("the platter is on fire")));
    let fault = engine.channel.status().fault.expect("reported").to_string();
    assert!(fault.contains("/c/data") && fault.contains("on fire"), "{fault}");
    engine.end(commit).expect("committed on the other stripe");
}
