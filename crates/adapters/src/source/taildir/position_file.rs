//! Flume's position file: a JSON array of `{"inode":…,"pos":…,"file":"…"}`, one object per file.
//!
//! It is read when no channel has the source's offset, and kept up to date for tools and for Flume. Unlike Flume's it
//! is replaced atomically, so that a kill in the middle leaves the old one.
//!
//! A second file next to it contains the source's era, a number, and its name. A source that does not continue from
//! the marks of its channels begins a new era, which every later mark carries. So marks of an earlier era than the
//! file's are older than the positions: the source had other channels since. The era is written after the positions
//! of its first scan, never before: a kill between the two leaves marks that count as newer than they are, and lines
//! are repeated.
//!
//! A position file belongs to one source of one agent, whose names follow the era, and is locked while that source
//! runs. Flume's default is one file for all: a source that finds it locked, or owned by another agent, uses its own
//! file next to it, whose name ends with both names. So no source overwrites the positions of another. Two agents of
//! one name with sources of one name cannot be distinguished: the second is refused.

use millpond_flow::base::files;
use millpond_flow::base::limits::TAIL_POSITION_FILE_BYTES_MAX;
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use millpond_flow::codes;
use millpond_flow::source_offset::BatchOffset;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Most bytes of the file with the era.
const ERA_BYTES_MAX: u64 = 4096;

/// The offset up to which one file was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PositionEntry {
    pub(super) inode: u64,
    pub(super) pos: u64,
    pub(super) file: String,
}

/// The owner of a position file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PositionFileOwner {
    pub(super) agent: String,
    pub(super) source: String,
}

/// The reason why a source cannot use its position file.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is in use by {holder}, of the same agent and source name; stop it, or set positionFile",
    path.display()
)]
pub(super) struct PositionFileTaken {
    path: PathBuf,
    holder: String,
}

/// The position file of one source.
pub(super) struct PositionFile {
    path: PathBuf,
    owner: PositionFileOwner,
    /// Locked until dropped; `None` if locks are not supported.
    _lock: Option<File>,
    interval: Duration,
    /// Its content, as far as known.
    written: Option<Vec<PositionEntry>>,
    last: Option<Duration>,
    failing: bool,
    /// The era to write after the next positions.
    era: Option<u64>,
}

impl PositionFile {
    /// Claims the position file `path`, or the source's own file next to it if that belongs to another.
    ///
    /// # Errors
    /// A source of the same name, of an agent of the same name, holds it.
    pub(super) fn claim(
        path: PathBuf,
        owner: PositionFileOwner,
        interval: Duration,
    ) -> Result<Self, PositionFileTaken> {
        let mut own = path.clone().into_os_string();
        own.push(format!(".{}.{}", owner.agent, owner.source));
        let own = PathBuf::from(own);
        let (path, lock) = if beside(&own, ".era").exists() || own.exists() {
            let lock = lock(&own, &owner)
                .map_err(|holder| PositionFileTaken { path: own.clone(), holder })?;
            (own, lock)
        } else {
            Self::claim_shared(path, own, &owner)?
        };
        let (written, last, failing, era) = (None, None, false, None);
        Ok(Self { path, owner, _lock: lock, interval, written, last, failing, era })
    }

    /// Claims the configured file, which may belong to another source.
    fn claim_shared(
        path: PathBuf,
        own: PathBuf,
        owner: &PositionFileOwner,
    ) -> Result<(PathBuf, Option<File>), PositionFileTaken> {
        let of = match lock(&path, owner) {
            Ok(lock) => match read_era(&path) {
                // A renamed source continues from its file, as in Flume.
                Some((_, Some(agent), source)) if agent != owner.agent => {
                    format!("source {source} of agent {agent}")
                }
                _ => return Ok((path, lock)),
            },
            Err(holder) if holder.starts_with(&words(owner)) => {
                return Err(PositionFileTaken { path, holder });
            }
            Err(holder) => holder,
        };
        tracing::warn!(code = %codes::POSITION_FILE_SHARED, source = owner.source, path = %path.display(), of, own = %own.display(), "the position file belongs to another source; this source uses its own. Set a positionFile for each source");
        let lock =
            lock(&own, owner).map_err(|holder| PositionFileTaken { path: own.clone(), holder })?;
        Ok((own, lock))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the positions. A file that is not in Flume's format is copied aside, with an error, and counts as
    /// empty; an incomplete entry is skipped with an error.
    pub(super) fn read(&self, source: &str) -> Result<Vec<PositionEntry>, SmallFileError> {
        let bytes = match read_whole(&self.path, TAIL_POSITION_FILE_BYTES_MAX) {
            Ok(bytes) => bytes,
            Err(SmallFileError::Missing) => return Ok(Vec::new()),
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
                let kept = if kept { "a copy is next to it" } else { "it is lost" };
                tracing::error!(code = %codes::POSITION_FILE_DAMAGED, source, %path, %error, "the position file is not Flume's JSON ({kept}); files are read as if they were new");
                return Ok(Vec::new());
            }
        };
        let line = |entry| match serde_json::from_value::<PositionEntry>(entry) {
            Ok(line) => Some(line),
            Err(error) => {
                tracing::error!(code = %codes::POSITION_FILE_DAMAGED, source, %path, %error, "an entry of the position file is left out");
                None
            }
        };
        Ok(entries.into_iter().filter_map(line).collect())
    }

    /// Returns the source's era as of the last run; 0 if unknown.
    pub(super) fn era(&self, source: &str) -> u64 {
        let Some((era, _, owner)) = read_era(&self.path) else { return 0 };
        let path = self.path.display();
        match era {
            // A later era must remain.
            Some(era) if era < BatchOffset::ERA_LAST && owner == source => era,
            Some(era) if era < BatchOffset::ERA_LAST => {
                tracing::warn!(code = %codes::POSITION_FILE_SHARED, source, owner, %path, "the position file is of another source; what the channels know counts");
                0
            }
            _ => {
                tracing::warn!(source, %path, "the era of the positions is not a number; what the channels know counts");
                0
            }
        }
    }

    /// Has `era` written after the next positions.
    pub(super) fn begin_era(&mut self, era: u64) {
        self.era = Some(era);
    }

    /// Returns when it may be written next.
    pub(super) fn due(&self) -> Duration {
        // Many entries take longer to write: the interval grows with them.
        let lines = self.written.as_ref().map_or(0, Vec::len) as u64;
        let pause = self.interval.max(Duration::from_micros(lines.saturating_mul(100)));
        self.last.map_or(Duration::ZERO, |last| last + pause)
    }

    /// Writes `lines` if they changed.
    pub(super) fn write(&mut self, lines: Vec<PositionEntry>, source: &str, now: Duration) {
        self.last = Some(now);
        if self.written.as_ref() == Some(&lines) && self.era.is_none() {
            return;
        }
        let written = serde_json::to_vec(&lines)
            .map_err(io::Error::from)
            .and_then(|bytes| files::replace(&self.path, &bytes))
            .and_then(|()| match self.era {
                Some(era) => {
                    let text = format!("{era} {source} {}\n", self.owner.agent);
                    files::replace(&beside(&self.path, ".era"), text.as_bytes())
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
                    tracing::error!(code = %codes::POSITION_FILE_UNWRITABLE, source, %path, %error, "the position file cannot be written; it is tried again");
                }
            }
        }
    }
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut path = path.to_owned().into_os_string();
    path.push(ending);
    path.into()
}

/// Returns the name of a lock's holder.
fn words(owner: &PositionFileOwner) -> String {
    format!("agent {}, source {},", owner.agent, owner.source)
}

/// Locks the position file `path`, or returns the holder. Where locks are not supported it counts as free.
fn lock(path: &Path, owner: &PositionFileOwner) -> Result<Option<File>, String> {
    let path = beside(path, ".lock");
    match files::try_lock(&path) {
        Ok((file, true)) => {
            let text = format!("{} process {}\n", words(owner), std::process::id());
            // The holder's name is for people; the lock is valid without it.
            let _ = file.set_len(0).and_then(|()| file.write_all_at(text.as_bytes(), 0));
            Ok(Some(file))
        }
        Ok((_, false)) => {
            let text = read_whole(&path, ERA_BYTES_MAX).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            Err(if text.is_empty() {
                "a process that did not name itself".to_owned()
            } else {
                text
            })
        }
        Err(error) => {
            tracing::warn!(code = %codes::POSITION_FILE_UNLOCKED, source = owner.source, path = %path.display(), %error, "the position file cannot be locked; make sure that no other source uses it");
            Ok(None)
        }
    }
}

/// Reads the era, the agent and the source next to the position file `path`: the first versions did not record the
/// agent.
fn read_era(path: &Path) -> Option<(Option<u64>, Option<String>, String)> {
    let path = beside(path, ".era");
    let bytes = match read_whole(&path, ERA_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(SmallFileError::Missing) => return None,
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "the era of the positions cannot be read; what the channels know counts");
            return None;
        }
    };
    let text = String::from_utf8_lossy(&bytes);
    let mut words = text.split_whitespace();
    let era = words.next().and_then(|era| era.parse().ok());
    let source = words.next().map(str::to_owned);
    let era = era.filter(|_| source.is_some());
    Some((era, words.next().map(str::to_owned), source.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(inode: u64, pos: u64, file: &str) -> PositionEntry {
        PositionEntry { inode, pos, file: file.to_owned() }
    }

    fn claimed(path: &Path, agent: &str, source: &str) -> Result<PositionFile, PositionFileTaken> {
        let owner = PositionFileOwner { agent: agent.to_owned(), source: source.to_owned() };
        PositionFile::claim(path.to_owned(), owner, Duration::ZERO)
    }

    #[test]
    fn no_source_overwrites_the_position_file_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taildir_position.json");
        let mut first = claimed(&path, "a1", "r1").unwrap();
        assert_eq!(first.path(), path);
        first.begin_era(1);
        first.write(vec![line(7, 8, "/a")], "r1", Duration::ZERO);
        // Another source of the agent, and one of another agent, while it runs.
        let (second, other) =
            (claimed(&path, "a1", "r2").unwrap(), claimed(&path, "a2", "r1").unwrap());
        assert_eq!(second.path(), beside(&path, ".a1.r2"));
        assert_eq!(other.path(), beside(&path, ".a2.r1"));
        assert_eq!(other.read("r1").unwrap(), [], "what another agent has read is not read here");
        // Equal names cannot be distinguished.
        let error = claimed(&path, "a1", "r1").err().expect("refused").to_string();
        let pid = format!("process {}", std::process::id());
        assert!(error.contains(&pid) && error.contains("set positionFile"), "{error}");
        drop((first, second, other));
        // Of another agent that does not run; renamed within the agent; and its own.
        assert_eq!(claimed(&path, "a3", "r1").unwrap().path(), beside(&path, ".a3.r1"));
        assert_eq!(claimed(&path, "a1", "r9").unwrap().path(), path);
        let first = claimed(&path, "a1", "r1").unwrap();
        assert_eq!((first.path(), first.read("r1").unwrap().len()), (&*path, 1));
    }

    #[test]
    fn a_source_keeps_its_own_position_file_when_the_shared_one_is_free() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.json");
        let first = claimed(&path, "a1", "r1").unwrap();
        let mut second = claimed(&path, "a1", "r2").unwrap();
        second.write(vec![line(1, 2, "/b")], "r2", Duration::ZERO);
        drop((first, second));
        let second = claimed(&path, "a1", "r2").unwrap();
        assert_eq!(second.read("r2").unwrap(), [line(1, 2, "/b")]);
        // Files of Flume or of an earlier version belong to the first source that claims them.
        std::fs::write(beside(&path, ".era"), "7 r1\n").unwrap();
        assert_eq!(claimed(&path, "a1", "r1").unwrap().era("r1"), 7);
    }

    #[test]
    fn positions_are_written_in_flumes_format_and_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("deep/er/positions.json");
        files::create_directory(path.parent().unwrap()).unwrap();
        let mut file = claimed(&path, "a1", "r1").unwrap();
        file.interval = Duration::from_secs(3);
        assert_eq!(file.read("r1").unwrap(), []);
        let lines = vec![line(7, 8, "/logs/a \"b\".log")];
        file.write(lines.clone(), "r1", Duration::from_secs(1));
        assert_eq!(file.due(), Duration::from_secs(4));
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, r#"[{"inode":7,"pos":8,"file":"/logs/a \"b\".log"}]"#);
        assert_eq!(file.read("r1").unwrap(), lines);
        // No change: not written again.
        std::fs::remove_file(&path).unwrap();
        file.write(lines, "r1", Duration::from_secs(9));
        assert!(!path.exists());
    }

    #[test]
    fn an_era_belongs_to_its_source_and_has_a_successor() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.json");
        let mut file = claimed(&path, "a1", "r1").unwrap();
        assert_eq!(file.era("r1"), 0);
        file.begin_era(7);
        file.write(Vec::new(), "r1", Duration::ZERO);
        assert_eq!((file.era("r1"), file.era("r2")), (7, 0));
        let last = BatchOffset::ERA_LAST;
        for (text, era) in [
            (format!("{} r1\n", last - 1), last - 1),
            (format!("{last} r1\n"), 0),
            (format!("{} r1\n", u64::MAX), 0),
            ("7\n".to_owned(), 0),
        ] {
            std::fs::write(directory.path().join("p.json.era"), &text).unwrap();
            assert_eq!(file.era("r1"), era, "{text}");
        }
        assert_eq!(BatchOffset::begin_of(last) >> (u64::BITS - last.count_ones()), last);
    }

    #[test]
    fn a_damaged_file_is_copied_aside_and_an_incomplete_entry_skipped() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.json");
        let file = claimed(&path, "a1", "r1").unwrap();
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
