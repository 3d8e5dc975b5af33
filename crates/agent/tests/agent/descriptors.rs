//! The limits of a process: open files, which limit the connections, and the size of files.

use super::monitoring::page;
use super::process::{Agent, free_port, millpond, until};
use std::path::Path;
use std::process::Command;

/// Returns the connection limit of an agent that was started under `limit` of a shell, and its log.
fn places(limit: &str) -> (u64, String) {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let port = free_port();
    let text = format!(
        "a.sources = r\na.channels = c\na.sinks = k\na.sources.r.type = netcat\na.sources.r.bind = 127.0.0.1\n\
         a.sources.r.port = {}\na.sources.r.maxConnections = 1000\na.sources.r.channels = c\na.channels.c.type = memory\n\
         a.sinks.k.type = null\na.sinks.k.channel = c\n",
        free_port()
    );
    std::fs::write(top.join("a.conf"), text).expect("written");
    let mut shell = Command::new("/bin/sh");
    let run = format!("ulimit {limit} && exec \"$0\" \"$@\"");
    shell.args(["-c", &run]).arg(env!("CARGO_BIN_EXE_millpond"));
    for (name, value) in millpond(top).get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.current_dir(top);
    let option = format!("-Dflume.monitoring.port={port}");
    let more = ["-Dflume.monitoring.type=http", &option];
    let agent = Agent::start_as(shell, Path::new(top), "a", "a.conf", &more);
    let shown = || {
        let (_, page) = page(port, "/metrics/prometheus")?;
        let value = |line: &str| {
            line.strip_prefix("millpond_clients_connections_max ")?.parse::<u64>().ok()
        };
        page.lines().find_map(value)
    };
    until("the number", || agent.words(), || shown().is_some());
    let places = shown().expect("a number");
    assert!(agent.terminate().success());
    (places, std::fs::read_to_string(top.join("agent.log")).expect("a log"))
}

#[test]
fn the_soft_limit_on_open_files_is_raised_and_the_hard_one_is_kept_to_and_said() {
    let too_few = "add up to more than the limit on open files leaves for connections";
    // A shell's default is the soft limit, below the hard one.
    let (raised, _) = places("-Sn 256");
    assert!(raised > 256, "{raised}");
    let (places, log) = places("-n 256");
    assert_eq!(places, 192, "a part is kept for channels and sinks");
    assert!(log.contains(too_few) && log.contains("possible=192"), "{log}");
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_and_ends_no_process() {
    let directory = tempfile::tempdir().expect("a directory");
    // In units of 512 bytes or of a kibibyte, depending on the shell: less than the channel's first
    // segments.
    let run = "ulimit -f 1000 && exec \"$0\" channel put --checkpoint-dir cp --data-dirs d";
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", run]).arg(env!("CARGO_BIN_EXE_millpond"));
    shell.current_dir(directory.path()).stdin(std::process::Stdio::null());
    let output = shell.output().expect("it ran");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("File too large") && said.contains("(MP-"), "{said}");
}
