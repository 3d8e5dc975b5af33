//! The measurements.

use super::Figures;
use super::agent_process::{Agent, Contestant, free_port};
use super::load::{self, LINE_BYTES};
use super::settings::median;
use std::io;
use std::net::TcpStream;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A measurement of a contestant, in an empty directory, with a duration.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Contestant, &Path, Duration) -> Result<Figures, String>,
}

/// All measurements.
pub(crate) const CASES: &[Case] = &[
    Case { name: "netcat, file channel, file_roll", run: |c, d, t| lines(c, d, t, NETCAT, FILE) },
    Case {
        name: "netcat, memory channel, file_roll",
        run: |c, d, t| lines(c, d, t, NETCAT, MEMORY),
    },
    Case {
        name: "syslogtcp, file channel, file_roll",
        run: |c, d, t| lines(c, d, t, SYSLOG, FILE),
    },
    Case {
        name: "syslogtcp, memory channel, file_roll",
        run: |c, d, t| lines(c, d, t, SYSLOG, MEMORY),
    },
    Case { name: "netcat with answers, file channel", run: answers },
    Case { name: "one quiet line with its answer", run: quiet },
    Case {
        name: "two agents over avro, file channels, batches of 100",
        run: |c, d, t| pair(c, d, t, 100),
    },
    Case {
        name: "two agents over avro, file channels, batches of 1000",
        run: |c, d, t| pair(c, d, t, 1000),
    },
    Case { name: "scraped a hundred times a second", run: scraped },
    Case { name: "start, and idle", run: start },
    Case { name: "1,000 connections and a dead sink", run: crowd },
];

const NETCAT: &str = "a1.sources.r1.type = netcat\na1.sources.r1.bind = 127.0.0.1\na1.sources.r1.ack-every-event = false\na1.sources.r1.max-line-length = 4096\n";
const SYSLOG: &str = "a1.sources.r1.type = syslogtcp\na1.sources.r1.host = 127.0.0.1\na1.sources.r1.eventSize = 4096\n";
const AVRO: &str = "a1.sources.r1.type = avro\na1.sources.r1.bind = 127.0.0.1\n";
const FILE: &str = "a1.channels.c1.type = file\na1.channels.c1.checkpointDir = {dir}/checkpoint\na1.channels.c1.dataDirs = {dir}/data\na1.channels.c1.capacity = 4000000\na1.channels.c1.transactionCapacity = 10000\n";
const MEMORY: &str = "a1.channels.c1.type = memory\na1.channels.c1.capacity = 100000\na1.channels.c1.transactionCapacity = 10000\n";
const NULL: &str = "a1.sinks.k1.type = null\n";

/// Longest wait for sent lines to arrive.
const PATIENCE: Duration = Duration::from_secs(60);

/// Bytes at the start of a syslog line that are not part of its event.
const SYSLOG_HEAD: u64 = "<13>Nov 21 02:00:00 host ".len() as u64;

fn roll(batch: usize) -> String {
    format!(
        "a1.sinks.k1.type = file_roll\na1.sinks.k1.sink.directory = {{dir}}/out\na1.sinks.k1.sink.rollInterval = 0\na1.sinks.k1.sink.batchSize = {batch}\n"
    )
}

/// Returns a configuration of one source at a port, one channel and one sink.
fn agent(source: &str, port: u16, channel: &str, sink: &str) -> String {
    format!(
        "a1.sources = r1\na1.channels = c1\na1.sinks = k1\n{source}a1.sources.r1.port = {port}\na1.sources.r1.channels = c1\n{channel}{sink}a1.sinks.k1.channel = c1\n"
    )
}

fn words(error: io::Error) -> String {
    error.to_string()
}

/// Waits until all of `lines` are in the sink's files; returns thousand lines per second since `began`.
fn arrived(agent: &Agent, lines: u64, bytes: u64, began: Instant) -> Result<f64, String> {
    let until = Instant::now() + PATIENCE;
    while agent.out_bytes() < lines * bytes {
        if Instant::now() > until {
            return Err(format!("of {lines} lines {} arrived", agent.out_bytes() / bytes));
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(lines as f64 / began.elapsed().as_secs_f64() / 1e3)
}

/// One connection, lines as fast as they are accepted, timed from the first byte until the last is in a file.
fn lines(
    who: &Contestant,
    dir: &Path,
    time: Duration,
    source: &str,
    channel: &str,
) -> Result<Figures, String> {
    let port = free_port();
    let mut agent = who.start(dir, &agent(source, port, channel, &roll(100)));
    let (mut socket, _) = agent.connect(port)?;
    // Excludes the start-up work of an agent, and of a virtual machine's compiler.
    std::thread::sleep(Duration::from_secs(1));
    let (processor, began) = (agent.processor(), Instant::now());
    let sent = load::pour(&mut socket, time).map_err(words)?;
    let head = if source == SYSLOG { SYSLOG_HEAD } else { 0 };
    let rate = arrived(&agent, sent, LINE_BYTES as u64 - head, began)?;
    let micros = (agent.processor() - processor) * 1e6 / sent as f64;
    Ok(vec![
        ("k lines/s", rate),
        ("processor µs/line", micros),
        ("peak memory, MiB", agent.peak_memory()),
    ])
}

fn answers(who: &Contestant, dir: &Path, time: Duration) -> Result<Figures, String> {
    let port = free_port();
    let source = NETCAT.replace("= false", "= true");
    let mut agent = who.start(dir, &agent(&source, port, FILE, NULL));
    let (mut socket, _) = agent.connect(port)?;
    let began = Instant::now();
    let heard = load::pour_and_hear(&mut socket, time).map_err(words)?;
    let rate = heard as f64 / began.elapsed().as_secs_f64() / 1e3;
    Ok(vec![("k answers/s", rate), ("peak memory, MiB", agent.peak_memory())])
}

/// Single lines at intervals, and the duration of synced writes to the disk at the same time.
fn quiet(who: &Contestant, dir: &Path, _: Duration) -> Result<Figures, String> {
    let port = free_port();
    let source = NETCAT.replace("= false", "= true");
    let mut agent = who.start(dir, &agent(&source, port, FILE, NULL));
    let (mut socket, _) = agent.connect(port)?;
    let file = std::fs::File::create(dir.join("disk")).map_err(words)?;
    file.write_all_at(&[0; 4 << 20], 0).and_then(|()| file.sync_all()).map_err(words)?;
    let (mut lines, mut syncs) = (Vec::new(), Vec::new());
    for at in 0..200 {
        lines.extend(load::whisper(&mut socket, 1, Duration::from_millis(10)).map_err(words)?);
        let began = Instant::now();
        file.write_all_at(&[7; 4096], at * 4096).and_then(|()| file.sync_data()).map_err(words)?;
        syncs.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let at = |of: &mut Vec<f64>, percent: usize| {
        of.sort_by(f64::total_cmp);
        of[of.len() * percent / 100]
    };
    Ok(vec![
        ("line p50, ms", at(&mut lines, 50)),
        ("line p99, ms", at(&mut lines, 99)),
        ("the disk's synced write p50, ms", at(&mut syncs, 50)),
        ("its p99, ms", at(&mut syncs, 99)),
    ])
}

/// A client, an agent, a second agent, files.
fn pair(who: &Contestant, dir: &Path, time: Duration, batch: usize) -> Result<Figures, String> {
    let (first, second) = (free_port(), free_port());
    let mut far = who.start(&dir.join("2"), &agent(AVRO, second, FILE, &roll(batch)));
    drop(far.connect(second)?);
    let sink = format!(
        "a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {second}\na1.sinks.k1.batch-size = {batch}\n"
    );
    let mut near = who.start(&dir.join("1"), &agent(AVRO, first, FILE, &sink));
    let (mut socket, _) = near.connect(first)?;
    std::thread::sleep(Duration::from_secs(1));
    let processor = near.processor() + far.processor();
    let began = Instant::now();
    let sent = load::calls(&mut socket, batch, time).map_err(words)?;
    // Each event is followed by a newline.
    let rate = arrived(&far, sent, LINE_BYTES as u64 + 1, began)?;
    let micros = (near.processor() + far.processor() - processor) * 1e6 / sent as f64;
    Ok(vec![
        ("k events/s", rate),
        ("processor µs/event", micros),
        ("peak memory of the first, MiB", near.peak_memory()),
        ("of the second", far.peak_memory()),
    ])
}

/// Lines as fast as they are accepted, alternately unwatched and with all counters scraped a hundred times a second:
/// the effect of one scrape a second would be lost in noise.
fn scraped(who: &Contestant, dir: &Path, time: Duration) -> Result<Figures, String> {
    const TURNS: u32 = 8;
    const SCRAPES_PER_SECOND: f64 = 100.0;
    let (port, watched) = (free_port(), free_port());
    let properties = ["type=http".to_owned(), format!("port={watched}")];
    let properties = properties.map(|property| format!("-Dflume.monitoring.{property}"));
    let conf = agent(NETCAT, port, FILE, &roll(100));
    let mut agent = who.start_with(dir, &conf, &properties);
    let (mut socket, _) = agent.connect(port)?;
    std::thread::sleep(Duration::from_secs(1));
    let mut rates = [Vec::new(), Vec::new()];
    for turn in 0..TURNS {
        let watches = turn % 2 == 1;
        let done = AtomicBool::new(false);
        let (sent, asked) = std::thread::scope(|scope| {
            let scrapes = || -> io::Result<()> {
                while watches && !done.load(Ordering::Relaxed) {
                    load::scrape(watched)?;
                    std::thread::sleep(Duration::from_secs_f64(1.0 / SCRAPES_PER_SECOND));
                }
                Ok(())
            };
            let watcher = scope.spawn(scrapes);
            let sent = load::pour(&mut socket, time / TURNS);
            done.store(true, Ordering::Relaxed);
            (sent, watcher.join().unwrap())
        });
        asked.map_err(words)?;
        let seconds = (time / TURNS).as_secs_f64();
        rates[usize::from(watches)].push(sent.map_err(words)? as f64 / seconds / 1e3);
    }
    let [alone, watched_rate] = rates.map(|rates| median(rates.into_iter()));
    // No client sends any more: the processor time from here is that of the pages.
    let (count, processor) = (200, agent.processor());
    for _ in 0..count {
        load::scrape(watched).map_err(words)?;
    }
    Ok(vec![
        ("k lines/s", alone),
        ("k lines/s while scraped", watched_rate),
        (
            "lost to one scrape a second, %",
            (1.0 - watched_rate / alone) * 100.0 / SCRAPES_PER_SECOND,
        ),
        ("processor µs/scrape", (agent.processor() - processor) * 1e6 / f64::from(count)),
    ])
}

fn start(who: &Contestant, dir: &Path, _: Duration) -> Result<Figures, String> {
    let port = free_port();
    let conf = agent(NETCAT, port, FILE, NULL);
    // The first start creates the channel's files; the second measures a restart.
    let (_, fresh) = who.start(dir, &conf).connect(port)?;
    let mut agent = who.start(dir, &conf);
    let (_, again) = agent.connect(port)?;
    std::thread::sleep(Duration::from_secs(2));
    let (processor, naps, seconds) = (agent.processor(), agent.naps(), 10.0);
    std::thread::sleep(Duration::from_secs_f64(seconds));
    Ok(vec![
        ("restart, ms", again.as_secs_f64() * 1e3),
        ("first start, ms", fresh.as_secs_f64() * 1e3),
        ("idle memory, MiB", agent.memory()),
        ("idle processor, ms/s", (agent.processor() - processor) * 1e3 / seconds),
        ("wake-ups/s", (agent.naps() - naps) / seconds),
    ])
}

/// Every client sends, nothing is delivered.
fn crowd(who: &Contestant, dir: &Path, time: Duration) -> Result<Figures, String> {
    let port = free_port();
    let dead = free_port();
    let sink = format!(
        "a1.sinks.k1.type = avro\na1.sinks.k1.hostname = 127.0.0.1\na1.sinks.k1.port = {dead}\n"
    );
    // So small that it fills: further lines wait at their clients.
    let channel = FILE.replace("4000000", "200000");
    let mut agent = who.start(dir, &agent(NETCAT, port, &channel, &sink));
    drop(agent.connect(port)?);
    let sockets: Result<Vec<TcpStream>, io::Error> = (0..1000)
        .map(|_| {
            let socket = TcpStream::connect(("127.0.0.1", port))?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        })
        .collect();
    let (mut sockets, block, until) =
        (sockets.map_err(words)?, load::line().repeat(64), Instant::now() + time);
    while Instant::now() < until {
        for socket in &mut sockets {
            // Partial lines too: only the memory held matters.
            let _ = io::Write::write(socket, &block);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(vec![("peak memory, MiB", agent.peak_memory())])
}
