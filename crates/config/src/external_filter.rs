//! Runs a program for the value of a key, for the config filter `external`.

use millpond::internal::base::threads;
use millpond::{Clock, SystemClock};
use millpond_flow::base::service;
use std::io::{self, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// Timeout of a program.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most bytes of its output that are read.
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Interval at which its exit is checked.
const PAUSE: Duration = Duration::from_millis(2);

/// Function that runs a command with a key; returns its output, or why there is none.
pub(super) type AskProgram = dyn Fn(&str, &str) -> Result<Vec<u8>, String>;

/// Runs `command`, split at blanks, with `key` as an additional last argument, and returns the first line that it
/// prints. Its stderr is that of the agent.
///
/// # Errors
/// A text: it cannot be run, fails, prints nothing, or takes more than 10 s. No error contains its output.
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
    let mut child = KilledChild(child);
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

/// A process that is killed when this is dropped.
struct KilledChild(Child);

impl Drop for KilledChild {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn answer(child: &mut Child) -> Result<Vec<u8>, String> {
    let clock = SystemClock::new();
    let late = || format!("did not answer within {} s", PATIENCE.as_secs());
    let broken = |error: io::Error| format!("its output cannot be read: {error}");
    let stdout = child.stdout.take().expect("it was asked for");
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut bytes = Vec::new();
        let done = stdout.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes).map(|_| bytes);
        // The caller may have timed out.
        let _ = sender.send(done);
    };
    // Not joined: a process that left the group may hold the pipe open indefinitely.
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
