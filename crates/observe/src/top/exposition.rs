//! A parser of Prometheus' text format, line by line.

use std::borrow::Cow;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ExposedSample<'a> {
    pub(super) name: &'a str,
    pub(super) labels: Vec<(&'a str, Cow<'a, str>)>,
    pub(super) value: f64,
}

impl ExposedSample<'_> {
    /// Returns the value of the label `name`.
    pub(super) fn label(&self, name: &str) -> Option<&str> {
        self.labels.iter().find(|(label, _)| *label == name).map(|(_, value)| &**value)
    }
}

/// Returns the samples of a page. Other lines are skipped: a later version may have new ones.
pub(super) fn samples(page: &str) -> impl Iterator<Item = ExposedSample<'_>> {
    page.lines().filter(|line| !line.starts_with('#')).filter_map(sample)
}

fn sample(line: &str) -> Option<ExposedSample<'_>> {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':')?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => labels(inside)?,
        None => (Vec::new(), rest),
    };
    let value = rest.split_ascii_whitespace().next()?.parse().ok()?;
    (!name.is_empty()).then_some(ExposedSample { name, labels, value })
}

type Labels<'a> = Vec<(&'a str, Cow<'a, str>)>;

/// Returns the labels, and the text after their brace.
fn labels(mut rest: &str) -> Option<(Labels<'_>, &str)> {
    let mut labels = Vec::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(behind) = rest.strip_prefix('}') {
            return Some((labels, behind));
        }
        let (name, quoted) = rest.split_once("=\"")?;
        let end = closing_quote(quoted)?;
        labels.push((name.trim(), unescaped(&quoted[..end])));
        rest = &quoted[end + 1..];
    }
}

fn closing_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.bytes().position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    })
}

fn unescaped(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, true) => match letters.next() {
                Some('n') => out.push('\n'),
                Some(other) => out.push(other),
                None => out.push('\\'),
            },
            (letter, false) => out.push(letter),
        }
    }
    Cow::Owned(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_and_labels_are_read_with_their_escapes() {
        let page = "# HELP a b\n# TYPE a gauge\na 1\n\
                    b_total{x=\"1\",y=\"q\\\"\\\\\\n{}, =\"} 2.5 1700000000\n\
                    c{le=\"+Inf\",} +Inf\nd NaN\n";
        let all: Vec<ExposedSample<'_>> = samples(page).collect();
        assert_eq!(all.len(), 4);
        assert_eq!((all[0].name, all[0].value), ("a", 1.0));
        assert_eq!((all[1].label("x"), all[1].value), (Some("1"), 2.5));
        assert_eq!(all[1].label("y"), Some("q\"\\\n{}, ="));
        assert_eq!((all[2].label("le"), all[2].value), (Some("+Inf"), f64::INFINITY));
        assert!(all[3].value.is_nan());
    }

    #[test]
    fn what_is_no_sample_is_passed_over() {
        for line in [
            "",
            "a",
            "a{",
            "a{x",
            "a{x=\"",
            "a{x=\"1\"",
            "a{x=\"\\\"} 1",
            "{x=\"1\"} 1",
            "a b",
            "ä 1",
            "<html>",
        ] {
            assert_eq!(samples(line).next(), None, "{line}");
        }
    }
}
