//! Checks that each port belongs to one source.

use crate::agent::{ComponentConfig, SourceConfig};
use crate::findings::ConfigFindings;
use millpond_flow::settings::split_comment;

/// Sources that listen, by the first name of their type, each with its default port.
const UDP: [(&str, Option<&str>); 2] = [("syslogudp", None), ("netcatudp", None)];
const TCP: [(&str, Option<&str>); 7] = [
    ("avro", None),
    ("thrift", None),
    ("netcat", None),
    ("syslogtcp", None),
    ("multiport_syslogtcp", None),
    ("http", None),
    ("org.apache.flume.source.scribe.ScribeSource", Some("1499")),
];

/// Addresses that mean all addresses of the machine.
const ANY: [&str; 3] = ["0.0.0.0", "::", "0:0:0:0:0:0:0:0"];

/// The address and port of one source.
struct ListenAddress<'a> {
    source: &'a SourceConfig,
    udp: bool,
    host: &'a str,
    port: u16,
    key: &'static str,
}

impl ListenAddress<'_> {
    fn meets(&self, other: &Self) -> bool {
        let any = ANY.contains(&self.host) || ANY.contains(&other.host);
        self.udp == other.udp && self.port == other.port && (any || self.host == other.host)
    }
}

/// Finds ports on which two sources of the agent would listen: the second one can never start.
pub(super) fn each_for_one_source(sources: &[SourceConfig], findings: &mut ConfigFindings) {
    let all: Vec<ListenAddress<'_>> = sources.iter().flat_map(listeners).collect();
    for (at, one) in all.iter().enumerate() {
        let Some(first) = all[..at].iter().find(|first| first.meets(one)) else { continue };
        let component = &one.source.component;
        let set = component.settings.entries.get(one.key);
        let place = set.map_or(&component.place, |setting| &setting.place);
        let message = format!(
            "the source {} listens on port {} too, and only one of the two can; give each source a port of its own",
            first.source.component.name, one.port
        );
        findings.leave_out(place, &format!("{}.{}", component.settings.prefix, one.key), message);
    }
}

fn listeners(source: &SourceConfig) -> Vec<ListenAddress<'_>> {
    let component = &source.component;
    let known = |table: &[(&str, Option<&'static str>)]| {
        table.iter().find(|(name, _)| *name == component.type_name).map(|(_, default)| *default)
    };
    let (udp, default) = match (known(&TCP), known(&UDP)) {
        (Some(default), _) => (false, default),
        (None, Some(default)) => (true, default),
        (None, None) => return Vec::new(),
    };
    let host = ["bind", "host"].into_iter().find_map(|key| taken(component, key));
    let host = host.unwrap_or(ANY[0]);
    let (key, ports) = match taken(component, "ports") {
        Some(ports) => ("ports", Some(ports)),
        None => ("port", taken(component, "port").or(default)),
    };
    let ports = ports.unwrap_or_default().split_whitespace().filter_map(|port| port.parse().ok());
    // Port 0 is a new port each time.
    ports
        .filter(|port| *port != 0)
        .map(|port| ListenAddress { source, udp, host, port, key })
        .collect()
}

/// Returns the value without a trailing comment.
fn taken<'a>(component: &'a ComponentConfig, key: &str) -> Option<&'a str> {
    let value = component.settings.entries.get(key)?.value.as_str();
    Some(split_comment(value).map_or(value, |(before, _)| before))
}
