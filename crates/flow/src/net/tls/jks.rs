//! Java's own key store format JKS: a list of entries, keys encrypted with a SHA-1 stream, and a digest over
//! everything and the password at the end, as `sun.security.provider`'s `JavaKeyStore` and `KeyProtector` write
//! it.

use super::store_contents::{StoreContents, StoreError};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA1_OUTPUT_LEN};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};

const PRIVATE_KEY: u32 = 1;
const TRUSTED: u32 = 2;
/// The constant that the final digest covers after the password.
const WHITENER: &[u8] = b"Mighty Aphrodite";
/// The DER-encoded algorithm of protected keys, 1.3.6.1.4.1.42.2.17.1.1.
const KEY_PROTECTOR: &[u8] = b"\x06\x0a\x2b\x06\x01\x04\x01\x2a\x02\x11\x01\x01";

type Sha1 = [u8; SHA1_OUTPUT_LEN];

pub(super) fn decode(bytes: &[u8], password: &str) -> Result<StoreContents, StoreError> {
    let end = bytes.len().checked_sub(SHA1_OUTPUT_LEN).ok_or(StoreError::Damaged("it is short"))?;
    let (content, digest) = bytes.split_at(end);
    let password = utf16(password);
    if sha1(&[&password, WHITENER, content]) != digest {
        return Err(StoreError::Password);
    }
    let mut read = JksReader(content);
    read.take(4)?;
    let version = read.u32()?;
    if !matches!(version, 1 | 2) {
        return Err(StoreError::Damaged("its version is unknown"));
    }
    let mut store = StoreContents::default();
    for _ in 0..read.u32()? {
        let kind = read.u32()?;
        read.text()?; // the alias
        read.take(8)?; // when it was made
        match kind {
            PRIVATE_KEY => {
                let protected = read.bytes()?;
                let mut chain = Vec::new();
                for _ in 0..read.u32()? {
                    chain.push(certificate(&mut read, version)?);
                }
                let key = unprotect(protected, &password)?;
                store.keys.push((chain, PrivatePkcs8KeyDer::from(key).into()));
            }
            TRUSTED => store.trusted.push(certificate(&mut read, version)?),
            _ => return Err(StoreError::Damaged("an entry is of an unknown kind")),
        }
    }
    Ok(store)
}

fn certificate(
    read: &mut JksReader<'_>,
    version: u32,
) -> Result<CertificateDer<'static>, StoreError> {
    if version == 2 {
        read.text()?; // its type: X.509
    }
    Ok(CertificateDer::from(read.bytes()?.to_vec()))
}

/// Decrypts `protected`: a salt, the key under a stream of digests, and a digest of the key.
fn unprotect(protected: &[u8], password: &[u8]) -> Result<Vec<u8>, StoreError> {
    let mut read = JksReader(protected);
    let mut outer = JksReader(read.der(0x30)?);
    let algorithm = outer.der(0x30)?;
    if !algorithm.starts_with(KEY_PROTECTOR) {
        return Err(StoreError::Damaged("a key is protected in an unknown way"));
    }
    let octets = outer.der(0x04)?;
    let len = octets
        .len()
        .checked_sub(2 * SHA1_OUTPUT_LEN)
        .ok_or(StoreError::Damaged("a key is short"))?;
    let (salt, rest) = octets.split_at(SHA1_OUTPUT_LEN);
    let (hidden, check) = rest.split_at(len);
    let (mut key, mut stream) = (Vec::with_capacity(len), salt.to_vec());
    for piece in hidden.chunks(SHA1_OUTPUT_LEN) {
        stream = sha1(&[password, &stream]).to_vec();
        key.extend(piece.iter().zip(&stream).map(|(byte, mask)| byte ^ mask));
    }
    if sha1(&[password, &key]) != check {
        return Err(StoreError::Password);
    }
    Ok(key)
}

fn sha1(parts: &[&[u8]]) -> Sha1 {
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    parts.iter().for_each(|part| context.update(part));
    let mut digest = [0; SHA1_OUTPUT_LEN];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Returns a password as Java digests it.
fn utf16(password: &str) -> Vec<u8> {
    password.encode_utf16().flat_map(u16::to_be_bytes).collect()
}

/// The bytes that are not read yet.
struct JksReader<'a>(&'a [u8]);

impl<'a> JksReader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], StoreError> {
        let (front, rest) =
            self.0.split_at_checked(len).ok_or(StoreError::Damaged("it ends within an entry"))?;
        self.0 = rest;
        Ok(front)
    }

    fn u32(&mut self) -> Result<u32, StoreError> {
        let bytes = self.take(4)?;
        Ok(bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    /// Reads a text with a length of two bytes.
    fn text(&mut self) -> Result<&'a [u8], StoreError> {
        let len = self.take(2)?;
        self.take(usize::from(u16::from_be_bytes([len[0], len[1]])))
    }

    /// Reads bytes with a length of four bytes.
    fn bytes(&mut self) -> Result<&'a [u8], StoreError> {
        let len = self.u32()? as usize;
        self.take(len)
    }

    /// Reads a DER value with the tag `tag` and returns its content.
    fn der(&mut self, tag: u8) -> Result<&'a [u8], StoreError> {
        if self.take(1)? != [tag] {
            return Err(StoreError::Damaged("a key is not a DER value"));
        }
        let len = match self.take(1)?[0] {
            short @ 0..=0x7f => usize::from(short),
            long @ 0x81..=0x84 => {
                let bytes = self.take(usize::from(long - 0x80))?;
                bytes.iter().fold(0, |len, byte| len << 8 | usize::from(*byte))
            }
            _ => return Err(StoreError::Damaged("a key has no length")),
        };
        self.take(len)
    }
}
