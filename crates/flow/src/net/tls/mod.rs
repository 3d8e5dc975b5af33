//! TLS clients and servers, configured by Flume's keys.
//!
//! [`ServerTls`] and [`ClientTls`] are settings; loading them reads the stores. Stores are JKS, PKCS12 or PEM,
//! distinguished by their first bytes: keytool writes PKCS12 under any name, and Java reads it under any type.
//!
//! TLS 1.2 and 1.3 with the cipher suites of rustls; a configuration that allows only older ones is refused. A
//! client verifies the chain and, unlike Flume's, the server's name; a server whose own certificate is in the
//! trust store is trusted whatever its name, as in Java.
//!
//! A server may request client certificates ([`ClientAuth`]), and a client may have one ([`KeyStore`]).
//! Components hold their stores in a [`StoreReloader`], which reads them again when their files change.

mod certificate;
mod client_auth;
mod handshake_limit;
mod jks;
pub mod pem;
mod store;
mod store_contents;
mod suite_filter;
#[cfg(test)]
mod tests;
mod verify;

pub use super::store_reloader::StoreReloader;
pub use certificate::Certificate;
pub use client_auth::ClientAuth;
pub use store_contents::StoreError;
pub use suite_filter::SuiteFilter;

use super::store_reloader::{ReloadableStores, StoreCheckError};
use super::zlib::Socket;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store_contents::{KeyChain, StoreContents};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// Settings of a TLS server.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Where its key and certificate are.
    pub keystore: PathBuf,
    /// The password of both the store and the key.
    pub password: String,
    /// Client certificates to request; `None` to request none.
    pub clients: Option<ClientAuth>,
    /// Allowed versions and suites.
    pub choice: SuiteFilter,
}

/// A store with the key and certificate of a client.
#[derive(Clone)]
pub struct KeyStore {
    /// Where it is.
    pub path: PathBuf,
    /// The password of both the store and the key.
    pub password: String,
}

/// Settings of a TLS client. By default it trusts what the system trusts, verifies names, and shows no
/// certificate.
#[derive(Clone)]
pub struct ClientTls {
    /// Trusted certificates; `None` for those of the system.
    pub truststore: Option<PathBuf>,
    /// The password of the trust store.
    pub password: String,
    /// True if every certificate is accepted, unverified.
    pub trust_all: bool,
    /// True if the certificate must be for the server's name.
    pub verify_name: bool,
    /// The client's own key and certificate.
    pub own: Option<KeyStore>,
    /// Allowed versions and suites.
    pub choice: SuiteFilter,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self {
            truststore: None,
            password: String::new(),
            trust_all: false,
            verify_name: true,
            own: None,
            choice: SuiteFilter::default(),
        }
    }
}

/// Does not show the password.
impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("keystore", &self.keystore).finish_non_exhaustive()
    }
}

/// Does not show the passwords.
impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("truststore", &self.truststore).finish_non_exhaustive()
    }
}

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A store cannot be read.
    #[error("the store {}: {cause}", path.display())]
    Store {
        /// Its path.
        path: PathBuf,
        /// The error.
        #[source]
        cause: StoreError,
    },
    /// The stores were not examined.
    #[error("the key and trust stores: {0}")]
    Unchecked(#[from] StoreCheckError),
    /// A key store contains no key.
    #[error("the store {} has no private key with its certificate", .0.display())]
    NoKey(PathBuf),
    /// A trust store contains no certificate.
    #[error("the store {} has no certificate to trust", .0.display())]
    NoTrust(PathBuf),
    /// The system has no trust store.
    #[error("the system has no trusted certificates; name a truststore")]
    NoSystemTrust,
    /// The settings leave no version of TLS.
    #[error(
        "no version of TLS is left: TLSv1.2 and TLSv1.3 are there, see include-protocols and exclude-protocols"
    )]
    NoProtocol,
    /// The settings leave no cipher suite.
    #[error(
        "no cipher suite is left: those with ECDHE and GCM or CHACHA20 are there, and those of TLSv1.3, see include-cipher-suites and exclude-cipher-suites"
    )]
    NoSuite,
    /// The key, its certificate and the settings are inconsistent.
    #[error("key, certificate and settings do not go together: {0}")]
    Rustls(#[from] rustls::Error),
    /// The trust store for clients contains no usable certificate.
    #[error("the certificates in the store {} cannot be used to verify clients: {cause}", path.display())]
    Clients {
        /// Its path.
        path: PathBuf,
        /// The error.
        #[source]
        cause: rustls::server::VerifierBuilderError,
    },
}

/// Accepts TLS connections.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    not_after: Option<u64>,
}

impl Acceptor {
    /// Performs the handshake with a client, within the process-wide limit of concurrent handshakes.
    ///
    /// # Errors
    /// The client does not speak TLS, or is not trusted where certificates are requested.
    pub async fn accept<S>(&self, socket: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        handshake_limit::paced(self.tls.accept(socket)).await
    }

    /// Returns the earliest expiry in the server's chain, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> Option<u64> {
        self.not_after
    }
}

/// Returns the class of a handshake error. Unlike the text of `error` it contains nothing that the peer chooses,
/// such as type, alert and version numbers.
pub fn handshake_error_kind(error: &io::Error) -> &'static str {
    use rustls::Error;
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<Error>());
    match cause {
        Some(Error::InvalidMessage(_)) => "not TLS",
        Some(
            Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_),
        ) => "against the protocol",
        Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol) => "nothing in common",
        Some(Error::NoCertificatesPresented) => "no certificate",
        Some(Error::InvalidCertificate(_)) => "certificate not accepted",
        Some(Error::AlertReceived(_)) => "alert",
        Some(Error::DecryptError | Error::PeerSentOversizedRecord) => "broken record",
        Some(_) => "other TLS error",
        None => "connection broken",
    }
}

/// Opens TLS connections.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    not_after: Option<u64>,
}

impl Connector {
    /// Returns the expiry of the client's own certificate, if it has one, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> Option<u64> {
        self.not_after
    }

    /// Performs the handshake with the server called `host`.
    ///
    /// # Errors
    /// The server does not speak TLS, or is not trusted.
    pub async fn greet(&self, host: &str, socket: Socket) -> io::Result<client::TlsStream<Socket>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.tls.connect(name, socket).await
    }
}

impl ServerTls {
    /// Reads the key store, and the trust store for clients if there is one. Blocks.
    ///
    /// # Errors
    /// A store cannot be read, or the settings leave no version or suite.
    pub fn load(&self) -> Result<Acceptor, TlsError> {
        let (chain, key) = key_of(&self.keystore, &self.password)?;
        let not_after = Certificate::first_end(&chain);
        let provider = self.choice.provider()?;
        let clients =
            self.clients.as_ref().map(|clients| clients.verifier(&provider)).transpose()?;
        let builder = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.choice.versions()?)?;
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier),
        };
        let mut config = builder.with_single_cert(chain, key)?;
        // Log senders read nothing. A session ticket that is unread when the client closes makes the kernel reset
        // the connection, and the data that the client sent last is lost.
        config.send_tls13_tickets = 0;
        Ok(Acceptor { tls: TlsAcceptor::from(Arc::new(config)), not_after })
    }
}

impl ClientAuth {
    fn verifier(
        &self,
        provider: &Arc<rustls::crypto::CryptoProvider>,
    ) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, TlsError> {
        let trusted = trusted_in(&self.truststore, &self.password)?;
        verify::ClientVerifier::verifier(trusted, self, provider)
            .map_err(|cause| TlsError::Clients { path: self.truststore.clone(), cause })
    }
}

impl ClientTls {
    /// Reads the trust store, and the key store if there is one. Blocks.
    ///
    /// # Errors
    /// A store cannot be read, or the settings leave no version or suite.
    pub fn load(&self) -> Result<Connector, TlsError> {
        let trusted = if self.trust_all { Vec::new() } else { self.trusted()? };
        let provider = self.choice.provider()?;
        let mut roots = RootCertStore::empty();
        // Public stores contain a few unusable certificates; they are skipped.
        roots.add_parsable_certificates(trusted.iter().cloned());
        let verifier = verify::ServerVerifier {
            trust_all: self.trust_all,
            verify_name: self.verify_name,
            trusted: if self.truststore.is_some() { trusted } else { Vec::new() },
            roots,
            algorithms: provider.signature_verification_algorithms,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&self.choice.versions()?)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let (config, not_after) = match &self.own {
            None => (config.with_no_client_auth(), None),
            Some(own) => {
                let (chain, key) = key_of(&own.path, &own.password)?;
                let not_after = Certificate::first_end(&chain);
                (config.with_client_auth_cert(chain, key)?, not_after)
            }
        };
        Ok(Connector { tls: TlsConnector::from(Arc::new(config)), not_after })
    }

    fn trusted(&self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let Some(path) = &self.truststore else {
            let found = rustls_native_certs::load_native_certs().certs;
            return if found.is_empty() { Err(TlsError::NoSystemTrust) } else { Ok(found) };
        };
        trusted_in(path, &self.password)
    }
}

/// Age at which the system's trust store, whose files are unknown, is read again for a connection.
const SYSTEM_AGE_MAX: Duration = Duration::from_secs(60);

impl ReloadableStores for ServerTls {
    type Loaded = Acceptor;
    type Error = TlsError;

    fn files(&self) -> Vec<PathBuf> {
        let clients = self.clients.iter().map(|clients| clients.truststore.clone());
        [self.keystore.clone()].into_iter().chain(clients).collect()
    }

    fn age_max(&self) -> Option<Duration> {
        None
    }

    fn load(&self) -> Result<Acceptor, TlsError> {
        Self::load(self)
    }
}

impl ReloadableStores for ClientTls {
    type Loaded = Connector;
    type Error = TlsError;

    fn files(&self) -> Vec<PathBuf> {
        let truststore = self.truststore.clone().filter(|_| !self.trust_all);
        truststore.into_iter().chain(self.own.iter().map(|own| own.path.clone())).collect()
    }

    fn age_max(&self) -> Option<Duration> {
        (self.truststore.is_none() && !self.trust_all).then_some(SYSTEM_AGE_MAX)
    }

    fn load(&self) -> Result<Connector, TlsError> {
        Self::load(self)
    }
}

/// Reads the key or trust store at `path` and returns the earliest expiry of its certificates, in seconds since
/// 1970; `None` if none can be read. Blocks.
///
/// # Errors
/// The store cannot be read.
pub fn first_end(path: &Path, password: &str) -> Result<Option<u64>, TlsError> {
    let store = read(path, password)?;
    let chains = store.keys.iter().flat_map(|(chain, _)| chain);
    let all: Vec<_> = chains.chain(&store.trusted).cloned().collect();
    Ok(Certificate::first_end(&all))
}

/// Returns the key of a store, with its certificate chain.
fn key_of(path: &Path, password: &str) -> Result<KeyChain, TlsError> {
    let keys = read(path, password)?.keys;
    keys.into_iter().next().ok_or_else(|| TlsError::NoKey(path.to_owned()))
}

fn trusted_in(path: &Path, password: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let trusted = read(path, password)?.trusted;
    if trusted.is_empty() { Err(TlsError::NoTrust(path.to_owned())) } else { Ok(trusted) }
}

fn read(path: &Path, password: &str) -> Result<StoreContents, TlsError> {
    StoreContents::read(path, password)
        .map_err(|cause| TlsError::Store { path: path.to_owned(), cause })
}
