//! The notifications of a service manager, at the socket that it names.

use super::process::{Agent, DEADLINE, free_port, millpond, signal, until};
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;

/// A service manager: its socket, and the messages it received.
struct NotifySocket {
    socket: UnixDatagram,
    heard: Vec<String>,
}

impl NotifySocket {
    fn at(address: &SocketAddr) -> Self {
        let socket = UnixDatagram::bind_addr(address).expect("a socket");
        socket.set_read_timeout(Some(DEADLINE)).expect("a deadline");
        Self { socket, heard: Vec::new() }
    }

    /// Receives until a message has `assignment`; returns the whole message.
    fn hears(&mut self, assignment: &str) -> String {
        loop {
            let mut message = [0; 4096];
            let length = self.socket.recv(&mut message);
            let length = length.unwrap_or_else(|e| panic!("{assignment}: {e}: {:?}", self.heard));
            let message = String::from_utf8(message[..length].to_vec()).expect("text");
            self.heard.push(message.clone());
            if message.lines().any(|line| line == assignment) {
                return message;
            }
        }
    }

    fn has_heard(&self, assignment: &str) -> bool {
        self.heard.iter().any(|message| message.lines().any(|line| line == assignment))
    }
}

fn configuration(port: u16, more: &str) -> String {
    format!(
        "a.sources = r1\na.channels = c1\na.sinks = k1\n\
         a.sources.r1.type = netcat\na.sources.r1.bind = 127.0.0.1\na.sources.r1.port = {port}\n\
         a.sources.r1.channels = c1\na.channels.c1.type = memory\n\
         a.sinks.k1.type = logger\na.sinks.k1.channel = c1\n{more}"
    )
}

fn start(top: &Path, socket: &str, beats: &[(&str, &str)]) -> Agent {
    let mut command = millpond(top);
    command.env("NOTIFY_SOCKET", socket).envs(beats.iter().copied());
    Agent::start_as(command, top, "a", "a.conf", &[])
}

#[test]
fn a_service_manager_is_notified_of_start_watchdog_reload_and_stop() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (first, second) = (free_port(), free_port());
    let write = |text: &str| std::fs::write(top.join("a.conf"), text).expect("written");
    write(&configuration(first, ""));
    let path = top.join("notify");
    let mut manager = NotifySocket::at(&SocketAddr::from_pathname(&path).expect("a path"));
    let mut agent = start(top, path.to_str().expect("text"), &[("WATCHDOG_USEC", "400000")]);

    let ready = manager.hears("READY=1");
    // A thread of its own writes the log.
    until("the start", || agent.words(), || agent.words().contains("agent a started"));
    assert!(ready.contains("STATUS=agent a started: 1 source, 1 channel, 1 sink"), "{ready}");
    manager.hears("WATCHDOG=1");
    manager.hears("WATCHDOG=1");

    for (text, wanted) in [
        (configuration(second, ""), "STATUS=agent a started: 1 source"),
        (configuration(second, "# a remark\n"), "STATUS=reloaded: nothing has changed"),
        ("a.sources = r1\n".to_owned(), "STATUS=keeps its configuration: "),
    ] {
        write(&text);
        signal(agent.id(), "HUP");
        let reloading = manager.hears("RELOADING=1");
        let usec = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC="));
        assert!(usec.is_some_and(|usec| usec.parse::<u64>().is_ok_and(|n| n > 0)), "{reloading}");
        let ready = manager.hears("READY=1");
        assert!(ready.lines().any(|line| line.starts_with(wanted)), "{wanted}: {ready}");
    }
    manager.hears("WATCHDOG=1");
    signal(agent.id(), "TERM");
    manager.hears("STOPPING=1");
    assert_eq!(agent.ended().code(), Some(0), "{}", agent.words());
}

#[test]
fn an_agent_of_which_a_part_has_not_started_is_not_ready_yet() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port();
    std::fs::write(top.join("a.conf"), configuration(port, "")).expect("written");
    // A name that is on no disk, and watchdog notifications that another process is asked for.
    let name = format!("millpond-test-{}-{port}", std::process::id());
    let mut manager = NotifySocket::at(&SocketAddr::from_abstract_name(&name).expect("a name"));
    let beats = [("WATCHDOG_USEC", "20000"), ("WATCHDOG_PID", "1")];
    let agent = start(top, &format!("@{name}"), &beats);
    manager.hears("STATUS=starting");
    until("a port in use", || agent.words(), || agent.words().contains("cannot start"));
    manager.socket.set_nonblocking(true).expect("set");
    let mut message = [0; 4096];
    let next = manager.socket.recv(&mut message).map(|length| message[..length].to_vec());
    assert!(next.is_err(), "{}", String::from_utf8_lossy(&next.unwrap_or_default()));
    manager.socket.set_nonblocking(false).expect("set");
    drop(taken);
    manager.hears("READY=1");
    assert!(!manager.has_heard("WATCHDOG=1"), "{:?}", manager.heard);
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn an_agent_whose_service_manager_cannot_be_notified_runs_all_the_same() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    std::fs::write(top.join("a.conf"), configuration(free_port(), "")).expect("written");
    for (socket, words) in [
        ("/nowhere/notify", "the service manager cannot be notified of the agent"),
        ("vsock:2:1", "neither a path"),
    ] {
        let _ = std::fs::remove_file(top.join("agent.log"));
        let agent = start(top, socket, &[]);
        until("the start", || agent.words(), || agent.words().contains("agent a started"));
        until(words, || agent.words(), || agent.words().contains(words));
        assert_eq!(agent.terminate().code(), Some(0), "{socket}");
    }
}
