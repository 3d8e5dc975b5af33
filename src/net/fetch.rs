//! Getting what a URL names, unless it is what one has.
//!
//! Limits: a connection has a deadline, everything behind the first one has another, a page has `bytes_max`
//! bytes, which are all that is held of it, and [`REDIRECTIONS_MAX`] redirections are followed, with the
//! same protocol only.
//!
//! Invariant: a page is whole, or there is none. One whose end the server does not state may have been cut
//! on its way, and one that is packed is not what it will be: both are refused.

use super::dial::{DialError, Layers, dial};
use super::endpoint::{AGENT, Endpoint, REDIRECTIONS_MAX};
use super::tls::Connector;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::handshake;
use hyper::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, ETAG,
    HOST, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, LOCATION,
    TRANSFER_ENCODING, USER_AGENT,
};
use hyper::{Request, Response, StatusCode, Version, body::Incoming, http::response::Parts};
use hyper_util::rt::TokioIo;
use std::pin::pin;
use std::time::Duration;
use tokio::time::{Instant, timeout_at};

/// Characters of a server's word that a message repeats.
const PACKING_CHARS: usize = 40;

/// What was found, and what the server calls this state of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Its bytes.
    pub bytes: Bytes,
    tag: Option<HeaderValue>,
    modified: Option<HeaderValue>,
}

impl Page {
    /// Whether the server has a name for this state of it, to ask by.
    fn has_a_name(&self) -> bool {
        self.tag.is_some() || self.modified.is_some()
    }
}

/// Why a page was not had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There is no connection.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// Not within the time.
    #[error("the server did not send the page within {} ms", .0.as_millis())]
    Silent(Duration),
    /// The answer broke off, or is none.
    #[error("the answer did not end well: {0}")]
    Broken(#[from] hyper::Error),
    /// No request can be made of the URL.
    #[error("the request cannot be made: {0}")]
    Unmakeable(#[from] hyper::http::Error),
    /// The page is too long.
    #[error("the page has more than {0} bytes")]
    Long(usize),
    /// Nobody says where the page ends.
    #[error(
        "the server does not say where the page ends (Content-Length, or chunks), so that one cut on its way would look whole; have it say so"
    )]
    Endless,
    /// The page is packed.
    #[error(
        "the page comes packed ({0}) although nobody asked for that; have the server send it as it is"
    )]
    Packed(String),
    /// The server has no page for us.
    #[error("the server answered {status}{}", advice(*status))]
    Status {
        /// What it said.
        status: StatusCode,
    },
    /// It sends us elsewhere, and again, or to where we do not go.
    #[error("the server redirects to where nobody follows: too often, or to another protocol")]
    Redirected,
}

fn advice(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            "; --conf-user and --conf-password say who asks"
        }
        StatusCode::NOT_FOUND => "; is the path right",
        StatusCode::NOT_MODIFIED => " to a question without conditions",
        _ => "",
    }
}

/// How to ask.
#[derive(Clone, Copy)]
pub struct Manner<'a> {
    /// Greets servers whose URL has `https`.
    pub tls: Option<&'a Connector>,
    /// Shown to the server of the first URL, and to no other one that it redirects to.
    pub authorization: Option<&'a HeaderValue>,
    /// Answers beside 200 whose page counts as well.
    pub also: &'a [StatusCode],
    /// For a connection.
    pub connect: Duration,
    /// For everything behind the first one, redirections and their connections too.
    pub request: Duration,
    /// Bytes of a page at most.
    pub bytes_max: usize,
}

/// What is at `to`; `None` when that is `known`, by the server's word. Never `None` where nothing is known.
///
/// # Errors
/// It was not had.
pub async fn fetch(
    to: &Endpoint,
    manner: Manner<'_>,
    known: Option<&Page>,
) -> Result<Option<Page>, FetchError> {
    let mut at = to.clone();
    let silent = |_| FetchError::Silent(manner.request);
    // One for all redirections: a server that sends on and on, slowly, holds up nobody for longer.
    let mut deadline = None;
    for _ in 0..=REDIRECTIONS_MAX {
        let own = Manner {
            authorization: manner.authorization.filter(|_| at.shares_connections_with(to)),
            ..manner
        };
        let tls = manner.tls.filter(|_| at.is_tls());
        debug_assert!(tls.is_some() == at.is_tls(), "who asks a server with https can greet it");
        let layers = Layers { tls, zlib: None };
        let dialed = dial(at.host(), at.port(), layers, manner.connect);
        let stream = match deadline {
            None => dialed.await?,
            Some(deadline) => timeout_at(deadline, dialed).await.map_err(silent)??,
        };
        let deadline = *deadline.get_or_insert_with(|| Instant::now() + manner.request);
        let asking = async {
            let (mut sender, driver) = handshake(TokioIo::new(stream)).await?;
            let asked = async {
                let response = sender.send_request(request(&at, own, known)?).await?;
                read(response, manner).await
            };
            let mut asked = pin!(asked);
            tokio::select! {
                answer = &mut asked => answer,
                // What moves the bytes has ended; all that came is there, or why nothing did.
                _ = driver => asked.await,
            }
        };
        match timeout_at(deadline, asking).await.map_err(silent)?? {
            Answer::Page(page) => return Ok(Some(page)),
            Answer::AsKnown if known.is_some_and(Page::has_a_name) => return Ok(None),
            // The same as what?
            Answer::AsKnown => {
                return Err(FetchError::Status { status: StatusCode::NOT_MODIFIED });
            }
            Answer::Elsewhere(location) => {
                at = at.redirected(&location).ok_or(FetchError::Redirected)?;
            }
        }
    }
    Err(FetchError::Redirected)
}

fn request(
    to: &Endpoint,
    manner: Manner<'_>,
    known: Option<&Page>,
) -> Result<Request<Empty<Bytes>>, FetchError> {
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
        (AUTHORIZATION, manner.authorization),
    ];
    for (name, value) in conditions {
        if let Some(value) = value {
            request = request.header(name, value);
        }
    }
    Ok(request.body(Empty::new())?)
}

enum Answer {
    Page(Page),
    AsKnown,
    Elsewhere(String),
}

async fn read(response: Response<Incoming>, manner: Manner<'_>) -> Result<Answer, FetchError> {
    let bytes_max = manner.bytes_max;
    let (head, mut body) = response.into_parts();
    let header = |name: HeaderName| head.headers.get(name).cloned();
    match head.status {
        StatusCode::OK => {}
        status if manner.also.contains(&status) => {}
        StatusCode::NOT_MODIFIED => return Ok(Answer::AsKnown),
        status => {
            let location = header(LOCATION).filter(|_| status.is_redirection());
            let location = location.and_then(|value| Some(value.to_str().ok()?.to_owned()));
            return location.map(Answer::Elsewhere).ok_or(FetchError::Status { status });
        }
    }
    comes_whole(&head)?;
    // Not piece by piece as they came: a server may send a million of two bytes.
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if piece.len() > bytes_max - bytes.len() {
            return Err(FetchError::Long(bytes_max));
        }
        bytes.extend_from_slice(&piece);
    }
    let (tag, modified) = (header(ETAG), header(LAST_MODIFIED));
    Ok(Answer::Page(Page { bytes: bytes.into(), tag, modified }))
}

/// Whether what comes behind this head is the page as it is, and its end is known.
fn comes_whole(head: &Parts) -> Result<(), FetchError> {
    let words = |name| {
        let values = head.headers.get_all(name).iter();
        let words = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        words.map(|word| String::from_utf8_lossy(word).trim().to_lowercase())
    };
    let packings = words(CONTENT_ENCODING).chain(words(TRANSFER_ENCODING));
    let plain = ["", "identity", "chunked"];
    if let Some(packing) = packings.into_iter().find(|word| !plain.contains(&word.as_str())) {
        return Err(FetchError::Packed(packing.chars().take(PACKING_CHARS).collect()));
    }
    let chunked = head.version == Version::HTTP_11
        && words(TRANSFER_ENCODING).next_back().is_some_and(|word| word == "chunked");
    let counted = head.headers.contains_key(CONTENT_LENGTH);
    if chunked || counted { Ok(()) } else { Err(FetchError::Endless) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::tls::{Choice, ClientTls, ServerTls};
    use crate::net::zlib::Socket;
    use std::path::Path;
    use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

    const PATIENCE: Duration = Duration::from_secs(60);

    fn manner() -> Manner<'static> {
        let (tls, authorization) = (None, None);
        Manner {
            tls,
            authorization,
            also: &[],
            connect: PATIENCE,
            request: PATIENCE,
            bytes_max: 100,
        }
    }

    /// Reads a request's head and answers it; `None` for not at all.
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

    /// A server that answers so, one connection after the other, and tells what it was asked.
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
        let page = fetch(&to, manner(), None).await.unwrap().unwrap();
        assert_eq!(&page.bytes[..], b"a = b");
        let first = asked.recv().await.unwrap();
        assert!(
            first.starts_with("get /a/b?c=d http/1.1\r\n") && !first.contains("\r\nif-"),
            "{first}"
        );
        assert_eq!(fetch(&to, manner(), Some(&page)).await.unwrap(), None);
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
        let also = Manner { also: &[StatusCode::SERVICE_UNAVAILABLE], ..manner() };
        assert_eq!(&fetch(&to, also, None).await.unwrap().unwrap().bytes[..], b"{}");
        let refused = fetch(&to, manner(), None).await.unwrap_err();
        assert!(matches!(refused, FetchError::Status { .. }), "{refused}");
    }

    #[tokio::test]
    async fn a_page_that_is_not_had_is_an_error_that_says_why() {
        let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        for (given, said) in [
            (answer("404 Gone", "", ""), "404"),
            (answer("304 Same", "", ""), "304 Not Modified to a question without conditions"),
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
            (answer("200 OK", "Content-Encoding: gzip\r\n", "x"), "packed (gzip)"),
            (
                Some("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n".to_owned()),
                "packed (gzip)",
            ),
            (answer("302 There", "Location: https://h/\r\n", ""), "redirects"),
            (None, "within 300 ms"),
        ] {
            let (to, _asked) = server(vec![given]).await;
            let manner = Manner { request: Duration::from_millis(300), ..manner() };
            let manner =
                if said.contains("ms") { manner } else { Manner { request: PATIENCE, ..manner } };
            let error = fetch(&to, manner, None).await.unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[tokio::test]
    async fn a_page_in_the_smallest_pieces_is_had_whole_and_holds_no_more_than_its_bytes() {
        let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        let pieces = "1\r\nx\r\n".repeat(100);
        let end = "0\r\n\r\n";
        let (to, _asked) = server(vec![
            Some(format!("{head}{pieces}{end}")),
            Some(format!("{head}{pieces}1\r\nx\r\n{end}")),
        ])
        .await;
        let page = fetch(&to, manner(), None).await.unwrap().unwrap();
        assert_eq!(page.bytes, "x".repeat(100));
        let error = fetch(&to, manner(), None).await.unwrap_err();
        assert!(matches!(error, FetchError::Long(100)), "{error}");
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
        // Twenty redirections take a second at least.
        let manner = Manner { request: Duration::from_millis(400), ..manner() };
        let error = fetch(&Endpoint::named(&to).unwrap(), manner, None).await.unwrap_err();
        assert!(matches!(error, FetchError::Silent(_)), "{error}");
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
        let manner = Manner { authorization: Some(&secret), ..manner() };
        let page = fetch(&to, manner, None).await.unwrap().unwrap();
        assert_eq!(&page.bytes[..], b"there");
        for path in ["get /a/b?c=d ", "get /near "] {
            let head = asked.recv().await.unwrap();
            assert!(head.starts_with(path) && head.contains("authorization: basic x"), "{head}");
        }
        assert!(!asked_there.recv().await.unwrap().contains("authorization"));
    }

    #[tokio::test]
    async fn a_page_comes_over_tls_from_whom_is_trusted_only() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/tls");
        let password = "changeit".to_owned();
        let choice = Choice::default();
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
        let asked = Manner { tls: Some(&known), ..manner() };
        let page = fetch(&to, asked, None).await.unwrap().unwrap();
        assert_eq!(&page.bytes[..], b"safe");
        let system = trust(None).load().unwrap();
        let asked = Manner { tls: Some(&system), ..manner() };
        let error = fetch(&to, asked, None).await.unwrap_err();
        assert!(matches!(error, FetchError::Dial(DialError::Tls(_))), "{error}");
    }
}
