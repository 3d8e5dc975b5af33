//! Events from agent to agent, over every wire that has two ends here, in TLS; and through a real Flume
//! where there is one.

use super::process::{Agent, free_port, lines_in, read_line, until};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The keys of a server and of a client of TLS.
fn keys() -> (String, String) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls");
    let at = |name: &str| golden.join(name).display().to_string();
    let server = format!("ssl=true keystore={} keystore-password=changeit", at("server.jks"));
    let client = format!("ssl=true truststore={} truststore-password=changeit", at("trust.jks"));
    (server, client)
}

/// Lines of a configuration: `part` with the settings in `words`.
pub(crate) fn part(agent: &str, part: &str, words: &str) -> String {
    words.split_whitespace().map(|word| format!("{agent}.{part}.{word}\n")).collect()
}

/// A source of each of `sources` into a channel of its own, each emptied by the sink in its place.
fn chain(agent: &str, sources: &[String], sinks: &[String]) -> String {
    let names =
        |letter: char| -> String { (0..sources.len()).map(|i| format!("{letter}{i} ")).collect() };
    let mut text = format!("{agent}.sources = {}\n", names('r'));
    text += &format!("{agent}.channels = {}\n{agent}.sinks = {}\n", names('c'), names('k'));
    for (i, (source, sink)) in sources.iter().zip(sinks).enumerate() {
        text += &part(agent, &format!("sources.r{i}"), &format!("{source} channels=c{i}"));
        let channel = "type=memory capacity=10000 transactionCapacity=1000";
        text += &part(agent, &format!("channels.c{i}"), channel);
        text += &part(agent, &format!("sinks.k{i}"), &format!("{sink} channel=c{i}"));
    }
    text
}

/// Sends lines to the netcat source at `port` and waits until they stand in `out`, each once.
fn send_and_find(agent: &mut Agent, port: u16, out: &Path, lines: usize) {
    let (mut reader, mut writer) = agent.connection(port);
    for n in 0..lines {
        writeln!(writer, "line {n} größer").expect("sent");
        assert_eq!(read_line(&mut reader).as_deref(), Some("OK"), "line {n}");
    }
    let agent = &*agent;
    until("all lines", || agent.words(), || lines_in(out).len() >= lines);
    let mut found = lines_in(out);
    found.sort();
    let mut sent: Vec<Vec<u8>> =
        (0..lines).map(|n| format!("line {n} größer").into_bytes()).collect();
    sent.sort();
    assert_eq!(found, sent);
}

fn file_roll(out: &Path) -> String {
    std::fs::create_dir_all(out).expect("a directory");
    format!("type=file_roll sink.directory={} sink.rollInterval=0", out.display())
}

const HERE: &str = "bind=127.0.0.1";
const DEFLATE: &str = "compression-type=deflate";

#[test]
fn lines_cross_every_wire_over_tls() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    let (server, client) = keys();
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    let blob = "handler=org.apache.flume.source.http.BLOBHandler";
    let sources = [
        format!("type=netcat {HERE} port={}", ports[0]),
        format!("type=avro {HERE} port={} {DEFLATE} {server}", ports[1]),
        format!("type=thrift {HERE} port={} {server}", ports[2]),
        format!("type=thrift {HERE} port={} protocol=binary {server}", ports[3]),
        format!("type=http {HERE} port={} {blob} {server}", ports[4]),
    ];
    let to = |kind: &str, at: usize| format!("type={kind} hostname=127.0.0.1 port={}", ports[at]);
    let good = "rollback.2XX=false backoff.2XX=false incrementMetrics.2XX=true";
    let trust = client.replace("ssl=true ", "");
    let sinks = [
        format!("{} {DEFLATE} {client}", to("avro", 1)),
        format!("{} {client}", to("thrift", 2)),
        // Whom it trusts stands on the command line.
        format!("{} protocol=binary ssl=true", to("thrift", 3)),
        format!("type=http endpoint=https://127.0.0.1:{}/in {good} {trust}", ports[4]),
        file_roll(&out),
    ];
    std::fs::write(directory.path().join("a.conf"), chain("a", &sources, &sinks)).expect("written");
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls/trust.p12");
    let trust = format!("-Djavax.net.ssl.trustStore={}", golden.display());
    let more = [trust.as_str(), "-Djavax.net.ssl.trustStorePassword=changeit"];
    let mut agent = Agent::start_with(directory.path(), "a", "a.conf", &more);
    send_and_find(&mut agent, ports[0], &out, 100);
    assert!(agent.terminate().success());
}

/// A process that is killed when dropped.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The folder with Flume's jars, or why it is not there.
fn flume_jars() -> Result<PathBuf, String> {
    let named = std::env::var_os("MILLPOND_FLUME_LIB").map(PathBuf::from);
    let jars = named.ok_or("MILLPOND_FLUME_LIB names no folder with the jars of Flume")?;
    let java = Command::new("java").arg("-version").stderr(Stdio::null()).status();
    match java {
        Ok(ended) if ended.success() && jars.is_dir() => Ok(jars),
        _ => Err("there is no java, or no folder of jars".to_owned()),
    }
}

/// millpond → Flume → millpond → Flume → millpond: avro both ways, in TLS, compressed, and both; thrift
/// in both protocols.
#[test]
fn lines_go_through_a_real_flume_and_come_back_over_avro_and_thrift() {
    let jars = match flume_jars() {
        Ok(jars) => jars,
        Err(reason) => {
            println!("left out real_flume: {reason}");
            return;
        }
    };
    let (server, client) = keys();
    through_flume(&jars, &server, &client);
    through_flume(&jars, DEFLATE, DEFLATE);
    through_flume(&jars, &format!("{DEFLATE} {server}"), &format!("{DEFLATE} {client}"));
}

fn through_flume(jars: &Path, server: &str, client: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    let ports: Vec<u16> = (0..5).map(|_| free_port()).collect();
    let to = |kind: &str, at: usize| format!("type={kind} hostname=127.0.0.1 port={}", ports[at]);
    let ours = chain(
        "a",
        &[
            format!("type=netcat {HERE} port={}", ports[0]),
            format!("type=thrift {HERE} port={}", ports[2]),
            format!("type=avro {HERE} port={} {server}", ports[4]),
        ],
        &[
            format!("{} {client}", to("avro", 1)),
            format!("{} protocol=binary {client}", to("thrift", 3)),
            file_roll(&out),
        ],
    );
    let theirs = chain(
        "f",
        &[
            format!("type=avro {HERE} port={} {server}", ports[1]),
            format!("type=thrift {HERE} port={} protocol=binary {server}", ports[3]),
        ],
        &[to("thrift", 2), format!("{} {client}", to("avro", 4))],
    );
    std::fs::write(directory.path().join("a.conf"), ours).expect("written");
    std::fs::write(directory.path().join("f.conf"), theirs).expect("written");
    let flume = Command::new("java")
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"])
        .arg(format!("{}/*", jars.display()))
        .args(["org.apache.flume.node.Application", "-n", "f", "-f", "f.conf", "--no-reload-conf"])
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Killed)
        .expect("java starts");
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    send_and_find(&mut agent, ports[0], &out, 100);
    drop(flume);
    assert!(agent.terminate().success());
}
