//! `millpond torture write`, `collect` and `verify`. What stands in for the power cut is `kill -9`:
//! it takes everything along that was only in the process, which is where the lying disk of the
//! tests keeps what it should have written.

use super::process::{millpond, run, until};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Stdio};

/// A process that is killed when the test ends before it does.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(top: &Path, words: &[&str]) -> Running {
    let mut command = millpond(top);
    command.args(words).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Running(command.spawn().expect("the binary starts"))
}

fn lines(path: &Path) -> usize {
    std::fs::read(path).map_or(0, |bytes| bytes.iter().filter(|b| **b == b'\n').count())
}

/// Starts a write, kills it once `acks` has some lines.
fn cut_off(top: &Path, to: &str, acks: &Path, more: &[&str]) {
    let words = ["torture", "write", "--data-dirs", "d1,d2", "--acks", to];
    let words: Vec<&str> = words.iter().chain(more).copied().collect();
    let mut writer = start(top, &words);
    until("acknowledgements", String::new, || {
        let ended = writer.0.try_wait().expect("it can be asked");
        assert!(ended.is_none(), "the writer ended by itself: {ended:?}");
        lines(acks) > 2000
    });
    writer.0.kill().expect("killed");
    writer.0.wait().expect("waited for");
}

fn verify(top: &Path, words: &[&str]) -> (Option<i32>, String) {
    let words: Vec<&str> = ["torture", "verify", "--data-dirs", "d1,d2", "--acks", "acks"]
        .iter()
        .chain(words)
        .copied()
        .collect();
    let output = run(top, &words, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned() + &said)
}

#[test]
fn what_was_acknowledged_into_a_file_is_there_after_a_cut() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    cut_off(top, "acks", &top.join("acks"), &["--seed", "4"]);
    let (code, said) = verify(top, &["--keep"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("everything acknowledged is there"), "{said}");
    assert!(said.contains("has not been started again"), "no power was cut: {said}");

    // Nobody clears unasked what is still to be judged; judged, it goes.
    let again = run(top, &["torture", "--data-dirs", "d1,d2", "--kills", "1"], b"");
    assert_eq!(again.status.code(), Some(2));
    let (code, said) = verify(top, &["--json"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"clean\":true"), "{said}");
    assert!(!top.join("d1").exists() && !top.join("d2").exists());
    assert_eq!(verify(top, &[]).0, Some(2), "nothing is left to judge");
}

#[test]
fn what_was_acknowledged_to_another_host_is_there_after_a_cut() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let mut collector = start(top, &["torture", "collect", "127.0.0.1:0", "acks"]);
    let mut words = BufReader::new(collector.0.stderr.take().expect("a pipe"));
    let mut line = String::new();
    words.read_line(&mut line).expect("a line");
    let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
    // Strangers: one that speaks, one that says nothing.
    let _silent = TcpStream::connect(&address).expect("connected");
    let mut loud = TcpStream::connect(&address).expect("connected");
    loud.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    line.clear();
    words.read_line(&mut line).expect("a line");
    assert!(line.contains("is no `torture write`"), "{line}");
    cut_off(top, &address, &top.join("acks"), &[]);
    let ended = collector.0.wait().expect("the collector ends");
    assert_eq!(ended.code(), Some(0));
    // A copy of the file that was cut short is not judged by.
    let whole = std::fs::read(top.join("acks")).expect("read");
    let middle = whole.iter().rposition(|b| *b == b'=').expect("its end says how long it is");
    std::fs::write(top.join("acks"), [&whole[..middle / 2], &whole[middle..]].concat())
        .expect("written");
    assert_eq!(verify(top, &[]).0, Some(2));
    std::fs::write(top.join("acks"), &whole).expect("written");
    let (code, said) = verify(top, &[]);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_write_that_ends_in_order_counts_as_its_verdict_does_and_half_its_notes_judge_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let words = ["torture", "write", "--data-dirs", "d1,d2", "--acks", "acks", "--seconds", "1"];
    let output = run(top, &words, b"");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    let count = said.split("order; ").nth(1).and_then(|rest| rest.split(' ').next());
    let put = format!("acknowledged: {} events put", count.expect("a count"));
    let whole = std::fs::read(top.join("acks")).expect("read");
    std::fs::write(top.join("acks"), &whole[..whole.len() / 2]).expect("written");
    let (code, said) = verify(top, &[]);
    assert!(code == Some(2) && said.contains("is not whole"), "{code:?} {said}");
    std::fs::write(top.join("acks"), &whole).expect("written");
    let (code, said) = verify(top, &[]);
    assert!(code == Some(0) && said.contains(&put), "{code:?} {said} {put}");
}

#[test]
fn what_is_no_file_of_acknowledgements_is_refused_at_once_and_nothing_is_left_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    cut_off(top, "acks", &top.join("acks"), &[]);
    std::fs::remove_file(top.join("acks")).expect("removed");
    let made =
        std::process::Command::new("truncate").args(["-s", "1T"]).arg(top.join("acks")).status();
    assert!(made.expect("truncate runs").success());
    assert_eq!(verify(top, &[]).0, Some(2), "zeros without end");
    std::fs::remove_file(top.join("acks")).expect("removed");
    let made = std::process::Command::new("mkfifo").arg(top.join("acks")).status();
    assert!(made.expect("mkfifo runs").success());
    assert_eq!(verify(top, &[]).0, Some(2), "a pipe that nobody writes to");
    // Refused because of the second directory: the first one and the notes are as if never asked.
    std::fs::create_dir(top.join("e")).expect("made");
    let words = ["torture", "write", "--data-dirs", "e,d2", "--acks", "new"];
    assert_eq!(run(top, &words, b"").status.code(), Some(2));
    assert!(!top.join("new").exists());
    assert_eq!(std::fs::read_dir(top.join("e")).expect("listed").count(), 0);
}

#[test]
fn a_disk_that_lies_about_sync_is_named_in_plain_words() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    // What the lie costs is the last write of each file. When that was acknowledged to nobody yet,
    // the cut came too early to show it.
    let noticed = (0..20).any(|_| {
        let _ = std::fs::remove_file(top.join("acks"));
        cut_off(top, "acks", &top.join("acks"), &["--lie", "sync", "--discard"]);
        let (code, said) = verify(top, &[]);
        assert!(matches!(code, Some(0 | 1)), "{said}");
        if code == Some(1) {
            assert!(said.contains("lies about sync"), "{said}");
        }
        code == Some(1)
    });
    assert!(noticed);
}
