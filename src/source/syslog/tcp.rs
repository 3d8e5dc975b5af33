//! `syslogtcp`: messages over TCP, one a line.
//!
//! Limits: `eventSize` bytes a message, `maxConnections`, [`CONNECTION_READ_BYTES_MAX`](crate::base::limits::CONNECTION_READ_BYTES_MAX) a read.
//!
//! The story: a session reads, cuts messages, and commits all of one read as one transaction, or in
//! parts where other connections hold many lines. While a commit waits the session does not read. What stands without a newline when the client
//! ends its side is a message too; Flume drops it. Where the connection breaks, or the source stops, it is marked
//! Incomplete.

use super::{
    CLIENT_IP, CLIENT_NAME, CONNECTIONS_MAX_DEFAULT, HOST, KEEP_FIELDS, MAX_CONNECTIONS, PORT,
    Rules, own_form::FORMAT_KEYS,
};
use crate::channel::BoxFuture;
use crate::config::settings::{Key, Kind, SettingError, SettingsReader, joined};
use crate::config::tls::{self, SERVER_KEYS};
use crate::event::Event;
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::source::filter::{FILTER_KEYS, Filter};
use crate::source::listener::{Arrival, Listening};
use crate::source::patience::{self, Ended, Lost, Unread};
use crate::source::stride::{Stride, Strides, unfinished_bytes};
use crate::wire::syslog::{Cutter, Flaw, Raw};
use std::sync::Arc;

/// The type `syslogtcp`.
pub const TYPE: SourceType = SourceType {
    names: &["syslogtcp", "org.apache.flume.source.SyslogTcpSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const EVENT_BYTES: usize = 2500;

const KEYS: &[Key] = &joined::<27>(&[
    &[
        HOST,
        PORT,
        Key {
            name: "eventSize",
            kind: Kind::Number,
            default: "2500",
            meaning: "Bytes of a message, its priority included. Of what is longer the rest is left out, and the event is marked Incomplete.",
        },
        KEEP_FIELDS,
        CLIENT_IP,
        CLIENT_NAME,
        MAX_CONNECTIONS,
    ],
    &FORMAT_KEYS,
    &FILTER_KEYS,
    &SERVER_KEYS,
]);

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
    let event_bytes_max = reader.number("eventSize", 6..=16 * 1024 * 1024)?.unwrap_or(EVENT_BYTES);
    let connections_max =
        reader.number("maxConnections", 1..=1_000_000)?.unwrap_or(CONNECTIONS_MAX_DEFAULT);
    let tls = tls::server(reader)?;
    let filter = Filter::read(reader, tls.as_ref())?;
    let listening = Listening::new(host, port, connections_max, b"");
    Ok(SyslogTcp {
        listening: listening.with_tls(tls).filtered(filter),
        rules: Arc::new(Rules::read(reader)?),
        event_bytes_max,
    })
}

impl Source for SyslogTcp {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.listening.preflight())
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let (shared, lost) = (Arc::new(context.clone()), Lost::of(context));
        let strides = Strides::of(&context.clients);
        Box::pin(async move {
            let session = |arrival: Arrival| {
                let (context, rules) = (Arc::clone(&shared), Arc::clone(&self.rules));
                let cutter = Cutter::new(self.event_bytes_max);
                let stride = strides.stride();
                Session { context, rules, cutter, stride, lost: Arc::clone(&lost) }.run(arrival)
            };
            self.listening.serve(context, session).await
        })
    }
}

/// One connection.
struct Session {
    context: Arc<SourceContext>,
    rules: Arc<Rules>,
    cutter: Cutter,
    stride: Stride,
    lost: Arc<Lost>,
}

impl Session {
    async fn run(mut self, arrival: Arrival) {
        let (peer, own) = (arrival.peer, Arc::clone(&arrival.client));
        let Some(mut stream) = arrival.greet().await else { return };
        let client = self.rules.client.client(peer.ip(), &self.context.stop).await;
        let is_whole = loop {
            // It lives only here: ten thousand idle sessions hold no buffer.
            let mut read = Unread::new(Some(Arc::clone(&self.lost)));
            tokio::select! {
                ended = self.stride.read(&mut stream, &own, self.cutter.pending.len(), &mut read.bytes) => {
                    match ended {
                        Ok(1..) => {}
                        Ok(0) => break true,
                        Err(_) => break false,
                    }
                }
                () = self.context.stop.wait() => break false,
                () = own.told_to_go() => break false,
            }
            let _busy = own.busy();
            while let Some(mut part) = self.stride.part(&mut read.bytes) {
                let events = self.cut(&client, Ok(&part.take_bytes()));
                if !events.is_empty() {
                    own.is_heard();
                }
                if let Ended::Stopped(lost) = patience::commit(&self.context, events).await {
                    read.lines = lost;
                    return;
                }
            }
            drop(read);
            own.shrink(unfinished_bytes(self.cutter.pending.len()));
        };
        let _busy = own.busy();
        let last = self.cut(&client, Err(is_whole));
        if let Ended::Stopped(lost) = patience::commit(&self.context, last).await {
            self.lost.note(lost, &[]);
        }
    }

    /// The messages that `read` completes, or at the end what stands there: whole or not.
    fn cut(&mut self, client: &super::Client, read: Result<&[u8], bool>) -> Vec<Event> {
        let (context, rules) = (&self.context, &self.rules);
        let present = super::present(&*context.clock);
        let (mut events, mut bad) = (Vec::new(), 0);
        let mut note = |raw: Raw<'_>| {
            bad += usize::from(raw.flaw == Some(Flaw::Invalid));
            events.push(rules.event(&raw, client, &present));
        };
        match read {
            Ok(read) => self.cutter.feed(read, &mut note),
            Err(is_whole) => self.cutter.finish(is_whole, &mut note),
        }
        if bad > 0 {
            context.counters.event_read_fail.add(bad as u64);
            let cause = "messages without a priority: kept as they are, marked Invalid";
            context.client_error(&client.address, "invalid", cause);
        }
        events
    }
}
