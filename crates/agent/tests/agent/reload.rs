//! A running agent whose configuration file changes.

use super::process::{Agent, connect, free_port, read_line, run_expecting, signal, until};
use rustix::fs::{Mode, OFlags};
use std::io::{BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// Two netcat sources into a file channel, and a sink into files.
fn configuration(ports: [u16; 2], more: &str) -> String {
    let source = |name: &str, port: u16| {
        format!(
            "a.sources.{name}.type = netcat\na.sources.{name}.bind = 127.0.0.1\n\
             a.sources.{name}.port = {port}\na.sources.{name}.channels = c1\n"
        )
    };
    let [first, second] = ports;
    format!(
        "a.sources = r1 r2\na.channels = c1\n{}{}\
         a.channels.c1.type = file\na.channels.c1.checkpointDir = cp\na.channels.c1.dataDirs = data\n\
         a.channels.c1.minimumRequiredSpace = 1048576\n{more}",
        source("r1", first),
        source("r2", second)
    )
}

type Connection = (BufReader<TcpStream>, TcpStream);

fn say(connection: &mut Connection, line: &str) {
    connection.1.write_all(format!("{line}\n").as_bytes()).expect("sent");
    assert_eq!(read_line(&mut connection.0).as_deref(), Some("OK"), "{line}");
}

fn write(top: &Path, text: &str) {
    std::fs::write(top.join("a.conf"), text).expect("written");
}

#[test]
fn a_reload_keeps_unchanged_components_and_a_broken_file_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (stays, goes, comes) = (free_port(), free_port(), free_port());
    write(top, &configuration([stays, goes], ""));
    // A slow poll: everything happens on SIGHUP.
    let mut agent = Agent::start(top, "a", "a.conf");
    let (mut one, mut other) = (agent.connection(stays), agent.connection(goes));
    say(&mut one, "1");
    say(&mut other, "2");

    let log = top.join("agent.log");
    let hang_up = |agent: &Agent, wanted: &str| {
        let count = || std::fs::read_to_string(&log).expect("a log").matches(wanted).count();
        let before = count();
        signal(agent.id(), "HUP");
        until(wanted, || agent.words(), || count() > before);
    };
    for broken in [
        String::new(),
        "a.sources = r1\n".to_owned(),
        configuration([stays, comes], "a.channels.c1.capacity = many\n"),
        configuration([stays, comes], "a.sources.r2.type = nettcat\n"),
        configuration([stays, comes], "a.sinks = k1\na.sinks.k1.type = file_roll\n"),
        configuration([stays, goes], "a.channels.c1.dataDirs = /dev/null/data\n"),
        // Not one of this channel's: it would wait for the one that is missing from the list.
        configuration([stays, goes], "a.channels.c1.dataDirs = mistyped\n"),
    ] {
        write(top, &broken);
        hang_up(&agent, "agent a keeps its configuration");
        say(&mut one, "still there");
        say(&mut other, "and here");
    }
    write(top, &configuration([stays, goes], "# a remark\n"));
    hang_up(&agent, "agent a reloaded: nothing has changed");

    write(top, &configuration([stays, comes], ""));
    hang_up(&agent, "agent a reloaded: restarted: source r2");
    let mut new = agent.connection(comes);
    say(&mut new, "3");
    say(&mut one, "4");
    assert!(connect(goes).is_none(), "the old port is closed");
    assert_eq!(agent.terminate().code(), Some(0));
    let take = ["channel", "take", "-n", "a", "-f", "a.conf", "--channel", "c1"];
    let taken = run_expecting(top, &take, b"", 0);
    let lines: Vec<&str> = taken.lines().filter(|line| line.len() == 1).collect();
    assert_eq!((lines, taken.lines().count()), (vec!["1", "2", "3", "4"], 18));
}

#[test]
fn a_source_runs_on_until_the_one_in_its_place_could_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (stays, goes) = (free_port(), free_port());
    let before = configuration([stays, goes], "");
    write(top, &before);
    let mut agent = Agent::start(top, "a", "a.conf");
    let mut other = agent.connection(goes);
    say(&mut other, "1");
    let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
        .join("tests/golden/tls/server.jks");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken_port = taken.local_addr().expect("bound").port();
    let syslog = |more: &str| {
        let line = format!("a.sources.r2.port = {goes}");
        assert!(before.contains(&line));
        before.replace("a.sources.r2.type = netcat", "a.sources.r2.type = syslogtcp")
            + "a.sources.r2.host = 127.0.0.1\na.sources.r2.ssl = true\n"
            + more
    };
    let keystore = format!("a.sources.r2.keystore = {}\n", golden.display());
    let log = top.join("agent.log");
    let mut refused = Vec::new();
    for (text, why) in [
        (syslog("a.sources.r2.keystore = /nowhere/store\n"), "/nowhere/store"),
        (syslog(&format!("{keystore}a.sources.r2.keystore-password = wrong\n")), "password"),
        (configuration([stays, taken_port], ""), "cannot listen on"),
        (
            before.replace("r2.type = netcat", "r2.type = spooldir")
                + "a.sources.r2.spoolDir = /nowhere/spool\n",
            "/nowhere/spool",
        ),
    ] {
        write(top, &text);
        signal(agent.id(), "HUP");
        refused.push(why);
        let words = || std::fs::read_to_string(&log).expect("a log");
        let count = || words().matches("agent a keeps its configuration").count();
        until("the refusal", words, || count() == refused.len());
        let words = words();
        let line =
            words.lines().rfind(|line| line.contains("keeps its configuration")).expect("it");
        assert!(line.contains("source r2 could not start") && line.contains(why), "{line}");
        say(&mut other, "still there");
    }
    // Its own port is not another's.
    write(top, &syslog(&format!("{keystore}a.sources.r2.keystore-password = changeit\n")));
    signal(agent.id(), "HUP");
    until(
        "the reload",
        || agent.words(),
        || agent.words().contains("reloaded: restarted: source r2"),
    );
    drop(other);
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_change_refused_for_a_passing_reason_is_applied_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (stays, goes) = (free_port(), free_port());
    write(top, &configuration([stays, goes], ""));
    let mut agent = Agent::start_with(top, "a", "a.conf", &["--poll-interval", "1"]);
    say(&mut agent.connection(goes), "1");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let comes = taken.local_addr().expect("bound").port();
    // A value with a warning, which is not repeated with each attempt.
    write(top, &configuration([stays, comes], "a.sources.r2.nonsense = 1\n"));
    let log = top.join("agent.log");
    let said = |words: &str| std::fs::read_to_string(&log).expect("a log").matches(words).count();
    until("the refusal", || agent.words(), || said("agent a keeps its configuration") == 1);
    let warned = said("nonsense");
    std::thread::sleep(std::time::Duration::from_millis(2500));
    assert_eq!((said("agent a keeps its configuration"), said("nonsense")), (1, warned));
    drop(taken);
    until("the reload", || agent.words(), || said("reloaded: restarted: source r2") == 1);
    say(&mut agent.connection(comes), "2");
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_change_whose_filter_gave_no_value_is_taken_over_once_it_gives_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (stays, goes, comes) = (free_port(), free_port(), free_port());
    write(top, &configuration([stays, goes], ""));
    let mut agent = Agent::start_with(top, "a", "a.conf", &["--poll-interval", "1"]);
    say(&mut agent.connection(goes), "1");
    let filter = format!(
        "a.configfilters = f\na.configfilters.f.type = external\n\
         a.configfilters.f.command = /bin/sh {}\n",
        top.join("vault").display()
    );
    let text = configuration([stays, comes], &filter);
    write(top, &text.replace(&format!("port = {comes}"), "port = ${f[PORT]}"));
    let log = top.join("agent.log");
    let said = |words: &str| std::fs::read_to_string(&log).expect("a log").matches(words).count();
    until("the refusal", || agent.words(), || said("agent a keeps its configuration") == 1);
    say(&mut agent.connection(goes), "still there");
    std::fs::write(top.join("vault"), format!("echo {comes}\n")).expect("written");
    until("the reload", || agent.words(), || said("reloaded: restarted: source r2") == 1);
    assert_eq!(said("agent a keeps its configuration"), 1);
    say(&mut agent.connection(comes), "2");
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_file_that_changes_is_read_again_by_itself_once_it_is_whole() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (stays, goes, comes) = (free_port(), free_port(), free_port());
    write(top, &configuration([stays, goes], ""));
    let mut agent = Agent::start_with(top, "a", "a.conf", &["--poll-interval", "1"]);
    say(&mut agent.connection(goes), "1");
    // Half of it first, as an editor may write it: one source less, and otherwise valid.
    let whole = configuration([stays, comes], "");
    let half = whole.replace("r1 r2", "r1");
    for text in [&half, &whole] {
        write(top, text);
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    say(&mut agent.connection(comes), "2");
    assert!(!agent.words().contains("gone: source"), "{}", agent.words());
    assert_eq!(agent.terminate().code(), Some(0));
}

/// Returns a file system that hangs: a pipe that nothing writes to. Returns where it is, and its
/// name, since only a path that the shell hands over below /dev may be a pipe.
fn pipe(top: &Path) -> (PathBuf, String) {
    let pipe = top.join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
    assert!(made.success());
    let handed_over = format!("/dev/..{}", pipe.display());
    (pipe, handed_over)
}

#[test]
fn an_agent_that_cannot_read_its_configuration_yet_is_ended_by_a_signal() {
    let directory = tempfile::tempdir().expect("a directory");
    let (pipe, handed_over) = pipe(directory.path());
    for name in ["TERM", "INT"] {
        let mut agent = Agent::start(directory.path(), "a", &handed_over);
        // It can be opened for writing without a wait once there is a reader.
        let at_once = OFlags::WRONLY | OFlags::NONBLOCK;
        let mut writer = None;
        until(
            "the agent reads",
            || agent.words(),
            || {
                writer = rustix::fs::open(&pipe, at_once, Mode::empty()).ok();
                writer.is_some()
            },
        );
        signal(agent.id(), name);
        assert_eq!(agent.ended().code(), Some(0), "{}", agent.words());
        assert!(agent.words().contains(&format!("SIG{name}: ending")), "{}", agent.words());
    }
}

#[test]
fn an_agent_stops_although_its_configuration_cannot_be_reread() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (pipe, handed_over) = pipe(top);
    let mut agent = Agent::start_with(top, "a", &handed_over, &["--no-reload-conf"]);
    let port = free_port();
    std::fs::write(&pipe, configuration([port, free_port()], "")).expect("read by the agent");
    say(&mut agent.connection(port), "1");
    signal(agent.id(), "HUP");
    until("a second look", || agent.words(), || agent.words().contains("SIGHUP: reading"));
    assert_eq!(agent.terminate().code(), Some(0));
}
