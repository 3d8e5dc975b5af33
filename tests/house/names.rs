//! Names say what a thing is. Words that fit everything say nothing and are banned.

use crate::nothing_to_complain_about;
use crate::source::{self, Source};

/// Words that the name of a module, type or function must not contain.
const BANNED: &[&str] = &[
    "util", "utils", "common", "helper", "helpers", "manager", "managers", "handler", "handlers",
    "misc", "info",
];

/// Words that no such name may end with: `event_data` is an event.
const BANNED_LAST: &[&str] = &["data"];

/// Names that are allowed all the same, with the reason.
const ALLOWED: &[(&str, &str)] = &[
    ("path_manager", "Flume's key `sink.pathManager`"),
    ("PathManager", "Flume's key `sink.pathManager`"),
    ("Info", "a level of the log"),
];

const DECLARES: &[&str] =
    &["mod", "struct", "enum", "trait", "type", "fn", "const", "static", "union"];

/// Splits a name into its words: `readHTTPAnswer_now` is `read`, `http`, `answer`, `now`.
pub(crate) fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let letters: Vec<char> = name.chars().collect();
    for (i, letter) in letters.iter().enumerate() {
        let after_lower = i > 0 && letters[i - 1].is_lowercase();
        let before_lower = letters.get(i + 1).is_some_and(|c| c.is_lowercase());
        let begins = letter.is_uppercase() && i > 0 && (after_lower || before_lower);
        if begins || *letter == '_' {
            parts.push(String::new());
        }
        if let Some(last) = parts.last_mut()
            && *letter != '_'
        {
            last.extend(letter.to_lowercase());
        }
    }
    parts.retain(|p| !p.is_empty());
    parts
}

fn says_nothing(name: &str) -> bool {
    let parts = parts(name);
    let allowed = ALLOWED.iter().any(|(a, _)| *a == name);
    let banned = parts.iter().any(|p| BANNED.contains(&p.as_str()))
        || parts.last().is_some_and(|p| BANNED_LAST.contains(&p.as_str()));
    banned && !allowed
}

fn complaints(source: &Source) -> Vec<String> {
    let mut complaints = Vec::new();
    for part in source.path.trim_end_matches(".rs").split('/') {
        if says_nothing(part) {
            complaints.push(format!("{}: `{part}` as the name of a file", source.path));
        }
    }
    for pair in source.words().windows(2) {
        let [(_, keyword), (at, name)] = pair else { continue };
        if DECLARES.contains(keyword) && says_nothing(name) {
            complaints.push(format!("{}: {keyword} `{name}`", source.place(*at)));
        }
    }
    complaints
}

#[test]
fn names_say_what_a_thing_is() {
    let all: Vec<String> = source::production().iter().flat_map(complaints).collect();
    nothing_to_complain_about("a name has a word that fits everything", &all);
}

#[test]
fn a_name_that_says_nothing_is_found() {
    for (path, text) in [
        ("src/log/util.rs", ""),
        ("src/helpers/mod.rs", ""),
        ("src/a.rs", "pub struct SegmentManager;"),
        ("src/a.rs", "fn event_data() {}"),
        ("src/a.rs", "enum EventData {}"),
        ("src/a.rs", "trait HTTPHandler {}"),
        ("src/a.rs", "const STRIPE_INFO: u8 = 0;"),
        ("src/a.rs", "mod common { }"),
    ] {
        assert_eq!(complaints(&Source::new(path, text)).len(), 1, "{path}: {text}");
    }
    for text in [
        "fn data_dirs() {}",
        "struct Reinforced; struct Information;",
        "fn f() { info!(); }",
        "// struct Helper;",
        "#[cfg(test)] mod tests { fn helper() {} }",
    ] {
        assert!(complaints(&Source::new("src/a.rs", text)).is_empty(), "{text}");
    }
}
