//! `hbase2`: writes events to a table of HBase, through its Thrift2 gateway.
//!
//! Limits: `batchSize` events and 1 MiB a call (one event may be larger); `thrift.connectTimeout` for a connection to
//! each gateway, `timeout` for a call and its reply; a megabyte for a reply.
//!
//! In reading order: [`serializer`] turns events into rows and increments, [`retry_memory`] keeps what is known of a
//! failed batch, [`gateway`] has the connection, [`sink`] does a batch: all puts in calls `putMultiple`, then the
//! increments. A batch is delivered once the gateway has acknowledged all of it. Its repetition after a failure writes
//! the same row keys, and increments only what was not acknowledged.
//!
//! Different from Flume, which uses HBase's own protocol and finds the region servers through ZooKeeper: the addresses
//! of gateways are a setting, and they log in to a secured HBase by themselves.

#[cfg(any(test, feature = "testing"))]
pub mod fake_gateway;
mod gateway;
mod retry_memory;
mod serializer;
mod sink;
#[cfg(test)]
mod tests;

use crate::wire::thrift::ThriftProtocol;
use bytes::Bytes;
use gateway::{Gateway, GatewayAddress, GatewaySettings};
use millpond_flow::failure_log::FailureLog;
use millpond_flow::net::store_reloader::StoreReloader;
use millpond_flow::settings::tls::{self, CLIENT_KEYS};
use millpond_flow::settings::{Key, KeyKind, SettingError, SettingsReader, Severity, joined};
use millpond_flow::sink::SinkType;
use retry_memory::RetryMemory;
use sink::HbaseSink;
use std::time::Duration;

/// The type `hbase2`, also by the names of Flume's sinks for HBase 1.
pub const TYPE: SinkType = SinkType {
    names: &[
        "hbase2",
        "org.apache.flume.sink.hbase2.HBase2Sink",
        "hbase",
        "org.apache.flume.sink.hbase.HBaseSink",
        "asynchbase",
        "org.apache.flume.sink.hbase.AsyncHBaseSink",
    ],
    keys: KEYS,
    build: |reader| Ok(Box::new(build(reader)?)),
};

const KEYS: &[Key] = &joined::<41>(&[&OWN_KEYS, &serializer::KEYS, &CLIENT_KEYS]);

/// The port of a gateway that names none: that of HBase's Thrift servers.
const PORT: u16 = 9090;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
const TIMEOUT: Duration = Duration::from_secs(60);
const BATCH_EVENTS: usize = 100;
const BATCH_EVENTS_MAX: usize = 1_000_000;
/// Gateways of one sink; all are tried in turn, each for its connect timeout.
const GATEWAYS_MAX: usize = 64;

const IGNORED: &str = "Has no effect here: the gateway has its own HBase configuration.";
const KERBEROS: &str = "Has no effect here: a gateway logs in by itself.";

const OWN_KEYS: [Key; 16] = [
    Key {
        name: "table",
        kind: KeyKind::Text,
        default: "",
        meaning: "The table, with its namespace if that is not the default one: ns:table.",
    },
    Key {
        name: "columnFamily",
        kind: KeyKind::Text,
        default: "",
        meaning: "The column family of all columns.",
    },
    Key {
        name: "thrift.hosts",
        kind: KeyKind::Names,
        default: "",
        meaning: "Thrift2 gateways, HOST:PORT or HOST, separated by blanks or commas; the port is 9090 without one. Required; a key of millpond. The next one is tried when one fails.",
    },
    Key {
        name: "thrift.framed",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Whether the gateway was started with --framed or as a nonblocking server; a key of millpond.",
    },
    Key {
        name: "thrift.protocol",
        kind: KeyKind::Word,
        default: "binary",
        meaning: "binary or compact; compact if the gateway was started with --compact; a key of millpond.",
    },
    Key {
        name: "thrift.connectTimeout",
        kind: KeyKind::Number,
        default: "20000",
        meaning: "Milliseconds for a connection, TLS included; a key of millpond.",
    },
    Key {
        name: "timeout",
        kind: KeyKind::Number,
        default: "60000",
        meaning: "Milliseconds for a call and its reply; in Flume of asynchbase only.",
    },
    Key {
        name: "batchSize",
        kind: KeyKind::Number,
        default: "100",
        meaning: "Events per transaction, 1 to 1000000.",
    },
    Key {
        name: "coalesceIncrements",
        kind: KeyKind::Boolean,
        default: "false",
        meaning: "Whether the increments of a counter in a batch are one call with their sum.",
    },
    Key {
        name: "enableWal",
        kind: KeyKind::Boolean,
        default: "true",
        meaning: "False: HBase does not log what it is sent, and a region server that crashes loses acknowledged events.",
    },
    Key { name: "zookeeperQuorum", kind: KeyKind::Text, default: "", meaning: IGNORED },
    Key { name: "znodeParent", kind: KeyKind::Text, default: "", meaning: IGNORED },
    Key { name: "kerberosPrincipal", kind: KeyKind::Text, default: "", meaning: KERBEROS },
    Key { name: "kerberosKeytab", kind: KeyKind::Path, default: "", meaning: KERBEROS },
    Key {
        name: "maxConsecutiveFails",
        kind: KeyKind::Number,
        default: "10",
        meaning: "Has no effect here: every failure closes what has to be closed.",
    },
    Key {
        name: "async.*",
        kind: KeyKind::Text,
        default: "",
        meaning: "Of the client of asynchbase; has no effect here.",
    },
];

fn build(reader: &mut SettingsReader<'_>) -> Result<HbaseSink, SettingError> {
    let table = table(reader)?;
    let family = reader.required_text("columnFamily")?;
    if family.contains([':', '/']) || family.starts_with('.') {
        return Err(reader.error("columnFamily", "has a character that no column family has"));
    }
    let family = Bytes::copy_from_slice(family.as_bytes());
    let addresses = addresses(reader)?;
    let millis = 1..=u64::from(u32::MAX);
    let protocol = match reader.word("thrift.protocol", &["binary", "compact"])? {
        Some("compact") => ThriftProtocol::Compact,
        _ => ThriftProtocol::Binary,
    };
    let settings = GatewaySettings {
        addresses,
        protocol,
        framed: reader.truth("thrift.framed", false)?,
        connect_timeout: reader
            .millis("thrift.connectTimeout", millis.clone())?
            .unwrap_or(CONNECT_TIMEOUT),
        timeout: reader.millis("timeout", millis)?.unwrap_or(TIMEOUT),
        tls: tls::client(reader)?.map(StoreReloader::new),
    };
    let batch_events = reader.number("batchSize", 1..=BATCH_EVENTS_MAX)?.unwrap_or(BATCH_EVENTS);
    let wal = reader.truth("enableWal", true)?;
    if !wal {
        let message = "HBase does not log what it is sent: a region server that crashes loses events that it acknowledged";
        reader.find(Severity::Warning, "enableWal", message);
    }
    note_ignored(reader);
    Ok(HbaseSink {
        table,
        family,
        wal,
        coalesces: reader.boolean("coalesceIncrements", false),
        batch_events,
        serializer: serializer::build(reader)?,
        gateway: Gateway::new(settings),
        memory: RetryMemory::default(),
        unmatched: FailureLog::default(),
    })
}

/// Reads the table; a name that HBase never gives is an error, because the gateway only says that it failed.
fn table(reader: &SettingsReader<'_>) -> Result<Bytes, SettingError> {
    let table = reader.required_text("table")?;
    let legal = |name: &str| {
        let known = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        !name.is_empty() && name.chars().all(known) && !name.starts_with(['.', '-'])
    };
    let is_legal = match table.split_once(':') {
        Some((namespace, name)) => legal(namespace) && legal(name),
        None => legal(table),
    };
    if !is_legal {
        let message = "is not a name of a table: letters, digits, _ - and ., with NAMESPACE: in front if it is not in the default one";
        return Err(reader.error("table", message));
    }
    Ok(Bytes::copy_from_slice(table.as_bytes()))
}

fn addresses(reader: &SettingsReader<'_>) -> Result<Vec<GatewayAddress>, SettingError> {
    const KEY: &str = "thrift.hosts";
    let listed = reader.text(KEY).unwrap_or_default();
    let listed: Vec<&str> = listed
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter(|entry| !entry.is_empty())
        .collect();
    if listed.is_empty() {
        let quorum = match reader.text("zookeeperQuorum") {
            Some(_) => "; zookeeperQuorum does not lead to it",
            None => "",
        };
        let message = format!(
            "is required and not set: events reach HBase through its Thrift2 gateway (hbase thrift2 start); set it to HOST:{PORT}, the machine of the gateway{quorum} (docs/hbase.md)"
        );
        return Err(reader.error(KEY, message));
    }
    if listed.len() > GATEWAYS_MAX {
        return Err(reader.error(KEY, format!("has more than {GATEWAYS_MAX} gateways")));
    }
    let read = |entry: &str| {
        address(entry).ok_or_else(|| {
            reader.error(
                KEY,
                format!("\"{entry}\" is not HOST or HOST:PORT, with a port from 1 to 65535"),
            )
        })
    };
    listed.into_iter().map(read).collect()
}

/// Reads `HOST`, `HOST:PORT`, `[IPv6]` or `[IPv6]:PORT`.
fn address(entry: &str) -> Option<GatewayAddress> {
    let (host, port) = match entry.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => match entry.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (entry, None),
        },
    };
    let port = port.map_or(Some(PORT), |port| port.parse().ok().filter(|port| *port > 0))?;
    let is_name = !host.is_empty() && !host.contains(['/', '@', '#']);
    is_name.then(|| GatewayAddress { host: host.to_owned(), port })
}

/// Says which keys of Flume have no effect.
fn note_ignored(reader: &mut SettingsReader<'_>) {
    if let Some(name) =
        reader.text("type").filter(|name| !name.to_ascii_lowercase().contains("hbase2"))
    {
        let message = format!("{name} runs as hbase2, which writes to HBase 1 and 2 alike");
        reader.find(Severity::Note, "type", message);
    }
    for key in ["zookeeperQuorum", "znodeParent"] {
        if reader.text(key).is_some() {
            let message = "has no effect: the gateways in thrift.hosts know their HBase";
            reader.find(Severity::Warning, key, message);
        }
    }
    for key in ["kerberosPrincipal", "kerberosKeytab"] {
        if reader.text(key).is_some() {
            let message = "has no effect: the gateway logs in to HBase with its own principal; one that asks its own clients for Kerberos (SASL) cannot be used";
            reader.find(Severity::Warning, key, message);
        }
    }
    if reader.text("maxConsecutiveFails").is_some_and(|number| number != "10") {
        let message = "has no effect: every failure closes what has to be closed";
        reader.find(Severity::Warning, "maxConsecutiveFails", message);
    }
    let of_client = reader.settings().entries.keys().find(|key| key.starts_with("async."));
    if let Some(key) = of_client {
        let message = "has no effect: it is a setting of the client of asynchbase";
        reader.find(Severity::Warning, key, message);
    }
}
