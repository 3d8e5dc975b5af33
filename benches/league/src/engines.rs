//! The engines of the table, and the queues that are broken on purpose.

use crate::control::Control;
use std::path::Path;
use stores::{Entry, Failure, STORES, Setup, Store};

/// Returns the engines in the order of the table.
pub(crate) fn all() -> impl Iterator<Item = &'static Entry> {
    STORES.iter().filter(|store| !store.faults.is_empty())
}

/// Opens the store in `dir`, or creates it.
pub(crate) fn open(name: &str, dir: &Path) -> Result<Box<dyn Store>, Failure> {
    Ok(match name.strip_prefix("control-") {
        Some(fault) => Box::new(Control::open(dir, fault)?),
        None => stores::open(name, &Setup::small(dir))?,
    })
}
