//! Every name that the engine exports has an example.

use crate::nothing_to_complain_about;
use crate::source::{self, is_word};

/// Returns the names of the `pub use` lines of `text`.
fn exported(text: &str) -> Vec<String> {
    let code = source::without_comments_and_strings(text);
    let lists = code.split("pub use ").skip(1).filter_map(|rest| rest.split_once(';'));
    let names = lists.flat_map(|(list, _)| {
        list.split([',', '{', '}', ':']).map(str::trim).map(str::to_owned).collect::<Vec<String>>()
    });
    names.filter(|name| name.starts_with(|c: char| c.is_ascii_uppercase())).collect()
}

/// Returns whether `line` defines the public item `name`, or passes it to a macro that does.
fn defines(line: &str, name: &str) -> bool {
    let line = line.trim_end();
    if line.trim_start() == name {
        return true;
    }
    let kinds = ["pub struct ", "pub enum ", "pub trait ", "pub type "];
    let rest = kinds.iter().find_map(|kind| line.strip_prefix(kind));
    rest.and_then(|rest| rest.strip_prefix(name))
        .is_some_and(|rest| !rest.bytes().next().is_some_and(is_word))
}

/// Returns whether the comment above a definition of `name` in `text` has an example; `None` without a definition.
fn has_example(text: &str, name: &str) -> Option<bool> {
    let lines: Vec<&str> = text.lines().collect();
    let at = lines.iter().position(|line| defines(line, name))?;
    let above = lines[..at].iter().rev().map(|line| line.trim_start());
    let mut comment = above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
    Some(comment.any(|line| line.trim_end() == "/// ```"))
}

#[test]
fn every_exported_name_has_an_example() {
    let files = source::all_files("src");
    let names = exported(&source::read("src/lib.rs"));
    assert!(names.len() > 30, "the exports are found: {names:?}");
    let without = names.iter().filter(|name| {
        !files.iter().any(|(_, text)| has_example(text, name.as_str()) == Some(true))
    });
    let complaints: Vec<String> = without.cloned().collect();
    nothing_to_complain_about("an exported name has no example", &complaints);
}

#[test]
fn a_name_without_an_example_is_found() {
    let text = "/// A.\n///\n/// ```\n/// use a;\n/// ```\n#[derive(Debug)]\npub struct A;\n\n/// B.\npub struct B;\n";
    assert_eq!(has_example(text, "A"), Some(true));
    assert_eq!(has_example(text, "B"), Some(false));
    assert_eq!(has_example(text, "C"), None);
    assert_eq!(exported("pub use a::b::{C, D};\nmod e;\npub use f::G;"), ["C", "D", "G"]);
}
