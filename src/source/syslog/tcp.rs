//! `syslogtcp`: messages over TCP, one a line.
//!
//! Limits: `eventSize` bytes a message, `maxConnections`, [`CONNECTION_READ_BYTES`] a read.
//!
//! The story: a session reads, cuts messages, and commits all of one read as one transaction.
//! While a commit waits the session does not read. What stands without a newline when the client
//! ends its side is a message too; Flume drops it.

use super::{
    CLIENT_IP, CLIENT_NAME, CONNECTIONS_MAX_DEFAULT, FORMAT, HOST, KEEP_FIELDS, PORT, Rules,
};
use crate::base::limits::CONNECTION_READ_BYTES;
use crate::channel::BoxFuture;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader};
use crate::event::Event;
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::source::listener::Listening;
use crate::source::patience::{self, Ended};
use crate::wire::syslog::{Cutter, Flaw};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpStream;

/// The type `syslogtcp`.
pub const TYPE: SourceType = SourceType {
    names: &["syslogtcp", "org.apache.flume.source.SyslogTcpSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const EVENT_BYTES: usize = 2500;

const KEYS: &[Key] = &[
    HOST,
    PORT,
    Key {
        name: "eventSize",
        kind: Kind::Number,
        default: "2500",
        meaning: "Bytes of a message, its priority included. What is longer is cut, and marked Incomplete.",
    },
    KEEP_FIELDS,
    CLIENT_IP,
    CLIENT_NAME,
    FORMAT,
    Key {
        name: "maxConnections",
        kind: Kind::Number,
        default: "20000",
        meaning: "Connections open at once; more are closed. Flume has no such limit.",
    },
    Key {
        name: "ssl",
        kind: Kind::Boolean,
        default: "false",
        meaning: "TLS is not there yet: true is refused, so that nothing comes in plain text where TLS is asked for.",
    },
    Key { name: "keystore", kind: Kind::Path, default: "", meaning: "Of TLS." },
    Key { name: "keystore-password", kind: Kind::Text, default: "", meaning: "Of TLS." },
    Key { name: "keystore-type", kind: Kind::Word, default: "JKS", meaning: "Of TLS." },
    Key { name: "exclude-protocols", kind: Kind::Names, default: "SSLv3", meaning: "Of TLS." },
    Key { name: "include-protocols", kind: Kind::Names, default: "", meaning: "Of TLS." },
    Key { name: "exclude-cipher-suites", kind: Kind::Names, default: "", meaning: "Of TLS." },
    Key { name: "include-cipher-suites", kind: Kind::Names, default: "", meaning: "Of TLS." },
];

pub(super) struct SyslogTcp {
    pub(super) listening: Listening,
    rules: Arc<Rules>,
    event_bytes_max: usize,
}

pub(super) fn build(reader: &mut SettingsReader<'_>) -> Result<SyslogTcp, SettingError> {
    let host = reader.host("host", Some("0.0.0.0"))?;
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to listen on)"))?;
    if reader.boolean("ssl", false) {
        let message = "TLS is not there yet, and the source does not listen in plain text where it is asked for; set false, or put a TLS proxy in front";
        return Err(reader.error("ssl", message));
    }
    let event_bytes_max = reader.number("eventSize", 6..=16 * 1024 * 1024)?.unwrap_or(EVENT_BYTES);
    let connections_max =
        reader.number("maxConnections", 1..=1_000_000)?.unwrap_or(CONNECTIONS_MAX_DEFAULT);
    Ok(SyslogTcp {
        listening: Listening::new(host, port, connections_max, b""),
        rules: Arc::new(Rules::read(reader)?),
        event_bytes_max,
    })
}

impl Source for SyslogTcp {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let shared = Arc::new(context.clone());
        Box::pin(self.listening.serve(context, move |stream, peer| {
            session(
                Arc::clone(&shared),
                Arc::clone(&self.rules),
                self.event_bytes_max,
                stream,
                peer,
            )
        }))
    }
}

async fn session(
    context: Arc<SourceContext>,
    rules: Arc<Rules>,
    event_bytes_max: usize,
    stream: TcpStream,
    peer: SocketAddr,
) {
    let client = rules.client(peer.ip()).await;
    let mut cutter = Cutter::new(event_bytes_max);
    loop {
        tokio::select! {
            ready = stream.readable() => if ready.is_err() { break },
            () = context.stop.wait() => break,
        }
        let mut cut = Vec::new();
        match read(&stream, &mut cutter, &mut cut) {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => break,
        }
        if !take(&context, &rules, &client, cut).await {
            return;
        }
    }
    let last: Vec<_> = cutter.finish().into_iter().collect();
    take(&context, &rules, &client, last).await;
}

/// Reads once; false at the end. The buffer lives only here: ten thousand idle sessions hold none.
fn read(
    stream: &TcpStream,
    cutter: &mut Cutter,
    cut: &mut Vec<crate::wire::syslog::Raw>,
) -> io::Result<bool> {
    let mut buffer = [0; CONNECTION_READ_BYTES];
    let len = stream.try_read(&mut buffer)?;
    cutter.feed(&buffer[..len], cut);
    Ok(len > 0)
}

/// Commits messages, however long it takes. False when the source stopped first.
async fn take(
    context: &SourceContext,
    rules: &Rules,
    client: &super::Client,
    cut: Vec<crate::wire::syslog::Raw>,
) -> bool {
    if cut.is_empty() {
        return true;
    }
    let now = context.clock.wall_ms();
    let bad = cut.iter().filter(|raw| raw.flaw == Some(Flaw::Invalid)).count();
    if bad > 0 {
        tracing::warn!(source = %context.name, client = %client.address, messages = bad,
            "messages without a priority: kept as they are, marked Invalid");
    }
    let events: Vec<Event> = cut.into_iter().map(|raw| rules.event(raw, client, now)).collect();
    match patience::commit(context, events).await {
        Ended::Done => true,
        Ended::Stopped(lost) => {
            tracing::warn!(source = %context.name, events = lost,
                "stopped while the channel took nothing; messages received last are lost");
            false
        }
    }
}
