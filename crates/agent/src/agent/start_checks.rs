//! Checks that a start of an agent on this machine would succeed (ports, directories, key stores),
//! and finds surprising settings. Nothing is changed; a port is bound briefly.

use super::opening_space::no_room;
use super::port_holder::port_holder;
use super::preflight::other_members;
use super::store_checks::{sink_stores, source_stores};
use crate::agent::check_finding::finding;
use crate::agent::check_finding::value;
use millpond::internal::base::codes::Code;
use millpond::{Clock, SystemClock};
use millpond_adapters::sink::http;
use millpond_adapters::source::exec;
use millpond_config::agent::{AgentConfig, ChannelConfig, ComponentConfig, SinkConfig};
use millpond_flow::base::access_check::{unmakable, unusable, unwritable};
use millpond_flow::base::files;
use millpond_flow::base::limits::{START_CHECKS_NAMES_MAX, START_CHECKS_PORTS_MAX};
use millpond_flow::codes;
use millpond_flow::pattern::Pattern;
use millpond_flow::settings::{ConfigFinding, SettingsReader, Severity};
use rustix::fs::Access;
use std::io;
use std::net::{TcpListener, UdpSocket};
use std::path::Path;

/// Types of sources that listen for datagrams.
const UDP: [&str; 2] = ["syslogudp", "netcatudp"];

/// Types of sources that listen for connections.
const TCP: [&str; 7] = [
    "avro",
    "thrift",
    "netcat",
    "syslogtcp",
    "multiport_syslogtcp",
    "http",
    "org.apache.flume.source.scribe.ScribeSource",
];

/// Returns everything on this machine that prevents a start now, or that a start would choose by
/// itself, each with its code.
#[must_use]
pub fn machine(agent: &AgentConfig) -> Vec<(&'static Code, ConfigFinding)> {
    let (mut on_ports, mut in_places, mut in_stores) = (Vec::new(), Vec::new(), Vec::new());
    let now = SystemClock::new().wall_ms() / 1000;
    for source in &agent.sources {
        ports(&agent.name, &source.component, &mut on_ports);
        source_directories(&source.component, &mut in_places);
        source_stores(&source.component, now, &mut in_stores);
    }
    for channel in &agent.channels {
        channel_directories(channel, &mut in_places);
    }
    for sink in &agent.sinks {
        sink_directory(&sink.component, &mut in_places);
        sink_stores(&sink.component, now, &mut in_stores);
    }
    [
        (&codes::PORT_UNAVAILABLE, on_ports),
        (&codes::PLACE_UNUSABLE, in_places),
        (&codes::STORE_UNUSABLE, in_stores),
    ]
    .into_iter()
    .flat_map(|(code, found)| found.into_iter().map(move |finding| (code, finding)))
    .collect()
}

/// Returns settings with which every part starts but which may surprise.
#[must_use]
pub fn settings(agent: &AgentConfig) -> Vec<ConfigFinding> {
    let mut found = Vec::new();
    for source in &agent.sources {
        follows_once(&source.component, &mut found);
    }
    for sink in &agent.sinks {
        never_delivered(sink, &mut found);
    }
    for group in &agent.sink_groups {
        let processor = &group.processor;
        if processor.type_name == "load_balance" && value(processor, "backoff").is_none() {
            let message = "is not set: a sink whose server is unavailable is tried again at each of its turns, which may take 20 s each; true leaves it out for a while";
            found.push(finding(Severity::Note, processor, "backoff", message));
        }
    }
    found
}

/// Returns a path as written: it may contain a `#`.
fn path<'a>(component: &'a ComponentConfig, key: &str) -> Option<&'a Path> {
    Some(Path::new(component.settings.entries.get(key)?.value.as_str()))
}

fn ports(agent: &str, component: &ComponentConfig, found: &mut Vec<ConfigFinding>) {
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
            io::ErrorKind::AddrInUse => {
                let (severity, message) = in_use(agent, host, port, udp);
                found.push(finding(severity, component, key, message));
                continue;
            }
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

/// Returns the message about a port in use. An agent of this name on it is most likely the one
/// whose configuration is checked.
fn in_use(agent: &str, host: &str, port: u16, udp: bool) -> (Severity, String) {
    let taken = format!("{host} port {port} is in use now");
    match port_holder(port, udp) {
        Some(holder) if holder.is_agent(agent) => (
            Severity::Note,
            format!(
                "{taken}, by an agent {agent}, process {}; another agent could not listen on it",
                holder.process
            ),
        ),
        Some(holder) => (
            Severity::Warning,
            format!(
                "{taken}, by {:?}, process {}: the source cannot listen until it is free",
                holder.name, holder.process
            ),
        ),
        None => (
            Severity::Warning,
            format!(
                "{taken}, by a process of another user: unless that is this agent, the source cannot listen until it is free"
            ),
        ),
    }
}

fn source_directories(component: &ComponentConfig, found: &mut Vec<ConfigFinding>) {
    match component.type_name {
        "spooldir" => spool_directory(component, found),
        "taildir" => {
            position_file(component, found);
            let groups = value(component, "filegroups").unwrap_or_default();
            groups.split_whitespace().for_each(|group| file_group(component, group, found));
        }
        _ => {}
    }
}

fn spool_directory(component: &ComponentConfig, found: &mut Vec<ConfigFinding>) {
    let Some(directory) = path(component, "spoolDir") else { return };
    if let Some(why) = unusable(directory, Access::READ_OK | Access::WRITE_OK) {
        found.push(finding(Severity::Warning, component, "spoolDir", why));
        return;
    }
    // Below it there may be more than a check should read.
    if SettingsReader::new(&component.settings).boolean("recursiveDirectorySearch", false) {
        return;
    }
    let text =
        |key, default| component.settings.entries.get(key).map_or(default, |set| &*set.value);
    let include = text("includePattern", "^.*$");
    // An invalid pattern is an error of the source itself.
    let patterns = (Pattern::new(include), Pattern::new(text("ignorePattern", "^$")));
    let (Ok(included), Ok(ignored)) = patterns else { return };
    let suffix = text("fileSuffix", ".COMPLETED");
    let wanted = |name: &str| {
        let is = |pattern: &Pattern| pattern.is_whole(name).unwrap_or(false);
        !name.starts_with('.') && !name.ends_with(suffix) && is(&included) && !is(&ignored)
    };
    if holds(directory, wanted) == Some(false) {
        let message = format!(
            "no file in {} is to be read now (includePattern {include}, not what ends in {suffix}); one is when it is there",
            directory.display()
        );
        found.push(finding(Severity::Note, component, "spoolDir", message));
    }
}

fn position_file(component: &ComponentConfig, found: &mut Vec<ConfigFinding>) {
    let file = path(component, "positionFile").filter(|file| file.parent().is_some());
    let Some(file) = file else { return };
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
    let directory = unmakable(directory.unwrap_or(Path::new(".")));
    if let Some(why) = directory.or_else(|| unwritable(file)) {
        found.push(finding(Severity::Warning, component, "positionFile", why));
    }
}

fn file_group(component: &ComponentConfig, group: &str, found: &mut Vec<ConfigFinding>) {
    let key = format!("filegroups.{group}");
    let Some(set) = component.settings.entries.get(&key) else { return };
    let Some((directory, names)) = set.value.rsplit_once('/') else { return };
    let directory = Path::new(if directory.is_empty() { "/" } else { directory });
    if let Some(why) = unusable(directory, Access::READ_OK) {
        let message = format!("{why}; no file is read until then");
        found.push(finding(Severity::Warning, component, &key, message));
        return;
    }
    let Ok(pattern) = Pattern::new(names) else { return };
    if holds(directory, |name| pattern.is_whole(name).unwrap_or(false)) == Some(false) {
        let message = format!(
            "no file in {} matches the pattern {names} now; it is Java's regular expression of the whole name (.*\\.log, not *.log), and a file is read when there is one",
            directory.display()
        );
        found.push(finding(Severity::Warning, component, &key, message));
    }
}

/// Returns whether the directory has a file whose name is `wanted`; `None` if that is unknown.
fn holds(directory: &Path, wanted: impl Fn(&str) -> bool) -> Option<bool> {
    for (looked_at, entry) in files::list(directory).ok()?.enumerate() {
        let entry = entry.ok()?;
        let is_file = || entry.path().metadata().is_ok_and(|found| found.is_file());
        if wanted(&entry.file_name().to_string_lossy()) && is_file() {
            return Some(true);
        }
        if looked_at == START_CHECKS_NAMES_MAX {
            return None;
        }
    }
    Some(false)
}

fn channel_directories(channel: &ChannelConfig, found: &mut Vec<ConfigFinding>) {
    let Some(file) = channel.kind.files() else { return };
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
    if let Some(why) = other_members(file) {
        let why = format!("the channel would not open: {why}");
        found.push(finding(Severity::Warning, component, "dataDirs", why));
    } else if let Some(why) = no_room(file) {
        let why = format!("the channel would not open: {why}; free some");
        found.push(finding(Severity::Warning, component, "dataDirs", why));
    }
}

fn sink_directory(component: &ComponentConfig, found: &mut Vec<ConfigFinding>) {
    if component.type_name == "file_roll"
        && let Some(directory) = path(component, "sink.directory")
        && let Some(why) = unmakable(directory)
    {
        found.push(finding(Severity::Warning, component, "sink.directory", why));
    }
}

/// Reports a command that follows a file or a log, and is not restarted when it ends.
fn follows_once(component: &ComponentConfig, found: &mut Vec<ConfigFinding>) {
    let is_set = value(component, "restart").is_some();
    if component.type_name == "exec" && !is_set && exec::follows(&component.settings) {
        let message = "is not set: where the command ends, which one that follows a file or a log should not, nothing is collected until the source is started again; true runs it again";
        found.push(finding(Severity::Note, component, "restart", message));
    }
}

/// Reports an http sink that treats status 200 as a failure.
fn never_delivered(sink: &SinkConfig, found: &mut Vec<ConfigFinding>) {
    let component = &sink.component;
    if component.type_name != "http" || !http::rolls_back(&component.settings, 200) {
        return;
    }
    // The key that decides it, the first that is set.
    let keys = ["rollback.200", "rollback.2XX", "defaultRollback"];
    let (key, cause) = match keys.into_iter().find(|key| value(component, key).is_some()) {
        Some(key) => (key, "with this value".to_owned()),
        None => ("type", format!("none of {} is set: as in Flume", keys.join(", "))),
    };
    let write = if key == "rollback.200" { key } else { "rollback.2XX" };
    let message = format!(
        "{cause} the status 200 counts as a failure, and the first events are sent for ever; write {write} = false"
    );
    found.push(finding(Severity::Warning, component, key, message));
}
