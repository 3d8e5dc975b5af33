//! Reads the assignments of a shell file without running it: `export NAME="value"`.
//!
//! A line that needs a shell (command substitution, conditions) is not guessed: it is left out and
//! reported. `EXPORT`, which is not a shell command but is in guides for Flume, is taken for
//! `export`, and reported too.

use std::collections::BTreeMap;

/// The assignments of a file, and the lines that were left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ShellAssignments {
    /// Variables and their values; the last assignment wins.
    pub values: BTreeMap<String, String>,
    /// Number of each line, from 1, and why it was left out.
    pub left_out: Vec<(usize, &'static str)>,
    /// Lines with `EXPORT` or the like, which were accepted.
    pub misspelt: Vec<usize>,
}

/// Bytes of a value with its variables expanded.
const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// The beginning of a line with an assignment.
enum AssignmentStart {
    WithTheName,
    WithExport,
    /// `EXPORT`
    Misspelt,
    WithAnything,
}

/// Reads `text`. Values may name variables that the file assigned before or that `outside` knows.
pub(super) fn read(text: &str, outside: &dyn Fn(&str) -> Option<String>) -> ShellAssignments {
    let text = text.replace("\r\n", "\n");
    let mut found = ShellAssignments::default();
    let (mut at, mut line) = (0, 1);
    while at < text.len() {
        let end = text[at..].find('\n').map_or(text.len(), |n| at + n);
        let mut next = end + 1;
        if let Some((begins, name, from)) = assigned(&text[at..end]) {
            let rest = &text[at + from..];
            let lookup = |name: &str| found.values.get(name).cloned().or_else(|| outside(name));
            let read = match extent(rest) {
                Some(len) => {
                    next = at + from + len + 1;
                    match begins {
                        AssignmentStart::WithAnything => {
                            Err("only NAME=… and export NAME=… are read")
                        }
                        _ => value(&rest[..len], &lookup),
                    }
                }
                // The lines after it are checked one by one: a shell would read none of them.
                None => Err("a quote is never closed"),
            };
            match read {
                Ok(value) => {
                    if matches!(begins, AssignmentStart::Misspelt) {
                        found.misspelt.push(line);
                    }
                    found.values.insert(name.to_owned(), value);
                }
                Err(why) => found.left_out.push((line, why)),
            }
        }
        line += text[at..next.min(text.len())].matches('\n').count();
        at = next;
    }
    found
}

/// Returns the text before an assignment, the name that the line assigns to, and where in the line
/// its value begins.
fn assigned(line: &str) -> Option<(AssignmentStart, &str, usize)> {
    let (before, _) = line.split_once('=')?;
    let name = before.rsplit(char::is_whitespace).next()?;
    let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let begins = match before[..before.len() - name.len()].trim() {
        "" => AssignmentStart::WithTheName,
        "export" => AssignmentStart::WithExport,
        word if word.eq_ignore_ascii_case("export") => AssignmentStart::Misspelt,
        // In a comment, or in open quotes: it is not an assignment.
        words if words.contains('#') || extent(words).is_none() => return None,
        _ => AssignmentStart::WithAnything,
    };
    is_name.then_some((begins, name, before.len() + 1))
}

/// Returns the bytes up to the newline that ends what begins at `rest`: neither one in quotes nor
/// one after a backslash. None if a quote is not closed.
fn extent(rest: &str) -> Option<usize> {
    let (mut quote, mut blank) = (None, false);
    let mut bytes = rest.bytes().enumerate();
    while let Some((at, byte)) = bytes.next() {
        match (quote, byte) {
            (None, b'\n') => return Some(at),
            (None, b'#') if blank => {
                return Some(rest[at..].find('\n').map_or(rest.len(), |n| at + n));
            }
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), _) if byte == open => quote = None,
            (None | Some(b'"'), b'\\') => {
                bytes.next();
            }
            _ => {}
        }
        blank = byte.is_ascii_whitespace();
    }
    quote.is_none().then_some(rest.len())
}

/// Returns the value that `rest`, the text after `=`, has in the shell.
fn value(rest: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Result<String, &'static str> {
    let mut value = String::new();
    let mut letters = rest.chars().peekable();
    let mut quote = None;
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (None, '"' | '\'') => quote = Some(letter),
            (Some(open), _) if letter == open => quote = None,
            (Some('\''), _) => value.push(letter),
            (_, '`') => return Err("it runs a command, and the file is read, not run"),
            (_, '$') => variable(&mut letters, &mut value, lookup)?,
            // A backslash at the end of a line joins the next one.
            (_, '\\') if letters.next_if_eq(&'\n').is_some() => {}
            (Some(_), '\\') => {
                if !matches!(letters.peek(), Some('"' | '\\' | '$' | '`')) {
                    value.push('\\');
                } else if let Some(escaped) = letters.next() {
                    value.push(escaped);
                }
            }
            (None, '\\') => value.extend(letters.next()),
            (None, ';' | '&' | '|') => return Err("it does more than assign a value"),
            (None, c) if c.is_whitespace() => return nothing_more(letters, value),
            _ => value.push(letter),
        }
    }
    match quote {
        None => Ok(value),
        Some(_) => Err("a quote is never closed"),
    }
}

/// After the blank that ends an unquoted value only a comment may follow.
fn nothing_more(
    letters: std::iter::Peekable<std::str::Chars<'_>>,
    value: String,
) -> Result<String, &'static str> {
    let rest: String = letters.collect();
    match rest.trim_start().chars().next() {
        None | Some('#') => Ok(value),
        Some(_) => Err("it does more than assign a value"),
    }
}

fn variable(
    letters: &mut std::iter::Peekable<std::str::Chars<'_>>,
    value: &mut String,
    lookup: &dyn Fn(&str) -> Option<String>,
) -> Result<(), &'static str> {
    let word = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let mut name = String::new();
    match letters.peek() {
        Some('(') => return Err("it runs a command, and the file is read, not run"),
        Some('{') => {
            letters.next();
            loop {
                match letters.next() {
                    Some('}') => break,
                    Some(c) if word(&c) => name.push(c),
                    _ => return Err("only $NAME and ${NAME} are understood"),
                }
            }
        }
        Some(c) if word(c) => {
            while let Some(c) = letters.next_if(word) {
                name.push(c);
            }
        }
        _ => {
            value.push('$');
            return Ok(());
        }
    }
    value.push_str(&lookup(&name).unwrap_or_default());
    // Doubled on each of thirty lines a word would fill the memory.
    if value.len() > VALUE_BYTES_MAX {
        return Err("it has more than a mebibyte");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, name: &str, value: Option<&str>, left_out: &[usize]) {
        let outside = |name: &str| (name == "HOME").then(|| "/home/f".to_owned());
        let found = read(text, &outside);
        assert_eq!(found.values.get(name).map(String::as_str), value, "{text}");
        let lines: Vec<usize> = found.left_out.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, left_out, "{text}");
    }

    #[test]
    fn assignments_are_read_as_a_shell_reads_them() {
        check("export A=b", "A", Some("b"), &[]);
        check("A=b # c", "A", Some("b"), &[]);
        check("  export A=\"-Da=b -Dc=d\"", "A", Some("-Da=b -Dc=d"), &[]);
        check("export A='x $HOME'", "A", Some("x $HOME"), &[]);
        check("export A=\"$HOME/${HOME}\\\"\\$x$\"", "A", Some("/home/f//home/f\"$x$"), &[]);
        check("A=1\nA=\"$A 2\"", "A", Some("1 2"), &[]);
        check("export A=\"-Da=b \\\n-Dc=d\"", "A", Some("-Da=b -Dc=d"), &[]);
        check("A=$NOWHERE", "A", Some(""), &[]);
        check("# export A=b\nif true; then\nfi", "A", None, &[]);
    }

    #[test]
    fn what_would_have_to_be_run_is_left_out_and_named() {
        check("\nexport A=$(date)", "A", None, &[2]);
        check("export A=`date`", "A", None, &[1]);
        check("A=b; rm -rf /", "A", None, &[1]);
        check("A=b command", "A", None, &[1]);
        check("A=${B:-c}", "A", None, &[1]);
        check("A=\"b", "A", None, &[1]);
        check("declare -x A=\"b\nC=d\"\nif true; then A=b; fi", "A", None, &[1, 3]);
        check("[ \"$A\" = b ] # and then A=b\ncommand --option=x", "A", None, &[]);
        check("A=b\\", "A", Some("b"), &[]);
        check("echo \"started with A=x\"\nA=1\n# 5\" more", "A", Some("1"), &[]);
        check("echo 'with A=x'\nexport A=\"1\"", "A", Some("1"), &[]);
        check("echo \"it's\" A=\"x\ny\"\nA=1", "A", Some("1"), &[1]);
    }

    #[test]
    fn a_value_that_doubles_on_each_line_has_an_end() {
        let text = format!("A={}\n{}", "x".repeat(101), "A=$A$A\n".repeat(30));
        let found = read(&text, &|_| None);
        assert!(found.values["A"].len() <= VALUE_BYTES_MAX);
        let lines: Vec<usize> = found.left_out.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, (15..=31).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_guide_has_in_capitals_is_taken_and_named() {
        let found = read("B=1\nEXPORT A=\"-Da=b\n-Dc=d\"\n", &|_| None);
        assert_eq!(found.values.get("A").map(String::as_str), Some("-Da=b\n-Dc=d"));
        assert_eq!((found.left_out, found.misspelt), (vec![], vec![2]));
    }

    #[test]
    fn a_value_goes_on_to_the_end_of_its_quotes() {
        check("export A=\"-Da=b\n  -Dc=d\"\nB=1", "A", Some("-Da=b\n  -Dc=d"), &[]);
        check("export A=\"-Da=b\n  -Dc=d\"\nB=1", "B", Some("1"), &[]);
        check("A='x\\\ny'", "A", Some("x\\\ny"), &[]);
        check("A=\"b\nC=d\"", "C", None, &[]);
        check("A=b\\\nc\r\nB=1\r\n", "A", Some("bc"), &[]);
        check("A=b # it's\nB=1", "B", Some("1"), &[]);
        check("A=b#'c\nd'", "A", Some("b#c\nd"), &[]);
        // A comment ends with its line, whatever character ends the line.
        check("# see \\\nexport A=b", "A", Some("b"), &[]);
    }

    #[test]
    fn a_line_that_is_left_out_is_named_by_the_line_it_begins_on() {
        check("A=\"1\n2\"\nB=\"3\n$(date)\n4\"\nC=`date`", "A", Some("1\n2"), &[3, 6]);
        check("A=\"1\nB=2", "B", Some("2"), &[1]);
    }
}
