//! One run: an agent whose channel is full writes everything to HDFS.

use super::agent_process::{Contestant, free_port};
use super::cluster::{Cluster, Listing, settings_directory};
use super::lines::line;
use super::{BUCKETS, FILES};
use bytes::BytesMut;
use millpond::Event;
use millpond_adapters::wire::avro::call::AvroReply;
use millpond_adapters::wire::avro::exchange::AvroExchange;
use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Events of a call that fills a channel.
const CALL_EVENTS: u64 = 1000;
/// Longest wait for a run.
const RUN_TIME_MAX: Duration = Duration::from_secs(300);
/// Between two looks at the files: a call of the NameNode each.
const LOOK_PAUSE: Duration = Duration::from_millis(5);

const CHANNEL: &str = "a1.channels = c1\na1.channels.c1.type = file\na1.channels.c1.checkpointDir = {dir}/channel/checkpoint\na1.channels.c1.dataDirs = {dir}/channel/data\na1.channels.c1.capacity = 4000000\na1.channels.c1.transactionCapacity = 10000\n";

/// What is drained.
pub(crate) struct Drain {
    /// A directory on the disk of the channels.
    pub(crate) dir: PathBuf,
    /// Events in full files.
    pub(crate) events: u64,
    /// Bytes of a body.
    pub(crate) body: usize,
    /// `hdfs.batchSize`.
    pub(crate) batch: u64,
}

/// Figures of a run.
#[derive(Clone, Copy)]
pub(crate) struct Figures {
    /// Thousand events per second.
    pub(crate) rate: f64,
    /// Without the first file; NaN of buckets that have one file each.
    pub(crate) later: f64,
    /// Microseconds of processor time per event.
    pub(crate) processor: f64,
    /// Peak of the resident memory in MiB.
    pub(crate) memory: f64,
}

impl Drain {
    /// Returns the number of all events: those of full files, and one more for each bucket.
    fn all_events(&self) -> u64 {
        self.events + BUCKETS
    }

    /// Fills the channel of `who` and keeps its files.
    pub(crate) fn fill(&self, who: &Contestant) -> Result<(), String> {
        let (dir, port) = (self.dir.join(who.name()), free_port());
        let _ = fs::remove_dir_all(&dir);
        let source = format!(
            "a1.sources = r1\na1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.port = {port}\na1.sources.r1.channels = c1\n"
        );
        let mut agent = who.start(&dir, &format!("{CHANNEL}{source}"));
        let (mut socket, _) = agent.connect(port)?;
        self.send(&mut socket).map_err(|error| error.to_string())?;
        drop(agent);
        fs::rename(dir.join("channel"), dir.join("full")).map_err(|error| error.to_string())
    }

    fn send(&self, socket: &mut TcpStream) -> io::Result<()> {
        let (mut exchange, mut input) = (AvroExchange::new(), BytesMut::new());
        let mut piece = vec![0; 64 * 1024];
        socket.set_nodelay(true)?;
        for first in (0..self.all_events()).step_by(usize::try_from(CALL_EVENTS).unwrap()) {
            let numbers = first..(first + CALL_EVENTS).min(self.all_events());
            let events: Vec<Event> = numbers.map(|number| self.event(number)).collect();
            socket.write_all(&exchange.call(&events))?;
            loop {
                match exchange.answer(&mut input).map_err(io::Error::other)? {
                    Some(AvroReply::Ok) => break,
                    Some(_) => return Err(io::Error::other("the channel refuses events")),
                    None => {
                        let read = socket.read(&mut piece)?;
                        if read == 0 {
                            return Err(io::ErrorKind::UnexpectedEof.into());
                        }
                        input.extend_from_slice(&piece[..read]);
                    }
                }
            }
        }
        Ok(())
    }

    /// Returns an event; its header `bucket` chooses the bucket where there are several.
    fn event(&self, number: u64) -> Event {
        let mut event = Event::new(line(number, self.body));
        event.headers.set("bucket", (number % BUCKETS).to_string());
        event
    }

    /// Drains a copy of the channel into `buckets` buckets.
    pub(crate) fn run(
        &self,
        who: &Contestant,
        file_type: &str,
        buckets: u64,
    ) -> Result<Figures, String> {
        let dir = self.dir.join(who.name());
        for old in ["channel", "state"] {
            let _ = fs::remove_dir_all(dir.join(old));
        }
        copy(&dir.join("full"), &dir.join("channel"))?;
        let cluster = Cluster::open();
        let target = format!("/bench/{}/{}", who.name(), free_port());
        let sink = self.sink(&target, file_type, buckets);
        let mut agent = who.start(&dir, &format!("{CHANNEL}{sink}"));
        let until = Instant::now() + RUN_TIME_MAX;
        let mut look = |done: &dyn Fn(&Listing) -> bool| loop {
            if done(&cluster.list(&target)?) {
                return Ok((Instant::now(), agent.processor()));
            }
            if Instant::now() > until || agent.has_ended() {
                return Err(format!("not drained; see {}", dir.join("log").display()));
            }
            std::thread::sleep(LOOK_PAUSE);
        };
        let (began, processor) = look(&|files| files.closed.len() + files.open.len() > 0)?;
        let wanted = if buckets > 1 { buckets } else { FILES };
        let (first, _) = look(&|files| !files.closed.is_empty())?;
        let (end, used) = look(&|files| files.closed.len() as u64 >= wanted)?;
        let memory = agent.peak_memory();
        drop(agent);
        self.check(&cluster, &target)?;
        let rate = |events: u64, from: Instant| events as f64 / (end - from).as_secs_f64() / 1e3;
        let later = self.events - self.events / FILES;
        Ok(Figures {
            rate: rate(self.events, began),
            later: if buckets > 1 { f64::NAN } else { rate(later, first) },
            processor: (used - processor) * 1e6 / self.events as f64,
            memory,
        })
    }

    fn sink(&self, target: &str, file_type: &str, buckets: u64) -> String {
        // Buckets are as many full files.
        let (path, files) = if buckets > 1 { ("/%{bucket}", buckets) } else { ("", FILES) };
        let count = self.events / files;
        let (batch, settings) = (self.batch, settings_directory());
        format!(
            "a1.sinks = k1\na1.sinks.k1.type = hdfs\na1.sinks.k1.channel = c1\na1.sinks.k1.hdfs.path = {target}{path}\na1.sinks.k1.hdfs.config = {settings}\na1.sinks.k1.hdfs.stateDirectory = {{dir}}/state\na1.sinks.k1.hdfs.batchSize = {batch}\na1.sinks.k1.hdfs.rollCount = {count}\na1.sinks.k1.hdfs.rollSize = 0\na1.sinks.k1.hdfs.rollInterval = 0\na1.sinks.k1.hdfs.callTimeout = 60000\n{file_type}"
        )
    }

    /// Checks that each event of the full files is there once, and deletes the files. The few events after them may
    /// still be in the channel.
    fn check(&self, cluster: &Cluster, target: &str) -> Result<(), String> {
        let files = cluster.list(target)?;
        let mut seen = vec![false; usize::try_from(self.all_events()).unwrap()];
        let lines =
            cluster.read(&files.closed, &mut seen)? + cluster.read(&files.open, &mut seen)?;
        cluster.delete(&files.closed);
        cluster.delete(&files.open);
        let wanted = &seen[..usize::try_from(self.events).unwrap()];
        let missing = wanted.iter().filter(|seen| !**seen).count();
        let repeated = lines - seen.iter().filter(|seen| **seen).count() as u64;
        if missing > 0 || repeated > 0 {
            return Err(format!("{missing} events are missing, {repeated} are there twice"));
        }
        Ok(())
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let status = Command::new("cp").arg("-a").arg(from).arg(to).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("cp: {other:?}")),
    }
}
