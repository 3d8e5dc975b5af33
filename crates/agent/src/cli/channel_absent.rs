//! A channel that is not there.

use millpond::internal::disk::Disk;
use millpond::internal::disk::real::RealDisk;
use millpond_config::channels::FileChannelSettings;
use std::io;

/// Returns whether none of the directories exists: no event was ever put, or a path is wrong.
pub(super) fn nothing_is_there(settings: &FileChannelSettings) -> bool {
    let missing = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    let mut directories = std::iter::once(&settings.checkpoint_dir).chain(&settings.data_dirs);
    let disk = RealDisk::read_only();
    directories.all(|path| disk.open_dir(path, false).is_err_and(|error| missing(&error)))
}

/// Returns the message for a channel that does not exist.
pub(super) fn no_channel(settings: &FileChannelSettings) -> String {
    let data: Vec<_> = settings.data_dirs.iter().map(|dir| dir.display().to_string()).collect();
    format!(
        "there is no channel in {}: neither that directory nor its data directories ({}) exist",
        settings.checkpoint_dir.display(),
        data.join(", ")
    )
}
