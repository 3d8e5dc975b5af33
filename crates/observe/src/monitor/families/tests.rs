//! Tests that the document, the alert rules and the dashboard name existing metrics.

use super::*;
use crate::monitor::metric_family::MetricType;
use std::fmt::Write;

fn labels(from: ValueSource) -> &'static str {
    match from {
        ValueSource::Alarm(AlarmMetric::Active) => "`alarm` `id` `severity` `component`",
        ValueSource::Alarm(AlarmMetric::Raised | AlarmMetric::Cleared) => "`alarm` `id`",
        ValueSource::Alarm(_) => "`to`",
        ValueSource::Attribute(role, _)
        | ValueSource::Millis(role, _)
        | ValueSource::Percent(role, _) => match role {
            ComponentRole::Source => "`source` `type`",
            ComponentRole::Channel => "`channel` `type`",
            ComponentRole::Sink => "`sink` `type`",
        },
        ValueSource::Took(ComponentRole::Sink, _) => "`sink` `type` `le`",
        ValueSource::Took(..) => "`channel` `type` `le`",
        ValueSource::Channel(_) | ValueSource::ChannelTime(_) => "`channel` `type`",
        ValueSource::Stripe(_) | ValueSource::StripeTime(_) => {
            "`channel` `type` `stripe` `directory`"
        }
        ValueSource::StripeTook(_) => "`channel` `type` `stripe` `directory` `le`",
        ValueSource::Phases => "`sink` `type` `phase`",
        ValueSource::Dropped => "`component` `kind` `reason`",
        ValueSource::Process(_) | ValueSource::Clients(_) => "",
        ValueSource::Version => "`version`",
    }
}

#[test]
fn the_document_has_each_metric_with_its_meaning_and_no_other() {
    let mut table = String::new();
    for MetricFamily { name, kind, from, help } in FAMILIES.iter().copied().flatten() {
        let kind = format!("{kind:?}").to_lowercase();
        let _ = writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels(*from));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/monitoring.md");
    let page = std::fs::read_to_string(path).expect("the document");
    let rows =
        page.lines().filter(|l| l.starts_with("| `millpond_") || l.starts_with("| `process_"));
    let rows: String = rows.flat_map(|row| [row, "\n"]).collect();
    assert!(rows == table, "docs/monitoring.md should have these rows:\n{table}");
}

/// Returns the names of metrics in a text: words that begin as ours do.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(move |c| !word(c)).filter(|word| word.starts_with("millpond_"))
}

/// Returns a file of `docs/prometheus`.
fn for_prometheus(file: &str) -> String {
    let path = format!("{}/docs/prometheus/{file}", concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    std::fs::read_to_string(path).expect("it can be read")
}

#[test]
fn alert_rules_and_the_dashboard_name_metrics_that_are_there() {
    let all = || FAMILIES.iter().copied().flatten();
    let there = |name: &&str| {
        let histogram = name.strip_suffix("_bucket");
        all().any(|f| {
            f.name == *name
                || (matches!(f.kind, MetricType::Histogram) && Some(f.name) == histogram)
        })
    };
    for file in ["alerts.yml", "alerts.test.yml", "dashboard.json"] {
        let text = for_prometheus(file);
        assert!(named(&text).count() > 3, "{file} names metrics");
        let strangers: Vec<&str> = named(&text).filter(|name| !there(name)).collect();
        assert!(strangers.is_empty(), "{file}: {strangers:?}");
    }
}

#[test]
fn every_alert_is_seen_to_fire() {
    let (rules, tests) = (for_prometheus("alerts.yml"), for_prometheus("alerts.test.yml"));
    let alerts: Vec<&str> =
        rules.split("alert: ").skip(1).filter_map(|at| at.lines().next()).collect();
    assert!(alerts.len() > 20, "{alerts:?}");
    // An alert that is not expected to fire has `exp_alerts: []`.
    let fires = |name: &&str| tests.contains(&format!("alertname: {name}\n    exp_alerts:\n"));
    let untried: Vec<&str> = alerts.into_iter().filter(|name| !fires(name)).collect();
    assert!(untried.is_empty(), "alerts.test.yml does not test {untried:?}");
}
