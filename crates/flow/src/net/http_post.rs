//! HTTP POST to one server, one request at a time, over a connection that is reused.
//!
//! Limits: a deadline for a connection; an idle timeout for a request and its response, which restarts with each
//! piece of the request that the kernel accepts ([`SEND_BUFFER_BYTES`](super::http_connection) bound what it buffers).
//! [`REDIRECTIONS_MAX`] redirections with the same protocol are followed. Of a response's body
//! [`ANSWER_BYTES_MAX`] bytes are read.

use super::connect::ConnectError;
use super::endpoint::{AGENT, Endpoint, REDIRECTIONS_MAX};
use super::http_connection::{HttpConnection, HttpConnectionError};
use super::tls::Connector;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, body::Incoming};
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Most bytes of a response's body that are read so that the connection can be reused.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Why there is no response status.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // each message says what its variant is
pub enum PostError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("the server did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    #[error("the server took nothing more of the request for {} ms", .0.as_millis())]
    WriteTimeout(Duration),
    #[error("the request did not end well: {0}")]
    Http(#[from] hyper::Error),
    #[error("the request cannot be made: {0}")]
    InvalidRequest(#[from] hyper::http::Error),
}

impl From<HttpConnectionError> for PostError {
    fn from(error: HttpConnectionError) -> Self {
        match error {
            HttpConnectionError::Connect(error) => Self::Connect(error),
            HttpConnectionError::Http(error) => Self::Http(error),
        }
    }
}

/// Timeouts of a request.
#[derive(Clone, Copy, Debug)]
pub struct RequestTimeouts {
    /// For the connection, TLS included.
    pub connect: Duration,
    /// For the network to accept a further piece of a request, and for the response once all is sent.
    pub request: Duration,
}

/// Headers of every request.
#[derive(Clone, Debug)]
pub struct RequestHeaders {
    /// The type of the body.
    pub content_type: HeaderValue,
    /// The types that the response may have.
    pub accept: HeaderValue,
    /// Further headers, which may contain a password: sent to the server of the first URL only, never to another
    /// one that it redirects to.
    pub more: HeaderMap,
}

/// Returns the POST request to `to` with `body`.
fn request(
    to: &Endpoint,
    request_headers: &RequestHeaders,
    same_origin: bool,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, PostError> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(to.path())
        .header(HOST, to.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, &request_headers.accept)
        .header(CONTENT_TYPE, &request_headers.content_type)
        .body(Full::new(body))?;
    if same_origin {
        request.headers_mut().extend(request_headers.more.clone());
    }
    Ok(request)
}

/// Connects to the server of `to`, before there is a request.
///
/// # Errors
/// The server cannot be connected.
pub async fn open(
    to: &Endpoint,
    tls: Option<&Connector>,
    timeouts: RequestTimeouts,
) -> Result<HttpConnection, PostError> {
    Ok(HttpConnection::open(to, tls, timeouts.connect).await?)
}

/// Sends `request`; the time limit restarts with each piece of it that the network accepts.
async fn answered(
    connection: &mut HttpConnection,
    request: Request<Full<Bytes>>,
    time_limit: Duration,
) -> Result<Response<Incoming>, PostError> {
    let progress = connection.progress();
    progress.begin();
    let mut answer = pin!(connection.send(request));
    loop {
        let deadline = progress.state().0 + time_limit;
        if let Ok(answer) = timeout_at(deadline, &mut answer).await {
            return Ok(answer?);
        }
        match progress.state() {
            // A piece was sent meanwhile.
            (last, _) if last + time_limit > deadline => {}
            (_, true) => return Err(PostError::WriteTimeout(time_limit)),
            (_, false) => return Err(PostError::Timeout(time_limit)),
        }
    }
}

/// The outcome of a request.
pub struct PostOutcome {
    /// The status of the response.
    pub status: u16,
    /// The connection, if it can be reused.
    pub connection: Option<HttpConnection>,
    /// Connections that were opened for it.
    pub opened: u64,
    /// The beginning of the response's body, up to `heard_bytes`.
    pub body: Vec<u8>,
}

/// Posts `body` to `to` over `kept`, if that leads there, following redirections with the same protocol. Returns
/// up to `heard_bytes` of the response's body.
///
/// # Errors
/// There is no response.
pub async fn post(
    to: &Endpoint,
    tls: Option<&Connector>,
    request_headers: &RequestHeaders,
    kept: Option<HttpConnection>,
    body: Bytes,
    timeouts: RequestTimeouts,
    heard_bytes: usize,
) -> Result<PostOutcome, PostError> {
    let home = to;
    let (mut to, mut kept, mut opened, mut redirections) = (to.clone(), kept, 0, 0);
    loop {
        let mut connection = match kept.take().filter(|kept| kept.serves(&to)) {
            Some(kept) => kept,
            None => {
                opened += 1;
                open(&to, tls, timeouts).await?
            }
        };
        let same_origin = home.shares_connections_with(&to);
        let request = request(&to, request_headers, same_origin, body.clone())?;
        let response = answered(&mut connection, request, timeouts.request).await?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let next = match status {
            301 | 302 | 303 | 307 if redirections < REDIRECTIONS_MAX => {
                location.and_then(|location| to.redirected(location))
            }
            _ => None,
        };
        let mut body = Vec::new();
        kept =
            drained(response, timeouts.request, heard_bytes, &mut body).await.then_some(connection);
        match next {
            Some(next) => (to, redirections) = (next, redirections + 1),
            None => return Ok(PostOutcome { status, connection: kept, opened, body }),
        }
    }
}

/// Reads the rest of the response and keeps `heard_bytes` of it; false if it is too long or does not arrive.
async fn drained(
    response: Response<Incoming>,
    timeouts: Duration,
    heard_bytes: usize,
    heard: &mut Vec<u8>,
) -> bool {
    let deadline = Instant::now() + timeouts;
    let (mut body, mut bytes) = (response.into_body(), 0);
    loop {
        match timeout_at(deadline, body.frame()).await {
            Ok(None) => return true,
            Ok(Some(Ok(frame))) => {
                let data = frame.data_ref().map_or(&[][..], |data| data);
                bytes += data.len();
                let room = heard_bytes.saturating_sub(heard.len());
                heard.extend_from_slice(&data[..data.len().min(room)]);
            }
            Ok(Some(Err(_))) | Err(_) => return false,
        }
        if bytes > ANSWER_BYTES_MAX {
            return false;
        }
    }
}
