//! `kill -9` at random times while files grow and are renamed, and new ones are moved in: each of
//! their lines is in the channel once.
//!
//! There is no sink: a sink may repeat a batch after a kill, the channel may not.

use super::process::{Agent, Random, fresh_seed, run_expecting, until};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Two channels, so that a kill can fall between their commits of one batch.
fn configuration(top: &Path) -> String {
    let mut text = format!(
        "k.sources = spool tail\nk.channels = c1 c2\n\
         k.sources.spool.type = spooldir\nk.sources.spool.spoolDir = in\n\
         k.sources.spool.pollDelay = 20\nk.sources.spool.batchSize = 20\n\
         k.sources.spool.channels = c1 c2\n\
         k.sources.tail.type = TAILDIR\nk.sources.tail.filegroups = g\n\
         k.sources.tail.filegroups.g = {}/logs/app.*\n\
         k.sources.tail.positionFile = pos/taildir.json\nk.sources.tail.writePosInterval = 50\n\
         k.sources.tail.backoffSleepIncrement = 10\nk.sources.tail.maxBackoffSleep = 20\n\
         k.sources.tail.batchSize = 20\nk.sources.tail.channels = c1 c2\n",
        top.display()
    );
    for c in ["c1", "c2"] {
        text += &format!(
            "k.channels.{c}.type = file\nk.channels.{c}.checkpointDir = {c}/cp\n\
             k.channels.{c}.dataDirs = {c}/d1,{c}/d2\nk.channels.{c}.maxFileSize = 262144\n\
             k.channels.{c}.checkpointInterval = 1000\n\
             k.channels.{c}.minimumRequiredSpace = 1048576\n"
        );
    }
    text
}

/// Writes lines into files of both kinds until stopped.
#[derive(Default)]
struct Writer {
    stop: AtomicBool,
    lines: AtomicU64,
}

impl Writer {
    fn run(&self, top: &Path, mut random: Random) {
        let (mut files, mut rotated) = (0u64, 0u64);
        let log = top.join("logs/app.log");
        let mut out = append(&log);
        while !self.stop.load(Ordering::SeqCst) {
            match random.below(40) {
                // A file, written elsewhere and moved in whole.
                0..10 => {
                    let beside = top.join("beside");
                    let text: String =
                        (0..random.below(200)).map(|_| self.line("spool", &mut random)).collect();
                    // An empty file would be an event of its own.
                    let text = if text.is_empty() { self.line("spool", &mut random) } else { text };
                    std::fs::write(&beside, text).expect("written");
                    let name = PathBuf::from("in").join(format!("{files}.txt"));
                    move_to(&beside, &top.join(name));
                    files += 1;
                }
                // The log is rotated, perhaps twice while no agent runs.
                10 => {
                    move_to(&log, &top.join(format!("logs/app.log.{rotated}")));
                    rotated += 1;
                    // A writer notices late.
                    let late = self.line("tail", &mut random);
                    out.write_all(late.as_bytes()).expect("written");
                    out = append(&log);
                }
                // More files than a batch's position names.
                11..20 => {
                    let name = format!("logs/app-{}", random.below(150));
                    let line = self.line("tail", &mut random);
                    append(&top.join(name)).write_all(line.as_bytes()).expect("written");
                }
                _ => {
                    // In two pieces: for a short time half a line is there.
                    let line = self.line("tail", &mut random);
                    let (first, rest) = line.split_at(line.len() / 2);
                    out.write_all(first.as_bytes()).expect("written");
                    out.write_all(rest.as_bytes()).expect("written");
                }
            }
            std::thread::sleep(Duration::from_micros(random.below(3000)));
        }
    }

    fn line(&self, kind: &str, random: &mut Random) -> String {
        let n = self.lines.fetch_add(1, Ordering::SeqCst);
        let letters = (0..random.below(100)).map(|_| 'x').collect::<String>();
        format!("{kind} {n} {letters}\n")
    }
}

fn append(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("opened")
}

fn move_to(from: &Path, to: &Path) {
    let moved = std::process::Command::new("mv").arg(from).arg(to).status();
    assert!(moved.expect("mv runs").success());
}

/// Returns whether every file is done, and every log is read as far as it goes.
fn all_read(top: &Path) -> bool {
    let spool = std::fs::read_dir(top.join("in")).expect("listed");
    let mut done = spool.map(|e| e.expect("an entry").file_name().into_string().expect("a name"));
    let position = std::fs::read(top.join("pos/taildir.json")).unwrap_or_default();
    let position: serde_json::Value = serde_json::from_slice(&position).unwrap_or_default();
    let read = |path: PathBuf| {
        let len = path.metadata().expect("there").len();
        let entry = |e: &serde_json::Value| e["pos"] == len && e["file"].as_str() == path.to_str();
        position.as_array().is_some_and(|entries| entries.iter().any(entry))
    };
    let mut logs = std::fs::read_dir(top.join("logs")).expect("listed");
    logs.all(|log| read(log.expect("an entry").path()))
        && done.all(|name| name.starts_with('.') || name.ends_with(".COMPLETED"))
}

#[test]
fn kill_9_neither_loses_nor_repeats_a_line_of_a_file_at_the_channel() {
    let seed = std::env::var("MILLPOND_SEED").ok().and_then(|s| s.parse().ok());
    let seed = seed.unwrap_or_else(fresh_seed);
    let kills = std::env::var("MILLPOND_KILLS").ok().and_then(|s| s.parse().ok()).unwrap_or(10);
    eprintln!("seed {seed}, {kills} kills; repeat with MILLPOND_SEED={seed}");
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    for name in ["in", "logs"] {
        std::fs::create_dir(top.join(name)).expect("made");
    }
    std::fs::write(top.join("k.conf"), configuration(top)).expect("written");
    let (writer, mut random) = (Writer::default(), Random::new(seed));
    std::thread::scope(|scope| {
        let writing = scope.spawn(|| writer.run(top, Random::new(seed ^ 1)));
        let tormented = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..kills {
                let mut agent = Agent::start(top, "k", "k.conf");
                std::thread::sleep(Duration::from_millis(150 + random.below(400)));
                agent.assert_alive();
                agent.kill();
            }
        }));
        writer.stop.store(true, Ordering::SeqCst);
        writing.join().expect("the writer ends");
        tormented.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    let agent = Agent::start(top, "k", "k.conf");
    let words = agent.words();
    until("every file to be read", || words.clone(), || all_read(top));
    assert_eq!(agent.terminate().code(), Some(0));
    let lines = writer.lines.load(Ordering::SeqCst);
    eprintln!("{lines} lines");
    for channel in ["c1", "c2"] {
        let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
        let take = ["channel", "take", "-n", "k", "-f", "k.conf", "--channel", channel];
        for line in run_expecting(top, &take, b"", 0).lines() {
            let n = line.split(' ').nth(1).and_then(|n| n.parse().ok());
            *counts.entry(n.unwrap_or_else(|| panic!("never written: {line:?}"))).or_insert(0) += 1;
        }
        let lost: Vec<u64> = (0..lines).filter(|n| !counts.contains_key(n)).collect();
        let twice: Vec<u64> = counts.iter().filter(|c| *c.1 > 1).map(|c| *c.0).collect();
        assert!(lost.is_empty() && twice.is_empty(), "{channel}: lost {lost:?}, twice {twice:?}");
    }
}
