//! Tests of real sockets with a fake channel.

use super::*;
use crate::source::test_support::{CommitReply, SourceHarness, bodies, within};
use millpond_flow::settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn try_build(pairs: &[(&str, &str)]) -> Result<HttpSource, SettingError> {
    build(&mut SettingsReader::new(&Settings::from_pairs("r1", pairs)))
}

fn source(pairs: &[(&str, &str)]) -> HttpSource {
    let mut all = vec![("bind", "127.0.0.1"), ("port", "0")];
    all.extend(pairs);
    try_build(&all).unwrap()
}

/// Sends `request` and returns the whole response until the connection closes.
async fn ask(harness: &SourceHarness, source: &HttpSource, request: &str) -> String {
    harness.until_started().await;
    let mut stream = TcpStream::connect(source.listening.bound()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // A connection closed with unread data is reset: what came before counts.
    let _ = within(60, "an answer", stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn request(method: &str, path: &str, body: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn an_array_of_events_is_one_transaction_and_200_follows_its_commit() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let body = r#"[{"headers":{"a":"b"},"body":"one"},{"body":"two"}]"#;
        let answer = ask(&harness, &source, &request("POST", "/any/path", body)).await;
        assert_eq!(status(&answer), 200, "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        assert_eq!(harness.batches(), [2]);
        harness.reply_with([CommitReply::Full, CommitReply::Doubt]);
        for _ in 0..2 {
            let answer = ask(&harness, &source, &request("POST", "/", body)).await;
            assert_eq!(status(&answer), 503, "{answer}");
        }
        let answer = ask(&harness, &source, &request("POST", "/", "[]")).await;
        assert_eq!(status(&answer), 200, "{answer}");
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one", "two"]);
    assert_eq!(harness.events()[0].headers.get("a"), Some("b"));
    let counters = &harness.context.counters;
    assert_eq!((counters.event_received.get(), counters.append_batch_accepted.get()), (6, 2));
}

#[tokio::test]
async fn bad_requests_get_the_statuses_of_jetty() {
    let (harness, source) =
        (SourceHarness::with_capacity(2), source(&[("maxRequestBytes", "100")]));
    let script = async {
        let good = r#"[{"body":"x"}]"#;
        for (method, expected) in [
            ("GET", 200),
            ("HEAD", 200),
            ("PUT", 405),
            ("DELETE", 405),
            ("OPTIONS", 403),
            ("TRACE", 403),
            ("PATCH", 501),
            ("FOO", 501),
        ] {
            let answer = ask(&harness, &source, &request(method, "/", good)).await;
            assert_eq!(status(&answer), expected, "{method}: {answer}");
        }
        let long = "x".repeat(9000);
        for (request, expected) in [
            (request("POST", "/", "hello"), 400),
            (request("POST", "/", ""), 400),
            (request("POST", "/", r#"[{},{},{}]"#), 503),
            (request("POST", "/", &format!(r#"[{{"body":"{}"}}]"#, "x".repeat(100))), 413),
            (request("POST", "/", good).replace("Host: x\r\n", ""), 400),
            (request("POST", "/", good).replace("Host: x", &format!("Host: x\r\nX: {long}")), 431),
            (
                request("POST", "/", good)
                    .replace("Host: x", "Host: x\r\nContent-Type: a; charset=x"),
                500,
            ),
            ("hello\r\n\r\n".to_owned(), 400),
            (format!("POST / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(70_000)), 431),
        ] {
            let answer = ask(&harness, &source, &request).await;
            assert_eq!(
                status(&answer),
                expected,
                "{}: {answer}",
                &request[..40.min(request.len())]
            );
        }
        let chunks =
            "POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = ask(
            &harness,
            &source,
            &format!("{chunks}8\r\n[{{\"body\"\r\n7\r\n:\"ch\"}}]\r\n0\r\n\r\n"),
        )
        .await;
        assert_eq!(status(&answer), 200, "{answer}");
        let answer =
            ask(&harness, &source, &format!("{chunks}65\r\n{}\r\n0\r\n\r\n", "x".repeat(0x65)))
                .await;
        assert_eq!(status(&answer), 413, "{answer}");
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["x", "x", "ch"]);
}

#[tokio::test]
async fn a_blob_is_one_event_with_the_parameters_as_headers() {
    let pairs = [("handler", BLOB), ("handler.mandatoryParameters", "a, b")];
    let (harness, source) = (SourceHarness::new(), source(&pairs));
    let script = async {
        let answer = ask(&harness, &source, &request("POST", "/?a=1&b=%20x&a=2", "blob")).await;
        assert_eq!(status(&answer), 200, "{answer}");
        let answer = ask(&harness, &source, &request("POST", "/?a=1", "blob")).await;
        assert_eq!(status(&answer), 500, "{answer}");
        assert!(answer.contains("\"b\""), "{answer}");
    };
    harness.run(&source, script).await.unwrap();
    let event = &harness.events()[0];
    assert_eq!((event.headers.get("a"), event.headers.get("b")), (Some("1"), Some(" x")));
    assert_eq!(bodies(&harness.events()), ["blob"]);
    let without = self::source(&[("handler", BLOB)]);
    let harness = SourceHarness::new();
    let script = async {
        let answer = ask(&harness, &without, &request("POST", "/", "blob")).await;
        assert_eq!(status(&answer), 200, "{answer}");
    };
    harness.run(&without, script).await.unwrap();
}

#[tokio::test]
async fn a_missing_body_times_out_and_delays_no_other_client() {
    let (harness, source) = (SourceHarness::new(), source(&[("requestTimeout", "200")]));
    let script = async {
        harness.until_started().await;
        let slow = request("POST", "/", r#"[{"body":"x"}]"#);
        let half = ask(&harness, &source, &slow[..slow.len() - 3]);
        let good = request("POST", "/", r#"[{"body":"y"}]"#);
        let (half, whole) = tokio::join!(half, ask(&harness, &source, &good));
        assert_eq!((status(&half), status(&whole)), (408, 200), "{half}");
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["y"]);
}

#[tokio::test]
async fn a_pending_request_gets_its_reply_when_the_source_stops() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    harness.reply_with([CommitReply::Held]);
    let asked = async {
        let keep = request("POST", "/", r#"[{"body":"x"}]"#).replace("Connection: close\r\n", "");
        ask(&harness, &source, &keep).await
    };
    let stopped = async {
        harness.until_tries(1).await;
        harness.stop();
        harness.release();
    };
    let (ended, (answer, ())) =
        tokio::join!(source.run(&harness.context), async { tokio::join!(asked, stopped) });
    ended.unwrap();
    assert_eq!(status(&answer), 200, "{answer}");
}

#[tokio::test]
async fn a_request_without_credentials_gets_401_and_commits_nothing() {
    let pairs = [("auth-user", "Aladdin"), ("auth-password", "open sesame"), ("auth-token", "t")];
    let (harness, source) = (SourceHarness::new(), source(&pairs));
    let good = |header: &str| {
        request("POST", "/", r#"[{"body":"x"}]"#).replace("Host", &format!("{header}\r\nHost"))
    };
    let script = async {
        for header in ["X: y", "Authorization: Bearer u", "Authorization: Basic QTpi"] {
            let answer = ask(&harness, &source, &good(header)).await;
            assert_eq!(status(&answer), 401, "{answer}");
            let lower = answer.to_ascii_lowercase();
            assert!(lower.contains("www-authenticate: bearer realm"), "{answer}");
            assert!(lower.contains("www-authenticate: basic realm"), "{answer}");
        }
        assert_eq!(harness.events().len(), 0);
        let basic = "Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        for header in ["Authorization: Bearer t", basic] {
            let answer = ask(&harness, &source, &good(header)).await;
            assert_eq!(status(&answer), 200, "{answer}");
        }
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["x", "x"]);
    assert_eq!(harness.context.counters.event_read_fail.get(), 3);
    let (harness, source) =
        (SourceHarness::new(), self::source(&[("auth-token-file", "/nowhere/t")]));
    let error = source.run(&harness.context).await.unwrap_err().to_string();
    assert!(error.contains("/nowhere/t"), "{error}");
}

#[tokio::test]
async fn over_tls_requests_work_and_plain_text_fails() {
    let store = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tls/server.jks");
    let pairs = [("enableSSL", "true"), ("keystore", store), ("keystorePassword", "changeit")];
    let (harness, source) = (SourceHarness::new(), source(&pairs));
    let script = async {
        harness.until_started().await;
        let port = source.listening.bound().port();
        let trust = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/golden/tls/trust.jks");
        let client = millpond_flow::net::tls::ClientTls {
            truststore: Some(trust.into()),
            password: "changeit".to_owned(),
            ..millpond_flow::net::tls::ClientTls::default()
        };
        let connector = client.load().unwrap();
        let time_limit = Duration::from_secs(60);
        let layers = millpond_flow::net::connect::Layers { tls: Some(&connector), zlib: None };
        let dialled =
            millpond_flow::net::connect::connect("127.0.0.1", port, layers, time_limit).await;
        let mut stream = dialled.unwrap();
        let good = request("POST", "/", r#"[{"body":"y"}]"#);
        stream.write_all(good.as_bytes()).await.unwrap();
        let mut answer = String::new();
        within(60, "an answer", stream.read_to_string(&mut answer)).await.unwrap();
        assert_eq!(status(&answer), 200, "{answer}");
        let answer = ask(&harness, &source, &good).await;
        assert_eq!(status(&answer), 0, "{answer}");
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["y"]);
    assert_eq!(harness.context.counters.event_read_fail.get(), 1);
}

#[test]
fn unsupported_settings_are_refused_and_those_of_jetty_named() {
    let refused = |pairs: &[(&str, &str)]| try_build(pairs).err().map(|error| error.to_string());
    assert!(refused(&[]).unwrap().contains("port"));
    assert!(refused(&[("port", "1"), ("handler", "com.example.Mine")]).unwrap().contains("Java"));
    assert!(refused(&[("port", "1"), ("ssl", "yes")]).unwrap().contains("true or false"));
    assert!(refused(&[("port", "1"), ("enableSSL", "true")]).unwrap().contains("keystore"));
    let jetty = [
        ("port", "1"),
        ("ssl", "true"),
        ("keystore", "/k"),
        ("SslContextFactory.needClientAuth", "true"),
    ];
    let words = refused(&jetty).unwrap();
    assert!(
        words.contains("truststore: is required with SslContextFactory.needClientAuth"),
        "{words}"
    );
    assert!(
        refused(&[&jetty[..], &[("SslContextFactory.trustStorePath", "/t")]].concat()).is_none()
    );
    let settings =
        Settings::from_pairs("r1", &[("port", "1"), ("QueuedThreadPool.maxThreads", "5")]);
    let mut reader = SettingsReader::new(&settings);
    build(&mut reader).map(|_| ()).unwrap();
    assert!(reader.into_findings()[0].to_string().contains("Jetty"));
}

#[tokio::test]
async fn a_stop_waits_neither_for_a_body_nor_for_a_head_that_trickles() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n[";
    let mut answer = Vec::new();
    let stopped = std::cell::Cell::new(None);
    let script = async {
        harness.until_started().await;
        let address = source.listening.bound();
        let mut slow = TcpStream::connect(address).await.unwrap();
        let mut slower = TcpStream::connect(address).await.unwrap();
        slow.write_all(head.as_bytes()).await.unwrap();
        slower.write_all(&head.as_bytes()[..20]).await.unwrap();
        let open = &harness.context.counters.open_connection;
        crate::source::test_support::until("both", || open.get() == 2).await;
        // Nothing visible shows that both are being read.
        tokio::time::sleep(Duration::from_millis(200)).await;
        stopped.set(Some(tokio::time::Instant::now()));
        harness.stop();
        let trickle = async {
            loop {
                tokio::time::sleep(Duration::from_millis(100)).await;
                let _ = slower.write_all(b"X").await;
                if slow.write_all(b" ").await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        // Both halves of one socket would need a split; the reply is read once nothing more is sent.
        let _ = tokio::time::timeout(Duration::from_millis(1500), trickle).await;
        let _ = within(60, "an answer", slow.read_to_end(&mut answer)).await;
    };
    harness.run(&source, script).await.unwrap();
    let took = stopped.get().unwrap().elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(status(&String::from_utf8_lossy(&answer)), 503);
    assert!(harness.events().is_empty());
}

#[tokio::test]
async fn a_revoked_token_is_refused_on_an_open_connection() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    std::fs::write(&file, "old").unwrap();
    let (harness, source) =
        (SourceHarness::new(), source(&[("auth-token-file", file.to_str().unwrap())]));
    let body = r#"[{"body":"x"}]"#;
    let asked =
        request("POST", "/", body).replace("Connection: close", "Authorization: Bearer old");
    let script = async {
        harness.until_started().await;
        let mut stream = TcpStream::connect(source.listening.bound()).await.unwrap();
        let mut status_of_next = async || {
            stream.write_all(asked.as_bytes()).await.unwrap();
            let mut answer = vec![0; 4096];
            let read = within(60, "an answer", stream.read(&mut answer)).await.unwrap();
            status(&String::from_utf8_lossy(&answer[..read]))
        };
        assert_eq!(status_of_next().await, 200);
        std::fs::write(&file, "another").unwrap();
        tokio::time::sleep(Duration::from_millis(1100)).await;
        assert_eq!(status_of_next().await, 401);
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["x"]);
}
