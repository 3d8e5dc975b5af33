//! Text in any of Java's usual encodings, character by character.
//!
//! A file is read in pieces, and a piece may end within a character; so the decoder returns the first character
//! of some bytes with its length.

use millpond_flow::wire::charset::Charset;

/// An encoding of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextEncoding {
    /// An extension of ASCII.
    Narrow(Charset),
    /// Units of `width` bytes, 2 or 4: UTF-16 or UTF-32.
    Wide {
        /// Bytes of a unit.
        width: usize,
        /// The byte order of a unit; `None` if the first unit of the file states it.
        big: Option<bool>,
    },
}

/// The result of decoding the front of some bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstCharacter {
    /// A character and its length in bytes.
    Char(char, usize),
    /// This many invalid bytes.
    Bad(usize),
    /// More bytes are needed.
    More,
}

/// Most bytes of one character, in any of the encodings.
pub(crate) const CHAR_BYTES_MAX: usize = 4;

impl TextEncoding {
    /// Text of a message about a name that [`TextEncoding::named`] does not know.
    pub(crate) const LEGAL: &str = "an encoding that is known here, such as UTF-8, UTF-16, \
        UTF-16LE, UTF-32, US-ASCII, ISO-8859-1, windows-1252, GBK, GB18030, Big5, Shift_JIS or EUC-JP";

    /// Returns the encoding with this name or alias, ignoring case.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let wide = |width, big| Some(Self::Wide { width, big });
        match name.to_ascii_uppercase().as_str() {
            "UTF-16" | "UTF16" | "UTF_16" | "UNICODE" => wide(2, None),
            "UTF-16BE" | "UTF_16BE" | "UNICODEBIGUNMARKED" => wide(2, Some(true)),
            "UTF-16LE" | "UTF_16LE" | "UNICODELITTLEUNMARKED" => wide(2, Some(false)),
            "UTF-32" | "UTF32" | "UTF_32" => wide(4, None),
            "UTF-32BE" | "UTF_32BE" => wide(4, Some(true)),
            "UTF-32LE" | "UTF_32LE" => wide(4, Some(false)),
            _ => Charset::named(name).map(Self::Narrow),
        }
    }

    /// Returns the encoding of a file that begins with `start`, and the length of its byte order mark.
    pub(crate) fn of_file(self, start: &[u8]) -> (Self, usize) {
        let Self::Wide { width, big: None } = self else { return (self, 0) };
        let marked = |big| match start.get(..width) {
            Some(unit) => number(unit, big) == 0xFEFF,
            None => false,
        };
        let begins = if marked(true) || marked(false) { width } else { 0 };
        (Self::Wide { width, big: Some(!marked(false)) }, begins)
    }

    /// Decodes the character at the front of `bytes`; `last` means that no further bytes follow them.
    pub(crate) fn first(self, bytes: &[u8], last: bool) -> FirstCharacter {
        let front = &bytes[..bytes.len().min(CHAR_BYTES_MAX)];
        let short = |needed| {
            if last { FirstCharacter::Bad(bytes.len().min(needed)) } else { FirstCharacter::More }
        };
        match self {
            _ if bytes.is_empty() => FirstCharacter::More,
            Self::Narrow(Charset::Utf8) => utf8(front, last),
            Self::Narrow(Charset::Ascii) if !front[0].is_ascii() => FirstCharacter::Bad(1),
            Self::Narrow(Charset::Ascii | Charset::Latin1) => {
                FirstCharacter::Char(char::from(front[0]), 1)
            }
            Self::Narrow(charset) => {
                let found = (1..=front.len()).find_map(|len| {
                    let text = charset.to_utf8(&front[..len])?;
                    Some(FirstCharacter::Char(
                        std::str::from_utf8(&text).ok()?.chars().next()?,
                        len,
                    ))
                });
                match found {
                    Some(first) => first,
                    None if front.len() < CHAR_BYTES_MAX && !last => FirstCharacter::More,
                    None => FirstCharacter::Bad(1),
                }
            }
            Self::Wide { width, .. } if front.len() < width => short(width),
            Self::Wide { width: 2, big } => {
                let big = big != Some(false);
                let unit = |at: usize| front.get(at..at + 2).map(|two| number(two, big) as u16);
                match (unit(0), unit(2)) {
                    (Some(one @ 0xD800..=0xDBFF), Some(two)) => {
                        match char::decode_utf16([one, two]).next() {
                            Some(Ok(c)) => FirstCharacter::Char(c, 4),
                            _ => FirstCharacter::Bad(2),
                        }
                    }
                    (Some(0xD800..=0xDBFF), None) => short(4),
                    (one, _) => match char::from_u32(u32::from(one.unwrap_or(0xDC00))) {
                        Some(c) => FirstCharacter::Char(c, 2),
                        None => FirstCharacter::Bad(2),
                    },
                }
            }
            Self::Wide { width, big } => {
                match char::from_u32(number(&front[..width], big != Some(false))) {
                    Some(c) => FirstCharacter::Char(c, width),
                    None => FirstCharacter::Bad(width),
                }
            }
        }
    }

    /// Returns `text` in this encoding, as Java's `getBytes`: UTF-16 begins with a byte order mark.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Narrow(charset) => charset.encode(text),
            Self::Wide { width: 2, big } => {
                let mark = big.is_none().then_some(0xFEFF);
                let units = mark.into_iter().chain(text.encode_utf16());
                units.flat_map(|unit| ordered(unit.to_be_bytes(), big)).collect()
            }
            Self::Wide { big, .. } => {
                text.chars().flat_map(|c| ordered(u32::from(c).to_be_bytes(), big)).collect()
            }
        }
    }
}

fn ordered<const N: usize>(mut bytes: [u8; N], big: Option<bool>) -> [u8; N] {
    if big == Some(false) {
        bytes.reverse();
    }
    bytes
}

/// Returns the number in the bytes of one unit.
fn number(unit: &[u8], big: bool) -> u32 {
    let add = |sum: u32, byte: &u8| sum << 8 | u32::from(*byte);
    if big { unit.iter().fold(0, add) } else { unit.iter().rev().fold(0, add) }
}

fn utf8(front: &[u8], last: bool) -> FirstCharacter {
    let valid = match std::str::from_utf8(front) {
        Ok(text) => text,
        Err(error) if error.valid_up_to() > 0 => {
            std::str::from_utf8(&front[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) => {
            return match error.error_len() {
                Some(len) => FirstCharacter::Bad(len),
                None if last => FirstCharacter::Bad(front.len()),
                None => FirstCharacter::More,
            };
        }
    };
    valid.chars().next().map_or(FirstCharacter::More, |c| FirstCharacter::Char(c, c.len_utf8()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns every character, `?` for invalid bytes.
    fn read(name: &str, bytes: &[u8]) -> String {
        let (text, begins) = TextEncoding::named(name).unwrap().of_file(bytes);
        let (mut rest, mut out) = (&bytes[begins..], String::new());
        while !rest.is_empty() {
            let len = match text.first(rest, true) {
                FirstCharacter::Char(c, len) => {
                    out.push(c);
                    len
                }
                FirstCharacter::Bad(len) => {
                    out.push('?');
                    len
                }
                FirstCharacter::More => panic!("all bytes are there"),
            };
            rest = &rest[len..];
        }
        out
    }

    #[test]
    fn each_encoding_is_read_character_by_character() {
        assert_eq!(read("UTF-8", "aé日\u{1F41E}".as_bytes()), "aé日\u{1F41E}");
        assert_eq!(read("UTF-8", b"a\xff\xe6\x97b\xe6"), "a??b?");
        assert_eq!(read("US-ASCII", b"a\xe9b"), "a?b");
        assert_eq!(read("ISO-8859-1", b"a\xe9"), "aé");
        assert_eq!(read("GBK", b"a\xc8\xd5\xd6\xbe\xc8"), "a日志?");
        assert_eq!(read("GB18030", b"\x94\x39\xc9\x36!"), "\u{1F402}!");
        assert_eq!(read("UTF-16LE", b"a\0\xe5\x65\x3d\xd8\x1e\xdc\n\0"), "a日\u{1F41E}\n");
        assert_eq!(read("UTF-16BE", b"\0a\xd8\x3d\0b\xdc\x1e"), "a?b?");
        assert_eq!(read("UTF-32LE", b"a\0\0\0\x1e\xf4\x01\0\0\0\0\x7f"), "a\u{1F41E}?");
    }

    #[test]
    fn the_first_unit_of_a_file_states_its_byte_order() {
        assert_eq!(read("UTF-16", b"\xff\xfea\0"), "a");
        assert_eq!(read("UTF-16", b"\xfe\xff\0a"), "a");
        assert_eq!(read("utf-16", b"\0a\0b"), "ab");
        assert_eq!(read("UTF-32", b"\xff\xfe\0\0a\0\0\0"), "a");
        assert_eq!(read("UTF-16LE", b"\xff\xfea\0"), "\u{feff}a");
        assert_eq!(TextEncoding::named("no such"), None);
    }

    #[test]
    fn an_incomplete_character_waits_for_the_rest() {
        for (name, bytes) in [
            ("UTF-8", &b"\xe6\x97"[..]),
            ("GBK", b"\xc8"),
            ("UTF-16LE", b"a"),
            ("UTF-16LE", b"\x3d\xd8\x1e"),
            ("UTF-32BE", b"\0\0\0"),
        ] {
            let (text, _) = TextEncoding::named(name).unwrap().of_file(b"");
            assert_eq!(text.first(bytes, false), FirstCharacter::More, "{name}");
            assert!(matches!(text.first(bytes, true), FirstCharacter::Bad(1..)), "{name}");
        }
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        for name in ["UTF-8", "UTF-16", "UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32", "GB18030"] {
            let text = "aé日\u{1F41E}\n";
            let encoded = TextEncoding::named(name).unwrap().encode(text);
            assert_eq!(read(name, &encoded), text, "{name}");
        }
        assert_eq!(TextEncoding::named("UTF-16").unwrap().encode("a"), b"\xfe\xff\0a");
        assert_eq!(TextEncoding::named("ISO-8859-1").unwrap().encode("é日"), b"\xe9?");
    }
}
