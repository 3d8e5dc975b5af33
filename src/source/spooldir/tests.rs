//! Real directories against a false channel, and against a real one that is opened again.

use super::*;
use crate::base::files;
use crate::channel::Channel;
use crate::channel::file::{FileChannel, FileChannelOptions};
use crate::event::Event;
use crate::flow::context::Begun;
use crate::flow::heard::logged;
use crate::source::trial::{Reply, Trial, bodies, build, until};
use std::path::Path;

/// A directory with `in` (the spooling directory) and room beside it.
struct Ground {
    directory: tempfile::TempDir,
}

impl Ground {
    fn new(inputs: &[(&str, &str)]) -> Self {
        let ground = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(ground.at("in")).unwrap();
        for (name, text) in inputs {
            ground.write(name, text);
        }
        ground
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

    /// What is in the spooling directory, but for what begins with a dot.
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
    let ground = Ground::new(&[("a.txt", "one\ntwo\r\n\nlast without newline"), ("b.txt", "")]);
    ground.aged("a.txt", 9);
    let trial = Trial::new();
    let more = [("basenameHeader", "true"), ("fileHeader", "true"), ("fileHeaderKey", "path")];
    let source = ground.source(&more);
    trial.run(&*source, ground.until_names(&["a.txt.COMPLETED", "b.txt.COMPLETED"])).await.unwrap();
    let events = trial.events();
    assert_eq!(bodies(&events), ["one", "two\r", "", "last without newline", ""]);
    let path = ground.at("in").join("b.txt");
    assert_eq!(headers(&events[4]), [("path", path.to_str().unwrap()), ("basename", "b.txt")]);
    let left = std::fs::read_dir(ground.at("in/.flumespool")).unwrap().count();
    assert_eq!(left, 0, "nothing is remembered of files that are done");
}

#[tokio::test]
async fn files_are_taken_in_the_order_that_is_asked_for_and_of_the_names_that_match() {
    let names = ["b.log", "a.log", "c.log", ".hidden.log", "x.txt", "tmp.log", "old.log.DONE"];
    for (order, wanted) in [("oldest", ["c", "a", "b"]), ("YOUNGEST", ["a", "b", "c"])] {
        let ground = Ground::new(&[]);
        for name in names {
            ground.write(name, &name[..1]);
            ground.aged(name, if name == "c.log" { 9 } else { 5 });
        }
        let source = ground.source(&[
            ("consumeOrder", order),
            ("includePattern", r"^.*\.log$"),
            ("ignorePattern", "tmp.*"),
            ("fileSuffix", ".DONE"),
        ]);
        let trial = Trial::new();
        trial.run(&*source, trial.until_events(3)).await.unwrap();
        assert_eq!(bodies(&trial.events()), wanted, "{order}");
        assert!(ground.names().contains(&"tmp.log".to_owned()));
    }
}

#[tokio::test]
async fn directories_below_are_read_when_asked_for() {
    let inputs = [("a", "1"), ("sub/deep/b", "2"), (".dot/c", "3"), ("no/d", "4")];
    let ground = Ground::new(&inputs);
    let trial = Trial::new();
    let source = ground.source(&[]);
    trial.run(&*source, ground.until_names(&["a.COMPLETED", "no/d", "sub/deep/b"])).await.unwrap();
    let trial = Trial::new();
    let source = ground.source(&[("recursiveDirectorySearch", "true"), ("ignorePattern", "no")]);
    let done = ["a.COMPLETED", "no/d", "sub/deep/b.COMPLETED"];
    trial.run(&*source, ground.until_names(&done)).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["2"]);
}

#[tokio::test]
async fn directories_that_are_too_deep_are_counted() {
    let deep = "d/".repeat(65);
    let ground = Ground::new(&[("a", "1"), (&format!("{deep}b"), "2")]);
    let trial = Trial::new();
    let source = ground.source(&[("recursiveDirectorySearch", "true")]);
    let left_out = &trial.context.counters.files_left_out;
    let seen = until("the directory", || left_out.get() == 1 && trial.events().len() == 1);
    trial.run(&*source, seen).await.unwrap();
}

#[tokio::test]
async fn files_are_deleted_or_noted_elsewhere_when_asked_for() {
    let ground = Ground::new(&[("a", "1\n")]);
    let trial = Trial::new();
    let source = ground.source(&[("deletePolicy", "immediate")]);
    trial.run(&*source, ground.until_names(&[])).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["1"]);

    let ground = Ground::new(&[("sub/a", "1\n")]);
    let tracker = ground.at("elsewhere/tracker");
    let more = [
        ("trackingPolicy", "tracker_dir"),
        ("trackerDir", tracker.to_str().unwrap()),
        ("recursiveDirectorySearch", "true"),
    ];
    for _ in 0..2 {
        let trial = Trial::new();
        let source = ground.source(&more);
        let noted = tracker.join("sub/a.COMPLETED");
        ground.write("sub/z", "2\n");
        let next = tracker.join("sub/z.COMPLETED");
        let done = until("both notes", || noted.exists() && next.exists());
        trial.run(&*source, done).await.unwrap();
        assert_eq!(ground.names(), ["sub/a", "sub/z"]);
        let read = bodies(&trial.events());
        assert!(["1", "2"].ends_with(&read.iter().map(String::as_str).collect::<Vec<_>>()));
    }
}

#[tokio::test]
async fn lines_wait_while_the_channel_refuses_and_batches_are_cut_to_it() {
    let ground = Ground::new(&[("a", "1\n2\n3\n4\n5\n")]);
    let trial = Trial::with_capacity(2);
    trial.reply_with([Reply::Full, Reply::Doubt]);
    let source = ground.source(&[("maxBackoff", "1")]);
    trial.run(&*source, ground.until_names(&["a.COMPLETED"])).await.unwrap();
    assert_eq!(trial.batches(), [2, 2, 1]);
    assert_eq!(bodies(&trial.events()), ["1", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn a_file_that_grows_while_it_is_read_is_read_to_its_end_and_others_go_on() {
    let ground = Ground::new(&[("a", "1\nhalf")]);
    ground.aged("a", 9);
    let trial = Trial::new();
    trial.reply_with([Reply::Held]);
    let source = ground.source(&[]);
    let script = async {
        trial.until_tries(1).await;
        ground.append("a", " and half\n3\n");
        ground.write("b", "other\n");
        trial.release();
        ground.until_names(&["a.COMPLETED", "b.COMPLETED"]).await;
    };
    trial.run(&*source, script).await.unwrap();
    let mut read = bodies(&trial.events());
    read.sort();
    assert_eq!(read, ["1", "3", "half and half", "other"]);
}

#[tokio::test]
async fn a_file_that_is_rewritten_while_it_is_read_stays_and_others_go_on() {
    let ground = Ground::new(&[("a", "1\n2\n")]);
    ground.aged("a", 9);
    let trial = Trial::new();
    trial.reply_with([Reply::Held]);
    let source = ground.source(&[]);
    let script = async {
        trial.until_tries(1).await;
        ground.write("a", "3\n4\n");
        ground.write("b", "other\n");
        trial.release();
        ground.until_names(&["a", "b.COMPLETED"]).await;
        // It stays set aside, also when the directory is listed again.
        ground.write("c", "last\n");
        ground.until_names(&["a", "b.COMPLETED", "c.COMPLETED"]).await;
    };
    trial.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["1", "2", "other", "last"]);
}

#[tokio::test]
async fn a_name_that_is_taken_keeps_the_file_until_it_is_free() {
    let ground = Ground::new(&[("a", "new\n"), ("a.COMPLETED", "old\n"), ("b", "other\n")]);
    ground.aged("a", 9);
    let trial = Trial::new();
    let source = ground.source(&[]);
    let script = async {
        ground.until_names(&["a", "a.COMPLETED", "b.COMPLETED"]).await;
        let old = ground.at("in").join("a.COMPLETED");
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "old\n");
        std::fs::remove_file(old).unwrap();
        ground.until_names(&["a.COMPLETED", "b.COMPLETED"]).await;
    };
    trial.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["new", "other"]);
    let kept = std::fs::read_to_string(ground.at("in").join("a.COMPLETED")).unwrap();
    assert_eq!(kept, "new\n");
}

#[tokio::test]
async fn bytes_that_are_no_text_set_their_file_aside_and_not_the_source() {
    let ground = Ground::new(&[("b", "other\n")]);
    std::fs::write(ground.at("in/a"), b"good\nb\xffd\nlast\n").unwrap();
    ground.aged("a", 9);
    let trial = Trial::new();
    let source = ground.source(&[]);
    trial.run(&*source, ground.until_names(&["a", "b.COMPLETED"])).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["good", "other"]);
    assert_eq!(trial.context.counters.event_read_fail.get(), 1);
    // Another life does not repeat the line before it, and goes on when told how.
    let trial = Trial::new();
    let source = ground.source(&[("decodeErrorPolicy", "replace")]);
    trial.run(&*source, ground.until_names(&["a.COMPLETED", "b.COMPLETED"])).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["b\u{fffd}d", "last"]);
}

#[tokio::test]
async fn an_event_that_no_channel_can_hold_leaves_its_file_where_it_is() {
    let channel = crate::source::trial::narrow_channel(1000);
    let long = format!("before\n{}\nbehind\n", "x".repeat(1001));
    let ground = Ground::new(&[("a", &long), ("b", "other\n")]);
    ground.aged("a", 9);
    let trial = Trial::over(&channel);
    let source = ground.source(&[]);
    trial.run(&*source, ground.until_names(&["a", "b.COMPLETED"])).await.unwrap();
    assert_eq!(drain(&channel), ["before", "other"]);
    assert_eq!(trial.context.counters.generic_processing_fail.get(), 1);
}

#[tokio::test]
async fn a_pipe_a_dangling_link_and_a_file_that_nobody_may_read_disturb_nothing() {
    let ground = Ground::new(&[("a", "1\n"), ("closed", "never\n")]);
    let (kind, mode) = (rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(rustix::fs::CWD, ground.at("in/pipe"), kind, mode, 0).unwrap();
    std::os::unix::fs::symlink("nowhere", ground.at("in/link")).unwrap();
    std::fs::write(ground.at("real"), "linked\n").unwrap();
    std::os::unix::fs::symlink("../real", ground.at("in/to-real")).unwrap();
    let closed = ground.at("in/closed");
    std::fs::set_permissions(&closed, std::os::unix::fs::PermissionsExt::from_mode(0o000)).unwrap();
    // Root may read everything.
    let readable = std::fs::read(&closed).is_ok();
    let trial = Trial::new();
    let source = ground.source(&[]);
    trial.run(&*source, trial.until_events(2 + usize::from(readable))).await.unwrap();
    let mut read = bodies(&trial.events());
    read.retain(|body| body != "never");
    read.sort();
    assert_eq!(read, ["1", "linked"]);
}

#[tokio::test]
async fn a_directory_that_is_not_there_is_named_holds_up_nobody_and_is_worked_in_once_it_is_there()
{
    let ground = Ground::new(&[]);
    std::fs::remove_dir(ground.at("in")).unwrap();
    let (trial, source) = (Trial::new(), ground.source(&[]));
    let script = async {
        trial.until_begun(Begun::Waits).await;
        let failed = || trial.context.counters.event_read_fail.get();
        until("each failed opening to be counted", || failed() >= 2).await;
        std::fs::create_dir(ground.at("in")).unwrap();
        ground.write("a", "1\n");
        trial.until_events(1).await;
    };
    let log = logged(async { trial.run(&*source, script).await.unwrap() }).await;
    assert_eq!(log.matches("cannot read spoolDir").count(), 1, "{log}");
    assert!(log.contains("ERROR") && log.contains("spoolDir cannot be read"), "{log}");
    assert!(log.contains("/in") && log.contains("recovered after"), "{log}");
    assert_eq!(bodies(&trial.events()), ["1"]);

    // A stop does not wait for it.
    std::fs::remove_dir_all(ground.at("in")).unwrap();
    let trial = Trial::new();
    trial.run(&*source, trial.until_begun(Begun::Waits)).await.unwrap();
}

#[tokio::test]
async fn flumes_tracker_file_is_gone_on_from_at_the_first_start() {
    let ground = Ground::new(&[("a", "read\nnot yet\n"), ("b", "older\n")]);
    ground.aged("b", 9);
    std::fs::create_dir(ground.at("in/.flumespool")).unwrap();
    for durable in [false, true] {
        let mut flume = tracker::Tracker::new(&ground.at("in/.flumespool"));
        flume.store(&ground.at("in").join("a"), 5).unwrap();
        let channel = ground.channel("fc");
        let trial = if durable { Trial::over(&channel) } else { Trial::new() };
        let source = ground.source(&[]);
        let done = ground.until_names(&["a.COMPLETED", "b.COMPLETED"]);
        trial.run(&*source, done).await.unwrap();
        let read = if durable { drain(&channel) } else { bodies(&trial.events()) };
        // The file in progress goes first, although the other one is older.
        assert_eq!(read, ["not yet", "older"], "durable: {durable}");
        for name in ["a", "b"] {
            let path = ground.at("in").join(name);
            files::rename_new(&path.with_extension("COMPLETED"), &path).unwrap();
        }
    }
}

/// The tracker file is gone: with a channel that keeps positions nobody asks it.
#[tokio::test]
async fn the_channel_knows_the_place_better_than_the_tracker_file() {
    let ground = Ground::new(&[("a", "1\n2\n3\n4\n")]);
    // Full after the second line.
    let channel = ground.channel_of("fc", 2);
    let trial = Trial::over(&channel);
    let source = ground.source(&[("batchSize", "1"), ("maxBackoff", "1")]);
    let full = until("the channel to be full", || {
        channel.status().put == 2 && trial.context.counters.channel_write_fail.get() > 0
    });
    trial.run(&*source, full).await.unwrap();
    std::fs::remove_file(ground.at("in/.flumespool/.flumespool-main.meta")).unwrap();
    channel.close().unwrap();
    drop((trial, source, channel));
    let channel = ground.channel("fc");
    let trial = Trial::over(&channel);
    let source = ground.source(&[]);
    trial.run(&*source, ground.until_names(&["a.COMPLETED"])).await.unwrap();
    assert_eq!(drain(&channel), ["1", "2", "3", "4"]);
}

/// One channel takes the batch and the other never can: the numbers of that batch are used up, and what comes next
/// must not be counted with them.
#[tokio::test]
async fn behind_a_file_that_one_channel_cannot_hold_the_next_files_enter_both() {
    use crate::flow::intake::{ChannelProcessor, NamedChannel};
    use crate::flow::selector::Replicating;
    use crate::source::trial::durable_with;
    let big = "x".repeat(2000);
    let first = format!("e1\n{big}\ne3\ne4\n");
    let ground = Ground::new(&[("a", &first), ("b", "of b\n"), ("c", "of c\n")]);
    ground.aged("a", 9);
    ground.aged("b", 5);
    let wide = durable_with(&ground.at("wide"), 10, 1 << 20);
    let narrow = durable_with(&ground.at("narrow"), 10, 1024);
    let names = ["wide", "narrow"].map(str::to_owned);
    let channels = names.iter().zip([&wide, &narrow]);
    let channels = channels
        .map(|(name, channel)| NamedChannel { name: name.clone(), channel: Arc::clone(channel) });
    let mut trial = Trial::new();
    let selector = Box::new(Replicating::new(&names, &[]).0);
    let counters = Arc::clone(&trial.context.counters);
    let intake = ChannelProcessor::new("r1", selector, channels.collect(), counters);
    trial.context.intake = Arc::new(intake);
    let passed = ground.until_names(&["a", "b.COMPLETED", "c.COMPLETED"]);
    trial.run(&*ground.source(&[]), passed).await.unwrap();
    assert_eq!(drain(&wide), ["e1", &big, "e3", "e4", "of b", "of c"]);
    assert_eq!(drain(&narrow), ["e1", "of b", "of c"]);
}

/// Of two channels only the first one has the newest batch, as after a crash between two commits.
#[tokio::test]
async fn the_batch_that_one_channel_lacks_is_put_again_into_that_one_only() {
    use crate::flow::intake::{ChannelProcessor, NamedChannel};
    use crate::flow::selector::Replicating;
    let ground = Ground::new(&[("a", "1\n2\n3\n4\n5\n")]);
    let both = |capacity: u64| -> Vec<NamedChannel> {
        ["c1", "c2"]
            .into_iter()
            .map(|name| {
                let mut options = FileChannelOptions::new(
                    ground.at(name).join("checkpoint"),
                    [ground.at(name).join("data")],
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
        let mut trial = Trial::new();
        let names: Vec<String> = channels.iter().map(|c| c.name.clone()).collect();
        let selector = Box::new(Replicating::new(&names, &[]).0);
        let counters = Arc::clone(&trial.context.counters);
        let intake = ChannelProcessor::new("r1", selector, channels.to_vec(), counters);
        trial.context.intake = Arc::new(intake);
        trial
    };
    // The second takes two lines and is full.
    let channels = both(3);
    let trial = over(&channels);
    let source = ground.source(&[("maxBackoff", "1")]);
    let ahead = until("the first channel to be ahead", || channels[0].channel.status().put == 4);
    trial.run(&*source, ahead).await.unwrap();
    assert_eq!(channels[1].channel.status().put, 2);
    for channel in &channels {
        channel.channel.close().unwrap();
    }
    drop((trial, source, channels));
    let channels = both(1000);
    let trial = over(&channels);
    let source = ground.source(&[]);
    trial.run(&*source, ground.until_names(&["a.COMPLETED"])).await.unwrap();
    for channel in &channels {
        assert_eq!(drain(&channel.channel), ["1", "2"], "{}", channel.name);
        assert_eq!(drain(&channel.channel), ["3", "4"], "{}", channel.name);
        assert_eq!(drain(&channel.channel), ["5"], "{}", channel.name);
    }
}

/// A name is used again, by a file that begins as the one before it did.
#[tokio::test]
async fn a_file_with_a_known_name_is_read_from_its_start() {
    let ground = Ground::new(&[("a", "1\n")]);
    let channel = ground.channel("fc");
    for text in ["1\n", "1\n2\n"] {
        ground.write("a", text);
        let trial = Trial::over(&channel);
        let source = ground.source(&[("deletePolicy", "immediate")]);
        trial.run(&*source, ground.until_names(&[])).await.unwrap();
    }
    assert_eq!(drain(&channel), ["1", "1", "2"]);
}

#[tokio::test]
async fn a_blob_is_a_file_or_as_much_of_it_as_an_event_may_have() {
    let ground = Ground::new(&[("a", "0123456789"), ("b", "01\n4")]);
    ground.aged("a", 9);
    let trial = Trial::new();
    let source = ground.source(&[
        ("deserializer", "org.apache.flume.sink.solr.morphline.BlobDeserializer$Builder"),
        ("deserializer.maxBlobLength", "4"),
    ]);
    trial.run(&*source, trial.until_events(4)).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["0123", "4567", "89", "01\n4"]);
}

/// A damaged container: what stands before the damage is delivered, and the file set aside.
#[tokio::test]
async fn an_avro_file_becomes_events_and_one_that_is_none_is_set_aside() {
    let ground = Ground::new(&[("b", "no container")]);
    let mut file = b"Obj\x01\x02\x16avro.schema\x10\"string\"\x00".to_vec();
    let sync = [3; 16];
    file.extend_from_slice(&sync);
    for block in [&b"\x04\x08\x02a\x02b"[..], b"\x02\x04\x02c"] {
        file.extend_from_slice(block);
        file.extend_from_slice(&sync);
    }
    std::fs::write(ground.at("in/a"), &file).unwrap();
    let last = file.len() - 1;
    file[last] ^= 1;
    std::fs::write(ground.at("in/c"), &file).unwrap();
    for (name, age) in [("a", 9), ("b", 8), ("c", 7)] {
        ground.aged(name, age);
    }
    let trial = Trial::new();
    let source = ground.source(&[("deserializer", "avro"), ("batchSize", "1")]);
    let done = async {
        trial.until_events(5).await;
        ground.until_names(&["a.COMPLETED", "b", "c"]).await;
        until("both to be set aside", || trial.context.counters.event_read_fail.get() == 2).await;
    };
    trial.run(&*source, done).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["\u{2}a", "\u{2}b", "\u{2}c", "\u{2}a", "\u{2}b"]);
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
