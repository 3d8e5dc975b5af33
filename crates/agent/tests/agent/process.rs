//! Processes, ports and deadlines.

use millpond::{Clock, SystemClock};
use std::fs::File;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

/// Longest wait for anything; only a failing test comes near it.
pub(crate) const DEADLINE: Duration = Duration::from_secs(90);

/// Returns the command of the binary, in `directory`, without settings of the test's environment.
pub(crate) fn millpond(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_millpond"));
    // What an agent stores in a home directory is the test's.
    command.current_dir(directory).env("HOME", directory);
    for name in ["JAVA_OPTS", "FLUME_JAVA_OPTS", "FLUME_CONF_DIR", "MILLPOND_LOG"] {
        command.env_remove(name);
    }
    command
}

/// Runs the binary to its end, with `input` on stdin.
pub(crate) fn run(directory: &Path, words: &[&str], input: &[u8]) -> Output {
    let mut child = millpond(directory)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("stdin is a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // A command that ends early closes its stdin; its reply is what is checked.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("the binary ends")
    })
}

/// Runs the binary and requires exit code `code`; returns its stdout.
pub(crate) fn run_expecting(directory: &Path, words: &[&str], input: &[u8], code: i32) -> String {
    let output = run(directory, words, input);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {stderr}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Waits for `condition`; fails with `what` and what `words` says after [`DEADLINE`].
pub(crate) fn until(what: &str, words: impl Fn() -> String, mut condition: impl FnMut() -> bool) {
    let clock = SystemClock::new();
    while !condition() {
        assert!(clock.now() < DEADLINE, "not seen: {what}\n{}", words());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    child: Child,
    log: PathBuf,
}

impl Agent {
    /// Starts the agent `name` of `conf`. Its stdout and stderr are appended to `log`.
    pub(crate) fn start(directory: &Path, name: &str, conf: &str) -> Self {
        Self::start_with(directory, name, conf, &[])
    }

    /// Starts it with `more` on the command line.
    pub(crate) fn start_with(directory: &Path, name: &str, conf: &str, more: &[&str]) -> Self {
        Self::start_as(millpond(directory), directory, name, conf, more)
    }

    /// Starts the agent `name` of the configuration that `more` names.
    pub(crate) fn start_from(directory: &Path, name: &str, more: &[&str]) -> Self {
        let mut command = millpond(directory);
        command.args(["agent", "-n", name, "-Dflume.root.logger=INFO,console"]).args(more);
        Self::spawn(command, directory)
    }

    /// Starts it by `command`, which runs the binary in `directory` in another way.
    pub(crate) fn start_as(
        mut command: Command,
        directory: &Path,
        name: &str,
        conf: &str,
        more: &[&str],
    ) -> Self {
        command.args(["agent", "-n", name, "-f", conf, "-Dflume.root.logger=INFO,console"]);
        command.args(more);
        Self::spawn(command, directory)
    }

    fn spawn(mut command: Command, directory: &Path) -> Self {
        let log = directory.join("agent.log");
        let out = File::options().create(true).append(true).open(&log).expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a second descriptor"))
            .stderr(out)
            .spawn()
            .expect("the binary starts");
        Self { child, log }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Returns the last part of the log.
    pub(crate) fn words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }

    /// Connects to what listens at `port`, once something does.
    pub(crate) fn connection(&mut self, port: u16) -> (BufReader<TcpStream>, TcpStream) {
        let words = self.words();
        let mut connection = None;
        let connects = || {
            self.assert_alive();
            connection = connect(port);
            connection.is_some()
        };
        until("a connection", || words.clone(), connects);
        connection.expect("the loop ended")
    }

    /// Sends lines to the netcat source at `port`, once it listens, and requires an OK for each.
    pub(crate) fn say(&mut self, port: u16, lines: &[impl std::fmt::Display]) {
        let (mut reader, mut writer) = self.connection(port);
        for line in lines {
            writeln!(writer, "{line}").expect("sent");
            assert_eq!(read_line(&mut reader).as_deref(), Some("OK"), "{line}");
        }
    }

    /// Fails if the process has ended by itself.
    pub(crate) fn assert_alive(&mut self) {
        let ended = self.child.try_wait().expect("the process can be asked");
        assert!(ended.is_none(), "the agent ended by itself: {ended:?}\n{}", self.words());
    }

    pub(crate) fn kill(mut self) {
        self.child.kill().expect("SIGKILL");
        let status = self.child.wait().expect("the process can be waited for");
        assert_eq!(status.signal(), Some(9), "it had ended before the kill: {}", self.words());
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) fn terminate(mut self) -> ExitStatus {
        signal(self.id(), "TERM");
        self.ended()
    }

    /// Waits for the end.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        let words = self.words();
        until(
            "the end after a signal",
            || words.clone(),
            || {
                status = self.child.try_wait().expect("the process can be asked");
                status.is_some()
            },
        );
        status.expect("the loop ended")
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal, as a user would.
pub(crate) fn signal(process: u32, name: &str) {
    let sent = Command::new("kill").args([format!("-{name}"), process.to_string()]).status();
    assert!(sent.expect("kill runs").success());
}

/// Returns a free port, outside the range from which the system gives ports to clients: a client
/// that connects to a port of that range without a listener can end up connected to itself.
pub(crate) fn free_port() -> u16 {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let low = range.ok().and_then(|r| r.split_whitespace().next()?.parse().ok());
    let low = low.filter(|low| *low > 12_000).unwrap_or(30_000u16);
    let mut random = Random::new(fresh_seed());
    for _ in 0..1000 {
        let port = 10_000 + u16::try_from(random.below(u64::from(low) - 10_000)).expect("a port");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between 10000 and {low}");
}

/// Connects within `patience`, with deadlines on reads and writes.
pub(crate) fn connect(port: u16) -> Option<(BufReader<TcpStream>, TcpStream)> {
    let stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.set_write_timeout(Some(DEADLINE)).ok()?;
    let reader = BufReader::new(stream.try_clone().ok()?);
    Some((reader, stream))
}

/// Returns one line without its newline; `None` if the other side is gone.
pub(crate) fn read_line(reader: &mut BufReader<TcpStream>) -> Option<String> {
    let mut line = String::new();
    match reader.read_line(&mut line) {
        Ok(_) => line.strip_suffix('\n').map(str::to_owned),
        Err(_) => None,
    }
}

/// Returns every complete line of every file in `directory`, file by file in the order of their
/// numbers. The end of a file without a newline is what a killed process was writing and is not a
/// line.
pub(crate) fn lines_in(directory: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    let numbers = |path: &PathBuf| -> Vec<u64> {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.split(|c: char| !c.is_ascii_digit()).filter_map(|n| n.parse().ok()).collect()
    };
    files.sort_by_key(numbers);
    let mut lines = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file).expect("an output file can be read");
        let mut parts: Vec<&[u8]> = bytes.split(|b| *b == b'\n').collect();
        parts.pop();
        lines.extend(parts.into_iter().map(<[u8]>::to_vec));
    }
    lines
}

/// Small random numbers from a seed that can be printed.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns a number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        // splitmix64
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
}

pub(crate) fn fresh_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Starts the `channel put` that `put` spells out (one event a transaction, with acknowledgements),
/// which holds the channel open until its stdin is closed.
pub(crate) fn holder(directory: &Path, put: &[&str]) -> (Child, std::process::ChildStdin) {
    let mut child = millpond(directory)
        .args(put)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"held\n").expect("written");
    let mut acks = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    assert_eq!(acks.next().expect("an acknowledgement").expect("text"), "committed 1");
    (child, stdin)
}
