//! Files outside the channel: what sinks write and sources read. The channel's own files go
//! through the disk door instead.

pub(crate) use std::fs::File;
use std::fs::{OpenOptions, ReadDir, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Permissions of a new file that may hold event bodies, or say what events said: for its owner and
/// group only. The process's mask takes away more, and never gives.
pub const EVENT_FILE_MODE: u32 = 0o640;

/// Permissions of a new file that anybody may read whom the process's mask lets.
const PUBLIC_FILE_MODE: u32 = 0o666;

/// Creates `path` for writing, with [`EVENT_FILE_MODE`], and makes its name durable in its directory.
/// Never opens a file that is there already.
///
/// # Errors
/// The file exists ([`io::ErrorKind::AlreadyExists`]) or cannot be created. When only the
/// directory could not be synced, the empty file is removed again.
pub fn create_new(path: &Path) -> io::Result<File> {
    create_with(path, EVENT_FILE_MODE)
}

/// As [`create_new`], of a file that holds nothing of events and is made to be shown.
///
/// # Errors
/// As [`create_new`].
pub fn create_new_public(path: &Path) -> io::Result<File> {
    create_with(path, PUBLIC_FILE_MODE)
}

fn create_with(path: &Path, mode: u32) -> io::Result<File> {
    let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    if let Err(error) = sync_directory(parent(path)) {
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

/// Opens the regular file `path`, or the one that it leads to, for reading. A pipe or device in its
/// place is refused, without waiting for anyone at its other end.
///
/// # Errors
/// There is no such file, it cannot be read, or it is no file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// The same for a file that others may have laid there. A link is followed where the superuser, we
/// ourselves or the owner of the file that it leads to laid it: nobody gets a file read through us that
/// they cannot read themselves by laying a link to it.
///
/// # Errors
/// As [`open_regular`]; [`io::ErrorKind::PermissionDenied`] for a link of somebody else;
/// [`io::ErrorKind::NotFound`] when another file has the name by now.
pub fn open_laid(path: &Path) -> io::Result<File> {
    let file = open_regular(path)?;
    let opened = file.metadata()?;
    // Behind the opening: a link that is laid and taken away again shows as another file.
    let name = std::fs::symlink_metadata(path)?;
    if !name.is_symlink() {
        if (name.dev(), name.ino()) != (opened.dev(), opened.ino()) {
            let what = "another file had its name a moment ago";
            return Err(io::Error::new(io::ErrorKind::NotFound, what));
        }
        return Ok(file);
    }
    let (by, of) = (name.uid(), opened.uid());
    if [0, of, rustix::process::geteuid().as_raw()].contains(&by) {
        return Ok(file);
    }
    let what = format!(
        "it is a link that user {by} laid to a file of user {of}; links are followed where the superuser, the agent's user or the file's owner laid them"
    );
    Err(io::Error::new(io::ErrorKind::PermissionDenied, what))
}

/// Opens `path` for appending; it is made, with [`EVENT_FILE_MODE`], when it is missing.
///
/// # Errors
/// It cannot be opened or made.
pub fn append(path: &Path) -> io::Result<File> {
    // A pipe that nobody reads would be waited for, and answers so instead.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.append(true).create(true).mode(EVENT_FILE_MODE).custom_flags(flags).open(path)
}

/// Makes what was written to `file` durable.
///
/// # Errors
/// It cannot be synced; what was written since the last time counts as lost.
pub fn sync(file: &File) -> io::Result<()> {
    file.sync_data()
}

/// Opens the lock file `path`, which is made when it is missing and never a link, and locks it (`flock`)
/// until it is closed. Returns whether that went: somebody else may have the lock.
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

/// The home directory of the user: where `HOME` leads, else where the system's list of users has it.
#[must_use]
pub fn home_directory() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home.is_absolute())
}

/// Adds `line` and a newline to the end of the file `path`, durably; the file is made, with
/// [`EVENT_FILE_MODE`], when it is missing. Of one that is there the name is taken for durable.
/// Where its last line has no end, since a machine stopped within it, that gets one first.
///
/// # Errors
/// It would have more than `bytes_max` bytes ([`io::ErrorKind::QuotaExceeded`]), is no regular file, or
/// cannot be written; what was written of the line is taken back as far as that goes.
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
    // A file that was just made has no durable name yet.
    let named = || if len == 0 { sync_directory(parent(path)) } else { Ok(()) };
    let done = file.write_all(&bytes).and_then(|()| file.sync_all()).and_then(|()| named());
    done.inspect_err(|_| {
        let _ = file.set_len(len);
    })
}

/// What the directory holds.
///
/// # Errors
/// It is not there or cannot be read.
pub fn list(directory: &Path) -> io::Result<ReadDir> {
    std::fs::read_dir(directory)
}

/// Gives the file `from` the name `to`, which nothing must have yet, and makes that durable. Both
/// names are in one directory.
///
/// # Errors
/// Something has that name ([`io::ErrorKind::AlreadyExists`]), or the renaming failed.
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
/// It is not there or cannot be removed.
pub fn remove(path: &Path) -> io::Result<()> {
    std::fs::remove_file(path)?;
    sync_directory(parent(path))
}

/// Replaces what the file `path` holds: whoever reads it finds the old bytes or the new ones, also
/// after a power cut. A link is followed, so that it stays one. The file has [`EVENT_FILE_MODE`].
///
/// # Errors
/// The bytes cannot be written beside it or put in its place; then the old ones are there.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, EVENT_FILE_MODE)
}

/// As [`replace`], of a file that holds nothing of events and is made to be shown.
///
/// # Errors
/// As [`replace`].
pub fn replace_public(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, bytes, PUBLIC_FILE_MODE)
}

/// The same for a file that only its owner may read and write.
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
    let beside = path.with_file_name(name);
    // What is there was left by a crash, or laid there by somebody else: a link to another file, or a
    // file that others may read. The new one is ours.
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_data());
    written.and_then(|()| rename(&beside, &path)).inspect_err(|_| {
        // On a full disk what was begun would only stand in the way.
        let _ = std::fs::remove_file(&beside);
    })?;
    sync_directory(parent(&path))
}

#[allow(clippy::disallowed_methods)] // one of the two doors
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)
}

/// The directory that holds the name `path`.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// The path from the root, with nothing resolved, as Java's `getAbsolutePath` answers it.
#[must_use]
pub fn absolute(path: &Path) -> PathBuf {
    let Ok(here) = std::env::current_dir() else { return path.to_owned() };
    here.join(path)
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
    let parent = parent(path);
    create_directory(parent)?;
    match std::fs::create_dir(path) {
        // Someone else was faster; what counts is that it is there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        result => result?,
    }
    sync_directory(parent)
}

/// Creates the directory `path`, which nothing must be at yet, in one that is there.
///
/// # Errors
/// Something has that name ([`io::ErrorKind::AlreadyExists`]), or the directory cannot be created.
pub fn create_new_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)?;
    if let Err(error) = sync_directory(parent(path)) {
        // Nobody else has put anything there yet; whoever did keeps it.
        let _ = std::fs::remove_dir(path);
        return Err(error);
    }
    Ok(())
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
    #[cfg(test)]
    DIRECTORIES_SYNCED.with(|count| count.set(count.get() + 1));
    File::open(directory)?.sync_all()
}

#[cfg(test)]
thread_local! {
    /// Directories that this thread has synced.
    pub(crate) static DIRECTORIES_SYNCED: std::cell::Cell<u64> =
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
    fn files_that_may_hold_events_are_not_for_everybody() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let mode = |name: &str| at(name).metadata().unwrap().permissions().mode() & 0o777;
        create_new(&at("new")).unwrap();
        append(&at("appended")).unwrap();
        append_line(&at("line"), b"x", 100).unwrap();
        replace(&at("replaced"), b"x").unwrap();
        for name in ["new", "appended", "line", "replaced"] {
            // The mask of whoever runs this may take away more.
            assert_eq!(mode(name) & !0o640, 0, "{name} has {:o}", mode(name));
            assert_ne!(mode(name) & 0o600, 0);
        }
    }

    #[test]
    fn lines_are_added_up_to_a_limit_and_behind_one_without_an_end() {
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
        assert_eq!(list(directory.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn what_lies_where_the_new_bytes_are_written_is_neither_followed_nor_taken_over() {
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
        assert!(append(&pipe).is_err(), "nobody reads there, and nobody is waited for");
        assert!(open_regular(directory.path()).is_err());
    }
}
