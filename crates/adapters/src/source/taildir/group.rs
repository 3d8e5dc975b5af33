//! A file group: a directory and a pattern of file names.

use super::identity::born_ns;
use super::settings::FileGroup;
use crate::source::file_reading::FileStamp;
use millpond_flow::base::files;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Nanoseconds within which a directory can change twice and keep one timestamp.
const TIME_STEP_NS: i64 = 2_000_000_000;

/// A file that belongs to a group.
#[derive(Clone, Debug)]
pub(super) struct MatchedFile {
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) stamp: FileStamp,
    /// Creation time in nanoseconds since 1970, if the file system provides it.
    pub(super) born_ns: Option<i64>,
    /// Whether it was created after the first scan of the group, as far as the file system provides the time.
    pub(super) is_new: bool,
}

/// The cached names of a group's files.
#[derive(Default)]
pub(super) struct GroupFiles {
    paths: Vec<PathBuf>,
    /// The directory's stamp at the listing, if it was stable then.
    of: Option<FileStamp>,
    /// Time of the directory's last change as of the first scan, by the clock of its file system, in nanoseconds
    /// since 1970: files created before that scan were created no later.
    first_ns: Option<i64>,
    /// Its directory could not be read at the last try.
    pub(super) closed: bool,
    /// The warning that no file matches was logged.
    pub(super) said_empty: bool,
}

impl GroupFiles {
    /// Returns the files of the group, the least recently changed first.
    pub(super) fn matched(
        &mut self,
        group: &FileGroup,
        cached: bool,
        wall_ns: i64,
    ) -> io::Result<Vec<MatchedFile>> {
        let found = group.directory.metadata()?;
        let directory = FileStamp::of(&found);
        if !cached || self.of != Some(directory) {
            self.paths = list(group)?;
            // A recently changed directory can change again with the same timestamp.
            let still = wall_ns.saturating_sub(directory.changed_ns) > TIME_STEP_NS;
            self.of = still.then_some(directory);
        }
        let mut matched: Vec<MatchedFile> = self
            .paths
            .iter()
            .filter_map(|path| {
                let found = path.metadata().ok().filter(Metadata::is_file)?;
                Some(self.file(path.clone(), &found))
            })
            .collect();
        matched.sort_by_key(|m| m.stamp.changed_ns);
        // Files seen by the first scan existed before it, whatever the timestamps say.
        let changed_ns = found.ctime().saturating_mul(1_000_000_000) + found.ctime_nsec();
        self.first_ns.get_or_insert(changed_ns);
        Ok(matched)
    }

    /// Returns a file of the directory. Only timestamps of the file system's clock are compared: ours may be another
    /// machine's, and is ahead by up to a kernel tick. A file created by the directory's last change before the first
    /// scan existed then, even if that scan missed it because of a concurrent rename.
    pub(super) fn file(&self, path: PathBuf, found: &Metadata) -> MatchedFile {
        let born_ns = born_ns(found);
        let is_new = self.first_ns.zip(born_ns).is_some_and(|(first, born)| born > first);
        MatchedFile { path, device: found.dev(), stamp: FileStamp::of(found), born_ns, is_new }
    }
}

fn list(group: &FileGroup) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in files::list(&group.directory)? {
        let entry = entry?;
        let name = entry.file_name();
        // A name that exceeds the matching limit does not match.
        if group.names.is_whole(&name.to_string_lossy()).unwrap_or(false) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
