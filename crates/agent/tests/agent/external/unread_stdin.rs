//! Programs that do not read their stdin: which one runs, and how it ends.

use super::super::process::{Agent, until};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// A program that writes its number into the file `NAME.pid` and then reads nothing.
fn deaf(directory: &Path, name: &str) {
    let path = directory.join(name);
    let script = format!(
        "#!/bin/sh\ntrap '' TERM PIPE\necho $$ > {name}.pid\nwhile :; do sleep 0.1; done\n"
    );
    std::fs::write(&path, script).expect("written");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("executable");
}

/// Returns its number, once it runs.
fn number(agent: &Agent, directory: &Path, name: &str) -> u32 {
    let mut found = None;
    until(
        &format!("{name} runs"),
        || agent.words(),
        || {
            let text = std::fs::read_to_string(directory.join(format!("{name}.pid")));
            found = text.ok().and_then(|text| text.trim().parse().ok());
            found.is_some()
        },
    );
    found.expect("the loop ended")
}

fn runs(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    !status.is_empty() && !status.contains("State:\tZ")
}

fn configuration(kind: &str) -> String {
    format!(
        "a.sources = r\na.channels = c\na.sources.r.type = {kind}\na.sources.r.channels = c\n\
         a.channels.c.type = memory\n"
    )
}

#[test]
fn a_program_that_ignores_stdin_ends_with_a_killed_agent_via_setpriv() {
    let there = Command::new("setpriv").arg("--help").stdout(Stdio::null()).status();
    if !there.is_ok_and(|status| status.success()) {
        println!("left out deaf: there is no setpriv");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    deaf(directory.path(), "program");
    let command = "a.sources.r.command = setpriv --pdeathsig KILL -- ./program\n";
    let text = configuration("external") + command;
    std::fs::write(directory.path().join("a.conf"), text).expect("written");
    let agent = Agent::start(directory.path(), "a", "a.conf");
    let process = number(&agent, directory.path(), "program");
    assert!(runs(process));
    agent.kill();
    until("the end of the program", String::new, || !runs(process));
}

#[test]
fn another_program_in_the_map_takes_over_while_the_agent_runs() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path();
    deaf(path, "one");
    deaf(path, "two");
    let settings = "external.com.example.Mine.stopGrace = 100\nexternal.com.example.Mine = ./";
    std::fs::write(path.join("a.conf"), configuration("com.example.Mine")).expect("written");
    std::fs::write(path.join("millpond.properties"), format!("{settings}one\n")).expect("written");
    let agent = Agent::start_with(path, "a", "a.conf", &["--conf", ".", "-i", "1"]);
    let first = number(&agent, path, "one");
    std::fs::write(path.join("millpond.properties"), format!("{settings}two\n")).expect("written");
    let second = number(&agent, path, "two");
    until("the end of the first", || agent.words(), || !runs(first));
    assert!(runs(second));
    assert!(agent.words().contains("reloaded: restarted: source r"), "{}", agent.words());
    assert!(agent.terminate().success());
}
