//! Flume's position file: a JSON array of `{"inode":…,"pos":…,"file":"…"}`, one for each file.
//!
//! It is read when no channel knows the source's place, and kept written for tools and for Flume.
//! Unlike Flume's it is replaced as a whole, so that a kill in the middle leaves the old one.
//!
//! Beside it stands a file with the source's era, a number, and its name. A source that does not go on from
//! the marks of its channels begins a new one, and every mark that it leaves carries that. So marks of an
//! earlier era than the file's are older than the positions: the source had other channels since. The era
//! is written behind the positions of its first look, never before: a kill between the two leaves marks
//! that count as newer than they are, and lines come again.
//!
//! A position file belongs to one source of one agent, whose names stand behind the era, and is locked
//! while that runs. Flume's default is one file for all: another source that finds it taken, or of another
//! agent, has one of its own beside it, whose name ends with both names. So none writes over what another
//! has noted. Two agents of one name with sources of one name are not told apart: the second is refused.

use crate::base::files;
use crate::base::limits::TAIL_POSITION_FILE_BYTES_MAX;
use crate::base::read_whole::{ReadWholeError, read_whole};
use crate::codes;
use crate::flow::marks::Mark;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
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

/// Whose a position file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) agent: String,
    pub(super) source: String,
}

/// Why a source cannot have its position file.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is in use by {holder}, of the same agent and source name; stop it, or set positionFile",
    path.display()
)]
pub(super) struct TakenError {
    path: PathBuf,
    holder: String,
}

/// The position file of one source.
pub(super) struct PositionFile {
    path: PathBuf,
    owner: Owner,
    /// Held as long as this is; `None` where nothing can be locked.
    _lock: Option<File>,
    interval: Duration,
    /// What it holds, as far as is known.
    written: Option<Vec<Line>>,
    last: Option<Duration>,
    failing: bool,
    /// The era to write behind the next positions.
    era: Option<u64>,
}

impl PositionFile {
    /// The position file `path`, or the source's own beside it where that is another's.
    ///
    /// # Errors
    /// A source of the same name, of an agent of the same name, has it.
    pub(super) fn claim(
        path: PathBuf,
        owner: Owner,
        interval: Duration,
    ) -> Result<Self, TakenError> {
        let mut own = path.clone().into_os_string();
        own.push(format!(".{}.{}", owner.agent, owner.source));
        let own = PathBuf::from(own);
        let (path, lock) = if beside(&own, ".era").exists() || own.exists() {
            let lock =
                lock(&own, &owner).map_err(|holder| TakenError { path: own.clone(), holder })?;
            (own, lock)
        } else {
            Self::claim_shared(path, own, &owner)?
        };
        let (written, last, failing, era) = (None, None, false, None);
        Ok(Self { path, owner, _lock: lock, interval, written, last, failing, era })
    }

    /// The file as it was configured, which may be another's.
    fn claim_shared(
        path: PathBuf,
        own: PathBuf,
        owner: &Owner,
    ) -> Result<(PathBuf, Option<File>), TakenError> {
        let of = match lock(&path, owner) {
            Ok(lock) => match read_era(&path) {
                // A source that was renamed goes on where its file says, as in Flume.
                Some((_, Some(agent), source)) if agent != owner.agent => {
                    format!("source {source} of agent {agent}")
                }
                _ => return Ok((path, lock)),
            },
            Err(holder) if holder.starts_with(&words(owner)) => {
                return Err(TakenError { path, holder });
            }
            Err(holder) => holder,
        };
        tracing::warn!(code = %codes::POSITION_FILE_SHARED, source = owner.source, path = %path.display(), of, own = %own.display(), "the position file is another's; this source has one of its own. Give each source a positionFile");
        let lock = lock(&own, owner).map_err(|holder| TakenError { path: own.clone(), holder })?;
        Ok((own, lock))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
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
                tracing::error!(code = %codes::POSITION_FILE_DAMAGED, source, %path, %error, "the position file is not Flume's JSON ({kept}); files are read as if they were new");
                return Ok(Vec::new());
            }
        };
        let line = |entry| match serde_json::from_value::<Line>(entry) {
            Ok(line) => Some(line),
            Err(error) => {
                tracing::error!(code = %codes::POSITION_FILE_DAMAGED, source, %path, %error, "an entry of the position file is left out");
                None
            }
        };
        Ok(entries.into_iter().filter_map(line).collect())
    }

    /// The source's era as of the last life; 0 where nothing says.
    pub(super) fn era(&self, source: &str) -> u64 {
        let Some((era, _, owner)) = read_era(&self.path) else { return 0 };
        let path = self.path.display();
        match era {
            // There is one behind it.
            Some(era) if era < Mark::ERA_LAST && owner == source => era,
            Some(era) if era < Mark::ERA_LAST => {
                tracing::warn!(code = %codes::POSITION_FILE_SHARED, source, owner, %path, "the position file is of another source; what the channels know counts");
                0
            }
            _ => {
                tracing::warn!(source, %path, "the era of the positions is not a number; what the channels know counts");
                0
            }
        }
    }

    /// Has `era` written behind the next positions.
    pub(super) fn begin_era(&mut self, era: u64) {
        self.era = Some(era);
    }

    /// When it may be written next.
    pub(super) fn due(&self) -> Duration {
        // Many lines take their time: they shall not be written most of the time.
        let lines = self.written.as_ref().map_or(0, Vec::len) as u64;
        let pause = self.interval.max(Duration::from_micros(lines.saturating_mul(100)));
        self.last.map_or(Duration::ZERO, |last| last + pause)
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

/// How the holder of a lock is named.
fn words(owner: &Owner) -> String {
    format!("agent {}, source {},", owner.agent, owner.source)
}

/// The lock of the position file `path`, or who has it. Where nothing can be locked, it counts as free.
fn lock(path: &Path, owner: &Owner) -> Result<Option<File>, String> {
    let path = beside(path, ".lock");
    match files::try_lock(&path) {
        Ok((file, true)) => {
            let text = format!("{} process {}\n", words(owner), std::process::id());
            // Who has the lock is for people; the lock holds without.
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
            tracing::warn!(code = %codes::POSITION_FILE_UNLOCKED, source = owner.source, path = %path.display(), %error, "the position file cannot be locked; see that no other source has the same");
            Ok(None)
        }
    }
}

/// The era, the agent and the source that stand beside the position file `path`: the first versions did
/// not note the agent.
fn read_era(path: &Path) -> Option<(Option<u64>, Option<String>, String)> {
    let path = beside(path, ".era");
    let bytes = match read_whole(&path, ERA_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(ReadWholeError::Missing) => return None,
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

    fn line(inode: u64, pos: u64, file: &str) -> Line {
        Line { inode, pos, file: file.to_owned() }
    }

    fn claimed(path: &Path, agent: &str, source: &str) -> Result<PositionFile, TakenError> {
        let owner = Owner { agent: agent.to_owned(), source: source.to_owned() };
        PositionFile::claim(path.to_owned(), owner, Duration::ZERO)
    }

    #[test]
    fn no_source_writes_over_the_position_file_of_another() {
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
        // The same names: nobody can tell them apart.
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
        // Files that Flume or an earlier version left belong to whoever comes first.
        std::fs::write(beside(&path, ".era"), "7 r1\n").unwrap();
        assert_eq!(claimed(&path, "a1", "r1").unwrap().era("r1"), 7);
    }

    #[test]
    fn what_is_written_is_flumes_and_is_read_again() {
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
        // Nothing new: not written again.
        std::fs::remove_file(&path).unwrap();
        file.write(lines, "r1", Duration::from_secs(9));
        assert!(!path.exists());
    }

    #[test]
    fn an_era_is_its_sources_own_and_has_a_next_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("p.json");
        let mut file = claimed(&path, "a1", "r1").unwrap();
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
