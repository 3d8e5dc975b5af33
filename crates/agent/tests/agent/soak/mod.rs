//! Two agents for a long time, lines from one to the other by avro, with faults throughout: kills,
//! a sink whose server hangs or is down, a full disk, bursts. Nothing acknowledged may be lost, the
//! channels' counts must balance each second, and memory and descriptors must not grow.
//!
//! `MILLPOND_SOAK_SECONDS` is how long, a few seconds without it; `MILLPOND_SOAK_PLOT` is the file
//! of a drawing of the run. `.ci/soak` runs it for half an hour.

mod faults;
mod lines;
mod samples;

use super::full_disk::SmallDisk;
use super::process::{Agent, Random, free_port, fresh_seed, until};
use faults::{Faults, Stage};
use lines::{Client, Outlet};
use samples::{Samples, Watched};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Events of a batch.
const BATCH: u64 = 100;
/// Without `MILLPOND_SOAK_SECONDS`: each fault once.
const SECONDS: u64 = 8;
/// Runs shorter than this say nothing about growth: the first minute fills caches.
const TELLING_SECONDS: u64 = 120;
/// MiB of the disk that gets full.
const DISK_MIB: u32 = 384;

fn front(ports: [u16; 2], data: &str) -> String {
    let [netcat, avro] = ports;
    format!(
        "front.sources = in\nfront.channels = c\nfront.sinks = out\n\
         front.sources.in.type = netcat\nfront.sources.in.bind = 127.0.0.1\n\
         front.sources.in.port = {netcat}\nfront.sources.in.channels = c\n\
         front.channels.c.type = file\nfront.channels.c.checkpointDir = cp\n\
         front.channels.c.dataDirs = {data}\nfront.channels.c.maxFileSize = 4194304\n\
         front.channels.c.minimumRequiredSpace = 1048576\nfront.channels.c.keep-alive = 1\n\
         front.sinks.out.type = avro\nfront.sinks.out.hostname = 127.0.0.1\n\
         front.sinks.out.port = {avro}\nfront.sinks.out.batch-size = {BATCH}\n\
         front.sinks.out.connect-timeout = 2000\nfront.sinks.out.request-timeout = 5000\n\
         front.sinks.out.channel = c\n"
    )
}

fn back(avro: u16) -> String {
    format!(
        "back.sources = in\nback.channels = c\nback.sinks = out\n\
         back.sources.in.type = avro\nback.sources.in.bind = 127.0.0.1\n\
         back.sources.in.port = {avro}\nback.sources.in.channels = c\n\
         back.channels.c.type = file\nback.channels.c.checkpointDir = cp\n\
         back.channels.c.dataDirs = d1,d2\nback.channels.c.maxFileSize = 4194304\n\
         back.channels.c.minimumRequiredSpace = 1048576\n\
         back.sinks.out.type = file_roll\nback.sinks.out.sink.directory = out\n\
         back.sinks.out.sink.rollInterval = 1\nback.sinks.out.sink.batchSize = {BATCH}\n\
         back.sinks.out.channel = c\n"
    )
}

/// One of the two agents: its directory, its process, and its monitoring.
pub(super) struct Place<'a> {
    pub(super) name: &'static str,
    directory: std::path::PathBuf,
    pub(super) agent: Option<Agent>,
    pub(super) watched: &'a Watched,
}

impl<'a> Place<'a> {
    fn new(top: &Path, name: &'static str, text: &str, watched: &'a Watched) -> Self {
        let directory = top.join(name);
        std::fs::create_dir_all(directory.join("out")).expect("a directory");
        std::fs::write(directory.join("a.conf"), text).expect("written");
        Self { name, directory, agent: None, watched }
    }

    pub(super) fn start(&mut self) {
        let port = format!("-Dflume.monitoring.port={}", self.watched.port);
        let options = ["-Dflume.monitoring.type=prometheus", &port];
        let agent = Agent::start_with(&self.directory, self.name, "a.conf", &options);
        self.watched.process.store(agent.id(), Ordering::SeqCst);
        self.agent = Some(agent);
    }

    /// Takes the agent out, to be stopped by the caller.
    pub(super) fn take(&mut self) -> Agent {
        self.watched.process.store(0, Ordering::SeqCst);
        self.agent.take().expect("it runs")
    }

    fn words(&self) -> String {
        self.agent.as_ref().map(Agent::words).unwrap_or_default()
    }
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|text| text.parse().ok())
}

#[test]
fn two_agents_under_faults_lose_nothing_keep_their_books_and_do_not_grow() {
    let seed = number("MILLPOND_SEED").unwrap_or_else(fresh_seed);
    let seconds = number("MILLPOND_SOAK_SECONDS").unwrap_or(SECONDS);
    eprintln!("seed {seed}, {seconds} s; repeat with MILLPOND_SEED={seed}");
    let directory = tempfile::tempdir().expect("a directory");
    let top = directory.path();
    let [netcat, avro] = [free_port(), free_port()];
    let watched = [free_port(), free_port()].map(Watched::new);
    std::fs::create_dir(top.join("front")).expect("a directory");
    let disk = SmallDisk::mount(&top.join("front"), DISK_MIB);
    let data = if disk.is_some() { "disk/d1,disk/d2" } else { "d1,d2" };
    let mut places = [
        Place::new(top, "front", &front([netcat, avro], data), &watched[0]),
        Place::new(top, "back", &back(avro), &watched[1]),
    ];
    places.iter_mut().for_each(Place::start);

    let (client, mut outlet) = (Client::default(), Outlet::new(top.join("back")));
    let mut samples = Samples::default();
    let mut faults = Faults::new(Random::new(seed), Duration::from_secs(seconds));
    let acknowledged = std::thread::scope(|scope| {
        let sending = scope.spawn(|| client.run(netcat));
        let sampling = scope.spawn(|| samples.collect(&watched, &client, &mut outlet));
        let tormented = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            faults.run(&mut Stage { places: &mut places, client: &client, disk: disk.as_ref() });
        }));
        client.stop.store(true, Ordering::SeqCst);
        let acknowledged = sending.join().expect("the client ends");
        sampling.join().expect("the samples end");
        tormented.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        acknowledged
    });
    if let Ok(path) = std::env::var("MILLPOND_SOAK_PLOT") {
        std::fs::write(&path, samples.drawing(seconds)).expect("the plot is written");
    }
    let sent = client.sent.load(Ordering::SeqCst);
    // The front's first: what left it is in the back's.
    for watched in &watched {
        let words = || places.iter().map(Place::words).collect();
        until("an empty channel", words, || watched.waiting() == Some(0.0));
    }
    // Sources first, so that nothing comes after the check.
    for place in &mut places {
        let agent = place.take();
        let words = agent.words();
        assert_eq!(agent.terminate().code(), Some(0), "{}: {words}", place.name);
    }
    outlet.sweep(sent, 0);
    eprintln!(
        "{sent} sent, {} acknowledged, {} came out, {} repeats of {}; {faults}; {samples}",
        acknowledged.len(),
        outlet.seen.len(),
        outlet.repeats,
        faults.repeats_allowed()
    );
    assert!(acknowledged.len() >= 10 * seconds, "the client must have got through");
    assert!(acknowledged.is_in(&outlet.seen), "something that was answered is gone");
    assert!(outlet.repeats <= faults.repeats_allowed(), "more repeats than were in doubt");
    samples.assert_sound(seconds >= TELLING_SECONDS);
}
