//! One Thrift connection.

use super::framing::ThriftFraming;
use crate::source::parse_thread::parse_on_thread;
use crate::source::rpc_session::{RpcSession, RpcSessionEnd};
use crate::wire::thrift::call::{
    CallError, FAILED, OK, ThriftCall, ThriftMessage, ThriftService, put_exception, put_status,
};
use crate::wire::thrift::{ThriftError, frame};
use bytes::{Bytes, BytesMut};
use millpond_flow::base::limits::{CONNECTION_READ_BYTES, REQUEST_READ_BYTES_MAX};
use std::sync::Arc;

/// Most bytes of a frame whose memory the rest of the input may share.
const FRAME_BYTES_SHARED_MAX: usize = 64 * 1024;

/// Carries out calls until the session ends.
pub(super) async fn run(rpc: RpcSession, speech: ThriftFraming) {
    let mut session = ThriftSession { rpc, speech, was_large: false };
    let Err(over) = session.serve_requests().await else { return };
    let is_within = !session.rpc.input.is_empty();
    session.rpc.end(&over, is_within);
}

/// One connection.
struct ThriftSession {
    rpc: RpcSession,
    speech: ThriftFraming,
    /// Whether the last frame was large and the input may share its memory.
    was_large: bool,
}

impl ThriftSession {
    async fn serve_requests(&mut self) -> Result<(), RpcSessionEnd> {
        let (client, speech) = (self.rpc.client(), self.speech);
        loop {
            let request = self.next().await?;
            let _busy = client.busy();
            let head = ThriftMessage::new(speech.protocol, &request)?.head;
            let called = self.decoded(&request).await?;
            let mut out = frame::begin();
            match called {
                Ok(call) => {
                    let status = self.carry_out(call).await;
                    put_status(&mut out, speech.protocol, &head, status, speech.is_old);
                }
                Err(error) => {
                    let cause = format!("a call cannot be carried out; answered: {error}");
                    self.rpc.call_refused("call", &cause);
                    put_exception(&mut out, speech.protocol, &head, &error, speech.is_old);
                }
            }
            drop(request);
            frame::finish(&mut out);
            self.rpc.answer(out).await?;
            client.is_heard();
        }
    }

    /// Returns the next request.
    async fn next(&mut self) -> Result<Bytes, RpcSessionEnd> {
        // The rest of the input shares the memory of the large frame.
        if std::mem::take(&mut self.was_large) {
            self.rpc.input = BytesMut::from(&self.rpc.input[..]);
        }
        self.rpc.client().shrink(self.rpc.input.len());
        loop {
            if self.rpc.is_stopping() {
                return Err(RpcSessionEnd::Stopping);
            }
            let frame = frame::next(&mut self.rpc.input, self.speech.request_bytes_max);
            let frame = frame.map_err(|error| match error {
                ThriftError::TooLong { bytes, max } => RpcSessionEnd::TooLong { bytes, max },
                other => RpcSessionEnd::UnreadableThrift(other),
            });
            if let Some(frame) = frame? {
                self.rpc.request_complete();
                self.was_large = frame.len() > FRAME_BYTES_SHARED_MAX;
                if !self.rpc.note_request() {
                    self.rpc.meet("", "");
                }
                return Ok(frame);
            }
            let held = self.rpc.input.len();
            if held == 0 {
                self.rpc.input = BytesMut::new();
            } else {
                self.rpc.request_begun();
            }
            // The read size grows with the request.
            let step = held.clamp(CONNECTION_READ_BYTES, REQUEST_READ_BYTES_MAX);
            self.rpc.read(held, step).await?;
        }
    }

    /// Decodes the call of a request. A few bytes may become many: their memory is reserved first.
    async fn decoded(
        &self,
        request: &Bytes,
    ) -> Result<Result<ThriftCall, CallError>, RpcSessionEnd> {
        let (clients, bytes) = (Arc::clone(&self.rpc.context.clients), request.len());
        let (looked_at, speech) = (request.clone(), self.speech);
        let decoded = parse_on_thread(&clients, bytes, move || {
            ThriftMessage::new(speech.protocol, &looked_at)?.decoded_bytes()
        });
        let decoded = match decoded.await? {
            Ok(decoded) => decoded,
            Err(error) => return Ok(Err(error.into())),
        };
        self.rpc.hold(bytes.saturating_mul(2).saturating_add(decoded)).await?;
        let request = request.clone();
        let called = parse_on_thread(&clients, bytes, move || {
            ThriftMessage::new(speech.protocol, &request)?.call(speech.service)
        });
        Ok(called.await?)
    }

    /// Carries out a call and returns its status.
    async fn carry_out(&self, call: ThriftCall) -> i32 {
        let is_committed = match call {
            ThriftCall::Append(event) => self.rpc.append(event).await,
            ThriftCall::AppendBatch(events) | ThriftCall::Log(Some(events)) => {
                self.rpc.append_batch(events).await
            }
            // The reply of Flume to a missing list.
            ThriftCall::Log(None) => {
                debug_assert_eq!(self.speech.service, ThriftService::Scribe);
                false
            }
        };
        if is_committed { OK } else { FAILED }
    }
}
