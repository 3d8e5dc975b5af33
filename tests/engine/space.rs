//! Section 7: a full disk, and reuse of segments.

use crate::rig::{Commit, Engine, Machine, bodies, checkpoint_dir, data_dir, large};
use crate::tap::{Call, TappedDisk};
use millpond::internal::disk::{Directory, Disk};
use millpond::{Channel, CommitError, RefusedReason, SourceOffsetError};
use millpond_sim::disk::{Fault, FaultEffect, FaultTarget, SimOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn directory(machine: &Machine, stripe: usize) -> Arc<dyn Directory> {
    machine.disk.open_dir(&data_dir(stripe), false).expect("there")
}

/// Puts until the disk is full; returns what was committed and the refusal.
fn fill(engine: &mut Engine) -> (Vec<String>, CommitError) {
    let mut all = Vec::new();
    for round in 0..1000 {
        let batch = large(&format!("r{round}"), 0..10, 3000);
        match engine.try_put(&batch) {
            Ok(()) => all.extend(batch),
            Err(error) => return (all, error),
        }
    }
    panic!("the disk never gets full");
}

fn small_disk(stripes: usize) -> Machine {
    let machine = Machine::new(stripes);
    drop(machine.open());
    for stripe in 0..stripes {
        machine.disk.set_capacity(&data_dir(stripe), 3 << 20).expect("there");
    }
    machine
}

#[test]
fn on_a_full_disk_puts_are_refused_takes_go_on_and_puts_resume() {
    for stripes in [1, 2] {
        let machine = small_disk(stripes);
        let mut engine = machine.open();
        let (all, refused) = fill(&mut engine);
        assert!(matches!(refused, CommitError::Refused(RefusedReason::NoSpace(_))), "{refused}");
        assert!(refused.to_string().contains("/c/data"), "{refused}");
        let fault = engine.channel.status().fault.expect("reported").to_string();
        assert!(fault.contains("/c/data"), "{fault}");
        // Single takes: each acknowledgement would take a block of its own.
        let mut taken = Vec::new();
        for _ in 0..all.len() {
            taken.extend(engine.try_take(1).unwrap_or_else(|e| panic!("{stripes} stripes: {e}")));
        }
        assert_eq!(taken, all);
        for seed in 0..3 {
            assert_eq!(machine.after_power_cut(seed).reopened(), Vec::<String>::new());
        }
        // Within a second of space being there again.
        engine.pass(Duration::from_secs(1));
        engine.put(&large("again", 0..10, 3000));
        assert_eq!(engine.channel.status().fault, None);
        assert_eq!(engine.drain().len(), 10);
    }
}

#[test]
fn a_large_put_refused_for_want_of_space_refuses_no_other() {
    let machine = small_disk(1);
    let mut engine = machine.open();
    engine.put(&bodies("a", 0..1));
    let refused = engine.try_put(&large("big", 0..3, 1 << 20)).expect_err("too large for the disk");
    assert!(matches!(refused, CommitError::Refused(RefusedReason::NoSpace(_))), "{refused}");
    assert!(refused.to_string().contains("/c/data0"), "{refused}");
    engine.put(&bodies("b", 0..1));
    // It is requested again and again; the other puts use up one segment after the other.
    let rolls = engine.channel.log_counts().rolls;
    for round in 0..12 {
        let asks = engine.begin_put(&large("big", 0..3, 1 << 20));
        engine.put(&large(&format!("r{round}"), 0..10, 5000));
        drop(asks);
    }
    assert!(engine.channel.log_counts().rolls > rolls + 1, "further segments were made");
    engine.pass(Duration::from_secs(61));
    assert!(!engine.channel.status().refuses());
    assert_eq!(engine.drain().len(), 122);
    // With room it is accepted.
    machine.disk.set_capacity(&data_dir(0), 64 << 20).expect("there");
    engine.pass(Duration::from_secs(1));
    engine.put(&large("big", 0..3, 1 << 20));
    engine.pass(Duration::from_secs(61));
    assert_eq!(engine.channel.status().fault, None);
}

#[test]
fn acknowledgements_on_a_full_disk_go_into_slots_and_survive() {
    let machine = small_disk(1);
    let mut engine = machine.open();
    let (all, _) = fill(&mut engine);
    let mut taken = 0;
    while engine.channel.log_counts().slot_acks == 0 {
        taken += engine.take(1).len();
        assert!(taken < all.len(), "no acknowledgement ever lacked room in the log");
    }
    for i in 0..5 {
        taken += engine.take(1).len();
        assert_eq!(machine.after_power_cut(i).reopened(), all[taken..]);
        assert_eq!(machine.after_kill(i).reopened(), all[taken..]);
    }
}

#[test]
fn a_full_disk_keeps_everything_over_reopenings() {
    let machine = small_disk(2);
    let mut engine = machine.open();
    let (mut all, _) = fill(&mut engine);
    drop(engine);
    for _ in 0..6 {
        let mut engine = machine.open();
        assert_eq!(engine.events(), all.len() as u64);
        assert_eq!(engine.take(2), all[..2]);
        all.drain(..2);
    }
    assert_eq!(machine.reopened(), all);
}

#[test]
fn space_that_returns_is_noticed_without_any_take() {
    let machine = small_disk(1);
    let mut engine = machine.open();
    let (mut all, _) = fill(&mut engine);
    machine.disk.set_capacity(&data_dir(0), 64 << 20).expect("there");
    engine.pass(Duration::from_secs(1));
    let batch = large("after", 0..10, 3000);
    engine.put(&batch);
    all.extend(batch);
    assert_eq!(engine.drain(), all);
}

#[test]
fn below_minimum_required_space_puts_wait_takes_go_on_and_puts_resume() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    options.minimum_required_space = 1 << 20;
    let mut engine = machine.open_with(options);
    let batch = large("e", 0..10, 100);
    engine.put(&batch);
    let used = 8 << 20;
    machine.disk.set_capacity(&data_dir(0), used).expect("there");
    let space = directory(&machine, 0).space().expect("told").available_bytes;
    machine.disk.set_capacity(&data_dir(0), used - space + (1 << 19)).expect("there");
    engine.pass(Duration::from_secs(2));
    let refused = engine.try_put(&batch).expect_err("too little space");
    assert!(refused.to_string().contains("minimum_required_space"), "{refused}");
    assert_eq!(engine.drain(), batch);
    machine.disk.set_capacity(&data_dir(0), 64 << 20).expect("there");
    engine.pass(Duration::from_secs(1));
    engine.put(&batch);
}

#[test]
fn puts_go_on_within_a_second_of_space_coming_back() {
    for minimum_required_space in [0, 1 << 20] {
        let machine = small_disk(2);
        let options = || {
            let mut options = machine.options();
            options.minimum_required_space = minimum_required_space;
            options
        };
        let mut engine = machine.open_with(options());
        fill(&mut engine);
        // At the worst, space comes back just after maintenance has checked.
        let mut nap = engine.stepper.keep();
        engine.stepper.run_tasks();
        for stripe in 0..2 {
            machine.disk.set_capacity(&data_dir(stripe), 64 << 20).expect("there");
        }
        let mut passed = Duration::ZERO;
        while engine.channel.status().fault.is_some() {
            // A thread may be woken slightly early by its own clock.
            let early = nap.saturating_sub(Duration::from_micros(50));
            engine.clock.advance(early);
            passed += early;
            assert!(passed < Duration::from_millis(900), "still waiting after {passed:?}");
            nap = engine.stepper.keep();
            engine.stepper.run_tasks();
        }
        engine.put(&large("again", 0..10, 3000));
    }
}

#[test]
fn a_full_checkpoint_directory_stops_nothing() {
    let machine = Machine::new(2);
    drop(machine.open());
    machine.disk.set_capacity(&checkpoint_dir(), 0).expect("there");
    let mut engine = machine.open();
    let batch = large("e", 0..10, 100);
    engine.put(&batch);
    engine.channel.checkpoint().expect("preallocated");
    engine.channel.close().expect("sealed");
    drop(engine);
    assert_eq!(machine.reopened(), batch);
}

fn segment_files(machine: &Machine) -> usize {
    let entries = directory(machine, 0).list().expect("listed");
    entries.iter().filter(|e| millpond::internal::layout::segment_slot(&e.name).is_some()).count()
}

#[test]
fn a_segment_whose_making_failed_gives_its_space_back() {
    for on in [FaultTarget::Write, FaultTarget::Sync] {
        let machine = Machine::new(1);
        let mut engine = machine.open();
        engine.run_pending();
        let ready = segment_files(&machine);
        machine.disk.fail(Fault::next(on, "segment").times(4).kind(ErrorKind::StorageFull));
        while engine.channel.log_counts().rolls < 2 {
            engine.put(&large("e", 0..10, 3000));
            assert!(segment_files(&machine) <= ready, "no file of a failed attempt is left");
        }
        machine.disk.clear_faults();
        for _ in 0..30 {
            engine.put(&large("f", 0..10, 3000));
        }
        assert!(segment_files(&machine) > ready, "the backlog has its segments");
    }
}

/// On a full disk a write fails: the segment that puts may not use is there for the new epoch.
#[test]
fn a_segment_is_kept_back_for_the_next_epoch_on_a_full_disk() {
    let machine = small_disk(1);
    let mut engine = machine.open();
    let (all, _) = fill(&mut engine);
    machine.disk.fail(Fault::next(FaultTarget::Submit, "segment"));
    assert_eq!(engine.take(5), all[..5], "committed in the reserved segment");
    assert_eq!(engine.channel.log_counts().failed_writes, 1);
    assert_eq!(machine.after_power_cut(1).reopened(), all[5..]);
}

/// Both the write and the one into the reserved segment fail, on the only stripe. If it waited for
/// a further segment, which a full disk does not provide, nothing could be taken and no room be
/// made.
#[test]
fn two_writes_that_fail_on_a_full_disk_leave_a_doubt_that_ends_by_itself() {
    for effect in [FaultEffect::Nothing, FaultEffect::Part, FaultEffect::All, FaultEffect::Later] {
        let machine = small_disk(1);
        let mut engine = machine.open();
        let (mut all, _) = fill(&mut engine);
        // A segment is free for puts again; none can be made of the disk's space.
        while engine.try_put(&bodies("small", 0..1)).is_err() {
            assert_eq!(engine.take(1), [all.remove(0)]);
        }
        all.extend(bodies("small", 0..1));
        machine.disk.fail(Fault::next(FaultTarget::Submit, "segment").times(2).effect(effect));
        let commit = engine.begin_put_at(&bodies("doubt", 0..1), "tail", "1");
        assert!(matches!(engine.end(commit), Err(CommitError::InDoubt(_))), "{effect:?}");
        assert_eq!(engine.channel.log_counts().failed_writes, 2);
        machine.disk.clear_faults();
        assert!(matches!(
            engine.channel.source_offset("tail"),
            Err(SourceOffsetError::Unsettled { .. })
        ));
        engine.pass(Duration::from_secs(30));
        assert_eq!(engine.channel.source_offset("tail"), Ok(None), "{effect:?}: durably void");
        for seed in 0..4 {
            assert_eq!(machine.after_power_cut(seed).reopened(), all, "{effect:?}");
        }
        let commit = engine.begin_put_at(&bodies("doubt", 0..1), "tail", "1");
        engine.end(commit).expect("in the reserved segment");
        all.extend(bodies("doubt", 0..1));
        assert_eq!(engine.drain(), all);
        for seed in 0..4 {
            assert_eq!(machine.after_power_cut(seed).reopened(), Vec::<String>::new());
        }
    }
}

#[test]
fn the_log_is_used_again_and_its_directory_does_not_grow() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let size = |machine: &Machine| -> u64 {
        (0..2).flat_map(|s| directory(machine, s).list().expect("listed")).map(|e| e.len).sum()
    };
    let mut largest = 0;
    for round in 0..200 {
        engine.put(&large(&format!("r{round}"), 0..10, 3000));
        engine.drain();
        largest = largest.max(size(&machine));
    }
    let counts = engine.channel.log_counts();
    assert!(counts.rolls > 15 && counts.recycled > 15, "{counts:?}");
    assert!(largest < 2 * (6 * 256 * 1024 + 1024 * 1024), "{largest} bytes");
}

#[test]
fn no_name_and_no_length_changes_on_the_way_of_a_commit() {
    let machine = Machine::with(1, SimOptions { pending: false, ..SimOptions::new(1) });
    let mut engine = machine.open();
    engine.run_pending();
    let before = machine.disk.trace().len();
    for i in 0..30 {
        let mut commit = engine.begin_put(&large(&format!("{i}"), 0..5, 2000));
        while let Some(mut write) = engine.stepper.start_write(0) {
            let result = write.finish();
            engine.stepper.report(write, result);
        }
        assert_eq!(commit.poll(), Some(Ok(())));
        if i % 8 == 7 {
            // Maintenance works between commits only.
            break;
        }
    }
    let trace = machine.disk.trace();
    let kinds: Vec<&String> = trace[before..].iter().filter(|l| !l.contains("Submit")).collect();
    assert!(kinds.is_empty(), "{kinds:?}");
}

#[test]
fn while_writes_run_segments_are_made_only_when_half_of_them_are_used_up() {
    let machine = Machine::new(1);
    let mut options = machine.options();
    options.ready_segments = 6;
    let mut engine = machine.open_with(options);
    engine.run_pending();
    assert_eq!(engine.channel.ready_segments(), 6);
    let mut ready = Vec::new();
    for round in 0..10 {
        // Each takes most of a segment.
        let mut commit = engine.begin_put(&large(&format!("r{round}"), 0..10, 20_000));
        while let Some(mut write) = engine.stepper.start_write(0) {
            engine.stepper.keep();
            ready.push(engine.channel.ready_segments());
            let result = write.finish();
            engine.stepper.report(write, result);
        }
        assert_eq!(commit.poll(), Some(Ok(())), "no put waits for a segment");
    }
    assert_eq!(ready.iter().min(), Some(&3), "{ready:?}");
    assert_eq!(ready.last(), Some(&3), "{ready:?}");
    engine.run_pending();
    assert_eq!(engine.channel.ready_segments(), 6, "made in the first idle period");
}

/// The zeroes of segments are written in pieces of this size or a multiple; no block of this test
/// is as long.
const PIECE: usize = 256 * 1024;

/// Returns the numbers of files for which space was preallocated, and of zeroes written, in pieces
/// of [`PIECE`] bytes.
fn made(trace: &Mutex<Vec<(Call, usize)>>) -> (usize, usize) {
    let trace = trace.lock().expect("no panic");
    let files = trace.iter().filter(|call| **call == (Call::Allocate, 4 * PIECE)).count();
    let zeroes = trace.iter().filter(|(call, bytes)| *call == Call::Submit && *bytes >= PIECE);
    (files, zeroes.map(|(_, bytes)| bytes / PIECE).sum())
}

/// Writes for a commit until it ends; returns the commit when nothing can be written for it.
fn unless_it_waits(engine: &Engine, mut commit: Commit) -> Option<Commit> {
    while let Some(mut write) = engine.stepper.start_write(0) {
        let result = write.finish();
        engine.stepper.report(write, result);
        if let Some(result) = commit.poll() {
            assert_eq!(result, Ok(()));
            return None;
        }
    }
    Some(commit)
}

#[test]
fn zeroes_are_written_into_segments_at_leisure_and_not_while_puts_wait_for_one() {
    let machine = Machine::with(1, SimOptions { allocates: true, ..SimOptions::new(1) });
    let trace = Arc::new(Mutex::new(Vec::new()));
    let mine = Arc::clone(&trace);
    let note = move |call, _: &Path, bytes| mine.lock().expect("no panic").push((call, bytes));
    let disk = TappedDisk::new(Arc::new(machine.disk.clone()), note);
    let mut options = machine.options_on(Arc::new(disk));
    options.segment_bytes = 4 * PIECE as u64;
    let mut engine = machine.open_with(options);
    engine.run_pending();
    assert_eq!(
        (engine.channel.ready_segments(), made(&trace)),
        (2, (3, 12)),
        "with the first all are written"
    );
    // Maintenance does not run until the puts have used up all three.
    let mut all = Vec::new();
    let waits = loop {
        let batch = large(&format!("b{}", all.len()), 0..10, 10_000);
        let commit = engine.begin_put(&batch);
        all.extend(batch);
        if let Some(waits) = unless_it_waits(&engine, commit) {
            break waits;
        }
    };
    assert_eq!(made(&trace), (3, 12));
    engine.stepper.keep();
    assert_eq!(made(&trace), (4, 12), "the one that the put waits for is used as it is");
    assert_eq!(engine.end(waits), Ok(()));
    assert!(machine.after_power_cut(3).reopened() == all, "all there, in order");
}

#[test]
fn a_deleted_segment_loses_its_name_for_good_and_then_its_space_in_pieces() {
    let machine = Machine::new(1);
    let (seen, disk) = (Arc::new(Mutex::new(Vec::new())), machine.disk.clone());
    let mine = Arc::clone(&seen);
    let note = move |call, path: &Path, len: usize| {
        if call == Call::Shorten {
            let directory = disk.open_dir(&data_dir(0), false).expect("there");
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            assert!(!directory.holds(name).expect("can tell"), "{name} can still be opened");
            mine.lock().expect("no panic").push((name.to_owned(), len));
        }
    };
    let mut options =
        machine.options_on(Arc::new(TappedDisk::new(Arc::new(machine.disk.clone()), note)));
    options.segment_bytes = 3 << 20;
    let mut engine = machine.open_with(options);
    while segments(&machine) < 8 {
        engine.put(&large("b", 0..10, 20_000));
    }
    assert!(seen.lock().expect("no panic").is_empty(), "all of them are in use");
    engine.drain();
    engine.run_pending();
    let seen = seen.lock().expect("no panic");
    let pieces: Vec<_> = seen.chunk_by(|a, b| a.0 == b.0).collect();
    assert!(!pieces.is_empty(), "none was deleted");
    for pieces in pieces {
        let lens: Vec<_> = pieces.iter().map(|(_, len)| *len).collect();
        assert_eq!(lens, [2 << 20, 1 << 20], "{}", pieces[0].0);
    }
}

/// A large transaction leaves a large segment.
#[test]
fn free_segments_are_kept_by_their_bytes_not_only_by_their_number() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    for round in 0..4 {
        engine.put(&large(&format!("big{round}"), 0..3, 1 << 20));
        engine.drain();
    }
    for round in 0..40 {
        engine.put(&large(&format!("r{round}"), 0..10, 3000));
        engine.drain();
        engine.pass(Duration::from_secs(11));
    }
    let used = directory(&machine, 0).list().expect("there").into_iter();
    let used = used.filter(|entry| entry.name.starts_with("segment-"));
    let used: usize = used
        .map(|entry| machine.disk.contents(&data_dir(0).join(entry.name)).expect("there").len())
        .sum();
    assert!(used < 8 * 256 * 1024, "{used} bytes for an empty channel");
}

fn segments(machine: &Machine) -> usize {
    let entries = directory(machine, 0).list().expect("there");
    entries.iter().filter(|entry| entry.name.starts_with("segment-")).count()
}
