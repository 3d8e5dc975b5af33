//! `kill -9` at random times while a client counts its acknowledgements.

use super::process::{Agent, Random, connect, free_port, fresh_seed, lines_in, read_line, until};
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

const BATCH: u64 = 100;

fn configuration(port: u16) -> String {
    format!(
        "k.sources = in\nk.channels = c\nk.sinks = out\n\
         k.sources.in.type = netcat\nk.sources.in.bind = 127.0.0.1\nk.sources.in.port = {port}\n\
         k.sources.in.channels = c\n\
         k.channels.c.type = file\nk.channels.c.checkpointDir = cp\nk.channels.c.dataDirs = d1,d2\n\
         k.channels.c.maxFileSize = 262144\nk.channels.c.checkpointInterval = 1000\n\
         k.channels.c.minimumRequiredSpace = 1048576\n\
         k.sinks.out.type = file_roll\nk.sinks.out.sink.directory = out\n\
         k.sinks.out.sink.rollInterval = 0\nk.sinks.out.sink.batchSize = {BATCH}\n\
         k.sinks.out.channel = c\n"
    )
}

/// Returns the line of number `n`; its length and letters follow from the number, so that any
/// change of it is detected.
pub(crate) fn line(n: u64) -> String {
    let mut random = Random::new(n);
    let letters = (0..random.below(400)).map(|_| char::from(b'a' + random.below(26) as u8));
    format!("{n}:{}", letters.collect::<String>())
}

/// What the client did.
#[derive(Default)]
pub(crate) struct Client {
    pub(crate) stop: AtomicBool,
    /// Numbers from 0 that were sent, perhaps.
    pub(crate) sent: AtomicU64,
    /// Acknowledgements so far.
    pub(crate) answered: AtomicU64,
}

impl Client {
    /// Sends until stopped and returns the numbers that were acknowledged with OK. A line without a
    /// reply is not sent again.
    pub(crate) fn run(&self, port: u16) -> Vec<u64> {
        let mut acknowledged = Vec::new();
        while !self.stop.load(Ordering::SeqCst) {
            match connect(port) {
                Some((mut reader, mut writer)) => {
                    let mut alive = Some(());
                    while alive.is_some() && !self.stop.load(Ordering::SeqCst) {
                        alive = self.group(&mut reader, &mut writer, &mut acknowledged);
                    }
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        acknowledged
    }

    /// Sends a few lines and reads their replies; `None` if the connection is gone.
    fn group(
        &self,
        reader: &mut std::io::BufReader<std::net::TcpStream>,
        writer: &mut std::net::TcpStream,
        acknowledged: &mut Vec<u64>,
    ) -> Option<()> {
        let first = self.sent.load(Ordering::SeqCst);
        let lines = 1 + first % 17;
        self.sent.store(first + lines, Ordering::SeqCst);
        let text: String = (first..first + lines).map(|n| line(n) + "\n").collect();
        writer.write_all(text.as_bytes()).ok()?;
        for n in first..first + lines {
            if read_line(reader)? == "OK" {
                acknowledged.push(n);
                self.answered.fetch_add(1, Ordering::SeqCst);
            }
        }
        Some(())
    }
}

/// Kills and restarts the agent `kills` times while `client` sends.
fn kill_repeatedly(directory: &std::path::Path, client: &Client, random: &mut Random, kills: u64) {
    for kill in 0..kills {
        let mut agent = Agent::start(directory, "k", "k.conf");
        // Most kills hit a working agent; every fourth may hit one that is still opening.
        if kill % 4 != 3 {
            let before = client.answered.load(Ordering::SeqCst);
            let words = agent.words();
            until(
                "an answer after a restart",
                || words.clone(),
                || {
                    agent.assert_alive();
                    client.answered.load(Ordering::SeqCst) > before
                },
            );
        }
        std::thread::sleep(Duration::from_millis(50 + random.below(450)));
        agent.assert_alive();
        agent.kill();
    }
}

#[test]
fn kill_9_at_random_moments_loses_and_alters_nothing() {
    let seed = std::env::var("MILLPOND_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(fresh_seed);
    let kills = std::env::var("MILLPOND_KILLS").ok().and_then(|s| s.parse().ok()).unwrap_or(50);
    eprintln!("seed {seed}, {kills} kills; repeat with MILLPOND_SEED={seed}");
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    std::fs::write(directory.path().join("k.conf"), configuration(port)).expect("written");

    let (client, mut random) = (Client::default(), Random::new(seed));
    let acknowledged = std::thread::scope(|scope| {
        let running = scope.spawn(|| client.run(port));
        let tormented = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            kill_repeatedly(directory.path(), &client, &mut random, kills);
        }));
        client.stop.store(true, Ordering::SeqCst);
        let acknowledged = running.join().expect("the client ends");
        tormented.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        acknowledged
    });
    let sent = client.sent.load(Ordering::SeqCst);

    let agent = Agent::start(directory.path(), "k", "k.conf");
    let out = directory.path().join("out");
    let mut counts = BTreeMap::new();
    let words = agent.words();
    until(
        "every acknowledged line in the files",
        || words.clone(),
        || {
            counts = count(&lines_in(&out), sent);
            acknowledged.iter().all(|n| counts.contains_key(n))
        },
    );
    assert_eq!(agent.terminate().code(), Some(0));

    // Events that were still in the channel may have followed; everything is checked once more.
    counts = count(&lines_in(&out), sent);
    let repeats: u64 = counts.values().map(|times| times - 1).sum();
    eprintln!(
        "{sent} sent, {} acknowledged, {} came out, {repeats} repeats",
        acknowledged.len(),
        counts.len()
    );
    let worked = kills - kills / 4;
    assert!(acknowledged.len() as u64 >= worked, "the client must have got through");
    assert!(repeats <= kills * BATCH, "{repeats} repeats: more than a batch per kill");
}

/// Returns how often each number came out; fails if a line is not one of those that were sent.
pub(crate) fn count(lines: &[Vec<u8>], sent: u64) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for came_out in lines {
        let text = std::str::from_utf8(came_out).expect("lines are ASCII");
        let n = text.split(':').next().and_then(|n| n.parse().ok()).filter(|n| *n < sent);
        let n: u64 = n.unwrap_or_else(|| panic!("never sent: {text:?}"));
        assert_eq!(text, line(n), "line {n} was altered");
        *counts.entry(n).or_insert(0) += 1;
    }
    counts
}
