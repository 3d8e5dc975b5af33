//! Receives the notes of a writer on another host and answers how many lines it has.

use super::{Head, PhaseError};
use crate::base::clock::{Clock, SystemClock};
use crate::base::files;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a wait lasts before the collector looks around.
const LOOK: Duration = Duration::from_millis(100);

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// Whole lines in the file, its first included.
    pub lines: u64,
    /// Whether the writer closed the connection. A host without power does not.
    pub closed: bool,
}

/// Listens on `listen`, says through `listening` where that is, and writes what one writer sends to
/// the new file `path`. Ends when the writer does, when it was silent for `silence`, or when `stop`
/// is set.
///
/// # Errors
/// The address or the file cannot be used, or whoever connected is no `torture write`.
pub fn collect(
    listen: &str,
    path: &Path,
    silence: Duration,
    stop: &AtomicBool,
    listening: &mut dyn FnMut(SocketAddr),
) -> Result<Collected, PhaseError> {
    let network = |source| PhaseError::Network { address: listen.to_owned(), source };
    let listener = TcpListener::bind(listen).map_err(network)?;
    listener.set_nonblocking(true).map_err(network)?;
    let at = |source| PhaseError::File { path: path.to_owned(), source };
    let mut file = files::create_new(path).map_err(at)?;
    listening(listener.local_addr().map_err(network)?);
    let Some(stream) = accept(&listener, stop).map_err(network)? else {
        return Ok(Collected { lines: 0, closed: false });
    };
    let collected = receive(stream, &mut file, silence, stop).map_err(at)?;
    file.sync_all().map_err(at)?;
    match collected {
        Some(collected) => Ok(collected),
        None => Err(PhaseError::Line { path: path.to_owned(), line: 1 }),
    }
}

fn accept(listener: &TcpListener, stop: &AtomicBool) -> io::Result<Option<TcpStream>> {
    while !stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(LOOK))?;
                stream.set_nodelay(true)?;
                return Ok(Some(stream));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(LOOK),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// `None` when the first line is not that of a writer.
fn receive(
    mut stream: TcpStream,
    out: &mut impl Write,
    silence: Duration,
    stop: &AtomicBool,
) -> io::Result<Option<Collected>> {
    let clock = SystemClock::new();
    let (mut heard, mut lines, mut first) = (Duration::ZERO, 0u64, Vec::new());
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let end = |closed| Ok(Some(Collected { lines, closed }));
        let read = match stream.read(&mut buffer) {
            Ok(0) => return end(true),
            Ok(read) => read,
            Err(error) if waits(&error) => {
                if stop.load(Ordering::SeqCst) || clock.now().saturating_sub(heard) > silence {
                    return end(false);
                }
                continue;
            }
            // A reset: the writer was killed, or its machine started again.
            Err(_) => return end(false),
        };
        heard = clock.now();
        let bytes = &buffer[..read];
        if lines == 0 {
            first.extend_from_slice(bytes);
            let line = first.split(|b| *b == b'\n').next().unwrap_or_default();
            let whole = line.len() < first.len();
            if (whole && Head::read(&String::from_utf8_lossy(line)).is_none())
                || first.len() > READ_BYTES
            {
                return Ok(None);
            }
        }
        out.write_all(bytes)?;
        lines += bytes.iter().filter(|b| **b == b'\n').count() as u64;
        // A writer that is gone is noticed by the next read.
        let _ = stream.write_all(format!("{lines}\n").as_bytes());
    }
}

fn waits(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
