//! Conditional HTTP GET (ETag, If-Modified-Since).
//!
//! Limits: one deadline for the first connection and one for everything after it. A page has at most `bytes_max`
//! bytes, and no more memory than that is used for it. [`REDIRECTIONS_MAX`] redirections are followed, with the
//! same protocol only.
//!
//! Invariant: only whole pages are returned. A page whose end the server does not state may be truncated, and a
//! page with a content encoding would not be decoded: both are refused.

use super::connect::ConnectError;
use super::endpoint::{AGENT, Endpoint, REDIRECTIONS_MAX};
use super::http_connection::{HttpConnection, HttpConnectionError};
use super::tls::Connector;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, ETAG,
    HOST, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
    TRANSFER_ENCODING, USER_AGENT,
};
use hyper::{Request, Response, StatusCode, Version, body::Incoming, http::response::Parts};
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Most characters of the server's encoding that a message repeats.
const PACKING_CHARS: usize = 40;

/// A page with its validators.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its bytes.
    pub bytes: Bytes,
    tag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

impl Page {
    /// Returns true if the page has a validator for conditional requests.
    fn has_validator(&self) -> bool {
        self.tag.is_some() || self.modified.is_some()
    }
}

/// Why a page was not fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The server cannot be connected.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// The page did not arrive within the timeout.
    #[error("the server did not send the page within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The response is truncated or invalid.
    #[error("the answer did not end well: {0}")]
    Http(#[from] hyper::Error),
    /// The URL cannot be used in a request.
    #[error("the request cannot be made: {0}")]
    InvalidRequest(#[from] hyper::http::Error),
    /// The page is too long.
    #[error("the page has more than {0} bytes")]
    TooLong(usize),
    /// The server does not state where the page ends.
    #[error(
        "the server does not say where the page ends (Content-Length, or chunks), so a truncated page would not be detected; configure it to send either"
    )]
    UnknownLength,
    /// The page is encoded, for example with gzip.
    #[error(
        "the page has the encoding {0}, which was not requested; configure the server to send it without one"
    )]
    Encoded(String),
    /// The server returned an error status.
    #[error("the server answered {status}{}", advice(*status))]
    Status {
        /// The status.
        status: StatusCode,
    },
    /// Too many redirections, or one to another protocol.
    #[error("the server redirects too often, or to another protocol")]
    Redirected,
}

impl From<HttpConnectionError> for FetchError {
    fn from(error: HttpConnectionError) -> Self {
        match error {
            HttpConnectionError::Connect(error) => Self::Connect(error),
            HttpConnectionError::Http(error) => Self::Http(error),
        }
    }
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => "; set --conf-user and --conf-password",
        StatusCode::NOT_FOUND => "; is the path right",
        StatusCode::NOT_MODIFIED => " to a request without conditions",
        _ => "",
    }
}

/// Options of a fetch.
#[derive(Clone, Copy)]
pub struct FetchOptions<'a> {
    /// TLS for servers whose URL has `https`.
    pub tls: Option<&'a Connector>,
    /// Sent to the server of the first URL only, never to another one that it redirects to.
    pub authorization: Option<&'a HeaderValue>,
    /// Statuses other than 200 whose page is accepted.
    pub also: &'a [StatusCode],
    /// Timeout of the first connection.
    pub connect: Duration,
    /// Timeout of everything after it, further redirections and their connections included.
    pub request: Duration,
    /// Most bytes of a page.
    pub bytes_max: usize,
}

/// Fetches the page at `to`; `None` if the server confirms that it is the `known` one, so never without a known
/// page.
///
/// # Errors
/// The page was not fetched.
pub async fn fetch(
    to: &Endpoint,
    fetch_options: FetchOptions<'_>,
    known: Option<&Page>,
) -> Result<Option<Page>, FetchError> {
    let mut at = to.clone();
    let silent = |_| FetchError::Timeout(fetch_options.request);
    // One deadline for all redirections: a server that redirects slowly and repeatedly does not extend it.
    let mut deadline = None;
    for _ in 0..=REDIRECTIONS_MAX {
        let own = FetchOptions {
            authorization: fetch_options.authorization.filter(|_| at.shares_connections_with(to)),
            ..fetch_options
        };
        let opened = HttpConnection::open(&at, fetch_options.tls, fetch_options.connect);
        let mut connection = match deadline {
            None => opened.await?,
            Some(deadline) => timeout_at(deadline, opened).await.map_err(silent)??,
        };
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + fetch_options.request);
        let asking = async {
            let response = connection.send(request(&at, own, known)?).await?;
            read(response, fetch_options).await
        };
        match timeout_at(deadline, asking).await.map_err(silent)?? {
            FetchOutcome::Page(page) => return Ok(Some(page)),
            FetchOutcome::NotModified if known.is_some_and(Page::has_validator) => return Ok(None),
            // Not valid: the request had no conditions.
            FetchOutcome::NotModified => {
                return Err(FetchError::Status { status: StatusCode::NOT_MODIFIED });
            }
            FetchOutcome::Redirect(location) => {
                at = at.redirected(&location).ok_or(FetchError::Redirected)?;
            }
        }
    }
    Err(FetchError::Redirected)
}

fn request(
    to: &Endpoint,
    fetch_options: FetchOptions<'_>,
    known: Option<&Page>,
) -> Result<Request<Full<Bytes>>, FetchError> {
    let mut request = Request::builder()
        .uri(to.path())
        .header(HOST, to.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "*/*")
        .header(ACCEPT_ENCODING, "identity")
        .header(CONNECTION, "close");
    let known = known.map_or((None, None), |page| (page.tag.as_ref(), page.modified.as_ref()));
    let conditions = [
        (IF_NONE_MATCH, known.0),
        (IF_MODIFIED_SINCE, known.1),
        (AUTHORIZATION, fetch_options.authorization),
    ];
    for (name, value) in conditions {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    Ok(request.body(Full::default())?)
}

enum FetchOutcome {
    Page(Page),
    NotModified,
    Redirect(String),
}

async fn read(
    response: Response<Incoming>,
    fetch_options: FetchOptions<'_>,
) -> Result<FetchOutcome, FetchError> {
    let bytes_max = fetch_options.bytes_max;
    let (head, mut body) = response.into_parts();
    let header = |name: HeaderName| head.headers.get(name).cloned();
    match head.status {
        StatusCode::OK => {}
        status if fetch_options.also.contains(&status) => {}
        StatusCode::NOT_MODIFIED => return Ok(FetchOutcome::NotModified),
        status => {
            let location = header(LOCATION).filter(|_| status.is_redirection());
            let location = location.and_then(|value| Some(value.to_str().ok()?.to_owned()));
            return location.map(FetchOutcome::Redirect).ok_or(FetchError::Status { status });
        }
    }
    check_complete(&head)?;
    // Copied into one buffer: a server may send a million chunks of two bytes.
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if piece.len() > bytes_max - bytes.len() {
            return Err(FetchError::TooLong(bytes_max));
        }
        bytes.extend_from_slice(&piece);
    }
    let (tag, modified) = (header(ETAG), header(LAST_MODIFIED));
    Ok(FetchOutcome::Page(Page { bytes: bytes.into(), tag, modified }))
}

/// Checks that the body after this head is not encoded and states its end.
fn check_complete(head: &Parts) -> Result<(), FetchError> {
    let words = |name| {
        let values = head.headers.get_all(name).iter();
        let words = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        words.map(|word| String::from_utf8_lossy(word).trim().to_lowercase())
    };
    let packings = words(CONTENT_ENCODING).chain(words(TRANSFER_ENCODING));
    let plain = ["", "identity", "chunked"];
    if let Some(packing) = packings.into_iter().find(|word| !plain.contains(&word.as_str())) {
        return Err(FetchError::Encoded(packing.chars().take(PACKING_CHARS).collect()));
    }
    let chunked = head.version == Version::HTTP_11
        && words(TRANSFER_ENCODING).next_back().is_some_and(|word| word == "chunked");
    let counted = head.headers.contains_key(CONTENT_LENGTH);
    if chunked || counted { Ok(()) } else { Err(FetchError::UnknownLength) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::{ClientTls, ServerTls, SuiteFilter};
    use crate::net::zlib::Socket;
    use std::path::Path;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    const TIMEOUT: Duration = Duration::from_secs(60);

    fn fetch_options() -> FetchOptions<'static> {
        let (tls, authorization) = (None, None);
        FetchOptions {
            tls,
            authorization,
            also: &[],
            connect: TIMEOUT,
            request: TIMEOUT,
            bytes_max: 100,
        }
    }

    /// Reads a request's head and replies; `None` for no reply.
    async fn serve(
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        answer: Option<String>,
    ) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        match answer {
            Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
            None => std::future::pending().await,
        }
        let _ = stream.shutdown().await;
        String::from_utf8(head).unwrap().to_lowercase()
    }

    /// A server that sends these replies, one connection after the other, and reports the requests.
    async fn server(answers: Vec<Option<String>>) -> (Endpoint, UnboundedReceiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, asked) = unbounded_channel();
        tokio::spawn(async move {
            for answer in answers {
                let (stream, _) = listener.accept().await.unwrap();
                tell.send(serve(stream, answer).await).unwrap();
            }
        });
        (Endpoint::named(&format!("http://127.0.0.1:{port}/a/b?c=d")).unwrap(), asked)
    }

    fn answer(status: &str, more: &str, body: &str) -> Option<String> {
        let length = body.len();
        Some(format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n{more}\r\n{body}"))
    }

    #[tokio::test]
    async fn what_one_has_is_not_sent_again() {
        let names = "ETag: \"t\"\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n";
        let (to, mut asked) =
            server(vec![answer("200 OK", names, "a = b"), answer("304 Same", "", "")]).await;
        let page = fetch(&to, fetch_options(), None).await.unwrap().unwrap();
        assert_eq!(&page.bytes[..], b"a = b");
        let first = asked.recv().await.unwrap();
        assert!(
            first.starts_with("get /a/b?c=d http/1.1\r\n") && !first.contains("\r\nif-"),
            "{first}"
        );
        assert_eq!(fetch(&to, fetch_options(), Some(&page)).await.unwrap(), None);
        let second = asked.recv().await.unwrap();
        for condition in
            ["if-none-match: \"t\"", "if-modified-since: sun, 06 nov 1994 08:49:37 gmt"]
        {
            assert!(second.contains(condition), "{second}");
        }
    }

    #[tokio::test]
    async fn another_answer_counts_where_it_may() {
        let unready = || answer("503 Not now", "", "{}");
        let (to, _asked) = server(vec![unready(), unready()]).await;
        let also = FetchOptions { also: &[StatusCode::SERVICE_UNAVAILABLE], ..fetch_options() };
        assert_eq!(&fetch(&to, also, None).await.unwrap().unwrap().bytes[..], b"{}");
        let refused = fetch(&to, fetch_options(), None).await.unwrap_err();
        assert!(matches!(refused, FetchError::Status { .. }), "{refused}");
    }

    #[tokio::test]
    async fn a_page_that_is_not_fetched_is_an_error_that_says_why() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (given, said) in [
            (answer("404 Gone", "", ""), "404"),
            (answer("304 Same", "", ""), "304 Not Modified to a request without conditions"),
            (answer("401 Who", "", ""), "--conf-user"),
            (answer("200 OK", "", &"x".repeat(101)), "more than 100 bytes"),
            (
                Some(format!("{chunked}200\r\n{}\r\n0\r\n\r\n", "x".repeat(512))),
                "more than 100 bytes",
            ),
            (
                Some("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf".to_owned()),
                "did not end well",
            ),
            (Some("garbage\r\n\r\n".to_owned()), "did not end well"),
            (Some("HTTP/1.1 200 OK\r\n\r\na = b".to_owned()), "does not say where the page ends"),
            (
                Some("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned()),
                "did not end well",
            ),
            (answer("200 OK", "Content-Encoding: gzip\r\n", "x"), "encoding gzip"),
            (
                Some("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_owned()),
                "encoding gzip",
            ),
            (answer("302 There", "Location: https://h/\r\n", ""), "redirects"),
            (None, "within 300 ms"),
        ] {
            let (to, _asked) = server(vec![given]).await;
            let fetch_options =
                FetchOptions { request: Duration::from_millis(300), ..fetch_options() };
            let fetch_options = if said.contains("ms") {
                fetch_options
            } else {
                FetchOptions { request: TIMEOUT, ..fetch_options }
            };
            let error = fetch(&to, fetch_options, None).await.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[tokio::test]
    async fn a_page_in_small_chunks_is_whole_and_uses_no_more_than_its_bytes() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let pieces = "1\r\nx\r\n".repeat(100);
        let end = "0\r\n\r\n";
        let (to, _asked) = server(vec![
            Some(format!("{head}{pieces}{end}")),
            Some(format!("{head}{pieces}1\r\nx\r\n{end}")),
        ])
        .await;
        let page = fetch(&to, fetch_options(), None).await.unwrap().unwrap();
        assert_eq!(page.bytes, "x".repeat(100));
        let error = fetch(&to, fetch_options(), None).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLong(100)), "{error}");
    }

    #[tokio::test]
    async fn a_server_that_redirects_slowly_has_one_deadline_for_all() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = format!("http://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::time::sleep(Duration::from_millis(50)).await;
                serve(stream, answer("302 On", "Location: /on\r\n", "")).await;
            }
        });
        // Twenty redirections take at least a second.
        let fetch_options = FetchOptions { request: Duration::from_millis(400), ..fetch_options() };
        let error = fetch(&Endpoint::named(&to).unwrap(), fetch_options, None).await.unwrap_err();
        assert!(matches!(error, FetchError::Timeout(_)), "{error}");
    }

    #[tokio::test]
    async fn a_password_is_not_shown_to_another_server() {
        let (other, mut asked_there) = server(vec![answer("200 OK", "", "there")]).await;
        let place = format!("http://{}{}", other.authority(), other.path());
        let location = format!("Location: {place}\r\n");
        let (to, mut asked) = server(vec![
            answer("301 Near", "Location: /near\r\n", ""),
            answer("302 Far", &location, ""),
        ])
        .await;
        let secret = HeaderValue::from_static("Basic x");
        let fetch_options = FetchOptions { authorization: Some(&secret), ..fetch_options() };
        let page = fetch(&to, fetch_options, None).await.unwrap().unwrap();
        assert_eq!(&page.bytes[..], b"there");
        for path in ["get /a/b?c=d ", "get /near "] {
            let head = asked.recv().await.unwrap();
            assert!(head.starts_with(path) && head.contains("authorization: basic x"), "{head}");
        }
        assert!(!asked_there.recv().await.unwrap().contains("authorization"));
    }

    #[tokio::test]
    async fn a_page_comes_over_tls_from_trusted_servers_only() {
        let golden =
            Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/golden/tls");
        let password = "changeit".to_owned();
        let choice = SuiteFilter::default();
        let keystore = golden.join("server.p12");
        let own = ServerTls {
            keystore,
            password: password.clone(),
            clients: None,
            choice: choice.clone(),
        };
        let acceptor = own.load().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://127.0.0.1:{}/", listener.local_addr().unwrap().port());
        tokio::spawn(async move {
            loop {
                let socket = Socket::new(listener.accept().await.unwrap().0, None);
                if let Ok(stream) = acceptor.accept(socket).await {
                    serve(stream, answer("200 OK", "", "safe")).await;
                }
            }
        });
        let to = Endpoint::named(&url).unwrap();
        let trust = |file: Option<&str>| ClientTls {
            truststore: file.map(|file| golden.join(file)),
            password: password.clone(),
            ..ClientTls::default()
        };
        let known = trust(Some("trust.p12")).load().unwrap();
        let asked = FetchOptions { tls: Some(&known), ..fetch_options() };
        let page = fetch(&to, asked, None).await.unwrap().unwrap();
        assert_eq!(&page.bytes[..], b"safe");
        let system = trust(None).load().unwrap();
        let asked = FetchOptions { tls: Some(&system), ..fetch_options() };
        let error = fetch(&to, asked, None).await.unwrap_err();
        assert!(matches!(error, FetchError::Connect(ConnectError::Tls(_))), "{error}");
    }
}
