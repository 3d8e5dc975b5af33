//! Messages in a stream of bytes.
//!
//! ```text
//! serial 4 | segments 4 | (length 4 | bytes)*        numbers big-endian
//! ```
//!
//! Segment boundaries have no meaning: the message is the concatenation of the segments.

use super::AvroError;
use bytes::{Buf, BytesMut};
use millpond_flow::base::limits::{
    AVRO_PROTOCOL_BYTES_MAX, AVRO_REQUEST_BYTES_MAX, AVRO_REQUEST_PASSED_OVER_BYTES_MAX,
    AVRO_SEGMENTS_MAX,
};

/// Bytes before the first segment.
const HEAD_BYTES: usize = 8;
/// Bytes before the content of a segment.
const LENGTH_BYTES: usize = 4;

/// Bytes that are kept of a message that is too large: enough for a handshake.
const KEPT_BYTES: usize = AVRO_PROTOCOL_BYTES_MAX + 1024;

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvroFrame {
    /// Chosen by the caller, repeated in the reply.
    pub serial: u32,
    /// The bytes of all segments; only the first ones if [`AvroFrame::is_whole`] is false.
    pub message: Vec<u8>,
    /// False for a message beyond the limit, whose rest was skipped so that its sender gets an error and can go
    /// on.
    pub is_whole: bool,
}

/// Cuts messages out of a stream. Buffers only received bytes of one message, not announced ones.
#[derive(Debug)]
pub struct AvroFramer {
    /// Limit of a message in bytes.
    bytes_max: usize,
    serial: u32,
    /// Segments of the current message that have not begun; `None` between messages.
    segments_left: Option<u32>,
    /// Bytes of the current segment that were not received.
    bytes_left: usize,
    /// Bytes of the current message, those of the current segment included.
    announced: usize,
    message: Vec<u8>,
}

impl Default for AvroFramer {
    fn default() -> Self {
        Self::new()
    }
}

impl AvroFramer {
    /// Returns a new framer for messages of at most [`AVRO_REQUEST_BYTES_MAX`] bytes.
    #[must_use]
    pub fn new() -> Self {
        Self::with_max(AVRO_REQUEST_BYTES_MAX)
    }

    /// Returns a new framer for messages of at most `bytes_max` bytes.
    #[must_use]
    pub fn with_max(bytes_max: usize) -> Self {
        let (message, serial, segments_left, bytes_left, announced) = (Vec::new(), 0, None, 0, 0);
        Self { bytes_max, serial, segments_left, bytes_left, announced, message }
    }

    /// Returns the limit of a message in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Returns the buffered bytes of the incomplete message.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.message.len()
    }

    /// Returns the announced bytes that the message still lacks; `None` if unknown.
    #[must_use]
    pub fn missing_bytes(&self) -> Option<usize> {
        (self.segments_left == Some(0)).then_some(self.bytes_left)
    }

    /// Returns true within a message.
    #[must_use]
    pub fn is_within(&self) -> bool {
        self.segments_left.is_some()
    }

    /// Consumes `input` up to the end of the next message and returns that; `None` if more bytes are needed. What
    /// is left in `input` then is shorter than a length.
    ///
    /// # Errors
    /// It is not a message, or one of more than [`AVRO_REQUEST_PASSED_OVER_BYTES_MAX`] bytes. The stream cannot
    /// be read any further.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<AvroFrame>, AvroError> {
        let mut left = match self.segments_left {
            Some(left) => left,
            None if input.len() < HEAD_BYTES => return Ok(None),
            None => {
                self.serial = input.get_u32();
                self.announced = 0;
                match input.get_u32() {
                    0 => return Err(AvroError::Number { what: "a count of segments", number: 0 }),
                    n if n > AVRO_SEGMENTS_MAX => {
                        let max = AVRO_SEGMENTS_MAX as usize;
                        return Err(AvroError::TooMany { what: "segments in a message", max });
                    }
                    n => n,
                }
            }
        };
        loop {
            let now = self.bytes_left.min(input.len());
            self.keep(&input[..now]);
            input.advance(now);
            self.bytes_left -= now;
            if self.bytes_left > 0 || (left > 0 && input.len() < LENGTH_BYTES) {
                self.segments_left = Some(left);
                return Ok(None);
            }
            if left == 0 {
                self.segments_left = None;
                let message = std::mem::take(&mut self.message);
                let is_whole = !self.is_over();
                return Ok(Some(AvroFrame { serial: self.serial, message, is_whole }));
            }
            left -= 1;
            self.bytes_left = input.get_u32() as usize;
            // Less than 2^20 segments of less than 2^32 bytes.
            self.announced += self.bytes_left;
            if self.announced > AVRO_REQUEST_PASSED_OVER_BYTES_MAX {
                return Err(AvroError::TooLarge { what: "a message", max: self.bytes_max });
            }
            if self.is_over() && self.message.len() > KEPT_BYTES {
                self.message.truncate(KEPT_BYTES);
                self.message.shrink_to_fit();
            }
        }
    }

    /// Returns true if the current message is too large.
    fn is_over(&self) -> bool {
        self.announced > self.bytes_max
    }

    fn keep(&mut self, bytes: &[u8]) {
        let room = if self.is_over() {
            KEPT_BYTES.saturating_sub(self.message.len())
        } else {
            bytes.len()
        };
        self.message.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// Returns a buffer with space for a frame's head; the message follows.
#[must_use]
pub fn begin() -> Vec<u8> {
    vec![0; HEAD_BYTES + LENGTH_BYTES]
}

/// Completes a frame of one segment that [`begin`] began.
///
/// # Panics
/// The message has 4 GiB or more, or `frame` was not begun.
pub fn finish(frame: &mut [u8], serial: u32) {
    let (head, message) = frame.split_at_mut(HEAD_BYTES + LENGTH_BYTES);
    let length = u32::try_from(message.len()).expect("callers keep a message below 4 GiB");
    head[..4].copy_from_slice(&serial.to_be_bytes());
    head[4..8].copy_from_slice(&1u32.to_be_bytes());
    head[8..].copy_from_slice(&length.to_be_bytes());
}
