//! Warnings about storage that may not be durable, before anything is lost.

use millpond_flow::base::small_file::read_whole;
use std::path::{Path, PathBuf};

/// Bytes of the list of mounts that are read; a machine with more mounts has no warning.
const MOUNTS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Returns what looks wrong with the storage of `data_dirs`, as text.
#[must_use]
pub fn suspicions(data_dirs: &[PathBuf]) -> Vec<String> {
    let mounts =
        read_whole(Path::new("/proc/self/mountinfo"), MOUNTS_BYTES_MAX).unwrap_or_default();
    let mounts = String::from_utf8_lossy(&mounts);
    let mut found = Vec::new();
    for path in data_dirs {
        let Ok(path) = path.canonicalize() else { continue };
        found.extend(mount_of(&mounts, &path).and_then(|mount| mount.suspicion(&path)));
    }
    if std::env::var("LD_PRELOAD").is_ok_and(|libraries| libraries.contains("eatmydata")) {
        found.push(
            "eatmydata is loaded into this process; it makes programs' syncs do nothing".to_owned(),
        );
    }
    found
}

/// A line of `/proc/self/mountinfo`.
#[derive(Debug, PartialEq, Eq)]
struct MountEntry<'a> {
    at: String,
    kind: &'a str,
    source: &'a str,
    options: &'a str,
}

impl<'a> MountEntry<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (place, storage) = line.split_once(" - ")?;
        let at = place.split(' ').nth(4)?.replace("\\040", " ");
        let mut storage = storage.split(' ');
        let (kind, source) = (storage.next()?, storage.next()?);
        Some(Self { at, kind, source, options: storage.next().unwrap_or_default() })
    }

    fn suspicion(&self, path: &Path) -> Option<String> {
        let (path, kind) = (path.display(), self.kind);
        if matches!(kind, "tmpfs" | "ramfs" | "rootfs") {
            return Some(format!("{path} is on {kind}, which is memory: a power cut takes it all"));
        }
        let lax = ["nobarrier", "barrier=0", "fsync_mode=nobarrier", "nobh"];
        if let Some(option) = self.options.split(',').find(|option| lax.contains(option)) {
            return Some(format!(
                "{path} is mounted with {option}: the file system does not have the disk empty its \
                 cache, so what is said to be safe may be lost"
            ));
        }
        self.source.starts_with("/dev/loop").then(|| {
            format!(
                "{path} is on {}, a file that stands for a disk: it is as safe as the file system \
                 below it",
                self.source
            )
        })
    }
}

/// Returns the mount that holds `path`: the longest prefix, the last of those.
fn mount_of<'a>(mounts: &'a str, path: &Path) -> Option<MountEntry<'a>> {
    let all =
        mounts.lines().filter_map(MountEntry::read).filter(|mount| path.starts_with(&mount.at));
    all.max_by_key(|mount| mount.at.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
21 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw,errors=remount-ro
30 21 0:25 / /dev/shm rw - tmpfs tmpfs rw,size=1024k
40 21 8:17 / /mnt/fast rw - ext4 /dev/sdb1 rw,nobarrier
41 21 7:0 / /mnt/a\\040b rw - ext4 /dev/loop0 rw
";

    fn check(path: &str, word: Option<&str>) {
        let path = Path::new(path);
        let found = mount_of(MOUNTS, path).expect("a mount").suspicion(path);
        match word {
            None => assert_eq!(found, None),
            Some(word) => assert!(found.as_deref().is_some_and(|f| f.contains(word)), "{found:?}"),
        }
    }

    #[test]
    fn storage_that_forgets_is_named() {
        check("/home/x", None);
        check("/dev/shm/x", Some("memory"));
        check("/mnt/fast/d", Some("nobarrier"));
        check("/mnt/fastest", None);
        check("/mnt/a b/d", Some("/dev/loop0"));
    }
}
