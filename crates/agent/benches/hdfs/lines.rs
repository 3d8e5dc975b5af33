//! The events: lines as a web server logs them, each with its number.

use std::fmt::Write;

/// Begins each line; the number follows.
const HEAD: &[u8] = b"line ";
/// Digits of the number.
const DIGITS: usize = 9;

/// Returns the line with that number, `bytes` long, without a newline. Half of it are random digits and words, so that
/// it is compressed as logs are.
pub(crate) fn line(number: u64, bytes: usize) -> String {
    const WORDS: [&str; 8] = ["GET", "/index", "200", "Mozilla/5.0", "gzip", "user", "-", "en-US"];
    let mut line = format!("line {number:09} ");
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while line.len() < bytes {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let word = WORDS[usize::try_from(state & 7).unwrap_or_default()];
        write!(line, "{word} {:06x} ", (state >> 8) & 0xff_ffff).unwrap();
    }
    line.truncate(bytes);
    line
}

/// Marks in `seen` the numbers of the lines in `data`; returns how many lines there are.
pub(crate) fn note(data: &[u8], seen: &mut [bool]) -> Result<u64, String> {
    let mut lines = 0;
    for at in memchr::memmem::find_iter(data, HEAD) {
        let digits = data.get(at + HEAD.len()..at + HEAD.len() + DIGITS);
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let number: usize = number.ok_or("a line is cut")?;
        *seen.get_mut(number).ok_or("a line that was never sent")? = true;
        lines += 1;
    }
    Ok(lines)
}
