//! The bytes of a text in the charset of `converter.charset`.

use encoding_rs::{EncoderResult, Encoding};

/// A charset that a text can be written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Charset {
    /// UTF-8.
    Utf8,
    /// One byte for each character up to this one.
    Single(u32),
    /// UTF-16.
    Utf16 { is_big_endian: bool, has_mark: bool },
    /// Another one.
    Other(&'static Encoding),
}

impl Charset {
    /// Returns the charset that Java knows by `name`; `None` if it is unknown here.
    pub(crate) fn named(name: &str) -> Option<Self> {
        let utf16 = |is_big_endian, has_mark| Some(Self::Utf16 { is_big_endian, has_mark });
        match name.trim().to_ascii_uppercase().replace('_', "-").as_str() {
            "UTF-8" | "UTF8" => Some(Self::Utf8),
            "US-ASCII" | "ASCII" | "ISO646-US" => Some(Self::Single(0x7f)),
            "ISO-8859-1" | "ISO8859-1" | "LATIN1" | "L1" => Some(Self::Single(0xff)),
            // Java writes a byte order mark in this one only.
            "UTF-16" | "UTF16" => utf16(true, true),
            "UTF-16BE" => utf16(true, false),
            "UTF-16LE" => utf16(false, false),
            other => {
                let encoding = Encoding::for_label(other.as_bytes())?;
                // These two are decoded only.
                (encoding.output_encoding() == encoding).then_some(Self::Other(encoding))
            }
        }
    }

    /// Returns the bytes of `text`; what the charset has no bytes for becomes `?`, as in Java.
    pub(crate) fn encode(self, text: &str) -> Vec<u8> {
        match self {
            Self::Utf8 => text.as_bytes().to_vec(),
            Self::Single(last) => text
                .chars()
                .map(|c| {
                    u8::try_from(u32::from(c))
                        .ok()
                        .filter(|b| u32::from(*b) <= last)
                        .unwrap_or(b'?')
                })
                .collect(),
            Self::Utf16 { is_big_endian, has_mark } => {
                let mark = (has_mark && !text.is_empty()).then_some(0xfeff);
                let units = mark.into_iter().chain(text.encode_utf16());
                units
                    .flat_map(
                        |unit| if is_big_endian { unit.to_be_bytes() } else { unit.to_le_bytes() },
                    )
                    .collect()
            }
            Self::Other(encoding) => encode(encoding, text),
        }
    }
}

fn encode(encoding: &'static Encoding, mut text: &str) -> Vec<u8> {
    let mut encoder = encoding.new_encoder();
    let mut bytes = Vec::with_capacity(text.len());
    loop {
        let room = encoder.max_buffer_length_from_utf8_without_replacement(text.len());
        bytes.reserve(room.unwrap_or(text.len() * 4 + 16));
        let (result, read) =
            encoder.encode_from_utf8_to_vec_without_replacement(text, &mut bytes, true);
        text = &text[read..];
        match result {
            EncoderResult::InputEmpty => return bytes,
            EncoderResult::OutputFull => {}
            EncoderResult::Unmappable(_) => bytes.push(b'?'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_written_in_the_charsets_of_java() {
        let check = |name: &str, text: &str, bytes: &[u8]| {
            assert_eq!(
                Charset::named(name).map(|c| c.encode(text)).as_deref(),
                Some(bytes),
                "{name}"
            );
        };
        check("utf-8", "é日", "é日".as_bytes());
        check("US-ASCII", "aé", b"a?");
        check("ISO-8859-1", "é日", b"\xe9?");
        check("UTF-16", "a", b"\xfe\xff\0a");
        check("UTF-16", "", b"");
        check("UTF-16LE", "a", b"a\0");
        check("GBK", "日志", b"\xc8\xd5\xd6\xbe");
        check("windows-1252", "€日x", b"\x80?x");
        assert_eq!(Charset::named("no-such"), None);
    }
}
