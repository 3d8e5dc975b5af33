//! Real commands against a false channel.

use super::*;
use crate::source::trial::{Reply, Trial, bodies, build, until};
use std::path::Path;

fn shell(script: &str, more: &[(&str, &str)]) -> Box<dyn Source> {
    let mut pairs = vec![("shell", "/bin/sh -c"), ("command", script)];
    pairs.extend(more);
    build(&TYPE, &pairs).unwrap()
}

/// Whether a process with this number runs, zombies aside.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

#[tokio::test]
async fn each_line_of_the_output_is_an_event_and_the_end_is_the_end() {
    let trial = Trial::new();
    let source = shell(r"printf 'one\ntwo\r\n\n\377\nthree'", &[]);
    source.run(&trial.context).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["one", "two", "", "\u{fffd}", "three"]);
    assert_eq!(&trial.events()[3].body[..], b"\xff", "bytes stay as they were");
    assert!(trial.events().iter().all(|event| event.headers.is_empty()));
    assert_eq!(*trial.context.begun.borrow(), crate::flow::context::Begun::Runs);
}

#[tokio::test]
async fn without_a_shell_the_command_is_split_at_blanks_and_not_quoted() {
    let trial = Trial::new();
    let source = build(&TYPE, &[("command", "printf  %s\\n \"a b\"")]).unwrap();
    source.run(&trial.context).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["\"a", "b\""]);
}

#[tokio::test]
async fn lines_are_committed_in_batches() {
    let trial = Trial::with_capacity(3);
    let source = shell("seq 1 7", &[("batchSize", "5"), ("batchTimeout", "600000")]);
    source.run(&trial.context).await.unwrap();
    assert_eq!(trial.batches(), [3, 3, 1]);
    assert_eq!(bodies(&trial.events()), ["1", "2", "3", "4", "5", "6", "7"]);
}

#[tokio::test]
async fn a_smaller_batch_goes_after_the_timeout() {
    let trial = Trial::new();
    let source = shell("echo one; sleep 600", &[("batchTimeout", "50")]);
    trial.run(source.as_ref(), trial.until_events(1)).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["one"]);
}

#[tokio::test]
async fn lines_wait_while_the_channel_refuses() {
    let trial = Trial::new();
    trial.reply_with([Reply::Full, Reply::Doubt]);
    let source = shell("seq 1 3", &[]);
    source.run(&trial.context).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_command_that_is_not_there_is_named() {
    let trial = Trial::new();
    let source = build(&TYPE, &[("command", "/no/such/command now")]).unwrap();
    let error = source.run(&trial.context).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/command"), "{error}");
}

#[tokio::test]
async fn with_restart_it_runs_again_also_when_it_could_not_start() {
    let trial = Trial::new();
    let source = shell("echo again", &[("restart", "true"), ("restartThrottle", "10")]);
    trial.run(source.as_ref(), trial.until_events(3)).await.unwrap();

    let directory = tempfile::tempdir().unwrap();
    let script = directory.path().join("later.sh");
    let pairs =
        [("command", script.to_str().unwrap()), ("restart", "true"), ("restartThrottle", "10")];
    let source = build(&TYPE, &pairs).unwrap();
    let trial = Trial::new();
    let make = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        // One step: there is no moment in which it is there and cannot be run.
        std::os::unix::fs::symlink("/bin/pwd", &script).unwrap();
        trial.until_events(1).await;
    };
    trial.run(source.as_ref(), make).await.unwrap();
}

#[tokio::test]
async fn what_a_command_leaves_behind_keeps_it_from_running_again_only_while_it_prints() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!(
        "(sleep 0.7; echo late; exec sleep 600) & echo $! >> {}; echo early",
        pids.display()
    );
    let again = [("restart", "true"), ("restartThrottle", "10"), ("batchSize", "1")];
    let trial = Trial::new();
    trial.run(&*shell(&script, &again), trial.until_events(3)).await.unwrap();
    assert_eq!(bodies(&trial.events())[..3], ["early", "late", "early"]);
    let first = text(&pids).lines().next().unwrap().to_owned();
    until("what it left behind to be gone", || !runs(&first)).await;

    // Without `restart` its output is its source's as long as somebody has it, as in Flume.
    let trial = Trial::new();
    let source = shell("(sleep 2.5; echo late) & echo early", &[]);
    source.run(&trial.context).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["early", "late"]);
}

#[tokio::test]
async fn stopping_ends_the_whole_group_and_keeps_what_it_printed() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!(
        "echo first; sleep 600 & echo last; echo $$ $! > {0}.new; mv {0}.new {0}; wait",
        pids.display()
    );
    let trial = Trial::new();
    let source = shell(&script, &[("batchTimeout", "600000")]);
    let ready = until("both processes", || pids.exists());
    trial.run(source.as_ref(), ready).await.unwrap();
    for pid in text(&pids).split(' ') {
        until("the group to be gone", || !runs(pid)).await;
    }
    assert_eq!(bodies(&trial.events()), ["first", "last"]);
}

/// A full channel answers only after its keep-alive, which may be longer than the command's grace.
#[tokio::test]
async fn a_commit_that_outlasts_the_grace_of_a_stopping_command_is_not_cut_off() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready");
    let script = format!(
        "trap 'echo 3; exit' TERM; echo 1; echo 2; : > {}; while :; do sleep 0.05; done",
        ready.display()
    );
    let trial = Trial::new();
    trial.always(Reply::Slow(STOP_GRACE.as_millis() as u64 + 200));
    let source = shell(&script, &[("batchSize", "3"), ("batchTimeout", "600000")]);
    trial.run(source.as_ref(), until("its start", || ready.exists())).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["1", "2", "3"]);
}

/// A stop asks the channel once more for what has gathered, and not once for every line behind it.
#[tokio::test]
async fn a_flood_ends_when_told_although_the_channel_takes_nothing() {
    let trial = Trial::new();
    trial.always(Reply::Full);
    let source = shell("trap '' TERM; while :; do echo y; done", &[("batchSize", "1")]);
    trial.run(source.as_ref(), trial.until_tries(1)).await.unwrap();
    assert!(trial.tries() < 10, "{} commits", trial.tries());
}

#[tokio::test]
async fn a_command_that_ignores_the_signal_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let pid = directory.path().join("pid");
    let script = format!(
        "trap '' TERM; echo $$ > {0}.new; mv {0}.new {0}; while :; do sleep 0.1; done",
        pid.display()
    );
    let trial = Trial::new();
    let source = shell(&script, &[]);
    trial.run(source.as_ref(), until("its start", || pid.exists())).await.unwrap();
    assert!(!runs(&text(&pid)));
}

#[tokio::test]
async fn a_member_of_the_group_that_ignores_the_signal_goes_too() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    // The shell ends by the signal, its child does not and has let go of the output.
    let script = format!(
        "(trap '' TERM; exec sleep 600 >&- 2>&-) & echo $$ $! > {0}.new; mv {0}.new {0}; wait",
        pids.display()
    );
    let trial = Trial::new();
    let source = shell(&script, &[]);
    trial.run(source.as_ref(), until("both processes", || pids.exists())).await.unwrap();
    for pid in text(&pids).split(' ') {
        until("the group to be gone", || !runs(pid)).await;
    }
}

#[tokio::test]
async fn a_run_that_is_given_up_leaves_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let pids = directory.path().join("pids");
    let script = format!("sleep 600 & echo $$ $! > {0}.new; mv {0}.new {0}; wait", pids.display());
    let trial = Trial::new();
    let source = shell(&script, &[]);
    tokio::select! {
        _ = source.run(&trial.context) => panic!("it ended by itself"),
        () = until("both processes", || pids.exists()) => {}
    }
    for pid in text(&pids).split(' ') {
        until("the group to be gone", || !runs(pid)).await;
    }
}

#[tokio::test]
async fn a_command_that_closes_its_output_and_stays_is_ended() {
    let trial = Trial::new();
    let source = shell("echo bye; exec >&-; exec sleep 600", &[]);
    trial.run(source.as_ref(), trial.until_events(1)).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["bye"]);
}

#[tokio::test]
async fn a_flood_is_taken_at_the_channels_pace_and_ends_when_told() {
    let trial = Trial::with_capacity(1000);
    trial.always(Reply::Slow(1));
    let source = shell("yes", &[("batchSize", "1000")]);
    trial.run(source.as_ref(), trial.until_events(20_000)).await.unwrap();
    assert!(trial.events().iter().all(|event| &event.body[..] == b"y"));
}

#[tokio::test]
async fn a_line_without_end_is_split_and_stays_whole_in_sum() {
    let trial = Trial::new();
    let bytes = 2 * EXEC_LINE_BYTES_MAX + 5;
    let source = shell(&format!("head -c {bytes} /dev/zero"), &[]);
    source.run(&trial.context).await.unwrap();
    let sizes: Vec<usize> = trial.events().iter().map(|event| event.body.len()).collect();
    assert_eq!(sizes, [EXEC_LINE_BYTES_MAX, EXEC_LINE_BYTES_MAX, 5]);
}

#[tokio::test]
async fn stderr_never_blocks_the_command() {
    let trial = Trial::new();
    let source = shell("head -c 1000000 /dev/zero >&2; echo done", &[("logStdErr", "true")]);
    source.run(&trial.context).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["done"]);
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
async fn a_command_that_should_not_have_ended_so_is_a_fault_and_one_that_is_done_is_none() {
    for (script, expected) in [
        ("echo one", None),
        ("echo one; exit 3", Some("exit status: 3")),
        ("nosuchcommand-for-this-test", Some("a command was not found")),
        ("echo one; kill -9 $$", Some("signal: 9")),
        ("timeout 0.1 tail -F /dev/null; true", Some("although it follows a file")),
    ] {
        let trial = Trial::new();
        let source = shell(script, &[]);
        source.run(&trial.context).await.unwrap();
        let fault = trial.context.counters.fault.get();
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
async fn what_waits_in_the_pipe_at_a_stop_with_a_full_channel_is_counted() {
    let trial = Trial::new();
    trial.always(Reply::Full);
    let directory = tempfile::tempdir().unwrap();
    let done = directory.path().join("done");
    // As much as a pipe holds, in several writes.
    let script = format!("seq 100001 109000; touch {}; sleep 600", done.display());
    let source = shell(&script, &[("batchSize", "10")]);
    let script = async {
        trial.until_tries(1).await;
        until("all to be printed", || done.exists()).await;
    };
    trial.run(source.as_ref(), script).await.unwrap();
    assert_eq!(trial.context.counters.drops.get(DropReason::Stopped), 9000);
}

#[tokio::test]
async fn a_command_that_ends_well_when_it_runs_again_is_no_fault_any_more() {
    let trial = Trial::new();
    let directory = tempfile::tempdir().unwrap();
    let mark = directory.path().join("was-here");
    let script = format!("test -e {0} || {{ touch {0}; exit 3; }}", mark.display());
    let source = shell(&script, &[("restart", "true"), ("restartThrottle", "300")]);
    let counters = &trial.context.counters;
    let script = async {
        until("the fault", || counters.fault.get().is_some()).await;
        until("the end of the fault", || counters.fault.get().is_none()).await;
    };
    trial.run(source.as_ref(), script).await.unwrap();
}
