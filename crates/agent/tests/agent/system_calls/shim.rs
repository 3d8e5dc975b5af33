//! Runs the binary with the shim, and tries many failures at once.

use crate::process::DEADLINE;
use millpond::internal::base::threads;
use millpond::{Clock, SystemClock};
use std::collections::VecDeque;
use std::hash::{BuildHasher, RandomState};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, OnceLock, RwLock};
use std::time::Duration;

/// How much longer than without failures a command may take.
pub(super) const HANGS: Duration = Duration::from_secs(5);

/// Failures tried of each command in a normal run.
const PART: usize = 40;

/// Failures tried at the same time: they wait for the disk more than for a core.
const AT_ONCE: usize = 3;

/// A command that was slow is tried this many times alone before it counts as hanging.
const ALONE: usize = 2;

/// Returns the shim, built once; `None`, with a message, if it cannot be built or may not work.
#[allow(clippy::print_stderr)] // said aloud: a test that is left out must be seen
pub(super) fn shim() -> Option<&'static Path> {
    static BUILT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    match BUILT.get_or_init(build) {
        Ok(path) => Some(path),
        Err(reason) => {
            // Shown by `cargo test -- --nocapture`, and searched for by .ci/run.
            eprintln!("left out calls: {reason}");
            None
        }
    }
}

fn build() -> Result<PathBuf, String> {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/agent/system_calls/shim.c");
    // Under a name of its own first: another test process may be loading it.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let fresh = tempfile::NamedTempFile::new_in(folder).map_err(|error| error.to_string())?;
    let fresh = fresh.into_temp_path();
    let mut compiler = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
    compiler.args(["-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o"]).arg(&fresh).arg(source);
    let output = compiler.output().map_err(|error| format!("no C compiler: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        // Elsewhere it need not build. Here it must: a check that is skipped silently is useless.
        match cfg!(all(target_os = "linux", target_arch = "x86_64")) {
            true => panic!("{words}"),
            false => return Err(format!("the shim does not build: {words}")),
        }
    }
    let built = folder.join("shim.so");
    fresh.persist(&built).map_err(|error| error.to_string())?;
    let mut probe = Command::new("true");
    probe.env("LD_PRELOAD", &built).env("SHIM_UNDER", "/").env("SHIM_AT", "0");
    let ended = probe.output().map_err(|error| error.to_string())?;
    let words = String::from_utf8_lossy(&ended.stderr);
    if ended.status.success() { Ok(built) } else { Err(format!("seccomp is refused: {words}")) }
}

/// The calls that `shim.c` knows.
pub(super) const CALLS: [&str; 25] = [
    "openat",
    "pread64",
    "read",
    "pwrite64",
    "write",
    "fdatasync",
    "fsync",
    "ftruncate",
    "fallocate",
    "unlinkat",
    "mkdirat",
    "mkdir",
    "unlink",
    "rmdir",
    "open",
    "fcntl",
    "flock",
    "fstatfs",
    "fstat",
    "newfstatat",
    "statx",
    "getdents64",
    "lseek",
    "fadvise64",
    "close",
];

/// A call that is hit, and its failure.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hit {
    /// Its name. Threads make calls in turn: only those of one name have a steady order.
    pub(super) call: &'static str,
    /// Its number among the calls of that name, from 1.
    pub(super) at: usize,
    /// See `shim.c`.
    pub(super) deed: Deed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// Bad sector, full disk, a signal, a call that would block.
    Error(i32),
    /// Only half of it is read or written.
    Half,
    /// Only a sector or byte of it is read or written.
    Few,
    /// The process is killed before, amid or after it.
    KillBefore,
    KillAmid,
    KillAfter,
}

impl Deed {
    pub(super) fn word(self) -> String {
        match self {
            Self::Error(number) => number.to_string(),
            Self::Half => "half".to_owned(),
            Self::Few => "few".to_owned(),
            Self::KillBefore => "before".to_owned(),
            Self::KillAmid => "amid".to_owned(),
            Self::KillAfter => "after".to_owned(),
        }
    }

    pub(super) fn kills(self) -> bool {
        matches!(self, Self::KillBefore | Self::KillAmid | Self::KillAfter)
    }

    /// Returns whether it affects such a call.
    pub(super) fn fits(self, call: &str) -> bool {
        let moves = matches!(call, "pread64" | "pwrite64" | "read" | "write" | "getdents64");
        moves || !matches!(self, Self::Half | Self::Few | Self::KillAmid)
    }
}

/// The outcome of a command during a failure.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) status: ExitStatus,
    pub(super) stdout: String,
    pub(super) stderr: String,
    pub(super) took: Duration,
    /// The calls that were hit, or that counted if none was to be: a line each.
    pub(super) calls: String,
}

/// Configures the shim for `command`: calls on the files under `places` in `top`.
pub(super) fn under(
    shim: &Path,
    top: &Path,
    places: &[&str],
    hit: Option<Hit>,
    command: &mut Command,
) {
    let top = top.canonicalize().expect("a directory");
    let places: Vec<String> = places.iter().map(|p| top.join(p).display().to_string()).collect();
    command.env("LD_PRELOAD", shim).env("SHIM_UNDER", places.join(":"));
    command.env("SHIM_LOG", top.join("calls"));
    command.env("SHIM_AT", hit.map_or(0, |hit| hit.at).to_string());
    if let Some(hit) = hit {
        command.env("SHIM_DO", hit.deed.word()).env("SHIM_ONLY", format!("{} ", hit.call));
        if hit.deed.kills() {
            command.env("SHIM_KEEPS", "yes");
        }
    }
}

/// Reads a pipe to its end on a thread of its own.
fn all_of(mut pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (tell, told) = mpsc::channel();
    let read = move || {
        let mut text = Vec::new();
        // What was read before a broken pipe is everything. A failed test does not join.
        let _ = pipe.read_to_end(&mut text);
        let _ = tell.send(String::from_utf8_lossy(&text).into_owned());
    };
    threads::spawn("reader", read).expect("a thread");
    told
}

fn wait(child: &mut Child, clock: &SystemClock) -> ExitStatus {
    let mut killed = false;
    loop {
        if let Some(status) = child.try_wait().expect("waited for") {
            return status;
        }
        if clock.now() > DEADLINE && !killed {
            // Its status tells.
            child.kill().expect("killed");
            killed = true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Runs a command that was set up by [`under`] to its end.
pub(super) fn to_its_end(top: &Path, mut command: Command, input: String) -> Ended {
    let clock = SystemClock::new();
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let stdout = all_of(child.stdout.take().expect("a pipe"));
    let stderr = all_of(child.stderr.take().expect("a pipe"));
    // A command that ends early closes its stdin.
    let write = move || drop(stdin.write_all(input.as_bytes()));
    let writer = threads::spawn("writer", write).expect("a thread");
    let status = wait(&mut child, &clock);
    let took = clock.now();
    writer.join().expect("written");
    let text = |told: Receiver<String>| told.recv().expect("read");
    let log = top.join("calls");
    let calls = std::fs::read_to_string(&log).unwrap_or_default();
    let _ = std::fs::remove_file(&log);
    Ended { status, stdout: text(stdout), stderr: text(stderr), took, calls }
}

/// The part of `all` for this run.
pub(super) fn chosen<T>(all: Vec<T>, part: usize) -> VecDeque<T> {
    let asked = std::env::var("MILLPOND_CALLS").unwrap_or_default();
    if asked == "whole" {
        return all.into();
    }
    let step = all.len().div_ceil(asked.parse().unwrap_or(part)) | 1;
    let offset = RandomState::new().hash_one(0u8) as usize % step;
    all.into_iter().skip(offset).step_by(step).collect()
}

pub(super) const fn part() -> usize {
    PART
}

/// The outcome of one try.
pub(super) struct Tried {
    pub(super) took: Duration,
    /// Whether the call that was to be hit was made.
    pub(super) reached: bool,
}

/// Tries all of `chosen`, several at a time, and fails with every complaint. A try that takes
/// longer than `sound` and [`HANGS`] is tried again alone; if it does each time, it hangs.
#[allow(clippy::print_stdout)] // the report is for the person who runs it
pub(super) fn try_all<T: Copy + std::fmt::Debug + Send + Sync>(
    name: &str,
    (chosen, of): (VecDeque<T>, usize),
    sound: Duration,
    judge: impl Fn(T) -> Result<Tried, String> + Sync,
) {
    let count = chosen.len();
    let (left, alone) = (Mutex::new(chosen), RwLock::new(()));
    let (wrong, seen) = (Mutex::new(Vec::new()), Mutex::new((0usize, Duration::ZERO)));
    let limit = sound + HANGS;
    let one = |hit: T| {
        let together = alone.read().expect("no thread panics");
        let mut result = judge(hit);
        drop(together);
        for _ in 0..ALONE {
            if result.as_ref().is_ok_and(|tried| tried.took > limit) {
                let _alone = alone.write().expect("no thread panics");
                result = judge(hit);
            }
        }
        match result {
            Ok(tried) if tried.took > limit => {
                let words = format!("{hit:?}: took {:?}, and {sound:?} when sound", tried.took);
                wrong.lock().expect("no thread panics").push(words);
            }
            Ok(tried) => {
                let mut seen = seen.lock().expect("no thread panics");
                *seen = (seen.0 + usize::from(tried.reached), seen.1.max(tried.took));
            }
            Err(words) => {
                wrong.lock().expect("no thread panics").push(format!("{hit:?}: {words}"));
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let next = left.lock().expect("no thread panics").pop_front();
                    let Some(hit) = next else { return };
                    one(hit);
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no thread panics");
    let (reached, slowest) = seen.into_inner().expect("no thread panics");
    println!("{name}: {count} of {of} tried, {reached} reached, the slowest took {slowest:?}");
    assert!(wrong.is_empty(), "{name}: {} of {count} wrong: {wrong:#?}", wrong.len());
    // Threads may make some calls less often than they did when they were counted.
    assert!(reached * 10 >= count * 7, "{name}: only {reached} of {count} failures came about");
}
