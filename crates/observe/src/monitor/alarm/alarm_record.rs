//! One raised alarm, as it is stored and shown.

use super::kind::AlarmKind;
use super::severity::AlarmSeverity;
use jiff::Timestamp;
use millpond_flow::base::escape::Escaped;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeMap;

/// Longest outside text that an alarm repeats, characters.
const TEXT_CHARS_MAX: usize = 500;

/// An alarm that was raised, and perhaps cleared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Alarm {
    /// Its own number; never reused.
    pub(crate) serial: u64,
    pub(crate) kind: AlarmKind,
    pub(crate) severity: AlarmSeverity,
    /// The component, as in `CHANNEL.c1`.
    pub(crate) component: String,
    /// The part of the component, or the client; empty for all of it.
    pub(crate) subject: String,
    /// What is wrong, in a sentence.
    pub(crate) message: String,
    pub(crate) parameters: BTreeMap<String, String>,
    /// Milliseconds since 1970.
    pub(crate) raised_ms: u64,
    /// How it ended, once it is cleared.
    pub(crate) cleared: Option<ClearedAlarm>,
}

/// How an alarm ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ClearedAlarm {
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    pub(crate) why: String,
}

/// The sender of an alarm: agent, cluster and host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AlarmSender {
    pub(crate) agent: String,
    pub(crate) cluster: String,
    pub(crate) host: String,
}

/// Returns a text from outside as an alarm repeats it: short, and without terminal escapes.
pub(super) fn plain(text: &str) -> String {
    let short: String = text.chars().take(TEXT_CHARS_MAX).collect();
    Escaped(&short).to_string().replace(['\n', '\t'], " ")
}

/// Returns a time as people and programs read it.
pub(crate) fn time(wall_ms: u64) -> String {
    let millis = i64::try_from(wall_ms).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX).to_string()
}

impl Alarm {
    /// Returns the word for its state.
    pub(crate) fn state(&self) -> &'static str {
        if self.cleared.is_some() { "cleared" } else { "raised" }
    }

    /// Returns it as pages, deliveries and the file show it.
    pub(crate) fn json(&self) -> Map<String, Json> {
        let entry = self.kind.entry();
        let (at_ms, why) = match &self.cleared {
            Some(ClearedAlarm { at_ms, why }) => (Some(*at_ms), Some(why.as_str())),
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

    /// Returns [`Self::json`] with the sender added.
    pub(crate) fn json_of(&self, sender: &AlarmSender) -> Map<String, Json> {
        let mut map = self.json();
        for (key, value) in
            [("agent", &sender.agent), ("cluster", &sender.cluster), ("host", &sender.host)]
        {
            map.insert(key.to_owned(), Json::String(value.clone()));
        }
        map
    }

    /// Decodes what [`Alarm::json`] wrote; `None` if it is something else, or of an unknown kind.
    pub(crate) fn of_json(json: &Json) -> Option<Self> {
        let text = |key: &str| json[key].as_str().map(str::to_owned);
        let parameters = json["parameters"].as_object()?.iter();
        let parameters =
            parameters.map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
        let cleared = match (json["clearedMs"].as_u64(), text("why")) {
            (Some(at_ms), why) => Some(ClearedAlarm { at_ms, why: why.unwrap_or_default() }),
            (None, _) => None,
        };
        Some(Self {
            serial: json["serial"].as_u64()?,
            kind: AlarmKind::numbered(u32::try_from(json["id"].as_u64()?).ok()?)?,
            severity: AlarmSeverity::named(json["severity"].as_str()?)?,
            component: text("component")?,
            subject: text("subject")?,
            message: text("message")?,
            parameters: parameters.collect::<Option<_>>()?,
            raised_ms: json["raisedMs"].as_u64()?,
            cleared,
        })
    }
}
