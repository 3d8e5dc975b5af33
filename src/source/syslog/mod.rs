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
pub mod tcp;
pub mod udp;

#[cfg(test)]
mod tests;

use crate::base::limits::CONNECTIONS_MAX_DEFAULT;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::event::{Event, Headers};
use crate::wire::syslog::{Message, Raw, parse};
use bytes::Bytes;
use jiff::tz::TimeZone;
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
const FORMAT: Key = Key {
    name: "format.*",
    kind: Kind::Text,
    default: "",
    meaning: "Patterns of one's own are not there yet and refused.",
};

/// What becomes of a message.
#[derive(Clone, Debug)]
struct Rules {
    keep: Keep,
    client: ClientHeaders,
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

    async fn client(&self, address: IpAddr) -> Client {
        let address = address.to_canonical();
        let name = match self.name {
            Some(_) => tokio::task::spawn_blocking(move || dns_lookup::lookup_addr(&address))
                .await
                .ok()
                .and_then(Result::ok),
            None => None,
        };
        Client { address, name }
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
    fn read(reader: &SettingsReader<'_>) -> Result<Self, SettingError> {
        let own = reader.settings().entries.keys().find(|key| key.starts_with("format."));
        if let Some(key) = own {
            return Err(reader.error(key, "patterns of one's own are not there yet"));
        }
        Ok(Self {
            keep: Keep::read(reader)?,
            client: ClientHeaders::read(reader),
            zone: TimeZone::system(),
        })
    }

    /// The event of a message.
    fn event(&self, raw: Raw, client: &Client, now_ms: u64) -> Event {
        let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
        let text = String::from_utf8_lossy(&raw.bytes);
        let message = match raw.flaw {
            Some(crate::wire::syslog::Flaw::Invalid) => None,
            _ => parse(&text, now_ms, &self.zone),
        };
        let body = match (&message, self.keep) {
            (Some(message), Keep::Some { .. }) if !message.text.is_empty() => {
                Some(Bytes::from(self.keep.body(message)))
            }
            // As in Flume what has no message, or is of no known form, stays whole.
            _ => None,
        };
        let mut event = Event::new(Bytes::new());
        let headers = &mut event.headers;
        headers.set("Facility", (raw.priority / 8).to_string());
        headers.set("Severity", (raw.priority % 8).to_string());
        if let Some(message) = &message {
            headers.set("priority", message.priority);
            let millis = message.millis.map(|millis| millis.to_string());
            for (name, value) in [
                ("version", message.version),
                ("timestamp", millis.as_deref()),
                ("host", message.host),
            ] {
                if let Some(value) = value {
                    headers.set(name, value);
                }
            }
        }
        if let Some(flaw) = raw.flaw {
            headers.set("flume.syslog.status", flaw.status());
        }
        self.client.set(headers, client);
        event.body = body.unwrap_or_else(|| Bytes::from(raw.bytes));
        event
    }
}

impl Keep {
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
