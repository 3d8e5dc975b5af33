//! A connection to a server of HTTP, for one request at a time.
//!
//! It is hyper's connection over a stream of this module. A pool of connections would hide what callers count and
//! decide: when one is opened or closed, the certificate of its server, and which stores and credentials it uses.

use super::connect::{ConnectError, Layers, connect};
use super::endpoint::Endpoint;
use super::tls::Connector;
use super::write_progress::{WatchedStream, WriteProgress};
use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Bytes of a request that the kernel buffers; it doubles them. With much more, a slow network would look like a
/// server that does not reply.
const SEND_BUFFER_BYTES: usize = 128 * 1024;

/// Why there is no connection.
#[derive(Debug)]
pub(super) enum HttpConnectionError {
    Connect(ConnectError),
    Http(hyper::Error),
}

/// An open connection and the task that drives it.
pub struct HttpConnection {
    to: Endpoint,
    sender: SendRequest<Full<Bytes>>,
    /// Stopped with the connection.
    _driver: ConnectionTask,
    certificate_end: u64,
    progress: Arc<WriteProgress>,
}

/// The task that drives a connection.
struct ConnectionTask(JoinHandle<()>);

impl Drop for ConnectionTask {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl HttpConnection {
    /// Connects to the server of `to`, over TLS if its URL has `https`.
    pub(super) async fn open(
        to: &Endpoint,
        tls: Option<&Connector>,
        connect_timeout: Duration,
    ) -> Result<Self, HttpConnectionError> {
        let layers = Layers { tls: tls.filter(|_| to.is_tls()), zlib: None };
        debug_assert!(layers.tls.is_some() == to.is_tls(), "a server with https has TLS");
        let connected = connect(to.host(), to.port(), layers, connect_timeout).await;
        let stream = connected.map_err(HttpConnectionError::Connect)?;
        // The system may limit the size.
        let _ =
            rustix::net::sockopt::set_socket_send_buffer_size(stream.socket(), SEND_BUFFER_BYTES);
        let progress = Arc::new(WriteProgress::default());
        let certificate_end = stream.peer_certificate().map_or(0, |shown| shown.not_after);
        let stream = WatchedStream { stream, progress: Arc::clone(&progress) };
        let begun = handshake(TokioIo::new(stream)).await;
        let (mut sender, driver) = begun.map_err(HttpConnectionError::Http)?;
        let driver = tokio::spawn(async move {
            // The request reports its error.
            let _ = driver.await;
        });
        let driver = ConnectionTask(driver);
        // The sender is usable only after the driver has begun.
        sender.ready().await.map_err(HttpConnectionError::Http)?;
        Ok(Self { to: to.clone(), sender, _driver: driver, certificate_end, progress })
    }

    /// Returns the expiry of the server's certificate, in seconds since 1970; 0 without one.
    pub fn certificate_end(&self) -> u64 {
        self.certificate_end
    }

    /// Returns true if a further request to `to` can use it.
    pub fn serves(&self, to: &Endpoint) -> bool {
        self.to.shares_connections_with(to) && !self.sender.is_closed() && self.sender.is_ready()
    }

    /// Returns the progress of writing to the server.
    pub(super) fn progress(&self) -> Arc<WriteProgress> {
        Arc::clone(&self.progress)
    }

    /// Sends a request and returns the response, whose body may still be arriving.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }
}
