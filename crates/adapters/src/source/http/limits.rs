//! What one connection of the source may use.

use super::content::RequestContent;
use millpond_flow::base::limits::HTTP_CONNECTION_BYTES;
use millpond_flow::net::http_auth::{Credentials, HttpAuth};
use millpond_flow::net::store_reloader::StoreReloader;
use millpond_flow::source::Failure;
use std::time::Duration;

/// Longest time without a byte of a request, and for its headers, as in Jetty.
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// Rules shared by all sessions.
#[derive(Debug)]
pub(super) struct HttpLimits {
    pub(super) content: RequestContent,
    pub(super) body_bytes_max: usize,
    pub(super) headers_bytes_max: usize,
    pub(super) request_timeout: Duration,
    /// The credentials that clients must present.
    pub(super) auth: Option<StoreReloader<HttpAuth>>,
}

impl HttpLimits {
    /// Returns the most bytes of a connection's buffer.
    pub(super) fn buffer_bytes_max(&self) -> usize {
        self.headers_bytes_max + READ_BYTES
    }

    /// Returns the bytes that a connection keeps after its first byte: parsed headers hold the buffer that they came
    /// in, and the data after them has another.
    pub(super) fn kept_bytes(&self) -> usize {
        HTTP_CONNECTION_BYTES.max(2 * self.buffer_bytes_max())
    }

    /// Returns the credentials that clients must present, recently read.
    pub(super) async fn credentials(&self, source: &str) -> Result<Option<Credentials>, Failure> {
        let Some(auth) = &self.auth else { return Ok(None) };
        let read = auth.recent(&format!("source {source}")).await;
        read.map(Some).map_err(|error| Failure::caused("cannot check who sends", error))
    }
}

/// Read buffer in bytes, in addition to the limit of the headers.
pub(super) const READ_BYTES: usize = 8 * 1024;
