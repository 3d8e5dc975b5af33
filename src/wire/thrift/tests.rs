use super::call::{
    Answer, Call, CallError, FAILED, Message, OK, Service, answer, put_append_batch, put_exception,
    put_status,
};
use super::values::{CALL, Head, Kind, Writer};
use super::*;
use crate::event::Event;
use bytes::BytesMut;
use std::borrow::Cow;

const BOTH: [Protocol; 2] = [Protocol::Compact, Protocol::Binary];

fn event(headers: &[(&str, &str)], body: &'static [u8]) -> Event {
    let mut event = Event::new(body);
    headers.iter().for_each(|(name, value)| event.headers.set(*name, *value));
    event
}

fn read(protocol: Protocol, service: Service, bytes: &[u8]) -> Result<Call, CallError> {
    Message::new(protocol, bytes)?.call(service)
}

/// The bytes are those that Apache's library for Java makes.
#[test]
fn a_call_and_its_answers_are_these_bytes() {
    let events = [event(&[("k", "v")], b"hi")];
    let mut out = Vec::new();
    put_append_batch(&mut out, Protocol::Compact, 1, &events);
    assert_eq!(out, b"\x82\x21\x01\x0bappendBatch\x19\x1c\x1b\x01\x88\x01k\x01v\x18\x02hi\0\0");
    out.clear();
    put_append_batch(&mut out, Protocol::Binary, 1, &events);
    let binary = b"\x80\x01\0\x01\0\0\0\x0bappendBatch\0\0\0\x01\x0f\0\x01\x0c\0\0\0\x01\
        \x0d\0\x01\x0b\x0b\0\0\0\x01\0\0\0\x01k\0\0\0\x01v\x0b\0\x02\0\0\0\x02hi\0\0";
    assert_eq!(out, binary);
    let head = Head { name: Cow::Borrowed("append"), kind: CALL, sequence: -5 };
    out.clear();
    put_status(&mut out, Protocol::Binary, &head, OK, false);
    assert_eq!(out, b"\x80\x01\0\x02\0\0\0\x06append\xff\xff\xff\xfb\x08\0\0\0\0\0\0\0");
    let head = Head { name: Cow::Borrowed("Log"), kind: CALL, sequence: 7 };
    out.clear();
    put_status(&mut out, Protocol::Binary, &head, FAILED, true);
    assert_eq!(out, b"\0\0\0\x03Log\x02\0\0\0\x07\x08\0\0\0\0\0\x01\0");
    let head = Head { name: Cow::Borrowed("nope"), kind: CALL, sequence: 3 };
    out.clear();
    let error = CallError::Unknown("nope".to_owned());
    put_exception(&mut out, Protocol::Binary, &head, &error, false);
    let words = b"\x80\x01\0\x03\0\0\0\x04nope\0\0\0\x03\x0b\0\x01\0\0\0\x1bInvalid method name: 'nope'\x08\0\x02\0\0\0\x01\0";
    assert_eq!(out, words);
}

/// What a client can make large with few bytes is known before any of it is made.
#[test]
fn the_memory_of_a_call_is_known_before_it_is_decoded() {
    for protocol in BOTH {
        let decoded = |events: &[Event]| {
            let mut out = Vec::new();
            put_append_batch(&mut out, protocol, 1, events);
            Message::new(protocol, &out).unwrap().decoded_bytes().unwrap()
        };
        let headed = |headers: usize| {
            let mut event = Event::default();
            (0..headers).for_each(|i| event.headers.set(format!("h{i}"), "v"));
            event
        };
        let of_events = decoded(&vec![Event::default(); 1000]) - decoded(&[]);
        assert!(of_events >= 1000 * size_of::<Event>(), "{of_events}");
        let (few, many) = (decoded(&[headed(16)]), decoded(&[headed(17)]));
        assert!(many - few > 17 * 256, "among many a double is looked for with a table: {many}");
        // Only one event's are read at a time.
        assert!(decoded(&[headed(17), headed(17)]) - many < 17 * 256);
        let text = |bytes: &[u8]| {
            let mut out = Vec::new();
            let mut writer = Writer::new(protocol, &mut out);
            let name = Cow::Borrowed("append");
            writer.head(&Head { name, kind: CALL, sequence: 1 }, false);
            writer.field(1, Kind::Bytes, 0);
            writer.bytes(bytes);
            writer.end();
            Message::new(protocol, &out).unwrap().decoded_bytes().unwrap()
        };
        assert_eq!(text(&[0xFF; 1000]) - text(&[b'x'; 1000]), 2000, "three bytes for one");
    }
}

#[test]
fn a_method_that_is_not_there_is_quoted_in_the_log() {
    let error = CallError::Unknown("x\" code=\"MP-1001\u{202e}\n".to_owned());
    assert_eq!(error.to_string(), r#"there is no method "x\" code=\"MP-1001\u{202e}\n""#);
}

#[test]
fn calls_come_back() {
    let many: Vec<Event> = (0..40)
        .map(|i| Event::new(vec![b'x'; i * 9]))
        .chain([event(&[("日", "志")], b"\0\xff")])
        .collect();
    let mut headed = Event::default();
    (0..300).for_each(|i| headed.headers.set(format!("h{i}"), "v"));
    for protocol in BOTH {
        for events in [vec![], vec![event(&[], b"")], many.clone(), vec![headed.clone()]] {
            let mut out = Vec::new();
            put_append_batch(&mut out, protocol, i32::MIN, &events);
            assert_eq!(read(protocol, Service::Flume, &out), Ok(Call::AppendBatch(events)));
        }
        for status in [OK, FAILED, 2, -1] {
            let head = Head { name: Cow::Borrowed("append"), kind: CALL, sequence: 9 };
            let mut out = Vec::new();
            put_status(&mut out, protocol, &head, status, false);
            assert_eq!(answer(protocol, 9, &out), Ok(Answer::Status(status)));
            assert_eq!(answer(protocol, 8, &out), Err(ThriftError::OtherAnswer));
        }
    }
}

/// A call of one structure with one more field, of every kind, that nobody knows.
fn with_unknown_fields(protocol: Protocol) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = Writer::new(protocol, &mut out);
    writer.head(&Head { name: Cow::Borrowed("append"), kind: CALL, sequence: 1 }, false);
    writer.field(1, Kind::Struct, 0);
    writer.field(1, Kind::Map, 0);
    writer.map(0, Kind::Bytes, Kind::Bytes);
    writer.field(2, Kind::Bytes, 1);
    writer.bytes(b"body");
    writer.field(300, Kind::I32, 2);
    writer.i32(-70_000);
    writer.field(301, Kind::List, 300);
    writer.list(20, Kind::Map);
    for _ in 0..20 {
        writer.map(1, Kind::Bytes, Kind::I32);
        writer.bytes(b"key");
        writer.i32(1);
    }
    writer.field(302, Kind::Double, 301);
    writer.out.extend_from_slice(&[0; 8]);
    writer.field(303, Kind::Bool, 302);
    if protocol == Protocol::Binary {
        writer.out.push(1);
    }
    writer.end();
    writer.end();
    out
}

#[test]
fn what_is_not_known_is_left_out_and_what_is_needed_is_asked_for() {
    for protocol in BOTH {
        let out = with_unknown_fields(protocol);
        assert_eq!(read(protocol, Service::Flume, &out), Ok(Call::Append(event(&[], b"body"))));
        for len in 0..out.len() {
            assert!(read(protocol, Service::Flume, &out[..len]).is_err(), "{len}");
        }
        let call = |name: &'static str, args: &dyn Fn(&mut Writer<'_>)| {
            let mut out = Vec::new();
            let mut writer = Writer::new(protocol, &mut out);
            writer.head(&Head { name: Cow::Borrowed(name), kind: CALL, sequence: 1 }, false);
            args(&mut writer);
            writer.end();
            out
        };
        let missing = |what| Err(CallError::Unreadable(ThriftError::Missing(what)));
        let of = |out: &[u8], service| read(protocol, service, out);
        assert_eq!(of(&call("append", &|_| {}), Service::Flume), missing("event"));
        assert_eq!(of(&call("appendBatch", &|_| {}), Service::Flume), missing("events"));
        assert_eq!(of(&call("Log", &|_| {}), Service::Scribe), Ok(Call::Log(None)));
        let empty = call("append", &|writer| {
            writer.field(1, Kind::Struct, 0);
            writer.end();
        });
        assert_eq!(of(&empty, Service::Flume), missing("headers"));
        assert_eq!(of(&empty, Service::Scribe), Err(CallError::Unknown("append".to_owned())));
        let log = call("Log", &|writer| {
            writer.field(1, Kind::List, 0);
            writer.list(1, Kind::Struct);
            writer.field(1, Kind::Bytes, 0);
            writer.bytes(b"c\xff");
            writer.field(2, Kind::Bytes, 1);
            writer.bytes(b"m\n");
            writer.end();
        });
        let expected = event(&[("category", "c\u{FFFD}")], b"m\n");
        assert_eq!(of(&log, Service::Scribe), Ok(Call::Log(Some(vec![expected]))));
    }
}

#[test]
fn what_is_announced_and_has_not_come_is_refused_and_so_is_what_is_nested_without_end() {
    let list = b"\x82\x21\x01\x0bappendBatch\x19\xfc\xff\xff\xff\xff\x07";
    let refused = |bytes: &[u8]| read(Protocol::Compact, Service::Flume, bytes).unwrap_err();
    assert_eq!(refused(list), CallError::Unreadable(ThriftError::Short));
    let mut deep = b"\x82\x21\x01\x06append".to_vec();
    deep.extend([0x3C].repeat(100_000));
    assert_eq!(refused(&deep), CallError::Unreadable(ThriftError::Deep));
    let mut deep = b"\x82\x21\x01\x06append\x39".to_vec();
    deep.extend([0x19].repeat(100_000));
    assert_eq!(refused(&deep), CallError::Unreadable(ThriftError::Deep));
    let endless = b"\x82\x21\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(refused(endless), CallError::Unreadable(ThriftError::Number));
    let mut binary = Vec::new();
    put_append_batch(&mut binary, Protocol::Binary, 1, &[]);
    assert_eq!(refused(&binary), CallError::Unreadable(ThriftError::NoMessage));
    let other = read(Protocol::Binary, Service::Flume, list).unwrap_err();
    assert_eq!(other, CallError::Unreadable(ThriftError::NoMessage));
}

#[test]
fn frames_come_back_however_they_are_cut_and_long_ones_are_refused() {
    let mut whole = frame::begin();
    whole.extend_from_slice(b"one");
    frame::finish(&mut whole);
    for at in 0..=whole.len() {
        let mut input = BytesMut::from(&whole[..at]);
        let early = frame::next(&mut input, 3).unwrap();
        assert_eq!(early.is_some(), at == whole.len());
        if early.is_none() {
            input.extend_from_slice(&whole[at..]);
            assert_eq!(frame::next(&mut input, 3).unwrap().unwrap(), "one");
        }
    }
    let refused = frame::next(&mut BytesMut::from(&whole[..4]), 2);
    assert_eq!(refused, Err(ThriftError::TooLong { bytes: 3, max: 2 }));
}

#[test]
fn hostile_bytes_are_taken_calmly() {
    let mut call = Vec::new();
    put_append_batch(&mut call, Protocol::Compact, 1, &[event(&[("k", "v")], b"body")]);
    for at in 0..call.len() {
        for byte in 0..=255 {
            let mut changed = call.clone();
            changed[at] = byte;
            fuzz::thrift(&changed);
        }
    }
}

#[test]
fn a_method_has_a_name_of_bounded_length() {
    for (length, is_taken) in [(256_u32, true), (257, false), (4096, false)] {
        let name = vec![0xFF; length as usize];
        let strict = [&[0x80, 1, 0, 1], &length.to_be_bytes()[..], &name, &[0; 5]].concat();
        let old = [&length.to_be_bytes()[..], &name, &[1], &[0; 5]].concat();
        for bytes in [strict, old] {
            assert_eq!(Message::new(Protocol::Binary, &bytes).is_ok(), is_taken, "{length}");
        }
    }
}
