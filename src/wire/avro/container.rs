//! Avro object container files: what stands around the data.
//!
//! A file is a header (magic, metadata with schema and codec, a marker of 16 bytes) and blocks: a
//! count of data, a length, the data, packed by the codec as a whole, and the marker again. See the
//! Avro specification 1.11, "Object Container Files" and "Required Codecs", "Optional Codecs".

use super::values::{put_bytes, put_count, put_long};
use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use std::borrow::Cow;
use std::io::{self, Read, Write};

/// What a file begins with.
pub const MAGIC: &[u8] = b"Obj\x01";

/// Bytes of a file's marker.
pub const MARKER_BYTES: usize = 16;

/// Bytes of the checksum behind a block of [`Codec::Snappy`].
const CHECKSUM_BYTES: usize = 4;

/// How the data of a block are packed.
///
/// # Examples
/// ```
/// # use millpond::wire::avro::container::Codec;
/// let codec = Codec::named("deflate").expect("it is known");
/// let packed = codec.pack(&[7; 1000])?;
/// assert!(packed.len() < 100);
/// assert_eq!(codec.unpack(&packed, 1000)?, [7; 1000].as_slice());
/// assert!(codec.unpack(&packed, 999).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Codec {
    /// Not at all.
    #[default]
    Null,
    /// RFC 1951, without zlib's frame.
    Deflate,
    /// Snappy's raw format, then the CRC-32 of the data in four bytes, the highest first.
    Snappy,
}

impl Codec {
    /// The names of all, for messages.
    pub const NAMES: &str = "null, deflate and snappy";

    /// The codec of that name in a file's metadata.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        [Self::Null, Self::Deflate, Self::Snappy].into_iter().find(|codec| codec.name() == name)
    }

    /// Its name in a file's metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
        }
    }

    /// Packs a block's data.
    ///
    /// # Errors
    /// Snappy's format has no room for 4 GiB or more.
    pub fn pack(self, data: &[u8]) -> io::Result<Cow<'_, [u8]>> {
        match self {
            Self::Null => Ok(Cow::Borrowed(data)),
            Self::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(data)?;
                encoder.finish().map(Cow::Owned)
            }
            Self::Snappy => {
                let mut packed = snap::raw::Encoder::new().compress_vec(data)?;
                packed.extend_from_slice(&crc32fast::hash(data).to_be_bytes());
                Ok(Cow::Owned(packed))
            }
        }
    }

    /// The data of a block, at most `max` bytes.
    ///
    /// # Errors
    /// They are more, or `packed` is not what this codec writes.
    pub fn unpack(self, packed: &[u8], max: usize) -> io::Result<Cow<'_, [u8]>> {
        let data = match self {
            Self::Null => Cow::Borrowed(packed),
            Self::Deflate => {
                let mut data = Vec::new();
                // One more than may be there, so that too much is seen.
                let most = (max as u64).saturating_add(1);
                DeflateDecoder::new(packed).take(most).read_to_end(&mut data)?;
                Cow::Owned(data)
            }
            Self::Snappy => {
                let (packed, sum) = packed
                    .split_last_chunk::<CHECKSUM_BYTES>()
                    .ok_or_else(|| bad("has no checksum"))?;
                if snap::raw::decompress_len(packed)? > max {
                    return Err(too_large(max));
                }
                let data = snap::raw::Decoder::new().decompress_vec(packed)?;
                if crc32fast::hash(&data) != u32::from_be_bytes(*sum) {
                    return Err(bad("does not have its checksum"));
                }
                Cow::Owned(data)
            }
        };
        if data.len() > max { Err(too_large(max)) } else { Ok(data) }
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the block {what}"))
}

fn too_large(max: usize) -> io::Error {
    bad(&format!("has more than {max} bytes of data"))
}

/// Appends a file's header.
pub fn put_header(out: &mut Vec<u8>, schema: &str, codec: Codec, marker: &[u8; MARKER_BYTES]) {
    out.extend_from_slice(MAGIC);
    put_count(out, 2);
    for (key, value) in [("avro.schema", schema), ("avro.codec", codec.name())] {
        put_bytes(out, key.as_bytes());
        put_bytes(out, value.as_bytes());
    }
    put_long(out, 0);
    out.extend_from_slice(marker);
}

/// Writes a block of `count` data.
///
/// # Errors
/// Those of `out` and of [`Codec::pack`].
pub fn write_block(
    out: &mut dyn Write,
    count: usize,
    data: &[u8],
    codec: Codec,
    marker: &[u8; MARKER_BYTES],
) -> io::Result<()> {
    let packed = codec.pack(data)?;
    let mut head = Vec::with_capacity(20);
    put_count(&mut head, count);
    put_count(&mut head, packed.len());
    out.write_all(&head)?;
    out.write_all(&packed)?;
    out.write_all(marker)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Codec; 3] = [Codec::Null, Codec::Deflate, Codec::Snappy];

    proptest! {
        #[test]
        fn what_is_packed_comes_back(data in proptest::collection::vec(0u8..4, 0..5000)) {
            for codec in ALL {
                let packed = codec.pack(&data).unwrap();
                prop_assert_eq!(codec.unpack(&packed, data.len()).unwrap(), &data[..]);
                prop_assert!(data.is_empty() || codec.unpack(&packed, data.len() - 1).is_err());
            }
        }

        #[test]
        fn bytes_that_nobody_packed_are_refused_or_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            for codec in ALL {
                if let Ok(data) = codec.unpack(&bytes, 1000) {
                    prop_assert!(data.len() <= 1000);
                }
            }
        }
    }

    #[test]
    fn a_block_that_says_it_is_huge_is_refused_before_it_is_made() {
        // Snappy's length comes first: nearly 4 GiB here.
        let packed = b"\xff\xff\xff\xff\x0f\x00\x00\x00\x00\x00";
        let error = Codec::Snappy.unpack(packed, 1000).unwrap_err();
        assert!(error.to_string().contains("more than 1000 bytes"), "{error}");
        let bomb = Codec::Deflate.pack(&[0; 1_000_000]).unwrap();
        let error = Codec::Deflate.unpack(&bomb, 1000).unwrap_err();
        assert!(error.to_string().contains("more than 1000 bytes"), "{error}");
    }

    #[test]
    fn a_snappy_block_that_was_changed_is_refused_by_its_checksum() {
        let mut packed = Codec::Snappy.pack(b"some data, some data").unwrap().into_owned();
        *packed.last_mut().unwrap() ^= 1;
        assert!(Codec::Snappy.unpack(&packed, 1000).is_err());
    }
}
