//! The hdfs sink in the real binary: with files of this machine, and with a real HDFS where `.ci/hdfs` has started
//! one (the tests named `real_hdfs`, which take turns at the servers).

mod documents;
mod faults;

use super::process::{Agent, free_port, millpond, run_expecting, until};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard, PoisonError};

static TURN: Mutex<()> = Mutex::new(());

/// A real HDFS.
struct RealHdfs {
    /// The directory of its client's settings.
    conf: String,
    control: String,
    /// A directory on it of this test's own.
    place: String,
    _turn: MutexGuard<'static, ()>,
}

impl RealHdfs {
    /// Returns the cluster, with an empty directory `name`, or says that the test is left out.
    #[allow(clippy::print_stdout)] // said aloud: a test that is left out must be seen
    fn running(name: &str) -> Option<Self> {
        let named = |name| std::env::var(name).ok();
        let Some((conf, control)) = named("MILLPOND_HDFS").zip(named("MILLPOND_HDFS_CONTROL"))
        else {
            println!("left out real_hdfs: .ci/hdfs starts one");
            return None;
        };
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let place = format!("/agent-{}-{name}", std::process::id());
        let hdfs = Self { conf, control, place, _turn: turn };
        hdfs.fs(&["-mkdir", &hdfs.place]);
        Some(hdfs)
    }

    fn output(&self, words: &[&str]) -> Output {
        Command::new(&self.control).args(words).output().expect("the control runs")
    }

    /// Calls the program that controls the servers; its words are separated by blanks.
    fn control(&self, words: &str) {
        let output = self.output(&words.split(' ').collect::<Vec<_>>());
        assert!(output.status.success(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// Returns what Hadoop's shell of files prints.
    fn fs(&self, words: &[&str]) -> String {
        let output = self.output(&[&["fs"], words].concat());
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{words:?}: {error}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Returns the files below the test's directory, as Hadoop's shell lists them.
    fn files(&self) -> Vec<String> {
        let listed = self.output(&["fs", "-ls", "-R", &self.place]).stdout;
        let listed = String::from_utf8(listed).expect("text");
        listed.lines().filter(|line| line.starts_with('-')).map(str::to_owned).collect()
    }

    /// Returns the files that have the name of a file in use.
    fn in_use(&self) -> Vec<String> {
        self.files().into_iter().filter(|line| line.ends_with(".tmp")).collect()
    }

    /// Returns the lines of all files in the directories of the test's directory.
    fn lines(&self) -> Vec<String> {
        let read = self.output(&["fs", "-cat", &format!("{}/*/*", self.place)]).stdout;
        String::from_utf8_lossy(&read).lines().map(str::to_owned).collect()
    }

    /// Returns true if the files have each of `lines`.
    fn has(&self, lines: &[String]) -> bool {
        let found: BTreeSet<String> = self.lines().into_iter().collect();
        lines.iter().all(|line| found.contains(line))
    }

    /// Returns the address of the NameNode, `hdfs://HOST:PORT`.
    fn address(&self) -> String {
        let text = std::fs::read_to_string(Path::new(&self.conf).join("core-site.xml"));
        let text = text.expect("core-site.xml");
        let (_, rest) = text.split_once("<name>fs.defaultFS</name><value>").expect("its address");
        rest.split('<').next().expect("a value").to_owned()
    }

    /// Writes a configuration: netcat, a file channel, hdfs. The last digit of a line is its directory, and files are
    /// closed as `more` says, otherwise by a stop only.
    fn configure(&self, directory: &Path, source: u16, more: &str) {
        let (place, conf) = (&self.place, &self.conf);
        let text = format!(
            "a.sources = r\na.channels = c\na.sinks = k\n\
             a.sources.r.type = netcat\na.sources.r.bind = 127.0.0.1\na.sources.r.port = {source}\n\
             a.sources.r.channels = c\na.sources.r.interceptors = i\n\
             a.sources.r.interceptors.i.type = regex_extractor\n\
             a.sources.r.interceptors.i.regex = ([0-9])$\n\
             a.sources.r.interceptors.i.serializers = s\n\
             a.sources.r.interceptors.i.serializers.s.name = part\n\
             a.channels.c.type = file\na.channels.c.checkpointDir = c/checkpoint\n\
             a.channels.c.dataDirs = c/data\na.channels.c.minimumRequiredSpace = 1048576\n\
             a.sinks.k.type = hdfs\na.sinks.k.channel = c\na.sinks.k.hdfs.config = {conf}\n\
             a.sinks.k.hdfs.path = {place}/%{{part}}\na.sinks.k.hdfs.fileType = DataStream\n\
             a.sinks.k.hdfs.rollCount = 0\na.sinks.k.hdfs.rollSize = 0\na.sinks.k.hdfs.rollInterval = 0\n\
             a.sinks.k.hdfs.callTimeout = 3000\na.sinks.k.hdfs.retryInterval = 2\n\
             a.sinks.k.hdfs.stateDirectory = state\n{more}\n"
        );
        std::fs::write(directory.join("a.conf"), text).expect("a file");
    }
}

impl Drop for RealHdfs {
    fn drop(&mut self) {
        self.output(&["fs", "-rm", "-r", "-f", "-skipTrash", &self.place]);
    }
}

fn lines(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("line {n:04}")).collect()
}

/// Returns the whole log of an agent in `directory`.
fn log(directory: &Path) -> String {
    let log = std::fs::read(directory.join("agent.log")).unwrap_or_default();
    String::from_utf8_lossy(&log).into_owned()
}

#[test]
fn keys_without_effect_are_named_once_by_validate_and_at_the_start() {
    let directory = tempfile::tempdir().expect("a directory");
    let out = directory.path().join("out");
    let text = format!(
        "a.sources = r\na.channels = c\na.sinks = k\na.sources.r.type = netcat\na.sources.r.bind = 127.0.0.1\n\
         a.sources.r.port = {}\na.sources.r.channels = c\na.channels.c.type = memory\na.sinks.k.type = hdfs\n\
         a.sinks.k.channel = c\na.sinks.k.hdfs.path = file://{}\na.sinks.k.hdfs.minBlockReplicas = 1\n\
         a.sinks.k.hdfs.rollTimerPoolSize = 4\na.sinks.k.hdfs.proxyUser = u\n",
        free_port(),
        out.display()
    );
    std::fs::write(directory.path().join("a.conf"), text).expect("a file");
    let words = ["validate", "-n", "a", "-f", "a.conf"];
    let said = run_expecting(directory.path(), &words, b"", 0);
    let agent = Agent::start(directory.path(), "a", "a.conf");
    until("the start", || agent.words(), || agent.words().contains("started: "));
    assert!(agent.terminate().success());
    let keys = ["hdfs.minBlockReplicas", "hdfs.rollTimerPoolSize", "hdfs.proxyUser"];
    for said in [said, log(directory.path())] {
        for key in keys {
            let of_the_key = format!("a.sinks.k.{key}: has no effect: ");
            assert_eq!(said.matches(&of_the_key).count(), 1, "{key}: {said}");
        }
    }
}
