//! The directory of the files.

use millpond_flow::base::files;
use millpond_flow::sink::Failure;
use std::io;
use std::path::Path;

/// Creates the directory if it is missing: unlike in Flume, a new agent then runs without manual setup.
pub(super) fn ready_directory(directory: &Path) -> Result<(), Failure> {
    let shown = directory.display();
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Failure::new(format!("sink.directory {shown} is not a directory"))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            files::create_directory(directory).map_err(|error| {
                Failure::caused(format!("sink.directory {shown} cannot be created"), error)
            })?;
            tracing::info!("sink.directory {shown} was missing: created");
            Ok(())
        }
        Err(error) => Err(Failure::caused(format!("sink.directory {shown} cannot be used"), error)),
    }
}
