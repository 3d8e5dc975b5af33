//! How an ensemble is accessed: TLS and a user.

use millpond_flow::net::tls::{ClientTls, KeyStore};
use millpond_flow::settings::tls;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// The prefix of the `-D` options about TLS, as Java's client has them.
const SSL: &str = "zookeeper.ssl.";

/// How an ensemble is accessed.
#[derive(Clone, Default)]
pub struct EnsembleAccess {
    /// TLS, if it is used.
    pub tls: Option<ClientTls>,
    /// Name and password of a user of the scheme `digest`.
    pub digest: Option<(String, String)>,
}

/// Does not show the password.
impl fmt::Debug for EnsembleAccess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EnsembleAccess").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl EnsembleAccess {
    /// Returns the access for the user `digest`, if there is one. `properties` are the `-D` options: TLS is used
    /// with `zookeeper.client.secure=true`, the stores are those of `zookeeper.ssl.trustStore.location`,
    /// `zookeeper.ssl.keyStore.location` and their `.password`. Without a trust store that of the process is used.
    #[must_use]
    pub fn new(digest: Option<(&str, &str)>, properties: &BTreeMap<String, String>) -> Self {
        let digest = digest.map(|(name, password)| (name.to_owned(), password.to_owned()));
        let is = |key: &str, word: &str| {
            properties.get(key).is_some_and(|value| value.trim().eq_ignore_ascii_case(word))
        };
        if !is("zookeeper.client.secure", "true") {
            return Self { tls: None, digest };
        }
        let set = |key: &str| properties.get(&format!("{SSL}{key}")).filter(|v| !v.is_empty());
        let mut tls = tls::client_of_process(properties);
        if let Some(path) = set("trustStore.location") {
            tls.truststore = Some(PathBuf::from(path));
            tls.password = set("trustStore.password").cloned().unwrap_or_default();
        }
        tls.own = set("keyStore.location").map(|path| KeyStore {
            path: PathBuf::from(path),
            password: set("keyStore.password").cloned().unwrap_or_default(),
        });
        tls.verify_name = !is(&format!("{SSL}hostnameVerification"), "false");
        Self { tls: Some(tls), digest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(pairs: &[(&str, &str)]) -> EnsembleAccess {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        EnsembleAccess::new(Some(("u", "geheim")), &pairs.collect())
    }

    #[test]
    fn tls_is_used_when_asked_for_and_its_stores_are_those_of_the_client() {
        let stores = [
            ("zookeeper.ssl.trustStore.location", "t"),
            ("zookeeper.ssl.trustStore.password", "tp"),
            ("zookeeper.ssl.keyStore.location", "k"),
            ("zookeeper.ssl.keyStore.password", "kp"),
        ];
        assert!(access(&stores).tls.is_none());
        let secure = [&stores[..], &[("zookeeper.client.secure", "true")]].concat();
        let tls = access(&secure).tls.unwrap();
        assert_eq!((tls.truststore, &*tls.password), (Some(PathBuf::from("t")), "tp"));
        let own = tls.own.unwrap();
        assert_eq!((own.path, &*own.password), (PathBuf::from("k"), "kp"));
        assert!(tls.verify_name);
        let off = [&secure[..], &[("zookeeper.ssl.hostnameVerification", "false")]].concat();
        assert!(!access(&off).tls.unwrap().verify_name);
    }

    #[test]
    fn no_password_is_shown() {
        let shown = format!("{:?}", access(&[("zookeeper.client.secure", "true")]));
        assert!(!shown.contains("geheim"), "{shown}");
    }
}
