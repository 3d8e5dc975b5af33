//! The durable list of the files that a sink has open, so that the next start finds what a crash left.
//!
//! Limits: it has [`FILES_MAX`] files; at most [`LEDGER_BYTES_MAX`] bytes are read. It is written anew, with only the
//! files that are open, at a start and whenever it has grown by [`GROWTH_BYTES_MAX`] bytes, or to four times its size.
//!
//! A line is a CRC-32 in hexadecimal digits and, after it, `O` with the file system and the names of a file that is
//! about to be created, or `C` with the name of one that was renamed. A line that a crash cut, or that does not have
//! its checksum, is skipped. The names of a file are durable before the file is created; that it was closed need not
//! be: closing it again does nothing.

use millpond_flow::base::files;
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Files that are open, or not renamed after `hdfs.closeTries`.
const FILES_MAX: usize = 100_000;
/// Bytes that a start reads: as many files with long names.
const LEDGER_BYTES_MAX: u64 = 256 << 20;
/// Bytes that are added before it is written anew: a few thousand files.
const GROWTH_BYTES_MAX: u64 = 1 << 20;

/// The names of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileName {
    /// Its path while it is open.
    pub(super) in_use: String,
    /// Its path when it is closed, without the suffix.
    pub(super) stem: String,
    pub(super) suffix: String,
}

impl FileName {
    /// Returns the path of the closed file; `n` counts the names that were taken.
    pub(super) fn closed(&self, n: u32) -> String {
        match n {
            0 => format!("{}{}", self.stem, self.suffix),
            n => format!("{}.{n}{}", self.stem, self.suffix),
        }
    }

    /// Returns true if the file has its last name from the beginning.
    pub(super) fn is_never_renamed(&self) -> bool {
        self.in_use == self.closed(0)
    }
}

/// The ledger; without a place it records nothing.
#[derive(Clone, Default)]
pub(super) struct Ledger(Option<Arc<LedgerFile>>);

struct LedgerFile {
    path: PathBuf,
    /// The file system that its new names are on.
    target: String,
    lines: Mutex<Lines>,
    /// Keeps other processes from it.
    _lock: File,
}

/// The lines of a ledger.
struct Lines {
    file: File,
    /// The open files by their path in use, each with its file system.
    open: BTreeMap<String, (String, FileName)>,
    bytes: u64,
    /// More bytes than this are written anew.
    bytes_max: u64,
    /// The last line may be cut: writing it failed.
    is_cut: bool,
}

/// What a ledger had when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LeftFiles {
    /// The files of the same file system.
    pub(super) own: Vec<FileName>,
    /// The number of files of others, which stay in the ledger.
    pub(super) elsewhere: usize,
}

impl Ledger {
    /// Opens the ledger `name` in `directory`, for files on `target`. Blocks.
    ///
    /// # Errors
    /// It cannot be read or written, or another process has it open ([`io::ErrorKind::ResourceBusy`]).
    pub(super) fn open(
        directory: &Path,
        name: &str,
        target: &str,
    ) -> io::Result<(Self, LeftFiles)> {
        files::create_directory(directory)?;
        let path = directory.join(format!("{name}.ledger"));
        let (lock, is_ours) = files::try_lock(&directory.join(format!("{name}.lock")))?;
        if !is_ours {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let bytes = match read_whole(&path, LEDGER_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(SmallFileError::Missing) => Vec::new(),
            Err(error) => return Err(io::Error::other(error)),
        };
        let open = open_files(&String::from_utf8_lossy(&bytes));
        let mut left = LeftFiles::default();
        for (on, file) in open.values() {
            if on == target {
                left.own.push(file.clone());
            } else {
                left.elsewhere += 1;
            }
        }
        let (lines, target) = (Mutex::new(Lines::write_anew(&path, open)?), target.to_owned());
        Ok((Self(Some(Arc::new(LedgerFile { path, target, lines, _lock: lock }))), left))
    }

    /// Records durably that `name` is about to be created.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub(super) async fn opened(&self, name: &FileName) -> io::Result<()> {
        let Some(ledger) = self.0.clone() else { return Ok(()) };
        let name = name.clone();
        let add = move || {
            let mut lines = ledger.lines();
            if lines.open.len() >= FILES_MAX {
                return Err(io::Error::other(format!(
                    "it has {FILES_MAX} files already that are not closed and renamed; a restart tries them again"
                )));
            }
            lines.add(&ledger.path, &opened_line(&ledger.target, &name))?;
            files::sync(&lines.file)?;
            lines.open.insert(name.in_use.clone(), (ledger.target.clone(), name));
            Ok(())
        };
        tokio::task::spawn_blocking(add).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Records that there is nothing left to do for `name`. A failure only repeats work at the next start.
    pub(super) async fn closed(&self, name: &FileName) {
        let Some(ledger) = self.0.clone() else { return };
        let in_use = name.in_use.clone();
        let add = move || {
            let mut lines = ledger.lines();
            lines.open.remove(&in_use);
            if let Err(error) = lines.add(&ledger.path, &line('C', &[&in_use])) {
                tracing::warn!(path = %ledger.path.display(), %error, "cannot write this list of open files");
            }
        };
        let _ = tokio::task::spawn_blocking(add).await;
    }
}

impl LedgerFile {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    /// Replaces the file by one with the lines of `open`.
    fn write_anew(path: &Path, open: BTreeMap<String, (String, FileName)>) -> io::Result<Self> {
        let whole: String = open.values().map(|(on, file)| opened_line(on, file)).collect();
        files::replace_private(path, whole.as_bytes())?;
        let bytes = whole.len() as u64;
        let bytes_max = bytes.saturating_mul(4).max(bytes + GROWTH_BYTES_MAX);
        Ok(Self { file: files::append(path)?, open, bytes, bytes_max, is_cut: false })
    }

    /// Adds `line`; after a failure the next one begins a line of its own.
    fn add(&mut self, path: &Path, line: &str) -> io::Result<()> {
        if self.bytes > self.bytes_max {
            *self = Self::write_anew(path, self.open.clone())?;
        }
        let line = if self.is_cut { format!("\n{line}") } else { line.to_owned() };
        self.is_cut = true;
        self.file.write_all(line.as_bytes())?;
        self.is_cut = false;
        self.bytes += line.len() as u64;
        Ok(())
    }
}

fn opened_line(target: &str, name: &FileName) -> String {
    line('O', &[target, &name.in_use, &name.stem, &name.suffix])
}

fn line(kind: char, fields: &[&str]) -> String {
    let text = format!("{kind}\t{}", fields.join("\t"));
    format!("{:08x} {text}\n", crc32fast::hash(text.as_bytes()))
}

/// Returns the files that were opened and not closed, each with its file system.
fn open_files(text: &str) -> BTreeMap<String, (String, FileName)> {
    let mut open = BTreeMap::new();
    for line in text.lines() {
        // A line after one that was cut begins in the middle; what remains of it has no checksum.
        let Some((sum, text)) = line.split_once(' ') else { continue };
        if u32::from_str_radix(sum, 16) != Ok(crc32fast::hash(text.as_bytes())) {
            continue;
        }
        let fields: Vec<&str> = text.split('\t').collect();
        match fields[..] {
            ["O", target, in_use, stem, suffix] => {
                let (stem, suffix) = (stem.to_owned(), suffix.to_owned());
                let name = FileName { in_use: in_use.to_owned(), stem, suffix };
                open.insert(in_use.to_owned(), (target.to_owned(), name));
            }
            ["C", in_use] => {
                open.remove(in_use);
            }
            _ => {}
        }
    }
    open
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> FileName {
        let (in_use, stem) = (format!("/d/x.{n}.log.tmp"), format!("/d/x.{n}"));
        FileName { in_use, stem, suffix: ".log".to_owned() }
    }

    #[tokio::test]
    async fn open_files_are_found_again_also_after_a_cut_line() {
        let directory = tempfile::tempdir().unwrap();
        let open = |target: &str| Ledger::open(directory.path(), "a.k1", target);
        let (ledger, left) = open("hdfs://a").unwrap();
        assert_eq!(left, LeftFiles::default());
        for n in 1..=3 {
            ledger.opened(&name(n)).await.unwrap();
        }
        ledger.closed(&name(2)).await;
        assert_eq!(open("hdfs://a").err().unwrap().kind(), io::ErrorKind::ResourceBusy);
        drop(ledger);
        let path = directory.path().join("a.k1.ledger");
        let mut bytes = std::fs::read(&path).unwrap();
        let cut = opened_line("hdfs://a", &name(4));
        bytes.extend_from_slice(&cut.as_bytes()[..cut.len() - 3]);
        std::fs::write(&path, &bytes).unwrap();
        let (ledger, left) = open("hdfs://a").unwrap();
        assert_eq!(left, LeftFiles { own: vec![name(1), name(3)], elsewhere: 0 });
        drop(ledger);
        // Those of another cluster wait until the sink writes there again.
        let (ledger, left) = open("hdfs://b").unwrap();
        assert_eq!(left, LeftFiles { own: vec![], elsewhere: 2 });
        drop(ledger);
        assert_eq!(open("hdfs://a").unwrap().1.own.len(), 2);
    }

    #[tokio::test]
    async fn a_ledger_of_many_files_stays_small_and_has_the_open_ones() {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(directory.path(), "a.k1", "hdfs://a").unwrap();
        ledger.opened(&name(0)).await.unwrap();
        let path = directory.path().join("a.k1.ledger");
        let line = "x".repeat(64 << 10);
        for n in 1..100 {
            let file = FileName { suffix: line.clone(), ..name(n) };
            ledger.opened(&file).await.unwrap();
            ledger.closed(&file).await;
        }
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes < 2 * GROWTH_BYTES_MAX, "{bytes} bytes");
        drop(ledger);
        let (_ledger, left) = Ledger::open(directory.path(), "a.k1", "hdfs://a").unwrap();
        assert_eq!(left.own, [name(0)]);
    }

    #[tokio::test]
    async fn a_line_after_one_that_a_full_disk_cut_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.k1.ledger");
        let mut lines = Lines::write_anew(&path, BTreeMap::new()).unwrap();
        // What a write that failed leaves: some of its bytes, and the mark.
        lines.file.write_all(&opened_line("hdfs://a", &name(1)).as_bytes()[..20]).unwrap();
        lines.is_cut = true;
        lines.add(&path, &opened_line("hdfs://a", &name(2))).unwrap();
        let open = open_files(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(open.into_keys().collect::<Vec<_>>(), [name(2).in_use]);
    }

    #[test]
    fn a_line_with_another_byte_is_skipped() {
        let line = opened_line("", &name(1));
        assert_eq!(open_files(&line).len(), 1);
        for n in 0..line.len() - 1 {
            let mut bytes = line.clone().into_bytes();
            bytes[n] ^= 1;
            assert_eq!(open_files(&String::from_utf8(bytes).unwrap()).len(), 0, "byte {n}");
        }
    }
}
