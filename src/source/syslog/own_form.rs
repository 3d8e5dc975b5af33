//! A form of messages of one's own: what the keys below `format.` say.

use super::simple_date::SimpleDate;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity};
use crate::flow::spell::Spell;
use crate::pattern::{Pattern, PatternError, Replacement};
use crate::wire::syslog::{Message, Present};
use jiff::tz::TimeZone;
use std::time::Duration;

pub(super) const FORMAT_KEYS: [Key; 4] = [
    Key {
        name: "format.regex",
        kind: Kind::Text,
        default: "",
        meaning: "Java pattern, tried on the whole of a message before the known forms; its groups are priority, version, time, host and text.",
    },
    Key {
        name: "format.search",
        kind: Kind::Text,
        default: "",
        meaning: "Java pattern of what is replaced in the time before it is read.",
    },
    Key {
        name: "format.replace",
        kind: Kind::Text,
        default: "",
        meaning: "What takes its place, in Java's notation ($1 for a group); without it nothing does.",
    },
    Key {
        name: "format.dateFormat",
        kind: Kind::Text,
        default: "",
        meaning: "Pattern of the time, of Java's SimpleDateFormat; without it there is no header timestamp.",
    },
];

/// Messages of a user's own.
#[derive(Debug)]
pub(super) struct OwnForm {
    pattern: Pattern,
    /// What is replaced in the time before it is read, and by what.
    replaced: Option<(Pattern, Replacement)>,
    date: Option<SimpleDate>,
    /// Whoever can send messages can have matching given up at each of them. It is never over, for one of
    /// them says nothing about the next.
    gives_up: Spell,
}

impl OwnForm {
    /// The form of the settings, if they have one.
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
        let date = reader.text("format.dateFormat").map(SimpleDate::new).transpose();
        let date = date.map_err(|error| reader.error("format.dateFormat", error.to_string()))?;
        if replaced.is_none() && reader.text("format.replace").is_some() {
            let message = "has no effect without format.search";
            reader.find(Severity::Warning, "format.replace", message);
        }
        Ok(Some(Self { pattern, replaced, date, gives_up: Spell::default() }))
    }

    /// Reads a message; `None` when it is not of this form.
    pub(super) fn parse<'a>(
        &self,
        text: &'a str,
        present: &Present,
        zone: &TimeZone,
    ) -> Option<Message<'a>> {
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
        Some(Message {
            priority: group(1).unwrap_or_default(),
            version: filled(2),
            stamp,
            millis: stamp.and_then(|stamp| self.millis(stamp, present, zone)),
            host: filled(4),
            text: group(5).unwrap_or_default(),
        })
    }

    fn millis(&self, stamp: &str, present: &Present, zone: &TimeZone) -> Option<i64> {
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

    /// Not by the clock that never jumps: it is said in any case, and when again does not matter.
    fn say(&self, present: &Present, pattern: &Pattern, cause: &str) {
        let now = Duration::from_millis(u64::try_from(present.millis()).unwrap_or(0));
        if let Some(words) = self.gives_up.failed(now, cause) {
            tracing::warn!(pattern = pattern.as_str(), "{words}");
        }
    }
}
