//! The command as a process group that ends with the source.

use crate::flow::source::Failure;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

/// Bytes of one logged line of stderr.
const STDERR_LINE_BYTES_MAX: usize = 4096;
/// How often a command that is about to exit is looked at.
const EXIT_POLL: Duration = Duration::from_millis(10);

/// A running command. Dropping it kills its group.
pub(super) struct Process {
    child: Child,
    /// The group's id, which is the child's; `None` once the child is reaped.
    group: Option<Pid>,
    stderr: Option<AbortHandle>,
    /// Open and never written, as in Flume: a command that reads it waits.
    _stdin: Option<ChildStdin>,
}

impl Process {
    /// Starts `words` and answers it with its output.
    pub(super) fn start(
        words: &[String],
        source: &str,
        log_stderr: bool,
    ) -> Result<(Self, ChildStdout), Failure> {
        let (program, arguments) =
            words.split_first().ok_or_else(|| Failure::new("no command to run"))?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| Failure::caused(format!("cannot run \"{program}\""), error))?;
        let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let stderr = child.stderr.take().map(|stderr| {
            tokio::spawn(drain(stderr, log_stderr.then(|| source.to_owned()))).abort_handle()
        });
        let process = Self { child, group, stderr, _stdin: stdin };
        let stdout = stdout.ok_or_else(|| Failure::new("the command has no output to read"))?;
        Ok((process, stdout))
    }

    /// Asks the group to end.
    pub(super) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Ends the run: a command that is still there after `grace` is asked to go, then killed.
    /// When the source stops, what else is left of its group goes with it.
    pub(super) async fn end(&mut self, stopping: bool, grace: Duration) -> Option<ExitStatus> {
        if !self.exits_within(grace).await && !stopping {
            self.terminate();
            self.exits_within(grace).await;
        }
        // Before it is reaped: after that its number may be another's.
        if stopping || !self.exits_within(Duration::ZERO).await {
            self.signal(Signal::KILL);
        }
        let status = self.child.wait().await.ok();
        self.group = None;
        status
    }

    /// Waits until the command has exited, without reaping it.
    async fn exits_within(&self, grace: Duration) -> bool {
        let Some(pid) = self.group else { return true };
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let exited = || !matches!(waitid(WaitId::Pid(pid), options), Ok(None));
        let wait = async {
            while !exited() {
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

/// Reads stderr, so that the command never waits for that, and logs its lines for `source`.
async fn drain(mut stderr: impl AsyncRead + Unpin, source: Option<String>) {
    let mut buffer = vec![0; 8 * 1024];
    let mut line = Vec::new();
    let mut number = 0u64;
    while let Ok(n @ 1..) = stderr.read(&mut buffer).await {
        let Some(source) = &source else { continue };
        for piece in buffer[..n].split_inclusive(|&byte| byte == b'\n') {
            let room = STDERR_LINE_BYTES_MAX - line.len();
            line.extend_from_slice(&piece[..piece.len().min(room)]);
            if piece.ends_with(b"\n") {
                number += 1;
                let text = String::from_utf8_lossy(&line);
                tracing::info!(source = %source, "StderrLogger[{number}] = '{}'", text.trim_end());
                line.clear();
            }
        }
    }
}
