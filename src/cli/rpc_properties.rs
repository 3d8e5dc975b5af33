//! The file of `--rpcProps`: where Flume's clients are told the server and how to talk to it.

use super::avro_connection::Patience;
use super::words::Stop;
use crate::base::limits::CONFIG_BYTES_MAX;
use crate::base::read_whole::read_whole;
use crate::config::properties;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// Events of a call, and milliseconds to wait, where the file says nothing or what cannot be meant.
const BATCH: usize = 100;
const WAIT_MS: u64 = 20_000;
/// Shorter waits are taken for a mistake, as in Flume.
const WAIT_MS_MIN: u64 = 1000;
/// Events of a call at most; more gain nothing and fit into few transactions.
const BATCH_MAX: usize = 1_000_000;

/// Where to send and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RpcProperties {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) batch: usize,
    pub(super) patience: Patience,
}

impl Default for Patience {
    fn default() -> Self {
        let wait = Duration::from_millis(WAIT_MS);
        Self { connect: wait, request: wait }
    }
}

/// What the file at `path` says, and what there is to say about it.
pub(super) fn read(path: &Path) -> Result<(RpcProperties, Vec<String>), Stop> {
    let failed = |why: String| Stop::Failed(format!("{}: {why}", path.display()));
    let bytes = read_whole(path, CONFIG_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    let entries = properties::parse(&bytes).map_err(|e| failed(format!("line {}: {e}", e.line)))?;
    let table = entries.into_iter().map(|e| (e.key, e.value.trim().to_owned())).collect();
    understand(table).map_err(failed)
}

fn understand(mut table: BTreeMap<String, String>) -> Result<(RpcProperties, Vec<String>), String> {
    let mut warnings = Vec::new();
    only(&mut table, "client.type", &["default", "org.apache.flume.api.NettyAvroRpcClient"])?;
    only(&mut table, "compression-type", &["none"])?;
    only(&mut table, "ssl", &["false"])?;
    for key in ["compression-level", "maxIoWorkers"] {
        if table.remove(key).is_some() {
            warnings.push(format!("{key}: no effect"));
        }
    }
    let hosts = table.remove("hosts").ok_or("hosts is required and not set")?;
    let names: Vec<&str> = hosts.split_whitespace().collect();
    let name = *names.first().ok_or("hosts is empty; it lists names, each with a hosts.NAME")?;
    if names.len() > 1 {
        warnings.push(format!("hosts: only the first, {name}, is used, as in Flume"));
    }
    let key = format!("hosts.{name}");
    let address = table.remove(&key).ok_or(format!("{key} is required and not set"))?;
    for other in &names[1..] {
        table.remove(&format!("hosts.{other}"));
    }
    let (host, port) = address
        .split_once(':')
        .and_then(|(host, port)| Some((host.trim(), port.trim().parse::<u16>().ok()?)))
        .filter(|(host, _)| !host.is_empty())
        .ok_or(format!("{key}: \"{address}\" is not HOST:PORT"))?;
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
    if let Some(key) = table.keys().next() {
        return Err(format!("{key}: there is no such key, or it is not there yet; leave it out"));
    }
    let batch = usize::try_from(batch).unwrap_or(BATCH_MAX).min(BATCH_MAX);
    let patience = Patience { connect, request };
    Ok((RpcProperties { host: host.to_owned(), port, batch, patience }, warnings))
}

/// Takes `key` out of the table when it has one of the values that are there.
fn only(table: &mut BTreeMap<String, String>, key: &str, there: &[&str]) -> Result<(), String> {
    match table.remove(key) {
        Some(value) if !there.iter().any(|word| word.eq_ignore_ascii_case(&value)) => {
            Err(format!("{key}: \"{value}\" is not there yet; leave it out or set {}", there[0]))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Result<(RpcProperties, Vec<String>), String> {
        understand(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
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
        assert_eq!((properties.host.as_str(), properties.port), ("a.example", 4141));
        assert_eq!(properties.batch, 7);
        assert_eq!(properties.patience.connect, Duration::from_secs(2));
        assert_eq!(properties.patience.request, Duration::from_secs(20));
        assert_eq!(warnings.len(), 2, "{warnings:?}");
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let host = [("hosts", "h"), ("hosts.h", "a:1")];
        for (key, value) in [
            ("client.type", "default_failover"),
            ("compression-type", "deflate"),
            ("ssl", "true"),
            ("truststore", "x"),
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
