//! From looks to alarms: what is bad for long enough is raised once, what is good for long enough is cleared.
//!
//! Pure: settings, looks and their time go in, changes come out. It has no clock, no thread and no disk.

use super::certificates;
use super::kind::Kind;
use super::losses::Losses;
use super::progress::Progress;
use super::raised::{Alarm, Cleared};
use super::roster::{Learned, Roster};
use super::rules::{self, Observed};
use super::settings::AlarmSettings;
use super::sight::{Moment, Observation, Place, Sight, Verdict, Words};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What is kept from one life of an agent to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kept {
    /// The number of the next alarm.
    pub(crate) next: u64,
    pub(crate) active: Vec<Arc<Alarm>>,
    /// Those that are over, the oldest first.
    pub(crate) history: Vec<Arc<Alarm>>,
    pub(crate) clients: Vec<Learned>,
}

/// Something that a look has changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Raised(Arc<Alarm>),
    /// It was active when the agent ended, and still is.
    Still(Arc<Alarm>),
    Cleared(Arc<Alarm>),
    /// What is to be said beside alarms.
    Note(String),
}

/// How often something happened since the start, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) raised: u64,
    pub(crate) cleared: u64,
}

/// What is to be said of a place.
#[derive(Debug)]
struct State {
    /// Since when it is bad.
    since: Duration,
    /// Since when it has been good without a break.
    good_since: Option<Duration>,
    /// The alarm, once it is raised.
    alarm: Option<Arc<Alarm>>,
    /// Whether somebody was told of it in this life.
    told: bool,
}

/// The alarms of an agent.
pub(crate) struct Machine {
    settings: Arc<AlarmSettings>,
    progress: Progress,
    losses: Losses,
    roster: Roster,
    states: BTreeMap<Place, State>,
    history: VecDeque<Arc<Alarm>>,
    next: u64,
    counts: BTreeMap<Kind, Counts>,
    changed: bool,
}

impl Machine {
    pub(crate) fn new(settings: Arc<AlarmSettings>, kept: Kept) -> Self {
        let states = kept.active.into_iter().map(|alarm| {
            let place = Place {
                kind: alarm.kind,
                component: alarm.component.clone(),
                subject: alarm.subject.clone(),
            };
            let (since, good_since) = (Duration::ZERO, None);
            (place, State { since, good_since, alarm: Some(alarm), told: false })
        });
        let mut machine = Self {
            progress: Progress::default(),
            losses: Losses::default(),
            roster: Roster::new(kept.clients),
            states: states.collect(),
            history: kept.history.into(),
            next: kept.next.max(1),
            counts: BTreeMap::new(),
            changed: false,
            settings,
        };
        machine.shorten();
        machine
    }

    /// The same from the beginning, behind a look that ended in the middle: with the alarms, clients and
    /// counts that it has, and nobody is told again.
    pub(crate) fn anew(&self) -> Self {
        self.anew_with(self.kept())
    }

    /// The same with what an earlier life has kept, which could not be had before. What both know is as it is
    /// here.
    pub(crate) fn joined(&self, kept: Kept) -> Self {
        let mut all = self.kept();
        let is_known = |alarm: &Arc<Alarm>| {
            let own = all.active.iter().chain(&all.history);
            let id = |alarm: &Alarm| (alarm.serial, alarm.raised_ms);
            let place =
                |alarm: &Alarm| (alarm.kind, alarm.component.clone(), alarm.subject.clone());
            own.into_iter().any(|own| id(own) == id(alarm))
                || alarm.cleared.is_none()
                    && all.active.iter().any(|own| place(own) == place(alarm))
        };
        let active: Vec<_> = kept.active.into_iter().filter(|alarm| !is_known(alarm)).collect();
        let earlier: Vec<_> = kept.history.into_iter().filter(|alarm| !is_known(alarm)).collect();
        let is_new = |learned: &Learned| {
            let same =
                |own: &Learned| (&own.source, &own.client) == (&learned.source, &learned.client);
            !all.clients.iter().any(same)
        };
        let clients: Vec<_> = kept.clients.into_iter().filter(is_new).collect();
        all.next = all.next.max(kept.next);
        all.active.extend(active);
        all.history = earlier.into_iter().chain(all.history).collect();
        all.clients.extend(clients);
        self.anew_with(all)
    }

    fn anew_with(&self, kept: Kept) -> Self {
        let mut anew = Self::new(Arc::clone(&self.settings), kept);
        for (place, state) in &mut anew.states {
            state.told = self.states.get(place).is_some_and(|before| before.told);
        }
        // Counts of drops never fall: what was seen is not to be raised again.
        anew.losses = self.losses.clone();
        anew.counts.clone_from(&self.counts);
        anew.changed = true;
        anew
    }

    /// From now on these settings count; what they no longer watch is cleared by the next look.
    pub(crate) fn adopt(&mut self, settings: Arc<AlarmSettings>) {
        self.settings = settings;
        self.shorten();
    }

    /// Looks, and answers what has changed.
    pub(crate) fn look(&mut self, at: Moment, sight: &Sight) -> Vec<Change> {
        let settings = Arc::clone(&self.settings);
        let (mut observed, mut changes) = (Observed::default(), Vec::new());
        if settings.enabled {
            rules::observe(sight, &settings, &mut observed);
            certificates::observe(at.wall_ms, sight, &settings, &mut observed);
            self.progress.observe(at.now, sight, &settings, &mut observed);
            self.losses.observe(at.now, sight, &settings, &mut observed);
            let notes = self.roster.observe(at, sight, &settings, &mut observed);
            changes.extend(notes.into_iter().map(Change::Note));
            self.changed |= self.roster.take_changed();
        }
        let Observed { list, unseen } = observed;
        let seen: BTreeSet<&Place> = list.iter().map(|seen| &seen.place).collect();
        let hidden = |place: &Place| {
            unseen
                .iter()
                .any(|(kind, component)| (*kind, component) == (place.kind, &place.component))
        };
        for (place, state) in &mut self.states {
            if hidden(place) {
                state.good_since = None;
            }
        }
        let gone = self.states.keys().filter(|place| !seen.contains(place) && !hidden(place));
        let gone: Vec<Place> = gone.cloned().collect();
        for place in gone {
            changes.extend(self.clear(at, &place, "it is no longer watched"));
        }
        for seen in list {
            changes.extend(self.step(at, seen));
        }
        changes
    }

    fn step(&mut self, at: Moment, seen: Observation) -> Option<Change> {
        let Observation { place, verdict, lasts, settles } = seen;
        match verdict {
            Verdict::Same => {
                self.states.get_mut(&place)?.good_since = None;
                None
            }
            Verdict::Good => {
                let state = self.states.get_mut(&place)?;
                let since = *state.good_since.get_or_insert(at.now);
                if at.now.saturating_sub(since) < settles {
                    return None;
                }
                self.clear(at, &place, "it is in order again")
            }
            Verdict::Bad(words) => {
                let new = State { since: at.now, good_since: None, alarm: None, told: false };
                let state = self.states.entry(place.clone()).or_insert(new);
                state.good_since = None;
                if let Some(alarm) = &mut state.alarm {
                    // What is shown has the numbers of now.
                    if (&alarm.message, &alarm.parameters) != (&words.message, &words.parameters) {
                        let Words { message, parameters } = words;
                        *alarm = Arc::new(Alarm { message, parameters, ..Alarm::clone(alarm) });
                    }
                    let again = !std::mem::replace(&mut state.told, true);
                    return again.then(|| Change::Still(Arc::clone(alarm)));
                }
                if at.now.saturating_sub(state.since) < lasts {
                    return None;
                }
                Some(self.raise(at, place, words))
            }
        }
    }

    fn raise(&mut self, at: Moment, place: Place, words: Words) -> Change {
        let settings = &self.settings;
        let name = place.component.split_once('.').map_or("", |(_, name)| name);
        let severity = settings.tuning(place.kind, name).map(|tuning| tuning.severity);
        let alarm = Arc::new(Alarm {
            serial: self.next,
            kind: place.kind,
            severity: severity.unwrap_or(place.kind.entry().severity),
            component: place.component.clone(),
            subject: place.subject.clone(),
            message: words.message,
            parameters: words.parameters,
            raised_ms: at.wall_ms,
            cleared: None,
        });
        self.next = self.next.saturating_add(1);
        self.counts.entry(place.kind).or_default().raised += 1;
        self.changed = true;
        let kept = Some(Arc::clone(&alarm));
        let state = State { since: at.now, good_since: None, alarm: kept, told: true };
        self.states.insert(place, state);
        Change::Raised(alarm)
    }

    /// Forgets a place; its alarm, if there was one, is over.
    fn clear(&mut self, at: Moment, place: &Place, why: &str) -> Option<Change> {
        let alarm = self.states.remove(place)?.alarm?;
        let cleared = Cleared { at_ms: at.wall_ms, why: why.to_owned() };
        let alarm = Arc::new(Alarm { cleared: Some(cleared), ..Alarm::clone(&alarm) });
        self.counts.entry(place.kind).or_default().cleared += 1;
        self.history.push_back(Arc::clone(&alarm));
        self.shorten();
        self.changed = true;
        Some(Change::Cleared(alarm))
    }

    fn shorten(&mut self) {
        while self.history.len() > self.settings.history_max {
            self.history.pop_front();
            self.changed = true;
        }
    }

    /// Whether what is to be kept has changed since this was asked for the last time.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Whether clients were learned.
    pub(crate) fn knows_clients(&self) -> bool {
        self.roster.has_learned()
    }

    /// What is to be known at the next start.
    pub(crate) fn kept(&self) -> Kept {
        Kept {
            next: self.next,
            active: self.active(),
            history: self.history.iter().cloned().collect(),
            clients: self.roster.learned(),
        }
    }

    /// Those that are not over, by place.
    pub(crate) fn active(&self) -> Vec<Arc<Alarm>> {
        self.states.values().filter_map(|state| state.alarm.clone()).collect()
    }

    /// Those that are over, the newest first.
    pub(crate) fn history(&self) -> Vec<Arc<Alarm>> {
        self.history.iter().rev().cloned().collect()
    }

    pub(crate) fn counts(&self) -> Vec<(Kind, Counts)> {
        let count = |kind: Kind| (kind, self.counts.get(&kind).copied().unwrap_or_default());
        Kind::ALL.into_iter().map(count).collect()
    }
}
