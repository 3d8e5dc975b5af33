//! One netcat connection.

use super::lines::{LineError, LineFramer};
use crate::source::commit_retry::{LostMessages, UncommittedLines};
use crate::source::listener::lingering_close;
use crate::source::read_budget::{ReadSize, unfinished_bytes};
use bytes::Bytes;
use millpond::{Clock, CommitError, Event, RefusedReason};
use millpond_flow::base::limits::ANSWER_SECONDS_MAX;
use millpond_flow::client_error_log::ClientErrorLog;
use millpond_flow::client_limits::AdmittedConnection;
use millpond_flow::context::{Intake, StopSignal};
use millpond_flow::metrics::{DropReason, SourceCounters};
use millpond_flow::net::stream::Stream;
use millpond_flow::wire::charset::Charset;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// Rules shared by all sessions of a source.
#[derive(Debug)]
pub(super) struct NetcatOptions {
    pub(super) acks: bool,
    pub(super) line_units_max: usize,
    pub(super) charset: Charset,
    /// Throttles the log of client errors and refusals, over all sessions.
    pub(super) client_errors: ClientErrorLog,
}

/// One connection and its resources.
pub(super) struct NetcatSession {
    pub(super) name: Arc<str>,
    pub(super) peer: SocketAddr,
    pub(super) client: Arc<AdmittedConnection>,
    pub(super) stream: Stream,
    pub(super) read_size: ReadSize,
    pub(super) rules: Arc<NetcatOptions>,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) stop: StopSignal,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) counters: Arc<SourceCounters>,
    /// Counter of the messages lost at a stop by clients that wait for no reply; `None` where they wait.
    pub(super) lost: Option<Arc<LostMessages>>,
    /// Lines of the current read that are neither committed nor failed yet.
    pub(super) untaken: UncommittedLines,
    /// The reply to the first line of the current read for which a channel had no room. The remaining lines get it at
    /// once; otherwise each would wait for room just as long.
    pub(super) no_room: Option<String>,
}

/// The end of a session: the client has disconnected or does not read, or the source stops.
struct NetcatSessionEnd;

impl NetcatSession {
    pub(super) async fn run(mut self) {
        let mut lines = LineFramer::new(self.rules.charset, self.rules.line_units_max);
        if self.talk(&mut lines).await.is_ok() {
            lingering_close(self.stream).await;
        }
        if lines.pending_bytes() > 0 {
            self.counters.drops.add(DropReason::UnfinishedLine, 1);
            tracing::debug!(source = %self.name, peer = %self.peer, bytes = lines.pending_bytes(),
                "the connection broke within a line, which is dropped");
        }
    }

    /// Reads until the client ends its side or sends unreadable data.
    async fn talk(&mut self, lines: &mut LineFramer) -> Result<(), NetcatSessionEnd> {
        let client = Arc::clone(&self.client);
        loop {
            // Allocated per read: ten thousand idle sessions hold no buffer.
            let mut read = UncommittedLines::new(self.lost.clone());
            self.no_room = None;
            tokio::select! {
                ended = self.read_size.read(&mut self.stream, &client, lines.pending_bytes(), &mut read.bytes) => {
                    ended.map_err(|_| NetcatSessionEnd)?;
                }
                () = self.stop.wait() => return Err(NetcatSessionEnd),
                () = client.evicted() => return Err(NetcatSessionEnd),
            }
            let busy = client.busy();
            if read.bytes.is_empty() {
                return match lines.finish() {
                    Ok(last) => self.take(last.into_iter().collect()).await,
                    Err(why) => self.refuse(Vec::new(), why).await,
                };
            }
            while let Some(mut part) = self.read_size.part(&mut read.bytes) {
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
                        // Nothing after the bad line is read on a connection that is closed for it.
                        read.bytes.clear();
                        return self.refuse(complete, why).await;
                    }
                }
            }
            drop((busy, read));
            client.shrink(unfinished_bytes(lines.pending_bytes()));
        }
    }

    /// Ends a connection of which no further line can be read, after taking the lines `before`.
    async fn refuse(&mut self, before: Vec<Bytes>, why: LineError) -> Result<(), NetcatSessionEnd> {
        self.counters.event_read_fail.add(1);
        self.count_unanswered(DropReason::Unreadable, 1);
        // Unlike Flume, which drops whole lines that came in one read with bytes that are not text: a client does not
        // control where a read ends.
        self.take(before).await?;
        match why {
            LineError::TooLong => {
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
            LineError::NoText => {
                if let Some(words) = self.words(
                    "bytes that are not text of this source's encoding; closing the connection",
                ) {
                    tracing::warn!(source = %self.name, peer = %self.peer, "{words}");
                }
                Ok(())
            }
        }
    }

    /// Commits `lines` and sends the reply of each.
    async fn take(&mut self, lines: Vec<Bytes>) -> Result<(), NetcatSessionEnd> {
        let most = self.intake.transaction_capacity().max(1);
        self.untaken.lines = lines.len();
        for batch in lines.chunks(most) {
            // A client that waits for replies sends lines without a reply again. From a client that does not, what
            // was read is committed as long as the channel accepts it.
            if self.rules.acks && self.stop.fired() {
                return Err(NetcatSessionEnd);
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
                        return Err(NetcatSessionEnd);
                    }
                }
            }
        }
        Ok(())
    }

    /// Commits `lines` one by one: the channel may accept a part of what it refused as a whole.
    async fn take_singly(&mut self, lines: &[Bytes]) -> Result<(), NetcatSessionEnd> {
        for (at, line) in lines.iter().enumerate() {
            if self.stop.fired() {
                return Err(NetcatSessionEnd);
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

    async fn answer_ok(&mut self, lines: usize) -> Result<(), NetcatSessionEnd> {
        if self.rules.acks { self.answer(&b"OK\n".repeat(lines)).await } else { Ok(()) }
    }

    async fn answer_failed(
        &mut self,
        lines: usize,
        error: &CommitError,
    ) -> Result<(), NetcatSessionEnd> {
        let reason = match error {
            // Clients of Flume may expect this sentence.
            CommitError::Refused(RefusedReason::Full { .. }) => FULL.to_owned(),
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
            Err(NetcatSessionEnd) => "lines not taken, and the client could not be notified",
        };
        if let Some(words) = self.words(cause) {
            tracing::warn!(source = %self.name, peer = %self.peer, lines, %error, "{words}");
        }
        answered
    }

    /// Replies to lines that were not tried.
    async fn answer_no_room(&mut self, lines: usize) -> Result<(), NetcatSessionEnd> {
        let reason = self.no_room.clone().unwrap_or_default();
        self.counters.channel_write_fail.add(1);
        self.answer_failure(lines, &reason).await
    }

    async fn answer_failure(&mut self, lines: usize, reason: &str) -> Result<(), NetcatSessionEnd> {
        self.answer(format!("FAILED: {reason}\n").repeat(lines).as_bytes()).await?;
        self.count_unanswered(DropReason::Refused, lines as u64);
        self.untaken.lines -= lines;
        Ok(())
    }

    /// Counts refused lines as dropped when the client waits for no replies, as it does not send them again.
    fn count_unanswered(&self, reason: DropReason, lines: u64) {
        if !self.rules.acks {
            self.counters.drops.add(reason, lines);
        }
    }

    /// Sends `bytes`, within the time limit for a client that does not read.
    async fn answer(&mut self, bytes: &[u8]) -> Result<(), NetcatSessionEnd> {
        tokio::select! {
            biased;
            sent = self.stream.write_all(bytes) => sent.map_err(|_| NetcatSessionEnd),
            () = self.stop.wait() => Err(NetcatSessionEnd),
            () = tokio::time::sleep(Duration::from_secs(ANSWER_SECONDS_MAX)) => {
                if let Some(words) =
                    self.words("the client does not read its replies; closing the connection")
                {
                    tracing::warn!(source = %self.name, peer = %self.peer, seconds = ANSWER_SECONDS_MAX, "{words}");
                }
                Err(NetcatSessionEnd)
            }
        }
    }

    /// Returns the message to log for `cause`, if the throttle allows one: clients can cause it at will.
    fn words(&self, cause: &'static str) -> Option<String> {
        self.rules.client_errors.note(self.clock.now(), cause, cause)
    }
}

/// Returns whether the refusal is for lack of room, which waiting may cure.
fn has_no_room(refusal: &RefusedReason) -> bool {
    matches!(
        refusal,
        RefusedReason::Full { .. } | RefusedReason::FullOfBytes { .. } | RefusedReason::NoSpace(_)
    )
}

const FULL: &str = "Space for commit to queue couldn't be acquired. Sinks are likely not keeping \
    up with sources, or the buffer size is too tight";
