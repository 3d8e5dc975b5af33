//! Events from agent to agent, over every protocol that has two ends here, with TLS; and through a
//! real Flume if there is one.

use super::monitoring::metrics;
use super::process::{Agent, DEADLINE, free_port, lines_in, read_line, until};
use millpond_flow::net::connect::{Layers, connect};
use millpond_flow::net::tls::ClientTls;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tokio::io::AsyncWriteExt;

/// The keys of a server and of a client of TLS.
fn keys() -> (String, String) {
    let golden = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/golden/tls");
    let at = |name: &str| golden.join(name).display().to_string();
    let server = format!("ssl=true keystore={} keystore-password=changeit", at("server.jks"));
    let client = format!("ssl=true truststore={} truststore-password=changeit", at("trust.jks"));
    (server, client)
}

/// Lines of a configuration: `part` with the settings in `words`.
pub(crate) fn part(agent: &str, part: &str, words: &str) -> String {
    words.split_whitespace().map(|word| format!("{agent}.{part}.{word}\n")).collect()
}

/// A source of each of `sources` into a channel of its own, each emptied by the sink at the same
/// position.
pub(crate) fn chain(agent: &str, sources: &[String], sinks: &[String]) -> String {
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

/// Sends lines to the netcat source at `port` and waits until they are in `out`, each once.
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

pub(crate) fn file_roll(out: &Path) -> String {
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
        // Its trusted authority is on the command line.
        format!("{} protocol=binary ssl=true", to("thrift", 3)),
        format!("type=http endpoint=https://127.0.0.1:{}/in {good} {trust}", ports[4]),
        file_roll(&out),
    ];
    std::fs::write(directory.path().join("a.conf"), chain("a", &sources, &sinks)).expect("written");
    let golden =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/golden/tls/trust.p12");
    let trust = format!("-Djavax.net.ssl.trustStore={}", golden.display());
    let more = [trust.as_str(), "-Djavax.net.ssl.trustStorePassword=changeit"];
    let mut agent = Agent::start_with(directory.path(), "a", "a.conf", &more);
    send_and_find(&mut agent, ports[0], &out, 100);
    assert!(agent.terminate().success());
}

#[test]
fn syslog_messages_come_over_tls_and_in_plain_text_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let outs = ["one", "many"].map(|name| directory.path().join(name));
    let ports = [free_port(), free_port()];
    let (server, _) = keys();
    let sources = [
        format!("type=syslogtcp host=127.0.0.1 port={} {server}", ports[0]),
        format!("type=multiport_syslogtcp host=127.0.0.1 ports={} {server}", ports[1]),
    ];
    let sinks = [file_roll(&outs[0]), file_roll(&outs[1])];
    std::fs::write(directory.path().join("a.conf"), chain("a", &sources, &sinks)).expect("written");
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    let store =
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/golden/tls/trust.jks");
    let trust = ClientTls {
        truststore: Some(store),
        password: "changeit".to_owned(),
        ..ClientTls::default()
    };
    let connector = trust.load().expect("a store");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    for (port, out) in ports.into_iter().zip(&outs) {
        let (mut reader, mut plain) = agent.connection(port);
        plain.write_all(b"<34>Oct 11 22:14:15 web1 in plain text\n").expect("sent");
        // It is not a TLS handshake: the connection ends.
        while read_line(&mut reader).is_some() {}
        let say = async {
            let layers = Layers { tls: Some(&connector), zlib: None };
            let mut stream = connect("127.0.0.1", port, layers, DEADLINE).await.expect("TLS");
            for n in 0..100 {
                let line = format!("<34>Oct 11 22:14:15 web1 line {n}\n");
                stream.write_all(line.as_bytes()).await.expect("sent");
            }
            stream.shutdown().await.expect("closed");
        };
        runtime.block_on(say);
        until("all lines", || agent.words(), || lines_in(out).len() >= 100);
        let sent: Vec<Vec<u8>> = (0..100).map(|n| format!("line {n}").into_bytes()).collect();
        assert_eq!(lines_in(out), sent, "port {port}");
    }
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

/// Returns the folder with Flume's jars, or why it is not there.
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
    let ports: Vec<u16> = (0..7).map(|_| free_port()).collect();
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
    // Alarms are not keys of Flume's: it ignores them and runs.
    let theirs = theirs + "f.alarms.cluster=north\nf.alarms.clientSilent.seconds=60\n";
    std::fs::write(directory.path().join("a.conf"), on_disk("a", &ours)).expect("written");
    std::fs::write(directory.path().join("f.conf"), on_disk("f", &theirs)).expect("written");
    let watched = |port: u16| {
        let port = format!("-Dflume.monitoring.port={port}");
        ["-Dflume.monitoring.type=http".to_owned(), port]
    };
    let flume = Command::new("java")
        .args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args(watched(ports[5]))
        .arg("-cp")
        .arg(format!("{}/*", jars.display()))
        .args(["org.apache.flume.node.Application", "-n", "f", "-f", "f.conf", "--no-reload-conf"])
        .current_dir(directory.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map(Killed)
        .expect("java starts");
    let [kind, port] = watched(ports[6]);
    let mut agent = Agent::start_with(directory.path(), "a", "a.conf", &[&kind, &port]);
    send_and_find(&mut agent, ports[0], &out, 100);
    // The same attributes as those of Flume for the same type: ours, and Flume's of it.
    let (ours, theirs) = (metrics(ports[6]), metrics(ports[5]));
    for (our, their) in [
        ("SOURCE.r1", "SOURCE.r1"),
        ("SOURCE.r2", "SOURCE.r0"),
        ("CHANNEL.c0", "CHANNEL.c0"),
        ("CHANNEL.c1", "CHANNEL.c1"),
        ("SINK.k0", "SINK.k1"),
        ("SINK.k1", "SINK.k0"),
    ] {
        let names = |component: &serde_json::Value| -> BTreeSet<String> {
            component.as_object().into_iter().flat_map(|all| all.keys().cloned()).collect()
        };
        assert_eq!(names(&ours[our]), names(&theirs[their]), "{our} and Flume's {their}\n{theirs}");
        assert!(!names(&ours[our]).is_empty(), "{our}: {ours}");
    }
    drop(flume);
    assert!(agent.terminate().success());
}

/// Returns the configuration with its first channel on disk.
fn on_disk(agent: &str, configuration: &str) -> String {
    let memory = format!("{agent}.channels.c0.type=memory\n");
    let words = format!("type=file checkpointDir={agent}-cp dataDirs={agent}-data");
    configuration.replace(&memory, &part(agent, "channels.c0", &words))
}
