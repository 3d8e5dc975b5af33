//! The bytes of a Parquet file, row group by row group.
//!
//! Limits: the values of one row group are in memory, and then its pages: `serializer.rowGroupBytes` of values, or
//! [`ROWS_MAX`] rows. A row that is larger is a row group alone.

use super::columns::{Column, Columns, Values};
use super::misfit::Misfit;
use super::settings::ParquetSettings;
use millpond::Event;
use parquet::data_type as types;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedColumnWriter, SerializedFileWriter};
use std::io::{self, Write};
use std::sync::Arc;

/// Rows of a row group.
const ROWS_MAX: u64 = 1 << 20;

/// Why no file was made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParquetFileError {
    /// An event does not fit the schema of its file.
    #[error("an event does not fit the schema of its file: {0}")]
    Event(Misfit),
    /// The library refused.
    #[error("the file cannot be made: {0}")]
    Parquet(#[from] ParquetError),
}

/// Makes one file.
pub(crate) struct ParquetWriter {
    settings: ParquetSettings,
    columns: Columns,
    rows: u64,
    writer: SerializedFileWriter<Buffer>,
}

/// Bytes that were made and not taken yet.
#[derive(Default)]
struct Buffer(Vec<u8>);

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ParquetWriter {
    /// Begins a file.
    ///
    /// # Errors
    /// The library refuses the schema.
    pub(crate) fn new(settings: &ParquetSettings) -> Result<Self, ParquetFileError> {
        let properties =
            WriterProperties::builder().set_compression(settings.codec.compression()).build();
        let root = Arc::clone(&settings.schema.root);
        Ok(Self {
            columns: settings.schema.columns(),
            settings: settings.clone(),
            rows: 0,
            writer: SerializedFileWriter::new(Buffer::default(), root, Arc::new(properties))?,
        })
    }

    /// Adds an event as a row.
    ///
    /// # Errors
    /// It does not fit; the file cannot be used any more.
    pub(crate) fn add(&mut self, event: &Event) -> Result<(), ParquetFileError> {
        let shredded = self.settings.schema.shred(event, &mut self.columns);
        shredded.map_err(ParquetFileError::Event)?;
        self.rows += 1;
        Ok(())
    }

    /// Returns whether the row group is to be written.
    pub(crate) fn is_full(&self) -> bool {
        self.rows >= ROWS_MAX || self.columns.bytes() >= self.settings.row_group_bytes
    }

    /// Ends the row group and returns the bytes of the file since the last call.
    ///
    /// # Errors
    /// The library failed; the file cannot be used any more.
    pub(crate) fn row_group(&mut self) -> Result<Vec<u8>, ParquetFileError> {
        if self.rows > 0 {
            let mut group = self.writer.next_row_group()?;
            for column in &self.columns.all {
                let next = group.next_column()?;
                let mut writer = next.expect("there is a writer for each column of the schema");
                write_column(column, &mut writer)?;
                writer.close()?;
            }
            group.close()?;
            self.columns.clear();
            self.rows = 0;
        }
        self.writer.flush().map_err(ParquetError::from)?;
        Ok(std::mem::take(&mut self.writer.inner_mut().0))
    }

    /// Ends the file and returns the rest of its bytes.
    ///
    /// # Errors
    /// The library failed.
    pub(crate) fn end(mut self) -> Result<Vec<u8>, ParquetFileError> {
        let mut bytes = self.row_group()?;
        self.writer.finish()?;
        bytes.append(&mut self.writer.inner_mut().0);
        Ok(bytes)
    }
}

fn write_column(
    column: &Column,
    writer: &mut SerializedColumnWriter<'_>,
) -> Result<(), ParquetError> {
    let levels = (Some(&column.definitions[..]), Some(&column.repetitions[..]));
    match &column.values {
        Values::Boolean(values) => {
            writer.typed::<types::BoolType>().write_batch(values, levels.0, levels.1)
        }
        Values::Int32(values) => {
            writer.typed::<types::Int32Type>().write_batch(values, levels.0, levels.1)
        }
        Values::Int64(values) => {
            writer.typed::<types::Int64Type>().write_batch(values, levels.0, levels.1)
        }
        Values::Float(values) => {
            writer.typed::<types::FloatType>().write_batch(values, levels.0, levels.1)
        }
        Values::Double(values) => {
            writer.typed::<types::DoubleType>().write_batch(values, levels.0, levels.1)
        }
        Values::Bytes(values) => {
            writer.typed::<types::ByteArrayType>().write_batch(values, levels.0, levels.1)
        }
    }
    .map(|_| ())
}
