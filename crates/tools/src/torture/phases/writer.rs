//! The first phase: works until the power fails.

use super::remote_notes::RemoteNotes;
use super::{AckFileHeader, PhaseError, boot};
use crate::torture::DiskLie;
use crate::torture::note::Note;
use crate::torture::note_writer::{FileNotes, NoteWriter};
use crate::torture::run_state::{RunKind, RunOrders, RunState};
use crate::torture::scratch_dirs::{CheckedDirs, DirUse};
use millpond::internal::disk::Disk;
use millpond::internal::disk::real::RealDisk;
use millpond::{Clock, SystemClock};
use millpond_flow::base::files;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Interval at which the writer checks its state and notes that it is still alive.
const LOOK: Duration = Duration::from_millis(500);

/// What to write, and where the acknowledgements go.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// One stripe each.
    pub data_dirs: Vec<PathBuf>,
    /// `HOST:PORT` of a collector, or a new file.
    pub acks: String,
    /// How long to continue; without end when absent.
    pub time: Option<Duration>,
    /// Decides what is put and taken.
    pub seed: u64,
    /// Whether what an earlier write left may be cleared.
    pub discard: bool,
    /// A lying disk, to check that the tool notices.
    pub lie: Option<DiskLie>,
}

/// What was written when the power was not cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteReport {
    /// Events whose put was acknowledged.
    pub acknowledged: u64,
}

/// Puts and takes until `stop` is set, the time is over, or the power fails. `watch` gets the count
/// of acknowledged events from time to time; `warn` is called once with what looks wrong
/// beforehand.
///
/// # Errors
/// The directories or the place for acknowledgements are refused, or acknowledgements no longer
/// arrive.
pub fn write(
    options: &WriteOptions,
    stop: &AtomicBool,
    warn: &mut dyn FnMut(&str),
    watch: &mut dyn FnMut(u64),
) -> Result<WriteReport, PhaseError> {
    let survey = CheckedDirs::of(&options.data_dirs, DirUse::Write, options.discard)?;
    // First the destination of the notes: without it nothing is cleared.
    let head =
        AckFileHeader { seed: options.seed, directories: options.data_dirs.len(), boot: boot() };
    let note_writer = note_writer(&options.acks, &head)?;
    // Held to the end, against a second test in the same directories.
    let scratch_dirs = survey.take().inspect_err(|_| {
        if !is_address(&options.acks) {
            // It is empty; the refusal is the error to return.
            let _ = files::remove(Path::new(&options.acks));
        }
    })?;
    if same_storage(&options.acks, &options.data_dirs) {
        warn(
            "the acknowledgements go to a file system that is being tested: a power cut may take \
              both along; send them to another host or disk",
        );
    }
    super::suspicions(&options.data_dirs).iter().for_each(|words| warn(words));
    let orders = RunOrders {
        seed: options.seed,
        life: 0,
        data_dirs: options.data_dirs.clone(),
        work: RunKind::PutAndTake,
        next: Vec::new(),
        strike: None,
        quota: None,
        lie: options.lie,
    };
    let clock = SystemClock::new();
    let unheard = |source| PhaseError::NoReply { source };
    let life = RunState::begin(orders, Arc::clone(&note_writer)).map_err(unheard)?;
    let workers = life.work().map_err(PhaseError::System)?;
    while !life.is_over() {
        life.wait(LOOK);
        let over = options.time.is_some_and(|time| clock.now() >= time);
        if over || stop.load(Ordering::SeqCst) || note_writer.write_note(&Note::Alive).is_err() {
            life.finish();
        }
        watch(life.acknowledged.load(Ordering::Relaxed));
    }
    let counted = Arc::clone(&life.acknowledged);
    life.end(workers).map_err(unheard)?;
    scratch_dirs.write_has_ended()?;
    Ok(WriteReport { acknowledged: counted.load(Ordering::Relaxed) })
}

/// Returns whether `acks` is `HOST:PORT`: it ends in a port and is not a path.
fn is_address(acks: &str) -> bool {
    let port = acks.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('/'));
    port.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn note_writer(acks: &str, head: &AckFileHeader) -> Result<Arc<dyn NoteWriter>, PhaseError> {
    if is_address(acks) {
        let network = |source| PhaseError::Network { address: acks.to_owned(), source };
        return Ok(Arc::new(RemoteNotes::connect(acks, &head.line()).map_err(network)?));
    }
    let path = PathBuf::from(acks);
    let made = record(&path, head).map_err(|source| PhaseError::File { path, source })?;
    Ok(Arc::new(made))
}

fn record(path: &Path, head: &AckFileHeader) -> io::Result<FileNotes> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    let directory = RealDisk::buffered().open_dir(above, false)?;
    let record = FileNotes::new(directory.create(name)?);
    directory.sync()?;
    record.add(&head.line())?;
    Ok(record)
}

fn same_storage(acks: &str, data_dirs: &[PathBuf]) -> bool {
    let device = |path: &Path| path.metadata().map(|found| found.dev()).ok();
    let own = device(Path::new(acks)).filter(|_| !is_address(acks));
    own.is_some() && data_dirs.iter().any(|path| device(path) == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_distinguished_from_a_file() {
        for acks in ["host:1", "10.0.0.1:4600", "[::1]:80"] {
            assert!(is_address(acks), "{acks}");
        }
        for acks in ["acks", "/mnt/a:1", "dir/x:2", ":80", "host:", "host:99999", "host:http"] {
            assert!(!is_address(acks), "{acks}");
        }
    }
}
