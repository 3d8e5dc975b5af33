//! Character encodings by their Java names.

use bytes::Bytes;
use encoding_rs::Encoding;
use std::borrow::Cow;

/// An encoding that extends ASCII, so that lines can be split before they are decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Charset {
    /// UTF-8.
    Utf8,
    /// US-ASCII.
    Ascii,
    /// ISO-8859-1: each byte is the code point of the same number.
    Latin1,
    /// An encoding of the WHATWG list.
    Other(&'static Encoding),
}

impl Charset {
    /// Text of a message about a name that [`Charset::named`] does not know.
    pub const LEGAL: &str = "an encoding that extends ASCII, such as UTF-8, US-ASCII, \
        ISO-8859-1, windows-1252, GBK, GB18030, Big5, Shift_JIS, EUC-JP or EUC-KR";

    /// Returns the encoding with this name or alias, ignoring case.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "utf-8" | "utf8" | "unicode-1-1-utf-8" => return Some(Self::Utf8),
            "us-ascii" | "ascii" | "iso646-us" | "ascii7" | "646" => return Some(Self::Ascii),
            // The WHATWG list maps these to windows-1252, Java does not.
            "iso-8859-1" | "iso8859-1" | "iso8859_1" | "iso_8859-1" | "iso_8859_1" | "latin1"
            | "l1" | "8859_1" | "cp819" | "ibm819" | "819" => return Some(Self::Latin1),
            _ => {}
        }
        let encoding = Encoding::for_label(name.as_bytes())?;
        let stateless = encoding.is_ascii_compatible() && encoding.name() != "x-user-defined";
        stateless.then_some(Self::Other(encoding))
    }

    /// Returns `bytes` as UTF-8; `None` if they are not valid in this encoding.
    pub fn to_utf8(self, bytes: &[u8]) -> Option<Bytes> {
        match self {
            Self::Utf8 => std::str::from_utf8(bytes).ok().map(|_| Bytes::copy_from_slice(bytes)),
            Self::Ascii => bytes.is_ascii().then(|| Bytes::copy_from_slice(bytes)),
            Self::Latin1 => {
                let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
                Some(Bytes::from(text))
            }
            Self::Other(encoding) => {
                match encoding.decode_without_bom_handling_and_without_replacement(bytes)? {
                    Cow::Borrowed(text) => Some(Bytes::copy_from_slice(text.as_bytes())),
                    Cow::Owned(text) => Some(Bytes::from(text)),
                }
            }
        }
    }

    /// Returns `bytes` as text, with U+FFFD for invalid ones, as Java decodes.
    #[must_use]
    pub fn decode(self, bytes: &[u8]) -> Cow<'_, str> {
        match self {
            Self::Utf8 => String::from_utf8_lossy(bytes),
            Self::Ascii => {
                let legal =
                    |&byte: &u8| if byte.is_ascii() { char::from(byte) } else { '\u{FFFD}' };
                Cow::Owned(bytes.iter().map(legal).collect())
            }
            Self::Latin1 => Cow::Owned(bytes.iter().map(|&byte| char::from(byte)).collect()),
            Self::Other(encoding) => encoding.decode_without_bom_handling(bytes).0,
        }
    }

    /// Returns `text` as bytes, with `?` for characters that the encoding lacks, as Java encodes.
    pub fn encode(self, text: &str) -> Vec<u8> {
        let below =
            |limit: u32, c: char| u8::try_from(u32::from(c)).ok().filter(|b| u32::from(*b) < limit);
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Ascii => text.chars().map(|c| below(0x80, c).unwrap_or(b'?')).collect(),
            Self::Latin1 => text.chars().map(|c| below(0x100, c).unwrap_or(b'?')).collect(),
            Self::Other(encoding) => {
                let (mut bytes, mut buffer) = (Vec::with_capacity(text.len()), [0; 16]);
                for c in text.chars() {
                    let (one, _, unknown) = encoding.encode(c.encode_utf8(&mut buffer));
                    if unknown { bytes.push(b'?') } else { bytes.extend_from_slice(&one) }
                }
                bytes
            }
        }
    }

    /// Returns the number of bytes at the front of `start` that are valid whatever follows; `None` if no further
    /// bytes could make it valid. May return all of them if only the whole line decides.
    pub fn legal_bytes(self, start: &[u8]) -> Option<usize> {
        match self {
            Self::Utf8 => match std::str::from_utf8(start) {
                Ok(_) => Some(start.len()),
                Err(error) => error.error_len().is_none().then(|| error.valid_up_to()),
            },
            Self::Ascii => start.is_ascii().then_some(start.len()),
            Self::Latin1 | Self::Other(_) => Some(start.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_java_means() {
        assert_eq!(Charset::named("UTF-8"), Some(Charset::Utf8));
        assert_eq!(Charset::named("utf8"), Some(Charset::Utf8));
        assert_eq!(Charset::named("ISO8859_1"), Some(Charset::Latin1));
        assert_eq!(Charset::named("US-ASCII"), Some(Charset::Ascii));
        assert!(matches!(Charset::named("GBK"), Some(Charset::Other(_))));
        // Line ends are not single bytes here, or the state continues over line ends.
        for refused in ["UTF-16", "UTF-16LE", "ISO-2022-JP", "replacement", "no such"] {
            assert_eq!(Charset::named(refused), None, "{refused}");
        }
    }

    #[test]
    fn text_becomes_utf8_and_anything_else_is_refused() {
        let latin = Charset::Latin1.to_utf8(b"caf\xe9\x80").unwrap();
        assert_eq!(latin, "caf\u{e9}\u{80}".as_bytes());
        let gbk = Charset::named("gbk").unwrap();
        assert_eq!(gbk.to_utf8(b"\xc8\xd5\xd6\xbe").unwrap(), "日志".as_bytes());
        assert_eq!(gbk.to_utf8(b"\xc8"), None);
        assert_eq!(Charset::Ascii.to_utf8(b"\xe9"), None);
        assert_eq!(Charset::Utf8.to_utf8(b"a\xff"), None);
        for (charset, bytes, text) in [
            (Charset::Utf8, &b"a\xe6\x97\xa5"[..], "a日"),
            (Charset::Latin1, b"caf\xe9", "café"),
            (gbk, b"\xc8\xd5\xd6\xbe", "日志"),
        ] {
            assert_eq!((&*charset.decode(bytes), &*charset.encode(text)), (text, bytes));
        }
        assert_eq!(Charset::Ascii.decode(b"a\xe9"), "a\u{FFFD}");
        assert_eq!(
            (Charset::Ascii.encode("aé"), Charset::Latin1.encode("日")),
            (b"a?".into(), b"?".into())
        );
        assert_eq!(gbk.encode("\u{1F41E}!"), b"?!");
        assert_eq!(Charset::Utf8.legal_bytes(b"a\xffb"), None);
        assert_eq!(Charset::Utf8.legal_bytes(b"a\xe6\x97"), Some(1));
        assert_eq!(Charset::Ascii.legal_bytes(b"a\xe6"), None);
    }
}
