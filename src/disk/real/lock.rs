//! Locks that exclude Java Flume, other millpond processes, and other channels of this process.
//!
//! Java locks with POSIX record locks (`fcntl`), most other software with `flock`; neither sees the other, so both are
//! taken on the same file. A POSIX lock belongs to the process, not to the descriptor: it does not exclude a second
//! opener in this process, and closing *any* descriptor of the file drops it. Hence the register of held lock files,
//! checked before the file is opened.
//!
//! The register's mutex is never held during a call to a file system: one that hangs would block the opening and
//! closing of every channel of the process. A name is reserved first, by the directory and the name in it, and the
//! calls come after.

use crate::disk::EVENT_FILE_MODE;
use crate::disk::real::storage::Facts;
use crate::disk::{Lock, LockError, Renewed};
use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;
use rustix::process::{Flock, FlockType, Pid};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file or directory: device and inode.
type Identity = (u64, u64);

/// What this process has locked or is locking.
#[derive(Debug, Default)]
struct Register {
    /// Names of lock files in their directories, reserved before any call to the file system.
    names: BTreeSet<(Identity, String)>,
    /// Lock files that are held. Two names may lead to one.
    files: BTreeSet<Identity>,
}

static REGISTER: Mutex<Register> =
    Mutex::new(Register { names: BTreeSet::new(), files: BTreeSet::new() });

/// How often a lock file may be replaced during locking before it is given up. A process that ends may remove its lock
/// file after it unlocked it; the file that we locked then has no name, and the next opener would lock another.
const REPLACED_MAX: usize = 16;

fn register() -> MutexGuard<'static, Register> {
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The kernel's two kinds of lock.
pub(super) trait Kernel: Send + Sync {
    /// Takes a POSIX record lock on the whole file, if it is free.
    fn fcntl(&self, file: &std::fs::File) -> io::Result<bool>;

    /// Takes a `flock` on the file, if it is free.
    fn flock(&self, file: &std::fs::File) -> io::Result<bool>;

    /// Returns the name of the file system if it sends both to a server as locks of one kind.
    fn one_kind_of_lock(&self, file: &std::fs::File) -> Option<&'static str>;
}

/// The kernel of this machine.
#[derive(Debug)]
pub(super) struct RealKernel;

impl Kernel for RealKernel {
    fn fcntl(&self, file: &std::fs::File) -> io::Result<bool> {
        match rustix::fs::fcntl_lock(file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(true),
            Err(Errno::ACCESS | Errno::AGAIN) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    fn flock(&self, file: &std::fs::File) -> io::Result<bool> {
        // Fully qualified: the standard library has a method of this name with another contract.
        match fs2::FileExt::try_lock_exclusive(file) {
            Ok(()) => Ok(true),
            Err(error) if error.raw_os_error() == fs2::lock_contended_error().raw_os_error() => {
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn one_kind_of_lock(&self, file: &std::fs::File) -> Option<&'static str> {
        Facts::of(file).one_kind_of_lock()
    }
}

/// A reserved name; dropping it releases it.
#[derive(Debug)]
struct PathReservation(Identity, String);

impl PathReservation {
    /// Reserves `name` in the directory, unless this process has done so before.
    fn of(directory: Identity, name: &str) -> Option<Self> {
        let new = register().names.insert((directory, name.to_owned()));
        new.then(|| Self(directory, name.to_owned()))
    }
}

impl Drop for PathReservation {
    fn drop(&mut self) {
        register().names.remove(&(self.0, std::mem::take(&mut self.1)));
    }
}

/// A locked lock file; dropping it unlocks.
#[derive(Debug)]
struct Locked {
    // `None` only inside `drop`.
    file: Option<std::fs::File>,
    identity: Identity,
}

impl Drop for Locked {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            // Closing is not enough: a process that another thread is just starting has a copy of the descriptor until
            // it runs its program, and the lock would live on there.
            let _ = fs2::FileExt::unlock(&file);
        }
        // After the descriptor was closed: until then no thread of this process opens the file.
        register().files.remove(&self.identity);
    }
}

/// A held lock.
pub(super) struct RealLock {
    // Dropped in this order: the name is free when the lock is.
    locked: Mutex<Locked>,
    reservation: PathReservation,
    directory: Arc<OwnedFd>,
    path: PathBuf,
    kernel: &'static dyn Kernel,
}

impl Lock for RealLock {
    fn path(&self) -> &Path {
        &self.path
    }

    fn renew(&self) -> Result<Renewed, LockError> {
        let mut locked = self.locked.lock().unwrap_or_else(PoisonError::into_inner);
        let name = self.reservation.1.as_str();
        let path = || self.path.clone();
        match rustix::fs::statat(&*self.directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) if identity(&about) == locked.identity => return Ok(Renewed::Kept),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(LockError::Io { path: path(), source: error.into() }),
        }
        // The old file stays locked until the new one is: it has no name, so nothing else opens it.
        *locked = lock_file(&self.directory, name, path(), self.kernel)?;
        Ok(Renewed::Remade)
    }
}

/// Locks the file `name` of `directory`, creating it if needed.
pub(super) fn acquire(
    directory: &Arc<OwnedFd>,
    name: &str,
    path: PathBuf,
    kernel: &'static dyn Kernel,
) -> Result<RealLock, LockError> {
    let of = match rustix::fs::fstat(&**directory) {
        Ok(about) => identity(&about),
        Err(error) => return Err(LockError::Io { path, source: error.into() }),
    };
    let Some(reservation) = PathReservation::of(of, name) else {
        return Err(LockError::Held { path, holder: Some(std::process::id()) });
    };
    let locked = Mutex::new(lock_file(directory, name, path.clone(), kernel)?);
    let directory = Arc::clone(directory);
    Ok(RealLock { locked, reservation, directory, path, kernel })
}

/// Locks a lock file whose name is reserved.
fn lock_file(
    directory: &OwnedFd,
    name: &str,
    path: PathBuf,
    kernel: &dyn Kernel,
) -> Result<Locked, LockError> {
    let ours = || LockError::Held { path: path.clone(), holder: Some(std::process::id()) };
    let failed = |source: io::Error| LockError::Io { path: path.clone(), source };
    for _ in 0..REPLACED_MAX {
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(about) if register().files.contains(&identity(&about)) => return Err(ours()),
            Ok(_) | Err(Errno::NOENT) => {}
            Err(error) => return Err(failed(error.into())),
        }
        let file = open_lock_file(directory, name).map_err(failed)?;
        let locked = identity(&rustix::fs::fstat(&file).map_err(|error| failed(error.into()))?);
        if !register().files.insert(locked) {
            // Another name that leads to it was locked meanwhile. Closing would drop that lock.
            std::mem::forget(file);
            return Err(ours());
        }
        let held = Locked { file: Some(file), identity: locked };
        let file = held.file.as_ref().expect("it was put there");
        match try_lock(file, kernel) {
            Ok(true) => {}
            Ok(false) => return Err(LockError::Held { holder: holder(file), path }),
            Err(source) => return Err(failed(source)),
        }
        let named = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        if named.is_ok_and(|about| identity(&about) == locked) {
            sign(file);
            return Ok(held);
        }
    }
    Err(failed(io::Error::other("the lock file was replaced again and again")))
}

fn identity(about: &Stat) -> Identity {
    (about.st_dev, about.st_ino)
}

/// Opens a lock file. A lock file loses its text, so a link is not followed: its target belongs to something else.
/// Nothing is changed before it is locked.
fn open_lock_file(directory: &OwnedFd, name: &str) -> io::Result<std::fs::File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let mode = Mode::from_raw_mode(EVENT_FILE_MODE);
    match rustix::io::retry_on_intr(|| rustix::fs::openat(directory, name, flags, mode)) {
        Ok(file) => Ok(file.into()),
        Err(Errno::LOOP) => Err(io::Error::other(
            "it is a symbolic link, and what that leads to would be emptied; remove the link",
        )),
        Err(error) => Err(error.into()),
    }
}

/// Takes both locks, or returns false if one of them is held.
///
/// NFS (since Linux 2.6.12) and CIFS (since 5.5) send a `flock` to the server as a lock of the whole file of the same
/// kind as `fcntl`'s, but with another owner: the server refuses it because of our own. There the first lock excludes
/// everything that both would.
fn try_lock(file: &std::fs::File, kernel: &dyn Kernel) -> io::Result<bool> {
    if !kernel.fcntl(file)? {
        return Ok(false);
    }
    if kernel.flock(file)? {
        return Ok(true);
    }
    let Some(name) = kernel.one_kind_of_lock(file) else { return Ok(false) };
    tracing::info!("{name} has one kind of lock for fcntl and flock: the first suffices");
    Ok(true)
}
/// Writes our process id into the file. Best effort: a full disk must not prevent a channel from being opened and
/// drained.
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

/// The holder of a lock file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LockHolder {
    /// The process with this id.
    Process(u32),
    /// A process without an id here: in another container, or on another machine.
    Elsewhere,
}

/// Returns the holder of the lock file at `path` according to the kernel: its text may be that of an ended process.
/// `None` if it is not locked, or if that cannot be found out. Changes nothing.
#[must_use]
pub fn lock_holder(path: &Path) -> Option<LockHolder> {
    let about = rustix::fs::lstat(path).ok()?;
    // Closing a descriptor of a file that this process has locked would drop the lock.
    if register().files.contains(&identity(&about)) {
        return Some(LockHolder::Process(std::process::id()));
    }
    let flags =
        OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let file = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let asked = rustix::process::fcntl_getlk(&file, &Flock::from(FlockType::WriteLock)).ok()??;
    let process = asked.pid.and_then(|pid| u32::try_from(pid.as_raw_nonzero().get()).ok());
    Some(process.map_or(LockHolder::Elsewhere, LockHolder::Process))
}

/// Returns the holder of a lock that we were refused: the kernel knows it for POSIX locks; for others the file's text
/// says it, if that process is alive.
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
    // Our own id there is left over from an earlier process: according to the register we hold nothing.
    (!matches!(alive, Err(Errno::SRCH)) && pid != std::process::id()).then_some(pid)
}
