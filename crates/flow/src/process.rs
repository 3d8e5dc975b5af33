//! A command in a process group that ends with the component that runs it.
//!
//! A killed process that does not exit, because the kernel waits on its behalf for a disk or a mount that does
//! not respond, is left to a task of its own, and no other task waits for it. While [`PROCESSES_UNENDED_MAX`]
//! processes of one command are left this way, it is not started again.

use super::context::Failure;
use crate::base::escape::Escaped;
use crate::base::limits::{
    PROCESSES_UNENDED_MAX, STDERR_LINE_BYTES_MAX, STDERR_LINES_MAX, STDERR_RATE_SECONDS,
};
use crate::base::service;
use crate::settings::{SettingError, SettingsReader};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// Interval at which a command that is about to exit is checked.
const EXIT_POLL: Duration = Duration::from_millis(10);
/// Time for reading the rest of stderr of a command that has exited: a process that left its group can hold the
/// pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// Time for a killed process to exit. It exits at once, unless the kernel waits for something on its behalf.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// The commands of processes that were killed and have not exited.
static UNENDED: Mutex<Vec<Vec<String>>> = Mutex::new(Vec::new());

/// A running command. Dropping it kills its group.
pub struct Process {
    words: Vec<String>,
    child: Child,
    /// The group's id, which is the child's; `None` once the child is reaped.
    group: Option<Pid>,
    stderr: Option<JoinHandle<()>>,
}

/// Our ends of a process's pipes.
pub struct Pipes {
    /// The process's standard input.
    pub stdin: ChildStdin,
    /// The process's standard output.
    pub stdout: ChildStdout,
}

/// Why the exit status of a command is unknown.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each message says what its variant is
pub enum ExitStatusError {
    #[error("its status is not known: {0}")]
    Unknown(#[source] io::Error),
    #[error(
        "process {id} was killed and is not gone: the kernel waits on its behalf for a disk or a mount that does not answer, or a debugger holds it"
    )]
    NotReaped { id: u32 },
}

/// Handling of a process's stderr, which is always read.
#[derive(Clone, Debug)]
pub enum StderrMode {
    /// Ignored.
    Discarded,
    /// Each line is logged with its number, as in Flume, for the source of this name.
    Numbered(String),
    /// Lines are logged for the component of this name, up to [`STDERR_LINES_MAX`] within
    /// [`STDERR_RATE_SECONDS`].
    Rated(String),
}

/// Returns the words of the command under `command`, after those of `shell` if there is one. Without a shell the
/// command is split at blanks.
pub fn words(reader: &SettingsReader<'_>) -> Result<Vec<String>, SettingError> {
    let command = reader.required_text("command")?;
    let split = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let words = match reader.text("shell").filter(|shell| !shell.is_empty()) {
        Some(shell) => {
            let mut words = split(shell);
            words.push(command.to_owned());
            words
        }
        None => split(command),
    };
    if words.is_empty() { Err(reader.error("command", "is blank")) } else { Ok(words) }
}

impl Process {
    /// Starts `words` and returns the process with its pipes.
    pub fn start(words: &[String], stderr: StderrMode) -> Result<(Self, Pipes), Failure> {
        Self::start_with(words, &[], stderr)
    }

    /// Like [`start`](Self::start), with further arguments, which differ from one start of the command to the next.
    pub fn start_with(
        words: &[String],
        more: &[String],
        stderr: StderrMode,
    ) -> Result<(Self, Pipes), Failure> {
        let (program, arguments) =
            words.split_first().ok_or_else(|| Failure::new("no command to run"))?;
        if UnreapedProcess::of(words) >= PROCESSES_UNENDED_MAX {
            return Err(Failure::new(format!(
                "{PROCESSES_UNENDED_MAX} processes of \"{program}\" were killed and are not gone; it is started again when one of them is"
            )));
        }
        let mut command = Command::new(program);
        for variable in service::VARIABLES {
            command.env_remove(variable);
        }
        let mut child = command
            .args(arguments)
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::caused(format!("cannot run \"{program}\""), error))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let pipes = child.stdin.take().zip(child.stdout.take());
        let drained = child.stderr.take().map(|pipe| tokio::spawn(drain(pipe, stderr)));
        let process = Self { words: words.to_vec(), child, group, stderr: drained };
        let (stdin, stdout) =
            pipes.ok_or_else(|| Failure::new("the command has no input or no output"))?;
        Ok((process, Pipes { stdin, stdout }))
    }

    /// Returns its process id, until it is reaped.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Sends SIGTERM to the group.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the process: a command that still runs after `grace` gets SIGTERM, then SIGKILL. If the source stops,
    /// the rest of its group is ended too. A process that has not exited [`GONE_WITHIN`] after SIGKILL is left to
    /// a task.
    pub async fn end(
        mut self,
        stopping: bool,
        grace: Duration,
    ) -> Result<ExitStatus, ExitStatusError> {
        if !self.exits_within(grace).await && !stopping {
            self.terminate();
            self.exits_within(grace).await;
        }
        // Before it is reaped: after that its id may be reused.
        if stopping || !self.has_exited() {
            self.signal(Signal::KILL);
        }
        let Ok(status) = timeout(GONE_WITHIN, self.child.wait()).await else {
            return Err(self.leave());
        };
        self.group = None;
        if let Some(stderr) = &mut self.stderr {
            let _ = timeout(LAST_WORDS, stderr).await;
        }
        status.map_err(ExitStatusError::Unknown)
    }

    /// Leaves a killed process that has not exited to a task that waits for it.
    fn leave(mut self) -> ExitStatusError {
        let id = self.child.id().unwrap_or_default();
        let left = ExitStatusError::NotReaped { id };
        tracing::warn!(program = self.words.first(), "{left}; it is not waited for any longer");
        let unended = UnreapedProcess::note(&self.words);
        tokio::spawn(async move {
            let _ = self.child.wait().await;
            self.group = None;
            drop(unended);
            tracing::info!(program = self.words.first(), "process {id}, which was killed, is gone");
        });
        left
    }

    /// Returns true if the command has exited; does not reap it.
    pub fn has_exited(&self) -> bool {
        let Some(pid) = self.group else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
    }

    /// Waits until the command has exited, without reaping it.
    pub async fn exits_within(&self, grace: Duration) -> bool {
        let wait = async {
            while !self.has_exited() {
                sleep(EXIT_POLL).await;
            }
        };
        timeout(grace, wait).await.is_ok()
    }

    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        if let Some(stderr) = &self.stderr {
            stderr.abort();
        }
    }
}

/// A killed process that has not exited; counted until it is dropped.
struct UnreapedProcess(Vec<String>);

impl UnreapedProcess {
    fn note(words: &[String]) -> Self {
        Self::all(|all| all.push(words.to_vec()));
        Self(words.to_vec())
    }

    /// Returns their number for this command.
    fn of(words: &[String]) -> usize {
        Self::all(|all| all.iter().filter(|left| *left == words).count())
    }

    fn all<T>(look: impl FnOnce(&mut Vec<Vec<String>>) -> T) -> T {
        look(&mut UNENDED.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for UnreapedProcess {
    fn drop(&mut self) {
        Self::all(|all| {
            if let Some(at) = all.iter().position(|left| *left == self.0) {
                all.swap_remove(at);
            }
        });
    }
}

/// Reads stderr, so that the command never blocks on it, and logs it as `stderr` says.
async fn drain(mut pipe: impl AsyncRead + Unpin, stderr: StderrMode) {
    let mut buffer = vec![0; 8 * 1024];
    let mut line = Vec::new();
    let mut number = 0u64;
    let mut rate = LineRate::new();
    while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
        if matches!(stderr, StderrMode::Discarded) {
            continue;
        }
        for piece in buffer[..n].split_inclusive(|&byte| byte == b'\n') {
            let room = STDERR_LINE_BYTES_MAX - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                number += 1;
                say(&stderr, number, &line, &mut rate);
                line.clear();
            }
        }
    }
    // An unterminated line is often the last message of a process that dies.
    if !line.is_empty() {
        say(&stderr, number + 1, &line, &mut rate);
    }
}

fn say(stderr: &StderrMode, number: u64, line: &[u8], rate: &mut LineRate) {
    let text = String::from_utf8_lossy(line);
    let text = Escaped(text.trim_end());
    match stderr {
        StderrMode::Discarded => {}
        StderrMode::Numbered(source) => {
            tracing::info!(source = %source, "StderrLogger[{number}] = '{text}'");
        }
        StderrMode::Rated(component) => {
            let (passes, unsaid) = rate.count(Instant::now());
            if unsaid > 0 {
                tracing::info!(component = %component, "{unsaid} more lines of its stderr were not logged");
            }
            if passes {
                tracing::info!(component = %component, "stderr: {text}");
            }
        }
    }
}

/// A limit of lines within a time window.
struct LineRate {
    since: Instant,
    lines: u64,
}

impl LineRate {
    fn new() -> Self {
        Self { since: Instant::now(), lines: 0 }
    }

    /// Counts a line; returns true if it is to be logged, and the number of suppressed lines if that is to be
    /// logged.
    fn count(&mut self, now: Instant) -> (bool, u64) {
        let mut unsaid = 0;
        if now.duration_since(self.since) >= Duration::from_secs(STDERR_RATE_SECONDS) {
            unsaid = self.lines.saturating_sub(STDERR_LINES_MAX);
            (self.since, self.lines) = (now, 0);
        }
        self.lines += 1;
        (self.lines <= STDERR_LINES_MAX, unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stderr_is_logged_at_a_bounded_rate_and_what_was_left_out_is_counted() {
        let mut rate = LineRate::new();
        let begun = rate.since;
        let logged = (0..250).filter(|_| rate.count(begun).0).count() as u64;
        assert_eq!(logged, STDERR_LINES_MAX);
        let later = begun + Duration::from_secs(STDERR_RATE_SECONDS);
        assert_eq!(rate.count(later), (true, 250 - STDERR_LINES_MAX));
        assert_eq!(rate.count(later), (true, 0));
    }
}
