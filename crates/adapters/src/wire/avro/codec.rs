//! The compression codecs of Avro files in Java's Avro 1.11.
//!
//! See the Avro specification 1.11, "Required Codecs", "Optional Codecs". Decompression has limits for its output
//! and for the memory that it needs ([`AVRO_DICTIONARY_BYTES_MAX`]).

use flate2::Compression;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use millpond_flow::base::limits::AVRO_DICTIONARY_BYTES_MAX;
use std::borrow::Cow;
use std::io::{self, Read, Write};

/// Bytes of the checksum after a block of [`AvroCodec::Snappy`].
const CHECKSUM_BYTES: usize = 4;

/// The xz level of Java's Avro.
const XZ_LEVEL: u32 = 6;

/// Compression of the data of a block.
///
/// # Examples
/// ```
/// # use millpond_adapters::wire::avro::codec::AvroCodec;
/// let codec = AvroCodec::named("deflate").expect("it is known");
/// let packed = codec.pack(&[7; 1000])?;
/// assert!(packed.len() < 100);
/// assert_eq!(codec.unpack(&packed, 1000)?, [7; 1000].as_slice());
/// assert!(codec.unpack(&packed, 999).is_err());
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AvroCodec {
    /// No compression.
    #[default]
    Null,
    /// RFC 1951, without zlib's header and trailer.
    Deflate,
    /// Snappy's raw format, then the CRC-32 of the data in four bytes, big-endian.
    Snappy,
    /// bzip2's format.
    Bzip2,
    /// xz's format.
    Xz,
    /// Zstandard's format (RFC 8878).
    Zstandard,
}

impl AvroCodec {
    /// All codecs.
    pub const ALL: [Self; 6] =
        [Self::Null, Self::Deflate, Self::Snappy, Self::Bzip2, Self::Xz, Self::Zstandard];

    /// The names of all codecs, for messages.
    pub const NAMES: &str = "null, deflate, snappy, bzip2, xz and zstandard";

    /// Returns the codec of that name in a file's metadata.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    /// Returns its name in a file's metadata.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Deflate => "deflate",
            Self::Snappy => "snappy",
            Self::Bzip2 => "bzip2",
            Self::Xz => "xz",
            Self::Zstandard => "zstandard",
        }
    }

    /// Compresses a block's data.
    ///
    /// # Errors
    /// Snappy's format has no room for 4 GiB or more.
    pub fn pack(self, data: &[u8]) -> io::Result<Cow<'_, [u8]>> {
        let packed = match self {
            Self::Null => return Ok(Cow::Borrowed(data)),
            Self::Deflate => {
                let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
                encoder.write_all(data)?;
                encoder.finish()?
            }
            Self::Snappy => {
                let mut packed = snap::raw::Encoder::new().compress_vec(data)?;
                packed.extend_from_slice(&crc32fast::hash(data).to_be_bytes());
                packed
            }
            Self::Bzip2 => {
                let level = bzip2::Compression::best();
                let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), level);
                encoder.write_all(data)?;
                encoder.finish()?
            }
            Self::Xz => {
                let options = lzma_rust2::XzOptions::with_preset(XZ_LEVEL);
                let mut encoder = lzma_rust2::XzWriter::new(Vec::new(), options)?;
                encoder.write_all(data)?;
                encoder.finish()?
            }
            Self::Zstandard => {
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                ruzstd::encoding::compress_to_vec(data, level)
            }
        };
        Ok(Cow::Owned(packed))
    }

    /// Returns the data of a block, at most `max` bytes.
    ///
    /// # Errors
    /// The data are longer, or `packed` is not in the format of this codec, or needs more than
    /// [`AVRO_DICTIONARY_BYTES_MAX`] to be decompressed.
    pub fn unpack(self, packed: &[u8], max: usize) -> io::Result<Cow<'_, [u8]>> {
        let data = match self {
            Self::Null => Cow::Borrowed(packed),
            Self::Deflate => Cow::Owned(read(DeflateDecoder::new(packed), max)?),
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
            Self::Bzip2 => Cow::Owned(read(bzip2::read::BzDecoder::new(packed), max)?),
            Self::Xz => {
                let kib = u32::try_from(AVRO_DICTIONARY_BYTES_MAX / 1024).unwrap_or(u32::MAX);
                // One more for the decoder itself, which the limit includes.
                let decoder = lzma_rust2::XzReader::new_mem_limit(packed, false, kib + 1024);
                Cow::Owned(read(decoder, max)?)
            }
            Self::Zstandard => Cow::Owned(unpack_zstandard(packed, max)?),
        };
        if data.len() > max { Err(too_large(max)) } else { Ok(data) }
    }
}

fn unpack_zstandard(packed: &[u8], max: usize) -> io::Result<Vec<u8>> {
    let window = AVRO_DICTIONARY_BYTES_MAX as u64;
    let decoder = ruzstd::decoding::StreamingDecoder::new_with_max_window_size(packed, window);
    let mut decoder = decoder.map_err(|error| bad(&format!("cannot be unpacked: {error}")))?;
    let data = read(&mut decoder, max)?;
    // If truncated there is more than allowed, and no checksum yet.
    let frame = decoder.into_frame_decoder();
    let sums = (frame.get_checksum_from_data(), frame.get_calculated_checksum());
    match sums {
        (Some(said), found) if data.len() <= max && found != Some(said) => {
            Err(bad("does not have its checksum"))
        }
        _ => Ok(data),
    }
}

fn read(decoder: impl Read, max: usize) -> io::Result<Vec<u8>> {
    let mut data = Vec::new();
    // One byte more than allowed, to detect an excess.
    decoder.take((max as u64).saturating_add(1)).read_to_end(&mut data)?;
    Ok(data)
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the block {what}"))
}

fn too_large(max: usize) -> io::Error {
    bad(&format!("has more than {max} bytes of data"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn what_is_packed_comes_back(data in proptest::collection::vec(0u8..4, 0..5000)) {
            for codec in AvroCodec::ALL {
                let packed = codec.pack(&data).unwrap();
                prop_assert_eq!(codec.unpack(&packed, data.len()).unwrap(), &data[..]);
                prop_assert!(data.is_empty() || codec.unpack(&packed, data.len() - 1).is_err());
            }
        }

        #[test]
        fn random_bytes_are_refused_or_bounded(bytes in proptest::collection::vec(any::<u8>(), 0..500)) {
            for codec in AvroCodec::ALL {
                if let Ok(data) = codec.unpack(&bytes, 1000) {
                    prop_assert!(data.len() <= 1000);
                }
            }
        }

        #[test]
        fn changed_or_truncated_blocks_are_refused_or_bounded(at in 0usize..1000, mask in 1u8..=255) {
            let data: Vec<u8> = (0..3000u32).map(|n| (n * n % 7) as u8).collect();
            for codec in AvroCodec::ALL {
                let mut packed = codec.pack(&data).unwrap().into_owned();
                let at = at % packed.len();
                packed[at] ^= mask;
                for bytes in [&packed[..], &packed[..at]] {
                    if let Ok(data) = codec.unpack(bytes, 4000) {
                        prop_assert!(data.len() <= 4000);
                    }
                }
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_it_is_unpacked() {
        for codec in AvroCodec::ALL {
            let bomb = codec.pack(&[0; 1_000_000]).unwrap();
            let error = codec.unpack(&bomb, 1000).unwrap_err();
            assert!(error.to_string().contains("more than 1000 bytes"), "{codec:?}: {error}");
        }
        // Snappy's length comes first: nearly 4 GiB here.
        let packed = b"\xff\xff\xff\xff\x0f\x00\x00\x00\x00\x00";
        let error = AvroCodec::Snappy.unpack(packed, 1000).unwrap_err();
        assert!(error.to_string().contains("more than 1000 bytes"), "{error}");
    }

    #[test]
    fn a_block_that_needs_a_huge_dictionary_is_refused() {
        // Byte 15 of an xz file encodes the size of the dictionary; 40 is 4 GiB. The header's checksum is
        // corrected.
        let mut xz = AvroCodec::Xz.pack(b"some data").unwrap().into_owned();
        let header = 12..12 + (usize::from(xz[12]) + 1) * 4;
        assert_eq!(xz[14..16], [0x21, 1], "LZMA2, one byte of properties");
        xz[16] = 40;
        let (end, sum) = (header.end - 4, crc32fast::hash(&xz[12..header.end - 4]));
        xz[end..header.end].copy_from_slice(&sum.to_le_bytes());
        assert!(AvroCodec::Xz.unpack(&xz, 1000).is_err());
        // Zstandard's window, 1 GiB.
        let zstandard = b"\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00";
        assert!(AvroCodec::Zstandard.unpack(zstandard, 1000).is_err());
    }

    #[test]
    fn a_snappy_block_that_was_changed_is_refused_by_its_checksum() {
        let mut packed = AvroCodec::Snappy.pack(b"some data, some data").unwrap().into_owned();
        *packed.last_mut().unwrap() ^= 1;
        assert!(AvroCodec::Snappy.unpack(&packed, 1000).is_err());
    }
}
