//! Notes sent to another host, which replies with the number of lines it has.

use crate::torture::note::Note;
use crate::torture::note_writer::NoteWriter;
use millpond::internal::base::event_count::EventCount;
use millpond::internal::base::threads;
use millpond::{Clock, SystemClock};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a connection, a write or a reply may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// A connection to a collector.
pub(super) struct RemoteNotes {
    out: Mutex<SentLines>,
    arrived: Arc<AckedLines>,
}

struct SentLines {
    stream: TcpStream,
    lines: u64,
}

/// The number of lines that the other host has reported.
#[derive(Default)]
struct AckedLines {
    lines: AtomicU64,
    gone: AtomicBool,
    changed: EventCount,
}

impl RemoteNotes {
    /// Connects to a collector at `address` and sends the line `head`.
    pub(super) fn connect(address: &str, head: &str) -> io::Result<Self> {
        let mut last = io::Error::other("no such host");
        let mut connected = None;
        for at in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&at, TIMEOUT) {
                Ok(stream) => {
                    connected = Some(stream);
                    break;
                }
                Err(error) => last = error,
            }
        }
        let Some(stream) = connected else { return Err(last) };
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let answers = BufReader::new(stream.try_clone()?);
        let arrived = Arc::new(AckedLines::default());
        let tell = Arc::clone(&arrived);
        // It ends with the connection, which ends with the process.
        let _listens = threads::spawn("torture-far", move || tell.listen(answers))?;
        let far = Self { out: Mutex::new(SentLines { stream, lines: 0 }), arrived };
        let line = far.send(head)?;
        far.wait(line)?;
        Ok(far)
    }

    /// Sends a line and returns its number, from 1.
    fn send(&self, line: &str) -> io::Result<u64> {
        let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
        out.stream.write_all(format!("{line}\n").as_bytes())?;
        out.lines += 1;
        Ok(out.lines)
    }

    /// Waits until the other host has `line` lines.
    fn wait(&self, line: u64) -> io::Result<()> {
        let clock = SystemClock::new();
        let (mut had, mut until) = (0, TIMEOUT);
        loop {
            let turn = self.arrived.changed.generation();
            let has = self.arrived.lines.load(Ordering::SeqCst);
            if has >= line {
                return Ok(());
            }
            if self.arrived.gone.load(Ordering::SeqCst) {
                return Err(io::Error::other("the collector has gone"));
            }
            let now = clock.now();
            if has > had {
                (had, until) = (has, now + TIMEOUT);
            }
            // A sleep may end early for no reason: only the time counts.
            let Some(rest) = until.checked_sub(now).filter(|rest| !rest.is_zero()) else {
                return Err(io::Error::other("the collector does not answer"));
            };
            self.arrived.changed.sleep(turn, Some(rest));
        }
    }
}

impl AckedLines {
    fn listen(&self, answers: impl BufRead) {
        for line in answers.lines().map_while(Result::ok) {
            if let Ok(lines) = line.parse() {
                self.lines.fetch_max(lines, Ordering::SeqCst);
                self.changed.notify_all();
            }
        }
        self.gone.store(true, Ordering::SeqCst);
        self.changed.notify_all();
    }
}

impl NoteWriter for RemoteNotes {
    fn write_note(&self, note: &Note) -> io::Result<()> {
        self.send(&note.to_string()).map(|_| ())
    }

    fn write_durably(&self, note: &Note) -> io::Result<()> {
        let line = self.send(&note.to_string())?;
        self.wait(line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// Other waiters are woken all the time; a waiter must not take that for silence.
    #[test]
    fn only_a_collector_that_is_silent_for_long_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bound");
        let address = listener.local_addr().expect("an address").to_string();
        let collector = threads::spawn("collector", move || {
            let (mut stream, _) = listener.accept().expect("a client connects");
            stream.write_all(b"1\n").expect("replied");
            std::thread::sleep(Duration::from_millis(300));
            stream.write_all(b"2\n").expect("replied");
            stream
        });
        let far = RemoteNotes::connect(&address, "head").expect("the head arrives");
        let line = far.send("note").expect("sent");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| far.wait(line));
            while !waiting.is_finished() {
                far.arrived.changed.wake_for_nothing();
            }
            waiting.join().expect("no panic").expect("the answer came");
        });
        drop(collector.expect("a thread").join().expect("no panic"));
    }
}
