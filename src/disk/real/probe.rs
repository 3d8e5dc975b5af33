//! Finding out by trying: does a direct, synchronous write work in this directory?

use super::file::{Way, open_at};
use super::{BUFFERED, Capabilities};
use crate::base::limits::{DEVICE_BLOCK_BYTES, WRITES_IN_FLIGHT_MAX};
use crate::disk::memory::SlabPool;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{AtFlags, Dir};
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

/// Probe files begin so; directories of a channel may hold one after a crash. They are empty of
/// meaning and go away at the next opening.
pub(super) const PROBE_PREFIX: &str = ".millpond-probe-";

/// Why a directory is written through the page cache.
#[derive(Debug)]
enum Obstacle {
    /// The file system stands in front of storage that it does not speak for: whether the far
    /// side honours a synchronous write cannot be seen from here, but all of them honour a sync.
    Remote(&'static str),
    /// A step of the trial failed.
    Step(&'static str, io::Error),
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Remote(name) => write!(f, "{name} promises durability only by sync"),
            Self::Step(step, error) => write!(f, "{step}: {error}"),
        }
    }
}

/// What the storage behind `directory` can do. Never fails: a directory that cannot be tried
/// (read-only, full) is taken for one that needs syncs, and later writes meet their own errors.
pub(super) fn probe(directory: &OwnedFd, path: &Path) -> Capabilities {
    remove_stale(directory);
    match try_direct(directory) {
        Ok(()) => {
            tracing::info!(
                path = %path.display(),
                "writes go directly to the device, each durable when it completes"
            );
            Capabilities {
                direct: true,
                writes_in_flight_max: WRITES_IN_FLIGHT_MAX,
                align_bytes: DEVICE_BLOCK_BYTES,
            }
        }
        Err(obstacle) => {
            tracing::info!(
                path = %path.display(), reason = %obstacle,
                "writes go through the page cache, one at a time with a sync behind each"
            );
            BUFFERED
        }
    }
}

/// File systems whose far side we cannot see, by the number in their superblock.
const REMOTE: [(u64, &str); 8] = [
    (0x6573_5546, "fuse"),
    (0x6969, "nfs"),
    (0xff53_4d42, "cifs"),
    (0xfe53_4d42, "smb2"),
    (0x0102_1997, "9p"),
    (0x00c3_6400, "ceph"),
    (0x7375_7245, "coda"),
    (0x5346_414f, "afs"),
];

fn try_direct(directory: &OwnedFd) -> Result<(), Obstacle> {
    if let Ok(about) = rustix::fs::fstatfs(directory) {
        // The kernel's numbers are 32 bits wide; the field may be wider and signed.
        let number = about.f_type as u64 & 0xffff_ffff;
        if let Some((_, name)) = REMOTE.iter().find(|(magic, _)| *magic == number) {
            return Err(Obstacle::Remote(name));
        }
    }
    let (name, opened) = open_probe(directory);
    // Its name is not needed any more. Where the open was refused the file may be there all the
    // same; one that stays is removed at the next opening.
    let _ = rustix::fs::unlinkat(directory, name.as_str(), AtFlags::empty());
    try_file(&opened.map_err(|error| Obstacle::Step("a direct open was refused", error))?)
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

fn try_file(file: &OwnedFd) -> Result<(), Obstacle> {
    let mut page = SlabPool::new(DEVICE_BLOCK_BYTES, 0)
        .writer(0)
        .map_err(|error| Obstacle::Step("no memory for a page", error))?;
    let mut page = page
        .reserve(DEVICE_BLOCK_BYTES)
        .expect("a fresh slab of a block's length has room for a block");
    page.bytes_mut().fill(0);
    let written = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, page.bytes_mut(), 0))
        .map_err(|error| Obstacle::Step("a direct write was refused", error.into()))?;
    let read = rustix::io::retry_on_intr(|| rustix::io::pread(file, page.bytes_mut(), 0))
        .map_err(|error| Obstacle::Step("a direct read was refused", error.into()))?;
    if (written, read) == (DEVICE_BLOCK_BYTES, DEVICE_BLOCK_BYTES) {
        Ok(())
    } else {
        Err(Obstacle::Step("a direct write was cut short", io::ErrorKind::WriteZero.into()))
    }
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
