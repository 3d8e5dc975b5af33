//! `multiport_syslogtcp`: messages over TCP, one a line, on several ports, each with an encoding.
//!
//! Limits: `eventSize` bytes a line, its newline included; `batchSize` events a transaction; `maxConnections` on all
//! ports together; [`CONNECTION_READ_BYTES_MAX`](millpond_flow::base::limits::CONNECTION_READ_BYTES_MAX) a read.
//!
//! A session reads, splits lines, and commits those of one read, or of a part of it while other connections hold many
//! lines, in transactions of `batchSize`. While a commit waits the session does not read. A last line without a
//! newline is a message when the client ends its side (Flume drops it); where the connection breaks or the source
//! stops, it is marked Incomplete. A port that cannot be bound is named and retried while the others are served.

use super::{CLIENT_IP, CLIENT_NAME, HOST, KEEP_FIELDS, KeptFields, MAX_CONNECTIONS, SyslogClient};
use crate::source::commit_retry::{self, LostMessages, RetryOutcome, UncommittedLines};
use crate::source::ip_filter::{FILTER_KEYS, IpFilter};
use crate::source::listener::{PendingSession, SourceListener};
use crate::source::read_budget::{ReadBudget, ReadSize, unfinished_bytes};
use crate::wire::syslog::YearHint;
use crate::wire::syslog_relayed::{RelayedFramer, RelayedLine, RelayedMessage, parse};
use bytes::Bytes;
use millpond::{BoxFuture, Event};
use millpond_flow::base::limits::CONNECTIONS_MAX_DEFAULT;
use millpond_flow::settings::tls::{self, SERVER_KEYS};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, joined};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use millpond_flow::wire::charset::Charset;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The type `multiport_syslogtcp`.
pub const TYPE: SourceType = SourceType {
    names: &["multiport_syslogtcp", "org.apache.flume.source.MultiportSyslogTCPSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const EVENT_BYTES: usize = 2500;
const BATCH_EVENTS: usize = 100;
/// Most ports of one source: a longer list is a mistake.
const PORTS_MAX: usize = 1024;

const KEYS: &[Key] = &joined::<29>(&[
    &[
        HOST,
        Key {
            name: "ports",
            kind: KeyKind::Names,
            default: "",
            meaning: "Ports to listen on, separated by blanks.",
        },
        Key {
            name: "eventSize",
            kind: KeyKind::Number,
            default: "2500",
            meaning: "Bytes of a line, its newline included. What is longer is cut, and marked Incomplete.",
        },
        Key {
            name: "batchSize",
            kind: KeyKind::Number,
            default: "100",
            meaning: "Events of one transaction at most.",
        },
        Key {
            name: "portHeader",
            kind: KeyKind::Text,
            default: "",
            meaning: "Header with the port that the message came to; without it there is none.",
        },
        CLIENT_IP,
        CLIENT_NAME,
        Key {
            name: "charset.default",
            kind: KeyKind::Word,
            default: "UTF-8",
            meaning: "Encoding of the ports that have none of their own; it must extend ASCII.",
        },
        Key {
            name: "charset.port.*",
            kind: KeyKind::Word,
            default: "",
            meaning: "Encoding of the port in the key's name.",
        },
        Key {
            name: "readBufferBytes",
            kind: KeyKind::Number,
            default: "1024",
            meaning: "Has no effect: reads have a fixed size.",
        },
        Key {
            name: "numProcessors",
            kind: KeyKind::Number,
            default: "",
            meaning: "Has no effect: connections need no threads.",
        },
        KEEP_FIELDS,
        MAX_CONNECTIONS,
    ],
    &FILTER_KEYS,
    &SERVER_KEYS,
]);

pub(super) struct MultiportSyslogSource {
    pub(super) listening: SourceListener,
    rules: Arc<MultiportOptions>,
}

/// Settings that map a line to events.
#[derive(Debug)]
struct MultiportOptions {
    keep: KeptFields,
    port_header: Option<String>,
    client: super::ClientHeaders,
    charset: Charset,
    charsets: BTreeMap<u16, Charset>,
    event_bytes_max: usize,
    batch_events: usize,
}

pub(super) fn build(
    reader: &mut SettingsReader<'_>,
) -> Result<MultiportSyslogSource, SettingError> {
    let host = reader.host("host", Some("0.0.0.0"))?;
    let ports = ports(reader)?;
    for (key, why) in [("readBufferBytes", "reads"), ("numProcessors", "connections")] {
        if reader.number::<i64>(key, i64::MIN..=i64::MAX)?.is_some() {
            let message = format!("has no effect: {why} are not tuned by hand here");
            reader.find(Severity::Note, key, message);
        }
    }
    let connections_max =
        reader.number("maxConnections", 1..=1_000_000)?.unwrap_or(CONNECTIONS_MAX_DEFAULT);
    let rules = MultiportOptions {
        keep: KeptFields::read(reader)?,
        port_header: reader.text("portHeader").filter(|n| !n.is_empty()).map(str::to_owned),
        client: super::ClientHeaders::read(reader),
        charset: charset(reader, "charset.default")?.unwrap_or(Charset::Utf8),
        charsets: charsets(reader, &ports)?,
        event_bytes_max: reader.number("eventSize", 6..=16 * 1024 * 1024)?.unwrap_or(EVENT_BYTES),
        batch_events: reader.number("batchSize", 1..=1_000_000)?.unwrap_or(BATCH_EVENTS),
    };
    let tls = tls::server(reader)?;
    let filter = IpFilter::read(reader, tls.as_ref())?;
    let listening = SourceListener::new(host, 0, connections_max, b"");
    let listening = listening.on(ports).with_tls(tls).filtered(filter);
    Ok(MultiportSyslogSource { listening, rules: Arc::new(rules) })
}

fn ports(reader: &SettingsReader<'_>) -> Result<Vec<u16>, SettingError> {
    let list = reader.required_text("ports")?;
    let list = millpond_flow::settings::split_comment(list).map_or(list, |(list, _)| list);
    let mut ports = Vec::new();
    for word in list.split_whitespace() {
        let port: u16 = word.parse().map_err(|_| {
            reader
                .error("ports", format!("\"{word}\" is not a port; ports are separated by blanks"))
        })?;
        if port != 0 && ports.contains(&port) {
            return Err(reader.error("ports", format!("names the port {port} twice")));
        }
        ports.push(port);
    }
    match ports.len() {
        0 => Err(reader.error("ports", "names no port")),
        n if n > PORTS_MAX => {
            Err(reader.error("ports", format!("names more than {PORTS_MAX} ports")))
        }
        _ => Ok(ports),
    }
}

fn charset(reader: &SettingsReader<'_>, key: &str) -> Result<Option<Charset>, SettingError> {
    let Some(name) = reader.text(key) else { return Ok(None) };
    let unknown = || reader.error(key, format!("\"{name}\" is not {}", Charset::LEGAL));
    Charset::named(name).map(Some).ok_or_else(unknown)
}

fn charsets(
    reader: &mut SettingsReader<'_>,
    ports: &[u16],
) -> Result<BTreeMap<u16, Charset>, SettingError> {
    let mut found = BTreeMap::new();
    let keys = reader.settings().entries.keys();
    let keys: Vec<_> = keys.filter(|key| key.starts_with("charset.port.")).cloned().collect();
    for key in keys {
        let port = key["charset.port.".len()..].parse::<u16>().ok();
        let Some(port) = port.filter(|port| ports.contains(port)) else {
            reader.find(
                Severity::Warning,
                &key,
                "is not used: no port of this source has that number",
            );
            continue;
        };
        found.extend(charset(reader, &key)?.map(|charset| (port, charset)));
    }
    Ok(found)
}

impl MultiportOptions {
    fn event(
        &self,
        line: RelayedLine,
        charset: Charset,
        port: u16,
        client: &SyslogClient,
        present: &YearHint,
    ) -> Event {
        let mut event = match charset.to_utf8(&line.bytes) {
            Some(text) => {
                // The decoder returned valid text.
                let text = String::from_utf8_lossy(&text);
                self.message(parse(&text, present), &line, charset)
            }
            None => Event::new(Bytes::new()),
        };
        if event.headers.is_empty() {
            event.headers.set("flume.syslog.status", "Invalid");
            event.body = Bytes::from(line.bytes);
        } else if line.is_cut {
            event.headers.set("flume.syslog.status", "Incomplete");
        }
        if let Some(header) = &self.port_header {
            event.headers.set(header.as_str(), port.to_string());
        }
        self.client.set(&mut event.headers, client);
        event
    }

    /// Returns the event of a message; an event without headers if the line is not a message.
    fn message(
        &self,
        message: Option<RelayedMessage<'_>>,
        line: &RelayedLine,
        charset: Charset,
    ) -> Event {
        let Some(message) = message else { return Event::new(Bytes::new()) };
        let body = match (message.text, self.keep) {
            (Some(text), KeptFields::Some { .. }) => {
                let body = self.keep.before(
                    text,
                    message.priority,
                    message.version,
                    Some(message.stamp),
                    Some(message.host),
                );
                Bytes::from(charset.encode(&body))
            }
            _ => Bytes::copy_from_slice(&line.bytes),
        };
        let mut event = Event::new(body);
        let headers = &mut event.headers;
        headers.set("Priority", message.priority);
        headers.set("Facility", (message.code / 8).to_string());
        headers.set("Severity", (message.code % 8).to_string());
        if let Some(version) = message.version {
            headers.set("Version", version);
        }
        headers.set("timestamp", message.millis.to_string());
        headers.set("host", message.host);
        event
    }
}

impl Source for MultiportSyslogSource {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.listening.preflight())
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let (shared, lost) = (Arc::new(context.clone()), LostMessages::of(context));
        let read_budget = ReadBudget::of(&context.clients);
        Box::pin(async move {
            let session = |arrival| {
                let (context, rules) = (Arc::clone(&shared), Arc::clone(&self.rules));
                session(context, rules, read_budget.read_size(), Arc::clone(&lost), arrival)
            };
            self.listening.serve(context, session).await
        })
    }
}

async fn session(
    context: Arc<SourceContext>,
    rules: Arc<MultiportOptions>,
    mut read_size: ReadSize,
    lost: Arc<LostMessages>,
    arrival: PendingSession,
) {
    let (peer, port, own) = (arrival.peer, arrival.port, Arc::clone(&arrival.client));
    let Some(mut stream) = arrival.greet().await else { return };
    let client = rules.client.client(peer.ip(), &context.stop).await;
    let charset = rules.charsets.get(&port).copied().unwrap_or(rules.charset);
    let mut lines = RelayedFramer::new(rules.event_bytes_max);
    loop {
        // Allocated per read: ten thousand idle sessions hold no buffer.
        let mut read = UncommittedLines::new(Some(Arc::clone(&lost)));
        // Whether more may come; and if not, whether the client ended its side.
        let (is_open, is_whole) = tokio::select! {
            ended = read_size.read(&mut stream, &own, lines.pending_bytes(), &mut read.bytes) => {
                (matches!(ended, Ok(1..)), matches!(ended, Ok(0)))
            }
            () = context.stop.wait() => (false, false),
            () = own.evicted() => (false, false),
        };
        let busy = own.busy();
        loop {
            let mut part = read_size.part(&mut read.bytes);
            let mut cut = Vec::new();
            match &mut part {
                Some(part) => lines.feed(&part.take_bytes(), &mut cut),
                None if is_open => break,
                None => cut.extend(lines.finish(is_whole)),
            }
            if !cut.is_empty() {
                own.is_heard();
            }
            let now = super::present(&*context.clock);
            let events =
                cut.into_iter().map(|line| rules.event(line, charset, port, &client, &now));
            let is_taken = take(&context, rules.batch_events, events.collect(), &mut read).await;
            if !is_taken || part.is_none() {
                return;
            }
        }
        drop((busy, read));
        own.shrink(unfinished_bytes(lines.pending_bytes()));
    }
}

/// Commits events, however long it takes; returns whether the channels have all of them. If the source stops first,
/// `read` counts the rest.
async fn take(
    context: &SourceContext,
    batch_events: usize,
    mut events: Vec<Event>,
    read: &mut UncommittedLines,
) -> bool {
    let invalid = |event: &&Event| event.headers.get("flume.syslog.status") == Some("Invalid");
    context.counters.event_read_fail.add(events.iter().filter(invalid).count() as u64);
    while !events.is_empty() {
        let rest = events.split_off(batch_events.min(events.len()));
        read.lines = rest.len();
        if let RetryOutcome::Stopped(lost) = commit_retry::commit(context, events).await {
            read.lines += lost;
            return false;
        }
        events = rest;
    }
    true
}
