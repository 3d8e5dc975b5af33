//! Parts of a log that are missing at an opening: what comes after them, and what happens to them.

use crate::rig::{Machine, bodies, checkpoint_dir, data_dir, large, sorted};
use millpond::internal::record::segment::SegmentHeader;
use millpond::internal::{layout, recovery};
use millpond::{Channel, FileChannel, FileChannelOptions, OpenError, Restored};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

#[test]
fn a_hole_of_any_size_hides_nothing_that_stands_after_it_in_the_segment() {
    let machine = Machine::new(1);
    let options = || {
        let mut options = machine.options();
        options.segment_bytes = 32 << 20;
        options
    };
    let mut engine = machine.open_with(options());
    // With a later one than these an opening would not read what it names.
    let mut checkpoints = images(&machine);
    checkpoints.retain(|(file, _)| file.ends_with("checkpoint"));
    // The first segment is a short one, and a full-size one comes after it.
    let before: Vec<String> = (0..6).flat_map(|i| large("before", i..i + 1, 900_000)).collect();
    for body in before.chunks(1) {
        engine.put(body);
        engine.pass(Duration::from_secs(1));
    }
    engine.put(&large("big", 0..8, 1 << 20));
    for i in 0..5 {
        engine.put(&bodies(&format!("s{i}"), 0..1));
    }
    let machine = machine.after_kill(1);
    drop(engine);
    for (file, bytes) in &checkpoints {
        machine.disk.put_in_place(file, Some(bytes)).expect("a directory of the channel");
    }
    // The header of the large block, the only record of its length.
    let find = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).position(|w| w == text);
    let place = |text: &[u8]| {
        let place = |(_, file): (_, PathBuf)| {
            let bytes = machine.disk.contents(&file).expect("listed");
            find(&bytes, text).map(|at| (file, at as u64))
        };
        used(&machine, 0).into_iter().find_map(place).expect("it was put")
    };
    let ((file, at), (with, after)) = (place(b"big-0 "), place(b"s4-0"));
    assert!(file == with && after > at + (8 << 20), "{at} in {file:?}, {after} in {with:?}");
    machine.disk.rot(&file, at / 4096 * 4096 + 40, 8).expect("it is there");
    let mut engine = machine.open();
    let small: Vec<String> = (0..5).flat_map(|i| bodies(&format!("s{i}"), 0..1)).collect();
    assert_eq!(engine.channel.status().quarantined, 8);
    assert!(engine.drain() == [before, small].concat());
}

/// Returns the segments of stripe `stripe` that hold blocks, by their ids.
fn used(machine: &Machine, stripe: usize) -> Vec<(u64, PathBuf)> {
    let dir = data_dir(stripe);
    let header = |file: &PathBuf| {
        SegmentHeader::decode(&machine.disk.contents(file).expect("listed")).ok().map(|h| h.id.0)
    };
    let files = machine.disk.files().into_iter().filter(|f| f.parent() == Some(&*dir));
    let mut used: Vec<_> = files.filter_map(|f| Some((header(&f)?, f))).collect();
    used.sort();
    used
}

fn images(machine: &Machine) -> Vec<(PathBuf, Vec<u8>)> {
    let files = machine.disk.files().into_iter().filter(|f| !f.ends_with("in_use.lock"));
    files.map(|f| (f.clone(), machine.disk.contents(&f).expect("listed"))).collect()
}

/// Returns a channel with several segments on each stripe, closed or killed; and the waiting
/// events, sorted.
fn filled(stripes: usize, closed: bool) -> (Machine, Vec<String>) {
    let machine = Machine::new(stripes);
    let mut engine = machine.open();
    for round in 0..12 {
        engine.put(&large(&format!("r{round}"), 0..10, 6_000));
    }
    // Until a checkpoint names the last segment, it would not be missed.
    engine.pass(Duration::from_millis(100));
    let mut waiting = Vec::new();
    if closed {
        // Some of it was taken, and all is in the checkpoints.
        engine.take(7);
        engine.channel.close().expect("sealed");
    }
    // Before the handle is dropped, which would close it: after a kill nothing is sealed.
    let machine = machine.after_kill(1);
    drop(engine);
    let copy = machine.after_kill(2);
    waiting.extend(copy.reopened());
    (machine, sorted(waiting))
}

fn missing(machine: &Machine) -> Option<String> {
    match machine.try_open(machine.options()) {
        Err(OpenError::Recovery(error @ recovery::RecoveryError::SegmentsMissing { .. })) => {
            Some(error.to_string())
        }
        Err(error) => panic!("refused with another error: {error}"),
        Ok(_) => None,
    }
}

#[test]
fn an_opening_without_a_segment_is_refused_and_nothing_changes() {
    for (stripes, closed) in [(1, true), (1, false), (2, true), (2, false)] {
        let (machine, all) = filled(stripes, closed);
        for (id, file) in used(&machine, 0) {
            let about = format!("{stripes} stripes, closed {closed}, segment {id}");
            let bytes = machine.disk.contents(&file).expect("listed");
            let machine = machine.after_kill(3);
            machine.disk.put_in_place(&file, None).expect("a directory of the channel");
            let before = images(&machine);
            let words = missing(&machine).unwrap_or_else(|| panic!("{about}: opened"));
            assert!(
                words.contains("/c/data0") && words.contains("openWithoutMissingSegments"),
                "{words}"
            );
            assert!(images(&machine) == before, "{about}: something was written");
            // Under any name it is the same segment.
            let back = data_dir(0).join(layout::segment_name(77));
            machine.disk.put_in_place(&back, Some(&bytes)).expect("a directory of the channel");
            let engine = machine.open();
            assert_eq!(engine.channel.status().quarantined, 0, "{about}");
            drop(engine);
            assert!(sorted(machine.reopened()) == all, "{about}: all of it is there");
        }
    }
}

fn continuing_options(machine: &Machine) -> FileChannelOptions {
    let mut options = machine.options();
    options.open_without_missing_segments = true;
    options
}

/// Does what `channel restore` does, with threads.
fn restore(machine: &Machine) -> Restored {
    FileChannel::restore(threaded(machine)).expect("there is room")
}

fn threaded(machine: &Machine) -> FileChannelOptions {
    let mut options = FileChannelOptions::new(checkpoint_dir(), (0..machine.stripes).map(data_dir))
        .with_disk(Arc::new(machine.disk.clone()));
    options.segment_bytes = 256 * 1024;
    options.minimum_required_space = 0;
    options
}

#[test]
fn a_segment_that_comes_back_after_it_was_given_up_has_lost_nothing() {
    for (stripes, closed) in [(1, true), (1, false), (2, true), (2, false)] {
        let (machine, all) = filled(stripes, closed);
        for (id, file) in used(&machine, 0) {
            let about = format!("{stripes} stripes, closed {closed}, segment {id}");
            let bytes = machine.disk.contents(&file).expect("listed");
            let machine = machine.after_kill(3);
            machine.disk.put_in_place(&file, None).expect("a directory of the channel");
            assert!(missing(&machine).is_some(), "{about}");
            let mut engine = machine.open_with(continuing_options(&machine));
            for round in 0..3 {
                engine.put(&large(&format!("after{round}"), 0..10, 6_000));
            }
            engine.channel.close().expect("sealed");
            drop(engine);
            // Once is enough: the setting is not needed again.
            assert!(missing(&machine).is_none(), "{about}");
            machine.disk.put_in_place(&file, Some(&bytes)).expect("a directory of the channel");
            let mut engine = machine.open();
            let mut came = engine.drain();
            let expected = all.len() + 30;
            assert!(
                came.len() < expected,
                "{about}: what was given up does not come back by itself"
            );
            for round in 0..12 {
                engine.put(&large(&format!("further{round}"), 0..10, 6_000));
            }
            came.extend(engine.drain());
            drop(engine);
            assert!(
                machine.disk.contents(&file).expect("listed") == bytes,
                "{about}: it is left alone"
            );
            let machine = machine.after_power_cut(4);
            let restored = restore(&machine);
            assert_eq!(restored.events as usize, expected + 120 - came.len(), "{about}");
            assert!(!machine.disk.files().contains(&file), "{about}: it is no longer needed");
            assert_eq!(restore(&machine), Restored::default(), "{about}");
            came.extend(machine.reopened());
            let count = came.len();
            let mut once = sorted(came);
            once.dedup();
            assert_eq!((once.len(), count), (expected + 120, expected + 120), "{about}");
            assert!(all.iter().all(|body| once.binary_search(body).is_ok()), "{about}");
        }
    }
}

#[test]
fn what_a_returned_segment_shows_to_be_taken_is_not_put_again() {
    for stripes in [1, 2] {
        let machine = Machine::new(stripes);
        let mut engine = machine.open();
        let mut checkpoints = images(&machine);
        checkpoints.retain(|(file, _)| file.ends_with("checkpoint"));
        for round in 0..10 {
            engine.put(&bodies(&format!("r{round}"), 0..10));
        }
        let taken = engine.take(60);
        assert_eq!(taken.len(), 60);
        drop(engine);
        // No checkpoint knows of puts and takes: both are in the missing segments.
        let machine = machine.after_kill(1);
        for (file, bytes) in &checkpoints {
            machine.disk.put_in_place(file, Some(bytes)).expect("a directory of the channel");
        }
        let files: Vec<_> = (0..stripes).flat_map(|at| used(&machine, at)).collect();
        let away: Vec<_> = files
            .iter()
            .map(|(_, file)| (file.clone(), machine.disk.contents(file).expect("listed")))
            .collect();
        for (file, _) in &away {
            machine.disk.put_in_place(file, None).expect("a directory of the channel");
        }
        machine.open_with(continuing_options(&machine)).channel.close().expect("sealed");
        for (file, bytes) in &away {
            machine.disk.put_in_place(file, Some(bytes)).expect("a directory of the channel");
        }
        let restored = restore(&machine);
        assert_eq!(restored.events, 40, "{stripes} stripes: {restored:?}");
        let came = machine.reopened();
        assert!(came.len() == 40 && came.iter().all(|body| !taken.contains(body)), "{came:?}");
    }
}

#[test]
fn a_restore_fits_its_transactions_to_the_channel() {
    let (machine, all) = filled(1, true);
    let (_, file) = used(&machine, 0).remove(0);
    let bytes = machine.disk.contents(&file).expect("listed");
    machine.disk.put_in_place(&file, None).expect("a directory of the channel");
    machine.open_with(continuing_options(&machine)).channel.close().expect("sealed");
    machine.disk.put_in_place(&file, Some(&bytes)).expect("a directory of the channel");
    let mut options = threaded(&machine);
    options.transaction_bytes_max = 16 * 1024;
    let restored = FileChannel::restore(options).expect("each event fits");
    assert!(restored.events > 2, "{restored:?}");
    assert!(sorted(machine.reopened()) == all, "all of it is there");
}

#[test]
fn a_running_channel_makes_no_segment_over_a_file_that_was_put_back() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.put(&bodies("a", 0..1));
    let there = machine.disk.files();
    let names = (0..40).map(|slot| data_dir(0).join(layout::segment_name(slot)));
    let put_back: Vec<PathBuf> = names.filter(|name| !there.contains(name)).collect();
    for file in &put_back {
        machine.disk.put_in_place(file, Some(b"kept")).expect("a directory of the channel");
    }
    for round in 0..60 {
        engine.put(&large(&format!("r{round}"), 0..10, 6_000));
    }
    assert!(used(&machine, 0).len() > 3, "segments were made");
    for file in &put_back {
        assert_eq!(machine.disk.contents(file).expect("there"), b"kept", "{file:?}");
    }
}
