//! `parquet`: events as rows of Parquet files.
//!
//! A Parquet file is readable only with its footer, and its row groups should be large. So events are kept as they
//! are in a *spool file* ([`spool_format`]), batch by batch, and the file is made of it when it is complete
//! ([`writer`]), a row group at a time.
//!
//! An event is a row: as it is, or as the JSON object in its body with the columns of a message type ([`schema`],
//! [`shred`]). It is checked before it is spooled, so that what is spooled fits.
//!
//! Limits: those of [`schema`] and [`writer`]; a batch of a spool file has [`spool_format::BATCH_BYTES_MAX`] bytes.

mod columns;
mod leaf;
mod misfit;
mod schema;
mod settings;
mod shred;
mod spool_format;
mod spool_reader;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use columns::Columns;
pub(crate) use misfit::Misfit;
pub(crate) use settings::ParquetSettings;
pub(super) use spool_format::SpoolFormat;
pub(crate) use spool_reader::{SpoolError, SpoolReader, whole_bytes};
pub(crate) use writer::{ParquetFileError, ParquetWriter};
