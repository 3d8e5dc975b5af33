//! Failures that a harness orders, and faulty doors.

use super::image::Loss;
use std::io;
use std::path::Path;

/// Target of the trace events that say what befell a call, for who counts it.
pub const TARGET: &str = "millpond::fault";

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// [`Disk::open_dir`](crate::disk::Disk::open_dir), of a directory that is there or shall
    /// not be made.
    OpenDir,
    /// [`Disk::open_dir`](crate::disk::Disk::open_dir), making the directory.
    MakeDir,
    /// [`Directory::list`](crate::disk::Directory::list).
    List,
    /// [`Directory::lock`](crate::disk::Directory::lock).
    Lock,
    /// [`Directory::create`](crate::disk::Directory::create).
    Create,
    /// [`Directory::open`](crate::disk::Directory::open).
    Open,
    /// [`Directory::remove`](crate::disk::Directory::remove).
    Remove,
    /// [`Directory::sync`](crate::disk::Directory::sync).
    SyncDir,
    /// [`Directory::space`](crate::disk::Directory::space).
    Space,
    /// [`File::read_at`](crate::disk::File::read_at).
    Read,
    /// [`File::write_at`](crate::disk::File::write_at).
    Write,
    /// [`File::sync`](crate::disk::File::sync).
    Sync,
    /// [`File::submit`](crate::disk::File::submit).
    Submit,
    /// [`File::finish`](crate::disk::File::finish), of a write that was still in flight.
    Finish,
}

impl On {
    /// Whether it may change what a crash leaves. Only these are counted, and crashed at: a
    /// crash at any other is the same as one at the next of these.
    pub(super) fn changes(self) -> bool {
        !matches!(self, Self::OpenDir | Self::List | Self::Open | Self::Read | Self::Space)
    }
}

/// What a failing operation does before it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing.
    Nothing,
    /// A part: the beginning of a buffered write, any sectors of a submitted one or of a sync,
    /// the first names of a directory's sync.
    Part,
    /// All of it, and then it says that it failed.
    All,
    /// Nothing that can be seen, but what was written may be found on the medium after a crash.
    /// For syncs the same as [`Effect::Nothing`]: all stays pending.
    Later,
    /// A sync that drops what it could not write and calls it clean, so that the next sync
    /// succeeds with the bytes gone. For direct submits the same as [`Effect::Part`]. A buffered
    /// write succeeds, its write-back fails in part, and the next sync through a description that was
    /// open by then says so, once each; one opened later only if nobody was told before.
    Lost(Loss),
}

/// A failure to come.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The operations that may fail; none named means every one.
    pub on: Option<On>,
    /// A part of the path of the directory or file.
    pub path_contains: String,
    /// Only those that begin below this offset, bytes.
    pub below: u64,
    /// How many of those pass before the first fails.
    pub after: u64,
    /// How many fail then.
    pub times: u64,
    /// The error.
    pub kind: io::ErrorKind,
    /// What happens all the same.
    pub effect: Effect,
}

impl Fault {
    /// The next operation of that kind on such a path fails with an I/O error and no effect.
    #[must_use]
    pub fn next(on: On, path_contains: &str) -> Self {
        Self {
            on: Some(on),
            path_contains: path_contains.to_owned(),
            below: u64::MAX,
            after: 0,
            times: 1,
            kind: io::ErrorKind::Other,
            effect: Effect::Nothing,
        }
    }

    /// Everything on such a path fails from now on: a dead disk.
    #[must_use]
    pub fn dead(path_contains: &str) -> Self {
        Self { on: None, times: u64::MAX, ..Self::next(On::Read, path_contains) }
    }

    /// Spares what begins at `offset` or behind.
    #[must_use]
    pub fn below(self, offset: u64) -> Self {
        Self { below: offset, ..self }
    }

    /// Lets `count` operations pass first.
    #[must_use]
    pub fn after(self, count: u64) -> Self {
        Self { after: count, ..self }
    }

    /// Fails `count` times.
    #[must_use]
    pub fn times(self, count: u64) -> Self {
        Self { times: count, ..self }
    }

    /// Fails with another error.
    #[must_use]
    pub fn kind(self, kind: io::ErrorKind) -> Self {
        Self { kind, ..self }
    }

    /// Does this before it fails.
    #[must_use]
    pub fn effect(self, effect: Effect) -> Self {
        Self { effect, ..self }
    }

    /// Whether this operation fails; counts it.
    pub(super) fn strikes(&mut self, on: On, path: &Path, at: u64) -> bool {
        if self.on.is_some_and(|only| only != on)
            || at >= self.below
            || !path.to_string_lossy().contains(&self.path_contains)
        {
            return false;
        }
        if self.after > 0 {
            self.after -= 1;
            return false;
        }
        if self.times == 0 {
            return false;
        }
        self.times = if self.times == u64::MAX { self.times } else { self.times - 1 };
        true
    }
}

/// What a faulty door does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lie {
    /// A file's sync does nothing.
    SkipFileSync,
    /// A file's sync makes the bytes durable and forgets the length.
    SkipLength,
    /// A directory's sync does nothing.
    SkipDirSync,
    /// The names of new directories are not synced.
    ForgetNewDirectory,
    /// A submitted write is in a cache only when it completes.
    SubmitNotDurable,
    /// The second half of a submitted write is in a cache only when it completes.
    HalfWrite,
    /// Of two submitted writes the second reaches the medium first: the first completes from a
    /// cache, and follows after the second is durable.
    SwapWrites,
    /// A sync, of a file or a directory, that failed says that it has succeeded.
    HideSyncErrors,
    /// A submitted write that failed says that it has succeeded.
    HideWriteErrors,
    /// Every lock is granted.
    LockAnyway,
    /// Storage that says that it writes directly buffers: of several writes in flight on a file one's
    /// sync may take the error of another, which then has succeeded.
    SilentBuffering,
    /// Physical blocks of the device begin within blocks of the file, and one that is torn takes along
    /// what else lies in it.
    SharedBlocks,
}

impl Lie {
    /// Every lie.
    pub const ALL: [Self; 12] = [
        Self::SkipFileSync,
        Self::SkipLength,
        Self::SkipDirSync,
        Self::ForgetNewDirectory,
        Self::SubmitNotDurable,
        Self::HalfWrite,
        Self::SwapWrites,
        Self::HideSyncErrors,
        Self::HideWriteErrors,
        Self::LockAnyway,
        Self::SilentBuffering,
        Self::SharedBlocks,
    ];

    /// The door that tells it of everything.
    #[must_use]
    pub const fn everywhere(self) -> Mutant {
        self.about("")
    }

    /// The door that tells it of directories and files in whose path `part` stands.
    #[must_use]
    pub const fn about(self, part: &'static str) -> Mutant {
        Mutant { lie: self, path_contains: part }
    }
}

/// A door that pretends. The engine's tests must notice each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Mutant {
    /// What it does.
    pub lie: Lie,
    /// To which paths: those that contain this.
    pub path_contains: &'static str,
}

impl Mutant {
    /// Whether it lies so about `path`.
    pub(super) fn tells(&self, lie: Lie, path: &Path) -> bool {
        self.lie == lie && path.to_string_lossy().contains(self.path_contains)
    }
}
