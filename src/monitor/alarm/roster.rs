//! The clients that a source expects: those that the configuration names, and those that have been coming.
//!
//! A client is what its address and its two names are together: where hundreds of agents have one name, as
//! with Flume, only the address tells them apart. Silence counts while the source listens only.
//!
//! Anybody who reaches a port can give itself any names. So one is learned once events of it were accepted and
//! it has come for a while, and an address has [`NAMES_PER_ADDRESS_MAX`] clients at most. Where an address has as many,
//! or [`CLIENTS_MAX`] are known, only a client whose events were accepted finds room: one that has brought none makes
//! room for it, else, of all that are known, the youngest silent one.

use super::kind::Kind;
use super::raised::time;
use super::rules::Observed;
use super::settings::AlarmSettings;
use super::sight::{Moment, Sight, Verdict, Words, number};
use super::tuning::{Tuning, Who};
use super::{CLIENTS_MAX, CROWDED_MAX, NAMES_PER_ADDRESS_MAX};
use crate::base::visible::Visible;
use crate::metrics::{Client, Heard, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Duration;

/// A client that was learned, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) source: String,
    pub(crate) client: Client,
    /// Milliseconds since 1970.
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
    /// How long it was silent while the agent ran.
    pub(crate) silence: Duration,
}

/// When somebody was heard.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// In this life of the agent.
    first: Option<Duration>,
    last: Option<Duration>,
    first_ms: u64,
    last_ms: u64,
    /// How long it has been silent, in time that cannot be set.
    silence: Duration,
    /// Of it, before this life of the agent.
    silence_before: Duration,
    /// Events of it were accepted.
    accepted: bool,
    learned: bool,
    /// As of the last look.
    is_silent: bool,
}

/// When a client that the configuration names was heard last, and from where.
#[derive(Clone, Debug)]
struct LastHeard {
    at: Duration,
    wall_ms: u64,
    client: Client,
}

/// What is known of clients.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// By source.
    clients: BTreeMap<(String, Client), Seen>,
    /// Of those that the configuration names: when they were heard last, and from where.
    expected: BTreeMap<(String, Who), LastHeard>,
    /// Of those, who was heard from another address than that which counts, and was named for it.
    elsewhere: BTreeSet<(String, Who)>,
    /// Since when each source listens.
    listens: BTreeMap<String, Moment>,
    /// There were more clients than are known, which was said.
    overlooked: bool,
    /// The addresses of sources that have more clients than they may, which was said.
    crowded: BTreeSet<(String, IpAddr)>,
    /// Nobody makes room for a further one, as of this look.
    is_full: bool,
    /// Somebody was learned or forgotten since this was asked for.
    changed: bool,
}

impl Roster {
    pub(super) fn new(kept: Vec<Learned>) -> Self {
        let clients = kept.into_iter().take(CLIENTS_MAX).map(|kept| {
            let Learned { source, client, first_ms, last_ms, silence } = kept;
            let mut seen = Seen::new(first_ms);
            (seen.last_ms, seen.silence, seen.silence_before) = (last_ms, silence, silence);
            (seen.accepted, seen.learned) = (true, true);
            ((source, client), seen)
        });
        Self { clients: clients.collect(), ..Self::default() }
    }

    pub(super) fn has_learned(&self) -> bool {
        self.clients.values().any(|seen| seen.learned)
    }

    /// Those that are to be known at the next start.
    pub(super) fn learned(&self) -> Vec<Learned> {
        let learned = self.clients.iter().filter(|(_, seen)| seen.learned);
        let learned = learned.map(|((source, client), seen)| Learned {
            source: source.clone(),
            client: client.clone(),
            first_ms: seen.first_ms,
            last_ms: seen.last_ms,
            silence: seen.silence,
        });
        learned.collect()
    }

    /// Whether who is learned has changed since this was asked for the last time.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Looks who is there; answers what is to be said.
    pub(super) fn observe(
        &mut self,
        at: Moment,
        sight: &Sight,
        settings: &AlarmSettings,
        observed: &mut Observed,
    ) -> Vec<String> {
        let listeners = &settings.scene.listeners;
        let tunings: BTreeMap<&str, Tuning> = listeners
            .iter()
            .filter_map(|name| Some((&**name, settings.tuning(Kind::ClientSilent, name)?)))
            .collect();
        self.clients.retain(|(source, _), _| tunings.contains_key(&**source));
        self.expected.retain(|(source, who), _| {
            tunings.get(&**source).is_some_and(|tuning| tuning.clients.expected.contains(who))
        });
        self.elsewhere.retain(|key| self.expected.contains_key(key));
        self.listens.retain(|source, _| tunings.contains_key(&**source));
        self.crowded.retain(|(source, _)| tunings.contains_key(&**source));
        self.is_full = false;
        let mut notes = Vec::new();
        for (source, tuning) in &tunings {
            let reading = sight.reading(Role::Source, source);
            if reading.is_some_and(|reading| number(reading, "Up") > 0) {
                self.listens.entry((*source).to_owned()).or_insert(at);
            } else {
                self.listens.remove(*source);
            }
            for heard in sight.heard.get(*source).into_iter().flatten() {
                self.hear(at, source, tuning, heard, &mut notes);
            }
            self.forget(at, source, tuning, &mut notes);
            self.judge(at, source, tuning, sight, settings, observed);
        }
        notes
    }

    fn hear(
        &mut self,
        at: Moment,
        source: &str,
        tuning: &Tuning,
        heard: &Heard,
        notes: &mut Vec<String>,
    ) {
        let (is_sign, client) = (heard.spoke || !tuning.clients.by_message, &heard.client);
        if !is_sign {
            return;
        }
        for who in tuning.clients.expected.iter().filter(|who| who.is(client)) {
            let key = (source.to_owned(), who.clone());
            match self.expected.get(&key) {
                Some(LastHeard { client: known, .. }) if !who.counts(client, known) => {
                    if self.elsewhere.insert(key) {
                        notes.push(format!(
                            "client {who} of source {source} is heard from {}, and counts from {} only; if it has moved, write {who}@{} in clientSilent.{source}.clients, or let it show a certificate",
                            client.address, known.address, client.address
                        ));
                    }
                }
                _ => {
                    let Moment { now, wall_ms } = at;
                    let last = LastHeard { at: now, wall_ms, client: client.clone() };
                    self.expected.insert(key, last);
                }
            }
        }
        let is_ignored = tuning.clients.ignored.iter().any(|who| who.is(client));
        if !tuning.clients.learns() || is_ignored {
            return;
        }
        let key = (source.to_owned(), client.clone());
        if !self.clients.contains_key(&key) && !self.admits(&key, heard.accepted, notes) {
            return;
        }
        let seen = self.clients.entry(key).or_insert_with(|| Seen::new(at.wall_ms));
        (seen.last, seen.last_ms) = (Some(at.now), at.wall_ms);
        seen.accepted |= heard.accepted;
        let first = *seen.first.get_or_insert(at.now);
        let has_come = at.now.saturating_sub(first) >= tuning.clients.learn_after;
        if !seen.learned && seen.accepted && has_come {
            seen.learned = true;
            self.changed = true;
        }
    }

    /// Whether there is room for a client that is not known yet; where there is none, that is said once. Names that
    /// never brought an event cost nothing to invent, from any number of addresses: they take the room of nobody.
    fn admits(&mut self, key: &(String, Client), accepted: bool, notes: &mut Vec<String>) -> bool {
        let (source, client) = key;
        let first = (source.clone(), Client::new(client.address, "", ""));
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

    /// Drops those that came once, that were silent for too long or are not to be known.
    fn forget(&mut self, at: Moment, source: &str, tuning: &Tuning, notes: &mut Vec<String>) {
        // Behind a start, and behind a time in which nobody could come, everybody has their time again.
        let listened = self.listens.get(source).map(|since| at.now.saturating_sub(since.now));
        let listens = listened.is_some_and(|listened| listened >= tuning.lasts);
        let after = tuning.clients.forget_after;
        let before = self.clients.len();
        self.clients.retain(|(owner, client), seen| {
            if owner != source {
                return true;
            }
            if !tuning.clients.learns() || tuning.clients.ignored.iter().any(|who| who.is(client)) {
                return false;
            }
            let unheard = seen.last.is_none_or(|last| at.now.saturating_sub(last) > tuning.lasts);
            if !seen.learned {
                return !unheard;
            }
            // Not by the wall clock: one that is set must not let clients be forgotten.
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
        at: Moment,
        source: &str,
        tuning: &Tuning,
        sight: &Sight,
        settings: &AlarmSettings,
        observed: &mut Observed,
    ) {
        let component = format!("SOURCE.{source}");
        let listens = self.listens.get(source).copied();
        let judge = |last: Option<Duration>, words: &dyn Fn() -> Words| {
            let silent = |since: Duration| at.now.saturating_sub(since) >= tuning.lasts;
            match (last, listens) {
                (Some(last), _) if !silent(last) => Verdict::Good,
                // As long as nobody could have come, nobody was silent.
                (_, Some(since)) if silent(since.now) => Verdict::Bad(words()),
                _ => Verdict::Same,
            }
        };
        let lines = Lines::of(source, sight, tuning);
        let cluster = &settings.sender.cluster;
        let at_once = (Duration::ZERO, Duration::ZERO);
        for who in &tuning.clients.expected {
            let seen = self.expected.get(&(source.to_owned(), who.clone()));
            let words = || {
                let shown = match (seen, who) {
                    (Some(last), _) => client_words(&last.client),
                    (None, Who::Address(address)) => {
                        [address.to_string(), String::new(), String::new()]
                    }
                    (None, Who::Agent(agent, _) | Who::Certificate(agent)) => {
                        [String::new(), agent.clone(), String::new()]
                    }
                    (None, Who::Sink(agent, sink, _)) => {
                        [String::new(), agent.clone(), sink.clone()]
                    }
                };
                let is_open = match (seen, who) {
                    (Some(last), _) => lines.of_client(&last.client),
                    (None, Who::Address(address)) => lines.of_address(*address),
                    (None, _) => Line::Unknown,
                };
                let since = match (seen, listens) {
                    (Some(last), _) => (Since::Heard, last.wall_ms),
                    (None, since) => (Since::Listens, since.map_or(0, |since| since.wall_ms)),
                };
                words(&who.to_string(), shown, since, is_open, cluster)
            };
            let verdict = judge(seen.map(|last| last.at), &words);
            observed.add((Kind::ClientSilent, &component, &who.to_string()), verdict, at_once);
        }
        for ((owner, client), seen) in self.clients.iter_mut().filter(|(_, seen)| seen.learned) {
            if owner == source && !tuning.clients.expected.iter().any(|who| who.is(client)) {
                let last_ms = seen.last_ms;
                let words = || {
                    let (since, shown) = ((Since::Heard, last_ms), client_words(client));
                    words(&name(client), shown, since, lines.of_client(client), cluster)
                };
                let verdict = judge(seen.last, &words);
                seen.is_silent = matches!(verdict, Verdict::Bad(_));
                observed.add((Kind::ClientSilent, &component, &name(client)), verdict, at_once);
            }
        }
    }
}

impl Seen {
    /// One that comes for the first time.
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
enum Line {
    /// It is connected.
    Open,
    /// From its address somebody is connected and has sent nothing: who that is cannot be known.
    Unheard,
    /// Its address is not known.
    Unknown,
    None,
}

/// Who is connected to a source.
struct Lines<'a> {
    source: &'a str,
    sight: &'a Sight,
    connected: BTreeSet<&'a Client>,
}

impl<'a> Lines<'a> {
    fn of(source: &'a str, sight: &'a Sight, tuning: &Tuning) -> Self {
        let heard = sight.heard.get(source).into_iter().flatten();
        // Where a connection is a sign, one that is connected is not silent.
        let heard = heard.filter(|heard| heard.connected && tuning.clients.by_message);
        Self { source, sight, connected: heard.map(|heard| &heard.client).collect() }
    }

    fn of_client(&self, client: &Client) -> Line {
        if self.connected.contains(client) { Line::Open } else { self.of_address(client.address) }
    }

    fn of_address(&self, address: IpAddr) -> Line {
        let unheard = self.sight.unheard.get(self.source);
        let is_there = unheard.is_some_and(|unheard| unheard.contains(&address));
        if is_there { Line::Unheard } else { Line::None }
    }
}

/// From when on a client is silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Since {
    Heard,
    /// It has not come since the source began to listen.
    Listens,
}

fn words(
    who: &str,
    [address, agent, sink]: [String; 3],
    (since, wall_ms): (Since, u64),
    line: Line,
    cluster: &str,
) -> Words {
    let when = time(wall_ms - wall_ms % 1000);
    let when = match since {
        Since::Heard => format!("since {when}"),
        Since::Listens => format!("since the source began to listen at {when}"),
    };
    let message = match line {
        Line::Open => format!("client {who} is connected and has sent nothing {when}"),
        Line::Unheard => format!(
            "client {who} has sent nothing {when}; from its address there is a connection over which nothing has come"
        ),
        Line::Unknown => format!("client {who} has not come {when}"),
        Line::None => format!("client {who} has had no connection here {when}"),
    };
    let words = Words::new(message)
        .with("source", cluster)
        .with("clientIp", address)
        .with("clientName", agent)
        .with("sinkName", sink);
    match since {
        Since::Heard => words.with("lastHeard", time(wall_ms)),
        Since::Listens => words,
    }
}

fn client_words(client: &Client) -> [String; 3] {
    let agent = if client.agent.is_empty() { &client.certificate } else { &client.agent };
    [client.address.to_string(), agent.clone(), client.sink.clone()]
}

/// A client as it is named to people.
fn name(client: &Client) -> String {
    let Client { address, agent, sink, certificate } = client;
    // One that says no name has that of its certificate.
    let agent = if agent.is_empty() { certificate } else { agent };
    match (agent.is_empty(), sink.is_empty()) {
        (true, true) => address.to_string(),
        (false, true) => format!("{address} {}", Visible(agent)),
        (_, false) => format!("{address} {}/{}", Visible(agent), Visible(sink)),
    }
}
