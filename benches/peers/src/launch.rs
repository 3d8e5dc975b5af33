//! Starts a process for each store and cell, and waits for it.

use crate::Choice;
use crate::machine;
use crate::plan::{Cell, Workload};
use crate::scratch_dirs::ScratchDirs;
use crate::slice::{self, Slice};
use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use stores::flume::Flume;
use stores::{Entry, FLUME, ROCKSDB};

const DRIVER: &str = include_str!("../java/Bench.java");

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Ctrl-C, or a request to end.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted; its directories are empty again")
    }
}

impl Error for Interrupted {}

pub(crate) fn listen_for_interrupts() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| INTERRUPTED.store(true, Ordering::Relaxed))
}

pub(crate) struct Launcher<'a> {
    scratch_dirs: &'a ScratchDirs,
    choice: &'a Choice,
    /// Flume, or why it does not run.
    flume: Result<Flume, String>,
}

impl<'a> Launcher<'a> {
    pub(crate) fn new(
        scratch_dirs: &'a ScratchDirs,
        choice: &'a Choice,
        libraries: Option<&OsStr>,
    ) -> Self {
        let root = scratch_dirs.first().join("java");
        let flume = fs::create_dir(&root).map_err(|error| error.to_string());
        let flume = flume.and_then(|()| Flume::new(libraries, &root, "Bench", DRIVER));
        Self { scratch_dirs, choice, flume }
    }

    /// Which of them cannot be measured here, and why.
    pub(crate) fn left_out(&self, chosen: &[&'static Entry]) -> Vec<(&'static str, String)> {
        let why = |store: &&Entry| match (store.name, &self.flume) {
            (FLUME, Err(why)) => Some((store.name, why.clone())),
            (ROCKSDB, _) if !cfg!(feature = "rocksdb") => {
                Some((store.name, "this was built without it (--features rocksdb)".to_owned()))
            }
            _ => None,
        };
        chosen.iter().filter_map(why).collect()
    }

    pub(crate) fn flume_version(&self) -> Option<&str> {
        self.flume.as_ref().ok().map(|flume| flume.version.as_str())
    }

    /// One store in one cell. What it left is gone afterwards.
    ///
    /// # Errors
    /// The run cannot go on. That the store failed is an answer.
    pub(crate) fn slice(
        &self,
        store: &str,
        cell: Cell,
    ) -> Result<Result<Slice, String>, Box<dyn Error>> {
        let dirs = self.scratch_dirs.fresh(cell.dirs)?;
        let mut slice = Ok(Slice::default());
        if cell.workload == Workload::Cold {
            slice = self.process(store, cell, &dirs, true)?;
            dirs.iter().try_for_each(|dir| machine::chill(dir))?;
        }
        if slice.is_ok() {
            slice = self.process(store, cell, &dirs, false)?;
        }
        self.scratch_dirs.clear()?;
        Ok(slice)
    }

    fn process(
        &self,
        store: &str,
        cell: Cell,
        dirs: &[PathBuf],
        fill: bool,
    ) -> Result<Result<Slice, String>, Box<dyn Error>> {
        let names =
            [self.scratch_dirs.first().join("stdout"), self.scratch_dirs.first().join("stderr")];
        let mut command = self.command(store, cell, dirs, fill);
        command.stdin(Stdio::null());
        command.stdout(File::create(&names[0])?).stderr(File::create(&names[1])?);
        let mut child = command.spawn().map_err(|e| format!("{:?}: {e}", command.get_program()))?;
        let end = Instant::now() + self.choice.patience();
        let ended = loop {
            let interrupted = INTERRUPTED.load(Ordering::Relaxed);
            if let (Some(status), false) = (child.try_wait()?, interrupted) {
                break Some(status);
            }
            if interrupted || Instant::now() > end {
                // It may have ended meanwhile, which is as well.
                let _ = child.kill();
                child.wait()?;
                if interrupted {
                    return Err(Interrupted.into());
                }
                break None;
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        let Some(status) = ended else {
            return Ok(Err(format!("it took more than {} s and was killed", self.choice.patience)));
        };
        let said = slice::heard(&String::from_utf8_lossy(&fs::read(&names[0])?));
        Ok(said.map_err(|words| match status.success() {
            true => words,
            false => format!("{words} ({status}{})", last_line(&names[1]).unwrap_or_default()),
        }))
    }

    fn command(&self, store: &str, cell: Cell, dirs: &[PathBuf], fill: bool) -> Command {
        let mut command = match (&self.flume, store) {
            (Ok(flume), FLUME) => {
                let mut command = flume.command(&["-Xms512m", "-Xmx512m"]);
                command.arg(format!("--warm={}", self.choice.flume_warm));
                command.arg(format!("--waiting={}", cell.waiting(self.choice.bytes)));
                let seconds = self.choice.seconds_of(store);
                let budget = cell.budget(self.choice.bytes, seconds);
                command.arg(format!("--budget={budget}"));
                command
            }
            _ => {
                let mut command = Command::new("/proc/self/exe");
                command.arg("slice").arg(format!("--store={store}"));
                command.arg(format!("--bytes={}", self.choice.bytes));
                command
            }
        };
        command.arg(format!("--cell={cell}"));
        command.arg(format!("--seconds={}", self.choice.seconds_of(store)));
        let mut all = std::ffi::OsString::from("--dirs=");
        for (at, dir) in dirs.iter().enumerate() {
            all.push(if at == 0 { "" } else { "," });
            all.push(dir);
        }
        command.arg(all);
        if fill {
            command.arg("--fill");
        }
        command
    }
}

/// What it said last on stderr.
fn last_line(path: &PathBuf) -> io::Result<String> {
    let text = fs::read(path)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().rev().find(|line| !line.trim().is_empty());
    Ok(line.map(|line| format!("; {line}")).unwrap_or_default())
}
