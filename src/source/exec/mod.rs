//! `exec`: the lines that a command prints.
//!
//! Limits: [`EXEC_LINE_BYTES_MAX`] a line, `batchSize` lines or [`EXEC_BATCH_BYTES_MAX`] a batch.
//!
//! The story: the command runs in a process group of its own. Its output is cut into lines as
//! Java's `BufferedReader` does (`\n`, `\r`, `\r\n`), gathered, and committed when a batch is full
//! or `batchTimeout` has passed since the last commit. While the channel refuses, nothing more is
//! read and the command waits in its pipe. At the end of its output the rest is committed; with
//! `restart` it runs again after `restartThrottle`; there the output is over, too, [`LEFT_OPEN`] after the
//! command has exited if nothing comes any more, although something that it started holds it open, and that is killed. A command that ends with another status than 0, by a signal, or
//! although it follows a file or a log (`tail -F`), is a failing source until it runs again and prints something, has run for 10 s, or ends well. To stop, the group gets SIGTERM, what it still
//! prints is read for a moment, then it gets SIGKILL.
//!
//! Invariants: bodies are the command's bytes, whatever `charset` says, because Flume decodes and
//! encodes with the same one; no process of the group outlives the source unless it left the
//! group.

mod ending;
mod lines;

#[cfg(test)]
mod tests;

use super::patience::{self, Ended, rest};
use crate::base::limits::{EXEC_BATCH_BYTES_MAX, EXEC_LINE_BYTES_MAX};
use crate::channel::BoxFuture;
use crate::codes;
use crate::config::settings::{Key, Kind, SettingError, Settings, SettingsReader};
use crate::event::Event;
use crate::flow::process::{self, NoStatus, Pipes, Process, Stderr};
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::metrics::DropReason;
use crate::wire::charset::Charset;
use lines::Lines;
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
        kind: Kind::Text,
        default: "",
        meaning: "What to run. Without shell it is split at blanks, with no quoting.",
    },
    Key {
        name: "shell",
        kind: Kind::Text,
        default: "",
        meaning: "A shell that gets the command as its last argument, such as /bin/sh -c.",
    },
    Key {
        name: "restart",
        kind: Kind::Boolean,
        default: "false",
        meaning: "Run the command again when it has ended.",
    },
    Key {
        name: "restartThrottle",
        kind: Kind::Number,
        default: "10000",
        meaning: "Milliseconds before it runs again.",
    },
    Key {
        name: "logStdErr",
        kind: Kind::Boolean,
        default: "false",
        meaning: "Log what the command prints to stderr, which is read in any case.",
    },
    Key {
        name: "batchSize",
        kind: Kind::Number,
        default: "20",
        meaning: "Lines per transaction; at most the channel's transactionCapacity are used.",
    },
    Key {
        name: "batchTimeout",
        kind: Kind::Number,
        default: "3000",
        meaning: "Milliseconds since the last commit after which a smaller batch is committed.",
    },
    Key {
        name: "charset",
        kind: Kind::Word,
        default: "UTF-8",
        meaning: "Encoding of the output; it must extend ASCII. Bodies keep the command's bytes.",
    },
];

/// Bytes read from the command at a time.
const READ_BYTES: usize = 64 * 1024;
/// How long a command that was told to stop may still print.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// How long a command whose output has ended may take to exit, unasked and then asked.
const END_GRACE: Duration = Duration::from_secs(1);
/// How often a command that is to run again is looked at, whether it has exited.
const EXIT_LOOK: Duration = Duration::from_millis(500);
/// How long what a command that has exited has left behind may be silent, where it is to run again.
const LEFT_OPEN: Duration = Duration::from_secs(1);
/// A command that has run so long is no fault of the source any more, although it prints nothing.
const RUNS_WELL: Duration = Duration::from_secs(10);

struct Exec {
    words: Vec<String>,
    restart: Option<Duration>,
    log_stderr: bool,
    batch_events: usize,
    batch_timeout: Duration,
}

/// Whether the command of a source with these settings follows a file or a log, and so should never end.
#[must_use]
pub fn follows(settings: &Settings) -> bool {
    let words = process::words(&SettingsReader::new(settings));
    words.is_ok_and(|words| ending::follows(&words))
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
    Ok(Box::new(Exec {
        words,
        restart: restart.then(|| throttle.unwrap_or(Duration::from_secs(10))),
        log_stderr: reader.boolean("logStdErr", false),
        batch_events: reader.number("batchSize", 1..=1_000_000)?.unwrap_or(20),
        batch_timeout: reader
            .millis("batchTimeout", 0..=u64::from(u32::MAX))?
            .unwrap_or(Duration::from_secs(3)),
    }))
}

impl Source for Exec {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            loop {
                let ran = self.run_once(context).await;
                if context.stop.fired() {
                    return Ok(());
                }
                // Without `restart` the flow still tries again when the command cannot start.
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

impl Exec {
    async fn run_once(&self, context: &SourceContext) -> Result<(), Failure> {
        let stderr = match self.log_stderr {
            true => Stderr::Numbered(context.name.clone()),
            false => Stderr::Unsaid,
        };
        // Its stdin is open and never written, as in Flume: a command that reads it waits.
        let (process, Pipes { stdin: _stdin, stdout }) = Process::start(&self.words, stderr)?;
        context.started();
        let most = self.batch_events.min(context.intake.transaction_capacity()).max(1);
        let mut reading = Reading {
            context,
            most,
            every: self.batch_timeout,
            lines: Lines::new(EXEC_LINE_BYTES_MAX),
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
        let lost = not_kept + if let Ended::Stopped(left) = flushed { left } else { 0 };
        if lost > 0 {
            context.counters.drops.add(DropReason::Stopped, lost as u64);
            tracing::warn!(source = %context.name, events = lost,
                "stopped while the channel took nothing; the command's last lines are lost");
        }
        read
    }

    /// Logs the end of the command, and makes it a fault of the source where it should not have ended so.
    fn report_end(&self, context: &SourceContext, ended: Result<ExitStatus, NoStatus>) {
        let program = self.words.first().map_or("", String::as_str);
        let next = match self.restart {
            Some(throttle) => format!("it runs again in {} s", throttle.as_secs_f64()),
            None => {
                "nothing is collected until the source is started again; see restart".to_owned()
            }
        };
        let (status, fault) = match ended {
            Ok(status) => (Some(status), ending::fault(&self.words, Some(status))),
            Err(NoStatus::Unknown(_)) => (None, None),
            Err(left @ NoStatus::Unended { .. }) => {
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

/// Reading one run of the command.
struct Reading<'a> {
    context: &'a SourceContext,
    most: usize,
    every: Duration,
    lines: Lines,
    batch: Vec<Event>,
    batch_bytes: usize,
    /// When a batch was committed last.
    pushed: Instant,
    /// Set once the command was told to stop: when its grace is over.
    kill_at: Option<Instant>,
    /// Events that the channel did not take although the source stops.
    left_over: usize,
    /// Lines behind those for which there was no room any more: they are counted, and lost.
    not_kept: usize,
    /// The command is to run again once it has exited.
    runs_again: bool,
    /// It has exited, and something that it started held its output open and printed nothing.
    left_open: bool,
}

impl Reading<'_> {
    /// Reads until the output ends, or the source is to stop and the command had its grace.
    async fn until_end(
        &mut self,
        mut stdout: ChildStdout,
        process: &Process,
    ) -> Result<(), Failure> {
        let mut buffer = vec![0; READ_BYTES];
        let (runs_well_at, mut runs_well) = (Instant::now() + RUNS_WELL, false);
        // When to look whether it has exited, and until when it may be silent once it has.
        let (mut look_at, mut silent_until) = (Instant::now() + EXIT_LOOK, None);
        loop {
            let due = self.pushed + self.every;
            let read = tokio::select! {
                // What there is to read comes before the end of all reading.
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
                        tracing::info!(source = %self.context.name, "the command has exited; what it has left behind prints nothing and is ended");
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
        // Only reading is cut off, and what is not read was printed after the source was told to
        // stop. A commit cut off half-way would take along lines that were printed long before. Where the channel takes
        // nothing, what waits in the pipe is read all the same, to be counted.
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
            // After a stop the channel is asked once more, and not once for every line.
            if self.left_over == 0 && (full || self.pushed.elapsed() >= self.every) {
                self.push().await;
            }
        }
    }

    /// Commits what has gathered. Keeps what a stop left over for [`Reading::finish`].
    async fn push(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.batch_bytes = 0;
        let kept = batch.clone();
        if let Ended::Stopped(left) = patience::commit(self.context, batch).await {
            self.batch = kept[kept.len() - left..].to_vec();
            self.batch_bytes = self.batch.iter().map(|event| event.body.len()).sum();
            self.left_over = left;
        }
        self.pushed = Instant::now();
    }

    /// Commits the rest, the last line without its newline included.
    async fn finish(mut self) -> Ended {
        self.batch.extend(self.lines.finish().map(Event::new));
        patience::commit(self.context, self.batch).await
    }
}
