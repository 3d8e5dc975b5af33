//! Resources of the process; `None` if the system does not report them.

use millpond_flow::base::files;
use millpond_flow::base::lost_lines;
use millpond_flow::base::small_file::read_whole;
use rustix::process::{Resource, getrlimit};
use std::path::Path;

/// Size limit of a file of the process, bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024;
/// Size limit of a file of the system, which has a line for each processor and one for all
/// interrupts.
const SYSTEM_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Fields of `/proc/self/stat` after the name in parentheses, the first of which is the state.
const USER_TICKS: usize = 11;
const SYSTEM_TICKS: usize = 12;
const START_TICKS: usize = 19;

/// Returns the memory in use, bytes.
pub(super) fn resident_bytes() -> Option<f64> {
    let status = text("/proc/self/status", FILE_BYTES_MAX)?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}

/// Returns the processor time used, seconds.
pub(super) fn cpu_seconds() -> Option<f64> {
    Some(ticks(USER_TICKS)? + ticks(SYSTEM_TICKS)?)
}

/// Returns when it began, seconds since 1970.
pub(super) fn start_time() -> Option<f64> {
    let system = text("/proc/stat", SYSTEM_BYTES_MAX)?;
    let boot = system.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(boot.trim().parse::<f64>().ok()? + ticks(START_TICKS)?)
}

/// Returns the number of open file descriptors.
pub(super) fn open_files() -> Option<f64> {
    // One of them is opened by this read.
    let count = files::list(Path::new("/proc/self/fd")).ok()?.count().saturating_sub(1);
    Some(f64::from(u32::try_from(count).ok()?))
}

/// Returns the limit on file descriptors.
pub(super) fn files_max() -> Option<f64> {
    Some(getrlimit(Resource::Nofile).current? as f64)
}

/// Returns the number of log lines that stderr or the log file did not accept.
pub(super) fn log_lines_dropped() -> Option<f64> {
    Some(lost_lines::dropped_total() as f64)
}

/// Returns the number of warnings and errors that were not written because they repeat.
pub(super) fn log_lines_suppressed() -> Option<f64> {
    Some(lost_lines::suppressed_total() as f64)
}

/// Returns a field of the process's statistics, from ticks in seconds.
fn ticks(at: usize) -> Option<f64> {
    let stat = text("/proc/self/stat", FILE_BYTES_MAX)?;
    // The name may contain anything, and ends with the last parenthesis.
    let (_, fields) = stat.rsplit_once(')')?;
    let ticks: u64 = fields.split_ascii_whitespace().nth(at)?.parse().ok()?;
    Some(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

fn text(path: &str, bytes_max: u64) -> Option<String> {
    String::from_utf8(read_whole(Path::new(path), bytes_max).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use millpond::{Clock, SystemClock};

    #[test]
    fn a_process_takes_what_it_takes() {
        let Some(memory) = resident_bytes() else {
            println!("left out a_process_takes_what_it_takes: no /proc");
            return;
        };
        assert!(memory > 1e6, "{memory}");
        assert!(cpu_seconds().unwrap() < 1e6);
        let now = SystemClock::new().wall_ms() as f64 / 1e3;
        let began = start_time().unwrap();
        assert!(began < now + 2.0 && began > now - 86_400.0, "{began} {now}");
        let (open, most) = (open_files().unwrap(), files_max().unwrap());
        assert!(open >= 3.0 && open < most, "{open} {most}");
    }
}
