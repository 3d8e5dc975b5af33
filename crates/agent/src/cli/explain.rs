//! `explain`: the meaning of a code of the log and what to do.

use super::exit::{CommandError, show, show_words};
use clap::Args;
use millpond_flow::codes::{self, Code};
use millpond_flow::settings::flume_names::did_you_mean;
use std::fmt::Write as _;

/// `explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// A code as in the log: MP-1203, mp-1203 or 1203; default: all codes
    #[arg(value_name = "CODE")]
    pub codes: Vec<String>,
    /// List all codes with their titles
    #[arg(long, conflicts_with = "codes")]
    pub list: bool,
    /// Write one line of JSON per code
    #[arg(long)]
    pub json: bool,
}

pub(super) fn run(arguments: &ExplainArguments) -> Result<(), CommandError> {
    let lists = arguments.list || arguments.codes.is_empty();
    let (known, unknown): (Vec<_>, Vec<_>) =
        arguments.codes.iter().map(|word| codes::find(word).ok_or(word)).partition(Result::is_ok);
    let mut found: Vec<&Code> = known.into_iter().flatten().collect();
    if lists {
        found = codes::all().collect();
    }
    match (arguments.json, lists) {
        (true, _) => show(&found.into_iter().map(json).collect::<String>()),
        (false, true) => show(&found.into_iter().map(line).collect::<String>()),
        (false, false) => {
            let pages: Vec<String> = found.into_iter().map(explained).collect();
            show_words(&pages.join("\n"))
        }
    }?;
    match unknown.into_iter().find_map(Result::err) {
        Some(word) => Err(CommandError::Usage(no_such(word))),
        None => Ok(()),
    }
}

/// Returns the message for an unknown code.
fn no_such(word: &str) -> String {
    let known: Vec<String> = codes::all().map(Code::to_string).collect();
    let upper = word.to_ascii_uppercase();
    let shown = if upper.starts_with("MP-") { upper } else { format!("MP-{upper}") };
    let meant = did_you_mean(&shown, known.iter().map(String::as_str));
    match meant.is_empty() {
        true => format!("there is no code {word}; `millpond explain --list` shows all"),
        false => format!("there is no code {word}{meant}"),
    }
}

/// Returns `MP-1203  segment files are missing`.
fn line(code: &Code) -> String {
    format!("{:<9} {:<8} {}\n", code.to_string(), code.level.word(), code.title)
}

fn explained(code: &Code) -> String {
    let mut text = format!("{code}: {} ({})\n", code.title, code.level.word());
    for (name, words) in [("means", code.means), ("do", code.action)] {
        let _ = write!(text, "\n  {name:<6}");
        fill(&mut text, words);
    }
    if !code.more.is_empty() {
        let _ = write!(text, "\n  {:<6}docs/{}\n", "more", code.more);
    }
    text
}

/// Columns of a line.
const WIDTH: usize = 80;
/// Columns that are left free at the start of each further line.
const INDENT: usize = 8;

/// Appends `words` in lines of at most [`WIDTH`] columns.
fn fill(text: &mut String, words: &str) {
    let mut column = INDENT;
    for (at, word) in words.split(' ').enumerate() {
        let length = word.chars().count();
        if at > 0 && column + 1 + length > WIDTH {
            text.push('\n');
            text.extend(std::iter::repeat_n(' ', INDENT));
            column = INDENT;
        } else if at > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
}

/// Returns one code as a line of JSON.
fn json(code: &Code) -> String {
    let more = Some(code.more).filter(|more| !more.is_empty()).map(|more| format!("docs/{more}"));
    let object = serde_json::json!({
        "code": code.to_string(),
        "number": code.number,
        "name": code.name,
        "level": code.level.word(),
        "title": code.title,
        "means": code.means,
        "action": code.action,
        "more": more,
    });
    format!("{object}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_explained_in_lines_that_fit_a_terminal() {
        let text = explained(&codes::SEGMENT_MISSING);
        assert!(text.starts_with("MP-1203: segment files are missing (error)\n"), "{text}");
        for part in ["\n  means ", "\n  do    ", "\n  more  docs/operations.md#"] {
            assert!(text.contains(part), "{part} in {text}");
        }
        for code in codes::all() {
            let text = explained(code);
            let long = text.lines().find(|line| line.chars().count() > WIDTH + INDENT);
            assert_eq!(long, None);
        }
    }

    #[test]
    fn a_code_that_there_is_not_has_a_near_one() {
        assert_eq!(no_such("mp-12033"), "there is no code mp-12033; did you mean MP-1203?");
        assert!(no_such("nothing").contains("--list"), "{}", no_such("nothing"));
    }
}
