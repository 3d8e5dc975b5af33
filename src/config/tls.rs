//! The keys of TLS, the same for every source and every sink that has it.

use super::sections::Sections;
use super::settings::{
    Key, Kind, Place, Setting, SettingError, Settings, SettingsReader, Severity,
};
use crate::net::tls::{Choice, ClientAuth, ClientTls, KeyStore, ServerTls};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const fn key(name: &'static str, kind: Kind, default: &'static str, meaning: &'static str) -> Key {
    Key { name, kind, default, meaning }
}

const SSL: Key =
    key("ssl", Kind::Boolean, "false", "Whether connections use TLS: true or false, nothing else.");
const EXCLUDE_PROTOCOLS: Key = key(
    "exclude-protocols",
    Kind::Names,
    "SSLv3",
    "Versions of TLS that are not used; TLSv1.2 and TLSv1.3 are there.",
);
const INCLUDE_PROTOCOLS: Key = key(
    "include-protocols",
    Kind::Names,
    "",
    "Versions of TLS that alone are used, if any are named.",
);
const EXCLUDE_SUITES: Key = key(
    "exclude-cipher-suites",
    Kind::Names,
    "",
    "Cipher suites that are not used, by their names in Java.",
);
const INCLUDE_SUITES: Key = key(
    "include-cipher-suites",
    Kind::Names,
    "",
    "Cipher suites that alone are used, if any are named, by their names in Java.",
);

/// The keys of a source with TLS.
pub const SERVER_KEYS: [Key; 14] = [
    SSL,
    key(
        "keystore",
        Kind::Path,
        "",
        "The key and its certificates, in JKS, PKCS12 or PEM; required with ssl.",
    ),
    key(
        "keystore-password",
        Kind::Text,
        "",
        "The password of the store and of the key; required with ssl, but for PEM.",
    ),
    key(
        "keystore-type",
        Kind::Word,
        "JKS",
        "Has no effect: a store is recognised by what it begins with.",
    ),
    key(
        "need-client-auth",
        Kind::Boolean,
        "false",
        "Whether a client must show a certificate that truststore vouches for; needs ssl and truststore.",
    ),
    key(
        "want-client-auth",
        Kind::Boolean,
        "false",
        "As need-client-auth, but a client without a certificate may come in; one whose certificate is not trusted may not.",
    ),
    key(
        "truststore",
        Kind::Path,
        "",
        "Whose certificates clients may show, in JKS, PKCS12 or PEM: authorities, or the certificates themselves.",
    ),
    key("truststore-password", Kind::Text, "", "The password of the trust store."),
    key(
        "truststore-type",
        Kind::Word,
        "JKS",
        "Has no effect: a store is recognised by what it begins with.",
    ),
    key(
        "client-auth-names",
        Kind::Names,
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
        Kind::Boolean,
        "false",
        "Whether any certificate is taken, unverified; for tests only.",
    ),
    key(
        "truststore",
        Kind::Path,
        "",
        "Who is trusted, in JKS, PKCS12 or PEM; without it whom the system trusts.",
    ),
    key("truststore-password", Kind::Text, "", "The password of the trust store."),
    key(
        "truststore-type",
        Kind::Word,
        "JKS",
        "Has no effect: a store is recognised by what it begins with.",
    ),
    key(
        "verify-hostname",
        Kind::Boolean,
        "true",
        "Whether the server's certificate must be for its name, unless it is itself in the trust store. Flume never looks.",
    ),
    key(
        "keystore",
        Kind::Path,
        "",
        "The client's own key and certificates, in JKS, PKCS12 or PEM, shown to a server that asks for them.",
    ),
    key(
        "keystore-password",
        Kind::Text,
        "",
        "The password of that store and of the key; PEM needs none.",
    ),
    key(
        "keystore-type",
        Kind::Word,
        "JKS",
        "Has no effect: a store is recognised by what it begins with.",
    ),
    EXCLUDE_PROTOCOLS,
    INCLUDE_PROTOCOLS,
    EXCLUDE_SUITES,
    INCLUDE_SUITES,
];

/// Where a store is when a key does not say it, as in Flume.
const KEYSTORE: &str = "FLUME_SSL_KEYSTORE_PATH";
const KEYSTORE_PASSWORD: &str = "FLUME_SSL_KEYSTORE_PASSWORD";
const TRUSTSTORE: &str = "FLUME_SSL_TRUSTSTORE_PATH";
const TRUSTSTORE_PASSWORD: &str = "FLUME_SSL_TRUSTSTORE_PASSWORD";

/// The same as `-D` options, as Java has them.
const SYSTEM_TRUSTSTORE: &str = "javax.net.ssl.trustStore";
const SYSTEM_TRUSTSTORE_PASSWORD: &str = "javax.net.ssl.trustStorePassword";

/// What the keys of a source say; `None` without TLS.
///
/// # Errors
/// `ssl` is neither true nor false, or there is no key store.
pub fn server(reader: &mut SettingsReader<'_>) -> Result<Option<ServerTls>, SettingError> {
    server_with_old_names(reader, &[])
}

/// The same where a key may also stand under an older name, behind its own in `old`.
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

/// Which certificates of clients a server asks for. The trust store is never that of the environment or of
/// the system: who may be connected to and who may come in are different questions.
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
                    "has no effect without {need} or {want}: no client is asked for a certificate"
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
            "names nobody; leave the key out, or name patterns such as web*",
        ));
    }
    Ok(Some(ClientAuth { truststore, password, required, names }))
}

/// What the keys of a sink say; `None` without TLS.
///
/// # Errors
/// `ssl` or another of them is neither true nor false.
pub fn client(reader: &mut SettingsReader<'_>) -> Result<Option<ClientTls>, SettingError> {
    if reader.truth("ssl", false)? {
        return client_always(reader).map(Some);
    }
    say_without_effect(reader, &CLIENT_KEYS, "ssl");
    Ok(None)
}

/// Who sets up a store may take it for encryption.
fn say_without_effect(reader: &mut SettingsReader<'_>, keys: &[Key], ssl: &str) {
    for key in keys.iter().map(|key| key.name).filter(|key| *key != "ssl") {
        if reader.text(key).is_some() {
            let message = format!("has no effect without {ssl} = true: connections are plain text");
            reader.find(Severity::Warning, key, message);
        }
    }
}

/// The same for a sink whose address says by itself that there is TLS.
///
/// # Errors
/// A key is neither true nor false.
pub fn client_always(reader: &mut SettingsReader<'_>) -> Result<ClientTls, SettingError> {
    let trust_all = reader.truth("trust-all-certs", false)?;
    if trust_all {
        let message =
            "nobody is verified: anyone on the network path can read and change everything";
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

/// The key and certificate of a client.
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

/// What `-D` options set for every component with TLS, by the keys that they stand for. A component's
/// own key goes first, one of the older names of it too.
const OF_EVERY_SERVER: [(&str, &str); 6] = [
    ("keystore", "javax.net.ssl.keyStore"),
    ("keystore-password", "javax.net.ssl.keyStorePassword"),
    INCLUDED_PROTOCOLS,
    EXCLUDED_PROTOCOLS,
    INCLUDED_SUITES,
    EXCLUDED_SUITES,
];
const OF_EVERY_CLIENT: [(&str, &str); 6] = [
    ("truststore", SYSTEM_TRUSTSTORE),
    ("truststore-password", SYSTEM_TRUSTSTORE_PASSWORD),
    INCLUDED_PROTOCOLS,
    EXCLUDED_PROTOCOLS,
    INCLUDED_SUITES,
    EXCLUDED_SUITES,
];
const INCLUDED_PROTOCOLS: (&str, &str) = ("include-protocols", "flume.ssl.include.protocols");
const EXCLUDED_PROTOCOLS: (&str, &str) = ("exclude-protocols", "flume.ssl.exclude.protocols");
const INCLUDED_SUITES: (&str, &str) = ("include-cipher-suites", "flume.ssl.include.cipherSuites");
const EXCLUDED_SUITES: (&str, &str) = ("exclude-cipher-suites", "flume.ssl.exclude.cipherSuites");

/// Gives the components with TLS among `sections` what the `-D` options in `system` set for all of them.
pub(super) fn inherit(sections: &mut Sections, system: &BTreeMap<String, String>) {
    inherit_trust(&mut sections.alarms, system);
    for ((section, _), settings) in &mut sections.components {
        let is_set = |key: &str, word: &str| {
            let set = settings.entries.get(key);
            set.is_some_and(|set| set.value.trim().to_lowercase().starts_with(word))
        };
        let options = match *section {
            "sources" if is_set("ssl", "true") || is_set("enableSSL", "true") => &OF_EVERY_SERVER,
            "sinks" if is_set("ssl", "true") || is_set("endpoint", "https:") => &OF_EVERY_CLIENT,
            _ => continue,
        };
        // keystore-password and keystorePassword are the same key.
        let plain = |key: &str| key.replace('-', "").to_lowercase();
        let own: Vec<String> = settings.entries.keys().map(|key| plain(key)).collect();
        let has = |key: &str| own.contains(&plain(key));
        // A password is one of the store beside it.
        let store = options[0].0;
        for (key, option) in options {
            let is_password = key.ends_with("password");
            let Some(value) = system.get(*option).filter(|value| !value.is_empty()) else {
                continue;
            };
            if !(has(key) || is_password && has(store)) {
                let place = Place { file: Path::new(&format!("-D{option}")).into(), line: 0 };
                let setting = Setting { value: value.clone(), place };
                settings.entries.insert((*key).to_owned(), setting);
            }
        }
    }
}

/// The same for deliveries of alarms, which are no components but ask servers too.
fn inherit_trust(alarms: &mut Settings, system: &BTreeMap<String, String>) {
    for before in ["webhook.", "dingtalk."] {
        if !alarms.entries.keys().any(|key| key.starts_with(before)) {
            continue;
        }
        let is_set = |key: &str| alarms.entries.contains_key(&format!("{before}{key}"));
        for (key, value) in trust_of_process(system, is_set) {
            let place = Place { file: Path::new("-Djavax.net.ssl").into(), line: 0 };
            let setting = Setting { value: value.to_owned(), place };
            alarms.entries.insert(format!("{before}{key}"), setting);
        }
    }
}

/// The keys of trust of which `is_set` does not know, as the `-D` options in `properties` have them.
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

/// The keys of a client of no component: what the `-D` options in `properties` say of trust, and the
/// environment behind them.
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

/// Words between blanks or commas.
fn list(text: &str) -> Vec<String> {
    let words = text.split(|c: char| c.is_whitespace() || c == ',');
    words.filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn choice(reader: &SettingsReader<'_>, excluded: &str) -> Choice {
    let names = |key: &str, variable: &str| list(&text(reader, key, variable).unwrap_or_default());
    Choice {
        include_protocols: names("include-protocols", "FLUME_SSL_INCLUDE_PROTOCOLS"),
        exclude_protocols: names(excluded, "FLUME_SSL_EXCLUDE_PROTOCOLS"),
        include_suites: names("include-cipher-suites", "FLUME_SSL_INCLUDE_CIPHERSUITES"),
        exclude_suites: names("exclude-cipher-suites", "FLUME_SSL_EXCLUDE_CIPHERSUITES"),
    }
}

/// A key's value, or that of the environment variable that stands for it everywhere.
fn text(reader: &SettingsReader<'_>, key: &str, variable: &str) -> Option<String> {
    let set = reader.text(key).map(str::to_owned);
    set.or_else(|| std::env::var(variable).ok()).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn a_store_without_ssl_is_said_to_have_no_effect() {
        for pairs in [&[("truststore", "/t")][..], &[("ssl", "false"), ("truststore", "/t")]] {
            let (tls, found) = read(pairs, client);
            assert!(tls.unwrap().is_none());
            assert_eq!(found, 1, "{pairs:?}");
        }
        let (tls, found) = read(&[("keystore", "/k"), ("keystore-password", "p")], server);
        assert_eq!((tls.unwrap().is_none(), found), (true, 2));
    }

    #[test]
    fn what_tls_needs_is_asked_for_and_what_it_gives_up_is_said() {
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
    fn certificates_of_clients_need_a_store_of_whom_to_trust_and_are_named_where_they_have_no_effect()
     {
        let tls = [("ssl", "true"), ("keystore", "/k")];
        let with = |more: &[(&str, &str)]| read(&[&tls[..], more].concat(), server);
        let (clients, found) = with(&[("need-client-auth", "true"), ("truststore", "/t")]);
        let clients = clients.unwrap().unwrap().clients.unwrap();
        assert_eq!((clients.truststore, clients.required, found), (PathBuf::from("/t"), true, 0));
        let names =
            [("need-client-auth", "true"), ("truststore", "/t"), ("client-auth-names", "a, b*")];
        assert_eq!(with(&names).0.unwrap().unwrap().clients.unwrap().names, ["a", "b*"]);
        let nobody = [names[0], names[1], ("client-auth-names", " , ")];
        assert!(with(&nobody).0.unwrap_err().contains("names nobody"));
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

    #[test]
    fn the_options_of_the_process_stand_for_keys_that_a_component_with_tls_lacks() {
        let owned = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
        };
        let system = owned(&[
            ("javax.net.ssl.keyStore", "/k"),
            ("javax.net.ssl.keyStorePassword", "kp"),
            ("javax.net.ssl.trustStore", "/t"),
            ("javax.net.ssl.trustStorePassword", "tp"),
            ("flume.ssl.exclude.protocols", "TLSv1.2"),
        ]);
        let inherited = |section, pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            let mut settings = Settings::from_pairs("x", pairs);
            settings.prefix = "a.x".to_owned();
            let components = BTreeMap::from([((section, "x".to_owned()), settings)]);
            let mut sections = Sections {
                present: true,
                lists: BTreeMap::new(),
                components,
                alarms: Settings::new("a.alarms", "alarms"),
            };
            inherit(&mut sections, &system);
            let (_, settings) = sections.components.pop_first().unwrap();
            let pairs = settings.entries.into_iter().map(|(key, set)| (key, set.value));
            pairs
                .filter(|(key, _)| !["ssl", "enableSSL", "endpoint"].contains(&key.as_str()))
                .collect()
        };
        let server = owned(&[
            ("keystore", "/k"),
            ("keystore-password", "kp"),
            ("exclude-protocols", "TLSv1.2"),
        ]);
        assert_eq!(inherited("sources", &[("ssl", "true")]), server);
        assert_eq!(inherited("sources", &[("enableSSL", "TRUE")]), server);
        assert_eq!(inherited("sources", &[("ssl", "false")]), owned(&[]));
        let own = [("ssl", "true"), ("keystore", "/own"), ("excludeProtocols", "SSLv3")];
        let kept = owned(&[("keystore", "/own"), ("excludeProtocols", "SSLv3")]);
        assert_eq!(inherited("sources", &own), kept);
        let client = owned(&[
            ("truststore", "/t"),
            ("truststore-password", "tp"),
            ("exclude-protocols", "TLSv1.2"),
        ]);
        assert_eq!(inherited("sinks", &[("endpoint", "https://h/")]), client);
        assert_eq!(inherited("sinks", &[("endpoint", "http://h/")]), owned(&[]));
        assert_eq!(inherited("channels", &[("ssl", "true")]), owned(&[]));
    }
}
