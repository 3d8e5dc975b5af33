//! Signals to a running agent.

use super::process::{Agent, free_port, read_line, signal, until};
use millpond::{Clock, SystemClock};
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// A channel for one event that is not taken: the second line of a client waits in its commit, and
/// the source cannot stop before that ends.
fn configuration(port: u16) -> String {
    format!(
        "a.sources = r1\na.channels = c1\n\
         a.sources.r1.type = netcat\na.sources.r1.bind = 127.0.0.1\na.sources.r1.port = {port}\n\
         a.sources.r1.channels = c1\n\
         a.channels.c1.type = memory\na.channels.c1.capacity = 1\n\
         a.channels.c1.transactionCapacity = 1\na.channels.c1.keep-alive = 600\n"
    )
}

/// Sends `second` while the agent drains after `first`; returns its exit code and last output.
fn stopped_twice(directory: &Path, first: &str, second: &str) -> (Option<i32>, String) {
    let _ = std::fs::remove_file(directory.join("agent.log"));
    let port = free_port();
    std::fs::write(directory.join("a.conf"), configuration(port)).expect("written");
    let mut agent = Agent::start(directory, "a", "a.conf");
    let (mut reader, mut writer) = agent.connection(port);
    writer.write_all(b"fits\nwaits\n").expect("sent");
    assert_eq!(read_line(&mut reader).as_deref(), Some("OK"));
    signal(agent.id(), first);
    until("the stop", || agent.words(), || agent.words().contains("stopping, sources first"));
    // Sooner it would count as the first once more.
    std::thread::sleep(Duration::from_millis(400));
    signal(agent.id(), second);
    let status = agent.ended();
    (status.code(), agent.words())
}

#[test]
fn a_second_signal_ends_the_agent_at_once_while_it_drains() {
    let directory = tempfile::tempdir().expect("a directory");
    for (first, second) in [("TERM", "TERM"), ("TERM", "INT"), ("INT", "TERM")] {
        // On a machine that is suspended for seconds the drain may not have begun with the first
        // signal, or be over before the second: then the agent says so, and the test tries again.
        let ended = (0..5).find_map(|_| {
            let (code, words) = stopped_twice(directory.path(), first, second);
            words.contains("ended at once by a second signal").then_some((code, words))
        });
        let (code, words) = ended.expect("the second signal ends it, in one of five tries");
        assert_eq!(code, Some(1), "{words}");
        assert!(words.contains(&format!("SIG{second} again")), "{words}");
        assert!(!words.contains("did not stop"), "{words}");
    }
}

/// As `timeout` and a service manager send them, to the group and to the process.
#[test]
fn two_signals_at_once_are_one_request_to_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let quick = configuration(port).replace("keep-alive = 600", "keep-alive = 1");
    std::fs::write(directory.path().join("a.conf"), quick).expect("written");
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    until("the start", || agent.words(), || agent.words().contains("agent a started"));
    signal(agent.id(), "TERM");
    signal(agent.id(), "TERM");
    let status = agent.ended();
    assert_eq!(status.code(), Some(0), "{}", agent.words());
}

#[test]
fn a_stop_does_not_wait_for_a_server_that_hangs_and_its_events_stay() {
    let directory = tempfile::tempdir().expect("a directory");
    let hanging = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let calls = hanging.local_addr().expect("bound").port();
    let lines = free_port();
    let text = format!(
        "a.sources = r1\na.channels = c1\na.sinks = k1\n\
         a.sources.r1.type = netcat\na.sources.r1.bind = 127.0.0.1\na.sources.r1.port = {lines}\n\
         a.sources.r1.channels = c1\na.channels.c1.type = file\na.channels.c1.checkpointDir = cp\n\
         a.channels.c1.dataDirs = data\na.channels.c1.minimumRequiredSpace = 1048576\n\
         a.sinks.k1.type = avro\na.sinks.k1.hostname = 127.0.0.1\na.sinks.k1.port = {calls}\n\
         a.sinks.k1.request-timeout = 600000\na.sinks.k1.channel = c1\n"
    );
    std::fs::write(directory.path().join("a.conf"), text).expect("written");
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    let (mut reader, mut writer) = agent.connection(lines);
    writer.write_all(b"one\n").expect("sent");
    assert_eq!(read_line(&mut reader).as_deref(), Some("OK"));
    // Taken at once, as nothing else is there to take.
    std::thread::sleep(Duration::from_secs(1));
    let clock = SystemClock::new();
    let asked = clock.now();
    signal(agent.id(), "TERM");
    let status = agent.ended();
    assert_eq!(status.code(), Some(0), "{}", agent.words());
    let took = clock.now() - asked;
    assert!(took < Duration::from_secs(15), "{took:?}");
    let words = agent.words();
    assert!(words.contains("closed with 1 event"), "{words}");
    assert!(words.contains("the events go back to the channel"), "{words}");
}
