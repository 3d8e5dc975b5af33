//! The agent's own log file.

use super::full_disk::SmallDisk;
use super::process::{Agent, connect, free_port, read_line, signal, until};
use millpond_flow::base::files;
use std::io::Write;
use std::path::Path;

fn configuration(port: u16) -> String {
    format!(
        "a.sources = r1\na.channels = c1\n\
         a.sources.r1.type = netcat\na.sources.r1.bind = 127.0.0.1\na.sources.r1.port = {port}\n\
         a.sources.r1.channels = c1\na.channels.c1.type = memory\n"
    )
}

fn start(top: &Path, port: u16, directory: &str) -> Agent {
    start_with(top, &configuration(port), directory)
}

fn start_with(top: &Path, text: &str, directory: &str) -> Agent {
    std::fs::write(top.join("a.conf"), text).expect("written");
    let directory = format!("-Dflume.log.dir={directory}");
    let options = ["-Dflume.root.logger=INFO,LOGFILE", &directory, "-Dflume.log.file=own.log"];
    Agent::start_with(top, "a", "a.conf", &options)
}

#[test]
fn what_is_logged_is_in_the_file_and_only_what_scripts_wait_for_on_stderr() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let agent = start(top, free_port(), "logs/deep");
    let file = top.join("logs/deep/own.log");
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    until("the start", text, || text().contains("agent a started: 1 source"));
    until("the start on stderr", || agent.words(), || agent.words().contains("agent a started"));
    // As logrotate does.
    files::rename_new(&file, &top.join("logs/deep/moved")).expect("moved");
    signal(agent.id(), "HUP");
    until("the reload", text, || text().contains("agent a reloaded: nothing has changed"));
    let words = std::fs::read_to_string(top.join("agent.log")).expect("read");
    assert_eq!(agent.terminate().code(), Some(0));
    assert!(text().contains("agent a stopped"), "{}", text());
    let stray = words.lines().find(|line| !line.contains(" agent a "));
    assert_eq!(stray, None, "{words}");

    // The reason why it could not run is there as well.
    let mut agent = start_with(top, "a.sources = r1\n", "logs/deep");
    assert_eq!(agent.ended().code(), Some(1));
    assert!(text().contains("cannot run as it is configured: "), "{}", text());
}

#[test]
fn a_log_on_a_full_disk_costs_its_lines_and_nothing_else() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let Some(disk) = SmallDisk::mount(top, 8) else { return };
    let port = free_port();
    let agent = start(top, port, "disk");
    let file = disk.at.join("own.log");
    let text = || std::fs::read_to_string(&file).unwrap_or_default();
    until("the start", text, || text().contains("agent a started"));
    let (mut reader, mut netcat) = connect(port).expect("it listens");
    let mut say = |line: &str| {
        netcat.write_all(line.as_bytes()).expect("sent");
        assert_eq!(read_line(&mut reader).as_deref(), Some("OK"));
    };
    say("one\n");
    let ballast = disk.fill();
    // Until the rest of the file's last block is used up as well.
    let lost = || agent.words().contains("the log cannot be written to disk/own.log");
    let reloaded = || agent.words().matches("agent a reloaded").count();
    until(
        "a full log",
        || agent.words(),
        || {
            let before = reloaded();
            signal(agent.id(), "HUP");
            until("a reload", || agent.words(), || reloaded() > before || lost());
            lost()
        },
    );
    say("two\n");
    std::fs::remove_file(ballast).expect("removed");
    until("the log goes on", text, || {
        signal(agent.id(), "HUP");
        text().contains("of this log could not be written before this one")
    });
    say("three\n");
    assert_eq!(agent.terminate().code(), Some(0));
}
