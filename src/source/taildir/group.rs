//! A group of files: the directory that they stand in, and what their names look like.

use super::Group;
use super::identity::born_ns;
use crate::base::files;
use crate::source::reading::Stamp;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// Nanoseconds within which a directory can change twice and show one time.
const TIME_STEP_NS: i64 = 2_000_000_000;

/// A file that belongs to a group.
#[derive(Clone, Debug)]
pub(super) struct Matched {
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) stamp: Stamp,
    /// When it was made, in nanoseconds since 1970, where its file system tells.
    pub(super) born_ns: Option<i64>,
    /// It was made since the group was first looked at, as far as its file system tells.
    pub(super) is_new: bool,
}

/// The names of a group's files as of some moment.
#[derive(Default)]
pub(super) struct Names {
    paths: Vec<PathBuf>,
    /// The directory when they were listed, if it stood still then.
    of: Option<Stamp>,
    /// When the directory had changed last as of the first look, by the clock of its file system, in
    /// nanoseconds since 1970: whatever was made in it before that look was made no later.
    first_ns: Option<i64>,
    /// Its directory could not be read when it was last tried.
    pub(super) closed: bool,
    /// That no file matches was said.
    pub(super) said_empty: bool,
}

impl Names {
    /// The files of the group, the one that was changed longest ago first.
    pub(super) fn matched(
        &mut self,
        group: &Group,
        cached: bool,
        wall_ns: i64,
    ) -> io::Result<Vec<Matched>> {
        let found = group.directory.metadata()?;
        let directory = Stamp::of(&found);
        if !cached || self.of != Some(directory) {
            self.paths = list(group)?;
            // A directory that was changed a moment ago can change again and look the same.
            let still = wall_ns.saturating_sub(directory.changed_ns) > TIME_STEP_NS;
            self.of = still.then_some(directory);
        }
        let mut matched: Vec<Matched> = self
            .paths
            .iter()
            .filter_map(|path| {
                let found = path.metadata().ok().filter(Metadata::is_file)?;
                Some(self.file(path.clone(), &found))
            })
            .collect();
        matched.sort_by_key(|m| m.stamp.changed_ns);
        // What this look has seen was there already, whatever the times say.
        let changed_ns = found.ctime().saturating_mul(1_000_000_000) + found.ctime_nsec();
        self.first_ns.get_or_insert(changed_ns);
        Ok(matched)
    }

    /// A file of the directory. Only times of the one clock are compared, that of the file system: ours
    /// may be another machine's, and is ahead of it by up to a tick of the kernel. A file that was made by
    /// the directory's last change before the first look was there, also where that look missed it because
    /// it was renamed just then.
    pub(super) fn file(&self, path: PathBuf, found: &Metadata) -> Matched {
        let born_ns = born_ns(found);
        let is_new = self.first_ns.zip(born_ns).is_some_and(|(first, born)| born > first);
        Matched { path, device: found.dev(), stamp: Stamp::of(found), born_ns, is_new }
    }
}

fn list(group: &Group) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in files::list(&group.directory)? {
        let entry = entry?;
        let name = entry.file_name();
        // A name on which the pattern is given up does not match it.
        if group.names.is_whole(&name.to_string_lossy()).unwrap_or(false) {
            paths.push(entry.path());
        }
    }
    paths.sort();
    Ok(paths)
}
