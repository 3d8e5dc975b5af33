//! `/dropped`: events that ended without being delivered, by component and reason, as JSON.

use millpond_flow::metrics::{ComponentReading, DropCount};
use serde_json::{Value as Json, json};

/// Returns the page: every reason that has a count since the start of the process.
///
/// `agent`, `events` (all losses together), and `dropped`: rows of `component`, `kind`, `reason`,
/// `events`, `loss` (whether it was unintended) and `meaning`.
pub(super) fn json(agent: &str, readings: &[ComponentReading]) -> String {
    let all = readings.iter().flat_map(|reading| reading.dropped.iter().map(move |d| (reading, d)));
    let counted: Vec<_> = all.filter(|(_, dropped)| dropped.events > 0).collect();
    let losses = counted.iter().filter(|(_, dropped)| dropped.reason.entry().is_loss);
    let events: u64 = losses.map(|(_, dropped)| dropped.events).sum();
    let rows: Vec<Json> = counted.iter().map(|(reading, dropped)| row(reading, dropped)).collect();
    json!({ "agent": agent, "events": events, "dropped": rows }).to_string()
}

fn row(reading: &ComponentReading, dropped: &DropCount) -> Json {
    let entry = dropped.reason.entry();
    json!({
        "component": dropped.component(&reading.name),
        "kind": entry.place.name(),
        "reason": entry.name,
        "events": dropped.events,
        "loss": entry.is_loss,
        "meaning": entry.meaning,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond_flow::metrics::{DropReason, MetricsRegistry};

    #[test]
    fn the_page_has_all_drops_and_sums_up_the_losses() {
        let registry = MetricsRegistry::default();
        registry.source("r1").drops.add(DropReason::SocketBuffer, 5);
        registry.source("r1").interceptors.of("i1").add(DropReason::Filtered, 7);
        registry.sink("k1").drops.add(DropReason::DeadLetter, 1);
        let page: Json = serde_json::from_str(&json("a1", &registry.snapshot())).expect("JSON");
        assert_eq!((&page["agent"], &page["events"]), (&"a1".into(), &6.into()));
        let rows = page["dropped"].as_array().expect("a list");
        let rows: Vec<_> =
            rows.iter().map(|row| format!("{} {}", row["component"], row["reason"])).collect();
        assert_eq!(
            rows,
            ["\"k1\" \"dead_letter\"", "\"r1\" \"socket_buffer\"", "\"r1/i1\" \"filtered\""]
        );
        assert_eq!(page["dropped"][2]["loss"], false);
        assert!(DropReason::Damaged.entry().is_loss, "whatever alarm reports what was given up");
    }
}
