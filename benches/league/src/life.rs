//! One process with one store, from its start to its end or its kill.

use crate::bench::Bench;
use crate::ledger::Ledger;
use crate::worker::NOT_OPEN;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

/// What a process is started for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Order<'a> {
    pub(crate) engine: &'a str,
    pub(crate) dir: &'a Path,
    pub(crate) verb: &'a str,
    pub(crate) seed: u64,
    pub(crate) times: u64,
    /// Variables for the layer between it and the disk; empty: it runs without.
    pub(crate) shim: &'a [(&'static str, String)],
}

/// When to end it from outside.
pub(crate) enum Until<'a> {
    Itself,
    /// This long after its start, or after its store was opened.
    Killed {
        after: Duration,
        open: bool,
    },
    /// When it reports this phase, this is called, and the process is notified to continue. `false`: it is killed
    /// instead.
    Phase(&'a str, &'a mut dyn FnMut() -> bool),
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum End {
    Finished,
    /// The engine refused to open its store, with this message.
    NotOpen,
    Killed,
    /// It was silent for too long, and was killed.
    Hung,
    /// It ended by itself and should not have.
    Died(String),
}

/// What was observed of it.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) opened: bool,
    pub(crate) end: End,
    /// Errors that the engine returned, as text.
    pub(crate) errors: Vec<String>,
    /// Of those, the ones of puts.
    pub(crate) refused: u64,
    /// Errors of takes.
    pub(crate) untaken: u64,
    /// Events that the engine counts as damaged.
    pub(crate) damaged: u64,
    /// Whether its last put was acknowledged.
    pub(crate) last_kept: bool,
    /// Warnings and errors on stderr, without figures.
    pub(crate) warnings: BTreeSet<String>,
}

impl Life {
    /// Whether it reports a problem, beyond what it reports for a sound store.
    pub(crate) fn complains(&self, usual: &BTreeSet<String>) -> bool {
        let answered = !self.errors.is_empty() || self.damaged > 0 || self.end != End::Finished;
        answered || !self.warnings.is_subset(usual)
    }

    /// Returns its first message, for the notes.
    pub(crate) fn first_words(&self) -> Option<String> {
        match &self.end {
            End::Died(words) => Some(words.clone()),
            End::Hung => Some("it said nothing for too long and was killed".to_owned()),
            _ => self.errors.first().cloned(),
        }
    }

    fn hear(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "open" => self.opened = true,
            "kept" => self.last_kept = true,
            "not" => {
                self.last_kept = false;
                self.refused += 1;
            }
            "untaken" => self.untaken += 1,
            "damaged" => self.damaged = rest.parse().unwrap_or(0),
            _ => {}
        }
        if matches!(word, "not" | "untaken" | "fails") {
            self.errors.push(rest.to_owned());
        }
    }
}

/// Starts it, records its output, waits for its end.
pub(crate) fn live(
    bench: &Bench,
    order: &Order<'_>,
    ledger: &mut Ledger,
    until: Until<'_>,
) -> Life {
    ledger.begin_life();
    let mut life = Life {
        opened: false,
        end: End::Finished,
        errors: Vec::new(),
        refused: 0,
        untaken: 0,
        damaged: 0,
        last_kept: false,
        warnings: BTreeSet::new(),
    };
    let voice = bench.root.join("stderr");
    let child = File::create(&voice).and_then(|stderr| {
        let mut command = bench.command(order, ledger.next());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(stderr).spawn()
    });
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            life.end = End::Died(format!("it could not be started: {error}"));
            return life;
        }
    };
    let stdin = child.stdin.take();
    let lines = listen(&mut child);
    let asked = follow(&lines, stdin, bench.patience(order.engine), &mut life, ledger, until);
    if asked.is_some() {
        let _ = child.kill();
    }
    // What it wrote before the kill is in the pipe.
    for line in lines.iter() {
        life.hear(&line);
        ledger.note(&line);
    }
    let status = child.wait();
    let text = std::fs::read(&voice).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    let text = text.unwrap_or_default();
    life.warnings = warnings(&text);
    life.end = asked.unwrap_or_else(|| status.map_or(End::Hung, |status| ended(status, &text)));
    life
}

/// Whole lines only: a line cut by a kill does not count.
fn listen(child: &mut Child) -> Receiver<String> {
    let (send, receive) = mpsc::channel();
    if let Some(stdout) = child.stdout.take() {
        std::thread::spawn(move || {
            let mut stdout = BufReader::new(stdout);
            let mut line = String::new();
            while stdout.read_line(&mut line).is_ok_and(|len| len > 0) && line.ends_with('\n') {
                if send.send(line.trim_end().to_owned()).is_err() {
                    return;
                }
                line.clear();
            }
        });
    }
    receive
}

/// Records output until the end (`None`) or until it has to be killed.
fn follow(
    lines: &Receiver<String>,
    mut stdin: Option<ChildStdin>,
    patience: Duration,
    life: &mut Life,
    ledger: &mut Ledger,
    mut until: Until<'_>,
) -> Option<End> {
    let mut kill_at = match until {
        Until::Killed { after, open: false } => Some(Instant::now() + after),
        _ => None,
    };
    loop {
        let left = kill_at.map(|at| at.saturating_duration_since(Instant::now()));
        match lines.recv_timeout(left.unwrap_or(patience).min(patience)) {
            Ok(line) => {
                life.hear(&line);
                ledger.note(&line);
                match &mut until {
                    Until::Killed { after, open: true } if line == "open" => {
                        kill_at = Some(Instant::now() + *after);
                    }
                    Until::Phase(phase, act) if line.strip_prefix("phase ") == Some(*phase) => {
                        if !act() {
                            return Some(End::Killed);
                        }
                        if let Some(stdin) = stdin.as_mut() {
                            let _ = stdin.write_all(b"go on\n");
                        }
                    }
                    _ => {}
                }
            }
            Err(RecvTimeoutError::Disconnected) => return None,
            Err(RecvTimeoutError::Timeout) if left.is_some_and(|left| left <= patience) => {
                return Some(End::Killed);
            }
            Err(RecvTimeoutError::Timeout) => return Some(End::Hung),
        }
        if kill_at.is_some_and(|at| at <= Instant::now()) {
            return Some(End::Killed);
        }
    }
}

fn ended(status: ExitStatus, stderr: &str) -> End {
    match status.code() {
        Some(0) => End::Finished,
        Some(code) if code == i32::from(NOT_OPEN) => End::NotOpen,
        code => {
            let how = match (code, status.signal()) {
                (Some(code), _) => format!("exit code {code}"),
                (None, signal) => format!("signal {}", signal.unwrap_or(0)),
            };
            let mut words = stderr.lines().skip_while(|line| !line.contains("panicked at"));
            let panic = words.next().map(|_| words.next().unwrap_or_default());
            let last = stderr.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
            End::Died(format!("{how}: {}", panic.unwrap_or(last)))
        }
    }
}

fn warnings(stderr: &str) -> BTreeSet<String> {
    let loud =
        |line: &&str| ["WARN", "ERROR", "panicked", "xception"].iter().any(|w| line.contains(w));
    let plain = |line: &str| line.replace(|c: char| c.is_ascii_digit(), "#");
    stderr.lines().filter(loud).map(plain).collect()
}
