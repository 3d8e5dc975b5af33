//! `exec`: reads the lines that a command prints.
//!
//! Limits: [`EXEC_LINE_BYTES_MAX`] a line, `batchSize` lines or [`EXEC_BATCH_BYTES_MAX`] a batch.
//!
//! The command runs in a process group of its own. Its output is split into lines as by Java's `BufferedReader`
//! (`\n`, `\r`, `\r\n`) and committed when a batch is full or `batchTimeout` has passed since the last commit. While
//! the channel refuses, nothing is read and the command blocks on its pipe. At the end of the output the rest is
//! committed.
//!
//! With `restart` the command runs again after `restartThrottle`. Its output then also counts as ended when the
//! command has exited, a process that it started holds the pipe open, and nothing has come for [`LEFT_OPEN`]; that
//! process is killed.
//!
//! A command that exits with a status other than 0, by a signal, or although it follows a file or log (`tail -F`)
//! puts the source at fault until it runs again and prints something, has run for 10 s, or succeeds. To stop, the
//! group gets SIGTERM, its output is read for [`STOP_GRACE`], then it gets SIGKILL.
//!
//! Invariants: bodies are the command's bytes, whatever `charset` says, because Flume decodes and encodes with the
//! same charset; no process of the group outlives the source unless it left the group.

mod exit;
mod lines;

#[cfg(test)]
mod tests;

use super::commit_retry::{self, RetryOutcome, rest};
use lines::ExecLines;
use millpond::{BoxFuture, Event};
use millpond_flow::base::limits::{EXEC_BATCH_BYTES_MAX, EXEC_LINE_BYTES_MAX};
use millpond_flow::codes;
use millpond_flow::metrics::DropReason;
use millpond_flow::process::{self, ExitStatusError, Pipes, Process, StderrMode};
use millpond_flow::settings::{Key, KeyKind, SettingError, Settings, SettingsReader};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use millpond_flow::wire::charset::Charset;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::process::ChildStdout;
use tokio::time::{Instant, sleep_until, timeout_at};

/// The type `exec`.
pub const TYPE: SourceType =
    SourceType { names: &["exec", "org.apache.flume.source.ExecSource"], keys: KEYS, build };

const KEYS: &[Key] = &[
    Key {
        name: "command",
        kind: KeyKind::Text,
        default: "",
        meaning: "What to run. Without shell it is split at blanks, with no quoting.",
    },
    Key {
        name: "shell",
        kind: KeyKind::Text,
        default: "",
        meaning: "A shell that gets the command as its last argument, such as /bin/sh -c.",
    },
    Key {
        name: "restart",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Run the command again when it has ended.",
    },
    Key {
        name: "restartThrottle",
        kind: KeyKind::Number,
        default: "10000",
        meaning: "Milliseconds before it runs again.",
    },
    Key {
        name: "logStdErr",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Log what the command prints to stderr, which is read in any case.",
    },
    Key {
        name: "batchSize",
        kind: KeyKind::Number,
        default: "20",
        meaning: "Lines per transaction; at most the channel's transactionCapacity are used.",
    },
    Key {
        name: "batchTimeout",
        kind: KeyKind::Number,
        default: "3000",
        meaning: "Milliseconds since the last commit after which a smaller batch is committed.",
    },
    Key {
        name: "charset",
        kind: KeyKind::Word,
        default: "UTF-8",
        meaning: "Encoding of the output; it must extend ASCII. Bodies keep the command's bytes.",
    },
];

/// Bytes per read from the command.
const READ_BYTES: usize = 64 * 1024;
/// How long the output of a stopped command is still read.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long a command may take to exit after its output has ended, before SIGTERM and again after it.
const END_GRACE: Duration = Duration::from_secs(1);
/// Interval of the check whether a command with `restart` has exited.
const EXIT_LOOK: Duration = Duration::from_millis(500);
/// How long processes that an exited command left running may be silent, with `restart`.
const LEFT_OPEN: Duration = Duration::from_secs(1);
/// Run time after which a command no longer counts as a fault, even if it prints nothing.
const RUNS_WELL: Duration = Duration::from_secs(10);

struct ExecSource {
    words: Vec<String>,
    restart: Option<Duration>,
    log_stderr: bool,
    batch_events: usize,
    batch_timeout: Duration,
}

/// Returns whether the command of these settings follows a file or log and so should never end.
#[must_use]
pub fn follows(settings: &Settings) -> bool {
    let words = process::words(&SettingsReader::new(settings));
    words.is_ok_and(|words| exit::follows(&words))
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Box<dyn Source>, SettingError> {
    let words = process::words(reader)?;
    let charset = reader.text("charset").unwrap_or("UTF-8");
    if Charset::named(charset).is_none() {
        let message = format!("\"{charset}\" is not {}", Charset::LEGAL);
        return Err(reader.error("charset", message));
    }
    let throttle = reader.millis("restartThrottle", 0..=u64::from(u32::MAX))?;
    let restart = reader.boolean("restart", false);
    Ok(Box::new(ExecSource {
        words,
        restart: restart.then(|| throttle.unwrap_or(Duration::from_secs(10))),
        log_stderr: reader.boolean("logStdErr", false),
        batch_events: reader.number("batchSize", 1..=1_000_000)?.unwrap_or(20),
        batch_timeout: reader
            .millis("batchTimeout", 0..=u64::from(u32::MAX))?
            .unwrap_or(Duration::from_secs(3)),
    }))
}

impl Source for ExecSource {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            loop {
                let ran = self.run_once(context).await;
                if context.stop.fired() {
                    return Ok(());
                }
                // Without `restart` the flow still retries a command that cannot start.
                let Some(throttle) = self.restart else { return ran };
                if let Err(error) = ran {
                    tracing::error!(code = %codes::COMMAND_NOT_RUN, source = %context.name, %error, "the command does not run");
                }
                tracing::info!(source = %context.name, after = ?throttle, "running the command again");
                rest(context, throttle).await;
                if context.stop.fired() {
                    return Ok(());
                }
            }
        })
    }
}

impl ExecSource {
    async fn run_once(&self, context: &SourceContext) -> Result<(), Failure> {
        let stderr = match self.log_stderr {
            true => StderrMode::Numbered(context.name.clone()),
            false => StderrMode::Discarded,
        };
        // Its stdin is open and never written, as in Flume: a command that reads it waits.
        let (process, Pipes { stdin: _stdin, stdout }) = Process::start(&self.words, stderr)?;
        context.started();
        let most = self.batch_events.min(context.intake.transaction_capacity()).max(1);
        let mut reading = CommandRun {
            context,
            most,
            every: self.batch_timeout,
            lines: ExecLines::new(EXEC_LINE_BYTES_MAX),
            batch: Vec::new(),
            batch_bytes: 0,
            pushed: Instant::now(),
            kill_at: None,
            left_over: 0,
            not_kept: 0,
            runs_again: self.restart.is_some(),
            left_open: false,
        };
        let read = reading.until_end(stdout, &process).await;
        let (kill_at, not_kept, left_open) = (reading.kill_at, reading.not_kept, reading.left_open);
        let flushed = reading.finish().await;
        let stopping = context.stop.fired();
        let grace = kill_at.map_or(END_GRACE, |at| at.saturating_duration_since(Instant::now()));
        let ended = process.end(stopping || left_open, grace).await;
        if !stopping {
            self.report_end(context, ended);
        }
        let lost = not_kept + if let RetryOutcome::Stopped(left) = flushed { left } else { 0 };
        if lost > 0 {
            context.counters.drops.add(DropReason::Stopped, lost as u64);
            tracing::warn!(source = %context.name, events = lost,
                "stopped while the channel took nothing; the command's last lines are lost");
        }
        read
    }

    /// Logs the end of the command, and reports a fault of the source if the command should not have ended so.
    fn report_end(&self, context: &SourceContext, ended: Result<ExitStatus, ExitStatusError>) {
        let program = self.words.first().map_or("", String::as_str);
        let next = match self.restart {
            Some(throttle) => format!("it runs again in {} s", throttle.as_secs_f64()),
            None => {
                "nothing is collected until the source is started again; see restart".to_owned()
            }
        };
        let (status, fault) = match ended {
            Ok(status) => (Some(status), exit::fault(&self.words, Some(status))),
            Err(ExitStatusError::Unknown(_)) => (None, None),
            Err(left @ ExitStatusError::NotReaped { .. }) => {
                (None, Some(format!("the command's output has ended, and {left}")))
            }
        };
        match fault {
            Some(fault) => {
                tracing::warn!(source = %context.name, program, "{fault}; {next}");
                context.counters.fault.set(format!("{fault}; {next}"));
            }
            None => {
                context.counters.fault.clear();
                let status = status.map_or_else(|| "unknown".to_owned(), |s| s.to_string());
                tracing::info!(source = %context.name, program, %status, "the command ended");
            }
        }
    }
}

/// The reading side of one run of the command.
struct CommandRun<'a> {
    context: &'a SourceContext,
    most: usize,
    every: Duration,
    lines: ExecLines,
    batch: Vec<Event>,
    batch_bytes: usize,
    /// Time of the last commit.
    pushed: Instant,
    /// End of the grace period; set once the command was asked to stop.
    kill_at: Option<Instant>,
    /// Events that the channel refused while the source was stopping.
    left_over: usize,
    /// Lines after those for which there was no room: counted and lost.
    not_kept: usize,
    /// The command is restarted after its exit.
    runs_again: bool,
    /// The command has exited while a process that it started held its output open in silence.
    left_open: bool,
}

impl CommandRun<'_> {
    /// Reads until the output ends, or until the grace period of a stop is over.
    async fn until_end(
        &mut self,
        mut stdout: ChildStdout,
        process: &Process,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; READ_BYTES];
        let (runs_well_at, mut runs_well) = (Instant::now() + RUNS_WELL, false);
        // Time of the next exit check, and the end of the allowed silence after the exit.
        let (mut look_at, mut silent_until) = (Instant::now() + EXIT_LOOK, None);
        loop {
            let due = self.pushed + self.every;
            let read = tokio::select! {
                // Available output is read before the end of reading is considered.
                biased;
                () = self.context.stop.wait() => break,
                () = sleep_until(runs_well_at), if !runs_well => {
                    runs_well = true;
                    self.context.counters.fault.clear();
                    continue;
                }
                () = sleep_until(due), if !self.batch.is_empty() => {
                    self.push().await;
                    continue;
                }
                read = stdout.read(&mut buffer) => read,
                () = sleep_until(silent_until.unwrap_or(look_at)), if self.runs_again => {
                    if silent_until.is_some() {
                        self.left_open = true;
                        tracing::info!(source = %self.context.name, "the command has exited; processes that it left running print nothing and are killed");
                        return Ok(());
                    }
                    look_at = Instant::now() + EXIT_LOOK;
                    silent_until = process.has_exited().then(|| Instant::now() + LEFT_OPEN);
                    continue;
                }
            };
            match read {
                Ok(0) => return Ok(()),
                Ok(n) => {
                    self.context.counters.fault.clear();
                    self.take(&buffer[..n]).await;
                    (look_at, silent_until) = (Instant::now() + EXIT_LOOK, None);
                }
                Err(error) => {
                    self.context.counters.event_read_fail.add(1);
                    return Err(Failure::caused("cannot read the command's output", error));
                }
            }
        }
        process.terminate();
        let kill_at = Instant::now() + STOP_GRACE;
        self.kill_at = Some(kill_at);
        // Only reading is cut off: what is not read was printed after the stop request. A commit cut off half-way
        // would lose lines printed long before. Where the channel accepts nothing, the pipe is still drained, to
        // count its lines.
        while Instant::now() < kill_at
            && let Ok(Ok(n @ 1..)) = timeout_at(kill_at, stdout.read(&mut buffer)).await
        {
            self.take(&buffer[..n]).await;
        }
        Ok(())
    }

    async fn take(&mut self, bytes: &[u8]) {
        let mut complete = Vec::new();
        let split = self.lines.feed(bytes, &mut complete);
        if split > 0 {
            tracing::warn!(source = %self.context.name, bytes_max = EXEC_LINE_BYTES_MAX, split,
                "the command printed a line that is too long; it becomes several events");
        }
        for line in complete {
            let is_full = self.batch.len() >= self.most || self.batch_bytes >= EXEC_BATCH_BYTES_MAX;
            if self.left_over > 0 && is_full {
                self.not_kept += 1;
                continue;
            }
            self.batch_bytes += line.len();
            self.batch.push(Event::new(line));
            let full = self.batch.len() >= self.most || self.batch_bytes >= EXEC_BATCH_BYTES_MAX;
            // After a stop the channel is tried once more, not once per line.
            if self.left_over == 0 && (full || self.pushed.elapsed() >= self.every) {
                self.push().await;
            }
        }
    }

    /// Commits the collected lines. Keeps what a stop left over for [`CommandRun::finish`].
    async fn push(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let kept = batch.clone();
        if let RetryOutcome::Stopped(left) = commit_retry::commit(self.context, batch).await {
            self.batch = kept[kept.len() - left..].to_vec();
            self.batch_bytes = self.batch.iter().map(|event| event.body.len()).sum();
            self.left_over = left;
        }
        self.pushed = Instant::now();
    }

    /// Commits the rest, including a last line without its newline.
    async fn finish(mut self) -> RetryOutcome {
        self.batch.extend(self.lines.finish().map(Event::new));
        commit_retry::commit(self.context, self.batch).await
    }
}
