//! The body of a request, written by a user with placeholders for the fields of an alarm.
//!
//! `%{NAME}` is a placeholder, `%%{` the three characters `%{`. `${…}` would be the configuration's
//! own.

use super::notice::Notice;
use crate::monitor::alarm::alarm_record::{AlarmSender, time};
use millpond_flow::settings::flume_names;
use serde_json::Value as Json;

/// The placeholders, in addition to `param.NAME`.
pub(super) const FIELDS: [&str; 18] = [
    "id",
    "name",
    "title",
    "severity",
    "state",
    "message",
    "component",
    "subject",
    "serial",
    "agent",
    "cluster",
    "host",
    "raised",
    "raisedMs",
    "cleared",
    "clearedMs",
    "why",
    "dropped",
];

/// A body with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BodyTemplate(Vec<TemplatePart>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum TemplatePart {
    Text(String),
    Place(String),
}

/// How a value is escaped, so that it ends nothing around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TemplateEscape {
    /// For a JSON string.
    Json,
    /// For a form or a URL.
    Percent,
    /// Not escaped.
    None,
}

impl TemplateEscape {
    /// Returns the escaping for a body of this type.
    pub(super) fn of(content_type: &str) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_lowercase();
        match &*kind {
            "application/x-www-form-urlencoded" => Self::Percent,
            json if json.ends_with("/json") || json.ends_with("+json") => Self::Json,
            _ => Self::None,
        }
    }

    fn write(self, text: &str) -> String {
        match self {
            Self::None => text.to_owned(),
            Self::Percent => percent(text),
            Self::Json => {
                let quoted = Json::from(text).to_string();
                quoted[1..quoted.len() - 1].to_owned()
            }
        }
    }
}

/// Escapes a text as a part of a URL or a form.
pub(super) fn percent(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

impl BodyTemplate {
    /// Parses a template.
    ///
    /// # Errors
    /// The text names the placeholder that does not exist.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (mut pieces, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find("%{") {
            let (before, place) = rest.split_at(at);
            if let Some(before) = before.strip_suffix('%') {
                plain.push_str(before);
                plain.push_str("%{");
                rest = &place[2..];
                continue;
            }
            plain.push_str(before);
            let Some((name, behind)) = place[2..].split_once('}') else {
                return Err(
                    "has a %{ without its }; write %%{ for the characters themselves".to_owned()
                );
            };
            if !FIELDS.contains(&name) && name.strip_prefix("param.").is_none_or(str::is_empty) {
                let hint = flume_names::did_you_mean(name, FIELDS);
                return Err(format!(
                    "has no place %{{{name}}}{hint}; there are {} and param.NAME",
                    FIELDS.join(", ")
                ));
            }
            pieces.push(TemplatePart::Text(std::mem::take(&mut plain)));
            pieces.push(TemplatePart::Place(name.to_owned()));
            rest = behind;
        }
        plain.push_str(rest);
        pieces.push(TemplatePart::Text(plain));
        Ok(Self(pieces))
    }

    /// Returns the body with all values filled in.
    pub(super) fn fill(
        &self,
        notice: &Notice,
        sender: &AlarmSender,
        escape: TemplateEscape,
    ) -> String {
        let piece = |piece: &TemplatePart| match piece {
            TemplatePart::Text(text) => text.clone(),
            TemplatePart::Place(name) => escape.write(&field(name, notice, sender)),
        };
        self.0.iter().map(piece).collect()
    }
}

fn field(name: &str, notice: &Notice, sender: &AlarmSender) -> String {
    match name {
        "state" => return notice.state().to_owned(),
        "message" => return notice.message(),
        "agent" => return sender.agent.clone(),
        "cluster" => return sender.cluster.clone(),
        "host" => return sender.host.clone(),
        "dropped" => {
            return if let Notice::Dropped(count) = notice {
                count.to_string()
            } else {
                "0".to_owned()
            };
        }
        _ => {}
    }
    let Some(alarm) = notice.alarm() else {
        return if name == "title" { "Notices dropped".to_owned() } else { String::new() };
    };
    let entry = alarm.kind.entry();
    let cleared = alarm.cleared.as_ref();
    match name {
        "id" => entry.id().to_string(),
        "name" => entry.name.to_owned(),
        "title" => entry.title().to_owned(),
        "severity" => alarm.severity.word().to_owned(),
        "component" => alarm.component.clone(),
        "subject" => alarm.subject.clone(),
        "serial" => alarm.serial.to_string(),
        "raised" => time(alarm.raised_ms),
        "raisedMs" => alarm.raised_ms.to_string(),
        "cleared" => cleared.map(|cleared| time(cleared.at_ms)).unwrap_or_default(),
        "clearedMs" => cleared.map(|cleared| cleared.at_ms.to_string()).unwrap_or_default(),
        "why" => cleared.map(|cleared| cleared.why.clone()).unwrap_or_default(),
        param => {
            let name = param.strip_prefix("param.").unwrap_or(param);
            alarm.parameters.get(name).cloned().unwrap_or_default()
        }
    }
}
