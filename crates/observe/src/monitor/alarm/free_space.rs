//! Free space of the channels' directories: measured in separate tasks, since a disk may hang.

use super::observation::FreeSpace;
use super::settings::AlarmSettings;
use millpond::internal::disk::Disk;
use millpond::internal::disk::real::RealDisk;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use tokio::task::{JoinHandle, spawn_blocking};

/// Evaluations between two measurements.
const EVERY: u64 = 5;

/// The last results, and the measurements under way.
#[derive(Default)]
pub(super) struct FreeSpaceProbe {
    looks: u64,
    asked: BTreeMap<PathBuf, JoinHandle<io::Result<FreeSpace>>>,
    known: BTreeMap<PathBuf, FreeSpace>,
}

impl FreeSpaceProbe {
    /// Returns what is known now. Never waits: a directory without a result is left out.
    pub(super) async fn look(&mut self, settings: &AlarmSettings) -> BTreeMap<PathBuf, FreeSpace> {
        let paths: Vec<&PathBuf> =
            settings.topology.directories.iter().map(|place| &place.path).collect();
        self.asked.retain(|path, _| paths.contains(&path));
        self.known.retain(|path, _| paths.contains(&path));
        let is_due = self.looks.is_multiple_of(EVERY);
        self.looks += 1;
        for path in paths {
            match self.asked.get_mut(path) {
                Some(asked) if asked.is_finished() => {
                    match asked.await {
                        Ok(Ok(room)) => drop(self.known.insert(path.clone(), room)),
                        // A missing directory has an alarm of its own.
                        Ok(Err(_)) | Err(_) => drop(self.known.remove(path)),
                    }
                    self.asked.remove(path);
                }
                // It hangs: the earlier result is too old.
                Some(_) if is_due => drop(self.known.remove(path)),
                Some(_) => {}
                None if is_due => {
                    let asked = path.clone();
                    self.asked.insert(path.clone(), spawn_blocking(move || free_space(&asked)));
                }
                None => {}
            }
        }
        self.known.clone()
    }
}

fn free_space(path: &Path) -> io::Result<FreeSpace> {
    let directory = RealDisk::read_only().open_dir(path, false)?;
    Ok(FreeSpace { space: directory.space()?, device: directory.identity()?.0 })
}
