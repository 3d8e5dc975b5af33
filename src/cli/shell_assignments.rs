//! Reads the assignments of a shell file without running it: `export NAME="value"`.
//!
//! What needs a shell (command substitution, conditions) is not guessed: such a line is left out
//! and named.

use std::collections::BTreeMap;

/// What a file assigns, and warnings that name the lines that were left out.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Assignments {
    /// Variables and their values; the last assignment wins.
    pub values: BTreeMap<String, String>,
    /// Line, from 1, and why it was left out.
    pub left_out: Vec<(usize, &'static str)>,
}

/// Reads `text`. Values may name variables that the file assigned before or that `outside` knows.
pub(super) fn read(text: &str, outside: &dyn Fn(&str) -> Option<String>) -> Assignments {
    let mut found = Assignments::default();
    let mut lines = text.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        let mut logical = line.to_owned();
        // A backslash at the end joins the next line, as in the shell.
        while logical.ends_with('\\') {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next);
        }
        let line = logical.trim_start();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let Some((name, rest)) = line.split_once('=') else { continue };
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            continue;
        }
        let lookup = |name: &str| found.values.get(name).cloned().or_else(|| outside(name));
        match value(rest, &lookup) {
            Ok(value) => {
                found.values.insert(name.to_owned(), value);
            }
            Err(why) => found.left_out.push((index + 1, why)),
        }
    }
    found
}

/// The value that `rest`, what stands behind `=`, has in the shell.
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
        Some(_) => Err("a quote is not closed on its line"),
    }
}

/// Behind the blank that ends an unquoted value only a comment may follow.
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
        check("A=b\\", "A", Some("b"), &[]);
    }
}
