//! The first phase: works until the power goes.

use super::far::Far;
use super::{Head, PhaseError, boot};
use crate::base::clock::{Clock, SystemClock};
use crate::base::files;
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use crate::torture::Lie;
use crate::torture::ground::{Purpose, Survey};
use crate::torture::life::{Life, Orders, Work};
use crate::torture::note::Note;
use crate::torture::voice::{Record, Voice};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How often the writer looks around and says that it is still there.
const LOOK: Duration = Duration::from_millis(500);

/// What to write, and where the acknowledgements go.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// One stripe each.
    pub data_dirs: Vec<PathBuf>,
    /// `HOST:PORT` of a collector, or a new file.
    pub acks: String,
    /// How long to go on; without end when absent.
    pub time: Option<Duration>,
    /// Decides what is put and taken.
    pub seed: u64,
    /// Whether what an earlier write left may be cleared.
    pub discard: bool,
    /// A lying disk, to see the tool notice.
    pub lie: Option<Lie>,
}

/// What was written when nobody cut the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// Events whose put was acknowledged.
    pub acknowledged: u64,
}

/// Puts and takes until `stop` is set, the time is over, or the power goes. `watch` is shown the
/// count of acknowledged events now and then; `warn` hears once of what looks wrong beforehand.
///
/// # Errors
/// The directories or the place for acknowledgements are refused, or acknowledgements no longer
/// arrive.
pub fn write(
    options: &WriteOptions,
    stop: &AtomicBool,
    warn: &mut dyn FnMut(&str),
    watch: &mut dyn FnMut(u64),
) -> Result<Written, PhaseError> {
    let survey = Survey::of(&options.data_dirs, Purpose::Write, options.discard)?;
    // First where the notes go: without it nothing is cleared.
    let head = Head { seed: options.seed, directories: options.data_dirs.len(), boot: boot() };
    let voice = voice(&options.acks, &head)?;
    // Held to the end, against a second test in the same directories.
    let ground = survey.take().inspect_err(|_| {
        if !is_address(&options.acks) {
            // It says nothing yet; the refusal is what there is to say.
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
    let orders = Orders {
        seed: options.seed,
        life: 0,
        data_dirs: options.data_dirs.clone(),
        work: Work::PutAndTake,
        next: Vec::new(),
        strike: None,
        quota: None,
        lie: options.lie,
    };
    let clock = SystemClock::new();
    let unheard = |source| PhaseError::Unheard { source };
    let life = Life::begin(orders, Arc::clone(&voice)).map_err(unheard)?;
    let workers = life.work().map_err(PhaseError::System)?;
    while !life.is_over() {
        life.wait(LOOK);
        let over = options.time.is_some_and(|time| clock.now() >= time);
        if over || stop.load(Ordering::SeqCst) || voice.say(&Note::Alive).is_err() {
            life.finish();
        }
        watch(life.acknowledged.load(Ordering::Relaxed));
    }
    let counted = Arc::clone(&life.acknowledged);
    life.end(workers).map_err(unheard)?;
    ground.write_has_ended()?;
    Ok(Written { acknowledged: counted.load(Ordering::Relaxed) })
}

/// `HOST:PORT` when it ends in a port and is no path.
fn is_address(acks: &str) -> bool {
    let port = acks.rsplit_once(':').filter(|(host, _)| !host.is_empty() && !host.contains('/'));
    port.is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

fn voice(acks: &str, head: &Head) -> Result<Arc<dyn Voice>, PhaseError> {
    if is_address(acks) {
        let network = |source| PhaseError::Network { address: acks.to_owned(), source };
        return Ok(Arc::new(Far::connect(acks, &head.line()).map_err(network)?));
    }
    let path = PathBuf::from(acks);
    let made = record(&path, head).map_err(|source| PhaseError::File { path, source })?;
    Ok(Arc::new(made))
}

fn record(path: &Path, head: &Head) -> io::Result<Record> {
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let above = match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    let directory = RealDisk::buffered().open_dir(above, false)?;
    let record = Record::new(directory.create(name)?);
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
    fn an_address_is_told_from_a_file() {
        for acks in ["host:1", "10.0.0.1:4600", "[::1]:80"] {
            assert!(is_address(acks), "{acks}");
        }
        for acks in ["acks", "/mnt/a:1", "dir/x:2", ":80", "host:", "host:99999", "host:http"] {
            assert!(!is_address(acks), "{acks}");
        }
    }
}
