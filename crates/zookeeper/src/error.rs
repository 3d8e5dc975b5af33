//! Why a node cannot be read.

use millpond_flow::net::connect::ConnectError;
use millpond_flow::net::tls::TlsError;
use std::io;
use std::time::Duration;

/// Why a node cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ZooKeeperError {
    /// The server is not connected.
    #[error("server {server}: {source}")]
    Connect {
        /// Host and port.
        server: String,
        /// The cause.
        source: ConnectError,
    },
    /// A store of certificates cannot be used.
    #[error("TLS cannot be used: {0}")]
    Tls(#[source] TlsError),
    /// The connection failed.
    #[error("server {server}: the connection failed: {source}")]
    Connection {
        /// Host and port.
        server: String,
        /// The cause.
        source: io::Error,
    },
    /// The server ended the connection.
    #[error("server {server}: it closed the connection{}", match stage {
        SessionStage::Opening => " before the session began; it may have no quorum, expect TLS on this port, or be older than another server of the ensemble",
        SessionStage::Open => "",
    })]
    Closed {
        /// Host and port.
        server: String,
        /// How far the session was.
        stage: SessionStage,
    },
    /// The server does not reply.
    #[error("server {server}: no reply for {} ms", after.as_millis())]
    Silent {
        /// Host and port.
        server: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server refuses the user or the password.
    #[error(
        "server {server}: it refuses the authentication ({code}); check --conf-user and its password"
    )]
    Authentication {
        /// Host and port.
        server: String,
        /// The server's error code.
        code: i32,
    },
    /// The node may not be read.
    #[error(
        "no permission to read it; its ACL needs a user that may, see --conf-user and --conf-password-file"
    )]
    NoPermission,
    /// The server replies with another error.
    #[error("server {server}: it replies with error {code}")]
    Reply {
        /// Host and port.
        server: String,
        /// The server's error code.
        code: i32,
    },
    /// The server sends something else than the protocol.
    #[error(
        "server {server}: not a message of ZooKeeper: {what}; is the port right, and with or without TLS?"
    )]
    Protocol {
        /// Host and port.
        server: String,
        /// What is wrong.
        what: &'static str,
    },
}

/// How far a session was when it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionStage {
    /// The server has not granted it.
    Opening,
    /// The server has granted it.
    Open,
}
