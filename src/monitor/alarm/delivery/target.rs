//! The settings of those who are told.

use super::dingtalk::Robot;
use super::template::{Escape, Template};
use crate::config::names;
use crate::config::settings::{
    Finding, Key, Kind, SettingError, Settings, SettingsReader, Severity as Weight, joined,
};
use crate::config::tls::{self, CLIENT_KEYS};
use crate::monitor::alarm::kind::{SEVERITIES, Severity};
use crate::net::endpoint::Endpoint;
use crate::net::post::{Letterhead, Patience};
use crate::net::tls::{ClientTls, Reloading};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What the keys of each begin with.
pub(crate) const NAMES: [&str; 3] = ["webhook", "dingtalk", "command"];

/// Of a connection and of an answer, unless a setting says otherwise.
const WAIT: Duration = Duration::from_secs(10);
const WAIT_MS_MAX: u64 = 600_000;
/// Notices a minute at most, of any setting.
const PER_MINUTE_MAX: u32 = 6000;
/// Headers that say how a request is framed, where it goes and what becomes of its connection. Set by hand
/// they contradict what is sent: every notice would fail, or be read as something else.
const FRAMING: [HeaderName; 8] =
    [CONTENT_LENGTH, TRANSFER_ENCODING, HOST, CONNECTION, UPGRADE, EXPECT, TE, TRAILER];
const ROBOTS: &str = "https://oapi.dingtalk.com/robot/send";
const TITLE: &str = "millpond alarm";

const fn key(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

const CONNECT: Key = key("connectTimeout", Kind::Number, "10000", "Milliseconds for a connection.");
const REQUEST: Key = key("requestTimeout", Kind::Number, "10000", "Milliseconds for an answer.");
const LEAST: Key = key(
    "leastSeverity",
    Kind::Word,
    "warning",
    "warning, minor, major or critical: what matters less is not told.",
);
const PER_MINUTE_MEANING: &str =
    "Notices a minute at most, 1 to 6000; more wait, and of those the newest 100.";

/// The keys behind `webhook.`.
pub(crate) const WEBHOOK: [Key; 20] = joined(&[
    &[
        key(
            "url",
            Kind::Text,
            "",
            "Where alarms are posted to, with http or https. Without it nothing is.",
        ),
        key(
            "contentType",
            Kind::Text,
            "application/json",
            "The type of what is posted. What fills a template is escaped for JSON or for a form where this says so.",
        ),
        key(
            "template",
            Kind::Text,
            "",
            "The body, with places such as %{message}; without it all of the alarm as JSON.",
        ),
        key(
            "header.*",
            Kind::Text,
            "",
            "A further header, webhook.header.Authorization for example. It is shown to this server alone.",
        ),
        CONNECT,
        REQUEST,
        key("perMinute", Kind::Number, "60", PER_MINUTE_MEANING),
        LEAST,
    ],
    CLIENT_KEYS.split_at(1).1,
]);

/// The keys behind `dingtalk.`.
pub(crate) const DINGTALK: [Key; 23] = joined(&[
    &[
        key(
            "token",
            Kind::Text,
            "",
            "The access token of the group's robot. Without it nothing is sent.",
        ),
        key(
            "secret",
            Kind::Text,
            "",
            "With which requests are signed, where the robot asks for that (it begins with SEC).",
        ),
        key("url", Kind::Text, ROBOTS, "Where robots are asked."),
        key("format", Kind::Word, "markdown", "markdown or text."),
        key(
            "title",
            Kind::Text,
            TITLE,
            "What every message begins with: a robot may take only those with a certain word.",
        ),
        key(
            "atMobiles",
            Kind::Names,
            "",
            "Telephone numbers of those who are called, separated by blanks or commas.",
        ),
        key("atAll", Kind::Boolean, "false", "Whether all of the group are called."),
        CONNECT,
        REQUEST,
        key("perMinute", Kind::Number, "20", PER_MINUTE_MEANING),
        LEAST,
    ],
    CLIENT_KEYS.split_at(1).1,
]);

/// The keys behind `command.`.
pub(crate) const COMMAND: [Key; 4] = [
    key(
        "line",
        Kind::Text,
        "",
        "A program and its arguments, split at blanks, which is run for each alarm and reads it as JSON on its stdin. Without it nothing is run.",
    ),
    key(
        "timeout",
        Kind::Number,
        "10000",
        "Milliseconds that it may take; then it and what it has started are killed.",
    ),
    key("perMinute", Kind::Number, "60", PER_MINUTE_MEANING),
    LEAST,
];

const TABLES: [(&str, &[Key]); 3] =
    [("webhook", &WEBHOOK), ("dingtalk", &DINGTALK), ("command", &COMMAND)];

/// Somebody who is told. Two are the same when their settings are.
#[derive(Clone)]
pub(crate) struct Target {
    /// One of [`NAMES`].
    pub(crate) name: &'static str,
    pub(super) per_minute: u32,
    pub(super) least: Severity,
    pub(super) way: Way,
    /// Every key and its value.
    print: Vec<(String, String)>,
}

impl PartialEq for Target {
    fn eq(&self, other: &Self) -> bool {
        (self.name, &self.print) == (other.name, &other.print)
    }
}

/// Passwords are not for a log.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How somebody is told.
#[derive(Clone)]
pub(crate) enum Way {
    Webhook { to: Endpoint, letterhead: Letterhead, body: Option<(Template, Escape)>, web: Web },
    DingTalk { robot: Robot, web: Web },
    Command { words: Vec<String>, timeout: Duration },
}

/// Reads the settings of one way.
type ReadWay = fn(&mut SettingsReader<'_>) -> Result<Way, SettingError>;

/// How a web server is asked.
#[derive(Clone)]
pub(crate) struct Web {
    pub(super) patience: Patience,
    pub(super) tls: Arc<Reloading<ClientTls>>,
}

/// Whether a delivery has the key, which begins with its name.
pub(crate) fn knows(whole: &str) -> bool {
    let Some((name, rest)) = whole.split_once('.') else { return false };
    let Some((_, keys)) = TABLES.iter().find(|(known, _)| *known == name) else { return false };
    keys.iter().any(|key| match key.name.strip_suffix('*') {
        Some(prefix) => rest.strip_prefix(prefix).is_some_and(|header| !header.is_empty()),
        None => key.name == rest,
    })
}

/// Which key of the delivery may be meant; `None` when it is no key of one.
pub(crate) fn hint(whole: &str) -> Option<String> {
    let (name, rest) = whole.split_once('.')?;
    let (_, keys) = TABLES.iter().find(|(known, _)| *known == name)?;
    let known = keys.iter().map(|key| key.name).filter(|key| !key.ends_with('*'));
    Some(names::did_you_mean(rest, known))
}

/// Who is told by these settings, and what was found in them.
pub(crate) fn read(settings: &Settings) -> (Vec<Target>, Vec<Finding>) {
    let (mut targets, mut findings) = (Vec::new(), Vec::new());
    let ways: [(&str, ReadWay, u32); 3] =
        [("url", webhook, 60), ("token", dingtalk, 20), ("line", command, 60)];
    for (name, (needed, way, per_minute)) in NAMES.into_iter().zip(ways) {
        let own = settings.subset(&format!("{name}."));
        let mut reader = SettingsReader::new(&own);
        if reader.text(needed).is_none_or(str::is_empty) {
            for key in own.entries.keys().filter(|key| knows(&format!("{name}.{key}"))) {
                let message = format!("has no effect without {name}.{needed}");
                reader.find(Weight::Warning, key, message);
            }
            findings.extend(reader.into_findings());
            continue;
        }
        let print = own.entries.iter().map(|(key, set)| (key.clone(), set.value.clone()));
        match target(name, per_minute, way, print.collect(), &mut reader) {
            Ok(target) => targets.push(target),
            Err(SettingError { place, key, message }) => {
                let message = format!("{message}; the {name} is left out");
                findings.push(Finding { severity: Weight::Error, place, key, message });
            }
        }
        findings.extend(reader.into_findings());
    }
    (targets, findings)
}

fn target(
    name: &'static str,
    per_minute: u32,
    way: ReadWay,
    print: Vec<(String, String)>,
    reader: &mut SettingsReader<'_>,
) -> Result<Target, SettingError> {
    let least = reader.word("leastSeverity", SEVERITIES)?.and_then(Severity::named);
    Ok(Target {
        name,
        per_minute: reader.number("perMinute", 1..=PER_MINUTE_MAX)?.unwrap_or(per_minute),
        least: least.unwrap_or(Severity::Warning),
        way: way(reader)?,
        print,
    })
}

fn webhook(reader: &mut SettingsReader<'_>) -> Result<Way, SettingError> {
    let to = endpoint(reader, reader.required_text("url")?)?;
    let kind =
        reader.text("contentType").filter(|kind| !kind.is_empty()).unwrap_or("application/json");
    let content_type = HeaderValue::from_str(kind)
        .map_err(|_| reader.error("contentType", "is not a value of a header"))?;
    let template =
        reader.text_as_written("template").map(|text| Template::parse(&text)).transpose();
    let template = template.map_err(|why| reader.error("template", why))?;
    let accept = HeaderValue::from_static("*/*");
    let letterhead = Letterhead { content_type, accept, more: headers(reader)? };
    let body = template.map(|template| (template, Escape::of(kind)));
    Ok(Way::Webhook { to, letterhead, body, web: web(reader)? })
}

/// The headers that are set. What is wrong with one is said without it: it may be a password.
fn headers(reader: &SettingsReader<'_>) -> Result<HeaderMap, SettingError> {
    let mut headers = HeaderMap::new();
    for (key, setting) in &reader.settings().entries {
        let Some(name) = key.strip_prefix("header.") else { continue };
        let named = HeaderName::from_bytes(name.as_bytes());
        let name = named.map_err(|_| reader.error(key, "is not a name of a header"))?;
        if FRAMING.contains(&name) {
            let words = "cannot be set: the request says this of itself, from its body and from webhook.url; take the line out";
            return Err(reader.error(key, words));
        }
        let mut value = HeaderValue::from_str(&setting.value)
            .map_err(|_| reader.error(key, "is not a value of a header"))?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// Where to post to. What is wrong with it is said without it: there may be a password in it.
fn endpoint(reader: &SettingsReader<'_>, url: &str) -> Result<Endpoint, SettingError> {
    match Endpoint::named(url) {
        Some(endpoint) if endpoint.has_user() => {
            let words = "has a name or a password before an @; take it out, and set the header Authorization with webhook.header.Authorization";
            Err(reader.error("url", words))
        }
        Some(endpoint) => Ok(endpoint),
        None => Err(reader.error("url", "is not a URL with http or https and a host")),
    }
}

fn web(reader: &mut SettingsReader<'_>) -> Result<Web, SettingError> {
    let limits = 1..=WAIT_MS_MAX;
    let patience = Patience {
        connect: reader.millis("connectTimeout", limits.clone())?.unwrap_or(WAIT),
        request: reader.millis("requestTimeout", limits)?.unwrap_or(WAIT),
    };
    Ok(Web { patience, tls: Arc::new(Reloading::new(tls::client_always(reader)?)) })
}

fn dingtalk(reader: &mut SettingsReader<'_>) -> Result<Way, SettingError> {
    let text = |key: &str| reader.text_as_written(key).filter(|text| !text.is_empty());
    let url = text("url").unwrap_or_else(|| ROBOTS.to_owned());
    endpoint(reader, &url)?;
    let numbers = text("atMobiles").unwrap_or_default();
    let numbers = numbers.split([' ', ',', '\t']).filter(|number| !number.is_empty());
    let robot = Robot {
        url,
        token: text("token").unwrap_or_default(),
        secret: text("secret").unwrap_or_default(),
        title: text("title").unwrap_or_else(|| TITLE.to_owned()),
        mobiles: numbers.map(str::to_owned).collect(),
        is_markdown: reader.word("format", &["markdown", "text"])? != Some("text"),
        all: reader.truth("atAll", false)?,
    };
    Ok(Way::DingTalk { robot, web: web(reader)? })
}

fn command(reader: &mut SettingsReader<'_>) -> Result<Way, SettingError> {
    let line = reader.required_text("line")?;
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        return Err(reader.error("line", "is blank"));
    }
    let timeout = reader.millis("timeout", 1..=WAIT_MS_MAX)?.unwrap_or(WAIT);
    Ok(Way::Command { words, timeout })
}
