//! A command as a process group that ends with the component that runs it.
//!
//! A process that was killed and is not gone, because the kernel waits on its behalf for a disk or a mount
//! that does not answer, is left to a task of its own: nobody waits for it. While
//! [`PROCESSES_UNENDED_MAX`] of one command are left so, it is not started again.

use super::context::Failure;
use crate::base::limits::{
    PROCESSES_UNENDED_MAX, STDERR_LINE_BYTES_MAX, STDERR_LINES_MAX, STDERR_RATE_SECONDS,
};
use crate::base::service;
use crate::base::visible::Visible;
use crate::config::settings::{SettingError, SettingsReader};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::io;
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

/// How often a command that is about to exit is looked at.
const EXIT_POLL: Duration = Duration::from_millis(10);
/// How long the last words on stderr of a command that has ended may take to be read: a process that
/// left its group can hold the pipe open.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// How long a process that was killed may take to be gone. It takes no time, unless the kernel waits for
/// something on its behalf.
const GONE_WITHIN: Duration = Duration::from_secs(2);

/// The commands of the processes that were killed and are not gone.
static UNENDED: Mutex<Vec<Vec<String>>> = Mutex::new(Vec::new());

/// A running command. Dropping it kills its group.
pub(crate) struct Process {
    words: Vec<String>,
    child: Child,
    /// The group's id, which is the child's; `None` once the child is reaped.
    group: Option<Pid>,
    stderr: Option<JoinHandle<()>>,
}

/// The ends of a process's pipes that are ours.
pub(crate) struct Pipes {
    /// What it reads.
    pub(crate) stdin: ChildStdin,
    /// What it writes.
    pub(crate) stdout: ChildStdout,
}

/// Why nobody knows how a command has ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoStatus {
    #[error("its status is not known: {0}")]
    Unknown(#[source] io::Error),
    #[error(
        "process {id} was killed and is not gone: the kernel waits on its behalf for a disk or a mount that does not answer, or a debugger holds it"
    )]
    Unended { id: u32 },
}

/// What becomes of a process's stderr, which is read in any case.
#[derive(Clone, Debug)]
pub(crate) enum Stderr {
    /// Nothing.
    Unsaid,
    /// Its lines are logged with their numbers, as Flume does, for the source of this name.
    Numbered(String),
    /// Its lines are logged for the component of this name, up to [`STDERR_LINES_MAX`] within
    /// [`STDERR_RATE_SECONDS`].
    Rated(String),
}

/// The words of the command under `command`, behind those of `shell` if there is one. Without it the
/// command is split at blanks.
pub(crate) fn words(reader: &SettingsReader<'_>) -> Result<Vec<String>, SettingError> {
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
    /// Starts `words` and answers it with its pipes.
    pub(crate) fn start(words: &[String], stderr: Stderr) -> Result<(Self, Pipes), Failure> {
        let (program, arguments) =
            words.split_first().ok_or_else(|| Failure::new("no command to run"))?;
        if Unended::of(words) >= PROCESSES_UNENDED_MAX {
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

    /// Its number, as long as it is not reaped.
    pub(crate) fn id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks the group to end.
    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the run: a command that is still there after `grace` is asked to go, then killed.
    /// When the source stops, what else is left of its group goes with it. One that is not gone
    /// [`GONE_WITHIN`] after it was killed is left to itself.
    pub(crate) async fn end(
        mut self,
        stopping: bool,
        grace: Duration,
    ) -> Result<ExitStatus, NoStatus> {
        if !self.exits_within(grace).await && !stopping {
            self.terminate();
            self.exits_within(grace).await;
        }
        // Before it is reaped: after that its number may be another's.
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
        status.map_err(NoStatus::Unknown)
    }

    /// Lets a process be that was killed and is not gone: a task waits for it, and nobody else.
    fn leave(mut self) -> NoStatus {
        let id = self.child.id().unwrap_or_default();
        let left = NoStatus::Unended { id };
        tracing::warn!(program = self.words.first(), "{left}; it is not waited for any longer");
        let unended = Unended::note(&self.words);
        tokio::spawn(async move {
            let _ = self.child.wait().await;
            self.group = None;
            drop(unended);
            tracing::info!(program = self.words.first(), "process {id}, which was killed, is gone");
        });
        left
    }

    /// Whether the command has exited; it is not reaped.
    pub(crate) fn has_exited(&self) -> bool {
        let Some(pid) = self.group else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        !matches!(waitid(WaitId::Pid(pid), options), Ok(None))
    }

    /// Waits until the command has exited, without reaping it.
    pub(crate) async fn exits_within(&self, grace: Duration) -> bool {
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

/// A process that was killed and is not gone, for as long as it is not.
struct Unended(Vec<String>);

impl Unended {
    fn note(words: &[String]) -> Self {
        Self::all(|all| all.push(words.to_vec()));
        Self(words.to_vec())
    }

    /// How many there are of this command.
    fn of(words: &[String]) -> usize {
        Self::all(|all| all.iter().filter(|left| *left == words).count())
    }

    fn all<T>(look: impl FnOnce(&mut Vec<Vec<String>>) -> T) -> T {
        look(&mut UNENDED.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Unended {
    fn drop(&mut self) {
        Self::all(|all| {
            if let Some(at) = all.iter().position(|left| *left == self.0) {
                all.swap_remove(at);
            }
        });
    }
}

/// Reads stderr, so that the command never waits for that, and says of it what `stderr` asks for.
async fn drain(mut pipe: impl AsyncRead + Unpin, stderr: Stderr) {
    let mut buffer = vec![0; 8 * 1024];
    let mut line = Vec::new();
    let mut number = 0u64;
    let mut rate = Rate::new();
    while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
        if matches!(stderr, Stderr::Unsaid) {
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
    // What ends without a newline is often the last word of a process that dies.
    if !line.is_empty() {
        say(&stderr, number + 1, &line, &mut rate);
    }
}

fn say(stderr: &Stderr, number: u64, line: &[u8], rate: &mut Rate) {
    let text = String::from_utf8_lossy(line);
    let text = Visible(text.trim_end());
    match stderr {
        Stderr::Unsaid => {}
        Stderr::Numbered(source) => {
            tracing::info!(source = %source, "StderrLogger[{number}] = '{text}'");
        }
        Stderr::Rated(component) => {
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

/// So many lines within a time, and no more.
struct Rate {
    since: Instant,
    lines: u64,
}

impl Rate {
    fn new() -> Self {
        Self { since: Instant::now(), lines: 0 }
    }

    /// Counts a line: whether it is to be logged, and how many were not, where that is to be said.
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
        let mut rate = Rate::new();
        let begun = rate.since;
        let logged = (0..250).filter(|_| rate.count(begun).0).count() as u64;
        assert_eq!(logged, STDERR_LINES_MAX);
        let later = begun + Duration::from_secs(STDERR_RATE_SECONDS);
        assert_eq!(rate.count(later), (true, 250 - STDERR_LINES_MAX));
        assert_eq!(rate.count(later), (true, 0));
    }
}
