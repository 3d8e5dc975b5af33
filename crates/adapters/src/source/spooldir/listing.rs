//! The files of the directory to be read, and their order.

use super::settings::{ConsumeOrder, SpoolSettings};
use super::tracker::done_name;
use crate::source::file_reading::FileStamp;
use millpond_flow::base::files;
use millpond_flow::base::limits::{SPOOL_DEPTH_MAX, SPOOL_LISTED_MAX};
use millpond_flow::codes;
use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a listing is used. Flume lists the whole directory again for every file.
const LISTING_COUNTS: Duration = Duration::from_millis(500);

/// A file to be read.
#[derive(Clone, Debug)]
pub(super) struct SpooledFile {
    pub(super) path: PathBuf,
    pub(super) stamp: FileStamp,
}

/// The remaining files of the last listing.
#[derive(Default)]
pub(super) struct SpoolListing {
    files: VecDeque<SpooledFile>,
    made: Duration,
    /// Directories that could not be read at the last listing.
    closed: BTreeSet<PathBuf>,
    /// Directories that the last listing skipped as too deep.
    pub(super) too_deep: u64,
}

impl SpoolListing {
    /// Returns the next file for which `is_due` holds, from a new listing if necessary.
    pub(super) fn next(
        &mut self,
        settings: &SpoolSettings,
        now: Duration,
        mut is_due: impl FnMut(&SpooledFile) -> bool,
    ) -> io::Result<Option<SpooledFile>> {
        if now.saturating_sub(self.made) >= LISTING_COUNTS {
            self.files.clear();
        }
        while let Some(found) = self.files.pop_front() {
            if is_due(&found) {
                return Ok(Some(found));
            }
        }
        self.files = self.list(settings)?;
        self.made = now;
        while let Some(found) = self.files.pop_front() {
            if is_due(&found) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn list(&mut self, settings: &SpoolSettings) -> io::Result<VecDeque<SpooledFile>> {
        let (mut found, mut closed) = (Vec::new(), BTreeSet::new());
        let mut open = vec![(settings.directory.clone(), 0)];
        let mut too_deep = 0;
        while let Some((directory, depth)) = open.pop() {
            let listed = list_one(&directory, settings, &mut found, |below| {
                if depth < SPOOL_DEPTH_MAX {
                    open.push((below, depth + 1));
                    return;
                }
                too_deep += 1;
                if self.too_deep == 0 && too_deep == 1 {
                    tracing::error!(code = %codes::SPOOL_TOO_DEEP, source = settings.name, directory = %below.display(), "a directory is more than {SPOOL_DEPTH_MAX} levels below spoolDir: nothing in it is read");
                }
            });
            match listed {
                Ok(()) => {}
                Err(error) if depth == 0 => return Err(error),
                // It may have been deleted, which is not an error, or be unreadable.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    if !self.closed.contains(&directory) {
                        tracing::error!(code = %codes::SPOOL_UNREADABLE, source = settings.name, directory = %directory.display(), %error, "a directory cannot be read; its files wait");
                    }
                    closed.insert(directory);
                }
            }
        }
        (self.closed, self.too_deep) = (closed, too_deep);
        // Java's times have milliseconds.
        let ms = |found: &SpooledFile| found.stamp.changed_ns.div_euclid(1_000_000);
        let name = |found: &SpooledFile| found.path.file_name().map(OsStr::to_owned);
        match settings.order {
            ConsumeOrder::Oldest => found.sort_by_cached_key(|f| (ms(f), name(f), f.path.clone())),
            ConsumeOrder::Youngest => {
                found.sort_by_cached_key(|f| (Reverse(ms(f)), name(f), f.path.clone()));
            }
            ConsumeOrder::Random => {}
        }
        found.truncate(SPOOL_LISTED_MAX);
        Ok(found.into())
    }
}

fn list_one(
    directory: &Path,
    settings: &SpoolSettings,
    found: &mut Vec<SpooledFile>,
    mut below: impl FnMut(PathBuf),
) -> io::Result<()> {
    for entry in files::list(directory)? {
        let entry = entry?;
        let (name, path) = (entry.file_name(), entry.path());
        let name = name.to_string_lossy();
        let Ok(kind) = entry.file_type() else { continue };
        if name.starts_with('.') || matches(&settings.ignore, &name, settings) {
            continue;
        }
        if kind.is_dir() {
            if settings.recursive {
                below(path);
            }
            continue;
        }
        if name.ends_with(&settings.suffix) || !matches(&settings.include, &name, settings) {
            continue;
        }
        // A link counts as its target; anything but a file is skipped.
        let Ok(facts) = path.metadata() else { continue };
        if facts.is_file() && !is_done(&path, settings) {
            found.push(SpooledFile { path, stamp: FileStamp::of(&facts) });
        }
    }
    Ok(())
}

/// Returns whether the tracker directory marks the file as complete.
pub(super) fn is_done(path: &Path, settings: &SpoolSettings) -> bool {
    let Ok(relative) = path.strip_prefix(&settings.directory) else { return false };
    settings.marks_in_tracker
        && done_name(&settings.tracker, relative, &settings.suffix).symlink_metadata().is_ok()
}

/// Returns whether `name` matches; a name that exceeds the matching limit does not.
fn matches(
    pattern: &millpond_flow::pattern::Pattern,
    name: &str,
    settings: &SpoolSettings,
) -> bool {
    pattern.is_whole(name).unwrap_or_else(|error| {
        tracing::warn!(source = settings.name, name, %error, "a pattern was given up on a file's name");
        false
    })
}
