//! Lines are as docs/external.md says, and invalid ones are refused with a reason.

use super::decode::{ProcessBatch, ProcessMessage, line};
use super::encode::{self, Greeting, RepeatedBatch, ResumePosition};
use super::*;
use crate::base::limits::EXTERNAL_POSITION_BYTES_MAX;
use millpond::Event;
use std::collections::BTreeMap;

fn text(line: Vec<u8>) -> String {
    String::from_utf8(line).unwrap()
}

fn read(text: &str) -> Result<ProcessMessage, String> {
    line(text.as_bytes(), 3).map_err(|error| error.to_string())
}

fn headed(body: impl Into<bytes::Bytes>, headers: &[(&str, &str)]) -> Event {
    Event { headers: headers.iter().copied().collect(), body: body.into() }
}

#[test]
fn the_agents_lines_are_those_of_the_page() {
    let settings = BTreeMap::from([("delay".to_owned(), "1000".to_owned())]);
    let mut greeting = Greeting::new("sink", "a1.sinks.k1", &settings, 100, 65536);
    assert_eq!(
        text(greeting.line()),
        "{\"millpond\":1,\"role\":\"sink\",\"name\":\"a1.sinks.k1\",\"settings\":{\"delay\":\"1000\"},\"batch\":100,\"line\":65536}\n"
    );
    greeting.place = Some(ResumePosition { durable: true, position: None, repeat: None });
    assert!(text(greeting.line()).ends_with("\"durable\":true,\"position\":null}\n"));
    let repeat = Some(RepeatedBatch { events: 2, position: "9" });
    greeting.place = Some(ResumePosition { durable: true, position: Some("7"), repeat });
    assert!(text(greeting.line()).ends_with(
        "\"durable\":true,\"position\":\"7\",\"repeat\":{\"events\":2,\"position\":\"9\"}}\n"
    ));
    assert_eq!(text(encode::ok(7)), "{\"ok\":7}\n");
    assert_eq!(text(encode::failed(7, "a \"b\"")), "{\"failed\":7,\"why\":\"a \\\"b\\\"\"}\n");
    assert_eq!(text(encode::stop()), "{\"stop\":true}\n");
}

#[test]
fn a_body_is_text_where_it_is_and_base64_where_it_is_not() {
    let events = [headed("日志\n\u{2028}", &[("a", "b")]), headed(vec![0xff, 0], &[])];
    let (written, taken) = encode::batch(1, &events, 1000).unwrap();
    let written = text(written);
    assert_eq!(taken, 2);
    assert_eq!(
        written,
        "{\"batch\":1,\"events\":[{\"headers\":{\"a\":\"b\"},\"body\":\"日志\\n\u{2028}\"},{\"headers\":{},\"body64\":\"/wA=\"}]}\n"
    );
    let batch = ProcessBatch { number: 1, events: events.to_vec(), position: None };
    assert_eq!(read(written.trim_end()), Ok(ProcessMessage::Batch(batch)));
}

#[test]
fn a_batch_too_long_for_a_line_is_split_and_an_event_too_long_is_named() {
    let events = ["one", "two", "three"].map(Event::new);
    let one = encode::batch(1, &events[..1], 1000).unwrap().0.len() - 1;
    let (written, taken) = encode::batch(1, &events, one).unwrap();
    assert_eq!((taken, written.len() - 1), (1, one));
    let (_, taken) = encode::batch(2, &events[1..], 2 * one).unwrap();
    assert_eq!(taken, 2);
    let error = encode::batch(1, &events, one - 1).unwrap_err();
    assert!(error.to_string().contains("lineBytes"), "{error}");
}

#[test]
fn what_a_process_says_is_understood() {
    let batch = |events: &[Event], position: Option<&str>| {
        let position = position.map(str::to_owned);
        Ok(ProcessMessage::Batch(ProcessBatch { number: 7, events: events.to_vec(), position }))
    };
    let failed =
        |why: &str| Ok(ProcessMessage::Failed { number: 7, why: why.to_owned(), refused: false });
    for (said, expected) in [
        (r#"{"ready":1}"#, Ok(ProcessMessage::Ready)),
        (r#"{"ok":7}"#, Ok(ProcessMessage::Ok(7))),
        (r#" { "ok" : 7 } "#, Ok(ProcessMessage::Ok(7))),
        (r#"{"failed":7,"why":"no"}"#, failed("no")),
        (r#"{"failed":7}"#, failed("")),
        (
            r#"{"failed":7,"why":"no","refused":true}"#,
            Ok(ProcessMessage::Failed { number: 7, why: "no".to_owned(), refused: true }),
        ),
        (r#"{"error":"no table"}"#, Ok(ProcessMessage::Error("no table".to_owned()))),
        (r#"{"end":true}"#, Ok(ProcessMessage::End)),
        (r#"{"batch":7,"events":[]}"#, batch(&[], None)),
        (r#"{"batch":7,"events":[],"position":null}"#, batch(&[], None)),
        (r#"{"events":[{"body":"x"}],"batch":7}"#, batch(&[Event::new("x")], None)),
        (
            r#"{"batch":7,"events":[{"headers":{"b":"2","a":"1"},"body64":"/wA="}],"position":"9"}"#,
            batch(&[headed(vec![0xff, 0], &[("b", "2"), ("a", "1")])], Some("9")),
        ),
        (r#"{"b\u0061tch":7,"events":[]}"#, batch(&[], None)),
    ] {
        assert_eq!(read(said), expected, "{said}");
    }
}

#[test]
fn what_is_no_message_is_refused_in_words() {
    for (said, words) in [
        ("", "EOF"),
        ("hello", "expected value"),
        ("[]", "expected an object"),
        ("{}", "none of ready"),
        (r#"{"ok":7}{"ok":8}"#, "trailing"),
        (r#"{"ok":7,"failed":7}"#, "more than one of"),
        (r#"{"ok":7,"ok":7}"#, "duplicate field"),
        (r#"{"ok":-1}"#, "expected u64"),
        (r#"{"ok":7,"events":[]}"#, "belong to a batch"),
        (r#"{"ok":7,"why":"x"}"#, "why belongs to failed"),
        (r#"{"ok":7,"refused":true}"#, "refused belongs to failed"),
        (r#"{"ready":2}"#, "another version"),
        (r#"{"millpond":1,"role":"source"}"#, "unknown field `millpond`"),
        (r#"{"end":false}"#, "end is true"),
        (r#"{"batch":7}"#, "a batch has events"),
        (r#"{"batch":7,"events":[{}]}"#, "an event has a body"),
        (r#"{"batch":7,"events":[{"bodi":"x"}]}"#, "unknown field `bodi`"),
        (r#"{"batch":7,"events":[{"body":"x","body64":""}]}"#, "one body"),
        (r#"{"batch":7,"events":[{"body":"x","body":""}]}"#, "one body"),
        (r#"{"batch":7,"events":[{"body":5}]}"#, "expected a string"),
        (r#"{"batch":7,"events":[{"body64":"/w A="}]}"#, "not base64"),
        (r#"{"batch":7,"events":[{"body":"x","headers":{"a":5}}]}"#, "expected a string"),
        (r#"{"batch":7,"events":[{"body":"x","headers":{"a":"","a":""}}]}"#, "twice"),
        (r#"{"batch":7,"events":[5]}"#, "an event"),
        (
            r#"{"batch":7,"events":[{"body":""},{"body":""},{"body":""},{"body":""}]}"#,
            "a batch has 3 events at most",
        ),
    ] {
        let error = read(said).expect_err(said);
        assert!(error.contains(words), "{said}: {error}");
    }
    assert!(line(b"{\"error\":\"\xff\"}", 3).is_err(), "not UTF-8");
}

#[test]
fn free_text_of_a_process_is_cut_and_a_position_is_not() {
    let long = "x".repeat(EXTERNAL_POSITION_BYTES_MAX);
    let Ok(ProcessMessage::Error(words)) = read(&format!("{{\"error\":\"{long}\"}}")) else {
        panic!()
    };
    assert_eq!(words.chars().count(), WORDS_CHARS_MAX + 1);
    let error = read(&format!("{{\"{long}\":1}}")).unwrap_err();
    assert!(error.chars().count() <= WORDS_CHARS_MAX + 1, "{error}");
    let with = |position: &str| {
        read(&format!("{{\"batch\":1,\"events\":[],\"position\":\"{position}\"}}"))
    };
    assert!(
        matches!(with(&long), Ok(ProcessMessage::Batch(ProcessBatch { position: Some(p), .. })) if p == long)
    );
    assert!(with(&format!("{long}x")).unwrap_err().contains("32768 bytes at most"));
    assert!(read(&"[".repeat(100_000)).is_err());
}
