//! The attacked agent.

use super::{Plan, distinct};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const SOURCES: [&str; 9] =
    ["avro", "zavro", "tls", "http", "syslog", "tlssyslog", "multi", "netcat", "thrift"];

/// The port of each source, by its name.
pub(crate) type Ports = BTreeMap<&'static str, u16>;

pub(crate) struct Agent {
    child: Child,
    pub(crate) ports: Ports,
    monitor: u16,
    directory: PathBuf,
}

/// Returns ports without a listener, below those that the system gives to clients.
fn free_ports(count: usize) -> Vec<u16> {
    let first = 11_000 + (std::process::id() % 1000) as u16 * 10;
    let free = (first..32_000).filter(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok());
    free.take(count).collect()
}

fn configuration(directory: &Path, ports: &Ports) -> String {
    let root = directory.display();
    let mut text = format!(
        "a.sources = {}\na.channels = c\na.sinks = k\n\
         a.channels.c.type = file\na.channels.c.checkpointDir = {root}/check\na.channels.c.dataDirs = {root}/data\n\
         a.channels.c.minimumRequiredSpace = 1048576\na.channels.c.maxFileSize = 16777216\n\
         a.sinks.k.type = file_roll\na.sinks.k.sink.directory = {root}/out\na.sinks.k.sink.rollInterval = 0\n\
         a.sinks.k.sink.batchSize = 1000\na.sinks.k.channel = c\n",
        SOURCES.join(" ")
    );
    let jks = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tls/server.jks");
    for (name, port) in ports {
        let (kind, address, more) = match *name {
            "zavro" => ("avro", "bind", "compression-type = deflate".to_owned()),
            "tls" | "tlssyslog" => {
                let own = format!("a.sources.{name}.keystore");
                let tls = format!("ssl = true\n{own} = {jks}\n{own}-password = changeit");
                if *name == "tls" { ("avro", "bind", tls) } else { ("syslogtcp", "host", tls) }
            }
            "syslog" => ("syslogtcp", "host", "eventSize = 1048576".to_owned()),
            "multi" => ("multiport_syslogtcp", "host", "eventSize = 1048576".to_owned()),
            "netcat" => ("netcat", "bind", "max-line-length = 1048576".to_owned()),
            other => (other, "bind", "maxConnections = 20000".to_owned()),
        };
        let own = format!("a.sources.{name}");
        let ports = if *name == "multi" { "ports" } else { "port" };
        text += &format!(
            "{own}.type = {kind}\n{own}.{address} = 127.0.0.1\n{own}.{ports} = {port}\n{own}.{more}\n{own}.channels = c\n"
        );
    }
    text
}

impl Agent {
    pub(crate) fn start(directory: &Path, plan: &Plan) -> Self {
        let free = free_ports(SOURCES.len() + 1);
        let ports: Ports = SOURCES.into_iter().zip(free.iter().copied()).collect();
        let monitor = free[SOURCES.len()];
        std::fs::create_dir(directory.join("out")).unwrap();
        std::fs::write(directory.join("a.conf"), configuration(directory, &ports)).unwrap();
        let log = File::create(directory.join("agent.log")).unwrap();
        // `exec` replaces the shell that sets the limits.
        let script = format!(
            "ulimit -n {} && ulimit -d {} && exec \"$@\"",
            plan.descriptors,
            plan.mebibytes * 1024
        );
        let child = Command::new("sh")
            .args(["-c", &script, "sh", env!("CARGO_BIN_EXE_millpond")])
            .args(["agent", "-n", "a", "-f", "a.conf", "-Dflume.monitoring.type=http"])
            .arg(format!("-Dflume.monitoring.port={monitor}"))
            .current_dir(directory)
            .env("HOME", directory)
            .env_remove("JAVA_OPTS")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut agent = Self { child, ports, monitor, directory: directory.to_owned() };
        let begun = Instant::now();
        while agent.page("/readyz").is_none_or(|page| !page.contains("200 OK")) {
            agent.assert_alive();
            assert!(begun.elapsed() < Duration::from_secs(60), "not ready: {}", agent.words());
            std::thread::sleep(Duration::from_millis(50));
        }
        agent
    }

    /// Returns the end of its log.
    fn words(&self) -> String {
        let log = std::fs::read(self.directory.join("agent.log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(6000)..]).into_owned()
    }

    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().unwrap();
        assert!(ended.is_none(), "the agent ended by itself: {ended:?}\n{}", self.words());
    }

    fn page(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.monitor)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut page = String::new();
        stream.read_to_string(&mut page).ok()?;
        Some(page)
    }

    /// Returns the agent's metrics of all clients, by name without `millpond_clients_`.
    pub(crate) fn clients(&self) -> BTreeMap<String, u64> {
        let page = self.page("/metrics/prometheus").unwrap_or_default();
        let metric = |line: &str| {
            let (name, value) = line.strip_prefix("millpond_clients_")?.split_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        };
        page.lines().filter_map(metric).collect()
    }

    fn status_mib(&self, field: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() >> 10
    }

    pub(crate) fn resident_mib(&self) -> u64 {
        self.status_mib("VmRSS:")
    }

    pub(crate) fn peak_mib(&self) -> u64 {
        self.status_mib("VmHWM:")
    }

    /// Waits until `expected` legitimate events are in the files, stops the agent, and returns the number of events
    /// of each sender.
    pub(crate) fn end(&mut self, expected: u64) -> BTreeMap<String, u64> {
        let begun = Instant::now();
        // Until the sink has drained the channel.
        while self.waiting() > 0 && begun.elapsed() < Duration::from_secs(60) {
            std::thread::sleep(Duration::from_millis(200));
        }
        let _ = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "the agent does not stop: {}",
                self.words()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        let counts = self.delivered();
        let found: u64 = counts.values().sum();
        if found < expected {
            println!("{found} of {expected} are there; the agent's last words:\n{}", self.words());
        }
        counts
    }

    /// Returns the number of events in the channel.
    fn waiting(&self) -> u64 {
        let page = self.page("/metrics").unwrap_or_default();
        let number =
            page.split("\"ChannelSize\":\"").nth(1).and_then(|rest| rest.split('"').next());
        number.and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    fn delivered(&self) -> BTreeMap<String, u64> {
        let files = std::fs::read_dir(self.directory.join("out")).unwrap();
        let lines = files.flat_map(|file| {
            let mut reader = BufReader::new(File::open(file.unwrap().path()).unwrap());
            let mut line = Vec::new();
            std::iter::from_fn(move || {
                line.clear();
                let read = reader.read_until(b'\n', &mut line).unwrap();
                (read > 0).then(|| {
                    String::from_utf8_lossy(&line[line.len().saturating_sub(200)..]).into_owned()
                })
            })
        });
        distinct(lines)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
