//! The two ends of TLS, as Flume's keys describe them.
//!
//! A [`ServerTls`] or [`ClientTls`] is what a configuration says; loading it reads the stores. Stores
//! are Java's JKS, PKCS12 or PEM, told apart by their first bytes: keytool writes PKCS12 under any
//! name, and Java reads it under any type.
//!
//! TLS 1.2 and 1.3 with the suites of rustls: there are no others here, so a configuration that allows
//! older ones only is refused. A client verifies the chain and, unlike Flume's, the server's name; a
//! server whose very certificate stands in the trust store is trusted whatever its name, as in Java.

mod choice;
mod jks;
mod store;
#[cfg(test)]
mod tests;
mod verify;

pub use choice::Choice;
pub use store::StoreError;

use super::zlib::Socket;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use store::Store;
use tokio_rustls::{TlsAcceptor, TlsConnector, client};

/// What a server of TLS is to be.
#[derive(Clone)]
pub struct ServerTls {
    /// Where its key and certificate are.
    pub keystore: PathBuf,
    /// The password of both the store and the key.
    pub password: String,
    /// Versions and suites.
    pub choice: Choice,
}

/// What a client of TLS is to be.
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
    /// Versions and suites.
    pub choice: Choice,
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
    /// Reading it ended by itself.
    #[error("reading the stores did not end well")]
    Unread,
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
}

/// Greets clients.
pub type Acceptor = TlsAcceptor;

/// Greets servers.
#[derive(Clone)]
pub struct Connector(TlsConnector);

impl Connector {
    /// Shakes hands with the server called `host`.
    ///
    /// # Errors
    /// It does not speak TLS, or is not trusted.
    pub async fn greet(&self, host: &str, socket: Socket) -> io::Result<client::TlsStream<Socket>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.0.connect(name, socket).await
    }
}

impl ServerTls {
    /// Reads the key store. Blocks.
    ///
    /// # Errors
    /// It cannot be read, or the settings leave nothing that could be agreed on.
    pub fn load(&self) -> Result<Acceptor, TlsError> {
        let store = read(&self.keystore, &self.password)?;
        let (chain, key) =
            store.keys.into_iter().next().ok_or_else(|| TlsError::NoKey(self.keystore.clone()))?;
        let builder = ServerConfig::builder_with_provider(self.choice.provider()?);
        let mut config = builder
            .with_protocol_versions(&self.choice.versions()?)?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        // Senders of logs read nothing. A ticket that nobody has read when its client closes makes the kernel
        // reset the connection, and what the client sent last is lost on the way.
        config.send_tls13_tickets = 0;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

/// Reads the trust store of `tls` beside the runtime.
///
/// # Errors
/// As [`ClientTls::load`].
pub async fn load(tls: ClientTls) -> Result<Connector, TlsError> {
    let loaded = tokio::task::spawn_blocking(move || tls.load()).await;
    loaded.map_err(|_| TlsError::Unread)?
}

impl ClientTls {
    /// Reads the trust store. Blocks.
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
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Connector(TlsConnector::from(Arc::new(config))))
    }

    fn trusted(&self) -> Result<Vec<rustls::pki_types::CertificateDer<'static>>, TlsError> {
        let Some(path) = &self.truststore else {
            let found = rustls_native_certs::load_native_certs().certs;
            return if found.is_empty() { Err(TlsError::NoSystemTrust) } else { Ok(found) };
        };
        let trusted = read(path, &self.password)?.trusted;
        if trusted.is_empty() { Err(TlsError::NoTrust(path.clone())) } else { Ok(trusted) }
    }
}

fn read(path: &std::path::Path, password: &str) -> Result<Store, TlsError> {
    Store::read(path, password).map_err(|cause| TlsError::Store { path: path.to_owned(), cause })
}
