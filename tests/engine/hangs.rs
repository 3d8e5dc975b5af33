//! Sections 7 and 9: a checkpoint delayed by one disk, and threads that panic in a read or a write.

use crate::rig::{Machine, data_dir, large, text};
use crate::tap::{Call, TappedDisk};
use crate::threads::{Gate, block_on, on_hanging};
use millpond::internal::disk::Disk;
use millpond::{
    Channel, Clock, CommitError, Event, FileChannel, FileChannelOptions, RefusedReason, SystemClock,
};
use millpond_sim::disk::SimOptions;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

fn options(disk: Arc<dyn Disk>, stripes: usize) -> FileChannelOptions {
    on_hanging(disk, stripes, Duration::from_millis(200))
}

/// Puts until the disk is full; returns what was committed.
fn fill(channel: &FileChannel) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for round in 0..1000 {
        let batch = large(&format!("r{round}"), 0..10, 3000);
        let mut put = channel.begin_put();
        for body in &batch {
            put.put(Event::new(body.clone())).expect("fits");
        }
        match put.commit().map_err(CommitError::from) {
            Ok(()) => all.extend(batch),
            Err(CommitError::Refused(RefusedReason::NoSpace(_))) => return all,
            Err(other) => panic!("{other}"),
        }
    }
    panic!("the disk never gets full");
}

/// Takes single events until none is left; returns them.
fn take_one_by_one(channel: &FileChannel, about: &str) -> Vec<String> {
    let mut taken = Vec::new();
    while channel.status().events > 0 {
        let mut take = channel.begin_take();
        let events = block_on(take.take_async(1)).expect("readable");
        block_on(take.commit_async()).unwrap_or_else(|error| {
            panic!("{about}: take {} does not return: {error}", taken.len())
        });
        taken.extend(events.iter().map(text));
    }
    taken
}

/// One full disk, whose acknowledgements are stored in checkpoints; and an empty one that hangs.
#[test]
fn a_checkpoint_that_one_disk_holds_up_holds_up_no_acknowledgement_on_another() {
    for hangs in ["/c/data1", "/c/data1/checkpoint", "/c/checkpoint"] {
        let gate = Arc::<Gate>::default();
        let machine = Machine::new(1);
        let tap = {
            let gate = Arc::clone(&gate);
            move |_, path: &Path, _| {
                if path.starts_with(hangs) {
                    gate.pass();
                }
            }
        };
        let disk = Arc::new(TappedDisk::new(Arc::new(machine.disk.clone()), tap));
        drop(FileChannel::open(options(disk.clone(), 1)).expect("opens"));
        machine.disk.set_capacity(&data_dir(0), 2 << 20).expect("there");
        let channel = FileChannel::open(options(disk.clone(), 1)).expect("opens");
        let all = fill(&channel);
        channel.close().expect("sealed");
        drop(channel);
        // The other directory is added when everything waits on the first.
        let channel = FileChannel::open(options(disk.clone(), 2)).expect("opens");
        assert_eq!(channel.status().stripes[0].events, all.len() as u64);
        gate.shut(true);
        let taken = take_one_by_one(&channel, hangs);
        assert!(channel.log_counts().slot_acks > 0, "{hangs}: none lacked room in the log");
        // Bounded, and honest about the checkpoint if it could not be written.
        let _ = channel.close();
        drop(channel);
        gate.shut(false);
        assert_eq!(taken.len(), all.len(), "{hangs}");
        assert!(taken.into_iter().collect::<BTreeSet<_>>() == all, "{hangs}");
        // The hung calls release the directories by themselves.
        let clock = SystemClock::new();
        let channel = loop {
            match FileChannel::open(options(disk.clone(), 2)) {
                Ok(channel) => break channel,
                Err(error) => assert!(clock.now() < Duration::from_secs(60), "{error}"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(channel.status().events, 0, "{hangs}: nothing is delivered again");
        let status = channel.status();
        assert_eq!((status.checkpoint_errors, status.checkpoint_copy_errors), (0, 0));
    }
}

#[test]
fn a_checkpoint_file_that_hangs_is_counted_and_written_again_when_it_is_back() {
    let gate = Arc::<Gate>::default();
    let writes = Arc::new(AtomicUsize::new(0));
    let machine = Machine::new(2);
    let tap = {
        let (gate, writes) = (Arc::clone(&gate), Arc::clone(&writes));
        move |_, path: &Path, _| {
            if path.starts_with("/c/data1/checkpoint") {
                gate.pass();
                writes.fetch_add(1, Ordering::SeqCst);
            }
        }
    };
    let disk = Arc::new(TappedDisk::new(Arc::new(machine.disk.clone()), tap));
    let channel = FileChannel::open(options(disk, 2)).expect("opens");
    let put = |body: &str| {
        let mut put = channel.begin_put();
        put.put(Event::new(body.to_owned())).expect("fits");
        put.commit().expect("committed");
    };
    let clock = SystemClock::new();
    let soon = |what: &str, is_so: &dyn Fn() -> bool| {
        while !is_so() {
            assert!(clock.now() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    };
    gate.shut(true);
    put("one");
    soon("said", &|| channel.status().checkpoint_copy_errors > 0);
    // The others continue without it, and it is logged once.
    (0..5).for_each(|_| put("more"));
    channel.checkpoint().expect("the other directory has it");
    assert_eq!(channel.status().checkpoint_copy_errors, 1);
    let before = writes.load(Ordering::SeqCst);
    gate.shut(false);
    // The write that hung, and one that records what was left out, although nothing changes any
    // more.
    let calls = || writes.load(Ordering::SeqCst) - before;
    soon("written again", &|| calls() > 1);
    channel.close().expect("sealed");
}

/// The acknowledgements of a checkpoint whose writer panics wait for the next one.
#[test]
fn a_thread_that_panics_in_a_checkpoint_loses_no_acknowledgement() {
    let machine = Machine::new(1);
    let (armed, writes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let tap = {
        let (armed, writes) = (Arc::clone(&armed), Arc::clone(&writes));
        move |call, path: &Path, _| {
            let counts = armed.load(Ordering::SeqCst) && path.ends_with("data0/checkpoint");
            let write = matches!(call, Call::Write | Call::Submit);
            if counts && write && writes.fetch_add(1, Ordering::SeqCst) % 4 == 0 {
                panic!("scripted");
            }
        }
    };
    let disk = Arc::new(TappedDisk::new(Arc::new(machine.disk.clone()), tap));
    drop(FileChannel::open(options(disk.clone(), 1)).expect("opens"));
    machine.disk.set_capacity(&data_dir(0), 2 << 20).expect("there");
    let channel = FileChannel::open(options(disk.clone(), 1)).expect("opens");
    let all = fill(&channel);
    armed.store(true, Ordering::SeqCst);
    let taken = take_one_by_one(&channel, "a panic");
    armed.store(false, Ordering::SeqCst);
    assert!(channel.log_counts().slot_acks > 4 && writes.load(Ordering::SeqCst) > 4);
    assert_eq!(taken.len(), all.len());
    channel.close().expect("sealed");
}

#[test]
fn a_read_whose_thread_panics_is_tried_again() {
    let machine = Machine::new(1);
    let panics = Arc::new(AtomicUsize::new(0));
    let tap = {
        let panics = Arc::clone(&panics);
        move |call, _: &Path, _| {
            let left =
                || panics.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1));
            if call == Call::Read && left().is_ok() {
                panic!("scripted");
            }
        }
    };
    let disk = Arc::new(TappedDisk::new(Arc::new(machine.disk.clone()), tap));
    let channel = FileChannel::open(options(disk.clone(), 1)).expect("opens");
    let mut put = channel.begin_put();
    put.put(Event::new("cold")).expect("fits");
    put.commit().expect("committed");
    channel.close().expect("sealed");
    drop(channel);
    let channel = FileChannel::open(options(disk, 1)).expect("opens again");
    panics.store(2, Ordering::SeqCst);
    let clock = SystemClock::new();
    let mut taken = Vec::new();
    while taken.is_empty() {
        let mut take = channel.begin_take();
        assert!(clock.now() < Duration::from_secs(60), "never read again");
        match block_on(take.take_async(1)) {
            Ok(events) => taken.extend(events.iter().map(text)),
            Err(error) => assert!(error.to_string().contains("panicked"), "{error}"),
        }
        block_on(take.commit_async()).expect("committed");
    }
    assert_eq!(taken, ["cold"]);
    assert_eq!(panics.load(Ordering::SeqCst), 0, "both were reached");
}

/// Maintenance checks the space too, but only while the first puts run.
#[test]
fn on_a_disk_that_is_too_full_already_not_even_the_first_put_enters() {
    let gate = Arc::<Gate>::default();
    let machine = Machine::with(1, SimOptions { capacity_bytes: 64 << 20, ..SimOptions::new(1) });
    let tap = {
        let gate = Arc::clone(&gate);
        move |call, _: &Path, _| {
            let is_pool = std::thread::current().name() == Some("millpond-io");
            if call == Call::Space && is_pool {
                gate.pass();
            }
        }
    };
    let disk = Arc::new(TappedDisk::new(Arc::new(machine.disk.clone()), tap));
    drop(FileChannel::open(options(disk.clone(), 1)).expect("opens"));
    gate.shut(true);
    let mut options = options(disk, 1);
    options.minimum_required_space = 1 << 40;
    let channel = FileChannel::open(options).expect("opens all the same");
    let mut put = channel.begin_put();
    put.put(Event::new("too much")).expect("fits");
    let refused = put.commit().map_err(CommitError::from);
    gate.shut(false);
    let refused = refused.expect_err("too little space").to_string();
    assert!(refused.contains("minimum_required_space"), "{refused}");
    assert_eq!(channel.status().put, 0);
}
