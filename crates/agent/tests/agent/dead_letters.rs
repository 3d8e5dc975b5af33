//! Events that a destination refuses for good: they end in their file, the others arrive, and a
//! `kill -9` in the middle loses none.

use crate::process::{Agent, connect, free_port, read_line, until};
use millpond::internal::base::threads;
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// Bodies that a server has accepted with 200, and how often it has refused each of the others with
/// 400.
type Seen = Arc<Mutex<(Vec<String>, BTreeMap<String, u32>)>>;

/// A server that refuses bodies that begin with `bad`.
fn server() -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let seen = Seen::default();
    let known = Arc::clone(&seen);
    let listen = move || {
        for stream in listener.incoming().flatten() {
            let known = Arc::clone(&known);
            threads::spawn("client", move || serve(&stream, &known)).expect("a thread");
        }
    };
    threads::spawn("server", listen).expect("a thread");
    (port, seen)
}

fn serve(mut stream: &TcpStream, seen: &Seen) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let mut bytes = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(len) = line.strip_prefix("content-length:") {
                bytes = len.trim().parse().ok()?;
            }
        }
        let mut body = vec![0; bytes];
        reader.read_exact(&mut body).ok()?;
        let body = String::from_utf8(body).ok()?;
        let status = {
            let mut seen = seen.lock().expect("no panic");
            if body.starts_with("bad") {
                *seen.1.entry(body).or_default() += 1;
                "400 Bad Request"
            } else {
                seen.0.push(body);
                "200 OK"
            }
        };
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").ok()?;
    }
}

fn configuration(directory: &Path, source: u16, server: u16, more: &str) {
    let text = format!(
        "a.sources = r\na.channels = c dead\na.sinks = k kd\n\
         a.sources.r.type = netcat\na.sources.r.bind = 127.0.0.1\na.sources.r.port = {source}\n\
         a.sources.r.channels = c\n\
         a.channels.c.type = file\na.channels.c.checkpointDir = c/checkpoint\na.channels.c.dataDirs = c/data\n\
         a.channels.dead.type = file\na.channels.dead.checkpointDir = d/checkpoint\na.channels.dead.dataDirs = d/data\n\
         a.sinks.kd.type = file_roll\na.sinks.kd.sink.directory = out\na.sinks.kd.channel = dead\n\
         a.sinks.kd.sink.serializer = HEADER_AND_TEXT\n\
         a.sinks.k.type = http\na.sinks.k.endpoint = http://127.0.0.1:{server}/\na.sinks.k.channel = c\n\
         a.sinks.k.rollback.2XX = false\na.sinks.k.backoff.2XX = false\na.sinks.k.incrementMetrics.2XX = true\n\
         {more}\n"
    );
    std::fs::write(directory.join("a.conf"), text).expect("a file");
}

fn send(port: u16, lines: &[&str]) {
    let (mut reader, mut writer) = connect(port).expect("the source listens");
    for line in lines {
        writeln!(writer, "{line}").expect("it is sent");
        assert_eq!(read_line(&mut reader).as_deref(), Some("OK"));
    }
}

#[test]
fn what_a_server_refuses_ends_in_its_file_and_the_rest_arrives() {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, (port, seen)) = (free_port(), server());
    let more = "a.sinks.k.deadLetter.directory = refused\na.sinks.k.deadLetter.afterRefusals = 2";
    configuration(directory.path(), source, port, more);
    let agent = Agent::start(directory.path(), "a", "a.conf");
    until("a source", || agent.words(), || connect(source).is_some());
    send(source, &["one", "bad apple", "two", "bad egg", "three"]);
    let tries = || seen.lock().expect("no panic").1.clone();
    until("a refusal", || agent.words(), || !tries().is_empty());
    agent.kill();
    let agent = Agent::start(directory.path(), "a", "a.conf");
    let file = directory.path().join("refused/a.k.jsonl");
    let lines = || std::fs::read_to_string(&file).unwrap_or_default().lines().count();
    until(
        "the rest",
        || agent.words(),
        || seen.lock().expect("no panic").0.iter().any(|body| body == "three") && lines() >= 2,
    );
    // The log names the event, the place and the cause.
    let named = || {
        agent.words().lines().any(|line| {
            line.contains("WARN")
                && line.contains("an event was refused 2 times and is now in")
                && line.contains("a.k.jsonl")
                && line.contains("a body of 7 bytes")
                && line.contains("400")
        })
    };
    until("a warning", || agent.words(), named);
    assert!(agent.terminate().success());
    let text = std::fs::read_to_string(&file).expect("a file");
    let buried: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let bodies: Vec<&str> =
        buried.iter().map(|line| line["event"]["body"].as_str().expect("text")).collect();
    // A kill between the file and the acknowledgement would put it there twice.
    let mut once = bodies.clone();
    once.dedup();
    assert_eq!(once, ["bad apple", "bad egg"], "{text}");
    assert!(buried[0]["cause"].as_str().expect("text").contains("400"), "{text}");
    assert!(tries().values().all(|tries| *tries >= 2), "{:?}", tries());
    let mut arrived = seen.lock().expect("no panic").0.clone();
    arrived.dedup();
    assert_eq!(arrived, ["one", "two", "three"]);
}

#[test]
fn an_event_that_holds_up_its_channel_is_named_with_the_cause_once() {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, (port, seen)) = (free_port(), server());
    configuration(directory.path(), source, port, "");
    let agent = Agent::start(directory.path(), "a", "a.conf");
    until("a source", || agent.words(), || connect(source).is_some());
    send(source, &["bad apple", "one"]);
    let tries = || seen.lock().expect("no panic").1.values().sum::<u32>();
    until("a third try", || agent.words(), || tries() >= 3);
    let words = agent.words();
    let said: Vec<&str> =
        words.lines().filter(|line| line.contains("holds up the channel")).collect();
    let [line] = said[..] else { panic!("not once: {words}") };
    for part in ["WARN", "a body of 9 bytes", "400", "deadLetter.directory"] {
        assert!(line.contains(part), "{line}");
    }
    assert!(agent.terminate().success());
}

#[test]
fn what_a_server_refuses_goes_through_another_channel() {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, (port, seen)) = (free_port(), server());
    let more = "a.sinks.k.deadLetter.channel = dead\na.sinks.k.deadLetter.afterRefusals = 1";
    configuration(directory.path(), source, port, more);
    let agent = Agent::start(directory.path(), "a", "a.conf");
    until("a source", || agent.words(), || connect(source).is_some());
    send(source, &["bad apple", "one"]);
    let out = directory.path().join("out");
    let text = || crate::process::lines_in(&out).concat();
    until(
        "both",
        || agent.words(),
        || !seen.lock().expect("no panic").0.is_empty() && !text().is_empty(),
    );
    assert!(agent.terminate().success());
    let text = String::from_utf8(text()).expect("text");
    assert!(text.ends_with("bad apple"), "{text}");
    assert!(text.contains("deadLetter.sink=k") && text.contains("400"), "{text}");
}

#[test]
fn a_place_for_refused_events_that_cannot_be_used_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    for (more, words) in [
        ("a.sinks.k.deadLetter.channel = ded", "there is no channel ded"),
        ("a.sinks.k.deadLetter.channel = c", "is the channel that the sink drains"),
        ("a.sinks.k.deadLetter.directory = x\na.sinks.k.deadLetter.channel = dead", "one place"),
        ("a.sinks.k.deadLetter.afterRefusals = 0", "a whole number from 1"),
        (
            "a.sinks.k.deadLetter.channel = dead\na.sinks.kd.deadLetter.channel = c",
            "come back to the channel",
        ),
        ("a.sinks.kd.deadLetter.directory = x", "never refuses an event for good"),
    ] {
        configuration(directory.path(), 1, 1, more);
        // A setting without effect does not prevent a run.
        let code = i32::from(!more.contains("kd.deadLetter.directory"));
        let words_of =
            crate::process::run(directory.path(), &["validate", "-n", "a", "-f", "a.conf"], b"");
        let said = [words_of.stdout, words_of.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert_eq!(words_of.status.code(), Some(code), "{said}");
        assert!(said.contains(words) && said.contains(".deadLetter."), "{said}");
    }
}
