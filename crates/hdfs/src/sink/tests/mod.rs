//! The sink on a file system in memory, with injected faults, and on this machine.

pub(in crate::sink) mod breaks;
mod exactly_once;
mod hook;
#[cfg(feature = "parquet")]
mod parquet;
#[cfg(feature = "object-store")]
mod store;

use super::*;
use crate::file_system::FaultKind;
use crate::file_system::memory::Memory;
use millpond::ManualClock;
use millpond_flow::context::StopSignal;
use millpond_flow::log_capture::captured_log;
use millpond_flow::settings::Settings;
use std::path::PathBuf;
use tempfile::TempDir;

struct Bench {
    memory: Memory,
    clock: Arc<ManualClock>,
    context: SinkContext,
    state: TempDir,
}

/// With dead letters an event without a path is refused.
const REFUSES: (&str, &str) = ("deadLetter.directory", "/dead");
const START_MS: u64 = 1_600_000_000_000;

fn bench() -> Bench {
    let clock = Arc::new(ManualClock::default());
    let context = SinkContext {
        agent: "a".to_owned(),
        name: "k1".to_owned(),
        stop: StopSignal::new().1,
        clock: clock.clone(),
        counters: Arc::default(),
        gives_up: false,
    };
    // In memory where that is possible: the tests of every call sync thousands of times.
    let state = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new()).unwrap();
    Bench { memory: Memory::default(), clock, context, state }
}

impl Bench {
    /// Returns a started sink of lines below `/d`, without rolls unless `pairs` say otherwise.
    async fn sink(&self, pairs: &[(&str, &str)]) -> HdfsSink {
        let mut sink = self.built(pairs);
        // A process that another test begins at this moment has the lock of the sink before until it runs its program.
        for _ in 0..200 {
            match sink.start(&self.context).await {
                Err(error) if error.to_string().contains("is in use by a sink") => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                started => {
                    started.unwrap();
                    return sink;
                }
            }
        }
        panic!("the sink before does not leave its list of open files");
    }

    /// Returns the same with the file system of the settings.
    async fn local_sink(&self, pairs: &[(&str, &str)]) -> HdfsSink {
        let mut sink = self.built(pairs);
        sink.open = Box::new(HdfsSettings::file_system);
        sink.start(&self.context).await.unwrap();
        sink
    }

    fn built(&self, pairs: &[(&str, &str)]) -> HdfsSink {
        let state = self.state.path().to_str().unwrap();
        let mut all = vec![
            ("hdfs.path", "/d/%{h}"),
            ("hdfs.filePrefix", "x"),
            ("hdfs.fileType", "DataStream"),
            ("hdfs.rollCount", "0"),
            ("hdfs.rollSize", "0"),
            ("hdfs.rollInterval", "0"),
            ("hdfs.stateDirectory", state),
        ];
        all.extend(pairs);
        let settings = Settings::from_pairs("k1", &all);
        let mut sink = HdfsSink::build(&mut SettingsReader::new(&settings)).unwrap();
        let memory = self.memory.clone();
        sink.open = Box::new(move |_| Ok(Arc::new(memory.clone())));
        sink
    }

    /// Lets a second pass, in which no event comes.
    async fn idle(&self, sink: &mut HdfsSink) {
        self.clock.advance(Duration::from_secs(1));
        sink.tick(&self.context).await.unwrap();
    }

    /// Lets the tasks that close files do what they can without a pause.
    async fn settled(&self) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    /// Returns the files below the directory `name` of the state.
    fn files_below(&self, name: &str) -> Vec<PathBuf> {
        fn files(of: &std::path::Path) -> Vec<PathBuf> {
            let Ok(entries) = std::fs::read_dir(of) else { return Vec::new() };
            let one = |entry: std::fs::DirEntry| match entry.path() {
                path if path.is_dir() => files(&path),
                path => vec![path],
            };
            entries.flatten().flat_map(one).collect()
        }
        files(&self.state.path().join(name))
    }

    async fn texts(&self) -> Vec<(String, String)> {
        self.settled().await;
        self.memory.texts()
    }
}

/// Returns events whose header `h` is the text before the `/`.
fn events(texts: &[&str]) -> Vec<Event> {
    let event = |text: &&str| {
        let (header, body) = text.split_once('/').unwrap_or(("", *text));
        Event::packed(&[("h", header)], body.as_bytes())
    };
    texts.iter().map(event).collect()
}

/// Returns what [`Bench::texts`] should: names are relative to `/d`, `+N` is the time of the start and N.
fn files(list: &[(&str, &str)]) -> Vec<(String, String)> {
    let name = |name: &str| {
        let Some((before, rest)) = name.split_once('+') else { return format!("/d/{name}") };
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number = START_MS + rest[..digits].parse::<u64>().unwrap();
        format!("/d/{before}{number}{}", &rest[digits..])
    };
    list.iter().map(|(path, text)| (name(path), (*text).to_owned())).collect()
}

#[tokio::test(start_paused = true)]
async fn files_are_named_and_rolled_as_the_settings_say() {
    let body = ["a/1", "a/2", "b/3", "a/4"];
    for (pairs, expected) in [
        (&[][..], &[("a/x.+1.tmp", "1\n2\n4\n(open)"), ("b/x.+1.tmp", "3\n(open)")][..]),
        (
            &[("hdfs.rollCount", "2")],
            &[("a/x.+1", "1\n2\n"), ("a/x.+2.tmp", "4\n(open)"), ("b/x.+1.tmp", "3\n(open)")],
        ),
        (
            &[("hdfs.rollSize", "2"), ("hdfs.fileSuffix", ".log")],
            &[
                ("a/x.+1.log", "1\n2\n"),
                ("a/x.+2.log.tmp", "4\n(open)"),
                ("b/x.+1.log.tmp", "3\n(open)"),
            ],
        ),
        (
            &[("hdfs.inUsePrefix", "_"), ("hdfs.emptyInUseSuffix", "true")],
            &[("a/_x.+1", "1\n2\n4\n(open)"), ("b/_x.+1", "3\n(open)")],
        ),
        (
            &[("hdfs.filePrefix", "%{h}-"), ("hdfs.path", "/d"), ("hdfs.inUseSuffix", ".open")],
            &[("a-.+1.open", "1\n2\n4\n(open)"), ("b-.+1.open", "3\n(open)")],
        ),
        (
            &[("serializer", "HEADER_AND_TEXT"), ("serializer.appendNewline", "false")],
            &[("a/x.+1.tmp", "{h=a} 1{h=a} 2{h=a} 4(open)"), ("b/x.+1.tmp", "{h=b} 3(open)")],
        ),
    ] {
        let bench = bench();
        let mut sink = bench.sink(pairs).await;
        sink.deliver(&bench.context, &events(&body)).await.unwrap();
        assert_eq!(bench.texts().await, files(expected), "{pairs:?}");
        sink.stop(&bench.context).await.unwrap();
        let open =
            |(name, text): &(String, String)| text.contains("(open)") || name.ends_with("tmp");
        assert!(!bench.memory.texts().iter().any(open), "{:?}", bench.memory.texts());
        assert_eq!(bench.memory.texts().len(), expected.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_file_is_closed_with_the_next_event_or_after_a_second() {
    let bench = bench();
    let mut sink = bench.sink(&[("hdfs.rollCount", "2")]).await;
    let body = ["a/1", "a/2", "a/3", "a/4", "a/5", "a/6"];
    sink.deliver(&bench.context, &events(&body)).await.unwrap();
    // Without a pause for the tasks: the first two are renamed before the last events can be read.
    let filled = [("a/x.+1", "1\n2\n"), ("a/x.+2", "3\n4\n"), ("a/x.+3.tmp", "5\n6\n(open)")];
    assert_eq!(bench.memory.texts(), files(&filled));
    assert_eq!(sink.next_tick(), Some(Duration::from_secs(1)));
    bench.idle(&mut sink).await;
    assert_eq!(bench.texts().await[2], files(&[("a/x.+3", "5\n6\n")])[0]);
    // The bucket stays, with its numbers.
    sink.deliver(&bench.context, &events(&["a/7"])).await.unwrap();
    assert_eq!(bench.texts().await[3], files(&[("a/x.+4.tmp", "7\n(open)")])[0]);
}

#[tokio::test(start_paused = true)]
async fn a_delivery_of_several_batches_does_not_wait_for_closes() {
    for (batch, waits) in [("2", false), ("3", true)] {
        let bench = bench();
        let mut sink = bench.sink(&[("hdfs.rollCount", "2"), ("hdfs.batchSize", batch)]).await;
        // No close ends.
        bench.memory.inject("close", "", None, usize::MAX);
        let began = tokio::time::Instant::now();
        sink.deliver(&bench.context, &events(&["a/1", "a/2", "a/3"])).await.unwrap();
        assert_eq!(began.elapsed() >= Duration::from_secs(1), waits, "batches of {batch}");
        // What the first one did not wait for, the next one does.
        sink.deliver(&bench.context, &events(&["a/4"])).await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(1), "batches of {batch}");
    }
}

#[tokio::test(start_paused = true)]
async fn events_of_several_avro_schemas_are_in_files_of_their_own() {
    let schema = |name: &str| format!(r#"{{"type":"record","name":"{name}","fields":[]}}"#);
    let of = |name: &str| {
        let literal = schema(name);
        Event::packed(&[("h", "a"), ("flume.avro.schema.literal", &literal)], b"")
    };
    let bench = bench();
    let avro = "org.apache.flume.sink.hdfs.AvroEventSerializer$Builder";
    let mut sink = bench.sink(&[("serializer", avro)]).await;
    sink.deliver(&bench.context, &[of("A"), of("B"), of("A")]).await.unwrap();
    sink.deliver(&bench.context, &[of("A"), of("A")]).await.unwrap();
    sink.stop(&bench.context).await.unwrap();
    let texts = bench.texts().await;
    let found: Vec<&str> = texts
        .iter()
        .map(|(_, text)| {
            assert_eq!(text.matches("avro.schema").count(), 1, "one header: {text}");
            if text.contains(&schema("A")) { "A" } else { "B" }
        })
        .collect();
    assert_eq!(found, ["A", "B", "A"]);
}

#[tokio::test(start_paused = true)]
async fn files_are_closed_by_time_although_no_event_arrives() {
    for (key, first, last) in [("hdfs.rollInterval", 10, "+1"), ("hdfs.idleTimeout", 14, "+1")] {
        let bench = bench();
        let mut sink = bench.sink(&[(key, "10")]).await;
        assert_eq!(sink.next_tick(), None);
        sink.deliver(&bench.context, &events(&["a/1"])).await.unwrap();
        bench.clock.advance(Duration::from_secs(4));
        sink.deliver(&bench.context, &events(&["a/2"])).await.unwrap();
        assert_eq!(sink.next_tick(), Some(Duration::from_secs(first)), "{key}");
        bench.clock.advance(Duration::from_secs(first - 5));
        sink.tick(&bench.context).await.unwrap();
        assert!(bench.texts().await[0].0.ends_with(".tmp"), "not yet due");
        bench.clock.advance(Duration::from_secs(1));
        sink.tick(&bench.context).await.unwrap();
        assert_eq!(bench.texts().await, files(&[(&format!("a/x.{last}"), "1\n2\n")]));
        assert_eq!((sink.next_tick(), sink.buckets.count()), (None, 0));
        // The next file has the time of its bucket.
        sink.deliver(&bench.context, &events(&["a/3"])).await.unwrap();
        let name = format!("a/x.+{}.tmp", first * 1000 + 1);
        assert_eq!(bench.texts().await[1], files(&[(&name, "3\n(open)")])[0]);
    }
}

#[tokio::test(start_paused = true)]
async fn the_least_recently_used_file_is_closed_when_there_are_too_many() {
    let bench = bench();
    let mut sink = bench.sink(&[("hdfs.maxOpenFiles", "2")]).await;
    for text in ["a/1", "b/2", "a/3", "c/4"] {
        sink.deliver(&bench.context, &events(&[text])).await.unwrap();
    }
    let expected = [("a/x.+1.tmp", "1\n3\n(open)"), ("b/x.+1", "2\n"), ("c/x.+1.tmp", "4\n(open)")];
    assert_eq!(bench.texts().await, files(&expected));
    // More in one batch than may be open: all are delivered, a few at a time.
    sink.deliver(&bench.context, &events(&["p/1", "q/1", "r/1", "s/1", "t/1"])).await.unwrap();
    assert!(sink.buckets.count() <= 2);
    let written = bench.texts().await.iter().filter(|(_, text)| text.starts_with("1\n")).count();
    assert_eq!(written, 6);
}

#[tokio::test(start_paused = true)]
async fn an_event_without_a_path_is_refused_before_anything_is_written() {
    let bench = bench();
    let path = ("hdfs.path", "/d/%Y");
    let mut sink = bench.sink(&[path, REFUSES]).await;
    let mut good = Event::new("good");
    good.headers.set("timestamp", "1352062205123");
    let batch = [good.clone(), Event::new("bad"), good];
    let failure = sink.deliver(&bench.context, &batch).await.unwrap_err();
    assert!(failure.is_final() && sink.may_refuse(), "{failure}");
    assert!(failure.to_string().contains("timestamp"), "{failure}");
    assert_eq!(bench.texts().await, []);
    sink.stop(&bench.context).await.unwrap();
    drop(sink);
    let mut sink = bench.sink(&[path, ("hdfs.fallbackPath", "/d/lost")]).await;
    sink.deliver(&bench.context, &batch).await.unwrap();
    let expected =
        [("2012/x.+1.tmp", "good\ngood\n(open)"), ("lost/FlumeData.+1.tmp", "bad\n(open)")];
    assert_eq!(bench.texts().await, files(&expected));
}

#[tokio::test(start_paused = true)]
async fn an_event_without_a_path_stops_no_other_event_and_is_reported() {
    let bench = bench();
    let mut sink = bench.sink(&[("hdfs.path", "/d/%Y")]).await;
    let mut good = Event::new("good");
    good.headers.set("timestamp", "1352062205123");
    let bad = Event::packed(&[("timestamp", "soon")], b"bad");
    let batch = [good.clone(), bad, good];
    let log = captured_log(async { sink.deliver(&bench.context, &batch).await.unwrap() }).await;
    let expected =
        [("2012/x.+1.tmp", "good\ngood\n(open)"), ("_no_path/FlumeData.+1.tmp", "bad\n(open)")];
    assert_eq!(bench.texts().await, files(&expected));
    for word in ["/d/_no_path", "soon", "hdfs.fallbackPath"] {
        assert!(log.contains(word), "{word}: {log}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_directory_that_cannot_be_written_to_fails_the_batch_as_a_whole() {
    for (kind, is_refusal, is_final) in [
        (FaultKind::PermissionDenied, false, false),
        (FaultKind::QuotaExceeded, false, false),
        (FaultKind::ReadOnly, false, false),
        (FaultKind::Unavailable, false, false),
        // The file that is in the way may be removed.
        (FaultKind::NotDirectory, true, false),
        (FaultKind::InvalidPath, true, true),
    ] {
        let bench = bench();
        let mut sink = bench.sink(&[REFUSES]).await;
        bench.memory.inject("create", "/d/b/", Some(kind), usize::MAX);
        let batch = events(&["a/1", "b/2"]);
        for _ in 0..2 {
            let failure = sink.deliver(&bench.context, &batch).await.unwrap_err();
            let verdict = (failure.is_refusal(), failure.is_final());
            assert_eq!(verdict, (is_refusal, is_final), "{failure}");
        }
        assert_eq!(bench.memory.count("write"), 0, "{kind}");
        bench.memory.heal();
        sink.deliver(&bench.context, &batch).await.unwrap();
        let texts = bench.texts().await;
        let texts: Vec<&str> = texts.iter().map(|(_, text)| text.as_str()).collect();
        assert_eq!(texts, ["1\n(open)", "2\n(open)"], "{kind}");
    }
    // With a fallback no event is refused.
    let bench = bench();
    let mut sink = bench.sink(&[("hdfs.fallbackPath", "/d/lost")]).await;
    bench.memory.inject("create", "/d/b/", Some(FaultKind::InvalidPath), usize::MAX);
    sink.deliver(&bench.context, &events(&["a/1", "b/2"])).await.unwrap();
    let texts = bench.texts().await;
    assert!(texts[1].0.starts_with("/d/lost/") && texts[1].1 == "2\n(open)", "{texts:?}");
}

#[tokio::test(start_paused = true)]
async fn no_existing_file_is_overwritten() {
    let bench = bench();
    let path = |n: u64, end: &str| format!("/d/a/x.{}{end}", START_MS + n);
    bench.memory.put(&path(1, ""), "old");
    bench.memory.put(&path(2, ".tmp"), "old");
    let mut sink = bench.sink(&[]).await;
    sink.deliver(&bench.context, &events(&["a/1"])).await.unwrap();
    // The name is taken while the file is open.
    bench.memory.put(&path(3, ""), "old");
    bench.memory.put(&path(3, ".1"), "old");
    sink.stop(&bench.context).await.unwrap();
    let expected = [
        ("a/x.+1", "old"),
        ("a/x.+2.tmp", "old"),
        ("a/x.+3", "old"),
        ("a/x.+3.1", "old"),
        ("a/x.+3.2", "1\n"),
    ];
    assert_eq!(bench.memory.texts(), files(&expected));
    // Without a name for the time in use.
    let bench = self::bench();
    bench.memory.put(&path(1, ""), "old");
    let mut sink = bench.sink(&[("hdfs.emptyInUseSuffix", "true")]).await;
    sink.deliver(&bench.context, &events(&["a/1"])).await.unwrap();
    sink.stop(&bench.context).await.unwrap();
    assert_eq!(bench.memory.texts(), files(&[("a/x.+1", "old"), ("a/x.+2", "1\n")]));
}

#[tokio::test(start_paused = true)]
async fn after_a_broken_file_the_next_one_is_opened_and_the_old_one_renamed() {
    for (action, kind) in [
        ("write", Some(FaultKind::Broken)),
        ("hsync", Some(FaultKind::Broken)),
        ("hsync", Some(FaultKind::TimedOut)),
        ("write", None),
        ("hsync", None),
    ] {
        let bench = bench();
        let mut sink = bench.sink(&[("hdfs.callTimeout", "2000")]).await;
        sink.deliver(&bench.context, &events(&["a/1", "b/1"])).await.unwrap();
        bench.memory.inject(action, "/d/a/", kind, 1);
        sink.deliver(&bench.context, &events(&["a/2", "b/2"])).await.unwrap();
        sink.stop(&bench.context).await.unwrap();
        let expected = [("a/x.+1", "1\n"), ("a/x.+2", "2\n"), ("b/x.+1", "1\n2\n")];
        assert_eq!(bench.memory.texts(), files(&expected), "{action} {kind:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_close_becomes_a_lease_recovery_and_renames_are_tried_again() {
    for (action, faults) in [("close", 1), ("recover", 3), ("rename", 3)] {
        let bench = bench();
        let mut sink = bench.sink(&[("hdfs.rollCount", "1")]).await;
        if action == "recover" {
            bench.memory.inject("close", "", Some(FaultKind::Broken), 1);
        }
        bench.memory.inject(action, "", Some(FaultKind::Unavailable), faults);
        sink.deliver(&bench.context, &events(&["a/1"])).await.unwrap();
        bench.idle(&mut sink).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert_eq!(bench.texts().await, files(&[("a/x.+1", "1\n")]), "{action}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_tries_to_rename_are_bounded_and_the_next_start_goes_on() {
    let bench = bench();
    let pairs = [("hdfs.rollCount", "1"), ("hdfs.closeTries", "3")];
    let mut sink = bench.sink(&pairs).await;
    bench.memory.inject("rename", "", Some(FaultKind::PermissionDenied), usize::MAX);
    sink.deliver(&bench.context, &events(&["a/1"])).await.unwrap();
    bench.idle(&mut sink).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(bench.memory.count("rename"), 3);
    sink.stop(&bench.context).await.unwrap();
    drop(sink);
    bench.memory.heal();
    let _sink = bench.sink(&pairs).await;
    assert_eq!(bench.texts().await, files(&[("a/x.+1", "1\n")]));
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_renamed_do_not_become_more_and_more() {
    let bench = bench();
    let mut sink = bench.sink(&[("hdfs.rollCount", "1")]).await;
    bench.memory.inject("rename", "", Some(FaultKind::PermissionDenied), usize::MAX);
    let mut written = 0;
    let failure = loop {
        let batch = vec![Event::packed(&[("h", "a")], b"1"); 100];
        match sink.deliver(&bench.context, &batch).await {
            Ok(()) => written += batch.len(),
            Err(failure) => break failure.to_string(),
        }
        assert!(written < 20_000);
    };
    assert!(failure.contains(" files of hdfs.path cannot be closed"), "{failure}");
    assert!((10_000..10_200).contains(&written), "{written}");
    bench.memory.heal();
    tokio::time::sleep(Duration::from_secs(3600)).await;
    sink.deliver(&bench.context, &events(&["a/1"])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_next_start_closes_and_renames_what_a_kill_left() {
    let bench = bench();
    let mut sink = bench.sink(&[]).await;
    sink.deliver(&bench.context, &events(&["a/1", "b/2"])).await.unwrap();
    // Opened, nothing written to it yet.
    bench.memory.inject("write", "/d/c/", None, 1);
    let batch = events(&["c/3"]);
    {
        let delivery = sink.deliver(&bench.context, &batch);
        assert!(tokio::time::timeout(Duration::from_secs(1), delivery).await.is_err());
    }
    drop(sink);
    bench.memory.kill_writers();
    bench.settled().await;
    let sink = bench.sink(&[]).await;
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(bench.memory.texts(), files(&[("a/x.+1", "1\n"), ("b/x.+1", "2\n")]));
    let calls = bench.memory.count("recover");
    drop(sink);
    bench.settled().await;
    let _sink = bench.sink(&[]).await;
    bench.settled().await;
    assert_eq!(bench.memory.count("recover"), calls, "nothing is left to do");
}

#[tokio::test(start_paused = true)]
async fn a_stop_tries_files_that_wait_for_their_next_try_at_once() {
    let bench = bench();
    let mut sink = bench.sink(&[("hdfs.rollCount", "1")]).await;
    bench.memory.inject("rename", "", Some(FaultKind::Unavailable), usize::MAX);
    sink.deliver(&bench.context, &events(&["a/1"])).await.unwrap();
    bench.idle(&mut sink).await;
    // The next try is in 64 s.
    tokio::time::sleep(Duration::from_secs(64)).await;
    bench.memory.heal();
    sink.stop(&bench.context).await.unwrap();
    assert_eq!(bench.memory.texts(), files(&[("a/x.+1", "1\n")]));
}

#[tokio::test(start_paused = true)]
async fn a_stop_ends_in_time_while_the_file_system_is_away() {
    for (action, kind) in
        [("close", None), ("rename", Some(FaultKind::Unavailable)), ("rename", None)]
    {
        let bench = bench();
        let mut sink = bench.sink(&[]).await;
        sink.deliver(&bench.context, &events(&["a/1", "b/2"])).await.unwrap();
        bench.memory.inject(action, "/d/a/", kind, usize::MAX);
        let stop = tokio::time::timeout(Duration::from_secs(6), sink.stop(&bench.context));
        let error = stop.await.expect("it ends").unwrap_err().to_string();
        assert!(error.contains("1 files are not closed"), "{error}");
        assert!(bench.memory.texts().contains(&files(&[("b/x.+1", "2\n")])[0]));
        drop(sink);
        bench.settled().await;
        bench.memory.heal();
        bench.memory.kill_writers();
        let _sink = bench.sink(&[]).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let expected = files(&[("a/x.+1", "1\n"), ("b/x.+1", "2\n")]);
        assert_eq!(bench.memory.texts(), expected, "{action}");
    }
}

#[tokio::test(start_paused = true)]
async fn headers_that_no_path_may_have_are_replaced_and_reported_once() {
    let bench = bench();
    let mut sink = bench.sink(&[]).await;
    let mut event = Event::new("1");
    event.headers.set("h", "../../etc:\u{1}");
    let log = captured_log(async {
        for _ in 0..3 {
            sink.deliver(&bench.context, &[event.clone()]).await.unwrap();
        }
    })
    .await;
    assert_eq!(log.matches("were replaced").count(), 1, "{log}");
    assert_eq!(bench.texts().await, files(&[("__/__/etc__/x.+1.tmp", "1\n1\n1\n(open)")]));
}

#[tokio::test]
async fn files_of_this_machine_are_written_and_recovered() {
    let (bench, place) = (bench(), TempDir::new().unwrap());
    let path = format!("file://{}/%{{h}}", place.path().display());
    let mut sink = bench.local_sink(&[("hdfs.path", &path)]).await;
    sink.deliver(&bench.context, &events(&["a/1", "a/2"])).await.unwrap();
    let name = |end: &str| place.path().join(format!("a/x.{}{end}", START_MS + 1));
    assert_eq!(std::fs::read_to_string(name(".tmp")).unwrap(), "1\n2\n");
    sink.stop(&bench.context).await.unwrap();
    assert_eq!(std::fs::read_to_string(name("")).unwrap(), "1\n2\n");
    assert!(!name(".tmp").exists());
}
