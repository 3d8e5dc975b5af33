//! Hadoop's codecs, none of which needs a native library here.
//!
//! gzip, bzip2, deflate (a zlib stream) and zstandard are their standard formats, one member each time. snappy and lz4
//! have the framing of Hadoop's `BlockCompressorStream`: the length of the data, the length of the compressed data,
//! each in four bytes, big-endian, and the compressed data. Hadoop's readers have a buffer of 256 KiB for either by
//! default, which no block exceeds.

use bzip2::write::BzEncoder;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use std::io::{self, Write};

/// Most data in one block of snappy and lz4. At worst snappy makes a sixth more of it, which is less than 256 KiB.
pub(super) const FRAME_BYTES: usize = 128 * 1024;

/// Why data that are part of a frame have a length of four bytes.
const FITS: &str = "a frame has less than 4 GiB";

const PACKAGE: &str = "org.apache.hadoop.io.compress.";

/// A codec of Hadoop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Codec {
    Default,
    Deflate,
    Gzip,
    Bzip2,
    Snappy,
    Lz4,
    Zstandard,
}

impl Codec {
    pub(super) const ALL: [Self; 7] = [
        Self::Default,
        Self::Deflate,
        Self::Gzip,
        Self::Bzip2,
        Self::Snappy,
        Self::Lz4,
        Self::Zstandard,
    ];

    /// The short names of all, for messages.
    pub(super) const NAMES: &str = "default, deflate, gzip, bzip2, snappy, lz4 and zstandard";

    /// Returns the codec with that name: Hadoop's class with its package, or the class alone, with or without
    /// `Codec`, in any case.
    pub(super) fn named(name: &str) -> Option<Self> {
        let class = name.strip_prefix(PACKAGE).unwrap_or(name);
        Self::ALL.into_iter().find(|codec| {
            let own = codec.class();
            let own_alias = own.strip_suffix("Codec").unwrap_or(own);
            class == own
                || (class.len() == name.len()
                    && (class.eq_ignore_ascii_case(own) || class.eq_ignore_ascii_case(own_alias)))
        })
    }

    fn class(self) -> &'static str {
        match self {
            Self::Default => "DefaultCodec",
            Self::Deflate => "DeflateCodec",
            Self::Gzip => "GzipCodec",
            Self::Bzip2 => "BZip2Codec",
            Self::Snappy => "SnappyCodec",
            Self::Lz4 => "Lz4Codec",
            Self::Zstandard => "ZStandardCodec",
        }
    }

    /// Returns the name of its class in Hadoop, with the package.
    pub(super) fn class_path(self) -> String {
        format!("{PACKAGE}{}", self.class())
    }

    /// Returns its short name, for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Deflate => "deflate",
            Self::Gzip => "gzip",
            Self::Bzip2 => "bzip2",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstandard => "zstandard",
        }
    }

    /// Returns the extension by which Hadoop finds the codec of a file, with its dot.
    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Default | Self::Deflate => ".deflate",
            Self::Gzip => ".gz",
            Self::Bzip2 => ".bz2",
            Self::Snappy => ".snappy",
            Self::Lz4 => ".lz4",
            Self::Zstandard => ".zst",
        }
    }

    /// Appends what `fill` writes to `out`, compressed, as complete members or blocks.
    ///
    /// # Errors
    /// Those of `fill`, and of the codec.
    pub(super) fn compress(
        self,
        fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
        out: &mut Vec<u8>,
    ) -> io::Result<()> {
        match self {
            Self::Default | Self::Deflate => {
                let mut encoder = ZlibEncoder::new(out, Compression::default());
                fill(&mut encoder)?;
                encoder.finish()?;
            }
            Self::Gzip => {
                let mut encoder = GzEncoder::new(out, Compression::default());
                fill(&mut encoder)?;
                encoder.finish()?;
            }
            Self::Bzip2 => {
                let mut encoder = BzEncoder::new(out, bzip2::Compression::best());
                fill(&mut encoder)?;
                encoder.finish()?;
            }
            Self::Snappy | Self::Lz4 => {
                let pack = if self == Self::Snappy { pack_snappy } else { pack_lz4 };
                let mut frames = FrameWriter { data: Vec::new(), pack, out };
                fill(&mut frames)?;
                frames.end_frame()?;
            }
            Self::Zstandard => {
                let mut data = Vec::new();
                fill(&mut data)?;
                let level = ruzstd::encoding::CompressionLevel::Fastest;
                out.extend_from_slice(&ruzstd::encoding::compress_to_vec(&data[..], level));
            }
        }
        Ok(())
    }
}

fn pack_snappy(data: &[u8]) -> io::Result<Vec<u8>> {
    Ok(snap::raw::Encoder::new().compress_vec(data)?)
}

fn pack_lz4(data: &[u8]) -> io::Result<Vec<u8>> {
    Ok(lz4_flex::block::compress(data))
}

/// Compresses in blocks of [`FRAME_BYTES`]. No data make no block: to Hadoop a block of none is the end of a file.
struct FrameWriter<'a> {
    data: Vec<u8>,
    pack: fn(&[u8]) -> io::Result<Vec<u8>>,
    out: &'a mut Vec<u8>,
}

impl FrameWriter<'_> {
    fn end_frame(&mut self) -> io::Result<()> {
        if self.data.is_empty() {
            return Ok(());
        }
        let packed = (self.pack)(&self.data)?;
        for length in [self.data.len(), packed.len()] {
            let length = u32::try_from(length).expect(FITS);
            self.out.extend_from_slice(&length.to_be_bytes());
        }
        self.out.extend_from_slice(&packed);
        self.data.clear();
        Ok(())
    }
}

impl Write for FrameWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(FRAME_BYTES - self.data.len());
        self.data.extend_from_slice(&bytes[..taken]);
        if self.data.len() == FRAME_BYTES {
            self.end_frame()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
