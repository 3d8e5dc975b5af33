//! `syslogudp`: messages in datagrams.
//!
//! Limits: [`DATAGRAM_BYTES`], [`DATAGRAMS_PER_BATCH`], [`DATAGRAM_SOCKET_BYTES`], and the names of
//! [`CLIENTS_MAX`] senders.
//!
//! What has been received waits until the channel takes it; meanwhile datagrams gather in the
//! socket's buffer, and when that is full the system drops the newest. The first line of a
//! datagram is the message, as in Flume.

use super::{
    CLIENT_IP, CLIENT_NAME, Client, HOST, KEEP_FIELDS, PORT, Rules, own_form::FORMAT_KEYS,
};
use crate::base::limits::{DATAGRAM_BYTES, DATAGRAM_SOCKET_BYTES, DATAGRAMS_PER_BATCH};
use crate::channel::BoxFuture;
use crate::config::settings::{Key, SettingError, SettingsReader, joined};
use crate::event::Event;
use crate::flow::source::{Failure, Source, SourceContext, SourceType};
use crate::source::patience::{self, Ended};
use crate::wire::syslog::{Cutter, Present, Raw};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::Duration;
use tokio::net::UdpSocket;

/// The type `syslogudp`.
pub const TYPE: SourceType = SourceType {
    names: &["syslogudp", "org.apache.flume.source.SyslogUDPSource"],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] =
    &joined::<9>(&[&[HOST, PORT, KEEP_FIELDS, CLIENT_IP, CLIENT_NAME], &FORMAT_KEYS]);

/// Senders whose names are remembered.
const CLIENTS_MAX: usize = 1024;
/// Pause after a receive that failed: for want of memory, as a rule.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

pub(super) struct SyslogUdp {
    host: String,
    port: u16,
    rules: Rules,
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
        bound: Mutex::new(None),
    })
}

impl SyslogUdp {
    async fn bind(&self) -> Result<UdpSocket, Failure> {
        let socket =
            UdpSocket::bind((self.host.as_str(), self.port)).await.map_err(|error| {
                let what = format!(
                    "cannot receive on {}:{}; choose an address of this machine (host) and a free port (port)",
                    self.host, self.port
                );
                Failure::caused(what, error)
            })?;
        // As much as the system allows: it cuts the number down silently.
        let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_SOCKET_BYTES);
        if let Ok(mut bound) = self.bound.lock() {
            *bound = socket.local_addr().ok();
        }
        Ok(socket)
    }

    /// The first line of a datagram; none when there is nothing in it.
    fn event(&self, datagram: &[u8], client: &Client, present: &Present) -> Option<Event> {
        let (mut cutter, mut first) = (Cutter::new(DATAGRAM_BYTES), None);
        let mut note = |raw: Raw<'_>| {
            first.get_or_insert_with(|| self.rules.event(&raw, client, present));
        };
        cutter.feed(datagram, &mut note);
        cutter.finish(&mut note);
        first
    }
}

impl Source for SyslogUdp {
    fn run<'a>(&'a self, context: &'a SourceContext) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            let socket = self.bind().await?;
            context.started();
            let mut buffer = vec![0; DATAGRAM_BYTES];
            let most = DATAGRAMS_PER_BATCH.min(context.intake.transaction_capacity()).max(1);
            let mut clients: HashMap<IpAddr, Client> = HashMap::new();
            loop {
                let received = tokio::select! {
                    biased;
                    () = context.stop.wait() => return Ok(()),
                    received = socket.recv_from(&mut buffer) => received,
                };
                let mut next = match received {
                    Ok(datagram) => Some(datagram),
                    Err(error) => {
                        tracing::warn!(source = %context.name, %error, "cannot receive; trying again");
                        patience::rest(context, ERROR_PAUSE).await;
                        continue;
                    }
                };
                let (mut batch, present) = (Vec::new(), super::present(&*context.clock));
                while let Some((len, sender)) = next {
                    if clients.len() >= CLIENTS_MAX {
                        clients.clear();
                    }
                    let ip = sender.ip();
                    let client = match clients.get(&ip) {
                        Some(client) => client.clone(),
                        None => {
                            let client = self.rules.client.client(ip).await;
                            clients.insert(ip, client.clone());
                            client
                        }
                    };
                    batch.extend(self.event(&buffer[..len], &client, &present));
                    next = if batch.len() < most {
                        socket.try_recv_from(&mut buffer).ok()
                    } else {
                        None
                    };
                }
                if let Ended::Stopped(lost) = patience::commit(context, batch).await {
                    tracing::warn!(source = %context.name, events = lost,
                        "stopped while the channel took nothing; datagrams received last are lost");
                    return Ok(());
                }
            }
        })
    }
}
