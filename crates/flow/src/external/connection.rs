//! The connection to one running external process: lines to it, lines from it, its end.

use super::{ExternalOptions, ProcessRole};
use crate::context::Failure;
use crate::process::{ExitStatusError, Pipes, Process, StderrMode};
use crate::wire::external::decode::{self, MessageError, ProcessBatch, ProcessMessage};
use crate::wire::external::encode::{self, Greeting, ResumePosition};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes read from a process at a time.
const READ_BYTES: usize = 64 * 1024;
/// Most bytes of the line buffer that are kept between two lines.
const KEPT_BYTES: usize = 1024 * 1024;
/// Time for a process with a closed pipe to report why, and to exit.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Interval at which a silent process is checked for its exit: a process that it started may hold its output
/// open.
const EXIT_LOOK: Duration = Duration::from_millis(500);

/// Why a process cannot be used any longer.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each message says what its variant is
pub enum ProcessFault {
    #[error("{0}")]
    Start(Failure),
    #[error("it ended{}: {status}", if *amid { " in the middle of a line" } else { "" })]
    Ended { amid: bool, status: String },
    #[error("a line of it has more than {max} bytes; raise lineBytes, or write shorter ones")]
    LineTooLong { max: usize },
    #[error("a line of it is not a message of the protocol: {0}")]
    NoMessage(#[from] MessageError),
    #[error("it said {said} where {due} was due")]
    UnexpectedMessage { said: &'static str, due: &'static str },
    #[error("it said batch {said} where {due} was due")]
    WrongNumber { said: u64, due: u64 },
    #[error("it did not {what} within {} ms", within.as_millis())]
    Timeout { what: &'static str, within: Duration },
    #[error("its pipe is broken: {0}")]
    Pipe(#[source] io::Error),
    #[error("it says: {0}")]
    Reported(String),
    #[error("{fault}; {left}")]
    NotReaped { fault: Box<ProcessFault>, left: ExitStatusError },
}

/// Returns the name of a message.
pub(super) fn word(said: &ProcessMessage) -> &'static str {
    match said {
        ProcessMessage::Ready => "ready",
        ProcessMessage::Batch(_) => "batch",
        ProcessMessage::Ok(_) => "ok",
        ProcessMessage::Failed { .. } => "failed",
        ProcessMessage::Error(_) => "error",
        ProcessMessage::End => "end",
    }
}

/// The reply of a process to a batch.
#[derive(Debug)]
pub enum BatchReply {
    /// From a sink: the batch is delivered.
    Delivered,
    /// From an interceptor: the events that go on.
    Passed(Vec<millpond::Event>),
    /// From either: the batch is refused.
    Refused {
        /// The reason in the process's words.
        why: String,
        /// True if the batch will always be refused.
        for_good: bool,
    },
}

/// A process whose greeting is done. Dropping it kills its group.
pub(super) struct ProcessConnection {
    options: Arc<ExternalOptions>,
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// Bytes that were read and not parsed yet: at most a line, and what arrived with its end.
    buffer: Vec<u8>,
    /// Bytes of it that contain no end of a line.
    searched: usize,
    /// The number of the last batch, in either direction.
    pub(super) number: u64,
    /// Deadline for it to end by itself, once it was asked to.
    ends_by: Option<Instant>,
}

impl ProcessConnection {
    /// Starts the process and performs the greeting.
    pub(super) async fn start(
        options: &Arc<ExternalOptions>,
        place: Option<ResumePosition<'_>>,
        batch_events: usize,
    ) -> Result<Self, ProcessFault> {
        let stderr = StderrMode::Rated(options.name.clone());
        let (process, Pipes { stdin, stdout }) =
            Process::start(&options.words, stderr).map_err(ProcessFault::Start)?;
        let mut connection = Self {
            options: Arc::clone(options),
            process,
            stdin: Some(stdin),
            stdout,
            buffer: Vec::new(),
            searched: 0,
            number: 0,
            ends_by: None,
        };
        let (name, settings) = (&options.name, &options.settings);
        let role = options.role.word();
        let mut greeting = Greeting::new(role, name, settings, batch_events, options.line_bytes);
        greeting.place = place;
        let greeted = timeout(options.answer, connection.greet(&greeting.line())).await;
        let late =
            Err(ProcessFault::Timeout { what: "answer the greeting", within: options.answer });
        match greeted.unwrap_or(late) {
            Ok(()) => Ok(connection),
            Err(fault) => Err(connection.broken(fault).await),
        }
    }

    async fn greet(&mut self, greeting: &[u8]) -> Result<(), ProcessFault> {
        self.write(greeting).await?;
        match self.receive(0).await? {
            ProcessMessage::Ready => Ok(()),
            other => Err(unexpected_message(other, "ready")),
        }
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Sends a line, within the reply timeout.
    pub(super) async fn send(&mut self, line: &[u8]) -> Result<(), ProcessFault> {
        let within = self.options.answer;
        let late = Err(ProcessFault::Timeout { what: "read what it was sent", within });
        timeout(within, self.write(line)).await.unwrap_or(late)
    }

    async fn write(&mut self, line: &[u8]) -> Result<(), ProcessFault> {
        match &mut self.stdin {
            Some(stdin) => stdin.write_all(line).await.map_err(ProcessFault::Pipe),
            None => Err(ProcessFault::Pipe(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// Returns its next message, a batch with at most `events_max` events. Cancel safe.
    pub(super) async fn receive(
        &mut self,
        events_max: usize,
    ) -> Result<ProcessMessage, ProcessFault> {
        let max = self.options.line_bytes;
        loop {
            let end = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n');
            let bytes = end.map_or(self.buffer.len(), |end| self.searched + end);
            if bytes > max {
                return Err(ProcessFault::LineTooLong { max });
            }
            if end.is_some() {
                let said = decode::line(&self.buffer[..bytes], events_max);
                self.buffer.drain(..=bytes);
                self.buffer.shrink_to(KEPT_BYTES);
                self.searched = 0;
                return Ok(said?);
            }
            self.searched = bytes;
            self.buffer.reserve(READ_BYTES);
            if self.read().await.map_err(ProcessFault::Pipe)? == 0 {
                let amid = !self.buffer.is_empty();
                return Err(ProcessFault::Ended { amid, status: String::new() });
            }
        }
    }

    /// Reads further output; 0 at its end. The output of a process that has exited ends when nothing has arrived
    /// for [`LAST_WORDS`], even if another process holds it open.
    async fn read(&mut self) -> io::Result<usize> {
        let mut has_ended = false;
        loop {
            let time_limit = if has_ended { LAST_WORDS } else { EXIT_LOOK };
            match timeout(time_limit, self.stdout.read_buf(&mut self.buffer)).await {
                Ok(read) => return read,
                Err(_) if has_ended => return Ok(0),
                Err(_) => has_ended = self.process.has_exited(),
            }
        }
    }

    /// Sends the line of a batch and waits for the reply.
    pub(super) async fn request(
        &mut self,
        line: &[u8],
        number: u64,
    ) -> Result<BatchReply, ProcessFault> {
        self.number = number;
        self.write(line).await?;
        let interceptor = self.options.role == ProcessRole::Interceptor;
        let due = if interceptor { "batch or failed" } else { "ok or failed" };
        let (said, answer) = match self.receive(self.options.answer_events).await? {
            ProcessMessage::Ok(said) if !interceptor => (said, BatchReply::Delivered),
            ProcessMessage::Batch(ProcessBatch { number, events, position: None })
                if interceptor =>
            {
                (number, BatchReply::Passed(events))
            }
            ProcessMessage::Failed { number, why, refused } => {
                (number, BatchReply::Refused { why, for_good: refused })
            }
            other => return Err(unexpected_message(other, due)),
        };
        if said == number {
            Ok(answer)
        } else {
            Err(ProcessFault::WrongNumber { said, due: number })
        }
    }

    /// Asks it to end; it may still send messages. Returns the deadline for it to end by itself.
    pub(super) async fn request_stop(&mut self) -> Instant {
        if let Some(until) = self.ends_by {
            return until;
        }
        let until = Instant::now() + self.options.stop_grace;
        self.ends_by = Some(until);
        let line = encode::stop();
        // A process that no longer reads gets the same time.
        let _ = timeout_at(until, self.write(&line)).await;
        until
    }

    /// Ends it: a stop message, then the end of its input, SIGTERM and SIGKILL.
    pub(super) async fn stop(mut self) {
        let until = self.request_stop().await;
        self.stdin = None;
        // Its remaining output is read and dropped, so that it does not block on the pipe.
        let _ = timeout_at(until, self.drain_output()).await;
        if !self.process.exits_within(until.saturating_duration_since(Instant::now())).await {
            self.process.terminate();
        }
        // A process that does not end has been logged.
        let _ = self.process.end(true, self.options.stop_grace).await;
    }

    async fn drain_output(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(1..) = self.stdout.read(&mut buffer).await {}
    }

    /// Ends what is left of it after a fault, and returns the fault with what is known then.
    pub(super) async fn broken(mut self, mut fault: ProcessFault) -> ProcessFault {
        if matches!(fault, ProcessFault::Pipe(_))
            && let Ok(Some(last)) = timeout(LAST_WORDS, self.exit_fault()).await
        {
            fault = last;
        }
        self.stdin = None;
        let has_ended = matches!(
            fault,
            ProcessFault::Ended { .. } | ProcessFault::Pipe(_) | ProcessFault::Reported(_)
        );
        let grace = if has_ended { LAST_WORDS } else { self.options.stop_grace };
        if !has_ended {
            self.process.terminate();
        }
        let exit = self.process.end(true, grace).await;
        if let ProcessFault::Ended { status, .. } = &mut fault {
            *status = exit.map_or_else(|left| left.to_string(), |status| status.to_string());
            return fault;
        }
        match exit {
            Err(left @ ExitStatusError::NotReaped { .. }) => {
                ProcessFault::NotReaped { fault: Box::new(fault), left }
            }
            Ok(_) | Err(ExitStatusError::Unknown(_)) => fault,
        }
    }

    /// Returns the reason that a process gives after it stopped reading.
    async fn exit_fault(&mut self) -> Option<ProcessFault> {
        loop {
            match self.receive(self.options.answer_events).await {
                Ok(ProcessMessage::Error(why)) => return Some(ProcessFault::Reported(why)),
                Ok(_) => {}
                Err(ended @ ProcessFault::Ended { .. }) => return Some(ended),
                Err(_) => return None,
            }
        }
    }
}

/// Returns the fault for a message other than the expected one.
pub(super) fn unexpected_message(said: ProcessMessage, due: &'static str) -> ProcessFault {
    match said {
        ProcessMessage::Error(why) => ProcessFault::Reported(why),
        other => ProcessFault::UnexpectedMessage { said: word(&other), due },
    }
}
