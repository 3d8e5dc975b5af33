//! Values of the two protocols.

use super::{Protocol, ThriftError};
use std::borrow::Cow;

/// Levels of structures, lists and maps within a value.
pub const DEPTH_MAX: usize = 32;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
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
    /// Values of one kind; a set is one as well.
    List,
    /// 16 bytes.
    Uuid,
}

impl Kind {
    fn of(code: u8, protocol: Protocol) -> Result<Self, ThriftError> {
        Ok(match (protocol, code) {
            (Protocol::Binary, 2) | (Protocol::Compact, 1 | 2) => Self::Bool,
            (_, 3) => Self::Byte,
            (Protocol::Binary, 6) | (Protocol::Compact, 4) => Self::I16,
            (Protocol::Binary, 8) | (Protocol::Compact, 5) => Self::I32,
            (Protocol::Binary, 10) | (Protocol::Compact, 6) => Self::I64,
            (Protocol::Binary, 4) | (Protocol::Compact, 7) => Self::Double,
            (Protocol::Binary, 11) | (Protocol::Compact, 8) => Self::Bytes,
            (_, 12) => Self::Struct,
            (Protocol::Binary, 13) | (Protocol::Compact, 11) => Self::Map,
            (Protocol::Binary, 14 | 15) | (Protocol::Compact, 9 | 10) => Self::List,
            (Protocol::Binary, 16) | (Protocol::Compact, 13) => Self::Uuid,
            (_, code) => return Err(ThriftError::Kind(code)),
        })
    }

    fn code(self, protocol: Protocol) -> u8 {
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
        if protocol == Protocol::Binary { binary } else { compact }
    }
}

/// What a message begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head<'a> {
    /// The method.
    pub name: Cow<'a, str>,
    /// Call 1, reply 2, exception 3, one-way 4.
    pub kind: u8,
    /// The client's number of the call.
    pub sequence: i32,
}

/// Kinds of messages.
pub const CALL: u8 = 1;
/// An answer.
pub const REPLY: u8 = 2;
/// An answer that says why there is none.
pub const EXCEPTION: u8 = 3;

/// A field's number and kind. The value of a compact boolean stands in its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// The number.
    pub number: i16,
    /// The kind of its value.
    pub kind: Kind,
}

/// Reads values, each allocated only as far as its bytes have come.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    protocol: Protocol,
    rest: &'a [u8],
    /// Elements of lists and entries of maps so far: what decoding them takes goes with that.
    pub items: usize,
    /// Entries of the largest map that was passed over.
    pub widest: usize,
    /// Bytes by which texts that were passed over grow when they are decoded: what is no UTF-8 becomes three
    /// bytes for one.
    pub growth: usize,
}

/// Returns the name of a method. It is repeated in answers, so it has a bound.
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

impl<'a> Reader<'a> {
    /// A reader of `bytes`.
    #[must_use]
    pub fn new(protocol: Protocol, bytes: &'a [u8]) -> Self {
        Self { protocol, rest: bytes, items: 0, widest: 0, growth: 0 }
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

    /// What a message begins with.
    ///
    /// # Errors
    /// It is none of this protocol.
    pub fn head(&mut self) -> Result<Head<'a>, ThriftError> {
        if self.protocol == Protocol::Compact {
            let (id, kind) = (self.byte()?, self.byte()?);
            if id != 0x82 || kind & 0x1F != 1 {
                return Err(ThriftError::NoMessage);
            }
            let sequence = self.varint()?.cast_signed();
            return Ok(Head { name: self.method()?, kind: kind >> 5, sequence });
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
        Ok(Head { name, kind, sequence: self.be_u32()?.cast_signed() })
    }

    fn method(&mut self) -> Result<Cow<'a, str>, ThriftError> {
        self.bytes().and_then(method_of)
    }

    /// The next field of a structure; `None` at its end. `last` is the number of the one before, 0 at
    /// the begin.
    ///
    /// # Errors
    /// There is no such kind.
    pub fn field(&mut self, last: &mut i16) -> Result<Option<Field>, ThriftError> {
        let code = self.byte()?;
        if code == 0 {
            return Ok(None);
        }
        let (number, kind) = if self.protocol == Protocol::Binary {
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
        Ok(Some(Field { number, kind: Kind::of(kind, self.protocol)? }))
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// It is not whole.
    pub fn i32(&mut self) -> Result<i32, ThriftError> {
        match self.protocol {
            Protocol::Compact => self.zigzag(),
            Protocol::Binary => Ok(self.be_u32()?.cast_signed()),
        }
    }

    /// Text or bytes.
    ///
    /// # Errors
    /// They are not whole.
    pub fn bytes(&mut self) -> Result<&'a [u8], ThriftError> {
        let len = self.length()?;
        self.take(len)
    }

    /// Text, with U+FFFD in the place of what is none, as Java reads it.
    ///
    /// # Errors
    /// It is not whole.
    pub fn text(&mut self) -> Result<Cow<'a, str>, ThriftError> {
        self.bytes().map(String::from_utf8_lossy)
    }

    fn length(&mut self) -> Result<usize, ThriftError> {
        let length = match self.protocol {
            Protocol::Compact => self.varint()?,
            Protocol::Binary => self.be_u32()?,
        };
        if length > i32::MAX.cast_unsigned() {
            Err(ThriftError::Number)
        } else {
            Ok(length as usize)
        }
    }

    /// A number of elements, none of which has less than a byte.
    fn number_of_items(&mut self, length: usize) -> Result<usize, ThriftError> {
        if length > self.rest.len() {
            return Err(ThriftError::Short);
        }
        self.items += length;
        Ok(length)
    }

    /// What a list begins with: how many, and of which kind.
    ///
    /// # Errors
    /// It cannot be whole.
    pub fn list(&mut self) -> Result<(usize, Kind), ThriftError> {
        let code = self.byte()?;
        let (length, kind) = match self.protocol {
            Protocol::Binary => (self.length()?, code),
            Protocol::Compact if code >> 4 == 0x0F => (self.length()?, code & 0x0F),
            Protocol::Compact => (usize::from(code >> 4), code & 0x0F),
        };
        let length = self.number_of_items(length)?;
        // An empty list may be of no kind.
        let kind = if length == 0 { Kind::Byte } else { Kind::of(kind, self.protocol)? };
        Ok((length, kind))
    }

    /// What a map begins with: how many entries, and of which kinds.
    ///
    /// # Errors
    /// It cannot be whole.
    pub fn map(&mut self) -> Result<(usize, Kind, Kind), ThriftError> {
        let (length, key, value) = match self.protocol {
            Protocol::Binary => {
                let (key, value) = (self.byte()?, self.byte()?);
                (self.length()?, key, value)
            }
            Protocol::Compact => match self.length()? {
                0 => return Ok((0, Kind::Byte, Kind::Byte)),
                length => {
                    let kinds = self.byte()?;
                    (length, kinds >> 4, kinds & 0x0F)
                }
            },
        };
        let length = self.number_of_items(length)?;
        if length == 0 {
            return Ok((0, Kind::Byte, Kind::Byte));
        }
        Ok((length, Kind::of(key, self.protocol)?, Kind::of(value, self.protocol)?))
    }

    /// Goes over a value of `kind`; one that is a field where `is_field`.
    ///
    /// # Errors
    /// It is not whole, or nested too deep.
    pub fn skip(&mut self, kind: Kind, is_field: bool) -> Result<(), ThriftError> {
        self.skip_within(kind, is_field, DEPTH_MAX)
    }

    fn skip_within(&mut self, kind: Kind, is_field: bool, depth: usize) -> Result<(), ThriftError> {
        let is_compact = self.protocol == Protocol::Compact;
        let deeper = || depth.checked_sub(1).ok_or(ThriftError::Deep);
        match kind {
            Kind::Bool if is_compact && is_field => {}
            Kind::Bool | Kind::Byte => drop(self.byte()?),
            Kind::I16 if !is_compact => drop(self.take(2)?),
            Kind::I32 if !is_compact => drop(self.take(4)?),
            Kind::I64 if !is_compact => drop(self.take(8)?),
            Kind::I16 | Kind::I32 | Kind::I64 => self.skip_varint()?,
            Kind::Double => drop(self.take(8)?),
            Kind::Uuid => drop(self.take(16)?),
            Kind::Bytes => {
                let bytes = self.bytes()?;
                if std::str::from_utf8(bytes).is_err() {
                    self.growth = self.growth.saturating_add(bytes.len().saturating_mul(2));
                }
            }
            Kind::Struct => {
                let (depth, mut last) = (deeper()?, 0);
                while let Some(field) = self.field(&mut last)? {
                    self.skip_within(field.kind, true, depth)?;
                }
            }
            Kind::List => {
                let (depth, (length, kind)) = (deeper()?, self.list()?);
                for _ in 0..length {
                    self.skip_within(kind, false, depth)?;
                }
            }
            Kind::Map => {
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

/// Writes values behind `out`.
#[derive(Debug)]
pub struct Writer<'o> {
    protocol: Protocol,
    /// What is written.
    pub out: &'o mut Vec<u8>,
}

impl<'o> Writer<'o> {
    /// A writer behind `out`.
    pub fn new(protocol: Protocol, out: &'o mut Vec<u8>) -> Self {
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
            Protocol::Compact => self.varint(length),
            Protocol::Binary => self.out.extend_from_slice(&length.to_be_bytes()),
        }
    }

    /// What a message begins with; with a version unless `is_old`, which only the binary protocol knows.
    pub fn head(&mut self, head: &Head<'_>, is_old: bool) {
        match self.protocol {
            Protocol::Compact => {
                self.out.extend_from_slice(&[0x82, head.kind << 5 | 1]);
                self.varint(head.sequence.cast_unsigned());
                self.bytes(head.name.as_bytes());
            }
            Protocol::Binary => {
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

    /// What a field begins with. `last` is the number of the one before, 0 at the begin.
    pub fn field(&mut self, number: i16, kind: Kind, last: i16) {
        let code = kind.code(self.protocol);
        match self.protocol {
            Protocol::Binary => {
                self.out.push(code);
                self.out.extend_from_slice(&number.to_be_bytes());
            }
            Protocol::Compact => match u8::try_from(number - last) {
                Ok(more @ 1..=15) => self.out.push(more << 4 | code),
                _ => {
                    self.out.push(code);
                    self.zigzag(i32::from(number));
                }
            },
        }
    }

    /// The end of a structure.
    pub fn end(&mut self) {
        self.out.push(0);
    }

    fn zigzag(&mut self, number: i32) {
        self.varint((number << 1 ^ number >> 31).cast_unsigned());
    }

    /// A number of 32 bits.
    pub fn i32(&mut self, number: i32) {
        match self.protocol {
            Protocol::Compact => self.zigzag(number),
            Protocol::Binary => self.out.extend_from_slice(&number.to_be_bytes()),
        }
    }

    /// Text or bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.out.extend_from_slice(bytes);
    }

    /// What a list begins with.
    pub fn list(&mut self, length: usize, kind: Kind) {
        let code = kind.code(self.protocol);
        match (self.protocol, u8::try_from(length)) {
            (Protocol::Binary, _) => {
                self.out.push(code);
                self.length(length);
            }
            (Protocol::Compact, Ok(short @ 0..=14)) => self.out.push(short << 4 | code),
            (Protocol::Compact, _) => {
                self.out.push(0xF0 | code);
                self.length(length);
            }
        }
    }

    /// What a map begins with.
    pub fn map(&mut self, length: usize, key: Kind, value: Kind) {
        let (key, value) = (key.code(self.protocol), value.code(self.protocol));
        match self.protocol {
            Protocol::Binary => {
                self.out.extend_from_slice(&[key, value]);
                self.length(length);
            }
            Protocol::Compact => {
                self.length(length);
                if length > 0 {
                    self.out.push(key << 4 | value);
                }
            }
        }
    }
}
