//! The source files, with everything blanked that is not code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// One source file, blanked. Blanks keep every line break, so line numbers stay.
pub(crate) struct Source {
    /// Path from the top of the project, with `/`.
    pub(crate) path: String,
    /// Without comments, strings and character literals, without items under `#[cfg(test)]`.
    pub(crate) code: String,
}

impl Source {
    /// Returns the source that `text` would be at `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let masked = without_tests(&without_comments_and_strings(text));
        Self { path: path.to_owned(), code: masked }
    }

    /// Returns the line, from 1, of byte `at`.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.code.as_bytes()[..at].iter().filter(|b| **b == b'\n').count() + 1
    }

    /// Returns path and line of byte `at`, for complaints.
    pub(crate) fn place(&self, at: usize) -> String {
        format!("{}:{}", self.path, self.line(at))
    }

    /// Returns the words of the code (identifiers, keywords, numbers), each with its byte position.
    pub(crate) fn words(&self) -> Vec<(usize, &str)> {
        let bytes = self.code.as_bytes();
        let (mut words, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let start = at;
            while at < bytes.len() && is_word(bytes[at]) {
                at += 1;
            }
            if at > start {
                words.push((start, &self.code[start..at]));
            } else {
                at += 1;
            }
        }
        words
    }

    /// Returns the first byte at or after `at` that is not a blank, with its position.
    pub(crate) fn next_visible(&self, at: usize) -> Option<(usize, u8)> {
        let bytes = self.code.as_bytes();
        (at..bytes.len()).map(|i| (i, bytes[i])).find(|(_, b)| !b.is_ascii_whitespace())
    }
}

/// Returns the top folder of the project.
pub(crate) fn top() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the text of a file of the project; panics with its name when it is missing.
pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(top().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Returns every Rust file below `folder`, whole, tests included, sorted.
pub(crate) fn all_files(folder: &str) -> Vec<(String, String)> {
    let mut paths = Vec::new();
    walk(&top().join(folder), "rs", &mut paths);
    paths
        .into_iter()
        .map(|path| {
            let relative = path.strip_prefix(top()).expect("below the top").to_owned();
            let relative = relative.to_string_lossy().replace('\\', "/");
            let text = read(&relative);
            (relative, text)
        })
        .collect()
}

/// The folders with the source of each crate of the workspace.
pub(crate) fn roots() -> Vec<String> {
    let crates = fs::read_dir(top().join("crates")).into_iter().flatten().flatten();
    let mut roots: Vec<String> =
        crates.map(|one| format!("crates/{}/src", one.file_name().to_string_lossy())).collect();
    roots.sort();
    roots.insert(0, "src".to_owned());
    roots
}

/// The source files of all crates without those that are tests as a whole (declared under
/// `#[cfg(test)]`).
pub(crate) fn production() -> Vec<Source> {
    let files: Vec<(String, String)> = roots().iter().flat_map(|root| all_files(root)).collect();
    let tests: BTreeSet<String> = files.iter().flat_map(|(p, t)| test_modules(p, t)).collect();
    let is_test = |path: &str| {
        tests.iter().any(|t| path == format!("{t}.rs") || path.starts_with(&format!("{t}/")))
    };
    let kept = files.iter().filter(|(path, _)| !is_test(path));
    let sources: Vec<Source> = kept.map(|(path, text)| Source::new(path, text)).collect();
    assert!(sources.len() > 5, "the source is where the rules look for it");
    sources
}

/// Finds every file below `folder` whose name ends in `.extension`, sorted.
pub(crate) fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let mut entries: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            // Build output of a package of its own is not source.
            if path.file_name().is_none_or(|name| name != "target") {
                walk(&path, extension, found);
            }
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
}

/// Returns the modules that `text` at `path` declares as `#[cfg(test)] mod name;`: their path
/// without `.rs`.
fn test_modules(path: &str, text: &str) -> Vec<String> {
    let code = without_comments_and_strings(text);
    let folder = match path.strip_suffix("/mod.rs") {
        Some(folder) => folder.to_owned(),
        None if path.ends_with("/lib.rs") || path.ends_with("/main.rs") => {
            path[..path.len() - "/lib.rs".len()].trim_end_matches('/').to_owned()
        }
        None => path.trim_end_matches(".rs").to_owned(),
    };
    let mut modules = Vec::new();
    for (at, _) in code.match_indices("#[cfg(test)]") {
        let rest = code[at + "#[cfg(test)]".len()..].trim_start();
        let rest = rest.strip_prefix("pub(crate)").unwrap_or(rest).trim_start();
        if let Some((name, _)) = rest.strip_prefix("mod ").and_then(|r| r.split_once(';')) {
            let name = name.trim();
            if name.bytes().all(is_word) {
                modules.push(format!("{folder}/{name}"));
            }
        }
    }
    modules
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Blanks comments, strings and character literals; keeps lengths and line breaks.
pub(crate) fn without_comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skip(bytes, at);
        match end {
            Some(end) => {
                blank(&mut out, at, end);
                at = end;
            }
            None => at += 1,
        }
    }
    // Bytes outside ASCII occur only in what was blanked; blank any other.
    out.iter_mut().filter(|b| !b.is_ascii()).for_each(|b| *b = b' ');
    String::from_utf8(out).expect("ASCII only")
}

/// Blanks code; keeps comments and strings, and line breaks. A `|` stands for code, so that no
/// phrase goes across it; the slashes of comments and the `\\` of a continued string are blank.
pub(crate) fn comments_and_strings(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let Some(end) = skip(bytes, at) else {
            if !bytes[at].is_ascii_whitespace() {
                out[at] = b'|';
            }
            at += 1;
            continue;
        };
        if bytes[at] == b'/' {
            let slashes = bytes[at..end].iter().take_while(|b| b"/*!".contains(b)).count();
            blank(&mut out, at, at + slashes);
        } else {
            out[at] = b'|';
            out[end - 1] = b'|';
            for i in (at..end - 1).filter(|i| bytes[*i..].starts_with(b"\\\n")) {
                out[i] = b' ';
            }
        }
        at = end;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn blank(out: &mut [u8], from: usize, to: usize) {
    out[from..to].iter_mut().filter(|b| **b != b'\n').for_each(|b| *b = b' ');
}

/// Returns the end of the comment, string or character literal that begins at `at`, if one does.
fn skip(bytes: &[u8], at: usize) -> Option<usize> {
    let rest = &bytes[at..];
    if rest.starts_with(b"//") {
        return Some(rest.iter().position(|b| *b == b'\n').map_or(bytes.len(), |n| at + n));
    }
    if rest.starts_with(b"/*") {
        return Some(block_comment_end(bytes, at));
    }
    if rest[0] == b'"' {
        return Some(string_end(bytes, at + 1));
    }
    let begins_word = at == 0 || !is_word(bytes[at - 1]);
    if begins_word && let Some(end) = raw_string_end(bytes, at) {
        return Some(end);
    }
    if rest[0] == b'\'' {
        return character_end(bytes, at);
    }
    None
}

fn block_comment_end(bytes: &[u8], mut at: usize) -> usize {
    let mut depth = 0usize;
    while at < bytes.len() {
        if bytes[at..].starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if bytes[at..].starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    at
}

fn string_end(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn raw_string_end(bytes: &[u8], at: usize) -> Option<usize> {
    let prefix = [&b"br"[..], b"cr", b"r"].into_iter().find(|p| bytes[at..].starts_with(p))?;
    let hashes_from = at + prefix.len();
    let hashes = bytes[hashes_from..].iter().take_while(|b| **b == b'#').count();
    if bytes.get(hashes_from + hashes) != Some(&b'"') {
        return None;
    }
    let mut close = vec![b'"'];
    close.resize(hashes + 1, b'#');
    let from = hashes_from + hashes + 1;
    let found = bytes[from..].windows(close.len()).position(|w| w == close);
    Some(found.map_or(bytes.len(), |n| from + n + close.len()))
}

/// Returns the end of a character literal; `None` for a lifetime.
fn character_end(bytes: &[u8], at: usize) -> Option<usize> {
    let first = *bytes.get(at + 1)?;
    if first == b'\\' {
        let close = bytes.get(at + 3..)?.iter().position(|b| *b == b'\'')?;
        return Some(at + 3 + close + 1);
    }
    let width = match first {
        0..=0x7f => 1,
        0xc0..=0xdf => 2,
        0xe0..=0xef => 3,
        _ => 4,
    };
    (bytes.get(at + 1 + width) == Some(&b'\'')).then_some(at + 2 + width)
}

/// Blanks every item under `#[cfg(test)]` or `#[test]`.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for mark in ["#[cfg(test)]", "#[cfg(all(test", "#[test]"] {
        for (at, _) in code.match_indices(mark) {
            let end = item_end(code.as_bytes(), at);
            blank(&mut out, at, end);
        }
    }
    String::from_utf8(out).expect("ASCII only")
}

/// Returns the end of the item that begins at `at`: its `;`, or the brace that closes its first one.
pub(crate) fn item_end(bytes: &[u8], at: usize) -> usize {
    let (mut round, mut curly) = (0usize, 0usize);
    for (i, byte) in bytes.iter().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => round += 1,
            b')' | b']' => round = round.saturating_sub(1),
            b'{' => curly += 1,
            b'}' => {
                curly = curly.saturating_sub(1);
                if curly == 0 && round == 0 {
                    return i + 1;
                }
            }
            b';' if curly == 0 && round == 0 => return i + 1,
            _ => {}
        }
    }
    bytes.len()
}

#[test]
fn comments_strings_and_characters_are_blank() {
    let text = concat!(
        "a // b\n/* c /* d */ e */ f \"g \\\" h\" i r#\"j \" k\"# l b\"m\" 'n' '\\'' '\\u{1F}' 'ü' ",
        "fn o<'p>(q: &'p r) {}"
    );
    let code = without_comments_and_strings(text);
    let source = Source { path: String::new(), code };
    let words: Vec<&str> = source.words().into_iter().map(|(_, w)| w).collect();
    assert_eq!(words, ["a", "f", "i", "l", "b", "fn", "o", "p", "q", "p", "r"]);
    assert_eq!(source.code.len(), text.len());
}

#[test]
fn tests_are_blank_and_what_follows_is_not() {
    let text = "fn a() {}\n#[cfg(test)]\n#[allow(x)]\nmod tests { fn b() { c[0]; } }\nfn d() {}\n\
                #[cfg(test)]\nuse e;\nfn f() {}";
    let code = Source::new("src/a.rs", text).code;
    assert!(code.contains("fn a") && code.contains("fn d") && code.contains("fn f"));
    assert!(!code.contains("fn b") && !code.contains("use e"));
}

#[test]
fn files_that_are_tests_as_a_whole_are_known() {
    let text = "#[cfg(test)]\nmod tests;\nmod real;\n#[cfg(test)] mod inline { fn a() {} }";
    assert_eq!(test_modules("src/disk/mod.rs", text), ["src/disk/tests"]);
    assert_eq!(test_modules("crates/sim/src/disk.rs", text), ["crates/sim/src/disk/tests"]);
    assert_eq!(test_modules("src/lib.rs", text), ["src/tests"]);
}
