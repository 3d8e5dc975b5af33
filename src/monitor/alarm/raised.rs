//! One alarm that was raised, as it is kept and shown.

use super::kind::{Kind, Severity};
use crate::base::visible::Visible;
use jiff::Timestamp;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// Characters of a text from outside that an alarm repeats.
const TEXT_CHARS_MAX: usize = 500;

/// An alarm that was raised, and perhaps cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    /// Its own number; none is used again.
    pub(crate) serial: u64,
    pub(crate) kind: Kind,
    pub(crate) severity: Severity,
    /// Whose, as in `CHANNEL.c1`.
    pub(crate) component: String,
    /// Which part of it, or which client; empty for all of it.
    pub(crate) subject: String,
    /// What is wrong, in a sentence.
    pub(crate) message: String,
    pub(crate) parameters: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub(crate) raised_ms: u64,
    /// The end of it, once it is over.
    pub(crate) cleared: Option<Cleared>,
}

/// How an alarm ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cleared {
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) why: String,
}

/// Who raises it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sender {
    pub(crate) agent: String,
    pub(crate) cluster: String,
    pub(crate) host: String,
}

/// A text from outside as an alarm repeats it: short, and without what a terminal would obey.
pub(super) fn plain(text: &str) -> String {
    let short: String = text.chars().take(TEXT_CHARS_MAX).collect();
    Visible(&short).to_string().replace(['\n', '\t'], " ")
}

/// A moment as people and programs read it.
pub(crate) fn time(wall_ms: u64) -> String {
    let millis = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_string()
}

impl Alarm {
    /// The word for whether it is over.
    pub(crate) fn state(&self) -> &'static str {
        if self.cleared.is_some() { "cleared" } else { "raised" }
    }

    /// As pages, deliveries and the file show it.
    pub(crate) fn json(&self) -> Map<String, Json> {
        let entry = self.kind.entry();
        let (at_ms, why) = match &self.cleared {
            Some(Cleared { at_ms, why }) => (Some(*at_ms), Some(why.as_str())),
            None => (None, None),
        };
        let json = json!({
            "serial": self.serial,
            "id": entry.id(),
            "code": entry.code.to_string(),
            "name": entry.name,
            "title": entry.title(),
            "severity": self.severity.word(),
            "autoClear": true,
            "state": self.state(),
            "component": self.component,
            "subject": self.subject,
            "message": self.message,
            "parameters": self.parameters,
            "raised": time(self.raised_ms),
            "raisedMs": self.raised_ms,
            "cleared": at_ms.map(time),
            "clearedMs": at_ms,
            "why": why,
        });
        match json {
            Json::Object(map) => map,
            _ => unreachable!("it was written as an object"),
        }
    }

    /// The same with who raises it.
    pub(crate) fn json_of(&self, sender: &Sender) -> Map<String, Json> {
        let mut map = self.json();
        for (key, value) in
            [("agent", &sender.agent), ("cluster", &sender.cluster), ("host", &sender.host)]
        {
            map.insert(key.to_owned(), Json::String(value.clone()));
        }
        map
    }

    /// What [`Alarm::json`] wrote; `None` when it is something else, or of a kind that is not known.
    pub(crate) fn of_json(json: &Json) -> Option<Self> {
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        let parameters = json["parameters"].as_object()?.iter();
        let parameters =
            parameters.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let cleared = match (json["clearedMs"].as_u64(), text("why")) {
            (Some(at_ms), why) => Some(Cleared { at_ms, why: why.unwrap_or_default() }),
            (None, _) => None,
        };
        Some(Self {
            serial: json["serial"].as_u64()?,
            kind: Kind::numbered(u32::try_from(json["id"].as_u64()?).ok()?)?,
            severity: Severity::named(json["severity"].as_str()?)?,
            component: text("component")?,
            subject: text("subject")?,
            message: text("message")?,
            parameters: parameters.collect::<Option<_>>()?,
            raised_ms: json["raisedMs"].as_u64()?,
            cleared,
        })
    }
}
