//! What the process itself takes.

use crate::base::read_whole::read_whole;
use std::path::Path;

/// Bytes of the file that says so.
const STATUS_BYTES_MAX: u64 = 64 * 1024;

/// Memory in use now; `None` where the system does not say.
pub(super) fn resident_bytes() -> Option<f64> {
    let status = read_whole(Path::new("/proc/self/status"), STATUS_BYTES_MAX).ok()?;
    let status = String::from_utf8(status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u32 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(f64::from(kibibytes) * 1024.0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_has_more_than_a_megabyte() {
        match super::resident_bytes() {
            Some(bytes) => assert!(bytes > 1e6, "{bytes}"),
            None => println!("left out a_process_has_more_than_a_megabyte: no /proc"),
        }
    }
}
