//! Tests of real sockets with a fake channel.

use super::*;
use crate::source::test_support::{
    CommitReply, SourceHarness, bodies, held, narrow_channel, within,
};
use crate::wire::avro::call::{AvroReply, put_append, put_append_batch};
use crate::wire::avro::frame::{self, AvroFrame, AvroFramer};
use crate::wire::avro::handshake::{HandshakeMatch, HandshakeRequest, HandshakeResponse};
use crate::wire::avro::protocol::{self, HASH, ProtocolHash, TEXT};
use crate::wire::avro::values::AvroReader;
use bytes::BytesMut;
use millpond::Event;
use millpond_flow::base::limits::AVRO_REQUEST_PASSED_OVER_BYTES_MAX;
use millpond_flow::settings::Settings;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn try_build(pairs: &[(&str, &str)]) -> Result<AvroSource, SettingError> {
    build(&mut SettingsReader::new(&Settings::from_pairs("r1", pairs)))
}

fn source(pairs: &[(&str, &str)]) -> AvroSource {
    let mut all = vec![("bind", "127.0.0.1"), ("port", "0")];
    all.extend(pairs);
    try_build(&all).unwrap()
}

const OTHER_HASH: ProtocolHash = [7; 16];

struct AvroTestClient {
    stream: TcpStream,
    frames: AvroFramer,
    input: BytesMut,
    hash: ProtocolHash,
    established: bool,
    serial: u32,
}

impl AvroTestClient {
    async fn connect(harness: &SourceHarness, source: &AvroSource) -> Self {
        harness.until_started().await;
        let stream = TcpStream::connect(source.listening.bound()).await.unwrap();
        let (frames, input) = (AvroFramer::new(), BytesMut::new());
        Self { stream, frames, input, hash: HASH, established: false, serial: 0 }
    }

    async fn send(&mut self, text: Option<&str>, call: &[u8]) {
        let mut out = frame::begin();
        if !self.established {
            let request = HandshakeRequest {
                client_hash: self.hash,
                client_text: text,
                server_hash: HASH,
                client: Default::default(),
            };
            request.encode(&mut out);
        }
        out.extend_from_slice(call);
        self.serial += 1;
        frame::finish(&mut out, self.serial);
        self.stream.write_all(&out).await.unwrap();
    }

    /// Returns the next frame; `None` when the connection is closed.
    async fn frame(&mut self) -> Option<AvroFrame> {
        loop {
            if let Some(frame) = self.frames.next(&mut self.input).unwrap() {
                return Some(frame);
            }
            let read = within(20, "an answer", self.stream.read_buf(&mut self.input)).await;
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
    }

    /// Returns the handshake's result, if there was a handshake, and the reply, if there is one.
    async fn answer(&mut self) -> (Option<HandshakeMatch>, Option<AvroReply>) {
        let frame = self.frame().await.expect("an answer");
        assert_eq!(frame.serial, self.serial);
        let mut values = AvroReader::new(&frame.message);
        let matched =
            (!self.established).then(|| HandshakeResponse::decode(&mut values).unwrap().matched);
        if matched == Some(HandshakeMatch::None) {
            values.end().unwrap();
            return (matched, None);
        }
        self.established = true;
        (matched, (!values.rest().is_empty()).then(|| AvroReply::decode(values.rest()).unwrap()))
    }

    async fn call(&mut self, call: &[u8]) -> AvroReply {
        self.send(None, call).await;
        self.answer().await.1.unwrap()
    }

    async fn batch(&mut self, bodies: &[&str]) -> AvroReply {
        self.call(&batch(bodies)).await
    }

    async fn is_closed(&mut self) -> bool {
        self.frame().await.is_none()
    }
}

fn batch(bodies: &[&str]) -> Vec<u8> {
    let events: Vec<Event> = bodies.iter().map(|body| Event::new(body.to_string())).collect();
    let mut call = Vec::new();
    put_append_batch(&mut call, &events);
    call
}

#[tokio::test]
async fn single_events_and_batches_arrive_each_as_one_transaction() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let mut event = Event::new("one");
    event.headers.set("k", "v");
    event.headers.set("日", "志");
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        let mut call = Vec::new();
        put_append(&mut call, &event);
        client.send(None, &call).await;
        assert_eq!(client.answer().await, (Some(HandshakeMatch::Both), Some(AvroReply::Ok)));
        assert_eq!(client.batch(&["two", "", "four"]).await, AvroReply::Ok);
        assert_eq!(client.batch(&[]).await, AvroReply::Ok);
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one", "two", "", "four"]);
    assert_eq!(harness.events()[0], event);
    assert_eq!(harness.batches()[..2], [1, 3]);
}

#[tokio::test]
async fn a_client_with_another_protocol_text_sends_it_once() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        let text = TEXT.replace("Events that travel", "Events that go");
        client.hash = protocol::hash(&text);
        client.send(None, &batch(&["not yet"])).await;
        assert_eq!(client.answer().await, (Some(HandshakeMatch::None), None));
        client.send(Some(&text), &batch(&["now"])).await;
        assert_eq!(client.answer().await, (Some(HandshakeMatch::Both), Some(AvroReply::Ok)));
        assert_eq!(client.batch(&["and on"]).await, AvroReply::Ok);
        let mut again = AvroTestClient::connect(&harness, &source).await;
        again.hash = client.hash;
        assert_eq!(again.batch(&["at once"]).await, AvroReply::Ok);
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["now", "and on", "at once"]);
}

#[tokio::test]
async fn a_protocol_text_is_not_accepted_under_a_foreign_hash() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        client.hash = OTHER_HASH;
        client.send(Some(TEXT), &batch(&["understood"])).await;
        assert_eq!(client.answer().await.1, Some(AvroReply::Ok));
        let mut foreign = AvroTestClient::connect(&harness, &source).await;
        foreign.hash = OTHER_HASH;
        foreign.send(None, &batch(&["misread"])).await;
        assert_eq!(
            foreign.answer().await,
            (Some(HandshakeMatch::None), None),
            "its text is requested"
        );
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["understood"]);
}

#[tokio::test]
async fn a_client_with_an_incompatible_protocol_gets_an_error() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let foreign = TEXT.replace(r#""values":"string""#, r#""values":"bytes""#);
    let script = async {
        for _ in 0..2 {
            let mut client = AvroTestClient::connect(&harness, &source).await;
            client.hash = OTHER_HASH;
            client.send(Some(&foreign), &batch(&["misread"])).await;
            let (_, Some(AvroReply::Error(words))) = client.answer().await else { panic!() };
            assert!(words.contains("append"), "{words}");
            assert!(client.is_closed().await);
        }
    };
    harness.run(&source, script).await.unwrap();
    assert!(harness.events().is_empty());
}

#[tokio::test]
async fn a_batch_refused_or_in_doubt_fails_and_the_connection_stays_open() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    harness.reply_with([CommitReply::Full, CommitReply::Doubt]);
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        assert_eq!(client.batch(&["1", "2"]).await, AvroReply::Failed);
        assert_eq!(client.batch(&["1", "2"]).await, AvroReply::Failed);
        assert_eq!(client.batch(&["1", "2"]).await, AvroReply::Ok);
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["1", "2"]);
    assert_eq!(harness.tries(), 3, "nothing is tried again on behalf of the client");
}

#[tokio::test]
async fn an_unknown_call_returns_an_error_and_keeps_the_connection() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        for (call, word) in
            [(&b"\0\x06put\0"[..], "put"), (b"\0\x0cappend", "header"), (b"", "ends")]
        {
            let AvroReply::Error(words) = client.call(call).await else { panic!() };
            assert!(words.contains(word), "{words}");
        }
        assert_eq!(client.batch(&["1"]).await, AvroReply::Ok);
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["1"]);
}

#[tokio::test]
async fn the_reply_to_a_ping_is_the_handshake_alone() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        client.send(None, b"\0\0").await;
        assert_eq!(client.answer().await, (Some(HandshakeMatch::Both), None));
        assert_eq!(client.batch(&["1"]).await, AvroReply::Ok);
    };
    harness.run(&source, script).await.unwrap();
}

#[tokio::test]
async fn concurrent_calls_are_carried_out_and_replied_to_in_order() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    harness.reply_with([CommitReply::Slow(300), CommitReply::Full]);
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        assert_eq!(client.batch(&["0"]).await, AvroReply::Ok);
        for body in ["1", "2", "3"] {
            client.send(None, &batch(&[body])).await;
        }
        let mut answers = Vec::new();
        for serial in 2..5 {
            let frame = client.frame().await.unwrap();
            assert_eq!(frame.serial, serial);
            answers.push(AvroReply::decode(&frame.message).unwrap());
        }
        assert_eq!(answers, [AvroReply::Failed, AvroReply::Ok, AvroReply::Ok]);
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["0", "2", "3"]);
}

#[tokio::test]
async fn a_large_batch_passes_in_pieces_together_with_small_ones() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let large = "x".repeat(3 << 20);
    let script = async {
        let mut slow = AvroTestClient::connect(&harness, &source).await;
        assert_eq!(slow.batch(&["first"]).await, AvroReply::Ok);
        let mut out = frame::begin();
        out.extend_from_slice(&batch(&[&large]));
        slow.serial += 1;
        frame::finish(&mut out, slow.serial);
        let (start, end) = out.split_at(out.len() / 2);
        slow.stream.write_all(start).await.unwrap();
        let mut quick = AvroTestClient::connect(&harness, &source).await;
        assert_eq!(quick.batch(&["beside"]).await, AvroReply::Ok);
        slow.stream.write_all(end).await.unwrap();
        assert_eq!(slow.answer().await.1, Some(AvroReply::Ok));
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["first", "beside", &large]);
}

#[tokio::test]
async fn a_request_too_large_gets_an_error_and_the_connection_stays_open() {
    let (harness, source) = (SourceHarness::new(), source(&[("maxRequestBytes", "100000")]));
    let script = async {
        for hash in [HASH, OTHER_HASH] {
            let mut client = AvroTestClient::connect(&harness, &source).await;
            client.hash = hash;
            for bytes in [100_000, 3 << 20] {
                // As the first call, after a handshake, and as a later one.
                client.send(Some(TEXT), &batch(&[&"x".repeat(bytes)])).await;
                let (_, Some(AvroReply::Error(words))) = client.answer().await else { panic!() };
                assert!(words.contains("100000") && words.contains("maxRequestBytes"), "{words}");
            }
            assert_eq!(client.batch(&[&"y".repeat(99_000)]).await, AvroReply::Ok);
        }
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(harness.events().len(), 2);
    assert_eq!(harness.context.counters.event_read_fail.get(), 4);
    assert!(try_build(&[("port", "1"), ("bind", "::1"), ("maxRequestBytes", "67108865")]).is_err());
}

#[tokio::test]
async fn an_unreadable_stream_ends_only_its_own_connection() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let too_large = u32::try_from(AVRO_REQUEST_PASSED_OVER_BYTES_MAX + 1).unwrap().to_be_bytes();
    let too_large = [&b"\0\0\0\x01\0\0\0\x01"[..], &too_large].concat();
    let script = async {
        let mut good = AvroTestClient::connect(&harness, &source).await;
        assert_eq!(good.batch(&["1"]).await, AvroReply::Ok);
        for bytes in [
            &too_large[..],
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 a TLS client's first words",
            b"\0\0\0\x01\0\0\0\0",
            b"\0\0\0\x01\0\0\0\x01\0\0\0\x03abc",
        ] {
            let mut bad = AvroTestClient::connect(&harness, &source).await;
            bad.stream.write_all(bytes).await.unwrap();
            assert!(bad.is_closed().await, "{bytes:?}");
        }
        assert_eq!(good.batch(&["2"]).await, AvroReply::Ok);
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["1", "2"]);
}

#[tokio::test]
async fn a_commit_under_way_gets_its_reply_when_the_source_stops() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    harness.reply_with([CommitReply::Slow(200)]);
    let mut client = None;
    let script = async {
        let connected = client.insert(AvroTestClient::connect(&harness, &source).await);
        connected.send(None, &batch(&["one"])).await;
        harness.until_tries(1).await;
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(client.unwrap().answer().await.1, Some(AvroReply::Ok));
    assert_eq!(bodies(&harness.events()), ["one"]);
}

#[tokio::test]
async fn a_partial_request_is_dropped_with_its_connection() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        assert_eq!(client.batch(&["1"]).await, AvroReply::Ok);
        let mut out = frame::begin();
        out.extend_from_slice(&batch(&["half"]));
        frame::finish(&mut out, 2);
        client.stream.write_all(&out[..out.len() - 1]).await.unwrap();
        drop(client);
        let mut next = AvroTestClient::connect(&harness, &source).await;
        assert_eq!(next.batch(&["2"]).await, AvroReply::Ok);
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["1", "2"]);
}

#[tokio::test]
async fn a_batch_that_no_channel_can_hold_fails_and_the_connection_stays_open() {
    let channel = narrow_channel(1000);
    let (harness, source) = (SourceHarness::over(&channel), source(&[]));
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        assert_eq!(client.batch(&["small", &"x".repeat(1001)]).await, AvroReply::Failed);
        assert_eq!(client.batch(&["one"]).await, AvroReply::Ok);
        let mut call = Vec::new();
        put_append(&mut call, &Event::new("two"));
        assert_eq!(client.call(&call).await, AvroReply::Ok);
        assert!(matches!(client.call(b"").await, AvroReply::Error(_)));
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(held(&*channel), ["one", "two"]);
    let counters = &harness.context.counters;
    assert_eq!((counters.event_received.get(), counters.event_accepted.get()), (4, 2));
    assert_eq!((counters.append_received.get(), counters.append_accepted.get()), (1, 1));
    let batches = (counters.append_batch_received.get(), counters.append_batch_accepted.get());
    assert_eq!(batches, (2, 1));
    assert_eq!((counters.channel_write_fail.get(), counters.event_read_fail.get()), (1, 1));
}

/// Advances the source's clock by `seconds` at once. Real time passes in between, so that data on the sockets
/// arrives.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_request_that_trickles_in_times_out() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        let mut out = frame::begin();
        out.extend_from_slice(&batch(&["never whole"]));
        frame::finish(&mut out, 1);
        let mut sent = 0;
        // Never a pause long enough to count as idle.
        let closed = loop {
            if sent == 20 || client.stream.write_all(&out[sent..=sent]).await.is_err() {
                break sent < 20;
            }
            sent += 1;
            let answer = client.stream.read_buf(&mut client.input);
            if tokio::time::timeout(Duration::from_millis(50), answer).await.is_ok() {
                break true;
            }
            pass(10).await;
        };
        assert!(closed, "after {} s it still listens", 10 * sent);
    };
    harness.run(&source, script).await.unwrap();
}

#[tokio::test]
async fn a_slow_request_within_its_time_is_taken_and_the_next_has_its_own() {
    let (harness, source) = (SourceHarness::new(), source(&[("requestTimeout", "100000")]));
    let script = async {
        let mut client = AvroTestClient::connect(&harness, &source).await;
        for _ in 0..3 {
            let mut out = frame::begin();
            if !client.established {
                let request = HandshakeRequest {
                    client_hash: HASH,
                    client_text: None,
                    server_hash: HASH,
                    client: Default::default(),
                };
                request.encode(&mut out);
            }
            out.extend_from_slice(&batch(&["slow"]));
            client.serial += 1;
            frame::finish(&mut out, client.serial);
            let (start, end) = out.split_at(out.len() / 2);
            client.stream.write_all(start).await.unwrap();
            pass(50).await;
            client.stream.write_all(end).await.unwrap();
            assert_eq!(client.answer().await.1, Some(AvroReply::Ok));
        }
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(harness.events().len(), 3);
}

#[tokio::test]
async fn a_client_denied_by_the_rules_is_rejected() {
    for (rules, comes_in) in [("deny:ip:127.*", false), ("allow:ip:127.0.0.1, deny:ip:*", true)] {
        let (harness, source) =
            (SourceHarness::new(), source(&[("ipFilter", "true"), ("ipFilterRules", rules)]));
        let script = async {
            let mut client = AvroTestClient::connect(&harness, &source).await;
            if comes_in {
                assert_eq!(client.batch(&["a"]).await, AvroReply::Ok);
            } else {
                assert!(client.is_closed().await);
            }
        };
        harness.run(&source, script).await.unwrap();
    }
}

#[test]
fn unsupported_and_invalid_settings_are_refused_with_an_error() {
    let refused = |more: &[(&str, &str)]| {
        let mut pairs = vec![("bind", "h"), ("port", "1")];
        pairs.extend(more);
        try_build(&pairs).err().map(|error| error.key)
    };
    assert_eq!(refused(&[]), None);
    assert_eq!(refused(&[("threads", "4"), ("compression-type", "NONE"), ("ssl", "false")]), None);
    assert_eq!(refused(&[("ssl", "true")]), Some("r1.keystore".to_owned()));
    assert_eq!(refused(&[("compression-type", "deflate")]), None);
    assert_eq!(refused(&[("ipFilter", "true")]), Some("r1.ipFilterRules".to_owned()));
    for (key, value) in [
        ("ssl", "yes"),
        ("ipFilter", "yes"),
        ("compression-type", "gzip"),
        ("port", "65536"),
        ("threads", "many"),
        ("maxConnections", "0"),
        ("requestTimeout", "0"),
    ] {
        assert_eq!(refused(&[(key, value)]), Some(format!("r1.{key}")), "{value}");
    }
    assert_eq!(try_build(&[("port", "1")]).err().unwrap().key, "r1.bind");
    assert_eq!(try_build(&[("bind", "h")]).err().unwrap().key, "r1.port");
}
