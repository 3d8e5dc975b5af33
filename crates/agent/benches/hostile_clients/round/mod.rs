//! One agent, attacked once. Shared by the bench and a test of the agent.

mod agent;
mod attacks;
mod honest;

use agent::Agent;
use attacks::Attack;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// The parameters of a round.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) connections: usize,
    pub(crate) seconds: u64,
    pub(crate) mebibytes: u64,
    pub(crate) descriptors: u64,
}

/// The result of one kind of attack.
#[derive(Default)]
pub(crate) struct Count {
    pub(crate) connections: usize,
    opened: AtomicU64,
    closed: AtomicU64,
    sent: AtomicU64,
}

impl Count {
    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }

    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

/// The result of a legitimate sender.
pub(crate) struct Sender {
    pub(crate) name: String,
    pub(crate) before: f64,
    pub(crate) during: f64,
    /// The longest time without an acknowledgement, in seconds.
    pub(crate) pause: f64,
    pub(crate) acknowledged: u64,
    pub(crate) delivered: u64,
}

/// The longest allowed pause of a legitimate sender, and the longest time for a new client to be admitted.
const PAUSE_SECONDS_MAX: f64 = 5.0;
const NEWCOMER_SECONDS_MAX: f64 = 10.0;
/// Seconds between new clients, and before the end without one.
const NEWCOMER_EVERY: u64 = 2;

pub(crate) struct Report {
    /// Seconds until each new client during the attack was admitted; `None` if it was not.
    pub(crate) newcomers: Vec<Option<f64>>,
    pub(crate) attacks: Vec<(&'static str, Arc<Count>)>,
    pub(crate) senders: Vec<Sender>,
    pub(crate) peak_mib: u64,
    pub(crate) before_mib: u64,
    pub(crate) budget_mib: u64,
    pub(crate) used_mib: u64,
    pub(crate) gave_way: u64,
    pub(crate) refused: u64,
}

impl Report {
    /// Checks that memory was bounded, and that no acknowledged event was lost.
    pub(crate) fn check(&self, mebibytes: u64) {
        assert!(self.peak_mib < mebibytes, "{} MiB of {mebibytes} MiB", self.peak_mib);
        assert!(self.used_mib <= self.budget_mib + 1, "{} of {}", self.used_mib, self.budget_mib);
        for Sender { name, delivered, acknowledged, .. } in &self.senders {
            assert_eq!(delivered, acknowledged, "{name}: acknowledged and not there");
        }
    }

    /// Checks that legitimate senders kept their pace.
    pub(crate) fn check_pace(&self) {
        for Sender { name, before, during, pause, .. } in &self.senders {
            assert!(during * 10.0 >= *before, "{name}: {during:.0}/s, {before:.0}/s before");
            assert!(*pause <= PAUSE_SECONDS_MAX, "{name} stood still for {pause:.1} s");
        }
        for waited in &self.newcomers {
            let waited = waited.expect("a newcomer did not get in");
            assert!(waited <= NEWCOMER_SECONDS_MAX, "a newcomer got in after {waited:.1} s");
        }
    }
}

/// Starts an agent with the limits of `plan`, attacks it, and returns the result.
pub(crate) fn run(plan: &Plan, directory: &Path) -> Report {
    let directory = tempfile::Builder::new().prefix("hostile").tempdir_in(directory).unwrap();
    let mut agent = Agent::start(directory.path(), plan);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let (stop, calm) =
        (Arc::new(AtomicBool::new(false)), Duration::from_secs(plan.seconds / 6 + 2));
    let senders = honest::start(&runtime, &agent.ports, &stop);
    std::thread::sleep(calm);
    let before: Vec<u64> = senders.iter().map(|sender| sender.acknowledged()).collect();
    let before_mib = agent.resident_mib();
    senders.iter().for_each(|sender| sender.forget_pause());
    let attacks = attacks::start(&runtime, &agent.ports, plan.connections, &stop);
    let (mut used_mib, begun) = (0, std::time::Instant::now());
    let mut newcomers = Vec::new();
    for second in 0..plan.seconds {
        if second % NEWCOMER_EVERY == 0
            && second as f64 + NEWCOMER_SECONDS_MAX < plan.seconds as f64
        {
            let number = newcomers.len() as u8;
            newcomers.push(honest::newcomer(&runtime, &agent.ports, number));
        }
        std::thread::sleep(Duration::from_secs(1));
        agent.assert_alive();
        used_mib = used_mib.max(agent.clients().get("memory_bytes").copied().unwrap_or(0) >> 20);
    }
    let lasted = begun.elapsed().as_secs_f64();
    let during: Vec<u64> = senders.iter().map(|sender| sender.acknowledged()).collect();
    let pauses: Vec<f64> = senders.iter().map(|sender| sender.pause()).collect();
    let newcomers =
        newcomers.into_iter().map(|it| it.is_finished().then(|| runtime.block_on(it).unwrap()));
    let newcomers = newcomers.collect();
    let (numbers, peak_mib) = (agent.clients(), agent.peak_mib());
    stop.store(true, Ordering::Relaxed);
    senders.iter().for_each(|sender| sender.wait());
    runtime.shutdown_timeout(Duration::from_secs(5));
    agent.assert_alive();
    let delivered = agent.end(senders.iter().map(|sender| sender.acknowledged()).sum());
    let number = |name: &str| numbers.get(name).copied().unwrap_or(0);
    let named = senders.iter().zip(before).zip(during).zip(pauses);
    let senders = named.map(|(((sender, before), during), pause)| Sender {
        name: sender.name.clone(),
        before: before as f64 / calm.as_secs_f64(),
        during: (during - before) as f64 / lasted,
        pause,
        acknowledged: sender.acknowledged(),
        delivered: delivered.get(&sender.name).copied().unwrap_or(0),
    });
    Report {
        newcomers,
        senders: senders.collect(),
        attacks: attacks
            .into_iter()
            .map(|(attack, count): (Attack, _)| (attack.name, count))
            .collect(),
        peak_mib,
        before_mib,
        budget_mib: number("memory_max_bytes") >> 20,
        used_mib,
        gave_way: number("gave_way_total"),
        refused: number("refused_total"),
    }
}

/// Returns the number of distinct events of each sender, by their bodies: `honest NAME SERIAL`.
fn distinct(lines: impl Iterator<Item = String>) -> BTreeMap<String, u64> {
    let mut all = std::collections::BTreeSet::new();
    for line in lines {
        if let Some((_, own)) = line.split_once("honest ")
            && let Some((name, serial)) = own.split_once(' ')
        {
            all.insert((name.to_owned(), serial.trim().to_owned()));
        }
    }
    let mut counts = BTreeMap::new();
    for (name, _) in all {
        *counts.entry(name).or_default() += 1;
    }
    counts
}
