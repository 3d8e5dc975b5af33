//! The labels of the table, of docs/recovery.md and of the tests agree.

use super::*;
use std::collections::BTreeMap;

const PAGE: &str = include_str!("../../../docs/recovery.md");
const TABLE: &str = include_str!("../case.rs");
const TESTS: [&str; 3] =
    [include_str!("rows.rs"), include_str!("members.rs"), include_str!("returned_segments.rs")];

#[test]
fn the_page_has_every_row_and_no_other() {
    let rows: BTreeMap<&str, bool> = PAGE
        .lines()
        .filter_map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let label = *cells.get(1)?;
            let row = label.strip_prefix('R')?.parse::<u8>().is_ok();
            row.then(|| (label, cells[4] == "yes"))
        })
        .collect();
    let cases: Vec<(String, bool)> =
        Case::ALL.iter().map(|case| (case.to_string(), case.is_damage())).collect();
    for (label, damage) in &cases {
        assert_eq!(rows.get(&label[..]), Some(damage), "docs/recovery.md and {label}");
    }
    assert_eq!(rows.len(), cases.len());
}

#[test]
fn every_row_is_listed_once_and_has_a_test_that_begins_with_its_label() {
    let declared = TABLE.lines().filter(|l| {
        let name = l.trim().trim_end_matches(',');
        name.strip_prefix('R').is_some_and(|n| n.parse::<u8>().is_ok())
    });
    assert_eq!(declared.count(), Case::ALL.len(), "Case::ALL has every variant");
    for case in Case::ALL {
        let begins = format!("fn {}_", case.to_string().to_lowercase());
        assert!(TESTS.iter().any(|text| text.contains(&begins)), "no test begins with {case}");
    }
}
