//! The directories that a test may use: taken only when empty or marked as its own, locked while
//! in use, and cleared of exactly what was made in them.
//!
//! | in each data directory | is |
//! |---|---|
//! | `millpond-torture` | the marker, and what the directory is used for |
//! | `millpond-torture.lock` | held while a test runs |
//! | `stripe/` | the channel's data directory |
//! | `checkpoint/` | its checkpoint directory; in the first one only |
//! | `ballast` | fills the disk |

use millpond::internal::disk::real::RealDisk;
use millpond::internal::disk::{Access, Directory, Disk, Lock, LockError};
use millpond::internal::layout::{self, CHECKPOINT_NAME, LOCK_NAME, MEMBER_NAME, quarantine};
use millpond_flow::base::files;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MARKER: &str = "millpond-torture";
/// A marker being written; one stays if the power is cut at that time.
const MARKER_NEW: &str = "millpond-torture.new";
/// The beginning of a marker: a file of its name with other contents is foreign.
const MARKER_WORDS: &str = "What millpond torture made in this directory is test data.";
const LOCK: &str = "millpond-torture.lock";
const BALLAST: &str = "ballast";
const STRIPE: &str = "stripe";
const CHECKPOINT: &str = "checkpoint";

/// Names that do not make a directory foreign: the root of a fresh ext4 has the first.
const IGNORED_ENTRIES: [&str; 3] = ["lost+found", LOCK, MARKER_NEW];

/// Bytes of ballast written at a time.
const BALLAST_PIECE_BYTES: u64 = 256 * 1024;

/// What a directory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DirUse {
    /// A run, which judges by itself.
    Run,
    /// The first of two phases: its result has yet to be judged.
    Write,
}

impl DirUse {
    fn word(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Write => "write",
        }
    }
}

/// Why directories are not used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScratchDirError {
    /// It holds something that was not made by a test.
    #[error(
        "{path} is not empty ({name} is in it) and was not made by torture; give an empty or a new directory",
        path = path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        name: String,
    },
    /// It holds the result of a `torture write` that was not judged yet.
    #[error(
        "{path} holds what `torture write` left and `torture verify` has not judged; verify it, or give --discard",
        path = path.display()
    )]
    NotVerified {
        /// The directory.
        path: PathBuf,
    },
    /// It holds nothing to judge.
    #[error("{path} holds nothing that `torture write` made; give the directories of the write", path = path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
    },
    /// It is new and its parent directory does not exist.
    #[error(
        "{path}: there is no directory {above}; create {above} if the path is right (a mistyped path would test the wrong disk)",
        path = path.display(), above = above.display()
    )]
    InvalidPlace {
        /// The directory.
        path: PathBuf,
        /// Its parent directory.
        above: PathBuf,
    },
    /// It is listed twice.
    #[error("{path} is listed twice; each data directory represents a disk of its own", path = path.display())]
    Twice {
        /// The directory.
        path: PathBuf,
    },
    /// Another test is running in it, or it cannot be locked.
    #[error("{held}; {way}", held = .0, way = lock_advice(.0))]
    Lock(#[from] LockError),
    /// It cannot be used.
    #[error("cannot use {path}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

fn lock_advice(error: &LockError) -> &'static str {
    if matches!(error, LockError::Held { .. }) {
        "is another torture running there?"
    } else {
        "check that this user may write there, that there is room, and that it is not mounted read-only"
    }
}

struct ScratchDir {
    path: PathBuf,
    directory: Arc<dyn Directory>,
    /// Whether the directory itself was made by a test.
    made: bool,
    _lock: Box<dyn Lock>,
}

/// Directories in use, until dropped.
pub(super) struct ScratchDirs {
    places: Vec<ScratchDir>,
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> ScratchDirError + '_ {
    |source| ScratchDirError::Io { path: path.to_owned(), source }
}

/// Directories that may be used: nothing in them was touched yet.
pub(super) struct CheckedDirs {
    paths: Vec<PathBuf>,
    purpose: DirUse,
    discard: bool,
}

impl CheckedDirs {
    /// Checks the directories `paths`: new ones, empty ones, and what an earlier test left. What
    /// `torture write` left is used only with `discard`.
    pub(super) fn of(
        paths: &[PathBuf],
        purpose: DirUse,
        discard: bool,
    ) -> Result<Self, ScratchDirError> {
        let mut seen = Vec::new();
        for path in paths {
            refuse_nowhere(path)?;
            if path.exists() {
                let directory = open(path, false)?;
                let identity = directory.identity().map_err(io_at(path))?;
                if seen.contains(&identity) {
                    return Err(ScratchDirError::Twice { path: path.clone() });
                }
                seen.push(identity);
                usable(path, &*directory, discard)?;
            }
        }
        Ok(Self { paths: paths.to_vec(), purpose, discard })
    }

    /// Takes the directories, creates the missing ones and clears what an earlier test left. When
    /// one is refused, the others are as they were, except for what that test left.
    pub(super) fn take(self) -> Result<ScratchDirs, ScratchDirError> {
        let mut scratch_dirs = ScratchDirs { places: Vec::new() };
        let taken = self.paths.iter().try_for_each(|path| scratch_dirs.add(path, &self));
        match taken {
            Ok(()) => Ok(scratch_dirs),
            Err(error) => {
                for place in scratch_dirs.places {
                    // The refusal is the error to return.
                    let _ = ScratchDirs { places: vec![place] }.clear();
                }
                Err(error)
            }
        }
    }
}

impl ScratchDirs {
    fn add(&mut self, path: &Path, survey: &CheckedDirs) -> Result<(), ScratchDirError> {
        let made_now = !path.exists();
        let directory = open(path, true)?;
        // Two names of a directory that did not exist before.
        self.refuse_twice(path, &*directory)?;
        let lock = directory.lock(LOCK)?;
        // Another test may have run there since the check.
        let marker = usable(path, &*directory, survey.discard)?;
        let made = made_now || marker.is_some_and(|text| text.contains("made yes"));
        let place = ScratchDir { path: path.to_owned(), directory, made, _lock: lock };
        let directory = Arc::clone(&place.directory);
        self.places.push(place);
        clear(path, &*directory)?;
        write_marker(&*directory, survey.purpose, made, false).map_err(io_at(path))
    }

    /// Takes the directories `paths` that a write left, as they are; returns also whether it ended
    /// in order.
    pub(super) fn left_by_write(paths: &[PathBuf]) -> Result<(Self, bool), ScratchDirError> {
        let mut scratch_dirs = Self { places: Vec::new() };
        let mut ended = false;
        for path in paths {
            let directory = open(path, false)?;
            scratch_dirs.refuse_twice(path, &*directory)?;
            let marker = read_marker(&*directory).map_err(io_at(path))?;
            let Some(text) = marker.filter(|text| text.contains("purpose write")) else {
                return Err(ScratchDirError::Nothing { path: path.clone() });
            };
            let (lock, made) = (directory.lock(LOCK)?, text.contains("made yes"));
            ended |= text.contains("ended yes");
            scratch_dirs.places.push(ScratchDir {
                path: path.clone(),
                directory,
                made,
                _lock: lock,
            });
        }
        Ok((scratch_dirs, ended))
    }

    /// Notes that a write ended in order: its acknowledgements have an end mark.
    pub(super) fn write_has_ended(&self) -> Result<(), ScratchDirError> {
        self.places.iter().try_for_each(|place| {
            write_marker(&*place.directory, DirUse::Write, place.made, true)
                .map_err(io_at(&place.path))
        })
    }

    fn refuse_twice(&self, path: &Path, directory: &dyn Directory) -> Result<(), ScratchDirError> {
        let own = directory.identity().map_err(io_at(path))?;
        for place in &self.places {
            if place.directory.identity().map_err(io_at(&place.path))? == own {
                return Err(ScratchDirError::Twice { path: path.to_owned() });
            }
        }
        Ok(())
    }

    /// Fills every directory until it holds `quota` bytes, or the disk is full.
    pub(super) fn fill(&self, quota: u64) -> Result<(), ScratchDirError> {
        for place in &self.places {
            let stripe = open(&place.path.join(STRIPE), false)?;
            let used = used_bytes(&*stripe).map_err(io_at(&place.path))?;
            let made = place.directory.create(BALLAST);
            let file = match made {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    place.directory.open(BALLAST, Access::Write)
                }
                made => made,
            };
            let path = place.path.join(BALLAST);
            let file = file.map_err(io_at(&path))?;
            let mut at = file.len().map_err(io_at(&path))?;
            let end = at + quota.saturating_sub(used);
            while at < end {
                let piece = BALLAST_PIECE_BYTES.min(end - at) as usize;
                match file.write_at(at, &vec![0xb5; piece]) {
                    Ok(()) => at += piece as u64,
                    // The disk is full before the quota is: that is the purpose.
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(io_at(&path)(error)),
                }
            }
        }
        Ok(())
    }

    /// Removes what [`ScratchDirs::fill`] wrote.
    pub(super) fn empty(&self) -> Result<(), ScratchDirError> {
        for place in &self.places {
            remove(&*place.directory, BALLAST).map_err(io_at(&place.path))?;
        }
        Ok(())
    }

    /// Removes everything that tests made in the directories, and the directories that they
    /// created.
    pub(super) fn clear(self) -> Result<(), ScratchDirError> {
        for place in self.places {
            clear(&place.path, &*place.directory)?;
            remove(&*place.directory, MARKER).map_err(io_at(&place.path))?;
            remove(&*place.directory, MARKER_NEW).map_err(io_at(&place.path))?;
            remove(&*place.directory, LOCK).map_err(io_at(&place.path))?;
            if place.made {
                files::remove_empty_directory(&place.path).map_err(io_at(&place.path))?;
            }
        }
        Ok(())
    }
}

/// Returns the channel's data directories in `paths`.
pub(super) fn stripes(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|path| path.join(STRIPE)).collect()
}

/// Returns the channel's checkpoint directory in `paths`.
pub(super) fn checkpoint(paths: &[PathBuf]) -> PathBuf {
    paths.first().map(|path| path.join(CHECKPOINT)).unwrap_or_default()
}

/// Returns the bytes that a stripe's directory and the ballast next to it take.
pub(super) fn used_bytes(stripe: &dyn Directory) -> io::Result<u64> {
    let files: u64 = stripe.list()?.iter().map(|entry| entry.len).sum();
    let ballast = stripe.path().parent().map(|above| above.join(BALLAST));
    let ballast = ballast.and_then(|path| path.metadata().ok()).map_or(0, |found| found.len());
    Ok(files + ballast)
}

fn open(path: &Path, create: bool) -> Result<Arc<dyn Directory>, ScratchDirError> {
    // Through the page cache: nothing is probed, and only names are written here.
    RealDisk::buffered().open_dir(path, create).map_err(io_at(path))
}

fn refuse_nowhere(path: &Path) -> Result<(), ScratchDirError> {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() && !above.is_dir() => {
            let (path, above) = (path.to_owned(), above.to_owned());
            Err(ScratchDirError::InvalidPlace { path, above })
        }
        _ => Ok(()),
    }
}

/// Refuses a directory that a test may not use; returns the marker's contents of one that was used.
fn usable(
    path: &Path,
    directory: &dyn Directory,
    discard: bool,
) -> Result<Option<String>, ScratchDirError> {
    let marker = read_marker(directory).map_err(io_at(path))?;
    match &marker {
        Some(text) if text.contains("purpose write") && !discard => {
            return Err(ScratchDirError::NotVerified { path: path.to_owned() });
        }
        Some(_) => refuse_links(path)?,
        None => refuse_others(path, directory)?,
    }
    Ok(marker)
}

fn refuse_others(path: &Path, directory: &dyn Directory) -> Result<(), ScratchDirError> {
    let entries = directory.list().map_err(io_at(path))?;
    match entries.into_iter().find(|entry| !IGNORED_ENTRIES.contains(&entry.name.as_str())) {
        Some(entry) => Err(ScratchDirError::Foreign { path: path.to_owned(), name: entry.name }),
        None => Ok(()),
    }
}

/// Refuses links: no test creates one, so its target is foreign.
fn refuse_links(path: &Path) -> Result<(), ScratchDirError> {
    match [STRIPE, CHECKPOINT].into_iter().find(|name| path.join(name).is_symlink()) {
        Some(name) => {
            Err(ScratchDirError::Foreign { path: path.to_owned(), name: name.to_owned() })
        }
        None => Ok(()),
    }
}

fn read_marker(directory: &dyn Directory) -> io::Result<Option<String>> {
    match directory.open(MARKER, Access::Read) {
        Ok(file) => {
            let mut bytes = [0; 512];
            let read = file.read_at(0, &mut bytes)?;
            let text = String::from_utf8_lossy(&bytes[..read]).into_owned();
            Ok(text.starts_with(MARKER_WORDS).then_some(text))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_marker(
    directory: &dyn Directory,
    purpose: DirUse,
    made: bool,
    ended: bool,
) -> io::Result<()> {
    let word = |yes| if yes { "yes" } else { "no" };
    let text = format!(
        "{MARKER_WORDS}\npurpose {}\nmade {}\nended {}\n",
        purpose.word(),
        word(made),
        word(ended)
    );
    // The old one or the new one exists at all times: without either, the channel in the directory
    // would be foreign.
    files::replace(&directory.path().join(MARKER), text.as_bytes())
}

fn remove(directory: &dyn Directory, name: &str) -> io::Result<()> {
    match directory.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes the channel and the ballast; nothing that the channel did not create.
fn clear(path: &Path, directory: &dyn Directory) -> Result<(), ScratchDirError> {
    remove(directory, BALLAST).map_err(io_at(path))?;
    refuse_links(path)?;
    for below in [STRIPE, CHECKPOINT] {
        let below = path.join(below);
        if !below.exists() {
            continue;
        }
        let inner = open(&below, false)?;
        for entry in inner.list().map_err(io_at(&below))? {
            if is_the_channels(&entry.name) {
                remove(&*inner, &entry.name).map_err(io_at(&below.join(&entry.name)))?;
            }
        }
        drop(inner);
        files::remove_empty_directory(&below).map_err(io_at(&below))?;
    }
    Ok(())
}

fn is_the_channels(name: &str) -> bool {
    [LOCK_NAME, MEMBER_NAME, CHECKPOINT_NAME].contains(&name)
        || layout::segment_slot(name).is_some()
        || name.starts_with(quarantine::PREFIX)
        || name.starts_with(".millpond-probe-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(
        paths: &[PathBuf],
        purpose: DirUse,
        discard: bool,
    ) -> Result<ScratchDirs, ScratchDirError> {
        CheckedDirs::of(paths, purpose, discard)?.take()
    }

    #[test]
    fn a_directory_with_a_foreign_entry_is_refused_and_left_alone() {
        let top = tempfile::tempdir().expect("a directory");
        std::fs::write(top.path().join("letters"), "mine").expect("written");
        let refused = take(&[top.path().to_owned()], DirUse::Run, true);
        assert!(
            matches!(refused.err(), Some(ScratchDirError::Foreign { name, .. }) if name == "letters")
        );
        let names: Vec<_> = std::fs::read_dir(top.path()).expect("listed").collect();
        assert_eq!(names.len(), 1, "nothing was added");
    }

    #[test]
    fn only_a_lock_that_is_held_is_blamed_on_another_torture() {
        let path = PathBuf::from("d/in_use.lock");
        let held = ScratchDirError::Lock(LockError::Held { path: path.clone(), holder: Some(7) });
        assert!(held.to_string().contains("another torture"), "{held}");
        let source = io::Error::from_raw_os_error(30);
        let refused = ScratchDirError::Lock(LockError::Io { path, source }).to_string();
        assert!(refused.contains("Read-only") && !refused.contains("another"), "{refused}");
    }

    #[test]
    fn a_directory_in_one_that_is_not_there_is_refused_and_nothing_is_made() {
        let top = tempfile::tempdir().expect("a directory");
        let above = top.path().join("mistyped");
        let refused = take(&[above.join("t")], DirUse::Run, true).err();
        assert!(matches!(refused, Some(ScratchDirError::InvalidPlace { .. })));
        assert!(!above.exists());
    }

    #[test]
    fn what_a_test_made_goes_and_what_was_there_stays() {
        let top = tempfile::tempdir().expect("a directory");
        let (there, fresh) = (top.path().join("there"), top.path().join("fresh"));
        std::fs::create_dir(&there).expect("made");
        let paths = [there.clone(), fresh.clone()];
        let scratch_dirs = take(&paths, DirUse::Run, false).expect("taken");
        for stripe in stripes(&paths) {
            std::fs::create_dir(&stripe).expect("made");
            std::fs::write(stripe.join(layout::segment_name(0)), "x").expect("written");
        }
        scratch_dirs.fill(1 << 20).expect("filled");
        let stripe = open(&stripes(&paths)[0], false).expect("opened");
        assert_eq!(used_bytes(&*stripe).expect("counted"), 1 << 20);
        scratch_dirs.clear().expect("cleared");
        assert!(there.is_dir() && std::fs::read_dir(&there).expect("listed").next().is_none());
        assert!(!fresh.exists());
    }

    #[test]
    fn a_file_that_the_channel_did_not_make_is_never_removed() {
        let top = tempfile::tempdir().expect("a directory");
        let paths = [top.path().join("d")];
        let scratch_dirs = take(&paths, DirUse::Run, false).expect("taken");
        let stripe = &stripes(&paths)[0];
        std::fs::create_dir(stripe).expect("made");
        std::fs::write(stripe.join("letters"), "mine").expect("written");
        assert!(scratch_dirs.clear().is_err());
        assert!(stripe.join("letters").exists());
    }

    #[test]
    fn the_target_of_a_link_and_a_directory_with_a_foreign_marker_are_left_alone() {
        let top = tempfile::tempdir().expect("a directory");
        let (real, linked) = (top.path().join("real"), [top.path().join("d")]);
        std::fs::create_dir(&real).expect("made");
        let segment = real.join(layout::segment_name(0));
        std::fs::write(&segment, "mine").expect("written");
        drop(take(&linked, DirUse::Run, false).expect("taken"));
        std::os::unix::fs::symlink(&real, &stripes(&linked)[0]).expect("linked");
        let refused = take(&linked, DirUse::Run, false).err();
        assert!(matches!(refused, Some(ScratchDirError::Foreign { .. })));
        assert!(segment.exists());
        let other = [top.path().join("other")];
        std::fs::create_dir_all(other[0].join(STRIPE)).expect("made");
        std::fs::write(other[0].join(MARKER), "x").expect("written");
        let refused = take(&other, DirUse::Run, false).err();
        assert!(matches!(refused, Some(ScratchDirError::Foreign { .. })));
    }

    #[test]
    fn what_has_yet_to_be_judged_is_not_cleared_unasked() {
        let top = tempfile::tempdir().expect("a directory");
        let paths = [top.path().join("d")];
        drop(take(&paths, DirUse::Write, false).expect("taken"));
        let again = take(&paths, DirUse::Run, false);
        assert!(matches!(again.err(), Some(ScratchDirError::NotVerified { .. })));
        assert!(ScratchDirs::left_by_write(&paths).is_ok());
        drop(take(&paths, DirUse::Run, true).expect("discarded"));
        assert!(matches!(
            ScratchDirs::left_by_write(&paths).err(),
            Some(ScratchDirError::Nothing { .. })
        ));
    }

    #[test]
    fn a_marker_is_there_at_every_moment_of_its_change() {
        let top = tempfile::tempdir().expect("a directory");
        let paths = [top.path().join("d")];
        // As a power cut leaves it, before there is any.
        std::fs::create_dir(&paths[0]).expect("made");
        std::fs::write(paths[0].join(MARKER_NEW), "What mill").expect("written");
        let scratch_dirs = take(&paths, DirUse::Write, false).expect("taken");
        assert!(!paths[0].join(MARKER_NEW).exists());
        // The obstacle stops the change after the last point at which nothing was lost.
        std::fs::create_dir(paths[0].join(MARKER_NEW)).expect("made");
        scratch_dirs.write_has_ended().expect_err("it cannot be written");
        drop(scratch_dirs);
        let (scratch_dirs, ended) = ScratchDirs::left_by_write(&paths).expect("it is still known");
        assert!(!ended);
        std::fs::remove_dir(paths[0].join(MARKER_NEW)).expect("removed");
        scratch_dirs.write_has_ended().expect("written");
        drop(scratch_dirs);
        let (scratch_dirs, ended) = ScratchDirs::left_by_write(&paths).expect("it is known");
        assert!(ended);
        scratch_dirs.clear().expect("cleared");
        assert!(std::fs::read_dir(&paths[0]).expect("it was there before").next().is_none());
    }

    #[test]
    fn where_one_directory_is_refused_nothing_stays_in_the_others() {
        let top = tempfile::tempdir().expect("a directory");
        let (empty, fresh, held) =
            (top.path().join("e"), top.path().join("f"), top.path().join("h"));
        std::fs::create_dir(&empty).expect("made");
        let _held = take(std::slice::from_ref(&held), DirUse::Run, false).expect("taken");
        let others = top.path().join("others");
        std::fs::create_dir(&others).expect("made");
        std::fs::write(others.join("letters"), "mine").expect("written");
        for refused in [held, others] {
            let paths = [empty.clone(), fresh.clone(), refused];
            assert!(take(&paths, DirUse::Run, false).is_err());
            assert!(std::fs::read_dir(&empty).expect("listed").next().is_none());
            assert!(!fresh.exists());
        }
    }

    #[test]
    fn one_directory_twice_and_one_in_use_are_refused() {
        let top = tempfile::tempdir().expect("a directory");
        let twice = [top.path().join("d"), top.path().join("./d")];
        assert!(matches!(
            take(&twice, DirUse::Run, false).err(),
            Some(ScratchDirError::Twice { .. })
        ));
        let _held = take(&twice[..1], DirUse::Run, false).expect("taken");
        assert!(matches!(
            take(&twice[..1], DirUse::Run, false).err(),
            Some(ScratchDirError::Lock(_))
        ));
    }
}
