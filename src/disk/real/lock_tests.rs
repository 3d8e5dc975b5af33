//! Locks on storage that tests do not have: servers with one kind of lock, disks that hang.

use super::lock::{self, Kernel, RealKernel};
use super::open_directory;
use crate::disk::{Lock, LockError, Renewed};
use rustix::fd::OwnedFd;
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A kernel with scripted results.
struct Scripted {
    fcntl: bool,
    flock: bool,
    one_kind: Option<&'static str>,
}

impl Kernel for Scripted {
    fn fcntl(&self, _: &std::fs::File) -> io::Result<bool> {
        Ok(self.fcntl)
    }

    fn flock(&self, _: &std::fs::File) -> io::Result<bool> {
        Ok(self.flock)
    }

    fn one_kind_of_lock(&self, _: &std::fs::File) -> Option<&'static str> {
        self.one_kind
    }
}

fn directory(path: &Path) -> Arc<OwnedFd> {
    Arc::new(open_directory(path).expect("opened"))
}

fn locked(path: &Path, kernel: &'static dyn Kernel) -> Result<impl Lock + use<>, LockError> {
    lock::acquire(&directory(path), "in_use.lock", path.join("in_use.lock"), kernel)
}

#[test]
fn a_server_with_one_kind_of_lock_grants_the_first_and_that_is_enough() {
    let scripted = |fcntl, flock, one_kind| -> &'static dyn Kernel {
        Box::leak(Box::new(Scripted { fcntl, flock, one_kind }))
    };
    let temp = tempfile::tempdir().expect("directory");
    for name in ["nfs", "cifs", "smb2"] {
        locked(temp.path(), scripted(true, false, Some(name))).expect(name);
        // Another process's lock, of either kind, is a lock of that one kind there.
        let held = locked(temp.path(), scripted(false, false, Some(name))).err();
        assert!(matches!(held, Some(LockError::Held { .. })), "{name}: {held:?}");
    }
    let held = locked(temp.path(), scripted(true, false, None)).err();
    assert!(matches!(held, Some(LockError::Held { .. })), "two kinds, one is held: {held:?}");
}

/// A kernel whose lock calls do not return until they are released.
struct Hanging {
    entered: Mutex<mpsc::Sender<()>>,
    let_go: Mutex<mpsc::Receiver<()>>,
}

impl Kernel for Hanging {
    fn fcntl(&self, _: &std::fs::File) -> io::Result<bool> {
        self.entered.lock().expect("no panic").send(()).expect("the test waits");
        let _ = self.let_go.lock().expect("no panic").recv();
        Ok(true)
    }

    fn flock(&self, _: &std::fs::File) -> io::Result<bool> {
        Ok(true)
    }

    fn one_kind_of_lock(&self, _: &std::fs::File) -> Option<&'static str> {
        None
    }
}

#[test]
fn a_lock_file_whose_disk_hangs_hangs_no_other_opening_or_closing() {
    const LONG: Duration = Duration::from_secs(60);
    let (stuck, sound) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let (entered, has_entered) = mpsc::channel();
    let (let_go, is_let_go) = mpsc::channel();
    let hanging: &'static Hanging = Box::leak(Box::new(Hanging {
        entered: Mutex::new(entered),
        let_go: Mutex::new(is_let_go),
    }));
    let before = locked(sound.path(), &RealKernel).expect("free");
    let path = stuck.path().to_owned();
    let hung = std::thread::spawn(move || locked(&path, hanging).map(drop).is_ok());
    has_entered.recv_timeout(LONG).expect("it hangs");
    // On a thread of its own: a hanging call would hang the test.
    let (done, is_done) = mpsc::channel();
    let path = sound.path().to_owned();
    let others = std::thread::spawn(move || {
        drop(before);
        drop(locked(&path, &RealKernel).expect("free again"));
        done.send(()).expect("the test waits");
    });
    is_done.recv_timeout(LONG).expect("the disk that hangs blocks no other");
    // The hanging lock stays reserved.
    let held = locked(stuck.path(), &RealKernel).err();
    assert!(matches!(held, Some(LockError::Held { .. })), "{held:?}");
    let_go.send(()).expect("it waits");
    assert!(hung.join().expect("no panic"));
    others.join().expect("no panic");
    drop(locked(stuck.path(), &RealKernel).expect("free"));
}

#[test]
fn a_lock_file_that_was_removed_is_made_and_locked_again() {
    let temp = tempfile::tempdir().expect("directory");
    let file = temp.path().join("in_use.lock");
    let lock = locked(temp.path(), &RealKernel).expect("free");
    assert_eq!(lock.renew().expect("told"), Renewed::Kept);
    std::fs::remove_file(&file).expect("removed");
    assert_eq!(lock.renew().expect("told"), Renewed::Remade);
    assert_eq!(lock.renew().expect("told"), Renewed::Kept);
    let text = std::fs::read_to_string(&file).expect("there again");
    assert_eq!(text.trim(), std::process::id().to_string());
    let other = std::fs::File::options().write(true).open(&file).expect("opened");
    // `flock` keeps out other descriptors of this process too.
    assert!(fs2::FileExt::try_lock_exclusive(&other).is_err(), "it is locked");
    drop(other);
    // Another process was faster: the holder of the name may be writing now.
    std::fs::remove_file(&file).expect("removed");
    let other = std::fs::File::create(&file).expect("made");
    fs2::FileExt::try_lock_exclusive(&other).expect("free");
    assert!(matches!(lock.renew(), Err(LockError::Held { .. })));
    drop(other);
    assert_eq!(lock.renew().expect("free again"), Renewed::Remade);
    drop(lock);
    drop(locked(temp.path(), &RealKernel).expect("free"));
}

#[test]
fn two_names_of_one_lock_file_are_one_lock() {
    let (one, two) = (tempfile::tempdir().expect("dir"), tempfile::tempdir().expect("dir"));
    let lock = locked(one.path(), &RealKernel).expect("free");
    std::fs::hard_link(one.path().join("in_use.lock"), two.path().join("in_use.lock"))
        .expect("linked");
    assert!(matches!(locked(two.path(), &RealKernel), Err(LockError::Held { .. })));
    drop(lock);
    drop(locked(two.path(), &RealKernel).expect("free"));
}
