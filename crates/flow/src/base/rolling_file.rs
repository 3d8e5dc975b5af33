//! A log file that is rolled at a size, with a bounded number of earlier files next to it.
//!
//! `agent.log` becomes `agent.log.1`, that `agent.log.2`, and so on; the oldest is deleted. A file that was moved away
//! or removed is created again. Nothing here is durable: it is for text, not for events.

use crate::base::files;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The size of such a file, and how many are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollingLimits {
    /// Bytes of a file; a longer line makes it larger.
    pub bytes_max: u64,
    /// Number of earlier files that are kept.
    pub earlier_max: u32,
}

/// The file that is written now.
#[derive(Debug)]
pub struct RollingFile {
    path: PathBuf,
    bounds: RollingLimits,
    open: Option<File>,
}

impl RollingFile {
    /// Opens the file `path` for appending, or creates it and its directory.
    ///
    /// # Errors
    /// It cannot be opened or created.
    pub fn open(path: PathBuf, bounds: RollingLimits) -> io::Result<Self> {
        files::create_directory(files::parent(&path))?;
        let open = Some(files::append(&path)?);
        Ok(Self { path, bounds, open })
    }

    /// Returns its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `line`, which includes its line end.
    ///
    /// # Errors
    /// It could not be written; a partly written line is removed if possible.
    pub fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let mut file = match self.open.take().filter(|file| self.is_named(file)) {
            Some(file) => file,
            None => files::append(&self.path)?,
        };
        let mut length = file.metadata()?.len();
        if length > 0 && length.saturating_add(line.len() as u64) > self.bounds.bytes_max {
            match self.roll() {
                Ok(()) => file = files::append(&self.path)?,
                // Losing the earlier lines is better than losing all later ones, or growing without a bound.
                Err(error) => {
                    file.set_len(0)?;
                    writeln!(file, "the earlier lines could not be kept: {error}")?;
                }
            }
            length = file.metadata()?.len();
        }
        let written = file.write_all(line).inspect_err(|_| {
            let _ = file.set_len(length);
        });
        self.open = Some(file);
        written
    }

    /// Whether `file` still has its name.
    #[allow(clippy::disallowed_methods)] // a file that is not part of a channel
    fn is_named(&self, file: &File) -> bool {
        let identity =
            |found: io::Result<Metadata>| found.map(|found| (found.dev(), found.ino())).ok();
        let named = identity(std::fs::metadata(&self.path));
        named.is_some() && named == identity(file.metadata())
    }

    /// Renames each file to the next name; the last is deleted.
    #[allow(clippy::disallowed_methods)] // as above
    fn roll(&self) -> io::Result<()> {
        let name = |n: u32| match n {
            0 => self.path.clone(),
            n => {
                let mut name = self.path.clone().into_os_string();
                name.push(format!(".{n}"));
                PathBuf::from(name)
            }
        };
        if self.bounds.earlier_max == 0 {
            return std::fs::remove_file(&self.path);
        }
        for n in (0..self.bounds.earlier_max).rev() {
            match std::fs::rename(name(n), name(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(directory).expect("listed");
        let names = entries.map(|e| e.expect("an entry").file_name().into_string().expect("text"));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }

    #[test]
    fn files_and_their_number_are_bounded_and_the_newest_lines_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let (logs, read) = (directory.path().join("logs"), std::fs::read_to_string::<PathBuf>);
        let bounds = RollingLimits { bytes_max: 10, earlier_max: 2 };
        let open = || RollingFile::open(logs.join("a.log"), bounds).expect("a file");
        let mut file = open();
        for n in 0..9 {
            // Each fourth time as a new process that continues the files.
            if n == 4 {
                file = open();
            }
            file.write(format!("{n:04}\n").as_bytes()).expect("written");
        }
        assert_eq!(names(&logs), ["a.log", "a.log.1", "a.log.2"]);
        assert_eq!(read(logs.join("a.log")).expect("read"), "0008\n");
        assert_eq!(read(logs.join("a.log.1")).expect("read"), "0006\n0007\n");
        assert_eq!(read(logs.join("a.log.2")).expect("read"), "0004\n0005\n");
        file.write(b"a line of its own length\n").expect("written");
        assert_eq!(read(logs.join("a.log")).expect("read"), "a line of its own length\n");
    }

    #[test]
    fn a_file_whose_earlier_ones_cannot_be_kept_goes_on_from_the_beginning() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.log");
        files::create_directory(&directory.path().join("a.log.1/x")).expect("in the way");
        let bounds = RollingLimits { bytes_max: 200, earlier_max: 1 };
        let mut file = RollingFile::open(path.clone(), bounds).expect("a file");
        for n in 0..100 {
            file.write(format!("line {n}\n").as_bytes()).expect("written");
            assert!(std::fs::metadata(&path).expect("there").len() <= 200, "bounded");
        }
        let text = std::fs::read_to_string(&path).expect("read");
        assert!(
            text.starts_with("the earlier lines could not be kept") && text.ends_with("line 99\n"),
            "{text}"
        );
    }

    #[test]
    fn a_file_that_was_moved_away_is_made_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.log");
        let bounds = RollingLimits { bytes_max: 100, earlier_max: 0 };
        let mut file = RollingFile::open(path.clone(), bounds).expect("a file");
        file.write(b"one\n").expect("written");
        files::rename_new(&path, &directory.path().join("moved")).expect("moved");
        file.write(b"two\n").expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"two\n");
        file.write(b"three\n").expect("written");
        assert_eq!(std::fs::read(&path).expect("read"), b"two\nthree\n");
        // None is kept.
        file.write(&[b'x'; 100]).expect("written");
        assert_eq!(names(directory.path()), ["a.log", "moved"]);
    }
}
