//! `channel check`, `dump` and `repair` on real files with real damage.

use super::full_disk::{SmallDisk, succeeds};
use super::process::{holder, run, run_expecting};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A channel of two directories with segments so small that it has several of them.
const CONFIGURATION: &str = "a.channels=c\na.sinks=k\na.sinks.k.type=null\na.sinks.k.channel=c\n\
    a.channels.c.type=file\na.channels.c.checkpointDir=cp\na.channels.c.dataDirs=d1,d2\n\
    a.channels.c.maxFileSize=65536\n\
    a.channels.c.minimumRequiredSpace=1048576\n";

const LINES: usize = 300;

fn words<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let channel = ["-n", "a", "-f", "a.conf", "--channel", "c"];
    [&["channel", command][..], &channel, more].concat()
}

fn line(number: usize) -> String {
    format!("line {number} {}\n", "x".repeat(400))
}

/// A stopped channel with [`LINES`] events in it.
fn stopped() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    fill(directory.path());
    directory
}

fn fill(top: &Path) {
    std::fs::write(top.join("a.conf"), CONFIGURATION).expect("a configuration");
    let lines: String = (0..LINES).map(line).collect();
    run_expecting(top, &words("put", &["--batch", "10"]), lines.as_bytes(), 0);
}

/// Returns the readable events, each with its place: file number of the stripe, segment, offset,
/// text.
fn dumped(top: &Path) -> Vec<serde_json::Value> {
    let text = run_expecting(top, &words("dump", &["--json"]), b"", 0);
    text.lines().map(|l| serde_json::from_str(l).expect("dump --json is JSON")).collect()
}

/// Flips a byte in the block that holds `event`; returns the block's stripe and sequences.
fn damage(top: &Path, event: &serde_json::Value, all: &[serde_json::Value]) -> (u64, Vec<u64>) {
    let stat = run_expecting(top, &words("stat", &["--json"]), b"", 0);
    let stat: serde_json::Value = serde_json::from_str(&stat).expect("stat --json is JSON");
    let segments =
        stat["stripes"][event["stripe"].as_u64().expect("a number") as usize]["segments"]
            .as_array()
            .expect("segments")
            .clone();
    let segment = segments.iter().find(|s| s["id"] == event["segment"]).expect("it is listed");
    let path = top.join(segment["file"].as_str().expect("a path"));
    let file = std::fs::File::options().read(true).write(true).open(path).expect("a segment");
    let at = event["offset"].as_u64().expect("a number") + 300;
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("read");
    file.write_all_at(&[byte[0] ^ 4], at).expect("written");
    let place =
        |e: &serde_json::Value| (e["stripe"].as_u64(), e["segment"].as_u64(), e["offset"].as_u64());
    let hit = all.iter().filter(|e| place(e) == place(event));
    let sequences = hit.map(|e| e["sequence"].as_u64().expect("a number")).collect();
    (event["stripe"].as_u64().expect("a number"), sequences)
}

fn check(top: &Path) -> (Option<i32>, serde_json::Value) {
    let output = run(top, &words("check", &["--json"]), b"");
    let json = serde_json::from_slice(&output.stdout).expect("check --json is JSON");
    (output.status.code(), json)
}

fn kept(top: &Path) -> Vec<PathBuf> {
    let files = ["d1", "d2"].iter().flat_map(|d| std::fs::read_dir(top.join(d)).expect("listed"));
    let paths = files.map(|entry| entry.expect("an entry").path());
    paths.filter(|p| p.to_string_lossy().contains("quarantine-")).collect()
}

#[test]
fn damage_is_found_by_check_set_aside_by_repair_and_the_rest_is_delivered() {
    let directory = stopped();
    let top = directory.path();
    assert_eq!(run_expecting(top, &words("repair", &[]), b"", 0), "nothing to repair\n");
    let all = dumped(top);
    assert_eq!(all.len(), LINES);
    // One in the middle of the log, the other in its last block.
    let hits = [damage(top, &all[LINES / 4], &all), damage(top, &all[LINES - 1], &all)];
    let lost: usize = hits.iter().map(|(_, sequences)| sequences.len()).sum();

    let (code, found) = check(top);
    assert_eq!(code, Some(1), "{found}");
    for (stripe, sequences) in &hits {
        let names = |f: &serde_json::Value| {
            let first = f["first_sequence"].as_u64();
            f["damage"] == true
                && f["stripe"].as_u64() == Some(*stripe)
                && first == sequences.first().copied()
                && f["offset"].is_u64()
                && f["segment"].is_u64()
        };
        let findings = found["findings"].as_array().expect("findings");
        assert!(findings.iter().any(names), "stripe {stripe} {sequences:?}: {found}");
    }
    assert_eq!(dumped(top).len(), LINES - lost, "dump shows what can be read");

    let said = run_expecting(top, &words("repair", &[]), b"", 0);
    assert!(said.contains(&format!("2 places set aside, {lost} events lost")), "{said}");
    assert_eq!(kept(top).len(), 2, "{said}");
    for file in kept(top) {
        let name = file.file_name().expect("a name").to_string_lossy().into_owned();
        assert!(said.contains(&name), "{name}: {said}");
        assert!(std::fs::metadata(&file).expect("there").len() > 0, "{name} is empty");
    }
    assert_eq!(check(top).0, Some(0));
    assert_eq!(run_expecting(top, &words("repair", &[]), b"", 0), "nothing to repair\n");

    let taken = run_expecting(top, &words("take", &[]), b"", 0);
    let expected: Vec<&serde_json::Value> = all
        .iter()
        .filter(|e| {
            let (stripe, at) = (e["stripe"].as_u64(), e["sequence"].as_u64());
            !hits.iter().any(|(s, q)| stripe == Some(*s) && at.is_some_and(|at| q.contains(&at)))
        })
        .collect();
    let mut expected: Vec<&str> =
        expected.iter().map(|e| e["body"].as_str().expect("text")).collect();
    let mut taken: Vec<&str> = taken.lines().collect();
    expected.sort_unstable();
    taken.sort_unstable();
    assert!(taken == expected, "{} of {} were delivered", taken.len(), expected.len());
    assert_eq!(check(top).0, Some(0));
}

#[test]
fn repair_is_refused_while_another_process_has_the_channel_open() {
    let directory = stopped();
    let top = directory.path();
    let (mut child, stdin) = holder(top, &words("put", &["--batch", "1", "--acks"]));
    let output = run(top, &words("repair", &[]), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(&child.id().to_string()), "the holder is named: {said}");
    let stat = || {
        let words = run_expecting(top, &words("stat", &[]), b"", 0);
        let json = run_expecting(top, &words_json(), b"", 0);
        let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        let line = words.lines().find(|line| line.contains("has the channel open"));
        (line.map(str::to_owned), json["open"].clone(), json["open_in_process"].clone())
    };
    let (line, open, process) = stat();
    let line = line.expect("who has it open");
    assert!(line.starts_with(&format!("process {} has", child.id())), "{line}");
    assert_eq!((open.as_bool(), process.as_u64()), (Some(true), Some(u64::from(child.id()))));
    drop(stdin);
    assert!(child.wait().expect("it ends").success());
    // The number of a process that is gone may be another's by now: the text of the file is not a
    // lock.
    let text = format!("{}\n", std::process::id());
    std::fs::write(top.join("cp/in_use.lock"), text).expect("the lock file");
    assert_eq!(stat(), (None, serde_json::json!(false), serde_json::Value::Null));
}

fn words_json() -> Vec<&'static str> {
    words("stat", &["--json"])
}

#[test]
fn repair_makes_no_channel_where_none_is() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    std::fs::write(top.join("a.conf"), CONFIGURATION).expect("a configuration");
    let output = run(top, &words("repair", &[]), b"");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no channel"));
    assert!(!top.join("d1").exists() && !top.join("cp").exists());
}

#[test]
fn member_files_that_are_all_lost_are_made_again_by_repair() {
    let directory = stopped();
    let top = directory.path();
    for dir in ["cp", "d1", "d2"] {
        std::fs::remove_file(top.join(dir).join("member")).expect("removed");
    }
    let output = run(top, &words("take", &[]), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("millpond channel repair"), "{said}");
    let said = run_expecting(top, &words("repair", &[]), b"", 0);
    assert!(said.contains("made again") && said.contains("no event was lost"), "{said}");
    assert_eq!(check(top).0, Some(0));
    let taken = run_expecting(top, &words("take", &[]), b"", 0);
    assert_eq!(taken.lines().count(), LINES);
    assert_eq!(run_expecting(top, &words("repair", &[]), b"", 0), "nothing to repair\n");
}

#[test]
fn dump_says_what_is_missing_before_it_shows_the_rest() {
    let directory = stopped();
    let top = directory.path();
    let all = dumped(top);
    let is_there = |n: u64| all.iter().any(|e| e["stripe"] == 0 && e["segment"] == n);
    assert!(is_there(1) && is_there(2), "several segments");
    std::fs::remove_file(top.join("d1/segment-00000.log")).expect("removed");
    let output = run(top, &words("dump", &[]), b"");
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said.matches("a segment is missing").count(), 1, "{said}");
    assert!(output.stdout.len() > 1000, "the rest is shown");
}

#[test]
fn a_segment_that_came_back_after_it_was_given_up_is_put_again_once() {
    let directory = stopped();
    let top = directory.path();
    let (file, kept) = (top.join("d1/segment-00000.log"), top.join("saved.log"));
    let kept_bytes = std::fs::read(&file).expect("a segment");
    std::fs::remove_file(&file).expect("removed");
    std::fs::write(&kept, &kept_bytes).expect("written");
    let said = run(top, &words("take", &["--count", "1"]), b"").stderr;
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("--without-missing-segments") && said.contains("d1"), "{said}");
    let said = run_expecting(top, &words("stat", &[]), b"", 0);
    assert!(said.contains("out of reach: a segment file is missing"), "{said}");
    assert!(!said.contains("lost to damage"), "nothing is lost yet: {said}");
    let output = run(top, &words("take", &["--count", "1", "--without-missing-segments"]), b"");
    assert_eq!(output.status.code(), Some(0));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("ERROR") && said.contains("was opened with a loss"), "{said}");
    let mut taken = String::from_utf8(output.stdout).expect("text");
    std::fs::copy(&kept, &file).expect("back");
    let said = run_expecting(top, &words("check", &[]), b"", 0);
    assert!(said.contains("note: ") && said.contains("a segment that came back"), "{said}");
    let said = run_expecting(top, &words("restore", &[]), b"", 0);
    assert!(said.contains("events were put again") && !file.exists(), "{said}");
    let said = run_expecting(top, &words("restore", &[]), b"", 0);
    assert!(said.contains("no segment file came back"), "{said}");
    let said = run_expecting(top, &words("stat", &[]), b"", 0);
    assert!(said.contains("or given up with a missing segment file"), "{said}");
    taken += &run_expecting(top, &words("take", &[]), b"", 0);
    let mut found: Vec<&str> = taken.lines().collect();
    found.sort_unstable();
    let expected: String = (0..LINES).map(line).collect();
    let mut expected: Vec<&str> = expected.lines().collect();
    expected.sort_unstable();
    assert!(found == expected, "{} of {LINES} lines, each once", found.len());
}

#[test]
fn file_names_never_control_the_terminal() {
    let directory = stopped();
    let top = directory.path();
    std::fs::write(top.join("d1").join("a\u{1b}[31mb"), "x").expect("written");
    for command in ["check", "stat", "repair", "dump"] {
        let output = run(top, &words(command, &[]), b"");
        let said = [output.stdout, output.stderr].concat();
        assert!(!said.contains(&0x1b), "{command}: {}", said.escape_ascii());
    }
    let said = run_expecting(top, &words("check", &[]), b"", 0);
    assert!(said.contains("a\\u{1b}[31mb"), "{said}");
}

#[test]
fn on_a_full_disk_and_on_a_read_only_one_nothing_is_given_up() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(disk) = SmallDisk::mount(directory.path(), 24) else { return };
    let top = disk.at.as_path();
    fill(top);
    let all = dumped(top);
    let (_, lost) = damage(top, &all[LINES / 2], &all);
    let ballast = disk.fill();
    let mut crumbs = std::fs::File::create_new(top.join("crumbs")).expect("a name is free");
    while crumbs.write_all(&[1; 512]).is_ok() {}
    drop(crumbs);
    let repair = || {
        let output = run(top, &words("repair", &[]), b"");
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    };
    let is_found = || {
        let found = check(top).1;
        let findings = found["findings"].as_array().expect("a list");
        findings.iter().filter(|f| f["damage"] == true).count()
    };
    for _ in 0..2 {
        let (code, said) = repair();
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("No space left") && said.contains("make room"), "{said}");
        assert_eq!((is_found(), kept(top).len()), (1, 0), "the place is as it was");
    }
    std::fs::remove_file(ballast).expect("removed");
    let shown = top.display().to_string();
    assert!(succeeds("mount", &["-o", "remount,ro", &shown]), "it was mounted before");
    let (code, said) = repair();
    assert!(code == Some(1) && said.contains("Read-only file system"), "{code:?} {said}");
    assert_eq!(is_found(), 1, "check needs no right to write");
    assert!(succeeds("mount", &["-o", "remount,rw", &shown]), "it was writable before");
    let (code, said) = repair();
    assert!(code == Some(0) && said.contains(&format!("{} events lost", lost.len())), "{said}");
    assert_eq!((is_found(), kept(top).len()), (0, 1));
}
