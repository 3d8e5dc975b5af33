//! `syslogtcp`, `syslogudp` and `multiport_syslogtcp`: messages of syslog daemons.
//!
//! What they share: which fields stay in the body, which headers name the client. The form of the
//! messages is [`wire::syslog`](crate::wire::syslog), for the last of them
//! [`wire::syslog_relayed`](crate::wire::syslog_relayed).
//!
//! Nobody can be answered here. Unlike in Flume, where an event that the channel refuses is
//! dropped, what was received waits until the channel takes it; TCP clients feel that as
//! back-pressure.

pub mod multiport;
mod names;
mod own_form;
mod simple_date;
pub mod tcp;
pub mod udp;

#[cfg(test)]
mod tests;

use crate::base::clock::Clock;
use crate::base::limits::CONNECTIONS_MAX_DEFAULT;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::event::{Event, Headers};
use crate::flow::context::StopSignal;
use crate::source::client_names::ClientNames;
use crate::wire::syslog::{Flaw, Message, Present, Raw, parse};
use jiff::tz::TimeZone;
use own_form::OwnForm;
use std::borrow::Cow;
use std::net::IpAddr;

const HOST: Key = Key {
    name: "host",
    kind: Kind::Host,
    default: "0.0.0.0",
    meaning: "Address or host name to listen on; without it every address of the machine.",
};
const PORT: Key = Key {
    name: "port",
    kind: Kind::Port,
    default: "",
    meaning: "Port to listen on; 0 for any free one.",
};
const KEEP_FIELDS: Key = Key {
    name: "keepFields",
    kind: Kind::Text,
    default: "none",
    meaning: "none: the body is the message; all: the whole line; or some of priority, version, timestamp, hostname, which then stand before the message.",
};
const CLIENT_IP: Key = Key {
    name: "clientIPHeader",
    kind: Kind::Text,
    default: "",
    meaning: "Header with the client's address; without it there is none.",
};
const CLIENT_NAME: Key = Key {
    name: "clientHostnameHeader",
    kind: Kind::Text,
    default: "",
    meaning: "Header with the client's name by DNS, or its address where it has none.",
};
const MAX_CONNECTIONS: Key = Key {
    name: "maxConnections",
    kind: Kind::Number,
    default: "20000",
    meaning: "Connections open at once; more are closed. Flume has no such limit.",
};

/// What becomes of a message.
#[derive(Debug)]
struct Rules {
    keep: Keep,
    client: ClientHeaders,
    own_form: Option<OwnForm>,
    zone: TimeZone,
}

/// The headers that say who sent a message.
#[derive(Clone, Debug)]
struct ClientHeaders {
    ip: Option<String>,
    name: Option<String>,
}

/// Which fields stay in the body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Keep {
    All,
    Some { priority: bool, version: bool, timestamp: bool, hostname: bool },
}

/// Who sent a message.
#[derive(Clone, Debug)]
struct Client {
    address: IpAddr,
    /// Its name, where a header wants it.
    name: Option<String>,
}

impl ClientHeaders {
    fn read(reader: &SettingsReader<'_>) -> Self {
        let named = |key: &str| reader.text(key).filter(|n| !n.is_empty()).map(str::to_owned);
        Self { ip: named("clientIPHeader"), name: named("clientHostnameHeader") }
    }

    /// Who sends from `address`, with its name where a header wants it and it is found in time.
    async fn client(&self, address: IpAddr, stop: &StopSignal) -> Client {
        let address = address.to_canonical();
        if self.name.is_none() {
            return Client { address, name: None };
        }
        let names = ClientNames::of_process();
        let name = tokio::select! {
            () = stop.wait() => None,
            name = names.name_of(address) => name,
        };
        Client { address, name: name.map(|name| name.to_string()) }
    }

    fn set(&self, headers: &mut Headers, client: &Client) {
        if let Some(header) = &self.ip {
            headers.set(header.as_str(), client.address.to_string());
        }
        if let Some(header) = &self.name {
            let name = client.name.clone().unwrap_or_else(|| client.address.to_string());
            headers.set(header.as_str(), name);
        }
    }
}

impl Rules {
    fn read(reader: &mut SettingsReader<'_>) -> Result<Self, SettingError> {
        Ok(Self {
            keep: Keep::read(reader)?,
            client: ClientHeaders::read(reader),
            own_form: OwnForm::read(reader)?,
            zone: TimeZone::system(),
        })
    }

    /// The event of a message.
    fn event(&self, raw: &Raw<'_>, client: &Client, present: &Present) -> Event {
        // What is text, as nearly all is, is seen far sooner so.
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
            (Some(message), Keep::NONE) if !message.text.is_empty() => message.text.as_bytes(),
            (Some(message), Keep::Some { .. }) if !message.text.is_empty() => {
                kept = self.keep.body(message);
                kept.as_bytes()
            }
            // As in Flume what has no message, or is of no known form, stays whole.
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

/// The present by `clock`.
fn present(clock: &dyn Clock) -> Present {
    Present::at(i64::try_from(clock.wall_ms()).unwrap_or(i64::MAX))
}

impl Keep {
    /// The message alone.
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

    /// The message with the fields that are kept before it.
    fn body(self, message: &Message<'_>) -> String {
        let Message { priority, version, stamp, host, text, .. } = *message;
        self.before(text, priority, version, stamp, host)
    }

    /// `text` with those of the fields that are kept before it.
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
