//! One metrics reply of an agent: the numbers of each component that are shown.

use super::COMPONENTS_MAX;
use super::exposition::{ExposedSample, samples};
use millpond_flow::metrics::ComponentRole;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The metrics of a component that are kept, by their names after `millpond_source_` and the like.
const MEASURES: &[&str] = &[
    "up",
    "failing",
    "open",
    "unhealthy",
    "start_time_seconds",
    "stop_time_seconds",
    "done",
    "accepted_events_total",
    "delivered_events_total",
    "put_events_total",
    "taken_events_total",
    "waiting_events",
    "capacity_events",
    "fill_ratio",
    "oldest_event_age_seconds",
    "read_failures_total",
    "channel_write_failures_total",
    "other_failures_total",
    "optional_channel_lost_events_total",
    "put_failures_total",
    "take_failures_total",
    "failed_batches_total",
    "connections_failed_total",
    "channel_read_failures_total",
];

/// The metrics of a channel's stripes that are kept, summed up.
const OF_STRIPES: &[&str] = &["suspended", "out_of_space"];

/// The range of an agent's numbers: none is negative, and none exceeds a count. Other values, and
/// what is not a number, are not an agent's and are skipped.
const VALUES: RangeInclusive<f64> = 0.0..=18_446_744_073_709_551_615.0;

/// The order in which events pass.
const ROLES: [(ComponentRole, &str); 3] = [
    (ComponentRole::Source, "source"),
    (ComponentRole::Channel, "channel"),
    (ComponentRole::Sink, "sink"),
];

/// A component by role and name.
pub(super) type ComponentKey = (ComponentRole, String);

/// One component.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct ComponentMetrics {
    pub(super) kind: String,
    values: BTreeMap<&'static str, f64>,
}

impl ComponentMetrics {
    pub(super) fn value(&self, measure: &str) -> Option<f64> {
        self.values.get(measure).copied()
    }

    /// Returns whether the metric is there and not 0.
    pub(super) fn is(&self, measure: &str) -> bool {
        self.value(measure).is_some_and(|value| value > 0.0)
    }
}

/// The metrics reply of an agent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AgentMetrics {
    pub(super) version: Option<String>,
    pub(super) memory_bytes: Option<f64>,
    pub(super) components: BTreeMap<ComponentKey, ComponentMetrics>,
    /// Components beyond [`COMPONENTS_MAX`].
    pub(super) left_out: usize,
}

impl AgentMetrics {
    /// Returns what is shown of the `page` for Prometheus; `None` if it is not an agent's page.
    #[must_use]
    pub fn of(page: &str) -> Option<Self> {
        let mut reading = Self::default();
        for sample in samples(page).filter(|sample| VALUES.contains(&sample.value)) {
            match sample.name {
                "millpond_build_info" => {
                    reading.version = sample.label("version").map(str::to_owned);
                }
                "process_resident_memory_bytes" => reading.memory_bytes = Some(sample.value),
                _ => reading.take(&sample),
            }
        }
        reading.version.is_some().then_some(reading)
    }

    fn take(&mut self, sample: &ExposedSample<'_>) {
        let Some(name) = sample.name.strip_prefix("millpond_") else { return };
        let Some((word, measure)) = name.split_once('_') else { return };
        let (word, measures) =
            if word == "stripe" { ("channel", OF_STRIPES) } else { (word, MEASURES) };
        let Some((role, label)) = ROLES.iter().find(|(_, label)| *label == word) else { return };
        let Some(measure) = measures.iter().find(|known| **known == measure) else { return };
        let Some(of) = sample.label(label) else { return };
        let key = (*role, of.to_owned());
        if self.components.len() >= COMPONENTS_MAX && !self.components.contains_key(&key) {
            // Each component has one of these.
            self.left_out += usize::from(["up", "open"].contains(measure));
            return;
        }
        let component = self.components.entry(key).or_default();
        if component.kind.is_empty() {
            component.kind = sample.label("type").unwrap_or_default().to_owned();
        }
        *component.values.entry(measure).or_default() += sample.value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_page_is_kept_by_component() {
        let reading = AgentMetrics::of(
            "millpond_build_info{version=\"9.8\"} 1\nprocess_resident_memory_bytes 5e6\n\
             millpond_channel_waiting_events{channel=\"c1\",type=\"file\"} 7\n\
             millpond_stripe_suspended{channel=\"c1\",type=\"file\",stripe=\"0\",directory=\"/a\"} 1\n\
             millpond_stripe_suspended{channel=\"c1\",type=\"file\",stripe=\"1\",directory=\"/b\"} 1\n\
             millpond_stripe_waiting_events{channel=\"c1\",type=\"file\",stripe=\"1\",directory=\"/b\"} 5\n\
             millpond_sink_up{sink=\"c1\",type=\"avro\"} 1\nmillpond_sink_up{type=\"avro\"} 1\n\
             millpond_source_of_later{source=\"r9\"} 3\nother{sink=\"x\"} 1\n",
        )
        .expect("an agent's page");
        assert_eq!((reading.version.as_deref(), reading.memory_bytes), (Some("9.8"), Some(5e6)));
        let keys: Vec<_> = reading.components.keys().cloned().collect();
        assert_eq!(
            keys,
            [(ComponentRole::Channel, "c1".to_owned()), (ComponentRole::Sink, "c1".to_owned())]
        );
        let channel = &reading.components[&keys[0]];
        assert_eq!((channel.kind.as_str(), channel.value("suspended")), ("file", Some(2.0)));
        assert_eq!(channel.value("waiting_events"), Some(7.0), "its own, not its stripes'");
        assert!(reading.components[&keys[1]].is("up") && !channel.is("up"));
    }

    #[test]
    fn numbers_that_no_agent_has_are_passed_over() {
        for number in ["NaN", "-NaN", "+Inf", "-Inf", "-1", "1e300"] {
            let reading = AgentMetrics::of(&format!(
                "millpond_build_info{{version=\"1\"}} 1\nprocess_resident_memory_bytes {number}\n\
                 millpond_channel_waiting_events{{channel=\"c1\"}} {number}\n\
                 millpond_channel_fill_ratio{{channel=\"c1\"}} {number}\n\
                 millpond_channel_oldest_event_age_seconds{{channel=\"c1\"}} {number}\n\
                 millpond_channel_open{{channel=\"c1\"}} 1\n",
            ));
            let reading = reading.expect("an agent's page");
            assert_eq!(reading.memory_bytes, None, "{number}");
            let component = &reading.components[&(ComponentRole::Channel, "c1".to_owned())];
            assert_eq!(component.values, BTreeMap::from([("open", 1.0)]), "{number}");
        }
    }

    #[test]
    fn a_page_of_something_else_is_none_and_a_page_without_end_is_bounded() {
        assert_eq!(AgentMetrics::of("<html>hello</html>"), None);
        let mut page = "millpond_build_info{version=\"1\"} 1\n".to_owned();
        for at in 0..COMPONENTS_MAX + 3 {
            page += &format!(
                "millpond_sink_up{{sink=\"k{at}\"}} 1\nmillpond_sink_failing{{sink=\"k{at}\"}} 0\n"
            );
        }
        let reading = AgentMetrics::of(&page).expect("an agent's page");
        assert_eq!((reading.components.len(), reading.left_out), (COMPONENTS_MAX, 3));
    }
}
