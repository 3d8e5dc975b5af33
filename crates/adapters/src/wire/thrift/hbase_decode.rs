//! The gateway's side of the calls, for tests: what a call says, and the bytes of replies.

use super::values::{EXCEPTION, MessageHeader, REPLY, ThriftReader, ThriftType, ThriftWriter};
use super::{ThriftError, ThriftProtocol};
use std::borrow::Cow;

/// The cells of a row: column family, qualifier, value.
pub type Cells<V> = Vec<(String, String, V)>;

/// A call of the sink.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HbaseCall {
    /// `putMultiple`: the table and its rows, each with whether it is logged.
    Puts(String, Vec<(String, Cells<Vec<u8>>, bool)>),
    /// `increment`: the table, the row, what is added, and whether it is logged.
    Increment(String, String, Cells<i64>, bool),
    /// `exists`: the table and the column family.
    Exists(String, String),
}

/// Returns the number of the call in `message`, and the call.
///
/// # Errors
/// It is not one of the calls of the sink.
pub fn call(protocol: ThriftProtocol, message: &[u8]) -> Result<(i32, HbaseCall), ThriftError> {
    let mut reader = ThriftReader::new(protocol, message);
    let head = reader.head()?;
    let reader = &mut reader;
    let mut last = 0;
    expect(reader, &mut last, 1)?;
    let table = text(reader)?;
    expect(reader, &mut last, 2)?;
    let call = match &*head.name {
        "putMultiple" => {
            let (rows, _) = reader.list()?;
            let rows: Result<Vec<_>, _> = (0..rows).map(|_| row(reader, value)).collect();
            HbaseCall::Puts(table, rows?)
        }
        "increment" => {
            let (row, cells, wal) = row(reader, amount)?;
            HbaseCall::Increment(table, row, cells, wal)
        }
        "exists" => {
            let (_, cells, _) = row(reader, |_| Ok(()))?;
            HbaseCall::Exists(table, cells[0].0.clone())
        }
        _ => return Err(ThriftError::NoMessage),
    };
    Ok((head.sequence, call))
}

fn expect(reader: &mut ThriftReader<'_>, last: &mut i16, number: i16) -> Result<(), ThriftError> {
    match reader.field(last)? {
        Some(field) if field.number == number => Ok(()),
        _ => Err(ThriftError::Missing("an argument")),
    }
}

fn text(reader: &mut ThriftReader<'_>) -> Result<String, ThriftError> {
    reader.text().map(Cow::into_owned)
}

fn amount(reader: &mut ThriftReader<'_>) -> Result<i64, ThriftError> {
    reader.i64()
}

fn value(reader: &mut ThriftReader<'_>) -> Result<Vec<u8>, ThriftError> {
    reader.bytes().map(<[u8]>::to_vec)
}

/// Reads `TPut`, `TIncrement` or `TGet`: a row, its columns, and the durability.
fn row<V>(
    reader: &mut ThriftReader<'_>,
    value: fn(&mut ThriftReader<'_>) -> Result<V, ThriftError>,
) -> Result<(String, Cells<V>, bool), ThriftError> {
    let (mut key, mut cells, mut wal, mut last) = (String::new(), Vec::new(), true, 0);
    while let Some(field) = reader.field(&mut last)? {
        match (field.number, field.kind) {
            (1, _) => key = text(reader)?,
            (2, _) => {
                for _ in 0..reader.list()?.0 {
                    cells.push(cell(reader, value)?);
                }
            }
            (5 | 6, ThriftType::I32) => wal = reader.i32()? == 0,
            _ => return Err(ThriftError::Number),
        }
    }
    Ok((key, cells, wal))
}

fn cell<V>(
    reader: &mut ThriftReader<'_>,
    value: fn(&mut ThriftReader<'_>) -> Result<V, ThriftError>,
) -> Result<(String, String, V), ThriftError> {
    let (mut family, mut name, mut found, mut last) = (String::new(), String::new(), None, 0);
    while let Some(field) = reader.field(&mut last)? {
        match field.number {
            1 => family = text(reader)?,
            2 => name = text(reader)?,
            3 => found = Some(value(reader)?),
            _ => return Err(ThriftError::Number),
        }
    }
    let found = match found {
        Some(found) => found,
        None => value(&mut ThriftReader::new(ThriftProtocol::Binary, &[0; 8]))?,
    };
    Ok((family, name, found))
}

/// Returns the reply to a call: done, or `TIOError` with a message.
#[must_use]
pub fn reply(protocol: ThriftProtocol, sequence: i32, error: Option<&str>) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ThriftWriter::new(protocol, &mut out);
    writer.head(&MessageHeader { name: Cow::Borrowed("m"), kind: REPLY, sequence }, false);
    if let Some(message) = error {
        writer.field(1, ThriftType::Struct, 0);
        writer.field(1, ThriftType::Bytes, 0);
        writer.bytes(message.as_bytes());
        writer.end();
    }
    writer.end();
    out
}

/// Returns Thrift's exception of an internal error.
#[must_use]
pub fn exception(protocol: ThriftProtocol, sequence: i32, code: i32) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = ThriftWriter::new(protocol, &mut out);
    writer.head(&MessageHeader { name: Cow::Borrowed("m"), kind: EXCEPTION, sequence }, false);
    writer.field(1, ThriftType::Bytes, 0);
    writer.bytes(b"Internal error processing m");
    writer.field(2, ThriftType::I32, 1);
    writer.i32(code);
    writer.end();
    out
}
