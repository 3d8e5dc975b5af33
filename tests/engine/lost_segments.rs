//! Segment files that are removed while they are in use: later commits are safe, the rest is
//! counted.

use crate::rig::{Engine, Machine, bodies, checkpoint_dir, data_dir, large, sorted};
use crate::tap::{Call, TappedDisk};
use millpond::internal::disk::Disk;
use millpond::internal::layout::{CHECKPOINT_NAME, MEMBER_NAME};
use millpond::internal::record::block::BLOCK_HEADER_BYTES;
use millpond::internal::record::segment::SegmentHeader;
use millpond::internal::record::slot::{self, SlotKind};
use millpond::{Channel, FileChannel};
use millpond_sim::disk::SimOptions;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Returns the segments of stripe 0: those that hold blocks, and the free ones.
fn segments(machine: &Machine) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let is_segment = |file: &PathBuf| {
        file.parent() == Some(&data_dir(0)) && file.extension().is_some_and(|e| e == "log")
    };
    let is_used = |file: &PathBuf| {
        SegmentHeader::decode(&machine.disk.contents(file).expect("listed")).is_ok()
    };
    machine.disk.files().into_iter().filter(is_segment).partition(is_used)
}

fn remove(machine: &Machine, file: &Path) {
    machine.disk.put_in_place(file, None).expect("a directory of the channel");
}

/// Replaces a file as the restore of an old copy does: it is moved to another name, and `bytes` are
/// stored under its own.
fn replace(machine: &Machine, file: &Path, bytes: &[u8]) {
    machine.disk.move_away(file, "kept.log.bak").expect("it is there");
    machine.disk.put_in_place(file, Some(bytes)).expect("a directory of the channel");
}

/// How a segment is lost.
#[derive(Clone, Copy, Debug)]
enum Going {
    Removed,
    /// Nothing is stored under its name then.
    Moved,
    /// Zeroes are stored under its name then.
    Blank,
    /// An earlier copy of it is stored under its name then.
    Earlier,
}

#[test]
fn puts_after_a_lost_segment_was_noticed_survive_and_the_loss_is_counted() {
    use Going::{Blank, Earlier, Moved, Removed};
    for (stripes, taken, going) in [
        (1, 0, Removed),
        (2, 0, Removed),
        (1, 4, Removed),
        (2, 4, Removed),
        (1, 4, Moved),
        (1, 0, Blank),
        (2, 4, Blank),
        (1, 0, Earlier),
        (2, 4, Earlier),
    ] {
        let about = format!("{stripes} stripes, {taken} taken, {going:?}");
        let machine = Machine::new(stripes);
        let mut engine = machine.open();
        for i in 0..4 {
            engine.put(&bodies(&format!("before{i}"), 0..3));
        }
        let (used, _) = segments(&machine);
        assert_eq!(used.len(), 1, "{about}");
        let before = machine.disk.contents(&used[0]).expect("it is there");
        match going {
            Removed => remove(&machine, &used[0]),
            Moved => machine.disk.move_away(&used[0], "kept.log.bak").expect("it is there"),
            Blank => replace(&machine, &used[0], &vec![0; before.len()]),
            Earlier => replace(&machine, &used[0], &before),
        }
        engine.put(&bodies("unnoticed", 0..1));
        engine.pass(Duration::from_secs(1));
        let mut all = engine.take(taken);
        for i in 0..4 {
            engine.put(&bodies(&format!("after{i}"), 0..3));
        }
        drop(engine);
        let machine = machine.after_power_cut(3);
        let mut options = machine.options();
        options.open_without_missing_segments = true;
        let mut engine = machine.open_with(options);
        all.extend(engine.drain());
        // Some of it is reported at the opening, the rest when it is read.
        let lost = engine.channel.status().quarantined;
        let after: Vec<String> = (0..4).flat_map(|i| bodies(&format!("after{i}"), 0..3)).collect();
        assert!(after.iter().all(|body| all.contains(body)), "{about}: {all:?}");
        let count = all.len();
        let mut once = sorted(all);
        once.dedup();
        assert_eq!(once.len(), count, "{about}: an event came twice");
        assert_eq!(count as u64 + lost, 25, "{about}");
        // An earlier copy has all but what was written to the file since, which may be nothing.
        assert!(lost > 0 || matches!(going, Earlier), "{about}");
    }
}

/// Returns the newest record in a member file.
fn member_in(machine: &Machine, file: &Path) -> Option<Vec<u8>> {
    let bytes = machine.disk.contents(file).ok()?;
    let slots = bytes.chunks(SlotKind::Member.slot_bytes()).filter_map(|bytes| {
        let slot = slot::decode(SlotKind::Member, bytes).ok()?;
        Some((slot.generation, bytes[slot.payload].to_vec()))
    });
    slots.max().map(|(_, payload)| payload)
}

#[test]
fn a_member_file_that_alone_is_removed_is_written_again_and_puts_go_on() {
    for (stripes, directory) in [(1, data_dir(0)), (2, data_dir(1)), (2, checkpoint_dir())] {
        let about = format!("{stripes} stripes, {}", directory.display());
        let machine = Machine::new(stripes);
        let mut engine = machine.open();
        engine.put(&bodies("before", 0..3));
        let file = directory.join(MEMBER_NAME);
        let said = member_in(&machine, &file).expect("it is there");
        remove(&machine, &file);
        for round in 0..4 {
            engine.pass(Duration::from_secs(1));
            engine.put(&bodies(&format!("after{round}"), 0..3));
        }
        assert_eq!(engine.channel.status().fault, None, "{about}");
        drop(engine);
        let machine = machine.after_power_cut(3);
        assert_eq!(member_in(&machine, &file), Some(said), "{about}");
        assert_eq!(machine.reopened().len(), 15, "{about}");
    }
}

#[test]
fn a_member_file_that_goes_with_other_files_is_not_written_again() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.put(&bodies("before", 0..3));
    let (member, other) = (data_dir(0).join(MEMBER_NAME), data_dir(0).join(CHECKPOINT_NAME));
    remove(&machine, &member);
    // The check between the two removals finds everything else present.
    engine.pass(Duration::from_millis(600));
    remove(&machine, &other);
    engine.pass(Duration::from_secs(1));
    let refused = engine.try_put(&bodies("lost", 0..1)).expect_err("no event goes there");
    assert!(refused.to_string().contains("was removed or emptied"), "{refused}");
    assert_eq!(member_in(&machine, &member), None);
}

fn put_without_maintenance(engine: &Engine, batch: &[String]) {
    let mut commit = engine.begin_put(batch);
    while let Some(mut write) = engine.stepper.start_write(0) {
        let result = write.finish();
        engine.stepper.report(write, result);
    }
    assert_eq!(commit.poll(), Some(Ok(())));
}

/// Its disk is slow: the pieces of zeroes that are written into the next segment take a second
/// each.
#[test]
fn a_segment_removed_while_another_is_filled_takes_no_further_event() {
    const PIECE: usize = 256 * 1024;
    let machine = Machine::with(1, SimOptions { allocates: true, ..SimOptions::new(1) });
    let (disk, clock) = (machine.disk.clone(), Arc::clone(&machine.clock));
    let (pieces, gone) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(None::<PathBuf>)));
    let (count, goes) = (Arc::clone(&pieces), Arc::clone(&gone));
    let slow = move |call, _: &Path, bytes| {
        if (call, bytes) == (Call::Submit, PIECE) {
            count.fetch_add(1, Ordering::SeqCst);
            clock.advance(Duration::from_secs(1));
            if let Some(file) = goes.lock().expect("no panic").take() {
                disk.put_in_place(&file, None).expect("a directory of the channel");
            }
        }
    };
    let mut options =
        machine.options_on(Arc::new(TappedDisk::new(Arc::new(machine.disk.clone()), slow)));
    options.segment_bytes = 8 * PIECE as u64;
    let mut engine = machine.open_with(options);
    engine.run_pending();
    // Maintenance does not run until the second segment is in use.
    let mut round = 0;
    while segments(&machine).0.len() < 2 {
        put_without_maintenance(&engine, &large(&format!("r{round}"), 0..10, 20_000));
        round += 1;
    }
    *gone.lock().expect("no panic") = segments(&machine).0.pop();
    let made = pieces.load(Ordering::SeqCst);
    engine.stepper.keep();
    assert!(pieces.load(Ordering::SeqCst) > made + 2, "another one was filled");
    put_without_maintenance(&engine, &bodies("after", 0..3));
    drop(engine);
    let machine = machine.after_power_cut(3);
    let mut options = machine.options();
    options.open_without_missing_segments = true;
    let all = machine.open_with(options).drain();
    assert!(all.ends_with(&bodies("after", 0..3)), "what was committed later is there");
}

#[test]
fn a_segment_that_was_moved_away_and_is_put_back_has_lost_nothing() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.put(&bodies("before", 0..3));
    let (used, _) = segments(&machine);
    machine.disk.move_away(&used[0], "kept.log.bak").expect("it is there");
    engine.put(&bodies("unnoticed", 0..1));
    engine.pass(Duration::from_secs(1));
    engine.put(&bodies("after", 0..3));
    drop(engine);
    let machine = machine.after_power_cut(3);
    let name = used[0].file_name().and_then(|name| name.to_str()).expect("a name");
    machine.disk.move_away(&data_dir(0).join("kept.log.bak"), name).expect("it is there");
    let mut engine = machine.open();
    assert_eq!(engine.channel.status().quarantined, 0);
    let all = [bodies("before", 0..3), bodies("unnoticed", 0..1), bodies("after", 0..3)].concat();
    assert_eq!(engine.drain(), all);
}

#[test]
fn what_waits_in_a_removed_segment_can_be_taken_as_long_as_the_channel_is_open() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.put(&bodies("before", 0..5));
    let (used, _) = segments(&machine);
    remove(&machine, &used[0]);
    engine.pass(Duration::from_secs(1));
    engine.put(&bodies("after", 0..5));
    let all: Vec<String> = [bodies("before", 0..5), bodies("after", 0..5)].concat();
    assert_eq!(engine.drain(), all);
    drop(engine);
    let machine = machine.after_power_cut(1);
    let engine = machine.open();
    let status = engine.channel.status();
    assert_eq!(
        (status.events, status.quarantined),
        (0, 0),
        "nothing is delivered again or counts as lost"
    );
}

#[test]
fn neither_free_segments_that_were_removed_nor_passed_ones_are_used() {
    for passed in [false, true] {
        let machine = Machine::new(1);
        let mut engine = machine.open();
        engine.put(&bodies("first", 0..1));
        let (used, free) = segments(&machine);
        assert!(!free.is_empty());
        if passed { &used } else { &free }.iter().for_each(|file| remove(&machine, file));
        engine.pass(Duration::from_secs(1));
        assert_eq!(engine.take(1), bodies("first", 0..1));
        let mut kept = Vec::new();
        // No time passes, so no check runs.
        for round in 0..12 {
            let large = large(&format!("r{round}"), 0..10, 20_000);
            engine.put(&large);
            kept.extend(large);
        }
        drop(engine);
        let machine = machine.after_power_cut(1);
        let mut engine = machine.open();
        assert_eq!(engine.channel.status().quarantined, 0, "passed: {passed}");
        assert!(engine.drain() == kept, "passed: {passed}: all that was committed, in order");
    }
}

#[test]
fn a_segment_lost_while_its_epoch_is_in_a_slot_is_not_used_again() {
    let machine = Machine::new(1);
    let small = || {
        let mut options = machine.options();
        // Room for three blocks after the header, of which each opening writes one.
        options.segment_bytes = 20 * 1024;
        options
    };
    for _ in 0..4 {
        // No further segment is made: the fourth finds no room for its own block.
        drop(FileChannel::open(small()).expect("opens"));
    }
    let channel = FileChannel::open(small()).expect("opens");
    let stepper = channel.step_driver();
    let mut engine = Engine { channel, stepper, clock: machine.clock.clone() };
    let (used, _) = segments(&machine);
    assert_eq!(used.len(), 1);
    remove(&machine, &used[0]);
    for _ in 0..3 {
        engine.pass(Duration::from_secs(1));
    }
    let mut kept = Vec::new();
    // No time passes, so no further check runs.
    for round in 0..4 {
        let one = large(&format!("r{round}"), 0..1, 5000);
        engine.put(&one);
        kept.extend(one);
    }
    drop(engine);
    let mut engine = machine.after_power_cut(1).open();
    assert_eq!(engine.channel.status().quarantined, 0);
    assert!(engine.drain() == kept, "all that was committed, in order");
}

#[test]
fn a_segment_with_only_a_torn_block_goes_on_and_keeps_later_puts() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    let (used, _) = segments(&machine);
    // A checkpoint names the first block.
    engine.pass(Duration::from_secs(60));
    engine.put(&bodies("torn", 0..1));
    let machine = machine.after_kill(1);
    drop(engine);
    // Header and first block are lost, of the last block the header is left.
    let mut bytes = machine.disk.contents(&used[0]).expect("it is there");
    let last = bytes.chunks(4096).rposition(|b| b.iter().any(|b| *b != 0)).expect("a block") * 4096;
    bytes[..last].fill(0xA5);
    bytes[last + BLOCK_HEADER_BYTES + 30] ^= 1;
    machine.disk.put_in_place(&used[0], Some(&bytes)).expect("a directory of the channel");
    let mut engine = machine.open();
    let lost = engine.channel.status().quarantined;
    engine.put(&bodies("after", 0..5));
    drop(engine);
    let mut engine = machine.after_power_cut(1).open();
    assert_eq!(engine.drain(), bodies("after", 0..5));
    assert_eq!(engine.channel.status().quarantined, lost);
}

#[test]
fn a_lock_file_removed_while_the_channel_runs_is_made_and_locked_again() {
    for stripes in [1, 2] {
        for directory in [data_dir(stripes - 1), checkpoint_dir()] {
            let machine = Machine::new(stripes);
            let mut engine = machine.open();
            machine.disk.put_in_place(&directory.join("in_use.lock"), None).expect("it is there");
            engine.pass(Duration::from_secs(1));
            assert!(machine.disk.files().contains(&directory.join("in_use.lock")));
            let refused = machine.try_open(machine.options()).map(|_| ()).expect_err("in use");
            assert!(refused.to_string().contains("in_use.lock is in use"), "{refused}");
            engine.put(&bodies("e", 0..3));
            assert_eq!(engine.drain().len(), 3);
        }
    }
}

#[test]
fn a_channel_whose_directory_another_process_locked_writes_no_more() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.put(&bodies("ours", 0..3));
    let lock = data_dir(0).join("in_use.lock");
    machine.disk.put_in_place(&lock, None).expect("it is there");
    let directory = machine.disk.open_dir(&data_dir(0), false).expect("there");
    let _other = directory.lock("in_use.lock").expect("a file of its own");
    engine.pass(Duration::from_secs(1));
    let refused = engine.try_put(&bodies("late", 0..1)).expect_err("no longer ours");
    assert!(refused.to_string().contains("stopped for another process"), "{refused}");
    let status = engine.channel.status();
    assert!(status.stopped && status.gave_way && status.refuses(), "{status:?}");
    assert!(status.fault.is_some_and(|why| why.to_string().contains("in_use.lock was removed")));
    let before = machine.disk.operations();
    for _ in 0..5 {
        engine.pass(Duration::from_secs(60));
    }
    assert_eq!(machine.disk.operations(), before, "nothing is written next to the other's files");
}
