//! stderr as a destination of the log.

use super::queue::LogDestination;
use std::io::{self, Write};
use std::time::Duration;

/// Pause before a full pipe is tried again that another process has made non-blocking.
const AGAIN: Duration = Duration::from_millis(10);

/// The process's stderr. Written only by its queue's thread, so that a pipe that is not read blocks
/// nothing else.
pub(super) struct StderrWriter;

impl LogDestination for StderrWriter {
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

    /// It cannot be reported elsewhere; the metrics have it.
    fn fails(&mut self, _: &io::Error) {}
}
