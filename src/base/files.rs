//! Files outside the channel: what sinks write and sources read. The channel's own files go
//! through the disk door instead.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

/// Creates `path` for writing and makes its name durable in its directory. Never opens a file
/// that is there already.
///
/// # Errors
/// The file exists ([`io::ErrorKind::AlreadyExists`]) or cannot be created. When only the
/// directory could not be synced, the empty file is removed again.
pub fn create_new(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).open(path)?;
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    if let Err(error) = sync_directory(directory) {
        // Without a durable name, what is written to it may vanish with the machine.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(file)
}

/// Opens `path` for reading.
///
/// # Errors
/// There is no such file, or it cannot be read.
#[allow(clippy::disallowed_methods)] // one of the two doors
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Creates the directory `path` and those above it that are missing, and makes their names durable.
/// A directory that is there already is left as it is.
///
/// # Errors
/// One of them cannot be created or synced, or is no directory.
pub fn create_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_directory(parent)?;
    match std::fs::create_dir(path) {
        // Someone else was faster; what counts is that it is there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        result => result?,
    }
    sync_directory(parent)
}

/// Removes the directory `path` if nothing is in it.
///
/// # Errors
/// It is not empty, is not there, or cannot be removed.
pub fn remove_empty_directory(path: &Path) -> io::Result<()> {
    std::fs::remove_dir(path)
}

/// Makes the names in `directory` durable: files created, renamed or removed there.
///
/// # Errors
/// The directory cannot be opened or synced.
#[allow(clippy::disallowed_methods)] // one of the two doors
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_file_that_is_there_is_never_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        create_new(&path).unwrap().write_all(b"kept").unwrap();
        assert_eq!(create_new(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn missing_directories_are_made_and_files_in_their_place_are_not_touched() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b/c");
        create_directory(&deep).unwrap();
        create_directory(&deep).unwrap();
        assert!(deep.is_dir());
        let file = directory.path().join("file");
        std::fs::write(&file, "kept").unwrap();
        assert!(create_directory(&file).is_err());
        assert!(create_directory(&file.join("below")).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }
}
