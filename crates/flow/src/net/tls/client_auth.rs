//! Which client certificates a server asks for.

use std::path::PathBuf;

/// Settings of the client certificates that a server requests.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// Trusted certificates: authorities, or client certificates themselves.
    pub truststore: PathBuf,
    /// The password of that store.
    pub password: String,
    /// True if clients without a certificate are refused.
    pub required: bool,
    /// Patterns with `*` and `?`, one of which must match a name of the certificate, ignoring case; empty for any
    /// name.
    pub names: Vec<String>,
}
