//! The settings of delivery targets.

use super::dingtalk::DingtalkRobot;
use super::template::{BodyTemplate, TemplateEscape};
use crate::monitor::alarm::severity::{AlarmSeverity, SEVERITIES};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use millpond_flow::net::endpoint::Endpoint;
use millpond_flow::net::http_post::{RequestHeaders, RequestTimeouts};
use millpond_flow::net::tls::{ClientTls, StoreReloader};
use millpond_flow::settings::tls::{self, CLIENT_KEYS};
use millpond_flow::settings::{
    ConfigFinding, Key, KeyKind, SettingError, Settings, SettingsReader, Severity as Weight,
    flume_names, joined, key,
};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The prefixes of the keys of each target.
pub(crate) const NAMES: [&str; 3] = ["webhook", "dingtalk", "command"];

/// Timeout of a connection and of a reply, unless a setting says otherwise.
const WAIT: Duration = Duration::from_secs(10);
const WAIT_MS_MAX: u64 = 600_000;
/// Notices per minute at most, of any setting.
const PER_MINUTE_MAX: u32 = 6000;
/// Headers for the framing, the target and the connection of a request. Set by hand they contradict
/// what is sent: every notice would fail, or be misread.
const FRAMING: [HeaderName; 8] =
    [CONTENT_LENGTH, TRANSFER_ENCODING, HOST, CONNECTION, UPGRADE, EXPECT, TE, TRAILER];
const ROBOTS: &str = "https://oapi.dingtalk.com/robot/send";
const TITLE: &str = "millpond alarm";

const CONNECT: Key =
    key("connectTimeout", KeyKind::Number, "10000", "Milliseconds for a connection.");
const REQUEST: Key = key("requestTimeout", KeyKind::Number, "10000", "Milliseconds for a reply.");
const LEAST: Key = key(
    "leastSeverity",
    KeyKind::Word,
    "warning",
    "warning, minor, major or critical: alarms of a lower severity are not sent.",
);
const PER_MINUTE_MEANING: &str =
    "Notifications per minute at most, 1 to 6000; further ones wait, at most the newest 100.";

/// The keys after `webhook.`.
pub(crate) const WEBHOOK: [Key; 20] = joined(&[
    &[
        key(
            "url",
            KeyKind::Text,
            "",
            "The URL that alarms are posted to, http or https. Without it nothing is posted.",
        ),
        key(
            "contentType",
            KeyKind::Text,
            "application/json",
            "The content type. Values in a template are escaped for JSON or for a form if this type says so.",
        ),
        key(
            "template",
            KeyKind::Text,
            "",
            "The body, with placeholders such as %{message}; without it the whole alarm as JSON.",
        ),
        key(
            "header.*",
            KeyKind::Text,
            "",
            "A further header, webhook.header.Authorization for example. It is sent to this server only.",
        ),
        CONNECT,
        REQUEST,
        key("perMinute", KeyKind::Number, "60", PER_MINUTE_MEANING),
        LEAST,
    ],
    CLIENT_KEYS.split_at(1).1,
]);

/// The keys after `dingtalk.`.
pub(crate) const DINGTALK: [Key; 23] = joined(&[
    &[
        key(
            "token",
            KeyKind::Text,
            "",
            "The access token of the group's robot. Without it nothing is sent.",
        ),
        key(
            "secret",
            KeyKind::Text,
            "",
            "The secret that signs requests, if the robot requires signatures (it begins with SEC).",
        ),
        key("url", KeyKind::Text, ROBOTS, "The URL of the robots."),
        key("format", KeyKind::Word, "markdown", "markdown or text."),
        key(
            "title",
            KeyKind::Text,
            TITLE,
            "The beginning of every message: a robot may accept only messages with a certain word.",
        ),
        key(
            "atMobiles",
            KeyKind::Names,
            "",
            "Telephone numbers of the people to mention, separated by blanks or commas.",
        ),
        key("atAll", KeyKind::Boolean, "false", "Whether all members of the group are mentioned."),
        CONNECT,
        REQUEST,
        key("perMinute", KeyKind::Number, "20", PER_MINUTE_MEANING),
        LEAST,
    ],
    CLIENT_KEYS.split_at(1).1,
]);

/// The keys after `command.`.
pub(crate) const COMMAND: [Key; 4] = [
    key(
        "line",
        KeyKind::Text,
        "",
        "A program and its arguments, split at blanks, which is run for each alarm and reads it as JSON on its stdin. Without it nothing is run.",
    ),
    key(
        "timeout",
        KeyKind::Number,
        "10000",
        "Milliseconds that it may take; then it and the processes it has started are killed.",
    ),
    key("perMinute", KeyKind::Number, "60", PER_MINUTE_MEANING),
    LEAST,
];

const TABLES: [(&str, &[Key]); 3] =
    [("webhook", &WEBHOOK), ("dingtalk", &DINGTALK), ("command", &COMMAND)];

/// A delivery target. Two are equal if their settings are.
#[derive(Clone)]
pub(crate) struct DeliveryTarget {
    /// One of [`NAMES`].
    pub(crate) name: &'static str,
    pub(super) per_minute: u32,
    pub(super) least: AlarmSeverity,
    pub(super) way: DeliveryMethod,
    /// Every key and its value.
    print: Vec<(String, String)>,
}

impl PartialEq for DeliveryTarget {
    fn eq(&self, other: &Self) -> bool {
        (self.name, &self.print) == (other.name, &other.print)
    }
}

/// Passwords must not be logged.
impl fmt::Debug for DeliveryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("name", &self.name).finish_non_exhaustive()
    }
}

/// How a target is notified.
#[derive(Clone)]
pub(crate) enum DeliveryMethod {
    Webhook {
        to: Endpoint,
        request_headers: RequestHeaders,
        body: Option<(BodyTemplate, TemplateEscape)>,
        web: WebhookSettings,
    },
    DingTalk {
        robot: DingtalkRobot,
        web: WebhookSettings,
    },
    Command {
        words: Vec<String>,
        timeout: Duration,
    },
}

/// Reads the settings of one delivery method.
type ReadMethod = fn(&mut SettingsReader<'_>) -> Result<DeliveryMethod, SettingError>;

/// Settings of requests to a web server.
#[derive(Clone)]
pub(crate) struct WebhookSettings {
    pub(super) time_limit: RequestTimeouts,
    pub(super) tls: Arc<StoreReloader<ClientTls>>,
}

/// Returns whether a delivery has the key, which begins with the delivery's name.
pub(crate) fn knows(whole: &str) -> bool {
    let Some((name, rest)) = whole.split_once('.') else { return false };
    let Some((_, keys)) = TABLES.iter().find(|(known, _)| *known == name) else { return false };
    keys.iter().any(|key| match key.name.strip_suffix('*') {
        Some(prefix) => rest.strip_prefix(prefix).is_some_and(|header| !header.is_empty()),
        None => key.name == rest,
    })
}

/// Returns the key of the delivery that may be meant; `None` if it does not begin with a delivery's
/// name.
pub(crate) fn hint(whole: &str) -> Option<String> {
    let (name, rest) = whole.split_once('.')?;
    let (_, keys) = TABLES.iter().find(|(known, _)| *known == name)?;
    let known = keys.iter().map(|key| key.name).filter(|key| !key.ends_with('*'));
    Some(flume_names::did_you_mean(rest, known))
}

/// Returns the targets of these settings, and the findings in them.
pub(crate) fn read(settings: &Settings) -> (Vec<DeliveryTarget>, Vec<ConfigFinding>) {
    let (mut targets, mut findings) = (Vec::new(), Vec::new());
    let ways: [(&str, ReadMethod, u32); 3] =
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
                findings.push(ConfigFinding { severity: Weight::Error, place, key, message });
            }
        }
        findings.extend(reader.into_findings());
    }
    (targets, findings)
}

fn target(
    name: &'static str,
    per_minute: u32,
    way: ReadMethod,
    print: Vec<(String, String)>,
    reader: &mut SettingsReader<'_>,
) -> Result<DeliveryTarget, SettingError> {
    let least = reader.word("leastSeverity", SEVERITIES)?.and_then(AlarmSeverity::named);
    Ok(DeliveryTarget {
        name,
        per_minute: reader.number("perMinute", 1..=PER_MINUTE_MAX)?.unwrap_or(per_minute),
        least: least.unwrap_or(AlarmSeverity::Warning),
        way: way(reader)?,
        print,
    })
}

fn webhook(reader: &mut SettingsReader<'_>) -> Result<DeliveryMethod, SettingError> {
    let to = endpoint(reader, reader.required_text("url")?)?;
    let kind =
        reader.text("contentType").filter(|kind| !kind.is_empty()).unwrap_or("application/json");
    let content_type = HeaderValue::from_str(kind)
        .map_err(|_| reader.error("contentType", "is not a value of a header"))?;
    let template =
        reader.text_as_written("template").map(|text| BodyTemplate::parse(&text)).transpose();
    let template = template.map_err(|why| reader.error("template", why))?;
    let accept = HeaderValue::from_static("*/*");
    let request_headers = RequestHeaders { content_type, accept, more: headers(reader)? };
    let body = template.map(|template| (template, TemplateEscape::of(kind)));
    Ok(DeliveryMethod::Webhook { to, request_headers, body, web: web(reader)? })
}

/// Returns the headers that are set. An error does not repeat the value: it may be a password.
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

/// Returns the URL to post to. An error does not repeat the value: it may contain a password.
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

fn web(reader: &mut SettingsReader<'_>) -> Result<WebhookSettings, SettingError> {
    let limits = 1..=WAIT_MS_MAX;
    let time_limit = RequestTimeouts {
        connect: reader.millis("connectTimeout", limits.clone())?.unwrap_or(WAIT),
        request: reader.millis("requestTimeout", limits)?.unwrap_or(WAIT),
    };
    Ok(WebhookSettings {
        time_limit,
        tls: Arc::new(StoreReloader::new(tls::client_always(reader)?)),
    })
}

fn dingtalk(reader: &mut SettingsReader<'_>) -> Result<DeliveryMethod, SettingError> {
    let text = |key: &str| reader.text_as_written(key).filter(|text| !text.is_empty());
    let url = text("url").unwrap_or_else(|| ROBOTS.to_owned());
    endpoint(reader, &url)?;
    let numbers = text("atMobiles").unwrap_or_default();
    let numbers = numbers.split([' ', ',', '\t']).filter(|number| !number.is_empty());
    let robot = DingtalkRobot {
        url,
        token: text("token").unwrap_or_default(),
        secret: text("secret").unwrap_or_default(),
        title: text("title").unwrap_or_else(|| TITLE.to_owned()),
        mobiles: numbers.map(str::to_owned).collect(),
        is_markdown: reader.word("format", &["markdown", "text"])? != Some("text"),
        all: reader.truth("atAll", false)?,
    };
    Ok(DeliveryMethod::DingTalk { robot, web: web(reader)? })
}

fn command(reader: &mut SettingsReader<'_>) -> Result<DeliveryMethod, SettingError> {
    let line = reader.required_text("line")?;
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() {
        return Err(reader.error("line", "is blank"));
    }
    let timeout = reader.millis("timeout", 1..=WAIT_MS_MAX)?.unwrap_or(WAIT);
    Ok(DeliveryMethod::Command { words, timeout })
}
