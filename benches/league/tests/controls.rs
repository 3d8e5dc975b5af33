//! The harness run on queues that are broken on purpose: each column turns red for its own reason, and none for a sound
//! one.

use serde_json::Value;
use std::process::Command;

/// Returns the cell of one control under one fault.
fn cell(control: &str, fault: &str, rounds: &str) -> Value {
    let dir = tempfile::tempdir().expect("a directory");
    let json = dir.path().join("cells.json");
    let output = Command::new(env!("CARGO_BIN_EXE_league"))
        .args(["run", "--seed", "5", "--patience", "2", "--engine", control, "--fault", fault])
        .args(["--rounds", rounds, "--dir"])
        .arg(dir.path())
        .arg("--json")
        .arg(&json)
        .output()
        .expect("the harness starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "a measurement that came to its end succeeds: {text}");
    let all = std::fs::read(&json).expect("figures were written");
    let all: Value = serde_json::from_slice(&all).expect("figures are JSON");
    all["cells"][0].clone()
}

fn count(cell: &Value, name: &str) -> u64 {
    let value = if cell["events"][name].is_u64() { &cell["events"][name] } else { &cell[name] };
    value.as_u64().unwrap_or_else(|| panic!("no {name} in {cell}"))
}

#[track_caller]
fn only(cell: &Value, red: &[&str]) {
    for name in ["lost", "doubled", "altered", "disordered", "parted", "unopenable", "hung", "died"]
    {
        assert_eq!(count(cell, name) > 0, red.contains(&name), "{name} in {cell:#}");
    }
    assert!(count(cell, "rounds") > 0 && count(cell, "met") > 0, "{cell:#}");
}

#[test]
fn a_sound_queue_is_clean_under_kills_and_failing_calls() {
    for fault in ["kill", "sync", "short"] {
        let cell = cell("control-sound", fault, "50");
        only(&cell, &[]);
        assert!(count(&cell, "acked") > 100, "{cell:#}");
    }
}

#[test]
fn what_was_answered_too_early_is_lost_by_a_kill() {
    let cell = cell("control-forgets", "kill", "50");
    assert!(count(&cell, "lost") > 0, "{cell:#}");
    assert_eq!(
        count(&cell, "harmed"),
        count(&cell, "silent"),
        "the engine reported nothing: {cell:#}"
    );
}

#[test]
fn takes_that_were_not_recorded_come_again() {
    only(&cell("control-repeats", "kill", "30"), &["doubled"]);
}

#[test]
fn a_queue_that_waits_for_ever_hangs_and_one_that_panics_dies() {
    only(&cell("control-hangs", "sync", "20"), &["hung"]);
    only(&cell("control-panics", "sync", "20"), &["died"]);
}

#[test]
fn a_short_write_taken_for_a_whole_one_loses() {
    let cell = cell("control-short", "short", "100");
    assert!(count(&cell, "lost") > 0, "{cell:#}");
}

#[test]
fn altered_bytes_are_seen_and_so_is_who_says_so() {
    let blind = cell("control-blind", "flip", "100");
    assert!(count(&blind, "altered") > 0, "{blind:#}");
    let silent = cell("control-silent", "flip", "100");
    assert!(count(&silent, "lost") > 0 && count(&silent, "silent") > 0, "{silent:#}");
    let sound = cell("control-sound", "flip", "100");
    assert_eq!(count(&sound, "altered"), 0, "{sound:#}");
    assert!(count(&sound, "harmed") > count(&sound, "silent"), "{sound:#}");
}

#[test]
fn without_flume_its_cells_say_so() {
    let cell = cell("flume", "kill", "1");
    assert!(cell["left_out"].as_str().is_some_and(|why| why.contains("--flume-lib")), "{cell}");
}
