//! Tests of real files that grow, rotate and shrink, with a fake channel and a real one.

mod file_limits;
mod removed_files;
mod rescans;

use super::offset::JournalPosition;
use super::*;
use crate::source::test_support::{
    CommitReply, SourceHarness, bodies, build, build_as, narrow_channel, until,
};
use millpond::{Channel, FileChannel, FileChannelOptions};
use millpond_flow::base::files;
use std::io::Write;
use std::os::unix::fs::MetadataExt;

struct TailFixture {
    directory: tempfile::TempDir,
}

impl TailFixture {
    fn new() -> Self {
        let fixture = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(fixture.at("logs")).unwrap();
        fixture
    }

    fn at(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self, name: &str) -> PathBuf {
        self.at("logs").join(name)
    }

    fn append(&self, name: &str, text: &str) {
        files::append(&self.log(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        files::rename_new(&self.log(from), &self.log(to)).unwrap();
    }

    fn positions(&self) -> String {
        std::fs::read_to_string(self.at("pos/positions.json")).unwrap_or_default()
    }

    /// Returns a source of the files whose names match, which rescans without a pause.
    fn source(&self, names: &str, more: &[(&str, &str)]) -> Box<dyn Source> {
        self.source_as("r1", names, more)
    }

    fn source_as(&self, name: &str, names: &str, more: &[(&str, &str)]) -> Box<dyn Source> {
        let (pattern, file) = (self.log(names), self.at("pos/positions.json"));
        let mut pairs = vec![
            ("filegroups", "f1"),
            ("filegroups.f1", pattern.to_str().unwrap()),
            ("positionFile", file.to_str().unwrap()),
            ("writePosInterval", "10"),
            ("backoffSleepIncrement", "5"),
            ("maxBackoffSleep", "10"),
        ];
        pairs.extend(more);
        build_as(name, &TYPE, &pairs).unwrap()
    }

    fn channel(&self) -> Arc<dyn Channel> {
        self.channel_in("fc")
    }

    fn channel_in(&self, name: &str) -> Arc<dyn Channel> {
        let directory = self.at(name);
        let mut options =
            FileChannelOptions::new(directory.join("checkpoint"), [directory.join("data")]);
        options.segment_bytes = 1 << 20;
        options.minimum_required_space = 1 << 20;
        options.keep_alive = Duration::from_millis(10);
        Arc::new(FileChannel::open(options).unwrap())
    }
}

/// Runs a source until `events` events have come, and returns their bodies.
async fn read(source: &dyn Source, events: usize) -> Vec<String> {
    let harness = SourceHarness::new();
    harness.run(source, harness.until_events(events)).await.unwrap();
    bodies(&harness.events())
}

fn drain(channel: &Arc<dyn Channel>) -> Vec<String> {
    let mut take = channel.begin_take();
    let events = take.take(1000).unwrap();
    take.commit().unwrap();
    bodies(&events)
}

#[tokio::test]
async fn lines_come_as_they_are_written_and_an_unfinished_line_waits() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "one\ntwo\r\nhal");
    let harness = SourceHarness::new();
    let source = fixture.source("app.log", &[]);
    let script = async {
        harness.until_events(2).await;
        fixture.append("app.log", "f\n");
        harness.until_events(3).await;
    };
    harness.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one", "two", "half"]);
    assert!(harness.events().iter().all(|event| event.headers.is_empty()));
}

#[tokio::test]
async fn headers_say_group_file_and_place() {
    let fixture = TailFixture::new();
    fixture.append("a.log", "one\ntwo\n");
    fixture.append("b.txt", "three\n");
    let (path, texts) = (fixture.log("a.log"), fixture.log(r".*\.txt"));
    let source = fixture.source(
        r".*\.log",
        &[
            ("filegroups", "f1 f2"),
            ("filegroups.f2", texts.to_str().unwrap()),
            ("headers.f1.host", "web"),
            ("headers.f1.a.b", "dots"),
            ("fileHeader", "true"),
            ("fileHeaderKey", "path"),
            ("byteOffsetHeader", "true"),
        ],
    );
    let harness = SourceHarness::new();
    harness.run(&*source, harness.until_events(3)).await.unwrap();
    let events = harness.events();
    let second = events.iter().find(|event| event.body == "two").unwrap();
    let wanted = [("host", "web"), ("a.b", "dots"), ("byteoffset", "4")];
    for (key, value) in wanted.into_iter().chain([("path", path.to_str().unwrap())]) {
        assert_eq!(second.headers.get(key), Some(value), "{key}");
    }
    assert_eq!(second.headers.len(), 4);
    let third = events.iter().find(|event| event.body == "three").unwrap();
    assert_eq!((third.headers.len(), third.headers.get("byteoffset")), (2, Some("0")));
}

#[tokio::test]
async fn flumes_position_file_is_written_and_continued_from() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "one\ntwo\n");
    let source = fixture.source("app.log", &[]);
    assert_eq!(read(&*source, 2).await, ["one", "two"]);
    let path = fixture.log("app.log");
    let inode = path.metadata().unwrap().ino();
    let wanted = format!(r#"[{{"inode":{inode},"pos":8,"file":"{}"}}]"#, path.display());
    assert_eq!(fixture.positions(), wanted);
    fixture.append("app.log", "three\n");
    assert_eq!(read(&*source, 1).await, ["three"]);
    // As left by Flume, with an offset that only the file has.
    std::fs::write(fixture.at("pos/positions.json"), wanted.replace(":8,", ":4,")).unwrap();
    assert_eq!(read(&*source, 2).await, ["two", "three"]);
    // Another path or another inode: not this file.
    for wrong in [wanted.replace("app.log", "else.log"), wanted.replace(&inode.to_string(), "1")] {
        std::fs::write(fixture.at("pos/positions.json"), wrong).unwrap();
        assert_eq!(read(&*source, 3).await, ["one", "two", "three"]);
    }
}

#[tokio::test]
async fn with_skip_to_end_existing_files_are_skipped_and_later_ones_are_not() {
    let fixture = TailFixture::new();
    fixture.append("a.log", "old\n");
    let source = fixture.source(r".*\.log", &[("skipToEnd", "true")]);
    let harness = SourceHarness::new();
    let script = async {
        harness.until_started().await;
        until("the positions", || fixture.positions().contains("\"pos\":4")).await;
        fixture.append("a.log", "new\n");
        fixture.append("b.log", "other\n");
        harness.until_events(2).await;
    };
    harness.run(&*source, script).await.unwrap();
    let mut read = bodies(&harness.events());
    read.sort();
    assert_eq!(read, ["new", "other"]);
}

#[tokio::test]
async fn a_renamed_file_is_not_read_again_whatever_its_name() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "1\n2\n");
    // Its new name matches as well, or it does not.
    for (round, names) in [r"app\.log.*", r"app\.log"].into_iter().enumerate() {
        let harness = SourceHarness::new();
        let source = fixture.source(names, &[]);
        let script = async {
            let had = if round == 0 { 2 } else { 0 };
            harness.until_events(had).await;
            harness.until_started().await;
            fixture.append("app.log", "3\n");
            harness.until_events(had + 1).await;
            let rotated = format!("app.log.{round}");
            fixture.rename("app.log", &rotated);
            // The writer has not noticed yet.
            fixture.append(&rotated, "4\n");
            fixture.append("app.log", "5\n");
            harness.until_events(had + 3).await;
        };
        harness.run(&*source, script).await.unwrap();
        let mut read = bodies(&harness.events());
        read.sort();
        let wanted: &[&str] =
            if round == 0 { &["1", "2", "3", "4", "5"] } else { &["3", "4", "5"] };
        assert_eq!(read, wanted, "{names}");
    }
}

#[tokio::test]
async fn a_truncated_or_rewritten_file_is_read_from_its_start() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "one\ntwo\n");
    let harness = SourceHarness::new();
    let source = fixture.source("app.log", &[]);
    let script = async {
        harness.until_events(2).await;
        std::fs::write(fixture.log("app.log"), "three\n").unwrap();
        harness.until_events(3).await;
        // Longer than what was read: the length shows nothing.
        std::fs::write(fixture.log("app.log"), "four\nfive\nsix\n").unwrap();
        harness.until_events(6).await;
    };
    harness.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one", "two", "three", "four", "five", "six"]);
}

#[tokio::test]
async fn an_idle_file_is_closed_with_its_last_line_and_opened_when_it_grows() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "one\nhalf");
    let harness = SourceHarness::new();
    let source = fixture.source("app.log", &[("idleTimeout", "100")]);
    let open = || {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.filter(|path| *path == fixture.log("app.log")).count()
    };
    let script = async {
        harness.until_events(2).await;
        until("the file to be closed", || open() == 0).await;
        fixture.append("app.log", " and half\nthree\n");
        harness.until_events(4).await;
    };
    harness.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one", "half", " and half", "three"]);
}

#[tokio::test]
async fn a_file_that_is_removed_is_read_to_its_end_and_forgotten() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "1\n");
    let harness = SourceHarness::new();
    harness.reply_with([CommitReply::Held]);
    let source = fixture.source("app.log", &[("batchSize", "1"), ("idleTimeout", "50")]);
    let script = async {
        harness.until_tries(1).await;
        fixture.append("app.log", "2\n3\n");
        std::fs::remove_file(fixture.log("app.log")).unwrap();
        harness.release();
        harness.until_events(3).await;
        until("the file to be forgotten", || fixture.positions() == "[]").await;
    };
    harness.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_missing_directory_delays_no_other_group() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "one\n");
    let late = fixture.at("late");
    let pattern = late.join(".*");
    let more = [("filegroups", "f0 f1"), ("filegroups.f0", pattern.to_str().unwrap())];
    let source = fixture.source("app.log", &more);
    let harness = SourceHarness::new();
    let script = async {
        harness.until_events(1).await;
        std::fs::create_dir(&late).unwrap();
        std::fs::write(late.join("x"), "two\n").unwrap();
        harness.until_events(2).await;
    };
    harness.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&harness.events()), ["one", "two"]);
    assert_eq!(harness.context.counters.event_read_fail.get(), 1, "it is said once");
}

#[tokio::test]
async fn one_large_file_does_not_starve_the_others() {
    let fixture = TailFixture::new();
    fixture.append("a.log", &"x\n".repeat(1000));
    fixture.append("b.log", "other\n");
    let source = fixture.source(r".*\.log", &[("batchSize", "1"), ("maxBatchCount", "2")]);
    let read = read(&*source, 1001).await;
    let at = read.iter().position(|body| body == "other").unwrap();
    assert!(at <= 2, "it came as number {at}");
}

#[tokio::test]
async fn lines_wait_for_room_and_one_that_never_fits_blocks_no_other() {
    let fixture = TailFixture::new();
    fixture.append("app.log", &format!("one\n{}\nthree\n", "x".repeat(1001)));
    let channel = narrow_channel(1000);
    let harness = SourceHarness::over(&channel);
    let source = fixture.source("app.log", &[]);
    let both = until("both lines", || channel.status().put == 2);
    harness.run(&*source, both).await.unwrap();
    assert_eq!(drain(&channel), ["one", "three"]);
    let counters = &harness.context.counters;
    assert_eq!(counters.generic_processing_fail.get(), 1);
    assert_eq!(counters.drops.get(DropReason::TooLarge), 1);
}

/// The position file is wrong or missing: with a channel that keeps source offsets it is not used.
#[tokio::test]
async fn the_channels_offset_takes_precedence_over_the_position_file() {
    let fixture = TailFixture::new();
    fixture.append("a.log", "1\n2\n");
    fixture.append("b.log", "3\n");
    let channel = fixture.channel();
    let mut put = 0;
    for (more, name) in [(3, "a.log"), (1, "b.log"), (1, "a.log")] {
        let harness = SourceHarness::over(&channel);
        let source = fixture.source(r"[ab]\.log", &[]);
        put += more;
        let read = until("the lines", || channel.status().put == put);
        harness.run(&*source, read).await.unwrap();
        std::fs::write(fixture.at("pos/positions.json"), "[]").unwrap();
        fixture.append(name, &format!("{}\n", put + 1));
    }
    let mut read = drain(&channel);
    read.sort();
    assert_eq!(read, ["1", "2", "3", "4", "5"]);
}

/// Runs the source on a channel until `events` more events were put.
async fn on_channel(fixture: &TailFixture, channel: &Arc<dyn Channel>, events: u64) {
    on_channel_as("r1", fixture, channel, events).await;
}

async fn on_channel_as(name: &str, fixture: &TailFixture, channel: &Arc<dyn Channel>, events: u64) {
    let mut harness = SourceHarness::over(channel);
    name.clone_into(&mut harness.context.name);
    let put = channel.status().put + events;
    let source = fixture.source_as(name, "app.log", &[]);
    let read = async {
        until("the lines", || channel.status().put >= put).await;
        harness.until_started().await;
    };
    harness.run(&*source, read).await.unwrap();
    assert_eq!(channel.status().put, put);
}

#[tokio::test]
async fn a_source_back_on_a_channel_repeats_nothing_that_another_got() {
    let fixture = TailFixture::new();
    let (one, two) = (fixture.channel_in("one"), fixture.channel_in("two"));
    let memory = narrow_channel(1 << 20);
    fixture.append("app.log", "1\n2\n");
    on_channel(&fixture, &one, 2).await;
    fixture.append("app.log", "3\n4\n");
    on_channel(&fixture, &two, 2).await;
    fixture.append("app.log", "5\n");
    on_channel(&fixture, &one, 1).await;
    fixture.append("app.log", "6\n");
    on_channel(&fixture, &memory, 1).await;
    // Truncated and rewritten meanwhile: the first channel's older mark is further and refers to another text.
    fixture.append("app.log", "7\n");
    on_channel(&fixture, &two, 1).await;
    std::fs::write(fixture.log("app.log"), "1\n8\n").unwrap();
    on_channel(&fixture, &two, 2).await;
    fixture.append("app.log", "9\n10\n11\n12\n13\n14\n");
    on_channel(&fixture, &one, 6).await;
    // With the marks of the present channel the position file is ignored.
    std::fs::write(fixture.at("pos/positions.json"), "[]").unwrap();
    fixture.append("app.log", "15\n");
    on_channel(&fixture, &one, 1).await;
    let all = ["1", "2", "5", "9", "10", "11", "12", "13", "14", "15"];
    assert_eq!(drain(&one), all);
    assert_eq!(drain(&two), ["3", "4", "7", "1", "8"]);
    assert_eq!(drain(&memory), ["6"]);
}

#[tokio::test]
async fn with_ambiguous_offsets_lines_repeat_and_none_is_skipped() {
    let fixture = TailFixture::new();
    let (one, two) = (fixture.channel_in("one"), fixture.channel_in("two"));
    fixture.append("app.log", "1\n");
    on_channel(&fixture, &one, 1).await;
    fixture.append("app.log", "2\n");
    on_channel(&fixture, &two, 1).await;
    fixture.append("app.log", "3\n");
    for era in ["no number", ""] {
        std::fs::write(fixture.at("pos/positions.json.era"), era).unwrap();
        let news = if era.is_empty() { 0 } else { 2 };
        on_channel(&fixture, &one, news).await;
    }
    assert_eq!(drain(&one), ["1", "2", "3"]);
    assert_eq!(drain(&two), ["2"]);
}

#[tokio::test]
async fn a_position_file_shared_with_another_source_skips_no_lines() {
    let fixture = TailFixture::new();
    let (one, memory) = (fixture.channel(), narrow_channel(1 << 20));
    fixture.append("app.log", "1\n");
    on_channel(&fixture, &one, 1).await;
    fixture.append("app.log", "2\n3\n");
    // It belongs to another source, which has its own file: what the first has read is not read there.
    on_channel_as("r2", &fixture, &memory, 3).await;
    on_channel(&fixture, &one, 2).await;
    assert_eq!(drain(&one), ["1", "2", "3"]);
}

/// While the source was down the file was renamed to a non-matching name, and another took its name.
#[tokio::test]
async fn a_file_renamed_while_stopped_is_read_to_its_end() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "1\n");
    let channel = fixture.channel();
    let life = async |put: u64| {
        let harness = SourceHarness::over(&channel);
        let source = fixture.source(r"app\.log", &[]);
        let read = until("the lines", || channel.status().put >= put);
        harness.run(&*source, read).await.unwrap();
    };
    life(1).await;
    fixture.append("app.log", "2\n");
    fixture.rename("app.log", "app.log.1");
    fixture.append("app.log", "3\n");
    life(3).await;
    let mut read = drain(&channel);
    read.sort();
    assert_eq!(read, ["1", "2", "3"]);
}

/// Returns the files whose names match.
fn group(fixture: &TailFixture, names: &str) -> FileGroup {
    FileGroup {
        name: "f1".to_owned(),
        directory: fixture.at("logs"),
        names: Pattern::new(names).unwrap(),
        pattern: names.to_owned(),
        headers: Arc::default(),
    }
}

/// Returns a source's state for the files `app.*`, without its channels.
fn tails(fixture: &TailFixture, known: Vec<offset::FileEntry>) -> TailedFiles {
    tails_counted(fixture, known, Arc::default())
}

fn tails_counted(
    fixture: &TailFixture,
    known: Vec<offset::FileEntry>,
    counters: Arc<millpond_flow::metrics::SourceCounters>,
) -> TailedFiles {
    let settings = TailSettings {
        name: "r1".to_owned(),
        agent: "a1".to_owned(),
        groups: vec![group(fixture, "app.*")],
        cached: true,
        skip_to_end: false,
        byte_offset_header: false,
        file_header: None,
        idle: Duration::from_secs(120),
    };
    let mut before = PreviousFiles::default();
    before.mark(known, false);
    let journal = OffsetJournal::new(&fixture.at("positions.json"), JournalPosition::default());
    TailedFiles::new(Arc::new(settings), counters, before, Some(journal))
}

/// Scans at `seconds` of a clock that shows the time of day as well.
fn look(tails: &mut TailedFiles, seconds: u64) -> Vec<InodeId> {
    let today = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    tails.look(Duration::from_secs(seconds), i64::try_from(today).unwrap())
}

/// Reads all new lines and returns them with the offsets after them.
fn news(tails: &mut TailedFiles, seconds: u64) -> (Vec<String>, Vec<offset::FileEntry>) {
    let (mut lines, mut entries) = (Vec::new(), Vec::new());
    let now = Duration::from_secs(seconds);
    for id in look(tails, seconds) {
        let Some(batch) = tails.read(id, 100, false) else { continue };
        let end = batch.pieces.last().unwrap().end.offset;
        lines.extend(batch.pieces.into_iter().map(|piece| piece.event));
        tails.reached(id, end, Some(batch.place.journal), now);
        entries = TailOffset::decode(&batch.place.encode(batch.from, end)).unwrap().entries;
    }
    (bodies(&lines), entries)
}

/// As when a file is renamed between the listing of its directory and its stat.
#[test]
fn a_file_that_the_first_scan_misses_is_continued() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "1\n2\n");
    let known = news(&mut tails(&fixture, Vec::new()), 0).1;
    let away = fixture.at("away");
    files::rename_new(&fixture.log("app.log"), &away).unwrap();
    let mut life = tails(&fixture, known.clone());
    assert_eq!(look(&mut life, 0), []);
    files::rename_new(&away, &fixture.log("app.log.1")).unwrap();
    fixture.append("app.log.1", "3\n");
    assert_eq!(news(&mut life, 9).0, ["3"]);
    // A file missing for long is forgotten.
    files::rename_new(&fixture.log("app.log.1"), &away).unwrap();
    let mut life = tails(&fixture, known);
    look(&mut life, 0);
    look(&mut life, 10);
    files::rename_new(&away, &fixture.log("app.log")).unwrap();
    assert_eq!(news(&mut life, 11).0, ["1", "2", "3"]);
}

#[test]
fn a_name_that_now_leads_to_another_file_is_not_opened() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "1\n");
    let found = fixture.log("app.log").metadata().unwrap();
    let id = (found.dev(), found.ino());
    assert!(inode::open(&fixture.log("app.log"), id).is_ok());
    fixture.rename("app.log", "app.log.1");
    fixture.append("app.log", "2\n");
    let error = inode::open(&fixture.log("app.log"), id).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "as of one that is gone");
}

#[test]
fn a_file_that_a_later_scan_misses_is_not_read_again() {
    let fixture = TailFixture::new();
    fixture.append("app.log", "1\n");
    let mut life = tails(&fixture, Vec::new());
    assert_eq!(news(&mut life, 0).0, ["1"]);
    let close = |life: &mut TailedFiles, seconds| {
        let now = Duration::from_secs(seconds);
        let idle = life.idle(now);
        idle.into_iter().for_each(|id| life.close(id, now));
    };
    look(&mut life, 1000);
    close(&mut life, 1000);
    let away = fixture.at("away");
    files::rename_new(&fixture.log("app.log"), &away).unwrap();
    assert_eq!(look(&mut life, 1001), []);
    close(&mut life, 1001);
    files::rename_new(&away, &fixture.log("app.log.1")).unwrap();
    fixture.append("app.log.1", "2\n");
    assert_eq!(news(&mut life, 1002).0, ["2"]);
}

/// It got the inode of a deleted file, as file systems reuse inodes at once.
#[test]
fn a_file_created_since_is_another_whatever_its_beginning() {
    let fixture = TailFixture::new();
    // More than a kernel clock tick after the directory's last change.
    std::thread::sleep(Duration::from_millis(20));
    let (away, text) = (fixture.at("away"), "#Fields: a b\n");
    std::fs::write(&away, text).unwrap();
    let made = away.metadata().unwrap();
    if made.created().is_err() {
        println!("left out taildir: the file system does not tell when a file was made");
        return;
    }
    let identity = identity::FileIdentity {
        inode: made.ino(),
        device: None,
        born_ns: None,
        print: identity::StartChecksum::of(text.as_bytes()),
        ending: None,
    };
    let known = vec![offset::FileEntry { identity, pos: made.len() }];
    let mut life = tails(&fixture, known);
    look(&mut life, 0);
    files::rename_new(&away, &fixture.log("app.log")).unwrap();
    assert_eq!(news(&mut life, 1).0, ["#Fields: a b"]);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    for pairs in [
        &[][..],
        &[("filegroups", "f1")],
        &[("filegroups", "f1"), ("filegroups.f1", "relative")],
        &[("filegroups", "f1"), ("filegroups.f1", "/logs/")],
        &[("filegroups", "f1"), ("filegroups.f1", "/logs/(")],
        &[("filegroups", "f1"), ("filegroups.f1", "/logs/a"), ("batchSize", "0")],
        &[("filegroups", "f1"), ("filegroups.f1", "/logs/a"), ("idleTimeout", "soon")],
    ] {
        assert!(build(&TYPE, pairs).is_err(), "{pairs:?}");
    }
    let some = [("filegroups", "f1 f2"), ("filegroups.f2", "/logs/a"), ("maxBatchCount", "0")];
    assert!(build(&TYPE, &some).is_ok());
}
