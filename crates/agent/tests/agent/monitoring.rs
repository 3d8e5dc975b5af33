//! The monitoring of a running agent.

use super::process::{Agent, connect, free_port, read_line, run_expecting, signal, until};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;

/// A syslog and a netcat source, a channel in memory and one on disk, and two sinks into files.
fn configuration(ports: [u16; 2], more: &str) -> String {
    let [syslog, netcat] = ports;
    format!(
        "a.sources = r1 r2\na.channels = c1 c2\na.sinks = k1 k2\n\
         a.sources.r1.type = syslogtcp\na.sources.r1.host = 127.0.0.1\na.sources.r1.port = {syslog}\n\
         a.sources.r1.channels = c1\n\
         a.sources.r2.type = netcat\na.sources.r2.bind = 127.0.0.1\na.sources.r2.port = {netcat}\n\
         a.sources.r2.channels = c2\n\
         a.channels.c1.type = memory\na.channels.c1.capacity = 300\n\
         a.channels.c2.type = file\na.channels.c2.checkpointDir = cp\na.channels.c2.dataDirs = data\n\
         a.channels.c2.minimumRequiredSpace = 1048576\n\
         a.sinks.k1.type = file_roll\na.sinks.k1.sink.directory = .\na.sinks.k1.channel = c1\n\
         a.sinks.k2.type = logger\na.sinks.k2.channel = c2\n{more}"
    )
}

fn start(top: &Path, more: &[&str]) -> Agent {
    Agent::start_with(top, "a", "a.conf", more)
}

/// Returns the body of the page `path`, and its status; `None` while nothing listens.
pub(crate) fn page(port: u16, path: &str) -> Option<(u16, String)> {
    let (mut reader, mut stream) = connect(port)?;
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    reader.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Returns Flume's form of `/metrics`; nothing while there is no reply.
pub(crate) fn metrics(port: u16) -> serde_json::Value {
    let (_, body) = page(port, "/metrics").unwrap_or_default();
    serde_json::from_str(&body).unwrap_or_default()
}

#[test]
fn counters_are_seen_as_flume_shows_them_and_follow_a_reload() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (ports, monitor) = ([free_port(), free_port()], free_port());
    let write = |text: &str| std::fs::write(top.join("a.conf"), text).expect("written");
    write(&configuration(ports, ""));
    let option = format!("-Dflume.monitoring.port={monitor}");
    let agent = start(top, &["-Dflume.monitoring.type=http", &option]);
    until("the agent", || agent.words(), || agent.words().contains("agent a started"));
    assert!(agent.words().contains("only this machine can ask"), "{}", agent.words());

    let mut syslog = TcpStream::connect(("127.0.0.1", ports[0])).expect("it listens");
    syslog.write_all(b"<13>one\n<13>two\n").expect("sent");
    let (mut reader, mut netcat) = connect(ports[1]).expect("it listens");
    netcat.write_all(b"three\n").expect("sent");
    assert_eq!(read_line(&mut reader).as_deref(), Some("OK"));
    let value = |component: &str, name: &str| metrics(monitor)[component][name].clone();
    let drained = || value("SINK.k1", "EventDrainSuccessCount") == "2";
    until("both events in the files", || agent.words(), drained);
    until("an empty channel", || agent.words(), || value("CHANNEL.c2", "ChannelSize") == "0");
    let names = |page: serde_json::Value| -> Vec<String> {
        page.as_object().map(|all| all.keys().cloned().collect()).unwrap_or_default()
    };
    // Flume counts nothing of a netcat source and a logger sink.
    assert_eq!(names(metrics(monitor)), ["CHANNEL.c1", "CHANNEL.c2", "SINK.k1", "SOURCE.r1"]);
    for (component, name, wanted) in [
        ("SOURCE.r1", "EventReceivedCount", "2"),
        ("SOURCE.r1", "EventAcceptedCount", "2"),
        ("SOURCE.r1", "AppendBatchReceivedCount", "0"),
        ("SOURCE.r1", "Type", "SOURCE"),
        ("CHANNEL.c1", "EventTakeSuccessCount", "2"),
        ("CHANNEL.c1", "ChannelCapacity", "300"),
        ("CHANNEL.c1", "ChannelFillPercentage", "0.0"),
        ("CHANNEL.c2", "Open", "true"),
        ("CHANNEL.c2", "EventPutSuccessCount", "1"),
        ("CHANNEL.c2", "StopTime", "0"),
    ] {
        assert_eq!(value(component, name), wanted, "{component} {name}");
    }

    let (status, prometheus) = page(monitor, "/metrics/prometheus").expect("it replies");
    assert_eq!(status, 200);
    for line in [
        "millpond_source_received_events_total{source=\"r2\",type=\"netcat\"} 1",
        "millpond_channel_unaccounted_events{channel=\"c1\",type=\"memory\"} 0",
        "millpond_channel_unaccounted_events{channel=\"c2\",type=\"file\"} 0",
        "millpond_stripe_suspended{channel=\"c2\",type=\"file\",stripe=\"0\",directory=\"data\"} 0",
        "millpond_sink_delivered_events_total{sink=\"k2\",type=\"logger\"} 1",
        "millpond_sink_up{sink=\"k1\",type=\"file_roll\"} 1",
    ] {
        assert!(prometheus.lines().any(|l| l == line), "no {line}\nin\n{prometheus}");
    }
    for (path, wanted) in [("/readyz", "\"ready\":true"), ("/healthz", "\"alive\":true")] {
        let (status, body) = page(monitor, path).expect("it replies");
        assert!(status == 200 && body.contains(wanted), "{status} {body}");
    }

    // k1 is removed, k3 is added, c2 stays and counts on.
    let gone = configuration(ports, "").replace("a.sinks = k1 k2", "a.sinks = k3 k2");
    write(&gone.replace("sinks.k1", "sinks.k3"));
    signal(agent.id(), "HUP");
    until("the reload", || agent.words(), || agent.words().contains("agent a reloaded"));
    assert_eq!(names(metrics(monitor)), ["CHANNEL.c1", "CHANNEL.c2", "SINK.k3", "SOURCE.r1"]);
    assert_eq!(value("CHANNEL.c2", "EventPutSuccessCount"), "1");
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_port_in_use_and_a_wrong_option_are_said_and_the_agent_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let ports = [free_port(), free_port()];
    std::fs::write(top.join("a.conf"), configuration(ports, "")).expect("written");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let monitor = taken.local_addr().expect("bound").port();
    let option = format!("-Dflume.monitoring.port={monitor}");
    let agent = start(top, &["-Dflume.monitoring.type=http", &option]);
    let said = |words: &str| {
        until(words, || agent.words(), || agent.words().contains(words));
    };
    said(&format!("cannot listen on 127.0.0.1 port {monitor}"));
    said("agent a started");
    drop(taken);
    until("pages once the port is free", || agent.words(), || page(monitor, "/metrics").is_some());
    assert_eq!(agent.terminate().code(), Some(0));

    let agent = start(top, &["-Dflume.monitoring.type=gangla", "-Dflume.monitoring.port=x"]);
    until("the agent", || agent.words(), || agent.words().matches("agent a started").count() == 2);
    assert!(agent.words().contains("flume.monitoring.type=gangla: there are"), "{}", agent.words());
    assert!(agent.words().contains("runs without monitoring"), "{}", agent.words());
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_secret_or_a_store_that_cannot_be_read_is_an_error_until_it_can() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let ports = [free_port(), free_port()];
    std::fs::write(top.join("a.conf"), configuration(ports, "")).expect("written");
    let monitor = free_port();
    let port = format!("-Dflume.monitoring.port={monitor}");
    let option = |rest: &str| format!("-Dflume.monitoring.{rest}");
    let words = [option("type=http"), port, option("auth-token-file=tok")];
    let more = [&words[0][..], &words[1], &words[2], "-Dflume.monitoring.healthWithoutAuth=true"];
    let agent = start(top, &more);
    until("the error", || agent.words(), || agent.words().contains("code=MP-5106"));
    let said = agent.words();
    assert!(said.contains("ERROR") && said.contains("the file tok:"), "{said}");
    assert!(!said.contains("/metrics ("), "it says that pages are available: {said}");
    assert_eq!(page(monitor, "/metrics").expect("an answer").0, 503);
    assert_eq!(page(monitor, "/healthz").expect("an answer").0, 200);
    std::fs::write(top.join("tok"), "geheim\n").expect("written");
    until("the pages", || agent.words(), || agent.words().contains("/metrics ("));
    assert_eq!(page(monitor, "/metrics").expect("an answer").0, 401);
    assert_eq!(agent.terminate().code(), Some(0));

    let stores = [option("ssl=true"), option("keystore=nope"), option("keystore-password=x")];
    let agent = start(top, &[more[0], more[1], &stores[0], &stores[1], &stores[2]]);
    let errors = || agent.words().matches("code=MP-5106").count();
    until("the error", || agent.words(), || errors() == 2 && agent.words().contains("nope"));
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn a_mistyped_option_that_was_to_restrict_access_opens_no_port() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    std::fs::write(top.join("a.conf"), configuration([free_port(), free_port()], ""))
        .expect("written");
    let (monitor, port) = (free_port(), "-Dflume.monitoring.port");
    let port = format!("{port}={monitor}");
    let more = ["-Dflume.monitoring.type=http", &port, "-Dflume.monitoring.auth-tokenfile=tok"];
    let agent = start(top, &more);
    until("the agent", || agent.words(), || agent.words().contains("agent a started"));
    assert!(agent.words().contains("did you mean auth-token-file?"), "{}", agent.words());
    assert!(agent.words().contains("code=MP-5101"), "{}", agent.words());
    assert_eq!(page(monitor, "/metrics"), None);
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn what_does_not_run_is_named_by_readyz_and_a_sink_that_fails_is_seen() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (taken, server) = (TcpListener::bind("127.0.0.1:0").expect("a port"), free_port());
    let ports = [taken.local_addr().expect("bound").port(), free_port()];
    let (monitor, more) = (free_port(), format!("a.sinks.k2.port = {server}\n"));
    let sink = "a.sinks.k2.type = avro\na.sinks.k2.hostname = 127.0.0.1";
    let text = configuration(ports, &more).replace("a.sinks.k2.type = logger", sink);
    std::fs::write(top.join("a.conf"), text).expect("written");
    let option = format!("-Dflume.monitoring.port={monitor}");
    let agent = start(top, &["-Dflume.monitoring.type=prometheus", &option]);
    let ready = |wanted: &[(&str, &str)]| {
        let (status, body) = page(monitor, "/readyz").unwrap_or_default();
        let body: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
        let named = |(component, words): &(&str, &str)| {
            let reasons = body["reasons"].as_array().map_or(&[][..], Vec::as_slice);
            reasons.iter().any(|r| {
                r["component"] == *component
                    && r["reason"].as_str().is_some_and(|w| w.contains(words))
            })
        };
        status == if wanted.is_empty() { 200 } else { 503 } && wanted.iter().all(named)
    };
    until("r1 has no port", || agent.words(), || ready(&[("SOURCE.r1", "has not started")]));
    drop(taken);
    until("all of it runs", || agent.words(), || ready(&[]));

    let (mut reader, mut netcat) = connect(ports[1]).expect("it listens");
    netcat.write_all(b"not taken\n").expect("sent");
    assert_eq!(read_line(&mut reader).as_deref(), Some("OK"));
    let failing = || {
        let (_, text) = page(monitor, "/metrics").unwrap_or_default();
        let line = |line: &str| text.lines().any(|l| l == line);
        line("millpond_sink_failing{sink=\"k2\",type=\"avro\"} 1")
            && line("millpond_channel_waiting_events{channel=\"c2\",type=\"file\"} 1")
            && line("millpond_channel_unaccounted_events{channel=\"c2\",type=\"file\"} 0")
    };
    until("a sink that fails", || agent.words(), failing);
    // Everywhere with the reason: the log is not always at hand.
    let (_, ready) = page(monitor, "/readyz").unwrap_or_default();
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    let sink = &ready["failing"][0];
    let reason = sink["reason"].as_str().unwrap_or_default();
    assert_eq!((&sink["component"], &sink["code"]), (&"SINK.k2".into(), &"MP-3001".into()));
    assert!(reason.contains("Connection refused") && sink["since"].is_string(), "{ready}");
    let target = format!("127.0.0.1:{monitor}");
    let seen = run_expecting(top, &["top", "--once", "--json", "-i", "0.5", &target], b"", 0);
    let seen: serde_json::Value = serde_json::from_str(&seen).expect("JSON");
    let rows = seen["agents"][0]["components"].as_array().cloned().unwrap_or_default();
    let row = rows.iter().find(|row| row["component"] == "SINK.k2").expect("the sink's row");
    assert_eq!((&row["code"], &row["since"]), (&sink["code"], &sink["since"]));
    assert!(row["reason"].as_str().is_some_and(|why| why.contains("Connection refused")), "{row}");
    assert_eq!(agent.terminate().code(), Some(0));
}
