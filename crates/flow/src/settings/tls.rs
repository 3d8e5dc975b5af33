//! The TLS keys, which are equal for all sources and all sinks with TLS.

use crate::net::tls::{ClientAuth, ClientTls, KeyStore, ServerTls, SuiteFilter};
use crate::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, key};
use std::collections::BTreeMap;
use std::path::PathBuf;

const SSL: Key = key(
    "ssl",
    KeyKind::Boolean,
    "false",
    "Whether connections use TLS: true or false, nothing else.",
);
const EXCLUDE_PROTOCOLS: Key = key(
    "exclude-protocols",
    KeyKind::Names,
    "SSLv3",
    "Versions of TLS that are not used; TLSv1.2 and TLSv1.3 are supported.",
);
const INCLUDE_PROTOCOLS: Key = key(
    "include-protocols",
    KeyKind::Names,
    "",
    "The only versions of TLS that are used, if any are named.",
);
const EXCLUDE_SUITES: Key = key(
    "exclude-cipher-suites",
    KeyKind::Names,
    "",
    "Cipher suites that are not used, by their names in Java.",
);
const INCLUDE_SUITES: Key = key(
    "include-cipher-suites",
    KeyKind::Names,
    "",
    "The only cipher suites that are used, if any are named, by their names in Java.",
);

/// The keys of a source with TLS.
pub const SERVER_KEYS: [Key; 14] = [
    SSL,
    key(
        "keystore",
        KeyKind::Path,
        "",
        "The key and its certificates, in JKS, PKCS12 or PEM; required with ssl.",
    ),
    key(
        "keystore-password",
        KeyKind::Text,
        "",
        "The password of the store and of the key; required with ssl, but for PEM.",
    ),
    key(
        "keystore-type",
        KeyKind::Word,
        "JKS",
        "Has no effect: a store is recognised by its first bytes.",
    ),
    key(
        "need-client-auth",
        KeyKind::Boolean,
        "false",
        "Whether a client must show a certificate that truststore vouches for; needs ssl and truststore.",
    ),
    key(
        "want-client-auth",
        KeyKind::Boolean,
        "false",
        "As need-client-auth, but a client without a certificate may come in; one whose certificate is not trusted may not.",
    ),
    key(
        "truststore",
        KeyKind::Path,
        "",
        "Whose certificates clients may show, in JKS, PKCS12 or PEM: authorities, or the certificates themselves.",
    ),
    key("truststore-password", KeyKind::Text, "", "The password of the trust store."),
    key(
        "truststore-type",
        KeyKind::Word,
        "JKS",
        "Has no effect: a store is recognised by its first bytes.",
    ),
    key(
        "client-auth-names",
        KeyKind::Names,
        "",
        "Names of which a client's certificate must have one (a subject alternative name, or its common name where it has none), with * and ?; without the key any that is trusted may come in.",
    ),
    EXCLUDE_PROTOCOLS,
    INCLUDE_PROTOCOLS,
    EXCLUDE_SUITES,
    INCLUDE_SUITES,
];

/// The keys of a sink with TLS.
pub const CLIENT_KEYS: [Key; 13] = [
    SSL,
    key(
        "trust-all-certs",
        KeyKind::Boolean,
        "false",
        "Whether any certificate is accepted without verification; for tests only.",
    ),
    key(
        "truststore",
        KeyKind::Path,
        "",
        "The trusted certificates, in JKS, PKCS12 or PEM; without it those of the system.",
    ),
    key("truststore-password", KeyKind::Text, "", "The password of the trust store."),
    key(
        "truststore-type",
        KeyKind::Word,
        "JKS",
        "Has no effect: a store is recognised by its first bytes.",
    ),
    key(
        "verify-hostname",
        KeyKind::Boolean,
        "true",
        "Whether the server's certificate must be for its name, unless it is itself in the trust store. Flume never checks this.",
    ),
    key(
        "keystore",
        KeyKind::Path,
        "",
        "The client's own key and certificates, in JKS, PKCS12 or PEM, shown to a server that asks for them.",
    ),
    key(
        "keystore-password",
        KeyKind::Text,
        "",
        "The password of that store and of the key; PEM needs none.",
    ),
    key(
        "keystore-type",
        KeyKind::Word,
        "JKS",
        "Has no effect: a store is recognised by its first bytes.",
    ),
    EXCLUDE_PROTOCOLS,
    INCLUDE_PROTOCOLS,
    EXCLUDE_SUITES,
    INCLUDE_SUITES,
];

/// Environment variables for stores that no key sets, as in Flume.
const KEYSTORE: &str = "FLUME_SSL_KEYSTORE_PATH";
const KEYSTORE_PASSWORD: &str = "FLUME_SSL_KEYSTORE_PASSWORD";
const TRUSTSTORE: &str = "FLUME_SSL_TRUSTSTORE_PATH";
const TRUSTSTORE_PASSWORD: &str = "FLUME_SSL_TRUSTSTORE_PASSWORD";

/// The Java `-D` option of a client's trust store.
pub const SYSTEM_TRUSTSTORE: &str = "javax.net.ssl.trustStore";
/// The Java `-D` option of the password of that trust store.
pub const SYSTEM_TRUSTSTORE_PASSWORD: &str = "javax.net.ssl.trustStorePassword";

/// Reads the keys of a source; `None` without TLS.
///
/// # Errors
/// `ssl` is neither true nor false, or there is no key store.
pub fn server(reader: &mut SettingsReader<'_>) -> Result<Option<ServerTls>, SettingError> {
    server_with_old_names(reader, &[])
}

/// Like [`server`], for keys that may also be written with an older name in `old`.
///
/// # Errors
/// As [`server`].
pub fn server_with_old_names(
    reader: &mut SettingsReader<'_>,
    old: &[(&'static str, &'static str)],
) -> Result<Option<ServerTls>, SettingError> {
    let entries = &reader.settings().entries;
    let used = |key: &'static str| {
        let other = old.iter().find(|(name, _)| *name == key).map(|(_, other)| *other);
        other
            .filter(|other| !entries.contains_key(key) && entries.contains_key(*other))
            .unwrap_or(key)
    };
    let (ssl, password) = (used("ssl"), used("keystore-password"));
    let excluded = used("exclude-protocols");
    if !reader.truth(ssl, false)? {
        say_without_effect(reader, &SERVER_KEYS, ssl);
        return Ok(None);
    }
    let keystore = text(reader, "keystore", KEYSTORE).ok_or_else(|| {
        reader.error("keystore", "is required with TLS (a store in JKS, PKCS12 or PEM)")
    })?;
    let password = text(reader, password, KEYSTORE_PASSWORD).unwrap_or_default();
    Ok(Some(ServerTls {
        keystore: PathBuf::from(keystore),
        password,
        clients: clients(reader, used)?,
        choice: choice(reader, excluded),
    }))
}

/// Reads which client certificates a server requests. Its trust store is never that of the environment or of the
/// system, which is for servers to connect to, not for clients to accept.
fn clients(
    reader: &mut SettingsReader<'_>,
    used: impl Fn(&'static str) -> &'static str,
) -> Result<Option<ClientAuth>, SettingError> {
    let (need, want) = (used("need-client-auth"), used("want-client-auth"));
    let (store, password) = (used("truststore"), used("truststore-password"));
    let required = reader.truth(need, false)?;
    if !required && !reader.truth(want, false)? {
        for key in [store, password, "client-auth-names"] {
            if reader.text(key).is_some() {
                let message = format!(
                    "has no effect without {need} or {want}: no client certificate is requested"
                );
                reader.find(Severity::Warning, key, message);
            }
        }
        return Ok(None);
    }
    let truststore = reader.text(store).filter(|path| !path.is_empty()).map(PathBuf::from);
    let truststore = truststore.ok_or_else(|| {
        let message = format!(
            "is required with {need} or {want} (a store with the authorities of the clients, or their certificates)"
        );
        reader.error(store, message)
    })?;
    let password = reader.text(password).unwrap_or_default().to_owned();
    let names = reader.text_as_written("client-auth-names");
    let names: Vec<String> = names.as_deref().map(list).unwrap_or_default();
    if names.is_empty() && reader.text("client-auth-names").is_some() {
        return Err(reader.error(
            "client-auth-names",
            "contains no name; leave the key out, or name patterns such as web*",
        ));
    }
    Ok(Some(ClientAuth { truststore, password, required, names }))
}

/// Reads the keys of a sink; `None` without TLS.
///
/// # Errors
/// `ssl` or another key is neither true nor false.
pub fn client(reader: &mut SettingsReader<'_>) -> Result<Option<ClientTls>, SettingError> {
    if reader.truth("ssl", false)? {
        return client_always(reader).map(Some);
    }
    say_without_effect(reader, &CLIENT_KEYS, "ssl");
    Ok(None)
}

/// Warns of TLS keys without `ssl`: a user who sets a store may expect encryption.
fn say_without_effect(reader: &mut SettingsReader<'_>, keys: &[Key], ssl: &str) {
    for key in keys.iter().map(|key| key.name).filter(|key| *key != "ssl") {
        if reader.text(key).is_some() {
            let message = format!("has no effect without {ssl} = true: connections are plain text");
            reader.find(Severity::Warning, key, message);
        }
    }
}

/// Like [`client`], for a sink whose address implies TLS.
///
/// # Errors
/// A key is neither true nor false.
pub fn client_always(reader: &mut SettingsReader<'_>) -> Result<ClientTls, SettingError> {
    let trust_all = reader.truth("trust-all-certs", false)?;
    if trust_all {
        let message =
            "no server is verified: anyone on the network path can read and change everything";
        reader.find(Severity::Warning, "trust-all-certs", message);
    }
    Ok(ClientTls {
        truststore: text(reader, "truststore", TRUSTSTORE).map(PathBuf::from),
        password: text(reader, "truststore-password", TRUSTSTORE_PASSWORD).unwrap_or_default(),
        trust_all,
        verify_name: reader.truth("verify-hostname", true)?,
        own: own(reader),
        choice: choice(reader, "exclude-protocols"),
    })
}

/// Reads the key and certificate of a client.
fn own(reader: &mut SettingsReader<'_>) -> Option<KeyStore> {
    let password = reader.text("keystore-password").map(str::to_owned);
    let Some(path) = reader.text("keystore").filter(|path| !path.is_empty()).map(PathBuf::from)
    else {
        if password.is_some() {
            let message = "has no effect without keystore: the client shows no certificate";
            reader.find(Severity::Warning, "keystore-password", message);
        }
        return None;
    };
    Some(KeyStore { path, password: password.unwrap_or_default() })
}

/// Returns the trust keys for which `is_set` is false, from the `-D` options in `properties`.
pub fn trust_of_process(
    properties: &BTreeMap<String, String>,
    is_set: impl Fn(&str) -> bool,
) -> Vec<(&'static str, &str)> {
    if is_set("truststore") {
        return Vec::new();
    }
    let named =
        [("truststore", SYSTEM_TRUSTSTORE), ("truststore-password", SYSTEM_TRUSTSTORE_PASSWORD)];
    let named = named.into_iter().filter(|(key, _)| !is_set(key));
    named.filter_map(|(key, option)| Some((key, properties.get(option)?.as_str()))).collect()
}

/// Returns the TLS settings of a client outside any component: the trust options in `properties`, then the
/// environment.
#[must_use]
pub fn client_of_process(properties: &BTreeMap<String, String>) -> ClientTls {
    let named = |key: &str, variable: &str| {
        let set = properties.get(key).cloned().or_else(|| std::env::var(variable).ok());
        set.filter(|text| !text.is_empty())
    };
    ClientTls {
        truststore: named(SYSTEM_TRUSTSTORE, TRUSTSTORE).map(PathBuf::from),
        password: named(SYSTEM_TRUSTSTORE_PASSWORD, TRUSTSTORE_PASSWORD).unwrap_or_default(),
        ..ClientTls::default()
    }
}

/// Splits a text at blanks and commas.
fn list(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn choice(reader: &SettingsReader<'_>, excluded: &str) -> SuiteFilter {
    let names = |key: &str, variable: &str| list(&text(reader, key, variable).unwrap_or_default());
    SuiteFilter {
        include_protocols: names("include-protocols", "FLUME_SSL_INCLUDE_PROTOCOLS"),
        exclude_protocols: names(excluded, "FLUME_SSL_EXCLUDE_PROTOCOLS"),
        include_suites: names("include-cipher-suites", "FLUME_SSL_INCLUDE_CIPHERSUITES"),
        exclude_suites: names("exclude-cipher-suites", "FLUME_SSL_EXCLUDE_CIPHERSUITES"),
    }
}

/// Returns a key's value, or that of its environment variable.
fn text(reader: &SettingsReader<'_>, key: &str, variable: &str) -> Option<String> {
    let set = reader.text(key).map(str::to_owned);
    set.or_else(|| std::env::var(variable).ok()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Settings;

    fn read<T>(
        pairs: &[(&str, &str)],
        of: fn(&mut SettingsReader<'_>) -> Result<T, SettingError>,
    ) -> (Result<T, String>, usize) {
        let settings = Settings::from_pairs("r1", pairs);
        let mut reader = SettingsReader::new(&settings);
        let read = of(&mut reader).map_err(|error| error.to_string());
        (read, reader.into_findings().len())
    }

    #[test]
    fn a_word_that_is_neither_true_nor_false_is_not_taken_for_plain_text() {
        for word in ["yes", "1", "on", "ture", ""] {
            assert!(read(&[("ssl", word)], server).0.unwrap_err().contains("ssl"), "{word}");
            assert!(read(&[("ssl", word)], client).0.unwrap_err().contains("ssl"), "{word}");
        }
        assert!(read(&[("ssl", "FALSE")], server).0.unwrap().is_none());
        assert!(read(&[], client).0.unwrap().is_none());
    }

    #[test]
    fn a_store_without_ssl_gives_a_warning() {
        for pairs in [&[("truststore", "/t")][..], &[("ssl", "false"), ("truststore", "/t")]] {
            let (tls, found) = read(pairs, client);
            assert!(tls.unwrap().is_none());
            assert_eq!(found, 1, "{pairs:?}");
        }
        let (tls, found) = read(&[("keystore", "/k"), ("keystore-password", "p")], server);
        assert_eq!((tls.unwrap().is_none(), found), (true, 2));
    }

    #[test]
    fn missing_tls_keys_are_errors_and_weak_ones_warnings() {
        let error = read(&[("ssl", "true")], server).0.unwrap_err();
        assert!(error.contains("keystore") && error.contains("required"), "{error}");
        let pairs = [
            ("ssl", "true"),
            ("keystore", "/k"),
            ("keystore-password", "p"),
            ("exclude-protocols", "SSLv3 TLSv1.2"),
        ];
        let tls = read(&pairs, server).0.unwrap().unwrap();
        assert_eq!((tls.keystore, tls.password), (PathBuf::from("/k"), "p".to_owned()));
        assert_eq!(tls.choice.exclude_protocols, ["SSLv3", "TLSv1.2"]);
        let (tls, found) = read(&[("ssl", "true"), ("trust-all-certs", "true")], client);
        assert!(tls.unwrap().unwrap().trust_all);
        assert_eq!(found, 1);
        let tls = read(&[("ssl", "true"), ("truststore", "/t")], client).0.unwrap().unwrap();
        assert!(tls.verify_name && !tls.trust_all);
    }

    #[test]
    fn client_certificates_need_a_trust_store() {
        let tls = [("ssl", "true"), ("keystore", "/k")];
        let with = |more: &[(&str, &str)]| read(&[&tls[..], more].concat(), server);
        let (clients, found) = with(&[("need-client-auth", "true"), ("truststore", "/t")]);
        let clients = clients.unwrap().unwrap().clients.unwrap();
        assert_eq!((clients.truststore, clients.required, found), (PathBuf::from("/t"), true, 0));
        let names =
            [("need-client-auth", "true"), ("truststore", "/t"), ("client-auth-names", "a, b*")];
        assert_eq!(with(&names).0.unwrap().unwrap().clients.unwrap().names, ["a", "b*"]);
        let no_names = [names[0], names[1], ("client-auth-names", " , ")];
        assert!(with(&no_names).0.unwrap_err().contains("contains no name"));
        let clients = with(&[("want-client-auth", "true"), ("truststore", "/t")]).0;
        assert!(!clients.unwrap().unwrap().clients.unwrap().required);
        for key in ["need-client-auth", "want-client-auth"] {
            let error = with(&[(key, "true")]).0.unwrap_err();
            assert!(error.contains("truststore: is required with"), "{error}");
            assert!(with(&[(key, "yes")]).0.unwrap_err().contains("true or false"));
        }
        let (tls, found) = with(&[("truststore", "/t"), ("truststore-password", "p")]);
        assert_eq!((tls.unwrap().unwrap().clients.is_none(), found), (true, 2));
        let own = [("ssl", "true"), ("keystore", "/k"), ("keystore-password", "p")];
        let own = read(&own, client).0.unwrap().unwrap().own.unwrap();
        assert_eq!((own.path, own.password), (PathBuf::from("/k"), "p".to_owned()));
        assert_eq!(read(&[("ssl", "true"), ("keystore-password", "p")], client).1, 1);
    }
}
