//! One connection.

use super::Speech;
use crate::event::Event;
use crate::source::aside::aside;
use crate::source::framed::{Framed, Over};
use crate::wire::thrift::call::{
    Call, CallError, FAILED, Message, OK, Service, put_exception, put_status,
};
use crate::wire::thrift::frame;
use bytes::Bytes;
use std::sync::Arc;

/// Carries out calls until the session is over.
pub(super) async fn run(mut framed: Framed, speech: Speech) {
    let Err(over) = talk(&mut framed, speech).await else { return };
    framed.say(&over);
}

async fn talk(framed: &mut Framed, speech: Speech) -> Result<(), Over> {
    let client = framed.client();
    loop {
        let request = framed.next().await?;
        let _busy = client.busy();
        let head = Message::new(speech.protocol, &request)?.head;
        let called = understood(framed, speech, &request).await?;
        let mut out = frame::begin();
        match called {
            Ok(call) => {
                let status = carry_out(framed, speech, call).await;
                put_status(&mut out, speech.protocol, &head, status, speech.is_old);
            }
            Err(error) => {
                framed.context.counters.event_read_fail.add(1);
                let cause = format!("a call cannot be carried out; answered: {error}");
                framed.context.client_error(&framed.peer, "call", &cause);
                put_exception(&mut out, speech.protocol, &head, &error, speech.is_old);
            }
        }
        drop(request);
        framed.answer(out).await?;
        client.is_heard();
    }
}

/// The call that a request is. A few bytes may become many: their room first.
async fn understood(
    framed: &mut Framed,
    speech: Speech,
    request: &Bytes,
) -> Result<Result<Call, CallError>, Over> {
    let (clients, bytes) = (Arc::clone(&framed.context.clients), request.len());
    let looked_at = request.clone();
    let decoded =
        aside(&clients, bytes, move || Message::new(speech.protocol, &looked_at)?.decoded_bytes());
    let decoded = match decoded.await? {
        Ok(decoded) => decoded,
        Err(error) => return Ok(Err(error.into())),
    };
    framed.hold(bytes.saturating_mul(2).saturating_add(decoded)).await?;
    let request = request.clone();
    let called = aside(&clients, bytes, move || {
        Message::new(speech.protocol, &request)?.call(speech.service)
    });
    Ok(called.await?)
}

/// The status of a call, once it is known.
async fn carry_out(framed: &Framed, speech: Speech, call: Call) -> i32 {
    let counters = &framed.context.counters;
    match call {
        Call::Append(event) => {
            counters.event_received.add(1);
            counters.append_received.add(1);
            let status = commit(framed, vec![event]).await;
            counters.append_accepted.add(u64::from(status == OK));
            status
        }
        Call::AppendBatch(events) | Call::Log(Some(events)) => {
            counters.batch_received(events.len() as u64);
            let status = commit(framed, events).await;
            if status == OK {
                counters.batch_accepted();
            }
            status
        }
        // As Flume answers a list that is not there.
        Call::Log(None) => {
            debug_assert_eq!(speech.service, Service::Scribe);
            FAILED
        }
    }
}

async fn commit(framed: &Framed, events: Vec<Event>) -> i32 {
    let count = events.len();
    let Err(error) = framed.context.intake.commit(events).await else {
        framed.is_accepted();
        return OK;
    };
    framed.context.batch_refused(&framed.peer, count, &error);
    FAILED
}
