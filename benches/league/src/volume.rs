//! A small file system on a loop device, which can be filled.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Bytes of the file system.
const SIZE: u64 = 96 << 20;
/// Bytes kept occupied until there is to be room again.
const BALLAST: u64 = 24 << 20;

/// A mount that is removed when dropped.
#[derive(Debug)]
pub(crate) struct Volume {
    image: PathBuf,
    at: PathBuf,
}

impl Volume {
    /// Mounts a new file system.
    ///
    /// # Errors
    /// What is missing, as text; most often the right to mount.
    pub(crate) fn mount(root: &Path) -> Result<Self, String> {
        let volume = Self { image: root.join("volume.img"), at: root.join("volume") };
        let made = File::create(&volume.image)
            .and_then(|image| image.set_len(SIZE))
            .and_then(|()| std::fs::create_dir_all(&volume.at));
        made.map_err(|error| format!("no image of a file system: {error}"))?;
        run(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(&volume.image))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&volume.image).arg(&volume.at))?;
        volume.ballast().map_err(|error| format!("no ballast: {error}"))?;
        std::fs::create_dir(volume.store()).map_err(|error| format!("no directory: {error}"))?;
        Ok(volume)
    }

    fn ballast(&self) -> io::Result<()> {
        let mut file = File::create(self.at.join("ballast"))?;
        let piece = vec![0; 1 << 20];
        for _ in 0..BALLAST / piece.len() as u64 {
            file.write_all(&piece)?;
        }
        file.sync_all()
    }

    /// Returns the directory for a store.
    pub(crate) fn store(&self) -> PathBuf {
        self.at.join("store")
    }

    /// Frees space. Returns whether that was possible.
    pub(crate) fn give_room(&self) -> bool {
        std::fs::remove_file(self.at.join("ballast")).is_ok()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.at)) {
            eprintln!("league: {} stays mounted: {error}", self.at.display());
            return;
        }
        let _ = std::fs::remove_file(&self.image);
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{name} could not be started: {error}")),
    }
}
