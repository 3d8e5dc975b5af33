//! Real sockets against a false channel.

use super::*;
use crate::config::settings::Settings;
use crate::event::Event;
use crate::flow::heard::logged;
use crate::source::trial::{Reply, Trial, bodies, within};
use crate::wire::thrift::call::{Answer, FAILED, OK, answer, put_append_batch};
use crate::wire::thrift::frame;
use crate::wire::thrift::values::{CALL, Head, Kind, Writer};
use bytes::{Bytes, BytesMut};
use std::borrow::Cow;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn try_build(pairs: &[(&str, &str)]) -> Result<Thrift, SettingError> {
    build(&mut SettingsReader::new(&Settings::from_pairs("r1", pairs)))
}

fn source(pairs: &[(&str, &str)]) -> Thrift {
    let mut all = vec![("bind", "127.0.0.1"), ("port", "0")];
    all.extend(pairs);
    try_build(&all).unwrap()
}

struct Client {
    stream: TcpStream,
    protocol: Protocol,
    input: BytesMut,
    sequence: i32,
}

impl Client {
    async fn connect(trial: &Trial, source: &Thrift) -> Self {
        trial.until_started().await;
        let stream = TcpStream::connect(source.listening.bound()).await.unwrap();
        Self { stream, protocol: source.speech.protocol, input: BytesMut::new(), sequence: 0 }
    }

    async fn send(&mut self, message: &[u8]) {
        let mut out = frame::begin();
        out.extend_from_slice(message);
        frame::finish(&mut out);
        self.stream.write_all(&out).await.unwrap();
    }

    /// The next frame; `None` when the connection is closed.
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

    async fn batch(&mut self, bodies: &[&'static str]) -> Answer {
        self.sequence += 1;
        let events: Vec<Event> = bodies.iter().map(|body| Event::new(*body)).collect();
        let mut call = Vec::new();
        put_append_batch(&mut call, self.protocol, self.sequence, &events);
        self.send(&call).await;
        let frame = self.frame().await.unwrap();
        answer(self.protocol, self.sequence, &frame).unwrap()
    }
}

fn call_of(protocol: Protocol, name: &'static str) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(protocol, &mut out);
    writer.head(&Head { name: Cow::Borrowed(name), kind: CALL, sequence: 1 }, false);
    writer.end();
    out
}

#[tokio::test]
async fn batches_arrive_in_both_protocols_each_as_one_transaction() {
    for protocol in ["compact", "binary"] {
        let (trial, source) = (Trial::new(), source(&[("protocol", protocol)]));
        let script = async {
            let mut client = Client::connect(&trial, &source).await;
            assert_eq!(client.batch(&["a", "b"]).await, Answer::Status(OK));
            assert_eq!(client.batch(&[]).await, Answer::Status(OK));
            trial.reply_with([Reply::Full, Reply::Doubt]);
            assert_eq!(client.batch(&["c"]).await, Answer::Status(FAILED));
            assert_eq!(client.batch(&["c"]).await, Answer::Status(FAILED));
            assert_eq!(client.batch(&["c"]).await, Answer::Status(OK));
        };
        trial.run(&source, script).await.unwrap();
        assert_eq!(bodies(&trial.events()), ["a", "b", "c"]);
        assert_eq!(trial.context.counters.append_batch_accepted.get(), 3);
    }
}

#[tokio::test]
async fn a_call_that_cannot_be_carried_out_is_an_exception_and_the_connection_goes_on() {
    let (trial, source) = (Trial::new(), source(&[]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        for (name, words) in
            [("nope", "Invalid method name: 'nope'"), ("append", "event is missing")]
        {
            client.send(&call_of(Protocol::Compact, name)).await;
            let frame = client.frame().await.unwrap();
            let Ok(Answer::Exception { words: said, .. }) = answer(Protocol::Compact, 1, &frame)
            else {
                panic!("{name} is answered with an exception")
            };
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(client.batch(&["a"]).await, Answer::Status(OK));
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(trial.context.counters.event_read_fail.get(), 2);
}

#[tokio::test]
async fn a_request_beyond_the_limit_is_said_with_what_to_do() {
    let (trial, source) = (Trial::new(), source(&[("maxRequestBytes", "2000")]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        client.stream.write_all(&[0, 0, 7, 0xd1]).await.unwrap();
        assert_eq!(client.frame().await, None);
    };
    let words = logged(async { trial.run(&source, script).await.unwrap() }).await;
    assert!(words.contains("a request of 2001 bytes and 2000 are allowed"), "{words}");
    assert!(words.contains("peer=127.0.0.1:") && words.contains("smaller batches"), "{words}");
    assert_eq!(trial.context.counters.event_read_fail.get(), 1);
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_on_ends_its_connection_only() {
    let (trial, source) = (Trial::new(), source(&[("maxRequestBytes", "2000")]));
    let script = async {
        let mut other = Client::connect(&trial, &source).await;
        for bytes in [b"\x7f\xff\xff\xffx".to_vec(), vec![0, 0, 7, 0xd1], b"\0\0\0\x02GE".to_vec()]
        {
            let mut client = Client::connect(&trial, &source).await;
            client.stream.write_all(&bytes).await.unwrap();
            assert_eq!(client.frame().await, None);
        }
        assert_eq!(other.batch(&["a"]).await, Answer::Status(OK));
    };
    trial.run(&source, script).await.unwrap();
}

#[tokio::test]
async fn a_request_that_does_not_come_is_given_up_and_one_in_hand_is_answered_at_the_stop() {
    let (trial, source) = (Trial::new(), source(&[("requestTimeout", "100")]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        client.stream.write_all(&[0, 0, 0, 9, 1]).await.unwrap();
        assert_eq!(client.frame().await, None);
        trial.reply_with([Reply::Held]);
        let mut client = Client::connect(&trial, &source).await;
        let stop = async {
            trial.until_tries(1).await;
            trial.stop();
            trial.release();
        };
        let (answered, ()) = tokio::join!(client.batch(&["a"]), stop);
        assert_eq!(answered, Answer::Status(OK));
    };
    trial.run(&source, script).await.unwrap();
}

#[tokio::test]
async fn scribe_hears_ok_or_try_later_in_the_old_form() {
    let settings = Settings::from_pairs("r1", &[("host", "127.0.0.1"), ("port", "0")]);
    let source = scribe::build(&mut SettingsReader::new(&settings)).unwrap();
    let trial = Trial::new();
    let mut log = Vec::new();
    let mut writer = Writer::new(Protocol::Binary, &mut log);
    writer.head(&Head { name: Cow::Borrowed("Log"), kind: CALL, sequence: 7 }, true);
    writer.field(1, Kind::List, 0);
    writer.list(1, Kind::Struct);
    writer.field(1, Kind::Bytes, 0);
    writer.bytes(b"cat");
    writer.field(2, Kind::Bytes, 1);
    writer.bytes(b"two\n");
    writer.end();
    writer.end();
    let script = async {
        trial.reply_with([Reply::Full]);
        let mut client = Client::connect(&trial, &source).await;
        for (message, status) in
            [(&log, FAILED), (&log, OK), (&call_of(Protocol::Binary, "Log"), FAILED)]
        {
            client.send(message).await;
            let frame = client.frame().await.unwrap();
            assert_eq!(frame.first(), Some(&0), "without a version");
            let sequence = if status == FAILED && message != &log { 1 } else { 7 };
            assert_eq!(answer(Protocol::Binary, sequence, &frame), Ok(Answer::Status(status)));
        }
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["two\n"]);
    assert_eq!(trial.events()[0].headers.get("category"), Some("cat"));
}

#[test]
fn what_cannot_be_kept_is_refused() {
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
    assert_eq!(source(&[("protocol", "Binary")]).speech.protocol, Protocol::Compact, "as in Flume");
    assert_eq!(try_build(&[("port", "1")]).err().unwrap().key, "r1.bind");
}
