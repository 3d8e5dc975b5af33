//! The evaluator: raises once what is bad for long enough, and clears what is good for long enough.
//!
//! Pure: settings, snapshots and their time go in, changes come out. It has no clock, thread or
//! disk.

use super::alarm_record::{Alarm, ClearedAlarm};
use super::certificates;
use super::drop_rule::DropRule;
use super::expected_clients::{ExpectedClients, LearnedClient};
use super::kind::AlarmKind;
use super::observation::{
    AgentSnapshot, AlarmTarget, AlarmText, EvaluationTime, Observation, RuleVerdict,
};
use super::progress::ProgressRule;
use super::rule_observations::RuleObservations;
use super::rules;
use super::settings::AlarmSettings;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// What is kept from one run of the agent to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PersistedAlarms {
    /// The number of the next alarm.
    pub(crate) next: u64,
    pub(crate) active: Vec<Arc<Alarm>>,
    /// Cleared alarms, the oldest first.
    pub(crate) history: Vec<Arc<Alarm>>,
    pub(crate) clients: Vec<LearnedClient>,
}

/// A change found by an evaluation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum AlarmChange {
    Raised(Arc<Alarm>),
    /// It was active when the agent ended, and still is.
    Still(Arc<Alarm>),
    Cleared(Arc<Alarm>),
    /// A message other than an alarm.
    Note(String),
}

/// Counts since the start, by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct AlarmCounts {
    pub(crate) raised: u64,
    pub(crate) cleared: u64,
}

/// The state of a target.
#[derive(Debug)]
struct SubjectState {
    /// Since when it is bad.
    since: Duration,
    /// Since when it has been good without a break.
    good_since: Option<Duration>,
    /// The alarm, once it is raised.
    alarm: Option<Arc<Alarm>>,
    /// Whether targets were notified of it in this run.
    told: bool,
}

/// The alarms of an agent.
pub(crate) struct AlarmEvaluator {
    settings: Arc<AlarmSettings>,
    progress: ProgressRule,
    losses: DropRule,
    expected_clients: ExpectedClients,
    states: BTreeMap<AlarmTarget, SubjectState>,
    history: VecDeque<Arc<Alarm>>,
    next: u64,
    counts: BTreeMap<AlarmKind, AlarmCounts>,
    changed: bool,
}

impl AlarmEvaluator {
    pub(crate) fn new(settings: Arc<AlarmSettings>, kept: PersistedAlarms) -> Self {
        let states = kept.active.into_iter().map(|alarm| {
            let place = AlarmTarget {
                kind: alarm.kind,
                component: alarm.component.clone(),
                subject: alarm.subject.clone(),
            };
            let (since, good_since) = (Duration::ZERO, None);
            (place, SubjectState { since, good_since, alarm: Some(alarm), told: false })
        });
        let mut evaluator = Self {
            progress: ProgressRule::default(),
            losses: DropRule::default(),
            expected_clients: ExpectedClients::new(kept.clients),
            states: states.collect(),
            history: kept.history.into(),
            next: kept.next.max(1),
            counts: BTreeMap::new(),
            changed: false,
            settings,
        };
        evaluator.shorten();
        evaluator
    }

    /// Returns a new evaluator after an evaluation that panicked: with the same alarms, clients and
    /// counts, and without notifying again.
    pub(crate) fn anew(&self) -> Self {
        self.anew_with(self.kept())
    }

    /// Returns it joined with what an earlier run stored, which could not be read before. Where
    /// both know something, this one's state counts.
    pub(crate) fn joined(&self, kept: PersistedAlarms) -> Self {
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
        let is_new = |learned: &LearnedClient| {
            let same = |own: &LearnedClient| {
                (&own.source, &own.client) == (&learned.source, &learned.client)
            };
            !all.clients.iter().any(same)
        };
        let clients: Vec<_> = kept.clients.into_iter().filter(is_new).collect();
        all.next = all.next.max(kept.next);
        all.active.extend(active);
        all.history = earlier.into_iter().chain(all.history).collect();
        all.clients.extend(clients);
        self.anew_with(all)
    }

    fn anew_with(&self, kept: PersistedAlarms) -> Self {
        let mut anew = Self::new(Arc::clone(&self.settings), kept);
        for (place, state) in &mut anew.states {
            state.told = self.states.get(place).is_some_and(|before| before.told);
        }
        // Counts of drops never fall: known losses must not raise alarms again.
        anew.losses = self.losses.clone();
        anew.counts.clone_from(&self.counts);
        anew.changed = true;
        anew
    }

    /// Uses these settings from now on; what they no longer watch is cleared by the next
    /// evaluation.
    pub(crate) fn adopt(&mut self, settings: Arc<AlarmSettings>) {
        self.settings = settings;
        self.shorten();
    }

    /// Evaluates, and returns the changes.
    pub(crate) fn look(&mut self, at: EvaluationTime, view: &AgentSnapshot) -> Vec<AlarmChange> {
        let settings = Arc::clone(&self.settings);
        let (mut observed, mut changes) = (RuleObservations::default(), Vec::new());
        if settings.enabled {
            rules::observe(view, &settings, &mut observed);
            certificates::observe(at.wall_ms, view, &settings, &mut observed);
            self.progress.observe(at.now, view, &settings, &mut observed);
            self.losses.observe(at.now, view, &settings, &mut observed);
            let notes = self.expected_clients.observe(at, view, &settings, &mut observed);
            changes.extend(notes.into_iter().map(AlarmChange::Note));
            self.changed |= self.expected_clients.take_changed();
        }
        let RuleObservations { list, unseen } = observed;
        let seen: BTreeSet<&AlarmTarget> = list.iter().map(|seen| &seen.place).collect();
        let hidden = |place: &AlarmTarget| {
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
        let gone: Vec<AlarmTarget> = gone.cloned().collect();
        for place in gone {
            changes.extend(self.clear(at, &place, "it is no longer watched"));
        }
        for seen in list {
            changes.extend(self.step(at, seen));
        }
        changes
    }

    fn step(&mut self, at: EvaluationTime, seen: Observation) -> Option<AlarmChange> {
        let Observation { place, verdict, lasts, settles } = seen;
        match verdict {
            RuleVerdict::Unchanged => {
                self.states.get_mut(&place)?.good_since = None;
                None
            }
            RuleVerdict::Good => {
                let state = self.states.get_mut(&place)?;
                let since = *state.good_since.get_or_insert(at.now);
                if at.now.saturating_sub(since) < settles {
                    return None;
                }
                self.clear(at, &place, "the problem is over")
            }
            RuleVerdict::Bad(words) => {
                let new =
                    SubjectState { since: at.now, good_since: None, alarm: None, told: false };
                let state = self.states.entry(place.clone()).or_insert(new);
                state.good_since = None;
                if let Some(alarm) = &mut state.alarm {
                    // Active alarms show the current numbers.
                    if (&alarm.message, &alarm.parameters) != (&words.message, &words.parameters) {
                        let AlarmText { message, parameters } = words;
                        *alarm = Arc::new(Alarm { message, parameters, ..Alarm::clone(alarm) });
                    }
                    let again = !std::mem::replace(&mut state.told, true);
                    return again.then(|| AlarmChange::Still(Arc::clone(alarm)));
                }
                if at.now.saturating_sub(state.since) < lasts {
                    return None;
                }
                Some(self.raise(at, place, words))
            }
        }
    }

    fn raise(&mut self, at: EvaluationTime, place: AlarmTarget, words: AlarmText) -> AlarmChange {
        let settings = &self.settings;
        let name = place.component.split_once('.').map_or("", |(_, name)| name);
        let severity = settings.limits(place.kind, name).map(|limits| limits.severity);
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
        let state = SubjectState { since: at.now, good_since: None, alarm: kept, told: true };
        self.states.insert(place, state);
        AlarmChange::Raised(alarm)
    }

    /// Removes a target; its alarm, if there was one, is cleared.
    fn clear(&mut self, at: EvaluationTime, place: &AlarmTarget, why: &str) -> Option<AlarmChange> {
        let alarm = self.states.remove(place)?.alarm?;
        let cleared = ClearedAlarm { at_ms: at.wall_ms, why: why.to_owned() };
        let alarm = Arc::new(Alarm { cleared: Some(cleared), ..Alarm::clone(&alarm) });
        self.counts.entry(place.kind).or_default().cleared += 1;
        self.history.push_back(Arc::clone(&alarm));
        self.shorten();
        self.changed = true;
        Some(AlarmChange::Cleared(alarm))
    }

    fn shorten(&mut self) {
        while self.history.len() > self.settings.history_max {
            self.history.pop_front();
            self.changed = true;
        }
    }

    /// Returns whether what is to be persisted has changed since the last call.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Returns whether clients were learned.
    pub(crate) fn knows_clients(&self) -> bool {
        self.expected_clients.has_learned()
    }

    /// Returns what is to be stored for the next start.
    pub(crate) fn kept(&self) -> PersistedAlarms {
        PersistedAlarms {
            next: self.next,
            active: self.active(),
            history: self.history.iter().cloned().collect(),
            clients: self.expected_clients.learned(),
        }
    }

    /// Returns the active alarms, by target.
    pub(crate) fn active(&self) -> Vec<Arc<Alarm>> {
        self.states.values().filter_map(|state| state.alarm.clone()).collect()
    }

    /// Returns the cleared alarms, the newest first.
    pub(crate) fn history(&self) -> Vec<Arc<Alarm>> {
        self.history.iter().rev().cloned().collect()
    }

    pub(crate) fn counts(&self) -> Vec<(AlarmKind, AlarmCounts)> {
        let count = |kind: AlarmKind| (kind, self.counts.get(&kind).copied().unwrap_or_default());
        AlarmKind::ALL.into_iter().map(count).collect()
    }
}
