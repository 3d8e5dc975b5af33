//! The durable list of the files that a sink has open, so that the next start finds what a crash left; with
//! `hdfs.exactlyOnce` also which events may be in them.
//!
//! Limits: it has [`FILES_MAX`] files and [`RANGES_MAX`] ranges of events; at most [`LEDGER_BYTES_MAX`] bytes are read. It
//! is written anew, with only what still counts, at a start and whenever it has grown by [`GROWTH_BYTES_MAX`] bytes, or to
//! four times its size.
//!
//! Its lines are those of [`ledger_state`](super::ledger_state), each with its CRC-32. The names of a file are durable
//! before the file is created, a batch before it is written, and whether a file has its last batch before the file is
//! renamed; that it was renamed need not be: closing it again does nothing. Calls that wait for the disk at the same time
//! share a sync.

use super::file_name::FileName;
use super::ledger_state::{LedgerLine, LedgerState, WrittenBatch};
use millpond::EventRange;
use millpond_flow::base::files;
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use millpond_flow::event_set::{EventPlace, EventSet};
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Files that are open, or not renamed after `hdfs.closeTries`.
const FILES_MAX: usize = 100_000;
/// Ranges of events that are delivered and not acknowledged: those of one take, each alone in the worst case.
const RANGES_MAX: usize = 1_000_000;
/// Bytes that a start reads: as many files with long names.
const LEDGER_BYTES_MAX: u64 = 256 << 20;
/// Bytes that are added before it is written anew: a few thousand files.
const GROWTH_BYTES_MAX: u64 = 1 << 20;

/// The ledger; without a place it records nothing.
#[derive(Clone, Default)]
pub(super) struct Ledger(Option<Arc<LedgerFile>>);

struct LedgerFile {
    path: PathBuf,
    /// The file system that its new names are on.
    target: String,
    lines: Mutex<Lines>,
    /// The lines that are durable; held during a sync.
    synced: Mutex<u64>,
    /// Notified when it is known of a file whether it has its last batch.
    settled: Notify,
    /// Keeps other processes from it.
    _lock: File,
}

/// The lines of a ledger.
struct Lines {
    file: Arc<File>,
    state: LedgerState,
    /// Lines that were written since the ledger was opened.
    written: u64,
    bytes: u64,
    /// More bytes than this are written anew.
    bytes_max: u64,
    /// The last line may be cut: writing it failed.
    is_cut: bool,
}

/// What a ledger had when it was opened.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LeftFiles {
    /// The files of the same file system.
    pub(super) own: Vec<FileName>,
    /// The number of files of others, which stay in the ledger.
    pub(super) elsewhere: usize,
}

/// What is known of a file that is to be closed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FileDoubt {
    /// The last batch, if it is not known whether the file has it.
    pub(super) batch: Option<WrittenBatch>,
    /// A copy without that batch has taken its place.
    pub(super) is_replaced: bool,
}

impl Ledger {
    /// Opens the ledger `name` in `directory`, for files on `target`. Blocks.
    ///
    /// # Errors
    /// It cannot be read or written, or another process has it open ([`io::ErrorKind::ResourceBusy`]).
    pub(super) fn open(
        directory: &Path,
        name: &str,
        target: &str,
    ) -> io::Result<(Self, LeftFiles)> {
        files::create_directory(directory)?;
        let path = directory.join(format!("{name}.ledger"));
        let (lock, is_ours) = files::try_lock(&directory.join(format!("{name}.lock")))?;
        if !is_ours {
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        let bytes = match read_whole(&path, LEDGER_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(SmallFileError::Missing) => Vec::new(),
            Err(error) => return Err(io::Error::other(error)),
        };
        let state = LedgerState::read(&String::from_utf8_lossy(&bytes));
        let mut left = LeftFiles::default();
        for entry in state.open.values() {
            if entry.target == target {
                left.own.push(entry.name.clone());
            } else {
                left.elsewhere += 1;
            }
        }
        let ledger = LedgerFile {
            lines: Mutex::new(Lines::write_anew(&path, state, 0)?),
            path,
            target: target.to_owned(),
            synced: Mutex::default(),
            settled: Notify::new(),
            _lock: lock,
        };
        Ok((Self(Some(Arc::new(ledger))), left))
    }

    /// Records durably that `name` is about to be created.
    ///
    /// # Errors
    /// It cannot be recorded.
    pub(super) async fn opened(&self, name: &FileName) -> io::Result<()> {
        let Some(ledger) = &self.0 else { return Ok(()) };
        if ledger.lines().state.open.len() >= FILES_MAX {
            return Err(io::Error::other(format!(
                "it has {FILES_MAX} files already that are not closed and renamed; a restart tries them again"
            )));
        }
        let line = LedgerLine::Opened { target: ledger.target.clone(), name: name.clone() };
        self.add_durably(line).await
    }

    /// Records durably that `batch` is about to be written to the file `name`.
    ///
    /// # Errors
    /// It cannot be recorded; the batch must not be written.
    pub(super) async fn begin_batch(&self, name: &FileName, batch: WrittenBatch) -> io::Result<()> {
        let Some(ledger) = &self.0 else { return Ok(()) };
        if ledger.lines().state.delivered.range_count() >= RANGES_MAX {
            return Err(io::Error::other(format!(
                "{RANGES_MAX} ranges of delivered events are not acknowledged by the channel"
            )));
        }
        let in_use = name.in_use.clone();
        let begun = self.add_durably(LedgerLine::Batch { in_use: in_use.clone(), batch }).await;
        if begun.is_err()
            && let Some(entry) = ledger.lines().state.open.get_mut(&in_use)
        {
            entry.in_doubt = None;
        }
        begun
    }

    /// Notes that the last batch of `name` is synced.
    pub(super) fn batch_synced(&self, name: &FileName) {
        let Some(ledger) = &self.0 else { return };
        let lines = &mut *ledger.lines();
        let Some(entry) = lines.state.open.get_mut(&name.in_use) else { return };
        if let Some(batch) = entry.in_doubt.take() {
            lines.state.delivered.join(&batch.events);
        }
    }

    /// Returns what is known of the file `name`.
    pub(super) fn doubt(&self, name: &FileName) -> FileDoubt {
        let Some(ledger) = &self.0 else { return FileDoubt::default() };
        let lines = ledger.lines();
        lines.state.open.get(&name.in_use).map_or_else(FileDoubt::default, |entry| FileDoubt {
            batch: entry.in_doubt.clone(),
            is_replaced: entry.is_replaced,
        })
    }

    /// Records durably, unless the ledger on the disk says so already, whether the file `name`, which is closed, has its
    /// last batch.
    ///
    /// # Errors
    /// It cannot be recorded; the file must not be renamed.
    pub(super) async fn settled(&self, name: &FileName, is_kept: bool) -> io::Result<()> {
        let Some(ledger) = &self.0 else { return Ok(()) };
        let is_open = |lines: &Lines| {
            let entry = lines.state.open.get(&name.in_use);
            entry.is_some_and(|entry| entry.is_doubt_written || entry.in_doubt.is_some())
        };
        if is_open(&ledger.lines()) {
            let in_use = name.in_use.clone();
            self.add_durably(LedgerLine::Settled { in_use, is_kept }).await?;
        }
        ledger.settled.notify_waiters();
        Ok(())
    }

    /// Records durably that the copy of `name`, which lacks its last batch, has taken its place.
    ///
    /// # Errors
    /// It cannot be recorded; the file must stay.
    pub(super) async fn replaced(&self, name: &FileName) -> io::Result<()> {
        let Some(ledger) = &self.0 else { return Ok(()) };
        self.add_durably(LedgerLine::Replaced { in_use: name.in_use.clone() }).await?;
        ledger.settled.notify_waiters();
        Ok(())
    }

    /// Records that there is nothing left to do for `name`. A failure only repeats work at the next start.
    pub(super) async fn closed(&self, name: &FileName) {
        let Some(ledger) = self.0.clone() else { return };
        let line = LedgerLine::Closed { in_use: name.in_use.clone() };
        let add = move || {
            if let Err(error) = ledger.lines().add(&ledger.path, line) {
                tracing::warn!(path = %ledger.path.display(), %error, "cannot write this list of open files");
            }
        };
        let _ = tokio::task::spawn_blocking(add).await;
    }

    /// Forgets the delivered events of a channel that it has acknowledged: they do not come again. `unacknowledged`
    /// returns the others, under the lock of the ledger: no event becomes a delivered one meanwhile.
    pub(super) fn forget_acknowledged(
        &self,
        channel: u128,
        unacknowledged: impl FnOnce(&[EventRange]) -> Option<Vec<EventRange>>,
    ) {
        let Some(ledger) = &self.0 else { return };
        let delivered = &mut ledger.lines().state.delivered;
        let ranges = delivered.ranges(channel);
        if !ranges.is_empty()
            && let Some(open) = unacknowledged(&ranges)
        {
            delivered.replace(channel, &open);
        }
    }

    /// Returns whether the event is delivered.
    pub(super) fn is_delivered(&self, channel: u128, place: EventPlace) -> bool {
        let Some(ledger) = &self.0 else { return false };
        ledger.lines().state.delivered.contains(channel, place)
    }

    /// Waits, at most for `limit`, until it is known of each of `places` whether it is delivered. Returns the file that may
    /// have one of them, and its file system, if it is not known then.
    pub(super) async fn until_settled(
        &self,
        channel: u128,
        places: &[EventPlace],
        limit: Duration,
    ) -> Option<(String, String)> {
        let ledger = self.0.as_ref()?;
        let in_doubt = || {
            let lines = ledger.lines();
            let has = |events: &EventSet| places.iter().any(|one| events.contains(channel, *one));
            let entry = lines
                .state
                .open
                .values()
                .find(|entry| entry.in_doubt.as_ref().is_some_and(|batch| has(&batch.events)));
            entry.map(|entry| (entry.name.in_use.clone(), entry.target.clone()))
        };
        let wait = async {
            loop {
                let notified = ledger.settled.notified();
                tokio::pin!(notified);
                notified.as_mut().enable();
                if in_doubt().is_none() {
                    return;
                }
                notified.await;
            }
        };
        let _ = tokio::time::timeout(limit, wait).await;
        in_doubt()
    }

    async fn add_durably(&self, line: LedgerLine) -> io::Result<()> {
        let Some(ledger) = self.0.clone() else { return Ok(()) };
        #[cfg(test)]
        let number = super::tests::breaks::before_line().await?;
        let add = move || ledger.add_durably(line);
        let added = tokio::task::spawn_blocking(add).await;
        #[cfg(test)]
        super::tests::breaks::after_line(number).await?;
        added.unwrap_or_else(|error| Err(io::Error::other(error)))
    }
}

impl LedgerFile {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add_durably(&self, line: LedgerLine) -> io::Result<()> {
        let wanted = {
            let mut lines = self.lines();
            lines.add(&self.path, line)?;
            lines.written
        };
        let mut synced = self.synced.lock().unwrap_or_else(PoisonError::into_inner);
        if *synced >= wanted {
            return Ok(());
        }
        let (file, written) = {
            let lines = self.lines();
            (Arc::clone(&lines.file), lines.written)
        };
        if let Err(error) = files::sync(&file) {
            // A later sync of this file would not repair it: the next line goes into a new one.
            self.lines().bytes_max = 0;
            return Err(error);
        }
        *synced = written;
        Ok(())
    }
}

impl Lines {
    /// Replaces the file by one with the lines of `state`, durably.
    fn write_anew(path: &Path, state: LedgerState, written: u64) -> io::Result<Self> {
        let whole = state.text();
        files::replace_private(path, whole.as_bytes())?;
        let bytes = whole.len() as u64;
        let bytes_max = bytes.saturating_mul(4).max(bytes + GROWTH_BYTES_MAX);
        let file = Arc::new(files::append(path)?);
        Ok(Self { file, state, written, bytes, bytes_max, is_cut: false })
    }

    /// Adds `line`; after a failure the next one begins a line of its own.
    fn add(&mut self, path: &Path, line: LedgerLine) -> io::Result<()> {
        if self.bytes > self.bytes_max {
            let mut state = self.state.clone();
            for entry in state.open.values_mut() {
                entry.is_doubt_written = entry.in_doubt.is_some();
            }
            *self = Self::write_anew(path, state, self.written)?;
        }
        let mut text = line.text();
        if self.is_cut {
            text.insert(0, '\n');
        }
        self.is_cut = true;
        (&*self.file).write_all(text.as_bytes())?;
        self.is_cut = false;
        self.state.apply(line);
        self.bytes += text.len() as u64;
        self.written += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> FileName {
        let (in_use, stem) = (format!("/d/x.{n}.log.tmp"), format!("/d/x.{n}"));
        FileName { in_use, stem, suffix: ".log".to_owned() }
    }

    fn opened(target: &str, n: u32) -> LedgerLine {
        LedgerLine::Opened { target: target.to_owned(), name: name(n) }
    }

    #[tokio::test]
    async fn open_files_are_found_again_also_after_a_cut_line() {
        let directory = tempfile::tempdir().unwrap();
        let open = |target: &str| Ledger::open(directory.path(), "a.k1", target);
        let (ledger, left) = open("hdfs://a").unwrap();
        assert_eq!(left, LeftFiles::default());
        for n in 1..=3 {
            ledger.opened(&name(n)).await.unwrap();
        }
        ledger.closed(&name(2)).await;
        assert_eq!(open("hdfs://a").err().unwrap().kind(), io::ErrorKind::ResourceBusy);
        drop(ledger);
        let path = directory.path().join("a.k1.ledger");
        let mut bytes = std::fs::read(&path).unwrap();
        let cut = opened("hdfs://a", 4).text();
        bytes.extend_from_slice(&cut.as_bytes()[..cut.len() - 3]);
        std::fs::write(&path, &bytes).unwrap();
        let (ledger, left) = open("hdfs://a").unwrap();
        assert_eq!(left, LeftFiles { own: vec![name(1), name(3)], elsewhere: 0 });
        drop(ledger);
        // Those of another cluster wait until the sink writes there again.
        let (ledger, left) = open("hdfs://b").unwrap();
        assert_eq!(left, LeftFiles { own: vec![], elsewhere: 2 });
        drop(ledger);
        assert_eq!(open("hdfs://a").unwrap().1.own.len(), 2);
    }

    #[tokio::test]
    async fn events_delivered_while_others_are_forgotten_are_not_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(directory.path(), "a.k1", "hdfs://a").unwrap();
        let place = |sequence| EventPlace { stripe: 0, sequence };
        for n in [1, 2] {
            ledger.opened(&name(n)).await.unwrap();
            let events = EventSet::of(7, &[place(n.into())]);
            let batch = WrittenBatch { before: 0, after: 1, events };
            ledger.begin_batch(&name(n), batch).await.unwrap();
        }
        ledger.batch_synced(&name(1));
        let mut other = None;
        ledger.forget_acknowledged(7, |ranges| {
            assert_eq!(ranges.len(), 1);
            let (done, is_done) = std::sync::mpsc::channel();
            let closing = ledger.clone();
            other = Some(tokio::task::spawn_blocking(move || {
                closing.batch_synced(&name(2));
                let _ = done.send(());
            }));
            let _ = is_done.recv_timeout(Duration::from_millis(200));
            Some(Vec::new())
        });
        other.unwrap().await.unwrap();
        assert!(!ledger.is_delivered(7, place(1)));
        assert!(ledger.is_delivered(7, place(2)));
    }

    #[tokio::test]
    async fn a_ledger_of_many_files_stays_small_and_has_the_open_ones() {
        let directory = tempfile::tempdir().unwrap();
        let (ledger, _) = Ledger::open(directory.path(), "a.k1", "hdfs://a").unwrap();
        ledger.opened(&name(0)).await.unwrap();
        let path = directory.path().join("a.k1.ledger");
        let line = "x".repeat(64 << 10);
        for n in 1..100 {
            let file = FileName { suffix: line.clone(), ..name(n) };
            ledger.opened(&file).await.unwrap();
            ledger.closed(&file).await;
        }
        let bytes = std::fs::metadata(&path).unwrap().len();
        assert!(bytes < 2 * GROWTH_BYTES_MAX, "{bytes} bytes");
        drop(ledger);
        let (_ledger, left) = Ledger::open(directory.path(), "a.k1", "hdfs://a").unwrap();
        assert_eq!(left.own, [name(0)]);
    }

    #[tokio::test]
    async fn a_line_after_one_that_a_full_disk_cut_is_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.k1.ledger");
        let mut lines = Lines::write_anew(&path, LedgerState::default(), 0).unwrap();
        // What a write that failed leaves: some of its bytes, and the mark.
        (&*lines.file).write_all(&opened("hdfs://a", 1).text().as_bytes()[..20]).unwrap();
        lines.is_cut = true;
        lines.add(&path, opened("hdfs://a", 2)).unwrap();
        let state = LedgerState::read(&std::fs::read_to_string(&path).unwrap());
        assert_eq!(state.open.into_keys().collect::<Vec<_>>(), [name(2).in_use]);
    }
}
