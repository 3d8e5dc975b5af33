//! A file system in memory with injected faults, for tests.

use super::{FaultKind, FileStatus, FileSystem, FileSystemError, FileSystemFuture, OpenFile};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// A fault of the calls `action` on paths that contain `path`.
#[derive(Clone, Debug)]
pub(crate) struct InjectedFault {
    pub(crate) action: &'static str,
    pub(crate) path: String,
    /// None: the call never ends.
    pub(crate) kind: Option<FaultKind>,
    /// How many calls have it.
    pub(crate) times: usize,
}

#[derive(Clone, Debug, Default)]
struct MemoryFile {
    bytes: Vec<u8>,
    synced: usize,
    is_open: bool,
}

impl MemoryFile {
    /// Loses what was not synced, except for so many halves of it.
    fn lose(&mut self, halves_left: HalvesLeft) {
        let left = self.synced + (self.bytes.len() - self.synced) * halves_left / 2;
        self.bytes.truncate(left);
        self.synced = left;
    }
}

/// How a call breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BreakKind {
    /// The process ends before it has an effect.
    EndBefore,
    /// The process ends after it has its effect.
    EndAfter,
    /// It fails without an effect.
    FailBefore,
    /// It has its effect, and its reply is lost.
    FailAfter,
}

/// What remains of bytes that were written and not synced, when their writer is gone: so many halves.
pub(crate) type HalvesLeft = usize;

#[derive(Default)]
struct State {
    /// The call that breaks, counted from 1 over all actions, and how.
    break_at: Option<(usize, BreakKind)>,
    begun: usize,
    has_ended: bool,
    has_begun_again: bool,
    halves_left: HalvesLeft,
    cannot_truncate: bool,
    files: BTreeMap<String, MemoryFile>,
    faults: Vec<InjectedFault>,
    /// Action and path of every call.
    calls: Vec<(&'static str, String)>,
    /// From this number of calls on none ends.
    ends_at: Option<usize>,
    /// The next call of this action fails after it was done.
    lost_reply: Option<&'static str>,
}

/// The file system; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>, Arc<Notify>);

impl Memory {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Injects a fault into the next `times` calls of `action` whose path contains `path`.
    pub(crate) fn inject(
        &self,
        action: &'static str,
        path: &str,
        kind: Option<FaultKind>,
        times: usize,
    ) {
        let path = path.to_owned();
        self.state().faults.push(InjectedFault { action, path, kind, times });
    }

    /// Ends all faults.
    pub(crate) fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.ends_at = None;
    }

    /// Puts a closed file there.
    pub(crate) fn put(&self, path: &str, text: &str) {
        let bytes = text.as_bytes().to_vec();
        let file = MemoryFile { synced: bytes.len(), bytes, is_open: false };
        self.state().files.insert(path.to_owned(), file);
    }

    /// Does what the death of all writers does: their files stay open with what is synced.
    pub(crate) fn kill_writers(&self) {
        let mut state = self.state();
        let halves = state.halves_left;
        state.files.values_mut().filter(|file| file.is_open).for_each(|file| file.lose(halves));
    }

    /// Lets the call `number`, counted over all actions from here on, break, and sets what remains of bytes that were not
    /// synced.
    pub(crate) fn break_at(&self, number: usize, how: BreakKind, halves_left: HalvesLeft) {
        let mut state = self.state();
        (state.break_at, state.begun) = (Some((number, how)), 0);
        state.halves_left = halves_left;
    }

    /// Begins the next process: its calls work.
    pub(crate) fn begin_again(&self) {
        let mut state = self.state();
        (state.break_at, state.begun, state.has_ended) = (None, 0, false);
        state.has_begun_again = true;
    }

    /// Makes it one that cannot truncate files.
    pub(crate) fn without_truncate(&self) {
        self.state().cannot_truncate = true;
    }

    /// Returns whether this is not the first process.
    pub(crate) fn has_begun_again(&self) -> bool {
        self.state().has_begun_again
    }

    /// Returns how many calls have begun.
    pub(crate) fn begun(&self) -> usize {
        self.state().begun
    }

    /// Waits until the process has ended.
    pub(crate) async fn ended(&self) {
        loop {
            let notified = self.1.notified();
            if self.state().has_ended {
                return;
            }
            notified.await;
        }
    }

    /// Begins a call and returns its number; also one that is not of the file system.
    pub(crate) async fn pass_before(&self) -> Result<usize, FaultKind> {
        let (number, how) = {
            let mut state = self.state();
            state.begun += 1;
            let how = state.break_at.filter(|(at, _)| *at == state.begun);
            (state.begun, how.map(|(_, how)| how))
        };
        match how {
            Some(BreakKind::EndBefore) => self.end(),
            Some(BreakKind::FailBefore) => return Err(FaultKind::Unavailable),
            _ => {}
        }
        self.unless_ended().await;
        Ok(number)
    }

    /// Ends the call `number`, which has had its effect.
    pub(crate) async fn pass_after(&self, number: usize) -> Result<(), FaultKind> {
        let how = self.state().break_at.filter(|(at, _)| *at == number);
        match how {
            Some((_, BreakKind::EndAfter)) => self.end(),
            Some((_, BreakKind::FailAfter)) => return Err(FaultKind::Unavailable),
            _ => {}
        }
        self.unless_ended().await;
        Ok(())
    }

    fn end(&self) {
        self.state().has_ended = true;
        self.1.notify_waiters();
    }

    async fn unless_ended(&self) {
        let has_ended = self.state().has_ended;
        if has_ended {
            std::future::pending::<()>().await;
        }
    }

    /// Returns the paths and bytes of all files.
    pub(crate) fn all_bytes(&self) -> Vec<(String, Vec<u8>)> {
        let state = self.state();
        state.files.iter().map(|(path, file)| (path.clone(), file.bytes.clone())).collect()
    }

    /// Returns paths and texts, those of open files followed by `(open)`.
    pub(crate) fn texts(&self) -> Vec<(String, String)> {
        let state = self.state();
        let text = |file: &MemoryFile| {
            let open = if file.is_open { "(open)" } else { "" };
            format!("{}{open}", String::from_utf8_lossy(&file.bytes[..file.synced]))
        };
        state.files.iter().map(|(path, file)| (path.clone(), text(file))).collect()
    }

    /// Returns the actions of all calls.
    #[cfg(feature = "parquet")]
    pub(crate) fn actions(&self) -> Vec<&'static str> {
        self.state().calls.iter().map(|(action, _)| *action).collect()
    }

    /// The next call of `action` does its work and fails.
    #[cfg(feature = "parquet")]
    pub(crate) fn lose_reply(&self, action: &'static str) {
        self.state().lost_reply = Some(action);
    }

    /// From the call `number` on no call ends, as if the process had ended with it.
    #[cfg(feature = "parquet")]
    pub(crate) fn stop_at(&self, number: usize) {
        let mut state = self.state();
        state.ends_at = Some(state.calls.len() + number);
    }

    /// Returns how many calls of `action` there were.
    pub(crate) fn count(&self, action: &str) -> usize {
        self.state().calls.iter().filter(|(called, _)| *called == action).count()
    }

    fn call<'a, T: Send + 'a>(
        &self,
        action: &'static str,
        path: &str,
        work: impl FnOnce(&mut State) -> Result<T, FaultKind> + Send + 'a,
    ) -> FileSystemFuture<'a, T> {
        let (memory, path) = (self.clone(), path.to_owned());
        Box::pin(async move {
            let injected = memory.begin(action, &path);
            let passed = memory.pass_before().await;
            let result = match (injected, passed) {
                (Some(None), _) => std::future::pending().await,
                (Some(Some(kind)), _) | (None, Err(kind)) => Err(kind),
                (None, Ok(number)) => {
                    let (result, lost) = {
                        let mut state = memory.state();
                        let lost = state.lost_reply.take_if(|lost| *lost == action).is_some();
                        (work(&mut state), lost)
                    };
                    let result = if lost { Err(FaultKind::TimedOut) } else { result };
                    memory.pass_after(number).await.and(result)
                }
            };
            let reason = "injected or by the rules of this file system".to_owned();
            result.map_err(|kind| FileSystemError { kind, action, path, reason, hint: None })
        })
    }

    fn begin(&self, action: &'static str, path: &str) -> Option<Option<FaultKind>> {
        let mut state = self.state();
        state.calls.push((action, path.to_owned()));
        if state.ends_at.is_some_and(|at| state.calls.len() > at) {
            return Some(None);
        }
        let is_it = |fault: &&mut InjectedFault| {
            fault.action == action && path.contains(&fault.path) && fault.times > 0
        };
        let fault = state.faults.iter_mut().find(is_it)?;
        fault.times -= 1;
        Some(fault.kind)
    }
}

impl FileSystem for Memory {
    fn create<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>> {
        let memory = self.clone();
        self.call("create", path, move |state| {
            if path.contains(':') {
                return Err(FaultKind::InvalidPath);
            }
            if state.files.contains_key(path) {
                return Err(FaultKind::AlreadyExists);
            }
            let file = MemoryFile { is_open: true, ..MemoryFile::default() };
            state.files.insert(path.to_owned(), file);
            let path = path.to_owned();
            Ok(Box::new(MemoryWriter { memory, path, is_broken: false }) as Box<dyn OpenFile>)
        })
    }

    fn append<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Box<dyn OpenFile>> {
        self.call("append", path, |_| Err(FaultKind::Unsupported))
    }

    fn read<'a>(
        &'a self,
        path: &'a str,
        offset: u64,
        length: usize,
    ) -> FileSystemFuture<'a, Bytes> {
        self.call("read", path, move |state| {
            let file = state.files.get(path).ok_or(FaultKind::NotFound)?;
            let from = usize::try_from(offset).unwrap().min(file.bytes.len());
            let to = (from + length).min(file.bytes.len());
            Ok(Bytes::copy_from_slice(&file.bytes[from..to]))
        })
    }

    fn truncate<'a>(&'a self, path: &'a str, length: u64) -> FileSystemFuture<'a, ()> {
        self.call("truncate", path, move |state| {
            if state.cannot_truncate {
                return Err(FaultKind::Unsupported);
            }
            let file = state.files.get_mut(path).ok_or(FaultKind::NotFound)?;
            assert!(!file.is_open, "{path} is truncated while it is open");
            file.bytes.truncate(usize::try_from(length).unwrap());
            file.synced = file.bytes.len();
            Ok(())
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> FileSystemFuture<'a, ()> {
        self.call("rename", to, move |state| {
            if state.files.contains_key(to) {
                return Err(FaultKind::AlreadyExists);
            }
            let file = state.files.remove(from).ok_or(FaultKind::NotFound)?;
            state.files.insert(to.to_owned(), file);
            Ok(())
        })
    }

    fn status<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Option<FileStatus>> {
        self.call("status", path, move |state| {
            Ok(state.files.get(path).map(|file| FileStatus {
                path: path.to_owned(),
                length: file.synced as u64,
                is_directory: false,
                modified_ms: 0,
            }))
        })
    }

    fn list<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, Vec<FileStatus>> {
        self.call("list", path, |_| Err(FaultKind::Unsupported))
    }

    fn delete<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool> {
        self.call("delete", path, move |state| Ok(state.files.remove(path).is_some()))
    }

    fn mkdirs<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, ()> {
        self.call("mkdirs", path, |_| Ok(()))
    }

    fn recover_lease<'a>(&'a self, path: &'a str) -> FileSystemFuture<'a, bool> {
        self.call("recover", path, move |state| {
            let halves = state.halves_left;
            let file = state.files.get_mut(path).ok_or(FaultKind::NotFound)?;
            file.lose(halves);
            Ok(!std::mem::take(&mut file.is_open))
        })
    }
}

struct MemoryWriter {
    memory: Memory,
    path: String,
    is_broken: bool,
}

impl MemoryWriter {
    fn call<'a>(
        &'a mut self,
        action: &'static str,
        work: impl FnOnce(&mut MemoryFile) + Send + 'a,
    ) -> FileSystemFuture<'a, ()> {
        assert!(!self.is_broken, "{action} of a file whose call failed");
        self.is_broken = true;
        Box::pin(async move {
            let path = self.path.clone();
            let done = self.memory.call(action, &self.path, move |state| {
                work(state.files.get_mut(&path).ok_or(FaultKind::NotFound)?);
                Ok(())
            });
            done.await?;
            self.is_broken = false;
            Ok(())
        })
    }
}

impl OpenFile for MemoryWriter {
    fn write(&mut self, bytes: Bytes) -> FileSystemFuture<'_, ()> {
        self.call("write", move |file| file.bytes.extend_from_slice(&bytes))
    }

    fn hsync(&mut self) -> FileSystemFuture<'_, ()> {
        self.call("hsync", |file| file.synced = file.bytes.len())
    }

    fn close(&mut self) -> FileSystemFuture<'_, ()> {
        self.call("close", |file| {
            file.synced = file.bytes.len();
            file.is_open = false;
        })
    }
}
