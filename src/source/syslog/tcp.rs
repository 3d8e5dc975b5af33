//! `syslogtcp`: messages over TCP, one a line.
//!
//! Limits: `eventSize` bytes a message, `maxConnections`, [`CONNECTION_READ_BYTES_MAX`](crate::base::limits::CONNECTION_READ_BYTES_MAX) a read.
//!
//! The story: a session reads, cuts messages, and commits all of one read as one transaction.
//! While a commit waits the session does not read. What stands without a newline when the client
//! ends its side is a message too; Flume drops it.

use super::{
    CLIENT_IP, CLIENT_NAME, CONNECTIONS_MAX_DEFAULT, FORMAT, HOST, KEEP_FIELDS, MAX_CONNECTIONS,
    PORT, Rules,
};
use crate::channel::BoxFuture;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, joined};
use crate::config::tls::{self, SERVER_KEYS};
use crate::event::Event;
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::source::listener::{Arrival, Listening};
use crate::source::patience::{self, Ended};
use crate::source::stride::{Stride, Strides};
use crate::wire::syslog::{Cutter, Flaw};
use bytes::BytesMut;
use std::sync::Arc;

/// The type `syslogtcp`.
pub const TYPE: SourceType = SourceType {
    names: &["syslogtcp", "org.apache.flume.source.SyslogTcpSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const EVENT_BYTES: usize = 2500;

const KEYS: &[Key] = &joined::<16>(&[
    &[
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
        MAX_CONNECTIONS,
    ],
    &SERVER_KEYS,
]);

pub(super) struct SyslogTcp {
    pub(super) listening: Listening,
    rules: Arc<Rules>,
    event_bytes_max: usize,
    strides: Strides,
}

pub(super) fn build(reader: &mut SettingsReader<'_>) -> Result<SyslogTcp, SettingError> {
    let host = reader.host("host", Some("0.0.0.0"))?;
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to listen on)"))?;
    let event_bytes_max = reader.number("eventSize", 6..=16 * 1024 * 1024)?.unwrap_or(EVENT_BYTES);
    let connections_max =
        reader.number("maxConnections", 1..=1_000_000)?.unwrap_or(CONNECTIONS_MAX_DEFAULT);
    Ok(SyslogTcp {
        listening: Listening::new(host, port, connections_max, b"").with_tls(tls::server(reader)?),
        rules: Arc::new(Rules::read(reader)?),
        event_bytes_max,
        strides: Strides::new(),
    })
}

impl Source for SyslogTcp {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let shared = Arc::new(context.clone());
        Box::pin(self.listening.serve(context, move |arrival| {
            let (shared, rules) = (Arc::clone(&shared), Arc::clone(&self.rules));
            session(shared, rules, self.event_bytes_max, self.strides.stride(), arrival)
        }))
    }
}

async fn session(
    context: Arc<SourceContext>,
    rules: Arc<Rules>,
    event_bytes_max: usize,
    mut stride: Stride,
    arrival: Arrival,
) {
    let peer = arrival.peer;
    let Some(mut stream) = arrival.greet().await else { return };
    let client = rules.client.client(peer.ip()).await;
    let mut cutter = Cutter::new(event_bytes_max);
    loop {
        // It lives only here: ten thousand idle sessions hold no buffer.
        let mut read = BytesMut::new();
        tokio::select! {
            ended = stream.read_some(&mut read, stride.bytes()) => match ended {
                Ok(bytes @ 1..) => stride.brought(bytes),
                Ok(0) | Err(_) => break,
            },
            () = context.stop.wait() => break,
        }
        let mut cut = Vec::new();
        cutter.feed(&read, &mut cut);
        if !take(&context, &rules, &client, cut).await {
            return;
        }
    }
    let last: Vec<_> = cutter.finish().into_iter().collect();
    take(&context, &rules, &client, last).await;
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
