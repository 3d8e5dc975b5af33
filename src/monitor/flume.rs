//! `/metrics` as Flume's HTTP server shows it: components by `TYPE.name`, each with Flume's attributes
//! and no others, all values texts.
//!
//! What Flume 1.11 does not count for a type it shows as 0, and types of which it counts nothing (a netcat
//! source, a logger sink) are not on the page. Scripts that were written against Flume add such numbers up.

use super::java_number::double;
use crate::metrics::{ClientTotals, Reading, Role, Value};
use serde_json::{Map, Value as Json};

const SOURCE: &[&str] = &[
    "EventReceivedCount",
    "EventAcceptedCount",
    "AppendReceivedCount",
    "AppendAcceptedCount",
    "AppendBatchReceivedCount",
    "AppendBatchAcceptedCount",
    "OpenConnectionCount",
    "EventReadFail",
    "ChannelWriteFail",
    "GenericProcessingFail",
];

const CHANNEL: &[&str] = &[
    "EventPutAttemptCount",
    "EventTakeAttemptCount",
    "EventPutSuccessCount",
    "EventTakeSuccessCount",
    "ChannelFillPercentage",
    "ChannelCapacity",
    "ChannelSize",
];

/// What a file channel has beyond the others.
const FILE_CHANNEL: &[&str] = &[
    "Open",
    "Closed",
    "Unhealthy",
    "EventPutErrorCount",
    "EventTakeErrorCount",
    "CheckpointWriteErrorCount",
    "CheckpointBackupWriteErrorCount",
];

const SINK: &[&str] = &[
    "ConnectionCreatedCount",
    "ConnectionClosedCount",
    "ConnectionFailedCount",
    "BatchEmptyCount",
    "BatchUnderflowCount",
    "BatchCompleteCount",
    "EventDrainAttemptCount",
    "EventDrainSuccessCount",
    "EventWriteFail",
    "ChannelReadFail",
];

/// Every component has these.
const TIMES: &[&str] = &["StartTime", "StopTime"];

/// Types of which Flume counts nothing.
const UNCOUNTED: &[(Role, &str)] = &[
    (Role::Source, "netcat"),
    (Role::Source, "netcatudp"),
    (Role::Source, "org.apache.flume.source.StressSource"),
    (Role::Sink, "logger"),
    (Role::Sink, "null"),
    (Role::Sink, "irc"),
];

const SOURCE_BATCHES: &[&str] = &["AppendBatchReceivedCount", "AppendBatchAcceptedCount"];
/// Nor what is no message of syslog, but of several ports.
const SYSLOG: &[&str] = &["AppendBatchReceivedCount", "AppendBatchAcceptedCount", "EventReadFail"];
const SINK_BATCHES: &[&str] = &["BatchEmptyCount", "BatchUnderflowCount", "BatchCompleteCount"];

/// What Flume does not count although it shows it.
const ZERO: &[(Role, &str, &[&str])] = &[
    (Role::Source, "exec", SOURCE_BATCHES),
    (Role::Source, "syslogtcp", SYSLOG),
    (Role::Source, "syslogudp", SYSLOG),
    (Role::Source, "multiport_syslogtcp", SOURCE_BATCHES),
    (
        Role::Source,
        "seq",
        &["EventReceivedCount", "AppendBatchReceivedCount", "AppendBatchAcceptedCount"],
    ),
    (Role::Sink, "file_roll", SINK_BATCHES),
    (Role::Sink, "http", SINK_BATCHES),
];

/// A component as Flume shows it.
#[derive(Debug)]
pub(super) struct Component {
    /// Such as `CHANNEL.c1`.
    pub(super) key: String,
    /// Attributes and their values, `Type` among them.
    pub(super) attributes: Vec<(&'static str, String)>,
}

/// What the clients of all sources take, and what they may take.
fn of_clients(all: &ClientTotals) -> Component {
    let numbers = [
        ("MemoryBytes", &all.memory_bytes),
        ("MemoryBytesMax", &all.memory_bytes_max),
        ("WaitingCount", &all.waiting),
        ("RefusedCount", &all.refused),
        ("ConnectionCount", &all.connections),
        ("ConnectionMax", &all.connections_max),
        ("GaveWayCount", &all.gave_way),
    ];
    let numbers = numbers.map(|(name, number)| (name, number.get().to_string()));
    let attributes = [("Type", "CLIENTS".to_owned())].into_iter().chain(numbers).collect();
    Component { key: "CLIENTS.all".to_owned(), attributes }
}

/// The page.
pub(super) fn json(readings: &[Reading], clients: &ClientTotals) -> String {
    let object = |component: Component| -> (String, Json) {
        let attributes = component.attributes.into_iter();
        let attributes = attributes.map(|(name, value)| (name.to_owned(), Json::String(value)));
        (component.key, Json::Object(attributes.collect()))
    };
    let page: Map<String, Json> = all(readings, clients).map(object).collect();
    Json::Object(page).to_string()
}

/// What Flume's page for Prometheus does not have.
const NOT_FOR_PROMETHEUS: &[&str] =
    &["Type", "StartTime", "StopTime", "ChannelFillPercentage", "Closed"];
/// What moves both ways; all others are counters, whose names end in `_total`.
const GAUGES: &[&str] =
    &["ChannelSize", "ChannelCapacity", "OpenConnectionCount", "Open", "Unhealthy"];

/// The same attributes as metrics, by the names of Flume's page for Prometheus: `Flume_ATTRIBUTE`, with the
/// component's name as the only label.
pub(super) fn for_prometheus(readings: &[Reading]) -> String {
    let mut families: Vec<(&'static str, String)> = Vec::new();
    for component in components(readings) {
        let name = component.key.split_once('.').map_or("", |(_, name)| name);
        let name = name.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        for (attribute, value) in component.attributes {
            if NOT_FOR_PROMETHEUS.contains(&attribute) {
                continue;
            }
            let value = match value.as_str() {
                "true" => "1",
                "false" => "0",
                number => number,
            };
            let is_gauge = GAUGES.contains(&attribute);
            let (suffix, kind) = if is_gauge { ("", "gauge") } else { ("_total", "counter") };
            let at = families.iter().position(|(known, _)| *known == attribute);
            let at = at.unwrap_or_else(|| {
                let metric = format!("Flume_{attribute}{suffix}");
                let head = format!("# HELP {metric} {metric}\n# TYPE {metric} {kind}\n");
                families.push((attribute, head));
                families.len() - 1
            });
            let sample = format!("Flume_{attribute}{suffix}{{component=\"{name}\"}} {value}\n");
            families[at].1.push_str(&sample);
        }
    }
    families.into_iter().map(|(_, text)| text).collect()
}

/// What Flume would show of these, and under a key of its own, which no script knows, what all clients take
/// together.
pub(super) fn all(readings: &[Reading], clients: &ClientTotals) -> impl Iterator<Item = Component> {
    components(readings).into_iter().chain([of_clients(clients)])
}

/// What Flume would show of these.
fn components(readings: &[Reading]) -> Vec<Component> {
    let counted = |r: &&Reading| !UNCOUNTED.contains(&(r.role, r.kind));
    readings.iter().filter(counted).map(component).collect()
}

fn component(reading: &Reading) -> Component {
    let zero = ZERO.iter().find(|(role, kind, _)| (*role, *kind) == (reading.role, reading.kind));
    let zero = zero.map_or(&[][..], |(_, _, names)| names);
    let shown = |name: &str| shown(reading).any(|attributes| attributes.contains(&name));
    let values = reading.values.iter().filter(|(name, _)| shown(name));
    let mut attributes: Vec<(&'static str, String)> = values
        .map(|(name, value)| {
            (*name, if zero.contains(name) { "0".to_owned() } else { text(*value) })
        })
        .collect();
    attributes.push(("Type", reading.role.to_string()));
    Component { key: reading.key(), attributes }
}

/// The attributes that Flume shows of a component.
fn shown(reading: &Reading) -> impl Iterator<Item = &'static [&'static str]> {
    let (own, more): (_, &[&str]) = match reading.role {
        Role::Source => (SOURCE, &[]),
        Role::Sink => (SINK, &[]),
        Role::Channel if reading.kind == "file" => (CHANNEL, FILE_CHANNEL),
        Role::Channel => (CHANNEL, &[]),
    };
    [TIMES, own, more].into_iter()
}

fn text(value: Value) -> String {
    match value {
        Value::Count(n) | Value::Level(n) => n.to_string(),
        Value::Percent(percent) => double(percent),
        Value::Flag(set) => set.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Member, Registry};

    fn page(members: &[(Role, &str, &'static str)], move_: impl Fn(&Registry)) -> Json {
        let registry = Registry::default();
        let member = |(role, name, kind): &(Role, &str, &'static str)| Member {
            role: *role,
            name: (*name).to_owned(),
            kind,
        };
        registry.keep(&members.iter().map(member).collect::<Vec<_>>());
        move_(&registry);
        serde_json::from_str(&json(&registry.snapshot(), registry.client_totals())).expect("JSON")
    }

    fn names(component: &Json) -> Vec<&str> {
        component.as_object().expect("an object").keys().map(String::as_str).collect()
    }

    /// What Flume 1.11 shows, written out: the lists above are not asked what they should be.
    const FLUMES: [(&str, &str); 5] = [
        ("all", "Type StartTime StopTime"),
        (
            "source",
            "EventReceivedCount EventAcceptedCount AppendReceivedCount AppendAcceptedCount \
             AppendBatchReceivedCount AppendBatchAcceptedCount OpenConnectionCount EventReadFail \
             ChannelWriteFail GenericProcessingFail",
        ),
        (
            "channel",
            "ChannelSize ChannelCapacity ChannelFillPercentage EventPutAttemptCount \
             EventPutSuccessCount EventTakeAttemptCount EventTakeSuccessCount",
        ),
        (
            "file channel",
            "Open Closed Unhealthy EventPutErrorCount EventTakeErrorCount \
             CheckpointWriteErrorCount CheckpointBackupWriteErrorCount",
        ),
        (
            "sink",
            "ConnectionCreatedCount ConnectionClosedCount ConnectionFailedCount BatchEmptyCount \
             BatchUnderflowCount BatchCompleteCount EventDrainAttemptCount \
             EventDrainSuccessCount EventWriteFail ChannelReadFail",
        ),
    ];

    /// Flume's attributes of these rows and of every component, sorted.
    fn flumes(rows: &[&str]) -> Vec<&'static str> {
        let wanted = FLUMES.iter().filter(|(row, _)| *row == "all" || rows.contains(row));
        let mut names: Vec<_> = wanted.flat_map(|(_, names)| names.split_whitespace()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_document_names_flumes_attributes_of_each_component() {
        let document = include_str!("../../docs/monitoring.md");
        let table = document.split("| component | attributes |").nth(1).expect("a table");
        for (row, attributes) in FLUMES {
            let start = format!("| {row} |");
            let line = table.lines().find(|line| line.starts_with(&start)).expect(row);
            let quoted = line.split('`').skip(1).step_by(2);
            // Values stand in backticks too; a name begins like a type of Java.
            let mut found: Vec<&str> =
                quoted.filter(|word| word.starts_with(|c: char| c.is_ascii_uppercase())).collect();
            let mut expected: Vec<&str> = attributes.split_whitespace().collect();
            found.sort_unstable();
            expected.sort_unstable();
            assert_eq!(found, expected, "{row}");
        }
    }

    #[test]
    fn components_have_flumes_attributes_and_no_others_as_texts() {
        let members = [
            (Role::Source, "r1", "avro"),
            (Role::Channel, "c1", "memory"),
            (Role::Channel, "c2", "file"),
            (Role::Sink, "k1", "avro"),
        ];
        let page = page(&members, |registry| {
            registry.source("r1").batch_received(20);
            registry.channel("c1").capacity.set(300);
            registry.channel("c1").size.set(10);
            registry.channel("c2").open.set(1);
            registry.sink("k1").started(1_442_566_411_897);
        });
        assert_eq!(
            names(&page),
            ["CHANNEL.c1", "CHANNEL.c2", "CLIENTS.all", "SINK.k1", "SOURCE.r1"]
        );
        assert_eq!(names(&page["SOURCE.r1"]), flumes(&["source"]));
        assert_eq!(names(&page["CHANNEL.c1"]), flumes(&["channel"]));
        assert_eq!(names(&page["CHANNEL.c2"]), flumes(&["channel", "file channel"]));
        assert_eq!(names(&page["SINK.k1"]), flumes(&["sink"]));
        for component in page.as_object().expect("an object").values() {
            assert!(component.as_object().expect("an object").values().all(Json::is_string));
        }
        assert_eq!(page["SOURCE.r1"]["AppendBatchReceivedCount"], "1");
        assert_eq!(page["SOURCE.r1"]["Type"], "SOURCE");
        assert_eq!(page["CHANNEL.c1"]["ChannelFillPercentage"], "3.3333333333333335");
        assert_eq!(page["CHANNEL.c2"]["ChannelFillPercentage"], "1.7976931348623157E308");
        assert_eq!(
            (&page["CHANNEL.c2"]["Open"], &page["CHANNEL.c2"]["Closed"]),
            (&"true".into(), &"0".into())
        );
        assert_eq!(page["SINK.k1"]["StartTime"], "1442566411897");
        assert_eq!(page["SINK.k1"]["StopTime"], "0");
    }

    #[test]
    fn what_flume_does_not_count_is_0_or_not_there() {
        let uncounted = UNCOUNTED.iter().map(|(role, kind)| (*role, *kind, *kind));
        let zero = ZERO.iter().map(|(role, kind, _)| (*role, *kind, *kind));
        let all: Vec<_> = uncounted.chain(zero).collect();
        let page = page(&all, |registry| {
            for (role, name, _) in &all {
                match role {
                    Role::Source => registry.source(name).batch_received(5),
                    _ => registry.sink(name).batch_complete.add(1),
                }
            }
        });
        assert_eq!(names(&page).len(), ZERO.len() + 1, "and the clients");
        for (role, kind, names) in ZERO {
            let component = &page[format!("{role}.{kind}")];
            assert!(names.iter().all(|name| component[name] == "0"), "{component}");
        }
        assert_eq!(page["SOURCE.exec"]["EventReceivedCount"], "5");
    }

    #[test]
    fn every_type_that_is_named_here_is_a_type() {
        let sources = crate::source::TYPES.iter().map(|t| (Role::Source, t.names[0]));
        let sinks = crate::sink::TYPES.iter().map(|t| (Role::Sink, t.names[0]));
        let known: Vec<_> = sources.chain(sinks).collect();
        let zero = ZERO.iter().map(|(role, kind, _)| (*role, *kind));
        for named in UNCOUNTED.iter().copied().chain(zero) {
            assert!(known.contains(&named), "{named:?}");
        }
    }
}
