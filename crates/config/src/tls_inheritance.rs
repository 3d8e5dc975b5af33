//! TLS settings that components inherit from the `-D` options of the process.

use super::sections::Sections;
use millpond_flow::settings::tls::{
    SYSTEM_TRUSTSTORE, SYSTEM_TRUSTSTORE_PASSWORD, trust_of_process,
};
use millpond_flow::settings::{ConfigSetting, SettingPlace, Settings};
use std::collections::BTreeMap;
use std::path::Path;

/// The keys that `-D` options set for every component with TLS. A component's own key takes precedence, also one
/// of its older names.
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
/// Java's option of the JAAS file.
const JAAS_FILE: &str = "java.security.auth.login.config";
const INCLUDED_PROTOCOLS: (&str, &str) = ("include-protocols", "flume.ssl.include.protocols");
const EXCLUDED_PROTOCOLS: (&str, &str) = ("exclude-protocols", "flume.ssl.exclude.protocols");
const INCLUDED_SUITES: (&str, &str) = ("include-cipher-suites", "flume.ssl.include.cipherSuites");
const EXCLUDED_SUITES: (&str, &str) = ("exclude-cipher-suites", "flume.ssl.exclude.cipherSuites");

/// Adds the values of the `-D` options in `system` to the components with TLS among `sections`.
pub(super) fn inherit(sections: &mut Sections, system: &BTreeMap<String, String>) {
    inherit_trust(&mut sections.alarms, system);
    for ((section, _), settings) in &mut sections.components {
        inherit_jaas(settings, system);
        let is_set = |key: &str, word: &str| {
            let set = settings.entries.get(key);
            set.is_some_and(|set| set.value.trim().to_lowercase().starts_with(word))
        };
        let options = match *section {
            "sources" if is_set("ssl", "true") || is_set("enableSSL", "true") => &OF_EVERY_SERVER,
            "sinks" if is_set("ssl", "true") || is_set("endpoint", "https:") => &OF_EVERY_CLIENT,
            _ => continue,
        };
        // keystore-password and keystorePassword are one key.
        let plain = |key: &str| key.replace('-', "").to_lowercase();
        let own: Vec<String> = settings.entries.keys().map(|key| plain(key)).collect();
        let has = |key: &str| own.contains(&plain(key));
        // A password belongs to the store set next to it.
        let store = options[0].0;
        for (key, option) in options {
            let is_password = key.ends_with("password");
            let Some(value) = system.get(*option).filter(|value| !value.is_empty()) else {
                continue;
            };
            if !(has(key) || is_password && has(store)) {
                let place =
                    SettingPlace { file: Path::new(&format!("-D{option}")).into(), line: 0 };
                let setting = ConfigSetting { value: value.clone(), place };
                settings.entries.insert((*key).to_owned(), setting);
            }
        }
    }
}

/// Adds Java's JAAS file to a component of Kafka.
fn inherit_jaas(settings: &mut Settings, system: &BTreeMap<String, String>) {
    let is_kafka = settings.entries.keys().any(|key| key.starts_with("kafka."));
    let Some(value) = system.get(JAAS_FILE).filter(|_| is_kafka) else { return };
    let place = SettingPlace { file: Path::new(&format!("-D{JAAS_FILE}")).into(), line: 0 };
    let setting = ConfigSetting { value: value.clone(), place };
    settings.entries.entry(JAAS_FILE.to_owned()).or_insert(setting);
}

/// Does the same for alarm deliveries, which are not components but connect to servers too.
fn inherit_trust(alarms: &mut Settings, system: &BTreeMap<String, String>) {
    for before in ["webhook.", "dingtalk."] {
        if !alarms.entries.keys().any(|key| key.starts_with(before)) {
            continue;
        }
        let is_set = |key: &str| alarms.entries.contains_key(&format!("{before}{key}"));
        for (key, value) in trust_of_process(system, is_set) {
            let place = SettingPlace { file: Path::new("-Djavax.net.ssl").into(), line: 0 };
            let setting = ConfigSetting { value: value.to_owned(), place };
            alarms.entries.insert(format!("{before}{key}"), setting);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
