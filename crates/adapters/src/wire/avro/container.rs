//! The framing of Avro object container files.
//!
//! A file is a header (magic, metadata with schema and codec, a sync marker of 16 bytes) and blocks: a count of
//! data, a length, the data, compressed as a whole by the codec, and the marker again. See the Avro specification
//! 1.11, "Object Container Files"; [`super::codec`] has the codecs.

use super::codec::AvroCodec;
use super::values::{put_bytes, put_count, put_long};
use std::io::{self, Write};

/// The first bytes of a file.
pub const MAGIC: &[u8] = b"Obj\x01";

/// Bytes of a file's marker.
pub const MARKER_BYTES: usize = 16;

/// Appends a file's header.
pub fn put_header(out: &mut Vec<u8>, schema: &str, codec: AvroCodec, marker: &[u8; MARKER_BYTES]) {
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
/// Those of `out` and of [`AvroCodec::pack`].
pub fn write_block(
    out: &mut dyn Write,
    count: usize,
    data: &[u8],
    codec: AvroCodec,
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
