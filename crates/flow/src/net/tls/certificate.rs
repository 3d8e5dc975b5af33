//! The names and the expiry of a certificate.

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Most names of a certificate that are read, and most bytes of each; real ones have a handful of short names.
const NAMES_MAX: usize = 64;
const NAME_BYTES_MAX: usize = 256;

/// The fields that are read from a certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// Common name of its subject, then the DNS names, mail addresses, URIs and IP addresses of its subject
    /// alternative names; no duplicates, none empty.
    pub names: Vec<String>,
    /// The subject alternative names among `names`: if there are any, the common name does not identify the
    /// subject.
    pub alternatives: Vec<String>,
    /// Expiry, in seconds since 1970; 0 for earlier times.
    pub not_after: u64,
}

impl Certificate {
    /// Reads a certificate in DER; `None` if it is not one.
    ///
    /// # Examples
    /// ```
    /// # use millpond_flow::net::tls::Certificate;
    /// assert_eq!(Certificate::read(b"no certificate"), None);
    /// ```
    #[must_use]
    pub fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let not_after = certificate.validity().not_after.timestamp();
        let (mut names, mut alternatives) = (SubjectNames::default(), SubjectNames::default());
        for name in certificate.subject().iter_common_name() {
            names.add(name.as_str().ok());
        }
        if let Ok(Some(extension)) = certificate.subject_alternative_name() {
            for name in &extension.value.general_names {
                match name {
                    GeneralName::DNSName(text)
                    | GeneralName::RFC822Name(text)
                    | GeneralName::URI(text) => alternatives.add(Some(text)),
                    GeneralName::IPAddress(bytes) => alternatives.add(address(bytes).as_deref()),
                    _ => {}
                }
            }
        }
        alternatives.0.iter().for_each(|name| names.add(Some(name)));
        let (names, alternatives) = (names.0, alternatives.0);
        Some(Self { names, alternatives, not_after: u64::try_from(not_after).unwrap_or(0) })
    }

    /// Returns its first name, for places with room for one.
    #[must_use]
    pub fn name(&self) -> &str {
        self.names.first().map_or("", String::as_str)
    }

    /// Returns true if one of its names matches `pattern`: `*` is any text, `?` one character; case does not
    /// matter.
    ///
    /// # Examples
    /// ```
    /// # use millpond_flow::net::tls::Certificate;
    /// let names = vec!["Web1.example".to_owned()];
    /// let web1 = Certificate { names, ..Certificate::default() };
    /// assert!(web1.has_name("web?.*") && !web1.has_name("web") && !web1.has_name("db*"));
    /// ```
    #[must_use]
    pub fn has_name(&self, pattern: &str) -> bool {
        any_fits(&self.names, pattern)
    }

    /// Returns true if a name that identifies the subject matches `pattern`, for access control: a subject
    /// alternative name, or the common name only if there are none (RFC 9525). Authorities verify the alternative
    /// names, and mostly accept any common name.
    ///
    /// # Examples
    /// ```
    /// # use millpond_flow::net::tls::Certificate;
    /// let names = ["ops".to_owned(), "web1.example".to_owned()];
    /// let (names, alternatives) = (names.to_vec(), names[1..].to_vec());
    /// let web1 = Certificate { names, alternatives, ..Certificate::default() };
    /// assert!(web1.is_named("web1.*") && !web1.is_named("ops") && web1.has_name("ops"));
    /// ```
    #[must_use]
    pub fn is_named(&self, pattern: &str) -> bool {
        let by_alternatives = !self.alternatives.is_empty();
        any_fits(if by_alternatives { &self.alternatives } else { &self.names }, pattern)
    }

    /// Returns the earliest expiry in `chain`, in seconds since 1970; `None` if no certificate can be read.
    pub(super) fn first_end(chain: &[CertificateDer<'_>]) -> Option<u64> {
        chain.iter().filter_map(|der| Self::read(der)).map(|read| read.not_after).min()
    }
}

fn any_fits(names: &[String], pattern: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let fits = |name: &String| fits(&pattern, &name.to_lowercase().chars().collect::<Vec<_>>());
    names.iter().any(fits)
}

fn fits(pattern: &[char], name: &[char]) -> bool {
    let (mut p, mut n, mut back) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            // The last star matches one more character.
            _ => match &mut back {
                Some((star, from)) => {
                    *from += 1;
                    (p, n) = (*star + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[derive(Default)]
struct SubjectNames(Vec<String>);

impl SubjectNames {
    fn add(&mut self, name: Option<&str>) {
        let Some(name) = name.filter(|name| !name.is_empty() && name.len() <= NAME_BYTES_MAX)
        else {
            return;
        };
        if self.0.len() < NAMES_MAX && !self.0.iter().any(|known| known == name) {
            self.0.push(name.to_owned());
        }
    }
}

fn address(bytes: &[u8]) -> Option<String> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(std::net::Ipv4Addr::from(v4).to_string());
    }
    <[u8; 16]>::try_from(bytes).ok().map(|v6| std::net::Ipv6Addr::from(v6).to_string())
}
