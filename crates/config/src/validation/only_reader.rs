//! Sinks that must be the only ones of a file channel: they remember, by their places in it, which events they have
//! delivered.

use crate::agent::{ChannelConfig, ChannelKind, SinkConfig, SinkGroupConfig};
use crate::findings::ConfigFindings;
use millpond_flow::settings::SettingsReader;

/// The types of those sinks, the key that makes them remember, and a further key, which does so too unless the first is false.
const KEYS: [(&str, &str, &str); 2] = [
    ("hdfs", "hdfs.exactlyOnce", ""),
    ("kafka", "transactional", "kafka.producer.transactional.id"),
];

/// Leaves out the sinks that remember events whose channel or group does not fit that.
pub(super) fn check(
    sinks: &mut Vec<SinkConfig>,
    groups: &mut Vec<SinkGroupConfig>,
    channels: &[ChannelConfig],
    findings: &mut ConfigFindings,
) {
    let mut left_out: Vec<String> = Vec::new();
    for (sink, key) in sinks.iter().filter_map(|sink| Some((sink, remembers_by(sink)?))) {
        let Some(why) = unfit(sink, sinks, groups, channels) else { continue };
        let settings = &sink.component.settings;
        let place = settings.entries.get(key).map_or(&sink.component.place, |set| &set.place);
        let message = format!("{why}; the sink is left out");
        findings.leave_out(place, &format!("{}.{key}", settings.prefix), message);
        left_out.push(sink.component.name.clone());
    }
    sinks.retain(|sink| !left_out.contains(&sink.component.name));
    for group in groups.iter_mut() {
        group.sinks.retain(|name| !left_out.contains(name));
    }
    groups.retain(|group| !group.sinks.is_empty());
}

/// Returns the key by which the sink remembers which events it has delivered.
fn remembers_by(sink: &SinkConfig) -> Option<&'static str> {
    let (_, key, other) = KEYS.iter().find(|(kind, ..)| sink.component.type_name == *kind)?;
    let settings = &sink.component.settings;
    let default = settings.entries.contains_key(*other);
    let is_set = SettingsReader::new(settings).truth(key, default).unwrap_or(false);
    is_set.then_some(*key)
}

fn unfit(
    sink: &SinkConfig,
    sinks: &[SinkConfig],
    groups: &[SinkGroupConfig],
    channels: &[ChannelConfig],
) -> Option<String> {
    let (name, channel) = (&sink.component.name, &sink.channel);
    let is_durable = |channel: &ChannelConfig| matches!(channel.kind, ChannelKind::File(_));
    if !channels.iter().any(|one| one.component.name == *channel && is_durable(one)) {
        return Some(format!(
            "the channel {channel} is not of type file: its events have no lasting places, so it cannot be known after a crash which of them are delivered; use a channel of type file"
        ));
    }
    if let Some(group) = groups.iter().find(|group| group.sinks.contains(name)) {
        return Some(format!(
            "the sink is in the group {}, whose other sinks would deliver its events once more; take it out of the group",
            group.name
        ));
    }
    let other =
        sinks.iter().find(|other| other.channel == *channel && other.component.name != *name);
    other.map(|other| {
        format!(
            "the sink {} takes from the channel {channel} too, and would deliver events of this one once more; give each sink a channel of its own",
            other.component.name
        )
    })
}
