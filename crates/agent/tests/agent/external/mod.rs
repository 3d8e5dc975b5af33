//! User-written components as processes: the programs of docs/external.md, configurations that name
//! Java classes, and processes and agents that are killed.
//!
//! The programs are in Python; without Python the tests say so and pass.

mod unread_stdin;

use super::process::{
    Agent, Random, connect, free_port, fresh_seed, read_line, run, run_expecting, signal, until,
};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Returns whether there is a Python 3; if not, prints that a test is left out.
#[allow(clippy::print_stderr)]
fn has_python() -> bool {
    let mut python = Command::new("python3");
    let asked = python.args(["-c", "import sys; sys.exit(sys.version_info < (3, 7))"]);
    let is_there = asked.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("left out external: there is no python3");
    }
    is_there
}

fn top() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Returns the command that runs a program of docs/examples/external.
fn example(name: &str) -> String {
    format!("python3 {}", top().join("docs/examples/external").join(name).display())
}

/// Returns the command that runs a program of these tests.
fn program(name: &str) -> String {
    format!("python3 {}", top().join("crates/agent/tests/agent/external").join(name).display())
}

/// Returns a directory with one of the configurations that name Java classes, and a map for them.
fn with_map(configuration: &str, map: &str) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let text = std::fs::read_to_string(top().join("tests/golden/configs/job").join(configuration));
    let text = text.expect("a configuration");
    std::fs::write(directory.path().join(configuration), text).expect("written");
    std::fs::create_dir(directory.path().join("conf")).expect("a directory");
    std::fs::write(directory.path().join("conf/millpond.properties"), map).expect("written");
    directory
}

const MY_SOURCE: &str = "com.stt.demo.flume.Ch01_mySource.MySource";
const MY_SINK: &str = "com.stt.demo.flume.Ch02_mySink.MySink";
const SQL_SOURCE: &str = "com.atguigu.source.SQLSource";

#[test]
fn java_classes_are_refused_with_advice_and_run_as_programs() {
    for (configuration, class, line) in [
        ("mysource.conf", MY_SOURCE, 7),
        ("mysink.conf", MY_SINK, 12),
        ("mysql.conf", SQL_SOURCE, 7),
    ] {
        let directory = with_map(configuration, "");
        let words = ["validate", "-c", "conf", "-n", "a1", "-f", configuration, "--notes"];
        let output = run(directory.path(), &words, b"");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(&format!("{configuration}:{line}: error:")), "{said}");
        let hint = format!("write external.{class} = COMMAND into millpond.properties");
        assert!(said.contains(&hint), "{said}");
        // In the file, and as an option.
        let directory = with_map(configuration, &format!("external.{class} = python3 x.py\n"));
        let said = run_expecting(directory.path(), &words, b"", 0);
        assert!(said.contains(&format!("a process replaces {class}: python3 …\n")), "{said}");
        let directory = with_map(configuration, "");
        let option = format!("-Dmillpond.external.{class}=python3 y.py");
        let said = run_expecting(directory.path(), &[&words[..], &[&option]].concat(), b"", 0);
        assert!(said.contains(": python3 …\n") && !said.contains("y.py"), "no arguments: {said}");
    }
}

#[test]
fn a_class_that_is_a_source_runs_as_a_program() {
    if !has_python() {
        return;
    }
    let directory =
        with_map("mysource.conf", &format!("external.{MY_SOURCE} = {}\n", example("my_source.py")));
    let agent = Agent::start_with(directory.path(), "a1", "mysource.conf", &["-c", "conf"]);
    until("events in the log", || agent.words(), || agent.words().contains("mySource-2"));
    let words = agent.words();
    assert!(words.contains("mySource-0") && words.contains("mySource-1"), "{words}");
    assert_eq!(agent.terminate().code(), Some(0));
}

/// Sends lines until each is acknowledged with OK.
fn send(agent: &mut Agent, port: u16, lines: &[&str]) {
    for line in lines {
        let words = agent.words();
        until(
            "an OK",
            || words.clone(),
            || {
                agent.assert_alive();
                let Some((mut reader, mut writer)) = connect(port) else { return false };
                writer.write_all(format!("{line}\n").as_bytes()).expect("sent");
                read_line(&mut reader).as_deref() == Some("OK")
            },
        );
    }
}

#[test]
fn a_class_that_is_a_sink_runs_as_a_program() {
    if !has_python() {
        return;
    }
    let map = format!(
        "external.{MY_SINK} = {}\nexternal.{MY_SINK}.batchSize = 10\n",
        example("my_sink.py")
    );
    let directory = with_map("mysink.conf", &map);
    let port = free_port();
    let path = directory.path().join("mysink.conf");
    let text = std::fs::read_to_string(&path).expect("a configuration");
    // A key of the component is passed to the program, whatever its name.
    let text = text.replace("44444", &port.to_string()) + "a1.sinks.k1.batchSize = many\n";
    std::fs::write(path, text).expect("written");
    let mut agent = Agent::start_with(directory.path(), "a1", "mysink.conf", &["-c", "conf"]);
    send(&mut agent, port, &["hello", "größer"]);
    let logged = |line: &str| agent.words().contains(&format!("mysinkprefix:{line}:myskinsuffix"));
    until("both lines in the log", || agent.words(), || logged("hello") && logged("größer"));
    assert_eq!(agent.terminate().code(), Some(0));
}

/// Two file channels, or one.
fn channels(names: &[&str]) -> String {
    let one = |c: &&str| {
        format!(
            "k.channels.{c}.type = file\nk.channels.{c}.checkpointDir = {c}/cp\n\
             k.channels.{c}.dataDirs = {c}/d1,{c}/d2\nk.channels.{c}.maxFileSize = 262144\n\
             k.channels.{c}.checkpointInterval = 1000\n\
             k.channels.{c}.minimumRequiredSpace = 1048576\n"
        )
    };
    format!("k.channels = {}\n{}", names.join(" "), names.iter().map(one).collect::<String>())
}

fn taken(top: &Path, channel: &str) -> Vec<String> {
    let take = ["channel", "take", "-n", "k", "-f", "k.conf", "--channel", channel];
    run_expecting(top, &take, b"", 0).lines().map(str::to_owned).collect()
}

#[test]
fn a_hung_interceptor_delays_clients_without_loss() {
    if !has_python() {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let port = free_port();
    // The first process takes a batch and never replies.
    let command = format!(
        "[ -e been ] || {{ touch been; read -r x; echo '{{\"ready\":1}}'; sleep 1000; }}; {}; touch ended",
        example("my_interceptor.py")
    );
    let text = format!(
        "k.sources = r\nk.sources.r.type = netcat\nk.sources.r.bind = 127.0.0.1\nk.sources.r.port = {port}\n\
         k.sources.r.channels = c1\nk.sources.r.interceptors = s i\n\
         k.sources.r.interceptors.s.type = static\nk.sources.r.interceptors.i.type = external\n\
         k.sources.r.interceptors.i.command = {command}\nk.sources.r.interceptors.i.shell = /bin/sh -c\n\
         k.sources.r.interceptors.i.answerTimeout = 3000\nk.sources.r.interceptors.i.stopGrace = 8000\n\
         k.sources.r.interceptors.i.restartPause = 50\n\
         k.sources.r.interceptors.i.value = here\nk.sources.r.interceptors.i.drop = secret\n{}",
        channels(&["c1"])
    );
    std::fs::write(top.join("k.conf"), text).expect("written");
    let mut agent = Agent::start(top, "k", "k.conf");
    send(&mut agent, port, &["one", "a secret", "two"]);
    let words = agent.words();
    assert!(words.contains("did not answer"), "{words}");
    assert!(words.contains("serves again"), "{words}");
    assert_eq!(agent.terminate().code(), Some(0));
    assert!(top.join("ended").exists(), "its process was told to stop, not killed");
    let dump = ["channel", "dump", "-n", "k", "-f", "k.conf", "--channel", "c1", "--json"];
    let dump = run_expecting(top, &dump, b"", 0);
    assert!(dump.contains("\"seen\":\"here\"") && dump.contains("\"key\":\"value\""), "{dump}");
    assert_eq!(taken(top, "c1"), ["one", "two"]);
}

fn kills() -> u64 {
    std::env::var("MILLPOND_KILLS").ok().and_then(|s| s.parse().ok()).unwrap_or(8)
}

#[allow(clippy::print_stderr)]
fn seed(kills: u64) -> u64 {
    let seed = std::env::var("MILLPOND_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(fresh_seed);
    eprintln!("seed {seed}, {kills} kills; repeat with MILLPOND_SEED={seed}");
    seed
}

/// Kills the process whose number is in `file`, if it exists.
fn kill_process(file: &Path) {
    if let Some(id) =
        std::fs::read_to_string(file).ok().and_then(|id| id.trim().parse::<u32>().ok())
    {
        let _ = Command::new("kill").args(["-9", &id.to_string()]).stderr(Stdio::null()).status();
    }
}

#[test]
fn kill_9_neither_loses_nor_repeats_events_of_an_external_source() {
    if !has_python() {
        return;
    }
    let kills = kills();
    let mut random = Random::new(seed(kills));
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    // Two channels, so that a kill can fall between their commits of one batch.
    let text = format!(
        "k.sources = r\nk.sources.r.type = external\nk.sources.r.command = {}\n\
         k.sources.r.mischief = 60\nk.sources.r.lineBytes = 65536\nk.sources.r.stopGrace = 500\n\
         k.sources.r.restartPause = 20\nk.sources.r.restartPauseMax = 50\nk.sources.r.channels = c1 c2\n{}",
        program("counting.py"),
        channels(&["c1", "c2"])
    );
    std::fs::write(top.join("k.conf"), text).expect("written");
    let process = top.join("source.pid");
    for kill in 0..kills {
        let _ = std::fs::remove_file(&process);
        let mut agent = Agent::start(top, "k", "k.conf");
        let words = agent.words();
        until("its process", || words.clone(), || process.exists());
        std::thread::sleep(Duration::from_millis(random.below(300)));
        agent.assert_alive();
        if kill % 2 == 0 {
            kill_process(&process);
            std::thread::sleep(Duration::from_millis(random.below(300)));
        }
        agent.kill();
    }
    let _ = std::fs::remove_file(&process);
    let mut agent = Agent::start(top, "k", "k.conf");
    let words = agent.words();
    until("its process", || words.clone(), || process.exists());
    std::thread::sleep(Duration::from_millis(100));
    agent.assert_alive();
    assert_eq!(agent.terminate().code(), Some(0));
    let (first, second) = (taken(top, "c1"), taken(top, "c2"));
    let times = |what: &str| std::fs::read_to_string(top.join(what)).unwrap_or_default().len();
    let (repeats, mischiefs) = (times("repeats"), times("mischiefs"));
    eprintln!("{} events, {repeats} batches given again, {mischiefs} mischiefs", first.len());
    assert!(first.len() as u64 > kills, "the source got through");
    for events in [&first, &second] {
        let expected: Vec<String> = (0..events.len()).map(|n| format!("event {n}")).collect();
        assert!(*events == expected, "each event once, in order: {:?}", differences(events));
    }
    assert_eq!(first.len(), second.len());
    let log = std::fs::read_to_string(top.join("agent.log")).expect("a log");
    assert!(!log.contains("gave another one"), "it was able to repeat");
}

/// Returns what is lost or there more than once, a few of them.
fn differences(events: &[String]) -> Vec<String> {
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for event in events {
        let number = event.split(' ').nth(1).and_then(|n| n.parse().ok());
        *counts.entry(number.unwrap_or_else(|| panic!("never sent: {event:?}"))).or_default() += 1;
    }
    let last = counts.keys().next_back().copied().unwrap_or_default();
    let counts = (0..=last).map(|n| (n, counts.get(&n).copied().unwrap_or_default()));
    counts
        .filter(|(_, n)| *n != 1)
        .take(9)
        .map(|(n, times)| format!("{n}: {times} times"))
        .collect()
}

#[test]
fn a_sink_that_refuses_dies_and_hangs_delivers_every_event() {
    if !has_python() {
        return;
    }
    let mut random = Random::new(seed(1));
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let text = format!(
        "k.sinks = k\nk.sinks.k.type = external\nk.sinks.k.command = {}\nk.sinks.k.channel = c1\n\
         k.sinks.k.batchSize = 20\nk.sinks.k.answerTimeout = 3000\nk.sinks.k.stopGrace = 300\n\
         k.sinks.k.restartPause = 20\nk.sinks.k.restartPauseMax = 100\n{}",
        program("moody_sink.py"),
        channels(&["c1"])
    );
    std::fs::write(top.join("k.conf"), text).expect("written");
    let lines: String = (0..200).map(|n| format!("event {n}\n")).collect();
    let put = ["channel", "put", "-n", "k", "-f", "k.conf", "--channel", "c1", "--batch", "50"];
    run_expecting(top, &put, lines.as_bytes(), 0);
    let mut agent = Agent::start(top, "k", "k.conf");
    let words = agent.words();
    let delivered = || std::fs::read_to_string(top.join("delivered")).unwrap_or_default();
    until("a delivery", || words.clone(), || !delivered().is_empty());
    std::thread::sleep(Duration::from_millis(random.below(50)));
    kill_process(&top.join("sink.pid"));
    until("the last event", || words.clone(), || delivered().contains("event 199\n"));
    until(
        "the last acknowledgement",
        || words.clone(),
        || {
            agent.assert_alive();
            let stat = ["channel", "stat", "-n", "k", "-f", "k.conf", "--channel", "c1", "--json"];
            let stat = run_expecting(top, &stat, b"", 0);
            let stat: serde_json::Value = serde_json::from_str(&stat).expect("JSON");
            stat["events"] == 0
        },
    );
    signal(agent.id(), "TERM");
    assert_eq!(agent.ended().code(), Some(0));
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    delivered().lines().for_each(|line| *counts.entry(line.to_owned()).or_default() += 1);
    assert_eq!(counts.len(), 200, "nothing is lost, nothing made up");
    assert!(counts.values().any(|times| *times > 1), "a batch came again");
    assert!(taken(top, "c1").is_empty());
    let log = std::fs::read_to_string(top.join("agent.log")).expect("a log");
    for words in ["in a mood", "exit status: 3", "did not answer a batch", "serves again"] {
        assert!(log.contains(words), "{words}: {log}");
    }
}
