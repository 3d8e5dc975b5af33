//! Flume's position file: a JSON array of `{"inode":…,"pos":…,"file":"…"}`, one for each file.
//!
//! It is read when no channel knows the source's place, and kept written for tools and for Flume.
//! Unlike Flume's it is replaced as a whole, so that a kill in the middle leaves the old one.
//!
//! Beside it stands a file with the source's era, a number, and its name. A source that does not go on from
//! the marks of its channels begins a new one, and every mark that it leaves carries that. So marks of an
//! earlier era than the file's are older than the positions: the source had other channels since. The era
//! is written behind the positions of its first look, never before: a kill between the two leaves marks
//! that count as newer than they are, and lines come again. Sources that share a position file, the default
//! one perhaps, write over each other's: the era of another says nothing of the marks.

use crate::base::files;
use crate::base::limits::TAIL_POSITION_FILE_BYTES_MAX;
use crate::base::read_whole::{ReadWholeError, read_whole};
use crate::flow::marks::Mark;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of the file that holds the era.
const ERA_BYTES_MAX: u64 = 4096;

/// How far one file was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) inode: u64,
    pub(super) pos: u64,
    pub(super) file: String,
}

/// The position file of one source.
pub(super) struct PositionFile {
    path: PathBuf,
    interval: Duration,
    /// What it holds, as far as is known.
    written: Option<Vec<Line>>,
    last: Option<Duration>,
    failing: bool,
    /// The era to write behind the next positions.
    era: Option<u64>,
}

impl PositionFile {
    pub(super) fn new(path: PathBuf, interval: Duration) -> Self {
        Self { path, interval, written: None, last: None, failing: false, era: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory that it stands in.
    pub(super) fn make_directory(&self) -> io::Result<()> {
        self.path.parent().map_or(Ok(()), files::create_directory)
    }

    /// What it says. A file that is none of Flume's is put aside, with an error, and says nothing;
    /// so does each entry that lacks something.
    pub(super) fn read(&self, source: &str) -> Result<Vec<Line>, ReadWholeError> {
        let bytes = match read_whole(&self.path, TAIL_POSITION_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(ReadWholeError::Missing) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let path = self.path.display();
        if bytes.is_empty() {
            tracing::warn!(source, %path, "the position file is empty; files are read as if they were new");
            return Ok(Vec::new());
        }
        let entries: Vec<serde_json::Value> = match serde_json::from_slice(&bytes) {
            Ok(entries) => entries,
            Err(error) => {
                let mut aside = self.path.clone().into_os_string();
                aside.push(".unreadable");
                let kept = files::replace(Path::new(&aside), &bytes).is_ok();
                let kept = if kept { "a copy is beside it" } else { "it is lost" };
                tracing::error!(source, %path, %error, "the position file is not Flume's JSON ({kept}); files are read as if they were new");
                return Ok(Vec::new());
            }
        };
        let line = |entry| match serde_json::from_value::<Line>(entry) {
            Ok(line) => Some(line),
            Err(error) => {
                tracing::error!(source, %path, %error, "an entry of the position file is left out");
                None
            }
        };
        Ok(entries.into_iter().filter_map(line).collect())
    }

    /// The source's era as of the last life; 0 where nothing says.
    pub(super) fn era(&self, source: &str) -> u64 {
        let path = self.era_path();
        let bytes = match read_whole(&path, ERA_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(ReadWholeError::Missing) => return 0,
            Err(error) => {
                tracing::warn!(source, path = %path.display(), %error, "the era of the positions cannot be read; what the channels know counts");
                return 0;
            }
        };
        let text = String::from_utf8_lossy(&bytes);
        let (era, owner) = text.trim().split_once(' ').unwrap_or_default();
        // There is one behind it.
        let era = era.parse().ok().filter(|era| *era < Mark::ERA_LAST);
        match era {
            Some(era) if owner == source => era,
            Some(_) => {
                tracing::warn!(source, owner, path = %self.path.display(), "another source has the same positionFile; what the channels know counts. Give each source a positionFile of its own");
                0
            }
            None => {
                tracing::warn!(source, path = %path.display(), "the era of the positions is no number; what the channels know counts");
                0
            }
        }
    }

    /// Has `era` written behind the next positions.
    pub(super) fn begin_era(&mut self, era: u64) {
        self.era = Some(era);
    }

    fn era_path(&self) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".era");
        path.into()
    }

    /// When it may be written next.
    pub(super) fn due(&self) -> Duration {
        self.last.map_or(Duration::ZERO, |last| last + self.interval)
    }

    /// Writes `lines` if they are news.
    pub(super) fn write(&mut self, lines: Vec<Line>, source: &str, now: Duration) {
        self.last = Some(now);
        if self.written.as_ref() == Some(&lines) && self.era.is_none() {
            return;
        }
        let written = serde_json::to_vec(&lines)
            .map_err(io::Error::from)
            .and_then(|bytes| files::replace(&self.path, &bytes))
            .and_then(|()| match self.era {
                Some(era) => {
                    files::replace(&self.era_path(), format!("{era} {source}\n").as_bytes())
                }
                None => Ok(()),
            });
        match written {
            Ok(()) => {
                self.era = None;
                self.written = Some(lines);
                self.failing = false;
            }
            Err(error) => {
                if !std::mem::replace(&mut self.failing, true) {
                    let path = self.path.display();
                    tracing::error!(source, %path, %error, "the position file cannot be written; it is tried again");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(inode: u64, pos: u64, file: &str) -> Line {
        Line { inode, pos, file: file.to_owned() }
    }

    #[test]
    fn what_is_written_is_flumes_and_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/positions.json");
        let mut file = PositionFile::new(path.clone(), Duration::from_secs(3));
        file.make_directory().unwrap();
        assert_eq!(file.read("r1").unwrap(), []);
        let lines = vec![line(7, 8, "/logs/a \"b\".log")];
        file.write(lines.clone(), "r1", Duration::from_secs(1));
        assert_eq!(file.due(), Duration::from_secs(4));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"[{"inode":7,"pos":8,"file":"/logs/a \"b\".log"}]"#);
        assert_eq!(file.read("r1").unwrap(), lines);
        // Nothing new: not written again.
        std::fs::remove_file(&path).unwrap();
        file.write(lines, "r1", Duration::from_secs(9));
        assert!(!path.exists());
    }

    #[test]
    fn an_era_is_its_sources_own_and_has_a_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.json");
        let mut file = PositionFile::new(path.clone(), Duration::ZERO);
        assert_eq!(file.era("r1"), 0);
        file.begin_era(7);
        file.write(Vec::new(), "r1", Duration::ZERO);
        assert_eq!((file.era("r1"), file.era("r2")), (7, 0));
        let last = Mark::ERA_LAST;
        for (text, era) in [
            (format!("{} r1\n", last - 1), last - 1),
            (format!("{last} r1\n"), 0),
            (format!("{} r1\n", u64::MAX), 0),
            ("7\n".to_owned(), 0),
        ] {
            std::fs::write(directory.path().join("p.json.era"), &text).unwrap();
            assert_eq!(file.era("r1"), era, "{text}");
        }
        assert_eq!(Mark::begin_of(last) >> (u64::BITS - last.count_ones()), last);
    }

    #[test]
    fn a_file_that_is_none_is_kept_beside_and_half_an_entry_is_left_out() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.json");
        let file = PositionFile::new(path.clone(), Duration::ZERO);
        for text in ["", "[{\"inode\":1", "{\"inode\":1}", "7"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(file.read("r1").unwrap(), [], "{text}");
        }
        let kept = std::fs::read_to_string(directory.path().join("p.json.unreadable")).unwrap();
        assert_eq!(kept, "7");
        let text = r#"[{"inode":1,"pos":2},{"pos":3,"inode":4,"file":"/a","more":0},{"inode":-1,"pos":2,"file":"/b"}]"#;
        std::fs::write(&path, text).unwrap();
        assert_eq!(file.read("r1").unwrap(), [line(4, 3, "/a")]);
    }
}
