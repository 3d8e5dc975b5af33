//! The examples of a book about Flume, chapter by chapter, with agents as processes: the console, a
//! file that grows, a directory, one source for two agents, sinks in a group, many agents into one.

use super::kill::{Client, count};
use super::process::{Agent, free_port, lines_in, until};
use super::wire_protocols::part;
use millpond_flow::base::files;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::Ordering;

/// Returns the agent `name` in a directory of its own below `top`, with `text` and memory channels
/// as in the book.
fn start(top: &Path, name: &str, channels: &str, text: &str) -> Agent {
    let directory = top.join(name);
    std::fs::create_dir_all(&directory).expect("made");
    let mut all = format!("{name}.channels = {channels}\n{text}");
    for channel in channels.split(' ') {
        let memory = "type=memory capacity=1000 transactionCapacity=100";
        all += &part(name, &format!("channels.{channel}"), memory);
    }
    std::fs::write(directory.join("a.conf"), all).expect("written");
    Agent::start(&directory, name, "a.conf")
}

/// An agent of one source and one sink.
fn simple(top: &Path, name: &str, source: &str, sink: &str) -> Agent {
    let source = part(name, "sources.r1", &format!("{source} channels=c1"));
    let sink = part(name, "sinks.k1", &format!("{sink} channel=c1"));
    start(top, name, "c1", &format!("{name}.sources = r1\n{name}.sinks = k1\n{source}{sink}"))
}

/// An agent that shows on its console what arrives at `port` by Avro.
fn console(top: &Path, name: &str, port: u16) -> Agent {
    simple(top, name, &format!("type=avro bind=127.0.0.1 port={port}"), "type=logger")
}

/// Returns the events on an agent's console: the text at the end of their lines.
fn shown(top: &Path, name: &str) -> Vec<String> {
    let log = std::fs::read(top.join(name).join("agent.log")).unwrap_or_default();
    let text = |line: &str| {
        let (_, event) = line.split_once("Event: { headers:{} body: ")?;
        Some(event.trim_end_matches([' ', '}']).rsplit(' ').next()?.to_owned())
    };
    String::from_utf8_lossy(&log).lines().filter_map(text).collect()
}

fn append(path: &Path, lines: &[&str]) {
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("open");
    file.write_all((lines.join("\n") + "\n").as_bytes()).expect("written");
}

fn wait(agents: &[&Agent], what: &str, condition: impl FnMut() -> bool) {
    until(what, || agents.iter().map(|agent| agent.words()).collect(), condition);
}

/// Returns what several consoles show together, in the order of the text.
fn together(top: &Path, names: &[&str]) -> Vec<String> {
    let mut all: Vec<String> = names.iter().flat_map(|name| shown(top, name)).collect();
    all.sort();
    all
}

#[test]
fn lines_of_a_port_are_on_the_console_also_with_comments_after_values() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let text = format!(
        "a1.sources = r1  # the input\na1.sinks = k1    # the output\n\
         a1.sources.r1.type = netcat    # a port\na1.sources.r1.bind = localhost # of this machine\n\
         a1.sources.r1.port = {port}     # this one\na1.sinks.k1.type = logger # the console\n\
         a1.sources.r1.channels = c1 # singular there\na1.sinks.k1.channel = c1 # here\n"
    );
    let mut agent = start(directory.path(), "a1", "c1", &text);
    agent.say(port, &["hello", "world"]);
    wait(&[&agent], "the lines", || shown(directory.path(), "a1") == ["hello", "world"]);
    assert!(agent.terminate().success());
}

#[test]
fn a_directory_is_read_file_by_file_and_what_has_an_ignored_name_stays() {
    let directory = tempfile::tempdir().expect("a directory");
    let (upload, out) = (directory.path().join("upload"), directory.path().join("out"));
    std::fs::create_dir(&upload).expect("made");
    append(&upload.join("one.txt"), &["1", "2"]);
    append(&upload.join("two.tmp"), &["never"]);
    let source = format!(
        "type=spooldir spoolDir={} fileSuffix=.COMPLETED fileHeader=true ignorePattern=([^x]*\\\\.tmp)",
        upload.display()
    );
    let sink = format!("type=file_roll sink.directory={}", out.display());
    let agent = simple(directory.path(), "a3", &source, &sink);
    wait(&[&agent], "the first file", || upload.join("one.txt.COMPLETED").exists());
    append(&directory.path().join("three.txt"), &["3"]);
    let (from, to) = (directory.path().join("three.txt"), upload.join("three.txt"));
    files::rename_new(&from, &to).expect("moved");
    wait(&[&agent], "the second file", || lines_in(&out).len() == 3);
    assert_eq!(lines_in(&out), [b"1", b"2", b"3"]);
    assert!(upload.join("two.tmp").exists(), "it was to be left alone");
    assert!(agent.terminate().success());
}

#[test]
fn a_file_that_grows_goes_to_two_agents_each_with_all_of_it() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (log, out, ports) = (top.join("hive.log"), top.join("out"), [free_port(), free_port()]);
    append(&log, &["1"]);
    let shows = console(top, "a2", ports[0]);
    let sink = format!("type=file_roll sink.directory={}", out.display());
    let source = format!("type=avro bind=127.0.0.1 port={}", ports[1]);
    let keeps = simple(top, "a3", &source, &sink);
    let mut text =
        "a1.sources = r1\na1.sinks = k1 k2\na1.sources.r1.shell = /bin/bash -c\n".to_owned();
    text += &format!("a1.sources.r1.command = tail -n +1 -F {}\n", log.display());
    text += "a1.sources.r1.channels = c1 c2\n";
    text += &part("a1", "sources.r1", "type=exec selector.type=replicating");
    for (at, port) in ports.iter().enumerate() {
        let sink = format!("type=avro hostname=127.0.0.1 port={port} channel=c{}", at + 1);
        text += &part("a1", &format!("sinks.k{}", at + 1), &sink);
    }
    let follows = start(top, "a1", "c1 c2", &text);
    wait(&[&follows, &shows, &keeps], "the first line", || shown(top, "a2") == ["1"]);
    append(&log, &["2", "3"]);
    wait(&[&follows, &shows, &keeps], "all lines", || {
        shown(top, "a2") == ["1", "2", "3"] && lines_in(&out) == [b"1", b"2", b"3"]
    });
    for agent in [follows, shows, keeps] {
        assert!(agent.terminate().success());
    }
}

/// A netcat source at `port` with two Avro sinks to `ports`, in a group of this `processor`.
fn grouped(top: &Path, port: u16, ports: [u16; 2], processor: &str) -> Agent {
    let mut text =
        "a1.sources = r1\na1.sinks = k1 k2\na1.sinkgroups = g1\na1.sinkgroups.g1.sinks = k1 k2\n"
            .to_owned();
    text += &part("a1", "sinkgroups.g1.processor", processor);
    let source = format!("type=netcat bind=localhost port={port} channels=c1");
    text += &part("a1", "sources.r1", &source);
    for (at, port) in ports.iter().enumerate() {
        let sink = format!("type=avro hostname=127.0.0.1 port={port} channel=c1 batch-size=1");
        text += &part("a1", &format!("sinks.k{}", at + 1), &sink);
    }
    start(top, "a1", "c1", &text)
}

#[test]
fn sinks_take_turns_and_one_goes_on_alone_when_the_other_agent_is_gone() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (port, ports) = (free_port(), [free_port(), free_port()]);
    let (mut one, mut other) = (console(top, "a2", ports[0]), console(top, "a3", ports[1]));
    drop((one.connection(ports[0]), other.connection(ports[1])));
    let processor = "type=load_balance backoff=true selector=round_robin selector.maxTimeOut=10000";
    let mut front = grouped(top, port, ports, processor);
    let lines: Vec<String> = (10..30).map(|n| n.to_string()).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    front.say(port, &lines);
    wait(&[&front, &one, &other], "all", || together(top, &["a2", "a3"]) == lines);
    assert!(!shown(top, "a2").is_empty() && !shown(top, "a3").is_empty(), "both had their turn");
    other.kill();
    front.say(port, &["alone"]);
    wait(&[&front, &one], "the rest", || shown(top, "a2").contains(&"alone".to_owned()));
    assert!(front.terminate().success() && one.terminate().success());
}

#[test]
fn failover_returns_to_the_agent_of_the_highest_priority() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (port, ports) = (free_port(), [free_port(), free_port()]);
    let (mut first, mut second) = (console(top, "a2", ports[0]), console(top, "a3", ports[1]));
    drop((first.connection(ports[0]), second.connection(ports[1])));
    let mut front =
        grouped(top, port, ports, "type=failover priority.k1=9 priority.k2=7 maxpenalty=1000");
    front.say(port, &["1", "2"]);
    wait(&[&front, &first, &second], "both", || shown(top, "a2") == ["1", "2"]);
    first.kill();
    front.say(port, &["3"]);
    wait(&[&front, &second], "the other one", || shown(top, "a3") == ["3"]);
    let first = console(top, "a2", ports[0]);
    // A sink that failed rests for a while; events meanwhile go to the other one.
    let mut n = 4;
    wait(&[&first, &second], "its return", || {
        front.say(port, &[&n.to_string()]);
        n += 1;
        std::thread::sleep(std::time::Duration::from_millis(200));
        shown(top, "a2").len() > 2
    });
    let mut all: Vec<String> = (1..n).map(|n| n.to_string()).collect();
    all.sort();
    wait(&[&front, &first, &second], "all", || together(top, &["a2", "a3"]) == all);
    assert!(front.terminate().success());
    assert!(first.terminate().success() && second.terminate().success());
}

/// An agent that stores what arrives at `port` by Avro, in a file channel and then in files.
fn collector(top: &Path, name: &str, port: u16) -> Agent {
    let directory = top.join(name);
    std::fs::create_dir_all(directory.join("out")).expect("made");
    let mut text = format!("{name}.sources = r1\n{name}.channels = c1\n{name}.sinks = k1\n");
    for (of, settings) in [
        ("sources.r1", format!("type=avro bind=127.0.0.1 port={port} channels=c1")),
        ("channels.c1", "type=file checkpointDir=cp dataDirs=d1 maxFileSize=1048576".to_owned()),
        ("channels.c1", "minimumRequiredSpace=1048576".to_owned()),
        ("sinks.k1", "type=file_roll sink.directory=out channel=c1".to_owned()),
    ] {
        text += &part(name, of, &settings);
    }
    std::fs::write(directory.join("a.conf"), text).expect("written");
    Agent::start(&directory, name, "a.conf")
}

/// Returns the largest number of a line that an agent has stored.
fn last_kept(top: &Path, name: &str) -> Option<u64> {
    let kept = count(&lines_in(&top.join(name).join("out")), u64::MAX);
    kept.last_key_value().map(|(n, _)| *n)
}

#[test]
fn an_agent_killed_under_load_loses_no_line() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (port, ports) = (free_port(), [free_port(), free_port()]);
    let (mut first, mut second) = (collector(top, "a2", ports[0]), collector(top, "a3", ports[1]));
    drop((first.connection(ports[0]), second.connection(ports[1])));
    let front =
        grouped(top, port, ports, "type=failover priority.k1=9 priority.k2=7 maxpenalty=1000");
    let client = Client::default();
    let (acknowledged, first) = std::thread::scope(|scope| {
        let running = scope.spawn(|| client.run(port));
        let traffic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait(&[&front, &first], "traffic", || last_kept(top, "a2") > Some(100));
            assert_eq!(last_kept(top, "a3"), None, "the other one has nothing to do");
            first.kill();
            wait(&[&front, &second], "the other one", || last_kept(top, "a3").is_some());
            let first = collector(top, "a2", ports[0]);
            // Events that arrive at it now are later than all that the other one has.
            let meanwhile = last_kept(top, "a3");
            wait(&[&front, &first], "its return", || last_kept(top, "a2") > meanwhile);
            first
        }));
        client.stop.store(true, Ordering::SeqCst);
        let acknowledged = running.join().expect("the client ends");
        (acknowledged, traffic.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    });
    let sent = client.sent.load(Ordering::SeqCst);
    wait(&[&front, &first, &second], "every line that was answered", || {
        let outs = ["a2", "a3"].map(|name| lines_in(&top.join(name).join("out")));
        let kept = count(&outs.concat(), sent);
        acknowledged.iter().all(|n| kept.contains_key(n))
    });
    for agent in [front, first, second] {
        assert!(agent.terminate().success());
    }
}

#[test]
fn what_several_agents_read_comes_together_in_one() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (log, port, into) = (top.join("group.log"), free_port(), free_port());
    append(&log, &["file"]);
    let sink = format!("type=avro hostname=127.0.0.1 port={into}");
    // The agent that they send to starts last: the others wait for it.
    let source = format!("type=netcat bind=localhost port={port}");
    let mut second = simple(top, "a2", &source, &sink);
    let mut text = format!("a1.sources.r1.command = tail -n +1 -F {}\n", log.display());
    text += "a1.sources.r1.shell = /bin/bash -c\na1.sources = r1\na1.sinks = k1\n";
    text += &part("a1", "sources.r1", "type=exec channels=c1");
    text += &part("a1", "sinks.k1", &format!("{sink} channel=c1"));
    let first = start(top, "a1", "c1", &text);
    second.say(port, &["port"]);
    let all = console(top, "a3", into);
    wait(&[&first, &second, &all], "both", || together(top, &["a3"]) == ["file", "port"]);
    for agent in [first, second, all] {
        assert!(agent.terminate().success());
    }
}
