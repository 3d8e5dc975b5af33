//! Splits lines as Java's `BufferedReader` does.

use bytes::Bytes;

/// The unfinished line, of at most `bytes_max` bytes.
#[derive(Debug)]
pub(super) struct ExecLines {
    bytes_max: usize,
    pending: Vec<u8>,
    /// The last byte was `\r`: a following `\n` belongs to it.
    after_return: bool,
}

impl ExecLines {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes_max, pending: Vec::new(), after_return: false }
    }

    /// Takes `bytes` and appends the lines that they complete to `out`. Returns how often a line was split because it
    /// was too long.
    pub(super) fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<Bytes>) -> usize {
        let mut splits = 0;
        if std::mem::take(&mut self.after_return) {
            // Empty input does not mean the end: the caller has checked for it.
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while !bytes.is_empty() {
            let end = bytes.iter().position(|&b| matches!(b, b'\n' | b'\r'));
            let text = &bytes[..end.unwrap_or(bytes.len())];
            let room = self.bytes_max - self.pending.len();
            if text.len() > room {
                self.pending.extend_from_slice(&text[..room]);
                out.push(self.complete());
                bytes = &bytes[room..];
                splits += 1;
                continue;
            }
            self.pending.extend_from_slice(text);
            let Some(end) = end else { break };
            out.push(self.complete());
            let rest = &bytes[end + 1..];
            bytes = if bytes[end] == b'\n' {
                rest
            } else {
                self.after_return = rest.is_empty();
                rest.strip_prefix(b"\n").unwrap_or(rest)
            };
        }
        splits
    }

    /// Returns the last line when the output ends without a line end.
    pub(super) fn finish(&mut self) -> Option<Bytes> {
        (!self.pending.is_empty()).then(|| self.complete())
    }

    fn complete(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.pending))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(max: usize, pieces: &[&[u8]]) -> (Vec<Bytes>, usize) {
        let (mut lines, mut out) = (ExecLines::new(max), Vec::new());
        let splits = pieces.iter().map(|piece| lines.feed(piece, &mut out)).sum();
        out.extend(lines.finish());
        (out, splits)
    }

    #[test]
    fn every_kind_of_line_end_is_one() {
        let (lines, _) = cut(99, &[b"a\nb\r\nc\rd\n\ne"]);
        assert_eq!(lines, ["a", "b", "c", "d", "", "e"]);
        assert_eq!(cut(99, &[b"a\r", b"\nb"]).0, ["a", "b"]);
        assert_eq!(cut(99, &[b"a\r", b"b"]).0, ["a", "b"]);
        assert_eq!(cut(99, &[b"a\r\r\n"]).0, ["a", ""]);
        assert_eq!(cut(99, &[b"\xff\0\n"]).0, [&b"\xff\0"[..]]);
    }

    #[test]
    fn a_line_beyond_the_limit_becomes_several() {
        assert_eq!(
            cut(3, &[b"abcdefgh\nij"]),
            (vec!["abc".into(), "def".into(), "gh".into(), "ij".into()], 2)
        );
        assert_eq!(cut(3, &[b"abc\n"]), (vec!["abc".into()], 0));
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_bytes_arrive(
            text in "[ab\r\n]{0,40}", at in proptest::collection::vec(0usize..40, 0..5), max in 1usize..6,
        ) {
            let bytes = text.as_bytes();
            let mut at: Vec<usize> = at.into_iter().map(|a| a.min(bytes.len())).collect();
            at.sort_unstable();
            at.dedup();
            let mut pieces = Vec::new();
            let mut from = 0;
            for end in at.into_iter().chain([bytes.len()]) {
                if end > from {
                    pieces.push(&bytes[from..end]);
                }
                from = end;
            }
            prop_assert_eq!(cut(max, &pieces), cut(max, &[bytes]));
        }
    }
}
