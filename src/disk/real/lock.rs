//! Locks that keep out Java Flume, other processes of ours, and this process itself.
//!
//! Java locks with POSIX record locks (`fcntl`), most other software with `flock`; neither sees the
//! other, so both are taken on the same file. A POSIX lock belongs to the process, not to the
//! descriptor: it does not keep out a second opener in this process, and closing *any* descriptor
//! of the file drops it. Hence the register of held lock files, asked before the file is opened.

use crate::disk::{Lock, LockError};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, Pid};
use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Lock files of this process, by device and inode.
static HELD: Mutex<BTreeSet<(u64, u64)>> = Mutex::new(BTreeSet::new());

/// Times a lock file may be replaced under us before we give up. A process that ends may remove
/// its lock file after it unlocked it; what we locked is then a file without a name, and the
/// next opener would lock another.
const REPLACED_MAX: usize = 16;

fn held() -> MutexGuard<'static, BTreeSet<(u64, u64)>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A locked lock file; dropping it unlocks.
#[derive(Debug)]
pub(super) struct RealLock {
    // `None` only inside `drop`.
    file: Option<std::fs::File>,
    identity: (u64, u64),
}

impl Lock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        let mut held = held();
        if let Some(file) = self.file.take() {
            // The text is for people; a stale one only misleads them.
            let _ = file.set_len(0);
            // Closing alone would not do: a process that another thread is just starting has a
            // copy of the descriptor until it runs its program, and the lock would live on there.
            let _ = fs2::FileExt::unlock(&file);
        }
        // After the descriptor was closed, and under the mutex: nobody opens the file between.
        held.remove(&self.identity);
    }
}

/// Locks the file `name` of `directory`, making it if needed.
pub(super) fn acquire(
    directory: &OwnedFd,
    name: &str,
    path: PathBuf,
) -> Result<RealLock, LockError> {
    // Held to the end: between the question and the lock no other thread may open the file.
    let mut held = held();
    for _ in 0..REPLACED_MAX {
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) if held.contains(&identity(&about)) => {
                return Err(LockError::Held { path, holder: Some(std::process::id()) });
            }
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(LockError::Io { path, source: error.into() }),
        }
        let file = match open_lock_file(directory, name) {
            Ok(file) => file,
            Err(source) => return Err(LockError::Io { path, source }),
        };
        match try_lock(&file) {
            Ok(true) => {}
            Ok(false) => return Err(LockError::Held { holder: holder(&file), path }),
            Err(source) => return Err(LockError::Io { path, source }),
        }
        let locked = match rustix::fs::fstat(&file) {
            Ok(about) => identity(&about),
            Err(error) => return Err(LockError::Io { path, source: error.into() }),
        };
        let named = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        if named.is_ok_and(|about| identity(&about) == locked) {
            sign(&file);
            held.insert(locked);
            return Ok(RealLock { file: Some(file), identity: locked });
        }
    }
    let source = io::Error::other("the lock file was replaced again and again");
    Err(LockError::Io { path, source })
}

fn identity(about: &Stat) -> (u64, u64) {
    (about.st_dev, about.st_ino)
}

/// A lock file loses its text, so that one which leads elsewhere is not followed: what it leads to is
/// another's. Before it is locked nothing of it is changed.
fn open_lock_file(directory: &OwnedFd, name: &str) -> io::Result<std::fs::File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(0o666);
    match rustix::io::retry_on_intr(|| rustix::fs::openat(directory, name, flags, mode)) {
        Ok(file) => Ok(file.into()),
        Err(Errno::LOOP) => Err(io::Error::other(
            "it is a symbolic link, and what that leads to would be emptied; remove the link",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Takes both locks, or says that somebody has one of them.
fn try_lock(file: &std::fs::File) -> io::Result<bool> {
    match rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::ACCESS | Errno::AGAIN) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    // In full: the standard library has a method of this name with another contract.
    match fs2::FileExt::try_lock_exclusive(file) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Writes our process id into the file. Best effort: a full disk must not keep a channel from
/// being opened and drained.
fn sign(file: &std::fs::File) {
    let text = format!("{}\n", std::process::id());
    let signed = file.set_len(0).and_then(|()| {
        let written = rustix::io::pwrite(file, text.as_bytes(), 0)?;
        if written == text.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    });
    if let Err(error) = signed {
        tracing::debug!(%error, "the lock is held, but the lock file does not say by whom");
    }
}

/// Who holds the lock that we were refused: the kernel knows for POSIX locks, the file's text
/// tells for others, if that process lives.
fn holder(file: &std::fs::File) -> Option<u32> {
    let asked = rustix::process::fcntl_getlk(file, &Flock::from(FlockType::WriteLock));
    if let Ok(Some(Flock { pid: Some(pid), .. })) = asked {
        return u32::try_from(pid.as_raw_nonzero().get()).ok();
    }
    let mut text = [0; 16];
    let read = rustix::io::pread(file, &mut text, 0).ok()?;
    // The text may be anything; a process id is positive.
    let pid: u32 = std::str::from_utf8(&text[..read]).ok()?.trim().parse().ok()?;
    let raw = i32::try_from(pid).ok().filter(|raw| *raw > 0)?;
    let alive = rustix::process::test_kill_process(Pid::from_raw(raw)?);
    // Our own id there is left over from an earlier life: the register said that we hold nothing.
    (!matches!(alive, Err(Errno::SRCH)) && pid != std::process::id()).then_some(pid)
}
