//! Key and trust stores: JKS, PKCS12 or PEM, distinguished by their first bytes.

use super::jks;
use crate::base::limits::KEY_STORE_BYTES_MAX;
use crate::base::small_file::read_whole;
use crate::net::tls::StoreContents;
use crate::net::tls::StoreError;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

impl StoreContents {
    /// Reads the store at `path`.
    pub(super) fn read(path: &Path, password: &str) -> Result<Self, StoreError> {
        let bytes = read_whole(path, KEY_STORE_BYTES_MAX)?;
        Self::decode(&bytes, password)
    }

    pub(super) fn decode(bytes: &[u8], password: &str) -> Result<Self, StoreError> {
        match bytes {
            [0xfe, 0xed, 0xfe, 0xed, ..] => jks::decode(bytes, password),
            [0xce, 0xce, 0xce, 0xce, ..] => Err(StoreError::Jceks),
            [0x30, ..] => pkcs12(bytes, password),
            _ if bytes.windows(10).any(|text| text == b"-----BEGIN") => pem(bytes),
            _ => Err(StoreError::Unknown),
        }
    }
}

/// All certificates of a PEM file are the chain of its key and trusted certificates.
fn pem(bytes: &[u8]) -> Result<StoreContents, StoreError> {
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(bytes).collect::<Result<_, _>>().map_err(StoreError::Pem)?;
    let mut keys = Vec::new();
    for key in <PrivateKeyDer<'_> as PemObject>::pem_slice_iter(bytes) {
        keys.push((chain.clone(), key.map_err(StoreError::Pem)?));
    }
    let keys = if chain.is_empty() { Vec::new() } else { keys };
    Ok(StoreContents { keys, trusted: chain })
}

#[cfg(feature = "pkcs12")]
fn pkcs12(bytes: &[u8], password: &str) -> Result<StoreContents, StoreError> {
    use p12_keystore::error::Error;
    use p12_keystore::{KeyStore, KeyStoreEntry, Pkcs12ImportPolicy};
    use rustls::pki_types::PrivatePkcs8KeyDer;
    let store = KeyStore::from_pkcs12(bytes, password, Pkcs12ImportPolicy::Strict);
    let store = store.map_err(|error| match error {
        Error::MacError(_) | Error::UnpadError => StoreError::Password,
        error => StoreError::Pkcs12(error.to_string()),
    })?;
    let mut found = StoreContents::default();
    for (_, entry) in store.entries() {
        match entry {
            KeyStoreEntry::PrivateKeyChain(chain) => {
                let certificates = chain.certs().iter();
                let certificates =
                    certificates.map(|c| CertificateDer::from(c.as_der().to_vec())).collect();
                let key = PrivatePkcs8KeyDer::from(chain.key().as_der().to_vec());
                found.keys.push((certificates, key.into()));
            }
            KeyStoreEntry::Certificate(certificate) => {
                found.trusted.push(CertificateDer::from(certificate.as_der().to_vec()));
            }
            KeyStoreEntry::Secret(_) => {}
        }
    }
    Ok(found)
}

#[cfg(not(feature = "pkcs12"))]
fn pkcs12(_: &[u8], _: &str) -> Result<StoreContents, StoreError> {
    Err(StoreError::NoPkcs12)
}
