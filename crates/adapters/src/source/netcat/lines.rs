//! Splits what a connection sends into lines.

use bytes::Bytes;
use memchr::memchr;
use millpond_flow::wire::charset::Charset;

/// The reason why no further line can be read from a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LineError {
    /// The line is longer than allowed.
    TooLong,
    /// Bytes that are not text of the source's encoding.
    NoText,
}

/// The unfinished line. Holds at most the bytes of the longest legal line and one read.
#[derive(Debug)]
pub struct LineFramer {
    charset: Charset,
    units_max: usize,
    pending: Vec<u8>,
    /// Lower bound of the UTF-16 units of `pending`.
    units: usize,
    /// Bytes of `pending` already validated: validating the whole line after each small read would take quadratic
    /// time.
    legal: usize,
}

impl LineFramer {
    /// Creates a framer for UTF-8; no line has more than `units_max` UTF-16 units, its newline included.
    #[must_use]
    pub fn utf8(units_max: usize) -> Self {
        Self::new(Charset::Utf8, units_max)
    }

    pub(super) fn new(charset: Charset, units_max: usize) -> Self {
        Self { charset, units_max, pending: Vec::new(), units: 0, legal: 0 }
    }

    /// Returns the bytes of the unfinished line.
    pub(super) fn pending_bytes(&self) -> usize {
        self.pending.len()
    }

    /// Takes the bytes of one read and appends the lines that they complete to `out`, in UTF-8 and without newlines.
    ///
    /// # Errors
    /// The reason to end the connection; the lines before it are in `out`.
    pub fn feed(&mut self, read: &[u8], out: &mut Vec<Bytes>) -> Result<(), LineError> {
        let mut rest = read;
        while !rest.is_empty() {
            let end = memchr(b'\n', rest);
            let (text, ended) = (&rest[..end.unwrap_or(rest.len())], end.is_some());
            rest = end.map_or(&[], |end| &rest[end + 1..]);
            self.units = self.units_with(text);
            // The newline counts, even if it has not come yet.
            if self.units >= self.units_max {
                return Err(LineError::TooLong);
            }
            if !ended {
                self.pending.extend_from_slice(text);
            } else if self.pending.is_empty() {
                out.push(self.decode(text)?);
                self.units = 0;
            } else {
                self.pending.extend_from_slice(text);
                out.push(self.decode_pending()?);
            }
        }
        let looked_at = &self.pending[self.legal..];
        self.legal += self.charset.legal_bytes(looked_at).ok_or(LineError::NoText)?;
        Ok(())
    }

    /// Returns the last line when the stream ends without a newline, if there is one.
    ///
    /// # Errors
    /// The line is not text.
    pub(super) fn finish(&mut self) -> Result<Option<Bytes>, LineError> {
        if self.pending.is_empty() { Ok(None) } else { self.decode_pending().map(Some) }
    }

    fn decode_pending(&mut self) -> Result<Bytes, LineError> {
        (self.units, self.legal) = (0, 0);
        let line = self.decode(&self.pending);
        // The memory of a long line is not kept for the short lines after it.
        self.pending = Vec::new();
        line
    }

    fn decode(&self, line: &[u8]) -> Result<Bytes, LineError> {
        let text = self.charset.to_utf8(line).ok_or(LineError::NoText)?;
        if matches!(self.charset, Charset::Other(_)) && utf8_units(&text) >= self.units_max {
            return Err(LineError::TooLong);
        }
        Ok(text)
    }

    /// Returns the UTF-16 units of the line so far followed by `text`; a lower bound for encodings that are counted
    /// only in the whole line.
    fn units_with(&self, text: &[u8]) -> usize {
        match self.charset {
            Charset::Utf8 => self.units + utf8_units(text),
            Charset::Ascii | Charset::Latin1 => self.units + text.len(),
            // Computed over all bytes: the parts of small reads would each be rounded down.
            Charset::Other(_) => (self.pending.len() + text.len()) / 4,
        }
    }
}

/// Returns the UTF-16 units of UTF-8 text: one for each lead byte, two for those of four bytes.
fn utf8_units(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.len();
    }
    bytes.iter().map(|&byte| usize::from(byte & 0xC0 != 0x80) + usize::from(byte >= 0xF0)).sum()
}

/// Entry of the fuzzer: the first bytes choose the encoding, the line limit and the read size; the rest is what a
/// client sends.
///
/// # Panics
/// A line contains a newline, more bytes are held than allowed, or UTF-8 is altered.
#[cfg(any(test, feature = "testing"))]
pub fn fuzz(bytes: &[u8]) {
    let Some((&[charset, units_max, read], sent)) = bytes.split_first_chunk() else { return };
    let names = ["utf-8", "us-ascii", "iso-8859-1", "GBK", "Shift_JIS", "EUC-KR"];
    let name = names[usize::from(charset) % names.len()];
    let charset = Charset::named(name).expect("the table has these");
    let (units_max, read) = (1 + usize::from(units_max), 1 + usize::from(read));
    let (mut lines, mut out) = (LineFramer::new(charset, units_max), Vec::new());
    let mut end = Ok(());
    for read in sent.chunks(read) {
        end = lines.feed(read, &mut out);
        assert!(lines.pending_bytes() <= 4 * units_max + read.len(), "a line and one read");
        assert!(end.is_err() || lines.pending_bytes() - lines.legal <= 3, "looked at once");
        if end.is_err() {
            break;
        }
    }
    let last = end.and_then(|()| lines.finish());
    assert!(out.iter().all(|line| !line.contains(&b'\n')), "a newline ends a line");
    let text: Vec<&[u8]> = out
        .iter()
        .map(|line| &line[..])
        .chain(last.iter().flatten().map(|line| &line[..]))
        .collect();
    assert!(text.iter().all(|line| std::str::from_utf8(line).is_ok()), "bodies are UTF-8");
    if let (Charset::Utf8, Ok(last)) = (charset, &last) {
        let mut joined = text.join(&b'\n');
        joined.extend((last.is_none() && !out.is_empty()).then_some(b'\n'));
        assert_eq!(joined, sent, "every byte went through");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn cut(max: usize, reads: &[&[u8]]) -> (Vec<Bytes>, Result<Option<Bytes>, LineError>) {
        let (mut lines, mut out) = (LineFramer::new(Charset::Utf8, max), Vec::new());
        for read in reads {
            if let Err(end) = lines.feed(read, &mut out) {
                return (out, Err(end));
            }
        }
        let last = lines.finish();
        (out, last)
    }

    #[test]
    fn the_newline_counts_as_a_character_of_the_line() {
        assert_eq!(cut(4, &[b"abc\n"]), (vec![Bytes::from("abc")], Ok(None)));
        assert_eq!(cut(4, &[b"abcd\n"]), (vec![], Err(LineError::TooLong)));
        assert_eq!(cut(4, &[b"abcd"]), (vec![], Err(LineError::TooLong)));
        assert_eq!(cut(4, &["日志é\n".as_bytes()]).0.len(), 1);
        // Two units: outside the basic plane.
        assert_eq!(cut(4, &["😀😀\n".as_bytes()]), (vec![], Err(LineError::TooLong)));
    }

    #[test]
    fn lines_before_a_bad_one_are_still_there() {
        let (out, end) = cut(4, &[b"a\nb\nlonger\nc\n"]);
        assert_eq!((out, end), (vec![Bytes::from("a"), Bytes::from("b")], Err(LineError::TooLong)));
        let (out, end) = cut(9, &[b"a\n\xff\nc\n"]);
        assert_eq!((out, end), (vec![Bytes::from("a")], Err(LineError::NoText)));
        assert_eq!(cut(9, &[b"a\xff"]).1, Err(LineError::NoText));
    }

    #[test]
    fn wide_encodings_are_measured_when_the_line_is_whole() {
        let gbk = Charset::named("GBK").unwrap();
        let (mut lines, mut out) = (LineFramer::new(gbk, 3), Vec::new());
        assert_eq!(lines.feed(b"\xc8\xd5\xd6\xbe\n", &mut out), Ok(()));
        assert_eq!(lines.feed(b"\xc8\xd5\xd6\xbea\n", &mut out), Err(LineError::TooLong));
        assert_eq!(out, ["日志"]);
        let (mut lines, mut out) = (LineFramer::new(gbk, 3), Vec::new());
        assert_eq!(lines.feed(&[b'a'; 12], &mut out), Err(LineError::TooLong));
    }

    #[test]
    fn an_endless_line_is_too_long_at_any_read_size() {
        for name in ["utf-8", "us-ascii", "iso-8859-1", "GBK"] {
            let (mut lines, mut out) =
                (LineFramer::new(Charset::named(name).unwrap(), 30), Vec::new());
            let fed = (0..1000).take_while(|_| lines.feed(b"a", &mut out).is_ok()).count();
            assert!(fed <= 4 * 30, "{name}: {fed} bytes");
        }
    }

    proptest! {
        #[test]
        fn lines_do_not_depend_on_how_the_bytes_arrive(
            text in "[aé日😀\n]{0,60}", cuts in proptest::collection::vec(0usize..200, 0..6),
        ) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.sort_unstable();
            let mut reads = Vec::new();
            let mut from = 0;
            for at in cuts.into_iter().chain([bytes.len()]) {
                reads.push(&bytes[from..at]);
                from = at;
            }
            prop_assert_eq!(cut(1000, &reads), cut(1000, &[bytes]));
            let (out, last) = cut(1000, &reads);
            let joined: Vec<u8> = out.iter().flat_map(|l| [&l[..], b"\n"].concat())
                .chain(last.unwrap().unwrap_or_default()).collect();
            prop_assert_eq!(&joined[..], bytes);
        }
    }
}
