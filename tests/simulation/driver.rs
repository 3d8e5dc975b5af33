//! Runs one channel on one simulated disk, step by step, and notifies the oracle.

mod judge;

use crate::mutants;
use crate::oracle::{CommitResult, Oracle, PutId, TakeId};
use crate::workload::{Ending, Op, Setup};
use millpond::internal::channel::file::{StartedWrite, StepDriver};
use millpond::internal::disk::Disk;
use millpond::internal::recovery;
use millpond::{
    BoxFuture, Channel, CommitError, Event, FileChannel, FileChannelOptions, ManualClock,
    OpenError, PutTransaction, TakeError, TakeTransaction,
};
use millpond_sim::disk::{Completion, SimDisk, SimOptions};
use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How long a write may take before it counts as hung.
pub(crate) const WRITE_TIMEOUT: Duration = Duration::from_secs(20);

/// Rounds within which a channel without faults must have completed everything.
const ROUNDS_MAX: usize = 400;

type Took = (Box<dyn TakeTransaction>, Result<Vec<Event>, TakeError>);

/// A call that has not returned.
enum Call {
    Put(PutId, BoxFuture<'static, Result<(), CommitError>>),
    Ack(TakeId, BoxFuture<'static, Result<(), CommitError>>),
    Take(TakeId, Pin<Box<dyn Future<Output = Took> + Send>>),
}

/// Why a run cannot continue as it is.
#[derive(Clone, Debug)]
pub(crate) enum Stop {
    /// The simulated machine has stopped.
    Crashed,
    /// The channel broke a promise.
    Violation(String),
}

pub(crate) type Step<T = ()> = Result<T, Stop>;

fn wrong<T>(words: impl Into<String>) -> Step<T> {
    Err(Stop::Violation(words.into()))
}

/// A machine with a disk and, while it is open, a channel.
pub(crate) struct Driver {
    pub(crate) setup: Setup,
    pub(crate) disk: SimDisk,
    pub(crate) oracle: Oracle,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) opens: u64,
    /// Whether no call to the disk has failed since the channel was opened.
    pub(crate) calm: bool,
    /// Whether some opening ever succeeded: from then on every one must.
    pub(crate) born: bool,
    /// Stripes whose directories are missing.
    pub(crate) away: BTreeSet<usize>,
    open: Option<Open>,
}

/// An open channel and what is under way on it.
struct Open {
    channel: FileChannel,
    stepper: StepDriver,
    calls: Vec<Call>,
    takes: Vec<(TakeId, Box<dyn TakeTransaction>)>,
    writes: Vec<(usize, StartedWrite)>,
    hung: Vec<(usize, StartedWrite)>,
}

pub(crate) fn data_dir(stripe: usize) -> PathBuf {
    PathBuf::from(format!("/data{stripe}"))
}

impl Driver {
    pub(crate) fn new(setup: Setup) -> Self {
        let disk = SimDisk::new(SimOptions {
            model: setup.model,
            torn_block: setup.torn_block,
            shift_bytes: setup.shift_bytes,
            direct: setup.direct,
            pending: setup.pending,
            allocates: setup.allocates,
            mutant: setup.mutant.or_else(mutants::disk_mutation),
            ..SimOptions::new(setup.seed)
        });
        Self::on(disk, setup, Oracle::default(), false, 0)
    }

    fn on(disk: SimDisk, setup: Setup, oracle: Oracle, born: bool, opens: u64) -> Self {
        let clock = Arc::new(ManualClock::default());
        clock.advance(Duration::from_secs(1));
        let away = BTreeSet::new();
        Self { setup, disk, oracle, clock, opens, calm: true, born, away, open: None }
    }

    /// Returns the same user with another disk: one that a crash left of this one.
    pub(crate) fn over(&self, disk: SimDisk) -> Self {
        let oracle = self.oracle.clone();
        let away = self.away.clone();
        Self { away, ..Self::on(disk, self.setup.clone(), oracle, self.born, self.opens) }
    }

    /// Returns the same user as if the machine stopped now; the machine continues.
    pub(crate) fn fork(&self) -> Self {
        let mut ghost = self.over(self.disk.clone());
        ghost.calm = self.calm;
        ghost.die();
        ghost
    }

    /// Drops everything the process had, without a call to the disk that is left.
    pub(crate) fn die(&mut self) {
        if self.open.is_some() {
            // A channel that is dropped closes in order.
            self.disk.stop();
        }
        self.end();
    }

    fn end(&mut self) {
        self.open = None;
        self.oracle.parting.steady &= self.calm;
        self.oracle.process_died();
    }

    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Counts calls that have not returned, open takes, and writes in flight.
    pub(crate) fn under_way(&self) -> (usize, usize, usize) {
        let counts = |open: &Open| (open.calls.len(), open.takes.len(), open.writes.len());
        self.open.as_ref().map(counts).unwrap_or_default()
    }

    pub(crate) fn options(&self) -> FileChannelOptions {
        let setup = &self.setup;
        let mut options = FileChannelOptions::new("/checkpoint", (0..setup.stripes).map(data_dir));
        options.capacity = setup.capacity;
        options.transaction_capacity = usize::try_from(setup.capacity).unwrap_or(usize::MAX);
        options.checkpoint_interval = setup.checkpoint_interval;
        options.segment_bytes = setup.segment_bytes;
        options.minimum_required_space = setup.minimum_required_space;
        options.keep_alive = setup.keep_alive;
        options.hot_window_bytes = setup.hot_window_bytes;
        options.write_timeout = WRITE_TIMEOUT;
        options.open_degraded = !self.away.is_empty();
        options
            .with_disk(Arc::new(self.disk.clone()))
            .with_clock(Arc::<ManualClock>::clone(&self.clock))
            .step_driven(setup.seed ^ self.opens.wrapping_mul(0x9e37_79b9))
    }

    /// Opens the channel. If segment files are missing, this must be refused first, with nothing changed, and only if
    /// files were damaged; then the channel is opened with the option to continue without them.
    fn open_or_go_without(&mut self) -> Step<Result<FileChannel, OpenError>> {
        let harmed = self.oracle.rotten;
        // What a failed sync has lost may disappear with the first read.
        let before = harmed.then(|| (all_of(&self.disk), all_of(&self.disk)).1);
        let missing = match FileChannel::open(self.options()) {
            Err(OpenError::Recovery(recovery::RecoveryError::SegmentsMissing { missing })) => {
                missing
            }
            other => return Ok(other),
        };
        if self.disk.crashed() {
            return Err(Stop::Crashed);
        }
        if before.is_none_or(|before| before != all_of(&self.disk)) {
            return wrong(format!("refused for {missing:?}; harmed: {harmed}, or files changed"));
        }
        let mut options = self.options();
        options.open_without_missing_segments = true;
        Ok(FileChannel::open(options))
    }

    /// Opens the channel and judges its content. Returns false if a faulty disk refused.
    pub(crate) fn open(&mut self) -> Step<bool> {
        self.opens += 1;
        self.oracle.opening(&self.away);
        let channel = match self.open_or_go_without()? {
            Ok(channel) => channel,
            Err(_) if self.disk.crashed() => return Err(Stop::Crashed),
            Err(_) if !self.calm => return Ok(false),
            Err(error) => return wrong(format!("cannot open: {error}")),
        };
        if self.disk.crashed() {
            return Err(Stop::Crashed);
        }
        self.born = true;
        if self.opens.is_multiple_of(4) && FileChannel::open(self.options()).is_ok() {
            return wrong("a second channel opened the same directories");
        }
        let stepper = channel.step_driver();
        self.open = Some(Open {
            channel,
            stepper,
            calls: Vec::new(),
            takes: Vec::new(),
            writes: Vec::new(),
            hung: Vec::new(),
        });
        if self.calm {
            self.judge()?;
        }
        Ok(true)
    }

    fn opened(&mut self) -> &mut Open {
        self.open.as_mut().expect("the workload opens the channel before it uses it")
    }

    fn verdict(result: Result<(), String>) -> Step {
        result.map_err(Stop::Violation)
    }

    /// Runs one step and judges its result.
    pub(crate) fn step(&mut self, op: &Op) -> Step {
        self.perform(op)?;
        if self.disk.crashed() {
            return Err(Stop::Crashed);
        }
        if self.is_open() { self.look_at_frontiers() } else { Ok(()) }
    }

    fn perform(&mut self, op: &Op) -> Step {
        match *op {
            Op::Put { count, size, source } => self.put(count, size, source),
            Op::PutRollback { count, size } => self.roll_back_put(count, size),
            Op::DropCall { at } => self.drop_call(at),
            Op::Take { max } => self.start_take(None, max),
            Op::TakeMore { at, max } => self.start_take(Some(at), max),
            Op::Ack { at } => self.acknowledge(at),
            Op::TakeRollback { at } => self.roll_back_take(at),
            Op::StartWrite { stripe } => {
                let started = self.opened().stepper.start_write(stripe);
                self.opened().writes.extend(started.map(|write| (stripe, write)));
                Ok(())
            }
            Op::EndWrite { at, ending } => self.end_write(at, ending),
            Op::EndHung { at } => {
                let open = self.opened();
                if !open.hung.is_empty() {
                    crate::coverage::count_fault("a write ends late");
                    let (_, mut write) = open.hung.remove(at % open.hung.len());
                    let result = write.finish();
                    open.stepper.report(write, result);
                }
                Ok(())
            }
            Op::Keep => {
                self.opened().stepper.keep();
                Ok(())
            }
            Op::Tasks => {
                self.opened().stepper.run_tasks();
                Ok(())
            }
            Op::Checkpoint => {
                let done = self.opened().channel.checkpoint();
                if done.is_err() && self.calm && !self.disk.crashed() {
                    return wrong(format!("no checkpoint on a sound disk: {done:?}"));
                }
                Ok(())
            }
            Op::Advance { ms } => {
                let open = self.opened();
                if ms >= 1000 && !(open.calls.is_empty() && open.writes.is_empty()) {
                    // Whatever is under way may now be taken for hung.
                    self.calm = false;
                }
                self.clock.advance(Duration::from_millis(ms));
                Ok(())
            }
            Op::Poll => self.poll(|_| true),
            Op::PollSome { odd } => self.poll(|at| at % 2 == usize::from(odd)),
            Op::Fail(ref fault) => {
                self.calm = false;
                self.disk.fail(fault.clone());
                Ok(())
            }
            Op::Capacity { stripe, more } => self.limit_space(stripe, more),
            Op::Heal => self.heal(),
            Op::Settle => self.finish_all(),
            Op::Close => self.close(),
        }
    }

    fn put(&mut self, count: usize, size: usize, source: Option<usize>) -> Step {
        let eager = self.setup.eager_sources;
        let source = source.filter(|s| !self.oracle.source_is_busy(*s, eager));
        if count == 0 && source.is_none() {
            return Ok(());
        }
        let put = self.oracle.begin_put(count, size, source);
        let mut tx = self.opened().channel.begin_put();
        if !self.fill(&mut tx, put, source) {
            return Ok(());
        }
        self.oracle.ask(put);
        let call = tx.commit_async();
        let call = Box::pin(async move { call.await.map_err(CommitError::from) });
        self.opened().calls.push(Call::Put(put, call));
        let last = self.opened().calls.len() - 1;
        self.poll(|at| at == last)
    }

    /// Fills a transaction; returns whether everything fitted.
    fn fill(
        &mut self,
        tx: &mut Box<dyn PutTransaction>,
        put: PutId,
        source: Option<usize>,
    ) -> bool {
        if let Some(source) = source {
            tx.set_source_offset(&format!("source {source}"), Oracle::position(put));
        }
        self.oracle.events(put).into_iter().all(|event| tx.put(event).is_ok())
    }

    fn roll_back_put(&mut self, count: usize, size: usize) -> Step {
        let put = self.oracle.begin_put(count, size, None);
        let mut tx = self.opened().channel.begin_put();
        self.fill(&mut tx, put, None);
        if count.is_multiple_of(2) {
            tx.rollback();
        }
        Ok(())
    }

    /// Drops a call without waiting for its result.
    fn drop_call(&mut self, at: usize) -> Step {
        let open = self.opened();
        if open.calls.is_empty() {
            return Ok(());
        }
        match open.calls.remove(at % open.calls.len()) {
            Call::Put(put, _) => {
                Self::verdict(self.oracle.put_returned(put, CommitResult::InDoubt))
            }
            // Whatever its outcome, its events must not be lent before.
            Call::Ack(..) => Ok(()),
            Call::Take(take, _) => {
                self.oracle.return_events(take);
                Ok(())
            }
        }
    }

    fn start_take(&mut self, at: Option<usize>, max: usize) -> Step {
        let open = self.open.as_mut().expect("open");
        let (take, mut tx) = match at {
            Some(at) if !open.takes.is_empty() => open.takes.swap_remove(at % open.takes.len()),
            _ => (self.oracle.begin_take(), open.channel.begin_take()),
        };
        let call = Box::pin(async move {
            let result = tx.take_async(max).await;
            (tx, result)
        });
        open.calls.push(Call::Take(take, call));
        let last = open.calls.len() - 1;
        self.poll(|at| at == last)
    }

    fn acknowledge(&mut self, at: usize) -> Step {
        let open = self.open.as_mut().expect("open");
        if open.takes.is_empty() {
            return Ok(());
        }
        let (take, tx) = open.takes.remove(at % open.takes.len());
        self.oracle.ask_take(take);
        open.calls.push(Call::Ack(take, tx.commit_async()));
        let last = open.calls.len() - 1;
        self.poll(|at| at == last)
    }

    fn roll_back_take(&mut self, at: usize) -> Step {
        let open = self.open.as_mut().expect("open");
        if open.takes.is_empty() {
            return Ok(());
        }
        let (take, tx) = open.takes.remove(at % open.takes.len());
        tx.rollback();
        self.oracle.return_events(take);
        Ok(())
    }

    fn end_write(&mut self, at: usize, ending: Ending) -> Step {
        let open = self.open.as_mut().expect("open");
        if open.writes.is_empty() {
            return Ok(());
        }
        let (stripe, mut write) = open.writes.remove(at % open.writes.len());
        match ending {
            Ending::Hangs if write.token().is_some() => {
                self.calm = false;
                crate::coverage::count_fault("a write hangs");
                open.hung.push((stripe, write));
                return Ok(());
            }
            Ending::Fails(effect) => {
                if let Some(token) = write.token() {
                    self.calm = false;
                    self.disk.complete(token, Completion::Failed(io::ErrorKind::Other, effect));
                }
            }
            Ending::Good | Ending::Hangs => {}
        }
        let result = write.finish();
        open.stepper.report(write, result);
        Ok(())
    }

    fn limit_space(&mut self, stripe: usize, more: u64) -> Step {
        let path = data_dir(stripe % self.setup.stripes);
        let space = self.disk.open_dir(&path, false).and_then(|dir| dir.space());
        if let Ok(space) = space {
            let used = space.total_bytes - space.available_bytes;
            // The directory exists, since its space was reported.
            let _ = self.disk.set_capacity(&path, used + more);
        }
        Ok(())
    }

    /// Polls the calls that `which` selects, as long as one of them completes.
    fn poll(&mut self, which: impl Fn(usize) -> bool) -> Step {
        if self.disk.crashed() {
            return Err(Stop::Crashed);
        }
        let calls = std::mem::take(&mut self.opened().calls);
        let mut left = Vec::new();
        let mut result = Ok(());
        for (at, call) in calls.into_iter().enumerate() {
            if result.is_err() || !which(at) {
                left.push(call);
                continue;
            }
            match self.look(call) {
                Ok(call) => left.extend(call),
                Err(stop) => result = Err(stop),
            }
        }
        self.opened().calls = left;
        result
    }

    fn look(&mut self, call: Call) -> Step<Option<Call>> {
        let mut context = Context::from_waker(Waker::noop());
        match call {
            Call::Put(put, mut future) => match future.as_mut().poll(&mut context) {
                Poll::Pending => Ok(Some(Call::Put(put, future))),
                Poll::Ready(_) if self.disk.crashed() => Err(Stop::Crashed),
                Poll::Ready(answer) => {
                    let result = match answer {
                        Ok(()) => CommitResult::Committed,
                        Err(CommitError::Refused(_)) => CommitResult::Refused,
                        Err(doubt) => {
                            self.is_doubt_expected(&doubt)?;
                            CommitResult::InDoubt
                        }
                    };
                    Self::verdict(self.oracle.put_returned(put, result)).map(|()| None)
                }
            },
            Call::Ack(take, mut future) => match future.as_mut().poll(&mut context) {
                Poll::Pending => Ok(Some(Call::Ack(take, future))),
                Poll::Ready(_) if self.disk.crashed() => Err(Stop::Crashed),
                Poll::Ready(Ok(())) => {
                    self.oracle.parting.steady &= self.calm;
                    Self::verdict(self.oracle.taken(take)).map(|()| None)
                }
                Poll::Ready(Err(CommitError::Refused(_))) => {
                    self.oracle.return_events(take);
                    Ok(None)
                }
                Poll::Ready(Err(doubt)) => self.is_doubt_expected(&doubt).map(|()| None),
            },
            Call::Take(take, mut future) => match future.as_mut().poll(&mut context) {
                Poll::Pending => Ok(Some(Call::Take(take, future))),
                Poll::Ready(_) if self.disk.crashed() => Err(Stop::Crashed),
                Poll::Ready((tx, result)) => {
                    if let Ok(events) = result {
                        if crate::random::verbose() {
                            eprintln!(
                                "    delivered {:?}",
                                events.iter().map(crate::oracle::name_of).collect::<Vec<_>>()
                            );
                        }
                        Self::verdict(self.oracle.delivered(take, &events, self.calm))?;
                    } else if self.calm && matches!(result, Err(TakeError::Unreadable(_))) {
                        return wrong(format!("a sound disk is unreadable: {result:?}"));
                    }
                    self.opened().takes.push((take, tx));
                    Ok(None)
                }
            },
        }
    }

    fn is_doubt_expected(&self, cause: &CommitError) -> Step {
        if self.calm { wrong(format!("on a sound disk {cause}")) } else { Ok(()) }
    }

    /// Repairs the disk and gives it room.
    fn heal(&mut self) -> Step {
        self.disk.clear_faults();
        self.calm |= self.open.is_none();
        for stripe in 0..self.setup.stripes {
            // Before the first opening the directory does not exist.
            let _ = self.disk.set_capacity(&data_dir(stripe), 1 << 30);
        }
        Ok(())
    }

    /// Lets everything under way complete. Without faults it must.
    fn finish_all(&mut self) -> Step {
        for round in 0..ROUNDS_MAX {
            let open = self.open.as_mut().expect("open");
            for (_, mut write) in open.writes.drain(..) {
                let result = write.finish();
                open.stepper.report(write, result);
            }
            open.stepper.run_tasks();
            self.poll(|_| true)?;
            let waits = |call: &Call| !matches!(call, Call::Take(..));
            if !self.opened().calls.iter().any(waits) {
                return self.count();
            }
            if round.is_multiple_of(2) {
                self.opened().stepper.keep();
                // A write that hangs is given up after a while, and then what moved needs as long.
                let pause = if round < ROUNDS_MAX / 4 { 50 } else { 1000 };
                self.clock.advance(Duration::from_millis(pause));
            }
        }
        wrong("calls hang")
    }

    /// Checks the counts when nothing is under way.
    fn count(&mut self) -> Step {
        let unsure = self.oracle.rotten || self.oracle.parting.degraded;
        if !self.calm || !self.oracle.is_certain() || unsure {
            return Ok(());
        }
        let (held, status) = (self.oracle.held(), self.opened().channel.status());
        let counted = status.events + status.out_of_reach;
        if counted != held {
            return wrong(format!("{held} events are held, {counted} are counted: {status:?}"));
        }
        Ok(())
    }

    /// Stops the channel in order.
    fn close(&mut self) -> Step {
        let open = self.open.as_mut().expect("open");
        for (_, mut write) in open.writes.drain(..) {
            let result = write.finish();
            open.stepper.report(write, result);
        }
        let closed = open.channel.close();
        if self.disk.crashed() {
            return Err(Stop::Crashed);
        }
        if let (Err(error), true) = (closed, self.calm) {
            return wrong(format!("cannot close: {error}"));
        }
        self.poll(|_| true)?;
        self.end();
        Ok(())
    }
}

/// Returns every file and its content. A name that became durable, or a created lock file, does not count as a change.
pub(crate) fn all_of(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let whole = |file: PathBuf| {
        let bytes = disk.contents(&file).expect("listed");
        (file, bytes)
    };
    let files = disk.files().into_iter();
    files.filter(|file| !file.ends_with("in_use.lock")).map(whole).collect()
}
