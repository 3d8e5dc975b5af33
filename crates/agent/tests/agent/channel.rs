//! `channel put|take|stat|check|dump` on real directories.

use super::demo::demo;
use super::process::{Agent, holder, millpond, run, run_expecting, signal, until};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;

const CHANNEL: [&str; 4] = ["--checkpoint-dir", "cp", "--data-dirs", "d1,d2"];

fn words<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["channel", command][..], &CHANNEL, more].concat()
}

fn numbers(from: usize, to: usize) -> String {
    (from..=to).map(|n| format!("{n}\n")).collect()
}

/// Returns the waiting events, as `stat --json` reports them.
fn waiting(directory: &Path, channel: &[&str]) -> u64 {
    let stat = [&["channel", "stat", "--json"][..], channel].concat();
    let text = run_expecting(directory, &stat, b"", 0);
    let json: serde_json::Value = serde_json::from_str(&text).expect("stat --json is JSON");
    json["events"].as_u64().unwrap_or_else(|| panic!("no number of events in {text}"))
}

#[test]
fn what_was_put_is_counted_checked_shown_and_taken_once_in_order() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let put = words("put", &["--batch", "100", "--acks"]);
    let acks = run_expecting(top, &put, numbers(1, 250).as_bytes(), 0);
    assert_eq!(acks, "committed 100\ncommitted 200\ncommitted 250\n");
    assert_eq!(waiting(top, &CHANNEL), 250);
    run_expecting(top, &words("check", &[]), b"", 0);
    assert_eq!(run_expecting(top, &words("dump", &["--json"]), b"", 0).lines().count(), 250);

    let first = run_expecting(top, &words("take", &["--batch", "7", "--count", "30"]), b"", 0);
    assert_eq!(first, numbers(1, 30));
    assert_eq!(waiting(top, &CHANNEL), 220);
    let output = run(top, &words("take", &["--acks"]), b"");
    assert_eq!(String::from_utf8_lossy(&output.stdout), numbers(31, 250));
    assert!(String::from_utf8_lossy(&output.stderr).contains("committed 220"));
    assert_eq!(run_expecting(top, &words("take", &[]), b"", 0), "");
    run_expecting(top, &words("check", &[]), b"", 0);
}

#[test]
fn bytes_come_out_as_they_went_in() {
    let directory = tempfile::tempdir().expect("a directory");
    let input = b"\n\r\n\xff\xfe\0\nlast without newline";
    run_expecting(directory.path(), &words("put", &[]), input, 0);
    let output = run(directory.path(), &words("take", &[]), b"");
    assert_eq!(output.stdout, [&input[..], b"\n"].concat());
}

#[test]
fn a_full_channel_refuses_with_what_was_committed() {
    let directory = tempfile::tempdir().expect("a directory");
    let put = words("put", &["--capacity", "50", "--batch", "20"]);
    let output = run(directory.path(), &put, numbers(1, 100).as_bytes());
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("40 lines were committed") && said.contains("full"), "{said}");
    assert_eq!(run_expecting(directory.path(), &words("take", &[]), b"", 0), numbers(1, 40));
}

#[test]
fn a_second_process_is_refused_and_the_first_one_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let (mut child, stdin) = holder(directory.path(), &words("put", &["--batch", "1", "--acks"]));
    for command in ["put", "take"] {
        let output = run(directory.path(), &words(command, &[]), b"x\n");
        assert_eq!(output.status.code(), Some(1), "{command}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(&child.id().to_string()), "{command} must name the holder: {said}");
    }
    // Read-only commands work at the same time.
    assert_eq!(waiting(directory.path(), &CHANNEL), 1);
    run_expecting(directory.path(), &words("check", &[]), b"", 0);
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    assert_eq!(run_expecting(directory.path(), &words("take", &[]), b"", 0), "held\n");
}

#[test]
fn acknowledged_lines_survive_kill_9_of_put() {
    let directory = tempfile::tempdir().expect("a directory");
    for round in 0..5 {
        let mut child = millpond(directory.path())
            .args(words("put", &["--batch", "10", "--acks"]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let mut stdin = child.stdin.take().expect("a pipe");
        let mut acks = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        let committed = std::thread::scope(|scope| {
            scope.spawn(move || {
                // Ends with a broken pipe when the process is killed.
                let _ = stdin.write_all(numbers(1, 100_000).as_bytes());
            });
            let enough = acks.by_ref().take(20 + round * 10).last();
            child.kill().expect("SIGKILL");
            // Acknowledgements that were on their way count too.
            let last = acks.map_while(Result::ok).last();
            last.or_else(|| enough?.ok()).expect("some acknowledgement")
        });
        child.wait().expect("it ends");
        let committed: usize =
            committed.strip_prefix("committed ").and_then(|n| n.parse().ok()).expect("a number");
        let taken = run_expecting(directory.path(), &words("take", &[]), b"", 0);
        let lines = taken.lines().count();
        assert!(
            lines >= committed && lines.is_multiple_of(10),
            "{lines} of {committed} acknowledged"
        );
        assert_eq!(taken, numbers(1, lines));
    }
}

#[test]
fn the_channel_of_a_stopped_agent_can_be_inspected_and_taken_from() {
    let (directory, _) = demo();
    let top = directory.path();
    let channel = ["-n", "demo", "-f", "demo.conf", "--channel", "pond"];
    let put = [&["channel", "put"][..], &channel].concat();
    run_expecting(top, &put, b"one\ntwo\n", 0);
    assert_eq!(waiting(top, &channel), 2);

    let agent = Agent::start(top, "demo", "demo.conf");
    let log = agent.words();
    until("the agent has taken them", || log.clone(), || waiting(top, &channel) == 0);
    let refused = run(top, &put, b"three\n");
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains(&agent.id().to_string()));
    assert_eq!(agent.terminate().code(), Some(0));
    let take = [&["channel", "take"][..], &channel].concat();
    assert_eq!(run_expecting(top, &take, b"", 0), "");
}

#[test]
fn put_and_take_fit_batches_to_small_transactions() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let conf = "a.channels = c\na.sinks = k\na.sinks.k.type = null\na.sinks.k.batchSize = 7\n\
                a.sinks.k.channel = c\na.channels.c.type = file\na.channels.c.transactionCapacity = 7\n\
                a.channels.c.checkpointDir = cp\na.channels.c.dataDirs = d\n\
                a.channels.c.minimumRequiredSpace = 1048576\n";
    std::fs::write(top.join("a.conf"), conf).expect("written");
    let words = |command: &'static str, more: &[&'static str]| {
        let channel = ["channel", command, "-n", "a", "-f", "a.conf", "--channel", "c"];
        [&channel, more].concat()
    };
    let acks = run_expecting(top, &words("put", &["--acks"]), numbers(1, 20).as_bytes(), 0);
    assert_eq!(acks, "committed 7\ncommitted 14\ncommitted 20\n");
    assert_eq!(run_expecting(top, &words("take", &[]), b"", 0), numbers(1, 20));
    run_expecting(top, &words("take", &["--batch", "8"]), b"", 2);
}

/// A source was removed from the file, and its channel with it.
#[test]
fn an_unused_channel_is_emptied_and_its_sources_are_forgotten() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let channel = "a.channels.c.type = file\na.channels.c.checkpointDir = cp\n\
                   a.channels.c.dataDirs = d\na.channels.c.minimumRequiredSpace = 1048576\n";
    let source = format!(
        "a.sources = r\na.sources.r.type = TAILDIR\na.sources.r.filegroups = g\n\
         a.sources.r.filegroups.g = {}/app.log\na.sources.r.positionFile = pos.json\n\
         a.sources.r.channels = c\n",
        top.display()
    );
    std::fs::write(top.join("a.conf"), format!("a.channels = c\n{channel}{source}"))
        .expect("written");
    std::fs::write(top.join("app.log"), "1\n2\n").expect("written");
    let which = ["-n", "a", "-f", "a.conf", "--channel", "c"];
    let agent = Agent::start(top, "a", "a.conf");
    let log = agent.words();
    until("the lines are in", || log.clone(), || waiting(top, &which) == 2);
    assert_eq!(agent.terminate().code(), Some(0));
    std::fs::write(top.join("a.conf"), format!("a.channels = c\n{channel}")).expect("written");

    let words = |command: &'static str, more: &[&'static str]| {
        [&["channel", command][..], &which, more].concat()
    };
    let put = run(top, &words("put", &[]), b"3\n");
    assert_eq!(put.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&put.stderr).contains("1 event put"));
    assert_eq!(run_expecting(top, &words("take", &[]), b"", 0), "1\n2\n3\n");
    let sources = || {
        let text = run_expecting(top, &words("stat", &["--json"]), b"", 0);
        let stat: serde_json::Value = serde_json::from_str(&text).expect("stat --json is JSON");
        let positions = stat["positions"].as_array().expect("positions");
        positions
            .iter()
            .map(|p| p["source"].as_str().expect("a name").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(sources(), ["r"], "a command that opens the channel forgets none");
    let wrong = run(top, &words("forget-source", &["q"]), b"");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("it has those of r"));
    run_expecting(top, &words("forget-source", &["r"]), b"", 0);
    assert_eq!(sources(), [""; 0]);
    run_expecting(top, &words("check", &[]), b"", 0);
}

/// A file channel `c` for sources that each produce one event with a position of 32,768 bytes;
/// three of them do not fit together. The last line is about a sink that cannot run.
fn with_large_positions(sources: &[&str], mistake: &str) -> String {
    let each = |name: &&str| {
        format!(
            "a.sources.{name}.type = external\na.sources.{name}.command = sh give.sh {name}\n\
             a.sources.{name}.channels = c\n"
        )
    };
    format!(
        "a.sources = {}\na.channels = c\na.channels.c.type = file\na.channels.c.checkpointDir = cp\n\
         a.channels.c.dataDirs = d\na.channels.c.minimumRequiredSpace = 1048576\n{}{mistake}",
        sources.join(" "),
        sources.iter().map(each).collect::<String>()
    )
}

#[test]
fn a_renamed_source_has_room_for_its_position_next_to_left_out_components() {
    // Once in all its runs: the second position of a source contains the first one.
    let script = "read -r greeting; echo '{\"ready\":1}'; p=$(head -c 32768 /dev/zero | tr '\\0' x)\n\
                  case $greeting in *'\"position\":null'*)\n\
                  echo '{\"batch\":1,\"events\":[{\"body\":\"'$1'\"}],\"position\":\"'$p'\"}'; read -r answer;;\n\
                  esac\n\
                  read -r stop\n";
    let sink = "a.sinks = k\na.sinks.k.type = file_roll\na.sinks.k.channel = c\n";
    for mistake in [sink, "a.sources.r2.batchSize = many\n"] {
        let directory = tempfile::tempdir().expect("a directory");
        let top = directory.path();
        std::fs::write(top.join("give.sh"), script).expect("written");
        let which = ["--checkpoint-dir", "cp", "--data-dirs", "d"];
        let until_there = |agent: &Agent, count: u64| {
            until(
                "the events",
                || agent.words(),
                || top.join("d").exists() && waiting(top, &which) == count,
            );
        };
        std::fs::write(top.join("a.conf"), with_large_positions(&["r1", "r2"], ""))
            .expect("written");
        let agent = Agent::start(top, "a", "a.conf");
        until_there(&agent, 2);
        assert_eq!(agent.terminate().code(), Some(0));
        // r1 has another name; r2 is there, or was left out by mistake.
        let text = with_large_positions(&["r2", "r3"], mistake);
        std::fs::write(top.join("a.conf"), text).expect("written");
        let agent = Agent::start(top, "a", "a.conf");
        until_there(&agent, 3);
        assert_eq!(agent.terminate().code(), Some(0));
        let stat = [&["channel", "stat", "--json"][..], &which].concat();
        let stat = run_expecting(top, &stat, b"", 0);
        let stat: serde_json::Value = serde_json::from_str(&stat).expect("JSON");
        let positions = stat["positions"].as_array().expect("positions").iter();
        let names: Vec<_> = positions.map(|p| p["source"].as_str().expect("a name")).collect();
        assert_eq!(names, ["r2", "r3"], "only what is gone is forgotten");
    }
}

#[test]
fn a_killed_agent_leaves_nothing_that_has_to_be_cleaned_up() {
    let (directory, _) = demo();
    let agent = Agent::start(directory.path(), "demo", "demo.conf");
    let log = agent.words();
    until("the start", || log.clone(), || agent.words().contains("agent demo started"));
    signal(agent.id(), "KILL");
    drop(agent);
    let take = ["channel", "take", "-n", "demo", "-f", "demo.conf", "--channel", "pond"];
    assert_eq!(run_expecting(directory.path(), &take, b"", 0), "");
}

#[test]
fn events_that_damage_took_are_not_missing_in_silence() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let channel = ["--checkpoint-dir", "cp", "--data-dirs", "d1"];
    let words = |command| [&["channel", command][..], &channel].concat();
    run_expecting(top, &words("put"), numbers(1, 300).as_bytes(), 0);
    let log = top.join("d1/segment-00000.log");
    let mut bytes = std::fs::read(&log).expect("the log");
    let at = bytes.windows(4).position(|w| w[..3] == *b"150").expect("an event");
    bytes[at] ^= 1;
    std::fs::write(&log, bytes).expect("damaged");
    let output = run(top, &words("take"), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.stdout.iter().filter(|b| **b == b'\n').count() < 300);
    assert!(said.contains("quarantined") && said.contains("segment-00000.log"), "{said}");
}

#[test]
fn a_directory_that_cannot_be_read_is_not_called_sound() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    run_expecting(top, &words("put", &[]), numbers(1, 300).as_bytes(), 0);
    run_expecting(top, &words("check", &[]), b"", 0);
    std::fs::remove_dir_all(top.join("d2")).expect("removed");
    let output = run(top, &words("check", &[]), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("1 of 2 data directories cannot be read"), "{said}");
    let json = run_expecting(top, &words("check", &["--json"]), b"", 1);
    assert!(json.contains("\"sound\":false"), "{json}");
}

#[test]
fn nothing_is_taken_when_stdout_is_closed() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    run_expecting(top, &words("put", &[]), numbers(1, 10).as_bytes(), 0);
    let take = |redirection: &str| {
        let script = format!("exec \"$0\" \"$@\" {redirection}");
        let binary = env!("CARGO_BIN_EXE_millpond");
        let mut shell = std::process::Command::new("sh");
        shell.current_dir(top).args(["-c", &script, binary]).args(words("take", &[]));
        shell.output().expect("sh runs")
    };
    let refused = take(">&-");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("stdout is closed"), "{said}");
    assert_eq!(waiting(top, &CHANNEL), 10);
    // On a full disk nothing could be written, so nothing was taken.
    assert_eq!(take("> /dev/full").status.code(), Some(1));
    assert_eq!(waiting(top, &CHANNEL), 10);
    // Events can be discarded on purpose.
    assert_eq!(take("> /dev/null").status.code(), Some(0));
    assert_eq!(waiting(top, &CHANNEL), 0);
}

#[test]
fn taking_where_no_channel_is_makes_none_and_says_so() {
    let directory = tempfile::tempdir().expect("a directory");
    let output = run(directory.path(), &words("take", &[]), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(output.stdout.is_empty() && said.contains("there is no channel in cp"), "{said}");
    // A mistyped path must not look like a sound channel.
    for command in ["check", "stat", "dump"] {
        let output = run(directory.path(), &words(command, &[]), b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{command}: {said}");
        assert!(said.contains("warning: there is no channel in cp"), "{command}: {said}");
    }
    assert_eq!(std::fs::read_dir(directory.path()).expect("listed").count(), 0);
    std::fs::create_dir(directory.path().join("cp")).expect("made");
    let checked = run_expecting(directory.path(), &words("check", &[]), b"", 0);
    assert!(checked.contains("no event was ever put"), "{checked}");
}

#[test]
fn segments_that_wait_for_their_first_use_are_not_called_interrupted() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    run_expecting(top, &words("put", &[]), numbers(1, 20).as_bytes(), 0);
    let files = || {
        let dir = std::fs::read_dir(top.join("d1")).expect("listed");
        let mut names: Vec<_> = dir.map(|entry| entry.expect("an entry").file_name()).collect();
        names.sort();
        names
    };
    let made = files();
    let stat = run_expecting(top, &words("stat", &["--json"]), b"", 0);
    let json: serde_json::Value = serde_json::from_str(&stat).expect("stat --json is JSON");
    let stripe = &json["stripes"][0];
    let (used, ready) = (stripe["segments"].as_array(), stripe["free_segments"].as_u64());
    let counted = used.map_or(0, Vec::len) as u64 + ready.unwrap_or(0);
    let is_segment = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with("segment-");
    assert_eq!(counted, made.iter().filter(is_segment).count() as u64, "{stat}");
    let stat = run_expecting(top, &words("stat", &[]), b"", 0);
    assert!(stat.contains("20 events waiting"), "{stat}");
    for said in [stat, run_expecting(top, &words("check", &[]), b"", 0)] {
        assert!(!said.contains("R9"), "{said}");
    }
    run_expecting(top, &words("take", &["--count", "1"]), b"", 0);
    let left = files();
    assert!(
        made.iter().all(|name| left.contains(name)),
        "an opening removed one: {made:?}, {left:?}"
    );
}
