//! What a key or trust store holds, and why one cannot be read.

use crate::base::small_file::SmallFileError;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A private key and its certificate chain, its own certificate first.
pub(super) type KeyChain = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The content of a store.
#[derive(Debug, Default)]
pub(super) struct StoreContents {
    /// Private keys with their chains.
    pub(super) keys: Vec<KeyChain>,
    /// Trusted certificates.
    pub(super) trusted: Vec<CertificateDer<'static>>,
}

/// Why a store cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] SmallFileError),
    /// It is truncated or invalid.
    #[error("it is damaged: {0}")]
    Damaged(&'static str),
    /// The password is wrong.
    #[error("the password is not the store's, or the store is damaged")]
    Password,
    /// It is a JCEKS store.
    #[error(
        "JCEKS stores cannot be read; convert it: keytool -importkeystore -deststoretype PKCS12"
    )]
    Jceks,
    /// It has none of the three formats.
    #[error("it is not a store in JKS, PKCS12 or PEM")]
    Unknown,
    /// This build does not support PKCS12.
    #[error("PKCS12 stores cannot be read by this build (feature pkcs12)")]
    NoPkcs12,
    /// The PKCS12 store cannot be read.
    #[error("it cannot be read as PKCS12: {0}")]
    Pkcs12(String),
    /// A PEM file cannot be read.
    #[error("it cannot be read as PEM: {0}")]
    Pem(#[source] rustls::pki_types::pem::Error),
}
