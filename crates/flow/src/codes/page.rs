//! Generates docs/codes.md from the tables.

use super::areas::{ALARMS_FROM, AREAS};
use millpond::internal::base::codes::Code;
use std::fmt::Write as _;

const HEAD: &str = "\
# Codes

Lines of the log that ask for action, errors that keep a channel or an agent from starting, and alarms have a code that
never changes: `MP-` and a number. In the log it is the first field after the message, `code=MP-1203`; with
`log.format = json` it is `\"code\":\"MP-1203\"`; an error that ends a command has it at its end. On a terminal:

```sh
millpond explain MP-1203      # also 1203, and several at once
millpond explain --list
```

A number never gets another meaning and is never reused. Four digits are lines and errors, grouped by subject; five digits are
alarms, with the number that an alarm has in [alarms.md](alarms.md), in `/alarms` and in `millpond_alarm_active`.
Look into every `ERROR`. After a `WARN` the agent recovers by itself; one with a code may persist and then needs attention.

This page and the output of `millpond explain` are generated from the tables in src/base/codes and crates/flow/src/codes.
";

/// Returns the whole page.
pub(super) fn page() -> String {
    let mut page = HEAD.to_owned();
    for area in AREAS {
        let _ = write!(page, "\n## {}\n", area.title);
        for code in area.codes {
            entry(&mut page, code);
        }
    }
    page
}

fn entry(page: &mut String, code: &Code) {
    let _ = write!(page, "\n### {code}: {}\n\n", code.title);
    let level = if code.number < ALARMS_FROM { code.level.word() } else { "alarm" };
    let _ = writeln!(page, "*{level}* {}", code.means);
    let _ = write!(page, "\n**Do:** {}", code.action);
    if !code.more.is_empty() {
        let name = code.more.split('#').next().unwrap_or_default();
        let _ = write!(page, " More: [{name}]({}).", code.more);
    }
    page.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::all;
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    fn top(path: &str) -> PathBuf {
        PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join(path)
    }

    fn read(path: &str) -> String {
        std::fs::read_to_string(top(path)).unwrap_or_default()
    }

    /// Returns true if `MILLPOND_CODES=write` requests that the generated files are written.
    fn writes() -> bool {
        std::env::var("MILLPOND_CODES").is_ok_and(|word| word == "write")
    }

    #[test]
    fn the_page_is_what_the_tables_say() {
        let page = super::page();
        if writes() {
            std::fs::write(top("docs/codes.md"), &page).expect("the page can be written");
        }
        let same = read("docs/codes.md") == page;
        assert!(
            same,
            "docs/codes.md: MILLPOND_CODES=write cargo test --lib codes:: writes it anew"
        );
    }

    #[test]
    fn a_number_never_changes_its_meaning() {
        let listed = read("tests/golden/codes.txt");
        let mut golden: BTreeMap<u32, &str> = BTreeMap::new();
        for line in listed.lines().filter(|line| !line.starts_with('#')) {
            let (number, name) = line.split_once(' ').expect("NUMBER NAME");
            let number = number.parse().expect("a number");
            assert!(golden.insert(number, name).is_none(), "{number} is listed twice");
        }
        let mut fresh = Vec::new();
        for code in all() {
            match golden.get(&code.number) {
                Some(name) => assert_eq!(*name, code.name, "{code} was another code before"),
                None => {
                    let used = golden.values().any(|name| *name == code.name);
                    assert!(!used, "{}: a name keeps its number", code.name);
                    fresh.push(code);
                }
            }
        }
        if writes() && !fresh.is_empty() {
            golden.extend(fresh.iter().map(|code| (code.number, code.name)));
            let head = "# Numbers of codes, also of those that are no longer used. Lines are added and never changed.";
            let lines = golden.iter().map(|(number, name)| format!("{number} {name}\n"));
            let text = format!("{head}\n{}", lines.collect::<String>());
            std::fs::write(top("tests/golden/codes.txt"), text).expect("the list can be written");
            fresh.clear();
        }
        assert!(fresh.is_empty(), "tests/golden/codes.txt has no {fresh:?}");
    }

    /// Returns the anchor of a heading.
    fn section(heading: &str) -> String {
        let kept = |c: &char| c.is_alphanumeric() || *c == ' ' || *c == '-';
        let name = heading.trim_start_matches('#').trim().to_lowercase();
        name.chars().filter(kept).collect::<String>().replace(' ', "-")
    }

    #[test]
    fn what_leads_on_leads_to_a_section() {
        for code in all().filter(|code| !code.more.is_empty()) {
            let (page, wanted) = code.more.split_once('#').unwrap_or((code.more, ""));
            let text = read(&format!("docs/{page}"));
            assert!(!text.is_empty(), "{code}: docs/{page}");
            let mut headings = text.lines().filter(|line| line.starts_with('#'));
            assert!(
                wanted.is_empty() || headings.any(|line| section(line) == wanted),
                "{code}: {}",
                code.more
            );
        }
    }
}
