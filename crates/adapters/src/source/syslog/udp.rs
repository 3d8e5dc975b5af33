//! `syslogudp`: messages in datagrams.
//!
//! Limits and the handling of datagrams without room: [`datagrams`]; names of senders: [`names`](super::names). The
//! first line of a datagram is the message, as in Flume; further lines are counted as dropped.

use super::{
    CLIENT_IP, CLIENT_NAME, HOST, KEEP_FIELDS, PORT, SyslogClient, SyslogOptions,
    custom_format::FORMAT_KEYS, names::ClientNameCache,
};
use crate::source::datagrams::{self, DatagramSocket, ParseDatagram};
use crate::source::ip_filter::{FILTER_KEYS, IpFilter};
use crate::wire::syslog::{Flaw, RawMessage, SyslogFramer, YearHint};
use millpond::{BoxFuture, Event};
use millpond_flow::base::limits::DATAGRAM_BYTES;
use millpond_flow::metrics::DropReason;
use millpond_flow::settings::{Key, SettingError, SettingsReader, joined};
use millpond_flow::source::{Failure, Source, SourceContext, SourceType};
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;

/// The type `syslogudp`.
pub const TYPE: SourceType = SourceType {
    names: &["syslogudp", "org.apache.flume.source.SyslogUDPSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &joined::<11>(&[
    &[HOST, PORT, KEEP_FIELDS, CLIENT_IP, CLIENT_NAME],
    &FORMAT_KEYS,
    &FILTER_KEYS,
]);

pub(super) struct SyslogUdp {
    host: String,
    port: u16,
    rules: SyslogOptions,
    names: ClientNameCache,
    filter: Option<IpFilter>,
    pub(super) bound: Mutex<Option<SocketAddr>>,
}

pub(super) fn build(reader: &mut SettingsReader<'_>) -> Result<SyslogUdp, SettingError> {
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to receive on)"))?;
    Ok(SyslogUdp {
        host: reader.host("host", Some("0.0.0.0"))?,
        port,
        rules: SyslogOptions::read(reader)?,
        names: ClientNameCache::new(),
        filter: IpFilter::read_for_datagrams(reader)?,
        bound: Mutex::new(None),
    })
}

impl ParseDatagram for SyslogUdp {
    fn filter(&self) -> Option<&IpFilter> {
        self.filter.as_ref()
    }

    fn meets(&self, sender: IpAddr) -> Option<BoxFuture<'_, ()>> {
        let address = sender.to_canonical();
        let asks = self.rules.client.name.is_some() && !self.names.has(address);
        if !asks {
            return None;
        }
        Some(Box::pin(self.names.ask(address)))
    }

    /// Returns the event of a datagram's first line; `None` for an empty datagram.
    fn event(
        &self,
        datagram: &[u8],
        sender: SocketAddr,
        present: &YearHint,
        context: &SourceContext,
    ) -> Option<Event> {
        let address = sender.ip().to_canonical();
        let name = self.rules.client.name.as_ref().and_then(|_| self.names.get(address));
        let client = SyslogClient { address, name };
        let (mut framer, mut first, mut more) = (SyslogFramer::new(DATAGRAM_BYTES), None, 0);
        let mut note = |raw: RawMessage<'_>| {
            if first.is_some() {
                more += 1;
                return;
            }
            if raw.flaw == Some(Flaw::Invalid) {
                context.counters.event_read_fail.add(1);
                let cause = "messages without a priority: kept as they are, marked Invalid";
                context.client_error(&address, "invalid", cause);
            }
            first = Some(self.rules.event(&raw, &client, present));
        };
        framer.feed(datagram, &mut note);
        framer.finish(true, &mut note);
        if more > 0 {
            context.counters.drops.add(DropReason::ExtraLine, more);
        }
        first
    }
}

impl Source for SyslogUdp {
    fn preflight(&self) -> BoxFuture<'_, Result<(), Failure>> {
        Box::pin(datagrams::preflight((self.host.as_str(), self.port), ["host", "port"]))
    }

    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let place = (self.host.as_str(), self.port);
            let socket = DatagramSocket::bind(place, ["host", "port"], &context.name).await?;
            if let Ok(mut bound) = self.bound.lock() {
                *bound = socket.local_addr();
            }
            context.started();
            socket.run(context, self).await;
            Ok(())
        })
    }
}
