//! Files on a local disk that are not written to their file system yet.
//!
//! Limits: the bytes of a spool's files ([`Spool::new`]).

mod directory;
pub(crate) mod fault;
mod open_file;

pub(crate) use directory::Spool;
pub(crate) use open_file::SpooledFile;
