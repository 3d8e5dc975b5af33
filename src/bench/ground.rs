//! The directories that a benchmark makes: one in each place that is named, with a name that nobody
//! has, and gone at the end.
//!
//! | in each of them | is |
//! |---|---|
//! | `stripe/` | the channel's data directory |
//! | `checkpoint/` | its checkpoint directory; in the first one only |
//! | `device` | what the device's own speed is measured with |
//! | `baseline` | the plain file of `--baseline`; in the first one only |

use super::device;
use crate::base::files;
use crate::base::random::{Random, SystemRandom};
use crate::disk::real::RealDisk;
use crate::disk::{Directory, Disk, Space};
use crate::record::segment;
use crate::recovery::{CHECKPOINT_NAME, LOCK_NAME, MEMBER_NAME};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The names of the directories begin so.
const PREFIX: &str = "millpond-bench-";
const STRIPE: &str = "stripe";
const CHECKPOINT: &str = "checkpoint";
pub(super) const BASELINE: &str = "baseline";

/// Why nothing can be measured there. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroundError {
    /// It would lie in a directory that is not there.
    #[error(
        "{path}: there is no directory {above}; a mistyped path would measure another disk than the one that is meant, so make {above} if it is right",
        path = path.display(), above = above.display()
    )]
    NowhereToLie {
        /// The directory.
        path: PathBuf,
        /// What it would lie in.
        above: PathBuf,
    },
    /// It is listed twice.
    #[error("{path} is listed twice; each data directory stands for a disk of its own", path = path.display())]
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

/// Where it is measured.
struct Place {
    /// The directory that was made.
    own: PathBuf,
    /// What it lies in, when that was made too.
    made_above: Option<PathBuf>,
    directory: Arc<dyn Directory>,
    /// Number of the file system.
    device: u64,
}

/// Directories in use; removed when dropped.
pub(super) struct Ground {
    places: Vec<Place>,
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> GroundError + '_ {
    |source| GroundError::Io { path: path.to_owned(), source }
}

impl Ground {
    /// Makes a directory in each of `paths`; `beside` them, where they are a channel's own. Refuses
    /// when a file system has less than `space` and `minimum` bytes.
    pub(super) fn make(
        paths: &[PathBuf],
        beside: bool,
        space: u64,
        minimum: u64,
    ) -> Result<Self, GroundError> {
        // Through the page cache: opening it any other way would try a file of its own there.
        let look = RealDisk::buffered();
        let mut ground = Self { places: Vec::new() };
        let mut taken: BTreeSet<(u64, u64)> = BTreeSet::new();
        for path in paths {
            let above = if beside { beside_of(&look, path)? } else { path.clone() };
            let made_above = make_missing(&above)?;
            let place = Place::make(&above, made_above)?;
            let above = look.open_dir(&above, false).and_then(|above| above.identity());
            let identity = above.map_err(io_at(path));
            // In the list first: whatever fails from here on, it goes again.
            ground.places.push(place);
            if !taken.insert(identity?) && !beside {
                return Err(GroundError::Twice { path: path.clone() });
            }
        }
        ground.refuse_too_little(space, minimum)?;
        Ok(ground)
    }

    fn refuse_too_little(&self, space: u64, minimum: u64) -> Result<(), GroundError> {
        for place in &self.places {
            // A file system that does not tell says so when it is full.
            let Ok(Space { available_bytes: free, .. }) = place.directory.space() else { continue };
            if free < space.saturating_add(minimum) {
                let path = place.own.parent().unwrap_or(&place.own).to_owned();
                return Err(GroundError::Space { path, free, space, minimum });
            }
        }
        Ok(())
    }

    /// What was made.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.places.iter().map(|place| place.own.as_path())
    }

    /// What was made, to write there.
    pub(super) fn directories(&self) -> Vec<Arc<dyn Directory>> {
        self.places.iter().map(|place| Arc::clone(&place.directory)).collect()
    }

    /// How many file systems there are below the directories.
    pub(super) fn file_systems(&self) -> usize {
        let devices: BTreeSet<u64> = self.places.iter().map(|p| p.device).collect();
        devices.len()
    }

    /// The channel's data directories.
    pub(super) fn stripes(&self) -> Vec<PathBuf> {
        self.paths().map(|path| path.join(STRIPE)).collect()
    }

    /// The channel's checkpoint directory.
    pub(super) fn checkpoint(&self) -> PathBuf {
        self.paths().next().map(|path| path.join(CHECKPOINT)).unwrap_or_default()
    }

    /// Removes the channel, which must be closed.
    pub(super) fn sweep(&self) -> Result<(), GroundError> {
        self.places.iter().try_for_each(|place| sweep(&place.own))
    }

    /// Removes everything that was made.
    pub(super) fn clear(mut self) -> Result<(), GroundError> {
        let places = std::mem::take(&mut self.places);
        // All of them, also when one resists; the last first, since it may lie in one made before.
        let results: Vec<_> = places.iter().rev().map(Place::clear).collect();
        results.into_iter().collect()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for place in self.places.iter().rev() {
            if let Err(error) = place.clear() {
                tracing::warn!("{error}");
            }
        }
    }
}

impl Place {
    /// Makes a directory in `above`.
    fn make(above: &Path, made_above: Option<PathBuf>) -> Result<Self, GroundError> {
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
                    // Empty, or somebody has put something there meanwhile.
                    let _ = files::remove_empty_directory(&above);
                }
                Err(GroundError::Io { path: own, source })
            }
        }
    }

    fn clear(&self) -> Result<(), GroundError> {
        sweep(&self.own)?;
        for name in [device::NAME, BASELINE] {
            remove(&*self.directory, name).map_err(io_at(&self.own.join(name)))?;
        }
        files::remove_empty_directory(&self.own).map_err(io_at(&self.own))?;
        if let Some(above) = &self.made_above {
            files::remove_empty_directory(above).map_err(io_at(above))?;
        }
        Ok(())
    }
}

/// What benchmarks that were killed left in `path`, or one has there that runs beside.
pub(super) fn left_in(path: &Path) -> Vec<PathBuf> {
    let entries = RealDisk::read_only().open_dir(path, false).and_then(|found| found.list());
    let names = entries.unwrap_or_default().into_iter().filter(|entry| !entry.is_file);
    names
        .filter(|entry| entry.name.starts_with(PREFIX))
        .map(|entry| path.join(entry.name))
        .collect()
}

/// A name that nobody has: the process and 64 random bits.
fn own_name() -> String {
    format!("{PREFIX}{}-{:016x}", std::process::id(), SystemRandom.next_u64())
}

/// A directory on the disk of the channel's directory `path` and, where that is no mount point,
/// outside of it.
fn beside_of(look: &RealDisk, path: &Path) -> Result<PathBuf, GroundError> {
    let path = files::absolute(path);
    let there = path.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    let device = |path: &Path| {
        let identity = look.open_dir(path, false).and_then(|found| found.identity());
        identity.map(|(device, _)| device).map_err(io_at(path))
    };
    match there.parent() {
        // Not there yet: it will be made in what is there.
        _ if there != path => Ok(there.to_owned()),
        Some(above) if device(above)? == device(there)? => Ok(above.to_owned()),
        _ => Ok(there.to_owned()),
    }
}

/// Makes the directory `path`, when it is missing and what it lies in is not.
fn make_missing(path: &Path) -> Result<Option<PathBuf>, GroundError> {
    if path.exists() {
        return Ok(None);
    }
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() && !above.is_dir() => {
            let (path, above) = (path.to_owned(), above.to_owned());
            Err(GroundError::NowhereToLie { path, above })
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

/// Removes the channel's files and nothing else; a directory with anything else in it stays.
fn sweep(own: &Path) -> Result<(), GroundError> {
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
        || segment::slot_of(name).is_some()
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
        let ground = Ground::make(&paths, false, 0, 0).expect("made");
        assert_eq!((names(&used).len(), ground.file_systems()), (2, 1));
        for stripe in ground.stripes() {
            std::fs::create_dir(&stripe).expect("made");
            std::fs::write(stripe.join(segment::file_name(3)), "x").expect("written");
        }
        ground.sweep().expect("swept");
        assert!(ground.stripes().iter().all(|stripe| !stripe.exists()));
        assert_eq!(left_in(&used).len(), 1);
        ground.clear().expect("cleared");
        assert_eq!(
            (names(top.path()), names(&used)),
            (vec!["used".into()], vec!["letters".into()])
        );
    }

    #[test]
    fn a_file_that_no_benchmark_made_is_never_removed() {
        let top = tempfile::tempdir().expect("a directory");
        let ground = Ground::make(&[top.path().to_owned()], false, 0, 0).expect("made");
        let stripe = ground.stripes().remove(0);
        std::fs::create_dir(&stripe).expect("made");
        std::fs::write(stripe.join("letters"), "mine").expect("written");
        assert!(ground.clear().is_err());
        assert!(stripe.join("letters").exists());
    }

    #[test]
    fn a_refusal_leaves_nothing_behind() {
        let top = tempfile::tempdir().expect("a directory");
        let at = |name: &str| top.path().join(name);
        let mistyped = Ground::make(&[at("a"), at("nowhere/b")], false, 0, 0).err();
        assert!(matches!(mistyped, Some(GroundError::NowhereToLie { .. })), "{mistyped:?}");
        let twice = [top.path().to_owned(), at(".")];
        assert!(matches!(Ground::make(&twice, false, 0, 0).err(), Some(GroundError::Twice { .. })));
        let made_twice = [at("a"), at("a")];
        let refused = Ground::make(&made_twice, false, 0, 0).err();
        assert!(matches!(refused, Some(GroundError::Twice { .. })), "{refused:?}");
        let refused = Ground::make(&[at("a")], false, 1 << 60, 7).err().expect("no disk has it");
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
        let ground = Ground::make(&[stripe.clone(), missing], true, 0, 0).expect("made");
        assert!(names(&stripe).is_empty());
        assert_eq!(names(&top.path().join("disk")).len(), 3, "the stripe and two of its own");
        drop(ground);
        assert_eq!(names(&top.path().join("disk")), ["stripe"]);
    }
}
