//! Sequential fields: a reader that refuses short input, and a writer into a slice of the exact length.

use super::DecodeError;
use crate::base::ids::Uuid;
use crate::base::zeroes::is_zero;
use byteorder::{ByteOrder, LittleEndian};

/// Reads fields in sequence.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn starting_at(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    /// Returns the offset of the next field.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Returns the bytes that are left.
    pub(super) fn left(&self) -> usize {
        self.bytes.len().saturating_sub(self.at)
    }

    #[inline]
    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let end = self.at.checked_add(len).ok_or(DecodeError::Length)?;
        let taken = self.bytes.get(self.at..end).ok_or(DecodeError::Length)?;
        self.at = end;
        Ok(taken)
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, DecodeError> {
        Ok(LittleEndian::read_u16(self.take(2)?))
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, DecodeError> {
        Ok(LittleEndian::read_u32(self.take(4)?))
    }

    #[inline]
    pub(super) fn u64(&mut self) -> Result<u64, DecodeError> {
        Ok(LittleEndian::read_u64(self.take(8)?))
    }

    /// Reads a 32-bit length or count.
    #[inline]
    pub(super) fn len(&mut self) -> Result<usize, DecodeError> {
        Ok(self.u32()? as usize)
    }

    pub(super) fn uuid(&mut self) -> Result<Uuid, DecodeError> {
        let mut uuid = [0; 16];
        uuid.copy_from_slice(self.take(16)?);
        Ok(Uuid(uuid))
    }

    pub(super) fn text(&mut self, len: usize) -> Result<&'a str, DecodeError> {
        std::str::from_utf8(self.take(len)?).map_err(|_| DecodeError::Text)
    }

    /// Reads reserved bytes: always written as zeroes, so that a later version may give them a meaning.
    pub(super) fn zeroes(&mut self, len: usize) -> Result<(), DecodeError> {
        if is_zero(self.take(len)?) { Ok(()) } else { Err(DecodeError::Field("reserved")) }
    }

    /// Checks that nothing follows.
    pub(super) fn end(&self) -> Result<(), DecodeError> {
        if self.left() == 0 { Ok(()) } else { Err(DecodeError::Length) }
    }
}

/// Writes fields in sequence.
///
/// Every method panics if the slice is too short: callers size it with the structure's own length, so that would be a
/// bug of this module and must not reach a disk.
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    at: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut [u8]) -> Self {
        Self { out, at: 0 }
    }

    /// Returns the bytes written so far.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        let end = self.at + bytes.len();
        self.out[self.at..end].copy_from_slice(bytes);
        self.at = end;
    }

    pub(super) fn u8(&mut self, value: u8) {
        self.bytes(&[value]);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.bytes(&value.to_le_bytes());
    }

    #[inline]
    pub(super) fn u32(&mut self, value: u32) {
        self.bytes(&value.to_le_bytes());
    }

    #[inline]
    pub(super) fn u64(&mut self, value: u64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Writes a length or count as 32 bits.
    #[inline]
    pub(super) fn len(&mut self, len: usize) {
        self.u32(u32::try_from(len).expect("limits keep every length below 4 GiB"));
    }

    pub(super) fn uuid(&mut self, uuid: &Uuid) {
        self.bytes(&uuid.0);
    }

    pub(super) fn zeroes(&mut self, len: usize) {
        self.out[self.at..self.at + len].fill(0);
        self.at += len;
    }
}
