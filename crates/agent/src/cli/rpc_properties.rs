//! The file of `--rpcProps`: the servers of Flume's clients and how to connect to them.

use super::exit::CommandError;
use millpond_adapters::sink::rpc::connection::RpcTimeouts;
use millpond_adapters::wire::thrift::ThriftProtocol;
use millpond_config::properties;
use millpond_flow::base::limits::CONFIG_BYTES_MAX;
use millpond_flow::base::small_file::read_whole;
use millpond_flow::net::tls::ClientTls;
use millpond_flow::processor::{self, Processor};
use millpond_flow::settings::tls::{self, CLIENT_KEYS};
use millpond_flow::settings::{Settings, SettingsReader};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Default events per call, and default timeout in milliseconds, also instead of unusable values.
const BATCH: usize = 100;
const WAIT_MS: u64 = 20_000;
/// Shorter timeouts are taken for a mistake, as in Flume.
const WAIT_MS_MIN: u64 = 1000;
/// Most events per call; more gain nothing and fit into few transactions.
const BATCH_MAX: usize = 1_000_000;
/// Compression level, as in Flume.
const LEVEL: u32 = 6;
/// Most servers that are tried for one call.
const ATTEMPTS_MAX: u64 = 1000;

/// The servers, and how to connect to them.
#[derive(Clone, Debug)]
pub(super) struct RpcProperties {
    /// At least one name or address, with a port each.
    pub(super) hosts: Vec<(String, u16)>,
    pub(super) choice: ServerSelection,
    pub(super) rpc_protocol: ClientProtocol,
    pub(super) batch: usize,
    pub(super) timeouts: RpcTimeouts,
    pub(super) tls: Option<ClientTls>,
    /// The level of compression, if there is any.
    pub(super) zlib: Option<u32>,
}

/// The servers' protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientProtocol {
    Avro,
    Thrift(ThriftProtocol),
}

/// Which of the servers gets a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ServerSelection {
    /// The only one.
    Alone,
    /// The last one again; if it fails the next one, up to so many.
    Failover { attempts: usize },
    /// In turn, or at random; the settings of the sink processor that does the same.
    Balance { pairs: Vec<(&'static str, String)> },
}

impl RpcProperties {
    /// Returns the settings for one server.
    pub(super) fn plain(host: String, port: u16, batch: usize) -> Self {
        let wait = Duration::from_millis(WAIT_MS);
        let timeouts = RpcTimeouts { connect: wait, request: wait };
        let (choice, tls, zlib) = (ServerSelection::Alone, None, None);
        let (hosts, rpc_protocol) = (vec![(host, port)], ClientProtocol::Avro);
        Self { hosts, choice, rpc_protocol, batch, timeouts, tls, zlib }
    }

    /// Returns the selector, if the server changes from call to call.
    pub(super) fn balance(&self) -> Option<Box<dyn Processor>> {
        let ServerSelection::Balance { pairs } = &self.choice else { return None };
        let pairs: Vec<(&str, &str)> = pairs.iter().map(|(k, v)| (*k, v.as_str())).collect();
        let settings = Settings::from_pairs("client", &pairs);
        let names: Vec<String> = self.hosts.iter().map(|(host, _)| host.clone()).collect();
        let kind = processor::TYPES.iter().find(|kind| kind.names[0] == "load_balance")?;
        (kind.build)(&mut SettingsReader::new(&settings), &names).ok()
    }
}

/// Reads the file at `path`, and returns warnings about it; `system` are the `-D` options.
pub(super) fn read(
    path: &Path,
    system: &BTreeMap<String, String>,
) -> Result<(RpcProperties, Vec<String>), CommandError> {
    let failed = |why: String| CommandError::Failed(format!("{}: {why}", path.display()));
    let bytes = read_whole(path, CONFIG_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    let entries = properties::parse(&bytes).map_err(|e| failed(format!("line {}: {e}", e.line)))?;
    let table = entries.into_iter().map(|e| (e.key, e.value.trim().to_owned())).collect();
    understand(table, system).map_err(failed)
}

fn understand(
    mut table: BTreeMap<String, String>,
    system: &BTreeMap<String, String>,
) -> Result<(RpcProperties, Vec<String>), String> {
    let mut warnings = Vec::new();
    let mut hosts = hosts(&mut table, &mut warnings)?;
    let (choice, rpc_protocol) = choice(&mut table, &mut hosts, &mut warnings)?;
    let tls = tls(&mut table, system, &mut warnings)?;
    let zlib = zlib(&mut table, &mut warnings)?;
    let mut number = |key: &str, least: u64, default: u64| {
        let Some(text) = table.remove(key) else { return default };
        let read = text.parse::<u64>().ok().filter(|n| *n >= least);
        read.unwrap_or_else(|| {
            warnings.push(format!("{key}: \"{text}\" is taken as {default}, as in Flume"));
            default
        })
    };
    let batch = number("batch-size", 1, BATCH as u64);
    let connect = Duration::from_millis(number("connect-timeout", WAIT_MS_MIN, WAIT_MS));
    let request = Duration::from_millis(number("request-timeout", WAIT_MS_MIN, WAIT_MS));
    if table.remove("maxIoWorkers").is_some() {
        warnings.push("maxIoWorkers: no effect, as in Flume since 1.10".to_owned());
    }
    if let Some(key) = table.keys().next() {
        return Err(format!("{key}: there is no such key for this client; leave it out"));
    }
    let batch = usize::try_from(batch).unwrap_or(BATCH_MAX).min(BATCH_MAX);
    if rpc_protocol != ClientProtocol::Avro && zlib.is_some() {
        return Err(
            "compression-type: only clients that speak Avro compress; leave it out".to_owned()
        );
    }
    let timeouts = RpcTimeouts { connect, request };
    Ok((RpcProperties { hosts, choice, rpc_protocol, batch, timeouts, tls, zlib }, warnings))
}

/// Returns the servers that `hosts` lists.
fn hosts(
    table: &mut BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<Vec<(String, u16)>, String> {
    let names = table.remove("hosts").ok_or("hosts is required and not set")?;
    let mut hosts = Vec::new();
    for name in names.split_whitespace() {
        let key = format!("hosts.{name}");
        let Some(address) = table.remove(&key) else {
            if hosts.is_empty() {
                return Err(format!("{key} is required and not set"));
            }
            warnings.push(format!("{key} is not set, so {name} is left out, as in Flume"));
            continue;
        };
        let server = address
            .split_once(':')
            .and_then(|(host, port)| Some((host.trim(), port.trim().parse::<u16>().ok()?)))
            .filter(|(host, _)| !host.is_empty())
            .ok_or(format!("{key}: \"{address}\" is not HOST:PORT"))?;
        hosts.push((server.0.to_owned(), server.1));
    }
    if hosts.is_empty() {
        return Err("hosts is empty; it lists names, each with a hosts.NAME".to_owned());
    }
    Ok(hosts)
}

/// Returns which of `hosts` are used, and how.
fn choice(
    table: &mut BTreeMap<String, String>,
    hosts: &mut Vec<(String, u16)>,
    warnings: &mut Vec<String>,
) -> Result<(ServerSelection, ClientProtocol), String> {
    let kind = table.remove("client.type").unwrap_or_else(|| "default".to_owned());
    let mut rpc_protocol = ClientProtocol::Avro;
    let mut alone = || {
        if hosts.len() > 1 {
            let (host, port) = &hosts[0];
            warnings.push(format!("hosts: only the first, {host}:{port}, is used, as in Flume"));
        }
        hosts.truncate(1);
        ServerSelection::Alone
    };
    let choice = match kind.to_lowercase().as_str() {
        "default" | "org.apache.flume.api.nettyavrorpcclient" => alone(),
        "thrift" | "org.apache.flume.api.thriftrpcclient" => {
            let choice = alone();
            rpc_protocol = ClientProtocol::Thrift(thrift(table, warnings)?);
            choice
        }
        "default_failover" | "org.apache.flume.api.failoverrpcclient" => {
            let given = table.remove("max-attempts");
            let read = given.as_ref().map(|text| text.parse::<u64>());
            let attempts = match read {
                None => hosts.len(),
                Some(Ok(n @ 1..=ATTEMPTS_MAX)) => usize::try_from(n).unwrap_or(hosts.len()),
                Some(_) => {
                    return Err(format!("max-attempts: is not a number from 1 to {ATTEMPTS_MAX}"));
                }
            };
            ServerSelection::Failover { attempts }
        }
        "default_loadbalance" | "org.apache.flume.api.loadbalancingrpcclient" => {
            if hosts.len() < 2 {
                return Err("hosts: default_loadbalance needs at least two, as in Flume".to_owned());
            }
            let selector = table.remove("host-selector").unwrap_or_default().to_lowercase();
            if !["", "round_robin", "random"].contains(&selector.as_str()) {
                return Err(format!("host-selector: \"{selector}\" is not ROUND_ROBIN or RANDOM"));
            }
            let mut pairs = Vec::new();
            pairs.extend(Some(("selector", selector)).filter(|(_, word)| !word.is_empty()));
            pairs.extend(table.remove("backoff").map(|text| ("backoff", text)));
            if let Some(text) = table.remove("maxBackoff") {
                text.parse::<u32>()
                    .map_err(|_| format!("maxBackoff: \"{text}\" is not a number"))?;
                pairs.push(("selector.maxTimeOut", text));
            }
            ServerSelection::Balance { pairs }
        }
        _ => {
            return Err(format!(
                "client.type: \"{kind}\" is not there; there are default, default_failover, default_loadbalance and thrift"
            ));
        }
    };
    Ok((choice, rpc_protocol))
}

/// Returns the protocol of Thrift, and checks the other keys that only its client has.
fn thrift(
    table: &mut BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<ThriftProtocol, String> {
    if table.remove("kerberos").is_some_and(|word| !word.eq_ignore_ascii_case("false")) {
        return Err("kerberos: there is no Kerberos here; set false, and use TLS".to_owned());
    }
    if table.remove("maxConnections").is_some() {
        warnings.push("maxConnections: no effect, this command has one connection".to_owned());
    }
    Ok(match table.remove("protocol").as_deref() {
        None | Some("compact") => ThriftProtocol::Compact,
        Some("binary") => ThriftProtocol::Binary,
        Some(other) => {
            warnings.push(format!("protocol: \"{other}\" is taken as compact, as in Flume"));
            ThriftProtocol::Compact
        }
    })
}

fn tls(
    table: &mut BTreeMap<String, String>,
    system: &BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<Option<ClientTls>, String> {
    let keys = CLIENT_KEYS.iter().filter_map(|key| Some((key.name, table.remove(key.name)?)));
    let keys: Vec<(&str, String)> = keys.collect();
    let mut pairs: Vec<(&str, &str)> = keys.iter().map(|(k, v)| (*k, v.as_str())).collect();
    let is_tls = keys.iter().any(|(key, word)| *key == "ssl" && word.eq_ignore_ascii_case("true"));
    if is_tls {
        pairs.extend(tls::trust_of_process(system, |key| keys.iter().any(|(own, _)| *own == key)));
    }
    let settings = Settings::from_pairs("client", &pairs);
    let mut reader = SettingsReader::new(&settings);
    let own = |key: &str| key.trim_start_matches("client.").to_owned();
    let tls = tls::client(&mut reader).map_err(|e| format!("{}: {}", own(&e.key), e.message))?;
    let findings = reader.into_findings();
    warnings.extend(findings.iter().map(|found| format!("{}: {}", own(&found.key), found.message)));
    Ok(tls)
}

fn zlib(
    table: &mut BTreeMap<String, String>,
    warnings: &mut Vec<String>,
) -> Result<Option<u32>, String> {
    let level = table.remove("compression-level");
    let deflates = match table.remove("compression-type").as_deref() {
        None => false,
        Some(word) if word.eq_ignore_ascii_case("none") => false,
        Some(word) if word.eq_ignore_ascii_case("deflate") => true,
        Some(word) => return Err(format!("compression-type: \"{word}\" is not none or deflate")),
    };
    if !deflates && level.is_some() {
        warnings.push("compression-level: no effect without compression-type = deflate".to_owned());
    }
    let level = level.map_or(Ok(LEVEL), |text| {
        let read = text.parse().ok().filter(|level| *level <= 9);
        read.ok_or(format!("compression-level: \"{text}\" is not a number from 0 to 9"))
    })?;
    Ok(deflates.then_some(level))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<(RpcProperties, Vec<String>), String> {
        let owned = |(k, v): &(&str, &str)| ((*k).to_owned(), (*v).to_owned());
        let system = [("javax.net.ssl.trustStore", "/system")];
        understand(pairs.iter().map(owned).collect(), &system.iter().map(owned).collect())
    }

    #[test]
    fn the_first_host_and_the_clients_numbers_count() {
        let (properties, warnings) = read(&[
            ("client.type", "DEFAULT"),
            ("hosts", "h1 h2"),
            ("hosts.h1", "a.example:4141"),
            ("hosts.h2", "b:1"),
            ("batch-size", "7"),
            ("connect-timeout", "2000"),
            ("request-timeout", "10"),
        ])
        .unwrap();
        assert_eq!(properties.hosts, [("a.example".to_owned(), 4141)]);
        assert_eq!(properties.batch, 7);
        assert_eq!(properties.timeouts.connect, Duration::from_secs(2));
        assert_eq!(properties.timeouts.request, Duration::from_secs(20));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn several_servers_are_used_as_the_client_says() {
        let hosts = [("hosts", "a b"), ("hosts.a", "a:1"), ("hosts.b", "b:2")];
        let with = |more: &[(&'static str, &'static str)]| read(&[&hosts[..], more].concat());
        let choice = |more: &[(&'static str, &'static str)]| with(more).unwrap().0.choice;
        let failover = ("client.type", "default_failover");
        assert_eq!(choice(&[failover]), ServerSelection::Failover { attempts: 2 });
        assert_eq!(
            choice(&[failover, ("max-attempts", "5")]),
            ServerSelection::Failover { attempts: 5 }
        );
        let balance = ("client.type", "DEFAULT_LOADBALANCE");
        let random =
            [balance, ("host-selector", "RANDOM"), ("backoff", "true"), ("maxBackoff", "9")];
        let properties = with(&random).unwrap().0;
        assert_eq!(properties.hosts.len(), 2);
        assert!(properties.balance().is_some());
        for (key, value) in
            [("host-selector", "com.x.Y"), ("maxBackoff", "x"), ("max-attempts", "3")]
        {
            let error = with(&[balance, (key, value)]).unwrap_err();
            assert!(error.starts_with(key), "{error}");
        }
        assert!(with(&[failover, ("max-attempts", "0")]).unwrap_err().starts_with("max-attempts"));
        let one = [("hosts", "a"), ("hosts.a", "a:1"), balance];
        assert!(read(&one).unwrap_err().starts_with("hosts"));
    }

    #[test]
    fn thrift_has_its_protocol_and_no_compression() {
        let host =
            [("hosts", "a b"), ("hosts.a", "a:1"), ("hosts.b", "b:2"), ("client.type", "Thrift")];
        let with = |more: &[(&'static str, &'static str)]| read(&[&host[..], more].concat());
        let (compact, warnings) = with(&[("maxConnections", "5")]).unwrap();
        assert_eq!(
            (compact.rpc_protocol, compact.hosts.len()),
            (ClientProtocol::Thrift(ThriftProtocol::Compact), 1)
        );
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let binary = with(&[("protocol", "binary"), ("kerberos", "false")]).unwrap().0;
        assert_eq!(binary.rpc_protocol, ClientProtocol::Thrift(ThriftProtocol::Binary));
        for (key, value) in
            [("kerberos", "true"), ("compression-type", "deflate"), ("max-attempts", "2")]
        {
            let error = with(&[(key, value)]).unwrap_err();
            assert!(error.starts_with(key), "{error}");
        }
    }

    #[test]
    fn tls_and_compression_are_as_for_the_sink_and_trust_may_come_from_the_options() {
        let host = [("hosts", "h"), ("hosts.h", "a:1")];
        let with = |more: &[(&'static str, &'static str)]| read(&[&host[..], more].concat());
        let (plain, warnings) = with(&[("truststore", "/t"), ("compression-level", "3")]).unwrap();
        assert!(plain.tls.is_none() && plain.zlib.is_none());
        assert_eq!(warnings.len(), 2, "{warnings:?}");
        let (system, warnings) = with(&[("ssl", "true")]).unwrap();
        assert_eq!(system.tls.unwrap().truststore.unwrap(), Path::new("/system"));
        assert!(warnings.is_empty(), "{warnings:?}");
        let own = with(&[("ssl", "true"), ("truststore", "/t"), ("truststore-password", "p")]);
        let own = own.unwrap().0.tls.unwrap();
        assert_eq!(
            (own.truststore.unwrap().as_path(), own.password),
            (Path::new("/t"), "p".into())
        );
        let deflate = ("compression-type", "DEFLATE");
        assert_eq!(with(&[deflate]).unwrap().0.zlib, Some(6));
        assert_eq!(with(&[deflate, ("compression-level", "1")]).unwrap().0.zlib, Some(1));
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let host = [("hosts", "h"), ("hosts.h", "a:1")];
        for (key, value) in [
            ("client.type", "com.example.Client"),
            ("protocol", "binary"),
            ("compression-type", "gzip"),
            ("compression-level", "x"),
            ("ssl", "yes"),
            ("host-selector", "RANDOM"),
            ("batchsize", "3"),
            ("hosts.h", "a"),
            ("hosts.h", "::1:4141"),
            ("hosts", ""),
        ] {
            let mut pairs = host.to_vec();
            pairs.push((key, value));
            let error = read(&pairs).unwrap_err();
            assert!(error.starts_with(key), "{error}");
        }
        assert!(read(&[]).unwrap_err().starts_with("hosts"));
        assert!(read(&host).is_ok());
    }
}
