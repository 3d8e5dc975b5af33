//! One process that speaks: lines to it, lines from it, its end.

use super::{Options, Role};
use crate::flow::context::Failure;
use crate::flow::process::{NoStatus, Pipes, Process, Stderr};
use crate::wire::external::read::{self, Batch, NoMessage, Said};
use crate::wire::external::write::{self, Greeting, Place};
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{ChildStdin, ChildStdout};
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes read from a process at a time.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of the buffer for lines that are kept between two of them.
const KEPT_BYTES: usize = 1024 * 1024;
/// How long a process whose pipe is closed may take to say why, and to exit.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// How often a process that says nothing is looked at, whether it has ended: something that it started may
/// hold its output open.
const EXIT_LOOK: Duration = Duration::from_millis(500);

/// Why a process cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{0}")]
    Start(Failure),
    #[error("it ended{}: {status}", if *amid { " in the middle of a line" } else { "" })]
    Ended { amid: bool, status: String },
    #[error("a line of it has more than {max} bytes; raise lineBytes, or write shorter ones")]
    LineTooLong { max: usize },
    #[error("a line of it is not a message of the protocol: {0}")]
    NoMessage(#[from] NoMessage),
    #[error("it said {said} where {due} was due")]
    OutOfPlace { said: &'static str, due: &'static str },
    #[error("it said batch {said} where {due} was due")]
    WrongNumber { said: u64, due: u64 },
    #[error("it did not {what} within {} ms", within.as_millis())]
    Late { what: &'static str, within: Duration },
    #[error("its pipe is broken: {0}")]
    Pipe(#[source] io::Error),
    #[error("it says: {0}")]
    Says(String),
    #[error("{fault}; {left}")]
    Unended { fault: Box<Fault>, left: NoStatus },
}

/// The word for what a process said.
pub(super) fn word(said: &Said) -> &'static str {
    match said {
        Said::Ready => "ready",
        Said::Batch(_) => "batch",
        Said::Ok(_) => "ok",
        Said::Failed { .. } => "failed",
        Said::Error(_) => "error",
        Said::End => "end",
    }
}

/// How a process answered a batch.
#[derive(Debug)]
pub(crate) enum Answer {
    /// A sink's: it is delivered.
    Delivered,
    /// An interceptor's: these events go on.
    Passed(Vec<crate::event::Event>),
    /// Neither, for this reason.
    Refused {
        /// Why, in its words.
        why: String,
        /// Whether it always will.
        for_good: bool,
    },
}

/// A process that has been greeted. Dropping it kills its group.
pub(super) struct Speaker {
    options: Arc<Options>,
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    /// What was read and not understood yet: a line at most, and what came with its end.
    buffer: Vec<u8>,
    /// Bytes of it in which no line ends.
    searched: usize,
    /// The number of the last batch, whoever sent it.
    pub(super) number: u64,
    /// Until when it may end by itself, once it was told to.
    ends_by: Option<Instant>,
}

impl Speaker {
    /// Starts the process and greets it.
    pub(super) async fn start(
        options: &Arc<Options>,
        place: Option<Place<'_>>,
        batch_events: usize,
    ) -> Result<Self, Fault> {
        let stderr = Stderr::Rated(options.name.clone());
        let (process, Pipes { stdin, stdout }) =
            Process::start(&options.words, stderr).map_err(Fault::Start)?;
        let mut speaker = Self {
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
        let greeted = timeout(options.answer, speaker.greet(&greeting.line())).await;
        let late = Err(Fault::Late { what: "answer the greeting", within: options.answer });
        match greeted.unwrap_or(late) {
            Ok(()) => Ok(speaker),
            Err(fault) => Err(speaker.broken(fault).await),
        }
    }

    async fn greet(&mut self, greeting: &[u8]) -> Result<(), Fault> {
        self.write(greeting).await?;
        match self.hear(0).await? {
            Said::Ready => Ok(()),
            other => Err(out_of_place(other, "ready")),
        }
    }

    pub(super) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    /// Sends a line, within the time for an answer.
    pub(super) async fn say(&mut self, line: &[u8]) -> Result<(), Fault> {
        let within = self.options.answer;
        let late = Err(Fault::Late { what: "read what it was sent", within });
        timeout(within, self.write(line)).await.unwrap_or(late)
    }

    async fn write(&mut self, line: &[u8]) -> Result<(), Fault> {
        match &mut self.stdin {
            Some(stdin) => stdin.write_all(line).await.map_err(Fault::Pipe),
            None => Err(Fault::Pipe(io::ErrorKind::BrokenPipe.into())),
        }
    }

    /// What it says next, a batch with at most `events_max` events. Dropped while it waits, it loses
    /// nothing.
    pub(super) async fn hear(&mut self, events_max: usize) -> Result<Said, Fault> {
        let max = self.options.line_bytes;
        loop {
            let end = self.buffer[self.searched..].iter().position(|&byte| byte == b'\n');
            let bytes = end.map_or(self.buffer.len(), |end| self.searched + end);
            if bytes > max {
                return Err(Fault::LineTooLong { max });
            }
            if end.is_some() {
                let said = read::line(&self.buffer[..bytes], events_max);
                self.buffer.drain(..=bytes);
                self.buffer.shrink_to(KEPT_BYTES);
                self.searched = 0;
                return Ok(said?);
            }
            self.searched = bytes;
            self.buffer.reserve(READ_BYTES);
            if self.read().await.map_err(Fault::Pipe)? == 0 {
                let amid = !self.buffer.is_empty();
                return Err(Fault::Ended { amid, status: String::new() });
            }
        }
    }

    /// Reads on; 0 at the end of its output. That of a process that has ended is over once nothing has come
    /// for [`LAST_WORDS`], whoever else holds it open.
    async fn read(&mut self) -> io::Result<usize> {
        let mut has_ended = false;
        loop {
            let patience = if has_ended { LAST_WORDS } else { EXIT_LOOK };
            match timeout(patience, self.stdout.read_buf(&mut self.buffer)).await {
                Ok(read) => return read,
                Err(_) if has_ended => return Ok(0),
                Err(_) => has_ended = self.process.has_exited(),
            }
        }
    }

    /// Sends the line of a batch and waits for the answer.
    pub(super) async fn ask(&mut self, line: &[u8], number: u64) -> Result<Answer, Fault> {
        self.number = number;
        self.write(line).await?;
        let interceptor = self.options.role == Role::Interceptor;
        let due = if interceptor { "batch or failed" } else { "ok or failed" };
        let (said, answer) = match self.hear(self.options.answer_events).await? {
            Said::Ok(said) if !interceptor => (said, Answer::Delivered),
            Said::Batch(Batch { number, events, position: None }) if interceptor => {
                (number, Answer::Passed(events))
            }
            Said::Failed { number, why, refused } => {
                (number, Answer::Refused { why, for_good: refused })
            }
            other => return Err(out_of_place(other, due)),
        };
        if said == number { Ok(answer) } else { Err(Fault::WrongNumber { said, due: number }) }
    }

    /// Tells it to end; it may still say something. Answers until when it may end by itself.
    pub(super) async fn tell_to_stop(&mut self) -> Instant {
        if let Some(until) = self.ends_by {
            return until;
        }
        let until = Instant::now() + self.options.stop_grace;
        self.ends_by = Some(until);
        let line = write::stop();
        // One that reads nothing any more has its time all the same.
        let _ = timeout_at(until, self.write(&line)).await;
        until
    }

    /// Ends it: it is told to, its input ends, then come SIGTERM and SIGKILL.
    pub(super) async fn stop(mut self) {
        let until = self.tell_to_stop().await;
        self.stdin = None;
        // What it still says is not for anybody, but it must not wait for a reader.
        let _ = timeout_at(until, self.hear_out()).await;
        if !self.process.exits_within(until.saturating_duration_since(Instant::now())).await {
            self.process.terminate();
        }
        // What there is to say of one that does not end has been said.
        let _ = self.process.end(true, self.options.stop_grace).await;
    }

    async fn hear_out(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        while let Ok(1..) = self.stdout.read(&mut buffer).await {}
    }

    /// Ends what is left of it behind a fault, and answers the fault with what is known of it then.
    pub(super) async fn broken(mut self, mut fault: Fault) -> Fault {
        if matches!(fault, Fault::Pipe(_))
            && let Ok(Some(last)) = timeout(LAST_WORDS, self.last_words()).await
        {
            fault = last;
        }
        self.stdin = None;
        let has_ended = matches!(fault, Fault::Ended { .. } | Fault::Pipe(_) | Fault::Says(_));
        let grace = if has_ended { LAST_WORDS } else { self.options.stop_grace };
        if !has_ended {
            self.process.terminate();
        }
        let exit = self.process.end(true, grace).await;
        if let Fault::Ended { status, .. } = &mut fault {
            *status = exit.map_or_else(|left| left.to_string(), |status| status.to_string());
            return fault;
        }
        match exit {
            Err(left @ NoStatus::Unended { .. }) => Fault::Unended { fault: Box::new(fault), left },
            Ok(_) | Err(NoStatus::Unknown(_)) => fault,
        }
    }

    /// What a process that does not read any more gives as its reason.
    async fn last_words(&mut self) -> Option<Fault> {
        loop {
            match self.hear(self.options.answer_events).await {
                Ok(Said::Error(why)) => return Some(Fault::Says(why)),
                Ok(_) => {}
                Err(ended @ Fault::Ended { .. }) => return Some(ended),
                Err(_) => return None,
            }
        }
    }
}

/// What to make of a message that is not the one that was due.
pub(super) fn out_of_place(said: Said, due: &'static str) -> Fault {
    match said {
        Said::Error(why) => Fault::Says(why),
        other => Fault::OutOfPlace { said: word(&other), due },
    }
}
