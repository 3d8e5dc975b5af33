//! Configurations of documents, as they are written there, on a real HDFS; and acting for another user.

use super::super::document_blocks::blocks;
use super::*;
use std::fs::Permissions;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;

const TOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

/// Returns a configuration of Flume with the addresses and directories of this test in the place of its own.
fn golden(hdfs: &RealHdfs, name: &str, replaced: &[(&str, &str)]) -> String {
    let path = Path::new(TOP).join("tests/golden/configs/job").join(name);
    let mut text = std::fs::read_to_string(path).expect("a configuration");
    let place = format!("{}{}/", hdfs.address(), hdfs.place);
    for (old, new) in [("hdfs://hadoop102:9000/", place.as_str())].iter().chain(replaced) {
        assert!(text.contains(old), "{name} has no {old}");
        text = text.replace(old, new);
    }
    text
}

/// Starts an agent that finds HDFS by `HADOOP_CONF_DIR`, lets `feed` give it the lines, and requires that exactly these
/// are readable at once, and after the stop in one renamed file whose name begins with `begin`.
fn delivers(
    hdfs: &RealHdfs,
    (directory, agent): (&Path, &str),
    begin: &str,
    lines: &[&str],
    feed: impl FnOnce(&mut Agent),
) {
    let mut command = millpond(directory);
    command.env("HADOOP_CONF_DIR", &hdfs.conf);
    let mut running = Agent::start_as(command, directory, agent, "a.conf", &[]);
    until("the start", || running.words(), || running.words().contains("started: "));
    feed(&mut running);
    let pattern = format!("{}/{begin}*", hdfs.place);
    let read = || {
        let read = hdfs.output(&["fs", "-cat", &pattern]).stdout;
        String::from_utf8_lossy(&read).lines().map(str::to_owned).collect::<Vec<_>>()
    };
    until("the lines", || running.words(), || read() == lines);
    assert_eq!(hdfs.in_use().len(), 1, "the file is open: {:?}", hdfs.files());
    assert!(running.terminate().success());
    assert_eq!((hdfs.files().len(), hdfs.in_use().len()), (1, 0), "{:?}", hdfs.files());
    assert_eq!(read(), lines);
}

#[test]
fn real_hdfs_gets_a_file_that_is_followed_by_a_configuration_of_flume() {
    let Some(hdfs) = RealHdfs::running("exec") else { return };
    let temp = tempfile::tempdir().expect("a directory");
    let followed = temp.path().join("hive.log");
    std::fs::write(&followed, "one\ntwo\n").expect("a file");
    let path = followed.to_str().expect("text");
    let text = golden(&hdfs, "flume-file-hdfs.conf", &[("/opt/module/hive/logs/hive.log", path)]);
    std::fs::write(temp.path().join("a.conf"), text).expect("a file");
    delivers(&hdfs, (temp.path(), "a2"), "flume/*/*/logs-.", &["one", "two", "größer"], |_| {
        let mut file = std::fs::File::options().append(true).open(&followed).expect("a file");
        writeln!(file, "größer").expect("written");
    });
}

#[test]
fn real_hdfs_gets_the_files_of_a_directory_by_a_configuration_of_flume() {
    let Some(hdfs) = RealHdfs::running("spool") else { return };
    let temp = tempfile::tempdir().expect("a directory");
    let upload = temp.path().join("upload");
    std::fs::create_dir(&upload).expect("a directory");
    let path = upload.to_str().expect("text");
    let text = golden(&hdfs, "flume-dir-hdfs.conf", &[("/opt/module/flume/upload", path)]);
    std::fs::write(temp.path().join("a.conf"), text).expect("a file");
    std::fs::write(upload.join("not-yet.tmp"), "unfinished\n").expect("a file");
    delivers(&hdfs, (temp.path(), "a3"), "flume/upload/*/*/upload-.", &["one", "two"], |_| {
        std::fs::write(temp.path().join("abc.log"), "one\ntwo\n").expect("a file");
        // As a user's `mv`.
        #[allow(clippy::disallowed_methods)]
        std::fs::rename(temp.path().join("abc.log"), upload.join("abc.log")).expect("renamed");
    });
    assert!(upload.join("abc.log.COMPLETED").exists() && upload.join("not-yet.tmp").exists());
}

#[test]
fn real_hdfs_gets_the_events_of_another_agent_by_a_configuration_of_flume() {
    let Some(hdfs) = RealHdfs::running("avro") else { return };
    let temp = tempfile::tempdir().expect("a directory");
    let port = free_port().to_string();
    let replaced = [("hadoop102", "127.0.0.1"), ("4141", port.as_str())];
    let text = golden(&hdfs, "group/flume-avro-hdfs.conf", &replaced);
    std::fs::write(temp.path().join("a.conf"), text).expect("a file");
    delivers(&hdfs, (temp.path(), "a2"), "flume2/*/*/flume2-.", &["one", "two"], |_| {
        let words = ["avro-client", "-H", "127.0.0.1", "-p", &port];
        run_expecting(temp.path(), &words, b"one\ntwo\n", 0);
    });
}

/// The example of docs/hdfs.md: its configuration and its commands, with only the address of the NameNode and the
/// directory of the followed file replaced. `millpond` and `hadoop` are programs on the path.
#[test]
fn real_hdfs_runs_the_example_of_its_page_as_it_is_written() {
    let Some(mut hdfs) = RealHdfs::running("page") else { return };
    hdfs.fs(&["-rmdir", &hdfs.place]);
    "/flume".clone_into(&mut hdfs.place);
    let temp = tempfile::tempdir().expect("a directory");
    let here = temp.path().to_str().expect("text");
    let heading = "## From nothing to a file";
    let conf = blocks("hdfs.md", heading, "properties")[0].replace("/tmp/hive", here);
    let conf = conf.replace("hdfs://namenode:8020", &hdfs.address());
    std::fs::write(temp.path().join("hdfs.conf"), conf).expect("a file");
    let commands = blocks("hdfs.md", heading, "sh")[0].replace("/tmp/hive", here);
    let programs = temp.path().join("bin");
    std::fs::create_dir(&programs).expect("a directory");
    for (name, program) in [("millpond", env!("CARGO_BIN_EXE_millpond")), ("hadoop", &hdfs.control)]
    {
        let path = programs.join(name);
        std::fs::write(&path, format!("#!/bin/sh\nexec '{program}' \"$@\"\n")).expect("a program");
        std::fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("a program");
    }
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").expect("a path"));
    let mut shell = Command::new("timeout");
    shell.args(["80", "bash", "-e", "-c", &commands]).current_dir(here);
    let ran = shell.env("PATH", path).env("HOME", here).env("HADOOP_CONF_DIR", &hdfs.conf).output();
    let ran = ran.expect("a shell");
    let [said, error] =
        [ran.stdout, ran.stderr].map(|out| String::from_utf8_lossy(&out).into_owned());
    assert!(ran.status.success(), "{said}\n{error}");
    assert!(said.ends_with("query started\nquery done\n"), "{said}\n{error}");
    assert_eq!((hdfs.files().len(), hdfs.in_use().len()), (1, 0), "{:?}", hdfs.files());
}

#[test]
fn real_hdfs_files_belong_to_the_user_that_the_sink_acts_for() {
    let Some(hdfs) = RealHdfs::running("proxy") else { return };
    hdfs.fs(&["-chown", "alice", &hdfs.place]);
    hdfs.fs(&["-chmod", "700", &hdfs.place]);
    let directory = tempfile::tempdir().expect("a directory");
    let (directory, source) = (directory.path(), free_port());
    hdfs.configure(directory, source, "a.sinks.k.hdfs.proxyUser = alice");
    let mut agent = Agent::start(directory, "a", "a.conf");
    agent.say(source, &lines(0, 10));
    until("the lines", || agent.words(), || hdfs.has(&lines(0, 10)));
    assert!(agent.terminate().success());
    let files = hdfs.files();
    assert_eq!((files.len(), hdfs.in_use().len()), (10, 0), "{files:?}");
    assert!(files.iter().all(|line| line.contains(" alice ")), "{files:?}");
}
