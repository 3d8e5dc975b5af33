//! `thrift` and Scribe's source: events by Thrift, each call answered.
//!
//! Limits: `maxRequestBytes` a call, `maxConnections`, [`ClientLimits`](crate::flow::client_limits) for what all clients
//! make the source hold, [`REQUEST_IDLE_SECONDS_MAX`] for a request that stopped half-way,
//! `requestTimeout` for one that comes in little by little, [`ANSWER_SECONDS_MAX`] for a client that does
//! not read.
//!
//! The story: a session cuts frames out of its stream and carries them out one after the other. The
//! events of a call are one transaction. OK is sent once it is committed; when the channel refuses it or
//! its outcome is not known, FAILED (TRY_LATER to Scribe), and the client sends all of it again. A call
//! that cannot be carried out is answered with an exception; only a stream that cannot be read on ends
//! the connection.

pub mod scribe;
mod session;
#[cfg(test)]
mod tests;

use super::filter::{FILTER_KEYS, Filter};
use super::listener::Listening;
use crate::base::limits::{
    CONNECTIONS_MAX_DEFAULT, REQUEST_BYTES_MAX, REQUEST_SECONDS_MAX_DEFAULT,
    THRIFT_REQUEST_BYTES_MAX_DEFAULT,
};
use crate::channel::BoxFuture;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, Severity, joined};
use crate::config::tls::{self, SERVER_KEYS};
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::source::framed::Framed;
use crate::wire::thrift::Protocol;
use crate::wire::thrift::call::Service;
use std::sync::Arc;
use std::time::Duration;

#[cfg(doc)]
use crate::base::limits::{ANSWER_SECONDS_MAX, REQUEST_IDLE_SECONDS_MAX};

/// The type `thrift`.
pub const TYPE: SourceType = SourceType {
    names: &["thrift", "org.apache.flume.source.ThriftSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const MAX_CONNECTIONS: Key = Key {
    name: "maxConnections",
    kind: Kind::Number,
    default: "20000",
    meaning: "Connections open at once; more are closed. Flume has no such limit.",
};
const REQUEST_TIMEOUT: Key = Key {
    name: "requestTimeout",
    kind: Kind::Number,
    default: "120000",
    meaning: "Milliseconds from the first to the last byte of a request; a slower client's connection is closed. Flume has no such limit.",
};

const KEYS: &[Key] = &joined::<26>(&[
    &[
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
            name: "threads",
            kind: Kind::Number,
            default: "0",
            meaning: "Has no effect: connections need no threads.",
        },
        Key {
            name: "protocol",
            kind: Kind::Word,
            default: "compact",
            meaning: "compact or binary, in small letters; any other word is taken as compact, as in Flume.",
        },
        Key {
            name: "maxRequestBytes",
            kind: Kind::Number,
            default: "67108864",
            meaning: "Bytes of a request; a longer one ends its connection. Flume's limit is 16384000.",
        },
        MAX_CONNECTIONS,
        REQUEST_TIMEOUT,
        Key {
            name: "kerberos",
            kind: Kind::Boolean,
            default: "false",
            meaning: "Whether clients show a Kerberos ticket: true is refused, there is no Kerberos here.",
        },
        Key { name: "agent-principal", kind: Kind::Text, default: "", meaning: "Of Kerberos." },
        Key { name: "agent-keytab", kind: Kind::Path, default: "", meaning: "Of Kerberos." },
    ],
    &FILTER_KEYS,
    &SERVER_KEYS,
]);

/// A source of calls in frames.
struct Thrift {
    listening: Listening,
    speech: Speech,
}

/// How the two sides speak.
#[derive(Clone, Copy, Debug)]
struct Speech {
    service: Service,
    protocol: Protocol,
    /// Whether answers in the binary protocol have no version, as Scribe's clients expect.
    is_old: bool,
    request_bytes_max: usize,
    request_timeout: Duration,
}

fn build(reader: &mut SettingsReader<'_>) -> Result<Thrift, SettingError> {
    if reader.truth("kerberos", false)? {
        let message = "there is no Kerberos here, and the source does not listen to everybody where it is asked for; set false, and use TLS and a firewall";
        return Err(reader.error("kerberos", message));
    }
    let host = reader.host("bind", None)?;
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to listen on)"))?;
    if reader.number::<i64>("threads", i64::MIN..=i64::MAX)?.is_some_and(|threads| threads > 0) {
        reader.find(Severity::Note, "threads", "has no effect: connections need no threads");
    }
    let protocol = protocol(reader);
    let max = reader.number("maxRequestBytes", 1024..=REQUEST_BYTES_MAX)?;
    let speech = Speech {
        service: Service::Flume,
        protocol,
        is_old: false,
        request_bytes_max: max.unwrap_or(THRIFT_REQUEST_BYTES_MAX_DEFAULT),
        request_timeout: request_timeout(reader)?,
    };
    let tls = tls::server(reader)?;
    let filter = Filter::read(reader, tls.as_ref())?;
    let listening = Listening::new(host, port, connections(reader)?, b"");
    let listening = listening.with_tls(tls).filtered(filter);
    Ok(Thrift { listening, speech })
}

fn protocol(reader: &mut SettingsReader<'_>) -> Protocol {
    match reader.text("protocol").unwrap_or("compact") {
        "binary" => Protocol::Binary,
        "compact" => Protocol::Compact,
        other => {
            let message = format!(
                "\"{other}\" is taken as compact, as in Flume; there are compact and binary"
            );
            reader.find(Severity::Warning, "protocol", message);
            Protocol::Compact
        }
    }
}

fn connections(reader: &mut SettingsReader<'_>) -> Result<usize, SettingError> {
    Ok(reader.number("maxConnections", 1..=1_000_000)?.unwrap_or(CONNECTIONS_MAX_DEFAULT))
}

fn request_timeout(reader: &mut SettingsReader<'_>) -> Result<Duration, SettingError> {
    let timeout = reader.millis("requestTimeout", 1..=u64::from(u32::MAX))?;
    Ok(timeout.unwrap_or(Duration::from_secs(REQUEST_SECONDS_MAX_DEFAULT)))
}

impl Source for Thrift {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.listening.preflight())
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let shared = Arc::new(context.clone());
        Box::pin(self.listening.serve(context, move |arrival| {
            let (context, speech) = (Arc::clone(&shared), self.speech);
            async move {
                let (bytes, timeout) = (speech.request_bytes_max, speech.request_timeout);
                let framed = Framed::greet(arrival, context, bytes, timeout).await;
                if let Some(framed) = framed {
                    session::run(framed, speech).await;
                }
            }
        }))
    }
}
