//! One Avro connection.

use crate::source::listener::lingering_close;
use crate::source::parse_thread::parse_on_thread;
use crate::source::rpc_session::{RpcSession, RpcSessionEnd};
use crate::wire::avro::AvroError;
use crate::wire::avro::call::{AvroCall, AvroReply, MeasuredCall, TOO_LARGE, UNREADABLE};
use crate::wire::avro::frame::{self, AvroFrame, AvroFramer};
use crate::wire::avro::handshake::{HandshakeRequest, HandshakeResponse};
use crate::wire::avro::protocol::{self, HASH, ProtocolHash, ProtocolMismatch};
use crate::wire::avro::values::AvroReader;
use bytes::{Bytes, BytesMut};
use millpond_flow::base::limits::{
    AVRO_PROTOCOLS_KNOWN_MAX, CONNECTION_READ_BYTES, REQUEST_READ_BYTES_MAX,
};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// The compatible client protocols that a source has seen, by hash. A client with a known hash need not send its
/// protocol text again.
#[derive(Debug, Default)]
pub(super) struct KnownProtocols(Mutex<VecDeque<ProtocolHash>>);

/// Whether a client's protocol is compatible.
enum ProtocolMatch {
    Known,
    /// The client must send its protocol text.
    Unknown,
    Foreign(ProtocolMismatch),
}

impl KnownProtocols {
    fn negotiate(&self, request: &HandshakeRequest<'_>) -> ProtocolMatch {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if request.client_hash == HASH || known.contains(&request.client_hash) {
            return ProtocolMatch::Known;
        }
        let Some(text) = request.client_text else { return ProtocolMatch::Unknown };
        if let Err(foreign) = protocol::check(text) {
            return ProtocolMatch::Foreign(foreign);
        }
        // Under another hash than its own, a text would approve a protocol that was not checked.
        if protocol::hash(text) == request.client_hash {
            if known.len() == AVRO_PROTOCOLS_KNOWN_MAX {
                known.pop_front();
            }
            known.push_back(request.client_hash);
        }
        ProtocolMatch::Known
    }
}

/// One connection.
pub(super) struct AvroSession {
    rpc: RpcSession,
    known_protocols: Arc<KnownProtocols>,
    frames: AvroFramer,
    /// Whether the handshake is done.
    established: bool,
}

impl AvroSession {
    /// Returns a session whose requests have at most `request_bytes`.
    pub(super) fn new(
        rpc: RpcSession,
        known_protocols: Arc<KnownProtocols>,
        request_bytes: usize,
    ) -> Self {
        let frames = AvroFramer::with_max(request_bytes);
        Self { rpc, known_protocols, frames, established: false }
    }

    /// Carries out calls until the session ends.
    pub(super) async fn run(mut self) {
        let Err(over) = self.serve_requests().await else { return };
        let is_within = self.is_within();
        let stream = self.rpc.end(&over, is_within);
        if matches!(over, RpcSessionEnd::Foreign(_)) {
            lingering_close(stream).await;
        }
    }

    async fn serve_requests(&mut self) -> Result<(), RpcSessionEnd> {
        let client = self.rpc.client();
        loop {
            while let Some(frame) = self.frames.next(&mut self.rpc.input)? {
                self.rpc.request_complete();
                let busy = client.busy();
                self.serve(frame).await?;
                client.is_heard();
                drop(busy);
                client.shrink(self.rpc.input.len());
                if self.rpc.is_stopping() {
                    return Err(RpcSessionEnd::Stopping);
                }
            }
            if self.rpc.input.is_empty() {
                self.rpc.input = BytesMut::new();
            }
            if self.is_within() {
                self.rpc.request_begun();
            }
            // The read size grows with the request: up to the announced length, but not much more than has come
            // already.
            let held = self.frames.held_bytes();
            let step = self.frames.missing_bytes().map_or(held, |missing| missing.min(4 * held));
            self.rpc.read(held, step.clamp(CONNECTION_READ_BYTES, REQUEST_READ_BYTES_MAX)).await?;
        }
    }

    /// Returns whether a request has begun and not ended.
    fn is_within(&self) -> bool {
        self.frames.is_within() || !self.rpc.input.is_empty()
    }

    /// Carries out one call, or replies to its handshake.
    async fn serve(
        &mut self,
        AvroFrame { serial, message, is_whole }: AvroFrame,
    ) -> Result<(), RpcSessionEnd> {
        let mut out = frame::begin();
        let mut values = AvroReader::new(&message);
        let mut foreign = None;
        if !self.established {
            let request = HandshakeRequest::decode(&mut values)?;
            let understood = self.known_protocols.negotiate(&request);
            let knows = !matches!(understood, ProtocolMatch::Unknown);
            HandshakeResponse::to(&request, knows).encode(&mut out);
            match understood {
                ProtocolMatch::Known => {
                    self.established = true;
                    self.rpc.meet(request.client.agent, request.client.sink);
                }
                ProtocolMatch::Unknown => return self.answer(out, serial).await,
                ProtocolMatch::Foreign(why) => foreign = Some(why),
            }
        } else {
            self.rpc.note_request();
        }
        if let Some(why) = foreign {
            AvroReply::Error(why.to_string()).encode(&mut out);
            self.answer(out, serial).await?;
            return Err(RpcSessionEnd::Foreign(why));
        }
        if !is_whole {
            self.refuse_large().encode(&mut out);
            return self.answer(out, serial).await;
        }
        let at = message.len() - values.rest().len();
        let is_committed = match self.decoded(message.into(), at).await? {
            Ok(AvroCall::Ping) => return self.answer(out, serial).await,
            Ok(AvroCall::Append(event)) => self.rpc.append(event).await,
            Ok(AvroCall::AppendBatch(events)) => self.rpc.append_batch(events).await,
            Err(error) => {
                let cause = format!("a call cannot be carried out; answered: {error}");
                self.rpc.call_refused("call", &cause);
                AvroReply::Error(format!("{UNREADABLE}{error}")).encode(&mut out);
                return self.answer(out, serial).await;
            }
        };
        let answer = if is_committed { AvroReply::Ok } else { AvroReply::Failed };
        answer.encode(&mut out);
        self.answer(out, serial).await
    }

    /// Decodes the call in `message` at `at`. A few bytes may become many: their memory is reserved first.
    async fn decoded(
        &self,
        message: Bytes,
        at: usize,
    ) -> Result<Result<AvroCall, AvroError>, RpcSessionEnd> {
        let (clients, bytes) = (&self.rpc.context.clients, message.len());
        let looked_at = message.clone();
        let measured = parse_on_thread(clients, bytes, move || {
            MeasuredCall::new(&looked_at[at..]).map(|it| (it.outline, it.decoded_bytes))
        });
        let (outline, decoded_bytes) = match measured.await? {
            Ok(measured) => measured,
            Err(error) => return Ok(Err(error)),
        };
        self.rpc.hold(bytes.saturating_add(decoded_bytes)).await?;
        Ok(parse_on_thread(clients, bytes, move || outline.decode(&message[at..])).await?)
    }

    /// Refuses a call that was too large and was discarded: the client gets an error and can continue.
    fn refuse_large(&self) -> AvroReply {
        let max = self.frames.bytes_max();
        let words =
            format!("{TOO_LARGE}{max} bytes (maxRequestBytes); send smaller batches or events");
        let cause = format!("a call is refused; answered: {words}");
        self.rpc.call_refused("too large", &cause);
        AvroReply::Error(words)
    }

    async fn answer(&mut self, mut out: Vec<u8>, serial: u32) -> Result<(), RpcSessionEnd> {
        frame::finish(&mut out, serial);
        self.rpc.answer(out).await
    }
}
