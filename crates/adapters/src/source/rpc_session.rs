//! A connection of calls and replies: the reading, committing and replying that the Avro and the Thrift sources share.

use super::listener::PendingSession;
use crate::wire::avro::AvroError;
use crate::wire::avro::protocol::ProtocolMismatch;
use crate::wire::thrift::ThriftError;
use bytes::BytesMut;
use millpond::Event;
use millpond_flow::base::limits::{ANSWER_SECONDS_MAX, REQUEST_IDLE_SECONDS_MAX};
use millpond_flow::client_limits::{AdmittedConnection, MemoryDenied};
use millpond_flow::metrics::{ClientConnection, ClientId, SilentConnection};
use millpond_flow::net::stream::Stream;
use millpond_flow::source::SourceContext;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

/// One connection and its resources.
pub(crate) struct RpcSession {
    pub(crate) context: Arc<SourceContext>,
    pub(crate) peer: SocketAddr,
    stream: Stream,
    client: Arc<AdmittedConnection>,
    /// Received bytes not split into requests yet; holds no memory while the client is idle.
    pub(crate) input: BytesMut,
    request_timeout: Duration,
    /// Deadline of the request that has begun to arrive.
    whole_by: Option<Instant>,
    /// For the component that watches whether the client is still connected.
    contact: Option<ClientConnection>,
    /// Set instead of `contact` until the client is known.
    unheard: Option<SilentConnection>,
}

/// The reason why a session ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RpcSessionEnd {
    #[error("the client has disconnected")]
    Gone,
    #[error("the source stops")]
    Stopping,
    #[error("it is closed to make room for others")]
    Evicted,
    #[error("what the client sends cannot be read: {0}")]
    UnreadableAvro(#[from] AvroError),
    #[error("what the client sends cannot be read: {0}")]
    UnreadableThrift(#[from] ThriftError),
    #[error("{0}")]
    Foreign(ProtocolMismatch),
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
    NoRoom(#[from] MemoryDenied),
    #[error("the client has not read its replies for {ANSWER_SECONDS_MAX} s")]
    WriteTimeout,
    #[error("decoding a request ended by a defect: {0}")]
    Defect(#[from] io::Error),
}

impl RpcSessionEnd {
    /// Returns the key of the cause for the log throttle; `None` for an end that is not an error.
    fn kind(&self) -> Option<&'static str> {
        Some(match self {
            Self::Gone | Self::Stopping | Self::Evicted => return None,
            Self::UnreadableAvro(_) | Self::UnreadableThrift(_) => "unreadable",
            Self::Foreign(_) => "foreign",
            Self::TooLong { .. } => "too long",
            Self::Idle => "idle",
            Self::Slow(_) => "slow",
            Self::NoRoom(_) => "no room",
            Self::WriteTimeout => "deaf",
            Self::Defect(_) => "defect",
        })
    }

    /// Returns whether what the client sends is the cause.
    fn is_of_content(&self) -> bool {
        matches!(
            self,
            Self::UnreadableAvro(_)
                | Self::UnreadableThrift(_)
                | Self::Foreign(_)
                | Self::TooLong { .. }
        )
    }
}

impl RpcSession {
    /// Performs the handshake of TLS and returns the session; `None` when it failed.
    pub(crate) async fn greet(
        arrival: PendingSession,
        context: Arc<SourceContext>,
        request_timeout: Duration,
    ) -> Option<Self> {
        let (peer, client) = (arrival.peer, Arc::clone(&arrival.client));
        let stream = arrival.greet().await?;
        // Replies are small and each is waited for.
        let _ = stream.socket().set_nodelay(true);
        let unheard = context.counters.clients.connected(peer.ip());
        Some(Self {
            context,
            peer,
            stream,
            client,
            input: BytesMut::new(),
            request_timeout,
            whole_by: None,
            contact: None,
            unheard,
        })
    }

    /// Returns the client's account, to mark that a request is being carried out.
    pub(crate) fn client(&self) -> Arc<AdmittedConnection> {
        Arc::clone(&self.client)
    }

    /// Returns whether the source stops.
    pub(crate) fn is_stopping(&self) -> bool {
        self.context.stop.fired()
    }

    /// Marks that a request has begun: its time limit runs.
    pub(crate) fn request_begun(&mut self) {
        self.whole_by.get_or_insert_with(|| Instant::now() + self.request_timeout);
    }

    /// Marks that the request is whole.
    pub(crate) fn request_complete(&mut self) {
        self.whole_by = None;
    }

    /// Counts the client by its address from now on, with the names that it states.
    pub(crate) fn meet(&mut self, agent: &str, sink: &str) {
        let shown = self.stream.peer_certificate();
        let certificate = shown.as_ref().map_or("", |shown| shown.name());
        let client = ClientId::new(self.peer.ip(), agent, sink).with_certificate(certificate);
        self.contact = self.context.counters.clients.meet(client);
        self.unheard = None;
    }

    /// Marks that a request of a known client has come; returns whether it is known.
    pub(crate) fn note_request(&self) -> bool {
        self.contact.iter().for_each(ClientConnection::message);
        self.contact.is_some()
    }

    /// Reads at most `step` bytes, once. Their memory is reserved in addition to the `held` bytes of the request.
    pub(crate) async fn read(&mut self, held: usize, step: usize) -> Result<(), RpcSessionEnd> {
        if self.whole_by.is_none() {
            // A silent client holds no memory.
            tokio::select! {
                ready = self.stream.ready() => ready.map_err(|_| RpcSessionEnd::Gone)?,
                () = self.context.stop.wait() => return Err(RpcSessionEnd::Stopping),
                () = self.client.evicted() => return Err(RpcSessionEnd::Evicted),
            }
        }
        let asked = Instant::now();
        if self.whole_by.is_some() || self.stream.tells_ready() {
            self.hold(held + step).await?;
        }
        // The wait for memory does not count against the client.
        let whole_by = self.whole_by.map(|by| by + asked.elapsed());
        self.whole_by = whole_by;
        let idle_by = Instant::now() + Duration::from_secs(REQUEST_IDLE_SECONDS_MAX);
        tokio::select! {
            biased;
            () = self.context.stop.wait() => Err(RpcSessionEnd::Stopping),
            () = sleep_until(whole_by.unwrap_or(idle_by)), if whole_by.is_some() => {
                Err(RpcSessionEnd::Slow(self.request_timeout))
            }
            read = self.stream.read_some(&mut self.input, step) => match read {
                Ok(1..) => Ok(()),
                Ok(0) | Err(_) => Err(RpcSessionEnd::Gone),
            },
            () = sleep_until(idle_by), if whole_by.is_some() => Err(RpcSessionEnd::Idle),
            () = self.client.evicted() => Err(RpcSessionEnd::Evicted),
        }
    }

    /// Grows the client's reservation to `bytes`, shared with other clients.
    pub(crate) async fn hold(&self, bytes: usize) -> Result<(), RpcSessionEnd> {
        tokio::select! {
            room = self.client.hold(bytes) => Ok(room?),
            () = self.context.stop.wait() => Err(RpcSessionEnd::Stopping),
        }
    }

    /// Commits the event of a call; returns whether it is committed.
    pub(crate) async fn append(&self, event: Event) -> bool {
        let counters = &self.context.counters;
        counters.event_received.add(1);
        counters.append_received.add(1);
        let is_committed = self.commit(vec![event]).await;
        counters.append_accepted.add(u64::from(is_committed));
        is_committed
    }

    /// Commits the events of a call; returns whether they are committed.
    pub(crate) async fn append_batch(&self, events: Vec<Event>) -> bool {
        let counters = &self.context.counters;
        counters.batch_received(events.len() as u64);
        let is_committed = self.commit(events).await;
        if is_committed {
            counters.batch_accepted();
        }
        is_committed
    }

    async fn commit(&self, events: Vec<Event>) -> bool {
        let count = events.len();
        let Err(error) = self.context.intake.commit(events).await else {
            self.contact.iter().for_each(ClientConnection::accepted);
            return true;
        };
        self.context.batch_refused(&self.peer, count, &error);
        false
    }

    /// Counts and logs a call that is answered with an error; `kind` is the key for the log throttle.
    pub(crate) fn call_refused(&self, kind: &'static str, cause: &str) {
        self.context.counters.event_read_fail.add(1);
        self.context.client_error(&self.peer, kind, cause);
    }

    /// Sends `out`, within the time limit for a client that does not read.
    pub(crate) async fn answer(&mut self, out: Vec<u8>) -> Result<(), RpcSessionEnd> {
        let sent = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        tokio::select! {
            biased;
            sent = sent => sent.map_err(|_| RpcSessionEnd::Gone),
            () = self.context.stop.wait() => Err(RpcSessionEnd::Stopping),
            () = tokio::time::sleep(Duration::from_secs(ANSWER_SECONDS_MAX)) => Err(RpcSessionEnd::WriteTimeout),
        }
    }

    /// Logs why the session ended, if it matters: `is_within` says whether a request had begun. Returns the stream.
    pub(crate) fn end(self, over: &RpcSessionEnd, is_within: bool) -> Stream {
        let (source, peer) = (&self.context.name, self.peer);
        if over.is_of_content() {
            self.context.counters.event_read_fail.add(1);
        }
        match over.kind() {
            Some(kind) => {
                let cause = format!("closing the connection: {over}");
                self.context.client_error(&peer, kind, &cause);
            }
            None if is_within => {
                tracing::debug!(%source, %peer, "the connection broke within a request, which is dropped: {over}");
            }
            None => {}
        }
        self.stream
    }
}
