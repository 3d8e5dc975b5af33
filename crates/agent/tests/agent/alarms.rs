//! Alarms of real agents: raised, notified, cleared, and kept after a kill.

use super::monitoring::page;
use super::process::{
    Agent, connect, free_port, millpond, read_line, run_expecting, signal, until,
};
use base64ct::{Base64, Encoding};
use millpond::internal::base::threads;
use ring::hmac;
use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};

/// An agent with a directory, a port for its pages and one for lines or calls.
pub(super) struct Site {
    pub(super) directory: PathBuf,
    name: &'static str,
    pages: u16,
    pub(super) agent: Option<Agent>,
}

impl Site {
    pub(super) fn new(top: &Path, name: &'static str, configuration: &str) -> Self {
        let directory = top.join(name);
        std::fs::create_dir_all(directory.join("out")).expect("a directory");
        let mut site = Self { directory, name, pages: free_port(), agent: None };
        site.write(configuration);
        site.start();
        site
    }

    pub(super) fn write(&self, configuration: &str) {
        let lines = configuration.lines().map(str::trim).filter(|line| !line.is_empty());
        let text: String = lines.map(|line| format!("{}.{line}\n", self.name)).collect();
        std::fs::write(self.directory.join("a.conf"), text).expect("written");
    }

    pub(super) fn start(&mut self) {
        let command = millpond(&self.directory);
        let port = format!("-Dflume.monitoring.port={}", self.pages);
        let more = ["-Dflume.monitoring.type=http", &port, "--poll-interval", "3600"];
        let before = self.words().matches("started: ").count();
        let agent = Agent::start_as(command, &self.directory, self.name, "a.conf", &more);
        let started = || agent.words().matches("started: ").count() > before;
        until("the agent", || agent.words(), started);
        self.agent = Some(agent);
    }

    pub(super) fn words(&self) -> String {
        let log = std::fs::read(self.directory.join("agent.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    pub(super) fn kill(&mut self) {
        self.agent.take().expect("it runs").kill();
    }

    pub(super) fn terminate(&mut self) {
        assert_eq!(self.agent.take().expect("it runs").terminate().code(), Some(0));
    }

    pub(super) fn page(&self) -> Json {
        let (_, body) = page(self.pages, "/alarms").unwrap_or_default();
        serde_json::from_str(&body).unwrap_or_default()
    }

    /// Returns the alarm of this number in `list`, `active` or `history`, once it is there.
    pub(super) fn alarm(&self, list: &str, id: u64) -> Json {
        let mut found = Json::Null;
        let words = || format!("{}\n{}", self.page(), self.words());
        until(&format!("{id} in {list}"), words, || {
            let page = self.page();
            let all = page[list].as_array().map_or(&[][..], Vec::as_slice);
            found = all.iter().find(|alarm| alarm["id"] == id).cloned().unwrap_or_default();
            !found.is_null()
        });
        found
    }

    fn until_said(&self, words: &str) {
        until(words, || self.words(), || self.words().contains(words));
    }
}

/// A source for lines, a file channel and a sink that sends to `to`.
pub(super) fn sender(lines: u16, to: u16, more: &str) -> String {
    format!(
        "sources = in\nchannels = c\nsinks = out\nsources.in.type = netcat\nsources.in.bind = 127.0.0.1\n\
         sources.in.port = {lines}\nsources.in.channels = c\nchannels.c.type = file\n\
         channels.c.checkpointDir = cp\nchannels.c.dataDirs = data\nchannels.c.minimumRequiredSpace = 1048576\n\
         alarms.diskSpace.enabled = false\nsinks.out.type = avro\nsinks.out.hostname = 127.0.0.1\nsinks.out.port = {to}\n\
         sinks.out.request-timeout = 1000\nsinks.out.connect-timeout = 1000\nsinks.out.channel = c\n{more}"
    )
}

/// A source for calls, a file channel and a sink into files.
pub(super) fn receiver(calls: u16, more: &str) -> String {
    format!(
        "sources = in\nchannels = c\nsinks = out\nsources.in.type = avro\nsources.in.bind = 127.0.0.1\n\
         sources.in.port = {calls}\nsources.in.channels = c\nchannels.c.type = file\n\
         channels.c.checkpointDir = cp\nchannels.c.dataDirs = data\nchannels.c.minimumRequiredSpace = 1048576\n\
         alarms.diskSpace.enabled = false\nsinks.out.type = file_roll\nsinks.out.sink.directory = out\nsinks.out.channel = c\n{more}"
    )
}

pub(super) fn send_line(port: u16, line: &str) {
    let (mut reader, mut stream) = connect(port).expect("it listens");
    stream.write_all(format!("{line}\n").as_bytes()).expect("sent");
    assert_eq!(read_line(&mut reader).as_deref(), Some("OK"));
}

/// A web server that replies 200 with an empty object, and the requests that it got: the first line
/// of each and its body.
fn server() -> (u16, Receiver<(String, Json)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let (tell, told) = channel();
    let serve = move || {
        for stream in listener.incoming().flatten() {
            if request(stream).is_none_or(|request| tell.send(request).is_err()) {
                return;
            }
        }
    };
    // It ends with the test's process.
    drop(threads::spawn("server", serve).expect("a thread"));
    (port, told)
}

fn request(mut stream: TcpStream) -> Option<(String, Json)> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(bytes) = line.to_lowercase().strip_prefix("content-length:") {
            length = bytes.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}";
    stream.write_all(answer.as_bytes()).ok()?;
    Some((first, serde_json::from_slice(&body).unwrap_or_default()))
}

fn told(requests: &Receiver<(String, Json)>) -> (String, Json) {
    requests.recv_timeout(super::process::DEADLINE).expect("a request")
}

#[test]
fn a_client_alarm_survives_a_kill_and_clears_at_its_return() {
    let top = tempfile::tempdir().expect("a directory");
    let (calls, lines) = (free_port(), free_port());
    let (hook, requests) = server();
    let settings = format!(
        "alarms.cluster = north\nalarms.clientSilent.seconds = 2\nalarms.clientSilent.learnAfter = 0\n\
         alarms.webhook.url = http://127.0.0.1:{hook}/in\nalarms.webhook.leastSeverity = major\n"
    );
    let mut server = Site::new(top.path(), "collector", &receiver(calls, &settings));
    let mut client = Site::new(top.path(), "web", &sender(lines, calls, ""));
    send_line(lines, "one");
    let arrived = || !super::process::lines_in(&server.directory.join("out")).is_empty();
    until("the event", || server.words(), arrived);
    assert_eq!(server.page()["active"], Json::Array(Vec::new()));

    client.kill();
    let alarm = server.alarm("active", 24003);
    for (key, value) in
        [("source", "north"), ("clientIp", "127.0.0.1"), ("clientName", "web"), ("sinkName", "out")]
    {
        assert_eq!(alarm["parameters"][key], value, "{alarm}");
    }
    for (key, value) in [
        ("severity", "major"),
        ("name", "clientSilent"),
        ("component", "SOURCE.in"),
        ("state", "raised"),
    ] {
        assert_eq!(alarm[key], value, "{alarm}");
    }
    assert_eq!(alarm["autoClear"], true);
    server.until_said("alarm 24003 clientSilent SOURCE.in 127.0.0.1 web/out raised (major)");
    let (first, body) = told(&requests);
    assert!(first.starts_with("POST /in "), "{first}");
    assert_eq!((&body["serial"], &body["state"]), (&alarm["serial"], &"raised".into()));
    let (_, metrics) = page(server.pages, "/metrics/prometheus").expect("it replies");
    let sample = "millpond_alarm_active{alarm=\"clientSilent\",id=\"24003\",severity=\"major\",component=\"SOURCE.in\"} 1";
    assert!(metrics.lines().any(|line| line == sample), "{metrics}");

    client.start();
    send_line(lines, "two");
    let over = server.alarm("history", 24003);
    assert_eq!((&over["serial"], &over["why"]), (&alarm["serial"], &"the problem is over".into()));
    let (_, body) = told(&requests);
    assert_eq!((&body["serial"], &body["state"]), (&alarm["serial"], &"cleared".into()));

    // Both are killed at once; the restarted agent knows its clients and alarms.
    client.terminate();
    server.alarm("active", 24003);
    let kept = server.directory.join("cp-alarms/alarms.json");
    let is_kept =
        || std::fs::read_to_string(&kept).is_ok_and(|text| text.contains("\"active\":[{"));
    until("the file", || server.words(), is_kept);
    server.kill();
    server.start();
    let still = server.alarm("active", 24003);
    assert!(still["serial"].as_u64() > alarm["serial"].as_u64(), "{still}");
    assert_eq!(server.alarm("history", 24003)["serial"], alarm["serial"]);
    server.until_said("is still there since before the start");
    client.start();
    send_line(lines, "three");
    until(
        "the end of it",
        || server.words(),
        || server.page()["history"].as_array().map(Vec::len) == Some(2),
    );
    client.terminate();
    server.terminate();
}

#[test]
fn a_sink_whose_server_never_replies_raises_an_alarm_until_it_does() {
    let top = tempfile::tempdir().expect("a directory");
    let lines = free_port();
    let hanging = TcpListener::bind(("127.0.0.1", free_port())).expect("a port");
    let calls = hanging.local_addr().expect("bound").port();
    let patient = sender(lines, calls, "alarms.sinkStalled.seconds = 2\n");
    let patient = patient.replace("request-timeout = 1000", "request-timeout = 600000");
    let mut agent = Site::new(top.path(), "web", &patient);
    let hold = hanging.try_clone().expect("a second one");
    let holding = move || hold.incoming().flatten().take(1).collect::<Vec<_>>();
    let held = threads::spawn("holds", holding).expect("a thread");
    send_line(lines, "one");
    let alarm = agent.alarm("active", 90004);
    assert_eq!(
        (&alarm["component"], &alarm["parameters"]["channelSize"]),
        (&"SINK.out".into(), &"1".into())
    );
    let message = alarm["message"].as_str().unwrap_or_default();
    assert!(message.contains("waiting in c: it has waited for a reply for "), "{alarm}");
    // Its server is gone, and is replaced by one that replies.
    drop((hanging, held.join()));
    let mut server = Site::new(top.path(), "collector", &receiver(calls, ""));
    assert_eq!(agent.alarm("history", 90004)["serial"], alarm["serial"]);
    server.terminate();
    agent.terminate();
}

#[test]
fn what_a_sink_that_hangs_holds_grows_old_while_another_drains_the_channel() {
    let top = tempfile::tempdir().expect("a directory");
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let calls = hanging.local_addr().expect("bound").port();
    let configuration = format!(
        "sources = in\nchannels = c\nsinks = hangs drains\n\
         sources.in.type = org.apache.flume.source.StressSource\nsources.in.maxEventsPerSecond = 100\n\
         sources.in.channels = c\nchannels.c.type = memory\nchannels.c.capacity = 10000\n\
         sinks.hangs.type = avro\nsinks.hangs.hostname = 127.0.0.1\nsinks.hangs.port = {calls}\n\
         sinks.hangs.batch-size = 5\nsinks.hangs.request-timeout = 600000\nsinks.hangs.channel = c\n\
         sinks.drains.type = null\nsinks.drains.channel = c\nalarms.oldestEvent.seconds = 2\n"
    );
    let mut agent = Site::new(top.path(), "web", &configuration);
    let alarm = agent.alarm("active", 90003);
    assert_eq!(alarm["component"], "CHANNEL.c", "{alarm}");
    let taken = || {
        let (_, body) = page(agent.pages, "/metrics").expect("a page");
        let all: Json = serde_json::from_str(&body).expect("JSON");
        let taken = all["CHANNEL.c"]["EventTakeSuccessCount"].as_str().unwrap_or_default();
        taken.parse::<u64>().expect("a number")
    };
    let before = taken();
    until("more events that pass", || agent.words(), || taken() > before);
    let (status, body) = page(agent.pages, "/readyz?oldest_seconds=1").expect("a page");
    assert!(status == 503 && body.contains("its oldest event has waited for "), "{body}");
    agent.kill();
}

#[test]
fn a_group_and_a_command_are_notified_while_a_server_hangs() {
    let top = tempfile::tempdir().expect("a directory");
    let (lines, dead) = (free_port(), free_port());
    let (robots, requests) = server();
    let hanging = TcpListener::bind("127.0.0.1:0").expect("a port");
    let hangs = hanging.local_addr().expect("bound").port();
    let (secret, out) = ("SECgeheim", top.path().join("told"));
    let script = top.path().join("tell");
    std::fs::write(&script, "cat >>\"$1\"").expect("written");
    let settings = format!(
        "alarms.channelSize.events = 1\nalarms.channelSize.seconds = 0\n\
         alarms.webhook.url = http://127.0.0.1:{hangs}/geheim\n\
         alarms.dingtalk.url = http://127.0.0.1:{robots}/robot/send\nalarms.dingtalk.token = geheim\n\
         alarms.dingtalk.secret = {secret}\nalarms.dingtalk.title = flume监控提醒\n\
         alarms.command.line = /bin/sh {} {}\n",
        script.display(),
        out.display()
    );
    let mut agent = Site::new(top.path(), "web", &sender(lines, dead, &settings));
    send_line(lines, "one");
    agent.alarm("active", 90002);
    let (first, body) = told(&requests);
    let query =
        first.strip_prefix("POST /robot/send?access_token=geheim&timestamp=").expect("asked so");
    let (time, sign) = query.split_once("&sign=").expect("a signature");
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let expected = hmac::sign(&key, format!("{time}\n{secret}").as_bytes());
    let expected = Base64::encode_string(expected.as_ref());
    let expected = expected.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    assert_eq!(sign.split(' ').next(), Some(&*expected));
    assert_eq!(body["msgtype"], "markdown");
    let title = body["markdown"]["title"].as_str().expect("a title");
    assert!(title.starts_with("flume监控提醒: Too many events"), "{title}");
    let text = body["markdown"]["text"].as_str().expect("text");
    assert!(text.contains("CHANNEL.c") && text.contains("channelSize: 1"), "{text}");
    let written = || std::fs::read_to_string(&out).unwrap_or_default();
    until("the command", || agent.words(), || written().contains("\"id\":90002"));
    // The flow goes on, and the agent can end.
    for n in 0..20 {
        send_line(lines, &n.to_string());
    }
    agent.terminate();
    assert!(!agent.words().contains("geheim"), "{}", agent.words());
}

#[test]
fn settings_follow_a_reload_and_a_refused_one_is_an_alarm() {
    let top = tempfile::tempdir().expect("a directory");
    let (lines, dead) = (free_port(), free_port());
    let with = |more: &str| sender(lines, dead, more);
    let mut agent = Site::new(top.path(), "web", &with("alarms.sinkStalled.enabled = false\n"));
    send_line(lines, "one");
    let hang_up = |agent: &Site| signal(agent.agent.as_ref().expect("it runs").id(), "HUP");
    let size = "alarms.sinkStalled.enabled = false\nalarms.channelSize.c.events = 1\nalarms.channelSize.seconds = 0\n";
    agent.write(&with(size));
    hang_up(&agent);
    agent.alarm("active", 90002);

    agent.write(&with(&format!("{size}alarms.channelFill.percent = 1000\n")));
    hang_up(&agent);
    let refused = agent.alarm("active", 90009);
    assert!(
        refused["message"].as_str().is_some_and(|m| m.contains("channelFill.percent")),
        "{refused}"
    );
    let out = run_expecting(&agent.directory, &["validate", "-n", "web", "-f", "a.conf"], b"", 1);
    assert!(
        out.contains("error: web.alarms.channelFill.percent: \"1000\" is not a whole number"),
        "{out}"
    );

    agent.write(&with("alarms.enabled = false\nalarms.chanelSize.events = 1\n"));
    hang_up(&agent);
    until("no alarm", || agent.words(), || agent.page()["enabled"] == false);
    assert_eq!(agent.page()["active"], Json::Array(Vec::new()));
    agent.until_said(
        "web.alarms.chanelSize.events: there is no such alarm or key; did you mean channelSize?",
    );
    agent.terminate();
}
