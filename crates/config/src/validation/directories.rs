//! Checks that each directory belongs to one channel.

use crate::agent::{ChannelConfig, ChannelKind};
use crate::channels::FileChannelSettings;
use crate::findings::ConfigFindings;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// Finds directories that two channels name. In Flume the second channel never starts. Here the one that opens
/// first would take over the directory with its waiting events, so nothing runs until that is corrected.
pub(super) fn each_for_one_channel(channels: &[ChannelConfig], findings: &mut ConfigFindings) {
    let mut owners: BTreeMap<PathBuf, &str> = BTreeMap::new();
    for channel in channels {
        let component = &channel.component;
        for (key, directory) in directories(&channel.kind) {
            let Some(owner) = owners.insert(plain(directory), &component.name) else { continue };
            let set = component.settings.entries.get(key);
            let place = set.map_or(&component.place, |setting| &setting.place);
            let message = format!(
                "{} is also a directory of the channel {owner}; give each channel directories of its own",
                directory.display()
            );
            findings.stop(place, &format!("{}.{key}", component.settings.prefix), message);
        }
    }
}

/// Removes `.` components. Other spellings of one directory are found when it is locked.
fn plain(directory: &Path) -> PathBuf {
    directory.components().filter(|part| *part != Component::CurDir).collect()
}

fn directories(kind: &ChannelKind) -> Vec<(&'static str, &Path)> {
    let Some(FileChannelSettings { checkpoint_dir, data_dirs, .. }) = kind.files() else {
        return Vec::new();
    };
    let data = data_dirs.iter().map(|dir| ("dataDirs", dir.as_path()));
    std::iter::once(("checkpointDir", checkpoint_dir.as_path())).chain(data).collect()
}
