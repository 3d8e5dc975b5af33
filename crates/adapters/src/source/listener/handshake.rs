//! The admission of an accepted connection before its session begins.

use crate::source::handshake::{HandshakeError, shake_hands};
use crate::source::ip_filter::IpFilter;
use crate::source::rejection_log::RejectionLog;
use millpond::BoxFuture;
use millpond_flow::base::limits::{
    TLS_CONNECTION_BYTES, TLS_HANDSHAKE_BYTES, TLS_HANDSHAKE_SECONDS_MAX, ZLIB_CONNECTION_BYTES,
};
use millpond_flow::client_limits::AdmittedConnection;
use millpond_flow::context::StopSignal;
use millpond_flow::metrics::SourceCounters;
use millpond_flow::net::stream::Stream;
use millpond_flow::net::tls::{ServerTls, StoreReloader};
use millpond_flow::net::zlib::Socket;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsStream;

/// An accepted connection before its handshake.
pub(crate) struct PendingSession {
    pub(crate) peer: SocketAddr,
    /// The local port.
    pub(crate) port: u16,
    /// Its memory account.
    pub(crate) client: Arc<AdmittedConnection>,
    pub(super) socket: TcpStream,
    pub(super) tls: Option<Arc<StoreReloader<ServerTls>>>,
    pub(super) zlib: bool,
    pub(super) filter: Option<Arc<IpFilter>>,
    pub(super) stop: StopSignal,
    pub(super) counters: Arc<SourceCounters>,
    pub(super) log: RejectionLog,
}

impl PendingSession {
    /// Returns the connection, its TLS handshake done if TLS is configured; `None` when that failed or took too long,
    /// the client is not allowed, or the source stops.
    ///
    /// Boxed: its memory is not a part of the session's own, which lasts as long as the connection.
    pub(crate) fn greet(self) -> BoxFuture<'static, Option<Stream>> {
        Box::pin(self.greeting())
    }

    async fn greeting(self) -> Option<Stream> {
        let filter = self.filter.clone();
        let mut filter_check = filter.as_ref().map(|filter| filter.filter_check(self.peer.ip()));
        if let Some(filter_check) = &mut filter_check {
            let arrived = tokio::select! {
                () = self.stop.wait() => return None,
                arrived = filter_check.check_name() => arrived,
            };
            if let Err(away) = arrived {
                self.log.log_denied(&away);
                return None;
            }
        }
        let log = self.log.clone();
        let stream = self.shake_hands().await?;
        if let Some(Err(away)) =
            filter_check.map(|mut it| it.check_certificate(stream.peer_certificate()))
        {
            log.log_denied(&away);
            return None;
        }
        Some(stream)
    }

    async fn shake_hands(self) -> Option<Stream> {
        let time_limit = Duration::from_secs(TLS_HANDSHAKE_SECONDS_MAX);
        let begun = Instant::now();
        if !self.has_spoken(self.tls.as_ref().map(|_| time_limit)).await? {
            return HandshakeError::late().count(&self.counters, &self.log);
        }
        let socket = Socket::answering(self.socket, self.zlib);
        let Some(tls) = &self.tls else { return Some(Stream::from(socket)) };
        let left = time_limit.saturating_sub(begun.elapsed());
        // Allocated only after the first byte.
        let handshake = Box::pin(shake_hands(tls, self.log.source(), socket));
        let shaken = tokio::select! {
            () = self.stop.wait() => return None,
            () = self.client.evicted() => return None,
            shaken = tokio::time::timeout(left, handshake) => shaken,
        };
        let error = match shaken {
            Ok(Ok(stream)) => {
                self.client.release();
                return Some(Stream::Tls(Box::new(TlsStream::Server(stream))));
            }
            Ok(Err(error)) => error,
            Err(_) => HandshakeError::late(),
        };
        error.count(&self.counters, &self.log)
    }

    /// Waits for the first byte if more than a socket is needed to read from it, and for the memory of that: until
    /// then the connection costs as little as one in plain text. False when no byte came within `time_limit`; `None`
    /// when the session is over.
    async fn has_spoken(&self, time_limit: Option<Duration>) -> Option<bool> {
        let zlib = if self.zlib { ZLIB_CONNECTION_BYTES } else { 0 };
        let tls = if self.tls.is_some() { TLS_CONNECTION_BYTES } else { 0 };
        if zlib + tls == 0 {
            return Some(true);
        }
        let time_limit = time_limit.unwrap_or(Duration::MAX);
        let spoken = async {
            match tokio::time::timeout(time_limit, self.socket.readable()).await {
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
            () = self.client.evicted() => None,
            spoken = spoken => spoken,
        }
    }
}
