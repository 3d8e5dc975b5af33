//! A part of a disk that fails repeatedly: a sector, or all of a directory, for ever or for a
//! while.

use super::channel_fixture::{BATCH, CONFIGURATION, DIRECTORIES, copy, lines, words};
use super::shim::{Deed, Ended, Hit, shim, to_its_end, under};
use crate::process::{millpond, run, run_expecting, until};
use millpond::internal::base::threads;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};

const LINES: usize = 400;

/// From the first call on.
const FOR_EVER: &str = "1-";

/// A channel with [`LINES`] lines, one segment for each directory.
fn filled() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    std::fs::write(top.join("a.conf"), CONFIGURATION.replace("28672", "1048576")).expect("written");
    run_expecting(top, &words("put"), lines(0, LINES).as_bytes(), 0);
    directory
}

/// Returns the command, where every call named `calls` on files under `places` fails with EIO.
fn failing(shim: &Path, top: &Path, command: &str, places: &[&str], calls: &str) -> Command {
    let mut process = millpond(top);
    // Not the size of what was put: the available part of a batch must not wait for the rest.
    let size = if command == "take" { "7" } else { "5" };
    process.args(&words(command)[..8]).args(["--batch", size, "--acks"]);
    let hit = Hit { call: "", at: 1, deed: Deed::Error(libc::EIO) };
    under(shim, top, places, Some(hit), &mut process);
    process.env("SHIM_AT", FOR_EVER).env_remove("SHIM_ONLY");
    if !calls.is_empty() {
        process.env("SHIM_ONLY", calls);
    }
    process
}

/// Returns every waiting line, with stripe and offset of its block.
fn places(top: &Path) -> Vec<(String, u64, u64)> {
    let dump = run_expecting(top, &[&words("dump")[..], &["--json"]].concat(), b"", 0);
    let place = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let number = |name: &str| event[name].as_u64().expect("a number");
        let body = event["body"].as_str().expect("text").to_owned();
        (body, number("stripe"), number("offset"))
    };
    dump.lines().map(place).collect()
}

/// Returns the file in `directory` that has data at `offset`.
fn written_at(directory: &Path, offset: u64) -> PathBuf {
    let entries = std::fs::read_dir(directory).expect("listed");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_it = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("read");
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with("segment-") && bytes.get(offset as usize).is_some_and(|byte| *byte != 0)
    };
    paths.filter(is_it).min().expect("a segment")
}

fn set(text: &str) -> BTreeSet<&str> {
    text.lines().collect()
}

#[test]
fn an_unreadable_directory_is_named_and_the_other_goes_on() {
    let Some(shim) = shim() else { return };
    let directory = filled();
    let top = directory.path();
    let take = |conf: &str| -> Ended {
        std::fs::write(top.join("a.conf"), conf).expect("written");
        to_its_end(top, failing(shim, top, "take", &["d2"], "pread64 "), String::new())
    };
    let refused = take(CONFIGURATION);
    let said = &refused.stderr;
    assert_eq!((refused.status.code(), &refused.stdout[..]), (Some(1), ""), "{said}");
    assert!(said.contains("d2") && said.contains("Input/output error"), "{said}");

    let other = take(&(CONFIGURATION.to_owned() + "a.channels.c.openDegraded=true\n"));
    assert_eq!(other.status.code(), Some(0), "{}", other.stderr);
    let count = other.stdout.lines().count();
    assert!(0 < count && count < LINES, "{count} lines of the other directory");

    std::fs::write(top.join("a.conf"), CONFIGURATION).expect("written");
    let rest = run_expecting(top, &words("take"), b"", 0);
    assert_eq!(rest.lines().count() + count, LINES);
    assert!(&set(&rest) | &set(&other.stdout) == set(&lines(0, LINES)), "a line is altered");
    run_expecting(top, &words("check"), b"", 0);
}

#[test]
fn a_bad_sector_keeps_only_the_blocks_after_it() {
    let Some(shim) = shim() else { return };
    let directory = filled();
    let top = directory.path();
    let all = places(top);
    let bad = all.iter().filter(|(_, stripe, _)| *stripe == 0).nth(LINES / 4).expect("a line").2;
    let file = written_at(&top.join("d1"), bad);
    let name = format!("d1/{}", file.file_name().expect("a name").to_string_lossy());
    let sick = copy(top);
    let take = |place: u64| {
        let mut process = failing(shim, sick.path(), "take", &[&name], "pread64 ");
        process.env("SHIM_PLACE", place.to_string());
        to_its_end(sick.path(), process, String::new())
    };
    let ended = take(bad + 100);
    let said = &ended.stderr;
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains(&name) && said.contains("Input/output error"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let reached = all.iter().filter(|(_, stripe, offset)| *stripe != 0 || *offset < bad);
    let reached: BTreeSet<&str> = reached.map(|(body, ..)| &body[..]).collect();
    assert!(set(&ended.stdout) == reached, "{} lines came: {said}", ended.stdout.lines().count());
    assert!(said.contains(&format!("committed {}\n", reached.len())), "{said}");
    // It stays so, and nothing is given up.
    let again = take(bad + 100);
    assert_eq!((again.status.code(), &again.stdout[..]), (Some(1), ""), "{}", again.stderr);

    // Readable again: everything comes.
    let healed = copy(sick.path());
    let rest = run_expecting(healed.path(), &words("take"), b"", 0);
    assert_eq!(rest.lines().count() + reached.len(), LINES);
    assert!(&set(&rest) | &reached == set(&lines(0, LINES)), "a line is altered");

    // Copied by a tool that leaves out what it cannot read: repair counts it, the rest comes.
    let mut bytes = std::fs::read(sick.path().join(&name)).expect("read");
    bytes[bad as usize..bad as usize + 4096].fill(0);
    std::fs::write(sick.path().join(&name), bytes).expect("written");
    run_expecting(sick.path(), &words("repair"), b"", 0);
    let rest = run_expecting(sick.path(), &words("take"), b"", 0);
    assert_eq!(rest.lines().count() + reached.len() + BATCH, LINES);
    run_expecting(sick.path(), &words("check"), b"", 0);
}

#[test]
fn a_directory_that_fails_for_a_while_comes_back_by_itself_without_loss() {
    let Some(shim) = shim() else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    // One segment for all: else no further one could be created on it, and nothing would be
    // written.
    std::fs::write(top.join("a.conf"), CONFIGURATION.replace("28672", "1048576")).expect("written");
    let (flag, log) = (top.join("fails"), top.join("put.log"));
    let mut process = failing(shim, top, "put", &["d2"], "");
    process.env("SHIM_WHILE", &flag).env_remove("SHIM_LOG");
    process.arg("-Dflume.root.logger=INFO,console");
    process.stdin(Stdio::piped()).stdout(Stdio::piped());
    let words_to = std::fs::File::options().create_new(true).append(true).open(&log);
    process.stderr(words_to.expect("a log"));
    let mut child = process.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let acks = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let committed = Arc::new(Mutex::new(0));
    let count = Arc::clone(&committed);
    let read = move || {
        for ack in acks.map_while(Result::ok) {
            let found = ack.strip_prefix("committed ").and_then(|n| n.parse().ok());
            *count.lock().expect("no thread panics") = found.expect("a count");
        }
    };
    threads::spawn("reader", read).expect("a thread");
    let said = || std::fs::read_to_string(&log).expect("a log");
    let mut put = |from: usize, to: usize| {
        stdin.write_all(lines(from, to).as_bytes()).expect("written");
        let answered = || *committed.lock().expect("no thread panics") == to;
        until("every line is answered", said, answered);
    };
    put(0, 100);
    std::fs::write(&flag, "").expect("written");
    put(100, 300);
    assert!(said().contains("suspended") && said().contains("d2"), "{}", said());
    std::fs::remove_file(&flag).expect("removed");
    until("the stripe is back", said, || said().contains("the stripe is back"));
    put(300, LINES);
    drop(stdin);
    let status = child.wait().expect("it ends");
    assert_eq!(status.code(), Some(0), "{}", said());
    assert!(!said().contains("panicked"), "{}", said());
    for name in DIRECTORIES {
        assert!(top.join(name).join("member").exists());
    }
    let found = run_expecting(top, &words("take"), b"", 0);
    assert_eq!(found.lines().count(), LINES, "lines are lost or repeated");
    assert!(set(&found) == set(&lines(0, LINES)), "a line is altered");
    assert_eq!(run(top, &words("check"), b"").status.code(), Some(0));
}
