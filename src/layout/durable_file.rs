//! Files that are opened if they exist, and created durably.

use super::error::LayoutError;
use crate::disk::{Access, Directory, File};
use std::io;
use std::sync::Arc;

/// Bytes per write where a file is filled through the page cache.
const FILL_BYTES: usize = 1024 * 1024;

/// Opens `name`; returns `None` if there is no such file.
pub(crate) fn open_file(
    directory: &dyn Directory,
    name: &str,
    access: Access,
) -> Result<Option<Arc<dyn File>>, LayoutError> {
    let once = || match directory.open(name, access) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    };
    let path = || directory.path().join(name);
    once().or_else(|_| once()).map_err(|source| LayoutError::read(path(), 0, source))
}

/// Makes `name` a durable file of at least `len` bytes, zeroes where nothing was written. An
/// existing file is completed: its creation may have been interrupted at any step.
pub(crate) fn create_file(
    directory: &dyn Directory,
    name: &str,
    len: u64,
) -> Result<Arc<dyn File>, LayoutError> {
    let path = directory.path().join(name);
    let failed = |source| LayoutError::Create { path: path.clone(), source };
    let file = match open_file(directory, name, Access::Write)? {
        Some(file) => file,
        None => directory.create(name).map_err(failed)?,
    };
    let had = file.len().map_err(failed)?;
    // A process that is killed in a plain write into new space can leave a page for which ext4
    // returns EIO to direct reads as long as the file stays in its cache: so plain writes are
    // avoided where possible.
    if had < len && !file.allocate(len).map_err(failed)? {
        let zeroes = vec![0u8; usize::try_from(len - had).unwrap_or(FILL_BYTES).min(FILL_BYTES)];
        let mut offset = had;
        while offset < len {
            let piece = (len - offset).min(FILL_BYTES as u64) as usize;
            file.write_at(offset, &zeroes[..piece]).map_err(|source| LayoutError::Write {
                path: path.clone(),
                offset,
                source,
            })?;
            offset += piece as u64;
        }
    }
    // Also when it had its length: it may never have been synced.
    file.sync().map_err(failed)?;
    directory.sync().map_err(failed)?;
    Ok(file)
}

/// Removes the file of that name, and what a failed `make` has left.
pub(super) fn create_anew<T>(
    directory: &dyn Directory,
    name: &str,
    make: impl FnOnce() -> Result<T, LayoutError>,
) -> Result<T, LayoutError> {
    match directory.remove(name) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(source) => {
            return Err(LayoutError::Remove { path: directory.path().join(name), source });
        }
    }
    let made = make();
    if made.is_err() {
        // If it stays, the next call removes it.
        let _ = directory.remove(name);
    }
    made
}
