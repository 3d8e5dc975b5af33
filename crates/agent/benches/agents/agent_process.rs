//! An agent process: started, observed through /proc, stopped.

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) enum Contestant {
    /// This build of millpond.
    Millpond,
    /// Another build of it: the path of its binary.
    Other(String),
    /// A real Flume: directories with its jars, separated by `:`.
    Flume(String),
}

impl Contestant {
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Millpond => "millpond",
            Self::Other(_) => "the other build",
            Self::Flume(_) => "Flume",
        }
    }

    /// Returns the command; Java receives the system properties.
    fn command(&self, properties: &[String]) -> Command {
        let millpond = |binary: &str| {
            let mut command = Command::new(binary);
            command.arg("agent").args(properties);
            command
        };
        match self {
            Self::Millpond => millpond(env!("CARGO_BIN_EXE_millpond")),
            Self::Other(binary) => millpond(binary),
            Self::Flume(jars) => {
                // A directory of settings is on the class path as it is.
                let entry = |dir: &str| match Path::new(dir).join("core-site.xml").exists() {
                    true => dir.to_owned(),
                    false => format!("{dir}/*"),
                };
                let jars: Vec<String> = jars.split(':').map(entry).collect();
                let mut command = Command::new("java");
                command.args(["-XX:+UseParallelGC", "-Xms512m", "-Xmx512m"]);
                command.args(properties).arg("-cp");
                command.arg(jars.join(":")).arg("org.apache.flume.node.Application");
                command
            }
        }
    }

    /// Starts agent `a1` on `lines`, in which `{dir}` is its own directory.
    pub(crate) fn start(&self, dir: &Path, lines: &str) -> Agent {
        self.start_with(dir, lines, &[])
    }

    /// Starts it with `-Dkey=value` among its options.
    pub(crate) fn start_with(&self, dir: &Path, lines: &str, properties: &[String]) -> Agent {
        fs::create_dir_all(dir.join("out")).unwrap();
        let conf = dir.join("a.conf");
        fs::write(&conf, lines.replace("{dir}", &dir.display().to_string())).unwrap();
        let log = fs::File::create(dir.join("log")).unwrap();
        let mut command = self.command(properties);
        command.args(["-n", "a1", "--no-reload-conf", "-f"]).arg(&conf);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let began = Instant::now();
        Agent { child: command.spawn().unwrap(), dir: dir.to_owned(), began }
    }
}

/// A running agent, stopped on drop.
pub(crate) struct Agent {
    child: Child,
    dir: PathBuf,
    began: Instant,
}

impl Agent {
    /// Waits until the agent accepts at `port`; returns a connection, and how long the agent took for it.
    pub(crate) fn connect(&mut self, port: u16) -> Result<(TcpStream, Duration), String> {
        loop {
            if let Ok(socket) = TcpStream::connect(("127.0.0.1", port)) {
                return Ok((socket, self.began.elapsed()));
            }
            if self.began.elapsed() > Duration::from_secs(60)
                || self.child.try_wait().is_ok_and(|ended| ended.is_some())
            {
                let log = fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                let from = log.char_indices().rev().nth(600).map_or(0, |(at, _)| at);
                return Err(format!("it accepts nothing: {}", &log[from..]));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Returns true if its process has ended.
    #[allow(dead_code, reason = "not every program asks")]
    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|ended| ended.is_some())
    }

    /// Returns the bytes in the files of its file_roll sink.
    pub(crate) fn out_bytes(&self) -> u64 {
        let files = fs::read_dir(self.dir.join("out")).unwrap();
        files.filter_map(|file| file.ok()?.metadata().ok()).map(|file| file.len()).sum()
    }

    fn status(&self, key: &str) -> f64 {
        let text =
            fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(f64::NAN)
    }

    /// Returns the resident memory in MiB.
    pub(crate) fn memory(&self) -> f64 {
        self.status("VmRSS") / 1024.0
    }

    /// Returns the peak resident memory in MiB.
    pub(crate) fn peak_memory(&self) -> f64 {
        self.status("VmHWM") / 1024.0
    }

    /// Returns the processor time so far in seconds.
    pub(crate) fn processor(&self) -> f64 {
        let text =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields: Vec<&str> =
            text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |at: usize| fields.get(at).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
        // The kernel reports a hundred ticks a second to user space.
        (ticks(11) + ticks(12)) / 100.0
    }

    /// Returns how often its threads have slept so far.
    pub(crate) fn naps(&self) -> f64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).into_iter().flatten();
        let naps = tasks.filter_map(|task| {
            let text = fs::read_to_string(task.ok()?.path().join("status")).ok()?;
            let line = text.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse::<f64>().ok()
        });
        naps.sum()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let until = Instant::now() + Duration::from_secs(15);
        while Instant::now() < until && self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns a free port.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
