//! Lists of names, and suggestions for misspelt names.

use std::collections::HashSet;

/// Longer words than this are not compared: the cost is the product of both lengths, and a suggestion is
/// unlikely.
const COMPARED_CHARS_MAX: usize = 128;

/// Returns the known word nearest to `word`, if it is near enough to be a typing error.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let lower = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
    let word = lower(word);
    if word.is_empty() || word.len() > COMPARED_CHARS_MAX {
        return None;
    }
    let near = (word.len() / 3).clamp(1, 3);
    known
        .into_iter()
        .filter(|candidate| candidate.len() <= COMPARED_CHARS_MAX * 4)
        .map(|candidate| (lower(candidate), candidate))
        .filter(|(letters, _)| letters.len().abs_diff(word.len()) <= near)
        .map(|(letters, candidate)| (distance(&word, &letters), candidate))
        .filter(|&(distance, _)| distance <= near)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// Returns `; did you mean NAME?`, or an empty text if no known word is near and no single one has the same
/// parts.
#[must_use]
pub fn did_you_mean<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let found = nearest(word, known.iter().copied()).or_else(|| of_its_parts(word, &known));
    found.map(|name| format!("; did you mean {name}?")).unwrap_or_default()
}

/// Returns the only known word that ends with `word`'s parts (`serializer`: `sink.serializer`) or has no others
/// (`search_and_replace`: `search_replace`).
fn of_its_parts<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    if word.is_empty() || word.len() > COMPARED_CHARS_MAX {
        return None;
    }
    let parts = |text: &str| -> Vec<String> {
        text.to_lowercase().split(['.', '_', '-']).map(str::to_owned).collect()
    };
    let written = parts(word);
    let fits = |candidate: &&&str| {
        let candidate = parts(candidate);
        candidate.ends_with(&written)
            || candidate.len() > 1 && candidate.iter().all(|part| written.contains(part))
    };
    let mut found = known.iter().filter(fits);
    let first = found.next().copied();
    first.filter(|first| found.all(|other| other == first))
}

/// Returns the distinct names of a list, in order. Blanks are Java's `\s`.
#[must_use]
pub fn split(list: &str) -> Vec<&str> {
    let mut seen = HashSet::new();
    let names = list.split(is_java_blank).filter(|name| !name.is_empty());
    names.filter(|name| seen.insert(*name)).collect()
}

/// Returns the names of a list, if it is one: a name that begins with `#` is the begin of a comment.
#[must_use]
pub fn legal_list(list: &str) -> Option<Vec<String>> {
    let names = split(list);
    let legal = !names.is_empty() && names.iter().all(|name| !name.starts_with('#'));
    legal.then(|| names.into_iter().map(str::to_owned).collect())
}

fn is_java_blank(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{0B}' | '\u{0C}' | '\r')
}

/// Returns the edit distance: letters to change, insert, remove or swap with their neighbour.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut row = Vec::with_capacity(to.len() + 1);
        row.push(i + 1);
        for (j, b) in to.iter().enumerate() {
            let mut least = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == to[j - 1] && from[i - 1] == *b {
                least = least.min(before_last[j - 1] + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_of_the_pen_find_their_name() {
        let known = ["netcat", "netcatudp", "exec", "capacity", "transactionCapacity"];
        for (word, name) in [
            ("netcta", "netcat"),
            ("NETCAT", "netcat"),
            ("capcity", "capacity"),
            ("transactioncapacity", "transactionCapacity"),
            ("transactionCapacty", "transactionCapacity"),
            ("exce", "exec"),
        ] {
            assert_eq!(nearest(word, known), Some(name), "{word}");
        }
        for word in ["", "kafka", "x", "spooldir", &"n".repeat(10_000)] {
            assert_eq!(nearest(word, known), None, "{word}");
        }
    }

    #[test]
    fn a_word_that_lacks_a_part_or_has_one_too_many_finds_its_name() {
        let known = [
            "sink.serializer",
            "sink.directory",
            "search_replace",
            "search_replace",
            "a.key",
            "b.key",
        ];
        for (word, name) in [
            ("serializer", "; did you mean sink.serializer?"),
            ("Search_And_Replace", "; did you mean search_replace?"),
            ("sink.the.directory", "; did you mean sink.directory?"),
            // Both are equally near.
            ("key", ""),
            ("", ""),
            ("kafka.topic", ""),
        ] {
            assert_eq!(did_you_mean(word, known), name, "{word}");
        }
    }

    #[test]
    fn a_list_has_each_name_once_and_no_comment() {
        assert_eq!(split(" r1\t r2  r1 "), ["r1", "r2"]);
        assert_eq!(legal_list("r1 r2"), Some(vec!["r1".to_owned(), "r2".to_owned()]));
        assert_eq!(legal_list("r1 # r2"), None);
        assert_eq!(legal_list(" "), None);
    }
}
