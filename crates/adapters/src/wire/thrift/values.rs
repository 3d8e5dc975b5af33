//! The values of both protocols.

use super::{ThriftError, ThriftProtocol};
use std::borrow::Cow;

/// Deepest nesting of structures, lists and maps within a value.
pub const DEPTH_MAX: usize = 32;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ThriftType {
    /// True or false.
    Bool,
    /// One byte.
    Byte,
    /// 16 bits.
    I16,
    /// 32 bits.
    I32,
    /// 64 bits.
    I64,
    /// A floating point number.
    Double,
    /// Text or bytes.
    Bytes,
    /// Fields with numbers.
    Struct,
    /// Keys and values.
    Map,
    /// Values of one type; sets are lists as well.
    List,
    /// 16 bytes.
    Uuid,
}

impl ThriftType {
    fn of(code: u8, protocol: ThriftProtocol) -> Result<Self, ThriftError> {
        Ok(match (protocol, code) {
            (ThriftProtocol::Binary, 2) | (ThriftProtocol::Compact, 1 | 2) => Self::Bool,
            (_, 3) => Self::Byte,
            (ThriftProtocol::Binary, 6) | (ThriftProtocol::Compact, 4) => Self::I16,
            (ThriftProtocol::Binary, 8) | (ThriftProtocol::Compact, 5) => Self::I32,
            (ThriftProtocol::Binary, 10) | (ThriftProtocol::Compact, 6) => Self::I64,
            (ThriftProtocol::Binary, 4) | (ThriftProtocol::Compact, 7) => Self::Double,
            (ThriftProtocol::Binary, 11) | (ThriftProtocol::Compact, 8) => Self::Bytes,
            (_, 12) => Self::Struct,
            (ThriftProtocol::Binary, 13) | (ThriftProtocol::Compact, 11) => Self::Map,
            (ThriftProtocol::Binary, 14 | 15) | (ThriftProtocol::Compact, 9 | 10) => Self::List,
            (ThriftProtocol::Binary, 16) | (ThriftProtocol::Compact, 13) => Self::Uuid,
            (_, code) => return Err(ThriftError::Kind(code)),
        })
    }

    fn code(self, protocol: ThriftProtocol) -> u8 {
        let (binary, compact) = match self {
            Self::Bool => (2, 1),
            Self::Byte => (3, 3),
            Self::I16 => (6, 4),
            Self::I32 => (8, 5),
            Self::I64 => (10, 6),
            Self::Double => (4, 7),
            Self::Bytes => (11, 8),
            Self::Struct => (12, 12),
            Self::Map => (13, 11),
            Self::List => (15, 9),
            Self::Uuid => (16, 13),
        };
        if protocol == ThriftProtocol::Binary { binary } else { compact }
    }
}

/// The head of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageHeader<'a> {
    /// The method.
    pub name: Cow<'a, str>,
    /// Call 1, reply 2, exception 3, one-way 4.
    pub kind: u8,
    /// The client's number of the call.
    pub sequence: i32,
}

/// Kind of a call message.
pub const CALL: u8 = 1;
/// Kind of a reply.
pub const REPLY: u8 = 2;
/// Kind of an exception.
pub const EXCEPTION: u8 = 3;

/// A field's number and type. The value of a compact boolean is in its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldHeader {
    /// The number.
    pub number: i16,
    /// The type of its value.
    pub kind: ThriftType,
}

/// Reads values, allocating only for received bytes.
#[derive(Clone, Debug)]
pub struct ThriftReader<'a> {
    protocol: ThriftProtocol,
    rest: &'a [u8],
    /// Elements of lists and entries of maps so far, which determine the memory of decoding.
    pub items: usize,
    /// Entries of the largest skipped map.
    pub widest: usize,
    /// Bytes by which skipped texts grow when they are decoded: invalid UTF-8 grows from one byte to three.
    pub growth: usize,
}

/// Returns the name of a method. It is repeated in replies, so its length is bounded.
///
/// # Errors
/// It is longer than any method's name.
fn method_of(name: &[u8]) -> Result<Cow<'_, str>, ThriftError> {
    const METHOD_BYTES_MAX: usize = 256;
    if name.len() > METHOD_BYTES_MAX {
        return Err(ThriftError::NoMessage);
    }
    Ok(String::from_utf8_lossy(name))
}

impl<'a> ThriftReader<'a> {
    /// Returns a reader of `bytes`.
    #[must_use]
    pub fn new(protocol: ThriftProtocol, bytes: &'a [u8]) -> Self {
        Self { protocol, rest: bytes, items: 0, widest: 0, growth: 0 }
    }

    /// Returns the number of bytes that are still to be read.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], ThriftError> {
        let (front, rest) = self.rest.split_at_checked(len).ok_or(ThriftError::Short)?;
        self.rest = rest;
        Ok(front)
    }

    fn byte(&mut self) -> Result<u8, ThriftError> {
        Ok(self.take(1)?[0])
    }

    fn be_u32(&mut self) -> Result<u32, ThriftError> {
        Ok(self.take(4)?.iter().fold(0, |number, byte| number << 8 | u32::from(*byte)))
    }

    fn varint(&mut self) -> Result<u32, ThriftError> {
        let mut number = 0_u32;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            let bits = u32::from(byte & 0x7F);
            if shift == 28 && bits > 0x0F {
                return Err(ThriftError::Number);
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ThriftError::Number)
    }

    fn zigzag(&mut self) -> Result<i32, ThriftError> {
        let number = self.varint()?;
        Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()))
    }

    /// Reads the head of a message.
    ///
    /// # Errors
    /// It is not a message of this protocol.
    pub fn head(&mut self) -> Result<MessageHeader<'a>, ThriftError> {
        if self.protocol == ThriftProtocol::Compact {
            let (id, kind) = (self.byte()?, self.byte()?);
            if id != 0x82 || kind & 0x1F != 1 {
                return Err(ThriftError::NoMessage);
            }
            let sequence = self.varint()?.cast_signed();
            return Ok(MessageHeader { name: self.method()?, kind: kind >> 5, sequence });
        }
        let first = self.be_u32()?;
        let (name, kind) = match first.cast_signed() {
            1.. => {
                let name = self.take(first as usize).map_err(|_| ThriftError::NoMessage)?;
                (method_of(name)?, self.byte()?)
            }
            _ if first & 0xFFFF_0000 == 0x8001_0000 => {
                (self.method()?, u8::try_from(first & 0xFF).unwrap_or(0))
            }
            _ => return Err(ThriftError::NoMessage),
        };
        Ok(MessageHeader { name, kind, sequence: self.be_u32()?.cast_signed() })
    }

    fn method(&mut self) -> Result<Cow<'a, str>, ThriftError> {
        self.bytes().and_then(method_of)
    }

    /// Reads the next field of a structure; `None` at its end. `last` is the number of the previous one, 0 at the
    /// begin.
    ///
    /// # Errors
    /// Its type is unknown.
    pub fn field(&mut self, last: &mut i16) -> Result<Option<FieldHeader>, ThriftError> {
        let code = self.byte()?;
        if code == 0 {
            return Ok(None);
        }
        let (number, kind) = if self.protocol == ThriftProtocol::Binary {
            let number = self.take(2)?;
            (i16::from_be_bytes([number[0], number[1]]), code)
        } else {
            let number = match code >> 4 {
                0 => i16::try_from(self.zigzag()?).map_err(|_| ThriftError::Number)?,
                more => last.checked_add(i16::from(more)).ok_or(ThriftError::Number)?,
            };
            (number, code & 0x0F)
        };
        *last = number;
        Ok(Some(FieldHeader { number, kind: ThriftType::of(kind, self.protocol)? }))
    }

    /// Reads a 32-bit number.
    ///
    /// # Errors
    /// It is incomplete.
    pub fn i32(&mut self) -> Result<i32, ThriftError> {
        match self.protocol {
            ThriftProtocol::Compact => self.zigzag(),
            ThriftProtocol::Binary => Ok(self.be_u32()?.cast_signed()),
        }
    }

    /// Reads a 64-bit number.
    ///
    /// # Errors
    /// It is incomplete, or of more bits.
    pub fn i64(&mut self) -> Result<i64, ThriftError> {
        if self.protocol == ThriftProtocol::Binary {
            let bytes = self.take(8)?;
            return Ok(bytes.iter().fold(0, |number, byte| number << 8 | i64::from(*byte)));
        }
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            let byte = self.byte()?;
            if shift == 63 && byte > 1 {
                return Err(ThriftError::Number);
            }
            number |= u64::from(byte & 0x7F) << shift;
            if byte & 0x80 == 0 {
                return Ok((number >> 1).cast_signed() ^ -((number & 1).cast_signed()));
            }
        }
        Err(ThriftError::Number)
    }

    /// Reads text or bytes.
    ///
    /// # Errors
    /// They are incomplete.
    pub fn bytes(&mut self) -> Result<&'a [u8], ThriftError> {
        let len = self.length()?;
        self.take(len)
    }

    /// Reads text, with U+FFFD for invalid UTF-8, as Java reads it.
    ///
    /// # Errors
    /// It is incomplete.
    pub fn text(&mut self) -> Result<Cow<'a, str>, ThriftError> {
        self.bytes().map(String::from_utf8_lossy)
    }

    fn length(&mut self) -> Result<usize, ThriftError> {
        let length = match self.protocol {
            ThriftProtocol::Compact => self.varint()?,
            ThriftProtocol::Binary => self.be_u32()?,
        };
        if length > i32::MAX.cast_unsigned() {
            Err(ThriftError::Number)
        } else {
            Ok(length as usize)
        }
    }

    /// Checks a number of elements, each of which has at least a byte.
    fn number_of_items(&mut self, length: usize) -> Result<usize, ThriftError> {
        if length > self.rest.len() {
            return Err(ThriftError::Short);
        }
        self.items += length;
        Ok(length)
    }

    /// Reads the head of a list: number and type of its elements.
    ///
    /// # Errors
    /// It cannot be complete.
    pub fn list(&mut self) -> Result<(usize, ThriftType), ThriftError> {
        let code = self.byte()?;
        let (length, kind) = match self.protocol {
            ThriftProtocol::Binary => (self.length()?, code),
            ThriftProtocol::Compact if code >> 4 == 0x0F => (self.length()?, code & 0x0F),
            ThriftProtocol::Compact => (usize::from(code >> 4), code & 0x0F),
        };
        let length = self.number_of_items(length)?;
        // An empty list may have no type.
        let kind =
            if length == 0 { ThriftType::Byte } else { ThriftType::of(kind, self.protocol)? };
        Ok((length, kind))
    }

    /// Reads the head of a map: number of entries and their types.
    ///
    /// # Errors
    /// It cannot be complete.
    pub fn map(&mut self) -> Result<(usize, ThriftType, ThriftType), ThriftError> {
        let (length, key, value) = match self.protocol {
            ThriftProtocol::Binary => {
                let (key, value) = (self.byte()?, self.byte()?);
                (self.length()?, key, value)
            }
            ThriftProtocol::Compact => match self.length()? {
                0 => return Ok((0, ThriftType::Byte, ThriftType::Byte)),
                length => {
                    let kinds = self.byte()?;
                    (length, kinds >> 4, kinds & 0x0F)
                }
            },
        };
        let length = self.number_of_items(length)?;
        if length == 0 {
            return Ok((0, ThriftType::Byte, ThriftType::Byte));
        }
        Ok((length, ThriftType::of(key, self.protocol)?, ThriftType::of(value, self.protocol)?))
    }

    /// Skips a value of `kind`; `is_field` is true for the value of a field.
    ///
    /// # Errors
    /// It is incomplete, or nested too deeply.
    pub fn skip(&mut self, kind: ThriftType, is_field: bool) -> Result<(), ThriftError> {
        self.skip_within(kind, is_field, DEPTH_MAX)
    }

    fn skip_within(
        &mut self,
        kind: ThriftType,
        is_field: bool,
        depth: usize,
    ) -> Result<(), ThriftError> {
        let is_compact = self.protocol == ThriftProtocol::Compact;
        let deeper = || depth.checked_sub(1).ok_or(ThriftError::Deep);
        match kind {
            ThriftType::Bool if is_compact && is_field => {}
            ThriftType::Bool | ThriftType::Byte => drop(self.byte()?),
            ThriftType::I16 if !is_compact => drop(self.take(2)?),
            ThriftType::I32 if !is_compact => drop(self.take(4)?),
            ThriftType::I64 if !is_compact => drop(self.take(8)?),
            ThriftType::I16 | ThriftType::I32 | ThriftType::I64 => self.skip_varint()?,
            ThriftType::Double => drop(self.take(8)?),
            ThriftType::Uuid => drop(self.take(16)?),
            ThriftType::Bytes => {
                let bytes = self.bytes()?;
                if std::str::from_utf8(bytes).is_err() {
                    self.growth = self.growth.saturating_add(bytes.len().saturating_mul(2));
                }
            }
            ThriftType::Struct => {
                let (depth, mut last) = (deeper()?, 0);
                while let Some(field) = self.field(&mut last)? {
                    self.skip_within(field.kind, true, depth)?;
                }
            }
            ThriftType::List => {
                let (depth, (length, kind)) = (deeper()?, self.list()?);
                for _ in 0..length {
                    self.skip_within(kind, false, depth)?;
                }
            }
            ThriftType::Map => {
                let (depth, (length, key, value)) = (deeper()?, self.map()?);
                self.widest = self.widest.max(length);
                for _ in 0..length {
                    self.skip_within(key, false, depth)?;
                    self.skip_within(value, false, depth)?;
                }
            }
        }
        Ok(())
    }

    fn skip_varint(&mut self) -> Result<(), ThriftError> {
        for _ in 0..10 {
            if self.byte()? & 0x80 == 0 {
                return Ok(());
            }
        }
        Err(ThriftError::Number)
    }
}

/// Appends values to `out`.
#[derive(Debug)]
pub struct ThriftWriter<'o> {
    protocol: ThriftProtocol,
    /// The output.
    pub out: &'o mut Vec<u8>,
}

impl<'o> ThriftWriter<'o> {
    /// Returns a writer to `out`.
    pub fn new(protocol: ThriftProtocol, out: &'o mut Vec<u8>) -> Self {
        Self { protocol, out }
    }

    fn varint(&mut self, mut number: u32) {
        while number > 0x7F {
            self.out.push((number & 0x7F) as u8 | 0x80);
            number >>= 7;
        }
        self.out.push(number as u8);
    }

    fn length(&mut self, length: usize) {
        let length = u32::try_from(length).expect("what is written has less than 4 GiB");
        match self.protocol {
            ThriftProtocol::Compact => self.varint(length),
            ThriftProtocol::Binary => self.out.extend_from_slice(&length.to_be_bytes()),
        }
    }

    /// Writes the head of a message; with a version unless `is_old`, which only the binary protocol supports.
    pub fn head(&mut self, head: &MessageHeader<'_>, is_old: bool) {
        match self.protocol {
            ThriftProtocol::Compact => {
                self.out.extend_from_slice(&[0x82, head.kind << 5 | 1]);
                self.varint(head.sequence.cast_unsigned());
                self.bytes(head.name.as_bytes());
            }
            ThriftProtocol::Binary => {
                if is_old {
                    self.bytes(head.name.as_bytes());
                    self.out.push(head.kind);
                } else {
                    self.out.extend_from_slice(&[0x80, 1, 0, head.kind]);
                    self.bytes(head.name.as_bytes());
                }
                self.out.extend_from_slice(&head.sequence.to_be_bytes());
            }
        }
    }

    /// Writes the head of a field. `last` is the number of the previous one, 0 at the begin.
    pub fn field(&mut self, number: i16, kind: ThriftType, last: i16) {
        let code = kind.code(self.protocol);
        match self.protocol {
            ThriftProtocol::Binary => {
                self.out.push(code);
                self.out.extend_from_slice(&number.to_be_bytes());
            }
            ThriftProtocol::Compact => match u8::try_from(number - last) {
                Ok(more @ 1..=15) => self.out.push(more << 4 | code),
                _ => {
                    self.out.push(code);
                    self.zigzag(i32::from(number));
                }
            },
        }
    }

    /// Writes the end of a structure.
    pub fn end(&mut self) {
        self.out.push(0);
    }

    fn zigzag(&mut self, number: i32) {
        self.varint((number << 1 ^ number >> 31).cast_unsigned());
    }

    /// Writes a 32-bit number.
    pub fn i32(&mut self, number: i32) {
        match self.protocol {
            ThriftProtocol::Compact => self.zigzag(number),
            ThriftProtocol::Binary => self.out.extend_from_slice(&number.to_be_bytes()),
        }
    }

    /// Writes a 64-bit number.
    pub fn i64(&mut self, number: i64) {
        match self.protocol {
            ThriftProtocol::Compact => {
                let mut rest = (number << 1 ^ number >> 63).cast_unsigned();
                while rest > 0x7F {
                    self.out.push((rest & 0x7F) as u8 | 0x80);
                    rest >>= 7;
                }
                self.out.push(rest as u8);
            }
            ThriftProtocol::Binary => self.out.extend_from_slice(&number.to_be_bytes()),
        }
    }

    /// Writes text or bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// Writes the head of a list.
    pub fn list(&mut self, length: usize, kind: ThriftType) {
        let code = kind.code(self.protocol);
        match (self.protocol, u8::try_from(length)) {
            (ThriftProtocol::Binary, _) => {
                self.out.push(code);
                self.length(length);
            }
            (ThriftProtocol::Compact, Ok(short @ 0..=14)) => self.out.push(short << 4 | code),
            (ThriftProtocol::Compact, _) => {
                self.out.push(0xF0 | code);
                self.length(length);
            }
        }
    }

    /// Writes the head of a map.
    pub fn map(&mut self, length: usize, key: ThriftType, value: ThriftType) {
        let (key, value) = (key.code(self.protocol), value.code(self.protocol));
        match self.protocol {
            ThriftProtocol::Binary => {
                self.out.extend_from_slice(&[key, value]);
                self.length(length);
            }
            ThriftProtocol::Compact => {
                self.length(length);
                if length > 0 {
                    self.out.push(key << 4 | value);
                }
            }
        }
    }
}
