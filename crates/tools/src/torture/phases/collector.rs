//! The collector: receives the notes of a writer on another host and replies with the number of its
//! lines.

use super::{AckFileHeader, LINE_BYTES_MAX, PhaseError, end_line};
use millpond::{Clock, SystemClock};
use millpond_flow::base::files;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How long a wait lasts before the collector checks its state.
const LOOK: Duration = Duration::from_millis(50);

/// Bytes read at a time.
const READ_BYTES: usize = 64 * 1024;

/// Bytes of the first line of a writer.
const HEAD_BYTES_MAX: usize = 256;

/// Connections that have not identified themselves yet; of more, the oldest is closed.
const CALLERS_MAX: usize = 16;

/// What was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CollectedNotes {
    /// Lines of the writer in the file, its first included.
    pub lines: u64,
    /// Whether the writer closed the connection. A host without power does not.
    pub closed: bool,
}

/// The collector's status while it waits for its writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectorStatus {
    /// It listens on this address.
    Listening(SocketAddr),
    /// This address connected and is not a `torture write`; it was turned away.
    Stranger(SocketAddr),
}

/// Listens on `listen` and writes what one writer sends to the new file `path`; `say` gets the
/// status until the writer connects. Other clients are turned away. Ends when the writer does, when
/// it was silent for `silence`, or when `stop` is set; then the file's last line has the number of
/// lines. If no writer connected there is no file.
///
/// # Errors
/// The address or the file cannot be used, or the writer sends what no `torture write` sends.
pub fn collect(
    listen: &str,
    path: &Path,
    silence: Duration,
    stop: &AtomicBool,
    say: &mut dyn FnMut(CollectorStatus),
) -> Result<CollectedNotes, PhaseError> {
    let network = |source| PhaseError::Network { address: listen.to_owned(), source };
    let at = |source| PhaseError::File { path: path.to_owned(), source };
    let listener = TcpListener::bind(listen).map_err(network)?;
    listener.set_nonblocking(true).map_err(network)?;
    let mut file = files::create_new(path).map_err(at)?;
    let mut begin = || {
        say(CollectorStatus::Listening(listener.local_addr()?));
        writer(&listener, stop, say)
    };
    let Some(writer) = begin().map_err(network).transpose() else {
        files::remove(path).map_err(at)?;
        return Ok(CollectedNotes { lines: 0, closed: false });
    };
    let mut receiver =
        NoteReceiver { out: &mut file, lines: 0, rest: Vec::new(), owed: Vec::new(), answered: 0 };
    let received = receiver.receive(writer?, silence, stop).map_err(at)?;
    let lines = receiver.lines;
    file.sync_all().map_err(at)?;
    match received {
        Some(closed) => Ok(CollectedNotes { lines, closed }),
        None => Err(PhaseError::Line { path: path.to_owned(), line: lines + 1 }),
    }
}

/// A client, and what was received from it.
struct CollectorClient {
    stream: TcpStream,
    address: SocketAddr,
    heard: Vec<u8>,
}

/// Returns the first client that sends the first line of a writer; `None` when `stop` is set.
fn writer(
    listener: &TcpListener,
    stop: &AtomicBool,
    say: &mut dyn FnMut(CollectorStatus),
) -> io::Result<Option<CollectorClient>> {
    let mut callers: Vec<CollectorClient> = Vec::new();
    while !stop.load(Ordering::SeqCst) {
        match listener.accept() {
            Ok((stream, address)) => {
                stream.set_nonblocking(true)?;
                if callers.len() == CALLERS_MAX {
                    say(CollectorStatus::Stranger(callers.remove(0).address));
                }
                callers.push(CollectorClient { stream, address, heard: Vec::new() });
            }
            Err(error) if waits(&error) => std::thread::sleep(LOOK),
            // The client has disconnected again.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return Err(error),
        }
        for mut caller in std::mem::take(&mut callers) {
            match caller.listen() {
                Some(true) => {
                    caller.stream.set_nonblocking(false)?;
                    caller.stream.set_read_timeout(Some(LOOK))?;
                    caller.stream.set_write_timeout(Some(LOOK))?;
                    caller.stream.set_nodelay(true)?;
                    return Ok(Some(caller));
                }
                Some(false) => say(CollectorStatus::Stranger(caller.address)),
                None => callers.push(caller),
            }
        }
    }
    Ok(None)
}

impl CollectorClient {
    /// Returns whether the client is a writer; `None` as long as its first line is incomplete.
    fn listen(&mut self) -> Option<bool> {
        let mut buffer = [0; HEAD_BYTES_MAX];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Some(false),
            Ok(read) => self.heard.extend_from_slice(&buffer[..read]),
            Err(error) if waits(&error) => return None,
            Err(_) => return Some(false),
        }
        match self.heard.split(|b| *b == b'\n').next() {
            Some(line) if line.len() < self.heard.len() => {
                Some(AckFileHeader::read(&String::from_utf8_lossy(line)).is_some())
            }
            _ if self.heard.len() > HEAD_BYTES_MAX => Some(false),
            _ => None,
        }
    }
}

/// The file, and the received part of an incomplete line.
struct NoteReceiver<'a> {
    out: &'a mut dyn Write,
    /// Whole lines in it.
    lines: u64,
    rest: Vec<u8>,
    /// The rest of a reply that the writer has not read.
    owed: Vec<u8>,
    /// The number in the last reply.
    answered: u64,
}

impl NoteReceiver<'_> {
    /// Stores what the writer sends, line by line, and where it ends. Returns whether the writer
    /// closed the connection; `None` when it sends what a writer never sends.
    fn receive(
        &mut self,
        writer: CollectorClient,
        silence: Duration,
        stop: &AtomicBool,
    ) -> io::Result<Option<bool>> {
        let CollectorClient { mut stream, heard, .. } = writer;
        self.take(&heard, &mut stream)?;
        let clock = SystemClock::new();
        let mut last = Duration::ZERO;
        let mut buffer = vec![0; READ_BYTES];
        let closed = loop {
            // A writer that never pauses must not keep it from ending.
            if stop.load(Ordering::SeqCst) {
                break false;
            }
            match stream.read(&mut buffer) {
                Ok(0) => break true,
                Ok(read) => {
                    last = clock.now();
                    self.take(&buffer[..read], &mut stream)?;
                    if self.rest.len() as u64 > LINE_BYTES_MAX {
                        return Ok(None);
                    }
                }
                Err(error) if waits(&error) => {
                    if clock.now().saturating_sub(last) > silence {
                        break false;
                    }
                    self.answer(&mut stream);
                }
                // A reset: the writer was killed, or its machine started again.
                Err(_) => break false,
            }
        };
        self.out.write_all(format!("{}\n", end_line(self.lines)).as_bytes())?;
        Ok(Some(closed))
    }

    /// Stores the whole lines and replies with their number.
    fn take(&mut self, bytes: &[u8], stream: &mut TcpStream) -> io::Result<()> {
        self.rest.extend_from_slice(bytes);
        let Some(end) = self.rest.iter().rposition(|b| *b == b'\n') else { return Ok(()) };
        let rest = self.rest.split_off(end + 1);
        let whole = std::mem::replace(&mut self.rest, rest);
        self.out.write_all(&whole)?;
        self.lines += whole.iter().filter(|b| **b == b'\n').count() as u64;
        self.answer(stream);
        Ok(())
    }

    /// Replies with the number of lines. A writer that does not read gets the reply when it does,
    /// and by whole numbers only; a disconnected one is noticed by the next read.
    fn answer(&mut self, stream: &mut TcpStream) {
        if self.owed.is_empty() && self.answered < self.lines {
            self.owed = format!("{}\n", self.lines).into_bytes();
            self.answered = self.lines;
        }
        if let Ok(written) = stream.write(&self.owed) {
            self.owed.drain(..written);
        }
    }
}

fn waits(error: &io::Error) -> bool {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), Interrupted | TimedOut | WouldBlock)
}
