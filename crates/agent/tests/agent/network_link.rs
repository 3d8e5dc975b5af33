//! A network that is interrupted: a namespace connected by a cable whose other end is pulled.

use super::process::{Agent, free_port, lines_in, millpond, read_line, until};
use std::io::Write;
use std::path::Path;
use std::process::Command;

const LINES: usize = 50;

/// A network namespace with a cable to this one; removed when dropped.
struct Namespace {
    name: String,
    /// The cable's end in it.
    inner: String,
    /// Its address and ours.
    there: String,
}

/// Runs `ip`; returns its output if it fails.
fn ip(words: &str) -> Result<(), String> {
    let ran = Command::new("ip").args(words.split(' ')).output();
    let ran = ran.map_err(|error| format!("ip: {error}"))?;
    if ran.status.success() {
        return Ok(());
    }
    Err(format!("ip {words}: {}", String::from_utf8_lossy(&ran.stderr).trim()))
}

impl Namespace {
    fn new() -> Result<Self, String> {
        let number = std::process::id();
        let name = format!("mp{}", number % 100_000_000);
        let (outer, inner) = (format!("{name}a"), format!("{name}b"));
        // From the range for tests between networks (RFC 2544), four addresses for each.
        let net = format!("198.18.{}.{}", number / 64 % 256, number % 64 * 4);
        let last: u32 = net.rsplit('.').next().and_then(|n| n.parse().ok()).expect("a number");
        let address = |n: u32| format!("{}.{}", net.rsplit_once('.').expect("a dot").0, last + n);
        let (here, there) = (address(1), address(2));
        ip(&format!("netns add {name}"))?;
        let namespace = Self { name: name.clone(), inner: inner.clone(), there: there.clone() };
        ip(&format!("link add {outer} type veth peer name {inner} netns {name}"))?;
        ip(&format!("addr add {here}/30 dev {outer}"))?;
        ip(&format!("link set {outer} up"))?;
        ip(&format!("-n {name} addr add {there}/30 dev {inner}"))?;
        ip(&format!("-n {name} link set {inner} up"))?;
        Ok(namespace)
    }

    fn link(&self, state: &str) {
        ip(&format!("-n {} link set {} {state}", self.name, self.inner)).expect("the cable");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The cable is removed with it.
        let _ = ip(&format!("netns del {}", self.name));
    }
}

const SINKS: [&str; 3] = ["avro", "thrift", "http"];

/// A source for each kind of sink, each into files of its own.
fn server(at: &str, ports: &[u16]) -> String {
    let mut text =
        "s.sources = avro thrift http\ns.channels = avro thrift http\ns.sinks = avro thrift http\n\
         s.sources.http.handler = org.apache.flume.source.http.BLOBHandler\n"
            .to_owned();
    for (kind, port) in SINKS.iter().zip(ports) {
        text += &format!(
            "s.sources.{kind}.type = {kind}\ns.sources.{kind}.bind = {at}\n\
             s.sources.{kind}.port = {port}\ns.sources.{kind}.channels = {kind}\n\
             s.channels.{kind}.type = memory\n\
             s.sinks.{kind}.type = file_roll\ns.sinks.{kind}.sink.directory = {kind}\n\
             s.sinks.{kind}.sink.rollInterval = 0\ns.sinks.{kind}.channel = {kind}\n"
        );
    }
    text
}

/// Lines into a file channel for each kind of sink.
fn client(port: u16, to: &str, ports: &[u16]) -> String {
    let mut text = format!(
        "c.sources = in\nc.channels = avro thrift http\nc.sinks = avro thrift http\n\
         c.sources.in.type = netcat\nc.sources.in.bind = 127.0.0.1\nc.sources.in.port = {port}\n\
         c.sources.in.channels = avro thrift http\n\
         c.sinks.http.endpoint = http://{to}:{}/\nc.sinks.http.connectTimeout = 1000\n\
         c.sinks.http.requestTimeout = 1000\nc.sinks.http.rollback.2XX = false\n\
         c.sinks.http.backoff.2XX = false\nc.sinks.http.incrementMetrics.2XX = true\n",
        ports[2]
    );
    for (kind, port) in SINKS.iter().zip(ports) {
        text += &format!(
            "c.channels.{kind}.type = file\nc.channels.{kind}.checkpointDir = cp-{kind}\n\
             c.channels.{kind}.dataDirs = d-{kind}\nc.channels.{kind}.maxFileSize = 262144\n\
             c.channels.{kind}.minimumRequiredSpace = 1048576\n\
             c.sinks.{kind}.type = {kind}\nc.sinks.{kind}.channel = {kind}\n"
        );
        if *kind != "http" {
            text += &format!(
                "c.sinks.{kind}.hostname = {to}\nc.sinks.{kind}.port = {port}\n\
                 c.sinks.{kind}.connect-timeout = 1000\nc.sinks.{kind}.request-timeout = 1000\n"
            );
        }
    }
    text
}

/// Returns the log lines of `directory` that contain `words` and are the sink's.
fn said(directory: &Path, sink: &str, words: &str) -> usize {
    let log = std::fs::read_to_string(directory.join("agent.log")).unwrap_or_default();
    let plain: String = log.split('\u{1b}').collect();
    let own = format!("sink=\"{sink}\"");
    plain.lines().filter(|line| line.contains(words) && line.contains(&own)).count()
}

#[test]
fn a_network_that_goes_away_and_comes_back_loses_nothing_and_is_said_once() {
    let namespace = match Namespace::new() {
        Ok(namespace) => namespace,
        Err(reason) => {
            println!("left out link: {reason}");
            return;
        }
    };
    let (near, far) =
        (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("one"));
    let ports: Vec<u16> = (0..4).map(|_| free_port()).collect();
    let at = &namespace.there;
    std::fs::write(far.path().join("s.conf"), server(at, &ports[..3])).expect("written");
    std::fs::write(near.path().join("c.conf"), client(ports[3], at, &ports[..3])).expect("written");
    for kind in SINKS {
        std::fs::create_dir(far.path().join(kind)).expect("a directory");
    }
    let mut inside = Command::new("ip");
    inside.args(["netns", "exec", &namespace.name]).current_dir(far.path());
    inside.arg(millpond(far.path()).get_program());
    let mut server = Agent::start_as(inside, far.path(), "s", "s.conf", &[]);
    let mut agent = Agent::start(near.path(), "c", "c.conf");
    let (mut reader, mut writer) = agent.connection(ports[3]);
    let mut send = |from: usize| {
        for n in from..from + LINES {
            writeln!(writer, "line {n}").expect("sent");
            assert_eq!(read_line(&mut reader).as_deref(), Some("OK"), "line {n}");
        }
    };
    let arrived = |count: usize| {
        for kind in SINKS {
            let out = far.path().join(kind);
            until(
                &format!("{count} lines of {kind}"),
                || agent.words(),
                || {
                    let mut lines = lines_in(&out);
                    lines.sort();
                    lines.dedup();
                    lines.len() == count
                },
            );
        }
    };
    send(0);
    arrived(LINES);
    namespace.link("down");
    send(LINES);
    for kind in SINKS {
        until(
            &format!("a word of {kind}"),
            || agent.words(),
            || said(near.path(), kind, "does not deliver") > 0,
        );
    }
    namespace.link("up");
    arrived(2 * LINES);
    for kind in SINKS {
        until(
            &format!("the end of {kind}'s trouble"),
            || agent.words(),
            || said(near.path(), kind, "recovered after") == 1,
        );
    }
    agent.assert_alive();
    server.assert_alive();
    assert!(agent.terminate().success());
    for kind in SINKS {
        // A batch that the server has and could not acknowledge comes again.
        let repeats = lines_in(&far.path().join(kind)).len() - 2 * LINES;
        assert!(
            repeats <= LINES,
            "{kind}: {repeats} repeats are more than what was sent meanwhile"
        );
    }
}
