//! Files outside the channel: files that sinks write and sources read. The channel's own files go through `disk`.

use millpond::internal::disk::EVENT_FILE_MODE;
pub use std::fs::File;
use std::fs::{OpenOptions, ReadDir, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Mode of a new file that all users allowed by the umask may read.
const PUBLIC_FILE_MODE: u32 = 0o666;

/// Creates `path` for writing, with [`EVENT_FILE_MODE`], and makes its name durable in its directory. Never opens an
/// existing file.
///
/// # Errors
/// The file exists ([`io::ErrorKind::AlreadyExists`]) or cannot be created. If only the directory could not be synced,
/// the empty file is removed again.
pub fn create_new(path: &Path) -> io::Result<File> {
    create_with(path, EVENT_FILE_MODE)
}

/// Like [`create_new`], for a public file without event contents.
///
/// # Errors
/// As [`create_new`].
pub fn create_new_public(path: &Path) -> io::Result<File> {
    create_with(path, PUBLIC_FILE_MODE)
}

fn create_with(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    if let Err(error) = sync_directory(parent(path)) {
        // Without a durable name, its contents could be lost in a power cut.
        let _ = std::fs::remove_file(path);
        return Err(error);
    }
    Ok(file)
}

/// Opens `path` for reading.
///
/// # Errors
/// There is no such file, or it cannot be read.
#[allow(clippy::disallowed_methods)] // one of the two places that open files
pub fn open(path: &Path) -> io::Result<File> {
    File::open(path)
}

/// Opens the regular file `path`, or the target of that link, for reading. A pipe or device in its place is refused,
/// without waiting for the other end.
///
/// # Errors
/// There is no such file, it cannot be read, or it is not a regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// Like [`open_regular`], for a directory in which other users may create names. A link is followed only if the
/// superuser, the agent's user or the owner of its target created it: no user can have the agent read a file for them,
/// by a link to it, that they cannot read themselves.
///
/// # Errors
/// As [`open_regular`]; [`io::ErrorKind::PermissionDenied`] for a link of another user; [`io::ErrorKind::NotFound`] if
/// another file has the name by now.
pub fn open_laid(path: &Path) -> io::Result<File> {
    let file = open_regular(path)?;
    let opened = file.metadata()?;
    // After the opening: a link that was created and removed again shows as another file.
    let name = std::fs::symlink_metadata(path)?;
    if !name.is_symlink() {
        if (name.dev(), name.ino()) != (opened.dev(), opened.ino()) {
            let what = "another file had its name during the opening";
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        return Ok(file);
    }
    let (by, of) = (name.uid(), opened.uid());
    if [0, of, rustix::process::geteuid().as_raw()].contains(&by) {
        return Ok(file);
    }
    let what = format!(
        "it is a link that user {by} created to a file of user {of}; links are followed if the superuser, the agent's user or the file's owner created them"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

/// Opens `path` for appending; a missing file is created with [`EVENT_FILE_MODE`].
///
/// # Errors
/// It cannot be opened or created.
pub fn append(path: &Path) -> io::Result<File> {
    // Fails instead of waiting for the reader of a pipe.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(EVENT_FILE_MODE).custom_flags(flags).open(path)
}

/// Makes what was written to `file` durable.
///
/// # Errors
/// It cannot be synced; what was written since the last sync counts as lost.
pub fn sync(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Opens the lock file `path`, which is created if it is missing and never a link, and locks it (`flock`) until it is
/// closed. Returns whether the lock was taken: another process may have it.
///
/// # Errors
/// It cannot be opened, or cannot be locked at all.
pub fn try_lock(path: &Path) -> io::Result<(File, bool)> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false).mode(EVENT_FILE_MODE);
    let file = options.custom_flags(flags.bits().cast_signed()).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok((file, true)),
        Err(TryLockError::WouldBlock) => Ok((file, false)),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Locks the open `file` (`flock`) until it is closed, for [`is_held`]; does nothing where files cannot be locked.
pub fn hold(file: &File) {
    let _ = file.try_lock();
}

/// Returns whether the regular file `path` is locked with [`hold`], by this process or another; false where
/// files cannot be locked.
///
/// # Errors
/// It cannot be opened.
pub fn is_held(path: &Path) -> io::Result<bool> {
    Ok(matches!(open_regular(path)?.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Cuts the regular file `path`, which is never a link, to its first `length` bytes, durably. A shorter one stays.
///
/// # Errors
/// It cannot be opened or changed.
pub fn truncate(path: &Path, length: u64) -> io::Result<()> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let mut options = OpenOptions::new();
    let file = options.write(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    if file.metadata()?.len() > length {
        file.set_len(length)?;
    }
    file.sync_all()
}

/// Returns the home directory of the user: `HOME`, or the entry in the system's user database.
#[must_use]
pub fn home_directory() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

/// Appends `line` and a newline to the file `path`, durably; a missing file is created with [`EVENT_FILE_MODE`]. The
/// name of an existing one is taken for durable. If its last line has no end, because a machine stopped within it, a
/// newline is written first.
///
/// # Errors
/// It would have more than `bytes_max` bytes ([`io::ErrorKind::QuotaExceeded`]), is not a regular file, or cannot be
/// written; a partly written line is removed if possible.
pub fn append_line(path: &Path, line: &[u8], bytes_max: u64) -> io::Result<()> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    let options = options.read(true).append(true).create(true).mode(EVENT_FILE_MODE);
    let options = options.custom_flags(flags);
    let mut file = options.open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let len = metadata.len();
    let mut last = [b'\n'];
    if let Some(at) = len.checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    let mut bytes = Vec::with_capacity(line.len() + 2);
    bytes.extend((last != [b'\n']).then_some(b'\n'));
    bytes.extend_from_slice(line);
    bytes.push(b'\n');
    if len.saturating_add(bytes.len() as u64) > bytes_max {
        return Err(io::ErrorKind::QuotaExceeded.into());
    }
    // A file that was just created has no durable name yet.
    let named = || if len == 0 { sync_directory(parent(path)) } else { Ok(()) };
    let done = file.write_all(&bytes).and_then(|()| file.sync_all()).and_then(|()| named());
    done.inspect_err(|_| {
        let _ = file.set_len(len);
    })
}

/// Lists the directory.
///
/// # Errors
/// It does not exist or cannot be read.
pub fn list(directory: &Path) -> io::Result<ReadDir> {
    std::fs::read_dir(directory)
}

/// Renames the file `from` to `to`, which must not exist yet, and makes that durable. Both names are in one directory.
///
/// # Errors
/// The name is taken ([`io::ErrorKind::AlreadyExists`]), or the renaming failed.
pub fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // Some network file systems cannot do both at once.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) => {
            if to.symlink_metadata().is_ok() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            rename(from, to)?;
        }
        result => result?,
    }
    sync_directory(parent(to))
}

/// Removes the file `path` and makes that durable.
///
/// # Errors
/// It does not exist or cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)?;
    sync_directory(parent(path))
}

/// Replaces the contents of the file `path` atomically: a reader finds the old bytes or the new ones, also after a
/// power cut. A link is followed, so that it stays a link. The file has [`EVENT_FILE_MODE`].
///
/// # Errors
/// The bytes cannot be written to a temporary file or renamed into place; then the old ones remain.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, EVENT_FILE_MODE)
}

/// Like [`replace`], for a public file without event contents.
///
/// # Errors
/// As [`replace`].
pub fn replace_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, PUBLIC_FILE_MODE)
}

/// Like [`replace`], for a file that only its owner may read and write.
///
/// # Errors
/// As [`replace`].
pub fn replace_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, 0o600)
}

fn replace_with(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = path.with_file_name(name);
    // What exists was left by a crash or created by another user: a link to another file, or a file that others may
    // read. The new file must be ours.
    match std::fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    written.and_then(|()| rename(&temporary, &path)).inspect_err(|_| {
        // On a full disk the partly written file would only take space.
        let _ = std::fs::remove_file(&temporary);
    })?;
    sync_directory(parent(&path))
}

#[allow(clippy::disallowed_methods)] // one of the two places that open files
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// Returns the directory that holds the name `path`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Returns the absolute path, with nothing resolved, as Java's `getAbsolutePath` does.
#[must_use]
pub fn absolute(path: &Path) -> PathBuf {
    let Ok(here) = std::env::current_dir() else { return path.to_owned() };
    here.join(path)
}

/// Creates the directory `path` and its missing parents, and makes their names durable. An existing directory is left
/// unchanged.
///
/// # Errors
/// One of them cannot be created or synced, or is not a directory.
pub fn create_directory(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    let parent = parent(path);
    create_directory(parent)?;
    match std::fs::create_dir(path) {
        // Another process was faster; all that counts is that it exists.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        result => result?,
    }
    sync_directory(parent)
}

/// Creates the directory `path`, which must not exist yet, in an existing one.
///
/// # Errors
/// The name is taken ([`io::ErrorKind::AlreadyExists`]), or the directory cannot be created.
pub fn create_new_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)?;
    if let Err(error) = sync_directory(parent(path)) {
        // Fails if another process has put something there, which then stays.
        let _ = std::fs::remove_dir(path);
        return Err(error);
    }
    Ok(())
}

/// Removes the directory `path` if it is empty.
///
/// # Errors
/// It is not empty, does not exist, or cannot be removed.
pub fn remove_empty_directory(path: &Path) -> io::Result<()> {
    std::fs::remove_dir(path)
}

/// Makes the names in `directory` durable: files created, renamed or removed there.
///
/// # Errors
/// The directory cannot be opened or synced.
#[allow(clippy::disallowed_methods)] // one of the two places that open files
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    #[cfg(any(test, feature = "testing"))]
    DIRECTORIES_SYNCED.with(|count| count.set(count.get() + 1));
    File::open(directory)?.sync_all()
}

#[cfg(any(test, feature = "testing"))]
thread_local! {
    /// Counts the directories that this thread has synced.
    pub static DIRECTORIES_SYNCED: std::cell::Cell<u64> =
        const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn links_are_followed_where_who_laid_them_may_read_what_they_lead_to() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("file"), directory.path().join("link"));
        std::fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(open_laid(&file).is_ok() && open_laid(&link).is_ok(), "our own");
        if std::os::unix::fs::lchown(&link, Some(4711), None).is_err() {
            println!("left out links of others: only the superuser can lay them");
            return;
        }
        let error = open_laid(&link).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
        assert!(error.to_string().contains("user 4711"), "{error}");
        std::os::unix::fs::chown(&file, Some(4711), None).unwrap();
        assert!(open_laid(&link).is_ok(), "of the file's owner");
    }

    #[test]
    fn a_file_that_is_there_is_never_opened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        create_new(&path).unwrap().write_all(b"kept").unwrap();
        assert_eq!(create_new(&path).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }

    #[test]
    fn files_that_may_hold_events_are_not_readable_by_all_users() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mode = |name: &str| at(name).metadata().unwrap().permissions().mode() & 0o777;
        create_new(&at("new")).unwrap();
        append(&at("appended")).unwrap();
        append_line(&at("line"), b"x", 100).unwrap();
        replace(&at("replaced"), b"x").unwrap();
        for name in ["new", "appended", "line", "replaced"] {
            // The umask of the user who runs this may remove more.
            assert_eq!(mode(name) & !0o640, 0, "{name} has {:o}", mode(name));
            assert_ne!(mode(name) & 0o600, 0);
        }
    }

    #[test]
    fn lines_are_added_up_to_a_limit_and_after_one_without_an_end() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        append_line(&path, b"one", 100).unwrap();
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"tor").unwrap();
        append_line(&path, b"two", 12).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntor\ntwo\n");
        let error = append_line(&path, b"x", 13).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::QuotaExceeded);
        assert_eq!(std::fs::read(&path).unwrap(), b"one\ntor\ntwo\n");
        assert!(append_line(Path::new("/dev/null"), b"x", 100).is_err(), "no regular file");
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
        for taken in [&deep, &file] {
            let error = create_new_directory(taken).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    }

    #[test]
    fn a_name_that_is_taken_is_never_given_away() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("a"), "a").unwrap();
        std::fs::write(at("b"), "b").unwrap();
        let error = rename_new(&at("a"), &at("b")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read(at("b")).unwrap(), b"b");
        rename_new(&at("a"), &at("c")).unwrap();
        assert_eq!(std::fs::read(at("c")).unwrap(), b"a");
        remove(&at("c")).unwrap();
        assert!(!at("c").exists() && !at("a").exists());
    }

    #[test]
    fn a_replaced_file_is_there_whole_and_a_link_stays_one() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        replace(&at("a"), b"one, and longer").unwrap();
        std::os::unix::fs::symlink("a", at("link")).unwrap();
        replace(&at("link"), b"two").unwrap();
        assert_eq!(std::fs::read(at("a")).unwrap(), b"two");
        assert!(at("link").symlink_metadata().unwrap().is_symlink());
        assert_eq!(list(directory.path()).unwrap().count(), 2, "nothing is left next to it");
    }

    #[test]
    fn a_link_or_file_at_the_temporary_name_is_neither_followed_nor_kept() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("other"), b"kept").unwrap();
        std::os::unix::fs::symlink("other", at("a.new")).unwrap();
        replace_private(&at("a"), b"one").unwrap();
        assert_eq!(std::fs::read(at("other")).unwrap(), b"kept");
        assert!(!at("a").symlink_metadata().unwrap().is_symlink());
        std::fs::write(at("a.new"), b"left, and read by all").unwrap();
        std::fs::set_permissions(at("a.new"), PermissionsExt::from_mode(0o644)).unwrap();
        replace_private(&at("a"), b"two").unwrap();
        assert_eq!(std::fs::read(at("a")).unwrap(), b"two");
        assert_eq!(std::fs::metadata(at("a")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, mode, 0).unwrap();
        assert_eq!(open_regular(&pipe).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        assert!(append(&pipe).is_err(), "it has no reader, and the call does not wait for one");
        assert!(open_regular(directory.path()).is_err());
    }
}
