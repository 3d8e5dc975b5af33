//! Asks a program for the value of a key, for the config filter `external`.

use crate::base::clock::{Clock, SystemClock};
use crate::base::service;
use crate::base::threads;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// How long a program has for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Between two looks at whether it has ended.
const PAUSE: Duration = Duration::from_millis(2);

/// Asks for the value of a key: given a command and the key, what the command answers, or why it does not.
pub(super) type Ask = dyn Fn(&str, &str) -> Result<Vec<u8>, String>;

/// The first line that `command`, split at blanks, prints when it is run with `key` behind its own words.
/// What it writes to stderr goes where that of the agent goes.
///
/// # Errors
/// In words: it cannot be run, fails, says nothing, or takes more than 10 s. What it prints is in no error.
pub(super) fn program(command: &str, key: &str) -> Result<Vec<u8>, String> {
    let mut words = command.split_ascii_whitespace();
    let name = words.next().ok_or("its command is empty")?;
    let mut asked = Command::new(name);
    for variable in service::VARIABLES {
        asked.env_remove(variable);
    }
    let child = asked
        .args(words)
        .arg(key)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{name} cannot be run: {error}"))?;
    let mut child = Ended(child);
    let answered = answer(&mut child.0);
    match answered {
        Ok(bytes) if !bytes.is_empty() => {
            let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
            Ok(line.strip_suffix(b"\r").unwrap_or(line).to_vec())
        }
        Ok(_) => Err(format!("{name} printed nothing")),
        Err(why) => Err(format!("{name} {why}")),
    }
}

/// A process that does not outlive its asker.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn answer(child: &mut Child) -> Result<Vec<u8>, String> {
    let clock = SystemClock::new();
    let late = || format!("did not answer within {} s", PATIENCE.as_secs());
    let broken = |error: io::Error| format!("cannot be heard: {error}");
    let stdout = child.stdout.take().expect("it was asked for");
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut bytes = Vec::new();
        let done = stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes);
        // Who asked may have given up.
        let _ = sender.send(done);
    };
    // It is not joined: a process that left the group may hold the pipe open for as long as it likes.
    drop(threads::spawn("config-filter", read).map_err(broken)?);
    let bytes = receiver.recv_timeout(PATIENCE).map_err(|_| late())?.map_err(broken)?;
    loop {
        match child.try_wait().map_err(broken)? {
            Some(status) if status.success() => return Ok(bytes),
            Some(status) => return Err(format!("failed: {status}")),
            None if clock.now() >= PATIENCE => return Err(late()),
            None => std::thread::sleep(PAUSE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_the_answer() {
        assert_eq!(program("echo a  b", "key").unwrap(), b"a b key");
        let directory = tempfile::tempdir().unwrap();
        let script = directory.path().join("script");
        let ask = |text: &str| {
            std::fs::write(&script, text).unwrap();
            program(&format!("/bin/sh {}", script.display()), "pass")
        };
        assert_eq!(ask("printf \"$1\\r\\nmore\\n\"").unwrap(), b"pass");
        let error = ask("echo secret; exit 3").unwrap_err();
        assert!(error.contains("exit status: 3") && !error.contains("secret"), "{error}");
        assert!(ask("exit 0").unwrap_err().contains("printed nothing"));
        assert!(program("", "key").unwrap_err().contains("empty"));
        assert!(program("/no/such/program x", "key").unwrap_err().contains("/no/such/program"));
    }
}
