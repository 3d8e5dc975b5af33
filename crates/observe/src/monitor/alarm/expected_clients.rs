//! The clients that a source expects: those that the configuration names, and learned ones.
//!
//! A client is its address and its two names together: where hundreds of agents have one name, as
//! with Flume, only the address tells them apart. Silence counts only while the source listens.
//!
//! Any client that reaches a port can claim any names. So a client is learned only after events of
//! it were accepted and it has been coming for a while, and an address has
//! [`NAMES_PER_ADDRESS_MAX`] clients at most. If an address has that many, or [`CLIENTS_MAX`] are
//! known, only a client whose events were accepted is added: a client that has brought none is
//! removed for it, or else the youngest silent one of all.

use super::alarm_record::time;
use super::kind::AlarmKind;
use super::limits::{CLIENTS_MAX, CROWDED_MAX, NAMES_PER_ADDRESS_MAX};
use super::observation::{AgentSnapshot, AlarmText, EvaluationTime, RuleVerdict, number};
use super::rule_observations::RuleObservations;
use super::settings::AlarmSettings;
use super::thresholds::{ClientPattern, Thresholds};
use millpond_flow::base::escape::Escaped;
use millpond_flow::metrics::{ClientId, ComponentRole, SeenClient};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A learned client, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LearnedClient {
    pub(crate) source: String,
    pub(crate) client: ClientId,
    /// Milliseconds since 1970.
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    /// How long it was silent while the agent ran.
    pub(crate) silence: Duration,
}

/// When a client was heard.
#[derive(Clone, Copy, Debug)]
struct SightingTimes {
    /// In this run of the agent.
    first: Option<Duration>,
    last: Option<Duration>,
    first_ms: u64,
    last_ms: u64,
    /// How long it has been silent, by the monotonic clock.
    silence: Duration,
    /// Of it, before this run of the agent.
    silence_before: Duration,
    /// Whether events of it were accepted.
    accepted: bool,
    learned: bool,
    /// As of the last evaluation.
    is_silent: bool,
}

/// When a client that the configuration names was heard last, and from which address.
#[derive(Clone, Debug)]
struct LastHeard {
    at: Duration,
    wall_ms: u64,
    client: ClientId,
}

/// What is known of clients.
#[derive(Debug, Default)]
pub(super) struct ExpectedClients {
    /// By source.
    clients: BTreeMap<(String, ClientId), SightingTimes>,
    /// Clients that the configuration names: when they were heard last, and from which address.
    expected: BTreeMap<(String, ClientPattern), LastHeard>,
    /// Of those, clients that were heard from another address than the one that counts; reported
    /// once.
    elsewhere: BTreeSet<(String, ClientPattern)>,
    /// Since when each source listens.
    listens: BTreeMap<String, EvaluationTime>,
    /// There were more clients than can be watched; reported once.
    overlooked: bool,
    /// Addresses that have more clients of a source than allowed; reported once.
    crowded: BTreeSet<(String, IpAddr)>,
    /// Nothing can be removed for a further client, as of this evaluation.
    is_full: bool,
    /// A client was learned or forgotten since the last call.
    changed: bool,
}

impl ExpectedClients {
    pub(super) fn new(kept: Vec<LearnedClient>) -> Self {
        let clients = kept.into_iter().take(CLIENTS_MAX).map(|kept| {
            let LearnedClient { source, client, first_ms, last_ms, silence } = kept;
            let mut seen = SightingTimes::new(first_ms);
            (seen.last_ms, seen.silence, seen.silence_before) = (last_ms, silence, silence);
            (seen.accepted, seen.learned) = (true, true);
            ((source, client), seen)
        });
        Self { clients: clients.collect(), ..Self::default() }
    }

    pub(super) fn has_learned(&self) -> bool {
        self.clients.values().any(|seen| seen.learned)
    }

    /// Returns the clients to be stored for the next start.
    pub(super) fn learned(&self) -> Vec<LearnedClient> {
        let learned = self.clients.iter().filter(|(_, seen)| seen.learned);
        let learned = learned.map(|((source, client), seen)| LearnedClient {
            source: source.clone(),
            client: client.clone(),
            first_ms: seen.first_ms,
            last_ms: seen.last_ms,
            silence: seen.silence,
        });
        learned.collect()
    }

    /// Returns whether the learned clients have changed since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Takes note of the clients that are there; returns the messages to log.
    pub(super) fn observe(
        &mut self,
        at: EvaluationTime,
        view: &AgentSnapshot,
        settings: &AlarmSettings,
        observed: &mut RuleObservations,
    ) -> Vec<String> {
        let listeners = &settings.topology.listeners;
        let all_limits: BTreeMap<&str, Thresholds> = listeners
            .iter()
            .filter_map(|name| Some((&**name, settings.limits(AlarmKind::ClientSilent, name)?)))
            .collect();
        self.clients.retain(|(source, _), _| all_limits.contains_key(&**source));
        self.expected.retain(|(source, who), _| {
            all_limits.get(&**source).is_some_and(|limits| limits.clients.expected.contains(who))
        });
        self.elsewhere.retain(|key| self.expected.contains_key(key));
        self.listens.retain(|source, _| all_limits.contains_key(&**source));
        self.crowded.retain(|(source, _)| all_limits.contains_key(&**source));
        self.is_full = false;
        let mut notes = Vec::new();
        for (source, limits) in &all_limits {
            let reading = view.reading(ComponentRole::Source, source);
            if reading.is_some_and(|reading| number(reading, "Up") > 0) {
                self.listens.entry((*source).to_owned()).or_insert(at);
            } else {
                self.listens.remove(*source);
            }
            for heard in view.heard.get(*source).into_iter().flatten() {
                self.hear(at, source, limits, heard, &mut notes);
            }
            self.forget(at, source, limits, &mut notes);
            self.judge(at, source, limits, view, settings, observed);
        }
        notes
    }

    fn hear(
        &mut self,
        at: EvaluationTime,
        source: &str,
        limits: &Thresholds,
        heard: &SeenClient,
        notes: &mut Vec<String>,
    ) {
        let (is_sign, client) = (heard.spoke || !limits.clients.by_message, &heard.client);
        if !is_sign {
            return;
        }
        for who in limits.clients.expected.iter().filter(|who| who.is(client)) {
            let key = (source.to_owned(), who.clone());
            match self.expected.get(&key) {
                Some(LastHeard { client: known, .. }) if !who.counts(client, known) => {
                    if self.elsewhere.insert(key) {
                        notes.push(format!(
                            "client {who} of source {source} connects from {}, and counts from {} only; if it has moved, write {who}@{} in clientSilent.{source}.clients, or let it show a certificate",
                            client.address, known.address, client.address
                        ));
                    }
                }
                _ => {
                    let EvaluationTime { now, wall_ms } = at;
                    let last = LastHeard { at: now, wall_ms, client: client.clone() };
                    self.expected.insert(key, last);
                }
            }
        }
        let is_ignored = limits.clients.ignored.iter().any(|who| who.is(client));
        if !limits.clients.learns() || is_ignored {
            return;
        }
        let key = (source.to_owned(), client.clone());
        if !self.clients.contains_key(&key) && !self.admits(&key, heard.accepted, notes) {
            return;
        }
        let seen = self.clients.entry(key).or_insert_with(|| SightingTimes::new(at.wall_ms));
        (seen.last, seen.last_ms) = (Some(at.now), at.wall_ms);
        seen.accepted |= heard.accepted;
        let first = *seen.first.get_or_insert(at.now);
        let has_come = at.now.saturating_sub(first) >= limits.clients.learn_after;
        if !seen.learned && seen.accepted && has_come {
            seen.learned = true;
            self.changed = true;
        }
    }

    /// Returns whether there is room for an unknown client; if not, this is reported once. Names
    /// that never brought an event cost nothing to invent, from any number of addresses: they
    /// displace no other client.
    fn admits(
        &mut self,
        key: &(String, ClientId),
        accepted: bool,
        notes: &mut Vec<String>,
    ) -> bool {
        let (source, client) = key;
        let first = (source.clone(), ClientId::new(client.address, "", ""));
        let same = self
            .clients
            .range(first..)
            .take_while(|((owner, other), _)| (owner, other.address) == (source, client.address));
        let same: Vec<_> = same.take(NAMES_PER_ADDRESS_MAX).collect();
        if same.len() == NAMES_PER_ADDRESS_MAX {
            let idle = same.into_iter().find(|(_, seen)| !seen.accepted);
            let idle = idle.filter(|_| accepted).map(|(key, _)| key.clone());
            let place = (source.clone(), client.address);
            if self.crowded.len() < CROWDED_MAX && self.crowded.insert(place) {
                notes.push(format!(
                    "more than {NAMES_PER_ADDRESS_MAX} clients of source {source} come from {}: the others are not watched; name those that matter with clientSilent.{source}.clients",
                    client.address
                ));
            }
            return idle.is_some_and(|idle| self.clients.remove(&idle).is_some());
        }
        if self.clients.len() < CLIENTS_MAX {
            return true;
        }
        if !std::mem::replace(&mut self.overlooked, true) {
            notes.push(format!(
                "more than {CLIENTS_MAX} clients come: those that have brought no event, the youngest of those that are silent, or those that come, are not watched; name those that matter with clientSilent.SOURCE.clients"
            ));
        }
        if self.is_full || !accepted {
            return false;
        }
        let idle = self.clients.iter().find(|(_, seen)| !seen.accepted);
        let silent = || {
            let silent = self.clients.iter().filter(|(_, seen)| seen.is_silent);
            silent.max_by_key(|(_, seen)| seen.first_ms)
        };
        let Some((gone, seen)) = idle.or_else(silent) else {
            self.is_full = true;
            return false;
        };
        let (gone, learned) = (gone.clone(), seen.learned);
        self.clients.remove(&gone);
        self.changed |= learned;
        true
    }

    /// Drops clients that came once, were silent for too long or are not to be known.
    fn forget(
        &mut self,
        at: EvaluationTime,
        source: &str,
        limits: &Thresholds,
        notes: &mut Vec<String>,
    ) {
        // After a start, and after a time in which no client could connect, every client's silence
        // begins anew.
        let listened = self.listens.get(source).map(|since| at.now.saturating_sub(since.now));
        let listens = listened.is_some_and(|listened| listened >= limits.lasts);
        let after = limits.clients.forget_after;
        let before = self.clients.len();
        self.clients.retain(|(owner, client), seen| {
            if owner != source {
                return true;
            }
            if !limits.clients.learns() || limits.clients.ignored.iter().any(|who| who.is(client)) {
                return false;
            }
            let unheard = seen.last.is_none_or(|last| at.now.saturating_sub(last) > limits.lasts);
            if !seen.learned {
                return !unheard;
            }
            // Not by the wall clock: setting it must not make clients be forgotten.
            let silence = match (seen.last, listened) {
                (Some(last), _) => at.now.saturating_sub(last),
                (None, Some(listened)) => seen.silence.max(seen.silence_before + listened),
                (None, None) => seen.silence,
            };
            seen.silence = silence;
            let is_old = listens && unheard && !after.is_zero() && silence >= after;
            if is_old {
                notes.push(format!(
                    "client {} of source {source} was silent for {} s and is forgotten",
                    name(client),
                    silence.as_secs()
                ));
            }
            !is_old
        });
        self.changed |= self.clients.len() < before;
        self.overlooked &= self.clients.len() >= CLIENTS_MAX;
    }

    fn judge(
        &mut self,
        at: EvaluationTime,
        source: &str,
        limits: &Thresholds,
        view: &AgentSnapshot,
        settings: &AlarmSettings,
        observed: &mut RuleObservations,
    ) {
        let component = format!("SOURCE.{source}");
        let listens = self.listens.get(source).copied();
        let judge = |last: Option<Duration>, words: &dyn Fn() -> AlarmText| {
            let silent = |since: Duration| at.now.saturating_sub(since) >= limits.lasts;
            match (last, listens) {
                (Some(last), _) if !silent(last) => RuleVerdict::Good,
                // While no client could connect, none was silent.
                (_, Some(since)) if silent(since.now) => RuleVerdict::Bad(words()),
                _ => RuleVerdict::Unchanged,
            }
        };
        let lines = ConnectedClients::of(source, view, limits);
        let cluster = &settings.sender.cluster;
        let at_once = (Duration::ZERO, Duration::ZERO);
        for who in &limits.clients.expected {
            let seen = self.expected.get(&(source.to_owned(), who.clone()));
            let words = || {
                let shown = match (seen, who) {
                    (Some(last), _) => client_words(&last.client),
                    (None, ClientPattern::Address(address)) => {
                        [address.to_string(), String::new(), String::new()]
                    }
                    (None, ClientPattern::Agent(agent, _) | ClientPattern::Certificate(agent)) => {
                        [String::new(), agent.clone(), String::new()]
                    }
                    (None, ClientPattern::Sink(agent, sink, _)) => {
                        [String::new(), agent.clone(), sink.clone()]
                    }
                };
                let is_open = match (seen, who) {
                    (Some(last), _) => lines.of_client(&last.client),
                    (None, ClientPattern::Address(address)) => lines.of_address(*address),
                    (None, _) => ConnectionState::Unknown,
                };
                let since = match (seen, listens) {
                    (Some(last), _) => (SilentSince::Heard, last.wall_ms),
                    (None, since) => (SilentSince::Listens, since.map_or(0, |since| since.wall_ms)),
                };
                words(&who.to_string(), shown, since, is_open, cluster)
            };
            let verdict = judge(seen.map(|last| last.at), &words);
            observed.add((AlarmKind::ClientSilent, &component, &who.to_string()), verdict, at_once);
        }
        for ((owner, client), seen) in self.clients.iter_mut().filter(|(_, seen)| seen.learned) {
            if owner == source && !limits.clients.expected.iter().any(|who| who.is(client)) {
                let last_ms = seen.last_ms;
                let words = || {
                    let (since, shown) = ((SilentSince::Heard, last_ms), client_words(client));
                    words(&name(client), shown, since, lines.of_client(client), cluster)
                };
                let verdict = judge(seen.last, &words);
                seen.is_silent = matches!(verdict, RuleVerdict::Bad(_));
                observed.add(
                    (AlarmKind::ClientSilent, &component, &name(client)),
                    verdict,
                    at_once,
                );
            }
        }
    }
}

impl SightingTimes {
    /// Returns the record of a client that connects for the first time.
    fn new(wall_ms: u64) -> Self {
        Self {
            first: None,
            last: None,
            first_ms: wall_ms,
            last_ms: wall_ms,
            silence: Duration::ZERO,
            silence_before: Duration::ZERO,
            accepted: false,
            learned: false,
            is_silent: false,
        }
    }
}

/// What is known of a silent client's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ConnectionState {
    /// It is connected.
    Open,
    /// From its address there is a connection that has sent nothing: its client is unknown.
    Silent,
    /// Its address is unknown.
    Unknown,
    None,
}

/// The connected clients of a source.
struct ConnectedClients<'a> {
    source: &'a str,
    view: &'a AgentSnapshot,
    connected: BTreeSet<&'a ClientId>,
}

impl<'a> ConnectedClients<'a> {
    fn of(source: &'a str, view: &'a AgentSnapshot, limits: &Thresholds) -> Self {
        let heard = view.heard.get(source).into_iter().flatten();
        // If a connection counts, a connected client is not silent.
        let heard = heard.filter(|heard| heard.connected && limits.clients.by_message);
        Self { source, view, connected: heard.map(|heard| &heard.client).collect() }
    }

    fn of_client(&self, client: &ClientId) -> ConnectionState {
        if self.connected.contains(client) {
            ConnectionState::Open
        } else {
            self.of_address(client.address)
        }
    }

    fn of_address(&self, address: IpAddr) -> ConnectionState {
        let unheard = self.view.unheard.get(self.source);
        let is_there = unheard.is_some_and(|unheard| unheard.contains(&address));
        if is_there { ConnectionState::Silent } else { ConnectionState::None }
    }
}

/// The beginning of a client's silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SilentSince {
    Heard,
    /// It has not come since the source began to listen.
    Listens,
}

fn words(
    who: &str,
    [address, agent, sink]: [String; 3],
    (since, wall_ms): (SilentSince, u64),
    line: ConnectionState,
    cluster: &str,
) -> AlarmText {
    let when = time(wall_ms - wall_ms % 1000);
    let when = match since {
        SilentSince::Heard => format!("since {when}"),
        SilentSince::Listens => format!("since the source began to listen at {when}"),
    };
    let message = match line {
        ConnectionState::Open => format!("client {who} is connected and has sent nothing {when}"),
        ConnectionState::Silent => format!(
            "client {who} has sent nothing {when}; from its address there is a connection over which nothing has come"
        ),
        ConnectionState::Unknown => format!("client {who} has not come {when}"),
        ConnectionState::None => format!("client {who} has had no connection here {when}"),
    };
    let words = AlarmText::new(message)
        .with("source", cluster)
        .with("clientIp", address)
        .with("clientName", agent)
        .with("sinkName", sink);
    match since {
        SilentSince::Heard => words.with("lastHeard", time(wall_ms)),
        SilentSince::Listens => words,
    }
}

fn client_words(client: &ClientId) -> [String; 3] {
    let agent = if client.agent.is_empty() { &client.certificate } else { &client.agent };
    [client.address.to_string(), agent.clone(), client.sink.clone()]
}

/// Returns a client's name for people.
fn name(client: &ClientId) -> String {
    let ClientId { address, agent, sink, certificate } = client;
    // A client that gives no name has that of its certificate.
    let agent = if agent.is_empty() { certificate } else { agent };
    match (agent.is_empty(), sink.is_empty()) {
        (true, true) => address.to_string(),
        (false, true) => format!("{address} {}", Escaped(agent)),
        (_, false) => format!("{address} {}/{}", Escaped(agent), Escaped(sink)),
    }
}
