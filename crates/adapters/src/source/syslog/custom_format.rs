//! User-defined message formats: the settings below `format.`.

use crate::wire::syslog::{SyslogMessage, YearHint};
use jiff::tz::TimeZone;
use millpond_flow::date::read::DatePattern;
use millpond_flow::failure_log::FailureLog;
use millpond_flow::pattern::{Pattern, PatternError, Replacement};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity};
use std::time::Duration;

pub(super) const FORMAT_KEYS: [Key; 4] = [
    Key {
        name: "format.regex",
        kind: KeyKind::Text,
        default: "",
        meaning: "Java pattern, tried on the whole of a message before the known forms; its groups are priority, version, time, host and text.",
    },
    Key {
        name: "format.search",
        kind: KeyKind::Text,
        default: "",
        meaning: "Java pattern of the text that is replaced in the time before it is parsed.",
    },
    Key {
        name: "format.replace",
        kind: KeyKind::Text,
        default: "",
        meaning: "The replacement, in Java's notation ($1 for a group); without it the text is removed.",
    },
    Key {
        name: "format.dateFormat",
        kind: KeyKind::Text,
        default: "",
        meaning: "Pattern of the time, of Java's SimpleDateFormat; without it there is no header timestamp.",
    },
];

/// A user-defined message format.
#[derive(Debug)]
pub(super) struct CustomFormat {
    pattern: Pattern,
    /// The pattern replaced in the time before parsing, and its replacement.
    replaced: Option<(Pattern, Replacement)>,
    date: Option<DatePattern>,
    /// Clients can cause a matching limit to be exceeded with every message. Never reset: one good message says
    /// nothing about the next.
    gives_up: FailureLog,
}

impl CustomFormat {
    /// Reads the format from the settings, if they have one.
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Result<Option<Self>, SettingError> {
        let Some(regex) = reader.text("format.regex") else {
            for Key { name, .. } in &FORMAT_KEYS[1..] {
                if reader.text(name).is_some() {
                    reader.find(Severity::Warning, name, "has no effect without format.regex");
                }
            }
            return Ok(None);
        };
        let wrong = |key: &str, error: PatternError| reader.error(key, error.to_string());
        let pattern = Pattern::new(regex).map_err(|error| wrong("format.regex", error))?;
        let replaced = match reader.text("format.search") {
            Some(search) => {
                let search = Pattern::new(search).map_err(|error| wrong("format.search", error))?;
                let by = reader.text("format.replace").unwrap_or_default();
                let by = Replacement::new(by, &search)
                    .map_err(|error| wrong("format.replace", error))?;
                Some((search, by))
            }
            None => None,
        };
        let date = reader.text("format.dateFormat").map(DatePattern::simple).transpose();
        let date = date.map_err(|error| reader.error("format.dateFormat", error.to_string()))?;
        if replaced.is_none() && reader.text("format.replace").is_some() {
            let message = "has no effect without format.search";
            reader.find(Severity::Warning, "format.replace", message);
        }
        Ok(Some(Self { pattern, replaced, date, gives_up: FailureLog::default() }))
    }

    /// Parses a message; `None` when it does not match the format.
    pub(super) fn parse<'a>(
        &self,
        text: &'a str,
        present: &YearHint,
        zone: &TimeZone,
    ) -> Option<SyslogMessage<'a>> {
        let found = match self.pattern.find_whole(text) {
            Ok(found) => found?,
            Err(error) => {
                let cause = format!("a message is read without format.regex: {error}");
                self.say(present, &self.pattern, &cause);
                return None;
            }
        };
        let group = |at: usize| found.group(at).map(|range| &text[range]);
        let filled = |at: usize| group(at).filter(|text| !text.is_empty());
        let stamp = group(3);
        Some(SyslogMessage {
            priority: group(1).unwrap_or_default(),
            version: filled(2),
            stamp,
            millis: stamp.and_then(|stamp| self.millis(stamp, present, zone)),
            host: filled(4),
            text: group(5).unwrap_or_default(),
        })
    }

    fn millis(&self, stamp: &str, present: &YearHint, zone: &TimeZone) -> Option<i64> {
        let date = self.date.as_ref()?;
        let Some((search, by)) = &self.replaced else {
            return date.millis(stamp, present.year(), zone);
        };
        match by.all(stamp, search) {
            Ok(stamp) => date.millis(&stamp, present.year(), zone),
            Err(error) => {
                self.say(present, search, &format!("a message has no timestamp: {error}"));
                None
            }
        }
    }

    /// Uses the message's clock, which may jump: the first line is logged in any case, and the time of the next
    /// matters little.
    fn say(&self, present: &YearHint, pattern: &Pattern, cause: &str) {
        let now = Duration::from_millis(u64::try_from(present.millis()).unwrap_or(0));
        if let Some(words) = self.gives_up.failed(now, cause) {
            tracing::warn!(pattern = pattern.as_str(), "{words}");
        }
    }
}
