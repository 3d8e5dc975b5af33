//! Real files that grow, turn and shrink, against a false channel and a real one.

mod gone;
mod looks;
mod many;

use super::place::JournalMark;
use super::*;
use crate::base::files;
use crate::channel::Channel;
use crate::channel::file::{FileChannel, FileChannelOptions};
use crate::source::trial::{Reply, Trial, bodies, build, build_as, narrow_channel, until};
use std::io::Write;
use std::os::unix::fs::MetadataExt;

struct Ground {
    directory: tempfile::TempDir,
}

impl Ground {
    fn new() -> Self {
        let ground = Self { directory: tempfile::tempdir().unwrap() };
        std::fs::create_dir(ground.at("logs")).unwrap();
        ground
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

    /// A source of the files whose names match, that looks again at once.
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

/// Runs a source until so many events have come, and answers their bodies.
async fn read(source: &dyn Source, events: usize) -> Vec<String> {
    let trial = Trial::new();
    trial.run(source, trial.until_events(events)).await.unwrap();
    bodies(&trial.events())
}

fn drain(channel: &Arc<dyn Channel>) -> Vec<String> {
    let mut take = channel.begin_take();
    let events = take.take(1000).unwrap();
    take.commit().unwrap();
    bodies(&events)
}

#[tokio::test]
async fn lines_come_as_they_are_written_and_half_a_line_waits() {
    let ground = Ground::new();
    ground.append("app.log", "one\ntwo\r\nhal");
    let trial = Trial::new();
    let source = ground.source("app.log", &[]);
    let script = async {
        trial.until_events(2).await;
        ground.append("app.log", "f\n");
        trial.until_events(3).await;
    };
    trial.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["one", "two", "half"]);
    assert!(trial.events().iter().all(|event| event.headers.is_empty()));
}

#[tokio::test]
async fn headers_say_group_file_and_place() {
    let ground = Ground::new();
    ground.append("a.log", "one\ntwo\n");
    ground.append("b.txt", "three\n");
    let (path, texts) = (ground.log("a.log"), ground.log(r".*\.txt"));
    let source = ground.source(
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
    let trial = Trial::new();
    trial.run(&*source, trial.until_events(3)).await.unwrap();
    let events = trial.events();
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
async fn flumes_position_file_is_written_and_gone_on_from() {
    let ground = Ground::new();
    ground.append("app.log", "one\ntwo\n");
    let source = ground.source("app.log", &[]);
    assert_eq!(read(&*source, 2).await, ["one", "two"]);
    let path = ground.log("app.log");
    let inode = path.metadata().unwrap().ino();
    let wanted = format!(r#"[{{"inode":{inode},"pos":8,"file":"{}"}}]"#, path.display());
    assert_eq!(ground.positions(), wanted);
    ground.append("app.log", "three\n");
    assert_eq!(read(&*source, 1).await, ["three"]);
    // As Flume left it, with a place that only the file knows.
    std::fs::write(ground.at("pos/positions.json"), wanted.replace(":8,", ":4,")).unwrap();
    assert_eq!(read(&*source, 2).await, ["two", "three"]);
    // Another path, or another number: not this file.
    for wrong in [wanted.replace("app.log", "else.log"), wanted.replace(&inode.to_string(), "1")] {
        std::fs::write(ground.at("pos/positions.json"), wrong).unwrap();
        assert_eq!(read(&*source, 3).await, ["one", "two", "three"]);
    }
}

#[tokio::test]
async fn files_that_are_there_are_skipped_when_asked_and_later_ones_are_not() {
    let ground = Ground::new();
    ground.append("a.log", "old\n");
    let source = ground.source(r".*\.log", &[("skipToEnd", "true")]);
    let trial = Trial::new();
    let script = async {
        trial.until_started().await;
        until("the positions", || ground.positions().contains("\"pos\":4")).await;
        ground.append("a.log", "new\n");
        ground.append("b.log", "other\n");
        trial.until_events(2).await;
    };
    trial.run(&*source, script).await.unwrap();
    let mut read = bodies(&trial.events());
    read.sort();
    assert_eq!(read, ["new", "other"]);
}

#[tokio::test]
async fn a_file_that_is_renamed_is_not_read_again_whatever_its_name() {
    let ground = Ground::new();
    ground.append("app.log", "1\n2\n");
    // Its new name matches as well, or it does not.
    for (round, names) in [r"app\.log.*", r"app\.log"].into_iter().enumerate() {
        let trial = Trial::new();
        let source = ground.source(names, &[]);
        let script = async {
            let had = if round == 0 { 2 } else { 0 };
            trial.until_events(had).await;
            trial.until_started().await;
            ground.append("app.log", "3\n");
            trial.until_events(had + 1).await;
            let rotated = format!("app.log.{round}");
            ground.rename("app.log", &rotated);
            // The writer has not noticed yet.
            ground.append(&rotated, "4\n");
            ground.append("app.log", "5\n");
            trial.until_events(had + 3).await;
        };
        trial.run(&*source, script).await.unwrap();
        let mut read = bodies(&trial.events());
        read.sort();
        let wanted: &[&str] =
            if round == 0 { &["1", "2", "3", "4", "5"] } else { &["3", "4", "5"] };
        assert_eq!(read, wanted, "{names}");
    }
}

#[tokio::test]
async fn a_file_that_is_cut_or_written_anew_is_read_from_its_start() {
    let ground = Ground::new();
    ground.append("app.log", "one\ntwo\n");
    let trial = Trial::new();
    let source = ground.source("app.log", &[]);
    let script = async {
        trial.until_events(2).await;
        std::fs::write(ground.log("app.log"), "three\n").unwrap();
        trial.until_events(3).await;
        // Longer than what was read: its length says nothing.
        std::fs::write(ground.log("app.log"), "four\nfive\nsix\n").unwrap();
        trial.until_events(6).await;
    };
    trial.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["one", "two", "three", "four", "five", "six"]);
}

#[tokio::test]
async fn an_idle_file_is_closed_with_its_last_line_and_opened_when_it_grows() {
    let ground = Ground::new();
    ground.append("app.log", "one\nhalf");
    let trial = Trial::new();
    let source = ground.source("app.log", &[("idleTimeout", "100")]);
    let open = || {
        let entries = std::fs::read_dir("/proc/self/fd").unwrap();
        let links = entries.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        links.filter(|path| *path == ground.log("app.log")).count()
    };
    let script = async {
        trial.until_events(2).await;
        until("the file to be closed", || open() == 0).await;
        ground.append("app.log", " and half\nthree\n");
        trial.until_events(4).await;
    };
    trial.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["one", "half", " and half", "three"]);
}

#[tokio::test]
async fn a_file_that_is_removed_is_read_to_its_end_and_forgotten() {
    let ground = Ground::new();
    ground.append("app.log", "1\n");
    let trial = Trial::new();
    trial.reply_with([Reply::Held]);
    let source = ground.source("app.log", &[("batchSize", "1"), ("idleTimeout", "50")]);
    let script = async {
        trial.until_tries(1).await;
        ground.append("app.log", "2\n3\n");
        std::fs::remove_file(ground.log("app.log")).unwrap();
        trial.release();
        trial.until_events(3).await;
        until("the file to be forgotten", || ground.positions() == "[]").await;
    };
    trial.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["1", "2", "3"]);
}

#[tokio::test]
async fn a_directory_that_is_not_there_keeps_no_other_group_waiting() {
    let ground = Ground::new();
    ground.append("app.log", "one\n");
    let late = ground.at("late");
    let pattern = late.join(".*");
    let more = [("filegroups", "f0 f1"), ("filegroups.f0", pattern.to_str().unwrap())];
    let source = ground.source("app.log", &more);
    let trial = Trial::new();
    let script = async {
        trial.until_events(1).await;
        std::fs::create_dir(&late).unwrap();
        std::fs::write(late.join("x"), "two\n").unwrap();
        trial.until_events(2).await;
    };
    trial.run(&*source, script).await.unwrap();
    assert_eq!(bodies(&trial.events()), ["one", "two"]);
    assert_eq!(trial.context.counters.event_read_fail.get(), 1, "it is said once");
}

#[tokio::test]
async fn one_large_file_leaves_the_others_their_turn() {
    let ground = Ground::new();
    ground.append("a.log", &"x\n".repeat(1000));
    ground.append("b.log", "other\n");
    let source = ground.source(r".*\.log", &[("batchSize", "1"), ("maxBatchCount", "2")]);
    let read = read(&*source, 1001).await;
    let at = read.iter().position(|body| body == "other").unwrap();
    assert!(at <= 2, "it came as number {at}");
}

#[tokio::test]
async fn lines_wait_while_the_channel_refuses_and_one_that_never_fits_blocks_no_other() {
    let ground = Ground::new();
    ground.append("app.log", &format!("one\n{}\nthree\n", "x".repeat(1001)));
    let channel = narrow_channel(1000);
    let trial = Trial::over(&channel);
    let source = ground.source("app.log", &[]);
    let both = until("both lines", || channel.status().put == 2);
    trial.run(&*source, both).await.unwrap();
    assert_eq!(drain(&channel), ["one", "three"]);
    let counters = &trial.context.counters;
    assert_eq!(counters.generic_processing_fail.get(), 1);
    assert_eq!(counters.drops.get(DropReason::TooLarge), 1);
}

/// The position file lies, and is gone: with a channel that keeps positions nobody asks it.
#[tokio::test]
async fn the_channel_knows_the_place_better_than_the_position_file() {
    let ground = Ground::new();
    ground.append("a.log", "1\n2\n");
    ground.append("b.log", "3\n");
    let channel = ground.channel();
    let mut put = 0;
    for (more, name) in [(3, "a.log"), (1, "b.log"), (1, "a.log")] {
        let trial = Trial::over(&channel);
        let source = ground.source(r"[ab]\.log", &[]);
        put += more;
        let read = until("the lines", || channel.status().put == put);
        trial.run(&*source, read).await.unwrap();
        std::fs::write(ground.at("pos/positions.json"), "[]").unwrap();
        ground.append(name, &format!("{}\n", put + 1));
    }
    let mut read = drain(&channel);
    read.sort();
    assert_eq!(read, ["1", "2", "3", "4", "5"]);
}

/// Runs the source on a channel until that was put `events` more.
async fn on_channel(ground: &Ground, channel: &Arc<dyn Channel>, events: u64) {
    on_channel_as("r1", ground, channel, events).await;
}

async fn on_channel_as(name: &str, ground: &Ground, channel: &Arc<dyn Channel>, events: u64) {
    let mut trial = Trial::over(channel);
    name.clone_into(&mut trial.context.name);
    let put = channel.status().put + events;
    let source = ground.source_as(name, "app.log", &[]);
    let read = async {
        until("the lines", || channel.status().put >= put).await;
        trial.until_started().await;
    };
    trial.run(&*source, read).await.unwrap();
    assert_eq!(channel.status().put, put);
}

#[tokio::test]
async fn a_source_that_comes_back_to_a_channel_does_not_repeat_what_another_got_meanwhile() {
    let ground = Ground::new();
    let (one, two) = (ground.channel_in("one"), ground.channel_in("two"));
    let memory = narrow_channel(1 << 20);
    ground.append("app.log", "1\n2\n");
    on_channel(&ground, &one, 2).await;
    ground.append("app.log", "3\n4\n");
    on_channel(&ground, &two, 2).await;
    ground.append("app.log", "5\n");
    on_channel(&ground, &one, 1).await;
    ground.append("app.log", "6\n");
    on_channel(&ground, &memory, 1).await;
    // Cut and written anew meanwhile: the older mark of the first is further, and means another text.
    ground.append("app.log", "7\n");
    on_channel(&ground, &two, 1).await;
    std::fs::write(ground.log("app.log"), "1\n8\n").unwrap();
    on_channel(&ground, &two, 2).await;
    ground.append("app.log", "9\n10\n11\n12\n13\n14\n");
    on_channel(&ground, &one, 6).await;
    // With the marks of the present channel the position file counts for nothing.
    std::fs::write(ground.at("pos/positions.json"), "[]").unwrap();
    ground.append("app.log", "15\n");
    on_channel(&ground, &one, 1).await;
    let all = ["1", "2", "5", "9", "10", "11", "12", "13", "14", "15"];
    assert_eq!(drain(&one), all);
    assert_eq!(drain(&two), ["3", "4", "7", "1", "8"]);
    assert_eq!(drain(&memory), ["6"]);
}

#[tokio::test]
async fn where_nothing_tells_which_place_is_newer_lines_come_again_and_none_is_skipped() {
    let ground = Ground::new();
    let (one, two) = (ground.channel_in("one"), ground.channel_in("two"));
    ground.append("app.log", "1\n");
    on_channel(&ground, &one, 1).await;
    ground.append("app.log", "2\n");
    on_channel(&ground, &two, 1).await;
    ground.append("app.log", "3\n");
    for era in ["no number", ""] {
        std::fs::write(ground.at("pos/positions.json.era"), era).unwrap();
        let news = if era.is_empty() { 0 } else { 2 };
        on_channel(&ground, &one, news).await;
    }
    assert_eq!(drain(&one), ["1", "2", "3"]);
    assert_eq!(drain(&two), ["2"]);
}

#[tokio::test]
async fn a_position_file_that_another_source_writes_as_well_skips_no_lines() {
    let ground = Ground::new();
    let (one, memory) = (ground.channel(), narrow_channel(1 << 20));
    ground.append("app.log", "1\n");
    on_channel(&ground, &one, 1).await;
    ground.append("app.log", "2\n3\n");
    // It is another agent's, and has a file of its own: what the first has read is not read there.
    on_channel_as("r2", &ground, &memory, 3).await;
    on_channel(&ground, &one, 2).await;
    assert_eq!(drain(&one), ["1", "2", "3"]);
}

/// While nobody looked the file was renamed to what no group has, and another took its name.
#[tokio::test]
async fn the_end_of_a_file_that_was_renamed_meanwhile_is_read_where_the_channel_knows_it() {
    let ground = Ground::new();
    ground.append("app.log", "1\n");
    let channel = ground.channel();
    let life = async |put: u64| {
        let trial = Trial::over(&channel);
        let source = ground.source(r"app\.log", &[]);
        let read = until("the lines", || channel.status().put >= put);
        trial.run(&*source, read).await.unwrap();
    };
    life(1).await;
    ground.append("app.log", "2\n");
    ground.rename("app.log", "app.log.1");
    ground.append("app.log", "3\n");
    life(3).await;
    let mut read = drain(&channel);
    read.sort();
    assert_eq!(read, ["1", "2", "3"]);
}

/// The files whose names match.
fn group(ground: &Ground, names: &str) -> Group {
    Group {
        name: "f1".to_owned(),
        directory: ground.at("logs"),
        names: Pattern::new(names).unwrap(),
        pattern: names.to_owned(),
        headers: Arc::default(),
    }
}

/// What a source knows of the files `app.*`, without its channels.
fn tails(ground: &Ground, known: Vec<place::Entry>) -> Tails {
    tails_counted(ground, known, Arc::default())
}

fn tails_counted(
    ground: &Ground,
    known: Vec<place::Entry>,
    counters: Arc<crate::metrics::SourceCounters>,
) -> Tails {
    let settings = Settings {
        name: "r1".to_owned(),
        agent: "a1".to_owned(),
        groups: vec![group(ground, "app.*")],
        cached: true,
        skip_to_end: false,
        byte_offset_header: false,
        file_header: None,
        idle: Duration::from_secs(120),
    };
    let mut before = Known::default();
    before.mark(known, false);
    let journal = Journal::new(&ground.at("positions.json"), JournalMark::default());
    Tails::new(Arc::new(settings), counters, before, Some(journal))
}

/// A look at `seconds` of a clock that shows the time of day as well.
fn look(tails: &mut Tails, seconds: u64) -> Vec<FileId> {
    let today = std::time::UNIX_EPOCH.elapsed().unwrap().as_nanos();
    tails.look(Duration::from_secs(seconds), i64::try_from(today).unwrap())
}

/// Reads all that is new and answers it with the place behind it.
fn news(tails: &mut Tails, seconds: u64) -> (Vec<String>, Vec<place::Entry>) {
    let (mut lines, mut entries) = (Vec::new(), Vec::new());
    let now = Duration::from_secs(seconds);
    for id in look(tails, seconds) {
        let Some(batch) = tails.read(id, 100, false) else { continue };
        let end = batch.pieces.last().unwrap().end.offset;
        lines.extend(batch.pieces.into_iter().map(|piece| piece.event));
        tails.reached(id, end, Some(batch.place.journal), now);
        entries = Place::decode(&batch.place.encode(batch.from, end)).unwrap().entries;
    }
    (bodies(&lines), entries)
}

/// As where a file is renamed between the listing of its directory and the look at it.
#[test]
fn a_file_that_the_first_look_misses_is_gone_on_with() {
    let ground = Ground::new();
    ground.append("app.log", "1\n2\n");
    let known = news(&mut tails(&ground, Vec::new()), 0).1;
    let away = ground.at("away");
    files::rename_new(&ground.log("app.log"), &away).unwrap();
    let mut life = tails(&ground, known.clone());
    assert_eq!(look(&mut life, 0), []);
    files::rename_new(&away, &ground.log("app.log.1")).unwrap();
    ground.append("app.log.1", "3\n");
    assert_eq!(news(&mut life, 9).0, ["3"]);
    // One that is sought for long is forgotten.
    files::rename_new(&ground.log("app.log.1"), &away).unwrap();
    let mut life = tails(&ground, known);
    look(&mut life, 0);
    look(&mut life, 10);
    files::rename_new(&away, &ground.log("app.log")).unwrap();
    assert_eq!(news(&mut life, 11).0, ["1", "2", "3"]);
}

#[test]
fn a_name_that_leads_to_another_file_by_now_opens_none() {
    let ground = Ground::new();
    ground.append("app.log", "1\n");
    let found = ground.log("app.log").metadata().unwrap();
    let id = (found.dev(), found.ino());
    assert!(tails::open(&ground.log("app.log"), id).is_ok());
    ground.rename("app.log", "app.log.1");
    ground.append("app.log", "2\n");
    let error = tails::open(&ground.log("app.log"), id).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "as of one that is gone");
}

#[test]
fn a_file_that_a_later_look_misses_is_not_read_again() {
    let ground = Ground::new();
    ground.append("app.log", "1\n");
    let mut life = tails(&ground, Vec::new());
    assert_eq!(news(&mut life, 0).0, ["1"]);
    let close = |life: &mut Tails, seconds| {
        let now = Duration::from_secs(seconds);
        let idle = life.idle(now);
        idle.into_iter().for_each(|id| life.close(id, now));
    };
    look(&mut life, 1000);
    close(&mut life, 1000);
    let away = ground.at("away");
    files::rename_new(&ground.log("app.log"), &away).unwrap();
    assert_eq!(look(&mut life, 1001), []);
    close(&mut life, 1001);
    files::rename_new(&away, &ground.log("app.log.1")).unwrap();
    ground.append("app.log.1", "2\n");
    assert_eq!(news(&mut life, 1002).0, ["2"]);
}

/// It got the number of one that is gone, as file systems give it out again at once.
#[test]
fn a_file_that_was_made_since_is_another_however_it_begins() {
    let ground = Ground::new();
    // Further than a tick of the kernel's clock from the directory's last change.
    std::thread::sleep(Duration::from_millis(20));
    let (away, text) = (ground.at("away"), "#Fields: a b\n");
    std::fs::write(&away, text).unwrap();
    let made = away.metadata().unwrap();
    if made.created().is_err() {
        println!("left out taildir: the file system does not tell when a file was made");
        return;
    }
    let identity = identity::Identity {
        inode: made.ino(),
        device: None,
        born_ns: None,
        print: identity::Print::of(text.as_bytes()),
        ending: None,
    };
    let known = vec![place::Entry { identity, pos: made.len() }];
    let mut life = tails(&ground, known);
    look(&mut life, 0);
    files::rename_new(&away, &ground.log("app.log")).unwrap();
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
