//! Tests of real sockets with a fake channel.

use super::*;
use crate::source::test_support::{CommitReply, SourceHarness, bodies, within};
use crate::wire::thrift::call::{FAILED, OK, ThriftReply, answer, put_append_batch};
use crate::wire::thrift::frame;
use crate::wire::thrift::values::{CALL, MessageHeader, ThriftType, ThriftWriter};
use bytes::{Bytes, BytesMut};
use millpond::Event;
use millpond_flow::log_capture::captured_log;
use millpond_flow::settings::Settings;
use std::borrow::Cow;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn try_build(pairs: &[(&str, &str)]) -> Result<ThriftSource, SettingError> {
    build(&mut SettingsReader::new(&Settings::from_pairs("r1", pairs)))
}

fn source(pairs: &[(&str, &str)]) -> ThriftSource {
    let mut all = vec![("bind", "127.0.0.1"), ("port", "0")];
    all.extend(pairs);
    try_build(&all).unwrap()
}

struct ThriftTestClient {
    stream: TcpStream,
    protocol: ThriftProtocol,
    input: BytesMut,
    sequence: i32,
}

impl ThriftTestClient {
    async fn connect(harness: &SourceHarness, source: &ThriftSource) -> Self {
        harness.until_started().await;
        let stream = TcpStream::connect(source.listening.bound()).await.unwrap();
        Self { stream, protocol: source.speech.protocol, input: BytesMut::new(), sequence: 0 }
    }

    async fn send(&mut self, message: &[u8]) {
        let mut out = frame::begin();
        out.extend_from_slice(message);
        frame::finish(&mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    /// Returns the next frame; `None` when the connection is closed.
    async fn frame(&mut self) -> Option<Bytes> {
        loop {
            if let Some(frame) = frame::next(&mut self.input, 1 << 20).unwrap() {
                return Some(frame);
            }
            let read = within(60, "an answer", self.stream.read_buf(&mut self.input)).await;
            if read.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn batch(&mut self, bodies: &[&'static str]) -> ThriftReply {
        self.sequence += 1;
        let events: Vec<Event> = bodies.iter().map(|body| Event::new(*body)).collect();
        let mut call = Vec::new();
        put_append_batch(&mut call, self.protocol, self.sequence, &events);
        self.send(&call).await;
        let frame = self.frame().await.unwrap();
        answer(self.protocol, self.sequence, &frame).unwrap()
    }
}

fn call_of(protocol: ThriftProtocol, name: &'static str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ThriftWriter::new(protocol, &mut out);
    writer.head(&MessageHeader { name: Cow::Borrowed(name), kind: CALL, sequence: 1 }, false);
    writer.end();
    out
}

#[tokio::test]
async fn batches_arrive_in_both_protocols_each_as_one_transaction() {
    for protocol in ["compact", "binary"] {
        let (harness, source) = (SourceHarness::new(), source(&[("protocol", protocol)]));
        let script = async {
            let mut client = ThriftTestClient::connect(&harness, &source).await;
            assert_eq!(client.batch(&["a", "b"]).await, ThriftReply::Status(OK));
            assert_eq!(client.batch(&[]).await, ThriftReply::Status(OK));
            harness.reply_with([CommitReply::Full, CommitReply::Doubt]);
            assert_eq!(client.batch(&["c"]).await, ThriftReply::Status(FAILED));
            assert_eq!(client.batch(&["c"]).await, ThriftReply::Status(FAILED));
            assert_eq!(client.batch(&["c"]).await, ThriftReply::Status(OK));
        };
        harness.run(&source, script).await.unwrap();
        assert_eq!(bodies(&harness.events()), ["a", "b", "c"]);
        assert_eq!(harness.context.counters.append_batch_accepted.get(), 3);
    }
}

#[tokio::test]
async fn a_failed_call_returns_an_exception_and_keeps_the_connection() {
    let (harness, source) = (SourceHarness::new(), source(&[]));
    let script = async {
        let mut client = ThriftTestClient::connect(&harness, &source).await;
        for (name, words) in
            [("nope", "Invalid method name: 'nope'"), ("append", "event is missing")]
        {
            client.send(&call_of(ThriftProtocol::Compact, name)).await;
            let frame = client.frame().await.unwrap();
            let Ok(ThriftReply::Exception { words: said, .. }) =
                answer(ThriftProtocol::Compact, 1, &frame)
            else {
                panic!("{name} gets an exception")
            };
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(client.batch(&["a"]).await, ThriftReply::Status(OK));
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(harness.context.counters.event_read_fail.get(), 2);
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_logged_with_a_remedy() {
    let (harness, source) = (SourceHarness::new(), source(&[("maxRequestBytes", "2000")]));
    let script = async {
        let mut client = ThriftTestClient::connect(&harness, &source).await;
        client.stream.write_all(&[0, 0, 7, 0xd1]).await.unwrap();
        assert_eq!(client.frame().await, None);
    };
    let words = captured_log(async { harness.run(&source, script).await.unwrap() }).await;
    assert!(words.contains("a request of 2001 bytes and 2000 are allowed"), "{words}");
    assert!(words.contains("peer=127.0.0.1:") && words.contains("smaller batches"), "{words}");
    assert_eq!(harness.context.counters.event_read_fail.get(), 1);
}

#[tokio::test]
async fn an_unreadable_stream_ends_only_its_own_connection() {
    let (harness, source) = (SourceHarness::new(), source(&[("maxRequestBytes", "2000")]));
    let script = async {
        let mut other = ThriftTestClient::connect(&harness, &source).await;
        for bytes in [b"\x7f\xff\xff\xffx".to_vec(), vec![0, 0, 7, 0xd1], b"\0\0\0\x02GE".to_vec()]
        {
            let mut client = ThriftTestClient::connect(&harness, &source).await;
            client.stream.write_all(&bytes).await.unwrap();
            assert_eq!(client.frame().await, None);
        }
        assert_eq!(other.batch(&["a"]).await, ThriftReply::Status(OK));
    };
    harness.run(&source, script).await.unwrap();
}

#[tokio::test]
async fn an_incomplete_request_times_out_and_a_stop_completes_one() {
    let (harness, source) = (SourceHarness::new(), source(&[("requestTimeout", "100")]));
    let script = async {
        let mut client = ThriftTestClient::connect(&harness, &source).await;
        client.stream.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
        assert_eq!(client.frame().await, None);
        harness.reply_with([CommitReply::Held]);
        let mut client = ThriftTestClient::connect(&harness, &source).await;
        let stop = async {
            harness.until_tries(1).await;
            harness.stop();
            harness.release();
        };
        let (answered, ()) = tokio::join!(client.batch(&["a"]), stop);
        assert_eq!(answered, ThriftReply::Status(OK));
    };
    harness.run(&source, script).await.unwrap();
}

#[tokio::test]
async fn scribe_receives_ok_or_try_later_in_the_old_form() {
    let settings = Settings::from_pairs("r1", &[("host", "127.0.0.1"), ("port", "0")]);
    let source = scribe::build(&mut SettingsReader::new(&settings)).unwrap();
    let harness = SourceHarness::new();
    let mut log = Vec::new();
    let mut writer = ThriftWriter::new(ThriftProtocol::Binary, &mut log);
    writer.head(&MessageHeader { name: Cow::Borrowed("Log"), kind: CALL, sequence: 7 }, true);
    writer.field(1, ThriftType::List, 0);
    writer.list(1, ThriftType::Struct);
    writer.field(1, ThriftType::Bytes, 0);
    writer.bytes(b"cat");
    writer.field(2, ThriftType::Bytes, 1);
    writer.bytes(b"two\n");
    writer.end();
    writer.end();
    let script = async {
        harness.reply_with([CommitReply::Full]);
        let mut client = ThriftTestClient::connect(&harness, &source).await;
        for (message, status) in
            [(&log, FAILED), (&log, OK), (&call_of(ThriftProtocol::Binary, "Log"), FAILED)]
        {
            client.send(message).await;
            let frame = client.frame().await.unwrap();
            assert_eq!(frame.first(), Some(&0), "without a version");
            let sequence = if status == FAILED && message != &log { 1 } else { 7 };
            assert_eq!(
                answer(ThriftProtocol::Binary, sequence, &frame),
                Ok(ThriftReply::Status(status))
            );
        }
    };
    harness.run(&source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["two\n"]);
    assert_eq!(harness.events()[0].headers.get("category"), Some("cat"));
}

#[test]
fn unsupported_settings_are_refused() {
    let refused = |more: &[(&str, &str)]| {
        let mut pairs = vec![("bind", "h"), ("port", "1")];
        pairs.extend(more);
        try_build(&pairs).err().map(|error| error.key)
    };
    assert_eq!(refused(&[("threads", "4"), ("protocol", "Binary")]), None);
    for (key, value) in
        [("kerberos", "true"), ("kerberos", "yes"), ("ssl", "1"), ("maxRequestBytes", "0")]
    {
        assert_eq!(refused(&[(key, value)]), Some(format!("r1.{key}")), "{value}");
    }
    assert_eq!(
        source(&[("protocol", "Binary")]).speech.protocol,
        ThriftProtocol::Compact,
        "as in Flume"
    );
    assert_eq!(try_build(&[("port", "1")]).err().unwrap().key, "r1.bind");
}
