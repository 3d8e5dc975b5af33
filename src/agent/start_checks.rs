//! What a start of an agent would meet on this machine (ports, directories, key stores), and settings that
//! surprise. Nothing is changed by looking; a port is taken for a moment.

use crate::base::limits::START_CHECKS_PORTS_MAX;
use crate::config::agent::{AgentConfig, ChannelConfig, ChannelKind, Component, SinkConfig};
use crate::config::settings::{Finding, Place, Severity, split_comment};
use rustix::fs::Access;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};

/// Sources that listen for datagrams.
const UDP: [&str; 2] = ["syslogudp", "netcatudp"];

/// Sources that listen for connections.
const TCP: [&str; 7] = [
    "avro",
    "thrift",
    "netcat",
    "syslogtcp",
    "multiport_syslogtcp",
    "http",
    "org.apache.flume.source.scribe.ScribeSource",
];

/// Everything on this machine that stands in the way of a start now, or that a start would choose by itself.
#[must_use]
pub fn machine(agent: &AgentConfig) -> Vec<Finding> {
    let mut found = Vec::new();
    for source in &agent.sources {
        ports(&source.component, &mut found);
        source_directories(&source.component, &mut found);
        stores(&source.component, &mut found);
    }
    for channel in &agent.channels {
        channel_directories(channel, &mut found);
    }
    for sink in &agent.sinks {
        sink_directory(&sink.component, &mut found);
        stores(&sink.component, &mut found);
    }
    found
}

/// Settings with which every part starts and that surprise those who run it.
#[must_use]
pub fn settings(agent: &AgentConfig) -> Vec<Finding> {
    let mut found = Vec::new();
    for sink in &agent.sinks {
        never_delivered(sink, &mut found);
    }
    for group in &agent.sink_groups {
        let processor = &group.processor;
        if processor.type_name == "load_balance" && value(processor, "backoff").is_none() {
            let message = "is not set: a sink whose server is away is tried again at each of its turns, which may take 20 s each; true leaves it out for a while";
            found.push(finding(Severity::Note, processor, "backoff", message));
        }
    }
    found
}

/// The value without the comment that may follow it.
fn value<'a>(component: &'a Component, key: &str) -> Option<&'a str> {
    let value = component.settings.entries.get(key)?.value.as_str();
    Some(split_comment(value).map_or(value, |(before, _)| before))
}

/// A path as it stands: it may hold a `#`.
fn path<'a>(component: &'a Component, key: &str) -> Option<&'a Path> {
    Some(Path::new(component.settings.entries.get(key)?.value.as_str()))
}

fn finding(
    severity: Severity,
    component: &Component,
    key: &str,
    message: impl Into<String>,
) -> Finding {
    let set = component.settings.entries.get(key);
    let place: &Place = set.map_or(&component.place, |setting| &setting.place);
    let key = format!("{}.{key}", component.settings.prefix);
    Finding { severity, place: place.clone(), key, message: message.into() }
}

fn ports(component: &Component, found: &mut Vec<Finding>) {
    let udp = UDP.contains(&component.type_name);
    if !udp && !TCP.contains(&component.type_name) {
        return;
    }
    let host = ["bind", "host"].into_iter().find_map(|key| value(component, key));
    let host = host.unwrap_or("0.0.0.0");
    let key = if value(component, "ports").is_some() { "ports" } else { "port" };
    let ports = value(component, key).unwrap_or_default().split_whitespace();
    let ports = ports.filter_map(|port| port.parse::<u16>().ok()).filter(|port| *port != 0);
    for port in ports.take(START_CHECKS_PORTS_MAX) {
        let bound = match udp {
            true => UdpSocket::bind((host, port)).map(drop),
            false => TcpListener::bind((host, port)).map(drop),
        };
        let Err(error) = bound else { continue };
        let message = match error.kind() {
            io::ErrorKind::AddrInUse => format!(
                "{host} port {port} is in use now; unless that is this agent, the source cannot listen until it is free"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "{host} port {port} may not be listened on by this user: ports below net.ipv4.ip_unprivileged_port_start need CAP_NET_BIND_SERVICE"
            ),
            io::ErrorKind::AddrNotAvailable => {
                format!("{host} is not an address of this machine")
            }
            _ => format!("{host} port {port} cannot be listened on: {error}"),
        };
        found.push(finding(Severity::Warning, component, key, message));
    }
}

fn source_directories(component: &Component, found: &mut Vec<Finding>) {
    if component.type_name == "spooldir"
        && let Some(directory) = path(component, "spoolDir")
        && let Some(why) = unusable(directory, Access::READ_OK | Access::WRITE_OK)
    {
        found.push(finding(Severity::Warning, component, "spoolDir", why));
    }
    if component.type_name != "taildir" {
        return;
    }
    for group in value(component, "filegroups").unwrap_or_default().split_whitespace() {
        let key = format!("filegroups.{group}");
        let directory = path(component, &key).and_then(Path::parent);
        let Some(directory) = directory else { continue };
        if let Some(why) = unusable(directory, Access::READ_OK) {
            let message = format!("{why}; no file is read until then");
            found.push(finding(Severity::Warning, component, &key, message));
        }
    }
}

fn channel_directories(channel: &ChannelConfig, found: &mut Vec<Finding>) {
    let file = match &channel.kind {
        ChannelKind::File(file) => file,
        ChannelKind::Spillable(spillable) if spillable.overflow_capacity > 0 => &spillable.overflow,
        ChannelKind::Spillable(_) | ChannelKind::Memory(_) => return,
    };
    let component = &channel.component;
    let data = file.data_dirs.iter().map(|directory| ("dataDirs", directory));
    for (key, directory) in std::iter::once(("checkpointDir", &file.checkpoint_dir)).chain(data) {
        if !component.settings.entries.contains_key(key) {
            let message = format!("is not set: {} is used", directory.display());
            found.push(finding(Severity::Note, component, key, message));
        }
        if let Some(why) = unmakable(directory) {
            found.push(finding(Severity::Warning, component, key, why));
        }
    }
}

fn sink_directory(component: &Component, found: &mut Vec<Finding>) {
    if component.type_name == "file_roll"
        && let Some(directory) = path(component, "sink.directory")
        && let Some(why) = unmakable(directory)
    {
        found.push(finding(Severity::Warning, component, "sink.directory", why));
    }
}

/// An http sink that takes the answer 200 for a failure.
fn never_delivered(sink: &SinkConfig, found: &mut Vec<Finding>) {
    let component = &sink.component;
    let set = |key| value(component, key).is_some();
    let takes_200 = set("rollback.2XX") || set("rollback.200") || set("defaultRollback");
    if component.type_name == "http" && !takes_200 {
        let message = "none of rollback.2XX, rollback.200 and defaultRollback is set: as in Flume the answer 200 counts as a failure, and the first events are sent for ever; write rollback.2XX = false";
        found.push(finding(Severity::Warning, component, "type", message));
    }
}

fn stores(component: &Component, found: &mut Vec<Finding>) {
    if value(component, "ssl").is_none_or(|ssl| !ssl.eq_ignore_ascii_case("true")) {
        return;
    }
    for key in ["keystore", "truststore"] {
        let Some(store) = path(component, key) else { continue };
        if rustix::fs::access(store, Access::READ_OK).is_err() {
            let why = if store.exists() { "cannot be read by this user" } else { "does not exist" };
            let message = format!("{} {why}", store.display());
            found.push(finding(Severity::Warning, component, key, message));
        }
    }
}

/// Why a directory that has to be there cannot be used; `None` when it can.
fn unusable(directory: &Path, access: Access) -> Option<String> {
    let name = directory.display();
    if !directory.exists() {
        return Some(format!("{name} does not exist"));
    }
    if !directory.is_dir() {
        return Some(format!("{name} is not a directory"));
    }
    let denied = rustix::fs::access(directory, access | Access::EXEC_OK).is_err();
    denied.then(|| format!("{name} may not be used by this user: check its owner and mode"))
}

/// Why a directory can neither be used nor made; `None` when one of both can.
fn unmakable(directory: &Path) -> Option<String> {
    let mut there: PathBuf = directory.to_owned();
    while !there.exists() {
        there = match there.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => return None,
        };
    }
    let why = unusable(&there, Access::WRITE_OK)?;
    Some(match there == directory {
        true => why,
        false => format!("{} cannot be made: {why}", directory.display()),
    })
}
