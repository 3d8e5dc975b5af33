//! A file system in memory with injected faults, for tests.

use super::{FaultKind, FileStatus, FileSystem, FileSystemError, FileSystemFuture, OpenFile};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

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

#[derive(Default)]
struct State {
    files: BTreeMap<String, MemoryFile>,
    faults: Vec<InjectedFault>,
    /// Action and path of every call.
    calls: Vec<(&'static str, String)>,
}

/// The file system; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Memory(Arc<Mutex<State>>);

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
        self.state().faults.clear();
    }

    /// Puts a closed file there.
    pub(crate) fn put(&self, path: &str, text: &str) {
        let bytes = text.as_bytes().to_vec();
        let file = MemoryFile { synced: bytes.len(), bytes, is_open: false };
        self.state().files.insert(path.to_owned(), file);
    }

    /// Does what the death of all writers does: their files stay open with what is synced.
    pub(crate) fn kill_writers(&self) {
        for file in self.state().files.values_mut().filter(|file| file.is_open) {
            file.bytes.truncate(file.synced);
        }
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
            let result = match injected {
                Some(None) => std::future::pending().await,
                Some(Some(kind)) => Err(kind),
                None => work(&mut memory.state()),
            };
            let reason = "injected or by the rules of this file system".to_owned();
            result.map_err(|kind| FileSystemError { kind, action, path, reason, hint: None })
        })
    }

    fn begin(&self, action: &'static str, path: &str) -> Option<Option<FaultKind>> {
        let mut state = self.state();
        state.calls.push((action, path.to_owned()));
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
            let file = state.files.get_mut(path).ok_or(FaultKind::NotFound)?;
            file.bytes.truncate(file.synced);
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
