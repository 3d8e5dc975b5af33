//! The directories of a run: empty at its beginning, and gone or empty again at its end.

use crate::machine;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Emptied when dropped.
#[derive(Debug)]
pub(crate) struct ScratchDirs {
    /// Each with whether it was made here.
    roots: Vec<(PathBuf, bool)>,
}

impl ScratchDirs {
    /// Refuses directories that are not empty, or have fewer than `bytes` free.
    pub(crate) fn make(dirs: &[PathBuf], bytes: u64) -> Result<Self, String> {
        let mut scratch_dirs = Self { roots: Vec::new() };
        for dir in dirs {
            let at = |error: io::Error| format!("{}: {error}", dir.display());
            let made = match fs::create_dir(dir) {
                Ok(()) => true,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
                Err(error) => return Err(at(error)),
            };
            if !made && fs::read_dir(dir).map_err(at)?.next().is_some() {
                return Err(format!(
                    "{} is not empty; give an empty or a new directory",
                    dir.display()
                ));
            }
            let path = dir.canonicalize().map_err(at)?;
            if scratch_dirs.roots.iter().any(|(other, _)| *other == path) {
                return Err(format!("{} is given twice", dir.display()));
            }
            scratch_dirs.roots.push((path, made));
            let free = machine::free_bytes(dir).map_err(at)?;
            if free < bytes {
                return Err(format!(
                    "{} has {free} bytes free and this may take {bytes}; free some, or give fewer --bytes",
                    dir.display()
                ));
            }
        }
        Ok(scratch_dirs)
    }

    pub(crate) fn first(&self) -> &Path {
        &self.roots[0].0
    }

    /// Empty directories for the stripes of one store.
    pub(crate) fn fresh(&self, count: usize) -> io::Result<Vec<PathBuf>> {
        self.clear()?;
        let root = |n: usize| &self.roots[n % self.roots.len()].0;
        let dirs: Vec<PathBuf> =
            (0..count).map(|n| root(n).join("slice").join(n.to_string())).collect();
        dirs.iter().try_for_each(fs::create_dir_all)?;
        Ok(dirs)
    }

    /// Removes what the last store has left.
    pub(crate) fn clear(&self) -> io::Result<()> {
        self.roots.iter().try_for_each(|(root, _)| absent(fs::remove_dir_all(root.join("slice"))))
    }
}

fn absent(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

impl Drop for ScratchDirs {
    fn drop(&mut self) {
        for (root, made) in &self.roots {
            // They were empty, so all that lies there is this run's.
            let removed = match fs::read_dir(root) {
                Ok(entries) => entries.flatten().try_for_each(|entry| {
                    let path = entry.path();
                    if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
                }),
                Err(error) => Err(error),
            };
            let removed = removed.and_then(|()| if *made { fs::remove_dir(root) } else { Ok(()) });
            if let Err(error) = removed {
                eprintln!("peers: {} could not be emptied: {error}", root.display());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_empty_directory_with_room_is_used_and_it_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let (full, new) = (dir.path().join("full"), dir.path().join("new"));
        fs::create_dir(&full).unwrap();
        fs::write(full.join("mine"), "x").unwrap();
        let refused = ScratchDirs::make(&[new.clone(), full.clone()], 0).unwrap_err();
        assert!(refused.contains("not empty") && full.join("mine").exists(), "{refused}");
        assert!(!new.exists(), "what was made before the refusal goes again");
        assert!(
            ScratchDirs::make(std::slice::from_ref(&new), u64::MAX)
                .unwrap_err()
                .contains("fewer --bytes")
        );
        assert!(ScratchDirs::make(&[dir.path().join("a/b")], 0).is_err());
        assert!(ScratchDirs::make(&[new.clone(), new.clone()], 0).unwrap_err().contains("twice"));

        fs::remove_file(full.join("mine")).unwrap();
        let scratch_dirs = ScratchDirs::make(&[new.clone(), full.clone()], 0).unwrap();
        let dirs = scratch_dirs.fresh(3).unwrap();
        assert_eq!(
            dirs.iter().filter(|dir| dir.starts_with(full.canonicalize().unwrap())).count(),
            1
        );
        fs::write(dirs[2].join("segment"), "x").unwrap();
        assert!(!scratch_dirs.fresh(1).unwrap()[0].join("segment").exists());
        drop(scratch_dirs);
        assert!(!new.exists() && fs::read_dir(&full).unwrap().next().is_none());
    }
}
