//! `netcat`: lines over TCP, each with a reply.
//!
//! Limits: `max-line-length` (UTF-16 units, the newline counted, as in Java), `maxConnections`,
//! [`CONNECTION_READ_BYTES_MAX`] a read, [`ANSWER_SECONDS_MAX`] for a client that does not read.
//!
//! A session reads, splits lines, and commits all complete lines of the read as one transaction, or in parts while
//! other connections hold many lines; then it sends `OK` for each line. When the channel refuses the transaction, the
//! lines are committed one by one, so that each gets its own reply; after the first line for which there is no room,
//! the remaining lines of the read get its reply at once. While a commit runs the session does not read: the client
//! is slowed to the channel's pace, and nothing is buffered here.
//!
//! Invariants: replies are in the order of the lines; a line without a reply is not promised; `OK` is never sent
//! before the commit.

mod lines;
mod session;

#[cfg(test)]
mod tests;

#[cfg(any(test, feature = "testing"))]
pub use lines::fuzz;
pub use lines::{LineError, LineFramer};

use super::commit_retry::{LostMessages, UncommittedLines};
use super::ip_filter::{FILTER_KEYS, IpFilter};
use super::listener::{PendingSession, SourceListener};
use super::read_budget::ReadBudget;
use millpond::BoxFuture;
use millpond_flow::base::limits::CONNECTIONS_MAX_DEFAULT;
use millpond_flow::client_error_log::ClientErrorLog;
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use millpond_flow::wire::charset::Charset;
use session::{NetcatOptions, NetcatSession};
use std::sync::Arc;

#[cfg(doc)]
use millpond_flow::base::limits::{ANSWER_SECONDS_MAX, CONNECTION_READ_BYTES_MAX};

/// The type `netcat`.
pub const TYPE: SourceType = SourceType {
    names: &["netcat", "org.apache.flume.source.NetcatSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "bind",
        kind: KeyKind::Host,
        default: "",
        meaning: "Address or host name to listen on.",
    },
    Key {
        name: "port",
        kind: KeyKind::Port,
        default: "",
        meaning: "TCP port to listen on; 0 for any free one.",
    },
    Key {
        name: "ack-every-event",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "Send OK for each line once it is committed; a failure is always reported.",
    },
    Key {
        name: "max-line-length",
        kind: KeyKind::Number,
        default: "512",
        meaning: "UTF-16 units of a line with its newline; a longer line ends the connection.",
    },
    Key {
        name: "encoding",
        kind: KeyKind::Word,
        default: "utf-8",
        meaning: "Encoding of the lines; bodies are UTF-8 always. It must extend ASCII.",
    },
    Key {
        name: "maxConnections",
        kind: KeyKind::Number,
        default: "20000",
        meaning: "Connections open at once; further ones get an error and are closed. Flume has no such limit.",
    },
    FILTER_KEYS[0],
    FILTER_KEYS[1],
];

struct NetcatSource {
    listening: SourceListener,
    rules: Arc<NetcatOptions>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<NetcatSource, SettingError> {
    let host = reader.host("bind", None)?;
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to listen on)"))?;
    let encoding = reader.text("encoding").unwrap_or("utf-8");
    let charset = Charset::named(encoding).ok_or_else(|| {
        reader.error("encoding", format!("\"{encoding}\" is not {}", Charset::LEGAL))
    })?;
    let rules = NetcatOptions {
        acks: reader.boolean("ack-every-event", true),
        line_units_max: reader.number("max-line-length", 1..=64 * 1024 * 1024)?.unwrap_or(512),
        charset,
        client_errors: ClientErrorLog::default(),
    };
    let connections_max =
        reader.number("maxConnections", 1..=1_000_000)?.unwrap_or(CONNECTIONS_MAX_DEFAULT);
    let full = b"FAILED: Too many connections\n";
    let filter = IpFilter::read(reader, None)?;
    Ok(NetcatSource {
        listening: SourceListener::new(host, port, connections_max, full).filtered(filter),
        rules: Arc::new(rules),
    })
}

impl Source for NetcatSource {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.listening.preflight())
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let name: Arc<str> = Arc::from(context.name.as_str());
        let lost = (!self.rules.acks).then(|| LostMessages::of(context));
        let read_budget = ReadBudget::of(&context.clients);
        Box::pin(async move {
            let session = |arrival: PendingSession| {
                let (name, rules, lost) = (name.clone(), self.rules.clone(), lost.clone());
                let (intake, stop) = (context.intake.clone(), context.stop.clone());
                let (counters, read_size) = (context.counters.clone(), read_budget.read_size());
                let clock = context.clock.clone();
                async move {
                    let (peer, no_room) = (arrival.peer, None);
                    let untaken = UncommittedLines::new(lost.clone());
                    let client = Arc::clone(&arrival.client);
                    let Some(stream) = arrival.greet().await else { return };
                    let session = NetcatSession {
                        name,
                        peer,
                        client,
                        stream,
                        read_size,
                        rules,
                        intake,
                        stop,
                        clock,
                        counters,
                        lost,
                        untaken,
                        no_room,
                    };
                    session.run().await;
                }
            };
            self.listening.serve(context, session).await
        })
    }
}
