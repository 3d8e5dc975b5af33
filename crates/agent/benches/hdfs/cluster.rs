//! The HDFS that both agents write to, seen through the client of the sink.

use super::lines::note;
use flate2::read::MultiGzDecoder;
use millpond_hdfs::file_system::native::{Native, NativeSettings};
use millpond_hdfs::file_system::{FileStatus, FileSystem};
use std::io::{ErrorKind, Read};
use std::path::PathBuf;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Bytes of one read.
const READ_BYTES: usize = 8 << 20;

/// A client of the cluster.
pub(crate) struct Cluster {
    runtime: Runtime,
    files: Native,
}

/// Files of a directory.
pub(crate) struct Listing {
    /// Those that are complete.
    pub(crate) closed: Vec<FileStatus>,
    /// Those with the name of an open file.
    pub(crate) open: Vec<FileStatus>,
}

/// Returns the directory of Hadoop's settings.
pub(crate) fn settings_directory() -> String {
    std::env::var("MILLPOND_HDFS").expect("MILLPOND_HDFS: run it with .ci/hdfs")
}

impl Cluster {
    pub(crate) fn open() -> Self {
        let directory = PathBuf::from(settings_directory());
        let files = Native::open(NativeSettings {
            url: None,
            directory: Some(directory),
            call_timeout: Duration::from_secs(30),
            principal: None,
            keytab: None,
            proxy_user: None,
        });
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, files: files.unwrap() }
    }

    /// Returns the files of `path` and of the directories in it.
    pub(crate) fn list(&self, path: &str) -> Result<Listing, String> {
        let mut listing = Listing { closed: Vec::new(), open: Vec::new() };
        let mut paths = vec![path.to_owned()];
        while let Some(path) = paths.pop() {
            let listed = self.runtime.block_on(self.files.list(&path));
            for file in listed.map_err(|error| error.to_string())? {
                if file.is_directory {
                    paths.push(file.path);
                } else if file.path.ends_with(".tmp") {
                    listing.open.push(file);
                } else {
                    listing.closed.push(file);
                }
            }
        }
        Ok(listing)
    }

    /// Reads `files`, marks the numbers of their lines in `seen` and returns the number of lines.
    pub(crate) fn read(&self, files: &[FileStatus], seen: &mut [bool]) -> Result<u64, String> {
        let mut lines = 0;
        for file in files {
            let mut data = Vec::new();
            while (data.len() as u64) < file.length {
                let next = self.files.read(&file.path, data.len() as u64, READ_BYTES);
                let next = self.runtime.block_on(next).map_err(|error| error.to_string())?;
                data.extend_from_slice(&next);
            }
            if file.path.ends_with(".gz") {
                let mut plain = Vec::new();
                // A stop may cut the last file; what is missing is found by its number.
                match MultiGzDecoder::new(&data[..]).read_to_end(&mut plain) {
                    Err(error) if error.kind() != ErrorKind::UnexpectedEof => {
                        return Err(format!("{}: {error}", file.path));
                    }
                    _ => {}
                }
                data = plain;
            }
            lines += note(&data, seen)?;
        }
        Ok(lines)
    }

    /// Deletes `files`.
    pub(crate) fn delete(&self, files: &[FileStatus]) {
        for file in files {
            let _ = self.runtime.block_on(self.files.delete(&file.path));
        }
    }
}
