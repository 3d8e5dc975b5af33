//! `avro-client --dirname`: the files of a directory, each sent line by line and then renamed.
//!
//! The progress in a file that was not sent to its end is in `.flumespool/avro-client` in that
//! directory, so that the next run continues there. It is written every [`NOTED`] and at every end
//! except a sudden one.

use super::avro_send::{LineEnds, SendFailure, SendOptions, send_lines};
use millpond::internal::base::quantity::Quantity;
use millpond::{Clock, SystemClock};
use millpond_flow::base::files::{self, File};
use millpond_flow::base::small_file::{SmallFileError, read_whole};
use std::cell::Cell;
use std::io::{self, Seek};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The suffix of a completely acknowledged file. Flume's command uses the key's name as the value;
/// the files that it has sent must not be sent again.
const DONE: &str = "fileSuffix";
const TRACKED: &str = ".flumespool";
/// How often the progress in a file is written.
const NOTED: Duration = Duration::from_millis(500);
/// A name has 255 bytes, a count 20 digits.
const NOTE_BYTES_MAX: u64 = 1024;

/// Why not all of a directory was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum DirectoryError {
    #[error("{}: {source}", path.display())]
    Disk { path: PathBuf, source: io::Error },
    #[error("{}: {source}", path.display())]
    Note { path: PathBuf, source: SmallFileError },
    #[error("{}: {source}", path.display())]
    Send { path: PathBuf, source: Box<SendFailure> },
    #[error(
        "{}: was written to while it was sent, and keeps its name; {lines} of its lines are sent; start again for the rest, once nothing writes to it",
        path.display()
    )]
    Grown { path: PathBuf, lines: u64 },
    #[error(
        "{}: was replaced or taken away while it was sent; all that it had is sent ({}), and nothing is renamed; start again for what has its name now",
        path.display(),
        Quantity(*lines, "line")
    )]
    Replaced { path: PathBuf, lines: u64 },
}

/// The acknowledged part of a file. Another file that got its name has another inode number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct AckedOffset {
    lines: u64,
    inode: u64,
    name: Vec<u8>,
}

/// Sends every file that is in `directory` now and returns their number.
///
/// # Errors
/// A file could not be read, sent or renamed; those before it were sent.
pub(super) fn send_all(
    directory: &Path,
    sending: &mut SendOptions<'_>,
) -> Result<usize, DirectoryError> {
    let note_path = directory.join(TRACKED).join("avro-client");
    let disk = |path: &Path, source| DirectoryError::Disk { path: path.to_owned(), source };
    let found = waiting(directory).map_err(|error| disk(directory, error))?;
    let begun = read_note(&note_path)?;
    for path in &found {
        let name = path.file_name().unwrap_or_default().as_bytes();
        let mut done = path.clone().into_os_string();
        done.push(DONE);
        let done = PathBuf::from(done);
        if done.symlink_metadata().is_ok() {
            // A file that was sent and cannot be renamed would be sent again by every run.
            let words = "is there already; move it away, so that the file next to it can be sent";
            return Err(disk(&done, io::Error::new(io::ErrorKind::AlreadyExists, words)));
        }
        let file = files::open_regular(path).map_err(|error| disk(path, error))?;
        let inode = file.metadata().map_err(|error| disk(path, error))?.ino();
        let is_it = |note: &&AckedOffset| note.name == name && note.inode == inode;
        let sent = begun.as_ref().filter(is_it).map_or(0, |note| note.lines);
        let write =
            |lines| write_note(&note_path, &AckedOffset { lines, inode, name: name.to_vec() });
        let (clock, noted, acknowledged) =
            (SystemClock::new(), Cell::new(Duration::ZERO), Cell::new(sent));
        let mut note = |lines: u64| {
            acknowledged.set(lines);
            if clock.now().saturating_sub(noted.get()) < NOTED {
                return Ok(());
            }
            noted.set(clock.now());
            write(lines)
        };
        let mut reader = io::BufReader::new(file);
        let ended = send_lines(&mut reader, LineEnds::Newline, sent, sending, &mut note);
        if let Err(source) = ended {
            if acknowledged.get() > 0 {
                write(acknowledged.get()).map_err(|error| disk(&note_path, error))?;
            }
            return Err(DirectoryError::Send { path: path.clone(), source: Box::new(source) });
        }
        let end = FileEnd::of(&mut reader, path).map_err(|error| disk(path, error))?;
        if let FileEnd::Grown { within_a_line } = end {
            // More of a line that was sent without its end may follow: it is sent again, whole.
            let lines = acknowledged.get().saturating_sub(u64::from(within_a_line));
            write(lines).map_err(|error| disk(&note_path, error))?;
            return Err(DirectoryError::Grown { path: path.clone(), lines });
        }
        // Before the rename: a note that outlived its file could be taken for one about the next.
        remove_note(&note_path).map_err(|error| disk(&note_path, error))?;
        if end == FileEnd::Replaced {
            return Err(DirectoryError::Replaced { path: path.clone(), lines: acknowledged.get() });
        }
        files::rename_new(path, &done).map_err(|error| disk(path, error))?;
    }
    Ok(found.len())
}

/// What a file's name refers to after the file was read to its end.
#[derive(Debug, PartialEq, Eq)]
enum FileEnd {
    /// The file that was read.
    Same,
    /// The file, with more bytes.
    Grown {
        /// Whether the part that was read ends within a line.
        within_a_line: bool,
    },
    /// Another file, a truncated one, or none.
    Replaced,
}

impl FileEnd {
    fn of(reader: &mut io::BufReader<File>, path: &Path) -> io::Result<Self> {
        let end = reader.stream_position()?;
        let read = reader.get_ref().metadata()?;
        let Ok(named) = path.metadata() else { return Ok(Self::Replaced) };
        // A file that got shorter begins anew: its lines are not those that were sent.
        if (named.dev(), named.ino()) != (read.dev(), read.ino()) || read.len() < end {
            return Ok(Self::Replaced);
        }
        let look = |about: &dyn MetadataExt| (about.size(), about.mtime(), about.mtime_nsec());
        if end == read.len() && look(&named) == look(&read) {
            return Ok(Self::Same);
        }
        let mut last = [b'\n'];
        // If the file is gone, a repeated line does no harm.
        let is_cut = |at| reader.get_ref().read_exact_at(&mut last, at).is_err() || last != [b'\n'];
        Ok(Self::Grown { within_a_line: end.checked_sub(1).is_some_and(is_cut) })
    }
}

/// Returns the files to send, the oldest first as in Flume.
fn waiting(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in files::list(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_new =
            !name.as_bytes().starts_with(b".") && !name.as_bytes().ends_with(DONE.as_bytes());
        let path = entry.path();
        // A link counts as its target; a file that is gone meanwhile has been sent by another run.
        let Ok(about) = path.metadata() else { continue };
        if is_new && about.is_file() {
            found.push((about.modified()?, path));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn read_note(path: &Path) -> Result<Option<AckedOffset>, DirectoryError> {
    let bytes = match read_whole(path, NOTE_BYTES_MAX) {
        Ok(bytes) => bytes,
        Err(SmallFileError::Missing) => return Ok(None),
        Err(source) => return Err(DirectoryError::Note { path: path.to_owned(), source }),
    };
    let mut parts = bytes.splitn(3, |byte| *byte == b' ');
    let mut number = || std::str::from_utf8(parts.next()?).ok()?.parse::<u64>().ok();
    match (number(), number(), parts.next()) {
        (Some(lines), Some(inode), Some(name)) => {
            Ok(Some(AckedOffset { lines, inode, name: name.to_vec() }))
        }
        _ => Err(DirectoryError::Disk {
            path: path.to_owned(),
            source: io::Error::new(
                io::ErrorKind::InvalidData,
                "is not a note of avro-client; remove it to send every file from its start",
            ),
        }),
    }
}

fn remove_note(path: &Path) -> io::Result<()> {
    match files::remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn write_note(path: &Path, note: &AckedOffset) -> io::Result<()> {
    files::create_directory(path.parent().unwrap_or(path))?;
    let mut bytes = format!("{} {} ", note.lines, note.inode).into_bytes();
    bytes.extend_from_slice(&note.name);
    files::replace(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::avro_route::RouteError;
    use millpond::{Event, Headers};
    use millpond_adapters::sink::rpc::connection::RpcError;
    use std::io::Write;

    /// Sends the directory in batches of 2, the first `good` of which are acknowledged; returns
    /// what was sent.
    fn run(directory: &Path, good: usize) -> (Vec<String>, Result<usize, DirectoryError>) {
        let (mut sent, mut calls) = (Vec::new(), 0);
        let mut send = |events: &[Event]| {
            calls += 1;
            if calls > good {
                let source = Box::new(RpcError::Failed);
                return Err(RouteError::Send { host: "h".to_owned(), port: 1, source });
            }
            let bodies = events.iter().map(|e| String::from_utf8(e.body.to_vec()).unwrap());
            sent.extend(bodies);
            Ok(())
        };
        let headers = Headers::new();
        let mut sending = SendOptions { headers: &headers, batch: 2, send: &mut send };
        let ended = send_all(directory, &mut sending);
        (sent, ended)
    }

    fn names(directory: &Path) -> Vec<String> {
        let list = std::fs::read_dir(directory).unwrap();
        let mut names: Vec<_> =
            list.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_was_acknowledged_is_not_sent_again_and_what_is_done_has_another_name() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("b"), "1\n2\n3\n4\n5").unwrap();
        let old = std::time::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        File::options().write(true).open(at("b")).unwrap().set_modified(old).unwrap();
        std::fs::write(at("a"), "6\n7\n").unwrap();
        std::fs::write(at(".hidden"), "x\n").unwrap();
        std::fs::write(at("donefileSuffix"), "x\n").unwrap();
        std::fs::create_dir(at("inner")).unwrap();

        let (sent, ended) = run(directory.path(), 2);
        assert_eq!(sent, ["1", "2", "3", "4"], "the oldest first");
        let words = ended.unwrap_err().to_string();
        assert!(words.contains("/b: lines 5 to 5") && words.contains("4 lines were"), "{words}");
        assert!(names(directory.path()).contains(&"b".to_owned()));

        let (sent, ended) = run(directory.path(), 9);
        assert_eq!((sent, ended.unwrap()), (vec!["5".into(), "6".into(), "7".into()], 2));
        let expected =
            [".flumespool", ".hidden", "afileSuffix", "bfileSuffix", "donefileSuffix", "inner"];
        assert_eq!(names(directory.path()), expected);

        std::fs::write(at("b"), "8\n").unwrap();
        let (sent, ended) = run(directory.path(), 9);
        assert!(sent.is_empty(), "without a name to get it would be sent again and again");
        assert!(ended.unwrap_err().to_string().contains("bfileSuffix: is there already"));
        std::fs::remove_file(at("bfileSuffix")).unwrap();
        let (sent, ended) = run(directory.path(), 9);
        assert_eq!((sent, ended.unwrap()), (vec!["8".into()], 1), "it is another one");
        // Also a file that replaced it before all of it was acknowledged.
        std::fs::write(at("c"), "1\n2\n3\n").unwrap();
        assert!(run(directory.path(), 1).1.is_err());
        std::fs::write(at(".next"), "4\n5\n").unwrap();
        files::rename_new(&at("c"), &at(".before")).unwrap();
        files::rename_new(&at(".next"), &at("c")).unwrap();
        assert_eq!(run(directory.path(), 9).0, ["4", "5"]);
        assert!(run(&at("nowhere"), 9).1.is_err());
        std::fs::write(at(".flumespool/avro-client"), "garbage").unwrap();
        assert!(run(directory.path(), 9).1.unwrap_err().to_string().contains("is not a note"));
    }
    #[test]
    fn a_file_that_is_another_one_at_the_end_keeps_its_name_and_loses_no_line() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("a"), "1\n2\n").unwrap();
        std::fs::write(at(".next"), "3\n").unwrap();
        let mut send = |_: &[Event]| {
            // Another file gets the name during the send.
            std::fs::remove_file(at("a")).unwrap();
            files::rename_new(&at(".next"), &at("a")).unwrap();
            Ok(())
        };
        let headers = Headers::new();
        let mut sending = SendOptions { headers: &headers, batch: 9, send: &mut send };
        let words = send_all(directory.path(), &mut sending).unwrap_err().to_string();
        assert!(
            words.contains("/a: was replaced") && words.contains("is sent (2 lines)"),
            "{words}"
        );
        assert!(names(directory.path()).contains(&"a".to_owned()), "not renamed");
        let note = read_note(&at(".flumespool/avro-client")).unwrap();
        assert_eq!(note, None, "it could be taken for one about a file that gets the same number");
        assert_eq!(run(directory.path(), 9).0, ["3"]);
        assert_eq!(names(directory.path()), ["afileSuffix"]);
    }

    #[test]
    fn bytes_added_after_the_end_that_was_read_are_seen() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a");
        let add = |text: &[u8]| {
            let mut file = File::options().append(true).create(true).open(&path).unwrap();
            file.write_all(text).unwrap();
        };
        add(b"1\n2");
        let mut reader = io::BufReader::new(files::open_regular(&path).unwrap());
        let read = |reader: &mut io::BufReader<File>| {
            let (mut sent, headers) = (0, Headers::new());
            let mut send = |events: &[Event]| {
                sent += events.len();
                Ok(())
            };
            let mut sending = SendOptions { headers: &headers, batch: 9, send: &mut send };
            send_lines(reader, LineEnds::Newline, 0, &mut sending, &mut |_| Ok(())).unwrap();
            sent
        };
        assert_eq!(read(&mut reader), 2);
        assert_eq!(FileEnd::of(&mut reader, &path).unwrap(), FileEnd::Same);
        add(b"more\n3\n");
        assert_eq!(
            FileEnd::of(&mut reader, &path).unwrap(),
            FileEnd::Grown { within_a_line: true }
        );
        reader.seek(io::SeekFrom::End(0)).unwrap();
        assert_eq!(FileEnd::of(&mut reader, &path).unwrap(), FileEnd::Same);
        add(b"4\n");
        assert_eq!(
            FileEnd::of(&mut reader, &path).unwrap(),
            FileEnd::Grown { within_a_line: false }
        );
        reader.seek(io::SeekFrom::End(0)).unwrap();
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(FileEnd::of(&mut reader, &path).unwrap(), FileEnd::Replaced, "begun anew");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(FileEnd::of(&mut reader, &path).unwrap(), FileEnd::Replaced, "no name any more");
    }
}
