//! Tests of real commands with a fake channel.

use super::*;
use crate::source::test_support::{CommitReply, SourceHarness, bodies, build, until};
use std::path::Path;

fn shell(script: &str, more: &[(&str, &str)]) -> Box<dyn Source> {
    let mut pairs = vec![("shell", "/bin/sh -c"), ("command", script)];
    pairs.extend(more);
    build(&TYPE, &pairs).unwrap()
}

/// Returns whether the process `pid` runs, zombies excluded.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[tokio::test]
async fn each_line_of_the_output_is_an_event_and_its_end_ends_the_source() {
    let harness = SourceHarness::new();
    let source = shell(r"printf 'one\ntwo\r\n\n\377\nthree'", &[]);
    source.run(&harness.context).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one", "two", "", "\u{fffd}", "three"]);
    assert_eq!(&harness.events()[3].body[..], b"\xff", "bytes stay as they were");
    assert!(harness.events().iter().all(|event| event.headers.is_empty()));
    assert_eq!(*harness.context.begun.borrow(), millpond_flow::context::SourceStage::Runs);
}

#[tokio::test]
async fn without_a_shell_the_command_is_split_at_blanks_and_not_quoted() {
    let harness = SourceHarness::new();
    let source = build(&TYPE, &[("command", "printf  %s\\n \"a b\"")]).unwrap();
    source.run(&harness.context).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["\"a", "b\""]);
}

#[tokio::test]
async fn lines_are_committed_in_batches() {
    let harness = SourceHarness::with_capacity(3);
    let source = shell("seq 1 7", &[("batchSize", "5"), ("batchTimeout", "600000")]);
    source.run(&harness.context).await.unwrap();
    assert_eq!(harness.batches(), [3, 3, 1]);
    assert_eq!(bodies(&harness.events()), ["1", "2", "3", "4", "5", "6", "7"]);
}

#[tokio::test]
async fn a_smaller_batch_is_committed_after_the_timeout() {
    let harness = SourceHarness::new();
    let source = shell("echo one; sleep 600", &[("batchTimeout", "50")]);
    harness.run(source.as_ref(), harness.until_events(1)).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one"]);
}

#[tokio::test]
async fn lines_wait_while_the_channel_refuses() {
    let harness = SourceHarness::new();
    harness.reply_with([CommitReply::Full, CommitReply::Doubt]);
    let source = shell("seq 1 3", &[]);
    source.run(&harness.context).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_missing_command_is_named() {
    let harness = SourceHarness::new();
    let source = build(&TYPE, &[("command", "/no/such/command now")]).unwrap();
    let error = source.run(&harness.context).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/command"), "{error}");
}

#[tokio::test]
async fn with_restart_it_runs_again_also_when_it_could_not_start() {
    let harness = SourceHarness::new();
    let source = shell("echo again", &[("restart", "true"), ("restartThrottle", "10")]);
    harness.run(source.as_ref(), harness.until_events(3)).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("later.sh");
    let pairs =
        [("command", script.to_str().unwrap()), ("restart", "true"), ("restartThrottle", "10")];
    let source = build(&TYPE, &pairs).unwrap();
    let harness = SourceHarness::new();
    let make = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // One step: at no time does it exist without being executable.
        std::os::unix::fs::symlink("/bin/pwd", &script).unwrap();
        harness.until_events(1).await;
    };
    harness.run(source.as_ref(), make).await.unwrap();
}

#[tokio::test]
async fn a_leftover_process_delays_a_restart_only_while_it_prints() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!(
        "(sleep 0.7; echo late; exec sleep 600) & echo $! >> {}; echo early",
        pids.display()
    );
    let again = [("restart", "true"), ("restartThrottle", "10"), ("batchSize", "1")];
    let harness = SourceHarness::new();
    harness.run(&*shell(&script, &again), harness.until_events(3)).await.unwrap();
    assert_eq!(bodies(&harness.events())[..3], ["early", "late", "early"]);
    let first = text(&pids).lines().next().unwrap().to_owned();
    until("the process that it left running to end", || !runs(&first)).await;

    // Without `restart` the output lasts until every process has closed it, as in Flume.
    let harness = SourceHarness::new();
    let source = shell("(sleep 2.5; echo late) & echo early", &[]);
    source.run(&harness.context).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["early", "late"]);
}

#[tokio::test]
async fn stopping_ends_the_whole_group_and_keeps_what_it_printed() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!(
        "echo first; sleep 600 & echo last; echo $$ $! > {0}.new; mv {0}.new {0}; wait",
        pids.display()
    );
    let harness = SourceHarness::new();
    let source = shell(&script, &[("batchTimeout", "600000")]);
    let ready = until("both processes", || pids.exists());
    harness.run(source.as_ref(), ready).await.unwrap();
    for pid in text(&pids).split(' ') {
        until("the group to be gone", || !runs(pid)).await;
    }
    assert_eq!(bodies(&harness.events()), ["first", "last"]);
}

/// A full channel replies only after its keep-alive, which may be longer than the grace of the command.
#[tokio::test]
async fn a_commit_that_outlasts_the_grace_of_a_stopping_command_is_not_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let script = format!(
        "trap 'echo 3; exit' TERM; echo 1; echo 2; : > {}; while :; do sleep 0.05; done",
        ready.display()
    );
    let harness = SourceHarness::new();
    harness.always(CommitReply::Slow(STOP_GRACE.as_millis() as u64 + 200));
    let source = shell(&script, &[("batchSize", "3"), ("batchTimeout", "600000")]);
    harness.run(source.as_ref(), until("its start", || ready.exists())).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["1", "2", "3"]);
}

/// A stop tries the channel once more for all collected lines, not once per line.
#[tokio::test]
async fn a_flood_ends_at_a_stop_although_the_channel_takes_nothing() {
    let harness = SourceHarness::new();
    harness.always(CommitReply::Full);
    let source = shell("trap '' TERM; while :; do echo y; done", &[("batchSize", "1")]);
    harness.run(source.as_ref(), harness.until_tries(1)).await.unwrap();
    assert!(harness.tries() < 10, "{} commits", harness.tries());
}

#[tokio::test]
async fn a_command_that_ignores_the_signal_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let script = format!(
        "trap '' TERM; echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 0.1; done",
        pid.display()
    );
    let harness = SourceHarness::new();
    let source = shell(&script, &[]);
    harness.run(source.as_ref(), until("its start", || pid.exists())).await.unwrap();
    assert!(!runs(&text(&pid)));
}

#[tokio::test]
async fn a_member_of_the_group_that_ignores_the_signal_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    // The signal ends the shell; its child ignores it and has closed the output.
    let script = format!(
        "(trap '' TERM; exec sleep 600 >&- 2>&-) & echo $$ $! > {0}.new; mv {0}.new {0}; wait",
        pids.display()
    );
    let harness = SourceHarness::new();
    let source = shell(&script, &[]);
    harness.run(source.as_ref(), until("both processes", || pids.exists())).await.unwrap();
    for pid in text(&pids).split(' ') {
        until("the group to be gone", || !runs(pid)).await;
    }
}

#[tokio::test]
async fn a_cancelled_run_leaves_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!("sleep 600 & echo $$ $! > {0}.new; mv {0}.new {0}; wait", pids.display());
    let harness = SourceHarness::new();
    let source = shell(&script, &[]);
    tokio::select! {
        _ = source.run(&harness.context) => panic!("it ended by itself"),
        () = until("both processes", || pids.exists()) => {}
    }
    for pid in text(&pids).split(' ') {
        until("the group to be gone", || !runs(pid)).await;
    }
}

#[tokio::test]
async fn a_command_that_closes_its_output_and_stays_is_ended() {
    let harness = SourceHarness::new();
    let source = shell("echo bye; exec >&-; exec sleep 600", &[]);
    harness.run(source.as_ref(), harness.until_events(1)).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["bye"]);
}

#[tokio::test]
async fn a_flood_is_taken_at_the_channels_pace_and_ends_at_a_stop() {
    let harness = SourceHarness::with_capacity(1000);
    harness.always(CommitReply::Slow(1));
    let source = shell("yes", &[("batchSize", "1000")]);
    harness.run(source.as_ref(), harness.until_events(20_000)).await.unwrap();
    assert!(harness.events().iter().all(|event| &event.body[..] == b"y"));
}

#[tokio::test]
async fn a_line_without_end_is_split_and_stays_whole_in_sum() {
    let harness = SourceHarness::new();
    let bytes = 2 * EXEC_LINE_BYTES_MAX + 5;
    let source = shell(&format!("head -c {bytes} /dev/zero"), &[]);
    source.run(&harness.context).await.unwrap();
    let sizes: Vec<usize> = harness.events().iter().map(|event| event.body.len()).collect();
    assert_eq!(sizes, [EXEC_LINE_BYTES_MAX, EXEC_LINE_BYTES_MAX, 5]);
}

#[tokio::test]
async fn stderr_never_blocks_the_command() {
    let harness = SourceHarness::new();
    let source = shell("head -c 1000000 /dev/zero >&2; echo done", &[("logStdErr", "true")]);
    source.run(&harness.context).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["done"]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for pairs in [
        &[][..],
        &[("command", " ")],
        &[("command", "x"), ("charset", "UTF-16")],
        &[("command", "x"), ("batchSize", "0")],
        &[("command", "x"), ("restartThrottle", "soon")],
    ] {
        assert!(build(&TYPE, pairs).is_err(), "{pairs:?}");
    }
}

#[tokio::test]
async fn an_unexpected_exit_of_a_command_is_a_fault_and_an_expected_one_is_not() {
    for (script, expected) in [
        ("echo one", None),
        ("echo one; exit 3", Some("exit status: 3")),
        ("nosuchcommand-for-this-test", Some("a command was not found")),
        ("echo one; kill -9 $$", Some("signal: 9")),
        ("timeout 0.1 tail -F /dev/null; true", Some("although it follows a file")),
    ] {
        let harness = SourceHarness::new();
        let source = shell(script, &[]);
        source.run(&harness.context).await.unwrap();
        let fault = harness.context.counters.fault.get();
        match expected {
            None => assert_eq!(fault, None, "{script}"),
            Some(words) => {
                let fault = fault.expect(script);
                assert!(fault.contains(words) && fault.contains("nothing is collected"), "{fault}");
            }
        }
    }
}

#[tokio::test]
async fn lines_in_the_pipe_at_a_stop_with_a_full_channel_are_counted() {
    let harness = SourceHarness::new();
    harness.always(CommitReply::Full);
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    // As much as a pipe holds, in several writes.
    let script = format!("seq 100001 109000; touch {}; sleep 600", done.display());
    let source = shell(&script, &[("batchSize", "10")]);
    let script = async {
        harness.until_tries(1).await;
        until("all to be printed", || done.exists()).await;
    };
    harness.run(source.as_ref(), script).await.unwrap();
    assert_eq!(harness.context.counters.drops.get(DropReason::Stopped), 9000);
}

#[tokio::test]
async fn a_restarted_command_that_succeeds_clears_the_fault() {
    let harness = SourceHarness::new();
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("was-here");
    let script = format!("test -e {0} || {{ touch {0}; exit 3; }}", mark.display());
    let source = shell(&script, &[("restart", "true"), ("restartThrottle", "300")]);
    let counters = &harness.context.counters;
    let script = async {
        until("the fault", || counters.fault.get().is_some()).await;
        until("the end of the fault", || counters.fault.get().is_none()).await;
    };
    harness.run(source.as_ref(), script).await.unwrap();
}
