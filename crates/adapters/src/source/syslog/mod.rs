//! `syslogtcp`, `syslogudp` and `multiport_syslogtcp`: messages of syslog daemons.
//!
//! Shared by the three: the fields that stay in the body, and the headers that name the client. The message format is
//! [`wire::syslog`](crate::wire::syslog), for `multiport_syslogtcp`
//! [`wire::syslog_relayed`](crate::wire::syslog_relayed).
//!
//! Syslog has no replies. Unlike Flume, which drops an event that the channel refuses, received messages wait until
//! the channel accepts them; for TCP clients this is back-pressure.

mod custom_format;
pub mod multiport;
mod names;
pub mod tcp;
pub mod udp;

#[cfg(test)]
mod tests;

use crate::source::client_names::ClientNames;
use crate::wire::syslog::{Flaw, RawMessage, SyslogMessage, YearHint, parse};
use custom_format::CustomFormat;
use jiff::tz::TimeZone;
use millpond::{Clock, Event, Headers};
use millpond_flow::base::limits::CONNECTIONS_MAX_DEFAULT;
use millpond_flow::context::StopSignal;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
use std::borrow::Cow;
use std::net::IpAddr;

const HOST: Key = Key {
    name: "host",
    kind: KeyKind::Host,
    default: "0.0.0.0",
    meaning: "Address or host name to listen on; without it every address of the machine.",
};
const PORT: Key = Key {
    name: "port",
    kind: KeyKind::Port,
    default: "",
    meaning: "Port to listen on; 0 for any free one.",
};
const KEEP_FIELDS: Key = Key {
    name: "keepFields",
    kind: KeyKind::Text,
    default: "none",
    meaning: "none: the body is the message; all: the whole line; or some of priority, version, timestamp, hostname, which then stand before the message.",
};
const CLIENT_IP: Key = Key {
    name: "clientIPHeader",
    kind: KeyKind::Text,
    default: "",
    meaning: "Header with the client's address; without it there is none.",
};
const CLIENT_NAME: Key = Key {
    name: "clientHostnameHeader",
    kind: KeyKind::Text,
    default: "",
    meaning: "Header with the client's name by DNS, or its address where it has none.",
};
const MAX_CONNECTIONS: Key = Key {
    name: "maxConnections",
    kind: KeyKind::Number,
    default: "20000",
    meaning: "Connections open at once; more are closed. Flume has no such limit.",
};

/// Settings that map a message to an event.
#[derive(Debug)]
struct SyslogOptions {
    keep: KeptFields,
    client: ClientHeaders,
    own_form: Option<CustomFormat>,
    zone: TimeZone,
}

/// The headers that identify the client.
#[derive(Clone, Debug)]
struct ClientHeaders {
    ip: Option<String>,
    name: Option<String>,
}

/// The fields that stay in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KeptFields {
    All,
    Some { priority: bool, version: bool, timestamp: bool, hostname: bool },
}

/// The client that sent a message.
#[derive(Clone, Debug)]
struct SyslogClient {
    address: IpAddr,
    /// Its name, if a header is configured for it.
    name: Option<String>,
}

impl ClientHeaders {
    fn read(reader: &SettingsReader<'_>) -> Self {
        let named = |key: &str| reader.text(key).filter(|n| !n.is_empty()).map(str::to_owned);
        Self { ip: named("clientIPHeader"), name: named("clientHostnameHeader") }
    }

    /// Returns the client at `address`, with its name if a header is configured and the name is found in time.
    async fn client(&self, address: IpAddr, stop: &StopSignal) -> SyslogClient {
        let address = address.to_canonical();
        if self.name.is_none() {
            return SyslogClient { address, name: None };
        }
        let names = ClientNames::of_process();
        let name = tokio::select! {
            () = stop.wait() => None,
            name = names.name_of(address) => name,
        };
        SyslogClient { address, name: name.map(|name| name.to_string()) }
    }

    fn set(&self, headers: &mut Headers, client: &SyslogClient) {
        if let Some(header) = &self.ip {
            headers.set(header.as_str(), client.address.to_string());
        }
        if let Some(header) = &self.name {
            let name = client.name.clone().unwrap_or_else(|| client.address.to_string());
            headers.set(header.as_str(), name);
        }
    }
}

impl SyslogOptions {
    fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        Ok(Self {
            keep: KeptFields::read(reader)?,
            client: ClientHeaders::read(reader),
            own_form: CustomFormat::read(reader)?,
            zone: TimeZone::system(),
        })
    }

    /// Returns the event of a message.
    fn event(&self, raw: &RawMessage<'_>, client: &SyslogClient, present: &YearHint) -> Event {
        // Valid UTF-8, by far the most frequent case, is recognised fastest this way.
        let text = std::str::from_utf8(raw.bytes)
            .map_or_else(|_| String::from_utf8_lossy(raw.bytes), Cow::Borrowed);
        let message = match raw.flaw {
            Some(Flaw::Invalid) => None,
            _ => {
                let own = self.own_form.as_ref();
                own.and_then(|form| form.parse(&text, present, &self.zone))
                    .or_else(|| parse(&text, present, &self.zone))
            }
        };
        let kept;
        let body = match (&message, self.keep) {
            (Some(message), KeptFields::NONE) if !message.text.is_empty() => {
                message.text.as_bytes()
            }
            (Some(message), KeptFields::Some { .. }) if !message.text.is_empty() => {
                kept = self.keep.body(message);
                kept.as_bytes()
            }
            // As in Flume, a message without text or of unknown form stays whole.
            _ => raw.bytes,
        };
        let (facility, severity) = ((raw.priority / 8).to_string(), (raw.priority % 8).to_string());
        let millis = message.as_ref().and_then(|m| m.millis).map(|millis| millis.to_string());
        let all = [
            ("Facility", Some(&*facility)),
            ("Severity", Some(&*severity)),
            ("priority", message.as_ref().map(|m| m.priority).filter(|p| !p.is_empty())),
            ("version", message.as_ref().and_then(|m| m.version)),
            ("timestamp", millis.as_deref()),
            ("host", message.as_ref().and_then(|m| m.host)),
            ("flume.syslog.status", raw.flaw.map(Flaw::status)),
        ];
        let there = all.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let mut event = Event::packed(&there.collect::<Vec<_>>(), body);
        self.client.set(&mut event.headers, client);
        event
    }
}

/// Returns the current time by `clock`.
fn present(clock: &dyn Clock) -> YearHint {
    YearHint::at(i64::try_from(clock.wall_ms()).unwrap_or(i64::MAX))
}

impl KeptFields {
    /// The message text only.
    const NONE: Self =
        Self::Some { priority: false, version: false, timestamp: false, hostname: false };

    fn read(reader: &SettingsReader<'_>) -> Result<Self, SettingError> {
        let text = reader.text("keepFields").unwrap_or("none");
        let words: Vec<&str> = text.split_whitespace().collect();
        if let ["all" | "true"] = words[..] {
            return Ok(Self::All);
        }
        let known = ["none", "false", "priority", "version", "timestamp", "hostname"];
        if let Some(word) = words.iter().find(|word| !known.contains(word)) {
            let message =
                format!("\"{word}\" is none of all, none, priority, version, timestamp, hostname");
            return Err(reader.error("keepFields", message));
        }
        let has = |word: &str| words.contains(&word);
        Ok(Self::Some {
            priority: has("priority"),
            version: has("version"),
            timestamp: has("timestamp"),
            hostname: has("hostname"),
        })
    }

    /// Returns the message with the kept fields before it.
    fn body(self, message: &SyslogMessage<'_>) -> String {
        let SyslogMessage { priority, version, stamp, host, text, .. } = *message;
        self.before(text, priority, version, stamp, host)
    }

    /// Returns `text` with the kept fields before it.
    fn before(
        self,
        text: &str,
        priority: &str,
        version: Option<&str>,
        stamp: Option<&str>,
        host: Option<&str>,
    ) -> String {
        let Self::Some { priority: kept, version: versions, timestamp, hostname } = self else {
            return text.to_owned();
        };
        let mut body = if kept { format!("<{priority}>") } else { String::new() };
        let fields = [(versions, version), (timestamp, stamp), (hostname, host)];
        for field in fields.into_iter().filter_map(|(kept, field)| field.filter(|_| kept)) {
            body.push_str(field);
            body.push(' ');
        }
        body + text
    }
}
