//! Section 7, the return of a missing directory: what had been moved to it is there once.

use crate::rig::{Commit, Engine, Machine, bodies, checkpoint_dir, data_dir, sorted};
use millpond::internal::disk::Disk;
use millpond::{Channel, FileChannelOptions, OpenError};
use millpond_sim::disk::{Fault, FaultEffect, FaultTarget, Loss};

fn degraded(machine: &Machine) -> FileChannelOptions {
    let mut options = machine.options();
    options.open_degraded = true;
    options
}

/// Returns a machine of `stripes`, on which a write of stripe 0 failed with `effect` and was
/// committed on another stripe before the power was cut, and all that was put. No checkpoint tells
/// stripe 0.
fn moved(stripes: usize, effect: FaultEffect, seed: u64) -> (Machine, Vec<String>) {
    let machine = Machine::new(stripes);
    let mut engine = machine.open();
    for i in 0..stripes {
        engine.put(&bodies(&format!("before{i}"), 0..2));
    }
    machine.disk.fail(Fault::next(FaultTarget::Submit, "data0").effect(effect));
    let names: Vec<String> = (0..6).map(|i| format!("tx{i}")).collect();
    let commits: Vec<Commit> =
        names.iter().map(|name| engine.begin_put(&bodies(name, 0..3))).collect();
    for commit in commits {
        engine.end(commit).expect("committed on the other stripe");
    }
    let mut all: Vec<String> =
        (0..stripes).flat_map(|i| bodies(&format!("before{i}"), 0..2)).collect();
    all.extend(names.iter().flat_map(|name| bodies(name, 0..3)));
    (machine.after_power_cut(seed), all)
}

/// What is done between opening without the directory and its return.
type Meanwhile = fn(&mut Engine) -> Vec<String>;

const MEANWHILE: [(&str, Meanwhile); 3] = [
    ("everything is taken", Engine::drain),
    ("something is taken", |engine| engine.take(3)),
    ("nothing is taken", |_| Vec::new()),
];

/// Returns everything that is delivered when stripe 1 is missing for a while.
fn delivered(machine: &Machine, meanwhile: Meanwhile, cut: bool) -> Vec<String> {
    machine.disk.remove_directory(&data_dir(1));
    let mut engine = machine.open_with(degraded(machine));
    let mut all = meanwhile(&mut engine);
    engine.put(&bodies("degraded", 0..2));
    drop(engine);
    let cut_off;
    let machine = if cut {
        cut_off = machine.after_power_cut(5);
        &cut_off
    } else {
        machine
    };
    // A second opening without it changes nothing.
    drop(machine.open_with(degraded(machine)));
    machine.disk.restore(&data_dir(1));
    let mut engine = machine.open();
    let counted = engine.channel.status();
    let rest = engine.drain();
    assert_eq!(counted.quarantined, 0, "{counted:?}");
    all.extend(rest);
    drop(engine);
    assert_eq!(machine.reopened(), Vec::<String>::new());
    all
}

#[test]
fn what_moved_to_a_directory_that_was_missing_is_delivered_once() {
    let effects = [
        FaultEffect::Nothing,
        FaultEffect::Part,
        FaultEffect::All,
        FaultEffect::Later,
        FaultEffect::Lost(Loss::KeepsNew),
    ];
    for effect in effects {
        for (words, meanwhile) in MEANWHILE {
            for seed in 0..2 {
                for stripes in [2, 3] {
                    let (machine, mut expected) = moved(stripes, effect, seed);
                    let all = delivered(&machine, meanwhile, seed % 2 == 1);
                    expected.extend(bodies("degraded", 0..2));
                    let about = format!("{effect:?}, {words}, seed {seed}, {stripes} stripes");
                    assert_eq!(sorted(all), sorted(expected), "{about}");
                }
            }
        }
    }
}

#[test]
fn what_moved_to_a_missing_directory_is_delivered_once_without_checkpoint() {
    for (words, meanwhile) in MEANWHILE {
        let (machine, mut expected) = moved(2, FaultEffect::All, 1);
        machine.disk.remove_directory(&data_dir(1));
        let mut engine = machine.open_with(degraded(&machine));
        let mut all = meanwhile(&mut engine);
        engine.put(&bodies("degraded", 0..2));
        drop(engine);
        machine.disk.restore(&data_dir(1));
        for path in [checkpoint_dir(), data_dir(0), data_dir(1)] {
            let directory = machine.disk.open_dir(&path, false).expect("there");
            directory.remove("checkpoint").expect("removed");
        }
        all.extend(machine.reopened());
        expected.extend(bodies("degraded", 0..2));
        assert_eq!(sorted(all), sorted(expected), "{words}");
        assert_eq!(machine.reopened(), Vec::<String>::new(), "{words}");
    }
}

fn leave(engine: &mut Engine, lines: std::ops::Range<usize>) {
    for i in lines {
        let bodies = bodies(&format!("line{i}"), 0..1);
        let commit = engine.begin_put_at(&bodies, "tail", &format!("{i}"));
        engine.end(commit).expect("committed");
    }
}

#[test]
fn an_offset_committed_while_a_directory_was_missing_wins() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    leave(&mut engine, 0..2);
    // Only the directory that will be missing knows of these.
    machine.disk.fail(Fault::dead("data0"));
    leave(&mut engine, 2..9);
    let machine = machine.after_power_cut(1);
    machine.disk.remove_directory(&data_dir(1));
    let mut engine = machine.open_with(degraded(&machine));
    let at = engine.channel.source_offset("tail").expect("settled").map(|p| p.bytes);
    assert!(at.is_none_or(|at| at == "0" || at == "1"), "the source continues from an older one");
    leave(&mut engine, 9..10);
    drop(engine);
    machine.disk.restore(&data_dir(1));
    let at = machine.open().channel.source_offset("tail").expect("settled").expect("known").bytes;
    assert_eq!(at, "9", "the last one that was left wins");
}

#[test]
fn an_offset_wins_over_one_of_a_directory_that_was_alone_before() {
    // Directory 0 was opened without 1, then together with it, and then 1 without 0.
    let machine = Machine::new(2);
    drop(machine.open());
    machine.disk.remove_directory(&data_dir(1));
    drop(machine.open_with(degraded(&machine)));
    machine.disk.restore(&data_dir(1));
    let mut engine = machine.open();
    machine.disk.fail(Fault::dead("data1"));
    leave(&mut engine, 0..9);
    let machine = machine.after_power_cut(1);
    machine.disk.remove_directory(&data_dir(0));
    let mut engine = machine.open_with(degraded(&machine));
    assert_eq!(engine.channel.source_offset("tail").expect("settled"), None, "0 has all of them");
    leave(&mut engine, 9..10);
    drop(engine);
    machine.disk.restore(&data_dir(0));
    let at = machine.open().channel.source_offset("tail").expect("settled").expect("known").bytes;
    assert_eq!(at, "9", "the last one that was left wins");
}

#[test]
fn a_late_write_leaves_no_source_offset_without_its_events() {
    let mut interrupted = 0;
    for (operation, seed) in (4..16).flat_map(|at| (0..5).map(move |seed| (at, seed))) {
        let machine = Machine::new(2);
        let mut engine = machine.open();
        machine.disk.fail(Fault::dead("data1"));
        leave(&mut engine, 0..2);
        // Its bytes are in flight when the process is killed.
        machine
            .disk
            .fail(Fault::next(FaultTarget::Submit, "data0/segment").effect(FaultEffect::Later));
        let doubtful = engine.begin_put_at(&bodies("line2", 0..1), "tail", "2");
        let write = engine.stepper.start_write(0).map(|mut write| write.finish());
        assert!(write.is_some_and(|result| result.is_err()), "it is in flight");
        drop((doubtful, engine));
        let machine = machine.after_kill(seed);
        machine.disk.remove_directory(&data_dir(1));
        machine.disk.crash_at(operation);
        interrupted += u64::from(machine.try_open(degraded(&machine)).is_err());
        let machine = machine.after_power_cut(seed);
        let mut engine = machine.open_with(degraded(&machine));
        let at = engine.channel.source_offset("tail").expect("settled").map(|p| p.bytes);
        let there = engine.drain();
        let promised = at.is_some_and(|at| at == "2");
        let about = format!("interrupted at {operation}, seed {seed}: {there:?}");
        assert_eq!(promised, there.contains(&"line2-0".to_owned()), "{about}");
    }
    assert!(interrupted > 0, "some opening is interrupted");
}

/// Returns a machine on which the first stripe's write fails, and, after `after` other writes, one
/// of the stripe to which it moves.
fn moved_twice(after: u64) -> (Machine, Vec<String>) {
    let machine = Machine::new(3);
    let mut engine = machine.open();
    for i in 0..3 {
        engine.put(&bodies(&format!("before{i}"), 0..1));
    }
    machine.disk.fail(Fault::next(FaultTarget::Submit, "data0").effect(FaultEffect::All));
    machine
        .disk
        .fail(Fault::next(FaultTarget::Submit, "data1").after(after).effect(FaultEffect::All));
    let commits: Vec<Commit> =
        (0..9).map(|i| engine.begin_put(&bodies(&format!("tx{i}"), 0..2))).collect();
    for commit in commits {
        engine.end(commit).expect("committed on the last stripe");
    }
    let mut all: Vec<String> = (0..3).flat_map(|i| bodies(&format!("before{i}"), 0..1)).collect();
    all.extend((0..9).flat_map(|i| bodies(&format!("tx{i}"), 0..2)));
    (machine.after_power_cut(after), all)
}

#[test]
fn events_moved_twice_are_delivered_once_without_any_one_of_the_disks() {
    for after in 0..4 {
        for missing in 0..3 {
            let (machine, expected) = moved_twice(after);
            machine.disk.remove_directory(&data_dir(missing));
            let mut all = machine.open_with(degraded(&machine)).drain();
            machine.disk.restore(&data_dir(missing));
            all.extend(machine.reopened());
            assert_eq!(sorted(all), sorted(expected), "the {after}th, without {missing}");
        }
    }
}

/// The first call in the directory to fail may be any: of recovery, or of the new epoch's start
/// after it.
#[test]
fn a_degraded_opening_leaves_out_a_directory_whose_first_writes_fail() {
    let machine = Machine::new(2);
    let mut engine = machine.open();
    let expected: Vec<String> = (0..6).flat_map(|i| bodies(&format!("tx{i}"), 0..3)).collect();
    expected.chunks(3).for_each(|batch| engine.put(batch));
    let machine = machine.after_kill(1);
    drop(engine);
    for part in ["data1", "data1/checkpoint"] {
        let mut begun = 0;
        for after in 0.. {
            let failing = machine.after_kill(2);
            failing.disk.fail(Fault::dead(part).after(after));
            let path = match failing.try_open(failing.options()) {
                // Its opening makes fewer calls there.
                Ok(_) => break,
                Err(OpenError::Begin { path, .. }) => path,
                Err(_) => continue,
            };
            let about = format!("{part}, after {after} calls");
            assert_eq!(path, data_dir(1), "{about}");
            begun += 1;
            let failing = machine.after_kill(2);
            failing.disk.fail(Fault::dead(part).after(after));
            let mut options = failing.options();
            options.open_degraded = true;
            let mut engine = failing.open_with(options);
            engine.put(&bodies("meanwhile", 0..2));
            assert!(engine.channel.status().out_of_reach > 0, "{about}");
            drop(engine);
            let all = sorted([expected.clone(), bodies("meanwhile", 0..2)].concat());
            assert!(sorted(failing.after_kill(3).reopened()) == all, "{about}");
        }
        assert!(begun > 0, "{part}: the start of the new epoch was never reached");
    }
}
