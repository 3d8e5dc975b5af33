//! One connection.

use super::content::Unusable;
use super::{IDLE, Rules};
use crate::base::limits::{HTTP_STOP_SECONDS_MAX, REQUEST_READ_BYTES_MAX};
use crate::event::Event;
use crate::flow::client_limits::{Connection, NoRoom};
use crate::flow::source::SourceContext;
use crate::net::attentive::Attentive;
use crate::net::http_auth::Credentials;
use crate::net::stream::Stream;
use crate::source::aside::aside;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// One connection and what it needs.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) peer: SocketAddr,
    pub(super) rules: Arc<Rules>,
    pub(super) context: Arc<SourceContext>,
    pub(super) client: Arc<Connection>,
}

/// How long a request may still take to come once the source is to stop.
const STOP_GRACE: Duration = Duration::from_secs(HTTP_STOP_SECONDS_MAX);

/// For an answer to leave.
const LEAVE: Duration = Duration::from_millis(200);

/// Says that a request is being carried out, until it is dropped.
struct InHand(Arc<AtomicBool>);

impl InHand {
    fn new(shared: &Arc<AtomicBool>) -> Self {
        shared.store(true, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Returns when a stop need not wait for a connection any longer: not before a request that has come is answered.
async fn out_of_time(in_hand: &AtomicBool) {
    sleep(STOP_GRACE + LEAVE).await;
    while in_hand.load(Ordering::SeqCst) {
        sleep(LEAVE).await;
    }
    sleep(LEAVE).await;
}

impl Session {
    pub(super) async fn run(self, mut stream: Stream) {
        // Until it says something nothing is made for it.
        let heard = async {
            stream.ready().await.is_ok() && self.client.keep(self.rules.kept_bytes()).await.is_ok()
        };
        let heard = tokio::select! {
            heard = timeout(IDLE, heard) => heard.unwrap_or(false),
            () = self.context.stop.wait() => false,
            () = self.client.told_to_go() => false,
        };
        if !heard {
            return;
        }
        // Answers are small and each is waited for.
        let _ = stream.socket().set_nodelay(true);
        if let Err(error) = self.rules.credentials(&self.context.name).await {
            tracing::debug!(source = %self.context.name, peer = %self.peer, "closing the connection: {error}");
            return;
        }
        let session = self.clone();
        let in_hand = Arc::new(AtomicBool::new(false));
        let busy = Arc::clone(&in_hand);
        let service = service_fn(move |request: Request<Incoming>| {
            let session = session.clone();
            let in_hand = InHand::new(&busy);
            async move {
                let _in_hand = in_hand;
                // For each request: what was taken back must not hold on while a connection stays open.
                let denied = match session.rules.credentials(&session.context.name).await {
                    Ok(known) => known.and_then(|known| session.denied(&known, request.headers())),
                    Err(error) => Some(answer(StatusCode::SERVICE_UNAVAILABLE, &error.to_string())),
                };
                Ok::<_, Infallible>(match denied {
                    Some(denied) => denied,
                    None => session.serve(request).await,
                })
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE)
            .max_buf_size(self.rules.buffer_bytes_max())
            .serve_connection(TokioIo::new(Attentive::new(stream)), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.context.stop.wait() => {
                // The request in hand is answered.
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    // What has no answer by then was not taken, which its client sees.
                    () = out_of_time(&in_hand) => return,
                }
            }
            () = self.client.told_to_go() => {
                if !self.client.is_busy() {
                    return;
                }
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            if error.is_parse() {
                self.context.counters.event_read_fail.add(1);
            }
            tracing::debug!(source = %self.context.name, peer = %self.peer, "closing the connection: {error}");
        }
    }

    /// The answer to a client that has not shown who it is.
    fn denied(&self, known: &Credentials, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        if known.admit(headers) {
            return None;
        }
        self.context.counters.event_read_fail.add(1);
        let cause = "a request without the user or token that auth-user or auth-token asks for is refused with 401";
        self.context.client_error(&self.peer, "401", cause);
        let mut denied = answer(StatusCode::UNAUTHORIZED, "show who you are");
        known.challenge(denied.headers_mut());
        // What it would have sent is not read.
        denied.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Some(denied)
    }

    async fn serve(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        if let Some(refused) = refused(&parts, self.rules.headers_bytes_max) {
            return refused;
        }
        // Held until the answer is there: the events are made of it.
        let body = self.body(body).await;
        let _busy = self.client.busy();
        let events = match body {
            Ok(body) => self.events(parts, body).await,
            Err(unusable) => Err(unusable),
        };
        let taken = match events {
            Ok(events) => {
                self.commit(events).await.map_err(|refused| ("events not taken", refused))
            }
            Err(unusable) => {
                self.context.counters.event_read_fail.add(1);
                Err((unusable.0.canonical_reason().unwrap_or("other"), unusable))
            }
        };
        self.client.release();
        match taken {
            Ok(()) => {
                self.client.is_heard();
                Response::new(Full::default())
            }
            Err((kind, Unusable(status, words))) => {
                let cause = format!("a request is not taken; answered {status}: {words}");
                self.context.client_error(&self.peer, kind, &cause);
                answer(status, &words)
            }
        }
    }

    /// The events of a body. There may be more memory in them than the body was given.
    async fn events(&self, parts: Parts, body: Bytes) -> Result<Vec<Event>, Unusable> {
        let most = self.context.intake.transaction_capacity();
        let (rules, client, whole) =
            (Arc::clone(&self.rules), Arc::clone(&self.client), body.len());
        let mut room = move |bytes| client.try_hold(whole.saturating_add(bytes));
        let understood = aside(&self.context.clients, whole, move || {
            rules.content.events(&parts, body, most, &mut room)
        });
        let ended =
            |error: io::Error| Unusable(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        understood.await.map_err(ended)?
    }

    /// All of the body, which has a bounded time and number of bytes.
    async fn body(&self, mut body: Incoming) -> Result<Bytes, Unusable> {
        let most = self.rules.body_bytes_max;
        let too_long = || {
            let words = format!("a body has {most} bytes at most; send fewer events at once");
            Unusable(StatusCode::PAYLOAD_TOO_LARGE, words)
        };
        let late = |_| {
            let words = "the body did not come in time".to_owned();
            Unusable(StatusCode::REQUEST_TIMEOUT, words)
        };
        // What the client announces is refused before it sends it.
        let announced = hyper::body::Body::size_hint(&body).lower();
        if announced > most as u64 {
            return Err(too_long());
        }
        let read = async {
            let mut whole = BytesMut::new();
            while let Some(frame) = timeout(IDLE, body.frame()).await.map_err(late)? {
                let frame = frame.map_err(|error| {
                    let words = format!("the body cannot be read: {error}");
                    Unusable(StatusCode::BAD_REQUEST, words)
                })?;
                let Ok(piece) = frame.into_data() else { continue };
                if whole.len() + piece.len() > most {
                    return Err(too_long());
                }
                // Three times, for the text and the events that are made of it.
                let needed =
                    (whole.len() + piece.len()).next_multiple_of(REQUEST_READ_BYTES_MAX / 8);
                self.client.hold(needed.saturating_mul(3)).await.map_err(|none| {
                    let (status, words) = match none {
                        NoRoom::NotInTime => (
                            StatusCode::SERVICE_UNAVAILABLE,
                            "too many large requests at once; send it again later".to_owned(),
                        ),
                        NoRoom::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, none.to_string()),
                    };
                    Unusable(status, words)
                })?;
                whole.extend_from_slice(&piece);
            }
            Ok(whole.freeze())
        };
        let stopping = async {
            self.context.stop.wait().await;
            sleep(STOP_GRACE).await;
        };
        tokio::select! {
            read = timeout(self.rules.request_timeout, read) => read.map_err(late)?,
            () = stopping => {
                let words = "the source stops; send it again".to_owned();
                Err(Unusable(StatusCode::SERVICE_UNAVAILABLE, words))
            }
        }
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), Unusable> {
        let counters = &self.context.counters;
        counters.batch_received(events.len() as u64);
        match self.context.intake.commit(events).await {
            Ok(()) => {
                counters.batch_accepted();
                Ok(())
            }
            Err(error) => {
                let words = format!("the events are not taken: {error}");
                Err(Unusable(StatusCode::SERVICE_UNAVAILABLE, words))
            }
        }
    }
}

/// What is answered whatever the body is, if it is.
fn refused(parts: &Parts, headers_bytes_max: usize) -> Option<Response<Full<Bytes>>> {
    let sizes = parts.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4);
    let uri = parts.uri.path_and_query().map_or(0, |path| path.as_str().len());
    if sizes.sum::<usize>() + uri > headers_bytes_max {
        let words = format!("the headers have {headers_bytes_max} bytes at most");
        return Some(answer(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &words));
    }
    if parts.version == Version::HTTP_11 && !parts.headers.contains_key(HOST) {
        return Some(answer(StatusCode::BAD_REQUEST, "a request of HTTP/1.1 has a header Host"));
    }
    let status = match parts.method {
        Method::POST | Method::GET | Method::HEAD => return None,
        Method::PUT | Method::DELETE => StatusCode::METHOD_NOT_ALLOWED,
        Method::OPTIONS | Method::TRACE => StatusCode::FORBIDDEN,
        _ => StatusCode::NOT_IMPLEMENTED,
    };
    let mut refused = answer(status, "events come with POST");
    if status == StatusCode::METHOD_NOT_ALLOWED {
        refused.headers_mut().insert(ALLOW, HeaderValue::from_static("POST, GET, HEAD"));
    }
    Some(refused)
}

fn answer(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{words}\n"))));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}
