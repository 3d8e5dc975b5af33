//! Limits of size: 600 lines for a file, 70 for a function; a longer one does two things.

use crate::nothing_to_complain_about;
use crate::source::{self, Source};

const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

fn long_file(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    (lines > FILE_LINES_MAX)
        .then(|| format!("{path}: {lines} lines of {FILE_LINES_MAX}; split it along a noun"))
}

fn long_functions(source: &Source) -> Vec<String> {
    let words = source.words();
    let mut complaints = Vec::new();
    for pair in words.windows(2) {
        let [(at, "fn"), (name_at, name)] = pair else { continue };
        // `fn (` is the type of a function, not a function.
        if source.code[*at + 2..*name_at].contains('(') {
            continue;
        }
        let end = source::item_end(source.code.as_bytes(), *at);
        let lines = source.line(end.saturating_sub(1)) - source.line(*at) + 1;
        if lines > FUNCTION_LINES_MAX {
            complaints.push(format!(
                "{}: fn {name} has {lines} lines of {FUNCTION_LINES_MAX}",
                source.place(*at)
            ));
        }
    }
    complaints
}

#[test]
fn files_are_short() {
    let all: Vec<String> = ["src", "crates", "tests", "benches", "fuzz/fuzz_targets"]
        .iter()
        .flat_map(|folder| source::all_files(folder))
        .filter_map(|(path, text)| long_file(&path, &text))
        .collect();
    nothing_to_complain_about("a file is too long", &all);
}

#[test]
fn functions_are_short() {
    let all: Vec<String> = source::production().iter().flat_map(long_functions).collect();
    nothing_to_complain_about("a function is too long", &all);
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    assert!(long_file("src/a.rs", &"\n".repeat(601)).is_some());
    assert!(long_file("src/a.rs", &"\n".repeat(600)).is_none());

    let body =
        |lines: usize| format!("fn a(x: fn(u8)) -> u8\nwhere T: U {{{}}}", "\n".repeat(lines - 2));
    assert!(long_functions(&Source::new("src/a.rs", &body(70))).is_empty());
    assert_eq!(long_functions(&Source::new("src/a.rs", &body(71))).len(), 1);
    let braces = format!("fn a() {{ let s = \"}}\"; let c = '}}'; {{ {} }} }}", "\n".repeat(80));
    assert_eq!(long_functions(&Source::new("src/a.rs", &braces)).len(), 1);
    let declared = format!("trait A {{ fn a(x: [u8; 4]);\n{} fn b() {{}} }}", "\n".repeat(80));
    assert!(long_functions(&Source::new("src/a.rs", &declared)).is_empty());
    let tested = format!("#[cfg(test)] mod tests {{ {} }}", body(90));
    assert!(long_functions(&Source::new("src/a.rs", &tested)).is_empty());
}
