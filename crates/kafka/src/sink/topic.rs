//! The topic of an event: a name with the escapes of Flume.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use millpond::Event;
use millpond_flow::date::path_letter;
use millpond_flow::escapes::{self, EscapePart};

/// A name of a topic with escapes: `%{header}`, `%t` and the letters of dates, by the header `timestamp` and the zone of
/// the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TopicTemplate(Vec<EscapePart>);

impl TopicTemplate {
    /// Reads `text`; the error is for a person.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let parts = escapes::read(text)?;
        if parts.iter().any(|part| matches!(part, EscapePart::Host(_))) {
            return Err("has a name of this machine (%[…]), which topics do not have; write it, or use the interceptor host and %{host}".to_owned());
        }
        Ok(Self(parts))
    }

    /// Returns the name if it has no escape.
    pub(super) fn plain(&self) -> Option<&str> {
        match self.0.as_slice() {
            [EscapePart::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Returns the name for `event`, or why it has none.
    pub(super) fn expand(&self, event: &Event) -> Result<String, String> {
        let mut out = String::new();
        let mut time = None;
        for part in &self.0 {
            match part {
                EscapePart::Text(text) => out.push_str(text),
                // Refused by `read`.
                EscapePart::Host(_) => {}
                EscapePart::Header(name) => {
                    out.push_str(event.headers.get(name).unwrap_or_default());
                }
                EscapePart::Letter('%') => out.push('%'),
                EscapePart::Letter(letter) if !path_letter::is_known(*letter) => {}
                EscapePart::Letter(letter) => {
                    let raw = event.headers.get("timestamp");
                    let raw = raw.ok_or("its topic has a date, and it has no header timestamp")?;
                    if time.is_none() {
                        let at =
                            raw.parse().ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
                        let at = at.ok_or_else(|| {
                            format!("its topic has a date, and its header timestamp \"{raw}\" is not one")
                        })?;
                        time = Some(at.to_zoned(TimeZone::system()));
                    }
                    if let Some(time) = &time {
                        out.push_str(&path_letter::text(*letter, raw, time));
                    }
                }
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_expanded_and_a_missing_header_is_nothing() {
        let event = Event::packed(&[("h", "v"), ("timestamp", "1352062205123")], b"");
        for (text, name) in [
            ("plain", "plain"),
            ("a-%{h}", "a-v"),
            ("a-%{none}", "a-"),
            ("t%t", "t1352062205123"),
            ("%%x%", "%x%"),
            ("%{with space}", "%{with space}"),
        ] {
            assert_eq!(
                TopicTemplate::read(text).unwrap().expand(&event).as_deref(),
                Ok(name),
                "{text}"
            );
        }
        let dated = TopicTemplate::read("log-%Y").unwrap();
        assert!(dated.expand(&event).unwrap().starts_with("log-2012"));
        assert!(dated.expand(&Event::packed(&[], b"")).unwrap_err().contains("timestamp"));
        assert!(TopicTemplate::read("a-%[ip]").unwrap_err().contains("%{host}"));
        assert_eq!((dated.plain(), TopicTemplate::read("x").unwrap().plain()), (None, Some("x")));
    }
}
