//! What a robot of a DingTalk group is sent: a text or Markdown, and in the URL a signature.

use super::notice::Notice;
use super::template::percent;
use crate::base::visible::Visible;
use crate::monitor::alarm::raised::{Sender, time};
use base64ct::{Base64, Encoding};
use ring::hmac;
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// Characters of a robot's words that are said.
const WORDS_CHARS_MAX: usize = 200;

/// The way to a robot.
#[derive(Clone)]
pub(crate) struct Robot {
    /// Where robots are asked, without the query.
    pub(super) url: String,
    pub(super) token: String,
    /// With which requests are signed; empty for none.
    pub(super) secret: String,
    /// What a message begins with: robots may take only those with a certain word.
    pub(super) title: String,
    pub(super) is_markdown: bool,
    /// Numbers of those who are called by name.
    pub(super) mobiles: Vec<String>,
    pub(super) all: bool,
}

/// Of the time and the secret: HMAC-SHA256 under the secret over the time, a newline and the secret, in base64.
pub(super) fn signature(wall_ms: u64, secret: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
    let signed = hmac::sign(&key, format!("{wall_ms}\n{secret}").as_bytes());
    Base64::encode_string(signed.as_ref())
}

impl Robot {
    /// The URL of a request at `wall_ms`.
    pub(super) fn url(&self, wall_ms: u64) -> String {
        let join = if self.url.contains('?') { '&' } else { '?' };
        let mut url = format!("{}{join}access_token={}", self.url, percent(&self.token));
        if !self.secret.is_empty() {
            let sign = percent(&signature(wall_ms, &self.secret));
            let _ = write!(url, "&timestamp={wall_ms}&sign={sign}");
        }
        url
    }

    /// What is posted there.
    pub(super) fn body(&self, notice: &Notice, sender: &Sender) -> String {
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

/// What there is to say, in the order in which people look.
fn lines(notice: &Notice, sender: &Sender) -> Vec<(String, String)> {
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

/// A text that is none of Markdown's marks.
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

/// Why a robot has not taken a message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RobotError {
    #[error("the robot answered {code}: {}", short(words))]
    Refused { code: i64, words: String },
    #[error("the robot is busy, and answered {code}: {}", short(words))]
    Busy { code: i64, words: String },
    #[error("what answered is not a robot: it said no errcode")]
    Strange,
}

/// Codes of a robot that may take the same message later: it is busy, or was asked too often.
const BUSY: [i64; 3] = [-1, 130_101, 410_100];

impl Robot {
    /// What became of a message, of what was answered: the status is 200 in any case.
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

    /// An answer may repeat what was asked.
    fn without_secrets(&self, words: &str) -> String {
        let mut words = words.to_owned();
        for secret in [&self.token, &self.secret].into_iter().filter(|secret| !secret.is_empty()) {
            words = words.replace(&**secret, "***").replace(&percent(secret), "***");
        }
        words
    }
}

/// The beginning of somebody's words, as a log may have it.
fn short(words: &str) -> String {
    let words: String = words.trim().chars().take(WORDS_CHARS_MAX).collect();
    Visible(&words).to_string().replace('\n', " ")
}
