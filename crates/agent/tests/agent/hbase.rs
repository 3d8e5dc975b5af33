//! The hbase2 sink in the real binary: with a gateway whose faults are scripted, and with a real HBase where
//! `.ci/hbase` has started one (the tests named `real_hbase`).

use super::document_blocks::blocks;
use super::process::{Agent, free_port, run_expecting, until};
use millpond::{Clock, SystemClock};
use millpond_adapters::sink::hbase::fake_gateway::{FakeGateway, GatewayAction};
use millpond_adapters::wire::thrift::ThriftProtocol;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// Writes a configuration: netcat, a file channel, hbase2. The first word of a line is its row key.
fn configuration(directory: &Path, source: u16, hosts: &str, table: &str, more: &str) {
    let text = format!(
        "a.sources = r\na.channels = c\na.sinks = k\n\
         a.sources.r.type = netcat\na.sources.r.bind = 127.0.0.1\na.sources.r.port = {source}\n\
         a.sources.r.channels = c\n\
         a.channels.c.type = file\na.channels.c.checkpointDir = c/checkpoint\na.channels.c.dataDirs = c/data\n\
         a.sinks.k.type = hbase2\na.sinks.k.channel = c\na.sinks.k.table = {table}\na.sinks.k.columnFamily = f\n\
         a.sinks.k.thrift.hosts = {hosts}\n{more}\n"
    );
    std::fs::write(directory.join("a.conf"), text).expect("a file");
}

/// Keys of the serializer by which the first word of a line is its row key.
const BY_FIRST_WORD: &str = "a.sinks.k.serializer = RegexHBase2EventSerializer\n\
     a.sinks.k.serializer.regex = (\\\\S+) (.*)\na.sinks.k.serializer.colNames = ROW_KEY,text\n\
     a.sinks.k.serializer.rowKeyIndex = 0\n";

fn lines(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("k{n:04} line {n}")).collect()
}

#[test]
fn every_event_reaches_hbase_although_its_gateways_fail() {
    let directory = tempfile::tempdir().expect("a directory");
    let source = free_port();
    let gateways: Vec<FakeGateway> =
        (0..2).map(|_| FakeGateway::start(0, ThriftProtocol::Binary, true)).collect();
    let hosts = format!("127.0.0.1:{} 127.0.0.1:{}", gateways[0].port, gateways[1].port);
    let more = "a.sinks.k.thrift.framed = true\na.sinks.k.timeout = 1000\na.sinks.k.batchSize = 20";
    configuration(directory.path(), source, &hosts, "t", more);
    gateways[0].script(&[GatewayAction::WorksAndHangsUp, GatewayAction::Silent]);
    gateways[1].script(&[
        GatewayAction::IoError("org.apache.hadoop.hbase.RegionTooBusyException: r"),
        GatewayAction::Bytes(b"\x7F\xFF\xFF\xFF".to_vec()),
    ]);
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    agent.say(source, &lines(0, 100));
    let bodies = || {
        let mut bodies: Vec<Vec<u8>> = Vec::new();
        for gateway in &gateways {
            bodies.extend(gateway.tables().cells.values().cloned());
        }
        bodies.into_iter().collect::<BTreeSet<_>>().len()
    };
    until("all events", || agent.words(), || bodies() == 100);
    let counted = || -> i64 {
        gateways.iter().flat_map(|g| g.tables().counters.clone()).map(|(_, n)| n).sum()
    };
    until("all increments", || agent.words(), || counted() == 100);
    assert!(agent.terminate().success());
}

#[test]
fn what_hbase_refuses_is_in_the_dead_letters_and_the_rest_arrives() {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, gateway) = (free_port(), FakeGateway::start(0, ThriftProtocol::Binary, false));
    let more = format!(
        "{BY_FIRST_WORD}a.sinks.k.deadLetter.directory = refused\na.sinks.k.deadLetter.afterRefusals = 1"
    );
    configuration(directory.path(), source, &format!("127.0.0.1:{}", gateway.port), "t", &more);
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    agent.say(source, &["a one", "unmatched", "b two"]);
    let rows = || gateway.tables().cells.keys().map(|(row, _)| row.clone()).collect::<Vec<_>>();
    let file = directory.path().join("refused/a.k.jsonl");
    let refused = || std::fs::read_to_string(&file).unwrap_or_default();
    let all = || rows() == ["a", "b"] && refused().contains("does not match");
    until("the rest", || agent.words(), all);
    assert_eq!(refused().lines().count(), 1);
    assert!(agent.terminate().success());
}

#[test]
fn an_agent_starts_and_stops_while_hbase_is_away_and_continues_later() {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, port) = (free_port(), free_port());
    configuration(directory.path(), source, &format!("127.0.0.1:{port}"), "t", BY_FIRST_WORD);
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    agent.say(source, &lines(0, 10));
    let named = || agent.words().contains(&format!("127.0.0.1:{port}: cannot connect"));
    until("the reason", || agent.words(), named);
    let clock = SystemClock::new();
    assert!(agent.terminate().success());
    assert!(clock.now() < Duration::from_secs(20), "{:?}", clock.now());
    let gateway = FakeGateway::start(port, ThriftProtocol::Binary, false);
    let agent = Agent::start(directory.path(), "a", "a.conf");
    until("all rows", || agent.words(), || gateway.tables().cells.len() == 10);
    assert!(agent.terminate().success());
}

#[test]
fn a_configuration_of_flume_is_told_the_key_that_it_needs() {
    let directory = tempfile::tempdir().expect("a directory");
    configuration(directory.path(), 1, "", "t", "a.sinks.k.zookeeperQuorum = z:2181");
    let words = ["validate", "-n", "a", "-f", "a.conf"];
    let said = run_expecting(directory.path(), &words, b"", 1);
    for part in ["a.sinks.k.thrift.hosts", "hbase thrift2 start", "HOST:9090"] {
        assert!(said.contains(part), "{said}");
    }
}

/// A real HBase.
struct RealHbase {
    gateway: String,
    control: String,
}

impl RealHbase {
    #[allow(clippy::print_stdout)] // said aloud: a test that is left out must be seen
    fn running() -> Option<Self> {
        let named = |name| std::env::var(name).ok();
        let running = named("MILLPOND_HBASE").zip(named("MILLPOND_HBASE_CONTROL"));
        if running.is_none() {
            println!("left out real_hbase: .ci/hbase starts one");
        }
        running.map(|(gateway, control)| Self { gateway, control })
    }

    fn control(&self, words: &[&str]) -> String {
        let output = Command::new(&self.control).args(words).output().expect("it runs");
        let (out, error) = (output.stdout, String::from_utf8_lossy(&output.stderr).into_owned());
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(out).expect("text")
    }

    /// Returns the cells of a table as HBase's own client reads them: value by row and column.
    fn cells(&self, table: &str) -> BTreeMap<(String, String), String> {
        let scanned = self.control(&["scan", table]);
        let cell = |line: &str| {
            let mut parts = line.splitn(3, '\t').map(str::to_owned);
            let mut next = || parts.next().expect("three parts");
            ((next(), next()), next())
        };
        scanned.lines().map(cell).collect()
    }

    fn configure(&self, directory: &Path, source: u16, table: &str, more: &str) {
        let more = format!("a.sinks.k.thrift.framed = true\na.sinks.k.timeout = 15000\n{more}");
        configuration(directory, source, &self.gateway, table, &more);
    }
}

#[test]
fn real_hbase_has_rows_and_counters_as_they_were_sent() {
    let Some(hbase) = RealHbase::running() else { return };
    hbase.control(&["create", "round", "f"]);
    let directory = tempfile::tempdir().expect("a directory");
    let source = free_port();
    hbase.configure(directory.path(), source, "round", "a.sinks.k.coalesceIncrements = true");
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    agent.say(source, &["größer", "two", "two"]);
    let counter = ("incRow".to_owned(), "f:iCol".to_owned());
    let mut cells = BTreeMap::new();
    let all = || {
        cells = hbase.cells("round");
        cells.get(&counter).is_some_and(|count| count == "3")
    };
    until("three events counted", || agent.words(), all);
    assert!(agent.terminate().success());
    let mut bodies: Vec<&str> = Vec::new();
    for ((row, column), value) in cells.iter().filter(|(at, _)| **at != counter) {
        assert!(row.starts_with("default") && row.len() == 43 && column == "f:pCol", "{row}");
        bodies.push(value);
    }
    bodies.sort_unstable();
    assert_eq!(bodies, ["größer", "two", "two"]);
}

#[test]
fn real_hbase_loses_nothing_when_gateway_and_servers_are_killed() {
    let Some(hbase) = RealHbase::running() else { return };
    hbase.control(&["create", "kills", "f"]);
    let directory = tempfile::tempdir().expect("a directory");
    let source = free_port();
    hbase.configure(directory.path(), source, "kills", BY_FIRST_WORD);
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    agent.say(source, &lines(0, 300));
    hbase.control(&["kill", "gateway"]);
    agent.say(source, &lines(300, 600));
    hbase.control(&["start"]);
    agent.say(source, &lines(600, 900));
    hbase.control(&["kill", "hbase"]);
    agent.say(source, &lines(900, 1200));
    hbase.control(&["start"]);
    agent.say(source, &lines(1200, 1500));
    let clock = SystemClock::new();
    let mut cells = hbase.cells("kills");
    while cells.len() < 1500 && clock.now() < Duration::from_secs(150) {
        std::thread::sleep(Duration::from_secs(2));
        cells = hbase.cells("kills");
    }
    assert_eq!(cells.len(), 1500, "{}", agent.words());
    for n in 0..1500 {
        let at = (format!("k{n:04}"), "f:text".to_owned());
        assert_eq!(cells.get(&at), Some(&format!("line {n}")));
    }
    assert!(agent.terminate().success());
}

#[test]
fn real_hbase_may_be_absent_at_the_start_and_lack_the_table() {
    let Some(hbase) = RealHbase::running() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let source = free_port();
    hbase.configure(directory.path(), source, "later", BY_FIRST_WORD);
    hbase.control(&["kill", "gateway"]);
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    agent.say(source, &lines(0, 20));
    until("the reason", || agent.words(), || agent.words().contains("cannot connect"));
    hbase.control(&["start"]);
    let named = || agent.words().contains("the table later: it does not exist; create it");
    until("the missing table", || agent.words(), named);
    hbase.control(&["create", "later", "f"]);
    until("rows", || agent.words(), || hbase.cells("later").len() == 20);
    assert!(agent.terminate().success());
}

#[test]
fn real_hbase_refuses_what_it_cannot_take_and_the_dead_letters_have_it() {
    let Some(hbase) = RealHbase::running() else { return };
    hbase.control(&["create", "other", "g"]);
    let directory = tempfile::tempdir().expect("a directory");
    let source = free_port();
    let dead = "a.sinks.k.deadLetter.directory = refused\na.sinks.k.deadLetter.afterRefusals = 1";
    hbase.configure(directory.path(), source, "other", &format!("{BY_FIRST_WORD}{dead}"));
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    agent.say(source, &["a one"]);
    let file = directory.path().join("refused/a.k.jsonl");
    let refused = || std::fs::read_to_string(&file).unwrap_or_default();
    let reason = || refused().contains("it has no column family f; add it (alter 'other', 'f'");
    until("the dead letter", || agent.words(), reason);
    assert!(agent.terminate().success());
    assert!(hbase.cells("other").is_empty());
}

/// The example of docs/hbase.md, with only addresses and directories replaced, for a framed gateway.
#[test]
fn real_hbase_runs_the_example_of_its_page_as_it_is_written() {
    let Some(hbase) = RealHbase::running() else { return };
    hbase.control(&["create", "logs", "f"]);
    let directory = tempfile::tempdir().expect("a directory");
    let source = free_port();
    let text = blocks("hbase.md", "## From nothing to a row", "properties").remove(0);
    let dead = directory.path().join("dead").display().to_string();
    let text = text.replace("gateway1:9090 gateway2:9090", &hbase.gateway);
    let text = text.replace("44444", &source.to_string()).replace("/var/lib/millpond/dead", &dead);
    let text = format!("{text}a1.sinks.k1.thrift.framed = true\n");
    std::fs::write(directory.path().join("a.conf"), text).expect("a file");
    let mut agent = Agent::start(directory.path(), "a1", "a.conf");
    agent.say(source, &["id-1 INFO started", "id-2 WARN slow"]);
    let cell = |row: &str, column: &str, value: &str| {
        ((row.to_owned(), format!("f:{column}")), value.to_owned())
    };
    let expected: BTreeMap<_, _> = [
        cell("id-1", "level", "INFO"),
        cell("id-1", "text", "started"),
        cell("id-2", "level", "WARN"),
        cell("id-2", "text", "slow"),
    ]
    .into();
    until("the rows", || agent.words(), || hbase.cells("logs") == expected);
    assert!(agent.terminate().success());
}
