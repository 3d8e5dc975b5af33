//! Tests of real sockets with a fake channel.

use super::*;
use crate::source::test_support::{
    CommitReply, SourceHarness, bodies, held, narrow_channel, until, within,
};
use millpond_flow::log_capture::captured_log;
use millpond_flow::metrics::DropReason;
use millpond_flow::settings::Settings;
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

fn source(pairs: &[(&str, &str)]) -> NetcatSource {
    let mut all = vec![("bind", "127.0.0.1"), ("port", "0")];
    all.extend(pairs);
    let settings = Settings::from_pairs("r1", &all);
    build(&mut SettingsReader::new(&settings)).unwrap()
}

struct NetcatTestClient(BufReader<TcpStream>);

impl NetcatTestClient {
    async fn connect(harness: &SourceHarness, source: &NetcatSource) -> Self {
        harness.until_started().await;
        let stream = TcpStream::connect(source.listening.bound()).await.unwrap();
        Self(BufReader::new(stream))
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(bytes).await.unwrap();
    }

    async fn finish(&mut self) {
        self.0.get_mut().shutdown().await.unwrap();
    }

    /// Returns the next reply; empty when the connection is closed.
    async fn answer(&mut self) -> String {
        let mut line = String::new();
        let read = within(20, "an answer", self.0.read_line(&mut line)).await;
        assert!(read.is_ok() || read.is_err_and(|e| e.kind() == ErrorKind::ConnectionReset));
        line
    }

    /// Returns all replies until the connection closes.
    async fn rest(&mut self) -> String {
        let mut all = String::new();
        within(20, "the end", self.0.read_to_string(&mut all)).await.unwrap();
        all
    }
}

#[tokio::test]
async fn each_line_is_an_event_and_gets_a_reply() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let mut client = NetcatTestClient::connect(&harness, &source).await;
        client.send(b"one\n").await;
        assert_eq!(client.answer().await, "OK\n");
        client.send(b"two words\r\n\nfo").await;
        assert_eq!([client.answer().await, client.answer().await], ["OK\n", "OK\n"]);
        client.send(b"ur\n").await;
        assert_eq!(client.answer().await, "OK\n");
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one", "two words\r", "", "four"]);
    assert!(harness.events().iter().all(|event| event.headers.is_empty()));
}

#[tokio::test]
async fn the_last_line_counts_without_its_newline() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let mut client = NetcatTestClient::connect(&harness, &source).await;
        client.send(b"one\ntail").await;
        client.finish().await;
        assert_eq!(client.rest().await, "OK\nOK\n");
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one", "tail"]);
}

#[tokio::test]
async fn without_acks_only_failures_get_a_reply() {
    let (harness, source) = (SourceHarness::new(), source(&[("ack-every-event", "false")]));
    harness.set_room(2);
    let script = async {
        let mut client = NetcatTestClient::connect(&harness, &source).await;
        client.send(b"one\ntwo\nthree\n").await;
        client.finish().await;
        let answers = client.rest().await;
        assert_eq!(
            answers,
            "FAILED: Space for commit to queue couldn't be acquired. Sinks are likely not keeping \
             up with sources, or the buffer size is too tight\n"
        );
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one", "two"]);
}

#[tokio::test]
async fn lines_in_doubt_are_failed_and_not_tried_again() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    harness.reply_with([CommitReply::Doubt]);
    let script = async {
        let mut client = NetcatTestClient::connect(&harness, &source).await;
        client.send(b"one\ntwo\n").await;
        assert_eq!(client.answer().await, "FAILED: in doubt: a lost write\n");
        let tries = harness.tries();
        client.send(b"three\n").await;
        let next = client.answer().await;
        // Both lines may have come in one read, or each in its own.
        assert!(next.starts_with(if tries == 1 { "FAILED" } else { "OK" }), "{next}");
        client.finish().await;
        assert!(client.rest().await.ends_with("OK\n"));
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()).last().unwrap(), "three");
}

#[tokio::test]
async fn refused_lines_whose_client_is_gone_are_counted_as_lost() {
    let (harness, source) = (SourceHarness::new(), source(&[("ack-every-event", "false")]));
    harness.set_room(0);
    harness.reply_with([CommitReply::Held]);
    let script = async {
        let mut client = NetcatTestClient::connect(&harness, &source).await;
        client.send(b"gone\n").await;
        harness.until_tries(1).await;
        rustix::net::sockopt::set_socket_linger(client.0.get_ref(), Some(Duration::ZERO)).unwrap();
        drop(client);
        harness.release();
        let open = &harness.context.counters.open_connection;
        until("the end of the connection", || open.get() == 0).await;
    };
    let words = captured_log(async { harness.run(&source, script).await.unwrap() }).await;
    assert!(words.contains("the client could not be notified"), "{words}");
    assert!(!words.contains("the client is notified"), "{words}");
    assert!(words.contains("messages received last are lost source=r1 events=1"), "{words}");
}

#[tokio::test]
async fn an_overlong_line_gets_an_error_and_ends_the_connection() {
    let (harness, source) = (SourceHarness::new(), source(&[("max-line-length", "8")]));
    let script = async {
        for line in [&b"good\n12345678\nafter\n"[..], b"good\n12345678901234567890"] {
            let mut client = NetcatTestClient::connect(&harness, &source).await;
            client.send(line).await;
            assert_eq!(
                client.rest().await,
                "OK\nFAILED: Event exceeds the maximum length (8 chars, including newline)\n"
            );
        }
        let mut client = NetcatTestClient::connect(&harness, &source).await;
        client.send(b"1234567\n").await;
        assert_eq!(client.answer().await, "OK\n");
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["good", "good", "1234567"]);
}

#[tokio::test]
async fn repeated_client_errors_do_not_flood_the_log() {
    let (harness, source) = (SourceHarness::new(), source(&[("max-line-length", "8")]));
    let said = captured_log(async {
        let script = async {
            for _ in 0..20 {
                for line in [&b"much too long\n"[..], b"\xff\xfe\n"] {
                    let mut client = NetcatTestClient::connect(&harness, &source).await;
                    client.send(line).await;
                    client.rest().await;
                }
            }
        };
        harness.run(&source, script).await.unwrap();
    });
    let said = said.await;
    assert_eq!(said.matches("closing the connection").count(), 2, "{said}");
    assert_eq!(harness.context.counters.event_read_fail.get(), 40);
}

#[tokio::test]
async fn the_last_reply_arrives_although_the_client_keeps_sending() {
    let (harness, source) = (SourceHarness::new(), source(&[("max-line-length", "8")]));
    let script = async {
        let client = NetcatTestClient::connect(&harness, &source).await;
        let (mut from, mut to) = client.0.into_inner().into_split();
        let flood =
            tokio::spawn(async move { while to.write_all(&[b'x'; 65_536]).await.is_ok() {} });
        let mut answer = String::new();
        within(20, "the answer", from.read_to_string(&mut answer)).await.unwrap();
        assert!(answer.starts_with("FAILED: Event exceeds"), "{answer}");
        drop(from);
        within(20, "the flood to end", flood).await.unwrap();
    };
    harness.run(&source, script).await.unwrap();
    assert!(harness.events().is_empty());
}

#[tokio::test]
async fn invalid_text_closes_the_connection_after_the_valid_lines() {
    for (acks, answers) in [("true", "OK\nOK\n"), ("false", "")] {
        for end in [&b"bad \xff\xfe\nafter\n"[..], b"bad \xff\xfe"] {
            let (harness, source) = (SourceHarness::new(), source(&[("ack-every-event", acks)]));
            let script = async {
                let mut client = NetcatTestClient::connect(&harness, &source).await;
                client.send(&[b"one\ntwo\n", end].concat()).await;
                assert_eq!(client.rest().await, answers, "the bad line has no reply");
            };
            harness.run(&source, script).await.unwrap();
            assert_eq!(bodies(&harness.events()), ["one", "two"], "acks {acks}");
            let counters = &harness.context.counters;
            assert_eq!(counters.event_read_fail.get(), 1);
            // A client that waits for replies has none for it.
            let dropped = u64::from(acks == "false");
            assert_eq!(counters.drops.get(DropReason::Unreadable), dropped, "acks {acks}");
        }
    }
}

#[tokio::test]
async fn bodies_are_utf8_whatever_the_encoding_of_the_lines() {
    let (harness, source) = (SourceHarness::new(), source(&[("encoding", "ISO-8859-1")]));
    let script = async {
        let mut client = NetcatTestClient::connect(&harness, &source).await;
        client.send(b"caf\xe9\n").await;
        assert_eq!(client.answer().await, "OK\n");
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["café"]);
}

#[tokio::test]
async fn a_client_that_never_reads_blocks_no_other() {
    let (harness, source) = (SourceHarness::with_capacity(10_000), source(&[]));
    let script = async {
        let deaf = NetcatTestClient::connect(&harness, &source).await;
        let mut deaf = deaf.0.into_inner();
        // Sends until its replies have filled every buffer and the source no longer reads.
        let lines = b"\n".repeat(65_536);
        let stuck = Duration::from_millis(500);
        while tokio::time::timeout(stuck, deaf.write_all(&lines)).await.is_ok() {}
        let mut other = NetcatTestClient::connect(&harness, &source).await;
        other.send(b"through\n").await;
        assert_eq!(other.answer().await, "OK\n");
        // Stopping does not wait for it either: the harness's deadline proves it.
    };
    harness.run(&source, script).await.unwrap();
    assert!(bodies(&harness.events()).contains(&"through".to_owned()));
}

#[tokio::test]
async fn a_commit_that_takes_long_holds_up_its_own_connection_only() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    harness.reply_with([CommitReply::Held]);
    let script = async {
        let mut slow = NetcatTestClient::connect(&harness, &source).await;
        slow.send(b"slow\n").await;
        harness.until_tries(1).await;
        let mut quick = NetcatTestClient::connect(&harness, &source).await;
        quick.send(b"quick\n").await;
        assert_eq!(quick.answer().await, "OK\n");
        assert_eq!(bodies(&harness.events()), ["quick"]);
        harness.release();
        // No OK before its commit.
        assert_eq!(slow.answer().await, "OK\n");
        assert_eq!(bodies(&harness.events()), ["quick", "slow"]);
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["quick", "slow"]);
}

#[tokio::test]
async fn a_commit_under_way_gets_its_reply_when_the_source_stops() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    harness.reply_with([CommitReply::Slow(200)]);
    let mut client = None;
    let script = async {
        let connected = client.insert(NetcatTestClient::connect(&harness, &source).await);
        connected.send(b"one\n").await;
        harness.until_tries(1).await;
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(client.unwrap().answer().await, "OK\n");
    assert_eq!(bodies(&harness.events()), ["one"]);
}

#[tokio::test]
async fn unacknowledged_lines_that_were_read_are_committed_at_a_stop() {
    for acks in ["true", "false"] {
        let (harness, source) =
            (SourceHarness::with_capacity(2), source(&[("ack-every-event", acks)]));
        harness.reply_with([CommitReply::Held]);
        let lines = ["1", "2", "3", "4", "5"];
        let mut client = None;
        let script = async {
            let connected = client.insert(NetcatTestClient::connect(&harness, &source).await);
            connected.send(format!("{}\n", lines.join("\n")).as_bytes()).await;
            harness.until_tries(1).await;
            harness.stop();
            harness.release();
        };
        harness.run(&source, script).await.unwrap();
        let answers = client.unwrap().rest().await;
        let (taken, answered) = if acks == "true" { (2, "OK\nOK\n") } else { (5, "") };
        assert_eq!(bodies(&harness.events()), lines[..taken], "acks {acks}");
        assert_eq!(answers, answered);
    }
}

#[tokio::test]
async fn connections_beyond_the_limit_get_an_error() {
    let (harness, source) = (SourceHarness::new(), source(&[("maxConnections", "2")]));
    let script = async {
        let mut first = NetcatTestClient::connect(&harness, &source).await;
        let mut second = NetcatTestClient::connect(&harness, &source).await;
        for client in [&mut first, &mut second] {
            client.send(b"in\n").await;
            assert_eq!(client.answer().await, "OK\n");
        }
        let mut third = NetcatTestClient::connect(&harness, &source).await;
        assert_eq!(third.answer().await, "FAILED: Too many connections\n");
        drop(first);
        // The slot is free as soon as the source has noticed the close.
        let again = async {
            loop {
                let mut client = NetcatTestClient::connect(&harness, &source).await;
                let _ = client.0.get_mut().write_all(b"again\n").await;
                if client.answer().await == "OK\n" {
                    return;
                }
            }
        };
        within(20, "a free slot", again).await;
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["in", "in", "again"]);
}

#[tokio::test]
async fn many_clients_keep_their_own_order() {
    let (harness, source) = (SourceHarness::with_capacity(7), source(&[]));
    let script = async {
        let mut clients = Vec::new();
        for c in 0..50 {
            let mut client = NetcatTestClient::connect(&harness, &source).await;
            let lines: String = (0..20).map(|i| format!("{c} {i}\n")).collect();
            client.send(lines.as_bytes()).await;
            client.finish().await;
            clients.push(client);
        }
        for client in &mut clients {
            assert_eq!(client.rest().await, "OK\n".repeat(20));
        }
    };
    harness.run(&source, script).await.unwrap();
    for c in 0..50 {
        let own: Vec<String> = bodies(&harness.events())
            .into_iter()
            .filter_map(|body| Some(body.strip_prefix(&format!("{c} "))?.to_owned()))
            .collect();
        assert_eq!(own, (0..20).map(|i| i.to_string()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_client_that_resets_leaves_the_source_running() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let mut rude = NetcatTestClient::connect(&harness, &source).await;
        rude.send(b"one\nhalf").await;
        harness.until_events(1).await;
        // Closing with an unread reply sends a reset.
        drop(rude);
        let mut next = NetcatTestClient::connect(&harness, &source).await;
        next.send(b"two\n").await;
        assert_eq!(next.answer().await, "OK\n");
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events())[..1], ["one"]);
    assert!(bodies(&harness.events()).contains(&"two".to_owned()));
}

#[tokio::test]
async fn a_taken_port_is_named_in_the_failure() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let (harness, source) = (SourceHarness::new(), source(&[("port", &port.to_string())]));
    let error = source.run(&harness.context).await.unwrap_err().to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}")), "{error}");
    until("nothing started", || {
        *harness.context.begun.borrow() == millpond_flow::context::SourceStage::No
    })
    .await;
}

#[tokio::test]
async fn after_a_full_channel_the_other_lines_of_a_read_fail_at_once() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    harness.set_room(2);
    let script = async {
        let mut client = NetcatTestClient::connect(&harness, &source).await;
        client.send("line\n".repeat(50).as_bytes()).await;
        for at in 0..50 {
            let answer = client.answer().await;
            assert_eq!(answer == "OK\n", at < 2, "{at}: {answer}");
        }
        // All at once, two that were committed, and one that was refused.
        assert_eq!(harness.tries(), 4);
        harness.set_room(3);
        client.send(b"later\n").await;
        assert_eq!(client.answer().await, "OK\n", "the next read is tried");
    };
    harness.run(&source, script).await.unwrap();
}

#[tokio::test]
async fn refused_lines_are_counted_without_acknowledgements() {
    let (harness, source) = (SourceHarness::new(), source(&[("ack-every-event", "false")]));
    harness.set_room(1);
    let drops = &harness.context.counters.drops;
    let script = async {
        let mut client = NetcatTestClient::connect(&harness, &source).await;
        client.send(b"one\ntwo\nthree\nfour").await;
        until("two refused", || drops.get(DropReason::Refused) == 2).await;
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one"]);
    assert_eq!(drops.get(DropReason::UnfinishedLine), 1, "the source stopped within it");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for (pairs, word) in [
        (vec![("port", "1")], "r1.bind"),
        (vec![("bind", "h")], "r1.port"),
        (vec![("bind", "h"), ("port", "65536")], "r1.port"),
        (vec![("bind", "h"), ("port", "1"), ("encoding", "UTF-16")], "r1.encoding"),
        (vec![("bind", "h"), ("port", "1"), ("max-line-length", "0")], "r1.max-line-length"),
    ] {
        let settings = Settings::from_pairs("r1", &pairs);
        let Err(error) = build(&mut SettingsReader::new(&settings)) else { panic!("{pairs:?}") };
        assert_eq!(error.key, word);
    }
}

#[tokio::test]
async fn a_line_beyond_the_channel_limit_fails_and_the_others_are_taken() {
    let channel = narrow_channel(1000);
    let (harness, source) = (SourceHarness::over(&channel), source(&[("max-line-length", "5000")]));
    let script = async {
        let mut client = NetcatTestClient::connect(&harness, &source).await;
        client.send(format!("one\n{}\ntwo\n", "x".repeat(1001)).as_bytes()).await;
        assert_eq!(client.answer().await, "OK\n");
        let failed = client.answer().await;
        assert!(failed.starts_with("FAILED: ") && failed.contains("byte_capacity"), "{failed}");
        assert_eq!(client.answer().await, "OK\n");
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(held(&*channel), ["one", "two"]);
}

#[tokio::test]
async fn lines_connections_and_unreadable_data_are_counted() {
    let (harness, source) = (SourceHarness::new(), source(&[("max-line-length", "10")]));
    let counters = &harness.context.counters;
    let script = async {
        let mut first = NetcatTestClient::connect(&harness, &source).await;
        first.send(b"one\ntwo\n").await;
        assert_eq!([first.answer().await, first.answer().await], ["OK\n", "OK\n"]);
        let mut second = NetcatTestClient::connect(&harness, &source).await;
        second.send(b"three\n").await;
        assert_eq!(second.answer().await, "OK\n");
        assert_eq!(counters.open_connection.get(), 2);
        second.send(b"a line that is too long\n").await;
        assert!(second.rest().await.starts_with("FAILED: "));
        until("one connection less", || counters.open_connection.get() == 1).await;
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!((counters.event_received.get(), counters.event_read_fail.get()), (3, 1));
    assert_eq!(counters.append_batch_received.get(), counters.append_batch_accepted.get());
    assert_eq!(counters.open_connection.get(), 0);
}
