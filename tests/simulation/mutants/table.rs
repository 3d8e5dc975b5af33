//! The table of mutants in docs/campaigns.md, made by the run.

use super::list::{Campaign, HUNTS, Hunt};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

const BEGIN: &str = "<!-- mutants: made by the run -->\n";
const END: &str = "<!-- end of mutants -->";
const HEAD: &str = "| mutant | what is broken | found by | runs | crash states | the first words |\n|---|---|---|---|---|---|\n";

/// How one mutant was noticed.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) broken: &'static str,
    pub(super) campaign: Campaign,
    pub(super) runs: u64,
    pub(super) states: usize,
    pub(super) words: String,
}

impl Row {
    fn line(&self) -> String {
        let Self { name, broken, campaign, runs, states, words } = self;
        let words = words.replace(['|', '\n'], " ");
        let campaign = format!("{campaign:?}").to_lowercase();
        format!("| `{name}` | {broken} | {campaign} | {runs} | {states} | {words} |\n")
    }
}

fn document() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/campaigns.md")
}

/// Splits the document into the text before the table, its lines, and the text after it.
fn split(text: &str) -> (String, Vec<String>, String) {
    let (before, rest) =
        text.split_once(BEGIN).expect("docs/campaigns.md has the table's beginning");
    let (table, after) = rest.split_once(END).expect("docs/campaigns.md has the table's end");
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    (before.to_owned(), rows.map(|line| format!("{line}\n")).collect(), after.to_owned())
}

fn named(row: &str) -> String {
    row.split('`').nth(1).unwrap_or_default().to_owned()
}

/// With `MILLPOND_TABLE=write` writes rows into the document: each in place of the row with its name, or, if it is new,
/// in the order of the list.
pub(super) fn write(rows: &[Row]) {
    // Disk mutations and rules are hunted concurrently.
    static ONE_BY_ONE: Mutex<()> = Mutex::new(());
    let _turn = ONE_BY_ONE.lock().unwrap_or_else(PoisonError::into_inner);
    if std::env::var("MILLPOND_TABLE").is_ok_and(|word| word == "write") {
        let text = std::fs::read_to_string(document()).expect("the document can be read");
        let (before, old, after) = split(&text);
        let row_of = |name: String| {
            let fresh = rows.iter().find(|row| row.name == name).map(Row::line);
            fresh.or_else(|| old.iter().find(|row| named(row) == name).cloned())
        };
        let table: String = HUNTS.iter().map(Hunt::name).filter_map(row_of).collect();
        let text = format!("{before}{BEGIN}\n{HEAD}{table}\n{END}{after}");
        std::fs::write(document(), text).expect("the document can be written");
    }
}

#[test]
fn the_table_of_mutants_names_those_that_exist_and_no_other() {
    let text = std::fs::read_to_string(document()).expect("the document can be read");
    let (_, rows, _) = split(&text);
    let told: Vec<String> = rows.iter().map(|row| named(row)).collect();
    let there: Vec<String> = HUNTS.iter().map(Hunt::name).collect();
    assert_eq!(told, there, "MILLPOND_TABLE=write makes it again, see docs/campaigns.md");
}
