//! Shared by all rounds: directories, and how processes are started.

use crate::draw::Draw;
use crate::flume;
use crate::life::Order;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use stores::FLUME;
use stores::flume::Flume;

/// Everything that a fault needs to run its rounds.
#[derive(Debug)]
pub(crate) struct Bench {
    /// A directory of this run, on the disk to measure.
    pub(crate) root: PathBuf,
    pub(crate) seed: u64,
    /// Percent of the usual number of rounds.
    pub(crate) effort: u64,
    pub(crate) patience: Duration,
    /// The layer between a process and the disk, or why there is none.
    pub(crate) shim: Result<PathBuf, String>,
    /// Flume, or why it does not run.
    pub(crate) flume: Result<Flume, String>,
}

impl Bench {
    /// Returns the command of a worker without a time limit. `first`: number of the next event.
    pub(crate) fn command(&self, order: &Order<'_>, first: u64) -> Command {
        let mut command = match (&self.flume, order.engine) {
            (Ok(flume), FLUME) => flume::command(flume),
            _ => {
                let mut command = Command::new("/proc/self/exe");
                command.args(["worker", order.engine]);
                command
            }
        };
        let (seed, first, times) =
            (order.seed.to_string(), first.to_string(), order.times.to_string());
        command.arg(order.dir).args([order.verb, &seed, &first, &times]);
        if let (Ok(shim), false) = (&self.shim, order.shim.is_empty()) {
            command.env("LD_PRELOAD", shim);
            command.envs(order.shim.iter().map(|(name, value)| (name, value)));
        }
        command
    }

    /// Returns how long a process may be silent. A virtual machine takes time to start.
    pub(crate) fn patience(&self, engine: &str) -> Duration {
        if engine == FLUME { self.patience * 3 } else { self.patience }
    }

    pub(crate) fn rounds(&self, usual: u64) -> u64 {
        (usual * self.effort).div_ceil(100).max(1)
    }

    /// Returns the random numbers of one engine under one fault.
    pub(crate) fn draw(&self, engine: &str, fault: &str) -> Draw {
        Draw::of(self.seed, &format!("{engine} {fault}"))
    }

    /// Returns an empty directory for a store, always with the same path: some stores record theirs.
    pub(crate) fn fresh(&self) -> io::Result<PathBuf> {
        let dir = self.root.join("store");
        empty(&dir)?;
        Ok(dir)
    }
}

/// Makes `dir` an empty directory.
pub(crate) fn empty(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    std::fs::create_dir_all(dir)
}

/// Returns the regular files below `dir`, sorted.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else if entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Copies the directory `from`, with everything below it, to `to`, which is emptied first.
pub(crate) fn copy(from: &Path, to: &Path) -> io::Result<()> {
    empty(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let at = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &at)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), &at)?;
        }
    }
    Ok(())
}
