//! How much is free where channels keep their events: asked for beside everything else, since a disk may hang.

use super::settings::AlarmSettings;
use super::sight::Room;
use crate::disk::Disk;
use crate::disk::real::RealDisk;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use tokio::task::{JoinHandle, spawn_blocking};

/// Looks from one question to the next.
const EVERY: u64 = 5;

/// The last answers, and the questions that are open.
#[derive(Default)]
pub(super) struct Spaces {
    looks: u64,
    asked: BTreeMap<PathBuf, JoinHandle<io::Result<Room>>>,
    known: BTreeMap<PathBuf, Room>,
}

impl Spaces {
    /// What is known now. Never waits: a directory that does not answer is not among them.
    pub(super) async fn look(&mut self, settings: &AlarmSettings) -> BTreeMap<PathBuf, Room> {
        let paths: Vec<&PathBuf> =
            settings.scene.directories.iter().map(|place| &place.path).collect();
        self.asked.retain(|path, _| paths.contains(&path));
        self.known.retain(|path, _| paths.contains(&path));
        let is_due = self.looks.is_multiple_of(EVERY);
        self.looks += 1;
        for path in paths {
            match self.asked.get_mut(path) {
                Some(asked) if asked.is_finished() => {
                    match asked.await {
                        Ok(Ok(room)) => drop(self.known.insert(path.clone(), room)),
                        // One that is missing has an alarm of its own.
                        Ok(Err(_)) | Err(_) => drop(self.known.remove(path)),
                    }
                    self.asked.remove(path);
                }
                // It hangs: what it said before is old.
                Some(_) if is_due => drop(self.known.remove(path)),
                Some(_) => {}
                None if is_due => {
                    let asked = path.clone();
                    self.asked.insert(path.clone(), spawn_blocking(move || room(&asked)));
                }
                None => {}
            }
        }
        self.known.clone()
    }
}

fn room(path: &Path) -> io::Result<Room> {
    let directory = RealDisk::read_only().open_dir(path, false)?;
    Ok(Room { space: directory.space()?, device: directory.identity()?.0 })
}
