//! `netcat`: lines over TCP, each answered.
//!
//! Limits: `max-line-length` (UTF-16 units, the newline counted, as in Java), `maxConnections`,
//! [`CONNECTION_READ_BYTES_MAX`] a read, [`ANSWER_SECONDS_MAX`] for a client that does not read.
//!
//! The story: a session reads, cuts lines, commits all complete lines of the read as one
//! transaction, or in parts where other connections hold many lines, then answers `OK` once for each. When the channel refuses them together they are
//! committed one by one, so that each gets the answer it would get alone; behind the first for which there is no room
//! those of the same read get the same answer at once. While a commit runs the
//! session does not read: the client feels the channel's pace, and nothing gathers here.
//!
//! Invariants: answers are in the order of the lines; a line without an answer is not promised;
//! an `OK` is never sent before its commit.

mod lines;
mod session;

#[cfg(test)]
mod tests;

pub use lines::{Lines, Unreadable, fuzz};

use super::filter::{FILTER_KEYS, Filter};
use super::listener::{Arrival, Listening};
use super::patience::{Lost, Unread};
use super::stride::Strides;
use crate::base::limits::CONNECTIONS_MAX_DEFAULT;
use crate::channel::BoxFuture;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::flow::client_error_log::ClientErrorLog;
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::wire::charset::Charset;
use session::{Rules, Session};
use std::sync::Arc;

#[cfg(doc)]
use crate::base::limits::{ANSWER_SECONDS_MAX, CONNECTION_READ_BYTES_MAX};

/// The type `netcat`.
pub const TYPE: SourceType = SourceType {
    names: &["netcat", "org.apache.flume.source.NetcatSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &[
    Key {
        name: "bind",
        kind: Kind::Host,
        default: "",
        meaning: "Address or host name to listen on.",
    },
    Key {
        name: "port",
        kind: Kind::Port,
        default: "",
        meaning: "TCP port to listen on; 0 for any free one.",
    },
    Key {
        name: "ack-every-event",
        kind: Kind::Boolean,
        default: "true",
        meaning: "Answer OK for each line once it is committed; a failure is answered always.",
    },
    Key {
        name: "max-line-length",
        kind: Kind::Number,
        default: "512",
        meaning: "UTF-16 units of a line with its newline; a longer line ends the connection.",
    },
    Key {
        name: "encoding",
        kind: Kind::Word,
        default: "utf-8",
        meaning: "Encoding of the lines; bodies are UTF-8 always. It must extend ASCII.",
    },
    Key {
        name: "maxConnections",
        kind: Kind::Number,
        default: "20000",
        meaning: "Connections open at once; more are told so and closed. Flume has no such limit.",
    },
    FILTER_KEYS[0],
    FILTER_KEYS[1],
];

struct Netcat {
    listening: Listening,
    rules: Arc<Rules>,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Netcat, SettingError> {
    let host = reader.host("bind", None)?;
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to listen on)"))?;
    let encoding = reader.text("encoding").unwrap_or("utf-8");
    let charset = Charset::named(encoding).ok_or_else(|| {
        reader.error("encoding", format!("\"{encoding}\" is not {}", Charset::LEGAL))
    })?;
    let rules = Rules {
        acks: reader.boolean("ack-every-event", true),
        line_units_max: reader.number("max-line-length", 1..=64 * 1024 * 1024)?.unwrap_or(512),
        charset,
        client_errors: ClientErrorLog::default(),
    };
    let connections_max =
        reader.number("maxConnections", 1..=1_000_000)?.unwrap_or(CONNECTIONS_MAX_DEFAULT);
    let full = b"FAILED: Too many connections\n";
    let filter = Filter::read(reader, None)?;
    Ok(Netcat {
        listening: Listening::new(host, port, connections_max, full).filtered(filter),
        rules: Arc::new(rules),
    })
}

impl Source for Netcat {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.listening.preflight())
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let name: Arc<str> = Arc::from(context.name.as_str());
        let lost = (!self.rules.acks).then(|| Lost::of(context));
        let strides = Strides::of(&context.clients);
        Box::pin(async move {
            let session = |arrival: Arrival| {
                let (name, rules, lost) = (name.clone(), self.rules.clone(), lost.clone());
                let (intake, stop) = (context.intake.clone(), context.stop.clone());
                let (counters, stride) = (context.counters.clone(), strides.stride());
                let clock = context.clock.clone();
                async move {
                    let (peer, no_room) = (arrival.peer, None);
                    let untaken = Unread::new(lost.clone());
                    let client = Arc::clone(&arrival.client);
                    let Some(stream) = arrival.greet().await else { return };
                    let session = Session {
                        name,
                        peer,
                        client,
                        stream,
                        stride,
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
