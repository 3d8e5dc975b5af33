//! Avro's binary values, as far as this protocol uses them.

use super::AvroError;

/// Appends a `long` (or `int`, or an index): zigzag, then seven bits per byte, the lowest first.
pub fn put_long(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest & 0x7F) as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// Appends a count or a length.
pub fn put_count(out: &mut Vec<u8>, count: usize) {
    put_long(out, i64::try_from(count).expect("no slice has more than 2^63 - 1 items"));
}

/// Appends `bytes` or a `string`.
pub fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_count(out, bytes.len());
    out.extend_from_slice(bytes);
}

/// Reads values from the front of a message.
#[derive(Clone, Debug)]
pub struct AvroReader<'a> {
    rest: &'a [u8],
}

impl<'a> AvroReader<'a> {
    /// Returns a reader of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Returns the unread bytes.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Reads the next `n` bytes.
    ///
    /// # Errors
    /// There are fewer.
    pub fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], AvroError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(AvroError::Short(what))?;
        self.rest = rest;
        Ok(taken)
    }

    /// Reads the next 16 bytes, a hash.
    ///
    /// # Errors
    /// There are fewer.
    pub fn hash(&mut self, what: &'static str) -> Result<[u8; 16], AvroError> {
        let mut hash = [0; 16];
        hash.copy_from_slice(self.take(16, what)?);
        Ok(hash)
    }

    /// Reads a `long`.
    ///
    /// # Errors
    /// The bytes end within it, or it has more than 64 bits.
    pub fn long(&mut self, what: &'static str) -> Result<i64, AvroError> {
        let mut number = 0u64;
        for (i, &byte) in self.rest.iter().enumerate() {
            let bits = u64::from(byte & 0x7F);
            if i == 10 || (i == 9 && bits > 1) {
                return Err(AvroError::TooLong(what));
            }
            number |= bits << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = &self.rest[i + 1..];
                return Ok((number >> 1) as i64 ^ -((number & 1) as i64));
            }
        }
        Err(AvroError::Short(what))
    }

    /// Reads a boolean.
    ///
    /// # Errors
    /// The bytes end, or the next is neither 0 nor 1.
    pub fn boolean(&mut self, what: &'static str) -> Result<bool, AvroError> {
        match self.take(1, what)?[0] {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(AvroError::Number { what, number: i64::from(other) }),
        }
    }

    /// Reads the index of a union of null and another type; returns true for the other type.
    ///
    /// # Errors
    /// The bytes end, or the index is another.
    pub fn is_some(&mut self, what: &'static str) -> Result<bool, AvroError> {
        match self.long(what)? {
            0 => Ok(false),
            1 => Ok(true),
            number => Err(AvroError::Number { what, number }),
        }
    }

    /// Reads `bytes`, or the bytes of a `string`.
    ///
    /// # Errors
    /// Its length is negative or goes beyond the end.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], AvroError> {
        let number = self.long(what)?;
        let n = usize::try_from(number).map_err(|_| AvroError::Number { what, number })?;
        self.take(n, what)
    }

    /// Reads a `string` that has to be UTF-8.
    ///
    /// # Errors
    /// As [`AvroReader::bytes`], or it is not.
    pub fn text(&mut self, what: &'static str) -> Result<&'a str, AvroError> {
        std::str::from_utf8(self.bytes(what)?).map_err(|_| AvroError::NoText(what))
    }

    /// Reads the number of items in the next block of an array or map; 0 at its end. Each item takes at least
    /// `least` bytes, which bounds a valid count.
    ///
    /// # Errors
    /// The bytes end, or so many items cannot follow.
    pub fn block(&mut self, least: usize, what: &'static str) -> Result<usize, AvroError> {
        let number = self.long(what)?;
        if number < 0 {
            // Its length in bytes follows, for readers that skip it.
            let length = self.long(what)?;
            if usize::try_from(length).map_or(true, |length| length > self.rest.len()) {
                return Err(AvroError::Number { what, number: length });
            }
        }
        let count = usize::try_from(number.unsigned_abs()).ok();
        count
            .filter(|count| *count <= self.rest.len() / least)
            .ok_or(AvroError::Number { what, number })
    }

    /// Skips a map of bytes.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn skip_map(&mut self, what: &'static str) -> Result<(), AvroError> {
        loop {
            let items = self.block(2, what)?;
            if items == 0 {
                return Ok(());
            }
            for _ in 0..items * 2 {
                self.bytes(what)?;
            }
        }
    }

    /// Checks that everything was read.
    ///
    /// # Errors
    /// Something is left.
    pub fn end(&self) -> Result<(), AvroError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(AvroError::Trailing(left)),
        }
    }
}
