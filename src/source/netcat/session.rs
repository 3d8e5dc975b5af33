//! One connection.

use super::lines::{Lines, Unreadable};
use crate::base::limits::ANSWER_SECONDS_MAX;
use crate::channel::{CommitError, Refusal};
use crate::event::Event;
use crate::flow::context::{Intake, StopSignal};
use crate::metrics::SourceCounters;
use crate::net::stream::Stream;
use crate::source::listener::farewell;
use crate::source::stride::Stride;
use crate::wire::charset::Charset;
use bytes::{Bytes, BytesMut};
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
}

/// One connection and what it needs.
pub(super) struct Session {
    pub(super) name: Arc<str>,
    pub(super) peer: SocketAddr,
    pub(super) stream: Stream,
    pub(super) stride: Stride,
    pub(super) rules: Arc<Rules>,
    pub(super) intake: Arc<dyn Intake>,
    pub(super) stop: StopSignal,
    pub(super) counters: Arc<SourceCounters>,
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
            tracing::debug!(source = %self.name, peer = %self.peer, bytes = lines.pending_bytes(),
                "the connection broke within a line, which is dropped");
        }
    }

    /// Reads until the client has ended its side or has sent what cannot be read.
    async fn talk(&mut self, lines: &mut Lines) -> Result<(), Over> {
        loop {
            // It lives only here: ten thousand idle sessions hold no buffer.
            let mut read = BytesMut::new();
            tokio::select! {
                ended = self.stream.read_some(&mut read, self.stride.bytes()) => {
                    self.stride.brought(ended.map_err(|_| Over)?);
                }
                () = self.stop.wait() => return Err(Over),
            }
            let mut complete = Vec::new();
            match feed(&read, lines, &mut complete) {
                Fed::More => self.take(complete).await?,
                Fed::End(last) => {
                    complete.extend(last);
                    return self.take(complete).await;
                }
                Fed::Unreadable(Unreadable::TooLong) => {
                    self.counters.event_read_fail.add(1);
                    self.take(complete).await?;
                    let max = self.rules.line_units_max;
                    tracing::warn!(source = %self.name, peer = %self.peer, max,
                        "a line exceeds max-line-length; closing the connection");
                    let answer = format!(
                        "FAILED: Event exceeds the maximum length ({max} chars, including newline)\n"
                    );
                    return self.answer(answer.as_bytes()).await;
                }
                Fed::Unreadable(Unreadable::NoText) => {
                    self.counters.event_read_fail.add(1);
                    tracing::warn!(source = %self.name, peer = %self.peer,
                        "bytes that are no text of this source's encoding; closing the connection");
                    // Like Flume, nothing of this read is taken or answered: the client knows
                    // that it has to send it again. Without answers it knows nothing, and what
                    // can be read is kept.
                    return if self.rules.acks { Ok(()) } else { self.take(complete).await };
                }
            }
        }
    }

    /// Commits `lines` and answers each.
    async fn take(&mut self, lines: Vec<Bytes>) -> Result<(), Over> {
        let most = self.intake.transaction_capacity().max(1);
        for batch in lines.chunks(most) {
            if self.stop.fired() {
                return Err(Over);
            }
            self.counters.batch_received(batch.len() as u64);
            let events = batch.iter().cloned().map(Event::new).collect();
            match self.intake.commit(events).await {
                Ok(()) => {
                    self.counters.batch_accepted();
                    self.answer_ok(batch.len()).await?;
                }
                Err(CommitError::Refused(_)) if batch.len() > 1 => self.take_singly(batch).await?,
                Err(error) => self.answer_failed(batch.len(), &error).await?,
            }
        }
        Ok(())
    }

    /// What the channel refuses together it may take in part.
    async fn take_singly(&mut self, lines: &[Bytes]) -> Result<(), Over> {
        for line in lines {
            if self.stop.fired() {
                return Err(Over);
            }
            match self.intake.commit(vec![Event::new(line.clone())]).await {
                Ok(()) => self.answer_ok(1).await?,
                Err(error) => self.answer_failed(1, &error).await?,
            }
        }
        Ok(())
    }

    async fn answer_ok(&mut self, lines: usize) -> Result<(), Over> {
        if self.rules.acks { self.answer(&b"OK\n".repeat(lines)).await } else { Ok(()) }
    }

    async fn answer_failed(&mut self, lines: usize, error: &CommitError) -> Result<(), Over> {
        tracing::warn!(source = %self.name, peer = %self.peer, lines, %error,
            "lines not taken; the client is told");
        let reason = match error {
            // Clients of Flume may know this sentence.
            CommitError::Refused(Refusal::Full { .. }) => FULL.to_owned(),
            other => other.to_string().replace(['\n', '\r'], " "),
        };
        self.answer(format!("FAILED: {reason}\n").repeat(lines).as_bytes()).await
    }

    /// Sends, for as long as a client may reasonably take to read.
    async fn answer(&mut self, bytes: &[u8]) -> Result<(), Over> {
        tokio::select! {
            biased;
            sent = self.stream.write_all(bytes) => sent.map_err(|_| Over),
            () = self.stop.wait() => Err(Over),
            () = tokio::time::sleep(Duration::from_secs(ANSWER_SECONDS_MAX)) => {
                tracing::warn!(source = %self.name, peer = %self.peer, seconds = ANSWER_SECONDS_MAX,
                    "the client does not read its answers; closing the connection");
                Err(Over)
            }
        }
    }
}

const FULL: &str = "Space for commit to queue couldn't be acquired. Sinks are likely not keeping \
    up with sources, or the buffer size is too tight";

/// Looks for lines in what was read; nothing is the end.
fn feed(read: &[u8], lines: &mut Lines, complete: &mut Vec<Bytes>) -> Fed {
    let fed = if read.is_empty() {
        lines.finish().map(Fed::End)
    } else {
        lines.feed(read, complete).map(|()| Fed::More)
    };
    fed.unwrap_or_else(Fed::Unreadable)
}

/// What one read gave.
enum Fed {
    /// Perhaps lines; the connection goes on.
    More,
    /// The client has ended its side; the line without a newline, if any.
    End(Option<Bytes>),
    /// What ends the connection.
    Unreadable(Unreadable),
}
