//! Section 7, directories: missing, empty, moved, foreign, damaged, and with other files in them.

use crate::rig::{Machine, bodies, checkpoint_dir, data_dir, sorted};
use millpond::internal::disk::{Access, Disk};
use millpond::{Channel, Clock, FileChannel, FileChannelOptions};
use millpond_sim::disk::{Fault, FaultEffect, FaultTarget, Lie, Model, SimOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

fn refused(machine: &Machine, options: FileChannelOptions) -> String {
    match machine.try_open(options) {
        Ok(_) => panic!("it opened"),
        Err(error) => error.to_string(),
    }
}

fn two_with_events() -> Machine {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    for i in 0..6 {
        engine.put(&bodies(&format!("tx{i}"), 0..3));
    }
    machine
}

fn all_events() -> Vec<String> {
    (0..6).flat_map(|i| bodies(&format!("tx{i}"), 0..3)).collect()
}

#[test]
fn a_second_opener_is_refused_with_the_directory() {
    let machine = Machine::new(2);
    let engine = machine.open();
    let error = refused(&machine, machine.options());
    assert!(error.contains("is in use") && error.contains("/c/"), "{error}");
    drop(engine);
    drop(machine.open());
}

#[test]
fn a_second_process_is_refused_with_the_pid_of_the_holder() {
    let dir = tempfile::tempdir().expect("dir");
    let options = || {
        let mut options =
            FileChannelOptions::new(dir.path().join("checkpoint"), [dir.path().join("data")]);
        options.segment_bytes = 1 << 20;
        options.minimum_required_space = 0;
        options
    };
    let channel = FileChannel::open(options()).expect("opens");
    let error = FileChannel::open(options()).expect_err("in use").to_string();
    let pid = std::process::id().to_string();
    assert!(error.contains(&format!("process {pid}")), "{error}");
    drop(channel);
    drop(FileChannel::open(options()).expect("free again"));
}

#[test]
fn a_missing_directory_is_refused_by_name_and_nothing_is_created_in_its_place() {
    let machine = two_with_events();
    machine.disk.remove_directory(&data_dir(1));
    let error = refused(&machine, machine.options());
    assert!(error.contains("/c/data1") && error.contains("mount"), "{error}");
    let again = refused(&machine, machine.options());
    assert!(again.contains("/c/data1"), "also the second time: {again}");
    machine.disk.restore(&data_dir(1));
    assert_eq!(machine.reopened(), all_events());
}

#[test]
fn an_empty_directory_where_a_disk_should_be_mounted_is_refused() {
    let machine = two_with_events();
    machine.disk.remove_directory(&data_dir(0));
    machine.disk.open_dir(&data_dir(0), true).expect("an empty mount point");
    let error = refused(&machine, machine.options());
    assert!(error.contains("/c/data0"), "{error}");
    let left = machine.disk.open_dir(&data_dir(0), false).and_then(|d| d.list()).expect("listed");
    assert!(left.is_empty(), "nothing is created in it: {left:?}");
    machine.disk.restore(&data_dir(0));
    assert_eq!(machine.reopened(), all_events());
}

#[test]
fn a_directory_that_cannot_be_read_is_not_taken_for_a_new_one() {
    let machine = two_with_events();
    // Everything else that shows that there is a channel is missing.
    machine.disk.remove_directory(&checkpoint_dir());
    machine.disk.remove_directory(&data_dir(0));
    let mut options = machine.options();
    options.open_degraded = true;
    for fault in [
        Fault::next(FaultTarget::Open, "data1").times(2),
        Fault::next(FaultTarget::List, "data1").times(2),
    ] {
        machine.disk.fail(fault);
        let error = refused(&machine, options.clone());
        assert!(error.contains("/c/data1"), "{error}");
        machine.disk.clear_faults();
    }
    machine.disk.restore(&checkpoint_dir());
    machine.disk.restore(&data_dir(0));
    assert_eq!(machine.reopened(), all_events());
}

#[test]
fn a_degraded_opening_leaves_out_a_directory_with_unreadable_segments() {
    for unreadable in 0..2 {
        let machine = two_with_events();
        let files = data_dir(unreadable).join("segment");
        machine.disk.fail(Fault::next(FaultTarget::Read, &files.to_string_lossy()).times(u64::MAX));
        let error = refused(&machine, machine.options());
        assert!(error.contains("cannot read") && error.contains("degraded"), "{error}");
        let mut options = machine.options();
        options.open_degraded = true;
        let mut engine = machine.open_with(options);
        assert!(engine.channel.status().out_of_reach > 0);
        let reached = engine.drain();
        drop(engine);
        machine.disk.clear_faults();
        assert_eq!(sorted([reached, machine.reopened()].concat()), sorted(all_events()));
    }
}

#[test]
fn renamed_and_reordered_directories_are_recognised() {
    let machine = two_with_events();
    let mut options = machine.options();
    options.data_dirs.reverse();
    let mut engine = machine.open_with(options);
    assert_eq!(engine.drain(), all_events());
}

#[test]
fn a_directory_of_another_channel_is_refused_by_name() {
    let machine = two_with_events();
    let other = |checkpoint: &str, data: &[&str]| {
        let mut options = machine.options();
        options.checkpoint_dir = PathBuf::from(checkpoint);
        options.data_dirs = data.iter().map(PathBuf::from).collect();
        options
    };
    // A channel drawn from another seed.
    let mut theirs = other("/d/checkpoint", &["/d/data"]).step_driven(99);
    theirs.create = true;
    drop(machine.open_with(theirs));
    let error = refused(&machine, other("/c/checkpoint", &["/c/data0", "/d/data"]));
    assert!(error.contains("/d/data") && error.contains("belongs to the channel"), "{error}");
    let error = refused(&machine, other("/d/checkpoint", &["/c/data0", "/c/data1"]));
    assert!(error.contains("belongs to the channel"), "a checkpoint of another channel: {error}");
    let error = refused(&machine, other("/c/data0", &["/c/checkpoint", "/c/data1"]));
    assert!(error.contains("listed as"), "{error}");
    let error = refused(&machine, other("/c/checkpoint", &["/c/data0", "/c/data0"]));
    assert!(error.contains("same directory"), "{error}");
    assert_eq!(machine.reopened(), all_events());
}

#[test]
fn after_a_degraded_opening_the_directory_rejoins_without_loss_or_repeats() {
    for missing in 0..2 {
        let machine = two_with_events();
        machine.disk.remove_directory(&data_dir(missing));
        let mut options = machine.options();
        options.open_degraded = true;
        let mut engine = machine.open_with(options.clone());
        let status = engine.channel.status();
        assert_eq!(status.events + status.out_of_reach, 18, "{status:?}");
        assert!(status.out_of_reach > 0, "{status:?}");
        let reached = engine.drain();
        engine.put(&bodies("degraded", 0..4));
        assert_eq!(engine.take(2), bodies("degraded", 0..2));
        drop(engine);
        // A second degraded opening, then the disk is back.
        let mut engine = machine.open_with(options);
        engine.put(&bodies("more", 0..1));
        drop(engine);
        machine.disk.restore(&data_dir(missing));
        let rest = machine.reopened();
        let mut all = [reached, bodies("degraded", 0..2), rest].concat();
        let mut expected = [all_events(), bodies("degraded", 0..4), bodies("more", 0..1)].concat();
        all.sort();
        expected.sort();
        assert_eq!(all, expected, "stripe {missing}");
        assert_eq!(machine.reopened(), Vec::<String>::new());
    }
}

#[test]
fn a_directory_can_be_added() {
    let machine = Machine::new(1);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..5));
    drop(engine);
    let mut options = machine.options();
    options.data_dirs.push(data_dir(1));
    let mut engine = machine.open_with(options.clone());
    for i in 0..8 {
        engine.put(&bodies(&format!("f{i}"), 0..1));
    }
    drop(engine);
    let mut engine = machine.open_with(options);
    let mut expected = bodies("e", 0..5);
    expected.extend((0..8).map(|i| format!("f{i}-0")));
    assert_eq!(engine.drain(), expected);
}

/// The others would name it, and its own member file would not: at the next opening it would be
/// missing.
#[test]
fn a_degraded_opening_adds_no_directory_that_cannot_be_read() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    engine.put(&bodies("e", 0..5));
    drop(engine);
    let added = machine.disk.open_dir(&data_dir(2), true).expect("made");
    added.create("segment-00000.log").and_then(|f| f.write_at(0, &[1; 8192])).expect("written");
    let mut refusals = 0;
    for fails in 0.. {
        let machine = machine.after_kill(1);
        let mut options = machine.options();
        options.data_dirs.push(data_dir(2));
        options.open_degraded = true;
        machine.disk.fail(Fault::next(FaultTarget::Read, "data2").after(fails).times(u64::MAX));
        let Err(refused) = machine.try_open(options.clone()) else { break };
        assert!(refused.to_string().contains("/c/data2"), "{refused}");
        refusals += 1;
        machine.disk.clear_faults();
        assert_eq!(machine.after_kill(1).open().events(), 5, "the two are as they were");
        let mut engine = machine.open_with(options.clone());
        for i in 0..9 {
            engine.put(&bodies(&format!("f{i}"), 0..1));
        }
        drop(engine);
        assert_eq!(machine.open_with(options).drain().len(), 14, "read {fails}");
    }
    assert!(refusals > 2, "{refusals}: it is read when it is identified, and when the log is read");
}

/// At any read of the directory that fails: when it is read first, when suspected damage is read a
/// second time, when copies of events moved to it are searched.
#[test]
fn a_degraded_opening_goes_on_whichever_read_of_a_directory_fails() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    engine.put(&bodies("first", 0..1));
    machine.disk.fail(Fault::next(FaultTarget::Submit, "data0").effect(FaultEffect::All));
    let commits: Vec<_> =
        (0..6).map(|i| engine.begin_put(&bodies(&format!("tx{i}"), 0..3))).collect();
    commits.into_iter().for_each(|commit| engine.end(commit).expect("committed on stripe 1"));
    let machine = machine.after_power_cut(1);
    let mut degraded = machine.options();
    degraded.open_degraded = true;
    machine.disk.remove_directory(&data_dir(1));
    drop(machine.open_with(degraded));
    machine.disk.restore(&data_dir(1));
    let log = data_dir(1).join("segment-00000.log");
    let len = machine.disk.contents(&log).expect("there").len() as u64;
    let last = (0..len / 4096).rev().find(|at| {
        let bytes = machine.disk.contents(&log).expect("there");
        bytes[(at * 4096) as usize..][..4096].iter().any(|b| *b != 0)
    });
    for rotten in [false, true] {
        if rotten {
            // What an acknowledgement or a later block names, and is lost: read a second time.
            let at = last.expect("written") * 4096 - 4096;
            machine.disk.rot(&log, at, 512).expect("there");
        }
        let mut left_out = 0;
        for fails in 0.. {
            let machine = machine.after_power_cut(2);
            machine.disk.fail(Fault::next(FaultTarget::Read, "data1").after(fails).times(u64::MAX));
            let mut options = machine.options();
            options.open_degraded = true;
            let engine =
                machine.try_open(options).unwrap_or_else(|error| panic!("read {fails}: {error}"));
            if machine.disk.trace().iter().all(|line| !line.ends_with("fault")) {
                break;
            }
            left_out += u64::from(engine.channel.status().fault.is_some());
        }
        assert!(left_out > 8, "{left_out} openings left it out");
    }
}

#[test]
fn adding_a_directory_interrupted_anywhere_is_finished_or_repeated() {
    for model in [Model::StrictPosix, Model::Journalling] {
        let machine = Machine::with(1, SimOptions { model, ..SimOptions::new(1) });
        let mut engine = machine.open();
        engine.put(&bodies("before", 0..3));
        let two = |machine: Machine| Machine { stripes: 2, ..machine };
        let mut ended = false;
        for operation in 1..400 {
            let stopped = two(machine.after_power_cut(1));
            stopped.disk.crash_at(operation);
            let _ = stopped.try_open(stopped.options());
            ended = !stopped.disk.crashed();
            for seed in 0..2 {
                let after = two(stopped.after_power_cut(seed));
                let mut engine = after.open();
                engine.put(&bodies("after", 0..2));
                drop(engine);
                let expected = [bodies("before", 0..3), bodies("after", 0..2)].concat();
                assert_eq!(after.reopened(), expected, "{model:?}, stopped at {operation}");
            }
            if ended {
                break;
            }
        }
        assert!(ended, "adding ends");
    }
}

#[test]
fn foreign_files_and_zero_length_segments_disturb_nothing_and_are_left_alone() {
    let machine = two_with_events();
    let directory = machine.disk.open_dir(&data_dir(0), false).expect("there");
    let foreign = ["notes.txt", "log-1", "log-1.meta", "seg", "checkpoint.bak", "lost+found"];
    for name in foreign {
        let file = directory.create(name).expect("made");
        file.write_at(0, b"not ours").expect("written");
        file.sync().expect("synced");
    }
    let name = millpond::internal::layout::segment_name(4_000);
    directory.create(&name).expect("a segment whose making was interrupted").sync().expect("ok");
    directory.sync().expect("synced");
    assert_eq!(machine.reopened(), all_events());
    for name in foreign {
        let file = directory.open(name, Access::Read).expect("still there");
        let mut bytes = [0; 8];
        assert_eq!(file.read_at(0, &mut bytes).expect("read"), 8);
        assert_eq!(&bytes, b"not ours");
    }
}

#[test]
fn a_new_channel_is_not_made_where_a_flume_channel_waits() {
    for (path, name, refused) in [
        (data_dir(1), "log-1", true),
        (data_dir(0), "log-204.meta", true),
        (checkpoint_dir(), "inflighttakes", true),
        (checkpoint_dir(), "checkpoint.meta", true),
        (data_dir(0), "log-", false),
        (data_dir(0), "log-1.old", false),
        (data_dir(0), "log-x.meta", false),
    ] {
        let machine = Machine::new(2);
        let directory = machine.disk.open_dir(&path, true).expect("made");
        directory.create(name).and_then(|file| file.write_at(0, b"Flume's")).expect("written");
        let before: Vec<_> =
            directory.list().expect("listed").into_iter().map(|e| e.name).collect();
        let opened = machine.try_open(machine.options());
        assert_eq!(opened.is_err(), refused, "{name}");
        let Err(error) = opened else { continue };
        let words = error.to_string();
        assert!(words.contains(name) && words.contains("nothing was changed"), "{words}");
        let after: Vec<_> = directory.list().expect("listed").into_iter().map(|e| e.name).collect();
        let ours = |names: &[String]| names.iter().filter(|n| *n != "in_use.lock").count();
        assert_eq!(ours(&before), ours(&after), "{after:?}");
    }
}

#[test]
fn without_any_checkpoint_the_log_alone_is_the_truth() {
    let machine = two_with_events();
    let mut engine = machine.open();
    engine.take(4);
    drop(engine);
    for path in [checkpoint_dir(), data_dir(0), data_dir(1)] {
        let file = path.join("checkpoint");
        let directory = machine.disk.open_dir(&path, false).expect("there");
        let len = directory.open("checkpoint", Access::Read).and_then(|f| f.len()).expect("there");
        machine.disk.rot(&file, 0, len.min(40_000)).expect("rots");
        machine.disk.rot(&file, len / 2, 40_000.min(len / 2)).expect("rots");
    }
    assert_eq!(machine.reopened(), all_events()[4..]);
}

#[test]
fn the_checkpoint_directory_lost_loses_nothing() {
    let machine = two_with_events();
    machine.disk.remove_directory(&checkpoint_dir());
    let result = machine.try_open(machine.options()).map(|mut engine| engine.drain());
    match result {
        Ok(all) => assert_eq!(all, all_events()),
        // Refused with an error, the log untouched.
        Err(error) => {
            assert!(error.to_string().contains("/c/checkpoint"), "{error}");
            let mut options = machine.options();
            options.open_degraded = true;
            let mut engine = machine.open_with(options);
            assert_eq!(engine.drain(), all_events());
        }
    }
}

#[test]
fn creation_interrupted_anywhere_is_finished_or_repeated() {
    for operation in 1..400 {
        let machine = Machine::new(2);
        machine.disk.crash_at(operation);
        let _ = machine.try_open(machine.options());
        let crashed = machine.disk.crashed();
        for seed in 0..2 {
            let machine = machine.after_power_cut(seed);
            let mut engine = machine.open();
            engine.put(&bodies("e", 0..2));
            drop(engine);
            assert_eq!(machine.reopened(), bodies("e", 0..2), "crash at {operation}");
        }
        if !crashed {
            return;
        }
    }
    panic!("creation never ends");
}

#[test]
fn an_opening_interrupted_anywhere_can_be_repeated() {
    let before = two_with_events();
    for operation in 1..400 {
        let machine = before.after_power_cut(1);
        machine.disk.crash_at(operation);
        let _ = machine.try_open(machine.options());
        let crashed = machine.disk.crashed();
        assert_eq!(machine.after_power_cut(operation).reopened(), all_events());
        if !crashed {
            return;
        }
    }
    panic!("opening never ends");
}

#[test]
fn a_clock_that_stands_still_or_jumps_far_ahead_changes_nothing() {
    let machine = two_with_events();
    machine.clock.advance(Duration::from_secs(60 * 60 * 24 * 365 * 50));
    let mut engine = machine.open();
    let before = machine.clock.now();
    let first = engine.take(4);
    assert_eq!(machine.clock.now(), before, "no commit needs the clock to move");
    machine.clock.advance(Duration::from_secs(60 * 60 * 24 * 365));
    engine.run_pending();
    engine.put(&bodies("later", 0..2));
    assert_eq!([first, engine.drain()].concat(), [all_events(), bodies("later", 0..2)].concat());
    assert_eq!(engine.channel.log_counts().failed_writes, 0, "a jump is not a hung write");
    drop(engine);
    // A machine that starts with an earlier clock.
    let machine = Machine { clock: Default::default(), ..machine };
    assert_eq!(machine.reopened(), Vec::<String>::new());
}

#[test]
fn settings_outside_their_range_are_refused_by_name() {
    let machine = Machine::new(1);
    let check = |change: fn(&mut FileChannelOptions), name: &str| {
        let mut options = machine.options();
        change(&mut options);
        let error = refused(&machine, options);
        assert!(error.contains(name), "{error}");
    };
    check(|o| o.capacity = 0, "capacity");
    check(|o| o.transaction_capacity = 0, "transaction_capacity");
    check(|o| o.transaction_capacity = 2_000_000, "transaction_capacity");
    check(|o| o.transaction_bytes_max = 5, "transaction_bytes_max");
    check(|o| o.segment_bytes = 5, "segment_bytes");
    check(|o| o.data_dirs.clear(), "data_dirs");
    check(|o| o.hot_window_bytes = 5, "hot_window_bytes");
    check(|o| o.checkpoint_interval = Duration::ZERO, "checkpoint_interval");
}

#[test]
fn a_directory_that_is_not_ours_to_write_is_refused_with_its_name() {
    let dir = tempfile::tempdir().expect("dir");
    let file = dir.path().join("a-file");
    std::fs::write(&file, "x").expect("written");
    let open = |checkpoint: &Path, data: &Path| {
        let mut options = FileChannelOptions::new(checkpoint, [data]);
        options.minimum_required_space = 0;
        FileChannel::open(options).map(|_| ()).expect_err("refused").to_string()
    };
    let error = open(&dir.path().join("c"), &file);
    assert!(error.contains("a-file"), "{error}");
    let error = open(&file, &dir.path().join("d"));
    assert!(error.contains("a-file"), "{error}");
    let error = open(&dir.path().join("c"), Path::new("/proc/channel"));
    assert!(error.contains("/proc/channel"), "{error}");
}

/// A file system that is mounted read-only: needs the right to mount; without it the test says so
/// and is skipped.
#[test]
fn a_read_only_file_system_is_refused_with_its_name() {
    let dir = tempfile::tempdir().expect("dir");
    let mounted = dir.path().join("mounted");
    std::fs::create_dir(&mounted).expect("made");
    let mount = |args: &[&str]| {
        let result = std::process::Command::new("mount").args(args).arg(&mounted).output();
        result.is_ok_and(|output| output.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "size=16m", "tmpfs"]) {
        // .ci/run looks for this line.
        eprintln!("left out read_only: this user may not mount a file system");
        return;
    }
    let options = || {
        let mut options = FileChannelOptions::new(mounted.join("c"), [mounted.join("d")]);
        options.segment_bytes = 1 << 20;
        options.minimum_required_space = 0;
        options
    };
    let created = FileChannel::open(options()).map(drop);
    let remounted = mount(&["-o", "remount,ro"]);
    let refused = FileChannel::open(options()).map(drop);
    let unmounted = std::process::Command::new("umount").arg(&mounted).status();
    created.expect("tmpfs will do");
    assert!(remounted && unmounted.is_ok_and(|s| s.success()));
    let error = refused.expect_err("read-only").to_string();
    assert!(error.contains("mounted") && error.contains("ead-only"), "{error}");
}

#[test]
fn a_lock_that_is_no_lock_is_noticed_by_these_tests() {
    let machine = Machine::with(
        1,
        SimOptions { mutant: Some(Lie::LockAnyway.everywhere()), ..SimOptions::new(1) },
    );
    let _engine = machine.open();
    assert!(machine.try_open(machine.options()).is_ok(), "the mutant grants it");
}

#[test]
fn everything_acknowledged_before_a_clean_stop_is_sealed() {
    let machine = two_with_events();
    let mut engine = machine.open();
    engine.take(5);
    engine.channel.close().expect("sealed");
    drop(engine);
    // Damage in the tail is now damage to acknowledged data: counted, never silent.
    let mut engine = machine.open();
    assert_eq!(sorted(engine.drain()), sorted(all_events()[5..].to_vec()));
}

#[test]
fn a_degraded_opening_goes_on_without_a_directory_that_cannot_be_written() {
    for on in [FaultTarget::Lock, FaultTarget::Submit, FaultTarget::Sync] {
        let machine = Machine::new(2);
        let mut engine = machine.open();
        for i in 0..6 {
            engine.put(&bodies(&format!("before{i}"), 0..2));
        }
        engine.channel.close().expect("sealed");
        drop(engine);
        let failing = machine.after_kill(1);
        failing.disk.fail(Fault::next(on, "data1").times(u64::MAX));
        assert!(failing.try_open(failing.options()).is_err(), "{on:?}: not unasked");
        let mut options = failing.options();
        options.open_degraded = true;
        let mut engine = failing.open_with(options);
        engine.put(&bodies("meanwhile", 0..2));
        let mut all = engine.take(1);
        assert!(engine.channel.status().out_of_reach > 0, "{on:?}");
        engine.channel.close().expect("sealed");
        drop(engine);
        // The disk works again.
        all.extend(failing.after_kill(2).reopened());
        let before: Vec<String> =
            (0..6).flat_map(|i| bodies(&format!("before{i}"), 0..2)).collect();
        let expected = [before, bodies("meanwhile", 0..2)].concat();
        assert_eq!(sorted(all), sorted(expected), "{on:?}");
    }
}
