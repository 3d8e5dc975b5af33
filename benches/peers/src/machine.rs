//! What the kernel says about this process, the disk and the machine.

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt;
use std::path::Path;

/// What this process has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// Processor time of all its threads, microseconds.
    pub(crate) cpu_us: f64,
    /// Bytes that it made the kernel write.
    pub(crate) written: u64,
    /// Bytes that all processes wrote to the device, where that can be read.
    pub(crate) device: Option<u64>,
}

impl Used {
    /// `dir` lies on the device in question.
    pub(crate) fn now(dir: &Path) -> Self {
        let cpu_us = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
            usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
        });
        let io = fs::read_to_string("/proc/self/io").unwrap_or_default();
        let written = number_after(&io, "\nwrite_bytes:");
        Self { cpu_us: cpu_us as f64, written, device: device_written(dir) }
    }

    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            cpu_us: self.cpu_us - before.cpu_us,
            written: self.written.saturating_sub(before.written),
            device: self.device.zip(before.device).map(|(now, then)| now.saturating_sub(then)),
        }
    }
}

fn number_after(text: &str, key: &str) -> u64 {
    let rest = text.split(key).nth(1).unwrap_or_default();
    rest.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0)
}

/// The tenth number of its line, in sectors of 512 bytes.
fn device_written(dir: &Path) -> Option<u64> {
    let device = fs::metadata(dir).ok()?.st_dev();
    let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let all = fs::read_to_string("/proc/diskstats").ok()?;
    let words = |line: &'_ str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut lines = all.lines().map(words);
    let line = lines.find(|line| line[..2] == [major.to_string(), minor.to_string()])?;
    Some(line.get(9)?.parse::<u64>().ok()? * 512)
}

/// Starts the measurement of [`peak_bytes`] anew, where the kernel allows it.
pub(crate) fn forget_peak() {
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// The largest resident memory since then.
pub(crate) fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    number_after(&status, "VmHWM:") * 1024
}

/// Bytes that the file system has given to the files below `dir`.
pub(crate) fn bytes_below(dir: &Path) -> io::Result<u64> {
    files(dir)?.iter().try_fold(0, |sum, file| match fs::metadata(file) {
        Ok(about) => Ok(sum + about.st_blocks() * 512),
        // A store may remove one meanwhile.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(sum),
        Err(error) => Err(error),
    })
}

/// The plain files below `dir`.
pub(crate) fn files(dir: &Path) -> io::Result<Vec<std::path::PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.extend(files(&entry.path())?);
        } else if entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Writes what the page cache holds of the files below `dir`, and forgets it.
pub(crate) fn chill(dir: &Path) -> io::Result<()> {
    use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
    for path in files(dir)? {
        let file = fs::File::open(path)?;
        file.sync_all()?;
        posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)?;
    }
    Ok(())
}

/// Returns the bytes free to all users on the file system of `dir`.
pub(crate) fn free_bytes(dir: &Path) -> io::Result<u64> {
    let about = nix::sys::statvfs::statvfs(dir)?;
    Ok(about.blocks_available() as u64 * about.fragment_size() as u64)
}

/// The machine in a few words, for a page that others read.
pub(crate) fn facts(dir: &Path) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("unknown", |(_, name)| name);
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let memory = number_after(&memory, "MemTotal:") as f64 / (1 << 20) as f64;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    // The number is followed by a suffix of the distribution.
    let release = release.split(|c: char| !c.is_ascii_digit() && c != '.').next().unwrap_or("?");
    format!(
        "{cores} cores ({model}), {memory:.0} GiB of memory, Linux {release}, {}",
        file_system(dir)
    )
}

fn file_system(dir: &Path) -> String {
    let (Ok(about), Ok(mounts)) = (fs::metadata(dir), fs::read_to_string("/proc/self/mountinfo"))
    else {
        return "unknown file system".to_owned();
    };
    let device = about.st_dev();
    let device = format!(" {}:{} ", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    let line = mounts.lines().find(|line| line.contains(&device));
    let kind = line.and_then(|line| line.split(" - ").nth(1)?.split(' ').next());
    kind.unwrap_or("unknown file system").to_owned()
}

/// How busy the machine has been for a minute.
pub(crate) fn load() -> f64 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').next().and_then(|word| word.parse().ok()).unwrap_or(0.0)
}

/// Whether this process runs at real-time priority.
pub(crate) fn real_time() -> bool {
    // The 41st field; the second is a name in parentheses and may contain blanks.
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let behind = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    matches!(behind.split_whitespace().nth(38), Some("1" | "2"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_process_writes_and_works_is_seen() {
        let dir = tempfile::tempdir_in(".").unwrap();
        let before = Used::now(dir.path());
        fs::write(dir.path().join("a"), vec![1; 1 << 20]).unwrap();
        fs::File::open(dir.path().join("a")).unwrap().sync_all().unwrap();
        let mut sum = 0u64;
        while Used::now(dir.path()).since(before).cpu_us < 20_000.0 {
            sum = (0..1_000_000).fold(sum, |sum: u64, n| sum.rotate_left(3) ^ n);
        }
        assert!(Used::now(dir.path()).since(before).written >= 1 << 20, "{sum}");
        assert!(bytes_below(dir.path()).unwrap() >= 1 << 20);
        assert!(free_bytes(dir.path()).unwrap() > 0 && peak_bytes() > 0);
        chill(dir.path()).unwrap();
    }
}
