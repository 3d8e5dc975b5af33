//! Hadoop's own readers on what the formats wrote, if MILLPOND_HADOOP_LIB names its jars.

use super::{event, read, written};
use crate::format::codec::Codec;
use millpond::Event;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Says what is left out, where the test runner shows it.
fn leave_out(what: &str) {
    eprintln!("left out {what}");
}

fn batches() -> Vec<Vec<Event>> {
    let large: Vec<u8> = (0..700_000u32).map(|n| (n.wrapping_mul(n) >> 7) as u8).collect();
    vec![
        vec![event("1", "one"), event("-2", ""), event("3", "a\nb\r\nc")],
        vec![event("4", large), event("5", vec![7; 1_200_000])],
        vec![event("6", "größer"), event("7", vec![0, 255, 10])],
    ]
}

/// Writes a file with all batches; returns what Hadoop is to print about it.
fn write(directory: &Path, name: &str, pairs: &[(&str, &str)]) -> String {
    let (settings, batches) = (read(pairs).unwrap(), batches());
    let name = format!("{name}{}", settings.extension().unwrap_or_default());
    let file = written(settings.create().as_mut(), &batches).pop().unwrap();
    std::fs::write(directory.join(&name), file).unwrap();
    let mut lines = format!("file {name}\n");
    let events = batches.iter().flatten();
    if name.starts_with("seq") {
        for event in events {
            let time = event.headers.get("timestamp").unwrap();
            lines += &format!("{time}\t{}\n", base64(&event.body));
        }
    } else {
        let bytes: Vec<u8> = events.flat_map(|e| [&e.body[..], b"\n"].concat()).collect();
        lines += &format!("{}\n", base64(&bytes));
    }
    lines
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let at = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for i in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * i) & 63) as usize]);
            text.push(if i <= chunk.len() { letter } else { '=' });
        }
    }
    text
}

/// Runs the Java program with `arguments`; returns what it printed.
fn hadoop(jars: &Path, arguments: &[String]) -> String {
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/java/hadoop/ReadFormats.java");
    let mut java = Command::new("java");
    java.args(["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp"]);
    java.arg(jars.join("*")).arg(program).args(arguments);
    let output = java.output().expect("java runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("it prints text")
}

#[test]
fn real_hdfs_tools_read_every_format() {
    let Some(jars) = std::env::var_os("MILLPOND_HADOOP_LIB").map(PathBuf::from) else {
        return leave_out("Hadoop's readers: MILLPOND_HADOOP_LIB names no jars");
    };
    let names: Vec<_> = std::fs::read_dir(&jars).unwrap().map(|e| e.unwrap().file_name()).collect();
    let has = |jar: &str| names.iter().any(|name| name.to_string_lossy().starts_with(jar));
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut expected = vec![
        write(directory, "plain", &[("hdfs.fileType", "DataStream")]),
        write(directory, "seq-bytes", &[]),
        write(directory, "seq-text", &[("hdfs.writeFormat", "Text")]),
    ];
    for codec in Codec::ALL {
        match codec {
            Codec::Zstandard => {
                leave_out("zstandard by Hadoop's readers: they need its native library");
                continue;
            }
            Codec::Lz4 if !has("lz4-java") => {
                leave_out("lz4 by Hadoop's readers: lz4-java is not among the jars");
                continue;
            }
            _ => {}
        }
        let codec = codec.name();
        let of_stream = [("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", codec)];
        expected.push(write(directory, &format!("stream-{codec}"), &of_stream));
        for kind in ["BLOCK", "RECORD"] {
            let pairs = [("hdfs.codeC", codec), ("hdfs.compressionType", kind)];
            expected.push(write(directory, &format!("seq-{kind}-{codec}"), &pairs));
        }
    }
    let path = |lines: &String| {
        let name = lines.lines().next().unwrap().strip_prefix("file ").unwrap();
        format!("file://{}", directory.join(name).display())
    };
    let paths: Vec<String> = expected.iter().map(path).collect();
    let printed = hadoop(&jars, &paths);
    for lines in &expected {
        let found = printed
            .split("file ")
            .find(|part| lines[5..].starts_with(part.lines().next().unwrap_or("-")));
        let found = format!("file {}", found.unwrap_or_default());
        assert!(found == *lines, "{:.90} was read as {:.300}", lines, found);
    }
}

#[test]
fn real_hdfs_text_prints_files_that_are_still_open() {
    let Some(jars) = std::env::var_os("MILLPOND_HADOOP_LIB").map(PathBuf::from) else {
        return leave_out("hadoop fs -text: MILLPOND_HADOOP_LIB names no jars");
    };
    let directory = tempfile::tempdir().unwrap();
    let batches = [vec![event("1", "one")], vec![event("2", "two")], vec![event("3", "three")]];
    let mut arguments = vec!["text".to_owned()];
    for (name, pairs) in [
        ("a.gz", [("hdfs.fileType", "CompressedStream"), ("hdfs.codeC", "gzip")]),
        ("b.deflate", [("hdfs.fileType", "SequenceFile"), ("hdfs.codeC", "default")]),
    ] {
        let mut pairs = pairs.to_vec();
        pairs.push(("hdfs.writeFormat", "Text"));
        // Two of three batches were written.
        let cut = written(read(&pairs).unwrap().create().as_mut(), &batches).swap_remove(1);
        let path = directory.path().join(name);
        std::fs::write(&path, cut).unwrap();
        arguments.push(format!("file://{}", path.display()));
    }
    assert_eq!(hadoop(&jars, &arguments), "one\ntwo\n1\tone\n2\ttwo\n");
}
