//! Requests to one server, one at a time, over a connection that is kept.

use crate::net::dial::{DialError, Layers, dial};
use crate::net::tls::Connector;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue, LOCATION, USER_AGENT};
use hyper::{Method, Request, Response, Uri, body::Incoming};
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};

/// Redirections of one request, as in Java.
const REDIRECTIONS_MAX: usize = 20;
/// Bytes of an answer's body that are read so that the connection can be used again.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;
const AGENT: &str = concat!("millpond/", env!("CARGO_PKG_VERSION"));

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    uri: Uri,
    host: String,
    port: u16,
    pub(super) is_tls: bool,
}

/// Why there is no status.
#[derive(Debug, thiserror::Error)]
pub(super) enum PostError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("the server did not answer within {} ms", .0.as_millis())]
    Silent(Duration),
    #[error("the request did not end well: {0}")]
    Broken(#[from] hyper::Error),
    #[error("the request cannot be made: {0}")]
    Unmakeable(#[from] hyper::http::Error),
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    pub(super) connect: Duration,
    pub(super) request: Duration,
}

/// What every request has.
#[derive(Clone, Debug)]
pub(super) struct Letterhead {
    pub(super) content_type: HeaderValue,
    pub(super) accept: HeaderValue,
}

/// An open connection and the task that moves its bytes.
pub(super) struct Connection {
    to: Endpoint,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Endpoint {
    /// The place that `text` names: `http://host:port/path?query`; `None` when it is none.
    pub(super) fn named(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let is_tls = match uri.scheme_str()? {
            "http" => false,
            "https" => true,
            _ => return None,
        };
        let host = uri.host()?.trim_matches(['[', ']']).to_owned();
        let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        Some(Self { uri, host, port, is_tls })
    }

    /// Where `location` leads from here, if it can be followed: with the same protocol only.
    fn redirected(&self, location: &str) -> Option<Self> {
        let scheme = self.uri.scheme_str()?;
        let authority = self.uri.authority()?;
        let path = self.uri.path();
        let whole = if location.contains("://") {
            location.to_owned()
        } else if let Some(behind) = location.strip_prefix("//") {
            format!("{scheme}://{behind}")
        } else if location.starts_with('/') {
            format!("{scheme}://{authority}{location}")
        } else {
            let directory = &path[..path.rfind('/').map_or(0, |at| at + 1)];
            let root = if directory.is_empty() { "/" } else { directory };
            format!("{scheme}://{authority}{root}{location}")
        };
        Self::named(whole.split('#').next()?).filter(|to| to.is_tls == self.is_tls)
    }

    fn shares_connections_with(&self, other: &Self) -> bool {
        (&self.host, self.port, self.is_tls) == (&other.host, other.port, other.is_tls)
    }

    /// The request with `body`.
    fn post(
        &self,
        letterhead: &Letterhead,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, PostError> {
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        let default = if self.is_tls { 443 } else { 80 };
        let host = if self.port == default { host } else { format!("{host}:{}", self.port) };
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Request::builder()
            .method(Method::POST)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, &letterhead.accept)
            .header(CONTENT_TYPE, &letterhead.content_type)
            .body(Full::new(body))?)
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.uri.fmt(f)
    }
}

impl Connection {
    async fn open(
        to: &Endpoint,
        tls: Option<&Connector>,
        patience: Patience,
    ) -> Result<Self, PostError> {
        let layers = Layers { tls: tls.filter(|_| to.is_tls), zlib: None };
        let stream = dial(&to.host, to.port, layers, patience.connect).await?;
        let (sender, driver) = handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move {
            // What breaks it shows at the request.
            let _ = driver.await;
        });
        Ok(Self { to: to.clone(), sender, driver })
    }

    /// Whether a further request may go over it to `to`.
    pub(super) fn serves(&self, to: &Endpoint) -> bool {
        self.to.shares_connections_with(to) && !self.sender.is_closed() && self.sender.is_ready()
    }

    async fn post(
        &mut self,
        request: Request<Full<Bytes>>,
        patience: Duration,
    ) -> Result<Response<Incoming>, PostError> {
        let deadline = Instant::now() + patience;
        let sent = timeout_at(deadline, self.sender.send_request(request)).await;
        Ok(sent.map_err(|_| PostError::Silent(patience))??)
    }
}

/// What a request came to.
pub(super) struct Answered {
    pub(super) status: u16,
    /// The connection, if it can be used again.
    pub(super) connection: Option<Connection>,
    /// Connections that were opened on the way.
    pub(super) opened: u64,
}

/// Posts `body` to `to`, over `kept` if that leads there, and wherever the server sends it on with the
/// same protocol.
pub(super) async fn post(
    to: &Endpoint,
    tls: Option<&Connector>,
    letterhead: &Letterhead,
    kept: Option<Connection>,
    body: Bytes,
    patience: Patience,
) -> Result<Answered, PostError> {
    let (mut to, mut kept, mut opened, mut redirections) = (to.clone(), kept, 0, 0);
    loop {
        let mut connection = match kept.take().filter(|kept| kept.serves(&to)) {
            Some(kept) => kept,
            None => {
                opened += 1;
                Connection::open(&to, tls, patience).await?
            }
        };
        let request = to.post(letterhead, body.clone())?;
        let response = connection.post(request, patience.request).await?;
        let status = response.status().as_u16();
        let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
        let next = match status {
            301 | 302 | 303 | 307 if redirections < REDIRECTIONS_MAX => {
                location.and_then(|location| to.redirected(location))
            }
            _ => None,
        };
        kept = drained(response, patience.request).await.then_some(connection);
        match next {
            Some(next) => (to, redirections) = (next, redirections + 1),
            None => return Ok(Answered { status, connection: kept, opened }),
        }
    }
}

/// Reads what is left of the answer; false when that is too much or does not come.
async fn drained(response: Response<Incoming>, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    let (mut body, mut bytes) = (response.into_body(), 0);
    loop {
        match timeout_at(deadline, body.frame()).await {
            Ok(None) => return true,
            Ok(Some(Ok(frame))) => bytes += frame.data_ref().map_or(0, Bytes::len),
            Ok(Some(Err(_))) | Err(_) => return false,
        }
        if bytes > ANSWER_BYTES_MAX {
            return false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_url_with_a_host() {
        let to = Endpoint::named("http://example.org/in/let?x=y").unwrap();
        assert_eq!((to.host.as_str(), to.port, to.is_tls), ("example.org", 80, false));
        let to = Endpoint::named("https://[::1]:8443").unwrap();
        assert_eq!((to.host.as_str(), to.port, to.is_tls), ("::1", 8443, true));
        for text in ["", "example.org", "ftp://example.org/", "http://", "http:///x", "http://a b/"]
        {
            assert_eq!(Endpoint::named(text), None, "{text}");
        }
    }

    #[test]
    fn a_redirection_leads_elsewhere_with_the_same_protocol() {
        let from = Endpoint::named("http://a:81/in/let?x").unwrap();
        for (location, expected) in [
            ("/other", Some("http://a:81/other")),
            ("other#part", Some("http://a:81/in/other")),
            ("http://b/", Some("http://b/")),
            ("//b/c", Some("http://b/c")),
            ("https://a:81/in/let", None),
            ("ftp://b/", None),
        ] {
            let to = from.redirected(location);
            assert_eq!(to, expected.and_then(Endpoint::named), "{location}");
        }
    }
}
