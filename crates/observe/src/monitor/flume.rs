//! `/metrics` as Flume's HTTP server shows it: components by `TYPE.name`, each with exactly Flume's
//! attributes, all values as texts.
//!
//! Attributes that Flume 1.11 does not count for a type are 0, and types of which it counts nothing
//! (a netcat source, a logger sink) are not on the page. Scripts that were written against Flume
//! add such numbers up.

use super::java_number::double;
use millpond_flow::metrics::{ComponentReading, ComponentRole, MetricValue};
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

/// Attributes that only a file channel has.
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

/// Attributes of every component.
const TIMES: &[&str] = &["StartTime", "StopTime"];

/// Types without any counts in Flume.
const UNCOUNTED: &[(ComponentRole, &str)] = &[
    (ComponentRole::Source, "netcat"),
    (ComponentRole::Source, "netcatudp"),
    (ComponentRole::Source, "org.apache.flume.source.StressSource"),
    (ComponentRole::Sink, "logger"),
    (ComponentRole::Sink, "null"),
    (ComponentRole::Sink, "irc"),
];

const SOURCE_BATCHES: &[&str] = &["AppendBatchReceivedCount", "AppendBatchAcceptedCount"];
/// Messages that are not valid syslog are not counted either, except by the multiport source.
const SYSLOG: &[&str] = &["AppendBatchReceivedCount", "AppendBatchAcceptedCount", "EventReadFail"];
const SINK_BATCHES: &[&str] = &["BatchEmptyCount", "BatchUnderflowCount", "BatchCompleteCount"];

/// Attributes that Flume shows but does not count.
const ZERO: &[(ComponentRole, &str, &[&str])] = &[
    (ComponentRole::Source, "exec", SOURCE_BATCHES),
    (ComponentRole::Source, "syslogtcp", SYSLOG),
    (ComponentRole::Source, "syslogudp", SYSLOG),
    (ComponentRole::Source, "multiport_syslogtcp", SOURCE_BATCHES),
    (
        ComponentRole::Source,
        "seq",
        &["EventReceivedCount", "AppendBatchReceivedCount", "AppendBatchAcceptedCount"],
    ),
    (ComponentRole::Sink, "file_roll", SINK_BATCHES),
    (ComponentRole::Sink, "http", SINK_BATCHES),
];

/// A component as Flume shows it.
#[derive(Debug)]
pub(super) struct FlumeComponent {
    /// Such as `CHANNEL.c1`.
    pub(super) key: String,
    /// Attributes and their values, `Type` among them.
    pub(super) attributes: Vec<(&'static str, String)>,
}

/// Returns the page.
pub(super) fn json(readings: &[ComponentReading]) -> String {
    let object = |component: FlumeComponent| -> (String, Json) {
        let attributes = component.attributes.into_iter();
        let attributes = attributes.map(|(name, value)| (name.to_owned(), Json::String(value)));
        (component.key, Json::Object(attributes.collect()))
    };
    let page: Map<String, Json> = components(readings).into_iter().map(object).collect();
    Json::Object(page).to_string()
}

/// Attributes that are not on Flume's page for Prometheus.
const NOT_FOR_PROMETHEUS: &[&str] =
    &["Type", "StartTime", "StopTime", "ChannelFillPercentage", "Closed"];
/// Attributes that are gauges; all others are counters, whose names end in `_total`.
const GAUGES: &[&str] =
    &["ChannelSize", "ChannelCapacity", "OpenConnectionCount", "Open", "Unhealthy"];

/// Returns the same attributes as metrics, by the names of Flume's page for Prometheus:
/// `Flume_ATTRIBUTE`, with the component's name as the only label.
pub(super) fn for_prometheus(readings: &[ComponentReading]) -> String {
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

/// Returns what Flume would show of these.
pub(super) fn components(readings: &[ComponentReading]) -> Vec<FlumeComponent> {
    let counted = |r: &&ComponentReading| !UNCOUNTED.contains(&(r.role, r.kind));
    readings.iter().filter(counted).map(component).collect()
}

fn component(reading: &ComponentReading) -> FlumeComponent {
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
    FlumeComponent { key: reading.key(), attributes }
}

/// Returns the attributes that Flume shows of a component.
fn shown(reading: &ComponentReading) -> impl Iterator<Item = &'static [&'static str]> {
    let (own, more): (_, &[&str]) = match reading.role {
        ComponentRole::Source => (SOURCE, &[]),
        ComponentRole::Sink => (SINK, &[]),
        ComponentRole::Channel if reading.kind == "file" => (CHANNEL, FILE_CHANNEL),
        ComponentRole::Channel => (CHANNEL, &[]),
    };
    [TIMES, own, more].into_iter()
}

fn text(value: MetricValue) -> String {
    match value {
        MetricValue::Count(n) | MetricValue::Level(n) => n.to_string(),
        MetricValue::Percent(percent) => double(percent),
        MetricValue::Flag(set) => set.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::metrics::{ComponentId, MetricsRegistry};

    fn page(
        members: &[(ComponentRole, &str, &'static str)],
        move_: impl Fn(&MetricsRegistry),
    ) -> Json {
        let registry = MetricsRegistry::default();
        let member = |(role, name, kind): &(ComponentRole, &str, &'static str)| ComponentId {
            role: *role,
            name: (*name).to_owned(),
            kind,
        };
        registry.keep(&members.iter().map(member).collect::<Vec<_>>());
        move_(&registry);
        serde_json::from_str(&json(&registry.snapshot())).expect("JSON")
    }

    fn names(component: &Json) -> Vec<&str> {
        component.as_object().expect("an object").keys().map(String::as_str).collect()
    }

    /// What Flume 1.11 shows, written out independently of the lists above.
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

    /// Returns Flume's attributes of these rows and of every component, sorted.
    fn flumes(rows: &[&str]) -> Vec<&'static str> {
        let wanted = FLUMES.iter().filter(|(row, _)| *row == "all" || rows.contains(row));
        let mut names: Vec<_> = wanted.flat_map(|(_, names)| names.split_whitespace()).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_document_names_flumes_attributes_of_each_component() {
        let document = include_str!("../../../../docs/monitoring.md");
        let table = document.split("| component | attributes |").nth(1).expect("a table");
        for (row, attributes) in FLUMES {
            let start = format!("| {row} |");
            let line = table.lines().find(|line| line.starts_with(&start)).expect(row);
            let quoted = line.split('`').skip(1).step_by(2);
            // Values are in backticks too; an attribute's name begins like a Java type.
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
            (ComponentRole::Source, "r1", "avro"),
            (ComponentRole::Channel, "c1", "memory"),
            (ComponentRole::Channel, "c2", "file"),
            (ComponentRole::Sink, "k1", "avro"),
        ];
        let page = page(&members, |registry| {
            registry.source("r1").batch_received(20);
            registry.channel("c1").capacity.set(300);
            registry.channel("c1").size.set(10);
            registry.channel("c2").open.set(1);
            registry.sink("k1").started(1_442_566_411_897);
        });
        assert_eq!(names(&page), ["CHANNEL.c1", "CHANNEL.c2", "SINK.k1", "SOURCE.r1"]);
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
                    ComponentRole::Source => registry.source(name).batch_received(5),
                    _ => registry.sink(name).batch_complete.add(1),
                }
            }
        });
        assert_eq!(names(&page).len(), ZERO.len());
        for (role, kind, names) in ZERO {
            let component = &page[format!("{role}.{kind}")];
            assert!(names.iter().all(|name| component[name] == "0"), "{component}");
        }
        assert_eq!(page["SOURCE.exec"]["EventReceivedCount"], "5");
    }

    #[test]
    fn every_type_that_is_named_here_is_a_type() {
        let sources =
            millpond_adapters::source::TYPES.iter().map(|t| (ComponentRole::Source, t.names[0]));
        let sinks =
            millpond_adapters::sink::TYPES.iter().map(|t| (ComponentRole::Sink, t.names[0]));
        let known: Vec<_> = sources.chain(sinks).collect();
        let zero = ZERO.iter().map(|(role, kind, _)| (*role, *kind));
        for named in UNCOUNTED.iter().copied().chain(zero) {
            assert!(known.contains(&named), "{named:?}");
        }
    }
}
