//! Tests of real directories with a fake channel, and with a real one that is reopened.

use super::*;
use crate::source::test_support::{CommitReply, SourceHarness, bodies, build, until};
use millpond::{Channel, Event, FileChannel, FileChannelOptions};
use millpond_flow::base::files;
use millpond_flow::context::SourceStage;
use millpond_flow::log_capture::captured_log;
use std::path::Path;

/// A directory with `in` (the spooling directory) and room for other files.
struct SpoolFixture {
    directory: tempfile::TempDir,
}

impl SpoolFixture {
    fn new(inputs: &[(&str, &str)]) -> Self {
        let fixture = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(fixture.at("in")).unwrap();
        for (name, text) in inputs {
            fixture.write(name, text);
        }
        fixture
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Writes a file of the spooling directory.
    fn write(&self, name: &str, text: &str) {
        let path = self.at("in").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
    }

    fn append(&self, name: &str, text: &str) {
        use std::io::Write;
        let mut file = files::append(&self.at("in").join(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn aged(&self, name: &str, seconds: i64) {
        let ago = rustix::fs::Timespec { tv_sec: 1_700_000_000 - seconds, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: ago, last_modification: ago };
        let path = self.at("in").join(name);
        rustix::fs::utimensat(rustix::fs::CWD, &path, &times, rustix::fs::AtFlags::empty())
            .unwrap();
    }

    fn source(&self, more: &[(&str, &str)]) -> Box<dyn Source> {
        let directory = self.at("in");
        let mut pairs = vec![("spoolDir", directory.to_str().unwrap()), ("pollDelay", "10")];
        pairs.extend(more);
        build(&TYPE, &pairs).unwrap()
    }

    /// Returns the names in the spooling directory, except hidden ones.
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut open = vec![self.at("in")];
        while let Some(directory) = open.pop() {
            for entry in std::fs::read_dir(directory).unwrap() {
                let path = entry.unwrap().path();
                if path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                    continue;
                }
                if path.is_dir() {
                    open.push(path);
                } else {
                    let name = path.strip_prefix(self.at("in")).unwrap();
                    names.push(name.to_str().unwrap().to_owned());
                }
            }
        }
        names.sort();
        names
    }

    async fn until_names(&self, wanted: &[&str]) {
        until(&format!("{wanted:?} in the directory"), || self.names() == wanted).await;
    }

    fn channel(&self, name: &str) -> Arc<dyn Channel> {
        self.channel_of(name, 1000)
    }

    fn channel_of(&self, name: &str, capacity: u64) -> Arc<dyn Channel> {
        let mut options =
            FileChannelOptions::new(self.at(name).join("checkpoint"), [self.at(name).join("data")]);
        options.capacity = capacity;
        options.transaction_capacity = usize::try_from(capacity).unwrap();
        options.segment_bytes = 1 << 20;
        options.minimum_required_space = 1 << 20;
        options.keep_alive = Duration::from_millis(10);
        Arc::new(FileChannel::open(options).unwrap())
    }
}

fn drain(channel: &Arc<dyn Channel>) -> Vec<String> {
    let mut take = channel.begin_take();
    let events = take.take(1000).unwrap();
    take.commit().unwrap();
    bodies(&events)
}

fn headers(event: &Event) -> Vec<(&str, &str)> {
    event.headers.iter().collect()
}

#[tokio::test]
async fn lines_of_files_become_events_and_files_are_renamed() {
    let fixture =
        SpoolFixture::new(&[("a.txt", "one\ntwo\r\n\nlast without newline"), ("b.txt", "")]);
    fixture.aged("a.txt", 9);
    let harness = SourceHarness::new();
    let more = [("basenameHeader", "true"), ("fileHeader", "true"), ("fileHeaderKey", "path")];
    let source = fixture.source(&more);
    harness
        .run(&*source, fixture.until_names(&["a.txt.COMPLETED", "b.txt.COMPLETED"]))
        .await
        .unwrap();
    let events = harness.events();
    assert_eq!(bodies(&events), ["one", "two\r", "", "last without newline", ""]);
    let path = fixture.at("in").join("b.txt");
    assert_eq!(headers(&events[4]), [("path", path.to_str().unwrap()), ("basename", "b.txt")]);
    let left = std::fs::read_dir(fixture.at("in/.flumespool")).unwrap().count();
    assert_eq!(left, 0, "nothing is remembered of files that are done");
}

#[tokio::test]
async fn files_are_read_in_the_configured_order_if_their_names_match() {
    let names = ["b.log", "a.log", "c.log", ".hidden.log", "x.txt", "tmp.log", "old.log.DONE"];
    for (order, wanted) in [("oldest", ["c", "a", "b"]), ("YOUNGEST", ["a", "b", "c"])] {
        let fixture = SpoolFixture::new(&[]);
        for name in names {
            fixture.write(name, &name[..1]);
            fixture.aged(name, if name == "c.log" { 9 } else { 5 });
        }
        let source = fixture.source(&[
            ("consumeOrder", order),
            ("includePattern", r"^.*\.log$"),
            ("ignorePattern", "tmp.*"),
            ("fileSuffix", ".DONE"),
        ]);
        let harness = SourceHarness::new();
        harness.run(&*source, harness.until_events(3)).await.unwrap();
        assert_eq!(bodies(&harness.events()), wanted, "{order}");
        assert!(fixture.names().contains(&"tmp.log".to_owned()));
    }
}

#[tokio::test]
async fn subdirectories_are_read_if_configured() {
    let inputs = [("a", "1"), ("sub/deep/b", "2"), (".dot/c", "3"), ("no/d", "4")];
    let fixture = SpoolFixture::new(&inputs);
    let harness = SourceHarness::new();
    let source = fixture.source(&[]);
    harness
        .run(&*source, fixture.until_names(&["a.COMPLETED", "no/d", "sub/deep/b"]))
        .await
        .unwrap();
    let harness = SourceHarness::new();
    let source = fixture.source(&[("recursiveDirectorySearch", "true"), ("ignorePattern", "no")]);
    let done = ["a.COMPLETED", "no/d", "sub/deep/b.COMPLETED"];
    harness.run(&*source, fixture.until_names(&done)).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["2"]);
}

#[tokio::test]
async fn directories_that_are_too_deep_are_counted() {
    let deep = "d/".repeat(65);
    let fixture = SpoolFixture::new(&[("a", "1"), (&format!("{deep}b"), "2")]);
    let harness = SourceHarness::new();
    let source = fixture.source(&[("recursiveDirectorySearch", "true")]);
    let left_out = &harness.context.counters.files_left_out;
    let seen = until("the directory", || left_out.get() == 1 && harness.events().len() == 1);
    harness.run(&*source, seen).await.unwrap();
}

#[tokio::test]
async fn files_are_deleted_or_marked_elsewhere_if_configured() {
    let fixture = SpoolFixture::new(&[("a", "1\n")]);
    let harness = SourceHarness::new();
    let source = fixture.source(&[("deletePolicy", "immediate")]);
    harness.run(&*source, fixture.until_names(&[])).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["1"]);

    let fixture = SpoolFixture::new(&[("sub/a", "1\n")]);
    let tracker = fixture.at("elsewhere/tracker");
    let more = [
        ("trackingPolicy", "tracker_dir"),
        ("trackerDir", tracker.to_str().unwrap()),
        ("recursiveDirectorySearch", "true"),
    ];
    for _ in 0..2 {
        let harness = SourceHarness::new();
        let source = fixture.source(&more);
        let noted = tracker.join("sub/a.COMPLETED");
        fixture.write("sub/z", "2\n");
        let next = tracker.join("sub/z.COMPLETED");
        let done = until("both notes", || noted.exists() && next.exists());
        harness.run(&*source, done).await.unwrap();
        assert_eq!(fixture.names(), ["sub/a", "sub/z"]);
        let read = bodies(&harness.events());
        assert!(["1", "2"].ends_with(&read.iter().map(String::as_str).collect::<Vec<_>>()));
    }
}

#[tokio::test]
async fn lines_wait_while_the_channel_refuses_and_batches_are_split_to_fit() {
    let fixture = SpoolFixture::new(&[("a", "1\n2\n3\n4\n5\n")]);
    let harness = SourceHarness::with_capacity(2);
    harness.reply_with([CommitReply::Full, CommitReply::Doubt]);
    let source = fixture.source(&[("maxBackoff", "1")]);
    harness.run(&*source, fixture.until_names(&["a.COMPLETED"])).await.unwrap();
    assert_eq!(harness.batches(), [2, 2, 1]);
    assert_eq!(bodies(&harness.events()), ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn a_growing_file_is_read_to_its_end_while_others_are_read() {
    let fixture = SpoolFixture::new(&[("a", "1\nhalf")]);
    fixture.aged("a", 9);
    let harness = SourceHarness::new();
    harness.reply_with([CommitReply::Held]);
    let source = fixture.source(&[]);
    let script = async {
        harness.until_tries(1).await;
        fixture.append("a", " and half\n3\n");
        fixture.write("b", "other\n");
        harness.release();
        fixture.until_names(&["a.COMPLETED", "b.COMPLETED"]).await;
    };
    harness.run(&*source, script).await.unwrap();
    let mut read = bodies(&harness.events());
    read.sort();
    assert_eq!(read, ["1", "3", "half and half", "other"]);
}

#[tokio::test]
async fn a_file_rewritten_while_it_is_read_stays_and_others_are_read() {
    let fixture = SpoolFixture::new(&[("a", "1\n2\n")]);
    fixture.aged("a", 9);
    let harness = SourceHarness::new();
    harness.reply_with([CommitReply::Held]);
    let source = fixture.source(&[]);
    let script = async {
        harness.until_tries(1).await;
        fixture.write("a", "3\n4\n");
        fixture.write("b", "other\n");
        harness.release();
        fixture.until_names(&["a", "b.COMPLETED"]).await;
        // It stays set aside, also when the directory is listed again.
        fixture.write("c", "last\n");
        fixture.until_names(&["a", "b.COMPLETED", "c.COMPLETED"]).await;
    };
    harness.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["1", "2", "other", "last"]);
}

#[tokio::test]
async fn a_taken_target_name_keeps_the_file_until_it_is_free() {
    let fixture = SpoolFixture::new(&[("a", "new\n"), ("a.COMPLETED", "old\n"), ("b", "other\n")]);
    fixture.aged("a", 9);
    let harness = SourceHarness::new();
    let source = fixture.source(&[]);
    let script = async {
        fixture.until_names(&["a", "a.COMPLETED", "b.COMPLETED"]).await;
        let old = fixture.at("in").join("a.COMPLETED");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "old\n");
        std::fs::remove_file(old).unwrap();
        fixture.until_names(&["a.COMPLETED", "b.COMPLETED"]).await;
    };
    harness.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["new", "other"]);
    let kept = std::fs::read_to_string(fixture.at("in").join("a.COMPLETED")).unwrap();
    assert_eq!(kept, "new\n");
}

#[tokio::test]
async fn bytes_that_are_not_text_set_their_file_aside_and_not_the_source() {
    let fixture = SpoolFixture::new(&[("b", "other\n")]);
    std::fs::write(fixture.at("in/a"), b"good\nb\xffd\nlast\n").unwrap();
    fixture.aged("a", 9);
    let harness = SourceHarness::new();
    let source = fixture.source(&[]);
    harness.run(&*source, fixture.until_names(&["a", "b.COMPLETED"])).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["good", "other"]);
    assert_eq!(harness.context.counters.event_read_fail.get(), 1);
    // Another run does not repeat the line before it, and continues after a change of the policy.
    let harness = SourceHarness::new();
    let source = fixture.source(&[("decodeErrorPolicy", "replace")]);
    harness.run(&*source, fixture.until_names(&["a.COMPLETED", "b.COMPLETED"])).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["b\u{fffd}d", "last"]);
}

#[tokio::test]
async fn an_event_that_no_channel_can_hold_leaves_its_file_in_place() {
    let channel = crate::source::test_support::narrow_channel(1000);
    let long = format!("before\n{}\nbehind\n", "x".repeat(1001));
    let fixture = SpoolFixture::new(&[("a", &long), ("b", "other\n")]);
    fixture.aged("a", 9);
    let harness = SourceHarness::over(&channel);
    let source = fixture.source(&[]);
    harness.run(&*source, fixture.until_names(&["a", "b.COMPLETED"])).await.unwrap();
    assert_eq!(drain(&channel), ["before", "other"]);
    assert_eq!(harness.context.counters.generic_processing_fail.get(), 1);
}

#[tokio::test]
async fn a_pipe_a_dangling_link_and_an_unreadable_file_are_skipped() {
    let fixture = SpoolFixture::new(&[("a", "1\n"), ("closed", "never\n")]);
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, fixture.at("in/pipe"), kind, mode, 0).unwrap();
    std::os::unix::fs::symlink("nowhere", fixture.at("in/link")).unwrap();
    std::fs::write(fixture.at("real"), "linked\n").unwrap();
    std::os::unix::fs::symlink("../real", fixture.at("in/to-real")).unwrap();
    let closed = fixture.at("in/closed");
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    // Root may read everything.
    let readable = std::fs::read(&closed).is_ok();
    let harness = SourceHarness::new();
    let source = fixture.source(&[]);
    harness.run(&*source, harness.until_events(2 + usize::from(readable))).await.unwrap();
    let mut read = bodies(&harness.events());
    read.retain(|body| body != "never");
    read.sort();
    assert_eq!(read, ["1", "linked"]);
}

#[tokio::test]
async fn a_missing_spool_directory_is_named_and_used_once_it_exists() {
    let fixture = SpoolFixture::new(&[]);
    std::fs::remove_dir(fixture.at("in")).unwrap();
    let (harness, source) = (SourceHarness::new(), fixture.source(&[]));
    let script = async {
        harness.until_begun(SourceStage::Waits).await;
        let failed = || harness.context.counters.event_read_fail.get();
        until("each failed opening to be counted", || failed() >= 2).await;
        std::fs::create_dir(fixture.at("in")).unwrap();
        fixture.write("a", "1\n");
        harness.until_events(1).await;
    };
    let log = captured_log(async { harness.run(&*source, script).await.unwrap() }).await;
    assert_eq!(log.matches("cannot read spoolDir").count(), 1, "{log}");
    assert!(log.contains("ERROR") && log.contains("spoolDir cannot be read"), "{log}");
    assert!(log.contains("/in") && log.contains("recovered after"), "{log}");
    assert_eq!(bodies(&harness.events()), ["1"]);

    // A stop does not wait for it.
    std::fs::remove_dir_all(fixture.at("in")).unwrap();
    let harness = SourceHarness::new();
    harness.run(&*source, harness.until_begun(SourceStage::Waits)).await.unwrap();
}

#[tokio::test]
async fn the_first_start_continues_from_flumes_tracker_file() {
    let fixture = SpoolFixture::new(&[("a", "read\nnot yet\n"), ("b", "older\n")]);
    fixture.aged("b", 9);
    std::fs::create_dir(fixture.at("in/.flumespool")).unwrap();
    for durable in [false, true] {
        let mut flume = tracker::TrackerFile::new(&fixture.at("in/.flumespool"));
        flume.store(&fixture.at("in").join("a"), 5).unwrap();
        let channel = fixture.channel("fc");
        let harness = if durable { SourceHarness::over(&channel) } else { SourceHarness::new() };
        let source = fixture.source(&[]);
        let done = fixture.until_names(&["a.COMPLETED", "b.COMPLETED"]);
        harness.run(&*source, done).await.unwrap();
        let read = if durable { drain(&channel) } else { bodies(&harness.events()) };
        // The file in progress is read first, although the other one is older.
        assert_eq!(read, ["not yet", "older"], "durable: {durable}");
        for name in ["a", "b"] {
            let path = fixture.at("in").join(name);
            files::rename_new(&path.with_extension("COMPLETED"), &path).unwrap();
        }
    }
}

/// The tracker file is removed: with a channel that keeps source offsets it is not used.
#[tokio::test]
async fn the_channels_offset_takes_precedence_over_the_tracker_file() {
    let fixture = SpoolFixture::new(&[("a", "1\n2\n3\n4\n")]);
    // Full after the second line.
    let channel = fixture.channel_of("fc", 2);
    let harness = SourceHarness::over(&channel);
    let source = fixture.source(&[("batchSize", "1"), ("maxBackoff", "1")]);
    let full = until("the channel to be full", || {
        channel.status().put == 2 && harness.context.counters.channel_write_fail.get() > 0
    });
    harness.run(&*source, full).await.unwrap();
    std::fs::remove_file(fixture.at("in/.flumespool/.flumespool-main.meta")).unwrap();
    channel.close().unwrap();
    drop((harness, source, channel));
    let channel = fixture.channel("fc");
    let harness = SourceHarness::over(&channel);
    let source = fixture.source(&[]);
    harness.run(&*source, fixture.until_names(&["a.COMPLETED"])).await.unwrap();
    assert_eq!(drain(&channel), ["1", "2", "3", "4"]);
}

/// One channel takes the batch and the other never can: the numbers of that batch are used up, and the next batch
/// must get other numbers.
#[tokio::test]
async fn after_a_file_that_one_channel_cannot_hold_the_next_enter_both() {
    use crate::source::test_support::durable_with;
    use millpond_flow::intake::{ChannelProcessor, NamedChannel};
    use millpond_flow::selector::Replicating;
    let big = "x".repeat(2000);
    let first = format!("e1\n{big}\ne3\ne4\n");
    let fixture = SpoolFixture::new(&[("a", &first), ("b", "of b\n"), ("c", "of c\n")]);
    fixture.aged("a", 9);
    fixture.aged("b", 5);
    let wide = durable_with(&fixture.at("wide"), 10, 1 << 20);
    let narrow = durable_with(&fixture.at("narrow"), 10, 1024);
    let names = ["wide", "narrow"].map(str::to_owned);
    let channels = names.iter().zip([&wide, &narrow]);
    let channels = channels
        .map(|(name, channel)| NamedChannel { name: name.clone(), channel: Arc::clone(channel) });
    let mut harness = SourceHarness::new();
    let selector = Box::new(Replicating::new(&names, &[]).0);
    let counters = Arc::clone(&harness.context.counters);
    let intake = ChannelProcessor::new("r1", selector, channels.collect(), counters);
    harness.context.intake = Arc::new(intake);
    let passed = fixture.until_names(&["a", "b.COMPLETED", "c.COMPLETED"]);
    harness.run(&*fixture.source(&[]), passed).await.unwrap();
    assert_eq!(drain(&wide), ["e1", &big, "e3", "e4", "of b", "of c"]);
    assert_eq!(drain(&narrow), ["e1", "of b", "of c"]);
}

/// Of two channels only the first has the newest batch, as after a crash between two commits.
#[tokio::test]
async fn a_batch_that_one_channel_lacks_is_put_again_only_there() {
    use millpond_flow::intake::{ChannelProcessor, NamedChannel};
    use millpond_flow::selector::Replicating;
    let fixture = SpoolFixture::new(&[("a", "1\n2\n3\n4\n5\n")]);
    let both = |capacity: u64| -> Vec<NamedChannel> {
        ["c1", "c2"]
            .into_iter()
            .map(|name| {
                let mut options = FileChannelOptions::new(
                    fixture.at(name).join("checkpoint"),
                    [fixture.at(name).join("data")],
                );
                options.segment_bytes = 1 << 20;
                options.minimum_required_space = 1 << 20;
                options.keep_alive = Duration::ZERO;
                options.capacity = if name == "c2" { capacity } else { 1000 };
                options.transaction_capacity = 2;
                let channel = Arc::new(FileChannel::open(options).unwrap());
                NamedChannel { name: name.to_owned(), channel }
            })
            .collect()
    };
    let over = |channels: &[NamedChannel]| {
        let mut harness = SourceHarness::new();
        let names: Vec<String> = channels.iter().map(|c| c.name.clone()).collect();
        let selector = Box::new(Replicating::new(&names, &[]).0);
        let counters = Arc::clone(&harness.context.counters);
        let intake = ChannelProcessor::new("r1", selector, channels.to_vec(), counters);
        harness.context.intake = Arc::new(intake);
        harness
    };
    // The second takes two lines and is full.
    let channels = both(3);
    let harness = over(&channels);
    let source = fixture.source(&[("maxBackoff", "1")]);
    let ahead = until("the first channel to be ahead", || channels[0].channel.status().put == 4);
    harness.run(&*source, ahead).await.unwrap();
    assert_eq!(channels[1].channel.status().put, 2);
    for channel in &channels {
        channel.channel.close().unwrap();
    }
    drop((harness, source, channels));
    let channels = both(1000);
    let harness = over(&channels);
    let source = fixture.source(&[]);
    harness.run(&*source, fixture.until_names(&["a.COMPLETED"])).await.unwrap();
    for channel in &channels {
        assert_eq!(drain(&channel.channel), ["1", "2"], "{}", channel.name);
        assert_eq!(drain(&channel.channel), ["3", "4"], "{}", channel.name);
        assert_eq!(drain(&channel.channel), ["5"], "{}", channel.name);
    }
}

/// A name is reused by a file with the same beginning.
#[tokio::test]
async fn a_file_with_a_known_name_is_read_from_its_start() {
    let fixture = SpoolFixture::new(&[("a", "1\n")]);
    let channel = fixture.channel("fc");
    for text in ["1\n", "1\n2\n"] {
        fixture.write("a", text);
        let harness = SourceHarness::over(&channel);
        let source = fixture.source(&[("deletePolicy", "immediate")]);
        harness.run(&*source, fixture.until_names(&[])).await.unwrap();
    }
    assert_eq!(drain(&channel), ["1", "1", "2"]);
}

#[tokio::test]
async fn a_blob_is_a_file_or_a_part_of_the_largest_size() {
    let fixture = SpoolFixture::new(&[("a", "0123456789"), ("b", "01\n4")]);
    fixture.aged("a", 9);
    let harness = SourceHarness::new();
    let source = fixture.source(&[
        ("deserializer", "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder"),
        ("deserializer.maxBlobLength", "4"),
    ]);
    harness.run(&*source, harness.until_events(4)).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["0123", "4567", "89", "01\n4"]);
}

/// A damaged container: the data before the damage is delivered, and the file is set aside.
#[tokio::test]
async fn an_avro_file_becomes_events_and_an_invalid_one_is_set_aside() {
    let fixture = SpoolFixture::new(&[("b", "no container")]);
    let mut file = b"Obj\x01\x02\x16avro.schema\x10\"string\"\x00".to_vec();
    let sync = [3; 16];
    file.extend_from_slice(&sync);
    for block in [&b"\x04\x08\x02a\x02b"[..], b"\x02\x04\x02c"] {
        file.extend_from_slice(block);
        file.extend_from_slice(&sync);
    }
    std::fs::write(fixture.at("in/a"), &file).unwrap();
    let last = file.len() - 1;
    file[last] ^= 1;
    std::fs::write(fixture.at("in/c"), &file).unwrap();
    for (name, age) in [("a", 9), ("b", 8), ("c", 7)] {
        fixture.aged(name, age);
    }
    let harness = SourceHarness::new();
    let source = fixture.source(&[("deserializer", "avro"), ("batchSize", "1")]);
    let done = async {
        harness.until_events(5).await;
        fixture.until_names(&["a.COMPLETED", "b", "c"]).await;
        until("both to be set aside", || harness.context.counters.event_read_fail.get() == 2).await;
    };
    harness.run(&*source, done).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["\u{2}a", "\u{2}b", "\u{2}c", "\u{2}a", "\u{2}b"]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for more in [
        ("deletePolicy", "after_a_week"),
        ("trackingPolicy", "guess"),
        ("consumeOrder", "alphabetical"),
        ("decodeErrorPolicy", "SHRUG"),
        ("inputCharset", "UTF-9"),
        ("deserializer", "com.example.Mine$Builder"),
        ("includePattern", "("),
        ("batchSize", "0"),
        ("fileSuffix", ""),
        ("deserializer.maxLineLength", "0"),
    ] {
        let error = build(&TYPE, &[("spoolDir", "/tmp"), more]).map(drop).unwrap_err();
        assert!(error.key.ends_with(more.0), "{error}");
    }
    assert!(build(&TYPE, &[]).is_err());
    let path = Path::new("/tmp");
    assert!(
        build(&TYPE, &[("spoolDir", path.to_str().unwrap()), ("consumeOrder", "Youngest")]).is_ok()
    );
}
