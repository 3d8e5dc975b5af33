//! The queue of log lines for the thread that writes them: if the log is slow, full or not read,
//! lines are lost and counted, and logging never waits.
//!
//! Limits: [`LINES_MAX`] lines of [`BYTES_MAX`] bytes wait; a flush waits [`FLUSH_WITHIN`] at the
//! end of the process, and [`PANIC_FLUSH_WITHIN`] for the line of a panic.

use super::style::LineStyle;
use millpond::internal::base::threads;
use millpond_flow::base::lost_lines;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;
use tracing::Level;

/// Lines that wait to be written.
const LINES_MAX: usize = 4096;
/// Bytes of them together; a single line may have more.
const BYTES_MAX: usize = 8 << 20;
/// How long the last lines may take when the agent ends.
const FLUSH_WITHIN: Duration = Duration::from_secs(1);
/// How long a panicking thread waits for its log line: it continues where the panic is caught, and
/// a panic that ends the process leaves no other trace.
pub(super) const PANIC_FLUSH_WITHIN: Duration = Duration::from_millis(100);
/// Pause before a flush is attempted again while the queue is full.
const FLUSH_AGAIN: Duration = Duration::from_millis(5);
/// Interval of the thread's other work while no line comes.
const TICK: Duration = Duration::from_secs(1);

/// A destination of lines.
pub(super) trait LogDestination: Send + 'static {
    /// Writes whole lines.
    fn write(&mut self, lines: &[u8]) -> io::Result<()>;

    /// Notes that lines cannot be written from now on, because of `error`.
    fn fails(&mut self, error: &io::Error);
}

enum QueueMessage {
    Line(Vec<u8>),
    /// Acknowledged once everything before it is written.
    Flush(SyncSender<()>),
}

/// The sending side of the queue.
#[derive(Clone, Debug)]
pub(super) struct LineQueue {
    lines: SyncSender<QueueMessage>,
    state: Arc<QueueState>,
}

#[derive(Debug, Default)]
struct QueueState {
    waiting_bytes: AtomicUsize,
    /// Lines that were lost since the thread last wrote.
    lost: AtomicU64,
    /// The destination cannot be written.
    failing: AtomicBool,
}

impl LineQueue {
    /// Starts the thread `name`, which writes to `destination` and calls `tick` about every second.
    pub(super) fn start(
        name: &str,
        destination: impl LogDestination,
        style: LineStyle,
        tick: impl Fn() + Send + 'static,
    ) -> io::Result<Self> {
        let (lines, waiting) = sync_channel(LINES_MAX);
        let state = Arc::new(QueueState::default());
        let writer = WriterThread { destination, style, state: Arc::clone(&state), unsaid: 0 };
        // Ends with the process; [`Self::flush`] waits for what matters.
        drop(threads::spawn(name, move || writer.run(&waiting, tick))?);
        Ok(Self { lines, state })
    }

    /// Adds a line, or several that belong together; returns whether it will be written as far as
    /// is known. A lost line is counted, unless the caller retries.
    pub(super) fn add(&self, line: Vec<u8>) -> bool {
        let bytes = line.len();
        let before = self.state.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        let tries_again = lost_lines::is_tried_again();
        // While nothing can be written, one line that is logged again is enough to find out when
        // that is over.
        let may_wait = !(tries_again && self.state.failing.load(Ordering::Relaxed));
        let has_room = before == 0 || (may_wait && before.saturating_add(bytes) <= BYTES_MAX);
        let is_added = has_room && self.lines.try_send(QueueMessage::Line(line)).is_ok();
        if !is_added {
            self.state.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            if !tries_again {
                self.state.lost.fetch_add(1, Ordering::Relaxed);
                lost_lines::count_dropped(1);
            }
        }
        // While nothing can be written, a line that is only in the queue is lost.
        is_added && !self.state.failing.load(Ordering::Relaxed)
    }

    /// Returns whether everything that was added is written: the destination keeps up.
    pub(super) fn is_empty(&self) -> bool {
        self.state.waiting_bytes.load(Ordering::Relaxed) == 0
    }

    /// Waits briefly until everything that was added is written; returns whether it was.
    pub(super) fn flush(&self) -> bool {
        self.flush_within(FLUSH_WITHIN)
    }

    /// Waits as [`Self::flush`] does, for at most `time_limit`.
    pub(super) fn flush_within(&self, time_limit: Duration) -> bool {
        let (done, wait) = sync_channel(1);
        let mut message = QueueMessage::Flush(done);
        let mut waited = Duration::ZERO;
        loop {
            match self.lines.try_send(message) {
                Ok(()) => break,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(_)) if waited >= time_limit => return false,
                Err(TrySendError::Full(again)) => message = again,
            }
            std::thread::sleep(FLUSH_AGAIN);
            waited += FLUSH_AGAIN;
        }
        wait.recv_timeout(time_limit.saturating_sub(waited)).is_ok()
    }
}

struct WriterThread<D> {
    destination: D,
    style: LineStyle,
    state: Arc<QueueState>,
    /// Lost lines that are not reported in the destination yet.
    unsaid: u64,
}

impl<D: LogDestination> WriterThread<D> {
    /// Writes lines until all senders are gone.
    fn run(mut self, lines: &Receiver<QueueMessage>, tick: impl Fn()) {
        loop {
            match lines.recv_timeout(TICK) {
                Ok(QueueMessage::Line(line)) => {
                    self.write(&line);
                    self.state.waiting_bytes.fetch_sub(line.len(), Ordering::Relaxed);
                }
                Ok(QueueMessage::Flush(done)) => {
                    self.say_lost();
                    let _ = done.try_send(());
                }
                Err(RecvTimeoutError::Timeout) => self.say_lost(),
                Err(RecvTimeoutError::Disconnected) => return,
            }
            tick();
        }
    }

    fn write(&mut self, line: &[u8]) {
        self.say_lost();
        match self.destination.write(line) {
            Ok(()) => self.state.failing.store(false, Ordering::Relaxed),
            Err(error) => {
                self.unsaid += 1;
                lost_lines::count_dropped(1);
                if !self.state.failing.swap(true, Ordering::Relaxed) {
                    self.destination.fails(&error);
                }
            }
        }
    }

    /// Writes how many lines are lost, if any are.
    fn say_lost(&mut self) {
        self.unsaid += self.state.lost.swap(0, Ordering::Relaxed);
        if self.unsaid == 0 {
            return;
        }
        let words = match self.unsaid {
            1 => "1 line of this log could not be written before this one".to_owned(),
            lost => format!("{lost} lines of this log could not be written before this one"),
        };
        let line = self.style.line(
            Level::WARN,
            super::log_target::LOG,
            &words,
            Some(("lost", self.unsaid)),
        );
        if self.destination.write(line.as_bytes()).is_ok() {
            self.unsaid = 0;
            self.state.failing.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::logging::LogOutputs;
    use millpond::{Clock, SystemClock};
    use std::sync::{Condvar, Mutex};

    /// A destination that can be blocked, like a pipe that is not read.
    #[derive(Clone, Default)]
    struct BlockedPipe(Arc<(Held, Condvar)>);

    /// What was written, and whether further writes block.
    type Held = Mutex<(Vec<u8>, bool)>;

    impl BlockedPipe {
        fn block(&self, blocked: bool) {
            self.0.0.lock().unwrap().1 = blocked;
            self.0.1.notify_all();
        }

        fn text(&self) -> String {
            String::from_utf8(self.0.0.lock().unwrap().0.clone()).unwrap()
        }
    }

    impl LogDestination for BlockedPipe {
        fn write(&mut self, lines: &[u8]) -> io::Result<()> {
            let guard = self.0.0.lock().unwrap();
            let mut guard = self.0.1.wait_while(guard, |(_, blocked)| *blocked).unwrap();
            guard.0.extend_from_slice(lines);
            Ok(())
        }

        fn fails(&mut self, _: &io::Error) {}
    }

    #[test]
    fn an_unread_log_blocks_no_thread_and_reports_later_what_it_lost() {
        let pipe = BlockedPipe::default();
        let queue = LineQueue::start("log-test", pipe.clone(), LineStyle::Text, || {}).unwrap();
        pipe.block(true);
        let before = lost_lines::dropped_total();
        let added =
            (0..LINES_MAX + 100).filter(|n| queue.add(format!("{n}\n").into_bytes())).count();
        // The thread may be writing one line.
        assert!((LINES_MAX..=LINES_MAX + 1).contains(&added), "{added}");
        let lost = LINES_MAX + 100 - added;
        assert!(lost_lines::dropped_total() - before >= lost as u64);
        assert!(!queue.flush(), "and the end waits for a second only");
        pipe.block(false);
        // It is lost as well if the thread has not yet taken a line.
        let is_taken = queue.add(b"again\n".to_vec());
        let lost = lost + usize::from(!is_taken);
        assert!(queue.flush());
        let text = pipe.text();
        assert!(text.contains("of this log could not be written before this one"), "{text}");
        // Usually one line reports all; two if the thread began to report while more were lost.
        let said = text.split("lost=").skip(1).map(|rest| {
            let number: String = rest.chars().take_while(char::is_ascii_digit).collect();
            number.parse::<usize>().unwrap()
        });
        assert_eq!(said.sum::<usize>(), lost, "{text}");
    }

    #[test]
    fn panics_wait_for_their_line_where_it_is_written_and_not_where_unread() {
        let pipe = BlockedPipe::default();
        let queue = LineQueue::start("log-test", pipe.clone(), LineStyle::Text, || {}).unwrap();
        let clock = SystemClock::new();
        let outputs = LogOutputs { stderr: Some(queue.clone()), file: None, console: true };
        let panic = |n: usize| outputs.write_out(|| outputs.add(format!("{n}\n").as_bytes()));
        for n in 0..10 {
            let begun = clock.now();
            panic(n);
            // Unless this machine was suspended.
            assert!(clock.now() - begun < PANIC_FLUSH_WITHIN || queue.flush());
            assert_eq!(pipe.text().lines().count(), n + 1, "it is there when the thread goes on");
        }
        pipe.block(true);
        let begun = clock.now();
        (0..100).for_each(panic);
        let took = clock.now() - begun;
        assert!(took < 10 * PANIC_FLUSH_WITHIN, "the first waited, and no other: {took:?}");
        pipe.block(false);
        assert!(queue.flush());
        assert_eq!(pipe.text().lines().count(), 110);
    }

    #[test]
    fn a_line_of_any_length_passes_an_empty_queue_and_many_bytes_do_not_wait() {
        let pipe = BlockedPipe::default();
        let queue = LineQueue::start("log-test", pipe.clone(), LineStyle::Text, || {}).unwrap();
        assert!(queue.add(vec![b'x'; 2 * BYTES_MAX]));
        assert!(queue.flush());
        pipe.block(true);
        let added = (0..100).filter(|_| queue.add(vec![b'y'; BYTES_MAX / 4])).count();
        assert!((4..=5).contains(&added), "{added}");
        pipe.block(false);
    }
}
