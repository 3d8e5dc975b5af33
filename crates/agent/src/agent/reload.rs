//! Reloads: applies a changed configuration by stopping and starting what differs; all else goes
//! on.

use super::build::AgentPlan;
use super::memory_handover::MemoryHandover;
use super::stop::{close, closed, end};
use super::supervise::{
    ComponentTask, LiveAgent, RunningChannel, RunningComponent, SINKS_FIRST, all_tried,
};
use millpond_flow::context::StopSignal;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// What a reload did, by names such as `source r1`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReloadReport {
    /// Newly started.
    pub added: Vec<String>,
    /// Restarted with other settings.
    pub restarted: Vec<String>,
    /// Stopped for good.
    pub removed: Vec<String>,
    /// Had to be cut off, as at a stop.
    pub cut_off: Vec<String>,
    /// A stop interrupted it; the other lists are empty then.
    pub abandoned: bool,
}

impl ReloadReport {
    /// Returns whether nothing was to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.restarted.is_empty() && self.removed.is_empty()
    }

    /// Returns one line of text.
    #[must_use]
    pub fn words(&self) -> String {
        let lists = [("new", &self.added), ("restarted", &self.restarted), ("gone", &self.removed)];
        let words = lists.into_iter().filter(|(_, names)| !names.is_empty());
        let words: Vec<String> =
            words.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
        words.join("; ")
    }
}

impl LiveAgent {
    /// Applies `plan` to what runs. A component with the same settings on the same channels goes on
    /// untouched. Sources stop first, then sinks, then channels, as when the agent stops, within
    /// `deadline`; then new parts start. A memory channel whose settings have changed hands its
    /// events over.
    ///
    /// Once `stop` has fired it returns as it is, for [`LiveAgent::stop`] to continue: then nothing
    /// of `plan` has started, except sinks on memory channels whose own sinks have ended.
    pub async fn adopt(
        &mut self,
        plan: AgentPlan,
        deadline: Duration,
        stop: &StopSignal,
    ) -> ReloadReport {
        let before = self.names();
        let stale = self.stale(&plan);
        let mut adopted = ReloadReport::default();
        // A channel that stays, or hands its events over, need not be emptied by sinks that stop
        // now.
        for channel in &plan.channels {
            if let Some(part) = self.channels.get(&channel.name) {
                part.drains.set(false);
            }
        }
        let made_way = tokio::select! {
            biased;
            () = stop.wait() => false,
            () = self.make_way(&plan, &stale, deadline, &mut adopted.cut_off) => true,
        };
        for part in self.channels.values() {
            part.drains.set(part.volatile);
        }
        if !made_way {
            adopted.abandoned = true;
            self.empty_orphans(plan).await;
            return adopted;
        }
        self.start_missing(plan);
        let after = self.names();
        let stopped = |name: &&String| stale.contains(*name);
        adopted.restarted = after.iter().filter(stopped).cloned().collect();
        adopted.added = after.difference(&before).cloned().collect();
        adopted.removed = before.difference(&after).cloned().collect();
        adopted
    }

    /// Stops what is not as in `plan`. May be cancelled at any await: until all of it has stopped,
    /// channels with events are still among the parts, and events to be handed over among them or
    /// the estates.
    async fn make_way(
        &mut self,
        plan: &AgentPlan,
        stale: &BTreeSet<String>,
        deadline: Duration,
        cut_off: &mut Vec<String>,
    ) {
        let began = Instant::now();
        let sources = self.sources.values_mut().map(|part| &mut part.task);
        end(sources.filter(|task| stale.contains(&task.name)), began + deadline / 2, cut_off).await;
        let until = began + deadline / 10 * 9;
        self.drain_until(until);
        let sinks = self.sinks.values_mut().map(|part| &mut part.task);
        end(sinks.filter(|task| stale.contains(&task.name)), until, cut_off).await;
        self.close_stale(plan, stale, began + deadline, cut_off).await;
        self.sources.retain(|name, _| !stale.contains(name));
        self.sinks.retain(|name, _| !stale.contains(name));
    }

    /// Starts the sinks of `plan` on memory channels that hold events and have no sink any more: a
    /// stop that interrupts a reload must not lose what they would have emptied without it.
    async fn empty_orphans(&mut self, plan: AgentPlan) {
        self.sinks.retain(|_, part| !ended(&part.task));
        let holds = |part: &RunningChannel| {
            part.slot.borrow().as_ref().is_some_and(|channel| channel.status().events > 0)
        };
        let full = self.channels.iter().filter(|(_, part)| part.carries && holds(part));
        let served: BTreeSet<&String> =
            self.sinks.values().flat_map(|part| &part.channels).collect();
        let orphans: BTreeSet<String> =
            full.map(|(name, _)| name).filter(|name| !served.contains(name)).cloned().collect();
        for sink in plan.sinks.into_iter().filter(|sink| orphans.contains(&sink.channel)) {
            self.start_sink(sink);
        }
        for group in plan.groups {
            if group.sinks.iter().any(|sink| orphans.contains(&sink.channel)) {
                self.start_group(group);
            }
        }
        let on_them =
            |part: &&RunningComponent| part.channels.iter().any(|name| orphans.contains(name));
        let tried = self.sinks.values().filter(on_them).flat_map(|part| part.tried.clone());
        // A sink that is stopped before it is open empties nothing.
        let _ = tokio::time::timeout(SINKS_FIRST, all_tried(tried.collect())).await;
    }

    /// Returns why `plan` cannot be applied while the agent runs.
    #[must_use]
    pub fn refuses(&self, plan: &AgentPlan) -> Option<String> {
        let stale = self.stale(plan);
        let cannot = |(name, part): &(&String, &RunningChannel)| {
            let stays = plan.channels.iter().any(|channel| channel.name == **name);
            part.volatile && !part.carries && stays && stale.contains(&task_of(name))
        };
        let (name, _) = self.channels.iter().find(cannot)?;
        Some(format!(
            "channel {name} would lose its events in memory if its settings changed while it runs; leave its settings, or stop and start the agent"
        ))
    }

    /// Closes the channels that are not as in `plan`. The events for their successors, those in
    /// memory and after them those that had not been taken over yet, are in the estates then.
    async fn close_stale(
        &mut self,
        plan: &AgentPlan,
        stale: &BTreeSet<String>,
        until: Instant,
        cut_off: &mut Vec<String>,
    ) {
        let openers = self.channels.values_mut().map(|part| &mut part.opener);
        end(openers.filter(|task| stale.contains(&task.name)), until, cut_off).await;
        let names: Vec<String> = self.channels.keys().cloned().collect();
        let stays = |name: &String| plan.channels.iter().any(|channel| channel.name == *name);
        let names = names.into_iter().filter(|name| stale.contains(&task_of(name)));
        let (heirs, gone): (Vec<String>, Vec<String>) = names.partition(stays);
        let mut closing = Vec::new();
        for name in &heirs {
            let Entry::Occupied(part) = self.channels.entry(name.clone()) else { continue };
            if part.get().volatile {
                continue;
            }
            let mut part = part.remove();
            self.handovers.insert(name.clone(), std::mem::take(&mut part.handover));
            closing.push((name.clone(), part));
        }
        closing.extend(gone.into_iter().filter_map(|name| self.channels.remove_entry(&name)));
        self.closing.push(tokio::spawn(async move {
            let mut cut_off = Vec::new();
            close(closing, until, &mut cut_off).await;
            cut_off
        }));
        closed(&mut self.closing, cut_off).await;
        // Their remaining events are in memory, and are dropped only when nothing is waited for any
        // more.
        for name in heirs {
            let Some(part) = self.channels.remove(&name) else { continue };
            let mut channels: Vec<_> = part.slot.borrow().clone().into_iter().collect();
            channels.extend(part.handover.take());
            self.handovers.insert(name, MemoryHandover::of(channels));
        }
    }

    /// Returns the tasks that are not in `plan`, or differ from it, or work on a channel that does.
    pub(super) fn stale(&self, plan: &AgentPlan) -> BTreeSet<String> {
        let channels = plan.channels.iter().map(|c| (task_of(&c.name), &c.fingerprint));
        let sinks = plan.sinks.iter().map(|s| (format!("sink {}", s.name), &s.fingerprint));
        let groups = plan.groups.iter().map(|g| (format!("sink group {}", g.name), &g.fingerprint));
        let sources = plan.sources.iter().map(|s| (format!("source {}", s.name), &s.fingerprint));
        let wanted: BTreeMap<String, _> =
            channels.chain(sinks).chain(groups).chain(sources).collect();
        let mut stale = BTreeSet::new();
        for (name, part) in &self.channels {
            let task = task_of(name);
            // A component whose task has ended is started again.
            if wanted.get(&task) != Some(&&part.fingerprint) || ended(&part.opener) {
                stale.insert(task);
            }
        }
        for (task, part) in self.sources.iter().chain(&self.sinks) {
            let mut channels = part.channels.iter().chain(&part.dead_letters);
            let attached = channels.any(|name| stale.contains(&task_of(name)));
            if wanted.get(task) != Some(&&part.fingerprint) || attached {
                stale.insert(task.clone());
            }
        }
        stale
    }

    fn names(&self) -> BTreeSet<String> {
        let parts = self.sources.keys().chain(self.sinks.keys()).cloned();
        parts.chain(self.channels.keys().map(|name| task_of(name))).collect()
    }
}

/// Returns whether nothing else changes.
pub(super) fn ended(task: &ComponentTask) -> bool {
    task.handle.as_ref().is_none_or(JoinHandle::is_finished)
}

pub(super) fn task_of(channel: &str) -> String {
    format!("channel {channel}")
}
