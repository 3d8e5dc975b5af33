//! Checks the key and trust stores of sources and sinks as a start would find them: readable with
//! their passwords, matching the settings, and with certificates that are still valid.

use super::check_finding::{finding, value};
use jiff::Timestamp;
use millpond_adapters::source::http::OLD_TLS_NAMES;
use millpond_config::agent::ComponentConfig;
use millpond_flow::net::tls::{ClientTls, ServerTls, TlsError, first_end};
use millpond_flow::settings::{ConfigFinding, SettingsReader, Severity, tls};
use std::path::Path;

const DAY_SECONDS: u64 = 86_400;
/// Days before its expiry from which a certificate is warned about: the default of its alarm.
const DAYS: u64 = 14;

/// Checks the stores of a source; `now` is in seconds since 1970.
pub(super) fn source_stores(component: &ComponentConfig, now: u64, found: &mut Vec<ConfigFinding>) {
    // Errors in the keys themselves are found when the source is built.
    let mut reader = SettingsReader::new(&component.settings);
    let tls = match component.type_name {
        "http" => tls::server_with_old_names(&mut reader, &OLD_TLS_NAMES),
        _ if value(component, "ssl").is_some() => tls::server(&mut reader),
        _ => return,
    };
    let Ok(Some(tls)) = tls else { return };
    let ServerTls { keystore, password, clients, .. } = &tls;
    let mut checks = StoreChecks { component, now, found };
    if let Err(error) = tls.load() {
        checks.failed(keystore, &error);
    }
    checks.valid("keystore", keystore, password);
    if let Some(clients) = clients {
        checks.valid("truststore", &clients.truststore, &clients.password);
    }
}

/// Checks the stores of a sink.
pub(super) fn sink_stores(component: &ComponentConfig, now: u64, found: &mut Vec<ConfigFinding>) {
    let mut reader = SettingsReader::new(&component.settings);
    let is_https = |url: &str| url.to_ascii_lowercase().starts_with("https:");
    let tls = match component.type_name {
        "http" if value(component, "endpoint").is_some_and(is_https) => {
            tls::client_always(&mut reader).map(Some)
        }
        "avro" | "thrift" => tls::client(&mut reader),
        _ => return,
    };
    let Ok(Some(tls)) = tls else { return };
    let ClientTls { truststore, password, trust_all, own, .. } = &tls;
    let mut checks = StoreChecks { component, now, found };
    if let Err(error) = tls.load() {
        checks.failed(own.as_ref().map_or(Path::new(""), |own| &own.path), &error);
    }
    if let Some(truststore) = truststore.as_ref().filter(|_| !trust_all) {
        checks.valid("truststore", truststore, password);
    }
    if let Some(own) = own {
        checks.valid("keystore", &own.path, &own.password);
    }
}

struct StoreChecks<'a> {
    component: &'a ComponentConfig,
    now: u64,
    found: &'a mut Vec<ConfigFinding>,
}

impl StoreChecks<'_> {
    /// Reports that TLS is not possible.
    fn failed(&mut self, keystore: &Path, error: &TlsError) {
        let key = match error {
            TlsError::Store { path, .. } | TlsError::NoKey(path) if path == keystore => "keystore",
            TlsError::Store { .. } | TlsError::NoTrust(_) | TlsError::Clients { .. } => {
                "truststore"
            }
            TlsError::NoKey(_) => "keystore",
            _ => "ssl",
        };
        let message = format!("TLS is not possible: {error}");
        self.found.push(finding(Severity::Warning, self.component, key, message));
    }

    /// Checks the expiry of the certificate that expires first; an unreadable store is reported
    /// already.
    fn valid(&mut self, key: &str, path: &Path, password: &str) {
        let Ok(Some(end)) = first_end(path, password) else { return };
        let left = end.saturating_sub(self.now);
        if left > DAYS * DAY_SECONDS {
            return;
        }
        let seconds = i64::try_from(end).unwrap_or(i64::MAX);
        let when = Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX);
        let path = path.display();
        let message = match left {
            0 => format!("a certificate in {path} has ended: it was valid until {when}"),
            left => {
                format!("a certificate in {path} ends in {} days, at {when}", left / DAY_SECONDS)
            }
        };
        self.found.push(finding(Severity::Warning, self.component, key, message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::settings::{SettingPlace, Settings};

    fn golden(name: &str) -> String {
        format!("{}/tests/golden/tls/{name}", concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
    }

    fn component(type_name: &'static str, pairs: &[(&str, &str)]) -> ComponentConfig {
        let settings = Settings::from_pairs("x", pairs);
        ComponentConfig {
            name: "x".to_owned(),
            type_name,
            place: SettingPlace::nowhere(),
            settings,
        }
    }

    /// Returns the findings about a source, and about a sink, at `now`.
    fn found(
        check: fn(&ComponentConfig, u64, &mut Vec<ConfigFinding>),
        component: &ComponentConfig,
        now: u64,
    ) -> Vec<String> {
        let mut found = Vec::new();
        check(component, now, &mut found);
        found.iter().map(|finding| format!("{}: {}", finding.key, finding.message)).collect()
    }

    /// Returns when the certificate of `server.pem` expires.
    const END: u64 = 4_948_898_982;

    #[test]
    fn stores_of_sources_are_read_and_ends_of_certificates_named() {
        let store = golden("server.jks");
        let with = |password: &str, now: u64| {
            let pairs = [("ssl", "true"), ("keystore", &store), ("keystore-password", password)];
            found(source_stores, &component("avro", &pairs), now)
        };
        assert_eq!(with("changeit", 1), [""; 0]);
        assert!(with("changed", 1)[0].contains("x.keystore: TLS is not possible"));
        let soon = with("changeit", END - 3 * DAY_SECONDS);
        assert!(soon[0].contains("ends in 3 days, at 2126"), "{soon:?}");
        assert!(with("changeit", END + 1)[0].contains("has ended"));
        let old_names = [("enableSSL", "true"), ("keystore", &store), ("keystorePassword", "no")];
        assert_eq!(found(source_stores, &component("http", &old_names), 1).len(), 1);
        let pem = golden("leaf.pem");
        let clients = [
            ("ssl", "true"),
            ("keystore", &pem),
            ("need-client-auth", "true"),
            ("truststore", "no"),
        ];
        let found = found(source_stores, &component("avro", &clients), 1);
        assert!(found[0].starts_with("x.truststore: TLS is not possible"), "{found:?}");
    }

    #[test]
    fn stores_of_sinks_are_read_and_ends_of_certificates_named() {
        let (trust, own) = (golden("trust.jks"), golden("client.pem"));
        let pairs = |password: &'static str, keystore: &str| {
            let pairs = [
                ("ssl", "true"),
                ("endpoint", "https://h/"),
                ("truststore", &trust),
                ("truststore-password", password),
                ("keystore", keystore),
            ];
            pairs.map(|(key, value)| (key, value.to_owned()))
        };
        for kind in ["avro", "thrift", "http"] {
            let look = |password: &'static str, keystore: &str, now: u64| {
                let pairs = pairs(password, keystore);
                let pairs: Vec<_> =
                    pairs.iter().map(|(key, value)| (*key, value.as_str())).collect();
                found(sink_stores, &component(kind, &pairs), now)
            };
            assert_eq!(look("changeit", &own, 1), [""; 0]);
            let wrong = look("changed", &own, 1);
            assert!(wrong[0].starts_with("x.truststore: TLS is not possible"), "{wrong:?}");
            let wrong = look("changeit", "nowhere", 1);
            assert!(wrong[0].starts_with("x.keystore: TLS is not possible"), "{wrong:?}");
            assert_eq!(look("changeit", &own, END + 10_000_000).len(), 2, "both have ended");
        }
    }
}
