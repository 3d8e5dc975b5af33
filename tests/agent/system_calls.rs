//! Every system call that touches the channel's files fails once, at each of its occurrences, with
//! each error that a kernel may give: the process neither panics nor hangs, says what failed, and
//! nothing that was answered is gone or comes twice. `strace` makes the calls fail.
//!
//! A normal run takes a part, from an offset that is new each time; `MILLPOND_CALLS=whole` takes all,
//! a number about that many.

use super::process::{DEADLINE, run, run_expecting};
use millpond::base::clock::{Clock, SystemClock};
use millpond::base::threads;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

/// Segments of two blocks each: rolls, new files and recycling within a few transactions.
const CONFIGURATION: &str = "a.channels=c\na.sinks=k\na.sinks.k.type=null\na.sinks.k.channel=c\n\
    a.channels.c.type=file\na.channels.c.checkpointDir=cp\na.channels.c.dataDirs=d1,d2\n\
    a.channels.c.maxFileSize=16384\na.channels.c.minimumRequiredSpace=1048576\n\
    a.channels.c.checkpointInterval=1000\na.channels.c.keep-alive=1\n";

const LINES: usize = 60;
const BATCH: usize = 5;

/// Failures tried of each command in a normal run.
const PART: usize = 24;

const CALLS: [&str; 14] = [
    "openat",
    "pread64",
    "pwrite64",
    "fdatasync",
    "fsync",
    "ftruncate",
    "fallocate",
    "unlinkat",
    "mkdir",
    "fcntl",
    "flock",
    "fstatfs",
    "fstat",
    "getdents64",
];

/// Bad sector, full disk, a signal, a call that would block.
const ERRORS: [&str; 4] = ["EIO", "ENOSPC", "EINTR", "EAGAIN"];

const DIRECTORIES: [&str; 3] = ["cp", "d1", "d2"];

fn words(command: &str) -> Vec<&str> {
    let more = if command == "check" { &[][..] } else { &["--batch", "5"] };
    [&["channel", command, "-n", "a", "-f", "a.conf", "--channel", "c"][..], more].concat()
}

fn line(number: usize) -> String {
    format!("line {number} {}\n", "x".repeat(400))
}

fn lines(from: usize, to: usize) -> String {
    (from..to).map(line).collect()
}

/// The command of `strace` that sees the calls on the channel's files in `directories` only.
fn strace(top: &Path, command: &str, directories: &[&str], options: &[String]) -> Command {
    let mut strace = Command::new("strace");
    strace.current_dir(top).args(["-f", "-qqq", "-o", "trace"]);
    let names = ["", "/member", "/checkpoint", "/in_use.lock"].map(str::to_owned);
    let segments = (0..10).map(|slot| format!("/segment-{slot:05}.log"));
    let names: Vec<String> = names.into_iter().chain(segments).collect();
    for directory in directories {
        strace.args(["-P", directory]);
        for name in &names {
            strace.arg("-P").arg(format!("{}/{directory}{name}", top.display()));
        }
    }
    strace.args(options).arg(env!("CARGO_BIN_EXE_millpond")).args(words(command)).arg("--acks");
    strace.env_remove("JAVA_OPTS").env_remove("FLUME_JAVA_OPTS").env_remove("MILLPOND_LOG");
    strace.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    strace
}

/// What a command did while something failed.
struct Ended {
    status: ExitStatus,
    stdout: String,
    stderr: String,
    took: Duration,
}

/// Reads a pipe to its end on a thread of its own.
fn all_of(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = mpsc::channel();
    let read = move || {
        let mut text = Vec::new();
        // What was read before a broken pipe is all there is. A test that failed does not listen.
        let _ = pipe.read_to_end(&mut text);
        let _ = tell.send(String::from_utf8_lossy(&text).into_owned());
    };
    threads::spawn("reader", read).expect("a thread");
    told
}

fn wait(child: &mut Child, clock: &SystemClock) -> ExitStatus {
    loop {
        if let Some(status) = child.try_wait().expect("waited for") {
            return status;
        }
        if clock.now() > DEADLINE {
            let _ = child.kill();
            panic!("it hangs");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn under_strace(top: &Path, command: &str, directories: &[&str], options: &[String]) -> Ended {
    let clock = SystemClock::new();
    let mut child = strace(top, command, directories, options).spawn().expect("strace starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let stdout = all_of(child.stdout.take().expect("a pipe"));
    let stderr = all_of(child.stderr.take().expect("a pipe"));
    let input = if command == "put" { lines(0, LINES) } else { String::new() };
    // A command that ends early closes its stdin.
    let write = move || drop(stdin.write_all(input.as_bytes()));
    let writer = threads::spawn("writer", write).expect("a thread");
    let status = wait(&mut child, &clock);
    let took = clock.now();
    writer.join().expect("written");
    let text = |told: Receiver<String>| told.recv().expect("read");
    Ended { status, stdout: text(stdout), stderr: text(stderr), took }
}

/// A call that fails: which, its occurrence on a thread, and how.
#[derive(Clone, Debug)]
struct Failure {
    call: &'static str,
    occurrence: usize,
    error: &'static str,
}

impl Failure {
    fn option(&self) -> [String; 4] {
        let Self { call, occurrence, error } = self;
        let inject = format!("inject={call}:error={error}:when={occurrence}");
        ["-e".to_owned(), format!("trace={call}"), "-e".to_owned(), inject]
    }
}

/// Every failure of every call that the command makes when nothing fails.
fn failures(top: &Path, command: &str) -> Vec<Failure> {
    let trace = ["-e".to_owned(), format!("trace={}", CALLS.join(","))];
    let sound = under_strace(top, command, &DIRECTORIES, &trace);
    assert!(sound.status.success(), "{command} without failures: {}", sound.stderr);
    let text = std::fs::read_to_string(top.join("trace")).expect("a trace");
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in text.lines() {
        let Some((thread, call)) = line.split_once(char::is_whitespace) else { continue };
        let name = call.trim_start().split('(').next().unwrap_or_default();
        *counts.entry((thread, name)).or_default() += 1;
    }
    let mut all = Vec::new();
    for call in CALLS {
        let of = counts.iter().filter(|((_, name), _)| *name == call).map(|(_, count)| *count);
        for occurrence in 1..=of.max().unwrap_or(0) {
            all.extend(ERRORS.map(|error| Failure { call, occurrence, error }));
        }
    }
    assert!(all.len() > 200, "{command}: only {} failures, was anything traced?", all.len());
    all
}

/// The part of them for this run.
fn chosen(all: Vec<Failure>) -> Vec<Failure> {
    let asked = std::env::var("MILLPOND_CALLS").unwrap_or_default();
    if asked == "whole" {
        return all;
    }
    let step = all.len().div_ceil(asked.parse().unwrap_or(PART)) | 1;
    let offset = RandomState::new().hash_one(0u8) as usize % step;
    all.into_iter().skip(offset).step_by(step).collect()
}

fn committed(text: &str) -> usize {
    let counts = text.lines().filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
    counts.fold(0, |_, count| count)
}

/// A directory with the configuration, and a channel with [`LINES`] events if `filled`.
fn prepared(filled: bool) -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("a.conf"), CONFIGURATION).expect("a configuration");
    if filled {
        run_expecting(directory.path(), &words("put"), lines(0, LINES).as_bytes(), 0);
    }
    directory
}

/// However it ended, it ended by itself and said why.
fn judge_end(ended: &Ended) -> Result<(), String> {
    let said = &ended.stderr;
    match ended.status.code() {
        Some(0) => {}
        Some(1) if said.contains("millpond: ") => {}
        _ => return Err(format!("ended with {:?}: {said}", ended.status)),
    }
    if said.contains("panicked") { Err(format!("a panic: {said}")) } else { Ok(()) }
}

/// What a sound process finds afterwards: no damage, and the events that are left.
fn rest(top: &Path) -> Result<String, String> {
    let sound = |command: &str| {
        let output = run(top, &words(command), b"");
        match output.status.code() {
            Some(0) => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
            _ => Err(format!("{command} afterwards: {}", String::from_utf8_lossy(&output.stderr))),
        }
    };
    sound("check")?;
    let left = sound("take")?;
    sound("check")?;
    Ok(left)
}

fn put_fails_once(failure: &Failure) -> Result<Duration, String> {
    let directory = prepared(false);
    let top = directory.path();
    let ended = under_strace(top, "put", &DIRECTORIES, &failure.option());
    judge_end(&ended)?;
    let answered = committed(&ended.stdout);
    if ended.status.success() && answered != LINES {
        return Err(format!("done, and only {answered} lines were answered"));
    }
    let found = rest(top)?;
    let count = found.lines().count();
    // What was in doubt may be there, whole.
    let whole = count == answered || count == answered + BATCH;
    if !whole || found != lines(0, count) {
        return Err(format!(
            "{answered} lines were answered, {count} are there:\n{}",
            ended.stderr
        ));
    }
    Ok(ended.took)
}

fn take_fails_once(failure: &Failure) -> Result<Duration, String> {
    let directory = prepared(true);
    let top = directory.path();
    let ended = under_strace(top, "take", &DIRECTORIES, &failure.option());
    judge_end(&ended)?;
    // Events of a disk that failed come when it is back, so the order is not what it was.
    let given: Vec<&str> = ended.stdout.lines().collect();
    let answered = committed(&ended.stderr);
    if given.len() < answered {
        return Err(format!("{} lines came, {answered} were answered", given.len()));
    }
    if ended.status.success() && answered != LINES {
        return Err(format!("done, and only {answered} lines were answered: {}", ended.stderr));
    }
    let found = rest(top)?;
    let left: BTreeSet<&str> = found.lines().collect();
    if let Some(line) = given[..answered].iter().find(|line| left.contains(*line)) {
        return Err(format!("{line} was answered and comes again: {}", ended.stderr));
    }
    let both: BTreeSet<&str> = given.iter().copied().chain(found.lines()).collect();
    let (all, doubled) = (lines(0, LINES), given.iter().collect::<BTreeSet<_>>().len());
    let whole = both == all.lines().collect() && left.len() == found.lines().count();
    if !whole || doubled != given.len() {
        return Err(format!("{} and {} lines came: {}", given.len(), left.len(), ended.stderr));
    }
    Ok(ended.took)
}

#[allow(clippy::print_stderr)] // said aloud: a test that is left out must be seen
fn can_trace() -> bool {
    let probe = Command::new("strace").args(["-f", "-qqq", "-o", "/dev/null", "true"]).output();
    let can = probe.is_ok_and(|output| output.status.success());
    if !can {
        // Shown by `cargo test -- --nocapture`, and looked for by .ci/run.
        eprintln!("left out system_calls: strace is not there or may not trace");
    }
    can
}

#[allow(clippy::print_stdout)] // what was tried is meant for who runs it
fn each(command: &str, filled: bool, judge: impl Fn(&Failure) -> Result<Duration, String>) {
    if !can_trace() {
        return;
    }
    let all = failures(prepared(filled).path(), command);
    let (count, chosen) = (all.len(), chosen(all));
    let (mut slowest, mut wrong) = (Duration::ZERO, Vec::new());
    for failure in &chosen {
        match judge(failure) {
            Ok(took) => slowest = slowest.max(took),
            Err(words) => wrong.push(format!("{failure:?}: {words}")),
        }
    }
    println!("{command}: {} of {count} failures tried, the slowest took {slowest:?}", chosen.len());
    assert!(wrong.is_empty(), "{} of {}: {wrong:#?}", wrong.len(), chosen.len());
}

#[test]
fn a_put_whose_system_calls_fail_once_loses_nothing_that_was_answered() {
    each("put", false, put_fails_once);
}

#[test]
fn a_take_whose_system_calls_fail_once_repeats_nothing_that_was_answered() {
    each("take", true, take_fails_once);
}

/// As on a disk with bad sectors.
#[test]
fn a_directory_that_cannot_be_read_is_named_nothing_is_given_up_and_the_other_goes_on() {
    if !can_trace() {
        return;
    }
    let directory = prepared(true);
    let top = directory.path();
    let bad = ["-e", "trace=pread64", "-e", "inject=pread64:error=EIO"].map(str::to_owned);
    let refused = under_strace(top, "take", &["d2"], &bad);
    let said = &refused.stderr;
    assert_eq!((refused.status.code(), &refused.stdout[..]), (Some(1), ""), "{said}");
    assert!(said.contains("d2") && said.contains("Input/output error"), "{said}");

    let degraded = CONFIGURATION.to_owned() + "a.channels.c.openDegraded=true\n";
    std::fs::write(top.join("a.conf"), degraded).expect("written");
    let other = under_strace(top, "take", &["d2"], &bad);
    assert_eq!(other.status.code(), Some(0), "{}", other.stderr);
    let count = other.stdout.lines().count();
    assert!(0 < count && count < LINES, "{count} lines of the other directory");

    std::fs::write(top.join("a.conf"), CONFIGURATION).expect("written");
    let rest = run_expecting(top, &words("take"), b"", 0);
    let mut all: Vec<&str> = other.stdout.lines().chain(rest.lines()).collect();
    all.sort_by_key(|l| l.split(' ').nth(1).and_then(|n| n.parse::<usize>().ok()));
    assert!(all.iter().copied().eq(lines(0, LINES).lines()), "{} lines in all", all.len());
    run_expecting(top, &words("check"), b"", 0);
}
