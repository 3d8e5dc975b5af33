//! Faults of the servers while an agent writes, and while it is stopped.

use super::*;
use millpond::{Clock, SystemClock};
use std::time::Duration;

/// A stop during a fault takes at most this, with a margin for a busy machine: 3 s of a call and 5 s for the files.
const STOP_MAX: Duration = Duration::from_secs(20);

/// An agent writes to ten files, a fault comes, more lines come, and the agent is stopped; then the fault ends. Nothing
/// is lost and no file keeps the name of one in use: after the next start, and when the fault ends before a stop.
fn stopped_during(name: &str, fault: &str, repair: &str) {
    let Some(hdfs) = RealHdfs::running(name) else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (directory, source) = (directory.path(), free_port());
    hdfs.configure(directory, source, "");
    let mut agent = Agent::start(directory, "a", "a.conf");
    agent.say(source, &lines(0, 50));
    until("lines on HDFS", || agent.words(), || hdfs.has(&lines(0, 50)));
    assert_eq!(hdfs.in_use().len(), 10);
    hdfs.control(fault);
    agent.say(source, &lines(50, 100));
    let clock = SystemClock::new();
    assert!(agent.terminate().success());
    assert!(clock.now() < STOP_MAX, "{fault}: {:?}", clock.now());
    hdfs.control(repair);
    assert!(!hdfs.in_use().is_empty(), "{fault}: nothing could be renamed");

    hdfs.configure(directory, source, "a.sinks.k.hdfs.idleTimeout = 2");
    let mut agent = Agent::start(directory, "a", "a.conf");
    let whole = |end| hdfs.has(&lines(0, end)) && hdfs.in_use().is_empty();
    until("all lines in renamed files", || agent.words(), || whole(100));
    hdfs.control(fault);
    agent.say(source, &lines(100, 150));
    hdfs.control(repair);
    until("all lines after the fault", || agent.words(), || hdfs.has(&lines(0, 150)));
    assert!(agent.terminate().success());
    assert!(whole(150), "{fault}: {:?}\n{}", hdfs.in_use(), log(directory));
}

#[test]
fn real_hdfs_keeps_no_file_in_use_after_a_stop_while_its_namenode_was_dead() {
    stopped_during("dead", "kill namenode", "start");
}

#[test]
fn real_hdfs_keeps_no_file_in_use_after_a_stop_while_its_namenode_was_frozen() {
    stopped_during("frozen", "freeze namenode", "thaw namenode");
}

#[test]
fn real_hdfs_keeps_no_file_in_use_after_a_stop_while_it_was_in_safe_mode() {
    stopped_during("safe", "admin -safemode enter", "admin -safemode leave");
}

#[test]
#[allow(clippy::print_stdout)] // said aloud: a test that is left out must be seen
fn real_hdfs_with_a_full_disk_keeps_events_waiting_and_gets_all_of_them_later() {
    let Some(mut hdfs) = RealHdfs::running("full") else { return };
    if !hdfs.output(&["small"]).status.success() {
        println!("left out real_hdfs: a full disk, because no file system can be mounted here");
        return;
    }
    let temp = tempfile::tempdir().expect("a directory");
    let (directory, source) = (temp.path(), free_port());
    // Blocks that fit on the disk many times.
    let conf = directory.join("conf");
    std::fs::create_dir(&conf).expect("a directory");
    for name in ["core-site.xml", "hdfs-site.xml"] {
        let text = std::fs::read_to_string(Path::new(&hdfs.conf).join(name)).expect("settings");
        let end =
            "<property><name>dfs.blocksize</name><value>1048576</value></property></configuration>";
        std::fs::write(conf.join(name), text.replace("</configuration>", end)).expect("settings");
    }
    hdfs.conf = conf.display().to_string();
    hdfs.configure(directory, source, "a.alarms.sinkStalled.seconds = 2");
    // Long lines: a disk that is full has room for the end of a page.
    let lines = |from, to| -> Vec<String> {
        lines(from, to).iter().map(|line| format!("{}{line}", "x".repeat(400))).collect()
    };
    let mut agent = Agent::start(directory, "a", "a.conf");
    agent.say(source, &lines(0, 50));
    until("lines on HDFS", || agent.words(), || hdfs.has(&lines(0, 50)));
    hdfs.control("fill");
    agent.say(source, &lines(50, 500));
    let named = || log(directory).contains("could only be written to 0 of the 1");
    until("the reason", || agent.words(), named);
    let raised = || log(directory).contains("sinkStalled SINK.k raised");
    until("the alarm", || agent.words(), raised);
    hdfs.control("empty");
    until("all lines", || agent.words(), || hdfs.has(&lines(0, 500)));
    let cleared = || log(directory).contains("sinkStalled SINK.k cleared");
    until("the end of the alarm", || agent.words(), cleared);
    assert!(agent.terminate().success());
    until("renamed files", || log(directory), || hdfs.in_use().is_empty());
    assert!(hdfs.has(&lines(0, 500)));
    hdfs.fs(&["-rm", "-r", "-skipTrash", &hdfs.place]);
    hdfs.control("large");
}

#[test]
fn real_hdfs_that_denies_permission_raises_an_alarm_until_it_is_given() {
    let Some(hdfs) = RealHdfs::running("denied") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (directory, source) = (directory.path(), free_port());
    hdfs.configure(directory, source, "a.alarms.sinkStalled.seconds = 2");
    let mut command = millpond(directory);
    command.env("HADOOP_USER_NAME", "stranger");
    let mut agent = Agent::start_as(command, directory, "a", "a.conf", &[]);
    agent.say(source, &lines(0, 20));
    let said = |words: &str| log(directory).contains(words);
    until("the reason", || agent.words(), || said("Permission denied: user=stranger"));
    assert!(said("MP-3001"), "{}", agent.words());
    until("the alarm", || agent.words(), || said("sinkStalled SINK.k raised"));
    hdfs.fs(&["-chmod", "777", &hdfs.place]);
    until("all lines", || agent.words(), || hdfs.has(&lines(0, 20)));
    until("the end of the alarm", || agent.words(), || said("sinkStalled SINK.k cleared"));
    assert!(agent.terminate().success());
    assert_eq!(hdfs.in_use(), Vec::<String>::new());
    let mut once = hdfs.lines();
    once.sort_unstable();
    assert_eq!(once, lines(0, 20), "nothing was written before a file could be created");
}

#[test]
fn real_hdfs_that_fails_is_left_by_its_failover_group_and_used_again_later() {
    let Some(hdfs) = RealHdfs::running("group") else { return };
    let directory = tempfile::tempdir().expect("a directory");
    let (directory, source) = (directory.path(), free_port());
    let out = directory.join("out");
    std::fs::create_dir(&out).expect("a directory");
    let more = "a.sinks = k f\na.sinks.f.type = file_roll\na.sinks.f.channel = c\n\
         a.sinks.f.sink.directory = out\na.sinks.f.sink.rollInterval = 0\n\
         a.sinkgroups = g\na.sinkgroups.g.sinks = k f\na.sinkgroups.g.processor.type = failover\n\
         a.sinkgroups.g.processor.priority.k = 10\na.sinkgroups.g.processor.priority.f = 5\n\
         a.sinkgroups.g.processor.maxpenalty = 2000\na.alarms.sinkFailing.seconds = 1\n\
         a.sinks.k.hdfs.idleTimeout = 1";
    hdfs.configure(directory, source, more);
    let mut agent = Agent::start(directory, "a", "a.conf");
    agent.say(source, &lines(0, 20));
    // No file is open: an open one goes on for a while without the NameNode.
    let closed = || hdfs.has(&lines(0, 20)) && hdfs.in_use().is_empty();
    until("closed files", || agent.words(), closed);
    hdfs.control("kill namenode");
    agent.say(source, &lines(20, 60));
    let in_files = || -> Vec<String> {
        let found = super::super::process::lines_in(&out).into_iter();
        found.map(|line| String::from_utf8(line).expect("text")).collect()
    };
    until("lines in files", || agent.words(), || in_files() == lines(20, 60));
    let said = |words: &str| log(directory).contains(words);
    until("the alarm", || agent.words(), || said("sinkFailing SINK.k raised"));
    hdfs.control("start");
    // The group tries the sink again with the next event after its pause.
    for n in 60.. {
        agent.say(source, &lines(n, n + 1));
        if hdfs.has(&lines(n, n + 1)) {
            break;
        }
        assert!(n < 160, "the sink is not used again: {}", agent.words());
    }
    until("the end of the alarm", || agent.words(), || said("sinkFailing SINK.k cleared"));
    assert!(agent.terminate().success());
    assert!(closed(), "{:?}", hdfs.in_use());
}
