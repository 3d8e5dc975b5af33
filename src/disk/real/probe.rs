//! Finding out by trying: does a direct, synchronous write work in this directory?

use super::file::{Way, open_at};
use super::storage::{Facts, Reason};
use super::{BUFFERED, Capabilities};
use crate::base::codes;
use crate::base::limits::{DEVICE_BLOCK_BYTES, WRITES_IN_FLIGHT_MAX};
use crate::disk::is_out_of_descriptors;
use crate::disk::memory::{SlabPool, Span};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Probe files begin so; directories of a channel may hold one after a crash. They are empty of
/// meaning and go away at the next opening.
pub(super) const PROBE_PREFIX: &str = ".millpond-probe-";

/// Names in a directory that are looked at for a file that can be read instead of a new one.
const CANDIDATES_MAX: usize = 1000;

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// How the directory is to be driven.
    pub(super) capabilities: Capabilities,
    /// Whether that was found out; else the storage could not be tried for want of space or
    /// descriptors, and is taken for buffered until a file can be made.
    pub(super) is_settled: bool,
    /// What stands in the way of direct writes.
    pub(super) obstacle: Option<Arc<str>>,
}

impl Found {
    const DIRECT: Self = Self {
        capabilities: Capabilities {
            direct: true,
            writes_in_flight_max: WRITES_IN_FLIGHT_MAX,
            align_bytes: DEVICE_BLOCK_BYTES,
        },
        is_settled: true,
        obstacle: None,
    };
    pub(super) const BUFFERED: Self =
        Self { capabilities: BUFFERED, is_settled: true, obstacle: None };
    const UNTRIED: Self = Self { capabilities: BUFFERED, is_settled: false, obstacle: None };
}

/// Why a directory is written through the page cache.
#[derive(Debug)]
enum Obstacle {
    /// What is known of the storage speaks against direct writes.
    Storage(Reason),
    /// A step of the trial failed.
    Step(&'static str, io::Error),
}

impl Obstacle {
    /// Whether the trial failed for want of something that may be there later, and says nothing of
    /// the storage.
    fn is_shortage(&self) -> bool {
        let Self::Step(_, error) = self else { return false };
        is_out_of_descriptors(error)
            || matches!(
                error.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::OutOfMemory
            )
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(reason) => reason.fmt(f),
            Self::Step(step, error) => write!(f, "{step}: {error}"),
        }
    }
}

/// What the storage under `directory` can do. Never fails: a directory that cannot be tried
/// (read-only, full) is taken for one that needs syncs, and later writes meet their own errors.
pub(super) fn probe(directory: &OwnedFd, path: &Path) -> Found {
    remove_stale(directory);
    let found = judge(try_direct(directory), || try_existing(directory), path);
    warn_of_shared_blocks(&Facts::of(directory), path);
    found
}

/// Says what a power cut may do beside what it interrupts, where blocks of the log share blocks of the device.
pub(super) fn warn_of_shared_blocks(facts: &Facts, path: &Path) {
    if let Some(shared) = facts.shared_blocks() {
        tracing::warn!(
            code = %codes::POWER_CUT_RISK,
            "{}: a power cut may damage acknowledged events beside those that it interrupts: {shared} (docs/durability.md)",
            path.display()
        );
    }
}

/// What follows from the trial of a new file, and, where that could not be made, of one that is there.
fn judge(
    tried: Result<(), Obstacle>,
    existing: impl FnOnce() -> Option<Result<(), Obstacle>>,
    path: &Path,
) -> Found {
    let (tried, shortage) = match tried {
        Err(shortage) if shortage.is_shortage() => match existing() {
            Some(Err(again)) if again.is_shortage() => (None, Some(shortage)),
            Some(tried) => (Some(tried), None),
            None => (None, Some(shortage)),
        },
        tried => (Some(tried), None),
    };
    match (tried, shortage) {
        (Some(Ok(())), _) => {
            tracing::debug!(path = %path.display(), "direct writes work");
            Found::DIRECT
        }
        (Some(Err(obstacle)), _) => {
            tracing::debug!(path = %path.display(), reason = %obstacle, "direct writes do not work");
            Found { obstacle: Some(obstacle.to_string().into()), ..Found::BUFFERED }
        }
        (None, shortage) => {
            let cause = shortage.map(|cause| cause.to_string()).unwrap_or_default();
            tracing::warn!(
                code = %codes::PROBE_IMPOSSIBLE,
                "{}: whether writes can go directly to the device could not be tried ({cause}); until a file can be made here they go through the page cache, one at a time with a sync after each",
                path.display()
            );
            Found::UNTRIED
        }
    }
}

/// As [`judge`], of trials that failed at a step.
#[cfg(test)]
pub(super) fn judge_for_tests(
    tried: Result<(), (&'static str, io::Error)>,
    existing: impl FnOnce() -> Option<Result<(), (&'static str, io::Error)>>,
    path: &Path,
) -> Found {
    let step = |(step, error)| Obstacle::Step(step, error);
    let found = judge(tried.map_err(step), || existing().map(|tried| tried.map_err(step)), path);
    Found { obstacle: None, ..found }
}

/// Tries a new file.
fn try_direct(directory: &OwnedFd) -> Result<(), Obstacle> {
    suits(directory)?;
    let (name, opened) = open_probe(directory);
    // Its name is not needed any more. Where the open was refused the file may be there all the
    // same; one that stays is removed at the next opening.
    let _ = rustix::fs::unlinkat(directory, name.as_str(), AtFlags::empty());
    let file = opened.map_err(|error| Obstacle::Step("a direct open was refused", error))?;
    try_file(&file)?;
    suits(&file)
}

/// Tries a file that is there by reading it: on a full disk no other can be had.
fn try_existing(directory: &OwnedFd) -> Option<Result<(), Obstacle>> {
    let entries = Dir::read_from(directory).ok()?;
    let name = entries.flatten().take(CANDIDATES_MAX).find_map(|entry| {
        let name = entry.file_name().to_str().ok()?.to_owned();
        let about = rustix::fs::statat(directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_file = FileType::from_raw_mode(about.st_mode).is_file();
        // What has bytes of its own on the device: a short one may stand in its inode.
        let is_fit = is_file && about.st_size >= 4 * DEVICE_BLOCK_BYTES as i64;
        (is_fit && !name.starts_with(PROBE_PREFIX)).then_some(name)
    })?;
    let opened = open_at(directory, &name, Way::DirectRead);
    let tried = opened
        .map_err(|error| Obstacle::Step("a direct open was refused", error))
        .and_then(|file| {
            read_page(&file, page()?.bytes_mut())?;
            suits(&file)
        });
    Some(tried)
}

/// Whether nothing that is known of the storage speaks against direct writes.
fn suits(file: impl AsFd) -> Result<(), Obstacle> {
    Facts::of(file).reason().map_or(Ok(()), |reason| Err(Obstacle::Storage(reason)))
}

/// Opens a probe file in one step: by another step its name could have been removed by another
/// process that opens the directory.
fn open_probe(directory: &OwnedFd) -> (String, io::Result<OwnedFd>) {
    let mut name = probe_name();
    let mut opened = open_at(directory, &name, Way::DirectCreate);
    for _ in 0..PROBE_NAMES_MAX {
        match &opened {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                name = probe_name();
                opened = open_at(directory, &name, Way::DirectCreate);
            }
            _ => break,
        }
    }
    (name, opened)
}

/// Memory for one direct transfer.
fn page() -> Result<Span, Obstacle> {
    let mut page = SlabPool::new(DEVICE_BLOCK_BYTES, 0)
        .writer(0)
        .map_err(|error| Obstacle::Step("no memory for a page", error))?;
    let mut page = page
        .reserve(DEVICE_BLOCK_BYTES)
        .expect("a fresh slab of a block's length has room for a block");
    page.bytes_mut().fill(0);
    Ok(page)
}

fn try_file(file: &OwnedFd) -> Result<(), Obstacle> {
    let mut page = page()?;
    let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, page.bytes_mut(), 0))
        .map_err(|error| Obstacle::Step("a direct write was refused", error.into()))?;
    if written != DEVICE_BLOCK_BYTES {
        let cause = io::ErrorKind::WriteZero.into();
        return Err(Obstacle::Step("a direct write was cut short", cause));
    }
    read_page(file, page.bytes_mut())
}

fn read_page(file: &OwnedFd, page: &mut [u8]) -> Result<(), Obstacle> {
    let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *page, 0))
        .map_err(|error| Obstacle::Step("a direct read was refused", error.into()))?;
    if read == DEVICE_BLOCK_BYTES {
        return Ok(());
    }
    Err(Obstacle::Step("a direct read was cut short", io::ErrorKind::UnexpectedEof.into()))
}

/// Names that are tried. Process ids repeat over containers that share a directory.
const PROBE_NAMES_MAX: usize = 8;

/// A name that no other opening in this process uses.
fn probe_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{PROBE_PREFIX}{}-{count}", std::process::id())
}

/// Removes probe files that a crash left. One that another process uses right now loses its name
/// only: its trial goes on through the descriptor.
fn remove_stale(directory: impl AsFd) {
    let Ok(entries) = Dir::read_from(&directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_bytes().starts_with(PROBE_PREFIX.as_bytes()) {
            let _ = rustix::fs::unlinkat(&directory, name, AtFlags::empty());
        }
    }
}
