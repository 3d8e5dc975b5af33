//! Requests in frames: the reading and answering that Thrift's sources share.

use super::listener::Arrival;
use crate::base::limits::{
    ANSWER_SECONDS_MAX, CONNECTION_READ_BYTES, REQUEST_IDLE_SECONDS_MAX, REQUEST_READ_BYTES_MAX,
};
use crate::flow::client_limits::{Connection, NoRoom};
use crate::flow::source::SourceContext;
use crate::metrics::{Client, Contact, UnheardConnection};
use crate::net::stream::Stream;
use crate::wire::thrift::{ThriftError, frame};
use bytes::{Bytes, BytesMut};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

/// Bytes of a frame that what was read of the next one may keep in memory.
const FRAME_BYTES_SHARED_MAX: usize = 64 * 1024;

/// One connection and what it needs.
pub(crate) struct Framed {
    pub(crate) context: Arc<SourceContext>,
    pub(crate) peer: SocketAddr,
    stream: Stream,
    client: Arc<Connection>,
    /// What has come and is not cut yet; without memory of its own while the client is idle.
    input: BytesMut,
    frame_bytes_max: usize,
    request_timeout: Duration,
    /// For who watches whether the client is still there.
    contact: Option<Contact>,
    /// The same until a request has come.
    unheard: Option<UnheardConnection>,
    /// Whether the last frame was a large one, whose memory `input` may share.
    was_large: bool,
}

/// Why the session is over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Over {
    #[error("the client is gone")]
    Gone,
    #[error("the source stops")]
    Stopping,
    #[error("it gives way to others")]
    GivesWay,
    #[error("what the client sends cannot be read: {0}")]
    Unreadable(#[from] ThriftError),
    #[error(
        "the client sends a request of {bytes} bytes and {max} are allowed; let it send smaller batches, or raise that limit of the source"
    )]
    TooLong { bytes: usize, max: usize },
    #[error("the client has sent nothing for {REQUEST_IDLE_SECONDS_MAX} s within a request")]
    Idle,
    #[error(
        "the client has not completed a request within {} ms; let it send smaller batches, or raise requestTimeout",
        .0.as_millis()
    )]
    Slow(Duration),
    #[error("too many large requests at once, or one that is too large: {0}")]
    NoRoom(#[from] NoRoom),
    #[error("the client has not read its answers for {ANSWER_SECONDS_MAX} s")]
    Deaf,
    #[error("understanding a request ended by a defect: {0}")]
    Defect(#[from] io::Error),
}

impl Over {
    /// What tells one cause from another in the log.
    fn kind(&self) -> &'static str {
        match self {
            Self::Gone => "gone",
            Self::Stopping => "stopping",
            Self::GivesWay => "gives way",
            Self::Unreadable(_) => "unreadable",
            Self::TooLong { .. } => "too long",
            Self::Idle => "idle",
            Self::Slow(_) => "slow",
            Self::NoRoom(_) => "no room",
            Self::Deaf => "deaf",
            Self::Defect(_) => "defect",
        }
    }
}

impl Framed {
    /// The connection, greeted; `None` when that failed.
    pub(crate) async fn greet(
        arrival: Arrival,
        context: Arc<SourceContext>,
        frame_bytes_max: usize,
        request_timeout: Duration,
    ) -> Option<Self> {
        let (peer, client) = (arrival.peer, Arc::clone(&arrival.client));
        let stream = arrival.greet().await?;
        // Answers are small and each is waited for.
        let _ = stream.socket().set_nodelay(true);
        let input = BytesMut::new();
        let unheard = context.counters.clients.connected(peer.ip());
        Some(Self {
            context,
            peer,
            stream,
            client,
            input,
            frame_bytes_max,
            request_timeout,
            contact: None,
            unheard,
            was_large: false,
        })
    }

    /// The next request.
    pub(crate) async fn next(&mut self) -> Result<Bytes, Over> {
        // What is left of the next frame shares the memory of the one that was large.
        if std::mem::take(&mut self.was_large) {
            self.input = BytesMut::from(&self.input[..]);
        }
        self.client.shrink(self.input.len());
        let mut whole_by = None;
        loop {
            if self.context.stop.fired() {
                return Err(Over::Stopping);
            }
            let frame = frame::next(&mut self.input, self.frame_bytes_max);
            let frame = frame.map_err(|error| match error {
                ThriftError::TooLong { bytes, max } => Over::TooLong { bytes, max },
                other => Over::Unreadable(other),
            });
            if let Some(frame) = frame? {
                self.was_large = frame.len() > FRAME_BYTES_SHARED_MAX;
                self.is_heard();
                return Ok(frame);
            }
            if self.input.is_empty() {
                self.input = BytesMut::new();
            } else {
                whole_by.get_or_insert_with(|| Instant::now() + self.request_timeout);
            }
            self.read(&mut whole_by).await?;
        }
    }

    /// What it may take, to say when a request is being carried out.
    pub(crate) fn client(&self) -> Arc<Connection> {
        Arc::clone(&self.client)
    }

    /// The events of a request are in a channel.
    pub(crate) fn is_accepted(&self) {
        self.contact.iter().for_each(Contact::accepted);
    }

    /// A request has come: the client is one that counts, by its address.
    fn is_heard(&mut self) {
        match &self.contact {
            Some(contact) => contact.message(),
            None => {
                let shown = self.stream.peer_certificate();
                let certificate = shown.as_ref().map_or("", |shown| shown.name());
                let client = Client::new(self.peer.ip(), "", "").with_certificate(certificate);
                self.contact = self.context.counters.clients.meet(client);
                self.unheard = None;
            }
        }
    }

    /// Reads once, more at a time the larger the request gets.
    async fn read(&mut self, whole_by: &mut Option<Instant>) -> Result<(), Over> {
        let held = self.input.len();
        let step = held.clamp(CONNECTION_READ_BYTES, REQUEST_READ_BYTES_MAX);
        if whole_by.is_none() {
            // Nothing is held for a client that is silent.
            tokio::select! {
                ready = self.stream.ready() => ready.map_err(|_| Over::Gone)?,
                () = self.context.stop.wait() => return Err(Over::Stopping),
                () = self.client.told_to_go() => return Err(Over::GivesWay),
            }
        }
        let asked = Instant::now();
        if whole_by.is_some() || self.stream.tells_ready() {
            self.hold(held + step).await?;
        }
        // That it waited for memory is not the client's fault.
        *whole_by = whole_by.map(|by| by + asked.elapsed());
        let idle_by = Instant::now() + Duration::from_secs(REQUEST_IDLE_SECONDS_MAX);
        tokio::select! {
            biased;
            () = self.context.stop.wait() => Err(Over::Stopping),
            () = sleep_until(whole_by.unwrap_or(idle_by)), if whole_by.is_some() => {
                Err(Over::Slow(self.request_timeout))
            }
            read = self.stream.read_some(&mut self.input, step) => match read {
                Ok(1..) => Ok(()),
                Ok(0) | Err(_) => Err(Over::Gone),
            },
            () = sleep_until(idle_by), if whole_by.is_some() => Err(Over::Idle),
            () = self.client.told_to_go() => Err(Over::GivesWay),
        }
    }

    /// Grows until `bytes` may be held, together with other clients.
    pub(crate) async fn hold(&mut self, bytes: usize) -> Result<(), Over> {
        tokio::select! {
            room = self.client.hold(bytes) => Ok(room?),
            () = self.context.stop.wait() => Err(Over::Stopping),
        }
    }

    /// Sends, for as long as a client may reasonably take to read.
    pub(crate) async fn answer(&mut self, mut out: Vec<u8>) -> Result<(), Over> {
        frame::finish(&mut out);
        let sent = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        tokio::select! {
            biased;
            sent = sent => sent.map_err(|_| Over::Gone),
            () = self.context.stop.wait() => Err(Over::Stopping),
            () = tokio::time::sleep(Duration::from_secs(ANSWER_SECONDS_MAX)) => Err(Over::Deaf),
        }
    }

    /// Says why the session is over, where somebody should know.
    pub(crate) fn say(&self, over: &Over) {
        let (source, peer) = (&self.context.name, self.peer);
        if matches!(over, Over::Unreadable(_) | Over::TooLong { .. }) {
            self.context.counters.event_read_fail.add(1);
        }
        match over {
            Over::Gone | Over::Stopping | Over::GivesWay => {
                if !self.input.is_empty() {
                    tracing::debug!(%source, %peer, "the connection broke within a request, which is dropped: {over}");
                }
            }
            _ => {
                let cause = format!("closing the connection: {over}");
                self.context.client_error(&peer, over.kind(), &cause);
            }
        }
    }
}
