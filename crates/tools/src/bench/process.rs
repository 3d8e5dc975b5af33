//! Figures of the kernel about this process.

use millpond_flow::base::small_file::read_whole;
use std::path::Path;

/// Ticks per second in which Linux reports processor time, on every platform that this runs on.
const TICKS_PER_SECOND: f64 = 100.0;

/// Bytes of one of the kernel's small files.
const KERNEL_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The resources that the process has used so far; `None` where the kernel does not report them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProcessUsage {
    /// Processor seconds of all threads, in steps of a hundredth.
    cpu_seconds: Option<f64>,
    /// Bytes that it had written to storage, also through the page cache.
    device_bytes: Option<u64>,
}

impl ProcessUsage {
    /// Returns the current figures.
    pub(super) fn now() -> Self {
        let cpu_seconds = kernel_file("/proc/self/stat").as_deref().and_then(cpu_seconds);
        let device_bytes = kernel_file("/proc/self/io").as_deref().and_then(device_bytes);
        Self { cpu_seconds, device_bytes }
    }

    /// Returns the processor seconds since `before`.
    pub(super) fn cpu_since(&self, before: &Self) -> Option<f64> {
        Some(self.cpu_seconds? - before.cpu_seconds?)
    }

    /// Returns the bytes written since `before`.
    pub(super) fn bytes_since(&self, before: &Self) -> Option<u64> {
        Some(self.device_bytes?.saturating_sub(before.device_bytes?))
    }
}

fn kernel_file(path: &str) -> Option<String> {
    let bytes = read_whole(Path::new(path), KERNEL_FILE_BYTES_MAX).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    // The second field is the name in parentheses and may contain blanks.
    let (_, behind) = stat.rsplit_once(')')?;
    let mut fields = behind.split_whitespace().skip(11);
    let (user, system): (f64, f64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) / TICKS_PER_SECOND)
}

fn device_bytes(io: &str) -> Option<u64> {
    io.lines().find_map(|line| line.strip_prefix("write_bytes: "))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "7 (a b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        assert_eq!(
            device_bytes("wchar: 1\nwrite_bytes: 4096\ncancelled_write_bytes: 9\n"),
            Some(4096)
        );
        for text in ["", "7 (a) S 1 2", "write_bytes: many"] {
            assert_eq!((cpu_seconds(text), device_bytes(text)), (None, None), "{text}");
        }
    }
}
