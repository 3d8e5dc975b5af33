//! `syslogtcp`: messages over TCP, one a line.
//!
//! Limits: `eventSize` bytes a message, `maxConnections`,
//! [`CONNECTION_READ_BYTES_MAX`](millpond_flow::base::limits::CONNECTION_READ_BYTES_MAX) a read.
//!
//! A session reads, splits messages, and commits all of one read as one transaction, or in parts while other
//! connections hold many lines. While a commit waits the session does not read. A last line without a newline is a
//! message when the client ends its side (Flume drops it); where the connection breaks or the source stops, it is
//! marked Incomplete.

use super::{
    CLIENT_IP, CLIENT_NAME, CONNECTIONS_MAX_DEFAULT, HOST, KEEP_FIELDS, MAX_CONNECTIONS, PORT,
    SyslogOptions, custom_format::FORMAT_KEYS,
};
use crate::source::commit_retry::{self, LostMessages, RetryOutcome, UncommittedLines};
use crate::source::ip_filter::{FILTER_KEYS, IpFilter};
use crate::source::listener::{PendingSession, SourceListener};
use crate::source::read_budget::{ReadBudget, ReadSize, unfinished_bytes};
use crate::wire::syslog::{Flaw, RawMessage, SyslogFramer};
use millpond::{BoxFuture, Event};
use millpond_flow::settings::tls::{self, SERVER_KEYS};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, joined};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
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
            kind: KeyKind::Number,
            default: "2500",
            meaning: "Bytes of a message, its priority included. A longer message is cut, and its event is marked Incomplete.",
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
    pub(super) listening: SourceListener,
    rules: Arc<SyslogOptions>,
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
    let filter = IpFilter::read(reader, tls.as_ref())?;
    let listening = SourceListener::new(host, port, connections_max, b"");
    Ok(SyslogTcp {
        listening: listening.with_tls(tls).filtered(filter),
        rules: Arc::new(SyslogOptions::read(reader)?),
        event_bytes_max,
    })
}

impl Source for SyslogTcp {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(self.listening.preflight())
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        let (shared, lost) = (Arc::new(context.clone()), LostMessages::of(context));
        let read_budget = ReadBudget::of(&context.clients);
        Box::pin(async move {
            let session = |arrival: PendingSession| {
                let (context, rules) = (Arc::clone(&shared), Arc::clone(&self.rules));
                let framer = SyslogFramer::new(self.event_bytes_max);
                let read_size = read_budget.read_size();
                SyslogSession { context, rules, framer, read_size, lost: Arc::clone(&lost) }
                    .run(arrival)
            };
            self.listening.serve(context, session).await
        })
    }
}

/// A session over one connection.
struct SyslogSession {
    context: Arc<SourceContext>,
    rules: Arc<SyslogOptions>,
    framer: SyslogFramer,
    read_size: ReadSize,
    lost: Arc<LostMessages>,
}

impl SyslogSession {
    async fn run(mut self, arrival: PendingSession) {
        let (peer, own) = (arrival.peer, Arc::clone(&arrival.client));
        let Some(mut stream) = arrival.greet().await else { return };
        let client = self.rules.client.client(peer.ip(), &self.context.stop).await;
        let is_whole = loop {
            // Allocated per read: ten thousand idle sessions hold no buffer.
            let mut read = UncommittedLines::new(Some(Arc::clone(&self.lost)));
            tokio::select! {
                ended = self.read_size.read(&mut stream, &own, self.framer.pending.len(), &mut read.bytes) => {
                    match ended {
                        Ok(1..) => {}
                        Ok(0) => break true,
                        Err(_) => break false,
                    }
                }
                () = self.context.stop.wait() => break false,
                () = own.evicted() => break false,
            }
            let _busy = own.busy();
            while let Some(mut part) = self.read_size.part(&mut read.bytes) {
                let events = self.cut(&client, Ok(&part.take_bytes()));
                if !events.is_empty() {
                    own.is_heard();
                }
                if let RetryOutcome::Stopped(lost) =
                    commit_retry::commit(&self.context, events).await
                {
                    read.lines = lost;
                    return;
                }
            }
            drop(read);
            own.shrink(unfinished_bytes(self.framer.pending.len()));
        };
        let _busy = own.busy();
        let last = self.cut(&client, Err(is_whole));
        if let RetryOutcome::Stopped(lost) = commit_retry::commit(&self.context, last).await {
            self.lost.note(lost, &[]);
        }
    }

    /// Returns the messages that `read` completes; at the end of the connection the rest, whole or not.
    fn cut(&mut self, client: &super::SyslogClient, read: Result<&[u8], bool>) -> Vec<Event> {
        let (context, rules) = (&self.context, &self.rules);
        let present = super::present(&*context.clock);
        let (mut events, mut bad) = (Vec::new(), 0);
        let mut note = |raw: RawMessage<'_>| {
            bad += usize::from(raw.flaw == Some(Flaw::Invalid));
            events.push(rules.event(&raw, client, &present));
        };
        match read {
            Ok(read) => self.framer.feed(read, &mut note),
            Err(is_whole) => self.framer.finish(is_whole, &mut note),
        }
        if bad > 0 {
            context.counters.event_read_fail.add(bad as u64);
            let cause = "messages without a priority: kept as they are, marked Invalid";
            context.client_error(&client.address, "invalid", cause);
        }
        events
    }
}
