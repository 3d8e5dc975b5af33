//! What `validate` reports about this machine and about surprising settings.

use super::command_line::{SOUND, validated};
use super::process::{Agent, free_port, run_expecting};

#[test]
fn validate_says_where_no_file_is_to_be_read_today() {
    let directory = tempfile::tempdir().expect("a directory");
    let at = |name: &str| directory.path().join(name).display().to_string();
    for (name, text) in [("a.log", "x"), ("done.COMPLETED", "x"), (".hidden", "x")] {
        std::fs::write(at(name), text).expect("written");
    }
    std::fs::create_dir(at("b.txt")).expect("made");
    let tail = |pattern: &str| {
        let path = at(pattern);
        let text = format!(
            "{SOUND}a.sources.s.type = taildir\na.sources.s.filegroups = g\na.sources.s.filegroups.g = {path}\n\
             a.sources.s.positionFile = {}\n",
            at("positions/p.json")
        );
        validated(&text, &["--notes"])
    };
    let (shown, _, code) = tail(r".*\\.txt");
    let words =
        format!("no file in {} matches the pattern .*\\.txt now", directory.path().display());
    assert!(code == 0 && shown.contains(&words), "a directory is not a file: {shown}");
    assert!(shown.contains("warning: a.sources.s.filegroups.g: "), "{shown}");
    let (shown, _, _) = tail(r".*\\.log");
    assert!(!shown.contains("matches the pattern"), "{shown}");
    let spool = |more: &str| {
        let path = directory.path().display();
        let text =
            format!("{SOUND}a.sources.s.type = spooldir\na.sources.s.spoolDir = {path}\n{more}");
        validated(&text, &["--notes"]).0
    };
    assert!(!spool("").contains("is to be read now"));
    let none = spool("a.sources.s.ignorePattern = .*log\n");
    assert!(none.contains("note: a.sources.s.spoolDir: no file in "), "{none}");
    let none = spool("a.sources.s.includePattern = .*COMPLETED\n");
    assert!(none.contains("(includePattern .*COMPLETED, "), "{none}");
}

#[test]
fn validate_tries_the_directories_of_each_part() {
    let taildir = "a.sources.s.type = taildir\na.sources.s.filegroups = g\n";
    for (more, key, words) in [
        (
            "a.sources.s.type = spooldir\na.sources.s.spoolDir = /nowhere/spool\n".to_owned(),
            "a.sources.s.spoolDir",
            "/nowhere/spool does not exist",
        ),
        (
            format!("{taildir}a.sources.s.filegroups.g = /nowhere/logs/.*\n"),
            "a.sources.s.filegroups.g",
            "/nowhere/logs does not exist; no file is read until then",
        ),
        (
            format!(
                "{taildir}a.sources.s.filegroups.g = /.*\na.sources.s.positionFile = /dev/null/p\n"
            ),
            "a.sources.s.positionFile",
            "/dev/null is not a directory",
        ),
        (
            "a.sinks.k.type = file_roll\na.sinks.k.sink.directory = /dev/null/out\n".to_owned(),
            "a.sinks.k.sink.directory",
            "/dev/null/out cannot be made: /dev/null is not a directory",
        ),
    ] {
        let (shown, _, code) = validated(&format!("{SOUND}{more}"), &[]);
        let said = format!("warning: {key}: {words}");
        assert!(code == 0 && shown.contains(&said), "{said}: {shown}");
    }
}

#[test]
fn validate_warns_of_an_http_sink_that_would_take_200_for_a_failure() {
    let http = "a.sinks.k.type = http\na.sinks.k.endpoint = http://127.0.0.1:1/\n";
    for (more, expected) in [
        ("", Some("a.sinks.k.type: none of rollback.200, rollback.2XX, defaultRollback is set")),
        // As in the example of Flume's guide.
        ("defaultRollback = true\n", Some("a.sinks.k.defaultRollback: with this value")),
        ("rollback.2XX = true\n", Some("a.sinks.k.rollback.2XX: with this value")),
        (
            "rollback.2XX = false\na.sinks.k.rollback.200 = true\n",
            Some("a.sinks.k.rollback.200: with this value"),
        ),
        ("defaultRollback = true\na.sinks.k.rollback.200 = false\n", None),
        ("rollback.2XX = false\n", None),
        ("defaultRollback = false\n", None),
    ] {
        let more = if more.is_empty() { String::new() } else { format!("a.sinks.k.{more}") };
        let (shown, _, _) = validated(&format!("{SOUND}{http}{more}"), &["--elsewhere"]);
        let warns = shown.contains("the status 200 counts as a failure");
        assert_eq!(warns, expected.is_some(), "{more}: {shown}");
        assert!(expected.is_none_or(|words| shown.contains(words)), "{more}: {shown}");
    }
}

#[test]
fn validate_notes_a_command_that_follows_and_is_not_run_again() {
    for (command, noted) in [
        ("tail -F /var/log/messages", true),
        ("journalctl -fu nginx", true),
        ("tail -F /var/log/messages\na.sources.s.restart = true", false),
        ("cat /var/log/messages", false),
    ] {
        let text = format!("{SOUND}a.sources.s.type = exec\na.sources.s.command = {command}\n");
        let (shown, _, _) = validated(&text, &["--notes"]);
        assert_eq!(shown.contains("note: a.sources.s.restart: is not set"), noted, "{shown}");
    }
}

#[test]
fn strict_validation_next_to_the_agent_that_runs_the_file_succeeds() {
    let directory = tempfile::tempdir().expect("a directory");
    let port = free_port();
    let conf = SOUND.replace("port = 0", &format!("port = {port}"));
    std::fs::write(directory.path().join("a.conf"), conf).expect("written");
    let mut agent = Agent::start(directory.path(), "a", "a.conf");
    drop(agent.connection(port));
    let words = ["validate", "-n", "a", "-f", "a.conf", "--strict", "--notes"];
    let shown = run_expecting(directory.path(), &words, b"", 0);
    let holder = format!("is in use now, by an agent a, process {}", agent.id());
    assert!(shown.contains(&holder), "{shown}");
    // An agent of another name could not listen there.
    let other = std::fs::read_to_string(directory.path().join("a.conf")).expect("read");
    let other = other.lines().map(|line| format!("b{}\n", line.trim_start_matches('a')));
    std::fs::write(directory.path().join("b.conf"), other.collect::<String>()).expect("written");
    let words = ["validate", "-n", "b", "-f", "b.conf", "--strict"];
    let shown = run_expecting(directory.path(), &words, b"", 1);
    assert!(shown.contains("the source cannot listen until it is free"), "{shown}");
}

#[test]
fn strict_validation_shows_the_warnings_it_fails_for_also_when_quiet() {
    let reached_by_all =
        SOUND.replace("type = logger", "type = http\na.sinks.k.endpoint = http://127.0.0.1:1/");
    let (shown, said, code) = validated(&reached_by_all, &["--strict", "--quiet"]);
    assert_eq!(code, 1, "{shown}{said}");
    assert!(shown.contains("warning: ") && said.contains("--strict is given"), "{shown}{said}");
    assert_eq!(validated(&reached_by_all, &["--quiet"]), (String::new(), String::new(), 0));
}
