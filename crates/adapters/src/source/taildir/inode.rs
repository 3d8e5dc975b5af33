//! A file by its inode.

use millpond_flow::base::files;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// A file system and an inode in it.
pub(super) type InodeId = (u64, u64);

/// Opens the file with this inode. If the name leads to another file by now, as after a log rotation since the
/// listing, returns [`io::ErrorKind::NotFound`].
pub(super) fn open(path: &Path, id: InodeId) -> io::Result<File> {
    let file = files::open_laid(path)?;
    let found = file.metadata()?;
    if (found.dev(), found.ino()) != id {
        let what = "another file has its name, and it was not open";
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    Ok(file)
}
