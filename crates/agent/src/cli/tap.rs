//! `tap`: events that pass a component of a running agent.

use super::exit::{CommandError, say, show};
use super::interrupt::Interrupt;
use super::java_options;
use super::tap_arguments::TapArguments;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use millpond::internal::base::quantity::Quantity;
use millpond_flow::base::escape::EscapedBytes;
use millpond_flow::tap::{BYTES_PER_SECOND_MAX, TapCounts};
use millpond_observe::admin::{self, AdminClient, AdminReply, ShownEvent, TapRequest};
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

/// Bytes per second at a rate of events with short bodies; longer ones get as many as they need.
const BYTES_PER_SECOND: u32 = 64 * 1024;
/// Room for headers in addition to each body.
const HEADER_BYTES: u32 = 1024;

pub(super) fn run(arguments: &TapArguments) -> Result<(), CommandError> {
    let path = socket(arguments)?;
    let needed = arguments.rate.saturating_mul(arguments.body + HEADER_BYTES);
    let wanted = TapRequest {
        component: arguments.component.clone(),
        events_per_second: arguments.rate,
        bytes_per_second: needed.clamp(BYTES_PER_SECOND, BYTES_PER_SECOND_MAX),
        body_bytes: arguments.body,
    };
    let interrupt = Interrupt::listen()?;
    let mut client = AdminClient::tap(&path, &wanted)
        .map_err(|error| CommandError::Failed(error.to_string()))?;
    if client.agent() != arguments.name {
        let (path, there, asked) = (path.display(), client.agent(), &arguments.name);
        let words = format!("at {path} is the agent {there}, not {asked}");
        return Err(CommandError::Failed(words));
    }
    let (mut shown, mut counts) = (0, TapCounts::default());
    let ended = loop {
        if interrupt.came.load(Ordering::Relaxed) || arguments.count.is_some_and(|n| shown >= n) {
            break Ok(());
        }
        match client.hear() {
            Ok(None) => {}
            Ok(Some(AdminReply::Event(event))) => {
                show(&written(&event, arguments))?;
                shown += 1;
            }
            Ok(Some(AdminReply::Counts { passed, shown, dropped })) => {
                if dropped > counts.dropped {
                    let lost = Quantity(dropped - counts.dropped, "event");
                    say(&format!("{lost} {} not shown: not read soon enough", lost.was()));
                }
                counts = TapCounts { passed, shown, dropped };
            }
            Ok(Some(AdminReply::Gone)) => {
                break Err(CommandError::Failed(format!("{} is gone", client.component())));
            }
            Ok(Some(AdminReply::Tapped { .. } | AdminReply::Refused(_))) => {
                break Err(CommandError::Failed("the agent repeats its first reply".to_owned()));
            }
            Err(error) => break Err(CommandError::Failed(error.to_string())),
        }
    };
    // The last counts may be a second old.
    let of = if counts.passed > shown {
        format!(", of {} that passed", counts.passed)
    } else {
        String::new()
    };
    say(&format!("{}: {} shown{of}", client.component(), Quantity(shown, "event")));
    ended
}

fn socket(arguments: &TapArguments) -> Result<PathBuf, CommandError> {
    let outside = &arguments.outside;
    let options = java_options::collect(&outside.properties, outside.conf.as_deref())?;
    options.warnings.iter().for_each(|warning| say(&format!("warning: {warning}")));
    let mut properties = options.properties;
    if let Some(path) = &arguments.socket {
        properties.insert(admin::KEY.to_owned(), path.display().to_string());
    }
    let place = admin::place(&properties, &arguments.name);
    let place = place.map_err(|error| CommandError::Usage(error.to_string()))?;
    place.ok_or_else(|| {
        CommandError::Usage(format!(
            "where is the agent's admin socket? Give --socket PATH, or -D{}=PATH as to the agent",
            admin::KEY
        ))
    })
}

fn written(event: &ShownEvent, arguments: &TapArguments) -> String {
    let body = event.body().unwrap_or_default();
    if arguments.json { as_json(event, &body) } else { in_words(event, &body, arguments.headers) }
}

/// `14:02:11.123  put        {k=v} body … (2000 bytes)`
fn in_words(event: &ShownEvent, body: &[u8], headers: bool) -> String {
    let mut line =
        format!("{}  {:<9}  ", time(event.time_ms), EscapedBytes(event.way.as_bytes()).to_string());
    if headers {
        line.push('{');
        for (at, (name, value)) in event.headers.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            let (name, value) = (EscapedBytes(name.as_bytes()), EscapedBytes(value.as_bytes()));
            let _ = write!(line, "{comma}{name}={value}");
        }
        if event.headers_left_out > 0 {
            let _ = write!(line, ", … {} more", event.headers_left_out);
        }
        line.push_str("} ");
    }
    let _ = write!(line, "{}", EscapedBytes(whole_letters(body, event.body_bytes)));
    if body.len() < event.body_bytes {
        let _ = write!(line, " … ({} bytes)", event.body_bytes);
    }
    line.push('\n');
    line
}

/// Returns a body that was cut, without an incomplete character at its end.
fn whole_letters(body: &[u8], whole_bytes: usize) -> &[u8] {
    match std::str::from_utf8(body) {
        Err(error) if error.error_len().is_none() && body.len() < whole_bytes => {
            &body[..error.valid_up_to()]
        }
        _ => body,
    }
}

fn as_json(event: &ShownEvent, body: &[u8]) -> String {
    let headers: Map<String, Value> =
        event.headers.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
    let body = whole_letters(body, event.body_bytes);
    let (key, text) = match std::str::from_utf8(body) {
        Ok(text) => ("body", text.to_owned()),
        Err(_) => ("body_hex", body.iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    let object = json!({
        "time_ms": event.time_ms, "way": event.way, "headers": headers,
        "headers_left_out": event.headers_left_out, key: text,
        "body_bytes": event.body_bytes, "cut": body.len() < event.body_bytes,
    });
    // JSON allows characters that a terminal interprets: DEL, and the C1 control characters.
    let mut line = String::new();
    for letter in object.to_string().chars() {
        match letter {
            '\u{7f}'..='\u{9f}' => {
                let _ = write!(line, "\\u{:04x}", u32::from(letter));
            }
            letter => line.push(letter),
        }
    }
    line + "\n"
}

/// Returns the local time of day.
fn time(wall_ms: u64) -> String {
    let at = i64::try_from(wall_ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
    let zoned = at.unwrap_or_default().to_zoned(TimeZone::system());
    zoned.strftime("%H:%M:%S%.3f").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::tap::{TapDirection, TappedEvent};

    fn event(body: &[u8], body_bytes: usize) -> ShownEvent {
        ShownEvent::from(TappedEvent {
            way: TapDirection::Put,
            wall_ms: 1_700_000_000_123,
            headers: vec![("k\u{1b}".to_owned(), "v\n".to_owned())],
            headers_left_out: 2,
            body: body.to_vec(),
            body_bytes,
        })
    }

    fn words(body: &[u8], body_bytes: usize, headers: bool) -> String {
        let line = in_words(&event(body, body_bytes), body, headers);
        let (time, rest) = line.split_once("  ").expect("a time");
        assert!(time.ends_with(".123") && time.len() == 12, "{time}");
        rest.to_owned()
    }

    #[test]
    fn nothing_of_an_event_reaches_the_terminal_as_it_is_but_text() {
        assert_eq!(
            words(b"\x1b]0;x\x07 \"\xc3\xa9\"", 11, false),
            "put        \\u{1b}]0;x\\u{7} \"é\"\n"
        );
        assert_eq!(
            words(b"\xff\r\n\t", 4, true),
            "put        {k\\u{1b}=v\\n, … 2 more} \\xff\\r\\n\\t\n"
        );
        assert_eq!(
            words("x\u{9b}2J\u{202e}y".as_bytes(), 9, false),
            "put        x\\u{9b}2J\\u{202e}y\n"
        );
    }

    #[test]
    fn a_cut_body_says_so_and_ends_with_a_whole_letter() {
        assert_eq!(words(b"ab\xc3", 2000, false), "put        ab … (2000 bytes)\n");
        assert_eq!(words(b"ab\xc3", 3, false), "put        ab\\xc3\n");
    }

    #[test]
    fn programs_get_json_without_what_a_terminal_obeys() {
        let body = "x\u{9b}\u{7f}".as_bytes();
        let line = as_json(&event(body, 900), body);
        assert!(
            line.contains(r"x\u009b\u007f") && !line.contains(['\u{9b}', '\u{7f}', '\u{1b}']),
            "{line}"
        );
        let read: Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&read["body"], &read["cut"], &read["way"]),
            (&"x\u{9b}\u{7f}".into(), &true.into(), &"put".into())
        );
        assert_eq!(read["headers"]["k\u{1b}"], "v\n");
        let body = b"\xffa";
        let read: Value = serde_json::from_str(&as_json(&event(body, 2), body)).expect("JSON");
        assert_eq!((&read["body_hex"], &read["cut"]), (&"ff61".into(), &false.into()));
    }
}
