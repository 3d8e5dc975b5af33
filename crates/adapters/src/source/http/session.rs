//! One HTTP connection.

use super::content::RequestError;
use super::limits::{HttpLimits, IDLE};
use crate::source::parse_thread::parse_on_thread;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue};
use hyper::http::request::Parts;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use millpond::Event;
use millpond_flow::base::limits::{HTTP_STOP_SECONDS_MAX, REQUEST_READ_BYTES_MAX};
use millpond_flow::client_limits::{AdmittedConnection, MemoryDenied};
use millpond_flow::net::http_auth::Credentials;
use millpond_flow::net::stream::Stream;
use millpond_flow::net::write_timeout::WriteTimeout;
use millpond_flow::source::SourceContext;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// One connection and its resources.
#[derive(Clone)]
pub(super) struct HttpSession {
    pub(super) peer: SocketAddr,
    pub(super) rules: Arc<HttpLimits>,
    pub(super) context: Arc<SourceContext>,
    pub(super) client: Arc<AdmittedConnection>,
}

/// How long a request may still take to arrive after a stop request.
const STOP_GRACE: Duration = Duration::from_secs(HTTP_STOP_SECONDS_MAX);

/// Time for a reply to be sent.
const LEAVE: Duration = Duration::from_millis(200);

/// Marks that a request is being carried out, until dropped.
struct RequestGuard(Arc<AtomicBool>);

impl RequestGuard {
    fn new(shared: &Arc<AtomicBool>) -> Self {
        shared.store(true, Ordering::SeqCst);
        Self(Arc::clone(shared))
    }
}

impl Drop for RequestGuard {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

/// Returns when a stop need no longer wait for a connection: after the reply to a request that has arrived.
async fn out_of_time(in_hand: &AtomicBool) {
    sleep(STOP_GRACE + LEAVE).await;
    while in_hand.load(Ordering::SeqCst) {
        sleep(LEAVE).await;
    }
    sleep(LEAVE).await;
}

impl HttpSession {
    pub(super) async fn run(self, mut stream: Stream) {
        // Nothing is allocated for it before its first byte.
        let heard = async {
            stream.ready().await.is_ok() && self.client.keep(self.rules.kept_bytes()).await.is_ok()
        };
        let heard = tokio::select! {
            heard = timeout(IDLE, heard) => heard.unwrap_or(false),
            () = self.context.stop.wait() => false,
            () = self.client.evicted() => false,
        };
        if !heard {
            return;
        }
        // Replies are small and each is waited for.
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
            let in_hand = RequestGuard::new(&busy);
            async move {
                let _in_hand = in_hand;
                // Checked per request: revoked credentials must not stay valid while a connection stays open.
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
            .serve_connection(TokioIo::new(WriteTimeout::new(stream)), service);
        tokio::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = self.context.stop.wait() => {
                // The pending request gets its reply.
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection => ended,
                    // Requests without a reply by then were not committed, which the client notices.
                    () = out_of_time(&in_hand) => return,
                }
            }
            () = self.client.evicted() => {
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

    /// Returns the refusal for a client without valid credentials.
    fn denied(&self, known: &Credentials, headers: &HeaderMap) -> Option<Response<Full<Bytes>>> {
        if known.admit(headers) {
            return None;
        }
        self.context.counters.event_read_fail.add(1);
        let cause = "a request without the user or token that auth-user or auth-token asks for is refused with 401";
        self.context.client_error(&self.peer, "401", cause);
        let mut denied = answer(StatusCode::UNAUTHORIZED, "authentication required");
        known.challenge(denied.headers_mut());
        // The body of the request is not read.
        denied.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        Some(denied)
    }

    async fn serve(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let (parts, body) = request.into_parts();
        if let Some(refused) = refused(&parts, self.rules.headers_bytes_max) {
            return refused;
        }
        // Held until the reply exists: the events are made from it.
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
            Err((kind, RequestError(status, words))) => {
                let cause = format!("a request is not taken; answered {status}: {words}");
                self.context.client_error(&self.peer, kind, &cause);
                answer(status, &words)
            }
        }
    }

    /// Returns the events of a body. They may need more memory than the body reserved.
    async fn events(&self, parts: Parts, body: Bytes) -> Result<Vec<Event>, RequestError> {
        let most = self.context.intake.transaction_capacity();
        let (rules, client, whole) =
            (Arc::clone(&self.rules), Arc::clone(&self.client), body.len());
        let mut room = move |bytes| client.try_hold(whole.saturating_add(bytes));
        let understood = parse_on_thread(&self.context.clients, whole, move || {
            rules.content.events(&parts, body, most, &mut room)
        });
        let ended =
            |error: io::Error| RequestError(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
        understood.await.map_err(ended)?
    }

    /// Returns the whole body, limited in time and bytes.
    async fn body(&self, mut body: Incoming) -> Result<Bytes, RequestError> {
        let most = self.rules.body_bytes_max;
        let too_long = || {
            let words = format!("a body has {most} bytes at most; send fewer events at once");
            RequestError(StatusCode::PAYLOAD_TOO_LARGE, words)
        };
        let late = |_| {
            let words = "the body did not arrive in time".to_owned();
            RequestError(StatusCode::REQUEST_TIMEOUT, words)
        };
        // An announced length beyond the limit is refused before the body is sent.
        let announced = hyper::body::Body::size_hint(&body).lower();
        if announced > most as u64 {
            return Err(too_long());
        }
        let read = async {
            let mut whole = BytesMut::new();
            while let Some(frame) = timeout(IDLE, body.frame()).await.map_err(late)? {
                let frame = frame.map_err(|error| {
                    let words = format!("the body cannot be read: {error}");
                    RequestError(StatusCode::BAD_REQUEST, words)
                })?;
                let Ok(piece) = frame.into_data() else { continue };
                if whole.len() + piece.len() > most {
                    return Err(too_long());
                }
                // Three times the size, for the text and the events made from it.
                let needed =
                    (whole.len() + piece.len()).next_multiple_of(REQUEST_READ_BYTES_MAX / 8);
                self.client.hold(needed.saturating_mul(3)).await.map_err(|none| {
                    let (status, words) = match none {
                        MemoryDenied::NotInTime => (
                            StatusCode::SERVICE_UNAVAILABLE,
                            "too many large requests at once; send it again later".to_owned(),
                        ),
                        MemoryDenied::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, none.to_string()),
                    };
                    RequestError(status, words)
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
                Err(RequestError(StatusCode::SERVICE_UNAVAILABLE, words))
            }
        }
    }

    async fn commit(&self, events: Vec<Event>) -> Result<(), RequestError> {
        let counters = &self.context.counters;
        counters.batch_received(events.len() as u64);
        match self.context.intake.commit(events).await {
            Ok(()) => {
                counters.batch_accepted();
                Ok(())
            }
            Err(error) => {
                let words = format!("the events are not taken: {error}");
                Err(RequestError(StatusCode::SERVICE_UNAVAILABLE, words))
            }
        }
    }
}

/// Returns a reply that does not depend on the body, if there is one.
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
    let mut refused = answer(status, "events are sent with POST");
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
