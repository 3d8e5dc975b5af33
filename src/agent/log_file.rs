//! A log file of the agent's own, for sites without a journal: what is logged is handed to a thread, which
//! writes it. A disk that is full or hangs costs lines of the log, which are counted, and nothing else.
//!
//! | option | is |
//! |---|---|
//! | `-Dflume.root.logger=LEVEL,LOGFILE` | asks for it; with `console` too, words go to both |
//! | `-Dflume.log.dir` | its directory, `./logs` |
//! | `-Dflume.log.file` | its name, `flume.log` |
//! | `-Dmillpond.log.fileBytesMax` | bytes after which another is begun, 100 MiB |
//! | `-Dmillpond.log.filesMax` | how many earlier ones are kept, 10 |
//!
//! Limits: [`LINES_MAX`] lines wait for the thread.

use crate::base::refused_lines;
use crate::base::rolling::{Bounds, RollingFile};
use crate::base::threads;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use tracing_subscriber::fmt::MakeWriter;

/// Lines that wait to be written.
const LINES_MAX: usize = 4096;
/// How long the last lines may take when the agent ends.
const LAST_LINES: Duration = Duration::from_secs(1);
/// What Flume's configuration of log4j has.
const DIRECTORY: &str = "./logs";
const NAME: &str = "flume.log";
const BOUNDS: Bounds = Bounds { bytes_max: 100 << 20, earlier_max: 10 };
const BYTES: std::ops::RangeInclusive<u64> = 65_536..=(1 << 40);
const FILES: std::ops::RangeInclusive<u64> = 0..=1000;

enum Message {
    Line(Vec<u8>),
    /// Answered once all before it is written.
    Flush(SyncSender<()>),
}

/// The way to the thread that writes.
#[derive(Clone, Debug)]
pub(super) struct LogFile {
    lines: SyncSender<Message>,
    /// Lines that did not get through since the thread last looked.
    dropped: Arc<AtomicU64>,
    /// The file cannot be written.
    failing: Arc<AtomicBool>,
}

/// Where the file is to be, and complaints about settings that are none.
pub(super) fn settings(properties: &BTreeMap<String, String>) -> (PathBuf, Bounds, Vec<String>) {
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
    (path, Bounds { bytes_max, earlier_max }, complaints)
}

impl LogFile {
    /// Begins to write to the file `path`.
    pub(super) fn start(path: PathBuf, bounds: Bounds) -> io::Result<Self> {
        let file = RollingFile::open(path, bounds)?;
        let (lines, waiting) = sync_channel(LINES_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        // Ends with the process; [`Self::flush`] waits for what matters.
        let failing = Arc::new(AtomicBool::new(false));
        let fails = Arc::clone(&failing);
        drop(threads::spawn("millpond-log", move || write(file, &waiting, &counted, &fails))?);
        Ok(Self { lines, dropped, failing })
    }

    /// Adds a line.
    pub(super) fn say(&self, line: &str) {
        self.hand_over(format!("{line}\n").into_bytes());
    }

    fn hand_over(&self, line: Vec<u8>) {
        let has_room = self.lines.try_send(Message::Line(line)).is_ok();
        if !has_room {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        // While the file cannot be written, a line that is only in the queue is nowhere.
        if !has_room || self.failing.load(Ordering::Relaxed) {
            refused_lines::note();
        }
    }

    /// Waits a little until all that was said is written.
    pub(super) fn flush(&self) {
        let (done, wait) = sync_channel(1);
        if self.lines.try_send(Message::Flush(done)).is_ok() {
            let _ = wait.recv_timeout(LAST_LINES);
        }
    }
}

/// One event of the log comes as one write.
impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.hand_over(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for LogFile {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Writes what comes, until nobody can say anything any more.
fn write(
    mut file: RollingFile,
    lines: &Receiver<Message>,
    dropped: &AtomicU64,
    failing: &AtomicBool,
) {
    let mut lost = 0;
    while let Ok(message) = lines.recv() {
        let line = match message {
            Message::Line(line) => line,
            Message::Flush(done) => {
                let _ = done.try_send(());
                continue;
            }
        };
        lost += dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let words =
                format!("({lost} lines of this log could not be written before this one)\n");
            lost = if file.write(words.as_bytes()).is_ok() { 0 } else { lost };
        }
        match file.write(&line) {
            Ok(()) => failing.store(false, Ordering::Relaxed),
            Err(error) => {
                lost += 1;
                if !failing.swap(true, Ordering::Relaxed) {
                    complain(&file, &error);
                }
            }
        }
    }
}

/// Once for each time that it begins: the file is where it would have been said.
fn complain(file: &RollingFile, error: &io::Error) {
    let path = file.path().display();
    let words =
        format!("the log cannot be written to {path}: {error}; its lines are lost until it can");
    let _ = writeln!(io::stderr().lock(), "{words}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> (PathBuf, Bounds, Vec<String>) {
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
        let log = LogFile::start(path.clone(), BOUNDS).expect("a file");
        log.say("one");
        log.flush();
        // Its directory is a file now, so nothing can be made in it.
        std::fs::remove_dir_all(directory.path().join("logs")).expect("removed");
        std::fs::write(directory.path().join("logs"), "").expect("written");
        log.say("two");
        log.say("three");
        log.flush();
        std::fs::remove_file(directory.path().join("logs")).expect("removed");
        std::fs::create_dir(directory.path().join("logs")).expect("made");
        log.say("four");
        log.flush();
        let text = std::fs::read_to_string(&path).expect("read");
        assert_eq!(text, "(2 lines of this log could not be written before this one)\nfour\n");
    }
}
