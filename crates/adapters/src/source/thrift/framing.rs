//! How the source reads frames.

use crate::wire::thrift::ThriftProtocol;
use crate::wire::thrift::call::ThriftService;
use std::time::Duration;

/// The protocol of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct ThriftFraming {
    pub(super) service: ThriftService,
    pub(super) protocol: ThriftProtocol,
    /// Whether replies in the binary protocol have no version, as Scribe's clients expect.
    pub(super) is_old: bool,
    pub(super) request_bytes_max: usize,
    pub(super) request_timeout: Duration,
}
