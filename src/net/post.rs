//! Posting to one server, one request at a time, over a connection that is kept.
//!
//! Limits: a connection has a deadline, a request and its answer have one for silence (each piece of the request that
//! the kernel takes begins it anew, and [`SEND_BUFFER_BYTES`] bound what it takes ahead of the network), [`REDIRECTIONS_MAX`] redirections with the same protocol are
//! followed, and of an answer's body [`ANSWER_BYTES_MAX`] are read.

use super::dial::{DialError, Layers, dial};
use super::endpoint::{AGENT, Endpoint, REDIRECTIONS_MAX};
use super::tls::Connector;
use super::write_progress::{Watched, WriteProgress};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Bytes of an answer's body that are read so that the connection can be used again.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

/// Bytes of a request that the kernel holds for the network; it doubles them. Much more, and a slow network
/// would look like a server that does not answer.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PostError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the server did not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("the server took nothing more of the request for {} ms", .0.as_millis())]
    Stuck(Duration),
    #[error("the request did not end well: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the request cannot be made: {0}")]
    Unmakeable(#[from] hyper::http::Error),
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    pub(crate) connect: Duration,
    /// For the network to take a further piece of a request, and for the answer once all is sent.
    pub(crate) request: Duration,
}

/// What every request has.
#[derive(Clone, Debug)]
pub(crate) struct Letterhead {
    pub(crate) content_type: HeaderValue,
    pub(crate) accept: HeaderValue,
    /// Further headers. They are shown to the server of the first URL only, and to no other that it
    /// redirects to: there may be a password in them.
    pub(crate) more: HeaderMap,
}

/// An open connection and the task that moves its bytes.
pub(crate) struct Connection {
    to: Endpoint,
    sender: SendRequest<Full<Bytes>>,
    /// Ends with the connection.
    _driver: Driver,
    certificate_end: u64,
    progress: Arc<WriteProgress>,
}

/// The task that moves the bytes of a connection.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The request to `to` with `body`.
fn request(
    to: &Endpoint,
    letterhead: &Letterhead,
    at_home: bool,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, PostError> {
    let mut request = Request::builder()
        .method(Method::POST)
        .uri(to.path())
        .header(HOST, to.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, &letterhead.accept)
        .header(CONTENT_TYPE, &letterhead.content_type)
        .body(Full::new(body))?;
    if at_home {
        request.headers_mut().extend(letterhead.more.clone());
    }
    Ok(request)
}

impl Connection {
    /// Connects to the server of `to`.
    ///
    /// # Errors
    /// There is no connection.
    pub(crate) async fn open(
        to: &Endpoint,
        tls: Option<&Connector>,
        patience: Patience,
    ) -> Result<Self, PostError> {
        let layers = Layers { tls: tls.filter(|_| to.is_tls()), zlib: None };
        let stream = dial(to.host(), to.port(), layers, patience.connect).await?;
        // As much as the system allows.
        let _ =
            rustix::net::sockopt::set_socket_send_buffer_size(stream.socket(), SEND_BUFFER_BYTES);
        let progress = Arc::new(WriteProgress::default());
        let certificate_end = stream.peer_certificate().map_or(0, |shown| shown.not_after);
        let stream = Watched { stream, progress: Arc::clone(&progress) };
        let (mut sender, driver) = handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // What breaks it shows at the request.
            let _ = driver.await;
        });
        let driver = Driver(driver);
        // Not before the driver has begun can it be used.
        sender.ready().await?;
        Ok(Self { to: to.clone(), sender, _driver: driver, certificate_end, progress })
    }

    /// When the server's certificate ends, in seconds since 1970; 0 without one.
    pub(crate) fn certificate_end(&self) -> u64 {
        self.certificate_end
    }

    /// Whether a further request may go over it to `to`.
    pub(crate) fn serves(&self, to: &Endpoint) -> bool {
        self.to.shares_connections_with(to) && !self.sender.is_closed() && self.sender.is_ready()
    }

    async fn post(
        &mut self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, PostError> {
        self.progress.begin();
        let mut answer = pin!(self.sender.send_request(request));
        loop {
            let deadline = self.progress.state().0 + patience;
            if let Ok(answer) = timeout_at(deadline, &mut answer).await {
                return Ok(answer?);
            }
            match self.progress.state() {
                // A piece of it went out meanwhile.
                (last, _) if last + patience > deadline => {}
                (_, true) => return Err(PostError::Stuck(patience)),
                (_, false) => return Err(PostError::Silent(patience)),
            }
        }
    }
}

/// What a request came to.
pub(crate) struct Answered {
    pub(crate) status: u16,
    /// The connection, if it can be used again.
    pub(crate) connection: Option<Connection>,
    /// Connections that were opened on the way.
    pub(crate) opened: u64,
    /// The beginning of the answer's body, up to as many bytes as were asked for.
    pub(crate) body: Vec<u8>,
}

/// Posts `body` to `to`, over `kept` if that leads there, and wherever the server sends it on with the
/// same protocol. Of the answer's body `heard_bytes` are kept.
///
/// # Errors
/// There is no answer.
pub(crate) async fn post(
    to: &Endpoint,
    tls: Option<&Connector>,
    letterhead: &Letterhead,
    kept: Option<Connection>,
    body: Bytes,
    patience: Patience,
    heard_bytes: usize,
) -> Result<Answered, PostError> {
    let home = to;
    let (mut to, mut kept, mut opened, mut redirections) = (to.clone(), kept, 0, 0);
    loop {
        let mut connection = match kept.take().filter(|kept| kept.serves(&to)) {
            Some(kept) => kept,
            None => {
                opened += 1;
                Connection::open(&to, tls, patience).await?
            }
        };
        let at_home = home.shares_connections_with(&to);
        let request = request(&to, letterhead, at_home, body.clone())?;
        let response = connection.post(request, patience.request).await?;
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
            drained(response, patience.request, heard_bytes, &mut body).await.then_some(connection);
        match next {
            Some(next) => (to, redirections) = (next, redirections + 1),
            None => return Ok(Answered { status, connection: kept, opened, body }),
        }
    }
}

/// Reads what is left of the answer, and keeps `heard_bytes` of it; false when it is too much or does not
/// come.
async fn drained(
    response: Response<Incoming>,
    patience: Duration,
    heard_bytes: usize,
    heard: &mut Vec<u8>,
) -> bool {
    let deadline = Instant::now() + patience;
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
