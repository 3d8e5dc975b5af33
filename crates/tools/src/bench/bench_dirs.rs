//! The directories that a benchmark creates: one in each named place, with a unique name, removed
//! at the end.
//!
//! | in each of them | is |
//! |---|---|
//! | `stripe/` | the channel's data directory |
//! | `checkpoint/` | its checkpoint directory; in the first one only |
//! | `device` | what the device's own speed is measured with |
//! | `baseline` | the plain file of `--baseline`; in the first one only |

use millpond::internal::base::random::{Random, SystemRandom};
use millpond::internal::disk::real::RealDisk;
use millpond::internal::disk::{Directory, Disk, Space};
use millpond::internal::layout::{self, CHECKPOINT_NAME, LOCK_NAME, MEMBER_NAME};
use millpond_flow::base::files;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Name of the probe file.
pub(super) const DEVICE: &str = "device";
/// Prefix of the directories' names.
const PREFIX: &str = "millpond-bench-";
const STRIPE: &str = "stripe";
const CHECKPOINT: &str = "checkpoint";
pub(super) const BASELINE: &str = "baseline";

/// Why nothing can be measured there. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BenchDirError {
    /// Its parent directory does not exist.
    #[error(
        "{path}: there is no directory {above}; create {above} if the path is right (a mistyped path would measure the wrong disk)",
        path = path.display(), above = above.display()
    )]
    InvalidPlace {
        /// The directory.
        path: PathBuf,
        /// The parent directory.
        above: PathBuf,
    },
    /// It is listed twice.
    #[error("{path} is listed twice; each data directory represents a disk of its own", path = path.display())]
    Twice {
        /// The directory.
        path: PathBuf,
    },
    /// The disk has too little room.
    #[error(
        "{path} has {free} bytes free; this may take {space} bytes (--space) and must leave minimumRequiredSpace ({minimum}): {missing} bytes are missing; free them, or give a smaller --space",
        path = path.display(), missing = space.saturating_add(*minimum).saturating_sub(*free)
    )]
    Space {
        /// The directory.
        path: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes that may be taken.
        space: u64,
        /// Bytes that must stay free.
        minimum: u64,
    },
    /// It cannot be used.
    #[error("cannot use {path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// A place of measurement.
struct BenchDir {
    /// The directory that was created.
    own: PathBuf,
    /// Its parent directory, when that was created too.
    made_above: Option<PathBuf>,
    directory: Arc<dyn Directory>,
    /// Number of the file system.
    device: u64,
}

/// Directories in use; removed when dropped.
pub(super) struct BenchDirs {
    places: Vec<BenchDir>,
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> BenchDirError + '_ {
    |source| BenchDirError::Io { path: path.to_owned(), source }
}

impl BenchDirs {
    /// Creates a directory in each of `paths`; `beside` them, where they are a channel's own.
    /// Refuses when a file system has less than `space` and `minimum` bytes.
    pub(super) fn make(
        paths: &[PathBuf],
        beside: bool,
        space: u64,
        minimum: u64,
    ) -> Result<Self, BenchDirError> {
        // Through the page cache: opening it any other way would try a file of its own there.
        let look = RealDisk::buffered();
        let mut bench_dirs = Self { places: Vec::new() };
        let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
        for path in paths {
            let above = if beside { sibling_of(&look, path)? } else { path.clone() };
            let made_above = make_missing(&above)?;
            let place = BenchDir::make(&above, made_above)?;
            let above = look.open_dir(&above, false).and_then(|above| above.identity());
            let identity = above.map_err(io_at(path));
            // In the list first: it is removed after any later failure.
            bench_dirs.places.push(place);
            if !taken.insert(identity?) && !beside {
                return Err(BenchDirError::Twice { path: path.clone() });
            }
        }
        bench_dirs.refuse_too_little(space, minimum)?;
        Ok(bench_dirs)
    }

    fn refuse_too_little(&self, space: u64, minimum: u64) -> Result<(), BenchDirError> {
        for place in &self.places {
            // A file system that does not report its space fails when it is full.
            let Ok(Space { available_bytes: free, .. }) = place.directory.space() else { continue };
            if free < space.saturating_add(minimum) {
                let path = place.own.parent().unwrap_or(&place.own).to_owned();
                return Err(BenchDirError::Space { path, free, space, minimum });
            }
        }
        Ok(())
    }

    /// Returns the paths that were created.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().map(|place| place.own.as_path())
    }

    /// Returns the directories that were created, to write there.
    pub(super) fn directories(&self) -> Vec<Arc<dyn Directory>> {
        self.places.iter().map(|place| Arc::clone(&place.directory)).collect()
    }

    /// Returns the number of file systems of the directories.
    pub(super) fn file_systems(&self) -> usize {
        let devices: BTreeSet<u64> = self.places.iter().map(|p| p.device).collect();
        devices.len()
    }

    /// Returns the channel's data directories.
    pub(super) fn stripes(&self) -> Vec<PathBuf> {
        self.paths().map(|path| path.join(STRIPE)).collect()
    }

    /// Returns the channel's checkpoint directory.
    pub(super) fn checkpoint(&self) -> PathBuf {
        self.paths().next().map(|path| path.join(CHECKPOINT)).unwrap_or_default()
    }

    /// Removes the channel, which must be closed.
    pub(super) fn sweep(&self) -> Result<(), BenchDirError> {
        self.places.iter().try_for_each(|place| sweep(&place.own))
    }

    /// Removes everything that was created.
    pub(super) fn clear(mut self) -> Result<(), BenchDirError> {
        let places = std::mem::take(&mut self.places);
        // All of them, also when one fails; the last first, since it may be in one created before.
        let results: Vec<_> = places.iter().rev().map(BenchDir::clear).collect();
        results.into_iter().collect()
    }
}

impl Drop for BenchDirs {
    fn drop(&mut self) {
        for place in self.places.iter().rev() {
            if let Err(error) = place.clear() {
                tracing::warn!("{error}");
            }
        }
    }
}

impl BenchDir {
    /// Creates a directory in `above`.
    fn make(above: &Path, made_above: Option<PathBuf>) -> Result<Self, BenchDirError> {
        let own = above.join(own_name());
        let opened = files::create_new_directory(&own).and_then(|()| {
            let opened = RealDisk::new().open_dir(&own, false);
            let opened = opened.and_then(|found| Ok((found.identity()?.0, found)));
            if opened.is_err() {
                // It is empty.
                let _ = files::remove_empty_directory(&own);
            }
            opened
        });
        match opened {
            Ok((device, directory)) => Ok(Self { own, made_above, directory, device }),
            Err(source) => {
                if let Some(above) = made_above {
                    // Empty, or another program has put something there meanwhile.
                    let _ = files::remove_empty_directory(&above);
                }
                Err(BenchDirError::Io { path: own, source })
            }
        }
    }

    fn clear(&self) -> Result<(), BenchDirError> {
        sweep(&self.own)?;
        for name in [DEVICE, BASELINE] {
            remove(&*self.directory, name).map_err(io_at(&self.own.join(name)))?;
        }
        files::remove_empty_directory(&self.own).map_err(io_at(&self.own))?;
        if let Some(above) = &self.made_above {
            files::remove_empty_directory(above).map_err(io_at(above))?;
        }
        Ok(())
    }
}

/// Returns the directories in `path` of benchmarks that were killed, or of one that runs at the
/// same time.
pub(super) fn left_in(path: &Path) -> Vec<PathBuf> {
    let entries = RealDisk::read_only().open_dir(path, false).and_then(|found| found.list());
    let names = entries.unwrap_or_default().into_iter().filter(|entry| !entry.is_file);
    names
        .filter(|entry| entry.name.starts_with(PREFIX))
        .map(|entry| path.join(entry.name))
        .collect()
}

/// Returns a unique name: the process and 64 random bits.
fn own_name() -> String {
    format!("{PREFIX}{}-{:016x}", std::process::id(), SystemRandom.next_u64())
}

/// Returns a directory on the disk of the channel's directory `path` and, where that is not a mount
/// point, outside of it.
fn sibling_of(look: &RealDisk, path: &Path) -> Result<PathBuf, BenchDirError> {
    let path = files::absolute(path);
    let there = path.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    let device = |path: &Path| {
        let identity = look.open_dir(path, false).and_then(|found| found.identity());
        identity.map(|(device, _)| device).map_err(io_at(path))
    };
    match there.parent() {
        // Does not exist yet: it will be created in an existing one.
        _ if there != path => Ok(there.to_owned()),
        Some(above) if device(above)? == device(there)? => Ok(above.to_owned()),
        _ => Ok(there.to_owned()),
    }
}

/// Creates the directory `path`, when it is missing and its parent is not.
fn make_missing(path: &Path) -> Result<Option<PathBuf>, BenchDirError> {
    if path.exists() {
        return Ok(None);
    }
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() && !above.is_dir() => {
            let (path, above) = (path.to_owned(), above.to_owned());
            Err(BenchDirError::InvalidPlace { path, above })
        }
        _ => {
            files::create_new_directory(path).map_err(io_at(path))?;
            Ok(Some(path.to_owned()))
        }
    }
}

fn remove(directory: &dyn Directory, name: &str) -> io::Result<()> {
    match directory.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes the channel's files and nothing else; a directory with other contents stays.
fn sweep(own: &Path) -> Result<(), BenchDirError> {
    for below in [own.join(STRIPE), own.join(CHECKPOINT)] {
        if !below.exists() {
            continue;
        }
        let inner = RealDisk::buffered().open_dir(&below, false).map_err(io_at(&below))?;
        for entry in inner.list().map_err(io_at(&below))? {
            if is_the_channels(&entry.name) {
                remove(&*inner, &entry.name).map_err(io_at(&below.join(&entry.name)))?;
            }
        }
        files::remove_empty_directory(&below).map_err(io_at(&below))?;
    }
    Ok(())
}

fn is_the_channels(name: &str) -> bool {
    [LOCK_NAME, MEMBER_NAME, CHECKPOINT_NAME].contains(&name)
        || layout::segment_slot(name).is_some()
        || name.starts_with(".millpond-probe-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &Path) -> Vec<String> {
        let found = std::fs::read_dir(path).expect("listed");
        let mut names: Vec<String> = found
            .map(|e| e.expect("an entry").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_made_goes_and_what_was_there_stays() {
        let top = tempfile::tempdir().expect("a directory");
        let used = top.path().join("used");
        std::fs::create_dir(&used).expect("made");
        std::fs::write(used.join("letters"), "mine").expect("written");
        let paths = [used.clone(), top.path().join("new")];
        let bench_dirs = BenchDirs::make(&paths, false, 0, 0).expect("made");
        assert_eq!((names(&used).len(), bench_dirs.file_systems()), (2, 1));
        for stripe in bench_dirs.stripes() {
            std::fs::create_dir(&stripe).expect("made");
            std::fs::write(stripe.join(layout::segment_name(3)), "x").expect("written");
        }
        bench_dirs.sweep().expect("swept");
        assert!(bench_dirs.stripes().iter().all(|stripe| !stripe.exists()));
        assert_eq!(left_in(&used).len(), 1);
        bench_dirs.clear().expect("cleared");
        assert_eq!(
            (names(top.path()), names(&used)),
            (vec!["used".into()], vec!["letters".into()])
        );
    }

    #[test]
    fn a_file_that_no_benchmark_made_is_never_removed() {
        let top = tempfile::tempdir().expect("a directory");
        let bench_dirs = BenchDirs::make(&[top.path().to_owned()], false, 0, 0).expect("made");
        let stripe = bench_dirs.stripes().remove(0);
        std::fs::create_dir(&stripe).expect("made");
        std::fs::write(stripe.join("letters"), "mine").expect("written");
        assert!(bench_dirs.clear().is_err());
        assert!(stripe.join("letters").exists());
    }

    #[test]
    fn a_refusal_leaves_nothing_behind() {
        let top = tempfile::tempdir().expect("a directory");
        let at = |name: &str| top.path().join(name);
        let mistyped = BenchDirs::make(&[at("a"), at("nowhere/b")], false, 0, 0).err();
        assert!(matches!(mistyped, Some(BenchDirError::InvalidPlace { .. })), "{mistyped:?}");
        let twice = [top.path().to_owned(), at(".")];
        assert!(matches!(
            BenchDirs::make(&twice, false, 0, 0).err(),
            Some(BenchDirError::Twice { .. })
        ));
        let made_twice = [at("a"), at("a")];
        let refused = BenchDirs::make(&made_twice, false, 0, 0).err();
        assert!(matches!(refused, Some(BenchDirError::Twice { .. })), "{refused:?}");
        let refused = BenchDirs::make(&[at("a")], false, 1 << 60, 7).err().expect("no disk has it");
        let words = refused.to_string();
        assert!(
            words.contains("1152921504606846976") && words.contains("minimumRequiredSpace (7)")
        );
        assert!(names(top.path()).is_empty(), "{:?}", names(top.path()));
    }

    #[test]
    fn a_channels_own_directory_is_not_entered() {
        let top = tempfile::tempdir().expect("a directory");
        let stripe = top.path().join("disk/stripe");
        std::fs::create_dir_all(&stripe).expect("made");
        let missing = top.path().join("disk/not/yet");
        let bench_dirs = BenchDirs::make(&[stripe.clone(), missing], true, 0, 0).expect("made");
        assert!(names(&stripe).is_empty());
        assert_eq!(names(&top.path().join("disk")).len(), 3, "the stripe and two of its own");
        drop(bench_dirs);
        assert_eq!(names(&top.path().join("disk")), ["stripe"]);
    }
}
