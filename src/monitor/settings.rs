//! `-Dflume.monitoring.*`: what to show, and where.

use crate::config::http_auth::{self, AUTH_KEYS};
use crate::config::names;
use crate::config::secret;
use crate::config::settings::{Settings as ReadSettings, SettingsReader};
use crate::config::tls::{self, SERVER_KEYS};
use crate::net::http_auth::HttpAuth;
use crate::net::reloading::Stores;
use crate::net::tls::ServerTls;
use std::collections::BTreeMap;
use std::time::Duration;

/// What all keys begin with.
const PREFIX: &str = "flume.monitoring.";
/// Where pages are served unless told otherwise, as in Flume.
const PORT: u16 = 41414;
/// Who can ask unless told otherwise: this machine. Flume's server listens everywhere.
const BIND: &str = "127.0.0.1";
/// The keys behind the prefix, beside those of TLS and of who may ask.
const KEYS: [&str; 7] =
    ["type", "port", "bind", "hosts", "pollFrequency", "isGanglia3", HEALTH_WITHOUT_AUTH];
const HEALTH_WITHOUT_AUTH: &str = "healthWithoutAuth";

/// All of them.
fn keys() -> impl Iterator<Item = &'static str> {
    KEYS.into_iter().chain(guard_keys())
}

/// Those of TLS and of who may ask, which are the same as those of a source.
fn guard_keys() -> impl Iterator<Item = &'static str> {
    SERVER_KEYS.iter().chain(&AUTH_KEYS).map(|key| key.name)
}

/// Seconds between two rounds to Ganglia, as in Flume.
const POLL_SECONDS: u64 = 60;

/// The values of the type.
const TYPES: [&str; 3] = ["http", "prometheus", "ganglia"];

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Settings {
    /// Pages on HTTP.
    Pages(Box<Door>),
    /// Packets to Ganglia.
    Ganglia(Ganglia),
}

/// Where counters are sent, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ganglia {
    /// `host:port` of each.
    pub(crate) hosts: Vec<String>,
    /// Between two rounds.
    pub(crate) pause: Duration,
    /// In the form of Ganglia 3.0, not in that of 3.1.
    pub(crate) is_3_0: bool,
}

/// What `/metrics` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Flume's JSON.
    Flume,
    /// Prometheus' text.
    Prometheus,
}

/// Where pages are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Door {
    /// Address or host name to listen on.
    pub(crate) bind: String,
    /// TCP port; 0 for any free one.
    pub(crate) port: u16,
    /// What `/metrics` is.
    pub(crate) format: Format,
    /// How TLS is served, if it is.
    pub(crate) tls: Option<ServerTls>,
    /// Who may ask; everybody without it.
    pub(crate) auth: Option<HttpAuth>,
    /// Whether `/healthz` and `/readyz` are for everybody all the same.
    pub(crate) health_without_auth: bool,
}

/// Something about the options that their user has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Complaint {
    /// Without it there is what was asked for.
    Warning(String),
    /// Because of it there is no monitoring.
    Error(String),
}

impl Settings {
    /// What a start would find wrong with `properties`. With `files` the secrets and stores that they name
    /// are read as well.
    pub(crate) fn look(properties: &BTreeMap<String, String>, files: bool) -> Vec<Complaint> {
        let (settings, mut complaints) = Self::read(properties);
        if let (true, Some(Self::Pages(door))) = (files, settings) {
            let auth = door.auth.as_ref().and_then(|auth| Some(auth.load().err()?.to_string()));
            let tls = door.tls.as_ref().and_then(|tls| Some(tls.load().err()?.to_string()));
            let words = |why| format!("-D{PREFIX}*: {why}; nobody would get in");
            complaints.extend(auth.into_iter().chain(tls).map(words).map(Complaint::Error));
        }
        complaints
    }

    /// What `properties` ask for, and what is wrong with them.
    pub(crate) fn read(properties: &BTreeMap<String, String>) -> (Option<Self>, Vec<Complaint>) {
        let given: BTreeMap<&str, &str> = properties
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, value.trim())))
            .collect();
        let mut complaints = Vec::new();
        for key in given.keys().filter(|key| !keys().any(|known| known == **key)) {
            let hint = names::did_you_mean(key, keys());
            let why = format!("no such option{hint}");
            complaints.push(match is_meant_to_guard(key) {
                false => warning(key, shown(key, given[key]), &why),
                true => {
                    let why =
                        format!("{why}; without it the pages would be open to more than is meant");
                    Complaint::Error(option(key, shown(key, given[key]), &why))
                }
            });
        }
        let has_refused = complaints.iter().any(|c| matches!(c, Complaint::Error(_)));
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
                complaints.push(Complaint::Error(error));
                (None, complaints)
            }
        }
    }

    fn of(
        kind: &str,
        given: &BTreeMap<&str, &str>,
        complaints: &mut Vec<Complaint>,
    ) -> Result<Self, String> {
        match kind.to_lowercase().as_str() {
            "http" | "org.apache.flume.instrumentation.http.httpmetricsserver" => {
                Ok(Self::Pages(Box::new(Door::read(given, Format::Flume, complaints)?)))
            }
            "prometheus" | "org.apache.flume.instrumentation.http.prometheushttpmetricsserver" => {
                Ok(Self::Pages(Box::new(Door::read(given, Format::Prometheus, complaints)?)))
            }
            "ganglia" | "org.apache.flume.instrumentation.gangliaserver" => {
                Ok(Self::Ganglia(Ganglia::read(given, complaints)?))
            }
            _ => {
                let types = TYPES.join(", ");
                let why = if kind.contains('.') {
                    format!("it names a Java class, which cannot run here; there are {types}")
                } else {
                    format!("there are {types}{}", names::did_you_mean(kind, TYPES))
                };
                Err(option("type", kind, &why))
            }
        }
    }
}

impl Settings {
    /// Keys that belong to another type.
    fn idle(&self, given: &BTreeMap<&str, &str>) -> Vec<Complaint> {
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

impl Ganglia {
    fn read(given: &BTreeMap<&str, &str>, complaints: &mut Vec<Complaint>) -> Result<Self, String> {
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
            return Err(option("hosts", list, "names nobody; give HOST:PORT[,HOST:PORT…]"));
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

impl Door {
    fn read(
        given: &BTreeMap<&str, &str>,
        format: Format,
        complaints: &mut Vec<Complaint>,
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

    /// TLS and who may ask.
    fn guard(
        given: &BTreeMap<&str, &str>,
        complaints: &mut Vec<Complaint>,
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
        complaints.extend(findings.into_iter().map(|found| Complaint::Warning(found.to_string())));
        read.map_err(|error| format!("{}: {}", error.key, error.message))
    }
}

/// Whether who wrote an unknown key meant to keep somebody out, as far as can be seen.
fn is_meant_to_guard(key: &str) -> bool {
    let lower = key.to_lowercase();
    ["auth", "ssl", "need", "trust", "keystore"].iter().any(|word| lower.starts_with(word))
        || names::nearest(key, keys()).is_some_and(|near| guard_keys().any(|guard| guard == near))
}

/// A value as it may be shown: not that of a secret, nor of a mistyped key that may have been meant for one.
fn shown<'a>(key: &str, value: &'a str) -> &'a str {
    let is_known = keys().any(|known| known == key);
    let may_be_meant = !is_known && is_meant_to_guard(key) && !key.ends_with("file");
    if may_be_meant { secret::MASK } else { secret::shown(key, value) }
}

fn option(key: &str, value: &str, why: &str) -> String {
    format!("-D{PREFIX}{key}={value}: {why}")
}

fn warning(key: &str, value: &str, why: &str) -> Complaint {
    Complaint::Warning(option(key, value, why))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(options: &[(&str, &str)]) -> (Option<Settings>, Vec<Complaint>) {
        let options =
            options.iter().map(|(key, value)| (format!("{PREFIX}{key}"), value.to_string()));
        let other = ("flume.root.logger".to_owned(), "INFO,console".to_owned());
        Settings::read(&options.chain([other]).collect())
    }

    fn pages(options: &[(&str, &str)]) -> Door {
        match read(options) {
            (Some(Settings::Pages(door)), complaints) if complaints.is_empty() => *door,
            other => panic!("{options:?}: {other:?}"),
        }
    }

    #[test]
    fn pages_are_for_this_machine_at_flumes_port_unless_told_otherwise() {
        assert_eq!(read(&[]), (None, Vec::new()));
        let format = Format::Flume;
        let door = |bind: &str, port| {
            let (tls, auth, health_without_auth) = (None, None, false);
            Door { bind: bind.to_owned(), port, format, tls, auth, health_without_auth }
        };
        assert_eq!(pages(&[("type", "http")]), door("127.0.0.1", 41414));
        let all = [("type", "HTTP"), ("port", " 34545 "), ("bind", "0.0.0.0")];
        assert_eq!(pages(&all), door("0.0.0.0", 34545));
        let class = "org.apache.flume.instrumentation.http.HTTPMetricsServer";
        assert_eq!(pages(&[("type", class), ("bind", "[::1]")]), door("::1", 41414));
        assert_eq!(pages(&[("type", "Prometheus")]).format, Format::Prometheus);
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
            (&[("type", "ganglia")], "hosts=: names nobody"),
            (&[("type", "ganglia"), ("hosts", "h:1"), ("pollFrequency", "0")], "give 1 to 86400"),
        ] {
            let (settings, complaints) = read(options);
            assert_eq!(settings, None, "{options:?}");
            let [Complaint::Error(said)] = &complaints[..] else { panic!("{complaints:?}") };
            assert!(said.contains(words), "{said}");
        }
        for (options, words) in [
            (&[("port", "1")][..], "port=1: no effect without -Dflume.monitoring.type=http"),
            (&[("type", "http"), ("prot", "1")], "prot=1: no such option; did you mean port?"),
            (&[("type", "http"), ("hosts", "h:1")], "hosts=h:1: no effect with pages"),
        ] {
            let (settings, complaints) = read(options);
            assert_eq!(settings.is_some(), options.len() == 2);
            let [Complaint::Warning(said)] = &complaints[..] else { panic!("{complaints:?}") };
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn a_mistyped_key_that_was_to_keep_somebody_out_opens_no_port() {
        for key in
            ["auth-tokenfile", "Auth-Token", "sll", "need-clientauth", "trust-store", "keyStore"]
        {
            let (settings, complaints) = read(&[("type", "http"), (key, "tok")]);
            assert_eq!(settings, None, "{key}");
            let [Complaint::Error(said)] = &complaints[..] else { panic!("{key}: {complaints:?}") };
            assert!(said.contains("no such option; did you mean"), "{said}");
        }
    }

    #[test]
    fn ganglia_has_hosts_and_those_that_are_none_are_left_out() {
        let ganglia = |options: &[(&str, &str)]| match read(options) {
            (Some(Settings::Ganglia(ganglia)), complaints) => (ganglia, complaints),
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
        let door = pages(&all);
        assert!(door.tls.is_some() && door.auth.is_some() && door.health_without_auth);
        assert!(!format!("{door:?}").contains("geheim"));
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
            let [Complaint::Error(said) | Complaint::Warning(said)] = &complaints[..] else {
                panic!("{complaints:?}")
            };
            assert!(said.contains(words) && !said.contains("geheim"), "{said}");
        }
    }
}
