//! Worker threads of the channel: for work that may wait for a disk and that no caller's thread does.

use crate::base::codes;
use crate::base::ids::StripeIndex;
use crate::base::lock_rank::LockRank;
use crate::base::threads;
use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread::JoinHandle;
use std::time::Duration;

/// The maximum of threads, for the channel and for each stripe: a stripe whose disk hangs may
/// occupy as many as the log allows hanging writes, one that reads, one that creates segments and
/// one that writes a checkpoint. Threads start only when work waits and none is idle, so there are
/// rarely more than two.
const WORKERS_MAX: usize = 4;
const WORKERS_PER_STRIPE_MAX: usize = 14;

/// A worker without work ends after this long.
const IDLE: Duration = Duration::from_secs(10);

/// A task of the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    /// Write the stripe's blocks while writes may start.
    Write(StripeIndex),
    /// Continue the window of a stripe before takers ask.
    ReadAhead,
    /// Maintain the space and the segments of a stripe.
    Maintain(StripeIndex),
    /// Begin a checkpoint if the state has changed.
    Checkpoint,
    /// Write the pair of slots with this index, for the checkpoint that requested it.
    Slot(usize),
}

/// What runs the tasks: the channel.
pub(super) trait RunTask: Send + Sync + 'static {
    /// Returns its pool.
    fn workers(&self) -> &Workers;

    /// Runs a task on this thread.
    fn run_task(self: &Arc<Self>, task: Task);
}

/// The pool: starts threads when work waits and ends them when none comes.
pub(super) struct Workers {
    /// Without threads: tasks wait until the channel's driver runs them.
    step_driven: bool,
    threads_max: usize,
    queue: Mutex<Queue>,
    work: Condvar,
    /// Simulates, in a test, that the system has no thread to spare.
    pub(super) refuse: std::sync::atomic::AtomicBool,
}

#[derive(Default)]
struct Queue {
    tasks: VecDeque<Task>,
    idle: usize,
    threads: Vec<JoinHandle<()>>,
    running: usize,
    ended: bool,
    /// A needed thread could not be started: the next submitted task tries again, also when it is
    /// queued already.
    owed: bool,
}

/// A running thread of the pool.
struct Counted<'w, R: RunTask> {
    runner: &'w Weak<R>,
}

impl<R: RunTask> Drop for Counted<'_, R> {
    fn drop(&mut self) {
        if let Some(runner) = self.runner.upgrade() {
            runner.workers().queue().running -= 1;
            runner.workers().work.notify_all();
        }
    }
}

impl Workers {
    pub(super) fn new(step_driven: bool, stripes: usize) -> Self {
        let threads_max = WORKERS_MAX + WORKERS_PER_STRIPE_MAX * stripes;
        Self {
            step_driven,
            threads_max,
            queue: Mutex::default(),
            work: Condvar::new(),
            refuse: false.into(),
        }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a task unless an equal one waits already, and ensures that a thread will run it.
    pub(super) fn submit_task<R: RunTask>(runner: &Arc<R>, task: Task) {
        let this = runner.workers();
        let _held = LockRank::Workers.enter();
        let mut queue = this.queue();
        let waits = queue.tasks.contains(&task);
        if queue.ended || (waits && !queue.owed) {
            return;
        }
        if !waits {
            queue.tasks.push_back(task);
        }
        if this.step_driven {
            return;
        }
        if queue.idle >= queue.tasks.len() {
            drop(queue);
            this.work.notify_one();
        } else if queue.running < this.threads_max {
            let weak = Arc::downgrade(runner);
            queue.threads.retain(|thread| !thread.is_finished());
            // Without a new thread the task waits for the running ones. There may be none, so the
            // start is retried with the next task, which maintenance submits within a second.
            match this.spawn(move || Self::run(&weak)) {
                Ok(thread) => {
                    queue.running += 1;
                    queue.threads.push(thread);
                    queue.owed &= queue.tasks.len() > queue.idle + 1;
                }
                Err(error) => {
                    if !std::mem::replace(&mut queue.owed, true) {
                        drop(queue);
                        tracing::warn!(
                            code = %codes::THREAD_REFUSED,
                            "no thread could be started: {error}; work on the channel's disks waits, and it is tried again; raise the limit of processes"
                        );
                    }
                }
            }
        }
    }

    /// Simulates that the system has no thread to spare from now on, and that running ones have
    /// ended.
    #[cfg(test)]
    pub(super) fn refuse_threads(&self) {
        self.refuse.store(true, std::sync::atomic::Ordering::SeqCst);
        self.queue().ended = true;
        self.work.notify_all();
        let all = self.work.wait_while(self.queue(), |queue| queue.running > 0);
        all.unwrap_or_else(PoisonError::into_inner).ended = false;
    }

    fn spawn(&self, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
        if self.refuse.load(std::sync::atomic::Ordering::SeqCst) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        threads::spawn("millpond-io", run)
    }

    /// Returns the next task, for a driver without threads.
    pub(super) fn next(&self) -> Option<Task> {
        self.queue().tasks.pop_front()
    }

    fn run<R: RunTask>(runner: &Weak<R>) {
        // Counted down also when a task panics.
        let _counted = Counted { runner };
        while let Some(runner) = runner.upgrade() {
            let this = runner.workers();
            let mut queue = this.queue();
            if queue.tasks.is_empty() && !queue.ended {
                queue.idle += 1;
                let waited = this.work.wait_timeout(queue, IDLE);
                let (mut back, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                back.idle -= 1;
                if timeout.timed_out() && back.tasks.is_empty() {
                    drop(back);
                    return;
                }
                queue = back;
            }
            if queue.ended {
                return;
            }
            let task = queue.tasks.pop_front();
            drop(queue);
            if let Some(task) = task {
                runner.run_task(task);
            }
        }
    }

    /// Ends the threads and waits for them, at most `wait_max`: a thread in a write that hangs ends
    /// when that returns.
    pub(super) fn end(&self, wait_max: Duration) {
        let mut queue = self.queue();
        queue.ended = true;
        queue.tasks.clear();
        let mut threads = std::mem::take(&mut queue.threads);
        self.work.notify_all();
        let me = std::thread::current().id();
        threads.retain(|thread| thread.thread().id() != me);
        let left = queue.running.saturating_sub(threads.len());
        let waited = self.work.wait_timeout_while(queue, wait_max, |queue| queue.running > left);
        let in_time = waited.is_ok_and(|(_, timeout)| !timeout.timed_out());
        for thread in threads {
            if in_time || thread.is_finished() {
                // A worker that panicked has reported it; its task is reported by its guard.
                let _ = thread.join();
            }
        }
    }
}
