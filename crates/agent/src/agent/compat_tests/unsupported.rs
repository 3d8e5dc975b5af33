//! Tests that Flume's unavailable types are in the document, each with its state and the reason.

use super::DOCUMENT;
use crate::agent::build::ComponentTypes;
use millpond_config::types::{ComponentKind, FlumeType, TYPES, TypeStatus};

/// Returns the row of a type.
fn row(absent: &FlumeType) -> String {
    let sort = match absent.part {
        ComponentKind::Selector => "selector",
        part => part.word(),
    };
    let names: Vec<String> = absent.names.iter().map(|name| format!("`{name}`")).collect();
    let (state, why) = match absent.status {
        TypeStatus::Planned => ("not yet", absent.meanwhile().trim_start_matches("; ")),
        TypeStatus::Refused(why) => ("refused", why),
        TypeStatus::Gone(instead) => ("not in Flume either", instead),
    };
    format!("| {sort} | {} | {state} | {why} |", names.join(", "))
}

#[test]
fn the_document_has_exactly_the_unavailable_types() {
    let catalogue = ComponentTypes::built_in().catalogue();
    let absent = TYPES.iter().filter(|t| catalogue.find(t.part, t.names[0]).is_none());
    let absent = absent.filter(|t| t.feature.is_none());
    let rows: Vec<String> = absent.map(row).collect();
    let section = DOCUMENT.split("\n## ").find(|s| s.starts_with("Types that are not available\n"));
    let section = section.expect("a section");
    let found: Vec<&str> = section.lines().filter(|line| line.contains('`')).collect();
    let found: Vec<&str> = found.into_iter().filter(|line| line.starts_with('|')).collect();
    assert_eq!(found, rows, "the table should be\n{}", rows.join("\n"));
}

#[test]
fn an_available_type_is_not_called_absent() {
    let catalogue = ComponentTypes::built_in().catalogue();
    let there =
        TYPES.iter().filter(|t| t.names.iter().any(|n| catalogue.find(t.part, n).is_some()));
    for kind in there {
        assert_eq!(kind.status, TypeStatus::Planned, "{:?} is built in", kind.names);
    }
}
