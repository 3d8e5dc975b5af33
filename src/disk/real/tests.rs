use super::probe::BUFFERED;
use super::*;
use crate::disk::memory::{SlabPool, Span};
use crate::disk::{Access, LockError, Submitted, WriteToken};
use crate::internal::base::limits::DEVICE_BLOCK_BYTES;
use std::io::{BufRead, BufReader, ErrorKind};
use std::process::{Child, Command, Stdio};

const BLOCK: usize = DEVICE_BLOCK_BYTES;

fn block(byte: u8, blocks: usize) -> Span {
    let mut writer = SlabPool::new(blocks * BLOCK, 0).writer(0).expect("memory");
    let mut span = writer.reserve(blocks * BLOCK).expect("room");
    span.bytes_mut().fill(byte);
    span
}

/// Returns every kind of storage available: that of the temporary directory, the same through the page cache, and a
/// file system in memory if there is one.
fn storages() -> Vec<(&'static str, RealDisk, tempfile::TempDir)> {
    let mut all = vec![
        ("temporary", RealDisk::new(), tempfile::tempdir().expect("directory")),
        ("buffered", RealDisk::buffered(), tempfile::tempdir().expect("directory")),
    ];
    if let Ok(dir) = tempfile::tempdir_in("/dev/shm") {
        all.push(("memory", RealDisk::new(), dir));
    }
    all
}

fn names(directory: &dyn Directory) -> Vec<String> {
    directory.list().expect("listed").into_iter().map(|entry| entry.name).collect()
}

#[test]
fn bytes_written_either_way_are_read_back() {
    for (storage, disk, temp) in storages() {
        let dir = disk.open_dir(temp.path(), false).expect(storage);
        let file = dir.create("a").expect(storage);
        file.write_at(0, &vec![1; 3 * BLOCK + 100]).expect(storage);
        file.sync().expect(storage);
        dir.sync().expect(storage);
        let mut two = block(2, 1);
        assert!(matches!(file.submit(BLOCK as u64, two.bytes_mut()), Submitted::Done(Ok(()))));
        file.write_at(2 * BLOCK as u64 + 7, b"seven").expect(storage);

        let reader = dir.open("a", Access::Read).expect(storage);
        assert_eq!(reader.len().expect(storage), 3 * BLOCK as u64 + 100);
        let mut expected = vec![1; 3 * BLOCK + 100];
        expected[BLOCK..2 * BLOCK].fill(2);
        expected[2 * BLOCK + 7..2 * BLOCK + 12].copy_from_slice(b"seven");
        // Aligned, beyond the end: directly from the device if possible.
        let mut buffer = block(9, 8);
        assert_eq!(reader.read_at(0, buffer.bytes_mut()).expect(storage), expected.len());
        assert_eq!(&buffer.bytes_mut()[..expected.len()], &expected[..], "{storage}");
        // Unaligned.
        let mut some = vec![0; 5];
        assert_eq!(reader.read_at(2 * BLOCK as u64 + 7, &mut some).expect(storage), 5);
        assert_eq!(some, b"seven");
    }
}

#[test]
fn allocated_space_reads_as_zeroes_and_is_not_available_twice() {
    for (storage, disk, temp) in storages() {
        let dir = disk.open_dir(temp.path(), false).expect(storage);
        let file = dir.create("a").expect(storage);
        file.write_at(0, b"before").expect(storage);
        let before = std::fs::metadata(temp.path().join("a")).expect(storage);
        if !file.allocate(64 * BLOCK as u64).expect(storage) {
            assert_eq!(file.len().expect(storage), 6, "{storage} cannot, and did nothing");
            println!("left out {storage}: its file system sets no space aside");
            continue;
        }
        file.sync().expect(storage);
        let after = std::fs::metadata(temp.path().join("a")).expect(storage);
        assert_eq!(after.len(), 64 * BLOCK as u64);
        use std::os::unix::fs::MetadataExt;
        assert!(after.blocks() >= before.blocks().max(64 * 8), "{storage} has it already");
        let mut bytes = block(9, 64);
        assert_eq!(file.read_at(0, bytes.bytes_mut()).expect(storage), 64 * BLOCK);
        assert_eq!(&bytes.bytes_mut()[..6], b"before");
        assert!(bytes.bytes_mut()[6..].iter().all(|byte| *byte == 0), "{storage}");
        let error = file.allocate(1 << 60).expect_err("no disk has that much");
        assert_ne!(error.to_string(), "", "{storage}");
        let read_only = dir.open("a", Access::Read).expect(storage);
        assert!(read_only.allocate(1 << 20).is_err(), "{storage}");
    }
}

#[test]
fn reads_are_short_only_at_the_end() {
    for (storage, disk, temp) in storages() {
        let dir = disk.open_dir(temp.path(), false).expect(storage);
        let file = dir.create("a").expect(storage);
        file.write_at(0, &[5; 100]).expect(storage);
        let mut buffer = vec![0; 64];
        assert_eq!(file.read_at(0, &mut buffer).expect(storage), 64);
        assert_eq!(file.read_at(64, &mut buffer).expect(storage), 36);
        assert_eq!(file.read_at(100, &mut buffer).expect(storage), 0);
        assert_eq!(file.read_at(1 << 40, &mut buffer).expect(storage), 0);
        assert_eq!(file.read_at(0, &mut []).expect(storage), 0);
    }
}

/// Returns a kernel call with the given results: at most that many bytes, or `None` for an interruption by a signal.
fn cut(most: &[Option<usize>]) -> impl FnMut(usize) -> rustix::io::Result<usize> {
    let mut turns = most.iter().cycle();
    move |asked| match turns.next() {
        Some(Some(most)) => Ok(asked.min(*most)),
        _ => Err(rustix::io::Errno::INTR),
    }
}

#[test]
fn reads_and_writes_that_are_cut_short_go_on_where_they_ended() {
    let bytes: Vec<u8> = (1..=40).collect();
    for most in [&[Some(1)][..], &[Some(7), None, Some(3)], &[None, Some(39)], &[Some(100)]] {
        let (mut medium, mut moved) = (vec![0; 50], cut(most));
        let written = file::write_all(5, &bytes, 1, |bytes, at| {
            let count = moved(bytes.len())?;
            medium[at as usize..][..count].copy_from_slice(&bytes[..count]);
            Ok(count)
        });
        written.expect("goes on");
        assert_eq!(medium, [&[0; 5][..], &bytes, &[0; 5]].concat(), "{most:?}");

        let (mut buffer, mut moved) = (vec![9; 60], cut(most));
        let read = file::read_all(5, &mut buffer, |into, at| {
            let there = &medium[at as usize..];
            let count = moved(into.len().min(there.len()))?;
            into[..count].copy_from_slice(&there[..count]);
            Ok(count)
        });
        assert_eq!(read.expect("goes on"), 45, "short only at the end");
        assert_eq!(buffer, [&medium[5..], &[9; 15]].concat(), "{most:?}");
    }
}

#[test]
fn a_direct_write_that_cannot_go_on_is_an_error_that_says_how_far_it_came() {
    let bytes = vec![1; 4 * BLOCK];
    for (most, words) in [
        (&[Some(BLOCK), Some(512)][..], "took 512 of 12288 bytes at 12288"),
        (&[Some(2 * BLOCK), None, Some(0)], "took 0 of 8192 bytes at 16384"),
    ] {
        let mut moved = cut(most);
        let written = file::write_all(2 * BLOCK as u64, &bytes, BLOCK, |b, _| moved(b.len()));
        let error = written.expect_err("the rest would not be aligned, or never end");
        assert_eq!(error.kind(), ErrorKind::WriteZero);
        assert!(error.to_string().contains(words), "{error}");
    }
    let full = || file::write_all(0, &bytes, BLOCK, |_, _| Err(rustix::io::Errno::NOSPC));
    assert_eq!(full().expect_err("no room").kind(), ErrorKind::StorageFull);
}

#[test]
fn a_directory_lists_makes_and_removes_names() {
    for (storage, disk, temp) in storages() {
        let dir = disk.open_dir(temp.path(), false).expect(storage);
        std::fs::create_dir(temp.path().join("inner")).expect(storage);
        dir.create("b").expect(storage).write_at(0, b"123").expect(storage);
        dir.create("a").expect(storage);
        // A link counts as its target; one without a target is not a file.
        std::os::unix::fs::symlink("b", temp.path().join("link")).expect(storage);
        std::os::unix::fs::symlink("none", temp.path().join("lost")).expect(storage);
        let listed: Vec<(String, u64, bool)> = dir
            .list()
            .expect(storage)
            .into_iter()
            .map(|entry| (entry.name, entry.len, entry.is_file))
            .collect();
        let entries = [
            ("a", 0, true),
            ("b", 3, true),
            ("inner", 0, false),
            ("link", 3, true),
            ("lost", 4, false),
        ];
        let expected = entries.map(|(name, len, is_file)| (name.to_owned(), len, is_file));
        assert_eq!(listed, expected, "{storage}");

        assert_eq!(dir.create("a").err().map(|e| e.kind()), Some(ErrorKind::AlreadyExists));
        dir.remove("a").expect(storage);
        assert_eq!(dir.remove("a").err().map(|e| e.kind()), Some(ErrorKind::NotFound));
        let missing = dir.open("a", Access::Write).err().map(|e| e.kind());
        assert_eq!(missing, Some(ErrorKind::NotFound));
        dir.sync().expect(storage);
        assert_eq!(names(&*dir), ["b", "inner", "link", "lost"]);
        let space = dir.space().expect(storage);
        assert!(space.available_bytes > 0 && space.available_bytes <= space.total_bytes);
    }
}

#[test]
fn files_of_a_channel_are_not_readable_by_all_users() {
    use std::os::unix::fs::PermissionsExt;
    for (storage, disk, temp) in storages() {
        let dir = disk.open_dir(temp.path(), false).expect(storage);
        dir.create("segment").expect(storage);
        let _lock = dir.lock("in_use.lock").expect(storage);
        for name in ["segment", "in_use.lock"] {
            let mode = std::fs::metadata(temp.path().join(name)).expect(name).permissions().mode();
            assert_eq!(mode & 0o777 & !0o640, 0, "{storage}: {name} has {mode:o}");
        }
    }
}

#[test]
fn missing_parents_are_made_only_when_asked() {
    let temp = tempfile::tempdir().expect("directory");
    let deep = temp.path().join("x/y/z");
    let missing = RealDisk::new().open_dir(&deep, false).err().map(|e| e.kind());
    assert_eq!(missing, Some(ErrorKind::NotFound));
    assert!(!temp.path().join("x").exists(), "nothing was made by looking");
    let dir = RealDisk::new().open_dir(&deep, true).expect("made");
    let again = RealDisk::new().open_dir(&deep, true).expect("there");
    assert_eq!(dir.identity().expect("told"), again.identity().expect("told"));
    assert!(names(&*dir).is_empty(), "the probe left something: {:?}", names(&*dir));

    std::fs::write(temp.path().join("file"), b"").expect("written");
    let error = RealDisk::new().open_dir(&temp.path().join("file"), true).err();
    assert!(error.is_some(), "a file is not a directory");
}

#[test]
fn two_paths_to_one_directory_have_one_identity() {
    let temp = tempfile::tempdir().expect("directory");
    std::fs::create_dir(temp.path().join("real")).expect("made");
    std::os::unix::fs::symlink(temp.path().join("real"), temp.path().join("alias")).expect("made");
    let identity = |name: &str| {
        let dir = RealDisk::read_only().open_dir(&temp.path().join(name), false).expect("opened");
        dir.identity().expect("told")
    };
    assert_eq!(identity("real"), identity("alias"));
    assert_ne!(identity("real"), identity("."));
}

#[test]
fn a_directory_that_was_renamed_is_still_the_one_that_was_opened() {
    let temp = tempfile::tempdir().expect("directory");
    let dir = RealDisk::new().open_dir(&temp.path().join("one"), true).expect("made");
    std::fs::rename(temp.path().join("one"), temp.path().join("two")).expect("renamed");
    RealDisk::new().open_dir(&temp.path().join("one"), true).expect("another of that name");
    dir.create("here").expect("made");
    assert!(temp.path().join("two/here").exists());
    assert!(!dir.is_at_its_path().expect("told"), "another directory is at its path");
    std::fs::remove_dir(temp.path().join("one")).expect("removed");
    assert!(!dir.is_at_its_path().expect("told"), "nothing is at its path");
    std::fs::rename(temp.path().join("two"), temp.path().join("one")).expect("moved back");
    assert!(dir.is_at_its_path().expect("told"));
}

#[test]
fn file_systems_without_direct_writes_are_written_one_at_a_time() {
    let temp = tempfile::tempdir().expect("directory");
    let buffered = RealDisk::buffered().open_dir(temp.path(), false).expect("opened");
    assert_eq!(buffered.capabilities(), BUFFERED);
    let dir = RealDisk::new().open_dir(temp.path(), false).expect("opened");
    let can = dir.capabilities();
    assert_eq!(can.direct, can.writes_in_flight_max > 1, "{can:?}");
    // Newer kernels open files in memory for direct writes, and buffer.
    let Ok(temp) = tempfile::tempdir_in("/dev/shm") else { return };
    let dir = RealDisk::new().open_dir(temp.path(), false).expect("opened");
    assert_eq!(dir.capabilities(), BUFFERED);
}

#[test]
fn a_direct_write_is_synchronous_in_its_bytes_alone() {
    let temp = tempfile::tempdir().expect("directory");
    let dir = RealDisk::new().open_dir(temp.path(), false).expect("opened");
    if !dir.capabilities().direct {
        return;
    }
    let directory = open_directory(temp.path()).expect("opened");
    file::open_at(&directory, "a", file::OpenMode::Create).expect("made");
    let direct = file::open_at(&directory, "a", file::OpenMode::DirectWrite).expect("opened");
    let flags = rustix::fs::fcntl_getfl(&direct).expect("told").bits();
    let sync = libc::O_SYNC.cast_unsigned();
    assert_eq!(flags & sync, libc::O_DSYNC.cast_unsigned(), "O_DSYNC, and not O_SYNC");
    assert_ne!(flags & libc::O_DIRECT.cast_unsigned(), 0);
}

#[test]
fn probe_files_of_a_crash_go_away() {
    let temp = tempfile::tempdir().expect("directory");
    std::fs::write(temp.path().join(format!("{}1-0", probe::PROBE_PREFIX)), b"x").expect("made");
    // A container's processes have the same ids at every start.
    let own = format!("{}{}-0", probe::PROBE_PREFIX, std::process::id());
    std::fs::write(temp.path().join(own), b"x").expect("made");
    std::fs::write(temp.path().join(".other"), b"x").expect("made");
    RealDisk::read_only().open_dir(temp.path(), false).expect("opened");
    assert_eq!(std::fs::read_dir(temp.path()).expect("listed").count(), 3, "looking removes none");
    let dir = RealDisk::new().open_dir(temp.path(), false).expect("opened");
    assert_eq!(names(&*dir), [".other"]);
}

#[test]
fn a_disk_for_reading_changes_nothing() {
    let temp = tempfile::tempdir().expect("directory");
    let writer = RealDisk::new().open_dir(temp.path(), false).expect("opened");
    writer.create("a").expect("made").write_at(0, b"abc").expect("written");
    let disk = RealDisk::read_only();
    let dir = disk.open_dir(temp.path(), false).expect("opened");
    let refused = Some(ErrorKind::ReadOnlyFilesystem);
    assert_eq!(dir.create("b").err().map(|e| e.kind()), refused);
    assert_eq!(dir.remove("a").err().map(|e| e.kind()), refused);
    assert_eq!(dir.sync().err().map(|e| e.kind()), refused);
    assert_eq!(dir.open("a", Access::Write).err().map(|e| e.kind()), refused);
    assert_eq!(disk.open_dir(&temp.path().join("new"), true).err().map(|e| e.kind()), refused);
    assert!(matches!(dir.lock("in_use.lock"), Err(LockError::Io { .. })));
    let file = dir.open("a", Access::Read).expect("opened");
    assert_eq!(file.write_at(0, b"x").err().map(|e| e.kind()), refused);
    assert_eq!(file.sync().err().map(|e| e.kind()), refused);
    let done = file.submit(0, block(1, 1).bytes_mut());
    assert!(matches!(done, Submitted::Done(Err(e)) if e.kind() == ErrorKind::ReadOnlyFilesystem));
    let mut bytes = [0; 3];
    assert_eq!(file.read_at(0, &mut bytes).expect("read"), 3);
    assert_eq!(&bytes, b"abc");
    assert_eq!(names(&*dir), ["a"]);
}

#[test]
fn a_directory_that_refuses_a_probe_opens_all_the_same() {
    // The kernel's own tables take no new file, not even from the superuser.
    let dir = RealDisk::new().open_dir(Path::new("/proc/self/task"), false).expect("opened");
    assert_eq!(dir.capabilities(), BUFFERED);
    assert!(dir.create("a").is_err());
    assert!(matches!(dir.lock("in_use.lock"), Err(LockError::Io { .. })));
}

#[test]
fn a_failed_sync_fails_every_later_one() {
    let temp = tempfile::tempdir().expect("directory");
    let directory = open_directory(temp.path()).expect("opened");
    let path = temp.path().join("a");
    let file = file::RealFile::create(&directory, "a", path, false).expect("made");
    use crate::disk::File as _;
    file.write_at(0, &[0; BLOCK]).expect("written");
    file.sync().expect("synced");
    file.fail_with(rustix::io::Errno::IO);
    let kind = io::Error::from(rustix::io::Errno::IO).kind();
    for _ in 0..2 {
        let error = file.sync().expect_err("remembered");
        assert_eq!(error.kind(), kind);
        assert!(error.to_string().contains("earlier sync"), "{error}");
        let Submitted::Done(Err(error)) = file.submit(0, block(1, 1).bytes_mut()) else {
            panic!("a write after a failed sync was reported durable");
        };
        assert_eq!(error.kind(), kind);
    }
    // A new opening starts with the kernel's own memory of errors.
    let dir = RealDisk::buffered().open_dir(temp.path(), false).expect("opened");
    dir.open("a", Access::Write).expect("opened").sync().expect("synced");
}

#[test]
fn an_error_of_the_storage_reaches_the_caller() {
    // Every write to this device fails for lack of space.
    let directory = open_directory(Path::new("/dev")).expect("opened");
    let opened = file::RealFile::open(&directory, "full", "/dev/full".into(), false, Access::Write);
    let Ok(full) = opened else { return };
    use crate::disk::File as _;
    let done = full.submit(0, block(1, 1).bytes_mut());
    assert!(matches!(done, Submitted::Done(Err(e)) if e.kind() == ErrorKind::StorageFull));
    assert_eq!(full.write_at(0, b"x").err().map(|e| e.kind()), Some(ErrorKind::StorageFull));
}

#[test]
#[should_panic(expected = "aligned to device blocks")]
fn an_unaligned_submit_is_our_mistake() {
    let temp = tempfile::tempdir().expect("directory");
    let dir = RealDisk::buffered().open_dir(temp.path(), false).expect("opened");
    let _ = dir.create("a").expect("made").submit(512, block(1, 1).bytes_mut());
}

#[test]
fn finishing_what_was_never_in_flight_is_an_error() {
    let temp = tempfile::tempdir().expect("directory");
    let dir = RealDisk::new().open_dir(temp.path(), false).expect("opened");
    assert!(dir.create("a").expect("made").finish(WriteToken(7)).is_err());
}

// ---- locks ----

const CHILD: &str = "MILLPOND_TEST_LOCK_CHILD";

/// Not a test of its own: run by the children of the lock tests.
#[test]
fn lock_child() {
    let Ok(order) = std::env::var(CHILD) else { return };
    let (kind, path) = order.split_once(':').expect("kind and path");
    let path = Path::new(path);
    let disk = RealDisk::buffered();
    let file = || {
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        options.open(path.join("in_use.lock")).expect("lock file")
    };
    let _held: Box<dyn std::any::Any> = match kind {
        "fcntl" => {
            let file = file();
            let operation = rustix::fs::FlockOperation::NonBlockingLockExclusive;
            rustix::fs::fcntl_lock(&file, operation).expect("free");
            Box::new(file)
        }
        "flock" => {
            let file = file();
            fs2::FileExt::try_lock_exclusive(&file).expect("free");
            Box::new(file)
        }
        "both" => Box::new(disk.open_dir(path, false).expect("dir").lock("in_use.lock").ok()),
        _ => {
            let error = disk.open_dir(path, false).expect("dir").lock("in_use.lock").err();
            println!("answer {error:?}");
            return;
        }
    };
    println!("answer locked");
    // Until the parent closes our input, or kills us.
    let _ = io::stdin().lines().next();
}

/// The output of a child.
type Output = io::Lines<BufReader<std::process::ChildStdout>>;

/// Returns a child that holds, or asks for, the lock of a directory, its reply, and its further output, which must be
/// kept as long as the child may print.
fn child(kind: &str, path: &Path) -> (Child, String, Output) {
    let mut child = Command::new(std::env::current_exe().expect("test binary"))
        .args(["--exact", "disk::real::tests::lock_child", "--nocapture", "--test-threads=1"])
        .env(CHILD, format!("{kind}:{}", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("child");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let answer = lines
        // The test framework may have begun the line.
        .find_map(|line| {
            let line = line.expect("text");
            line.split_once("answer ").map(|(_, answer)| answer.to_owned())
        })
        .expect("an answer");
    (child, answer, lines)
}

fn refused_holder(result: Result<Box<dyn crate::disk::Lock>, LockError>) -> Option<u32> {
    match result.map(|_| ()) {
        Err(LockError::Held { holder, path }) => {
            assert!(path.ends_with("in_use.lock"));
            holder
        }
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn a_second_opener_in_this_process_is_refused_and_the_lock_stays() {
    let temp = tempfile::tempdir().expect("directory");
    let dir = RealDisk::new().open_dir(temp.path(), false).expect("opened");
    let lock = dir.lock("in_use.lock").expect("free");
    let alias = RealDisk::buffered().open_dir(&temp.path().join("."), false).expect("opened");
    assert_eq!(refused_holder(alias.lock("in_use.lock")), Some(std::process::id()));
    // The refusal must not have dropped the POSIX lock: another process is still excluded.
    let (mut asks, answer, _output) = child("ask", temp.path());
    asks.wait().expect("ended");
    let named = format!("holder: Some({})", std::process::id());
    assert!(answer.contains("Held") && answer.contains(&named), "{answer}");
    drop(lock);
    drop(alias.lock("in_use.lock").expect("free again"));
}

#[test]
fn a_lock_file_that_is_a_link_is_refused_and_its_target_stays() {
    let temp = tempfile::tempdir().expect("temp dir");
    let dir = RealDisk::buffered().open_dir(temp.path(), false).expect("dir");
    let (lock, other) = (temp.path().join("in_use.lock"), temp.path().join("other"));
    std::fs::write(&other, "dear").expect("written");
    for target in [other.as_path(), temp.path().join("nowhere").as_path()] {
        std::os::unix::fs::symlink(target, &lock).expect("link");
        let error = dir.lock("in_use.lock").err().expect("refused").to_string();
        assert!(error.contains("in_use.lock: it is a symbolic link"), "{error}");
        assert!(error.contains("remove the link"), "{error}");
        std::fs::remove_file(&lock).expect("removed");
    }
    assert_eq!(std::fs::read(&other).expect("read"), b"dear");
    assert!(!temp.path().join("nowhere").exists());
    drop(dir.lock("in_use.lock").expect("free"));
}

#[test]
fn another_process_with_either_lock_keeps_us_out() {
    for kind in ["fcntl", "flock", "both"] {
        let temp = tempfile::tempdir().expect("directory");
        let dir = RealDisk::new().open_dir(temp.path(), false).expect("opened");
        let (mut holds, answer, _output) = child(kind, temp.path());
        assert_eq!(answer, "locked", "{kind}");
        let holder = refused_holder(dir.lock("in_use.lock"));
        // The holder of a bare flock is unknown, as it wrote no text.
        assert_eq!(holder, (kind != "flock").then_some(holds.id()), "{kind}");
        // Killed, not ended: the locks must be released however the process ends.
        holds.kill().expect("killed");
        holds.wait().expect("ended");
        dir.lock("in_use.lock").expect(kind);
    }
}

#[test]
fn a_lock_file_with_any_text_does_not_mislead() {
    for text in ["", "-5", "0", "99999999999999999999", "4294967295", "\u{fffd}x", "1 2"] {
        let temp = tempfile::tempdir().expect("directory");
        std::fs::write(temp.path().join("in_use.lock"), text).expect("written");
        let dir = RealDisk::new().open_dir(temp.path(), false).expect("opened");
        let (mut holds, _, _output) = child("flock", temp.path());
        assert_eq!(refused_holder(dir.lock("in_use.lock")), None, "{text:?}");
        holds.kill().expect("killed");
        holds.wait().expect("ended");
        let lock = dir.lock("in_use.lock").expect("free");
        let signed = std::fs::read_to_string(temp.path().join("in_use.lock")).expect("read");
        assert_eq!(signed.trim(), std::process::id().to_string());
        drop(lock);
    }
}

#[test]
fn only_one_of_many_threads_gets_the_lock() {
    let temp = tempfile::tempdir().expect("directory");
    let dir = RealDisk::new().open_dir(temp.path(), false).expect("opened");
    let locks: Vec<_> = std::thread::scope(|scope| {
        let tries: Vec<_> = (0..8).map(|_| scope.spawn(|| dir.lock("in_use.lock").ok())).collect();
        tries.into_iter().filter_map(|one| one.join().expect("no panic")).collect()
    });
    assert_eq!(locks.len(), 1);
}

#[test]
fn what_is_not_a_file_is_named_and_a_pipe_is_not_waited_for() {
    for (storage, disk, temp) in storages() {
        let dir = disk.open_dir(temp.path(), false).expect(storage);
        std::fs::create_dir(temp.path().join("a")).expect(storage);
        let error = dir.open("a", Access::Read).err().expect("no file").to_string();
        assert!(error.contains("directory; move it away"), "{storage}: {error}");
        let pipe = temp.path().join("b");
        let made = Command::new("mkfifo").arg(&pipe).status().expect("mkfifo runs");
        assert!(made.success());
        for access in [Access::Read, Access::Write] {
            let error = dir.open("b", access).err().expect("no file").to_string();
            assert!(error.contains("named pipe; move it away"), "{storage}: {error}");
        }
    }
}

#[test]
fn a_directory_knows_what_was_removed_from_it() {
    for (storage, disk, temp) in storages() {
        let path = temp.path().join("d");
        let dir = disk.open_dir(&path, true).expect(storage);
        assert!(!dir.holds("a").expect(storage));
        dir.create("a").expect(storage);
        assert!(dir.holds("a").expect(storage));
        std::fs::remove_dir_all(&path).expect(storage);
        assert!(!dir.holds("a").expect(storage), "{storage}");
    }
}
