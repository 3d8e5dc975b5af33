//! Tests of real sockets with scripted servers.

use super::*;
use crate::sink::test_support::{build as build_sink, captured_log, context};
use millpond_flow::context::StopSignal;
use millpond_flow::settings::Settings;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

/// A server's response to one request; `None` for no response at all.
type HttpServerAction = Option<&'static str>;

#[derive(Clone, Default)]
struct SeenRequests(Arc<Mutex<(usize, Vec<String>)>>);

impl SeenRequests {
    fn connections(&self) -> usize {
        self.0.lock().unwrap().0
    }

    /// Returns method, path and body of each request.
    fn requests(&self) -> Vec<String> {
        let word = |text: &str| {
            let line = text.split(" HTTP").next().unwrap().to_owned();
            format!("{line} {}", text.split("\r\n\r\n").nth(1).unwrap())
        };
        self.0.lock().unwrap().1.iter().map(|text| word(text)).collect()
    }
}

const OK: HttpServerAction = Some("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
const BUSY: HttpServerAction = Some("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");

/// Runs a server that sends these responses in order, then 200.
async fn server(answers: Vec<HttpServerAction>) -> (u16, SeenRequests) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let (seen, answers) = (SeenRequests::default(), Arc::new(Mutex::new(answers.into_iter())));
    let known = seen.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            known.0.lock().unwrap().0 += 1;
            tokio::spawn(session(stream, known.clone(), Arc::clone(&answers)));
        }
    });
    (port, seen)
}

async fn session(
    mut stream: TcpStream,
    seen: SeenRequests,
    answers: Arc<Mutex<std::vec::IntoIter<HttpServerAction>>>,
) -> Option<()> {
    loop {
        let mut request = Vec::new();
        loop {
            let text = String::from_utf8_lossy(&request).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let lower = head.to_ascii_lowercase();
                let length = lower.split("content-length: ").nth(1);
                let length = length.and_then(|l| l.lines().next()?.parse().ok()).unwrap_or(0);
                if body.len() >= length {
                    seen.0.lock().unwrap().1.push(text);
                    break;
                }
            }
            if stream.read_buf(&mut request).await.ok()? == 0 {
                return None;
            }
        }
        let next = answers.lock().unwrap().next().unwrap_or(OK);
        match next {
            Some(answer) => stream.write_all(answer.as_bytes()).await.ok()?,
            None => std::future::pending::<()>().await,
        }
        if next.is_some_and(|answer| answer.contains("close")) {
            return None;
        }
    }
}

const GOOD: [(&str, &str); 3] =
    [("rollback.2XX", "false"), ("backoff.2XX", "false"), ("incrementMetrics.2XX", "true")];

fn sink(port: u16, pairs: &[(&str, &str)]) -> Box<dyn Sink> {
    let endpoint = format!("http://127.0.0.1:{port}/in/let?x=y");
    let mut all = vec![("endpoint", endpoint.as_str())];
    all.extend(GOOD);
    all.extend(pairs);
    build_sink(&TYPE, &all).unwrap()
}

async fn deliver(sink: &mut dyn Sink, body: &'static str) -> Result<bool, String> {
    // Without its sender the signal has fired.
    let (_running, stop) = StopSignal::new();
    let context = SinkContext { stop, ..context() };
    let sent = sink.deliver(&context, &[Event::new(body)]).await;
    sent.map(|()| sink.counts()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn each_event_is_a_post_of_its_body_over_one_connection() {
    let (port, seen) = server(vec![]).await;
    let mut sink = sink(port, &[("contentTypeHeader", "a/b"), ("acceptHeader", "c/d")]);
    assert_eq!(deliver(&mut *sink, "one").await, Ok(true));
    assert_eq!(deliver(&mut *sink, "two").await, Ok(true));
    assert_eq!(deliver(&mut *sink, "").await, Ok(false));
    assert_eq!(seen.requests(), ["POST /in/let?x=y one", "POST /in/let?x=y two"]);
    assert_eq!(seen.connections(), 1);
    let request = seen.0.lock().unwrap().1[0].to_ascii_lowercase();
    for header in ["content-type: a/b", "accept: c/d", &format!("host: 127.0.0.1:{port}")] {
        assert!(request.contains(header), "{header}: {request}");
    }
}

#[tokio::test]
async fn an_event_given_up_for_a_status_is_a_drop_and_logged_once() {
    let gone = Some("HTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n");
    let (port, _) = server(vec![gone, gone, gone, OK]).await;
    let counts =
        [("rollback.4XX", "false"), ("backoff.4XX", "false"), ("incrementMetrics.4XX", "true")];
    let mut sink = sink(port, &counts);
    let said = captured_log(async {
        for _ in 0..3 {
            assert_eq!(deliver(&mut *sink, "a").await, Ok(true), "as Flume counts");
            assert_eq!(sink.dropped(), Some(DropReason::ErrorStatus));
        }
        deliver(&mut *sink, "b").await.unwrap();
        assert_eq!(sink.dropped(), None);
        deliver(&mut *sink, "").await.unwrap();
        assert_eq!(sink.dropped(), Some(DropReason::EmptyBody));
    });
    let said = said.await;
    assert_eq!(said.matches("returned 404: such events are dropped").count(), 1, "{said}");
}

#[tokio::test(start_paused = true)]
async fn a_status_has_the_effect_configured_in_the_tables() {
    let gone = Some("HTTP/1.1 404 Gone\r\nContent-Length: 0\r\n\r\n");
    let (port, seen) = server(vec![BUSY, OK, BUSY, BUSY, OK, gone, OK]).await;
    let again = [("rollback.503", "true"), ("backoff.503", "false"), ("rollback.4XX", "false")];
    let mut plain = sink(port, &[]);
    let error = deliver(&mut *plain, "a").await.unwrap_err();
    assert!(error.contains("503") && error.contains("rollback.503"), "{error}");
    deliver(&mut *plain, "a").await.unwrap();
    let mut sink = sink(port, &again);
    deliver(&mut *sink, "b").await.unwrap();
    let bodies = |from: usize| seen.requests().split_off(from).concat();
    assert_eq!(bodies(2).matches(" b").count(), 3, "at once, and again");
    assert_eq!(deliver(&mut *sink, "c").await, Ok(false), "dropped and not counted");
    let before = Instant::now();
    deliver(&mut *sink, "d").await.unwrap();
    assert!(
        before.elapsed() >= Duration::from_millis(875),
        "it pauses after a status with backoff"
    );
}

#[tokio::test]
async fn an_event_sent_again_at_once_is_counted_each_time_and_logged_once() {
    let (port, _) = server(vec![BUSY, BUSY, BUSY, OK, BUSY]).await;
    let mut sink = sink(port, &[("rollback.503", "true"), ("backoff.503", "false")]);
    let (_running, stop) = StopSignal::new();
    let context = SinkContext { stop, ..context() };
    let words =
        captured_log(async { sink.deliver(&context, &[Event::new("a")]).await.unwrap() }).await;
    assert_eq!(
        words.matches("answered 503: the event is sent again at once").count(),
        1,
        "{words}"
    );
    assert!(words.contains("recovered after 3 failed attempts"), "{words}");
    assert_eq!(context.counters.event_write_fail.get(), 3);
    let words =
        captured_log(async { sink.deliver(&context, &[Event::new("b")]).await.unwrap() }).await;
    assert_eq!(
        words.matches("sent again at once").count(),
        1,
        "a new series of failures is logged: {words}"
    );
}

#[tokio::test]
async fn a_timeout_or_hang_up_fails_the_event_and_the_next_one_reconnects() {
    let closes = Some("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    let garbage = Some("garbage\r\n\r\n");
    let half = Some("HTTP/1.1 200 OK\r\nContent-Length: 10\r\nclose: x\r\n\r\nhalf");
    let (port, seen) = server(vec![None, closes, garbage, half]).await;
    let mut sink = sink(port, &[("requestTimeout", "100")]);
    let error = deliver(&mut *sink, "a").await.unwrap_err();
    assert!(error.contains("did not answer within 100 ms"), "{error}");
    deliver(&mut *sink, "b").await.unwrap();
    deliver(&mut *sink, "c").await.unwrap_err();
    // The status has arrived and counts; the connection is closed.
    deliver(&mut *sink, "d").await.unwrap();
    deliver(&mut *sink, "e").await.unwrap();
    assert_eq!(seen.connections(), 5);
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let error = deliver(&mut *self::sink(closed, &[]), "a").await.unwrap_err();
    assert!(error.contains("cannot connect"), "{error}");
}

#[tokio::test]
async fn a_redirection_keeps_the_body_and_never_changes_the_protocol() {
    let there = Some("HTTP/1.1 302 There\r\nLocation: /other\r\nContent-Length: 0\r\n\r\n");
    let away =
        Some("HTTP/1.1 307 Away\r\nLocation: https://127.0.0.1/\r\nContent-Length: 0\r\n\r\n");
    let (port, seen) = server(vec![there, OK, away]).await;
    let mut sink = sink(port, &[]);
    deliver(&mut *sink, "a").await.unwrap();
    assert_eq!(seen.requests(), ["POST /in/let?x=y a", "POST /other a"]);
    let error = deliver(&mut *sink, "b").await.unwrap_err();
    assert!(error.contains("307"), "{error}");
    let (port, seen) = server(vec![there; 30]).await;
    deliver(&mut *self::sink(port, &[]), "c").await.unwrap_err();
    assert_eq!(seen.requests().len(), 21);
}

#[test]
fn unsupported_settings_are_refused() {
    let refused = |pairs: &[(&str, &str)]| {
        build(&mut SettingsReader::new(&Settings::from_pairs("k1", pairs)))
            .err()
            .map(|error| error.to_string())
    };
    assert!(refused(&[]).unwrap().contains("endpoint"));
    assert!(refused(&[("endpoint", "ftp://x/")]).unwrap().contains("URL"));
    for url in ["https://u:geheim@h/", "http://u:geheim@/", "ftp://u:geheim@h/"] {
        let words = refused(&[("endpoint", url)]).unwrap();
        assert!(words.contains("endpoint") && !words.contains("geheim"), "{words}");
    }
    let good = ("endpoint", "http://x/");
    assert!(refused(&[good, ("connectTimeout", "0")]).is_some());
    assert!(refused(&[good, ("acceptHeader", "a\nb")]).is_some());
    assert!(refused(&[good, ("defaultRollback", "no")]).is_some());
    assert!(refused(&[good]).is_none());
}

/// Runs a server that reads a piece of each request at intervals, at most `pieces`, and responds at its end.
async fn slow_server(pieces: usize) -> u16 {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    // Otherwise the kernel would accept a whole request for it.
    socket.set_recv_buffer_size(256 * 1024).unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(16).unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut piece) = (0, vec![0; LARGE_BYTES / 40]);
                for _ in 0..pieces {
                    read += stream.read_exact(&mut piece).await.unwrap();
                    // The rest is less than a piece.
                    if read + piece.len() > LARGE_BYTES {
                        return stream.write_all(OK.unwrap().as_bytes()).await.unwrap();
                    }
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                std::future::pending::<()>().await;
            });
        }
    });
    port
}

const LARGE_BYTES: usize = 4 * 1024 * 1024;

#[tokio::test]
async fn the_request_timeout_bounds_silence_and_not_the_time_of_an_upload() {
    let body: &'static str = Box::leak("x".repeat(LARGE_BYTES).into_boxed_str());
    let mut sink = sink(slow_server(usize::MAX).await, &[("requestTimeout", "1000")]);
    let began = Instant::now();
    deliver(&mut *sink, body).await.unwrap();
    assert!(began.elapsed() > Duration::from_secs(1), "it took longer than the timeout");
    let mut sink = self::sink(slow_server(3).await, &[("requestTimeout", "1000")]);
    let error = deliver(&mut *sink, body).await.unwrap_err();
    assert!(error.contains("took nothing more of the request for 1000 ms"), "{error}");
}

#[tokio::test]
async fn a_request_carries_the_credentials_of_the_current_file() {
    let directory = tempfile::tempdir().unwrap();
    let token = directory.path().join("token");
    std::fs::write(&token, "first\n").unwrap();
    let denied = Some("HTTP/1.1 401 Who\r\nContent-Length: 0\r\n\r\n");
    let (port, seen) = server(vec![OK, denied, OK]).await;
    let mut sink = sink(port, &[("auth-token-file", token.to_str().unwrap())]);
    deliver(&mut *sink, "a").await.unwrap();
    std::fs::write(&token, "second\n").unwrap();
    deliver(&mut *sink, "b").await.unwrap_err();
    deliver(&mut *sink, "b").await.unwrap();
    let heads = seen.0.lock().unwrap().1.concat().to_ascii_lowercase();
    assert_eq!(heads.matches("authorization: bearer first").count(), 2, "{heads}");
    assert_eq!(heads.matches("authorization: bearer second").count(), 1, "{heads}");
    let basic = [("auth-user", "Aladdin"), ("auth-password", "open sesame")];
    let (port, seen) = server(Vec::new()).await;
    deliver(&mut *self::sink(port, &basic), "a").await.unwrap();
    let heads = seen.0.lock().unwrap().1.concat();
    assert!(heads.contains("Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "{heads}");
    let missing = [("auth-token-file", "/nowhere/token")];
    let error = deliver(&mut *self::sink(port, &missing), "a").await.unwrap_err();
    assert!(error.contains("/nowhere/token"), "{error}");
}

#[tokio::test]
async fn a_sink_of_a_group_is_ready_once_connected_and_uses_that_connection() {
    let (port, seen) = server(vec![]).await;
    let mut sink = sink(port, &[]);
    let (_running, stop) = StopSignal::new();
    let context = SinkContext { stop, ..context() };
    assert!(!sink.is_ready());
    sink.connect(&context).await.unwrap();
    assert!(sink.is_ready());
    sink.connect(&context).await.unwrap();
    sink.deliver(&context, &[Event::new("one")]).await.unwrap();
    assert!(sink.is_ready());
    assert_eq!((seen.connections(), context.counters.connection_created.get()), (1, 1));
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let mut sink = self::sink(closed, &[]);
    assert!(sink.connect(&context).await.unwrap_err().to_string().contains("cannot connect to"));
    assert!(!sink.is_ready());
    assert_eq!(context.counters.connection_failed.get(), 1);
}
