//! stderr as a destination of the log.

use super::queue::Destination;
use std::io::{self, Write};
use std::time::Duration;

/// Pause before a pipe is tried again that somebody has made one that does not block, and that is full.
const AGAIN: Duration = Duration::from_millis(10);

/// The process's stderr. Written by its queue's thread alone, so that a pipe that nobody reads stops nothing else.
pub(super) struct Stderr;

impl Destination for Stderr {
    fn write(&mut self, mut lines: &[u8]) -> io::Result<()> {
        while !lines.is_empty() {
            match io::stderr().lock().write(lines) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => lines = lines.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(AGAIN);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// There is nowhere else to say it; the metrics have it.
    fn fails(&mut self, _: &io::Error) {}
}
