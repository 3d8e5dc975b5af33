//! A disk that is really full: a small file system of its own, mounted for the test.

use super::process::{Agent, DEADLINE, connect, free_port, lines_in, read_line, run, until};
use millpond::{Clock, SystemClock};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A small ext4 file system on a loop device, or a tmpfs of that size without loop devices;
/// unmounted when dropped.
pub(crate) struct SmallDisk {
    pub(crate) at: PathBuf,
    /// The file that contains it; none for a tmpfs.
    pub(crate) image: Option<PathBuf>,
}

pub(crate) fn succeeds(program: &str, words: &[&str]) -> bool {
    Command::new(program).args(words).output().is_ok_and(|output| output.status.success())
}

impl SmallDisk {
    /// Mounts `mib` MiB at `top/disk`. `None`, with a message, if the test may not mount.
    #[allow(clippy::print_stderr)] // said aloud: a test that is left out must be seen
    pub(crate) fn mount(top: &Path, mib: u32) -> Option<Self> {
        let at = top.join("disk");
        std::fs::create_dir(&at).expect("a mount point");
        let (image, shown) = (top.join("image"), at.display().to_string());
        std::fs::File::options()
            .write(true)
            .create_new(true)
            .open(&image)
            .and_then(|file| file.set_len(u64::from(mib) << 20))
            .expect("an image");
        let name = image.display().to_string();
        let looped = succeeds("mkfs.ext4", &["-q", "-m", "0", "-O", "^has_journal", &name])
            && succeeds("mount", &["-o", "loop,errors=remount-ro", &name, &shown]);
        let size = format!("size={mib}m");
        if !looped && !succeeds("mount", &["-t", "tmpfs", "-o", &size, "tmpfs", &shown]) {
            // Shown by `cargo test -- --nocapture`, and searched for by .ci/run.
            eprintln!("left out full_disk: this user may not mount a file system");
            return None;
        }
        Some(Self { at, image: looped.then_some(image) })
    }
}

impl SmallDisk {
    /// Makes the file system read-only, as the kernel does after an error in it. It must be on a
    /// loop device.
    pub(crate) fn turn_read_only(&self) {
        let source = Command::new("findmnt")
            .args(["-n", "-o", "SOURCE"])
            .arg(&self.at)
            .output()
            .expect("findmnt runs");
        let device = String::from_utf8_lossy(&source.stdout).trim().replace("/dev/", "");
        std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1").expect("triggered");
    }

    /// Takes the last free byte, by a file that is returned.
    pub(crate) fn fill(&self) -> PathBuf {
        let ballast = self.at.join("ballast");
        let mut file =
            std::fs::File::options().write(true).create_new(true).open(&ballast).expect("a file");
        while file.write_all(&[1; 65_536]).is_ok() {}
        ballast
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = succeeds("umount", &["-l", &self.at.display().to_string()]);
    }
}

fn configuration(port: u16) -> String {
    format!(
        "a.sources = s\na.channels = c\na.sinks = k\n\
         a.sources.s.type = netcat\na.sources.s.bind = 127.0.0.1\na.sources.s.port = {port}\n\
         a.sources.s.channels = c\n\
         a.channels.c.type = file\na.channels.c.checkpointDir = disk/checkpoint\n\
         a.channels.c.dataDirs = disk/d1,disk/d2\na.channels.c.maxFileSize = 1048576\n\
         a.channels.c.minimumRequiredSpace = 1048576\na.channels.c.keep-alive = 5\n\
         a.channels.c.transactionCapacity = 1000\n\
         a.sinks.k.type = file_roll\na.sinks.k.sink.directory = out\n\
         a.sinks.k.sink.rollInterval = 0\na.sinks.k.channel = c\n"
    )
}

const CHANNEL: [&str; 6] = ["-n", "a", "-f", "a.conf", "--channel", "c"];

fn words<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["channel", command][..], &CHANNEL, more].concat()
}

/// Returns the last `committed N` of a command's output.
fn committed(text: &[u8]) -> usize {
    let text = String::from_utf8_lossy(text);
    let counts = text.lines().filter_map(|line| line.strip_prefix("committed ")?.parse().ok());
    counts.fold(0, |_, count| count)
}

fn line(number: usize) -> String {
    format!("{number:08} {}\n", "x".repeat(990))
}

#[test]
fn a_full_disk_refuses_puts_lets_takes_go_on_and_recovers_by_itself() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let Some(disk) = SmallDisk::mount(top, 32) else { return };
    std::fs::write(top.join("a.conf"), configuration(free_port())).expect("a configuration");

    // More than fits: refused with the cause, after what was committed.
    let input: String = (0..40_000).map(line).collect();
    let full = run(top, &words("put", &["--batch", "50", "--acks"]), input.as_bytes());
    let said = String::from_utf8_lossy(&full.stderr).into_owned();
    let stored = committed(&full.stdout);
    assert_eq!(full.status.code(), Some(1), "{said}");
    assert!(stored > 5_000 && stored < 39_000, "{stored} lines in 32 MiB: {said}");
    assert!(said.contains("free") && said.contains("minimumRequiredSpace"), "{said}");

    // Another program takes the last free bytes: still every take works, and so does opening.
    let ballast = disk.fill();
    let mut taken = Vec::new();
    for count in ["1", "1", "999", "2000"] {
        let more = ["--batch", "100", "--count", count, "--acks"];
        let output = run(top, &words("take", &more), b"");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        taken.extend_from_slice(&output.stdout);
    }
    std::fs::remove_file(&ballast).expect("removed");

    // Space is free again: puts continue without any repair.
    let more: String = (stored..stored + 1000).map(line).collect();
    let output = run(top, &words("put", &["--batch", "50", "--acks"]), more.as_bytes());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), committed(&output.stdout)), (Some(0), 1000), "{said}");
    taken.extend(run(top, &words("take", &[]), b"").stdout);
    let expected: String = (0..stored + 1000).map(line).collect();
    assert!(
        taken == expected.as_bytes(),
        "what came out is not what was committed, once, in order"
    );
    assert_eq!(run(top, &words("check", &[]), b"").status.code(), Some(0));
}

#[test]
fn a_full_disk_refuses_clients_until_there_is_room() {
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let Some(disk) = SmallDisk::mount(top, 32) else { return };
    let port = free_port();
    std::fs::write(top.join("a.conf"), configuration(port)).expect("a configuration");
    let mut agent = Agent::start(top, "a", "a.conf");
    let mut client = None;
    until(
        "the port",
        || agent.words(),
        || {
            client = connect(port);
            client.is_some()
        },
    );
    let (mut answers, mut stream) = client.expect("connected");
    let ask = |answers: &mut _, stream: &mut std::net::TcpStream, text: &str| {
        stream.write_all(text.as_bytes()).expect("sent");
        read_line(answers).expect("an answer")
    };
    assert_eq!(ask(&mut answers, &mut stream, "before\n"), "OK");

    // A busy machine may be late once; the channel is not late three times.
    let mut shortest = DEADLINE;
    for _ in 0..3 {
        let ballast = disk.fill();
        let mut refused = String::new();
        until(
            "a refusal",
            || agent.words(),
            || {
                refused = ask(&mut answers, &mut stream, "while full\n");
                refused != "OK"
            },
        );
        assert!(refused.starts_with("FAILED: "), "{refused}");
        agent.assert_alive();

        std::fs::remove_file(&ballast).expect("removed");
        let clock = SystemClock::new();
        let again = || ask(&mut answers, &mut stream, "after\n") == "OK";
        until("an OK again", || agent.words(), again);
        shortest = shortest.min(clock.now());
    }
    assert!(shortest <= Duration::from_secs(1), "puts went on after {shortest:?} at the soonest");
    let has = |text: &str| lines_in(&top.join("out")).iter().any(|l| l == text.as_bytes());
    until("the word that puts go on", || agent.words(), || agent.words().contains("room again"));
    until("both lines in the files", || agent.words(), || has("before") && has("after"));
    assert!(agent.terminate().success());
}
