//! The types of Flume's that are not here stand in the document, each with its state and the reason.

use super::DOCUMENT;
use crate::agent::build::Types;
use crate::config::types::{FlumeType, Part, Status, TYPES};

/// The row of a type.
fn row(absent: &FlumeType) -> String {
    let sort = match absent.part {
        Part::Selector => "selector",
        part => part.word(),
    };
    let names: Vec<String> = absent.names.iter().map(|name| format!("`{name}`")).collect();
    let (state, why) = match absent.status {
        Status::Planned => ("not yet", absent.meanwhile().trim_start_matches("; ")),
        Status::Refused(why) => ("refused", why),
        Status::Gone(instead) => ("not in Flume either", instead),
    };
    format!("| {sort} | {} | {state} | {why} |", names.join(", "))
}

#[test]
fn the_document_has_every_type_that_cannot_be_had_and_no_other() {
    let catalogue = Types::built_in().catalogue();
    let absent = TYPES.iter().filter(|t| catalogue.find(t.part, t.names[0]).is_none());
    let rows: Vec<String> = absent.map(row).collect();
    let section = DOCUMENT.split("\n## ").find(|s| s.starts_with("Types that are not here\n"));
    let section = section.expect("a section");
    let found: Vec<&str> = section.lines().filter(|line| line.contains('`')).collect();
    let found: Vec<&str> = found.into_iter().filter(|line| line.starts_with('|')).collect();
    assert_eq!(found, rows, "the table should be\n{}", rows.join("\n"));
}

#[test]
fn a_type_that_can_be_had_is_not_called_absent() {
    let catalogue = Types::built_in().catalogue();
    let there =
        TYPES.iter().filter(|t| t.names.iter().any(|n| catalogue.find(t.part, n).is_some()));
    for kind in there {
        assert_eq!(kind.status, Status::Planned, "{:?} is built in", kind.names);
    }
}
