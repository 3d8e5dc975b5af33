//! The clients that a source expects: those that the configuration names, and those that have been coming.
//!
//! A client is what its address and its two names are together: where hundreds of agents have one name, as
//! with Flume, only the address tells them apart. Silence counts while the source listens only.

use super::CLIENTS_MAX;
use super::kind::Kind;
use super::raised::time;
use super::rules::Observed;
use super::settings::AlarmSettings;
use super::sight::{Moment, Sight, Verdict, Words, number};
use super::tuning::{Tuning, Who};
use crate::base::visible::Visible;
use crate::metrics::{Client, Heard, Role};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A client that was learned, as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Learned {
    pub(crate) source: String,
    pub(crate) client: Client,
    /// Milliseconds since 1970.
    pub(crate) first_ms: u64,
    pub(crate) last_ms: u64,
}

/// When somebody was heard.
#[derive(Clone, Copy, Debug)]
struct Seen {
    /// In this life of the agent.
    first: Option<Duration>,
    last: Option<Duration>,
    first_ms: u64,
    last_ms: u64,
    learned: bool,
}

/// What is known of clients.
#[derive(Debug, Default)]
pub(super) struct Roster {
    /// By source.
    clients: BTreeMap<(String, Client), Seen>,
    /// Of those that the configuration names: when they were heard last, and from where.
    expected: BTreeMap<(String, Who), (Duration, Client)>,
    /// Of those, who was heard from another address than that which counts, and was named for it.
    elsewhere: BTreeSet<(String, Who)>,
    /// Since when each source listens.
    listens: BTreeMap<String, Duration>,
    overlooked: bool,
    /// Somebody was learned or forgotten since this was asked for.
    changed: bool,
}

impl Roster {
    pub(super) fn new(kept: Vec<Learned>) -> Self {
        let clients = kept.into_iter().take(CLIENTS_MAX).map(|kept| {
            let Learned { source, client, first_ms, last_ms } = kept;
            let seen = Seen { first: None, last: None, first_ms, last_ms, learned: true };
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
        let mut notes = Vec::new();
        for (source, tuning) in &tunings {
            let reading = sight.reading(Role::Source, source);
            if reading.is_some_and(|reading| number(reading, "Up") > 0) {
                self.listens.entry((*source).to_owned()).or_insert(at.now);
            } else {
                self.listens.remove(*source);
            }
            for heard in sight.heard.get(*source).into_iter().flatten() {
                self.hear(at, source, tuning, heard, &mut notes);
            }
            self.forget(at, source, tuning, &mut notes);
            self.judge(at, source, tuning, settings, observed);
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
                Some((_, known)) if !who.counts(client, known) => {
                    if self.elsewhere.insert(key) {
                        notes.push(format!(
                            "client {who} of source {source} is heard from {}, and counts from {} only; if it has moved, write {who}@{} in clientSilent.{source}.clients, or let it show a certificate",
                            client.address, known.address, client.address
                        ));
                    }
                }
                _ => drop(self.expected.insert(key, (at.now, client.clone()))),
            }
        }
        let is_ignored = tuning.clients.ignored.iter().any(|who| who.is(client));
        if !tuning.clients.learns() || is_ignored {
            return;
        }
        let key = (source.to_owned(), client.clone());
        if self.clients.len() >= CLIENTS_MAX && !self.clients.contains_key(&key) {
            if !std::mem::replace(&mut self.overlooked, true) {
                notes.push(format!(
                    "more than {CLIENTS_MAX} clients come: the others are not watched; name those that matter with clientSilent.SOURCE.clients"
                ));
            }
            return;
        }
        let wall_ms = at.wall_ms;
        let new =
            Seen { first: None, last: None, first_ms: wall_ms, last_ms: wall_ms, learned: false };
        let seen = self.clients.entry(key).or_insert(new);
        (seen.last, seen.last_ms) = (Some(at.now), at.wall_ms);
        let first = *seen.first.get_or_insert(at.now);
        // One that tells its names is a sink of an agent, and will come again.
        let is_named = !(client.agent.is_empty() && client.sink.is_empty());
        let after = if is_named { Duration::ZERO } else { tuning.clients.learn_after };
        if !seen.learned && at.now.saturating_sub(first) >= after {
            seen.learned = true;
            self.changed = true;
        }
    }

    /// Drops those that came once, that were silent for too long or are not to be known.
    fn forget(&mut self, at: Moment, source: &str, tuning: &Tuning, notes: &mut Vec<String>) {
        // Behind a start, and behind a time in which nobody could come, everybody has their time again.
        let listened = self.listens.get(source).map(|since| at.now.saturating_sub(*since));
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
            let silent = Duration::from_millis(at.wall_ms.saturating_sub(seen.last_ms));
            let is_old = listens && unheard && !after.is_zero() && silent >= after;
            if is_old {
                notes.push(format!(
                    "client {} of source {source} was silent for {} s and is forgotten",
                    name(client),
                    silent.as_secs()
                ));
            }
            !is_old
        });
        self.changed |= self.clients.len() < before;
        self.overlooked &= self.clients.len() >= CLIENTS_MAX;
    }

    fn judge(
        &self,
        at: Moment,
        source: &str,
        tuning: &Tuning,
        settings: &AlarmSettings,
        observed: &mut Observed,
    ) {
        let component = format!("SOURCE.{source}");
        let judge = |last: Option<Duration>, words: &dyn Fn() -> Words| {
            let silent = |since: Duration| at.now.saturating_sub(since) >= tuning.lasts;
            match (last, self.listens.get(source)) {
                (Some(last), _) if !silent(last) => Verdict::Good,
                // As long as nobody could have come, nobody was silent.
                (_, Some(since)) if silent(*since) => Verdict::Bad(words()),
                _ => Verdict::Same,
            }
        };
        let at_once = (Duration::ZERO, Duration::ZERO);
        for who in &tuning.clients.expected {
            let seen = self.expected.get(&(source.to_owned(), who.clone()));
            let words = || {
                let shown = match (seen, who) {
                    (Some((_, client)), _) => client_words(client),
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
                self.words(&who.to_string(), shown, None, tuning, settings)
            };
            let verdict = judge(seen.map(|(last, _)| *last), &words);
            observed.add((Kind::ClientSilent, &component, &who.to_string()), verdict, at_once);
        }
        for ((owner, client), seen) in self.clients.iter().filter(|(_, seen)| seen.learned) {
            if owner == source && !tuning.clients.expected.iter().any(|who| who.is(client)) {
                let words = || {
                    let shown = client_words(client);
                    self.words(&name(client), shown, Some(seen.last_ms), tuning, settings)
                };
                let verdict = judge(seen.last, &words);
                observed.add((Kind::ClientSilent, &component, &name(client)), verdict, at_once);
            }
        }
    }

    fn words(
        &self,
        who: &str,
        [address, agent, sink]: [String; 3],
        last_ms: Option<u64>,
        tuning: &Tuning,
        settings: &AlarmSettings,
    ) -> Words {
        let seconds = tuning.lasts.as_secs();
        let words = Words::new(format!("client {who} has had no connection for {seconds} s"));
        let words = words
            .with("source", &settings.sender.cluster)
            .with("clientIp", address)
            .with("clientName", agent)
            .with("sinkName", sink);
        match last_ms {
            Some(last_ms) => words.with("lastHeard", time(last_ms)),
            None => words,
        }
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
