//! The path of the admin socket.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The option that names it; without `millpond.` also a key of `millpond.properties`.
pub const KEY: &str = "millpond.admin.socket";

/// Longest path that fits into a socket address, bytes, without the terminating zero.
const PATH_BYTES_MAX: usize = 107;

/// Why a path cannot be used for the socket.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SocketPathError {
    /// The option has no value.
    #[error("-D{KEY}: names no path")]
    Empty,
    /// The path is too long for the operating system.
    #[error("-D{KEY}={}: has {bytes} bytes; a socket's path has {PATH_BYTES_MAX} at most", path.display())]
    Long {
        /// The path.
        path: PathBuf,
        /// Its length, bytes.
        bytes: usize,
    },
    /// The agent's name cannot be a file name.
    #[error("-D{KEY}={}: is a directory, and {agent:?} cannot be a file name in it; name the file", path.display())]
    Nameless {
        /// The directory.
        path: PathBuf,
        /// The agent.
        agent: String,
    },
}

/// Returns the path of the socket of `agent` if `properties` ask for one: the path as given, or
/// `AGENT.sock` in it if it is a directory or ends in a slash.
///
/// # Errors
/// The path cannot be used for a socket.
pub fn place(
    properties: &BTreeMap<String, String>,
    agent: &str,
) -> Result<Option<PathBuf>, SocketPathError> {
    properties.get(KEY).map(|value| named(value.trim(), agent)).transpose()
}

fn named(value: &str, agent: &str) -> Result<PathBuf, SocketPathError> {
    if value.is_empty() {
        return Err(SocketPathError::Empty);
    }
    let mut path = PathBuf::from(value);
    if value.ends_with('/') || Path::new(value).is_dir() {
        if agent.is_empty() || agent.contains(['/', '\0']) {
            return Err(SocketPathError::Nameless { path, agent: agent.to_owned() });
        }
        path.push(format!("{agent}.sock"));
    }
    let bytes = path.as_os_str().len();
    if bytes > PATH_BYTES_MAX {
        return Err(SocketPathError::Long { path, bytes });
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_taken_as_it_is_and_a_directory_gets_the_agents_name() {
        let here = |value: &str, agent: &str| {
            place(&BTreeMap::from([(KEY.to_owned(), value.to_owned())]), agent)
        };
        assert_eq!(place(&BTreeMap::new(), "a"), Ok(None));
        assert_eq!(here(" /run/x.sock ", "a"), Ok(Some("/run/x.sock".into())));
        assert_eq!(here("/nonexistent/", "a"), Ok(Some("/nonexistent/a.sock".into())));
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().to_str().expect("text");
        assert_eq!(here(path, "a"), Ok(Some(directory.path().join("a.sock"))));
        assert_eq!(here("", "a"), Err(SocketPathError::Empty));
        assert!(matches!(here("/tmp/", "../a"), Err(SocketPathError::Nameless { .. })));
        assert!(matches!(
            here(&"x".repeat(108), "a"),
            Err(SocketPathError::Long { bytes: 108, .. })
        ));
    }
}
