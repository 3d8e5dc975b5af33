//! Probe: tests whether a direct, synchronous write works in a directory.

use super::file::{OpenMode, open_at};
use super::storage::{Facts, Reason};
use crate::base::codes;
use crate::base::limits::{DEVICE_BLOCK_BYTES, WRITES_IN_FLIGHT_MAX};
use crate::disk::memory::{SlabPool, Span};
use crate::disk::{Capabilities, is_out_of_descriptors};
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir, FileType};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Prefix of probe files; a crash may leave one in a directory of a channel. They have no content of value and are
/// removed at the next opening.
pub(super) const PROBE_PREFIX: &str = ".millpond-probe-";

/// Names in a directory that are examined for a file that can be read instead of a new one.
const CANDIDATES_MAX: usize = 1000;

/// Writes through the page cache, one at a time.
pub(super) const BUFFERED: Capabilities =
    Capabilities { direct: false, writes_in_flight_max: 1, align_bytes: DEVICE_BLOCK_BYTES };

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProbeResult {
    /// How to use the directory.
    pub(super) capabilities: Capabilities,
    /// Whether the probe was possible. Otherwise, for lack of space or descriptors, the storage is treated as buffered
    /// until a file can be created.
    pub(super) is_settled: bool,
    /// Why direct writes are not used.
    pub(super) obstacle: Option<Arc<str>>,
}

impl ProbeResult {
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
    /// What is known of the storage excludes direct writes.
    Storage(Reason),
    /// A step of the probe failed.
    Step(&'static str, io::Error),
}

impl Obstacle {
    /// Whether the probe failed for lack of a resource that may be free later, which says nothing about the storage.
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

/// Returns what the storage of `directory` can do. Never fails: a directory that cannot be probed (read-only, full) is
/// treated as one that needs syncs, and later writes return their own errors.
pub(super) fn probe(directory: &OwnedFd, path: &Path) -> ProbeResult {
    probe_on(&Facts::of(directory), directory, path)
}

/// Like [`probe`], for a directory on storage with these `facts`.
pub(super) fn probe_on(facts: &Facts, directory: &OwnedFd, path: &Path) -> ProbeResult {
    remove_stale(directory);
    let found = judge(try_direct(directory), || try_existing(directory), path);
    warn_of_shared_blocks(facts, path);
    found
}

/// Warns of damage beyond the interrupted writes in a power cut, if blocks of the log share blocks of the device.
fn warn_of_shared_blocks(facts: &Facts, path: &Path) {
    if let Some(shared) = facts.shared_blocks() {
        tracing::warn!(
            code = %codes::POWER_CUT_RISK,
            "{}: a power cut may damage acknowledged events in addition to those that it interrupts: {shared} (docs/durability.md)",
            path.display()
        );
    }
}

/// Evaluates the probe of a new file and, if none could be created, of an existing one.
fn judge(
    tried: Result<(), Obstacle>,
    existing: impl FnOnce() -> Option<Result<(), Obstacle>>,
    path: &Path,
) -> ProbeResult {
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
            ProbeResult::DIRECT
        }
        (Some(Err(obstacle)), _) => {
            tracing::debug!(path = %path.display(), reason = %obstacle, "direct writes do not work");
            ProbeResult { obstacle: Some(obstacle.to_string().into()), ..ProbeResult::BUFFERED }
        }
        (None, shortage) => {
            let cause = shortage.map(|cause| cause.to_string()).unwrap_or_default();
            tracing::warn!(
                code = %codes::PROBE_IMPOSSIBLE,
                "{}: direct writes could not be tried ({cause}); until a file can be created here, writes go through the page cache, one at a time with a sync after each",
                path.display()
            );
            ProbeResult::UNTRIED
        }
    }
}

/// Like [`judge`], with probes that failed at a step.
#[cfg(test)]
pub(super) fn judge_for_tests(
    tried: Result<(), (&'static str, io::Error)>,
    existing: impl FnOnce() -> Option<Result<(), (&'static str, io::Error)>>,
    path: &Path,
) -> ProbeResult {
    let step = |(step, error)| Obstacle::Step(step, error);
    let found = judge(tried.map_err(step), || existing().map(|tried| tried.map_err(step)), path);
    ProbeResult { obstacle: None, ..found }
}

/// Probes with a new file.
fn try_direct(directory: &OwnedFd) -> Result<(), Obstacle> {
    check_storage(directory)?;
    let (name, opened) = open_probe(directory);
    // Its name is not needed any more. Even if the open was refused the file may exist; one that stays is removed at
    // the next opening.
    let _ = rustix::fs::unlinkat(directory, name.as_str(), AtFlags::empty());
    let file = opened.map_err(|error| Obstacle::Step("a direct open was refused", error))?;
    try_file(&file)?;
    check_storage(&file)
}

/// Probes an existing file by reading it: on a full disk no new one can be created.
fn try_existing(directory: &OwnedFd) -> Option<Result<(), Obstacle>> {
    let entries = Dir::read_from(directory).ok()?;
    let name = entries.flatten().take(CANDIDATES_MAX).find_map(|entry| {
        let name = entry.file_name().to_str().ok()?.to_owned();
        let about = rustix::fs::statat(directory, name.as_str(), AtFlags::SYMLINK_NOFOLLOW).ok()?;
        let is_file = FileType::from_raw_mode(about.st_mode).is_file();
        // A file with its own blocks on the device: a short one may be stored in its inode.
        let is_fit = is_file && about.st_size >= 4 * DEVICE_BLOCK_BYTES as i64;
        (is_fit && !name.starts_with(PROBE_PREFIX)).then_some(name)
    })?;
    let opened = open_at(directory, &name, OpenMode::DirectRead);
    let tried = opened
        .map_err(|error| Obstacle::Step("a direct open was refused", error))
        .and_then(|file| {
            read_page(&file, page()?.bytes_mut())?;
            check_storage(&file)
        });
    Some(tried)
}

/// Checks that nothing known of the storage excludes direct writes.
fn check_storage(file: impl AsFd) -> Result<(), Obstacle> {
    Facts::of(file).reason().map_or(Ok(()), |reason| Err(Obstacle::Storage(reason)))
}

/// Opens a probe file in one step: between two steps another process that opens the directory could remove its name.
fn open_probe(directory: &OwnedFd) -> (String, io::Result<OwnedFd>) {
    let mut name = probe_name();
    let mut opened = open_at(directory, &name, OpenMode::DirectCreate);
    for _ in 0..PROBE_NAMES_MAX {
        match &opened {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                name = probe_name();
                opened = open_at(directory, &name, OpenMode::DirectCreate);
            }
            _ => break,
        }
    }
    (name, opened)
}

/// Returns memory for one direct transfer.
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

/// Returns a name that no other opening in this process uses.
fn probe_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{PROBE_PREFIX}{}-{count}", std::process::id())
}

/// Removes probe files that a crash left. If another process is using one, only the name is lost: its probe continues
/// through the descriptor.
fn remove_stale(directory: impl AsFd) {
    let Ok(entries) = Dir::read_from(&directory) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_bytes().starts_with(PROBE_PREFIX.as_bytes()) {
            let _ = rustix::fs::unlinkat(&directory, name, AtFlags::empty());
        }
    }
}
