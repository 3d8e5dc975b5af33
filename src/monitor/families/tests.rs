//! The document, the alert rules and the dashboard name what is there.

use super::*;
use std::fmt::Write;

fn labels(from: From) -> &'static str {
    match from {
        From::Alarm(AlarmMetric::Active) => "`alarm` `id` `severity` `component`",
        From::Alarm(AlarmMetric::Raised | AlarmMetric::Cleared) => "`alarm` `id`",
        From::Alarm(_) => "`to`",
        From::Attribute(role, _) | From::Millis(role, _) | From::Percent(role, _) => match role {
            Role::Source => "`source` `type`",
            Role::Channel => "`channel` `type`",
            Role::Sink => "`sink` `type`",
        },
        From::Took(Role::Sink, _) => "`sink` `type` `le`",
        From::Took(..) => "`channel` `type` `le`",
        From::Channel(_) | From::ChannelTime(_) => "`channel` `type`",
        From::Stripe(_) | From::StripeTime(_) => "`channel` `type` `stripe` `directory`",
        From::StripeTook(_) => "`channel` `type` `stripe` `directory` `le`",
        From::Phases => "`sink` `type` `phase`",
        From::Dropped => "`component` `kind` `reason`",
        From::Process(_) | From::Clients(_) => "",
        From::Version => "`version`",
    }
}

#[test]
fn the_document_has_each_metric_with_its_meaning_and_no_other() {
    let mut table = String::new();
    for Family { name, kind, from, help } in FAMILIES.iter().copied().flatten() {
        let kind = format!("{kind:?}").to_lowercase();
        let _ = writeln!(table, "| `{name}` | {kind} | {} | {help} |", labels(*from));
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/monitoring.md");
    let page = std::fs::read_to_string(path).expect("the document");
    let rows =
        page.lines().filter(|l| l.starts_with("| `millpond_") || l.starts_with("| `process_"));
    let rows: String = rows.flat_map(|row| [row, "\n"]).collect();
    assert!(rows == table, "docs/monitoring.md should have these rows:\n{table}");
}

/// Names of metrics in a text: words that begin as ours do.
fn named(text: &str) -> impl Iterator<Item = &str> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(move |c| !word(c)).filter(|word| word.starts_with("millpond_"))
}

/// A file of `docs/prometheus`.
fn for_prometheus(file: &str) -> String {
    let path = format!("{}/docs/prometheus/{file}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read_to_string(path).expect("it can be read")
}

#[test]
fn alert_rules_and_the_dashboard_name_metrics_that_are_there() {
    let all = || FAMILIES.iter().copied().flatten();
    let there = |name: &&str| {
        let histogram = name.strip_suffix("_bucket");
        all().any(|f| {
            f.name == *name || (matches!(f.kind, Kind::Histogram) && Some(f.name) == histogram)
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
    assert!(untried.is_empty(), "alerts.test.yml lets nobody see {untried:?}");
}
