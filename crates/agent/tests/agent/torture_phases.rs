//! `millpond torture write`, `collect` and `verify`. `kill -9` represents the power cut: everything
//! that was only in the process is lost with it, and there the lying disk of the tests keeps what
//! it should have written.

use super::process::{Random, fresh_seed, millpond, run, signal, until};
use millpond::internal::base::threads;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStderr, Stdio};

/// The first line of a writer.
const HEAD: &str = "millpond-torture-acks 1 7 2 b\n";

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

    // Directories that are still to be judged are not cleared unless asked for; after the verdict
    // they are.
    let again = run(top, &["torture", "--data-dirs", "d1,d2", "--kills", "1"], b"");
    assert_eq!(again.status.code(), Some(2));
    let (code, said) = verify(top, &["--json"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("\"clean\":true"), "{said}");
    assert!(!top.join("d1").exists() && !top.join("d2").exists());
    assert_eq!(verify(top, &[]).0, Some(2), "nothing is left to judge");
}

/// Starts a collector into `acks`; returns its output from then on, and where it listens.
fn collector(top: &Path, more: &[&str]) -> (Running, BufReader<ChildStderr>, String) {
    let words = ["torture", "collect", "127.0.0.1:0", "acks"];
    let mut collector = start(top, &[&words, more].concat());
    let mut words = BufReader::new(collector.0.stderr.take().expect("a pipe"));
    let mut line = String::new();
    words.read_line(&mut line).expect("a line");
    let address = line.trim().rsplit(' ').next().expect("an address").to_owned();
    (collector, words, address)
}

/// Peers of every hostile kind, and the collector's end.
#[test]
fn a_collector_outlasts_strangers_of_every_kind_and_still_takes_its_writer() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (mut collector, words, address) = collector(top, &[]);
    // Its output is read, as a terminal would.
    let said = threads::spawn("words", move || words.lines().map_while(Result::ok).count())
        .expect("a thread");
    let mut random = Random::new(fresh_seed());
    let mut held = Vec::new();
    for n in 0..1000 {
        let mut stream = TcpStream::connect(&address).expect("connected");
        let bytes: Vec<u8> = (0..random.below(600)).map(|_| random.below(256) as u8).collect();
        // Half a head, noise, a whole line of noise, nothing; a refused client need not read the
        // refusal.
        let _ = match n % 4 {
            0 => stream.write_all(&HEAD.as_bytes()[..n % HEAD.len()]),
            1 => stream.write_all(&bytes),
            2 => stream.write_all(&[&bytes[..], b"\n"].concat()),
            _ => Ok(()),
        };
        if n % 20 == 0 {
            held.push(stream);
        }
    }
    let mut stream = TcpStream::connect(&address).expect("connected");
    stream.write_all(format!("{HEAD}one\ntwo\n").as_bytes()).expect("sent");
    let mut answer = String::new();
    let mut answers = BufReader::new(stream.try_clone().expect("the same one"));
    while answer.trim() != "3" {
        answer.clear();
        assert!(answers.read_line(&mut answer).expect("an answer") > 0);
    }
    drop((stream, answers));
    assert_eq!(collector.0.wait().expect("it ends").code(), Some(0));
    assert!(said.join().expect("no panic") > 900, "strangers are named");
    let notes = std::fs::read_to_string(top.join("acks")).expect("written");
    assert_eq!(notes, format!("{HEAD}one\ntwo\n= 3\n"));
}

#[test]
fn a_writer_that_never_pauses_and_never_listens_keeps_no_collector_from_ending() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (mut collector, _words, address) = collector(top, &[]);
    let mut stream = TcpStream::connect(&address).expect("connected");
    stream.write_all(HEAD.as_bytes()).expect("sent");
    let flood = threads::spawn("flood", move || while stream.write_all(b"a\nb\n").is_ok() {})
        .expect("a thread");
    until("much more than the answers that it can hold", String::new, || {
        lines(&top.join("acks")) > 1_000_000
    });
    signal(collector.0.id(), "INT");
    let mut ended = None;
    until("the end", String::new, || {
        ended = collector.0.try_wait().expect("it can be asked");
        ended.is_some()
    });
    assert_eq!(ended.and_then(|ended| ended.code()), Some(0), "by the first signal");
    flood.join().expect("no panic");
    let notes = std::fs::read(top.join("acks")).expect("written");
    let end = notes[..notes.len() - 1].rsplit(|b| *b == b'\n').next().expect("a last line");
    let count = notes.iter().filter(|b| **b == b'\n').count() - 1;
    assert_eq!(String::from_utf8_lossy(end), format!("= {count}"));
}

#[test]
fn a_line_without_end_is_refused_before_it_fills_the_memory() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (mut collector, mut words, address) = collector(top, &[]);
    let mut stream = TcpStream::connect(&address).expect("connected");
    stream.write_all(HEAD.as_bytes()).expect("sent");
    let mut sent = 0u64;
    while sent < 1 << 30 && stream.write_all(&[b'x'; 64 * 1024]).is_ok() {
        sent += 64 * 1024;
    }
    // What the buffers between the two hold, in addition to the line.
    assert!(sent < 1 << 28, "{sent} bytes were taken");
    assert_eq!(collector.0.wait().expect("it ends").code(), Some(2));
    let mut said = String::new();
    words.read_to_string(&mut said).expect("read");
    assert!(said.contains("line 2"), "{said}");
    assert!(lines(&top.join("acks")) == 1, "what came before is kept");
}

#[test]
fn what_was_acknowledged_to_another_host_is_there_after_a_cut() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let (mut collector, mut words, address) = collector(top, &[]);
    let mut line = String::new();
    // Strangers: one that sends something, one that sends nothing.
    let _silent = TcpStream::connect(&address).expect("connected");
    let mut loud = TcpStream::connect(&address).expect("connected");
    loud.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("sent");
    words.read_line(&mut line).expect("a line");
    assert!(line.contains("is not `torture write`"), "{line}");
    cut_off(top, &address, &top.join("acks"), &[]);
    let ended = collector.0.wait().expect("the collector ends");
    assert_eq!(ended.code(), Some(0));
    // A truncated copy of the file is not used for a verdict.
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
fn a_finished_write_is_judged_and_half_of_its_notes_are_not() {
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
fn an_invalid_acknowledgement_file_is_refused_without_residue() {
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
    assert_eq!(verify(top, &[]).0, Some(2), "a pipe without a writer");
    // Refused because of the second directory: the first one and the notes are untouched.
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
    // The lie costs the last write of each file. If that was not acknowledged yet, the cut came too
    // early to show it.
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
