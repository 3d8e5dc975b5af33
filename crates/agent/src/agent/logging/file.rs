//! The agent's own log file, for sites without a journal. If the disk is full or hangs, log lines
//! are lost and counted, and nothing else happens.
//!
//! | option | is |
//! |---|---|
//! | `-Dflume.root.logger=LEVEL,LOGFILE` | enables it; with `console` too, lines go to both |
//! | `-Dflume.log.dir` | its directory, `./logs` |
//! | `-Dflume.log.file` | its name, `flume.log` |
//! | `-Dmillpond.log.fileBytesMax` | bytes after which another is begun, 100 MiB |
//! | `-Dmillpond.log.filesMax` | how many earlier ones are kept, 10 |

use super::queue::LogDestination;
use super::style::LineStyle;
use millpond_flow::base::rolling_file::{RollingFile, RollingLimits};
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use tracing::Level;

/// Defaults of Flume's configuration of log4j.
const DIRECTORY: &str = "./logs";
const NAME: &str = "flume.log";
const BOUNDS: RollingLimits = RollingLimits { bytes_max: 100 << 20, earlier_max: 10 };
const BYTES: std::ops::RangeInclusive<u64> = 65_536..=(1 << 40);
const FILES: std::ops::RangeInclusive<u64> = 0..=1000;

/// Returns the path of the file, and complaints about invalid settings.
pub(super) fn settings(
    properties: &BTreeMap<String, String>,
) -> (PathBuf, RollingLimits, Vec<String>) {
    let text = |key: &str, default: &str| {
        properties
            .get(key)
            .filter(|text| !text.is_empty())
            .map_or(default, String::as_str)
            .to_owned()
    };
    let mut complaints = Vec::new();
    let mut number = |key: &str, range: std::ops::RangeInclusive<u64>, default: u64| {
        let Some(text) = properties.get(key) else { return default };
        text.trim().parse().ok().filter(|n| range.contains(n)).unwrap_or_else(|| {
            let (least, most) = range.into_inner();
            complaints.push(format!(
                "{key}={text}: not a number from {least} to {most}; {default} is used"
            ));
            default
        })
    };
    let bytes_max = number("millpond.log.fileBytesMax", BYTES, BOUNDS.bytes_max);
    let earlier = number("millpond.log.filesMax", FILES, BOUNDS.earlier_max.into());
    let earlier_max = u32::try_from(earlier).unwrap_or(BOUNDS.earlier_max);
    let path = PathBuf::from(text("flume.log.dir", DIRECTORY)).join(text("flume.log.file", NAME));
    (path, RollingLimits { bytes_max, earlier_max }, complaints)
}

/// The file that the log is written to.
pub(super) struct LogFile {
    file: RollingFile,
    style: LineStyle,
}

impl LogFile {
    /// Opens the file `path`, or creates it.
    pub(super) fn open(path: PathBuf, bounds: RollingLimits, style: LineStyle) -> io::Result<Self> {
        Ok(Self { file: RollingFile::open(path, bounds)?, style })
    }
}

impl LogDestination for LogFile {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.file.write(lines)
    }

    /// To stderr, once each time that it begins: the file itself cannot have it.
    fn fails(&mut self, error: &io::Error) {
        let path = self.file.path().display();
        let words = format!(
            "the log cannot be written to {path}: {error}; its lines are lost until it can"
        );
        super::outputs::on_stderr(&self.style.line(
            Level::ERROR,
            super::log_target::LOG,
            &words,
            None,
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::super::queue::LineQueue;
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (PathBuf, RollingLimits, Vec<String>) {
        let pairs = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
        settings(&pairs.collect())
    }

    #[test]
    fn the_file_is_where_flume_has_it_and_wrong_bounds_are_said() {
        assert_eq!(read(&[]), (PathBuf::from("./logs/flume.log"), BOUNDS, Vec::new()));
        let (path, bounds, complaints) = read(&[
            ("flume.log.dir", "/var/log/flume"),
            ("flume.log.file", "a1.log"),
            ("millpond.log.fileBytesMax", "1000000"),
            ("millpond.log.filesMax", "0"),
        ]);
        assert_eq!(path, PathBuf::from("/var/log/flume/a1.log"));
        assert_eq!((bounds.bytes_max, bounds.earlier_max, complaints.len()), (1_000_000, 0, 0));
        let wrong = [("millpond.log.fileBytesMax", "1"), ("millpond.log.filesMax", "many")];
        let (_, bounds, complaints) = read(&wrong);
        assert_eq!((bounds, complaints.len()), (BOUNDS, 2), "{complaints:?}");
    }

    #[test]
    fn lines_that_cannot_be_written_are_counted_and_later_ones_come() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("logs/a.log");
        let file = LogFile::open(path.clone(), BOUNDS, LineStyle::Text).expect("a file");
        let log = LineQueue::start("log-test", file, LineStyle::Text, || {}).expect("a thread");
        let say = |line: &str| log.add(format!("{line}\n").into_bytes());
        say("one");
        log.flush();
        // Its directory is a file now, so nothing can be created in it.
        std::fs::remove_dir_all(directory.path().join("logs")).expect("removed");
        std::fs::write(directory.path().join("logs"), "").expect("written");
        say("two");
        say("three");
        log.flush();
        std::fs::remove_file(directory.path().join("logs")).expect("removed");
        std::fs::create_dir(directory.path().join("logs")).expect("made");
        say("four");
        log.flush();
        let text = std::fs::read_to_string(&path).expect("read");
        let (lost, rest) = text.split_once('\n').expect("two lines");
        assert!(
            lost.ends_with("2 lines of this log could not be written before this one lost=2"),
            "{lost}"
        );
        assert_eq!(rest, "four\n");
    }
}
