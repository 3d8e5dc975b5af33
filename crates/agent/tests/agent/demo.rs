//! The demo of README.md, as a new user would run it.

use super::process::{Agent, free_port, lines_in, read_line, until};
use std::io::Write;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Returns a directory with the demo's configuration on a port of its own.
pub(crate) fn demo() -> (TempDir, u16) {
    let directory = tempfile::tempdir().expect("a directory");
    let top = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let text = std::fs::read_to_string(top.join("docs/examples/demo.conf")).expect("the demo");
    let port = free_port();
    assert!(text.contains("44444"), "the demo's port");
    let text = text.replace("44444", &port.to_string());
    std::fs::write(directory.path().join("demo.conf"), text).expect("written");
    (directory, port)
}

/// Sends `lines` and requires an OK for each.
fn send(agent: &mut Agent, port: u16, lines: &[Vec<u8>]) {
    let (mut reader, mut writer) = agent.connection(port);
    // Replies are read while sending, as a client must that sends more than fits into the sockets.
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for line in lines {
                writer.write_all(line).expect("sent");
                writer.write_all(b"\n").expect("sent");
            }
        });
        for n in 0..lines.len() {
            assert_eq!(read_line(&mut reader).as_deref(), Some("OK"), "line {n}");
        }
    });
}

fn numbered(from: usize, count: usize) -> Vec<Vec<u8>> {
    (from..from + count)
        .map(|n| format!("line {n} größer {}", "x".repeat(n % 300)).into_bytes())
        .collect()
}

#[test]
fn every_line_comes_out_once_in_order_byte_for_byte_also_over_a_restart() {
    let (directory, port) = demo();
    let out = directory.path().join("target/demo/out");
    let (first, second) = (numbered(0, 3000), numbered(3000, 1000));

    let mut agent = Agent::start(directory.path(), "demo", "demo.conf");
    send(&mut agent, port, &first);
    let words = agent.words();
    until("the lines in files", || words.clone(), || lines_in(&out).len() >= first.len());
    until("the start", || agent.words(), || agent.words().contains("agent demo started"));
    assert_eq!(agent.terminate().code(), Some(0));

    let mut agent = Agent::start(directory.path(), "demo", "demo.conf");
    send(&mut agent, port, &second);
    let words = agent.words();
    let all = [first, second].concat();
    until("the rest in files", || words.clone(), || lines_in(&out).len() >= all.len());
    assert_eq!(agent.terminate().code(), Some(0));
    let came_out = lines_in(&out);
    assert_eq!(came_out.len(), all.len());
    assert!(came_out == all, "the same lines in the same order");
}

#[test]
fn the_readme_runs_the_demo_that_is_tested_here() {
    let top = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let readme = std::fs::read_to_string(top.join("README.md")).expect("README.md");
    assert!(readme.contains("cargo run --release -- agent -n demo -f docs/examples/demo.conf"));
}
