//! The prose of comments, strings and documents: plain technical English without riddles.
//!
//! A phrase of [`BANNED`] makes a sentence hard to read for people who do not know this project. The
//! table says what to write instead.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::names::parts;
use crate::nothing_to_complain_about;
use crate::source;

const TEST_NAME_MAX: usize = 75;

/// Phrases that are not used, each with what to use instead.
const BANNED: &[(&str, &str)] = &[
    ("behind", "after, below, through"),
    ("beside", "next to, in addition to, while"),
    ("is told", "is notified, is configured"),
    ("are told", "are notified, are configured"),
    ("told to go", "closed, removed"),
    ("answers whether", "returns whether"),
    ("answers how", "returns how"),
    ("answers what", "returns what"),
    ("answers the", "returns the, replies with the"),
    ("answers nothing", "returns nothing"),
    ("answers true", "returns true"),
    ("answers false", "returns false"),
    ("and answers", "and returns, and replies"),
    ("is no", "is not a"),
    ("are no", "are not"),
    ("be had", "be obtained, be opened, be read"),
    ("that one.", "the name of the thing"),
    ("that one,", "the name of the thing"),
    ("that one;", "the name of the thing"),
    ("that one:", "the name of the thing"),
    ("that one is", "the name of the thing"),
    ("that one has", "the name of the thing"),
    ("that one was", "the name of the thing"),
    ("whoever", "the caller, the client, a task that"),
    ("somebody", "the caller, a client, a task"),
    ("nobody", "no caller, no client, no task; or the passive"),
    ("gives way", "is evicted, is closed to make room"),
    ("give way", "be evicted, be closed to make room"),
    ("the house", "the project"),
    ("mean well", "legitimate"),
    ("means well", "legitimate"),
    ("mean no good", "hostile"),
    ("means no good", "hostile"),
    ("a moment ago", "just now, or the event before"),
    ("of late", "recently"),
    ("whether it would else", "whether it would otherwise"),
];

/// Uses of a banned phrase that are plain English, each with the reason.
const ALLOWED: &[(&str, &str)] = &[
    ("behind a proxy", "the field's word"),
    ("behind a load balancer", "the field's word"),
    ("behind a balancer", "the field's word"),
    ("behind nat", "the field's word"),
    ("behind the feature", "Cargo's word"),
    ("behind the trait", "Rust's word"),
    ("behind the same trait", "Rust's word"),
    ("is behind put", "lag"),
    ("fall behind", "lag"),
    ("falls behind", "lag"),
    ("fell behind", "lag"),
    ("lags behind", "lag"),
    ("leave behind", "remains of something"),
    ("leaves behind", "remains of something"),
    ("left behind", "remains of something"),
    ("leaves nothing behind", "remains of something"),
    ("there is no", "existence"),
    ("there are no", "existence"),
    ("is no longer", "time"),
    ("are no longer", "time"),
    ("is no more than", "comparison"),
    ("is no less than", "comparison"),
    ("so that one is", "a conjunction and a numeral"),
    ("so that one has", "a conjunction and a numeral"),
    ("so that one was", "a conjunction and a numeral"),
    ("the house tests", "their name"),
];

/// Words with which no sentence begins, and what to use instead.
const BANNED_FIRST_WORDS: &[(&str, &str)] = &[("answers", "returns")];

/// Words with which the first sentence of a doc comment does not begin, and what to use instead.
const BANNED_BEGINNINGS: &[(&str, &str)] = &[("the same", "the noun, or `as [`name`] does`")];

/// Words that no name in the code has: they say nothing of the client, task or caller that is meant.
const BANNED_IN_NAMES: &[&str] =
    &["nobody", "nobodys", "somebody", "somebodys", "anybody", "everybody", "whoever"];

/// A place in a text and what is wrong there.
struct Complaint {
    line: usize,
    words: String,
}

/// Lowercase text with single spaces, and the line of each byte.
struct Flat {
    text: String,
    lines: Vec<usize>,
}

impl Flat {
    fn new(text: &str) -> Self {
        let mut flat = Self { text: String::new(), lines: Vec::new() };
        let mut line = 1;
        for letter in text.chars() {
            line += usize::from(letter == '\n');
            if !letter.is_whitespace() {
                flat.text.push(letter.to_ascii_lowercase());
            } else if !flat.text.ends_with(' ') {
                flat.text.push(' ');
            }
            flat.lines.resize(flat.text.len(), line);
        }
        flat
    }

    /// Byte position and text of each word.
    fn words(&self) -> Vec<(usize, &str)> {
        let is_end = |letter: char| !letter.is_ascii_alphanumeric() && letter != '_';
        let words = self.text.split(is_end).filter(|word| !word.is_empty());
        words.map(|word| (word.as_ptr() as usize - self.text.as_ptr() as usize, word)).collect()
    }

    /// Whether `phrase` is at `at`, and its last word ends there.
    fn has(&self, at: usize, phrase: &str) -> bool {
        let rest = self.text[at..].strip_prefix(phrase);
        rest.is_some_and(|rest| !rest.bytes().next().is_some_and(source::is_word))
    }

    /// Whether a sentence begins at `at`.
    fn begins(&self, at: usize) -> bool {
        let before = self.text[..at].trim_end();
        before.is_empty() || before.ends_with(['.', '|', ':'])
    }

    /// Whether the `len` bytes at `at` are a name in backquotes or braces, or a whole string.
    fn is_name(&self, at: usize, len: usize) -> bool {
        self.text[..at].ends_with(['{', '`', '|'])
            && self.text[at + len..].starts_with(['}', '`', '|'])
    }

    fn is_allowed(&self, at: usize) -> bool {
        ALLOWED.iter().any(|(allowed, _)| {
            let offsets = (0..allowed.len()).filter(|offset| *offset <= at);
            offsets
                .map(|offset| at - offset)
                .any(|from| self.text.is_char_boundary(from) && self.has(from, allowed))
        })
    }
}

fn in_prose(text: &str) -> Vec<Complaint> {
    let flat = Flat::new(text);
    let mut complaints = Vec::new();
    let mut complain = |at: usize, phrase: &str, instead: &str| {
        let words = format!("`{phrase}`: use {instead}");
        complaints.push(Complaint { line: flat.lines[at], words });
    };
    let mut first_words = BTreeMap::<&str, Vec<&(&str, &str)>>::new();
    for banned in BANNED {
        let first = banned.0.split(' ').next().unwrap_or_default();
        first_words.entry(first).or_default().push(banned);
    }
    for (at, word) in flat.words() {
        let begins = |(first, _): &&(&str, &str)| word == *first && flat.begins(at);
        if let Some((first, instead)) = BANNED_FIRST_WORDS.iter().find(begins)
            && !flat.is_name(at, word.len())
        {
            complain(at, first, instead);
            continue;
        }
        for (phrase, instead) in first_words.get(word).into_iter().flatten() {
            let is_banned = flat.has(at, phrase) && !flat.is_name(at, phrase.len());
            if is_banned && !flat.is_allowed(at) {
                complain(at, phrase, instead);
            }
        }
    }
    complaints
}

/// Complaints about the first words of doc comments.
fn beginnings(text: &str) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut before = "";
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        let doc = |line: &str| line.starts_with("///") || line.starts_with("//!");
        if doc(line) && !doc(before) {
            let words = line[3..].trim().to_ascii_lowercase();
            for (banned, instead) in BANNED_BEGINNINGS {
                if words == *banned || words.starts_with(&format!("{banned} ")) {
                    let words = format!("a doc begins with `{banned}`: use {instead}");
                    complaints.push(Complaint { line: at + 1, words });
                }
            }
        }
        before = line;
    }
    complaints
}

/// Names of functions that are too long, and the number of their characters.
fn long_names(text: &str) -> Vec<Complaint> {
    let code = source::without_comments_and_strings(text);
    let mut complaints = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let name = code[at + 3..].bytes().take_while(|b| source::is_word(*b)).count();
        if name > TEST_NAME_MAX {
            let line = code[..at].matches('\n').count() + 1;
            let words = format!("a name of {name} characters of {TEST_NAME_MAX}");
            complaints.push(Complaint { line, words });
        }
    }
    complaints
}

/// Names with a word of [`BANNED_IN_NAMES`].
fn vague_names(text: &str) -> Vec<Complaint> {
    let code = source::without_comments_and_strings(text);
    let mut complaints = Vec::new();
    for (at, line) in code.lines().enumerate() {
        for name in line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
            if parts(name).iter().any(|part| BANNED_IN_NAMES.contains(&part.as_str())) {
                complaints.push(Complaint { line: at + 1, words: format!("the name `{name}`") });
            }
        }
    }
    complaints
}

fn in_rust(text: &str) -> Vec<Complaint> {
    let mut complaints = in_prose(&source::comments_and_strings(text));
    complaints.extend(beginnings(text));
    complaints
}

/// The text of a document without its blocks of code.
fn without_code(markdown: &str) -> String {
    let mut is_code = false;
    let mut text = String::new();
    for line in markdown.lines() {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        text.push_str(if is_code || is_fence { "|" } else { line });
        text.push('\n');
    }
    text
}

/// All texts with prose: their paths, and their complaints.
fn all_prose() -> Vec<(String, Vec<Complaint>)> {
    let mut all = Vec::new();
    for folder in ["src", "crates", "tests", "benches", "fuzz"] {
        for (path, text) in source::all_files(folder) {
            // This file has to name the phrases.
            if path != file!() && !path.ends_with("tests/house/prose.rs") {
                all.push((path, in_rust(&text)));
            }
        }
    }
    let mut documents: Vec<PathBuf> = vec!["README.md".into(), "DESIGN.md".into()];
    source::walk(&source::top().join("docs"), "md", &mut documents);
    for document in documents {
        let path = document.strip_prefix(source::top()).unwrap_or(&document);
        let path = path.to_string_lossy().replace('\\', "/");
        let complaints = in_prose(&without_code(&source::read(&path)));
        all.push((path, complaints));
    }
    all
}

#[test]
fn prose_has_no_banned_phrase() {
    let all = all_prose();
    assert!(all.len() > 500, "the files are where the rule looks for them");
    let mut complaints = Vec::new();
    for (path, of_file) in all {
        complaints.extend(of_file.iter().map(|c| format!("{path}:{}: {}", c.line, c.words)));
    }
    nothing_to_complain_about("a phrase that is not plain English", &complaints);
}

#[test]
fn names_are_short_and_say_what_is_meant() {
    let mut all = Vec::new();
    for folder in ["src", "crates", "tests", "benches", "fuzz"] {
        for (path, text) in source::all_files(folder) {
            let names = long_names(&text).into_iter().chain(vague_names(&text));
            all.extend(names.map(|c| format!("{path}:{}: {}", c.line, c.words)));
        }
    }
    nothing_to_complain_about("a name says what must hold, not the story", &all);
}

#[test]
fn a_banned_phrase_is_found_in_comments_strings_and_documents() {
    for (text, line) in [
        ("// The part behind the header.", 1),
        ("fn f() {}\n/// A task that is\n    /// told of it.\nfn g() {}", 2),
        ("fn f() { g(\"this is \\\n    no pattern\"); }", 1),
        ("fn f() {\n    g(r#\"nobody listens\"#) }", 2),
        ("/* Whoever */ fn f() {}", 1),
        ("/// Looks. Answers whether it is there.\nfn f() {}", 1),
        ("/// The same without a lock.\nfn f() {}", 1),
        ("fn f() {} // A client that gives way.", 1),
        ("//! Of two, this one or that one.", 1),
    ] {
        let found = in_rust(text);
        assert_eq!(found.len(), 1, "{text}");
        assert_eq!(found[0].line, line, "{text}");
    }
    for text in [
        "fn f() { let behind = is_no.answers(); }",
        "// A source behind a proxy; a taker that falls\n// behind. There is no other.",
        "// It is no longer there, so that one is whole. Of that one kind.",
        "fn is_told() {} // That is.\nfn f() { told(\"one\"); }",
        "fn f() { g(\"beside\", \"{behind} is `nobody`\"); }",
        "/// A count.\n///\n/// The same holds for bytes.\nfn f() {}",
    ] {
        let found: Vec<_> = in_rust(text).into_iter().map(|c| c.words).collect();
        assert!(found.is_empty(), "{text}: {found:?}");
    }
    assert_eq!(in_prose(&without_code("a\n```\nbehind\n```\nit is\nbehind")).len(), 1);
}

#[test]
fn a_long_name_is_found() {
    let name = |len: usize| format!("#[test]\nfn {}() {{}}", "n".repeat(len));
    assert!(long_names(&name(75)).is_empty());
    assert_eq!(long_names(&name(76)).len(), 1);
    assert!(long_names(&format!("// {}", name(76).replace('\n', " "))).is_empty());
}

#[test]
fn a_vague_name_is_found() {
    assert_eq!(vague_names("fn f() {}\nfn held_by_nobody() { LetsNobodyIn; }").len(), 2);
    assert_eq!(vague_names("fn f() {}\nfn held_by_nobody() {}")[0].line, 2);
    assert!(vague_names("// fn nobody() {}\nfn any_body_of() { \"nobody\"; }").is_empty());
}

#[test]
fn every_phrase_is_lowercase_and_every_allowed_one_has_a_banned_one() {
    let is_lower = |text: &str| text == text.to_ascii_lowercase();
    assert!(BANNED.iter().chain(ALLOWED).all(|(phrase, _)| is_lower(phrase)));
    for (allowed, _) in ALLOWED {
        let flat = Flat::new(allowed);
        let has = BANNED
            .iter()
            .any(|(phrase, _)| flat.words().iter().any(|(at, _)| flat.has(*at, phrase)));
        assert!(has, "`{allowed}` allows nothing");
    }
}
