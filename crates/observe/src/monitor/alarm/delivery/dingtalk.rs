//! Messages for a robot of a DingTalk group: a text or Markdown, and in the URL a signature.

use super::notice::Notice;
use super::template::percent;
use crate::monitor::alarm::alarm_record::{AlarmSender, time};
use base64ct::{Base64, Encoding};
use millpond_flow::base::escape::Escaped;
use ring::hmac;
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// Longest part of a robot's error text that is repeated, characters.
const WORDS_CHARS_MAX: usize = 200;

/// How to reach a robot.
#[derive(Clone)]
pub(crate) struct DingtalkRobot {
    /// The robots' URL, without the query.
    pub(super) url: String,
    pub(super) token: String,
    /// The key that signs requests; empty for none.
    pub(super) secret: String,
    /// What a message begins with: robots may accept only messages with a certain word.
    pub(super) title: String,
    pub(super) is_markdown: bool,
    /// Telephone numbers of the people who are mentioned.
    pub(super) mobiles: Vec<String>,
    pub(super) all: bool,
}

/// Returns the signature: HMAC-SHA256 with the secret as the key, over the time, a newline and the
/// secret, in base64.
pub(super) fn signature(wall_ms: u64, secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = hmac::sign(&key, format!("{wall_ms}\n{secret}").as_bytes());
    Base64::encode_string(signed.as_ref())
}

impl DingtalkRobot {
    /// Returns the URL of a request at `wall_ms`.
    pub(super) fn url(&self, wall_ms: u64) -> String {
        let join = if self.url.contains('?') { '&' } else { '?' };
        let mut url = format!("{}{join}access_token={}", self.url, percent(&self.token));
        if !self.secret.is_empty() {
            let sign = percent(&signature(wall_ms, &self.secret));
            let _ = write!(url, "&timestamp={wall_ms}&sign={sign}");
        }
        url
    }

    /// Returns the body of the request.
    pub(super) fn body(&self, notice: &Notice, sender: &AlarmSender) -> String {
        let heading = self.heading(notice);
        let lines = lines(notice, sender);
        let mut called: String = self.mobiles.iter().map(|number| format!(" @{number}")).collect();
        if !called.is_empty() {
            called = format!("\n\n{}", called.trim_start());
        }
        let at = json!({ "atMobiles": self.mobiles, "isAtAll": self.all });
        let body = if self.is_markdown {
            let lines: String = lines
                .iter()
                .map(|(key, value)| format!("> {key}: {}\n\n", markdown(value)))
                .collect();
            let text = format!("### {}\n\n{}{called}", markdown(&heading), lines.trim_end());
            json!({ "msgtype": "markdown", "markdown": { "title": heading, "text": text }, "at": at })
        } else {
            let lines: String =
                lines.iter().map(|(key, value)| format!("\n{key}: {value}")).collect();
            json!({ "msgtype": "text", "text": { "content": format!("{heading}{lines}{called}") }, "at": at })
        };
        body.to_string()
    }

    fn heading(&self, notice: &Notice) -> String {
        match notice.alarm() {
            Some(alarm) => {
                let (title, severity) = (alarm.kind.entry().title(), alarm.severity.word());
                format!("{}: {title} ({severity}), {}", self.title, notice.state())
            }
            None => format!("{}: notices dropped", self.title),
        }
    }
}

/// Returns the lines of the message, the most important first.
fn lines(notice: &Notice, sender: &AlarmSender) -> Vec<(String, String)> {
    let mut lines = vec![
        ("host".to_owned(), sender.host.clone()),
        ("agent".to_owned(), sender.agent.clone()),
        ("cluster".to_owned(), sender.cluster.clone()),
    ];
    if let Some(alarm) = notice.alarm() {
        lines.push(("component".to_owned(), alarm.component.clone()));
        if !alarm.subject.is_empty() {
            lines.push(("subject".to_owned(), alarm.subject.clone()));
        }
        lines.push(("message".to_owned(), notice.message()));
        let more = alarm.parameters.iter().filter(|(_, value)| !value.is_empty());
        lines.extend(more.map(|(key, value)| (key.clone(), value.clone())));
        lines.push(("raised".to_owned(), time(alarm.raised_ms)));
        if let Some(cleared) = &alarm.cleared {
            lines.push(("cleared".to_owned(), time(cleared.at_ms)));
        }
        lines.push(("alarm".to_owned(), alarm.kind.entry().id().to_string()));
    } else {
        lines.push(("message".to_owned(), notice.message()));
    }
    lines
}

/// Escapes Markdown's special characters.
fn markdown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '[' | ']' | '<' | '>' | '#' => out.extend(['\\', c]),
            '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// Why a robot has not accepted a message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RobotError {
    #[error("the robot replied {code}: {}", short(words))]
    Refused { code: i64, words: String },
    #[error("the robot is busy, and replied {code}: {}", short(words))]
    Busy { code: i64, words: String },
    #[error("the reply is not of a robot: it has no errcode")]
    Strange,
}

/// Codes of a robot that may accept the same message later: it is busy, or was called too often.
const BUSY: [i64; 3] = [-1, 130_101, 410_100];

impl DingtalkRobot {
    /// Returns whether the robot accepted the message, from its reply: the status is 200 in any
    /// case.
    pub(super) fn taken(&self, answer: &[u8]) -> Result<(), RobotError> {
        let answer: Json = serde_json::from_slice(answer).map_err(|_| RobotError::Strange)?;
        let code = &answer["errcode"];
        let code = code.as_i64().or_else(|| code.as_str()?.parse().ok());
        let code = code.ok_or(RobotError::Strange)?;
        let words = self.without_secrets(answer["errmsg"].as_str().unwrap_or("without a word"));
        match code {
            0 => Ok(()),
            code if BUSY.contains(&code) => Err(RobotError::Busy { code, words }),
            code => Err(RobotError::Refused { code, words }),
        }
    }

    /// Removes secrets from a reply, which may repeat the request.
    fn without_secrets(&self, words: &str) -> String {
        let mut words = words.to_owned();
        for secret in [&self.token, &self.secret].into_iter().filter(|secret| !secret.is_empty()) {
            words = words.replace(&**secret, "***").replace(&percent(secret), "***");
        }
        words
    }
}

/// Returns the beginning of an outside text, fit for a log.
fn short(words: &str) -> String {
    let words: String = words.trim().chars().take(WORDS_CHARS_MAX).collect();
    Escaped(&words).to_string().replace('\n', " ")
}
