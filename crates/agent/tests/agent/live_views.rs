//! Views of a running agent: the dashboard, `top` and `tap`.

use super::monitoring::page;
use super::process::{
    Agent, connect, free_port, millpond, read_line, run, run_expecting, signal, until,
};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

/// A netcat source with an interceptor, a file channel, and a sink into files.
fn write_configuration(top: &Path, netcat: u16, interceptors: &str) {
    let text = format!(
        "a.sources = r1\na.channels = c1\na.sinks = k1\n\
         a.sources.r1.type = netcat\na.sources.r1.bind = 127.0.0.1\na.sources.r1.port = {netcat}\n\
         a.sources.r1.channels = c1\na.sources.r1.interceptors = {interceptors}\n\
         a.sources.r1.interceptors.i1.type = static\na.sources.r1.interceptors.i1.key = k\n\
         a.sources.r1.interceptors.i1.value = <v>\n\
         a.sources.r1.interceptors.i2.type = timestamp\n\
         a.channels.c1.type = file\na.channels.c1.checkpointDir = cp\na.channels.c1.dataDirs = data\n\
         a.channels.c1.minimumRequiredSpace = 1048576\n\
         a.sinks.k1.type = file_roll\na.sinks.k1.sink.directory = .\na.sinks.k1.channel = c1\n"
    );
    std::fs::write(top.join("a.conf"), text).expect("written");
}

fn start(top: &Path, more: &[&str]) -> Agent {
    let agent = Agent::start_with(top, "a", "a.conf", more);
    until("the agent", || agent.words(), || agent.words().contains("agent a started"));
    agent
}

fn json(port: u16, path: &str) -> Value {
    let (_, body) = page(port, path).unwrap_or_default();
    serde_json::from_str(&body).unwrap_or_default()
}

fn send(port: u16, line: &[u8]) {
    let (mut reader, mut stream) = connect(port).expect("it listens");
    stream.write_all(line).expect("sent");
    assert_eq!(read_line(&mut reader).as_deref(), Some("OK"));
}

#[test]
fn the_dashboard_has_the_running_flow_and_a_new_hour() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (netcat, monitor) = (free_port(), free_port());
    write_configuration(top, netcat, "i1");
    let option = format!("-Dflume.monitoring.port={monitor}");
    let agent = start(top, &["-Dflume.monitoring.type=http", &option]);
    let (status, people) = page(monitor, "/").expect("it replies");
    assert!(status == 200 && people.contains("<noscript>"), "{status}");
    let flow = json(monitor, "/flow");
    assert_eq!(flow["agents"][0]["sources"][0]["passes"], serde_json::json!(["i1: static"]));
    assert_eq!(flow["agents"][0]["sinks"][0]["channel"], "c1");
    let (_, drawing) = page(monitor, "/flow.svg").expect("it replies");
    assert!(drawing.starts_with("<svg") && drawing.contains("i1: static"), "{drawing}");

    send(netcat, b"one\n");
    let points = |of: &str, measure: &str| -> Vec<Value> {
        let page = json(monitor, "/history");
        let series = page["series"].as_array().cloned().unwrap_or_default();
        let found = series.iter().find(|s| s["component"] == of && s["measure"] == measure);
        found.and_then(|s| s["values"].as_array().cloned()).unwrap_or_default()
    };
    let came = || {
        let rates = points("SINK.k1", "delivered_events_per_second");
        rates.iter().any(|rate| rate.as_f64().is_some_and(|rate| rate > 0.0))
    };
    until("the event in the history", || agent.words(), came);

    write_configuration(top, netcat, "i1 i2");
    signal(agent.id(), "HUP");
    let both = serde_json::json!(["i1: static", "i2: timestamp"]);
    let shown = || json(monitor, "/flow")["agents"][0]["sources"][0]["passes"] == both;
    until("the flow as it is now", || agent.words(), shown);
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn top_shows_the_agent_that_replies_and_names_the_one_that_does_not() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (netcat, monitor) = (free_port(), free_port());
    write_configuration(top, netcat, "i1");
    let option = format!("-Dflume.monitoring.port={monitor}");
    let agent = start(top, &["-Dflume.monitoring.type=prometheus", &option]);
    let here = format!("127.0.0.1:{monitor}");
    let gone = format!("127.0.0.1:{}", free_port());
    let words = ["top", "--once", "--interval", "0.5", &here];
    let table = run_expecting(top, &words, b"", 0);
    let row = |name: &str| {
        let found = table.lines().find(|line| line.contains(name));
        found.unwrap_or_else(|| panic!("no {name} in\n{table}"))
    };
    assert!(row("COMPONENT").contains("STATE"));
    for (name, state) in [("source r1", "running"), ("channel c1", "open"), ("sink k1", "running")]
    {
        assert!(row(name).starts_with("a ") && row(name).contains(state), "{table}");
    }

    // A server that listens and never replies delays no other for longer than the timeout.
    let deaf = TcpListener::bind("127.0.0.1:0").expect("a port");
    let deaf = format!("http://{}", deaf.local_addr().expect("bound"));
    let words = ["top", "--json", "--interval", "0.5", &here, &gone, &deaf];
    let both = run(top, &words, b"");
    assert_eq!(both.status.code(), Some(1), "{}", String::from_utf8_lossy(&both.stderr));
    let stderr = String::from_utf8_lossy(&both.stderr).into_owned();
    assert!(stderr.contains("2 of 3 agents do not reply"), "{stderr}");
    let read: Value = serde_json::from_slice(&both.stdout).expect("JSON");
    let agents = read["agents"].as_array().expect("a list");
    let answers: Vec<_> = agents.iter().map(|agent| agent["answers"].clone()).collect();
    assert_eq!(answers, [true, false, false]);
    assert_eq!(agents[0]["components"].as_array().map(Vec::len), Some(3));
    assert!(
        agents[1]["error"].as_str().is_some_and(|why| why.contains("cannot connect")),
        "{read}"
    );
    assert!(agents[2]["error"].as_str().is_some_and(|why| why.contains("within 5")), "{read}");

    let refused = run(top, &["top", &here], b"");
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && stderr.contains("not a terminal"), "{stderr}");
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn top_shows_agents_that_want_a_token() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    std::fs::write(top.join("token"), "s3cret\n").expect("written");
    let (netcat, monitor) = (free_port(), free_port());
    write_configuration(top, netcat, "i1");
    let option = format!("-Dflume.monitoring.port={monitor}");
    let token = "-Dflume.monitoring.auth-token-file=token";
    let agent = start(top, &["-Dflume.monitoring.type=http", &option, token]);
    let here = format!("127.0.0.1:{monitor}");
    let words = ["top", "--once", "--interval", "0.5", &here];
    let refused = run_expecting(top, &words, b"", 1);
    assert!(refused.contains("401") && refused.contains("--token-file"), "{refused}");
    let table = run_expecting(top, &[&words[..], &["--token-file", "token"]].concat(), b"", 0);
    assert!(table.contains("source r1") && !table.contains("s3cret"), "{table}");
    // To another machine a token is sent over https only.
    let away = ["top", "--once", "--token-file", "token", "192.0.2.1"];
    let refused = run(top, &away, b"");
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && stderr.contains("https only"), "{stderr}");
    assert_eq!(agent.terminate().code(), Some(0));
}

/// Starts a `tap`, and returns its first line once events pass.
fn tapping(top: &Path, more: &[&str]) -> (Child, BufReader<ChildStdout>) {
    let mut child = millpond(top)
        .args(["tap", "-n", "a", "-Dmillpond.admin.socket=sockets/"])
        .args(more)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let out = BufReader::new(child.stdout.take().expect("a pipe"));
    (child, out)
}

/// Returns the named Unix sockets that a process has open.
fn named_sockets(process: u32) -> Vec<String> {
    let open = std::fs::read_dir(format!("/proc/{process}/fd")).expect("it runs");
    let open: Vec<String> = open
        .filter_map(|descriptor| std::fs::read_link(descriptor.ok()?.path()).ok())
        .map(|target| target.to_string_lossy().into_owned())
        .collect();
    assert!(open.iter().any(|target| target.starts_with("socket:[")), "{open:?}");
    let all = std::fs::read_to_string("/proc/net/unix").expect("the kernel's list");
    // The number of the file is the seventh column, a name the eighth.
    let named = all.lines().skip(1).filter(|line| {
        let mut columns = line.split_whitespace().skip(6);
        let number = columns.next().map(|number| format!("socket:[{number}]"));
        columns.next().is_some() && number.is_some_and(|number| open.contains(&number))
    });
    named.map(str::to_owned).collect()
}

#[test]
fn an_agent_without_the_option_has_no_admin_socket() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let netcat = free_port();
    write_configuration(top, netcat, "i1");
    std::fs::create_dir(top.join("sockets")).expect("made");
    let agent = start(top, &[]);
    send(netcat, b"one\n");
    assert_eq!(named_sockets(agent.id()), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(top.join("sockets")).expect("it is there").count(), 0);
    let refused = run(top, &["tap", "r1", "-n", "a", "--socket", "sockets/a.sock"], b"");
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("is the agent running with -Dmillpond.admin.socket"), "{stderr}");
    assert_eq!(agent.terminate().code(), Some(0));
}

#[test]
fn tap_shows_what_passes_a_source_a_channel_and_a_sink() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let netcat = free_port();
    write_configuration(top, netcat, "i1");
    std::fs::create_dir(top.join("sockets")).expect("made");
    let agent = start(top, &["-Dmillpond.admin.socket=sockets"]);
    assert!(agent.words().contains("admin socket: sockets/a.sock"), "{}", agent.words());
    let mode = top.join("sockets/a.sock").metadata().expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(named_sockets(agent.id()).len(), 1, "{}", agent.words());

    for (component, ways) in
        [("r1", &["accepted"][..]), ("c1", &["put", "taken"]), ("SINK.k1", &["delivered"])]
    {
        let count = ways.len().to_string();
        let (mut tap, mut out) = tapping(top, &[component, "--headers", "--count", &count]);
        // Whether it listens already cannot be observed: events are sent until it has enough.
        let until_it_ends = || {
            send(netcat, b"a \x1b[31m \"\xc3\xa9\"\n");
            tap.try_wait().expect("it can be asked").is_some()
        };
        until("the end of the tap", || agent.words(), until_it_ends);
        let mut said = String::new();
        tap.stderr.take().expect("a pipe").read_to_string(&mut said).expect("text");
        assert!(tap.wait().expect("ended").success() && said.contains(" shown"), "{said}");
        let mut text = String::new();
        out.read_to_string(&mut text).expect("text");
        for line in text.lines() {
            assert!(line.ends_with("{k=<v>} a \\u{1b}[31m \"é\""), "{component}: {text}");
        }
        let seen = ways.iter().filter(|way| text.contains(&format!("  {way} "))).count();
        assert!(seen > 0 && text.lines().count() == ways.len(), "{component}: {text}");
    }

    let (mut tap, mut out) = tapping(top, &["r1", "--json", "--body", "2"]);
    let mut line = String::new();
    std::thread::scope(|scope| {
        let read = scope.spawn(|| out.read_line(&mut line));
        until(
            "a line",
            || agent.words(),
            || {
                send(netcat, b"three\n");
                read.is_finished()
            },
        );
    });
    let event: Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!((&event["body"], &event["cut"]), (&"th".into(), &true.into()));
    assert_eq!((&event["headers"]["k"], &event["body_bytes"]), (&"<v>".into(), &5.into()));
    signal(tap.id(), "INT");
    assert!(tap.wait().expect("it ends").success(), "Ctrl-C is its usual end");

    let refused = run(top, &["tap", "k9", "-n", "a", "--socket", "sockets/a.sock"], b"");
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("there are CHANNEL.c1, SINK.k1, SOURCE.r1"), "{stderr}");
    assert_eq!(agent.terminate().code(), Some(0));
    assert!(!top.join("sockets/a.sock").exists());
    let refused = run(top, &["tap", "r1", "-n", "a", "--socket", "sockets/a.sock"], b"");
    let stderr = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(stderr.contains("is the agent running with -Dmillpond.admin.socket"), "{stderr}");
}
