//! A connection that has come in: what is asked of it before its session begins.

use crate::base::limits::{
    TLS_CONNECTION_BYTES, TLS_HANDSHAKE_BYTES, TLS_HANDSHAKE_SECONDS_MAX, ZLIB_CONNECTION_BYTES,
};
use crate::channel::BoxFuture;
use crate::flow::client_limits::Connection;
use crate::flow::context::StopSignal;
use crate::metrics::SourceCounters;
use crate::net::stream::Stream;
use crate::net::tls::{Reloading, ServerTls};
use crate::net::zlib::Socket;
use crate::source::filter::Filter;
use crate::source::handshake::{NoTls, shake_hands};
use crate::source::rejection_log::RejectionLog;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsStream;

/// A connection that has come in, not greeted yet.
pub(crate) struct Arrival {
    pub(crate) peer: SocketAddr,
    /// The port that it came to.
    pub(crate) port: u16,
    /// What it may take.
    pub(crate) client: Arc<Connection>,
    pub(super) socket: TcpStream,
    pub(super) tls: Option<Arc<Reloading<ServerTls>>>,
    pub(super) zlib: bool,
    pub(super) filter: Option<Arc<Filter>>,
    pub(super) stop: StopSignal,
    pub(super) counters: Arc<SourceCounters>,
    pub(super) log: RejectionLog,
}

impl Arrival {
    /// The connection, its TLS handshake done where there is TLS; `None` when that failed or took too
    /// long, the client may not come in, or the source stops.
    ///
    /// What it needs is not a part of the session's own memory, which lasts as long as the connection.
    pub(crate) fn greet(self) -> BoxFuture<'static, Option<Stream>> {
        Box::pin(self.greeting())
    }

    async fn greeting(self) -> Option<Stream> {
        let filter = self.filter.clone();
        let mut visitor = filter.as_ref().map(|filter| filter.visitor(self.peer.ip()));
        if let Some(visitor) = &mut visitor {
            let arrived = tokio::select! {
                () = self.stop.wait() => return None,
                arrived = visitor.arrives() => arrived,
            };
            if let Err(away) = arrived {
                self.log.turn_away(&away);
                return None;
            }
        }
        let log = self.log.clone();
        let stream = self.shake_hands().await?;
        if let Some(Err(away)) = visitor.map(|mut it| it.shows(stream.peer_certificate())) {
            log.turn_away(&away);
            return None;
        }
        Some(stream)
    }

    async fn shake_hands(self) -> Option<Stream> {
        let patience = Duration::from_secs(TLS_HANDSHAKE_SECONDS_MAX);
        let begun = Instant::now();
        if !self.has_spoken(self.tls.as_ref().map(|_| patience)).await? {
            return NoTls::late().count(&self.counters, &self.log);
        }
        let socket = Socket::answering(self.socket, self.zlib);
        let Some(tls) = &self.tls else { return Some(Stream::from(socket)) };
        let left = patience.saturating_sub(begun.elapsed());
        // Nothing of it before the first byte.
        let handshake = Box::pin(shake_hands(tls, self.log.source(), socket));
        let shaken = tokio::select! {
            () = self.stop.wait() => return None,
            () = self.client.told_to_go() => return None,
            shaken = tokio::time::timeout(left, handshake) => shaken,
        };
        let error = match shaken {
            Ok(Ok(stream)) => {
                self.client.release();
                return Some(Stream::Tls(Box::new(TlsStream::Server(stream))));
            }
            Ok(Err(error)) => error,
            Err(_) => NoTls::late(),
        };
        error.count(&self.counters, &self.log)
    }

    /// Waits for the first byte where more than a socket is needed to understand it, and for the memory that this
    /// takes: until then the connection costs as little as one in plain text. False when none came within
    /// `patience`; `None` when it is over.
    async fn has_spoken(&self, patience: Option<Duration>) -> Option<bool> {
        let zlib = if self.zlib { ZLIB_CONNECTION_BYTES } else { 0 };
        let tls = if self.tls.is_some() { TLS_CONNECTION_BYTES } else { 0 };
        if zlib + tls == 0 {
            return Some(true);
        }
        let patience = patience.unwrap_or(Duration::MAX);
        let spoken = async {
            match tokio::time::timeout(patience, self.socket.readable()).await {
                Ok(Ok(())) => {
                    self.client.keep(zlib + tls).await.ok()?;
                    let handshake = if tls > 0 { TLS_HANDSHAKE_BYTES } else { 0 };
                    self.client.hold(handshake).await.is_ok().then_some(true)
                }
                Ok(Err(_)) => None,
                Err(_) => Some(false),
            }
        };
        tokio::select! {
            () = self.stop.wait() => None,
            () = self.client.told_to_go() => None,
            spoken = spoken => spoken,
        }
    }
}
