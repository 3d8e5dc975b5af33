//! One connection.

use crate::base::limits::{
    ANSWER_SECONDS_MAX, AVRO_PROTOCOLS_KNOWN_MAX, CONNECTION_READ_BYTES, REQUEST_IDLE_SECONDS_MAX,
    REQUEST_READ_BYTES_MAX,
};
use crate::event::Event;
use crate::flow::client_limits::{Connection, NoRoom};
use crate::flow::context::{Intake, StopSignal};
use crate::flow::source::SourceContext;
use crate::metrics::{Client, Contact, SourceCounters, UnheardConnection};
use crate::net::stream::Stream;
use crate::source::aside::aside;
use crate::source::listener::farewell;
use crate::wire::avro::WireError;
use crate::wire::avro::call::{Answer, Call, Measured, TOO_LARGE, UNREADABLE};
use crate::wire::avro::frame::{self, Frame, Frames};
use crate::wire::avro::handshake::{Request, Response};
use crate::wire::avro::protocol::{self, Foreign, HASH, Hash};
use crate::wire::avro::values::Values;
use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, sleep_until};

/// The protocols of clients that a source has seen and understands, by their hashes. A client
/// that comes again is not asked for its text again.
#[derive(Debug, Default)]
pub(super) struct Acquaintances(Mutex<VecDeque<Hash>>);

/// Whether a client can be understood.
enum Understood {
    Known,
    /// It has to send its text.
    Unknown,
    Foreign(Foreign),
}

impl Acquaintances {
    fn meet(&self, request: &Request<'_>) -> Understood {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if request.client_hash == HASH || known.contains(&request.client_hash) {
            return Understood::Known;
        }
        let Some(text) = request.client_text else { return Understood::Unknown };
        if let Err(foreign) = protocol::check(text) {
            return Understood::Foreign(foreign);
        }
        // Under another hash than its own a text would vouch for a protocol that nobody has looked at.
        if protocol::hash(text) == request.client_hash {
            if known.len() == AVRO_PROTOCOLS_KNOWN_MAX {
                known.pop_front();
            }
            known.push_back(request.client_hash);
        }
        Understood::Known
    }
}

/// One connection and what it needs.
pub(super) struct Session {
    name: Arc<str>,
    peer: SocketAddr,
    stream: Stream,
    client: Arc<Connection>,
    acquaintances: Arc<Acquaintances>,
    intake: Arc<dyn Intake>,
    stop: StopSignal,
    frames: Frames,
    /// What has come and is not cut yet; without memory of its own while the client is idle.
    input: BytesMut,
    /// Whether the handshake is over.
    established: bool,
    request_timeout: Duration,
    /// When the request of which a part has come must be whole.
    whole_by: Option<Instant>,
    counters: Arc<SourceCounters>,
    /// For who watches whether the client is still there.
    contact: Option<Contact>,
    /// The same until it is known who the client is.
    unheard: Option<UnheardConnection>,
    /// For what the log is told of clients.
    context: SourceContext,
}

/// What a client's request may take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Bytes of one, and how long it may take to come.
    pub(super) request_bytes: usize,
    pub(super) request_timeout: Duration,
}

/// Why the session is over.
#[derive(Debug, thiserror::Error)]
enum Over {
    #[error("the client is gone")]
    Gone,
    #[error("the source stops")]
    Stopping,
    #[error("it gives way to others")]
    GivesWay,
    #[error("what the client sends cannot be read: {0}")]
    Unreadable(#[from] WireError),
    #[error("{0}")]
    Foreign(Foreign),
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
            Self::Foreign(_) => "foreign",
            Self::Idle => "idle",
            Self::Slow(_) => "slow",
            Self::NoRoom(_) => "no room",
            Self::Deaf => "deaf",
            Self::Defect(_) => "defect",
        }
    }
}

impl Session {
    pub(super) fn new(
        name: Arc<str>,
        peer: SocketAddr,
        stream: Stream,
        client: Arc<Connection>,
        acquaintances: Arc<Acquaintances>,
        Bounds { request_bytes, request_timeout }: Bounds,
        context: &SourceContext,
    ) -> Self {
        Self {
            name,
            peer,
            stream,
            client,
            acquaintances,
            intake: context.intake.clone(),
            stop: context.stop.clone(),
            frames: Frames::with_max(request_bytes),
            input: BytesMut::new(),
            established: false,
            request_timeout,
            whole_by: None,
            counters: context.counters.clone(),
            unheard: context.counters.clients.connected(peer.ip()),
            contact: None,
            context: context.clone(),
        }
    }

    pub(super) async fn run(mut self) {
        // Answers are small and each is waited for.
        let _ = self.stream.socket().set_nodelay(true);
        let Err(over) = self.talk().await else { return };
        let within = self.is_within();
        if matches!(over, Over::Unreadable(_) | Over::Foreign(_)) {
            self.counters.event_read_fail.add(1);
        }
        match over {
            Over::Gone | Over::Stopping | Over::GivesWay if within => {
                tracing::debug!(source = %self.name, peer = %self.peer, "the connection broke within a request, which is dropped: {over}");
            }
            Over::Gone | Over::Stopping | Over::GivesWay => {}
            _ => {
                let cause = format!("closing the connection: {over}");
                self.context.client_error(&self.peer, over.kind(), &cause);
            }
        }
        if matches!(over, Over::Foreign(_)) {
            farewell(self.stream).await;
        }
    }

    /// Carries out calls until the session is over.
    async fn talk(&mut self) -> Result<(), Over> {
        let client = Arc::clone(&self.client);
        loop {
            while let Some(frame) = self.frames.next(&mut self.input)? {
                self.whole_by = None;
                let busy = client.busy();
                self.serve(frame).await?;
                client.is_heard();
                drop(busy);
                client.shrink(self.input.len());
                if self.stop.fired() {
                    return Err(Over::Stopping);
                }
            }
            if self.input.is_empty() {
                self.input = BytesMut::new();
            }
            if self.is_within() {
                self.whole_by.get_or_insert_with(|| Instant::now() + self.request_timeout);
            }
            self.read().await?;
        }
    }

    /// Whether a request has begun and not ended.
    fn is_within(&self) -> bool {
        self.frames.is_within() || !self.input.is_empty()
    }

    /// Reads once, more at a time the larger the request gets: what was announced, but not much more
    /// than has come already.
    async fn read(&mut self) -> Result<(), Over> {
        let held = self.frames.held_bytes();
        let step = self.frames.missing_bytes().map_or(held, |missing| missing.min(4 * held));
        let step = step.clamp(CONNECTION_READ_BYTES, REQUEST_READ_BYTES_MAX);
        let client = Arc::clone(&self.client);
        if self.whole_by.is_none() {
            // Nothing is held for a client that is silent.
            tokio::select! {
                ready = self.stream.ready() => ready.map_err(|_| Over::Gone)?,
                () = self.stop.wait() => return Err(Over::Stopping),
                () = client.told_to_go() => return Err(Over::GivesWay),
            }
        }
        let asked = Instant::now();
        if self.whole_by.is_some() || self.stream.tells_ready() {
            tokio::select! {
                room = client.hold(held + step) => room?,
                () = self.stop.wait() => return Err(Over::Stopping),
            }
        }
        // That it waited for memory is not the client's fault.
        let whole_by = self.whole_by.map(|by| by + asked.elapsed());
        self.whole_by = whole_by;
        let idle_by = Instant::now() + Duration::from_secs(REQUEST_IDLE_SECONDS_MAX);
        tokio::select! {
            biased;
            () = self.stop.wait() => Err(Over::Stopping),
            () = sleep_until(whole_by.unwrap_or(idle_by)), if whole_by.is_some() => {
                Err(Over::Slow(self.request_timeout))
            }
            read = self.stream.read_some(&mut self.input, step) => match read {
                Ok(1..) => Ok(()),
                Ok(0) | Err(_) => Err(Over::Gone),
            },
            () = sleep_until(idle_by), if whole_by.is_some() => Err(Over::Idle),
            () = client.told_to_go() => Err(Over::GivesWay),
        }
    }

    /// Carries out one call, or answers its handshake.
    async fn serve(&mut self, Frame { serial, message, is_whole }: Frame) -> Result<(), Over> {
        let mut out = frame::begin();
        let mut values = Values::new(&message);
        let mut foreign = None;
        if !self.established {
            let request = Request::decode(&mut values)?;
            let understood = self.acquaintances.meet(&request);
            let knows = !matches!(understood, Understood::Unknown);
            Response::to(&request, knows).encode(&mut out);
            match understood {
                Understood::Known => self.is_known(&request),
                Understood::Unknown => return self.answer(out, serial).await,
                Understood::Foreign(why) => foreign = Some(why),
            }
        } else if let Some(contact) = &self.contact {
            contact.message();
        }
        if let Some(why) = foreign {
            Answer::Error(why.to_string()).encode(&mut out);
            self.answer(out, serial).await?;
            return Err(Over::Foreign(why));
        }
        if !is_whole {
            self.refuse_large().encode(&mut out);
            return self.answer(out, serial).await;
        }
        let at = message.len() - values.rest().len();
        let answer = match self.decoded(message.into(), at).await? {
            Ok(Call::Ping) => return self.answer(out, serial).await,
            Ok(Call::Append(event)) => self.append(event).await,
            Ok(Call::AppendBatch(events)) => self.append_batch(events).await,
            Err(error) => {
                self.counters.event_read_fail.add(1);
                let cause = format!("a call cannot be carried out; answered: {error}");
                self.context.client_error(&self.peer, "call", &cause);
                Answer::Error(format!("{UNREADABLE}{error}"))
            }
        };
        answer.encode(&mut out);
        self.answer(out, serial).await
    }

    /// The call that stands in `message` from `at` on. A few bytes may become many: their room first.
    async fn decoded(&self, message: Bytes, at: usize) -> Result<Result<Call, WireError>, Over> {
        let (clients, bytes) = (&self.context.clients, message.len());
        let looked_at = message.clone();
        let measured = aside(clients, bytes, move || {
            Measured::new(&looked_at[at..]).map(|it| (it.outline, it.decoded_bytes))
        });
        let (outline, decoded_bytes) = match measured.await? {
            Ok(measured) => measured,
            Err(error) => return Ok(Err(error)),
        };
        tokio::select! {
            room = self.client.hold(bytes.saturating_add(decoded_bytes)) => room?,
            () = self.stop.wait() => return Err(Over::Stopping),
        }
        Ok(aside(clients, bytes, move || outline.decode(&message[at..])).await?)
    }

    /// The handshake is over, and the client is one that counts.
    fn is_known(&mut self, request: &Request<'_>) {
        self.established = true;
        let name = request.client;
        let shown = self.stream.peer_certificate();
        let certificate = shown.as_ref().map_or("", |shown| shown.name());
        let client = Client::new(self.peer.ip(), name.agent, name.sink);
        let client = client.with_certificate(certificate);
        self.contact = self.counters.clients.meet(client);
        self.unheard = None;
    }

    /// What is too large was read and dropped: the client is told, and can go on.
    fn refuse_large(&self) -> Answer {
        self.counters.event_read_fail.add(1);
        let max = self.frames.bytes_max();
        let words =
            format!("{TOO_LARGE}{max} bytes (maxRequestBytes); send smaller batches or events");
        let cause = format!("a call is refused; answered: {words}");
        self.context.client_error(&self.peer, "too large", &cause);
        Answer::Error(words)
    }

    async fn append(&self, event: Event) -> Answer {
        self.counters.event_received.add(1);
        self.counters.append_received.add(1);
        let answer = self.commit(vec![event]).await;
        self.counters.append_accepted.add(u64::from(answer == Answer::Ok));
        answer
    }

    async fn append_batch(&self, events: Vec<Event>) -> Answer {
        self.counters.batch_received(events.len() as u64);
        let answer = self.commit(events).await;
        if answer == Answer::Ok {
            self.counters.batch_accepted();
        }
        answer
    }

    async fn commit(&self, events: Vec<Event>) -> Answer {
        let count = events.len();
        match self.intake.commit(events).await {
            Ok(()) => {
                self.contact.iter().for_each(Contact::accepted);
                Answer::Ok
            }
            Err(error) => {
                self.context.batch_refused(&self.peer, count, &error);
                Answer::Failed
            }
        }
    }

    /// Sends, for as long as a client may reasonably take to read.
    async fn answer(&mut self, mut out: Vec<u8>, serial: u32) -> Result<(), Over> {
        frame::finish(&mut out, serial);
        let sent = async {
            self.stream.write_all(&out).await?;
            self.stream.flush().await
        };
        tokio::select! {
            biased;
            sent = sent => sent.map_err(|_| Over::Gone),
            () = self.stop.wait() => Err(Over::Stopping),
            () = tokio::time::sleep(Duration::from_secs(ANSWER_SECONDS_MAX)) => Err(Over::Deaf),
        }
    }
}
