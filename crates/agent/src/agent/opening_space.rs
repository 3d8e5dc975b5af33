//! Checks that the file systems of a file channel have room for the files that an opening creates.

use millpond::internal::disk::Disk;
use millpond::internal::disk::real::RealDisk;
use millpond::internal::layout::{CHECKPOINT_NAME, MEMBER_NAME};
use millpond::internal::record::slot::SlotKind;
use millpond_config::channels::FileChannelSettings;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The file system of a directory.
#[derive(Clone, Copy)]
struct FileSystem {
    device: u64,
    available_bytes: u64,
}

/// Returns why the files that an opening creates have no room: how much they need, and how much
/// there is. Existing files need none.
pub(super) fn no_room(file: &FileChannelSettings) -> Option<String> {
    let data = file.data_dirs.iter().map(PathBuf::as_path);
    lacking(std::iter::once(file.checkpoint_dir.as_path()).chain(data), file_system)
}

fn lacking<'a>(
    directories: impl Iterator<Item = &'a Path>,
    look: impl Fn(&Path) -> Option<FileSystem>,
) -> Option<String> {
    let mut needs: BTreeMap<u64, (&Path, u64, u64)> = BTreeMap::new();
    for directory in directories {
        let Some(found) = look(directory) else { continue };
        let need = needs.entry(found.device).or_insert((directory, found.available_bytes, 0));
        need.2 += needed_bytes(directory);
    }
    let (directory, available, needed) =
        needs.into_values().find(|(_, available, needed)| available < needed)?;
    Some(format!(
        "{} has {available} bytes free, and the checkpoint and member files that an opening makes there need {needed}",
        directory.display()
    ))
}

/// Returns the bytes that the checkpoint and the member file of a directory still need.
fn needed_bytes(directory: &Path) -> u64 {
    let lacks = |name: &str, kind: SlotKind| {
        let there = directory.join(name).metadata().map_or(0, |found| found.len());
        (kind.file_bytes() as u64).saturating_sub(there)
    };
    lacks(CHECKPOINT_NAME, SlotKind::Checkpoint) + lacks(MEMBER_NAME, SlotKind::Member)
}

/// Returns the file system of a directory, or of the one above it in which it would be created.
fn file_system(directory: &Path) -> Option<FileSystem> {
    let there = directory.ancestors().find(|path| path.is_dir());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let opened = RealDisk::read_only().open_dir(there, false).ok()?;
    let (device, _) = opened.identity().ok()?;
    Some(FileSystem { device, available_bytes: opened.space().ok()?.available_bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lacks_and_what_is_free_is_said_of_each_file_system() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let all = ["cp", "one", "two"].map(at);
        let each = (SlotKind::Checkpoint.file_bytes() + SlotKind::Member.file_bytes()) as u64;
        let tried = |available_bytes: u64, devices: u64| {
            let look = |path: &Path| {
                let device = u64::from(path.ends_with("two")) * (devices - 1);
                Some(FileSystem { device, available_bytes })
            };
            lacking(all.iter().map(PathBuf::as_path), look)
        };
        assert_eq!(tried(3 * each, 1), None);
        let why = tried(3 * each - 1, 1).expect("too small for three");
        let (free, needed) = ((3 * each - 1).to_string(), (3 * each).to_string());
        assert!(why.contains(&free) && why.contains(&needed) && why.contains("cp has"), "{why}");
        assert_eq!(tried(2 * each, 2), None);
        assert!(tried(2 * each - 1, 2).is_some());
        // Existing files need no room.
        std::fs::create_dir(at("one")).unwrap();
        std::fs::write(at("one/checkpoint"), vec![0; SlotKind::Checkpoint.file_bytes()]).unwrap();
        assert_eq!(tried(3 * each - 1, 1), None);
        assert!(file_system(&at("no/such/directory")).is_some());
    }
}
