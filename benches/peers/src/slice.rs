//! One store in one cell, in a process of its own: so that memory, processor time and crashes are
//! apart. The driver in Java does the same for Flume's channel; what both print is a [`Slice`].

use crate::bodies::{Pool, Tally, sum};
use crate::latency::Latencies;
use crate::machine::{self, Used};
use crate::plan::{Cell, Workload};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use stores::{Failure, Flow, Setup, Store};

#[cfg(test)]
mod tests;

/// Events of a transaction that is not measured.
const LOAD_BATCH: usize = 1000;

/// Bytes of one at most.
const LOAD_BYTES: usize = 4 << 20;

/// How long a taker that finds nothing leaves the others alone.
const PAUSE: Duration = Duration::from_micros(100);

/// What a process is started for.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Task {
    #[arg(long)]
    pub(crate) store: String,
    #[arg(long)]
    pub(crate) cell: Cell,
    #[arg(long, value_delimiter = ',')]
    pub(crate) dirs: Vec<PathBuf>,
    #[arg(long)]
    pub(crate) seconds: f64,
    /// Of bodies, at most
    #[arg(long)]
    pub(crate) bytes: u64,
    /// Only put what a cold cell begins with
    #[arg(long)]
    pub(crate) fill: bool,
}

/// What was measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Slice {
    /// Events put while it was measured.
    pub(crate) put: u64,
    /// Events taken while it was measured.
    pub(crate) taken: u64,
    /// How long it was measured.
    pub(crate) seconds: f64,
    /// Of a put with its commit: p50, p99, p99.9 and the longest, microseconds.
    pub(crate) put_us: [f64; 4],
    /// Of a take with its commit.
    pub(crate) take_us: [f64; 4],
    /// Of the whole process while it was measured, microseconds.
    pub(crate) cpu_us: f64,
    /// Bytes that the process made the kernel write.
    pub(crate) written: u64,
    /// Bytes that all processes wrote to the device, where that can be read.
    pub(crate) device: Option<u64>,
    /// Bytes that the file system had given to the store's files at the end.
    pub(crate) on_disk: u64,
    /// Largest resident memory while it was measured, bytes.
    pub(crate) peak: u64,
    /// Events that were counted and compared with what was put.
    pub(crate) verified: u64,
}

pub(crate) fn run(task: &Task) -> Result<Slice, Failure> {
    measure(task, &|setup| stores::open(&task.store, setup))
}

type Opener<'a> = dyn Fn(&Setup) -> Result<Box<dyn Store>, Failure> + 'a;

fn measure(task: &Task, opener: &Opener<'_>) -> Result<Slice, Failure> {
    let pool = Pool::new(task.cell.body);
    let waiting = task.cell.waiting(task.bytes);
    let place = Place { task, opener, pool: &pool, waiting };
    if task.fill {
        let store = place.open(true)?;
        store.settle();
        place.load(store.as_ref())?;
        store.close()?;
        return Ok(Slice { verified: waiting, ..Slice::default() });
    }
    match task.cell.workload {
        Workload::Cold => place.cold(),
        _ => place.warm(),
    }
}

struct Place<'a> {
    task: &'a Task,
    opener: &'a Opener<'a>,
    pool: &'a Pool,
    /// Events that wait when it begins.
    waiting: u64,
}

impl Place<'_> {
    fn open(&self, fresh: bool) -> Result<Box<dyn Store>, Failure> {
        let cell = self.task.cell;
        let bodies =
            self.waiting * cell.body as u64 + cell.budget(self.task.bytes, self.task.seconds);
        // What stores keep in addition to each body.
        let ready = bodies + bodies / cell.body as u64 * 48;
        let hot = if cell.workload == Workload::Hot { ready } else { 0 };
        let ready = if fresh { ready } else { 0 };
        let flow = Flow { ready_bytes: ready, hot_bytes: hot, takers: cell.takes() || !fresh };
        let setup = Setup { dirs: self.task.dirs.clone(), lanes: cell.threads, flow: Some(flow) };
        (self.opener)(&setup)
    }

    fn load(&self, store: &dyn Store) -> Result<Tally, Failure> {
        let batch = LOAD_BATCH.min(LOAD_BYTES / self.task.cell.body).max(1) as u64;
        let (mut bodies, mut done, mut lane) = (Vec::new(), 0, 0);
        let mut tally = Tally::default();
        while done < self.waiting {
            let count = batch.min(self.waiting - done);
            tally = tally.join(self.pool.fill(&mut bodies, done, count as usize));
            store.put(lane, &bodies)?;
            lane = (lane + 1) % self.task.cell.threads;
            done += count;
        }
        Ok(tally)
    }

    /// The store is new in this process.
    fn warm(&self) -> Result<Slice, Failure> {
        let store = self.open(true)?;
        store.settle();
        let loaded = self.load(store.as_ref())?;
        store.settle();
        machine::forget_peak();
        let before = self.used();
        let window = self.window(store.as_ref(), None)?;
        let mut slice = self.slice(&window, before)?;
        let put = loaded.join(window.put);
        if self.task.cell.workload == Workload::Produce {
            // What was measured must be found by the next process.
            store.close()?;
            let store = self.open(false)?;
            let came = self.drain(store.as_ref())?;
            put.against(came)?;
        } else {
            put.against(window.taken.join(self.drain(store.as_ref())?))?;
            store.close()?;
        }
        slice.verified = put.events;
        Ok(slice)
    }

    /// Another process has left it, and the page cache has forgotten it.
    fn cold(&self) -> Result<Slice, Failure> {
        machine::forget_peak();
        let (before, began) = (self.used(), Instant::now());
        let store = self.open(false)?;
        let window = self.window(store.as_ref(), Some(began))?;
        let mut slice = self.slice(&window, before)?;
        let put = self.pool.tally(self.waiting);
        put.against(window.taken.join(self.drain(store.as_ref())?))?;
        store.close()?;
        slice.verified = put.events;
        Ok(slice)
    }

    fn used(&self) -> Used {
        Used::now(&self.task.dirs[0])
    }

    fn slice(&self, window: &Window, before: Used) -> Result<Slice, Failure> {
        let used = self.used().since(before);
        let peak = machine::peak_bytes();
        let on_disk: u64 =
            self.task.dirs.iter().map(|dir| machine::bytes_below(dir)).sum::<Result<_, _>>()?;
        Ok(Slice {
            put: window.put.events,
            taken: window.taken.events,
            seconds: window.seconds,
            put_us: window.puts.figures(),
            take_us: window.takes.figures(),
            cpu_us: used.cpu_us,
            written: used.written,
            device: used.device,
            on_disk,
            peak,
            verified: 0,
        })
    }

    /// Everything that is left, compared byte for byte.
    fn drain(&self, store: &dyn Store) -> Result<Tally, Failure> {
        let (mut tally, mut strange) = (Tally::default(), 0_u64);
        let mut lane = 0;
        loop {
            let mut deliver = |body: &[u8]| {
                tally.add(sum(body));
                strange += u64::from(!self.pool.knows(body));
            };
            // A batch of its own size, but that many small ones would take for ever.
            let most = self.task.cell.batch.max(LOAD_BATCH);
            if store.take(lane, most, &mut deliver)? == 0 {
                break;
            }
            lane = (lane + 1) % self.task.cell.threads;
        }
        match strange {
            0 => Ok(tally),
            _ => Err(format!("{strange} events came out that were not put").into()),
        }
    }
}

/// What the threads did.
#[derive(Default)]
struct Window {
    put: Tally,
    taken: Tally,
    puts: Latencies,
    takes: Latencies,
    seconds: f64,
}

/// What the threads share.
struct Shared<'a> {
    store: &'a dyn Store,
    pool: &'a Pool,
    cell: Cell,
    start: Barrier,
    stop: AtomicBool,
    /// Events that may still be put.
    left: AtomicU64,
}

/// What one thread did.
struct Share {
    tally: Tally,
    latencies: Latencies,
    /// When it began: on a busy machine that may be long before the thread that let it begin goes on.
    begin: Instant,
    /// When its last transaction was answered.
    end: Instant,
}

impl Place<'_> {
    /// `began`: when the clock of a cold store began; `None`: it begins with the first thread.
    fn window(&self, store: &dyn Store, began: Option<Instant>) -> Result<Window, Failure> {
        let cell = self.task.cell;
        let budget = cell.budget(self.task.bytes, self.task.seconds);
        let putters = if cell.puts() { cell.threads } else { 0 };
        let takers = if cell.takes() { cell.threads } else { 0 };
        let shared = Shared {
            store,
            pool: self.pool,
            cell,
            start: Barrier::new(putters + takers + 1),
            stop: AtomicBool::new(false),
            left: AtomicU64::new(budget / cell.body as u64),
        };
        let mut window = Window::default();
        std::thread::scope(|scope| {
            let shared = &shared;
            let work = |takes: bool, lane: usize| move || shared.work(takes, lane);
            let spawn = |takes| move |lane| (takes, scope.spawn(work(takes, lane)));
            let putting = (0..putters).map(spawn(false));
            let threads: Vec<_> = putting.chain((0..takers).map(spawn(true))).collect();
            shared.start.wait();
            let end = Instant::now() + Duration::from_secs_f64(self.task.seconds);
            while Instant::now() < end && !threads.iter().any(|(_, t)| t.is_finished()) {
                std::thread::sleep(Duration::from_millis(1));
            }
            // Takes end by themselves when nothing is left, puts when they have used their bytes.
            if cell.puts() || Instant::now() >= end {
                shared.stop.store(true, Ordering::Relaxed);
            }
            let (mut first, mut last) = (began, None);
            for (takes, thread) in threads {
                let share = thread.join().map_err(|_| "a thread panicked")??;
                first = Some(first.map_or(share.begin, |first| first.min(share.begin)));
                last = last.max(Some(share.end));
                if takes {
                    window.taken = window.taken.join(share.tally);
                    window.takes.join(share.latencies);
                } else {
                    window.put = window.put.join(share.tally);
                    window.puts.join(share.latencies);
                }
            }
            let (first, last) = first.zip(last).ok_or("there were no threads")?;
            window.seconds = last.duration_since(first).as_secs_f64();
            Ok(window)
        })
    }
}

impl Shared<'_> {
    fn work(&self, takes: bool, lane: usize) -> Result<Share, Failure> {
        self.start.wait();
        let share = if takes { self.take(lane) } else { self.put(lane) };
        if share.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        share
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn put(&self, lane: usize) -> Result<Share, Failure> {
        let (mut bodies, mut first) = (Vec::with_capacity(self.cell.batch), lane as u64 * 131);
        let (mut tally, mut latencies) = (Tally::default(), Latencies::default());
        let begin = Instant::now();
        let mut end = begin;
        let batch = self.cell.batch as u64;
        while !self.stopped() && take_from(&self.left, batch) {
            let began = Instant::now();
            let put = self.pool.fill(&mut bodies, first, self.cell.batch);
            self.store.put(lane, &bodies)?;
            end = Instant::now();
            latencies.add(end - began);
            tally = tally.join(put);
            first += batch;
        }
        Ok(Share { tally, latencies, begin, end })
    }

    fn take(&self, lane: usize) -> Result<Share, Failure> {
        let (mut tally, mut latencies) = (Tally::default(), Latencies::default());
        let begin = Instant::now();
        let mut end = begin;
        while !self.stopped() {
            let began = Instant::now();
            let mut deliver = |body: &[u8]| tally.add(sum(body));
            if self.store.take(lane, self.cell.batch, &mut deliver)? > 0 {
                end = Instant::now();
                latencies.add(end - began);
            } else if self.cell.puts() {
                std::thread::sleep(PAUSE);
            } else {
                break;
            }
        }
        Ok(Share { tally, latencies, begin, end })
    }
}

/// Whether there were `count` left.
fn take_from(left: &AtomicU64, count: u64) -> bool {
    let less = |left: u64| left.checked_sub(count);
    left.try_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
}

/// As the parent reads it: one line.
pub(crate) fn say(slice: &Result<Slice, Failure>) -> String {
    let line = match slice {
        Ok(slice) => serde_json::to_string(slice),
        Err(error) => serde_json::to_string(&serde_json::json!({ "failed": error.to_string() })),
    };
    line.unwrap_or_else(|error| error.to_string())
}

/// What a process said last.
pub(crate) fn heard(text: &str) -> Result<Slice, String> {
    let line = text.lines().last().ok_or("it said nothing")?;
    let value: serde_json::Value =
        serde_json::from_str(line).map_err(|_| format!("it said {line:?}"))?;
    match value.get("failed") {
        Some(words) => Err(words.as_str().unwrap_or("it failed").to_owned()),
        None => serde_json::from_value(value).map_err(|error| format!("{error}: {line:?}")),
    }
}
