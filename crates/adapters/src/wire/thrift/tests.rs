use super::call::{
    CallError, FAILED, OK, ThriftCall, ThriftMessage, ThriftReply, ThriftService, answer,
    put_append_batch, put_exception, put_status,
};
use super::values::{CALL, MessageHeader, ThriftType, ThriftWriter};
use super::*;
use bytes::BytesMut;
use millpond::Event;
use std::borrow::Cow;

const BOTH: [ThriftProtocol; 2] = [ThriftProtocol::Compact, ThriftProtocol::Binary];

fn event(headers: &[(&str, &str)], body: &'static [u8]) -> Event {
    let mut event = Event::new(body);
    headers.iter().for_each(|(name, value)| event.headers.set(*name, *value));
    event
}

fn read(
    protocol: ThriftProtocol,
    service: ThriftService,
    bytes: &[u8],
) -> Result<ThriftCall, CallError> {
    ThriftMessage::new(protocol, bytes)?.call(service)
}

/// The bytes are those of Apache's library for Java.
#[test]
fn a_call_and_its_replies_are_these_bytes() {
    let events = [event(&[("k", "v")], b"hi")];
    let mut out = Vec::new();
    put_append_batch(&mut out, ThriftProtocol::Compact, 1, &events);
    assert_eq!(out, b"\x82\x21\x01\x0bappendBatch\x19\x1c\x1b\x01\x88\x01k\x01v\x18\x02hi\0\0");
    out.clear();
    put_append_batch(&mut out, ThriftProtocol::Binary, 1, &events);
    let binary = b"\x80\x01\0\x01\0\0\0\x0bappendBatch\0\0\0\x01\x0f\0\x01\x0c\0\0\0\x01\
        \x0d\0\x01\x0b\x0b\0\0\0\x01\0\0\0\x01k\0\0\0\x01v\x0b\0\x02\0\0\0\x02hi\0\0";
    assert_eq!(out, binary);
    let head = MessageHeader { name: Cow::Borrowed("append"), kind: CALL, sequence: -5 };
    out.clear();
    put_status(&mut out, ThriftProtocol::Binary, &head, OK, false);
    assert_eq!(out, b"\x80\x01\0\x02\0\0\0\x06append\xff\xff\xff\xfb\x08\0\0\0\0\0\0\0");
    let head = MessageHeader { name: Cow::Borrowed("Log"), kind: CALL, sequence: 7 };
    out.clear();
    put_status(&mut out, ThriftProtocol::Binary, &head, FAILED, true);
    assert_eq!(out, b"\0\0\0\x03Log\x02\0\0\0\x07\x08\0\0\0\0\0\x01\0");
    let head = MessageHeader { name: Cow::Borrowed("nope"), kind: CALL, sequence: 3 };
    out.clear();
    let error = CallError::Unknown("nope".to_owned());
    put_exception(&mut out, ThriftProtocol::Binary, &head, &error, false);
    let words = b"\x80\x01\0\x03\0\0\0\x04nope\0\0\0\x03\x0b\0\x01\0\0\0\x1bInvalid method name: 'nope'\x08\0\x02\0\0\0\x01\0";
    assert_eq!(out, words);
}

/// The memory of a call is known before it is decoded, even if a client makes it large with few bytes.
#[test]
fn the_memory_of_a_call_is_known_before_it_is_decoded() {
    for protocol in BOTH {
        let decoded = |events: &[Event]| {
            let mut out = Vec::new();
            put_append_batch(&mut out, protocol, 1, events);
            ThriftMessage::new(protocol, &out).unwrap().decoded_bytes().unwrap()
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
        // Only one event's headers are read at a time.
        assert!(decoded(&[headed(17), headed(17)]) - many < 17 * 256);
        let text = |bytes: &[u8]| {
            let mut out = Vec::new();
            let mut writer = ThriftWriter::new(protocol, &mut out);
            let name = Cow::Borrowed("append");
            writer.head(&MessageHeader { name, kind: CALL, sequence: 1 }, false);
            writer.field(1, ThriftType::Bytes, 0);
            writer.bytes(bytes);
            writer.end();
            ThriftMessage::new(protocol, &out).unwrap().decoded_bytes().unwrap()
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
            assert_eq!(
                read(protocol, ThriftService::Flume, &out),
                Ok(ThriftCall::AppendBatch(events))
            );
        }
        for status in [OK, FAILED, 2, -1] {
            let head = MessageHeader { name: Cow::Borrowed("append"), kind: CALL, sequence: 9 };
            let mut out = Vec::new();
            put_status(&mut out, protocol, &head, status, false);
            assert_eq!(answer(protocol, 9, &out), Ok(ThriftReply::Status(status)));
            assert_eq!(answer(protocol, 8, &out), Err(ThriftError::OtherAnswer));
        }
    }
}

/// Returns a call of one structure with an unknown field of every type.
fn with_unknown_fields(protocol: ThriftProtocol) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ThriftWriter::new(protocol, &mut out);
    writer.head(&MessageHeader { name: Cow::Borrowed("append"), kind: CALL, sequence: 1 }, false);
    writer.field(1, ThriftType::Struct, 0);
    writer.field(1, ThriftType::Map, 0);
    writer.map(0, ThriftType::Bytes, ThriftType::Bytes);
    writer.field(2, ThriftType::Bytes, 1);
    writer.bytes(b"body");
    writer.field(300, ThriftType::I32, 2);
    writer.i32(-70_000);
    writer.field(301, ThriftType::List, 300);
    writer.list(20, ThriftType::Map);
    for _ in 0..20 {
        writer.map(1, ThriftType::Bytes, ThriftType::I32);
        writer.bytes(b"key");
        writer.i32(1);
    }
    writer.field(302, ThriftType::Double, 301);
    writer.out.extend_from_slice(&[0; 8]);
    writer.field(303, ThriftType::Bool, 302);
    if protocol == ThriftProtocol::Binary {
        writer.out.push(1);
    }
    writer.end();
    writer.end();
    out
}

#[test]
fn unknown_fields_are_ignored_and_missing_ones_are_errors() {
    for protocol in BOTH {
        let out = with_unknown_fields(protocol);
        assert_eq!(
            read(protocol, ThriftService::Flume, &out),
            Ok(ThriftCall::Append(event(&[], b"body")))
        );
        for len in 0..out.len() {
            assert!(read(protocol, ThriftService::Flume, &out[..len]).is_err(), "{len}");
        }
        let call = |name: &'static str, args: &dyn Fn(&mut ThriftWriter<'_>)| {
            let mut out = Vec::new();
            let mut writer = ThriftWriter::new(protocol, &mut out);
            writer
                .head(&MessageHeader { name: Cow::Borrowed(name), kind: CALL, sequence: 1 }, false);
            args(&mut writer);
            writer.end();
            out
        };
        let missing = |what| Err(CallError::Unreadable(ThriftError::Missing(what)));
        let of = |out: &[u8], service| read(protocol, service, out);
        assert_eq!(of(&call("append", &|_| {}), ThriftService::Flume), missing("event"));
        assert_eq!(of(&call("appendBatch", &|_| {}), ThriftService::Flume), missing("events"));
        assert_eq!(of(&call("Log", &|_| {}), ThriftService::Scribe), Ok(ThriftCall::Log(None)));
        let empty = call("append", &|writer| {
            writer.field(1, ThriftType::Struct, 0);
            writer.end();
        });
        assert_eq!(of(&empty, ThriftService::Flume), missing("headers"));
        assert_eq!(of(&empty, ThriftService::Scribe), Err(CallError::Unknown("append".to_owned())));
        let log = call("Log", &|writer| {
            writer.field(1, ThriftType::List, 0);
            writer.list(1, ThriftType::Struct);
            writer.field(1, ThriftType::Bytes, 0);
            writer.bytes(b"c\xff");
            writer.field(2, ThriftType::Bytes, 1);
            writer.bytes(b"m\n");
            writer.end();
        });
        let expected = event(&[("category", "c\u{FFFD}")], b"m\n");
        assert_eq!(of(&log, ThriftService::Scribe), Ok(ThriftCall::Log(Some(vec![expected]))));
    }
}

#[test]
fn missing_bytes_and_endless_nesting_are_refused() {
    let list = b"\x82\x21\x01\x0bappendBatch\x19\xfc\xff\xff\xff\xff\x07";
    let refused =
        |bytes: &[u8]| read(ThriftProtocol::Compact, ThriftService::Flume, bytes).unwrap_err();
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
    put_append_batch(&mut binary, ThriftProtocol::Binary, 1, &[]);
    assert_eq!(refused(&binary), CallError::Unreadable(ThriftError::NoMessage));
    let other = read(ThriftProtocol::Binary, ThriftService::Flume, list).unwrap_err();
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
    put_append_batch(&mut call, ThriftProtocol::Compact, 1, &[event(&[("k", "v")], b"body")]);
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
            assert_eq!(
                ThriftMessage::new(ThriftProtocol::Binary, &bytes).is_ok(),
                is_taken,
                "{length}"
            );
        }
    }
}

/// The bytes are those of Apache's library for Java, and of thriftpy2.
#[test]
fn calls_of_hbase_are_these_bytes_and_read_back_in_both_protocols() {
    use super::hbase::{
        HbaseIncrement, HbasePut, HbaseTarget, put_exists, put_increment, put_put_multiple,
    };
    use super::hbase_decode::{HbaseCall, call};
    let target = |wal| HbaseTarget { table: b"t", family: b"f", wal };
    let put = HbasePut { row: "r".into(), columns: vec![("q".into(), "v".into())] };
    let increment = HbaseIncrement { row: "n".into(), columns: vec![("c".into(), -300)] };
    let mut out = Vec::new();
    put_put_multiple(&mut out, ThriftProtocol::Binary, 1, target(false), &[&put]);
    let puts = b"\x80\x01\0\x01\0\0\0\x0bputMultiple\0\0\0\x01\x0b\0\x01\0\0\0\x01t\x0f\0\x02\x0c\0\0\0\x01\
        \x0b\0\x01\0\0\0\x01r\x0f\0\x02\x0c\0\0\0\x01\x0b\0\x01\0\0\0\x01f\x0b\0\x02\0\0\0\x01q\
        \x0b\0\x03\0\0\0\x01v\0\x08\0\x06\0\0\0\x01\0\0";
    assert_eq!(out, puts);
    out.clear();
    put_increment(&mut out, ThriftProtocol::Binary, 2, target(true), &increment);
    let counts = b"\x80\x01\0\x01\0\0\0\x09increment\0\0\0\x02\x0b\0\x01\0\0\0\x01t\x0c\0\x02\
        \x0b\0\x01\0\0\0\x01n\x0f\0\x02\x0c\0\0\0\x01\x0b\0\x01\0\0\0\x01f\x0b\0\x02\0\0\0\x01c\
        \x0a\0\x03\xff\xff\xff\xff\xff\xff\xfe\xd4\0\0\0";
    assert_eq!(out, counts);
    for protocol in BOTH {
        for amount in [0, 1, -1, 300, i64::MAX, i64::MIN] {
            let increment = HbaseIncrement { row: "n".into(), columns: vec![("c".into(), amount)] };
            out.clear();
            put_increment(&mut out, protocol, 7, target(false), &increment);
            let cells = vec![("f".to_owned(), "c".to_owned(), amount)];
            let expected = HbaseCall::Increment("t".to_owned(), "n".to_owned(), cells, false);
            assert_eq!(call(protocol, &out), Ok((7, expected)));
        }
        out.clear();
        put_exists(&mut out, protocol, 8, target(true));
        let expected = HbaseCall::Exists("t".to_owned(), "f".to_owned());
        assert_eq!(call(protocol, &out), Ok((8, expected)));
    }
}

#[test]
fn a_reply_of_hbase_is_whole_or_waited_for_and_only_for_its_call() {
    use super::hbase::{HbaseException, message_bytes, reply};
    use super::hbase_decode;
    for protocol in BOTH {
        let done = hbase_decode::reply(protocol, 5, None);
        let failed = hbase_decode::reply(protocol, 5, Some("\n first line\r\nat java"));
        let internal = hbase_decode::exception(protocol, 5, 6);
        assert_eq!(reply(protocol, 5, &done), Ok(None));
        let error = HbaseException::Io("first line".to_owned());
        assert_eq!(reply(protocol, 5, &failed), Ok(Some(error)));
        let said = reply(protocol, 5, &internal).unwrap().unwrap().to_string();
        assert_eq!(said, "the gateway replied with the exception 6: Internal error processing m");
        assert_eq!(reply(protocol, 6, &done), Err(ThriftError::OtherAnswer));
        for message in [&done, &failed, &internal] {
            let stream = [&message[..], b"next"].concat();
            assert_eq!(message_bytes(protocol, &stream), Ok(Some(message.len())));
            for len in 0..message.len() {
                assert_eq!(message_bytes(protocol, &message[..len]), Ok(None), "{len}");
                assert!(reply(protocol, 5, &message[..len]).is_err());
            }
        }
        assert!(message_bytes(protocol, b"HTTP/1.1 200 OK").is_err());
    }
}
