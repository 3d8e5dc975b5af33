//! Flume's file channel: a driver in Java, compiled against the user's Flume and run in a virtual
//! machine.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

const LOGGING: &str = include_str!("../java/log4j2.xml");
const VERSION: &str = "flume-file-channel-";

/// The places of Flume's libraries and a driver.
#[derive(Debug)]
pub struct Flume {
    class_path: OsString,
    logging: PathBuf,
    class: String,
    /// Version of the file channel's jar.
    pub version: String,
}

impl Flume {
    /// Compiles the driver `class` from its `source` into `root`. `libraries`: directories with Flume's jars, separated
    /// by `:`.
    ///
    /// # Errors
    /// Why it does not run, as text.
    pub fn new(
        libraries: Option<&OsStr>,
        root: &Path,
        class: &str,
        source: &str,
    ) -> Result<Self, String> {
        let libraries = libraries.ok_or("no Flume was given (--flume-lib)")?;
        let mut class_path = root.as_os_str().to_owned();
        let mut version = None;
        for dir in std::env::split_paths(libraries) {
            class_path.push(":");
            class_path.push(dir.join("*"));
            let names = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
            for name in names.flatten().map(|entry| entry.file_name()) {
                let name = name.to_string_lossy().into_owned();
                let rest = name.strip_prefix(VERSION).and_then(|rest| rest.strip_suffix(".jar"));
                version = version.or(rest.map(str::to_owned));
            }
        }
        let version = version.ok_or("there is no flume-file-channel jar where --flume-lib says")?;
        let (file, logging) = (root.join(format!("{class}.java")), root.join("log4j2.xml"));
        std::fs::write(&file, source)
            .and_then(|()| std::fs::write(&logging, LOGGING))
            .map_err(|error| format!("the driver could not be written: {error}"))?;
        let mut compile = Command::new("javac");
        compile.arg("-nowarn").arg("-cp").arg(&class_path).arg("-d").arg(root).arg(&file);
        words_of(compile)?;
        Ok(Self { class_path, logging, class: class.to_owned(), version })
    }

    /// Returns the command of the driver in a virtual machine with these options.
    #[must_use]
    pub fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new("java");
        command.args(options);
        command.arg(format!("-Dlog4j2.configurationFile={}", self.logging.display()));
        command.arg("-cp").arg(&self.class_path).arg(&self.class);
        command
    }
}

/// Returns its stdout, if it ends successfully.
///
/// # Errors
/// Why it could not be started, or its stderr.
pub fn words_of(mut command: Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{name} could not be started: {error}")),
    }
}
