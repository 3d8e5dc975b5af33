//! `syslogudp`: messages in datagrams.
//!
//! Limits and what becomes of datagrams that find no room: [`datagrams`]; of names of
//! senders: [`names`](super::names). The first line of a datagram is the message, as in Flume; further ones are
//! counted as dropped.

use super::{
    CLIENT_IP, CLIENT_NAME, Client, HOST, KEEP_FIELDS, PORT, Rules, names::Names,
    own_form::FORMAT_KEYS,
};
use crate::base::limits::DATAGRAM_BYTES;
use crate::channel::BoxFuture;
use crate::config::settings::{Key, SettingError, SettingsReader, joined};
use crate::event::Event;
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::metrics::DropReason;
use crate::source::datagrams::{self, Datagrams, Parse};
use crate::source::filter::{FILTER_KEYS, Filter};
use crate::wire::syslog::{Cutter, Flaw, Present, Raw};
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
    rules: Rules,
    names: Names,
    filter: Option<Filter>,
    pub(super) bound: Mutex<Option<SocketAddr>>,
}

pub(super) fn build(reader: &mut SettingsReader<'_>) -> Result<SyslogUdp, SettingError> {
    let port = reader
        .number("port", 0..=u16::MAX)?
        .ok_or_else(|| reader.error("port", "is required and not set (a port to receive on)"))?;
    Ok(SyslogUdp {
        host: reader.host("host", Some("0.0.0.0"))?,
        port,
        rules: Rules::read(reader)?,
        names: Names::new(),
        filter: Filter::read_for_datagrams(reader)?,
        bound: Mutex::new(None),
    })
}

impl Parse for SyslogUdp {
    fn filter(&self) -> Option<&Filter> {
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

    /// The first line of a datagram; none when there is nothing in it.
    fn event(
        &self,
        datagram: &[u8],
        sender: SocketAddr,
        present: &Present,
        context: &SourceContext,
    ) -> Option<Event> {
        let address = sender.ip().to_canonical();
        let name = self.rules.client.name.as_ref().and_then(|_| self.names.get(address));
        let client = Client { address, name };
        let (mut cutter, mut first, mut more) = (Cutter::new(DATAGRAM_BYTES), None, 0);
        let mut note = |raw: Raw<'_>| {
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
        cutter.feed(datagram, &mut note);
        cutter.finish(true, &mut note);
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
            let socket = Datagrams::bind(place, ["host", "port"], &context.name).await?;
            if let Ok(mut bound) = self.bound.lock() {
                *bound = socket.local_addr();
            }
            context.started();
            socket.run(context, self).await;
            Ok(())
        })
    }
}
