//! A filter for TLS versions and cipher suites, by their Java names.

use super::TlsError;
use rustls::crypto::CryptoProvider;
use rustls::{SupportedCipherSuite, SupportedProtocolVersion, version};
use std::sync::Arc;

/// Names of versions and suites: if any are included, only those; without those excluded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SuiteFilter {
    /// `include-protocols`.
    pub include_protocols: Vec<String>,
    /// `exclude-protocols`.
    pub exclude_protocols: Vec<String>,
    /// `include-cipher-suites`.
    pub include_suites: Vec<String>,
    /// `exclude-cipher-suites`.
    pub exclude_suites: Vec<String>,
}

const VERSIONS: [(&str, &SupportedProtocolVersion); 2] =
    [("TLSv1.3", &version::TLS13), ("TLSv1.2", &version::TLS12)];

fn chosen(name: &str, include: &[String], exclude: &[String]) -> bool {
    let among = |list: &[String]| list.iter().any(|n| n.eq_ignore_ascii_case(name));
    (include.is_empty() || among(include)) && !among(exclude)
}

impl SuiteFilter {
    pub(super) fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
        let chosen = |name| chosen(name, &self.include_protocols, &self.exclude_protocols);
        let left: Vec<_> =
            VERSIONS.iter().filter(|(name, _)| chosen(name)).map(|(_, version)| *version).collect();
        if left.is_empty() { Err(TlsError::NoProtocol) } else { Ok(left) }
    }

    pub(super) fn provider(&self) -> Result<Arc<CryptoProvider>, TlsError> {
        let mut provider = rustls::crypto::ring::default_provider();
        let versions = self.versions()?;
        provider.cipher_suites.retain(|suite| {
            chosen(&java_name(*suite), &self.include_suites, &self.exclude_suites)
                && versions.iter().any(|version| suite.version().version == version.version)
        });
        // A version without a suite cannot be negotiated; at least one must remain.
        if provider.cipher_suites.is_empty() {
            return Err(TlsError::NoSuite);
        }
        Ok(Arc::new(provider))
    }
}

/// Returns the Java name of a suite: `TLS_AES_128_GCM_SHA256`, which rustls calls `TLS13_AES_128_GCM_SHA256`.
fn java_name(suite: SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.replacen("TLS13_", "TLS_", 1)
}
