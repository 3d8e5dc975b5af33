//! Disks that are unmounted or turn read-only, and files cut short, under a running process: real
//! file systems, mounted for the test.

use super::full_disk::{SmallDisk, succeeds};
use super::process::{millpond, run, run_expecting, until};
use millpond::internal::base::threads;
use millpond_flow::base::files::rename_new;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Mutex};

const CONFIGURATION: &str = "a.channels=c\na.sinks=k\na.sinks.k.type=null\na.sinks.k.channel=c\n\
    a.channels.c.type=file\na.channels.c.checkpointDir=cp\na.channels.c.dataDirs=d1,disk/d2\n\
    a.channels.c.maxFileSize=65536\na.channels.c.minimumRequiredSpace=1048576\n";

fn words<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let channel = ["-n", "a", "-f", "a.conf", "--channel", "c"];
    [&["channel", command][..], &channel, more].concat()
}

fn lines(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("line {n} {}\n", "x".repeat(400))).collect()
}

fn log_at(path: &Path) -> File {
    File::options().create(true).append(true).open(path).expect("a log")
}

/// A `channel put` that is fed piece by piece.
struct Putting {
    child: Child,
    stdin: ChildStdin,
    committed: Arc<Mutex<usize>>,
    log: PathBuf,
}

impl Putting {
    fn start(top: &Path) -> Self {
        let log = top.join("put.log");
        let mut child = millpond(top)
            .args(words("put", &["--batch", "5", "--acks"]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log_at(&log))
            .spawn()
            .expect("the binary starts");
        let stdin = child.stdin.take().expect("a pipe");
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
        Self { child, stdin, committed, log }
    }

    fn words(&self) -> String {
        std::fs::read_to_string(&self.log).expect("a log")
    }

    /// Puts lines and waits until all of them are acknowledged.
    fn put(&mut self, from: usize, to: usize) {
        self.stdin.write_all(lines(from, to).as_bytes()).expect("written");
        let answered = || *self.committed.lock().expect("no thread panics") == to;
        until("every line is answered", || self.words(), answered);
    }

    /// Ends it; returns its output.
    fn end(mut self) -> String {
        drop(self.stdin);
        let status = self.child.wait().expect("it ends");
        let said = std::fs::read_to_string(&self.log).expect("a log");
        assert_eq!(status.code(), Some(0), "{said}");
        assert!(!said.contains("panicked"), "{said}");
        said
    }
}

/// Takes everything; returns the lines in the order of their numbers.
fn taken(top: &Path) -> Vec<String> {
    let text = run_expecting(top, &words("take", &[]), b"", 0);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    lines.sort_by_key(|l| l.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()));
    lines
}

fn expect_all(found: &[String], count: usize) {
    let expected = lines(0, count);
    assert_eq!(found.len(), count, "lines are lost or repeated");
    assert!(found.iter().map(String::as_str).eq(expected.lines()), "a line is altered");
}

/// Returns the directory, and the disk in it with a file system on a loop device.
fn top_with_disk() -> Option<(tempfile::TempDir, SmallDisk, PathBuf)> {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("a.conf"), CONFIGURATION).expect("written");
    let disk = SmallDisk::mount(directory.path(), 32)?;
    let image = disk.image.clone()?;
    Some((directory, disk, image))
}

fn mount_again(disk: &SmallDisk, image: &Path) {
    let (at, image) = (disk.at.display().to_string(), image.display().to_string());
    // An error mark in it does not prevent the mount; the output of fsck does not matter.
    let _ = succeeds("e2fsck", &["-fy", &image]);
    assert!(succeeds("mount", &["-o", "loop", &image, &at]), "it was mounted before");
}

#[test]
fn a_disk_that_turns_read_only_is_named_and_rejoins_without_loss() {
    let Some((directory, disk, image)) = top_with_disk() else { return };
    let top = directory.path();
    let mut putting = Putting::start(top);
    putting.put(0, 100);
    disk.turn_read_only();
    putting.put(100, 500);
    let said = putting.end();
    assert!(said.contains("d2") && said.contains("Read-only"), "{said}");
    assert!(succeeds("umount", &[&disk.at.display().to_string()]), "it is not in use");
    mount_again(&disk, &image);
    expect_all(&taken(top), 500);
    run_expecting(top, &words("check", &[]), b"", 0);
}

#[test]
fn a_disk_that_is_unmounted_under_a_running_process_costs_nothing() {
    let Some((directory, disk, image)) = top_with_disk() else { return };
    let top = directory.path();
    let mut putting = Putting::start(top);
    putting.put(0, 100);
    assert!(succeeds("umount", &["-l", &disk.at.display().to_string()]));
    putting.put(100, 500);
    putting.end();
    // A command that starts now reports the mount, and creates nothing in its place.
    let output = run(top, &words("take", &[]), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("disk/d2"), "{said}");
    assert!(!disk.at.join("d2").exists());
    mount_again(&disk, &image);
    expect_all(&taken(top), 500);
}

#[test]
fn a_file_cut_short_under_a_reader_costs_what_was_cut_and_no_signal() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let conf = CONFIGURATION.replace("disk/d2", "d2").replace("65536", "1048576");
    std::fs::write(top.join("a.conf"), conf).expect("written");
    let all: Vec<String> = (0..4000).map(|n| format!("line {n} {}", "x".repeat(4000))).collect();
    let input = all.join("\n") + "\n";
    run_expecting(top, &words("put", &["--batch", "5"]), input.as_bytes(), 0);

    let mut child = millpond(top)
        .args(words("take", &["--batch", "5", "--acks"]))
        .stdout(Stdio::piped())
        .stderr(log_at(&top.join("take.log")))
        .spawn()
        .expect("the binary starts");
    let mut stdout = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut text = String::new();
    stdout.read_line(&mut text).expect("a line");
    // It reads only as fast as this test. The last segments are far ahead of it.
    let mut cut = 0;
    for name in ["d1/segment-00006.log", "d2/segment-00006.log"] {
        let file = File::options().write(true).open(top.join(name)).expect("a segment");
        file.set_len(100_000).expect("cut");
        cut += 1;
    }
    stdout.read_to_string(&mut text).expect("text");
    let status = child.wait().expect("it ends");
    let said = std::fs::read_to_string(top.join("take.log")).expect("a log");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    let found: std::collections::BTreeSet<&str> = text.lines().collect();
    assert_eq!(found.len(), text.lines().count(), "a line came twice");
    assert!(found.iter().all(|l| all.iter().any(|known| known == l)), "a line is altered");
    let lost = all.len() - found.len();
    assert!(lost > 0 && lost <= cut * 1_048_576 / 4000, "{lost} lines lost");
    assert!(said.contains("segment-00006.log"), "{said}");
    run_expecting(top, &words("check", &[]), b"", 0);
}

/// Returns the segments of a directory that have blocks, as far as their headers tell.
pub(super) fn used_segments(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).expect("listed").map(|e| e.expect("an entry").path());
    let is_used = |path: &PathBuf| {
        let bytes = std::fs::read(path).expect("readable");
        bytes.starts_with(b"MPSEGMNT")
    };
    let segments = files.filter(|p| p.extension().is_some_and(|e| e == "log"));
    segments.filter(is_used).collect()
}

#[test]
fn a_segment_lost_while_running_is_named_and_later_puts_are_safe() {
    type Harm = fn(&Path);
    let remove: Harm = |file| std::fs::remove_file(file).expect("removed");
    let cut: Harm = |file| {
        let file = File::options().write(true).open(file).expect("a segment");
        file.set_len(12_288).expect("cut");
    };
    let mv: Harm = |file| rename_new(file, &file.with_extension("old")).expect("moved");
    let harms = [("was removed", remove), ("was cut short from", cut), ("was moved away", mv)];
    for (n, (named, harm)) in harms.into_iter().enumerate() {
        let directory = tempfile::tempdir().expect("a directory");
        let top = directory.path();
        let dirs = if n == 1 { "d1,d2" } else { "d1" };
        let conf = CONFIGURATION.replace("d1,disk/d2", dirs).replace("65536", "1048576");
        std::fs::write(top.join("a.conf"), conf).expect("written");
        let mut putting = Putting::start(top);
        putting.put(0, 100);
        let segments = used_segments(&top.join("d1"));
        assert_eq!(segments.len(), 1, "{segments:?}");
        harm(&segments[0]);
        // Perhaps before it is noticed.
        putting.put(100, 120);
        let name = segments[0].file_name().expect("a name").to_string_lossy().into_owned();
        let is_named = || {
            let said = putting.words();
            said.lines().any(|l| l.contains("ERROR") && l.contains(&name) && l.contains(named))
        };
        until("it is named", || putting.words(), is_named);
        putting.put(120, 300);
        putting.child.kill().expect("kill -9");
        putting.child.wait().expect("it ends");

        if named != "was cut short from" {
            let output = run(top, &words("take", &[]), b"");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{named}: {said}");
            assert!(said.contains("segment files are missing: in"), "{named}: {said}");
        }
        let output = run(top, &words("take", &["--without-missing-segments"]), b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        let text = String::from_utf8_lossy(&output.stdout);
        let found: std::collections::BTreeSet<&str> = text.lines().collect();
        assert_eq!(found.len(), text.lines().count(), "{named}: a line came twice");
        let later = lines(120, 300);
        assert!(
            later.lines().all(|l| found.contains(l)),
            "{named}: a line after the acknowledgement is lost"
        );
        let stat = run_expecting(top, &words("stat", &["--json"]), b"", 0);
        let stat: serde_json::Value = serde_json::from_str(&stat).expect("JSON");
        let stripes = stat["stripes"].as_array().expect("stripes");
        let lost: u64 = stripes.iter().filter_map(|s| s["damaged_events"].as_u64()).sum();
        assert!(lost > 0, "{named}: {stat}");
        assert_eq!(found.len() as u64 + lost, 300, "{named}: {stat}\n{said}");
        assert!(said.contains("lost") || said.contains("with a loss"), "{named}: {said}");
        run_expecting(top, &words("check", &[]), b"", 0);
    }
}
