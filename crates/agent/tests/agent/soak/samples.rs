//! Samples of both agents each second: memory, descriptors, waiting events, and whether the counts
//! balance.

use super::lines::{Client, Outlet};
use millpond::{Clock, SystemClock};
use millpond_observe::svg::chart::{Canvas, ChartAxis, ChartLine};
use std::fmt;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Interval of samples.
const EVERY: Duration = Duration::from_secs(1);
/// How long an agent has to reply; a stopped one does not.
const TIMEOUT: Duration = Duration::from_millis(900);
/// Points of a line in the drawing.
const POINTS_MAX: usize = 600;
const NAMES: [&str; 2] = ["front", "back"];

/// A sampled agent.
pub(crate) struct Watched {
    /// Its process; 0 while it is down.
    pub(super) process: AtomicU32,
    /// The port of its monitoring.
    pub(super) port: u16,
}

impl Watched {
    pub(super) fn new(port: u16) -> Self {
        Self { process: AtomicU32::new(0), port }
    }

    /// Returns its page for Prometheus, if it replies in time.
    fn page(&self) -> Option<String> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.port));
        let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
        stream.set_read_timeout(Some(TIMEOUT)).ok()?;
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
            .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        // An agent that was killed meanwhile has not sent all of it.
        answer.contains("millpond_sink_restarts_total{").then_some(answer)
    }

    /// Returns the events in its channel, if it replies.
    pub(super) fn waiting(&self) -> Option<f64> {
        value(&self.page()?, "millpond_channel_waiting_events")
    }
}

/// Returns the first value of the metric on a page.
fn value(page: &str, name: &str) -> Option<f64> {
    let begin = format!("{name}{{");
    page.lines().find(|line| line.starts_with(&begin))?.rsplit(' ').next()?.parse().ok()
}

/// The samples of an agent, over the seconds of the run.
#[derive(Default)]
struct Series {
    memory_mib: Vec<(f64, f64)>,
    descriptors: Vec<(f64, f64)>,
    waiting: Vec<(f64, f64)>,
    balanced: u64,
    /// When the counts did not balance, and by how much.
    unbalanced: Vec<(f64, f64)>,
}

/// All samples of a run.
#[derive(Default)]
pub(super) struct Samples {
    agents: [Series; 2],
    acknowledged: Vec<(f64, f64)>,
    delivered: Vec<(f64, f64)>,
}

impl Samples {
    /// Samples until the client has stopped, and checks what has come out meanwhile.
    pub(super) fn collect(&mut self, watched: &[Watched], client: &Client, outlet: &mut Outlet) {
        let clock = SystemClock::new();
        let (mut answered, mut delivered, mut before) = (0, 0, 0.0);
        while !client.stopped() {
            std::thread::sleep(EVERY);
            let now = clock.now().as_secs_f64();
            for (series, watched) in self.agents.iter_mut().zip(watched) {
                series.look(now, watched);
            }
            outlet.sweep(client.sent.load(Ordering::SeqCst), 1);
            let (a, d) = (client.answered.load(Ordering::SeqCst), outlet.seen.len());
            let rate = |n: u64| n as f64 / (now - before);
            self.acknowledged.push((now, rate(a - answered)));
            self.delivered.push((now, rate(d - delivered)));
            (answered, delivered, before) = (a, d, now);
        }
    }

    /// Fails if the counts of an agent did not balance, or if it `grew` as far as that can be
    /// known.
    pub(super) fn assert_sound(&self, growth_shows: bool) {
        for (name, series) in NAMES.iter().zip(&self.agents) {
            assert!(series.balanced > 0, "{name} was never looked at");
            assert!(series.unbalanced.is_empty(), "{name}: {:?}", series.unbalanced);
            if growth_shows {
                let (before, after) = halves(&series.memory_mib);
                assert!(after <= before * 1.1 + 8.0, "{name}: from {before} to {after} MiB");
                let (before, after) = halves(&series.descriptors);
                assert!(after <= before + 4.0, "{name}: from {before} to {after} descriptors");
            }
        }
    }

    /// Draws it as SVG.
    pub(super) fn drawing(&self, seconds: u64) -> String {
        let (unit, words) = if seconds >= 600 { (60.0, "minutes") } else { (1.0, "seconds") };
        let line = |name: &str, points: &[(f64, f64)]| ChartLine {
            name: name.to_owned(),
            points: thinned(points).into_iter().map(|(x, y)| (x / unit, y)).collect(),
        };
        let both = |of: fn(&Series) -> &Vec<(f64, f64)>| -> Vec<ChartLine> {
            NAMES.iter().zip(&self.agents).map(|(name, s)| line(name, of(s))).collect()
        };
        let across = ChartAxis::linear(words);
        let mut canvas = Canvas::new("A long run", 4);
        let rates = [line("acknowledged", &self.acknowledged), line("delivered", &self.delivered)];
        canvas.panel("Lines", &across, &ChartAxis::linear("lines/s"), &rates);
        let waiting = both(|s| &s.waiting);
        canvas.panel("Waiting in the channel", &across, &ChartAxis::linear("events"), &waiting);
        let memory = both(|s| &s.memory_mib);
        canvas.panel("Resident memory", &across, &ChartAxis::linear("MiB"), &memory);
        let descriptors = both(|s| &s.descriptors);
        canvas.panel("File descriptors", &across, &ChartAxis::linear("open"), &descriptors);
        canvas.finish()
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, series) in NAMES.iter().zip(&self.agents) {
            let (memory, open) = (halves(&series.memory_mib), halves(&series.descriptors));
            write!(
                f,
                "{name}: {} of {} looks balanced, {:.1} then {:.1} MiB, {} then {} descriptors; ",
                series.balanced,
                series.balanced + series.unbalanced.len() as u64,
                memory.0,
                memory.1,
                open.0,
                open.1
            )?;
        }
        Ok(())
    }
}

impl Series {
    fn look(&mut self, now: f64, watched: &Watched) {
        let process = watched.process.load(Ordering::SeqCst);
        if process == 0 {
            return;
        }
        let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = resident.and_then(|words| words.split_whitespace().next()?.parse::<f64>().ok());
        self.memory_mib.extend(kib.map(|kib| (now, kib / 1024.0)));
        let open = std::fs::read_dir(format!("/proc/{process}/fd")).map(Iterator::count);
        self.descriptors.extend(open.ok().filter(|open| *open > 0).map(|open| (now, open as f64)));
        let Some(page) = watched.page() else { return };
        let waiting = value(&page, "millpond_channel_waiting_events");
        self.waiting.extend(waiting.map(|waiting| (now, waiting)));
        match value(&page, "millpond_channel_unaccounted_events") {
            Some(0.0) => self.balanced += 1,
            Some(by) => self.unbalanced.push((now, by)),
            // Its channel is not open yet.
            None => {}
        }
    }
}

/// Returns the medians of the third and of the last quarter: processes live through both.
fn halves(points: &[(f64, f64)]) -> (f64, f64) {
    let quarter = points.len() / 4;
    let median = |points: &[(f64, f64)]| {
        let mut values: Vec<f64> = points.iter().map(|(_, value)| *value).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied().unwrap_or_default()
    };
    (median(&points[quarter * 2..quarter * 3]), median(&points[quarter * 3..]))
}

/// Returns at most [`POINTS_MAX`] of them, the highest of each stretch.
fn thinned(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let stretch = points.len().div_ceil(POINTS_MAX).max(1);
    let highest = |some: &[(f64, f64)]| some.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(stretch).filter_map(highest).collect()
}
