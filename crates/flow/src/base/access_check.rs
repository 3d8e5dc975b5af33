//! Checks whether this user can use a directory or a file, without changing anything.

use rustix::fs::Access;
use std::io;
use std::path::{Path, PathBuf};

/// Returns why a directory that must exist cannot be used; `None` if it can.
#[must_use]
pub fn unusable(directory: &Path, access: Access) -> Option<String> {
    let name = directory.display();
    if !directory.exists() {
        return Some(format!("{name} does not exist"));
    }
    if !directory.is_dir() {
        return Some(format!("{name} is not a directory"));
    }
    let denied = rustix::fs::access(directory, access | Access::EXEC_OK).is_err();
    denied.then(|| format!("{name} may not be used by this user: check its owner and mode"))
}

/// Returns why a file can be neither read nor written; `None` if it can, or does not exist.
#[must_use]
pub fn unwritable(file: &Path) -> Option<String> {
    let name = file.display();
    if file.is_dir() {
        return Some(format!("{name} is a directory"));
    }
    let denied = rustix::fs::access(file, Access::READ_OK | Access::WRITE_OK).is_err();
    (file.exists() && denied)
        .then(|| format!("{name} may not be used by this user: check its owner and mode"))
}

/// Returns why a directory can neither be used nor created; `None` if it can.
#[must_use]
pub fn unmakable(directory: &Path) -> Option<String> {
    let mut there: PathBuf = directory.to_owned();
    loop {
        match there.symlink_metadata() {
            // The target of a link is not created.
            Ok(found) if found.is_symlink() && !there.exists() => {
                return Some(format!("{} is a link to nothing", there.display()));
            }
            Ok(_) => break,
            Err(error)
                if [io::ErrorKind::NotFound, io::ErrorKind::NotADirectory]
                    .contains(&error.kind()) => {}
            Err(error) => return Some(format!("{} cannot be used: {error}", there.display())),
        }
        there = match there.parent() {
            Some(parent) if parent.as_os_str().is_empty() => PathBuf::from("."),
            Some(parent) => parent.to_owned(),
            None => return None,
        };
    }
    let why = unusable(&there, Access::WRITE_OK)?;
    Some(match there == directory {
        true => why,
        false => format!("{} cannot be made: {why}", directory.display()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_the_way_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), b"").unwrap();
        assert_eq!(unmakable(&at("a/b/c")), None);
        let why = unmakable(&at("file/a/b")).unwrap();
        assert!(
            why.contains("file/a/b cannot be made") && why.contains("not a directory"),
            "{why}"
        );
        std::os::unix::fs::symlink(at("nothing"), at("link")).unwrap();
        assert!(unmakable(&at("link/a")).unwrap().contains("is a link to nothing"));
        let why = unmakable(&at(&"x".repeat(300))).unwrap();
        assert!(why.contains("cannot be used: "), "{why}");
        assert!(unusable(&at("nowhere"), Access::READ_OK).unwrap().contains("does not exist"));
        assert_eq!(unusable(directory.path(), Access::WRITE_OK), None);
        assert_eq!(unwritable(&at("file")), None);
        assert_eq!(unwritable(&at("nowhere")), None);
        assert!(unwritable(directory.path()).unwrap().contains("is a directory"));
    }
}
