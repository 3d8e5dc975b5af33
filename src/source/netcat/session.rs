//! One connection.

use super::lines::{Lines, Unreadable};
use crate::base::clock::Clock;
use crate::base::limits::ANSWER_SECONDS_MAX;
use crate::channel::{CommitError, Refusal};
use crate::event::Event;
use crate::flow::client_error_log::ClientErrorLog;
use crate::flow::client_limits::Connection;
use crate::flow::context::{Intake, StopSignal};
use crate::metrics::{DropReason, SourceCounters};
use crate::net::stream::Stream;
use crate::source::listener::farewell;
use crate::source::patience::{Lost, Unread};
use crate::source::stride::{Stride, unfinished_bytes};
use crate::wire::charset::Charset;
use bytes::Bytes;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// What every session of a source keeps to.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) acks: bool,
    pub(super) line_units_max: usize,
    pub(super) charset: Charset,
    /// Throttles the log of what clients do wrong and what they are refused, over all sessions.
    pub(super) client_errors: ClientErrorLog,
}

/// One connection and what it needs.
pub(super) struct Session {
    pub(super) name: Arc<str>,
    pub(super) peer: SocketAddr,
    pub(super) client: Arc<Connection>,
    pub(super) stream: Stream,
    pub(super) stride: Stride,
    pub(super) rules: Arc<Rules>,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) stop: StopSignal,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<SourceCounters>,
    /// What clients lose at a stop that wait for no answers; `None` where they wait for them.
    pub(super) lost: Option<Arc<Lost>>,
    /// Lines of the present read that are neither committed nor failed yet.
    pub(super) untaken: Unread,
    /// What the first line of the present read was answered for which a channel had no room: the others get the
    /// same answer at once, since each would wait for room as long as that one did.
    pub(super) no_room: Option<String>,
}

/// The session is over: the client is gone, does not read, or the source stops.
struct Over;

impl Session {
    pub(super) async fn run(mut self) {
        let mut lines = Lines::new(self.rules.charset, self.rules.line_units_max);
        if self.talk(&mut lines).await.is_ok() {
            farewell(self.stream).await;
        }
        if lines.pending_bytes() > 0 {
            self.counters.drops.add(DropReason::UnfinishedLine, 1);
            tracing::debug!(source = %self.name, peer = %self.peer, bytes = lines.pending_bytes(),
                "the connection broke within a line, which is dropped");
        }
    }

    /// Reads until the client has ended its side or has sent what cannot be read.
    async fn talk(&mut self, lines: &mut Lines) -> Result<(), Over> {
        let client = Arc::clone(&self.client);
        loop {
            // It lives only here: ten thousand idle sessions hold no buffer.
            let mut read = Unread::new(self.lost.clone());
            self.no_room = None;
            tokio::select! {
                ended = self.stride.read(&mut self.stream, &client, lines.pending_bytes(), &mut read.bytes) => {
                    ended.map_err(|_| Over)?;
                }
                () = self.stop.wait() => return Err(Over),
                () = client.told_to_go() => return Err(Over),
            }
            let busy = client.busy();
            if read.bytes.is_empty() {
                return match lines.finish() {
                    Ok(last) => self.take(last.into_iter().collect()).await,
                    Err(why) => self.refuse(Vec::new(), why).await,
                };
            }
            while let Some(mut part) = self.stride.part(&mut read.bytes) {
                let mut complete = Vec::new();
                let fed = lines.feed(&part.take_bytes(), &mut complete);
                match fed {
                    Ok(()) => {
                        if !complete.is_empty() {
                            client.is_heard();
                        }
                        self.take(complete).await?;
                    }
                    Err(why) => {
                        // Of what follows on a connection that is closed for its line nothing is read.
                        read.bytes.clear();
                        return self.refuse(complete, why).await;
                    }
                }
            }
            drop((busy, read));
            client.shrink(unfinished_bytes(lines.pending_bytes()));
        }
    }

    /// Ends a connection of which no further line can be read, behind the lines `before`.
    async fn refuse(&mut self, before: Vec<Bytes>, why: Unreadable) -> Result<(), Over> {
        self.counters.event_read_fail.add(1);
        self.count_unanswered(DropReason::Unreadable, 1);
        // Unlike in Flume, where whole lines that came in one read with bytes that are no text are
        // dropped: on where a read ends, a client has no say.
        self.take(before).await?;
        match why {
            Unreadable::TooLong => {
                let max = self.rules.line_units_max;
                if let Some(words) =
                    self.words("a line exceeds max-line-length; closing the connection")
                {
                    tracing::warn!(source = %self.name, peer = %self.peer, max, "{words}");
                }
                let answer = format!(
                    "FAILED: Event exceeds the maximum length ({max} chars, including newline)\n"
                );
                self.answer(answer.as_bytes()).await
            }
            Unreadable::NoText => {
                if let Some(words) = self.words(
                    "bytes that are no text of this source's encoding; closing the connection",
                ) {
                    tracing::warn!(source = %self.name, peer = %self.peer, "{words}");
                }
                Ok(())
            }
        }
    }

    /// Commits `lines` and answers each.
    async fn take(&mut self, lines: Vec<Bytes>) -> Result<(), Over> {
        let most = self.intake.transaction_capacity().max(1);
        self.untaken.lines = lines.len();
        for batch in lines.chunks(most) {
            // A client that waits for answers sends again what it got none for. Of one that does not,
            // what was read is taken as long as the channel takes it.
            if self.rules.acks && self.stop.fired() {
                return Err(Over);
            }
            self.counters.batch_received(batch.len() as u64);
            if self.no_room.is_some() {
                self.answer_no_room(batch.len()).await?;
                continue;
            }
            let events = batch.iter().cloned().map(Event::new).collect();
            match self.intake.commit(events).await {
                Ok(()) => {
                    self.counters.batch_accepted();
                    self.untaken.lines -= batch.len();
                    self.answer_ok(batch.len()).await?;
                }
                Err(CommitError::Refused(_)) if batch.len() > 1 => self.take_singly(batch).await?,
                Err(error) => {
                    self.answer_failed(batch.len(), &error).await?;
                    if self.stop.fired() {
                        return Err(Over);
                    }
                }
            }
        }
        Ok(())
    }

    /// What the channel refuses together it may take in part.
    async fn take_singly(&mut self, lines: &[Bytes]) -> Result<(), Over> {
        for (at, line) in lines.iter().enumerate() {
            if self.stop.fired() {
                return Err(Over);
            }
            if self.no_room.is_some() {
                return self.answer_no_room(lines.len() - at).await;
            }
            match self.intake.commit(vec![Event::new(line.clone())]).await {
                Ok(()) => {
                    self.untaken.lines -= 1;
                    self.answer_ok(1).await?;
                }
                Err(error) => self.answer_failed(1, &error).await?,
            }
        }
        Ok(())
    }

    async fn answer_ok(&mut self, lines: usize) -> Result<(), Over> {
        if self.rules.acks { self.answer(&b"OK\n".repeat(lines)).await } else { Ok(()) }
    }

    async fn answer_failed(&mut self, lines: usize, error: &CommitError) -> Result<(), Over> {
        let reason = match error {
            // Clients of Flume may know this sentence.
            CommitError::Refused(Refusal::Full { .. }) => FULL.to_owned(),
            other => other.to_string().replace(['\n', '\r'], " "),
        };
        if let CommitError::Refused(refusal) = error
            && has_no_room(refusal)
        {
            self.no_room = Some(reason.clone());
        }
        let answered = self.answer_failure(lines, &reason).await;
        let cause = match answered {
            Ok(()) => "lines not taken; the client is notified",
            Err(Over) => "lines not taken, and the client could not be notified",
        };
        if let Some(words) = self.words(cause) {
            tracing::warn!(source = %self.name, peer = %self.peer, lines, %error, "{words}");
        }
        answered
    }

    /// Answers lines that were not tried.
    async fn answer_no_room(&mut self, lines: usize) -> Result<(), Over> {
        let reason = self.no_room.clone().unwrap_or_default();
        self.counters.channel_write_fail.add(1);
        self.answer_failure(lines, &reason).await
    }

    async fn answer_failure(&mut self, lines: usize, reason: &str) -> Result<(), Over> {
        self.answer(format!("FAILED: {reason}\n").repeat(lines).as_bytes()).await?;
        self.count_unanswered(DropReason::Refused, lines as u64);
        self.untaken.lines -= lines;
        Ok(())
    }

    /// Counts lines that are not taken: a client that waits for no answers does not send them again.
    fn count_unanswered(&self, reason: DropReason, lines: u64) {
        if !self.rules.acks {
            self.counters.drops.add(reason, lines);
        }
    }

    /// Sends, for as long as a client may reasonably take to read.
    async fn answer(&mut self, bytes: &[u8]) -> Result<(), Over> {
        tokio::select! {
            biased;
            sent = self.stream.write_all(bytes) => sent.map_err(|_| Over),
            () = self.stop.wait() => Err(Over),
            () = tokio::time::sleep(Duration::from_secs(ANSWER_SECONDS_MAX)) => {
                if let Some(words) =
                    self.words("the client does not read its answers; closing the connection")
                {
                    tracing::warn!(source = %self.name, peer = %self.peer, seconds = ANSWER_SECONDS_MAX, "{words}");
                }
                Err(Over)
            }
        }
    }

    /// What is to be said of `cause`, if anything: clients can cause it as often as they like.
    fn words(&self, cause: &'static str) -> Option<String> {
        self.rules.client_errors.note(self.clock.now(), cause, cause)
    }
}

/// Whether it is for want of room, and so a matter of waiting.
fn has_no_room(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Full { .. } | Refusal::FullOfBytes { .. } | Refusal::NoSpace(_))
}

const FULL: &str = "Space for commit to queue couldn't be acquired. Sinks are likely not keeping \
    up with sources, or the buffer size is too tight";
