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

use crate::base::files;
use crate::disk::real::RealDisk;
use crate::disk::{Access, Directory, Disk, Lock, LockError};
use crate::record::segment;
use crate::recovery::{CHECKPOINT_NAME, LOCK_NAME, MEMBER_NAME, quarantine};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MARKER: &str = "millpond-torture";
/// A marker on its way; one stays where the power was cut at that moment.
const MARKER_NEW: &str = "millpond-torture.new";
/// What a marker begins with: a file of its name that says something else is somebody's.
const MARKER_WORDS: &str = "What millpond torture made in this directory is test data.";
const LOCK: &str = "millpond-torture.lock";
const BALLAST: &str = "ballast";
const STRIPE: &str = "stripe";
const CHECKPOINT: &str = "checkpoint";

/// Names that do not make a directory somebody's: the root of a fresh ext4 has the first.
const NOBODYS: [&str; 3] = ["lost+found", LOCK, MARKER_NEW];

/// Bytes of ballast written at a time.
const BALLAST_PIECE_BYTES: u64 = 256 * 1024;

/// What a directory is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A run, which judges by itself.
    Run,
    /// The first of two phases: what is there has yet to be judged.
    Write,
}

impl Purpose {
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
pub enum GroundError {
    /// It holds something that no test made.
    #[error(
        "{path} is not empty ({name} is in it) and was not made by torture; give an empty or a new directory",
        path = path.display()
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Something in it.
        name: String,
    },
    /// It holds what `torture write` left and nobody judged yet.
    #[error(
        "{path} holds what `torture write` left and `torture verify` has not judged; verify it, or give --discard",
        path = path.display()
    )]
    Unjudged {
        /// The directory.
        path: PathBuf,
    },
    /// It holds nothing to judge.
    #[error("{path} holds nothing that `torture write` made; give the directories of the write", path = path.display())]
    Nothing {
        /// The directory.
        path: PathBuf,
    },
    /// It is new and would lie in a directory that is not there.
    #[error(
        "{path}: there is no directory {above}; a mistyped path would test another disk than the one that is meant, so make {above} if it is right",
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
    /// Another test is running in it, or it cannot be locked.
    #[error("{held}; {way}", held = .0, way = way_out(.0))]
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

fn way_out(error: &LockError) -> &'static str {
    match error {
        LockError::Held { .. } => "is another torture running there?",
        LockError::Io { .. } => {
            "check that this user may write there, that there is room, and that it is not mounted read-only"
        }
    }
}

struct Place {
    path: PathBuf,
    directory: Arc<dyn Directory>,
    /// Whether the directory itself was made by a test.
    made: bool,
    _lock: Box<dyn Lock>,
}

/// Directories in use, until dropped.
pub(super) struct Ground {
    places: Vec<Place>,
}

fn io_at(path: &Path) -> impl Fn(io::Error) -> GroundError + '_ {
    |source| GroundError::Io { path: path.to_owned(), source }
}

/// Directories that may be used: nothing in them was touched yet.
pub(super) struct Survey {
    paths: Vec<PathBuf>,
    purpose: Purpose,
    discard: bool,
}

impl Survey {
    /// Looks at the directories `paths`: new ones, empty ones, and what an earlier test left. What
    /// `torture write` left is used only with `discard`.
    pub(super) fn of(
        paths: &[PathBuf],
        purpose: Purpose,
        discard: bool,
    ) -> Result<Self, GroundError> {
        let mut seen = Vec::new();
        for path in paths {
            refuse_nowhere(path)?;
            if path.exists() {
                let directory = open(path, false)?;
                let identity = directory.identity().map_err(io_at(path))?;
                if seen.contains(&identity) {
                    return Err(GroundError::Twice { path: path.clone() });
                }
                seen.push(identity);
                usable(path, &*directory, discard)?;
            }
        }
        Ok(Self { paths: paths.to_vec(), purpose, discard })
    }

    /// Takes the directories, makes those that are missing and clears what an earlier test left.
    /// When one is refused, the others are as they were, but for what that test left.
    pub(super) fn take(self) -> Result<Ground, GroundError> {
        let mut ground = Ground { places: Vec::new() };
        let taken = self.paths.iter().try_for_each(|path| ground.add(path, &self));
        match taken {
            Ok(()) => Ok(ground),
            Err(error) => {
                for place in ground.places {
                    // The refusal is what there is to say.
                    let _ = Ground { places: vec![place] }.clear();
                }
                Err(error)
            }
        }
    }
}

impl Ground {
    fn add(&mut self, path: &Path, survey: &Survey) -> Result<(), GroundError> {
        let made_now = !path.exists();
        let directory = open(path, true)?;
        // Two names of one that was not there before.
        self.refuse_twice(path, &*directory)?;
        let lock = directory.lock(LOCK)?;
        // Another test may have been there since the survey.
        let marker = usable(path, &*directory, survey.discard)?;
        let made = made_now || marker.is_some_and(|text| text.contains("made yes"));
        let place = Place { path: path.to_owned(), directory, made, _lock: lock };
        let directory = Arc::clone(&place.directory);
        self.places.push(place);
        clear(path, &*directory)?;
        write_marker(&*directory, survey.purpose, made, false).map_err(io_at(path))
    }

    /// Takes the directories `paths` that a write left, as they are; also whether it said that it
    /// ended in order.
    pub(super) fn left_by_write(paths: &[PathBuf]) -> Result<(Self, bool), GroundError> {
        let mut ground = Self { places: Vec::new() };
        let mut ended = false;
        for path in paths {
            let directory = open(path, false)?;
            ground.refuse_twice(path, &*directory)?;
            let marker = read_marker(&*directory).map_err(io_at(path))?;
            let Some(text) = marker.filter(|text| text.contains("purpose write")) else {
                return Err(GroundError::Nothing { path: path.clone() });
            };
            let (lock, made) = (directory.lock(LOCK)?, text.contains("made yes"));
            ended |= text.contains("ended yes");
            ground.places.push(Place { path: path.clone(), directory, made, _lock: lock });
        }
        Ok((ground, ended))
    }

    /// Notes that a write ended in order: its acknowledgements have an end.
    pub(super) fn write_has_ended(&self) -> Result<(), GroundError> {
        self.places.iter().try_for_each(|place| {
            write_marker(&*place.directory, Purpose::Write, place.made, true)
                .map_err(io_at(&place.path))
        })
    }

    fn refuse_twice(&self, path: &Path, directory: &dyn Directory) -> Result<(), GroundError> {
        let own = directory.identity().map_err(io_at(path))?;
        for place in &self.places {
            if place.directory.identity().map_err(io_at(&place.path))? == own {
                return Err(GroundError::Twice { path: path.to_owned() });
            }
        }
        Ok(())
    }

    /// Fills every directory until it holds `quota` bytes, or the disk is full.
    pub(super) fn fill(&self, quota: u64) -> Result<(), GroundError> {
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
                    // The disk is full before the quota is: that is what was wanted.
                    Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                    Err(error) => return Err(io_at(&path)(error)),
                }
            }
        }
        Ok(())
    }

    /// Removes what [`Ground::fill`] wrote.
    pub(super) fn empty(&self) -> Result<(), GroundError> {
        for place in &self.places {
            remove(&*place.directory, BALLAST).map_err(io_at(&place.path))?;
        }
        Ok(())
    }

    /// Removes everything that tests made in the directories, and those they made themselves.
    pub(super) fn clear(self) -> Result<(), GroundError> {
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

/// The channel's data directories in `paths`.
pub(super) fn stripes(paths: &[PathBuf]) -> Vec<PathBuf> {
    paths.iter().map(|path| path.join(STRIPE)).collect()
}

/// The channel's checkpoint directory in `paths`.
pub(super) fn checkpoint(paths: &[PathBuf]) -> PathBuf {
    paths.first().map(|path| path.join(CHECKPOINT)).unwrap_or_default()
}

/// Bytes that a stripe's directory and the ballast beside it take.
pub(super) fn used_bytes(stripe: &dyn Directory) -> io::Result<u64> {
    let files: u64 = stripe.list()?.iter().map(|entry| entry.len).sum();
    let ballast = stripe.path().parent().map(|above| above.join(BALLAST));
    let ballast = ballast.and_then(|path| path.metadata().ok()).map_or(0, |found| found.len());
    Ok(files + ballast)
}

fn open(path: &Path, create: bool) -> Result<Arc<dyn Directory>, GroundError> {
    // Through the page cache: nothing is probed, and nothing but names is written here.
    RealDisk::buffered().open_dir(path, create).map_err(io_at(path))
}

fn refuse_nowhere(path: &Path) -> Result<(), GroundError> {
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() && !above.is_dir() => {
            let (path, above) = (path.to_owned(), above.to_owned());
            Err(GroundError::NowhereToLie { path, above })
        }
        _ => Ok(()),
    }
}

/// Refuses a directory that a test may not use; answers what the marker of one that was used says.
fn usable(
    path: &Path,
    directory: &dyn Directory,
    discard: bool,
) -> Result<Option<String>, GroundError> {
    let marker = read_marker(directory).map_err(io_at(path))?;
    match &marker {
        Some(text) if text.contains("purpose write") && !discard => {
            return Err(GroundError::Unjudged { path: path.to_owned() });
        }
        Some(_) => refuse_links(path)?,
        None => refuse_others(path, directory)?,
    }
    Ok(marker)
}

fn refuse_others(path: &Path, directory: &dyn Directory) -> Result<(), GroundError> {
    let entries = directory.list().map_err(io_at(path))?;
    match entries.into_iter().find(|entry| !NOBODYS.contains(&entry.name.as_str())) {
        Some(entry) => Err(GroundError::NotOurs { path: path.to_owned(), name: entry.name }),
        None => Ok(()),
    }
}

/// No test makes a link: what it leads to is somebody's.
fn refuse_links(path: &Path) -> Result<(), GroundError> {
    match [STRIPE, CHECKPOINT].into_iter().find(|name| path.join(name).is_symlink()) {
        Some(name) => Err(GroundError::NotOurs { path: path.to_owned(), name: name.to_owned() }),
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
    purpose: Purpose,
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
    // The old one or the new one is there at every moment: without any, the channel in the directory
    // would be somebody else's.
    files::replace(&directory.path().join(MARKER), text.as_bytes())
}

fn remove(directory: &dyn Directory, name: &str) -> io::Result<()> {
    match directory.remove(name) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

/// Removes the channel and the ballast; nothing that the channel did not make.
fn clear(path: &Path, directory: &dyn Directory) -> Result<(), GroundError> {
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
        || segment::slot_of(name).is_some()
        || name.starts_with(quarantine::PREFIX)
        || name.starts_with(".millpond-probe-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(paths: &[PathBuf], purpose: Purpose, discard: bool) -> Result<Ground, GroundError> {
        Survey::of(paths, purpose, discard)?.take()
    }

    #[test]
    fn a_directory_with_anything_of_somebody_else_is_refused_and_left_alone() {
        let top = tempfile::tempdir().expect("a directory");
        std::fs::write(top.path().join("letters"), "mine").expect("written");
        let refused = take(&[top.path().to_owned()], Purpose::Run, true);
        assert!(
            matches!(refused.err(), Some(GroundError::NotOurs { name, .. }) if name == "letters")
        );
        let names: Vec<_> = std::fs::read_dir(top.path()).expect("listed").collect();
        assert_eq!(names.len(), 1, "nothing was added");
    }

    #[test]
    fn only_a_lock_that_is_held_is_blamed_on_another_torture() {
        let path = PathBuf::from("d/in_use.lock");
        let held = GroundError::Lock(LockError::Held { path: path.clone(), holder: Some(7) });
        assert!(held.to_string().contains("another torture"), "{held}");
        let source = io::Error::from_raw_os_error(30);
        let refused = GroundError::Lock(LockError::Io { path, source }).to_string();
        assert!(refused.contains("Read-only") && !refused.contains("another"), "{refused}");
    }

    #[test]
    fn a_directory_in_one_that_is_not_there_is_refused_and_nothing_is_made() {
        let top = tempfile::tempdir().expect("a directory");
        let above = top.path().join("mistyped");
        let refused = take(&[above.join("t")], Purpose::Run, true).err();
        assert!(matches!(refused, Some(GroundError::NowhereToLie { .. })));
        assert!(!above.exists());
    }

    #[test]
    fn what_a_test_made_goes_and_what_was_there_stays() {
        let top = tempfile::tempdir().expect("a directory");
        let (there, fresh) = (top.path().join("there"), top.path().join("fresh"));
        std::fs::create_dir(&there).expect("made");
        let paths = [there.clone(), fresh.clone()];
        let ground = take(&paths, Purpose::Run, false).expect("taken");
        for stripe in stripes(&paths) {
            std::fs::create_dir(&stripe).expect("made");
            std::fs::write(stripe.join(segment::file_name(0)), "x").expect("written");
        }
        ground.fill(1 << 20).expect("filled");
        let stripe = open(&stripes(&paths)[0], false).expect("opened");
        assert_eq!(used_bytes(&*stripe).expect("counted"), 1 << 20);
        ground.clear().expect("cleared");
        assert!(there.is_dir() && std::fs::read_dir(&there).expect("listed").next().is_none());
        assert!(!fresh.exists());
    }

    #[test]
    fn a_file_that_the_channel_did_not_make_is_never_removed() {
        let top = tempfile::tempdir().expect("a directory");
        let paths = [top.path().join("d")];
        let ground = take(&paths, Purpose::Run, false).expect("taken");
        let stripe = &stripes(&paths)[0];
        std::fs::create_dir(stripe).expect("made");
        std::fs::write(stripe.join("letters"), "mine").expect("written");
        assert!(ground.clear().is_err());
        assert!(stripe.join("letters").exists());
    }

    #[test]
    fn what_a_link_leads_to_and_a_directory_with_somebodys_marker_are_left_alone() {
        let top = tempfile::tempdir().expect("a directory");
        let (real, linked) = (top.path().join("real"), [top.path().join("d")]);
        std::fs::create_dir(&real).expect("made");
        let segment = real.join(segment::file_name(0));
        std::fs::write(&segment, "mine").expect("written");
        drop(take(&linked, Purpose::Run, false).expect("taken"));
        std::os::unix::fs::symlink(&real, &stripes(&linked)[0]).expect("linked");
        let refused = take(&linked, Purpose::Run, false).err();
        assert!(matches!(refused, Some(GroundError::NotOurs { .. })));
        assert!(segment.exists());
        let other = [top.path().join("other")];
        std::fs::create_dir_all(other[0].join(STRIPE)).expect("made");
        std::fs::write(other[0].join(MARKER), "x").expect("written");
        let refused = take(&other, Purpose::Run, false).err();
        assert!(matches!(refused, Some(GroundError::NotOurs { .. })));
    }

    #[test]
    fn what_has_yet_to_be_judged_is_not_cleared_unasked() {
        let top = tempfile::tempdir().expect("a directory");
        let paths = [top.path().join("d")];
        drop(take(&paths, Purpose::Write, false).expect("taken"));
        let again = take(&paths, Purpose::Run, false);
        assert!(matches!(again.err(), Some(GroundError::Unjudged { .. })));
        assert!(Ground::left_by_write(&paths).is_ok());
        drop(take(&paths, Purpose::Run, true).expect("discarded"));
        assert!(matches!(Ground::left_by_write(&paths).err(), Some(GroundError::Nothing { .. })));
    }

    #[test]
    fn a_marker_is_there_at_every_moment_of_its_change() {
        let top = tempfile::tempdir().expect("a directory");
        let paths = [top.path().join("d")];
        // As a power cut leaves it, before there is any.
        std::fs::create_dir(&paths[0]).expect("made");
        std::fs::write(paths[0].join(MARKER_NEW), "What mill").expect("written");
        let ground = take(&paths, Purpose::Write, false).expect("taken");
        assert!(!paths[0].join(MARKER_NEW).exists());
        // What is in the way stops the change behind the last moment at which nothing was lost.
        std::fs::create_dir(paths[0].join(MARKER_NEW)).expect("made");
        ground.write_has_ended().expect_err("it cannot be written");
        drop(ground);
        let (ground, ended) = Ground::left_by_write(&paths).expect("it is still known");
        assert!(!ended);
        std::fs::remove_dir(paths[0].join(MARKER_NEW)).expect("removed");
        ground.write_has_ended().expect("written");
        drop(ground);
        let (ground, ended) = Ground::left_by_write(&paths).expect("it is known");
        assert!(ended);
        ground.clear().expect("cleared");
        assert!(std::fs::read_dir(&paths[0]).expect("it was there before").next().is_none());
    }

    #[test]
    fn where_one_directory_is_refused_nothing_stays_in_the_others() {
        let top = tempfile::tempdir().expect("a directory");
        let (empty, fresh, held) =
            (top.path().join("e"), top.path().join("f"), top.path().join("h"));
        std::fs::create_dir(&empty).expect("made");
        let _held = take(std::slice::from_ref(&held), Purpose::Run, false).expect("taken");
        let others = top.path().join("others");
        std::fs::create_dir(&others).expect("made");
        std::fs::write(others.join("letters"), "mine").expect("written");
        for refused in [held, others] {
            let paths = [empty.clone(), fresh.clone(), refused];
            assert!(take(&paths, Purpose::Run, false).is_err());
            assert!(std::fs::read_dir(&empty).expect("listed").next().is_none());
            assert!(!fresh.exists());
        }
    }

    #[test]
    fn one_directory_twice_and_one_in_use_are_refused() {
        let top = tempfile::tempdir().expect("a directory");
        let twice = [top.path().join("d"), top.path().join("./d")];
        assert!(matches!(take(&twice, Purpose::Run, false).err(), Some(GroundError::Twice { .. })));
        let _held = take(&twice[..1], Purpose::Run, false).expect("taken");
        assert!(matches!(take(&twice[..1], Purpose::Run, false).err(), Some(GroundError::Lock(_))));
    }
}
