//! The settings of a Kafka client: those of Java's, as Flume's configurations have them, in the words of librdkafka.
//!
//! [`ClientSettings::read`] takes all keys after `kafka.producer.` or `kafka.consumer.`. A setting that this client
//! does not have is reported with its line and has no effect; a value that cannot be used is an error with its line.
//! JAAS lines and files become SASL settings, Java's key and trust stores are read when a client is made
//! ([`ClientSettings::resolve`]) and handed over as PEM text.
//!
//! Invariant: no message shows a value of JAAS, a password or a key.

mod jaas;
mod role;
mod table;
#[cfg(test)]
mod tests;

pub use role::ClientRole;

use jaas::{JaasError, LoginModule};
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use millpond_flow::net::tls::{TlsError, pem};
use millpond_flow::settings::flume_names::did_you_mean;
use millpond_flow::settings::{SettingError, SettingsReader, Severity};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use table::{TABLE, Translation};

/// Most bytes of a JAAS file.
const JAAS_BYTES_MAX: u64 = 64 * 1024;
/// The key of the JAAS file of the process, which `-Djava.security.auth.login.config` sets too.
pub const JAAS_FILE: &str = "java.security.auth.login.config";
/// The key of the brokers.
pub const BOOTSTRAP: &str = "kafka.bootstrap.servers";

/// A store of certificates in a file.
#[derive(Clone, Default)]
struct StoreFile {
    path: PathBuf,
    password: String,
}

/// The settings of one client, by the names of librdkafka.
#[derive(Clone, Default)]
pub struct ClientSettings {
    native: BTreeMap<String, String>,
    /// The key of the configuration that a name comes from.
    keys: BTreeMap<String, String>,
    truststore: Option<StoreFile>,
    keystore: Option<StoreFile>,
    jaas_file: Option<PathBuf>,
}

/// Does not show values.
impl std::fmt::Debug for ClientSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientSettings").field("names", &self.native.keys()).finish_non_exhaustive()
    }
}

/// Why a client cannot be made of its settings.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientSettingsError {
    /// A store cannot be read.
    #[error(transparent)]
    Store(#[from] TlsError),
    /// The JAAS file cannot be read.
    #[error("the JAAS file {}: {source}", path.display())]
    JaasFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: SmallFileError,
    },
    /// The JAAS file is not one of a Kafka client.
    #[error("the JAAS file {}: {what}", path.display())]
    Jaas {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl ClientSettings {
    /// Reads all settings of a client of this role. Keys that Flume's parts do not have after the prefix are reported.
    ///
    /// # Errors
    /// A value cannot be used, or this build lacks what it asks for.
    pub fn read(reader: &mut SettingsReader<'_>, role: ClientRole) -> Result<Self, SettingError> {
        Self::read_with_old_keys(reader, role, &[])
    }

    /// Like [`Self::read`], where keys of older versions of Flume stand for Java's settings: pairs of both. A newer
    /// key wins.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn read_with_old_keys(
        reader: &mut SettingsReader<'_>,
        role: ClientRole,
        old: &[(&str, &str)],
    ) -> Result<Self, SettingError> {
        let mut settings = Self::default();
        settings.defaults(role);
        let prefix = role.prefix();
        for (key, java) in old {
            if let Some(value) = reader.text(key) {
                settings.translate(reader, role, key, java, value.trim())?;
            }
        }
        let entries = &reader.settings().entries;
        let of_role =
            entries.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        for (key, setting) in of_role.map(|(key, setting)| (key.clone(), setting.value.clone())) {
            settings.take(reader, role, &key, setting.trim())?;
        }
        if let Some(servers) = reader.text(BOOTSTRAP).filter(|servers| !servers.is_empty()) {
            settings.set("bootstrap.servers", servers.replace(' ', ""));
            settings.keys.insert("bootstrap.servers".to_owned(), BOOTSTRAP.to_owned());
        }
        settings.stores(reader, prefix);
        if !settings.native.contains_key("sasl.username") && settings.wants_sasl() {
            settings.jaas_file =
                reader.text(JAAS_FILE).filter(|path| !path.is_empty()).map(PathBuf::from);
        }
        settings.check(reader, prefix)?;
        Ok(settings)
    }

    /// Sets what Java's client has by default and librdkafka has not, and what bounds memory and time.
    fn defaults(&mut self, role: ClientRole) {
        // A broker that returns is found within two seconds.
        let both = [
            ("reconnect.backoff.ms", "100"),
            ("reconnect.backoff.max.ms", "2000"),
            ("socket.keepalive.enable", "true"),
            ("log.connection.close", "false"),
            ("topic.metadata.refresh.interval.ms", "30000"),
        ];
        let own: &[(&str, &str)] = match role {
            ClientRole::Producer => &[
                ("acks", "all"),
                ("partitioner", "murmur2_random"),
                ("message.max.bytes", "1048576"),
                ("queue.buffering.max.kbytes", "32768"),
                ("delivery.timeout.ms", "30000"),
                ("linger.ms", "0"),
            ],
            ClientRole::Consumer => &[
                ("enable.auto.commit", "false"),
                ("enable.auto.offset.store", "false"),
                ("isolation.level", "read_uncommitted"),
                ("partition.assignment.strategy", "range,roundrobin"),
                ("queued.max.messages.kbytes", "16384"),
                ("fetch.wait.max.ms", "100"),
                ("allow.auto.create.topics", "true"),
            ],
        };
        for (name, value) in both.iter().chain(own) {
            self.set(name, *value);
        }
    }

    /// Takes one setting of Java's.
    fn take(
        &mut self,
        reader: &mut SettingsReader<'_>,
        role: ClientRole,
        key: &str,
        value: &str,
    ) -> Result<(), SettingError> {
        let java = key.strip_prefix(role.prefix()).unwrap_or(key);
        self.translate(reader, role, key, java, value)
    }

    /// Takes the Java setting `java`, which the key `key` sets.
    fn translate(
        &mut self,
        reader: &mut SettingsReader<'_>,
        role: ClientRole,
        key: &str,
        java: &str,
        value: &str,
    ) -> Result<(), SettingError> {
        let of_role = TABLE.iter().filter(|row| row.role.is_none_or(|of| of == role));
        let Some(row) = of_role.clone().find(|row| row.name == java) else {
            let hint = did_you_mean(java, of_role.map(|row| row.name));
            let message = format!(
                "has no effect: the Kafka client of this program has no such setting{hint}"
            );
            reader.find(Severity::Warning, key, message);
            return Ok(());
        };
        let (name, value) = match row.translation {
            Translation::Same => (row.name, value.to_owned()),
            Translation::Name(name) => (name, value.to_owned()),
            Translation::Value(name, translate) => {
                let value = translate(value)
                    .map_err(|what| reader.error(key, format!("\"{value}\" {what}")))?;
                (name, value)
            }
            Translation::Silent | Translation::Store => return Ok(()),
            Translation::None(why) => {
                reader.find(Severity::Warning, key, format!("has no effect: {why}"));
                return Ok(());
            }
            Translation::Jaas => {
                let module =
                    jaas::line(value).map_err(|error| reader.error(key, error.to_string()))?;
                return self.login(module).map_err(|what| reader.error(key, what));
            }
        };
        self.keys.insert(name.to_owned(), key.to_owned());
        self.set(name, value);
        Ok(())
    }

    fn stores(&mut self, reader: &SettingsReader<'_>, prefix: &str) {
        let store = |name: &str| {
            let text = |part: &str| reader.text(&format!("{prefix}ssl.{name}.{part}"));
            let path = PathBuf::from(text("location").filter(|path| !path.is_empty())?);
            Some(StoreFile { path, password: text("password").unwrap_or_default().to_owned() })
        };
        (self.truststore, self.keystore) = (store("truststore"), store("keystore"));
    }

    /// Takes the options of a login module.
    fn login(&mut self, module: LoginModule) -> Result<(), String> {
        let options = &module.options;
        let wanted: &[(&str, &str)] = match module.class.as_str() {
            "PlainLoginModule" | "ScramLoginModule" => {
                &[("username", "sasl.username"), ("password", "sasl.password")]
            }
            "Krb5LoginModule" => {
                if options.get("useKeyTab").is_none_or(|truth| truth != "true") {
                    return Err(
                        "logs in without a key table; set useKeyTab=true, keyTab and principal"
                            .to_owned(),
                    );
                }
                if let Some(name) = options.get("serviceName") {
                    self.set("sasl.kerberos.service.name", name.clone());
                }
                &[("keyTab", "sasl.kerberos.keytab"), ("principal", "sasl.kerberos.principal")]
            }
            class => {
                return Err(format!(
                    "{class} is not there; PlainLoginModule, ScramLoginModule and Krb5LoginModule are"
                ));
            }
        };
        for (option, name) in wanted {
            let value = options.get(*option);
            let value = value.ok_or_else(|| format!("{} has no {option}", module.class))?;
            self.set(name, value.clone());
        }
        Ok(())
    }

    fn wants_sasl(&self) -> bool {
        self.get("security.protocol").is_some_and(|protocol| protocol.starts_with("sasl"))
    }

    /// Checks what one setting means for others.
    fn check(&mut self, reader: &mut SettingsReader<'_>, prefix: &str) -> Result<(), SettingError> {
        let key = |name: &str| format!("{prefix}{name}");
        let protocol = self.get("security.protocol").unwrap_or("plaintext").to_owned();
        if !["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"].contains(&protocol.as_str()) {
            let message = "is none of PLAINTEXT, SSL, SASL_PLAINTEXT and SASL_SSL";
            return Err(reader.error(&key("security.protocol"), message));
        }
        let missing = |what: &str, feature: &str| {
            format!("this build has no {what} for Kafka; build with the feature {feature}")
        };
        if protocol.ends_with("ssl") && !cfg!(feature = "ssl") {
            return Err(reader.error(&key("security.protocol"), missing("TLS", "kafka-ssl")));
        }
        if self.wants_sasl() {
            let mechanism = self.get("sasl.mechanism").unwrap_or("GSSAPI").to_owned();
            if mechanism.starts_with("SCRAM") && !cfg!(feature = "ssl") {
                return Err(reader.error(&key("sasl.mechanism"), missing("SCRAM", "kafka-ssl")));
            }
            if mechanism == "GSSAPI" && !cfg!(feature = "gssapi") {
                return Err(
                    reader.error(&key("sasl.mechanism"), missing("Kerberos", "kafka-gssapi"))
                );
            }
            if mechanism == "OAUTHBEARER" {
                let message = "OAUTHBEARER is not there; use SCRAM-SHA-512, PLAIN or GSSAPI";
                return Err(reader.error(&key("sasl.mechanism"), message));
            }
            self.set("sasl.mechanism", mechanism);
        }
        if !protocol.ends_with("ssl") {
            for name in ["ssl.truststore.location", "ssl.keystore.location"] {
                if reader.text(&key(name)).is_some() {
                    let message = "has no effect without security.protocol = SSL or SASL_SSL: connections are plain text";
                    reader.find(Severity::Warning, &key(name), message);
                }
            }
        }
        self.check_acks(reader, &key)
    }

    fn check_acks(
        &mut self,
        reader: &mut SettingsReader<'_>,
        key: &impl Fn(&str) -> String,
    ) -> Result<(), SettingError> {
        let Some(acks) = self.get("acks") else { return Ok(()) };
        if acks != "all" {
            let message = "events that the leader alone has are lost if it fails; without this key all in-sync replicas have them";
            let at = self.keys.get("acks").cloned().unwrap_or_else(|| key("acks"));
            if self.is_given("transactional.id") || self.get("enable.idempotence") == Some("true") {
                return Err(reader.error(&at, "has to be all with idempotence or transactions"));
            }
            reader.find(Severity::Warning, &at, message);
            self.set("enable.idempotence", "false");
        } else if !self.is_given("enable.idempotence") {
            let in_flight = self.get("max.in.flight.requests.per.connection").unwrap_or("5");
            let is_possible = in_flight.parse::<u32>().is_ok_and(|most| most <= 5);
            let retries = self.get("retries") != Some("0");
            self.set("enable.idempotence", if is_possible && retries { "true" } else { "false" });
        }
        Ok(())
    }

    /// Returns the settings that both clients have: brokers, names, security. What only a producer has is left out.
    #[must_use]
    pub fn shared(&self) -> Self {
        let mut shared = self.clone();
        let before =
            ["bootstrap.", "client.", "security.", "sasl.", "ssl.", "socket.", "reconnect."];
        shared.native.retain(|name, _| before.iter().any(|before| name.starts_with(before)));
        shared.keys.clear();
        shared
    }

    /// Sets a value by its name in librdkafka.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        self.native.insert(name.to_owned(), value.into());
    }

    /// Removes the value of a name of librdkafka.
    pub fn unset(&mut self, name: &str) {
        self.native.remove(name);
        self.keys.remove(name);
    }

    /// Sets a value by its name in librdkafka that the key `key` of the configuration has.
    pub fn set_from(&mut self, key: &str, name: &str, value: impl Into<String>) {
        self.keys.insert(name.to_owned(), key.to_owned());
        self.set(name, value);
    }

    /// Sets a value by its name in librdkafka unless the configuration has one.
    pub fn set_default(&mut self, name: &str, value: impl Into<String>) {
        if !self.is_given(name) {
            self.set(name, value);
        }
    }

    /// Returns the value of a name of librdkafka, if the configuration or a default sets it.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.native.get(name).map(String::as_str)
    }

    /// Returns true if the configuration sets this name of librdkafka.
    #[must_use]
    pub fn is_given(&self, name: &str) -> bool {
        self.keys.contains_key(name)
    }

    /// Returns the key of the configuration that a name of librdkafka comes from.
    #[must_use]
    pub fn key_of(&self, name: &str) -> Option<&str> {
        self.keys.get(name).map(String::as_str)
    }

    /// Returns the brokers, as messages name them.
    #[must_use]
    pub fn servers(&self) -> &str {
        self.get("bootstrap.servers").unwrap_or_default()
    }

    /// Returns the names and values of librdkafka that need no file.
    pub fn without_files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.native.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Reads the stores and the JAAS file and returns all names and values of librdkafka. Blocks.
    ///
    /// # Errors
    /// A store or the JAAS file cannot be read.
    pub fn resolve(&self) -> Result<BTreeMap<String, String>, ClientSettingsError> {
        let mut all = self.clone();
        if let Some(path) = &self.jaas_file {
            let module = read_jaas(path)?;
            let wrong = |what| ClientSettingsError::Jaas { path: path.clone(), what };
            all.login(module).map_err(wrong)?;
        }
        if self.get("security.protocol").is_some_and(|protocol| protocol.ends_with("ssl")) {
            if let Some(store) = &self.truststore {
                all.set("ssl.ca.pem", pem::trusted(&store.path, &store.password)?);
            }
            if let Some(store) = &self.keystore {
                let pem = pem::key(&store.path, &store.password)?;
                all.set("ssl.certificate.pem", pem.certificates);
                all.set("ssl.key.pem", pem.key);
                // The key is not encrypted any more.
                all.native.remove("ssl.key.password");
            }
        }
        Ok(all.native)
    }
}

fn read_jaas(path: &Path) -> Result<LoginModule, ClientSettingsError> {
    let unreadable = |source| ClientSettingsError::JaasFile { path: path.to_owned(), source };
    let bytes = read_whole(path, JAAS_BYTES_MAX).map_err(unreadable)?;
    let wrong = |error: JaasError| ClientSettingsError::Jaas {
        path: path.to_owned(),
        what: error.to_string(),
    };
    jaas::file(&String::from_utf8_lossy(&bytes)).map_err(wrong)
}
