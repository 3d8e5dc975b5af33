//! Tests of sources whose process behaves, and of ones whose process does not.

use super::*;
use crate::source::test_support::{CommitReply, SourceHarness, bodies, build, until};
use std::path::{Path, PathBuf};

const READY: &str = "read -r greeting; echo '{\"ready\":1}';";

fn source(script: &str, more: &[(&str, &str)]) -> Box<dyn Source> {
    let pairs = [
        ("shell", "/bin/sh -c"),
        ("command", script),
        ("restartPause", "10"),
        ("stopGrace", "500"),
    ];
    build(&TYPE, &[&pairs, more].concat()).unwrap()
}

/// Returns a script that sends batches 1, 2 and so on, each with one event and its number as position, starting after
/// the received position, and writes greetings and replies to `heard`.
fn counting(heard: &Path) -> String {
    format!(
        "read -r greeting; echo \"$greeting\" >> {0}; echo '{{\"ready\":1}}'; p=${{greeting##*position}}; n=$(printf %s \"$p\" | tr -cd 0-9); n=${{n:-0}}; b=0; \
         while :; do n=$((n+1)); b=$((b+1)); echo '{{\"batch\":'$b',\"events\":[{{\"headers\":{{\"n\":\"'$n'\"}},\"body\":\"line '$n'\"}}],\"position\":\"'$n'\"}}'; \
         read -r answer || exit 0; echo \"$answer\" >> {0}; case $answer in *stop*) exit 0;; esac; done",
        heard.display()
    )
}

fn message_log() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("heard");
    (directory, path)
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn batches_are_committed_in_order_with_replies_and_a_stop_ends_the_process() {
    let (_directory, path) = message_log();
    let harness = SourceHarness::new();
    harness.reply_with([CommitReply::Take, CommitReply::Full, CommitReply::Doubt]);
    let source = source(&counting(&path), &[]);
    harness.run(&*source, harness.until_events(20)).await.unwrap();
    let events = harness.events();
    let expected: Vec<String> = (1..=events.len()).map(|n| format!("line {n}")).collect();
    assert_eq!(bodies(&events), expected);
    assert_eq!(events[4].headers.get("n"), Some("5"));
    let heard = lines(&path);
    assert!(heard[0].ends_with("\"durable\":false,\"position\":null}"), "{}", heard[0]);
    assert_eq!(heard[1..4], ["{\"ok\":1}", "{\"ok\":2}", "{\"ok\":3}"]);
    assert_eq!(harness.context.counters.append_batch_accepted.get(), events.len() as u64);
}

#[tokio::test]
async fn a_process_receives_ok_only_after_the_commit() {
    let (_directory, path) = message_log();
    let harness = SourceHarness::new();
    harness.reply_with([CommitReply::Held]);
    let source = source(&counting(&path), &[]);
    let script = async {
        harness.until_tries(1).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(lines(&path).len(), 1, "its greeting");
        harness.release();
        until("the answer", || lines(&path).len() > 1).await;
    };
    harness.run(&*source, script).await.unwrap();
    assert_eq!(lines(&path)[1], "{\"ok\":1}");
}

#[tokio::test]
async fn a_process_that_dies_resumes_without_loss_or_repeats() {
    let (directory, path) = message_log();
    let harness = SourceHarness::new();
    // Dies after some batches, sometimes without reading a reply.
    let flag = directory.path().join("count");
    let script = counting(&path).replace(
        "read -r answer || exit 0;",
        &format!("echo x >> {0}; [ $(($(wc -l < {0}) % 4)) = 0 ] && kill -9 $$; read -r answer || exit 0;", flag.display()),
    );
    let source = source(&script, &[]);
    harness.run(&*source, harness.until_events(12)).await.unwrap();
    let expected: Vec<String> = (1..=harness.events().len()).map(|n| format!("line {n}")).collect();
    assert_eq!(bodies(&harness.events()), expected);
    let greetings = lines(&path).into_iter().filter(|line| line.contains("millpond")).count();
    assert!(greetings >= 3, "{greetings} processes");
    assert!(harness.context.counters.restarts.get() >= 2);
}

#[tokio::test]
async fn a_dead_process_is_restarted_although_its_child_holds_the_output() {
    let (directory, _) = message_log();
    let been = directory.path().join("been");
    let script = format!(
        "{READY} if [ ! -e {0} ]; then sleep 1000 & echo $! > {0}; exit 6; fi; echo '{{\"batch\":1,\"events\":[{{\"body\":\"good\"}}]}}'; read -r answer; read -r answer",
        been.display()
    );
    let harness = SourceHarness::new();
    harness.run(&*source(&script, &[]), harness.until_events(1)).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["good"]);
    let child = lines(&been).remove(0);
    until("the child to be gone", || {
        let stat = std::fs::read_to_string(format!("/proc/{child}/stat")).unwrap_or_default();
        stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
    })
    .await;
}

#[tokio::test]
async fn invalid_output_commits_nothing_and_the_next_process_is_started() {
    for (bad, limit) in [
        ("echo nonsense", "16777216"),
        ("printf '{\"batch\":1,\"events\":[{\"body\":\"half\"}'; exit 0", "16777216"),
        ("echo '{\"batch\":2,\"events\":[{\"body\":\"wrong number\"}]}'", "16777216"),
        ("echo '{\"batch\":1,\"events\":[{\"bodi\":\"misspelt\"}]}'", "16777216"),
        (
            "echo '{\"batch\":1,\"events\":[{\"body\":\"a\"},{\"body\":\"b\"},{\"body\":\"c\"}]}'",
            "16777216",
        ),
        ("echo '{\"ok\":1}'", "16777216"),
        ("head -c 3000 /dev/zero | tr '\\0' x", "1024"),
        ("sleep 100", "16777216"),
    ] {
        let (directory, _) = message_log();
        let been = directory.path().join("been");
        let script = format!(
            "{READY} if [ ! -e {0} ]; then touch {0}; {bad}; sleep 100; else echo '{{\"batch\":1,\"events\":[{{\"body\":\"good\"}}]}}'; read -r answer; read -r answer; fi",
            been.display()
        );
        let harness = SourceHarness::with_capacity(2);
        let silence = if bad == "sleep 100" { "1500" } else { "0" };
        let more = [("lineBytes", limit), ("silenceTimeout", silence), ("stopGrace", "50")];
        let source = source(&script, &more);
        harness.run(&*source, harness.until_events(1)).await.unwrap();
        assert_eq!(bodies(&harness.events()), ["good"], "{bad}");
        assert_eq!(harness.context.counters.event_read_fail.get(), 1, "{bad}");
    }
}

#[tokio::test]
async fn a_batch_that_no_channel_takes_fails_and_its_process_continues() {
    let (_directory, path) = message_log();
    let harness = SourceHarness::new();
    harness.reply_with([CommitReply::Take, CommitReply::TooLarge]);
    let source = source(&counting(&path), &[]);
    harness.run(&*source, harness.until_events(3)).await.unwrap();
    assert_eq!(bodies(&harness.events())[..3], ["line 1", "line 3", "line 4"]);
    assert!(lines(&path)[2].starts_with("{\"failed\":2,\"why\":\"refused: the transaction has"));
    assert_eq!(harness.context.counters.restarts.get(), 0);
}

#[tokio::test]
async fn a_process_that_has_ended_its_output_is_not_restarted() {
    let harness = SourceHarness::new();
    let script = format!(
        "{READY} echo '{{\"batch\":1,\"events\":[{{\"body\":\"all\"}}]}}'; read -r answer; echo '{{\"end\":true}}'; read -r stop"
    );
    let source = source(&script, &[]);
    source.run(&harness.context).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["all"]);
}

#[tokio::test]
async fn batches_sent_after_a_stop_request_are_committed() {
    let (directory, _) = message_log();
    let waiting = directory.path().join("waiting");
    let script = format!(
        "{READY} touch {0}; read -r stop; echo '{{\"batch\":1,\"events\":[{{\"body\":\"last\"}}]}}'; read -r answer; case $answer in *ok*) touch {0}.ok;; esac",
        waiting.display()
    );
    let harness = SourceHarness::new();
    let source = source(&script, &[]);
    let waits = until("the process", || waiting.exists());
    harness.run(&*source, waits).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["last"]);
    assert!(waiting.with_extension("ok").exists(), "it received ok");
}
