//! Flume's file channel: our driver, compiled against the user's Flume and run in a virtual
//! machine.

use crate::draw::{body, hash, mix};
use crate::worker::BODY_MOST;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

const DRIVER: &str = include_str!("../java/Driver.java");
const LOGGING: &str = include_str!("../java/log4j2.xml");
const VERSION: &str = "flume-file-channel-";

/// Where Flume's libraries and our driver are.
#[derive(Debug)]
pub(crate) struct Flume {
    class_path: OsString,
    logging: PathBuf,
    /// Of the file channel's jar.
    pub(crate) version: String,
}

impl Flume {
    /// `libraries`: directories with Flume's jars, parted by `:`.
    ///
    /// # Errors
    /// In words: why it does not run.
    pub(crate) fn new(libraries: Option<&OsStr>, root: &Path) -> Result<Self, String> {
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
        let (source, logging) = (root.join("Driver.java"), root.join("log4j2.xml"));
        std::fs::write(&source, DRIVER)
            .and_then(|()| std::fs::write(&logging, LOGGING))
            .map_err(|error| format!("the driver could not be written: {error}"))?;
        let mut compile = Command::new("javac");
        compile.arg("-nowarn").arg("-cp").arg(&class_path).arg("-d").arg(root).arg(&source);
        words_of(compile)?;
        let flume = Self { class_path, logging, version };
        flume.draws_as_we_do()?;
        Ok(flume)
    }

    /// The driver draws its own bodies: if they were others, everything would look altered.
    fn draws_as_we_do(&self) -> Result<(), String> {
        let mut figures = self.command();
        figures.arg("figures");
        let (theirs, body) = (words_of(figures)?, body(42, 5, BODY_MOST));
        let ours = format!("{:x} {} {:x}", mix(1), body.len(), hash(&body));
        match theirs == ours {
            true => Ok(()),
            false => Err(format!("the driver draws {theirs} and not {ours}")),
        }
    }

    /// A virtual machine that starts quickly: most of a short life is its start.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new("java");
        command.args(["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]);
        command.arg(format!("-Dlog4j2.configurationFile={}", self.logging.display()));
        command.arg("-cp").arg(&self.class_path).arg("Driver");
        command
    }
}

/// What it says on stdout, if it ends well.
fn words_of(mut command: Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        }
        Ok(output) => Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{name} could not be started: {error}")),
    }
}
