//! Compares results with those of a JVM, recorded by `tests/java/PatternTable.java`.

use super::*;
use serde_json::Value;

const TABLE: &str = include_str!("java.jsonl");

/// Patterns that Java accepts and that are refused here, by name.
const REFUSED: &[&str] = &[
    r"\G",
    r"\X",
    r"\N{LATIN SMALL LETTER A}",
    r"(?U)\w",
    r"\1",
    r"(\1)",
    r"\p{InGreek}",
    r"\ud83d",
    "[a&&]",
    "[&&a]",
    "[^&&a]",
    "(?=a)*",
    // Java accepts the second count and ignores it.
    "a{2}{2}",
    "a*{2}",
];

/// Patterns whose groups differ: a repeated group that can be empty keeps its last non-empty match, while Java
/// repeats once more with an empty one.
const DIFFERENT: &[&str] = &["(a*)*", "(a*)+"];

fn lines() -> (Vec<String>, Vec<Value>) {
    let mut lines = TABLE.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let texts = words(&lines.next().unwrap()["texts"]);
    (texts, lines.collect())
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

fn range(range: Option<Range<usize>>) -> String {
    range.map_or_else(String::new, |range| format!("{}-{}", range.start, range.end))
}

/// Returns a result in the format of the table.
fn answer(pattern: &Pattern, text: &str) -> String {
    let all: Vec<MatchGroups> = pattern.find_all(text).map(Result::unwrap).collect();
    let mut out: Vec<String> = all.iter().map(|found| range(Some(found.whole()))).collect();
    if let (Some(first), 1..) = (all.first(), pattern.groups()) {
        let groups: Vec<String> = (1..=pattern.groups()).map(|at| range(first.group(at))).collect();
        let last = out.last_mut().unwrap();
        *last = format!("{last}|{}", groups.join(","));
    }
    let whole = if pattern.is_whole(text).unwrap() { "M" } else { "" };
    assert_eq!(pattern.is_in(text).unwrap(), !all.is_empty());
    out.join(" ") + whole
}

#[test]
fn patterns_mean_what_they_mean_in_java() {
    let (texts, lines) = lines();
    let (mut wrong, mut checked) = (Vec::new(), 0);
    for line in lines.iter().filter(|l| l.get("replacement").is_none() && l.get("parts").is_none())
    {
        let source = line["pattern"].as_str().unwrap();
        let pattern = match (Pattern::new(source), line.get("error").is_some()) {
            (Err(_), true) => continue,
            (Ok(_), true) => {
                wrong.push(format!("{source:?}: refused by Java, taken here"));
                continue;
            }
            (Err(_), false) if REFUSED.contains(&source) => continue,
            (Err(error), false) => {
                wrong.push(format!("{source:?}: taken by Java: {error}"));
                continue;
            }
            (Ok(_), false) if REFUSED.contains(&source) => {
                wrong.push(format!("{source:?}: taken, no longer refused"));
                continue;
            }
            (Ok(pattern), false) => pattern,
        };
        for (text, java) in texts.iter().zip(words(&line["answers"])) {
            let ours = answer(&pattern, text);
            checked += 1;
            let matches = |answer: &str| answer.split('|').next().map(str::to_owned);
            let known = DIFFERENT.contains(&source) && matches(&ours) == matches(&java);
            if ours != java && !known {
                wrong.push(format!("{source:?} on {text:?}: Java {java:?}, here {ours:?}"));
            }
        }
    }
    println!("{checked} answers compared");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn replacements_and_splits_are_javas() {
    let (texts, lines) = lines();
    for line in lines {
        let source = line["pattern"].as_str().unwrap();
        let Ok(pattern) = Pattern::new(source) else { continue };
        if let Some(java) = line.get("replacement") {
            let java = java.as_str().unwrap();
            let replacement = Replacement::new(java, &pattern);
            assert_eq!(replacement.is_err(), line.get("error").is_some(), "{source:?} {java:?}");
            let Ok(replacement) = replacement else { continue };
            for (text, expected) in texts.iter().zip(words(&line["replaced"])) {
                let ours = replacement.all(text, &pattern).unwrap();
                assert_eq!(ours, expected, "{source:?} by {java:?} in {text:?}");
            }
        } else if let Some(parts) = line.get("parts") {
            for (text, expected) in texts.iter().zip(parts.as_array().unwrap()) {
                assert_eq!(pattern.split(text).unwrap(), words(expected), "{source:?} {text:?}");
            }
        }
    }
}

#[test]
fn what_cannot_be_read_is_said_with_its_place() {
    for (source, said) in [
        ("a(b", "a ( without its ) (at character 2)"),
        (r"a\Gb", r"\G is not supported (at character 2)"),
        (r"\p{InGreek}", "the property InGreek is not known here"),
        ("(?U)a", "(?U) is not supported"),
        (r"(a)(?i)\1", "under (?i)"),
    ] {
        let error = Pattern::new(source).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
    let nested = "(".repeat(200) + &")".repeat(200);
    assert!(Pattern::new(&nested).unwrap_err().to_string().contains("levels"));
    let long = "a".repeat(PATTERN_CHARS_MAX + 1);
    assert!(Pattern::new(&long).unwrap_err().to_string().contains("characters"));
}

#[test]
fn a_match_that_would_never_end_is_given_up() {
    let pattern = Pattern::new(r"(?:(a+)\1?)+b").unwrap();
    assert_eq!(pattern.find(&("a".repeat(64) + "!")), Err(MatchLimitReached::Steps));
}

#[test]
fn backtracking_patterns_are_not_tried_on_a_long_text() {
    let long = "b".repeat(STEPPING_BYTES_MAX + 1);
    for source in ["(?=.*foo)bar", "b$", "(?m)^b", "(b)\\1", "(?>b)a", "b++a", "(?<!b)b"] {
        assert_eq!(
            Pattern::new(source).unwrap().is_in(&long),
            Err(MatchLimitReached::Long),
            "{source}"
        );
        assert!(Pattern::new(source).unwrap().is_in(&long[1..]).is_ok(), "{source}");
    }
    for source in ["b+a", "^b", "(?i)B", "[^a]+", "\\bb", "b\\z", "(b|c)*d"] {
        assert!(Pattern::new(source).unwrap().is_in(&long.repeat(64)).is_ok(), "{source}");
    }
}

#[test]
fn replacements_are_bounded() {
    let pattern = Pattern::new(".").unwrap();
    let replacement = Replacement::new(&"x".repeat(1024 * 1024), &pattern).unwrap();
    assert_eq!(replacement.all(&"b".repeat(1000), &pattern), Err(MatchLimitReached::Replaced));
}
