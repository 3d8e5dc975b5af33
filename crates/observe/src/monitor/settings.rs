//! `-Dflume.monitoring.*`: what is shown, and where.

use millpond_flow::net::http_auth::HttpAuth;
use millpond_flow::net::store_reloader::ReloadableStores;
use millpond_flow::net::tls::ServerTls;
use millpond_flow::settings::flume_names;
use millpond_flow::settings::http_auth::{self, AUTH_KEYS};
use millpond_flow::settings::tls::{self, SERVER_KEYS};
use millpond_flow::settings::{Settings as ReadSettings, SettingsReader, secret};
use std::collections::BTreeMap;
use std::time::Duration;

/// The prefix of all keys.
const PREFIX: &str = "flume.monitoring.";
/// The default port, as in Flume.
const PORT: u16 = 41414;
/// The default address: only this machine can connect. Flume's server listens everywhere.
const BIND: &str = "127.0.0.1";
/// The keys after the prefix, without those of TLS and authentication.
const KEYS: [&str; 7] =
    ["type", "port", "bind", "hosts", "pollFrequency", "isGanglia3", HEALTH_WITHOUT_AUTH];
const HEALTH_WITHOUT_AUTH: &str = "healthWithoutAuth";

/// Returns all keys.
fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().chain(guard_keys())
}

/// Returns the keys of TLS and authentication, which are the same as those of a source.
fn guard_keys() -> impl Iterator<Item = &'static str> {
    SERVER_KEYS.iter().chain(&AUTH_KEYS).map(|key| key.name)
}

/// Seconds between two rounds to Ganglia, as in Flume.
const POLL_SECONDS: u64 = 60;

/// The values of `type`.
const TYPES: [&str; 3] = ["http", "prometheus", "ganglia"];

/// The kind of monitoring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MonitorSettings {
    /// Pages on HTTP.
    Pages(Box<HttpServerSettings>),
    /// Packets to Ganglia.
    Ganglia(GangliaSettings),
}

/// Where counters are sent, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GangliaSettings {
    /// `host:port` of each.
    pub(crate) hosts: Vec<String>,
    /// Interval between two rounds.
    pub(crate) pause: Duration,
    /// The form of Ganglia 3.0, instead of that of 3.1.
    pub(crate) is_3_0: bool,
}

/// The format of `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetricsFormat {
    /// Flume's JSON.
    Flume,
    /// Prometheus' text.
    Prometheus,
}

/// Where and how pages are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpServerSettings {
    /// Address or host name to listen on.
    pub(crate) bind: String,
    /// TCP port; 0 for any free one.
    pub(crate) port: u16,
    /// The format of `/metrics`.
    pub(crate) format: MetricsFormat,
    /// TLS settings, if TLS is used.
    pub(crate) tls: Option<ServerTls>,
    /// The required credentials; none: public.
    pub(crate) auth: Option<HttpAuth>,
    /// Whether `/healthz` and `/readyz` are public all the same.
    pub(crate) health_without_auth: bool,
}

/// A problem with the options that their user has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionWarning {
    /// Monitoring works without the option.
    Warning(String),
    /// There is no monitoring because of it.
    Error(String),
}

impl MonitorSettings {
    /// Returns what a start would find wrong with `properties`. With `files` the secrets and stores
    /// that they name are read as well.
    pub fn look(properties: &BTreeMap<String, String>, files: bool) -> Vec<OptionWarning> {
        let (settings, mut complaints) = Self::read(properties);
        if let (true, Some(Self::Pages(server))) = (files, settings) {
            let auth = server.auth.as_ref().and_then(|auth| Some(auth.load().err()?.to_string()));
            let tls = server.tls.as_ref().and_then(|tls| Some(tls.load().err()?.to_string()));
            let words = |why| format!("-D{PREFIX}*: {why}; every request would be refused");
            complaints.extend(auth.into_iter().chain(tls).map(words).map(OptionWarning::Error));
        }
        complaints
    }

    /// Returns what `properties` ask for, and what is wrong with them.
    pub(crate) fn read(
        properties: &BTreeMap<String, String>,
    ) -> (Option<Self>, Vec<OptionWarning>) {
        let given: BTreeMap<&str, &str> = properties
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.trim())))
            .collect();
        let mut complaints = Vec::new();
        for key in given.keys().filter(|key| !keys().any(|known| known == **key)) {
            let hint = flume_names::did_you_mean(key, keys());
            let why = format!("no such option{hint}");
            complaints.push(match is_meant_to_guard(key) {
                false => warning(key, shown(key, given[key]), &why),
                true => {
                    let why =
                        format!("{why}; without it the pages would be open to more than is meant");
                    OptionWarning::Error(option(key, shown(key, given[key]), &why))
                }
            });
        }
        let has_refused = complaints.iter().any(|c| matches!(c, OptionWarning::Error(_)));
        let Some(kind) = given.get("type") else {
            let idle = given.iter().filter(|(key, _)| keys().any(|known| known == **key));
            complaints.extend(idle.map(|(key, value)| {
                warning(key, shown(key, value), &format!("no effect without -D{PREFIX}type=http"))
            }));
            return (None, complaints);
        };
        match Self::of(kind, &given, &mut complaints) {
            Ok(settings) => {
                complaints.extend(settings.idle(&given));
                ((!has_refused).then_some(settings), complaints)
            }
            Err(error) => {
                complaints.push(OptionWarning::Error(error));
                (None, complaints)
            }
        }
    }

    fn of(
        kind: &str,
        given: &BTreeMap<&str, &str>,
        complaints: &mut Vec<OptionWarning>,
    ) -> Result<Self, String> {
        match kind.to_lowercase().as_str() {
            "http" | "org.apache.flume.instrumentation.http.httpmetricsserver" => Ok(Self::Pages(
                Box::new(HttpServerSettings::read(given, MetricsFormat::Flume, complaints)?),
            )),
            "prometheus" | "org.apache.flume.instrumentation.http.prometheushttpmetricsserver" => {
                Ok(Self::Pages(Box::new(HttpServerSettings::read(
                    given,
                    MetricsFormat::Prometheus,
                    complaints,
                )?)))
            }
            "ganglia" | "org.apache.flume.instrumentation.gangliaserver" => {
                Ok(Self::Ganglia(GangliaSettings::read(given, complaints)?))
            }
            _ => {
                let types = TYPES.join(", ");
                let why = if kind.contains('.') {
                    format!("it names a Java class, which cannot run here; there are {types}")
                } else {
                    format!("there are {types}{}", flume_names::did_you_mean(kind, TYPES))
                };
                Err(option("type", kind, &why))
            }
        }
    }
}

impl MonitorSettings {
    /// Warns of keys that belong to another type.
    fn idle(&self, given: &BTreeMap<&str, &str>) -> Vec<OptionWarning> {
        let (kind, others): (_, Vec<&str>) = match self {
            Self::Pages(_) => ("pages", vec!["hosts", "pollFrequency", "isGanglia3"]),
            Self::Ganglia(_) => (
                "ganglia",
                ["port", "bind", HEALTH_WITHOUT_AUTH].into_iter().chain(guard_keys()).collect(),
            ),
        };
        let idle = given.iter().filter(|(key, _)| others.contains(key));
        idle.map(|(key, value)| warning(key, shown(key, value), &format!("no effect with {kind}")))
            .collect()
    }
}

impl GangliaSettings {
    fn read(
        given: &BTreeMap<&str, &str>,
        complaints: &mut Vec<OptionWarning>,
    ) -> Result<Self, String> {
        let list = given.get("hosts").copied().unwrap_or_default();
        let (mut hosts, entries) = (Vec::new(), list.split(',').map(str::trim));
        for entry in entries.filter(|entry| !entry.is_empty()) {
            let port = entry.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port != 0)) {
                hosts.push(entry.to_owned());
            } else {
                let why = format!("\"{entry}\" is not a HOST:PORT, and is left out");
                complaints.push(warning("hosts", list, &why));
            }
        }
        if hosts.is_empty() {
            return Err(option("hosts", list, "names no host; give HOST:PORT[,HOST:PORT…]"));
        }
        let pause = match given.get("pollFrequency") {
            None => POLL_SECONDS,
            Some(seconds) => {
                let number = seconds.parse().ok().filter(|n| (1..=86_400).contains(n));
                number.ok_or_else(|| option("pollFrequency", seconds, "give 1 to 86400 seconds"))?
            }
        };
        let is_3_0 = given.get("isGanglia3").is_some_and(|v| v.eq_ignore_ascii_case("true"));
        Ok(Self { hosts, pause: Duration::from_secs(pause), is_3_0 })
    }
}

impl HttpServerSettings {
    fn read(
        given: &BTreeMap<&str, &str>,
        format: MetricsFormat,
        complaints: &mut Vec<OptionWarning>,
    ) -> Result<Self, String> {
        let port = match given.get("port") {
            None => PORT,
            Some(port) => port.parse().map_err(|_| {
                option("port", port, &format!("is not a port; give 0 to 65535, or none for {PORT}"))
            })?,
        };
        let bind = given.get("bind").copied().unwrap_or(BIND);
        // The brackets of an address in a URL.
        let bind = bind.strip_prefix('[').and_then(|b| b.strip_suffix(']')).unwrap_or(bind);
        if bind.is_empty() {
            let why = format!("is not an address; give 0.0.0.0 for all, or none for {BIND}");
            return Err(option("bind", bind, &why));
        }
        let (tls, auth, health_without_auth) = Self::guard(given, complaints)?;
        Ok(Self { bind: bind.to_owned(), port, format, tls, auth, health_without_auth })
    }

    /// Reads TLS and authentication.
    fn guard(
        given: &BTreeMap<&str, &str>,
        complaints: &mut Vec<OptionWarning>,
    ) -> Result<(Option<ServerTls>, Option<HttpAuth>, bool), String> {
        let pairs: Vec<(&str, &str)> = given.iter().map(|(key, value)| (*key, *value)).collect();
        let settings =
            ReadSettings::from_pairs(&format!("-D{}", PREFIX.trim_end_matches('.')), &pairs);
        let mut reader = SettingsReader::new(&settings);
        let read = tls::server(&mut reader).and_then(|tls| {
            let auth = http_auth::read(&mut reader)?;
            Ok((tls, auth, reader.truth(HEALTH_WITHOUT_AUTH, false)?))
        });
        let findings = reader.into_findings();
        complaints
            .extend(findings.into_iter().map(|found| OptionWarning::Warning(found.to_string())));
        read.map_err(|error| format!("{}: {}", error.key, error.message))
    }
}

/// Returns whether an unknown key was probably meant to restrict access.
fn is_meant_to_guard(key: &str) -> bool {
    let lower = key.to_lowercase();
    ["auth", "ssl", "need", "trust", "keystore"].iter().any(|word| lower.starts_with(word))
        || flume_names::nearest(key, keys())
            .is_some_and(|near| guard_keys().any(|guard| guard == near))
}

/// Returns a value as it may be shown: not that of a secret, nor of a mistyped key that may have
/// been meant for one.
fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    let is_known = keys().any(|known| known == key);
    let may_be_meant = !is_known && is_meant_to_guard(key) && !key.ends_with("file");
    if may_be_meant { secret::MASK } else { secret::shown(key, value) }
}

fn option(key: &str, value: &str, why: &str) -> String {
    format!("-D{PREFIX}{key}={value}: {why}")
}

fn warning(key: &str, value: &str, why: &str) -> OptionWarning {
    OptionWarning::Warning(option(key, value, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> (Option<MonitorSettings>, Vec<OptionWarning>) {
        let options =
            options.iter().map(|(key, value)| (format!("{PREFIX}{key}"), value.to_string()));
        let other = ("flume.root.logger".to_owned(), "INFO,console".to_owned());
        MonitorSettings::read(&options.chain([other]).collect())
    }

    fn pages(options: &[(&str, &str)]) -> HttpServerSettings {
        match read(options) {
            (Some(MonitorSettings::Pages(server)), complaints) if complaints.is_empty() => *server,
            other => panic!("{options:?}: {other:?}"),
        }
    }

    #[test]
    fn pages_are_for_this_machine_at_flumes_port_by_default() {
        assert_eq!(read(&[]), (None, Vec::new()));
        let format = MetricsFormat::Flume;
        let server = |bind: &str, port| {
            let (tls, auth, health_without_auth) = (None, None, false);
            HttpServerSettings {
                bind: bind.to_owned(),
                port,
                format,
                tls,
                auth,
                health_without_auth,
            }
        };
        assert_eq!(pages(&[("type", "http")]), server("127.0.0.1", 41414));
        let all = [("type", "HTTP"), ("port", " 34545 "), ("bind", "0.0.0.0")];
        assert_eq!(pages(&all), server("0.0.0.0", 34545));
        let class = "org.apache.flume.instrumentation.http.HTTPMetricsServer";
        assert_eq!(pages(&[("type", class), ("bind", "[::1]")]), server("::1", 41414));
        assert_eq!(pages(&[("type", "Prometheus")]).format, MetricsFormat::Prometheus);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_to_do() {
        for (options, words) in [
            (
                &[("type", "htp")][..],
                "-Dflume.monitoring.type=htp: there are http, prometheus, ganglia; did you mean http?",
            ),
            (&[("type", "com.x.Monitor")], "names a Java class"),
            (&[("type", "http"), ("port", "70000")], "port=70000: is not a port; give 0 to 65535"),
            (&[("type", "http"), ("port", "")], "is not a port"),
            (&[("type", "http"), ("bind", "")], "bind=: is not an address"),
            (&[("type", "ganglia")], "hosts=: names no host"),
            (&[("type", "ganglia"), ("hosts", "h:1"), ("pollFrequency", "0")], "give 1 to 86400"),
        ] {
            let (settings, complaints) = read(options);
            assert_eq!(settings, None, "{options:?}");
            let [OptionWarning::Error(said)] = &complaints[..] else { panic!("{complaints:?}") };
            assert!(said.contains(words), "{said}");
        }
        for (options, words) in [
            (&[("port", "1")][..], "port=1: no effect without -Dflume.monitoring.type=http"),
            (&[("type", "http"), ("prot", "1")], "prot=1: no such option; did you mean port?"),
            (&[("type", "http"), ("hosts", "h:1")], "hosts=h:1: no effect with pages"),
        ] {
            let (settings, complaints) = read(options);
            assert_eq!(settings.is_some(), options.len() == 2);
            let [OptionWarning::Warning(said)] = &complaints[..] else { panic!("{complaints:?}") };
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_mistyped_key_that_was_to_restrict_access_opens_no_port() {
        for key in
            ["auth-tokenfile", "Auth-Token", "sll", "need-clientauth", "trust-store", "keyStore"]
        {
            let (settings, complaints) = read(&[("type", "http"), (key, "tok")]);
            assert_eq!(settings, None, "{key}");
            let [OptionWarning::Error(said)] = &complaints[..] else {
                panic!("{key}: {complaints:?}")
            };
            assert!(said.contains("no such option; did you mean"), "{said}");
        }
    }

    #[test]
    fn ganglia_has_hosts_and_invalid_ones_are_left_out() {
        let ganglia = |options: &[(&str, &str)]| match read(options) {
            (Some(MonitorSettings::Ganglia(ganglia)), complaints) => (ganglia, complaints),
            other => panic!("{options:?}: {other:?}"),
        };
        let hosts = ("hosts", "g1:8649, [::1]:8650,g2,:7,h:x");
        let (read, complaints) = ganglia(&[("type", "ganglia"), hosts]);
        assert_eq!(read.hosts, ["g1:8649", "[::1]:8650"]);
        assert_eq!((read.pause, read.is_3_0), (Duration::from_secs(60), false));
        assert_eq!(complaints.len(), 3, "{complaints:?}");
        let more =
            [("type", "GANGLIA"), ("hosts", "g:1"), ("pollFrequency", "5"), ("isGanglia3", "True")];
        let (read, complaints) = ganglia(&more);
        assert_eq!((read.pause, read.is_3_0, complaints.len()), (Duration::from_secs(5), true, 0));
    }

    #[test]
    fn tls_and_who_may_ask_are_set_as_for_a_source_and_no_secret_is_repeated() {
        let all = [
            ("type", "http"),
            ("ssl", "true"),
            ("keystore", "/k"),
            ("auth-user", "me"),
            ("auth-password", "geheim"),
            ("healthWithoutAuth", "true"),
        ];
        let server = pages(&all);
        assert!(server.tls.is_some() && server.auth.is_some() && server.health_without_auth);
        assert!(!format!("{server:?}").contains("geheim"));
        for (options, words) in [
            (&[("type", "http"), ("ssl", "true")][..], "-Dflume.monitoring.keystore: is required"),
            (
                &[("type", "http"), ("auth-user", "me")],
                "-Dflume.monitoring.auth-user: needs a password",
            ),
            (&[("type", "http"), ("ssl", "yes")], "true or false"),
            (&[("auth-token", "geheim")], "no effect without"),
            (&[("type", "http"), ("auth-tokn", "geheim")], "did you mean auth-token?"),
            (&[("type", "http"), ("auth-pass", "geheim")], "auth-pass=***: "),
            (&[("auth-user", "me")], "auth-user=me: no effect without"),
            (&[("keystore-password", "geheim")], "keystore-password=***: no effect without"),
            (&[("type", "http"), ("keystore", "/k")], "no effect without ssl = true"),
        ] {
            let (_, complaints) = read(options);
            let [OptionWarning::Error(said) | OptionWarning::Warning(said)] = &complaints[..]
            else {
                panic!("{complaints:?}")
            };
            assert!(said.contains(words) && !said.contains("geheim"), "{said}");
        }
    }
}
