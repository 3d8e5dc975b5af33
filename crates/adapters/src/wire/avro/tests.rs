//! Round trips, hand-written bytes, and bytes of hostile peers.

use super::AvroError;
use super::call::{AvroCall, AvroReply, MeasuredCall, put_append, put_append_batch};
use super::frame::{self, AvroFrame, AvroFramer};
use super::handshake::{HandshakeMatch, HandshakeRequest, HandshakeResponse};
use super::protocol::{self, HASH, ProtocolMismatch, TEXT};
use super::values::{AvroReader, put_bytes, put_long};
use bytes::BytesMut;
use millpond::Event;
use millpond_flow::base::limits::{
    AVRO_DECODED_BYTES_MAX, AVRO_PROTOCOL_BYTES_MAX, AVRO_REQUEST_BYTES_MAX,
    AVRO_REQUEST_PASSED_OVER_BYTES_MAX, AVRO_SEGMENTS_MAX, HEADERS_MAX,
};
use proptest::prelude::*;

fn event(headers: &[(&str, &str)], body: &[u8]) -> Event {
    Event { headers: headers.iter().copied().collect(), body: body.to_vec().into() }
}

fn decode(call: &[u8]) -> Result<AvroCall, AvroError> {
    MeasuredCall::new(call).and_then(MeasuredCall::decode)
}

fn append(parameters: &[u8]) -> Vec<u8> {
    [b"\x00\x0cappend", parameters].concat()
}

fn batch(parameters: &[u8]) -> Vec<u8> {
    [b"\x00\x16appendBatch", parameters].concat()
}

#[test]
fn a_whole_first_call_is_these_bytes() {
    let mut out = frame::begin();
    let request = HandshakeRequest {
        client_hash: [1; 16],
        client_text: None,
        server_hash: [2; 16],
        client: Default::default(),
    };
    request.encode(&mut out);
    put_append(&mut out, &event(&[("k", "v")], b"hi"));
    frame::finish(&mut out, 7);
    let expected = [
        &b"\0\0\0\x07\0\0\0\x01\0\0\0\x33"[..],
        &[1; 16],
        b"\0",
        &[2; 16],
        b"\0",
        b"\0\x0cappend\x02\x02k\x02v\0\x04hi",
    ]
    .concat();
    assert_eq!(out, expected);
}

#[test]
fn answers_are_these_bytes() {
    for (answer, bytes) in [
        (AvroReply::Ok, &b"\0\0\0"[..]),
        (AvroReply::Failed, b"\0\0\x02"),
        (AvroReply::Unknown, b"\0\0\x04"),
        (AvroReply::Error("no".to_owned()), b"\0\x01\0\x04no"),
    ] {
        let mut out = Vec::new();
        answer.encode(&mut out);
        assert_eq!(out, bytes);
        assert_eq!(AvroReply::decode(bytes), Ok(answer));
    }
    for wrong in [&b""[..], b"\0\0\x06", b"\0\x02\0", b"\0\x01\x02\x02x", b"\0\0\0\0"] {
        assert!(AvroReply::decode(wrong).is_err(), "{wrong:?}");
    }
}

#[test]
fn numbers_are_zigzag_and_of_64_bits() {
    for (number, bytes) in [
        (0, &b"\0"[..]),
        (-1, b"\x01"),
        (1, b"\x02"),
        (64, b"\x80\x01"),
        (i64::MAX, b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        (i64::MIN, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    ] {
        let mut out = Vec::new();
        put_long(&mut out, number);
        assert_eq!(out, bytes);
        assert_eq!(AvroReader::new(bytes).long("n"), Ok(number));
    }
    let long = b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x02";
    assert_eq!(AvroReader::new(long).long("n"), Err(AvroError::TooLong("n")));
    assert_eq!(AvroReader::new(&[0x80; 11]).long("n"), Err(AvroError::TooLong("n")));
    assert_eq!(AvroReader::new(&[0x80; 9]).long("n"), Err(AvroError::Short("n")));
}

#[test]
fn blocks_of_any_size_and_with_a_length_are_read() {
    // Two blocks of events; the first states its length and contains an event whose header block states its own.
    let one = b"\x01\x08\x02k\x02v\0\x02a";
    let mut parameters = b"\x01\x10".to_vec();
    parameters.extend_from_slice(one);
    parameters.extend_from_slice(b"\x04\0\x02b\0\x02c\0");
    let expected = vec![event(&[("k", "v")], b"a"), event(&[], b"b"), event(&[], b"c")];
    assert_eq!(decode(&batch(&parameters)), Ok(AvroCall::AppendBatch(expected)));
    assert_eq!(decode(&batch(b"\0")), Ok(AvroCall::AppendBatch(Vec::new())));
    assert_eq!(decode(b"\0\0"), Ok(AvroCall::Ping));
    // Metadata of the call is skipped.
    assert_eq!(decode(b"\x02\x02m\x02x\0\0"), Ok(AvroCall::Ping));
}

#[test]
fn the_last_of_two_equal_headers_counts() {
    let twice = append(b"\x04\x02k\x02a\x02k\x02b\0\0");
    assert_eq!(decode(&twice), Ok(AvroCall::Append(event(&[("k", "b")], b""))));
    let mut parameters = Vec::new();
    put_long(&mut parameters, 300);
    for n in 0..300 {
        put_bytes(&mut parameters, format!("k{}", n % 100).as_bytes());
        put_bytes(&mut parameters, n.to_string().as_bytes());
    }
    parameters.extend_from_slice(b"\0\0");
    let Ok(AvroCall::Append(event)) = decode(&append(&parameters)) else { panic!() };
    assert_eq!(event.headers.len(), 100);
    assert!((0..100).all(|n| event.headers.get(&format!("k{n}")) == Some(&(n + 200).to_string())));
}

#[test]
fn invalid_text_in_headers_is_repaired_and_bodies_are_unchanged() {
    let call = append(b"\x02\x02\xff\x04a\xff\0\x04\xff\0");
    assert_eq!(decode(&call), Ok(AvroCall::Append(event(&[("\u{fffd}", "a\u{fffd}")], b"\xff\0"))));
}

#[test]
fn calls_that_cannot_be_meant_are_refused() {
    let huge = [&b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff\x01"[..], &[0; 20]].concat();
    let least = [&b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x02"[..], &[0; 20]].concat();
    for wrong in [
        b"".to_vec(),
        b"\0\x06put\0\0".to_vec(),
        append(b""),
        append(b"\0"),
        append(b"\0\x02"),
        append(b"\0\0\0"),
        append(b"\0\x01"),
        batch(b""),
        batch(b"\x02\0\0"),
        batch(&huge),
        batch(&least),
        append(&huge),
    ] {
        assert!(decode(&wrong).is_err(), "{wrong:?}");
    }
    assert_eq!(decode(b"\0\x06put\0\0"), Err(AvroError::UnknownMessage("put".to_owned())));
}

#[test]
fn a_call_that_needs_too_much_memory_is_refused_before_decoding() {
    let events = AVRO_DECODED_BYTES_MAX / size_of::<Event>() + 1;
    let mut parameters = Vec::new();
    put_long(&mut parameters, i64::try_from(events).unwrap());
    parameters.resize(parameters.len() + events * 2 + 1, 0);
    assert!(parameters.len() < AVRO_REQUEST_BYTES_MAX);
    assert!(matches!(decode(&batch(&parameters)), Err(AvroError::TooLarge { .. })));
    let mut parameters = Vec::new();
    put_long(&mut parameters, i64::try_from(HEADERS_MAX + 1).unwrap());
    parameters.resize(parameters.len() + (HEADERS_MAX + 1) * 2 + 2, 0);
    assert!(matches!(decode(&append(&parameters)), Err(AvroError::TooMany { .. })));
}

#[test]
fn frames_beyond_the_limits_are_refused_without_allocating() {
    let next = |bytes: &[u8]| AvroFramer::new().next(&mut BytesMut::from(bytes));
    assert!(matches!(next(b"\0\0\0\x01\0\0\0\0"), Err(AvroError::Number { .. })));
    let segments = (AVRO_SEGMENTS_MAX + 1).to_be_bytes();
    assert!(matches!(next(&[&[0; 4][..], &segments].concat()), Err(AvroError::TooMany { .. })));
    assert!(matches!(
        next(b"\0\0\0\x01\0\0\0\x01\xff\xff\xff\xff"),
        Err(AvroError::TooLarge { .. })
    ));
    // The segments of one message count together.
    let most = u32::try_from(AVRO_REQUEST_PASSED_OVER_BYTES_MAX).unwrap().to_be_bytes();
    let mut two = [&b"\0\0\0\x01\0\0\0\x02\0\0\0\x01x"[..], &most].concat();
    assert!(matches!(next(&two), Err(AvroError::TooLarge { .. })));
    two.truncate(two.len() - 4);
    two.extend_from_slice(&(u32::from_be_bytes(most) - 1).to_be_bytes());
    let mut frames = AvroFramer::new();
    assert_eq!(frames.next(&mut BytesMut::from(&two[..])), Ok(None));
    assert_eq!(frames.held_bytes(), 1);
}

#[test]
fn a_message_that_is_too_large_is_passed_over_and_the_next_one_read() {
    let framed = |serial, len| {
        let mut bytes = frame::begin();
        bytes.extend((0..len).map(|at| at as u8));
        frame::finish(&mut bytes, serial);
        bytes
    };
    let max = 3 * AVRO_PROTOCOL_BYTES_MAX;
    let stream = [framed(1, max), framed(2, max + 1), framed(3, 7)].concat();
    for piece in [1 << 10, stream.len()] {
        let (mut frames, mut input) = (AvroFramer::with_max(max), BytesMut::new());
        let mut found = Vec::new();
        for bytes in stream.chunks(piece) {
            input.extend_from_slice(bytes);
            while let Some(frame) = frames.next(&mut input).unwrap() {
                found.push((frame.serial, frame.message.len(), frame.is_whole));
            }
            let is_passing_over = found.len() == 1 && frames.is_within();
            assert!(!is_passing_over || frames.held_bytes() < 2 * AVRO_PROTOCOL_BYTES_MAX);
        }
        let kept = found[1].1;
        assert!(kept > AVRO_PROTOCOL_BYTES_MAX && kept < 2 * AVRO_PROTOCOL_BYTES_MAX);
        assert_eq!(found, [(1, max, true), (2, kept, false), (3, 7, true)], "{piece}");
    }
}

#[test]
fn the_two_sides_meet_in_three_ways() {
    let request = |server_hash| HandshakeRequest {
        client_hash: [9; 16],
        client_text: None,
        server_hash,
        client: Default::default(),
    };
    assert_eq!(protocol::hash(TEXT), HASH);
    let both = HandshakeResponse::to(&request(HASH), true);
    assert_eq!((both.matched, both.server_text), (HandshakeMatch::Both, None));
    let mut out = Vec::new();
    both.encode(&mut out);
    assert_eq!(out, [0; 4]);
    let client = HandshakeResponse::to(&request([0; 16]), true);
    assert_eq!((client.matched, client.server_text), (HandshakeMatch::Client, Some(TEXT)));
    let none = HandshakeResponse::to(&request(HASH), false);
    assert_eq!((none.matched, none.server_hash), (HandshakeMatch::None, Some(HASH)));
    // Java's clients send an empty map as metadata.
    let bytes = [&[9; 16][..], b"\0", &HASH, b"\x02\0"].concat();
    let mut values = AvroReader::new(&bytes);
    assert_eq!(HandshakeRequest::decode(&mut values), Ok(request(HASH)));
    assert_eq!(values.end(), Ok(()));
}

#[test]
fn protocols_that_mean_the_same_bytes_are_understood() {
    assert_eq!(protocol::check(TEXT), Ok(()));
    let generated = TEXT
        .replace(
            r#""values":"string""#,
            r#""values":{"type":"string","avro.java.string":"String"}"#,
        )
        .replace(
            r#""type":"AvroFlumeEvent""#,
            r#""type":"org.apache.flume.source.avro.AvroFlumeEvent""#,
        )
        .replace(r#""protocol":"#, r#""doc":"another","protocol":"#);
    assert_eq!(protocol::check(&generated), Ok(()));
    let inline = r#"{"messages":{"append":{"request":[{"name":"e","type":{"type":"record","name":"E","fields":[{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}]}}]}}}"#;
    assert_eq!(protocol::check(inline), Ok(()));
}

#[test]
fn protocols_that_mean_other_bytes_are_refused() {
    let fields = r#"{"name":"headers","type":{"type":"map","values":"string"}},{"name":"body","type":"bytes"}"#;
    let turned = r#"{"name":"body","type":"bytes"},{"name":"headers","type":{"type":"map","values":"string"}}"#;
    for (text, why) in [
        ("{".to_owned(), ProtocolMismatch::NoJson),
        ("[]".to_owned(), ProtocolMismatch::NoMessage),
        (r#"{"protocol":"Mail","messages":{"send":{}}}"#.to_owned(), ProtocolMismatch::NoMessage),
        (TEXT.replace(fields, turned), ProtocolMismatch::Parameters("append")),
        (
            TEXT.replace(r#""values":"string""#, r#""values":"bytes""#),
            ProtocolMismatch::Parameters("append"),
        ),
        (
            TEXT.replace(fields, &format!(r#"{fields},{{"name":"time","type":"long"}}"#)),
            ProtocolMismatch::Parameters("append"),
        ),
        (
            TEXT.replace(r#""type":"array""#, r#""type":"map""#),
            ProtocolMismatch::Parameters("appendBatch"),
        ),
        (TEXT.replace("symbols", &" ".repeat(70_000)), ProtocolMismatch::TooLarge),
        ("[".repeat(60_000), ProtocolMismatch::NoJson),
    ] {
        assert_eq!(protocol::check(&text), Err(why), "{}", &text[..text.len().min(900)]);
    }
}

fn any_event() -> impl Strategy<Value = Event> {
    let headers = prop::collection::vec((".{0,8}", ".{0,20}"), 0..30);
    let body = prop::collection::vec(any::<u8>(), 0..300);
    (headers, body).prop_map(|(headers, body)| Event {
        headers: headers.into_iter().collect(),
        body: body.into(),
    })
}

/// Returns the message in segments that end at `cuts`.
fn in_segments(serial: u32, message: &[u8], cuts: &[usize]) -> Vec<u8> {
    let mut places: Vec<usize> = cuts.iter().map(|cut| cut % (message.len() + 1)).collect();
    places.sort_unstable();
    places.push(message.len());
    let count = u32::try_from(places.len()).unwrap();
    let mut out = [serial.to_be_bytes(), count.to_be_bytes()].concat();
    let mut from = 0;
    for to in places {
        out.extend_from_slice(&u32::try_from(to - from).unwrap().to_be_bytes());
        out.extend_from_slice(&message[from..to]);
        from = to;
    }
    out
}

proptest! {
    #[test]
    fn calls_come_back(events in prop::collection::vec(any_event(), 0..20), cut in any::<usize>()) {
        let mut out = Vec::new();
        put_append_batch(&mut out, &events);
        let size: usize = events.iter().map(Event::size_bytes).sum();
        let measured = MeasuredCall::new(&out).unwrap();
        prop_assert!(measured.decoded_bytes >= size);
        prop_assert_eq!(measured.decode(), Ok(AvroCall::AppendBatch(events.clone())));
        // A truncated message is refused.
        for end in [cut % out.len(), out.len() - 1, 1] {
            prop_assert!(decode(&out[..end]).is_err() || &out[..end] == b"\0\0");
        }
        if let Some(event) = events.into_iter().next() {
            let mut out = Vec::new();
            put_append(&mut out, &event);
            prop_assert_eq!(decode(&out), Ok(AvroCall::Append(event)));
        }
    }

    #[test]
    fn messages_come_back_however_they_are_cut(
        messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 1..5),
        cuts in prop::collection::vec(any::<usize>(), 0..6),
        reads in prop::collection::vec(1usize..40, 1..20),
    ) {
        let mut stream = Vec::new();
        for (serial, message) in messages.iter().enumerate() {
            stream.extend(in_segments(u32::try_from(serial).unwrap(), message, &cuts));
        }
        let (mut frames, mut input, mut found) = (AvroFramer::new(), BytesMut::new(), Vec::new());
        let (mut rest, mut reads) = (&stream[..], reads.iter().cycle());
        while !rest.is_empty() {
            let (now, later) = rest.split_at((*reads.next().unwrap()).min(rest.len()));
            input.extend_from_slice(now);
            rest = later;
            while let Some(frame) = frames.next(&mut input).unwrap() {
                found.push(frame);
            }
            prop_assert!(input.len() < 8, "what can be consumed is");
        }
        let expected: Vec<AvroFrame> = (0..).zip(messages).map(|(serial, message)| AvroFrame { serial, message, is_whole: true }).collect();
        prop_assert_eq!(found, expected);
        prop_assert!(!frames.is_within() && input.is_empty());
    }

    #[test]
    fn hostile_bytes_are_taken_calmly(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        super::fuzz::avro(&bytes);
    }

    #[test]
    fn almost_right_bytes_are_taken_calmly(
        events in prop::collection::vec(any_event(), 0..4),
        changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4),
    ) {
        let mut out = frame::begin();
        let request = HandshakeRequest { client_hash: HASH, client_text: Some(TEXT), server_hash: HASH, client: Default::default() };
        request.encode(&mut out);
        put_append_batch(&mut out, &events);
        frame::finish(&mut out, 1);
        for (at, byte) in changes {
            let at = at % out.len();
            out[at] = byte;
        }
        super::fuzz::avro(&out);
        super::fuzz::avro(&out[12..]);
        super::fuzz::avro(out.get(12 + 600..).unwrap_or_default());
    }
}
