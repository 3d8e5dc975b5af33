//! The two ends of TLS, as Flume's keys describe them.
//!
//! A [`ServerTls`] or [`ClientTls`] is what a configuration says; loading it reads the stores. Stores
//! are Java's JKS, PKCS12 or PEM, told apart by their first bytes: keytool writes PKCS12 under any
//! name, and Java reads it under any type.
//!
//! TLS 1.2 and 1.3 with the suites of rustls: there are no others here, so a configuration that allows
//! older ones only is refused. A client verifies the chain and, unlike Flume's, the server's name; a
//! server whose very certificate stands in the trust store is trusted whatever its name, as in Java.
//!
//! A server may ask its clients for certificates ([`ClientAuth`]), and a client may have one ([`KeyStore`]).
//! Components hold their stores as [`Reloading`], which reads them again when their files change.

mod certificate;
mod choice;
mod jks;
mod pace;
mod store;
#[cfg(test)]
mod tests;
mod verify;

pub use super::reloading::Reloading;
pub use certificate::Certificate;
pub use choice::Choice;
pub use store::StoreError;

use super::reloading::{Stores, Unseen};
use super::zlib::Socket;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use store::{KeyChain, Store};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

/// What a server of TLS is to be.
#[derive(Clone, PartialEq, Eq)]
pub struct ServerTls {
    /// Where its key and certificate are.
    pub keystore: PathBuf,
    /// The password of both the store and the key.
    pub password: String,
    /// Which clients may come in; `None` to ask none for a certificate.
    pub clients: Option<ClientAuth>,
    /// Versions and suites.
    pub choice: Choice,
}

/// The certificates of clients that a server asks for.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientAuth {
    /// Who is trusted: authorities, or the very certificates of clients.
    pub truststore: PathBuf,
    /// The password of that store.
    pub password: String,
    /// Whether a client without a certificate is turned away.
    pub required: bool,
    /// Patterns with `*` and `?`, one of which a name of the certificate must fit, whatever its case; none for any.
    pub names: Vec<String>,
}

/// A store with a key and its certificate, for a client that shows who it is.
#[derive(Clone)]
pub struct KeyStore {
    /// Where it is.
    pub path: PathBuf,
    /// The password of both the store and the key.
    pub password: String,
}

/// What a client of TLS is to be. By default it trusts whom the system trusts, verifies names, and shows no
/// certificate.
#[derive(Clone)]
pub struct ClientTls {
    /// Who is trusted; `None` for whom the system trusts.
    pub truststore: Option<PathBuf>,
    /// The password of the trust store.
    pub password: String,
    /// Whether every certificate is taken, unverified.
    pub trust_all: bool,
    /// Whether the certificate must be for the server's name.
    pub verify_name: bool,
    /// The client's own key and certificate, if it has one to show.
    pub own: Option<KeyStore>,
    /// Versions and suites.
    pub choice: Choice,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self {
            truststore: None,
            password: String::new(),
            trust_all: false,
            verify_name: true,
            own: None,
            choice: Choice::default(),
        }
    }
}

/// Passwords are not for a log.
impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("keystore", &self.keystore).finish_non_exhaustive()
    }
}

/// Passwords are not for a log.
impl std::fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientTls").field("truststore", &self.truststore).finish_non_exhaustive()
    }
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A store cannot be read.
    #[error("the store {}: {cause}", path.display())]
    Store {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        cause: StoreError,
    },
    /// They were not even looked at.
    #[error("the key and trust stores: {0}")]
    Unseen(#[from] Unseen),
    /// A key store without a key.
    #[error("the store {} has no private key with its certificate", .0.display())]
    NoKey(PathBuf),
    /// A trust store without a certificate.
    #[error("the store {} has no certificate to trust", .0.display())]
    NoTrust(PathBuf),
    /// The system has no trust store.
    #[error("the system has no trusted certificates; name a truststore")]
    NoSystemTrust,
    /// No version of TLS is left.
    #[error(
        "no version of TLS is left: TLSv1.2 and TLSv1.3 are there, see include-protocols and exclude-protocols"
    )]
    NoProtocol,
    /// No suite is left.
    #[error(
        "no cipher suite is left: those with ECDHE and GCM or CHACHA20 are there, and those of TLSv1.3, see include-cipher-suites and exclude-cipher-suites"
    )]
    NoSuite,
    /// The key, its certificate and the choice do not go together.
    #[error("key, certificate and settings do not go together: {0}")]
    Rustls(#[from] rustls::Error),
    /// Nothing in the trust store for clients can be trusted.
    #[error("the certificates in the store {} cannot be used to verify clients: {cause}", path.display())]
    Clients {
        /// Its path.
        path: PathBuf,
        /// Why.
        #[source]
        cause: rustls::server::VerifierBuilderError,
    },
}

/// Greets clients.
#[derive(Clone)]
pub struct Acceptor {
    tls: TlsAcceptor,
    not_after: Option<u64>,
}

impl Acceptor {
    /// Shakes hands with a client, in its turns among all handshakes of the process.
    ///
    /// # Errors
    /// It does not speak TLS, or is not trusted where certificates are asked for.
    pub async fn accept<S>(&self, socket: S) -> io::Result<server::TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        pace::paced(self.tls.accept(socket)).await
    }

    /// When the server's certificate, or one that vouches for it, ends, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> Option<u64> {
        self.not_after
    }
}

/// Returns what tells one cause of a failed handshake from another. The words of `error` may hold what the peer has
/// chosen: numbers of types, alerts and versions.
pub(crate) fn handshake_error_kind(error: &io::Error) -> &'static str {
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

/// Greets servers.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    not_after: Option<u64>,
}

impl Connector {
    /// When the client's own certificate ends, if it has one, in seconds since 1970.
    #[must_use]
    pub fn not_after(&self) -> Option<u64> {
        self.not_after
    }

    /// Shakes hands with the server called `host`.
    ///
    /// # Errors
    /// It does not speak TLS, or is not trusted.
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
    /// It cannot be read, or the settings leave nothing that could be agreed on.
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
        // Senders of logs read nothing. A ticket that nobody has read when its client closes makes the kernel
        // reset the connection, and what the client sent last is lost on the way.
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
        verify::Clients::verifier(trusted, self, provider)
            .map_err(|cause| TlsError::Clients { path: self.truststore.clone(), cause })
    }
}

impl ClientTls {
    /// Reads the trust store, and the key store if there is one. Blocks.
    ///
    /// # Errors
    /// It cannot be read, or the settings leave nothing that could be agreed on.
    pub fn load(&self) -> Result<Connector, TlsError> {
        let trusted = if self.trust_all { Vec::new() } else { self.trusted()? };
        let provider = self.choice.provider()?;
        let mut roots = RootCertStore::empty();
        // Public stores have a few that nobody can use; they are left out, as everywhere.
        roots.add_parsable_certificates(trusted.iter().cloned());
        let verifier = verify::Verifier {
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

/// The system's trust store, of which nobody knows the files, is read again at a connection after this time.
const SYSTEM_AGE_MAX: Duration = Duration::from_secs(60);

impl Stores for ServerTls {
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

impl Stores for ClientTls {
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

/// Reads the key or trust store at `path` and returns when the first of its certificates ends, in seconds since
/// 1970; `None` where none can be read. Blocks.
///
/// # Errors
/// The store cannot be read.
pub fn first_end(path: &Path, password: &str) -> Result<Option<u64>, TlsError> {
    let store = read(path, password)?;
    let chains = store.keys.iter().flat_map(|(chain, _)| chain);
    let all: Vec<_> = chains.chain(&store.trusted).cloned().collect();
    Ok(Certificate::first_end(&all))
}

/// The key of a store, with its certificates.
fn key_of(path: &Path, password: &str) -> Result<KeyChain, TlsError> {
    let keys = read(path, password)?.keys;
    keys.into_iter().next().ok_or_else(|| TlsError::NoKey(path.to_owned()))
}

fn trusted_in(path: &Path, password: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let trusted = read(path, password)?.trusted;
    if trusted.is_empty() { Err(TlsError::NoTrust(path.to_owned())) } else { Ok(trusted) }
}

fn read(path: &Path, password: &str) -> Result<Store, TlsError> {
    Store::read(path, password).map_err(|cause| TlsError::Store { path: path.to_owned(), cause })
}
