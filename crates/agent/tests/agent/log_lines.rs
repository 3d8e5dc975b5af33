//! Log lines: their format, their frequency, and what waits for them.

use super::process::{Agent, connect, free_port, millpond, run, signal, until};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const JSON: &str = "-Dmillpond.log.format=json";

/// An avro and an http source with a memory channel that a sink empties.
fn configuration(avro: u16, http: u16) -> String {
    format!(
        "a.sources = r1 r2\na.channels = c1\na.sinks = k1\n\
         a.sources.r1.type = avro\na.sources.r1.bind = 127.0.0.1\na.sources.r1.port = {avro}\n\
         a.sources.r1.channels = c1\n\
         a.sources.r2.type = http\na.sources.r2.bind = 127.0.0.1\na.sources.r2.port = {http}\n\
         a.sources.r2.channels = c1\n\
         a.channels.c1.type = memory\n\
         a.sinks.k1.type = null\na.sinks.k1.channel = c1\n"
    )
}

fn parsed(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn said(lines: &[serde_json::Value], level: &str, part: &str) -> bool {
    let is = |line: &&serde_json::Value| {
        line["level"] == level && line["message"].as_str().is_some_and(|m| m.contains(part))
    };
    lines.iter().any(|line| is(&line))
}

#[test]
fn every_line_on_stderr_is_json_where_json_is_asked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let write = |text: &str| std::fs::write(top.join("a.conf"), text).expect("written");
    let good = configuration(free_port(), free_port());
    write(&good);
    let agent =
        Agent::start_with(top, "a", "a.conf", &[JSON, "-Xmx1g", "\u{2013}-plugins-path", "p"]);
    until("the start", || agent.words(), || agent.words().contains("agent a started"));
    write(&format!("{good}a.sinks.k1.type = nonsense\n"));
    signal(agent.id(), "HUP");
    until("a refusal", || agent.words(), || agent.words().contains("keeps its configuration"));
    write(&good);
    signal(agent.id(), "HUP");
    until("a reload", || agent.words(), || agent.words().contains("agent a reloaded"));
    assert_eq!(agent.terminate().code(), Some(0));
    let lines = parsed(&std::fs::read_to_string(top.join("agent.log")).expect("read"));
    for (level, part) in [
        ("INFO", "agent a started: 2 sources, 1 channel, 1 sink"),
        ("INFO", "agent a keeps its configuration: "),
        ("INFO", "agent a reloaded: "),
        ("WARN", "mx1g: no effect"),
        ("WARN", "--plugins-path p: no effect"),
        ("INFO", "agent a stopped"),
    ] {
        assert!(said(&lines, level, part), "{level} {part}: {lines:#?}");
    }
    assert!(lines.iter().all(|line| line["timestamp"].is_string() && line["target"].is_string()));
    // The reason why it could not run is there as well, in addition to the finding.
    write("a.sources = r1\n");
    let words = ["agent", "-n", "a", "-f", "a.conf", JSON];
    let ended = run(top, &words, b"");
    assert_eq!(ended.status.code(), Some(1));
    let lines = parsed(&String::from_utf8(ended.stderr).expect("text"));
    assert!(said(&lines, "ERROR", "agent a cannot run as it is configured: "), "{lines:#?}");
}

#[test]
fn lines_about_the_agent_have_a_time_and_a_level_without_json_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    std::fs::write(top.join("a.conf"), configuration(free_port(), free_port())).expect("written");
    let agent = Agent::start_with(top, "a", "a.conf", &["-Dflume.root.logger=OFF,console"]);
    until("the start", || agent.words(), || agent.words().contains("agent a started"));
    let words = agent.words();
    let line = words.lines().find(|line| line.contains("agent a started")).expect("the line");
    let (time, rest) = line.split_once(' ').expect("words");
    assert!(time.starts_with("20") && time.ends_with('Z'), "{line}");
    assert!(
        rest.trim_start().starts_with("INFO millpond::agent: agent a started: 2 sources"),
        "{line}"
    );
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn what_clients_do_wrong_is_one_warning_however_many_there_are() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (avro, http) = (free_port(), free_port());
    std::fs::write(top.join("a.conf"), configuration(avro, http)).expect("written");
    let agent = Agent::start(top, "a", "a.conf");
    until("the start", || agent.words(), || agent.words().contains("agent a started"));
    for _ in 0..200 {
        let mut stream = TcpStream::connect(("127.0.0.1", avro)).expect("it listens");
        // Announces a list of two thousand million segments.
        stream.write_all(&[0, 0, 0, 1, 0x7f, 0xff, 0xff, 0xff]).expect("sent");
        let _ = stream.read_to_end(&mut Vec::new());
    }
    bad_requests(http, 200);
    assert_eq!(agent.terminate().code(), Some(0));
    let words = std::fs::read_to_string(top.join("agent.log")).expect("read");
    for part in ["closing the connection: ", "a request is not taken; answered 400"] {
        assert_eq!(words.matches(part).count(), 1, "{part}: {words}");
    }
}

/// Sends `count` requests that are not events, each after the reply to the one before.
fn bad_requests(port: u16, count: usize) {
    let (mut reader, mut stream) = connect(port).expect("it listens");
    stream.set_read_timeout(Some(Duration::from_secs(30))).expect("set");
    for n in 0..count {
        stream
            .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nnot!")
            .expect("sent");
        let mut length = 0;
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).expect("an answer") > 0, "answer {n}");
            if let Some((_, value)) = line.to_lowercase().split_once("content-length: ") {
                length = value.trim().parse().expect("a number");
            }
            if line == "\r\n" {
                break;
            }
        }
        reader.read_exact(&mut vec![0; length]).expect("the body");
    }
}

/// Starts the agent with its stderr in a pipe that the test may leave unread.
fn piped(top: &Path) -> Child {
    let mut command: Command = millpond(top);
    command.args(["agent", "-n", "a", "-f", "a.conf", "-Dflume.root.logger=DEBUG,console"]);
    command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the binary starts")
}

#[test]
fn a_log_pipe_that_is_not_read_delays_nothing_and_losses_are_reported() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (avro, http) = (free_port(), free_port());
    std::fs::write(top.join("a.conf"), configuration(avro, http)).expect("written");
    let mut child = piped(top);
    let mut log = BufReader::new(child.stderr.take().expect("a pipe"));
    let mut line = String::new();
    while !line.contains("agent a started") {
        line.clear();
        assert!(log.read_line(&mut line).expect("a log") > 0, "it ended");
    }
    // Each is a line at DEBUG: more than the pipe and the queue hold.
    bad_requests(http, 6000);
    let mut lost = String::new();
    while !lost.contains("lines of this log could not be written before this one") {
        lost.clear();
        assert!(log.read_line(&mut lost).expect("a log") > 0, "it ended");
    }
    // Full again, and not read to the end.
    bad_requests(http, 6000);
    signal(child.id(), "TERM");
    let pause = Duration::from_millis(50);
    let ended = (0..200).find_map(|_| {
        std::thread::sleep(pause);
        child.try_wait().expect("a child")
    });
    let _ = child.kill();
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "it stops within seconds");
}

#[test]
fn a_channel_that_does_not_open_says_why_once_and_nothing_that_sounds_well() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let text = configuration(free_port(), free_port()).replace(
        "a.channels.c1.type = memory\n",
        "a.channels.c1.type = file\na.channels.c1.checkpointDir = cp\n\
         a.channels.c1.dataDirs = data/1,other/2\na.channels.c1.minimumRequiredSpace = 1048576\n",
    );
    std::fs::write(top.join("a.conf"), text).expect("written");
    // A file has the name of a directory that is to be created.
    std::fs::write(top.join("other"), "").expect("written");
    let agent = Agent::start_with(top, "a", "a.conf", &["-Dflume.root.logger=DEBUG,console"]);
    let log = || std::fs::read_to_string(top.join("agent.log")).expect("read");
    let count = |level: &str, part: &str| {
        let has = |line: &&str| line.contains(&format!("{level} millpond")) && line.contains(part);
        log().lines().filter(has).count()
    };
    until("two more attempts", log, || count("DEBUG", "cannot be opened: ") >= 2);
    assert_eq!(count("ERROR", "cannot be opened, trying again every 3 s"), 1, "{}", log());
    assert_eq!(count("INFO", "writes go "), 0, "{}", log());
    std::fs::remove_file(top.join("other")).expect("removed");
    until("it opens", log, || log().contains("agent a started"));
    assert_eq!(count("INFO", "open; recovered after "), 1, "{}", log());
    assert_eq!(count("INFO", "writes go "), 2, "{}", log());
    assert_eq!(count("INFO", "created: 0 events waiting"), 1, "{}", log());
    assert!(log().contains("channel=\"c1\""), "{}", log());
    agent.kill();
    // What every crash leaves is counted in one line.
    let agent = Agent::start(top, "a", "a.conf");
    let recovered = || count("INFO", "recovered: 0 events waiting");
    until("it opens again", log, || recovered() == 1);
    until("it runs again", log, || log().matches("agent a started").count() == 2);
    assert_eq!(count("WARN", "R"), 0, "{}", log());
    assert_eq!(agent.terminate().code(), Some(0));
}
