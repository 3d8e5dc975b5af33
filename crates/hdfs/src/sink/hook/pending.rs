//! The renamed files that a hook has not acknowledged: one small file for each, so that a crash forgets none.
//!
//! Limits: [`PENDING_MAX`] files; each has at most [`PENDING_BYTES_MAX`] bytes.

use millpond_flow::base::files;
use millpond_flow::base::small_file::read_whole;
use serde_json::{Value, json};
use std::io;
use std::path::{Path, PathBuf};

/// Files that are not acknowledged.
pub(super) const PENDING_MAX: usize = 100_000;
/// Two paths, escaped as JSON.
const PENDING_BYTES_MAX: u64 = 256 << 10;

/// A file that has been, or is about to be, renamed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PendingFile {
    /// Its path while it was open.
    pub(super) in_use: String,
    /// Its path now.
    pub(super) path: String,
    /// Its events, where the process that wrote it knows.
    pub(super) events: Option<u64>,
    /// Milliseconds since 1970 of the rename.
    pub(super) renamed_ms: u64,
}

/// The directory of these files.
#[derive(Clone, Debug)]
pub(super) struct PendingDirectory(PathBuf);

impl PendingDirectory {
    /// Opens the directory and returns what it has, by number. Blocks. A file that cannot be read is reported and left.
    ///
    /// # Errors
    /// The directory cannot be made or listed.
    pub(super) fn open(path: &Path) -> io::Result<(Self, Vec<(u64, PendingFile)>)> {
        files::create_directory(path)?;
        let mut all = Vec::new();
        for entry in files::list(path)?.take(PENDING_MAX) {
            let entry = entry?.path();
            let number = entry.file_name().and_then(|name| name.to_str());
            let number = number.and_then(|name| name.strip_suffix(".json")?.parse().ok());
            let Some(number) = number else { continue };
            match read(&entry) {
                Some(file) => all.push((number, file)),
                None => tracing::warn!(
                    path = %entry.display(),
                    "this note of a renamed file cannot be read: hdfs.onRename is not called for it"
                ),
            }
        }
        all.sort_by_key(|(number, _)| *number);
        Ok((Self(path.to_owned()), all))
    }

    fn path(&self, number: u64) -> PathBuf {
        self.0.join(format!("{number}.json"))
    }

    /// Writes a file durably. Blocks.
    pub(super) fn write(&self, number: u64, file: &PendingFile) -> io::Result<()> {
        let text = json!({
            "inUse": file.in_use,
            "path": file.path,
            "events": file.events,
            "renamedMs": file.renamed_ms,
        });
        files::replace_private(&self.path(number), text.to_string().as_bytes())
    }

    /// Removes a file. Blocks. A failure only repeats a call of the hook after the next start.
    pub(super) fn remove(&self, number: u64) {
        let path = self.path(number);
        if let Err(error) = files::remove(&path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %error, "cannot remove this note of a renamed file");
        }
    }
}

fn read(path: &Path) -> Option<PendingFile> {
    let json: Value = serde_json::from_slice(&read_whole(path, PENDING_BYTES_MAX).ok()?).ok()?;
    Some(PendingFile {
        in_use: json["inUse"].as_str()?.to_owned(),
        path: json["path"].as_str()?.to_owned(),
        events: json["events"].as_u64(),
        renamed_ms: json["renamedMs"].as_u64()?,
    })
}
