//! The durable list of the files that a sink has open, so that the next start finds what a crash left.
//!
//! Limits: at most [`LEDGER_BYTES_MAX`] bytes are read; it is written anew at a start.
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
use std::sync::{Arc, Mutex, PoisonError};

/// The most bytes of a ledger: 100,000 open files with long names.
const LEDGER_BYTES_MAX: u64 = 256 << 20;

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
    file: Mutex<File>,
    /// Keeps other processes from it.
    _lock: File,
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
        let mut whole = String::new();
        let mut left = LeftFiles::default();
        for (on, file) in open {
            whole.push_str(&opened_line(&on, &file));
            if on == target {
                left.own.push(file);
            } else {
                left.elsewhere += 1;
            }
        }
        files::replace_private(&path, whole.as_bytes())?;
        let file = Mutex::new(files::append(&path)?);
        let target = target.to_owned();
        Ok((Self(Some(Arc::new(LedgerFile { path, target, file, _lock: lock }))), left))
    }

    /// Records durably that `name` is about to be created.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub(super) async fn opened(&self, name: &FileName) -> io::Result<()> {
        let Some(ledger) = self.0.clone() else { return Ok(()) };
        let line = opened_line(&ledger.target, name);
        let add = move || ledger.add(&line, true);
        tokio::task::spawn_blocking(add).await.unwrap_or_else(|error| Err(io::Error::other(error)))
    }

    /// Records that there is nothing left to do for `name`. A failure only repeats work at the next start.
    pub(super) async fn closed(&self, name: &FileName) {
        let Some(ledger) = self.0.clone() else { return };
        let line = line('C', &[&name.in_use]);
        let add = move || {
            if let Err(error) = ledger.add(&line, false) {
                tracing::warn!(path = %ledger.path.display(), %error, "cannot write this list of open files");
            }
        };
        let _ = tokio::task::spawn_blocking(add).await;
    }
}

impl LedgerFile {
    fn add(&self, line: &str, is_durable: bool) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.write_all(line.as_bytes())?;
        if is_durable { files::sync(&file) } else { Ok(()) }
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
fn open_files(text: &str) -> Vec<(String, FileName)> {
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
    open.into_values().collect()
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

    #[test]
    fn a_line_with_another_byte_is_skipped() {
        let line = opened_line("", &name(1));
        assert_eq!(open_files(&line).len(), 1);
        for n in 0..line.len() - 1 {
            let mut bytes = line.clone().into_bytes();
            bytes[n] ^= 1;
            assert_eq!(open_files(&String::from_utf8(bytes).unwrap()), [], "byte {n}");
        }
    }
}
