//! Ordered faults, and disk mutations.

use super::image::Loss;
use std::io;
use std::path::Path;

/// Target of the trace events of injected faults, for counting them.
pub const TARGET: &str = "millpond::fault";

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultTarget {
    /// [`Disk::open_dir`](millpond::internal::disk::Disk::open_dir), of a directory that exists or shall not be created.
    OpenDir,
    /// [`Disk::open_dir`](millpond::internal::disk::Disk::open_dir), creating the directory.
    MakeDir,
    /// [`Directory::list`](millpond::internal::disk::Directory::list).
    List,
    /// [`Directory::lock`](millpond::internal::disk::Directory::lock).
    Lock,
    /// [`Directory::create`](millpond::internal::disk::Directory::create).
    Create,
    /// [`Directory::open`](millpond::internal::disk::Directory::open).
    Open,
    /// [`Directory::remove`](millpond::internal::disk::Directory::remove).
    Remove,
    /// [`Directory::sync`](millpond::internal::disk::Directory::sync).
    SyncDir,
    /// [`Directory::space`](millpond::internal::disk::Directory::space).
    Space,
    /// [`File::read_at`](millpond::internal::disk::File::read_at).
    Read,
    /// [`File::write_at`](millpond::internal::disk::File::write_at).
    Write,
    /// [`File::sync`](millpond::internal::disk::File::sync).
    Sync,
    /// [`File::submit`](millpond::internal::disk::File::submit).
    Submit,
    /// [`File::finish`](millpond::internal::disk::File::finish), of a write that was still in flight.
    Finish,
}

impl FaultTarget {
    /// Whether it may change the state after a crash. Only these are counted, and crashed at: a crash at any other is
    /// the same as one at the next of these.
    pub(super) fn changes(self) -> bool {
        !matches!(self, Self::OpenDir | Self::List | Self::Open | Self::Read | Self::Space)
    }
}

/// The effect of an operation before it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultEffect {
    /// None.
    Nothing,
    /// Partial: the beginning of a buffered write, any sectors of a submitted one or of a sync, the first names of a
    /// directory's sync.
    Part,
    /// Complete, although it fails.
    All,
    /// None visible, but the written bytes may be on the medium after a crash. For syncs equal to
    /// [`FaultEffect::Nothing`]: everything stays pending.
    Later,
    /// A sync that drops what it could not write and marks it clean, so that the next sync succeeds with the bytes
    /// gone. For direct submits equal to [`FaultEffect::Part`]. A buffered write succeeds, its write-back fails in
    /// part, and the next sync through each description that was open then fails once; through one opened later only if
    /// the error was not reported before.
    Lost(Loss),
}

/// A fault to inject.
#[derive(Clone, Debug)]
pub struct Fault {
    /// The kind of operation that may fail; `None` means all.
    pub on: Option<FaultTarget>,
    /// Part of the path of the directory or file.
    pub path_contains: String,
    /// Only operations that begin below this offset, bytes.
    pub below: u64,
    /// How many of them pass before the first fails.
    pub after: u64,
    /// How many then fail.
    pub times: u64,
    /// The error.
    pub kind: io::ErrorKind,
    /// The effect in spite of the failure.
    pub effect: FaultEffect,
}

impl Fault {
    /// Returns a fault: the next operation of that kind on such a path fails with an I/O error and no effect.
    #[must_use]
    pub fn next(on: FaultTarget, path_contains: &str) -> Self {
        Self {
            on: Some(on),
            path_contains: path_contains.to_owned(),
            below: u64::MAX,
            after: 0,
            times: 1,
            kind: io::ErrorKind::Other,
            effect: FaultEffect::Nothing,
        }
    }

    /// Returns a dead disk: everything on such a path fails from now on.
    #[must_use]
    pub fn dead(path_contains: &str) -> Self {
        Self { on: None, times: u64::MAX, ..Self::next(FaultTarget::Read, path_contains) }
    }

    /// Exempts what begins at `offset` or after.
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

    /// Sets the effect before the failure.
    #[must_use]
    pub fn effect(self, effect: FaultEffect) -> Self {
        Self { effect, ..self }
    }

    /// Whether this operation fails; counts it.
    pub(super) fn strikes(&mut self, on: FaultTarget, path: &Path, at: u64) -> bool {
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

/// What a mutated disk does wrong.
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
    /// A submitted write is only in a cache when it completes.
    SubmitNotDurable,
    /// The second half of a submitted write is only in a cache when it completes.
    HalfWrite,
    /// Of two submitted writes the second reaches the medium first: the first completes from a cache, and follows after
    /// the second is durable.
    SwapWrites,
    /// A failed sync, of a file or a directory, returns success.
    HideSyncErrors,
    /// A failed submitted write returns success.
    HideWriteErrors,
    /// Every lock is granted.
    LockAnyway,
    /// Storage that claims direct writes buffers: of several writes in flight on a file, one's sync may take the error
    /// of another, which then returns success.
    SilentBuffering,
    /// Physical blocks of the device begin within blocks of the file, and a torn one takes along everything else in it.
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

    /// Returns the mutation for all paths.
    #[must_use]
    pub const fn everywhere(self) -> DiskMutation {
        self.about("")
    }

    /// Returns the mutation for directories and files whose path contains `part`.
    #[must_use]
    pub const fn about(self, part: &'static str) -> DiskMutation {
        DiskMutation { lie: self, path_contains: part }
    }
}

/// A disk mutation: the disk breaks a promise. The engine's tests must notice each of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct DiskMutation {
    /// What it does wrong.
    pub lie: Lie,
    /// The paths concerned: those that contain this.
    pub path_contains: &'static str,
}

impl DiskMutation {
    /// Whether it lies so about `path`.
    pub(super) fn tells(&self, lie: Lie, path: &Path) -> bool {
        self.lie == lie && path.to_string_lossy().contains(self.path_contains)
    }
}
