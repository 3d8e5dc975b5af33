//! Stores as PEM text, for clients that have a TLS implementation of their own.

use super::{TlsError, key_of, trusted_in};
use base64ct::{Base64, Encoding as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::path::Path;

/// Characters of a line of PEM.
const LINE_CHARS: usize = 64;

/// A private key and its certificates as PEM text.
pub struct KeyPem {
    /// The certificates, the key's own one first.
    pub certificates: String,
    /// The private key, not encrypted.
    pub key: String,
}

/// Does not show the key.
impl std::fmt::Debug for KeyPem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("KeyPem").finish_non_exhaustive()
    }
}

/// Reads the trust store at `path` and returns its certificates. Blocks.
///
/// # Errors
/// The store cannot be read or has no certificate.
pub fn trusted(path: &Path, password: &str) -> Result<String, TlsError> {
    Ok(certificates(&trusted_in(path, password)?))
}

/// Reads the key store at `path` and returns its key. Blocks.
///
/// # Errors
/// The store cannot be read or has no key.
pub fn key(path: &Path, password: &str) -> Result<KeyPem, TlsError> {
    let (chain, key) = key_of(path, password)?;
    let (label, der) = match &key {
        PrivateKeyDer::Pkcs1(der) => ("RSA PRIVATE KEY", der.secret_pkcs1_der()),
        PrivateKeyDer::Sec1(der) => ("EC PRIVATE KEY", der.secret_sec1_der()),
        PrivateKeyDer::Pkcs8(der) => ("PRIVATE KEY", der.secret_pkcs8_der()),
        _ => return Err(TlsError::NoKey(path.to_owned())),
    };
    let mut text = String::new();
    put(&mut text, label, der);
    Ok(KeyPem { certificates: certificates(&chain), key: text })
}

fn certificates(all: &[CertificateDer<'_>]) -> String {
    let mut text = String::new();
    for certificate in all {
        put(&mut text, "CERTIFICATE", certificate);
    }
    text
}

fn put(text: &mut String, label: &str, der: &[u8]) {
    text.push_str(&format!("-----BEGIN {label}-----\n"));
    let encoded = Base64::encode_string(der);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE_CHARS));
        text.push_str(line);
        text.push('\n');
        rest = after;
    }
    text.push_str(&format!("-----END {label}-----\n"));
}

#[cfg(test)]
mod tests {
    use super::super::store_contents::StoreContents;
    use super::*;

    #[test]
    fn what_is_written_as_pem_is_read_back() {
        let der: Vec<u8> = (0..200).collect();
        let certificate = CertificateDer::from(der.clone());
        let text = certificates(&[certificate.clone(), certificate.clone()]);
        let read = StoreContents::decode(text.as_bytes(), "").unwrap();
        assert_eq!(read.trusted, [certificate.clone(), certificate]);
        assert!(text.lines().all(|line| line.len() <= LINE_CHARS));
        assert!(text.starts_with("-----BEGIN CERTIFICATE-----\n"));
    }

    #[test]
    fn a_store_that_is_not_there_is_named() {
        let error = key(Path::new("/no/such.jks"), "secret").unwrap_err().to_string();
        assert!(error.contains("/no/such.jks") && !error.contains("secret"), "{error}");
        assert!(trusted(Path::new("/no/such.jks"), "").is_err());
    }
}
