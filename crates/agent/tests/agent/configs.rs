//! Configurations that were written for Flume, unchanged, comments of all kinds included: each is
//! read as an agent would read it.

use super::process::run;
use std::path::{Path, PathBuf};

/// The error that prevents those that cannot run as they are, in a build without further features.
const NOT_YET: [(&str, &str); 6] = [
    ("job/flume-dir-hdfs.conf", "the sink type hdfs is not in this build"),
    ("job/flume-file-hdfs.conf", "the sink type hdfs is not in this build"),
    ("job/group/flume-avro-hdfs.conf", "the sink type hdfs is not in this build"),
    ("job/mysink.conf", "write external.com.stt.demo.flume.Ch02_mySink.MySink = COMMAND"),
    ("job/mysource.conf", "write external.com.stt.demo.flume.Ch01_mySource.MySource = COMMAND"),
    ("job/mysql.conf", "write external.com.atguigu.source.SQLSource = COMMAND"),
];

fn top() -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).join("tests/golden/configs")
}

/// Returns all files below `directory`, in the order of their names.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all.sort();
    all
}

/// Returns what `validate` reports about `file`, and its exit code.
fn validated(file: &Path) -> (String, Option<i32>) {
    let text = std::fs::read_to_string(file).expect("text");
    let name = text.lines().find_map(|line| line.split_once(".sources"));
    let (name, _) = name.expect("an agent with sources");
    let directory = tempfile::tempdir().expect("a directory");
    let file = file.to_str().expect("a name in ASCII");
    let output = run(directory.path(), &["validate", "-n", name, "-f", file, "--elsewhere"], b"");
    (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.code())
}

#[test]
fn configurations_of_flume_run_word_for_word_or_say_what_is_missing() {
    let all = files(&top());
    assert_eq!(all.len(), 18);
    for file in &all {
        let (said, code) = validated(file);
        let name = file.strip_prefix(top()).expect("it is there").to_string_lossy().into_owned();
        if cfg!(feature = "hdfs") && name.contains("hdfs") {
            assert_eq!(code, Some(0), "{name}: {said}");
            let warnings: Vec<_> =
                said.lines().filter(|line| line.contains(" warning: ")).collect();
            // That file has a batch of 1000 and a transactionCapacity of 100.
            let expected = usize::from(name == "job/flume-file-hdfs.conf");
            assert_eq!(warnings.len(), expected, "{name}: {said}");
            assert!(warnings.iter().all(|line| line.contains("a batch has 100")), "{said}");
            continue;
        }
        let missing = NOT_YET.iter().find(|(known, _)| *known == name);
        let errors: Vec<&str> = said.lines().filter(|line| line.contains(" error: ")).collect();
        match missing {
            Some((_, words)) => {
                assert_eq!(code, Some(1), "{name}: {said}");
                assert!(errors.len() == 1 && errors[0].contains(words), "{name}: {said}");
            }
            None => assert!(code == Some(0) && errors.is_empty(), "{name}: {said}"),
        }
        // No setting is reported except those with a comment after their value.
        let warnings: Vec<&str> = said.lines().filter(|line| line.contains(" warning: ")).collect();
        let comments = if name == "job/flume-netcat-logger.conf" { 12 } else { 0 };
        assert_eq!(warnings.len(), comments, "{name}: {said}");
        assert!(warnings.iter().all(|line| line.contains("a comment after a value")), "{said}");
    }
}

#[test]
fn with_file_roll_in_the_place_of_hdfs_nothing_else_stands_in_the_way() {
    for (name, _) in NOT_YET.iter().filter(|(name, _)| name.contains("hdfs")) {
        let text = std::fs::read_to_string(top().join(name)).expect("text");
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.conf");
        let out = format!("sink.directory = {}", directory.path().display());
        let lines =
            text.lines().filter(|line| !line.contains(".hdfs.") || line.contains("hdfs.path"));
        let roll = |line: &str| match line.split_once("hdfs.path") {
            Some((sink, _)) => format!("{sink}{out}\n"),
            None => line.replace("type = hdfs", "type = file_roll") + "\n",
        };
        std::fs::write(&path, lines.map(roll).collect::<String>()).expect("written");
        let (said, code) = validated(&path);
        assert!(code == Some(0) && !said.contains(" warning: "), "{name}: {said}");
    }
}
