//! `millpond bench`: measures, reports, and leaves the disks as they were.

use super::process::{millpond, run, run_expecting, signal, until};
use rustix::fs::OFlags;
use serde_json::Value;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Stdio;

/// A run of a second or two.
const SHORT: [&str; 8] =
    ["--batch", "10", "--producers", "2", "--seconds", "0.2", "--space", "64M"];

fn with<'w>(first: &[&'w str], more: &[&'w str]) -> Vec<&'w str> {
    [&["bench"], first, more].concat()
}

fn report(stdout: &[u8]) -> Value {
    let text = String::from_utf8_lossy(stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).expect("listed");
    let mut names: Vec<String> = entries
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

fn number(value: &Value, key: &str) -> f64 {
    value[key].as_f64().unwrap_or_else(|| panic!("no number {key}: {value}"))
}

#[test]
fn puts_takes_and_both_are_measured_and_a_used_directory_stays_as_it_was() {
    let directory = tempfile::tempdir().expect("a directory");
    let used = directory.path().join("used");
    std::fs::create_dir(&used).expect("made");
    std::fs::write(used.join("letters"), "mine").expect("written");
    let words =
        ["--data-dirs", "used,new", "--takers", "1", "--rounds", "2", "--json", "--baseline"];
    let output = run(directory.path(), &with(&SHORT, &words), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), &*said), (Some(0), ""), "progress is for terminals");
    let report = report(&output.stdout);
    let rows = report["rows"].as_array().expect("rows");
    let sides: Vec<(&str, &str)> = rows
        .iter()
        .map(|row| (row["name"].as_str().expect("a name"), row["side"].as_str().expect("a side")))
        .collect();
    let expected = [
        ("put b10 x2", "put"),
        ("take b10 x1", "take"),
        ("mixed b10 x2+1", "put"),
        ("mixed b10 x2+1", "take"),
    ];
    assert_eq!(sides, expected);
    for row in rows {
        let times = ["p50_ms", "p99_ms", "p999_ms", "longest_ms"].map(|key| number(row, key));
        assert!(times[0] > 0.0 && times.is_sorted(), "{row}");
        assert!(number(row, "events_per_second") > 0.0 && number(row, "of_device") > 0.0, "{row}");
        assert_eq!(row["rounds"].as_array().map(Vec::len), Some(2), "{row}");
        let mb = number(row, "events_per_second") * 512.0 / 1e6;
        assert!((number(row, "mb_per_second") / mb - 1.0).abs() < 1e-6, "{row}");
    }
    assert!(number(&rows[0], "baseline") > 0.0 && rows[1]["baseline"].is_null(), "{report}");
    // Every byte of a body is in the log, and a batch of ten is not smaller than its bytes.
    assert!(number(&rows[0], "log_bytes") >= 1.0, "{}", rows[0]);
    for row in rows {
        assert!(number(row, "events_per_write") >= 1.0, "{row}");
        assert!(number(row, "cpu_us") > 0.0 && number(row, "cpu_share") > 0.0, "{row}");
        // What the log was given reaches the device.
        assert!(number(row, "device_bytes") >= 0.9 * number(row, "log_bytes"), "{row}");
    }
    let first = &report["first_directory"];
    assert_eq!(first["workload"], "put b10 x2", "{first}");
    for key in ["together_events_per_second", "events_per_second", "times"] {
        assert!(number(first, key) > 0.0, "{first}");
    }
    let devices = report["devices"].as_array().expect("devices");
    assert_eq!(devices.len(), 2);
    for device in devices {
        assert!(number(device, "small_writes_per_second") > 0.0, "{device}");
        assert!(number(device, "large_mb_per_second") > 0.0, "{device}");
    }
    assert_eq!(
        (&report["interrupted"], &report["where"]["file_systems"]),
        (&false.into(), &1.into())
    );
    assert!(report["advice"].as_array().is_some_and(|advice| advice.len() >= 4), "{report}");
    let points = report["over_time"]["put b10 x2"].as_array().expect("a line over time");
    let done: Vec<u64> =
        points.iter().map(|point| point["put"].as_u64().expect("a count")).collect();
    assert!(done.is_sorted() && done.last() > Some(&0), "{done:?}");
    assert_eq!(
        (names(directory.path()), names(&used)),
        (vec!["used".into()], vec!["letters".into()])
    );
    assert_eq!(std::fs::read(used.join("letters")).expect("read"), b"mine");
}

#[test]
fn a_table_has_a_row_for_each_workload_and_ends_with_advice() {
    let directory = tempfile::tempdir().expect("a directory");
    let words = ["--data-dirs", ".", "--rounds", "1", "--batch", "1,10", "--producers", "1"];
    let words = [&["bench", "--seconds", "0.2", "--space", "64M"][..], &words].concat();
    let shown = run_expecting(directory.path(), &words, b"", 0);
    for part in
        ["put b1 x1", "put b10 x1", "events/s", "synced writes/s", "What follows", "- Batch: "]
    {
        assert!(shown.contains(part), "no {part}: {shown}");
    }
    assert!(names(directory.path()).is_empty(), "{:?}", names(directory.path()));
}

/// Fails if `text` is not XML: elements end in order, and special characters are escaped.
fn assert_is_xml(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    for piece in text.split('<').skip(1) {
        let (inside, behind) = piece.split_once('>').unwrap_or_else(|| panic!("no end: <{piece}"));
        let name = inside.split_whitespace().next().unwrap_or_default();
        if let Some(name) = name.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "at <{inside}>");
        } else if !inside.starts_with('!') && !inside.ends_with('/') {
            open.push(name);
        }
        assert_eq!(inside.matches('"').count() % 2, 0, "<{inside}>");
        for (at, _) in behind.match_indices('&') {
            let entity =
                ["&amp;", "&lt;", "&gt;", "&quot;"].iter().any(|e| behind[at..].starts_with(e));
            assert!(entity, "a bare & in {behind}");
        }
    }
    assert!(open.is_empty(), "never ended: {open:?}");
}

#[test]
fn a_plot_is_xml_that_needs_nothing_from_elsewhere_and_replaces_no_file() {
    let directory = tempfile::tempdir().expect("a directory");
    for file in ["out.svg", "out.html"] {
        let more = ["--data-dirs", "d", "--rounds", "1", "--plot", file];
        let grid = [
            "bench",
            "--batch",
            "1,10",
            "--producers",
            "1,2",
            "--seconds",
            "0.1",
            "--space",
            "64M",
        ];
        let words = [&grid[..], &more].concat();
        run_expecting(directory.path(), &words, b"", 0);
        let text = std::fs::read_to_string(directory.path().join(file)).expect("a plot");
        assert_is_xml(&text);
        for part in
            ["<svg ", "Throughput over time", "Time of a commit", "Scaling", ">put b10 x2</text>"]
        {
            assert!(text.contains(part), "no {part} in {file}: {text}");
        }
        // Rates over time and times for each of four rows, and one over the producers for each
        // batch. A measurement that ended before the second sample is a point.
        let curves = text.matches("<polyline ").count() + text.matches("<circle ").count();
        assert!(curves >= 10, "{text}");
        assert!(text.contains("prefers-color-scheme: dark") && !text.contains("<script"), "{file}");
        let elsewhere = text.matches("http").count() - text.matches("http://www.w3.org/").count();
        assert_eq!(elsewhere, 0, "{file} names no address: {text}");
        let again = run(directory.path(), &words, b"");
        let said = String::from_utf8_lossy(&again.stderr);
        assert!(again.status.code() == Some(2) && said.contains("is there already"), "{said}");
    }
    assert_eq!(names(directory.path()), ["out.html", "out.svg"]);
}

/// Ends a run by this signal.
fn end_by(word: &str) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("letters"), "mine").expect("written");
    let child = millpond(directory.path())
        .args(with(
            &SHORT[..4],
            &["--data-dirs", ".", "--seconds", "3600", "--rounds", "100", "--json"],
        ))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let at_work = || {
        let own = names(directory.path()).into_iter().find(|name| name != "letters");
        own.is_some_and(|own| directory.path().join(own).join("stripe/member").exists())
    };
    until("a channel", String::new, at_work);
    signal(child.id(), word);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    if word == "KILL" {
        // Its directory stays, and the next run names it.
        let left = names(directory.path()).into_iter().find(|name| name != "letters");
        let left = left.expect("what it made");
        let next = with(&SHORT, &["--data-dirs", ".", "--rounds", "1"]);
        let next = run(directory.path(), &next, b"");
        let said = String::from_utf8_lossy(&next.stderr);
        assert!(next.status.success() && said.contains(&left), "{said}");
        assert_eq!(names(directory.path()).len(), 2, "and leaves it");
        return;
    }
    assert_eq!(output.status.code(), Some(0), "{word}: {said}");
    assert!(said.contains("interrupted"), "{said}");
    assert_eq!(report(&output.stdout)["interrupted"], true);
    assert_eq!(names(directory.path()), ["letters"]);
}

#[test]
fn an_interrupted_run_says_what_it_has_and_leaves_nothing() {
    ["INT", "TERM", "KILL"].iter().for_each(|word| end_by(word));
}

#[test]
fn too_little_space_is_refused_with_the_figure() {
    let directory = tempfile::tempdir().expect("a directory");
    let output =
        run(directory.path(), &["bench", "--data-dirs", "d", "--space", "1000000000G"], b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    let figures = ["1073741824000000000 bytes", "minimumRequiredSpace (524288000)", "are missing"];
    assert!(figures.iter().all(|figure| said.contains(figure)), "{said}");
    assert!(names(directory.path()).is_empty(), "{:?}", names(directory.path()));
}

#[test]
fn a_configured_channel_lends_its_settings_and_keeps_its_files() {
    let directory = tempfile::tempdir().expect("a directory");
    let conf = "a.sources = s\na.channels = c m\na.sources.s.type = seq\na.sources.s.channels = c m\n\
                a.channels.c.type = file\na.channels.c.checkpointDir = disk/cp\n\
                a.channels.c.dataDirs = disk/d1,disk/d2\na.channels.c.capacity = 100\n\
                a.channels.c.transactionCapacity = 100\na.channels.m.type = memory\n";
    std::fs::write(directory.path().join("a.conf"), conf).expect("written");
    let channel = ["-n", "a", "-f", "a.conf", "--channel", "c"];
    let put = [&["channel", "put"], &channel[..]].concat();
    run_expecting(directory.path(), &put, b"one\ntwo\n", 0);
    let disk = directory.path().join("disk");
    let before = ["d1", "d2", "cp"].map(|name| names(&disk.join(name)));

    let words = ["--seconds", "3", "--space", "64M", "--rounds", "1", "--producers", "1", "--json"];
    let output = run(directory.path(), &with(&channel, &words), b"");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(said.matches("own files are not touched").count(), 2, "{said}");
    let report = report(&output.stdout);
    let rows = report["rows"].as_array().expect("rows");
    let batches: Vec<&Value> = rows.iter().map(|row| &row["workload"]["batch"]).collect();
    assert_eq!(batches, [1, 100], "1000 is more than its transactionCapacity");
    assert_eq!((&report["capacity"], &rows[1]["ended"]), (&100.into(), &"full".into()));

    assert_eq!(names(&disk), ["cp", "d1", "d2"]);
    assert_eq!(["d1", "d2", "cp"].map(|name| names(&disk.join(name))), before);
    let take = [&["channel", "take"], &channel[..]].concat();
    assert_eq!(run_expecting(directory.path(), &take, b"", 0), "one\ntwo\n");

    for (words, reason) in [
        (with(&channel, &["--batch", "101"]), "transactionCapacity of 100"),
        (with(&["-n", "a", "-f", "a.conf", "--channel", "m"], &[]), "memory channel"),
    ] {
        let output = run(directory.path(), &words, b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(reason), "{said}");
    }
}

#[test]
fn what_cannot_be_meant_is_refused_and_nothing_is_made() {
    let directory = tempfile::tempdir().expect("a directory");
    for words in [
        &["bench"][..],
        &["bench", "--data-dirs", "mistyped/d"],
        &["bench", "--data-dirs", "d,d"],
        &["bench", "--data-dirs", "d", "--body", "0"],
        &["bench", "--data-dirs", "d", "--body", "17M"],
        &["bench", "--data-dirs", "d", "--batch", "0"],
        &["bench", "--data-dirs", "d", "--batch", "100001"],
        &["bench", "--data-dirs", "d", "--producers", "257"],
        &["bench", "--data-dirs", "d", "--seconds", "0"],
        &["bench", "--data-dirs", "d", "--rounds", "101"],
        &["bench", "--data-dirs", "d", "--plot", "out.png"],
        &["bench", "--data-dirs", "d", "--plot", "nowhere/out.svg"],
        &["bench", "--data-dirs", "d", "--space", "1M"],
        &["bench", "--data-dirs", "d", "--body", "16M", "--batch", "1000"],
        &["bench", "--data-dirs", "d", "-n", "a", "-f", "a.conf", "--channel", "c"],
    ] {
        run_expecting(directory.path(), words, b"", 2);
    }
    assert!(names(directory.path()).is_empty(), "{:?}", names(directory.path()));
}

/// A full pipe that is not read, for stdout: writes to it block for ever.
fn full_pipe() -> (std::io::PipeReader, std::io::PipeWriter) {
    let (reader, mut writer) = std::io::pipe().expect("a pipe");
    let flags = rustix::fs::fcntl_getfl(&writer).expect("its flags");
    rustix::fs::fcntl_setfl(&writer, flags | OFlags::NONBLOCK).expect("set");
    while writer.write(&[b'x'; 4096]).is_ok() {}
    rustix::fs::fcntl_setfl(&writer, flags).expect("set");
    (reader, writer)
}

#[test]
fn a_second_ctrl_c_ends_it_at_once_whatever_hangs() {
    let directory = tempfile::tempdir().expect("a directory");
    let (_reader, writer) = full_pipe();
    let mut child = millpond(directory.path())
        .args(with(&SHORT[..4], &["--data-dirs", ".", "--seconds", "3600"]))
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let made = || !names(directory.path()).is_empty();
    until("it works", String::new, made);
    signal(child.id(), "INT");
    until("it has cleared up", String::new, || !made());
    // Sooner it would count as the first once more.
    std::thread::sleep(std::time::Duration::from_millis(400));
    assert!(child.try_wait().expect("asked").is_none(), "it waits for its reader");
    // A signal is delivered to the first thread, which must not be blocked by a disk.
    match std::fs::read_to_string(format!("/proc/{0}/task/{0}/wchan", child.id())) {
        Ok(place) if place.len() > 1 => assert!(place.contains("futex"), "it waits in {place}"),
        _ => println!("left out where the first thread waits: this kernel does not tell"),
    }
    signal(child.id(), "INT");
    let mut ended = None;
    until("the end", String::new, || {
        ended = child.try_wait().expect("it can be asked");
        ended.is_some()
    });
    let mut said = String::new();
    child.stderr.take().expect("a pipe").read_to_string(&mut said).expect("read");
    assert_eq!(ended.and_then(|ended| ended.code()), Some(130), "{said}");
    assert!(said.contains("SIGINT again: ended at once"), "{said}");
}
