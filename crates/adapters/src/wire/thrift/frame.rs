//! Frames: a length of four bytes, big-endian, and that many bytes.

use super::ThriftError;
use bytes::{Buf, Bytes, BytesMut};

const LENGTH_BYTES: usize = 4;

/// Removes the next frame from `input`; `None` while it is incomplete.
///
/// # Errors
/// It is longer than `bytes_max`: the stream cannot be read any further.
pub fn next(input: &mut BytesMut, bytes_max: usize) -> Result<Option<Bytes>, ThriftError> {
    let Some(length) = input.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let bytes = u32::from_be_bytes(*length) as usize;
    if bytes > bytes_max {
        return Err(ThriftError::TooLong { bytes, max: bytes_max });
    }
    if input.len() < LENGTH_BYTES + bytes {
        return Ok(None);
    }
    input.advance(LENGTH_BYTES);
    Ok(Some(input.split_to(bytes).freeze()))
}

/// Returns a buffer for a message, with space for the length in front.
#[must_use]
pub fn begin() -> Vec<u8> {
    vec![0; LENGTH_BYTES]
}

/// Writes the length of a message that [`begin`] began.
///
/// # Panics
/// The message has 4 GiB or more, which no caller allows.
pub fn finish(out: &mut [u8]) {
    let bytes = u32::try_from(out.len() - LENGTH_BYTES).expect("a frame has less than 4 GiB");
    out[..LENGTH_BYTES].copy_from_slice(&bytes.to_be_bytes());
}
