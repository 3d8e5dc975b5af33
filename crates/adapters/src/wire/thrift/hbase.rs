//! The calls of HBase's Thrift2 gateway (`THBaseService`) that the sink `hbase2` makes, and their replies.
//!
//! `putMultiple` and `increment` write; `exists` asks whether a table and its column family can be read.

use super::values::{
    CALL, EXCEPTION, MessageHeader, REPLY, ThriftReader, ThriftType, ThriftWriter,
};
use super::{ThriftError, ThriftProtocol};
use bytes::Bytes;
use std::borrow::Cow;

/// Most characters of an exception's message that are kept: its first line.
const MESSAGE_CHARS_MAX: usize = 500;

/// `TDurability.SKIP_WAL`: the region server keeps the cells in memory only until its next flush.
const SKIP_WAL: i32 = 1;

/// The cells of one row, all of the same column family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HbasePut {
    /// The row key.
    pub row: Bytes,
    /// Column qualifiers with their values.
    pub columns: Vec<(Bytes, Bytes)>,
}

impl HbasePut {
    /// Returns the most bytes that it takes in a call with this column family.
    #[must_use]
    pub fn wire_bytes(&self, family: &[u8]) -> usize {
        let cells = self.columns.iter().map(|(name, value)| name.len() + value.len());
        self.row.len() + 32 + cells.map(|bytes| bytes + family.len() + 32).sum::<usize>()
    }
}

/// The increments of one row, all of the same column family: one atomic operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HbaseIncrement {
    /// The row key.
    pub row: Bytes,
    /// Column qualifiers with what is added to their counters.
    pub columns: Vec<(Bytes, i64)>,
}

/// Table, column family and durability, which all calls of a sink share.
#[derive(Clone, Copy, Debug)]
pub struct HbaseTarget<'a> {
    /// The table, with its namespace if that is not the default one: `ns:table`.
    pub table: &'a [u8],
    /// The column family.
    pub family: &'a [u8],
    /// False: the region server does not write the cells to its write-ahead log.
    pub wal: bool,
}

/// Writes the call `putMultiple` of `puts`.
pub fn put_put_multiple(
    out: &mut Vec<u8>,
    protocol: ThriftProtocol,
    sequence: i32,
    target: HbaseTarget<'_>,
    puts: &[&HbasePut],
) {
    let mut writer = begin(out, protocol, "putMultiple", sequence, target.table);
    writer.field(2, ThriftType::List, 1);
    writer.list(puts.len(), ThriftType::Struct);
    for put in puts {
        put_row(&mut writer, target, &put.row, &put.columns, |writer, value| {
            writer.field(3, ThriftType::Bytes, 2);
            writer.bytes(value);
        });
        if !target.wal {
            writer.field(6, ThriftType::I32, 2);
            writer.i32(SKIP_WAL);
        }
        writer.end();
    }
    writer.end();
}

/// Writes the call `increment`.
pub fn put_increment(
    out: &mut Vec<u8>,
    protocol: ThriftProtocol,
    sequence: i32,
    target: HbaseTarget<'_>,
    increment: &HbaseIncrement,
) {
    let mut writer = begin(out, protocol, "increment", sequence, target.table);
    writer.field(2, ThriftType::Struct, 1);
    put_row(&mut writer, target, &increment.row, &increment.columns, |writer, amount| {
        writer.field(3, ThriftType::I64, 2);
        writer.i64(*amount);
    });
    if !target.wal {
        writer.field(5, ThriftType::I32, 2);
        writer.i32(SKIP_WAL);
    }
    writer.end();
    writer.end();
}

/// Writes the call `exists` for one row of the column family. Its reply is an exception if the table or the family is
/// missing, whether the row exists or not.
pub fn put_exists(
    out: &mut Vec<u8>,
    protocol: ThriftProtocol,
    sequence: i32,
    target: HbaseTarget<'_>,
) {
    let mut writer = begin(out, protocol, "exists", sequence, target.table);
    writer.field(2, ThriftType::Struct, 1);
    writer.field(1, ThriftType::Bytes, 0);
    writer.bytes(b"0");
    writer.field(2, ThriftType::List, 1);
    writer.list(1, ThriftType::Struct);
    writer.field(1, ThriftType::Bytes, 0);
    writer.bytes(target.family);
    writer.end();
    writer.end();
    writer.end();
}

/// Writes the row key and the columns of a put or an increment; `value` writes the value of a column.
fn put_row<V>(
    writer: &mut ThriftWriter<'_>,
    target: HbaseTarget<'_>,
    row: &[u8],
    columns: &[(Bytes, V)],
    value: impl Fn(&mut ThriftWriter<'_>, &V),
) {
    writer.field(1, ThriftType::Bytes, 0);
    writer.bytes(row);
    writer.field(2, ThriftType::List, 1);
    writer.list(columns.len(), ThriftType::Struct);
    for (name, of) in columns {
        writer.field(1, ThriftType::Bytes, 0);
        writer.bytes(target.family);
        writer.field(2, ThriftType::Bytes, 1);
        writer.bytes(name);
        value(writer, of);
        writer.end();
    }
}

/// Writes the head of a call and its first argument, the table.
fn begin<'o>(
    out: &'o mut Vec<u8>,
    protocol: ThriftProtocol,
    method: &'static str,
    sequence: i32,
    table: &[u8],
) -> ThriftWriter<'o> {
    let mut writer = ThriftWriter::new(protocol, out);
    writer.head(&MessageHeader { name: Cow::Borrowed(method), kind: CALL, sequence }, false);
    writer.field(1, ThriftType::Bytes, 0);
    writer.bytes(table);
    writer
}

/// An exception of the gateway.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HbaseException {
    /// `TIOError`: HBase did not do it. The first line of its message, with the names of Java's exceptions.
    #[error("{0}")]
    Io(String),
    /// Thrift's own exception: the gateway cannot read the call, does not have it, or failed.
    #[error("the gateway replied with the exception {code}: {message}")]
    Protocol {
        /// Its number in Thrift's list: 1 for an unknown method, 6 for an internal error.
        code: i32,
        /// The first line of its message.
        message: String,
    },
}

/// Reads the reply in `message` to the call `sequence`: `None` if it was done, otherwise the exception.
///
/// # Errors
/// It is invalid, or a reply to another call.
pub fn reply(
    protocol: ThriftProtocol,
    sequence: i32,
    message: &[u8],
) -> Result<Option<HbaseException>, ThriftError> {
    let mut reader = ThriftReader::new(protocol, message);
    let head = reader.head()?;
    if head.sequence != sequence || !matches!(head.kind, REPLY | EXCEPTION) {
        return Err(ThriftError::OtherAnswer);
    }
    if head.kind == EXCEPTION {
        let (message, code) = exception(&mut reader)?;
        return Ok(Some(HbaseException::Protocol { code, message }));
    }
    let (mut failed, mut last) = (None, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            // The result is 0; every other field is an exception that the method declares.
            (1.., ThriftType::Struct) => {
                failed = Some(HbaseException::Io(exception(&mut reader)?.0));
            }
            _ => reader.skip(field.kind, true)?,
        }
    }
    Ok(failed)
}

/// Reads the message and the number of an exception.
fn exception(reader: &mut ThriftReader<'_>) -> Result<(String, i32), ThriftError> {
    let (mut message, mut code, mut last) = (String::new(), 0, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            (1, ThriftType::Bytes) => message = first_line(&reader.text()?),
            (2, ThriftType::I32) => code = reader.i32()?,
            _ => reader.skip(field.kind, true)?,
        }
    }
    Ok((message, code))
}

/// Returns the first line that has text, shortened.
fn first_line(message: &str) -> String {
    let line = message.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no message");
    line.chars().take(MESSAGE_CHARS_MAX).collect()
}

/// Returns the length of the message at the front of `input`, a stream without frames; `None` while it is incomplete.
///
/// # Errors
/// It is not a message of this protocol.
pub fn message_bytes(protocol: ThriftProtocol, input: &[u8]) -> Result<Option<usize>, ThriftError> {
    let mut reader = ThriftReader::new(protocol, input);
    let first = if protocol == ThriftProtocol::Binary { 4 } else { 2 };
    if input.len() < first {
        return Ok(None);
    }
    let whole = reader.head().and_then(|_| reader.skip(ThriftType::Struct, false));
    match whole {
        Ok(()) => Ok(Some(input.len() - reader.remaining())),
        Err(ThriftError::Short) => Ok(None),
        Err(error) => Err(error),
    }
}
