//! HTTP authentication, Basic (RFC 7617) and Bearer (RFC 6750), of clients and servers.
//!
//! Limits: a file with a password or a token has at most [`SECRET_BYTES_MAX`] bytes.
//!
//! Invariants: comparing takes the same time wherever the first difference is; no secret is in
//! [`Debug`](std::fmt::Debug) or in an error.

use super::store_reloader::{ReloadableStores, StoreCheckError};
use crate::base::small_file::{SmallFileError, read_whole};
use base64ct::{Base64, Encoding};
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use ring::hmac;
use ring::rand::SystemRandom;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Most bytes of a file with a password or a token. Tokens with claims have some kilobytes.
const SECRET_BYTES_MAX: u64 = 16 * 1024;

/// A password or a token, given directly or as the first line of a file.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The secret itself.
    Text(String),
    /// A file, read again when it changes.
    File(PathBuf),
}

/// Does not show the secret.
impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(_) => f.write_str("Text(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// Credentials; at least one of the two is set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HttpAuth {
    /// A user's name and password.
    pub basic: Option<(String, Secret)>,
    /// A token.
    pub bearer: Option<Secret>,
}

/// Why a password or a token cannot be used. Never contains a part of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Its file cannot be read.
    #[error("the file {}: {cause}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error.
        #[source]
        cause: SmallFileError,
    },
    /// Its file contains no secret.
    #[error("the file {} has no password or token: one line of visible characters", .0.display())]
    Empty(PathBuf),
    /// It has characters that a header cannot contain.
    #[error("a token has letters, digits and signs of ASCII only, without blanks")]
    Unsendable,
    /// The file was not examined.
    #[error("the file with the password or token: {0}")]
    Unchecked(#[from] StoreCheckError),
}

impl AuthError {
    /// Returns the cause without naming the file.
    #[must_use]
    pub fn cause(&self) -> String {
        match self {
            Self::File { cause, .. } => cause.to_string(),
            Self::Empty(_) => "it has none: one line of visible characters".to_owned(),
            Self::Unsendable | Self::Unchecked(_) => self.to_string(),
        }
    }
}

impl Secret {
    /// Returns the current secret.
    ///
    /// # Errors
    /// Its file cannot be read or contains no secret.
    pub fn read(&self) -> Result<String, AuthError> {
        let path: &Path = match self {
            Self::Text(text) => return Ok(text.clone()),
            Self::File(path) => path,
        };
        let bytes = read_whole(path, SECRET_BYTES_MAX)
            .map_err(|cause| AuthError::File { path: path.to_owned(), cause })?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        let line = text.lines().next().unwrap_or_default();
        if line.is_empty() || line.contains(char::is_control) {
            return Err(AuthError::Empty(path.to_owned()));
        }
        Ok(line.to_owned())
    }

    fn file(&self) -> Option<PathBuf> {
        match self {
            Self::Text(_) => None,
            Self::File(path) => Some(path.clone()),
        }
    }
}

impl ReloadableStores for HttpAuth {
    type Loaded = Credentials;
    type Error = AuthError;

    fn files(&self) -> Vec<PathBuf> {
        let secrets = self.basic.iter().map(|(_, secret)| secret).chain(&self.bearer);
        secrets.filter_map(Secret::file).collect()
    }

    fn age_max(&self) -> Option<Duration> {
        None
    }

    fn load(&self) -> Result<Credentials, AuthError> {
        let mut shown = Vec::new();
        if let Some(secret) = &self.bearer {
            let token = secret.read()?;
            if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(AuthError::Unsendable);
            }
            shown.push(RedactedSecret { scheme: "Bearer", credentials: token });
        }
        if let Some((user, secret)) = &self.basic {
            let both = format!("{user}:{}", secret.read()?);
            shown.push(RedactedSecret {
                scheme: "Basic",
                credentials: Base64::encode_string(both.as_bytes()),
            });
        }
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        let key = key.map_err(|_| AuthError::Unchecked(StoreCheckError::Ended))?;
        let tags =
            shown.iter().map(|shown| hmac::sign(&key, shown.credentials.as_bytes())).collect();
        Ok(Credentials(Arc::new(ReadSecrets { shown, key, tags })))
    }
}

/// The passwords and tokens as last read.
#[derive(Clone)]
pub struct Credentials(Arc<ReadSecrets>);

struct ReadSecrets {
    shown: Vec<RedactedSecret>,
    /// Key of this process only: MACs are compared instead of the secrets.
    key: hmac::Key,
    tags: Vec<hmac::Tag>,
}

struct RedactedSecret {
    scheme: &'static str,
    credentials: String,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Returns true if the request headers contain exactly one of the credentials.
    #[must_use]
    pub fn admit(&self, headers: &HeaderMap) -> bool {
        let mut all = headers.get_all(AUTHORIZATION).iter();
        let (Some(given), None) = (all.next(), all.next()) else { return false };
        let Some((scheme, credentials)) = given.to_str().ok().and_then(|text| text.split_once(' '))
        else {
            return false;
        };
        let credentials = credentials.trim_start_matches(' ').as_bytes();
        let known = self.0.shown.iter().zip(&self.0.tags);
        let mut of_scheme = known.filter(|(shown, _)| shown.scheme.eq_ignore_ascii_case(scheme));
        of_scheme.any(|(_, tag)| hmac::verify(&self.0.key, credentials, tag.as_ref()).is_ok())
    }

    /// Adds the `WWW-Authenticate` headers to those of a response with status 401.
    pub fn challenge(&self, headers: &mut HeaderMap) {
        for shown in &self.0.shown {
            let value = match shown.scheme {
                "Basic" => HeaderValue::from_static("Basic realm=\"millpond\", charset=\"UTF-8\""),
                _ => HeaderValue::from_static("Bearer realm=\"millpond\""),
            };
            headers.append(WWW_AUTHENTICATE, value);
        }
    }

    /// Returns the `Authorization` header of a client, with the first of the credentials.
    #[must_use]
    pub fn header(&self) -> Option<HeaderValue> {
        let RedactedSecret { scheme, credentials } = self.0.shown.first()?;
        let mut value = HeaderValue::from_str(&format!("{scheme} {credentials}")).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_complete_credentials_are_admitted() {
        let basic = Some(("Aladdin".to_owned(), Secret::Text("open sesame".to_owned())));
        let bearer = Some(Secret::Text("t0ken".to_owned()));
        let known = HttpAuth { basic, bearer }.load().unwrap();
        let aladdin = "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==";
        for good in [aladdin, "basic  QWxhZGRpbjpvcGVuIHNlc2FtZQ==", "Bearer t0ken", "BEARER t0ken"]
        {
            assert!(known.admit(&headers(&[good])), "{good}");
        }
        for bad in [
            "Basic t0ken",
            "Bearer QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
            "Bearer t0ke",
            "Bearer t0kenx",
            "Bearer ",
            "Bearer",
            "t0ken",
            "Digest t0ken",
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZR==",
        ] {
            assert!(!known.admit(&headers(&[bad])), "{bad}");
        }
        assert!(!known.admit(&headers(&[])));
        assert!(!known.admit(&headers(&[aladdin, aladdin])), "which of them would count?");
        let mut answer = HeaderMap::new();
        known.challenge(&mut answer);
        let asked: Vec<_> = answer.get_all(WWW_AUTHENTICATE).iter().collect();
        assert_eq!(
            asked,
            ["Bearer realm=\"millpond\"", "Basic realm=\"millpond\", charset=\"UTF-8\""]
        );
        let shown = known.header().unwrap();
        assert!(shown.is_sensitive() && shown == "Bearer t0ken");
        assert!(!format!("{known:?}{:?}", Secret::Text("t0ken".to_owned())).contains("t0ken"));
    }

    #[test]
    fn a_secret_is_the_first_line_of_its_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let auth = HttpAuth { basic: None, bearer: Some(Secret::File(path.clone())) };
        for (content, token) in [
            ("abc\n", Some("Bearer abc")),
            ("abc\r\nx", Some("Bearer abc")),
            ("", None),
            ("\nabc", None),
            ("a b", None),
            ("a\u{1}b", None),
        ] {
            std::fs::write(&path, content).unwrap();
            match (auth.load(), token) {
                (Ok(read), Some(token)) => assert_eq!(read.header().unwrap(), token),
                (Err(error), None) => assert!(!error.to_string().contains("a b"), "{error}"),
                (read, _) => panic!("{content:?}: {read:?}"),
            }
        }
        std::fs::remove_file(&path).unwrap();
        assert!(auth.load().unwrap_err().to_string().contains("token"));
        assert_eq!(auth.files(), [path]);
    }
}
