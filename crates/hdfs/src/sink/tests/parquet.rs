//! Parquet files: made when they are renamed, whatever ends before that.

use super::*;
use crate::file_system::{FileSystem, FileSystemError};
use ::parquet::file::reader::{FileReader, SerializedFileReader};
use ::parquet::record::RowAccessor;
use bytes::Bytes;
use std::collections::BTreeMap;

const PARQUET: &[(&str, &str)] = &[
    ("serializer", "parquet"),
    ("serializer.schema", "message m { required binary text (STRING); }"),
];

fn with<'a>(pairs: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    PARQUET.iter().chain(pairs).copied().collect()
}

/// Returns events for the directory `h` whose column has `texts`.
fn rows(texts: &[&str]) -> Vec<Event> {
    let event = |text: &&str| {
        let (header, text) = text.split_once('/').unwrap_or(("", *text));
        Event::packed(&[("h", header)], format!(r#"{{"text":"{text}"}}"#).as_bytes())
    };
    texts.iter().map(event).collect()
}

fn texts(file: Bytes) -> Vec<String> {
    let reader = SerializedFileReader::new(file).expect("a whole Parquet file");
    let rows = reader.get_row_iter(None).unwrap();
    rows.map(|row| row.unwrap().get_string(0).unwrap().clone()).collect()
}

impl Bench {
    /// Returns the paths of all files with the texts in them, of those that have their last name.
    async fn parquet_files(&self) -> Vec<(String, Vec<String>)> {
        self.settled().await;
        let mut all = Vec::new();
        for (path, _) in self.memory.texts() {
            let is_made = path.ends_with(".parquet");
            let bytes = self.memory.read(&path, 0, usize::MAX >> 1).await.unwrap();
            all.push((path, if is_made { texts(bytes) } else { Vec::new() }));
        }
        all
    }

    /// Returns the files in the spool.
    fn spooled(&self) -> usize {
        self.files_below("parquet").len()
    }
}

/// Waits until blocking threads have done their work, although time is paused.
async fn eventually(mut done: impl AsyncFnMut() -> bool) {
    for _ in 0..2000 {
        if done().await {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not happen");
}

#[tokio::test(start_paused = true)]
async fn a_parquet_file_appears_whole_when_its_file_is_full() {
    let bench = bench();
    let mut sink = bench.sink(&with(&[("hdfs.rollCount", "2")])).await;
    sink.deliver(&bench.context, &rows(&["a/1", "a/2", "b/3", "a/4"])).await.unwrap();
    sink.deliver(&bench.context, &rows(&["b/5"])).await.unwrap();
    sink.stop(&bench.context).await.unwrap();
    let found = bench.parquet_files().await;
    let name = |directory: &str, n| format!("/d/{directory}/x.{}.parquet", START_MS + n);
    let list = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
    let expected: Vec<(String, Vec<String>)> = vec![
        (name("a", 1), list(&["1", "2"])),
        (name("a", 2), list(&["4"])),
        (name("b", 1), list(&["3", "5"])),
    ];
    assert_eq!(found, expected);
    assert_eq!(bench.spooled(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_event_that_fits_no_file_is_refused_before_anything_is_written() {
    let bench = bench();
    let mut sink = bench.sink(PARQUET).await;
    let mut batch = rows(&["a/1", "b/2"]);
    batch.push(Event::packed(&[("h", "a")], b"not JSON"));
    let failure = sink.deliver(&bench.context, &batch).await.unwrap_err();
    assert!(failure.is_final(), "{failure}");
    assert!(failure.to_string().contains("its body is not JSON"), "{failure}");
    assert_eq!(bench.spooled(), 0);
    let more = Event::packed(&[("h", "a")], br#"{"text":"1","more":2}"#);
    let log = captured_log(async {
        for _ in 0..3 {
            sink.deliver(&bench.context, std::slice::from_ref(&more)).await.unwrap();
        }
    })
    .await;
    assert_eq!(log.matches("the field more").count(), 1, "{log}");
}

/// Ends the process at each call of the file system that a life of the sink has, and starts it again.
#[tokio::test(start_paused = true)]
async fn no_event_is_lost_or_doubled_at_whichever_call_the_process_ends() {
    let batches = [rows(&["a/1", "b/2"]), rows(&["a/3"]), rows(&["a/4", "a/5", "b/6"])];
    let pairs = with(&[("hdfs.rollCount", "2"), ("hdfs.callTimeout", "0")]);
    let life = async |bench: &Bench, acknowledged: &mut usize| {
        let mut sink = bench.sink(&pairs).await;
        for batch in &batches[*acknowledged..] {
            sink.deliver(&bench.context, batch).await.unwrap();
            *acknowledged += 1;
        }
        sink.stop(&bench.context).await.unwrap();
    };
    let whole = bench();
    life(&whole, &mut 0).await;
    let calls = whole.memory.actions();
    for action in ["create", "write", "hsync", "close", "rename"] {
        assert!(calls.contains(&action), "{action}: {calls:?}");
    }
    for (at, call) in calls.iter().enumerate() {
        let (bench, mut acknowledged) = (bench(), 0);
        bench.memory.stop_at(at);
        let ended = async {
            let first = life(&bench, &mut acknowledged);
            // The calls that have ended have done so long before.
            tokio::time::timeout(Duration::from_secs(4), first).await
        };
        let is_cut = ended.await.is_err();
        bench.settled().await;
        bench.memory.kill_writers();
        bench.memory.heal();
        life(&bench, &mut acknowledged).await;
        eventually(async || bench.spooled() == 0).await;
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for (path, texts) in bench.parquet_files().await {
            assert!(path.ends_with(".parquet"), "{at} ({}): {path}", call);
            texts.into_iter().for_each(|text| *times.entry(text).or_default() += 1);
        }
        let found: Vec<&str> = times.keys().map(String::as_str).collect();
        assert_eq!(found, ["1", "2", "3", "4", "5", "6"], "{at} ({}), {is_cut}", call);
        // A batch that was not acknowledged is delivered again; its events may be there twice.
        let doubled: usize = times.values().map(|times| times - 1).sum();
        assert!(doubled <= 3, "{at} ({}): {times:?}", call);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_is_made_again_after_a_fault_and_once_after_a_lost_reply() {
    for action in ["create", "write", "hsync", "close", "rename", "delete"] {
        for kind in [FaultKind::Unavailable, FaultKind::TimedOut] {
            let bench = bench();
            let mut sink = bench.sink(&with(&[("hdfs.rollCount", "2")])).await;
            bench.memory.inject(action, "/d/a/", Some(kind), 2);
            sink.deliver(&bench.context, &rows(&["a/1", "a/2"])).await.unwrap();
            bench.idle(&mut sink).await;
            eventually(async || bench.spooled() == 0).await;
            let found = bench.parquet_files().await;
            assert_eq!(found.len(), 1, "{action}: {found:?}");
            assert_eq!(found[0].1, ["1", "2"], "{action}");
            let made = bench.memory.count("close");
            // What was written and closed is not written again because a rename fails.
            assert!(action != "rename" || made == 1, "{made}");
        }
    }
    // The rename happened, and its reply was lost.
    let bench = bench();
    let mut sink = bench.sink(&with(&[("hdfs.rollCount", "1")])).await;
    bench.memory.lose_reply("rename");
    sink.deliver(&bench.context, &rows(&["a/1"])).await.unwrap();
    bench.idle(&mut sink).await;
    eventually(async || bench.spooled() == 0).await;
    let found = bench.parquet_files().await;
    assert_eq!((found.len(), found[0].1.as_slice()), (1, &["1".to_owned()][..]), "{found:?}");
}

#[tokio::test(start_paused = true)]
async fn a_torn_batch_is_cut_off_and_damage_keeps_the_file() {
    for is_torn in [true, false] {
        let bench = bench();
        let mut sink = bench.sink(PARQUET).await;
        sink.deliver(&bench.context, &rows(&["a/1"])).await.unwrap();
        sink.deliver(&bench.context, &rows(&["a/2"])).await.unwrap();
        drop(sink);
        bench.settled().await;
        let path = bench.files_below("parquet").remove(0);
        let mut bytes = std::fs::read(&path).unwrap();
        if is_torn {
            bytes.extend_from_slice(b"a part of a batch");
        } else {
            let at = bytes.windows(4).position(|four| four == b"text").unwrap() + 4;
            let at = at + bytes[at..].windows(4).position(|four| four == b"text").unwrap();
            bytes[at] ^= 1;
        }
        std::fs::write(&path, &bytes).unwrap();
        let log = captured_log(async {
            let _sink = bench.sink(PARQUET).await;
            if is_torn {
                eventually(async || bench.spooled() == 0).await;
            } else {
                for _ in 0..50 {
                    std::thread::sleep(Duration::from_millis(2));
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        })
        .await;
        let found = bench.parquet_files().await;
        if is_torn {
            assert!(log.contains("cut off"), "{log}");
            assert_eq!(found[0].1, ["1", "2"]);
        } else {
            assert!(log.contains("damaged at byte"), "{log}");
            assert_eq!((found.len(), bench.spooled()), (0, 1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn files_of_another_serializer_are_finished_after_a_change_of_it() {
    let bench = bench();
    let mut sink = bench.sink(&[]).await;
    sink.deliver(&bench.context, &events(&["a/line"])).await.unwrap();
    drop(sink);
    bench.memory.kill_writers();
    bench.settled().await;
    let mut sink = bench.sink(PARQUET).await;
    sink.deliver(&bench.context, &rows(&["b/row"])).await.unwrap();
    drop(sink);
    bench.settled().await;
    let mut sink = bench.sink(&[]).await;
    sink.deliver(&bench.context, &events(&["c/line"])).await.unwrap();
    eventually(async || bench.spooled() == 0).await;
    sink.stop(&bench.context).await.unwrap();
    let found = bench.parquet_files().await;
    assert_eq!(found.len(), 3, "{found:?}");
    assert_eq!(found[1].1, ["row"]);
    let lines = bench.memory.texts().into_iter().filter(|(_, text)| text == "line\n").count();
    assert_eq!(lines, 2);
}

#[tokio::test(start_paused = true)]
async fn events_wait_in_the_channel_while_the_spool_is_full() {
    let bench = bench();
    let mut sink = bench.sink(&with(&[("hdfs.rollCount", "1"), ("hdfs.spoolBytes", "2000")])).await;
    bench.memory.inject("create", "", Some(FaultKind::Unavailable), usize::MAX);
    let mut delivered = 0;
    let failure = loop {
        match sink.deliver(&bench.context, &rows(&["a/1"])).await {
            Ok(()) => delivered += 1,
            Err(failure) => break failure.to_string(),
        }
        assert!(delivered < 100);
    };
    assert!(delivered > 2 && failure.contains("hdfs.spoolBytes"), "{delivered}: {failure}");
    bench.memory.heal();
    eventually(async || bench.spooled() == 0).await;
    sink.deliver(&bench.context, &rows(&["a/1"])).await.unwrap();
    sink.stop(&bench.context).await.unwrap();
    let found = bench.parquet_files().await;
    assert!(found.len() > delivered, "{found:?}");
}

/// `MILLPOND_PYARROW` is a Python with pyarrow, a reader that shares no code with what writes here.
#[tokio::test]
async fn real_pyarrow_reads_what_the_sink_wrote() -> Result<(), FileSystemError> {
    let Ok(python) = std::env::var("MILLPOND_PYARROW") else {
        println!("left out a test of pyarrow: MILLPOND_PYARROW names no Python with it");
        return Ok(());
    };
    let schema = "message log { required int64 id; optional double ratio; optional boolean ok; required binary name (STRING); optional int64 at (TIMESTAMP(MICROS,true)); optional int32 day (DATE); optional group tags (LIST) { repeated group list { optional binary element (STRING); } } optional group counts (MAP) { repeated group key_value { required binary key (STRING); optional int64 value; } } optional group user { required binary name (STRING); optional int32 age; } required group _headers (MAP) { repeated group key_value { required binary key (STRING); required binary value (STRING); } } optional binary _extra (STRING); }";
    for codec in ["snappy", "gzip", "lz4", "none"] {
        let (bench, place) = (bench(), TempDir::new().unwrap());
        let path = format!("file://{}/dt=%{{h}}", place.path().display());
        let pairs = [
            ("hdfs.path", path.as_str()),
            ("serializer", "parquet"),
            ("serializer.schema", schema),
            ("serializer.compression", codec),
            ("serializer.rowGroupBytes", "1048576"),
        ];
        let mut sink = bench.local_sink(&pairs).await;
        let body = |n: usize| {
            let pad = "é".repeat(200);
            match n % 4 {
                0 => format!(r#"{{"id":{n},"name":"{pad}"}}"#),
                1 => format!(
                    r#"{{"id":{n},"name":"{pad}","ratio":0.5,"ok":true,"at":"2026-11-24T20:00:00.000001Z","day":"2026-11-24"}}"#
                ),
                2 => format!(
                    r#"{{"id":{n},"name":"{pad}","tags":[],"counts":{{}},"user":{{"name":"u"}},"new":1}}"#
                ),
                _ => format!(
                    r#"{{"id":{n},"name":"{pad}","tags":["a",null],"counts":{{"k":1,"l":null}},"user":{{"name":"u","age":3}}}}"#
                ),
            }
        };
        for batch in 0..100 {
            let event = |n: usize| Event::packed(&[("h", "1")], body(batch * 100 + n).as_bytes());
            let batch: Vec<Event> = (0..100).map(event).collect();
            sink.deliver(&bench.context, &batch).await.unwrap();
        }
        sink.stop(&bench.context).await.unwrap();
        let script = include_str!("read_parquet.py");
        let output = tokio::process::Command::new(&python)
            .args(["-c", script, place.path().to_str().unwrap(), codec])
            .output()
            .await
            .unwrap();
        let told =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && told.contains("10000 rows"), "{codec}: {told}");
    }
    Ok(())
}
