//! Tests of real directories, and of files with injected failures.

use super::file::RolledFile;
use super::*;
use crate::sink::test_support::{context, context_with};
use millpond::{Channel, ManualClock, MemoryChannel, MemoryOptions};
use millpond_flow::base::files;
use millpond_flow::context::StopSignal;
use millpond_flow::dead_letter::RefusedEvents;
use millpond_flow::failure_log::FailureLog;
use millpond_flow::settings::Settings;
use millpond_flow::sink_runner::SinkRunner;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::UNIX_EPOCH;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::time::timeout;

fn sink(directory: &TempDir, pairs: &[(&str, &str)]) -> FileRollSink {
    let mut all = vec![("sink.directory", directory.path().to_str().unwrap())];
    all.extend(pairs);
    let settings = Settings::from_pairs("k1", &all);
    build(&mut SettingsReader::new(&settings)).unwrap()
}

fn events(bodies: &[&str]) -> Vec<Event> {
    bodies.iter().map(|&body| Event::new(body.to_owned())).collect()
}

/// Returns names and contents, by name.
fn found(directory: &TempDir) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let bytes = std::fs::read(entry.path()).unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, String::from_utf8_lossy(&bytes).into_owned())
        })
        .collect();
    all.sort();
    all
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

#[tokio::test]
async fn batches_are_in_the_file_when_deliver_returns() {
    let (directory, context) = (TempDir::new().unwrap(), context());
    let mut sink = sink(&directory, &[("sink.rollInterval", "0")]);
    sink.start(&context).await.unwrap();
    assert_eq!(found(&directory), [], "no file without an event");
    sink.deliver(&context, &events(&["one", "two"])).await.unwrap();
    assert_eq!(found(&directory), pairs(&[("1600000000000-1", "one\ntwo\n")]));
    sink.deliver(&context, &events(&["three"])).await.unwrap();
    sink.stop(&context).await.unwrap();
    assert_eq!(found(&directory), pairs(&[("1600000000000-1", "one\ntwo\nthree\n")]));
    assert_eq!(sink.next_tick(), None);
    assert_eq!(sink.batch_events(), 100);
}

#[tokio::test]
async fn an_empty_file_left_by_a_kill_is_removed_if_it_is_invalid() {
    for (serializer, kept) in [("AVRO_EVENT", 4), ("TEXT", 5)] {
        let (directory, context) = (TempDir::new().unwrap(), context());
        let old = UNIX_EPOCH + Duration::from_millis(context.clock.wall_ms() - 61_000);
        for (name, text) in [("1500000000000-7", ""), ("1500000000000-6", "x"), ("other", "")] {
            let path = directory.path().join(name);
            std::fs::write(&path, text).unwrap();
            File::options().write(true).open(&path).unwrap().set_modified(old).unwrap();
        }
        // Another sink's, which has just begun it.
        std::fs::write(directory.path().join("1500000000000-9"), "").unwrap();
        std::os::unix::fs::symlink("other", directory.path().join("1500000000000-8")).unwrap();
        let mut sink = sink(&directory, &[("sink.serializer", serializer)]);
        sink.start(&context).await.unwrap();
        let found = found(&directory);
        assert_eq!(found.len(), kept, "{serializer}: {found:?}");
    }
}

#[tokio::test]
async fn a_file_is_closed_after_its_time_also_when_idle() {
    let directory = TempDir::new().unwrap();
    let clock = Arc::new(ManualClock::default());
    let context = context_with(clock.clone());
    let mut sink = sink(&directory, &[("sink.rollInterval", "30")]);
    sink.start(&context).await.unwrap();
    assert_eq!(sink.next_tick(), None, "nothing to close");
    clock.advance(Duration::from_secs(5));
    sink.deliver(&context, &events(&["a"])).await.unwrap();
    assert_eq!(sink.next_tick(), Some(Duration::from_secs(35)));
    clock.advance(Duration::from_secs(29));
    sink.tick(&context).await.unwrap();
    sink.deliver(&context, &events(&["b"])).await.unwrap();
    clock.advance(Duration::from_secs(1));
    sink.tick(&context).await.unwrap();
    assert_eq!(sink.next_tick(), None);
    // Another batch, another file; a late batch closes it if no tick came.
    sink.deliver(&context, &events(&["c"])).await.unwrap();
    clock.advance(Duration::from_secs(31));
    sink.deliver(&context, &events(&["d"])).await.unwrap();
    let expected =
        [("1600000000000-1", "a\nb\n"), ("1600000000000-2", "c\n"), ("1600000000000-3", "d\n")];
    assert_eq!(found(&directory), pairs(&expected));
}

#[tokio::test]
async fn a_file_that_exists_is_never_touched() {
    let (directory, context) = (TempDir::new().unwrap(), context());
    for n in 1..=2 {
        std::fs::write(directory.path().join(format!("1600000000000-{n}")), "old").unwrap();
    }
    let mut sink = sink(&directory, &[]);
    sink.start(&context).await.unwrap();
    sink.deliver(&context, &events(&["new"])).await.unwrap();
    let expected =
        [("1600000000000-1", "old"), ("1600000000000-2", "old"), ("1600000000000-3", "new\n")];
    assert_eq!(found(&directory), pairs(&expected));
}

#[tokio::test]
async fn a_missing_directory_is_created_and_a_file_in_its_place_refused() {
    let (directory, context) = (TempDir::new().unwrap(), context());
    let missing = directory.path().join("later");
    let settings = Settings::from_pairs("k1", &[("sink.directory", missing.to_str().unwrap())]);
    let mut sink = build(&mut SettingsReader::new(&settings)).unwrap();
    std::fs::write(&missing, "").unwrap();
    let error = sink.start(&context).await.unwrap_err().to_string();
    assert!(error.contains("is not a directory"), "{error}");
    std::fs::remove_file(&missing).unwrap();
    sink.start(&context).await.unwrap();
    sink.deliver(&context, &events(&["x"])).await.unwrap();
}

#[tokio::test]
async fn a_removed_directory_is_created_again_with_the_next_batch_or_file() {
    let (parent, context) = (TempDir::new().unwrap(), context());
    let directory = parent.path().join("a/out");
    let settings = Settings::from_pairs("k1", &[("sink.directory", directory.to_str().unwrap())]);
    let mut sink = build(&mut SettingsReader::new(&settings)).unwrap();
    sink.start(&context).await.unwrap();
    sink.deliver(&context, &events(&["a"])).await.unwrap();
    let texts = || {
        let files = std::fs::read_dir(&directory).into_iter().flatten();
        files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect::<Vec<_>>()
    };
    // While a file is open: the next batch is not written to the nameless file.
    std::fs::remove_dir_all(parent.path().join("a")).unwrap();
    sink.deliver(&context, &events(&["b"])).await.unwrap();
    assert_eq!(texts(), ["b\n"]);
    // Between two files.
    sink.close().await.unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
    sink.deliver(&context, &events(&["c"])).await.unwrap();
    assert_eq!(texts(), ["c\n"]);
    // While it cannot be created the batch is not delivered, and afterwards it is.
    sink.close().await.unwrap();
    std::fs::remove_dir_all(parent.path().join("a")).unwrap();
    std::fs::write(parent.path().join("a"), "").unwrap();
    let error = sink.deliver(&context, &events(&["d"])).await.unwrap_err().to_string();
    assert!(error.contains("sink.directory") && error.contains("a/out"), "{error}");
    std::fs::remove_file(parent.path().join("a")).unwrap();
    sink.deliver(&context, &events(&["d"])).await.unwrap();
    assert_eq!(texts(), ["d\n"]);
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum FileFault {
    /// Writes so many bytes and fails, as a full disk does.
    Write(usize),
    Sync,
    Truncate,
    Removed,
}

thread_local! {
    /// The results of the next operations on failing files.
    static FAULTS: RefCell<VecDeque<FileFault>> = const { RefCell::new(VecDeque::new()) };
}

fn fault(is: impl Fn(FileFault) -> bool) -> Option<FileFault> {
    FAULTS.with_borrow_mut(|faults| faults.pop_front_if(|fault| is(*fault)))
}

struct FailingFile(File);

impl RolledFile for FailingFile {
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match fault(|f| matches!(f, FileFault::Write(_))) {
            Some(FileFault::Write(n)) => {
                RolledFile::write_at(&self.0, &bytes[..n.min(bytes.len())], offset)?;
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => RolledFile::write_at(&self.0, bytes, offset),
        }
    }

    fn sync(&self) -> io::Result<()> {
        match fault(|f| f == FileFault::Sync) {
            Some(_) => Err(io::Error::other("input/output error")),
            None => RolledFile::sync(&self.0),
        }
    }

    fn truncate(&self, bytes: u64) -> io::Result<()> {
        match fault(|f| f == FileFault::Truncate) {
            Some(_) => Err(io::Error::other("input/output error")),
            None => RolledFile::truncate(&self.0, bytes),
        }
    }

    fn is_named(&self) -> io::Result<bool> {
        match fault(|f| f == FileFault::Removed) {
            Some(_) => Ok(false),
            None => RolledFile::is_named(&self.0),
        }
    }
}

/// Delivers "a", then "bb" with `faults`, then "bb" again as the flow does, then "c".
fn with_faults(faults: &[FileFault], pairs: &[(&str, &str)]) -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let sink = sink(&directory, pairs);
    let mut files = lock(&sink.files);
    files.create_with(|path: &Path| Ok(Box::new(FailingFile(files::create_new(path)?))));
    files.append(&events(&["a"]), 1).unwrap();
    FAULTS.set(faults.iter().copied().collect());
    let error = files.append(&events(&["bb"]), 1).unwrap_err().to_string();
    FAULTS.with_borrow(|left| assert!(left.is_empty(), "not met: {left:?}"));
    files.append(&events(&["bb"]), 1).unwrap();
    files.append(&events(&["c"]), 1).unwrap();
    drop(files);
    (directory, error)
}

#[test]
fn a_full_disk_leaves_no_half_event_and_no_further_file() {
    let (directory, error) = with_faults(&[FileFault::Write(1)], &[]);
    assert_eq!(found(&directory), pairs(&[("1-1", "a\nbb\nc\n")]));
    assert!(error.contains("cannot write") && error.contains("1-1"), "{error}");
}

#[test]
fn after_a_failed_sync_the_file_is_left_whole_and_another_begun() {
    let (directory, error) = with_faults(&[FileFault::Sync], &[]);
    assert_eq!(found(&directory), pairs(&[("1-1", "a\n"), ("1-2", "bb\nc\n")]));
    assert!(error.contains("cannot sync"), "{error}");
}

#[test]
fn a_file_that_was_removed_takes_no_further_batch() {
    // Removed between two batches: the second one gets a file of its own at once.
    let directory = TempDir::new().unwrap();
    let sink = sink(&directory, &[]);
    let mut files = lock(&sink.files);
    files.append(&events(&["a"]), 1).unwrap();
    for (name, _) in found(&directory) {
        std::fs::remove_file(directory.path().join(name)).unwrap();
    }
    files.append(&events(&["bb"]), 1).unwrap();
    let left = found(&directory);
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].1, "bb\n");
    // Removed while the batch is written: it is not delivered, and the next try uses another file.
    files.close();
    files.create_with(|path: &Path| Ok(Box::new(FailingFile(files::create_new(path)?))));
    FAULTS.set([FileFault::Removed].into_iter().collect());
    let error = files.append(&events(&["d"]), 1).unwrap_err().to_string();
    assert!(error.contains("was removed"), "{error}");
    files.append(&events(&["d"]), 1).unwrap();
    assert_eq!(found(&directory).last().map(|(_, text)| text.as_str()), Some("d\n"));
}

#[test]
fn a_partial_batch_that_cannot_be_cut_off_ends_its_file() {
    let (directory, _) = with_faults(&[FileFault::Write(1), FileFault::Truncate], &[]);
    assert_eq!(found(&directory), pairs(&[("1-1", "a\nb"), ("1-2", "bb\nc\n")]));
    let (directory, _) = with_faults(&[FileFault::Sync, FileFault::Truncate], &[]);
    assert_eq!(found(&directory), pairs(&[("1-1", "a\nbb\n"), ("1-2", "bb\nc\n")]));
}

#[test]
fn an_avro_file_stays_readable_through_a_full_disk() {
    let (directory, _) = with_faults(&[FileFault::Write(3)], &[("sink.serializer", "AVRO_EVENT")]);
    let file = std::fs::read(directory.path().join("1-1")).unwrap();
    let blocks = serializer::reading::blocks(&file);
    let bodies: Vec<&[u8]> = blocks.iter().flatten().map(|(_, body)| &body[..]).collect();
    assert_eq!(bodies, [&b"a"[..], b"bb", b"c"]);
}

#[test]
fn a_first_batch_that_fails_repeatedly_leaves_one_file_at_most() {
    let directory = TempDir::new().unwrap();
    let sink = sink(&directory, &[("sink.serializer", "AVRO_EVENT")]);
    let mut files = lock(&sink.files);
    files.create_with(|path: &Path| Ok(Box::new(FailingFile(files::create_new(path)?))));
    for faults in [&[FileFault::Write(9)][..], &[FileFault::Write(0)], &[FileFault::Sync]] {
        FAULTS.set(faults.iter().copied().collect());
        assert!(files.append(&events(&["a"]), 1).is_err());
        assert!(found(&directory).len() <= 1);
    }
    files.append(&events(&["a"]), 1).unwrap();
    let all = found(&directory);
    assert_eq!(all.len(), 1);
    let file = std::fs::read(directory.path().join(&all[0].0)).unwrap();
    assert_eq!(serializer::reading::blocks(&file).len(), 1);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for pairs in [
        &[][..],
        &[("sink.directory", "/d"), ("sink.batchSize", "0")],
        &[("sink.directory", "/d"), ("sink.rollInterval", "soon")],
        &[("sink.directory", "/d"), ("sink.serializer", "com.example.X")],
        &[("sink.directory", "/d"), ("sink.pathManager", "x")],
    ] {
        assert!(crate::sink::test_support::build(&TYPE, pairs).is_err(), "{pairs:?}");
    }
}

#[tokio::test]
async fn each_schema_has_its_file_and_a_refused_event_writes_nothing() {
    let (directory, context) = (TempDir::new().unwrap(), context());
    let class = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
    let settings = [("sink.serializer", class), ("sink.rollInterval", "0")];
    let mut sink = sink(&directory, &settings);
    sink.start(&context).await.unwrap();
    let event = |schema: &str, body: &'static str| {
        let mut event = Event::new(body);
        event.headers.set("flume.avro.schema.literal", schema);
        event
    };
    let (int, text) = ("\"int\"", "\"string\"");
    let mixed = [event(text, "\x02a"), event(int, "\x02"), event(text, "\x02b")];
    sink.deliver(&context, &mixed).await.unwrap();
    // The file of the numbers is open: it is continued, whatever comes first.
    sink.deliver(&context, &mixed[..2]).await.unwrap();
    let bad = [event(int, "\x04"), event(int, "too long for a number")];
    let failure = sink.deliver(&context, &bad).await.unwrap_err();
    assert!(failure.is_refusal() && sink.may_refuse(), "{failure}");
    let plain = self::sink(&directory, &[]);
    assert!(!plain.may_refuse(), "any event is text");
    sink.stop(&context).await.unwrap();
    let files: Vec<Vec<u8>> = found(&directory)
        .iter()
        .map(|(name, _)| std::fs::read(directory.path().join(name)).unwrap())
        .collect();
    let has = |file: &[u8], part: &[u8]| file.windows(part.len()).filter(|w| *w == part).count();
    assert_eq!(files.len(), 3);
    for (file, (schema, blocks)) in files.iter().zip([(text, 1), (int, 2), (text, 1)]) {
        assert_eq!(has(file, schema.as_bytes()), 1);
        assert_eq!(has(file, &file[file.len() - 16..]), 1 + blocks, "a marker after each block");
        assert_eq!(has(file, b"too long"), 0);
    }
}

#[tokio::test]
async fn a_directory_that_cannot_be_created_is_detected_beforehand() {
    let directory = TempDir::new().unwrap();
    let with = |path: &Path| {
        let settings = Settings::from_pairs("k1", &[("sink.directory", path.to_str().unwrap())]);
        build(&mut SettingsReader::new(&settings)).unwrap()
    };
    with(&directory.path().join("a")).preflight().await.unwrap();
    assert!(!directory.path().join("a").exists());
    let error = with(Path::new("/dev/null/a")).preflight().await.unwrap_err().to_string();
    assert!(error.contains("/dev/null/a cannot be made"), "{error}");
}

/// A file on a disk that hangs until the test releases it.
struct HungFile;

static HANGS: AtomicBool = AtomicBool::new(true);
static BEGUN: AtomicBool = AtomicBool::new(false);

impl RolledFile for HungFile {
    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        BEGUN.store(true, Ordering::SeqCst);
        while HANGS.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Ok(())
    }

    fn is_named(&self) -> io::Result<bool> {
        Ok(true)
    }
}

#[tokio::test]
async fn a_hanging_disk_does_not_block_a_stop_and_loses_no_events() {
    let directory = TempDir::new().unwrap();
    let hung = sink(&directory, &[]);
    hung.files.lock().unwrap().create_with(|_| Ok(Box::new(HungFile)));
    let hung = Mutex::new(Some(hung));
    let channel = MemoryChannel::new(MemoryOptions::default()).unwrap();
    let mut put = channel.begin_put();
    events(&["one", "two"]).into_iter().for_each(|event| put.put(event).unwrap());
    put.commit().unwrap();
    let channel: Arc<dyn Channel> = Arc::new(channel);
    let (stop, signal) = StopSignal::new();
    let runner = SinkRunner {
        agent: "a".to_owned(),
        name: "k1".to_owned(),
        make: Box::new(move || Ok(Box::new(hung.lock().unwrap().take().unwrap()))),
        channel: Arc::clone(&channel),
        counters: Arc::default(),
        clock: Arc::new(ManualClock::default()),
        stop: signal,
        tried: watch::channel(false).0,
        started: watch::channel(false).0,
        drain_at_stop: Arc::new(false.into()),
        refused: RefusedEvents::default(),
        failure_log: FailureLog::default(),
        tap: Arc::default(),
    };
    let mut task = tokio::spawn(runner.run());
    while !BEGUN.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stop.send_replace(true);
    let in_time = timeout(Duration::from_millis(50), &mut task).await;
    assert!(in_time.is_err(), "the batch in hand is waited for, up to the deadline of the stop");
    // As the agent does then.
    task.abort();
    let ended = timeout(Duration::from_secs(30), task).await.expect("nothing waits for the disk");
    assert!(ended.unwrap_err().is_cancelled());
    assert_eq!(channel.status().events, 2);
    let mut take = channel.begin_take();
    assert_eq!(take.take(10).unwrap().len(), 2, "they are delivered after the next start");
    take.rollback();
    HANGS.store(false, Ordering::SeqCst);
}
