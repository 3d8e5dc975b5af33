//! Real sockets against a false channel.

use super::*;
use crate::base::limits::AVRO_REQUEST_PASSED_OVER_BYTES_MAX;
use crate::config::settings::Settings;
use crate::event::Event;
use crate::source::trial::{Reply, Trial, bodies, held, narrow_channel, within};
use crate::wire::avro::call::{Answer, put_append, put_append_batch};
use crate::wire::avro::frame::{self, Frame, Frames};
use crate::wire::avro::handshake::{Match, Request, Response};
use crate::wire::avro::protocol::{self, HASH, Hash, TEXT};
use crate::wire::avro::values::Values;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

fn try_build(pairs: &[(&str, &str)]) -> Result<Avro, SettingError> {
    build(&mut SettingsReader::new(&Settings::from_pairs("r1", pairs)))
}

fn source(pairs: &[(&str, &str)]) -> Avro {
    let mut all = vec![("bind", "127.0.0.1"), ("port", "0")];
    all.extend(pairs);
    try_build(&all).unwrap()
}

const OTHER_HASH: Hash = [7; 16];

struct Client {
    stream: TcpStream,
    frames: Frames,
    input: BytesMut,
    hash: Hash,
    established: bool,
    serial: u32,
}

impl Client {
    async fn connect(trial: &Trial, source: &Avro) -> Self {
        trial.until_started().await;
        let stream = TcpStream::connect(source.listening.bound()).await.unwrap();
        let (frames, input) = (Frames::new(), BytesMut::new());
        Self { stream, frames, input, hash: HASH, established: false, serial: 0 }
    }

    async fn send(&mut self, text: Option<&str>, call: &[u8]) {
        let mut out = frame::begin();
        if !self.established {
            let request = Request {
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

    /// The next frame; `None` when the connection is closed.
    async fn frame(&mut self) -> Option<Frame> {
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

    /// How the handshake went, if there was one, and the answer, if there is one.
    async fn answer(&mut self) -> (Option<Match>, Option<Answer>) {
        let frame = self.frame().await.expect("an answer");
        assert_eq!(frame.serial, self.serial);
        let mut values = Values::new(&frame.message);
        let matched = (!self.established).then(|| Response::decode(&mut values).unwrap().matched);
        if matched == Some(Match::None) {
            values.end().unwrap();
            return (matched, None);
        }
        self.established = true;
        (matched, (!values.rest().is_empty()).then(|| Answer::decode(values.rest()).unwrap()))
    }

    async fn call(&mut self, call: &[u8]) -> Answer {
        self.send(None, call).await;
        self.answer().await.1.unwrap()
    }

    async fn batch(&mut self, bodies: &[&str]) -> Answer {
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
    let (trial, source) = (Trial::new(), source(&[]));
    let mut event = Event::new("one");
    event.headers.set("k", "v");
    event.headers.set("日", "志");
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        let mut call = Vec::new();
        put_append(&mut call, &event);
        client.send(None, &call).await;
        assert_eq!(client.answer().await, (Some(Match::Both), Some(Answer::Ok)));
        assert_eq!(client.batch(&["two", "", "four"]).await, Answer::Ok);
        assert_eq!(client.batch(&[]).await, Answer::Ok);
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["one", "two", "", "four"]);
    assert_eq!(trial.events()[0], event);
    assert_eq!(trial.batches()[..2], [1, 3]);
}

#[tokio::test]
async fn a_client_with_another_text_is_asked_for_it_once_and_remembered() {
    let (trial, source) = (Trial::new(), source(&[]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        let text = TEXT.replace("Events that travel", "Events that go");
        client.hash = protocol::hash(&text);
        client.send(None, &batch(&["not yet"])).await;
        assert_eq!(client.answer().await, (Some(Match::None), None));
        client.send(Some(&text), &batch(&["now"])).await;
        assert_eq!(client.answer().await, (Some(Match::Both), Some(Answer::Ok)));
        assert_eq!(client.batch(&["and on"]).await, Answer::Ok);
        let mut again = Client::connect(&trial, &source).await;
        again.hash = client.hash;
        assert_eq!(again.batch(&["at once"]).await, Answer::Ok);
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["now", "and on", "at once"]);
}

#[tokio::test]
async fn a_text_is_not_remembered_by_another_hash_than_its_own() {
    let (trial, source) = (Trial::new(), source(&[]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        client.hash = OTHER_HASH;
        client.send(Some(TEXT), &batch(&["understood"])).await;
        assert_eq!(client.answer().await.1, Some(Answer::Ok));
        let mut foreign = Client::connect(&trial, &source).await;
        foreign.hash = OTHER_HASH;
        foreign.send(None, &batch(&["misread"])).await;
        assert_eq!(foreign.answer().await, (Some(Match::None), None), "it is asked for its text");
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["understood"]);
}

#[tokio::test]
async fn a_client_whose_events_look_otherwise_is_refused_in_words() {
    let (trial, source) = (Trial::new(), source(&[]));
    let foreign = TEXT.replace(r#""values":"string""#, r#""values":"bytes""#);
    let script = async {
        for _ in 0..2 {
            let mut client = Client::connect(&trial, &source).await;
            client.hash = OTHER_HASH;
            client.send(Some(&foreign), &batch(&["misread"])).await;
            let (_, Some(Answer::Error(words))) = client.answer().await else { panic!() };
            assert!(words.contains("append"), "{words}");
            assert!(client.is_closed().await);
        }
    };
    trial.run(&source, script).await.unwrap();
    assert!(trial.events().is_empty());
}

#[tokio::test]
async fn a_batch_that_is_refused_or_in_doubt_is_failed_and_the_connection_goes_on() {
    let (trial, source) = (Trial::new(), source(&[]));
    trial.reply_with([Reply::Full, Reply::Doubt]);
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        assert_eq!(client.batch(&["1", "2"]).await, Answer::Failed);
        assert_eq!(client.batch(&["1", "2"]).await, Answer::Failed);
        assert_eq!(client.batch(&["1", "2"]).await, Answer::Ok);
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["1", "2"]);
    assert_eq!(trial.tries(), 3, "nothing is tried again on behalf of the client");
}

#[tokio::test]
async fn a_call_that_cannot_be_understood_is_answered_in_words_and_the_connection_goes_on() {
    let (trial, source) = (Trial::new(), source(&[]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        for (call, word) in
            [(&b"\0\x06put\0"[..], "put"), (b"\0\x0cappend", "header"), (b"", "ends")]
        {
            let Answer::Error(words) = client.call(call).await else { panic!() };
            assert!(words.contains(word), "{words}");
        }
        assert_eq!(client.batch(&["1"]).await, Answer::Ok);
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["1"]);
}

#[tokio::test]
async fn a_ping_is_answered_with_the_handshake_alone() {
    let (trial, source) = (Trial::new(), source(&[]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        client.send(None, b"\0\0").await;
        assert_eq!(client.answer().await, (Some(Match::Both), None));
        assert_eq!(client.batch(&["1"]).await, Answer::Ok);
    };
    trial.run(&source, script).await.unwrap();
}

#[tokio::test]
async fn calls_in_flight_together_are_carried_out_and_answered_in_order() {
    let (trial, source) = (Trial::new(), source(&[]));
    trial.reply_with([Reply::Slow(300), Reply::Full]);
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        assert_eq!(client.batch(&["0"]).await, Answer::Ok);
        for body in ["1", "2", "3"] {
            client.send(None, &batch(&[body])).await;
        }
        let mut answers = Vec::new();
        for serial in 2..5 {
            let frame = client.frame().await.unwrap();
            assert_eq!(frame.serial, serial);
            answers.push(Answer::decode(&frame.message).unwrap());
        }
        assert_eq!(answers, [Answer::Failed, Answer::Ok, Answer::Ok]);
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["0", "2", "3"]);
}

#[tokio::test]
async fn a_large_batch_goes_through_in_pieces_and_beside_it_small_ones() {
    let (trial, source) = (Trial::new(), source(&[]));
    let large = "x".repeat(3 << 20);
    let script = async {
        let mut slow = Client::connect(&trial, &source).await;
        assert_eq!(slow.batch(&["first"]).await, Answer::Ok);
        let mut out = frame::begin();
        out.extend_from_slice(&batch(&[&large]));
        slow.serial += 1;
        frame::finish(&mut out, slow.serial);
        let (start, end) = out.split_at(out.len() / 2);
        slow.stream.write_all(start).await.unwrap();
        let mut quick = Client::connect(&trial, &source).await;
        assert_eq!(quick.batch(&["beside"]).await, Answer::Ok);
        slow.stream.write_all(end).await.unwrap();
        assert_eq!(slow.answer().await.1, Some(Answer::Ok));
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["first", "beside", &large]);
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_in_words_and_the_connection_goes_on() {
    let (trial, source) = (Trial::new(), source(&[("maxRequestBytes", "100000")]));
    let script = async {
        for hash in [HASH, OTHER_HASH] {
            let mut client = Client::connect(&trial, &source).await;
            client.hash = hash;
            for bytes in [100_000, 3 << 20] {
                // As the first call, with the handshake in front, and as a later one.
                client.send(Some(TEXT), &batch(&[&"x".repeat(bytes)])).await;
                let (_, Some(Answer::Error(words))) = client.answer().await else { panic!() };
                assert!(words.contains("100000") && words.contains("maxRequestBytes"), "{words}");
            }
            assert_eq!(client.batch(&[&"y".repeat(99_000)]).await, Answer::Ok);
        }
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(trial.events().len(), 2);
    assert_eq!(trial.context.counters.event_read_fail.get(), 4);
    assert!(try_build(&[("port", "1"), ("bind", "::1"), ("maxRequestBytes", "67108865")]).is_err());
}

#[tokio::test]
async fn a_stream_that_cannot_be_read_on_ends_its_connection_only() {
    let (trial, source) = (Trial::new(), source(&[]));
    let too_large = u32::try_from(AVRO_REQUEST_PASSED_OVER_BYTES_MAX + 1).unwrap().to_be_bytes();
    let too_large = [&b"\0\0\0\x01\0\0\0\x01"[..], &too_large].concat();
    let script = async {
        let mut good = Client::connect(&trial, &source).await;
        assert_eq!(good.batch(&["1"]).await, Answer::Ok);
        for bytes in [
            &too_large[..],
            b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03 a TLS client's first words",
            b"\0\0\0\x01\0\0\0\0",
            b"\0\0\0\x01\0\0\0\x01\0\0\0\x03abc",
        ] {
            let mut bad = Client::connect(&trial, &source).await;
            bad.stream.write_all(bytes).await.unwrap();
            assert!(bad.is_closed().await, "{bytes:?}");
        }
        assert_eq!(good.batch(&["2"]).await, Answer::Ok);
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["1", "2"]);
}

#[tokio::test]
async fn a_commit_under_way_is_answered_when_the_source_stops() {
    let (trial, source) = (Trial::new(), source(&[]));
    trial.reply_with([Reply::Slow(200)]);
    let mut client = None;
    let script = async {
        let connected = client.insert(Client::connect(&trial, &source).await);
        connected.send(None, &batch(&["one"])).await;
        trial.until_tries(1).await;
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(client.unwrap().answer().await.1, Some(Answer::Ok));
    assert_eq!(bodies(&trial.events()), ["one"]);
}

#[tokio::test]
async fn half_a_request_is_dropped_with_its_connection() {
    let (trial, source) = (Trial::new(), source(&[]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        assert_eq!(client.batch(&["1"]).await, Answer::Ok);
        let mut out = frame::begin();
        out.extend_from_slice(&batch(&["half"]));
        frame::finish(&mut out, 2);
        client.stream.write_all(&out[..out.len() - 1]).await.unwrap();
        drop(client);
        let mut next = Client::connect(&trial, &source).await;
        assert_eq!(next.batch(&["2"]).await, Answer::Ok);
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["1", "2"]);
}

#[tokio::test]
async fn a_batch_that_no_channel_can_hold_is_failed_and_the_connection_goes_on() {
    let channel = narrow_channel(1000);
    let (trial, source) = (Trial::over(&channel), source(&[]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        assert_eq!(client.batch(&["small", &"x".repeat(1001)]).await, Answer::Failed);
        assert_eq!(client.batch(&["one"]).await, Answer::Ok);
        let mut call = Vec::new();
        put_append(&mut call, &Event::new("two"));
        assert_eq!(client.call(&call).await, Answer::Ok);
        assert!(matches!(client.call(b"").await, Answer::Error(_)));
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(held(&*channel), ["one", "two"]);
    let counters = &trial.context.counters;
    assert_eq!((counters.event_received.get(), counters.event_accepted.get()), (4, 2));
    assert_eq!((counters.append_received.get(), counters.append_accepted.get()), (1, 1));
    let batches = (counters.append_batch_received.get(), counters.append_batch_accepted.get());
    assert_eq!(batches, (2, 1));
    assert_eq!((counters.channel_write_fail.get(), counters.event_read_fail.get()), (1, 1));
}

/// Lets `seconds` pass by the source's clock, at once. Time runs as usual in between, so that what
/// the sockets carry arrives.
async fn pass(seconds: u64) {
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(seconds)).await;
    tokio::time::resume();
}

#[tokio::test]
async fn a_request_that_comes_byte_by_byte_is_given_up_however_steadily_it_comes() {
    let (trial, source) = (Trial::new(), source(&[]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        let mut out = frame::begin();
        out.extend_from_slice(&batch(&["never whole"]));
        frame::finish(&mut out, 1);
        let mut sent = 0;
        // Never as long without a byte as would count as idle.
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
    trial.run(&source, script).await.unwrap();
}

#[tokio::test]
async fn a_slow_request_is_taken_within_its_time_and_the_next_one_has_its_own() {
    let (trial, source) = (Trial::new(), source(&[("requestTimeout", "100000")]));
    let script = async {
        let mut client = Client::connect(&trial, &source).await;
        for _ in 0..3 {
            let mut out = frame::begin();
            if !client.established {
                let request = Request {
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
            assert_eq!(client.answer().await.1, Some(Answer::Ok));
        }
    };
    trial.run(&source, script).await.unwrap();
    assert_eq!(trial.events().len(), 3);
}

#[tokio::test]
async fn who_is_not_to_come_in_is_turned_away() {
    for (rules, comes_in) in [("deny:ip:127.*", false), ("allow:ip:127.0.0.1, deny:ip:*", true)] {
        let (trial, source) =
            (Trial::new(), source(&[("ipFilter", "true"), ("ipFilterRules", rules)]));
        let script = async {
            let mut client = Client::connect(&trial, &source).await;
            if comes_in {
                assert_eq!(client.batch(&["a"]).await, Answer::Ok);
            } else {
                assert!(client.is_closed().await);
            }
        };
        trial.run(&source, script).await.unwrap();
    }
}

#[test]
fn what_is_not_there_or_cannot_work_is_refused_and_never_left_out_in_silence() {
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
