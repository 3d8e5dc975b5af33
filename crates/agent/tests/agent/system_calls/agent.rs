//! A running agent whose channel's calls fail once, each in turn: it does not end, it replies to
//! its clients, and every acknowledged line comes out.

use super::channel_fixture::{DIRECTORIES, hits, rest};
use super::shim::{Deed, Hit, Tried, chosen, shim, try_all, under};
use crate::process::{DEADLINE, connect, free_port, lines_in, millpond, read_line, signal};
use millpond::{Clock, SystemClock};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

const LINES: usize = 40;

/// Failures tried in a normal run.
const PART: usize = 24;

const DEEDS: [Deed; 4] =
    [Deed::Error(libc::EIO), Deed::Error(libc::ENOSPC), Deed::Error(libc::EINTR), Deed::Half];

fn configuration(port: u16) -> String {
    let common = "a.sources=s\na.channels=c\na.sinks=k\na.sources.s.type=netcat\n\
        a.sources.s.bind=127.0.0.1\na.sources.s.max-line-length=6000\na.sources.s.channels=c\na.channels.c.type=file\n\
        a.channels.c.checkpointDir=cp\na.channels.c.dataDirs=d1,d2\n\
        a.channels.c.maxFileSize=28672\na.channels.c.minimumRequiredSpace=1048576\n\
        a.channels.c.checkpointInterval=1000\na.sinks.k.type=file_roll\n\
        a.sinks.k.sink.directory=out\na.sinks.k.sink.rollInterval=0\na.sinks.k.channel=c\n";
    format!("{common}a.sources.s.port={port}\n")
}

fn line(number: usize) -> String {
    format!("line {number} {}", "x".repeat(5000))
}

/// The agent, killed when it is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends every line until it is acknowledged with OK; returns how often each was sent.
fn feed(agent: &mut Running, port: u16) -> Result<Vec<usize>, String> {
    let (clock, mut client) = (SystemClock::new(), None);
    let mut sent = vec![0; LINES];
    for (number, times) in sent.iter_mut().enumerate() {
        loop {
            if let Some(status) = agent.0.try_wait().expect("it can be asked") {
                return Err(format!("it ended by itself: {status:?}"));
            }
            if clock.now() > DEADLINE {
                return Err(format!("line {number} is not answered"));
            }
            let Some((answers, stream)) = &mut client else {
                std::thread::sleep(Duration::from_millis(5));
                client = connect(port);
                continue;
            };
            *times += 1;
            let asked = stream.write_all(format!("{}\n", line(number)).as_bytes());
            match asked.ok().and_then(|()| read_line(answers)).as_deref() {
                Some("OK") => break,
                Some(_) => std::thread::sleep(Duration::from_millis(20)),
                None => client = None,
            }
        }
    }
    Ok(sent)
}

/// Runs an agent once on an empty directory; returns what is wrong about it.
fn run_once(shim: &Path, hit: Option<Hit>) -> Result<(Tried, String), String> {
    let directory = tempfile::tempdir().expect("a directory");
    let (top, port, clock) = (directory.path(), free_port(), SystemClock::new());
    std::fs::write(top.join("a.conf"), configuration(port)).expect("written");
    let log = std::fs::File::options().create_new(true).append(true).open(top.join("log"));
    let log = log.expect("a log");
    let mut process = millpond(top);
    process.args(["agent", "-n", "a", "-f", "a.conf", "-Dflume.root.logger=INFO,console"]);
    process.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
    under(shim, top, &DIRECTORIES, hit, &mut process);
    let mut agent = Running(process.spawn().expect("the binary starts"));
    let sent = feed(&mut agent, port);
    let said = || std::fs::read_to_string(top.join("log")).expect("a log");
    let sent = sent.map_err(|why| format!("{why}\n{}", said()))?;
    signal(agent.0.id(), "TERM");
    let status = agent.0.wait().expect("it ends");
    let took = clock.now();
    let (said, calls) = (said(), std::fs::read_to_string(top.join("calls")).unwrap_or_default());
    let wrong = |why: String| Err(format!("{why}\n{calls}{said}"));
    if status.code() != Some(0) || said.contains("panicked") {
        return wrong(format!("{status:?}"));
    }
    let left = rest(top).map_err(|why| format!("{why}\n{calls}{said}"))?;
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let out = lines_in(&top.join("out"));
    let out = out.iter().map(|line| String::from_utf8_lossy(line).into_owned());
    for line in out.chain(left.lines().map(str::to_owned)) {
        *counts.entry(line).or_default() += 1;
    }
    for (number, times) in sent.iter().enumerate() {
        let came = counts.remove(&line(number)).unwrap_or(0);
        // A commit that was in doubt, or a batch of the sink that was, may come once more.
        let may = times + usize::from(hit.is_some());
        if came == 0 || came > may {
            return wrong(format!("line {number} was sent {times} times and came {came} times"));
        }
    }
    match counts.keys().next() {
        Some(foreign) => wrong(format!("never sent: {foreign}")),
        None => Ok((Tried { took, reached: hit.is_some() && !calls.is_empty() }, calls)),
    }
}

#[test]
fn an_agent_outlives_a_failure_of_any_call_of_its_channel_and_loses_no_line() {
    let Some(shim) = shim() else { return };
    let (sound, calls) =
        run_once(shim, None).unwrap_or_else(|why| panic!("without failures: {why}"));
    let names = calls.lines().filter_map(|line| Some(line.split(' ').nth(1)?.to_owned()));
    let names: Vec<String> = names.collect();
    assert!(names.len() > 200, "only {} calls, is the shim there?", names.len());
    let all = hits(&names, &DEEDS);
    let count = all.len();
    let judge = |hit: Hit| run_once(shim, Some(hit)).map(|(tried, _)| tried);
    try_all("agent", (chosen(all, PART), count), sound.took, judge);
}
