//! A child process as its parent sees it.

use super::child;
use super::note::Note;
use super::run_state::RunOrders;
use millpond::internal::base::threads;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Notes that wait for the parent. A child that is ahead waits in its pipe.
const NOTES_WAITING_MAX: usize = 1024;

/// Bytes of a child's last output that are kept.
const WORDS_BYTES_MAX: u64 = 16 * 1024;

/// The hidden command under which the binary is a child.
pub const CHILD_COMMAND: [&str; 2] = ["torture", "life"];

/// The result of waiting for a note.
#[derive(Debug)]
pub(super) enum NoteWait {
    Note(Note),
    /// A line that is not a note.
    Noise(String),
    /// Nothing within the patience.
    Nothing,
    /// The child has closed its stdout: it has ended, or is about to.
    End,
}

/// A running child. Dropped, it is killed.
pub(super) struct ChildProcess {
    child: Child,
    orders: Option<ChildStdin>,
    lines: Receiver<String>,
    reader: Option<JoinHandle<()>>,
    words: Option<JoinHandle<()>>,
    said: Receiver<String>,
}

impl ChildProcess {
    /// Starts a child of `program` with `orders`.
    ///
    /// # Errors
    /// The operating system refuses a process or a thread.
    pub(super) fn start(program: &Path, orders: &RunOrders) -> io::Result<Self> {
        let mut command = Command::new(program);
        command.args(CHILD_COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
        // In a group of its own: Ctrl-C is for the parent, which ends its children in order.
        command.stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn()?;
        let gone = || io::Error::other("a child came without its pipes");
        let mut stdin = child.stdin.take().ok_or_else(gone)?;
        let stdout = child.stdout.take().ok_or_else(gone)?;
        let stderr = child.stderr.take().ok_or_else(gone)?;
        let (tell, lines) = sync_channel(NOTES_WAITING_MAX);
        let (tell_words, said) = sync_channel(1);
        let reader = threads::spawn("torture-hear", move || read_lines(stdout, &tell))?;
        let words = threads::spawn("torture-words", move || read_words(stderr, &tell_words))?;
        let text = serde_json::to_string(orders).map_err(io::Error::other)? + "\n";
        // A child that died already is detected by its missing notes.
        let _ = stdin.write_all(text.as_bytes());
        let (reader, words) = (Some(reader), Some(words));
        Ok(Self { child, orders: Some(stdin), lines, reader, words, said })
    }

    /// Returns the next note.
    pub(super) fn hear(&self, time_limit: Duration) -> NoteWait {
        match self.lines.recv_timeout(time_limit) {
            Ok(line) => Note::read(&line).map_or(NoteWait::Noise(line), NoteWait::Note),
            Err(RecvTimeoutError::Timeout) => NoteWait::Nothing,
            Err(RecvTimeoutError::Disconnected) => NoteWait::End,
        }
    }

    fn say(&mut self, word: &str) {
        if let Some(orders) = &mut self.orders {
            let _ = orders.write_all(format!("{word}\n").as_bytes());
        }
    }

    /// Tells the child to end in order.
    pub(super) fn stop(&mut self) {
        self.say(child::STOP);
    }

    /// Pauses its takers, or lets them continue.
    pub(super) fn hold(&mut self, held: bool) {
        self.say(if held { child::HOLD } else { child::TAKE });
    }

    /// `kill -9`.
    pub(super) fn kill(&mut self) {
        // It may have ended by itself just now.
        let _ = self.child.kill();
    }

    /// Waits for the end, which has been noted, and returns the exit status and the last output.
    ///
    /// # Errors
    /// The operating system cannot tell.
    pub(super) fn end(mut self) -> io::Result<(ChildExit, String)> {
        let status = self.child.wait()?;
        let words = self.said.recv().unwrap_or_default();
        self.join();
        Ok((ChildExit::of(status), words))
    }

    fn join(&mut self) {
        for thread in [self.reader.take(), self.words.take()].into_iter().flatten() {
            // It only reads; a panic in it shows as the end of the notes.
            let _ = thread.join();
        }
    }
}

impl Drop for ChildProcess {
    fn drop(&mut self) {
        self.kill();
        let _ = self.child.wait();
        // The reader may wait for room in a queue that is no longer read.
        while self.lines.recv().is_ok() {}
        self.join();
    }
}

/// How a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ChildExit {
    /// By SIGKILL.
    Killed,
    /// With exit code 0.
    Well,
    /// Otherwise: exit code or signal.
    Otherwise(Option<i32>, Option<i32>),
}

impl ChildExit {
    fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(0), _) => Self::Well,
            (_, Some(9)) => Self::Killed,
            (code, signal) => Self::Otherwise(code, signal),
        }
    }
}

/// Passes on whole lines. What a killed child left without its end does not count.
fn read_lines(stdout: impl Read, tell: &SyncSender<String>) {
    let mut stdout = BufReader::new(stdout);
    loop {
        let mut line = Vec::new();
        match stdout.read_until(b'\n', &mut line) {
            Ok(_) if line.last() == Some(&b'\n') => {
                line.pop();
                if tell.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

fn read_words(stderr: impl Read, tell: &SyncSender<String>) {
    let mut words = Vec::new();
    let mut stderr = stderr;
    let _ = stderr.by_ref().take(WORDS_BYTES_MAX).read_to_end(&mut words);
    let _ = io::copy(&mut stderr, &mut io::sink());
    let _ = tell.send(String::from_utf8_lossy(&words).trim().to_owned());
}
